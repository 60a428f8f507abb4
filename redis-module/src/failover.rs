//! What this server has to know about being replaced: whether it may decide now, and whether it is set up for it.
//!
//! The rules are in `stoa_core::failover`; here they get the time, the server's loops, its replicas and its settings.

use crate::ffi::{self, Ctx, Word};
use crate::reply::Trouble;
use crate::settings;
use std::cell::RefCell;
use std::ffi::CStr;
use stoa_core::failover::{Fence, Look, Settings, dangers};
use stoa_core::refusal::{Code, Refusal};

thread_local! {
    static FENCE: RefCell<Fence> = RefCell::default();
    /// What of the settings can lose writes; `None` before the first look.
    static DANGERS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Refuses a caller's command that writes while this server does not decide.
pub(crate) fn may_decide(ctx: &Ctx<'_>, words: &[Word<'_>]) -> Result<(), Trouble> {
    // Nearly always open; what else there is to know is asked then.
    if is_open() || ctx.is_followed() || !ctx.is_primary() {
        return Ok(());
    }
    if words.first().is_some_and(|name| crate::only_reads(name.bytes())) {
        return Ok(());
    }
    let message = "this server stood still and does not know yet whether another took over, send the same again";
    Err(Refusal::new(Code::Fenced, message).into())
}

/// Whether this server decides now.
fn is_open() -> bool {
    FENCE.with_borrow(|fence| !fence.exists()) || judge(FENCE.with_borrow_mut(|fence| fence.look(ffi::monotonic_ms())))
}

/// Whether what is due by itself may be decided now: by a server that is not fenced, and takes writes from callers.
pub(crate) fn may_decide_alone(ctx: &Ctx<'_>) -> bool {
    is_open() && (FENCE.with_borrow(|fence| !fence.exists()) || ctx.takes_writes())
}

/// The server went round its loop.
pub(crate) fn looped(ctx: &Ctx<'_>, loops_per_second: u32) {
    // A replica decides nothing, so it may stand still.
    if FENCE.with_borrow(Fence::exists) && ctx.is_primary() {
        judge(FENCE.with_borrow_mut(|fence| fence.looped(ffi::monotonic_ms(), loops_per_second)));
    } else {
        begin();
    }
}

/// The server serves from now on, or looked around.
pub(crate) fn begin() {
    FENCE.with_borrow_mut(|fence| fence.begin(ffi::monotonic_ms()));
}

/// A replica follows this server.
pub(crate) fn replica_came() {
    FENCE.with_borrow_mut(Fence::replica_came);
    let reasons = reasons();
    if !reasons.is_empty() {
        ffi::log(c"warning", &format!("a replica is there, but a failover can lose writes: {reasons}"));
    }
}

fn judge(look: Look) -> bool {
    if let Look::Closes(still_ms) = look {
        let text = format!(
            "stood still for {still_ms} ms: refuses writes with FENCED until it has counted its replicas, because another \
             may be the primary by now"
        );
        ffi::log(c"warning", &text);
    }
    look == Look::Open
}

/// Looks at the server's settings, and says what is wrong with them when that is news.
pub(crate) fn look_at_settings(ctx: &Ctx<'_>) {
    const NAMES: [&str; 4] = ["min-replicas-to-write", "min-replicas-max-lag", "appendonly", "maxmemory-policy"];
    let known = ctx.server_settings(&NAMES);
    let value = |name: &str| known.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let number = |name: &str| value(name).parse().unwrap_or(0);
    let [replicas, lag, append_only, eviction] = NAMES;
    let found = dangers(&Settings {
        replicas_min: number(replicas),
        lag_s_max: number(lag),
        append_only: value(append_only),
        eviction: value(eviction),
    });
    let is_news =
        DANGERS.with_borrow_mut(|dangers| dangers.as_ref() != Some(&found) && dangers.replace(found).is_some());
    if is_news {
        let reasons = reasons();
        match reasons.is_empty() {
            true => ffi::log(c"notice", "the settings are safe for a failover now"),
            false => ffi::log(c"warning", &format!("the settings can lose writes in a failover: {reasons}")),
        }
    }
}

/// Refuses to load where the settings can lose writes in a failover, if `require-ha` asks for that; else says it.
pub(crate) fn check_at_load(ctx: &Ctx<'_>) -> Result<(), String> {
    look_at_settings(ctx);
    let reasons = reasons();
    if reasons.is_empty() {
        return Ok(());
    }
    if settings::requires_ha() {
        return Err(format!("require-ha is set, and the settings can lose writes in a failover: {reasons}"));
    }
    // A server on its own need not care; with the first replica this becomes a warning.
    ffi::log(c"notice", &format!("ha_safe:0, for a server with replicas: {reasons}"));
    Ok(())
}

fn reasons() -> String {
    DANGERS.with_borrow(|dangers| dangers.as_deref().unwrap_or_default().join("; "))
}

/// What `INFO` tells of this file: whether the settings are safe, and how often the fence has closed.
pub(crate) fn figures() -> [(&'static CStr, u64); 2] {
    let safe = DANGERS.with_borrow(|dangers| dangers.as_ref().is_some_and(Vec::is_empty));
    [(c"ha_safe", u64::from(safe)), (c"times_fenced", FENCE.with_borrow(Fence::times_closed))]
}
