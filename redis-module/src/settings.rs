//! Settings: bounds and times, by `loadmodule libstoa.so name value …`, `CONFIG SET stoa.<name>` or `redis.conf`.

use std::cell::RefCell;
use stoa_core::bounds::Bounds;

/// One setting.
pub(crate) struct Setting {
    /// As it stands after `stoa.`.
    pub(crate) name: &'static str,
    /// What it is when nobody sets it.
    pub(crate) default: i64,
    /// The smallest value.
    pub(crate) min: i64,
    /// The largest value.
    pub(crate) max: i64,
    apply: fn(&mut Values, i64),
    read: fn(&Values) -> i64,
}

impl Setting {
    /// Whether it says yes or no, as 1 and 0.
    fn is_switch(&self) -> bool {
        (self.min, self.max) == (0, 1)
    }
}

/// What the settings set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    bounds: Bounds,
    presence_tick_ms: u64,
    takeover_grace_ms: u64,
    require_ha: u64,
}

macro_rules! setting {
    ($name:literal, $($field:ident).+ : $type:ty, $default:expr, $min:expr, $max:expr) => {
        Setting {
            name: $name,
            default: $default,
            min: $min,
            max: $max,
            apply: |values, value| values.$($field).+ = value as $type,
            read: |values| values.$($field).+ as i64,
        }
    };
}

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Every setting: name, default, least, most.
pub(crate) const SETTINGS: &[Setting] = &[
    setting!("message-bytes-max", bounds.message_bytes_max: usize, 32 * KIB, 1, MIB),
    setting!("payload-bytes-max", bounds.payload_bytes_max: usize, 256 * KIB, 0, MIB),
    setting!("log-messages-max", bounds.log_messages_max: usize, 10_000, 1, 10_000_000),
    setting!("log-bytes-max", bounds.log_bytes_max: usize, 32 * MIB, KIB, 1024 * MIB),
    setting!("log-age-ms-max", bounds.log_age_ms_max: u64, 30 * DAY_MS, 1, 36_500 * DAY_MS),
    setting!("readers-max", bounds.readers_max: usize, 10_000, 100, 1_000_000),
    setting!("message-stream-ms", bounds.message_stream_ms: u64, 60_000, 100, DAY_MS),
    setting!("document-bytes-max", bounds.document_bytes_max: usize, 8 * MIB, 1, 64 * MIB),
    setting!("operation-bytes-max", bounds.operation_bytes_max: usize, MIB, 1, 16 * MIB),
    setting!("operation-components-max", bounds.operation_components_max: usize, 10_000, 1, 100_000),
    setting!("document-operations-max", bounds.document_operations_max: usize, 16_384, 1, 65_536),
    setting!("document-log-bytes-max", bounds.document_log_bytes_max: usize, 16 * MIB, KIB, 256 * MIB),
    setting!("document-age-ms-max", bounds.document_age_ms_max: u64, 30 * DAY_MS, 1, 36_500 * DAY_MS),
    setting!("tags-max", bounds.tags_max: usize, 32, 0, 1000),
    setting!("tags-bytes-max", bounds.tags_bytes_max: usize, 32 * MIB, 0, 1024 * MIB),
    setting!("writers-max", bounds.writers_max: usize, 10_000, 100, 1_000_000),
    setting!("writer-age-ms-max", bounds.writer_age_ms_max: u64, DAY_MS, 1000, 365 * DAY_MS),
    setting!("connections-max", bounds.connections_max: usize, 100_000, 1, 1_000_000),
    setting!("presence-bytes-max", bounds.presence_bytes_max: usize, KIB, 2, 64 * KIB),
    setting!("people-listed-max", bounds.people_listed_max: usize, 10_000, 0, 100_000),
    setting!("departures-max", bounds.departures_max: usize, 1_000, 1, 100_000),
    setting!("presence-seen-max", bounds.presence_seen_max: usize, 10_000, 0, 1_000_000),
    setting!("access-entries-max", bounds.access_entries_max: usize, 10_000, 1, 1_000_000),
    setting!("page-entries-max", bounds.page_entries_max: usize, 100, 1, 10_000),
    setting!("page-bytes-max", bounds.page_bytes_max: usize, MIB, KIB, 64 * MIB),
    setting!("presence-tick-ms", presence_tick_ms: u64, 40, 1, 1000),
    setting!("takeover-grace-ms", takeover_grace_ms: u64, 10_000, 0, 600_000),
    setting!("require-ha", require_ha: u64, 0, 0, 1),
];

thread_local! {
    static VALUES: RefCell<Values> = RefCell::new(defaults());
}

fn defaults() -> Values {
    let mut values = Values::default();
    for setting in SETTINGS {
        (setting.apply)(&mut values, setting.default);
    }
    values
}

/// The bounds in force.
pub(crate) fn bounds() -> Bounds {
    VALUES.with_borrow(|values| values.bounds.clone())
}

/// How long changes of a presence list are gathered at least, in milliseconds.
pub(crate) fn presence_tick_ms() -> u64 {
    VALUES.with_borrow(|values| values.presence_tick_ms)
}

/// How long after a restart or promotion nobody's lease ends, in milliseconds.
pub(crate) fn takeover_grace_ms() -> u64 {
    VALUES.with_borrow(|values| values.takeover_grace_ms)
}

/// Whether the module is to load only where a failover loses nothing.
pub(crate) fn requires_ha() -> bool {
    VALUES.with_borrow(|values| values.require_ha == 1)
}

/// Sets a setting by its place in [`SETTINGS`].
pub(crate) fn set(at: usize, value: i64) {
    if let Some(setting) = SETTINGS.get(at) {
        VALUES.with_borrow_mut(|values| (setting.apply)(values, value));
    }
}

/// Reads a setting by its place in [`SETTINGS`].
pub(crate) fn get(at: usize) -> i64 {
    SETTINGS.get(at).map_or(0, |setting| VALUES.with_borrow(|values| (setting.read)(values)))
}

/// Reads `name value …` as `loadmodule` passes it: what each setting starts with.
pub(crate) fn starting_values(words: &[&[u8]]) -> Result<Vec<i64>, String> {
    let mut start: Vec<i64> = SETTINGS.iter().map(|s| s.default).collect();
    let mut rest = words;
    while let [name, tail @ ..] = rest {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let at = SETTINGS.iter().position(|s| s.name == name).ok_or_else(|| format!("there is no setting `{name}`"))?;
        let (setting, Some(slot)) = (&SETTINGS[at], start.get_mut(at)) else { continue };
        let value: i64 = match tail.first().copied() {
            Some(b"no") if setting.is_switch() => 0,
            Some(b"yes") if setting.is_switch() => 1,
            given => given
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
                .ok_or_else(|| format!("`{name}` needs an integer"))?,
        };
        if value < setting.min || value > setting.max {
            return Err(format!("`{name}` has to be {} to {}", setting.min, setting.max));
        }
        *slot = value;
        rest = &tail[1..];
    }
    Ok(start)
}
