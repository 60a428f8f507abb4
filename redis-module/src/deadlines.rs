//! Time in the module: what has to happen later, and the one timer that makes it happen.
//!
//! Entries name keys, never values, and are checked again when they are due: the key may be gone, renamed or
//! changed by then. One timer is armed for the earliest entry. It works in bounded steps and only on a primary;
//! a replica keeps its entries, so that it can go on after a promotion.

use crate::effects;
use crate::failover;
use crate::ffi::{self, Ctx, Key, Mode};
use crate::settings;
use foldhash::{HashMap, HashSet};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use stoa_core::access::Access;
use stoa_core::bounds::Bounds;
use stoa_core::document::Document;
use stoa_core::epoch::{Position, Writer};
use stoa_core::event::Header;
use stoa_core::log::{Call, Log};
use stoa_core::names::RoomKey;
use stoa_core::presence::Presence;

/// Entries handled before other commands get their turn.
const STEPS_PER_TICK_MAX: usize = 64;
/// How long entries are handled at a time before other commands get their turn, in milliseconds; the entry that is under
/// way is finished, which is one bounded step.
const WORK_MS_MAX: u64 = 4;
/// How long the timer stays away then, in milliseconds.
const YIELD_MS: u64 = 1;
/// How long to wait while a failover, the fence or too few replicas forbid writes, in milliseconds.
const PAUSED_MS: u64 = 20;
/// How long until a value is looked at again that is moving to or from another server of a cluster, in milliseconds.
const MOVING_MS: u64 = 200;
/// Longest time that a timer is started for, in milliseconds. Redis 7.0 counts the rest of a timer's time in
/// microseconds in 32 bits: above 35 minutes it wakes all the time until that is over.
const TIMER_MS_MAX: u64 = 30 * 60 * 1000;
/// How long a log's end is waited for at most before the log is looked at again, in milliseconds: the server's bounds
/// may be lowered in the meantime, which no log is told of.
const LOOK_AGAIN_MS: u64 = 3600 * 1000;
/// How long after a room's durable event its heads are announced, in milliseconds. A lost last event is noticed
/// within a second.
const PROBE_MS: u64 = 500;
/// Heads of all rooms are announced at multiples of this, in milliseconds: a thousand rooms that speak once a second wake
/// the server and each front ten times a second for it, not a thousand times.
const PROBE_GRID_MS: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A value has something to end; the name is its key.
    End,
    /// A value may have news to tell; the name is its key.
    News,
    /// A room's heads are to be told; the name is its channel.
    Heads,
    /// A stream is gone; the name is its key.
    Gone,
    /// All streams of a room are gone; the name is its channel.
    Emptied,
}

/// When, what, and the name of a key or channel.
type Deadline = (u64, What, Box<[u8]>);

#[derive(Default)]
struct State {
    heap: BinaryHeap<Reverse<Deadline>>,
    /// The earliest end of each key, so that a later deadline adds no entry.
    ends: HashMap<Box<[u8]>, u64>,
    /// Keys whose news were told a moment ago.
    told: HashSet<Box<[u8]>>,
    /// The newest durable event per stream of rooms that were active a moment ago.
    heads: HashMap<Box<str>, BTreeMap<Box<str>, Position>>,
    armed: Option<(u64, u64)>,
    /// Until then nobody leaves the lists in `spared`: fronts need time to find a restarted or promoted server.
    takeover_ends_ms: u64,
    /// The presence keys that were there when this server took over.
    spared: HashSet<Box<[u8]>>,
    replication_id: u64,
}

thread_local! {
    /// Redis calls a module on one thread; values that are freed on another never come here.
    static STATE: RefCell<State> = RefCell::default();
}

fn with<T>(work: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(work)
}

/// Who writes now: this server's replication id, and chance for an epoch that may open.
pub(crate) fn writer(ctx: &Ctx<'_>) -> Writer {
    let replication_id = match with(|s| s.replication_id) {
        0 => {
            let id = ctx.replication_id();
            with(|s| s.replication_id = id);
            id
        }
        known => known,
    };
    Writer { replication_id, chance: chance() }
}

/// 32 bits that another server, or this one a moment later, does not draw again.
fn chance() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    thread_local! {
        // Seeded by the operating system, once; then splitmix64 (Steele et al. 2014): nearly every write draws, and
        // hardly any opens an epoch.
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(ffi::now_ns()));
    }
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as u32
}

/// This server became a primary, a replica, or finished loading.
pub(crate) fn takeover(ctx: &Ctx<'_>, replication_id: Option<u64>) {
    with(|s| {
        s.replication_id = replication_id.unwrap_or(0);
        s.takeover_ends_ms = ffi::now_ms() + settings::takeover_grace_ms();
        s.spared = s.ends.keys().cloned().collect();
    });
    arm(ctx);
}

/// A value changed: its earliest end may be another one.
pub(crate) fn changed(ctx: &Ctx<'_>, key: &[u8], ends_ms: Option<u64>) {
    schedule(key, ends_ms);
    arm(ctx);
}

/// A presence list came from an RDB, a copy or a migration.
pub(crate) fn presence_loaded(presence: &Presence, key: &[u8]) {
    schedule(key, presence.next_deadline());
}

/// Somebody looks at a presence list, which may have come to its name unnoticed, by `SWAPDB`: what ends in it is planned.
pub(crate) fn presence_read(presence: &Presence, key: &[u8]) {
    if schedule(key, presence.next_deadline())
        && let Some(ctx) = ffi::detached()
    {
        arm(&ctx);
    }
}

/// When a log is to be looked at: what it holds ends by age, and streamed messages when their writers fall silent.
pub(crate) fn log_deadline(log: &Log, bounds: &Bounds) -> Option<u64> {
    log.next_deadline(bounds).map(|due_ms| due_ms.min(ffi::now_ms() + LOOK_AGAIN_MS))
}

/// A log came from an RDB, a copy or a migration, or changed on a replica.
pub(crate) fn log_loaded(log: &Log, key: &[u8]) {
    schedule(key, log_deadline(log, &settings::bounds()));
}

/// A list of who may do what came from an RDB, a copy or a migration, or changed on a replica.
pub(crate) fn access_loaded(access: &Access, key: &[u8]) {
    schedule(key, access.next_deadline());
}

/// A value followed a change of the primary: it is looked at when this server becomes one, whatever ends in it then.
pub(crate) fn followed(key: &[u8]) {
    schedule(key, Some(0));
}

/// Answers whether that is news.
fn schedule(key: &[u8], ends_ms: Option<u64>) -> bool {
    let Some(due_ms) = ends_ms else { return false };
    with(|s| {
        if s.ends.get(key).is_some_and(|known| *known <= due_ms) {
            return false;
        }
        s.ends.insert(key.into(), due_ms);
        s.heap.push(Reverse((due_ms, What::End, key.into())));
        true
    })
}

/// A value whose news are gathered per tick.
pub(crate) trait Gathered {
    /// Whether something waits to be told.
    fn has_news(&self) -> bool;
    /// Tells it. Answers whether there was anything.
    fn tell(&mut self, ctx: &Ctx<'_>, key: &RoomKey<'_>) -> bool;
    /// How long news are gathered, in milliseconds.
    fn tick_ms(&self) -> u64 {
        settings::presence_tick_ms()
    }
}

impl Gathered for Presence {
    fn has_news(&self) -> bool {
        Presence::has_news(self)
    }
    fn tell(&mut self, ctx: &Ctx<'_>, key: &RoomKey<'_>) -> bool {
        effects::announce_presence(ctx, key, self)
    }
    fn tick_ms(&self) -> u64 {
        Presence::tick_ms(self, settings::presence_tick_ms())
    }
}

impl Gathered for Log {
    fn has_news(&self) -> bool {
        self.reads_waiting() > 0
    }
    fn tell(&mut self, ctx: &Ctx<'_>, key: &RoomKey<'_>) -> bool {
        effects::announce_reads(ctx, key, self)
    }
}

impl Gathered for Document {
    fn has_news(&self) -> bool {
        self.has_cursor_news()
    }
    fn tell(&mut self, ctx: &Ctx<'_>, key: &RoomKey<'_>) -> bool {
        effects::announce_cursors(ctx, key, self)
    }
}

/// Tells a room the news of a value: at once if it was quiet for a tick, else at the end of the tick.
pub(crate) fn tell(ctx: &Ctx<'_>, key: &RoomKey<'_>, value: &mut impl Gathered) {
    if with(|s| s.told.contains(key.key.as_bytes())) {
        return;
    }
    if value.tell(ctx, key) {
        let name: Box<[u8]> = key.key.as_bytes().into();
        with(|s| {
            s.told.insert(name.clone());
            s.heap.push(Reverse((ffi::now_ms() + value.tick_ms(), What::News, name)));
        });
        arm(ctx);
    }
}

/// Remembers a durable event for the probe that follows.
pub(crate) fn remember_head(ctx: &Ctx<'_>, channel: &str, stream: &str, position: Position) {
    let is_first = with(|s| {
        if let Some(streams) = s.heads.get_mut(channel) {
            // Nearly always the stream is there: then nothing is allocated.
            match streams.get_mut(stream) {
                Some(head) => *head = position,
                None => _ = streams.insert(stream.into(), position),
            }
            return false;
        }
        s.heads.insert(channel.into(), BTreeMap::from([(stream.into(), position)]));
        let due_ms = (ffi::now_ms() + PROBE_MS).next_multiple_of(PROBE_GRID_MS);
        s.heap.push(Reverse((due_ms, What::Heads, channel.as_bytes().into())));
        true
    });
    if is_first {
        arm(ctx);
    }
}

/// A value was deleted, evicted, expired or overwritten: people who hold it have to hear that.
pub(crate) fn value_removed(key: &[u8]) {
    let Some(ctx) = ffi::detached().filter(Ctx::is_primary) else { return };
    with(|s| {
        // A head that nobody can reach any more would make fronts look for it.
        if let Ok(room) = RoomKey::parse(key)
            && let Some(heads) = s.heads.get_mut(room.channel)
        {
            heads.remove(room.stream);
        }
        // At once, and not when it is told: by then something else may have its name, with an end of its own.
        s.ends.remove(key);
        s.heap.push(Reverse((0, What::Gone, key.into())));
    });
    arm(&ctx);
}

/// The database was flushed: everybody who listens to a room has to hear that.
pub(crate) fn everything_removed(ctx: &Ctx<'_>) {
    if !ctx.is_primary() {
        return;
    }
    let channels = ctx.subscribed_channels();
    with(|s| {
        s.heads.values_mut().for_each(BTreeMap::clear);
        s.heap.extend(channels.into_iter().map(|channel| Reverse((0, What::Emptied, channel))));
    });
    arm(ctx);
}

/// A key came to a new name.
pub(crate) fn key_arrived(ctx: &Ctx<'_>, name: &[u8]) {
    let key = Key::open(ctx, name, Mode::Read);
    if let Ok(Some(presence)) = key.value::<Presence>() {
        schedule(name, presence.next_deadline());
    }
    if let Ok(Some(log)) = key.value::<Log>() {
        log_loaded(log, name);
    }
    if let Ok(Some(access)) = key.value::<Access>() {
        access_loaded(access, name);
    }
    drop(key);
    arm(ctx);
}

/// Arms the timer for the earliest entry, on a primary.
pub(crate) fn arm(ctx: &Ctx<'_>) {
    // Nearly always the timer is early enough; asking Redis whether this is a primary costs more than all the rest.
    let is_late = |s: &mut State| {
        let due_ms = s.heap.peek().map(|Reverse((due_ms, _, _))| *due_ms)?;
        s.armed.is_none_or(|(armed_ms, _)| armed_ms > due_ms).then_some(due_ms)
    };
    if let Some(due_ms) = with(is_late)
        && ctx.is_primary()
    {
        arm_at(ctx, due_ms);
    }
}

fn arm_at(ctx: &Ctx<'_>, due_ms: u64) {
    // What is due later is looked at again then.
    let now_ms = ffi::now_ms();
    let due_ms = due_ms.min(now_ms + TIMER_MS_MAX);
    if let Some((armed_ms, id)) = with(|s| s.armed) {
        if armed_ms <= due_ms {
            return;
        }
        ctx.stop_timer(id);
    }
    let id = ctx.start_timer(due_ms.saturating_sub(now_ms), tick);
    with(|s| s.armed = Some((due_ms, id)));
}

fn tick(ctx: &Ctx<'_>) {
    // A fired timer must not be stopped any more.
    with(|s| s.armed = None);
    if !ctx.is_primary() {
        return;
    }
    if ctx.writes_are_paused() || !failover::may_decide_alone(ctx) {
        return arm_at(ctx, ffi::now_ms() + PAUSED_MS);
    }
    ctx.select_rooms();
    let now_ms = ffi::now_ms();
    for _ in 0..STEPS_PER_TICK_MAX {
        let next = with(|s| match s.heap.peek() {
            Some(Reverse((due_ms, _, _))) if *due_ms <= now_ms => s.heap.pop(),
            _ => None,
        });
        let Some(Reverse((due_ms, what, name))) = next else { return arm(ctx) };
        match what {
            What::End => end(ctx, due_ms, &name),
            What::News => tell_again(ctx, &name),
            What::Heads => tell_heads(ctx, &name),
            What::Gone => tell_gone(ctx, &name),
            What::Emptied => tell_emptied(ctx, &name),
        }
        if ffi::now_ms().saturating_sub(now_ms) >= WORK_MS_MAX {
            break;
        }
    }
    if with(|s| s.heap.peek().is_some()) {
        let due_ms = with(|s| s.heap.peek().map_or(0, |Reverse((due_ms, _, _))| *due_ms));
        arm_at(ctx, due_ms.max(ffi::now_ms() + YIELD_MS));
    }
}

/// One bounded step of what is due in a value; the value is scheduled again for the rest.
fn end(ctx: &Ctx<'_>, due_ms: u64, name: &[u8]) {
    let is_newest = with(|s| s.ends.get(name).is_some_and(|known| *known == due_ms));
    if !is_newest {
        return;
    }
    with(|s| s.ends.remove(name));
    let Ok(room) = RoomKey::parse(name) else { return };
    // A key that is on its way from or to another server of a cluster: whoever answers for it decides about it.
    if ctx.is_in_cluster() && !ctx.answers_for(name) {
        if !Key::open(ctx, name, Mode::Read).is_empty() {
            put_off(name, ffi::now_ms() + MOVING_MS);
        }
        return;
    }
    let mut key = Key::open(ctx, name, Mode::Read);
    if let Ok(Some(document)) = key.value_mut::<Document>() {
        document.end_cursors(ffi::now_ms());
        tell(ctx, &room, document);
        schedule(name, document.next_cursor_end());
        return;
    }
    if let Ok(Some(log)) = key.value::<Log>() {
        let is_due = log.next_deadline(&settings::bounds()).is_some_and(|at| at <= ffi::now_ms());
        drop(key);
        return end_in_log(ctx, name, &room, is_due);
    }
    if let Ok(Some(access)) = key.value::<Access>() {
        let is_due = access.next_deadline().is_some_and(|at| at <= ffi::now_ms());
        drop(key);
        return end_in_access(ctx, name, &room, is_due);
    }
    drop(key);
    end_presence(ctx, name, &room);
}

/// One bounded step of what is due in a log: trims what is too old, finishes what nobody writes on.
fn end_in_log(ctx: &Ctx<'_>, name: &[u8], room: &RoomKey<'_>, is_due: bool) {
    let mut key = Key::open(ctx, name, if is_due { Mode::Write } else { Mode::Read });
    let bounds = settings::bounds();
    let Ok(Some(log)) = key.value_mut::<Log>() else { return };
    if is_due {
        let now_ms = ffi::now_ms();
        let call = Call { room: room.room, stream: room.stream, writer: writer(ctx), now_ms, bounds: &bounds };
        let done = log.due(&call);
        for accepted in &done {
            effects::tell_of_message(ctx, (name, room), log, accepted, "");
        }
        if !done.is_empty() {
            effects::notify(ctx, c"msg.ended", name);
        }
    }
    schedule(name, log_deadline(log, &bounds));
}

/// One bounded step of what is due in a list of who may do what: entries whose time is over.
fn end_in_access(ctx: &Ctx<'_>, name: &[u8], room: &RoomKey<'_>, is_due: bool) {
    let mut key = Key::open(ctx, name, if is_due { Mode::Write } else { Mode::Read });
    let Ok(Some(access)) = key.value_mut::<Access>() else { return };
    if is_due {
        for change in access.due(ffi::now_ms(), writer(ctx)) {
            effects::tell_of_access(ctx, (name, room), access, &change);
        }
        effects::notify(ctx, c"room.ended", name);
    }
    schedule(name, access.next_deadline());
}

fn end_presence(ctx: &Ctx<'_>, name: &[u8], room: &RoomKey<'_>) {
    let now_ms = ffi::now_ms();
    let mut key = Key::open(ctx, name, Mode::Read);
    let Ok(Some(presence)) = key.value::<Presence>() else { return };
    let (is_due, is_stored_due) = (presence.is_due(now_ms), presence.is_stored_due(now_ms));
    if is_due && spare(name, now_ms) {
        return;
    }
    if is_due {
        if is_stored_due {
            drop(key);
            key = Key::open(ctx, name, Mode::Write);
        }
        if let Ok(Some(presence)) = key.value_mut::<Presence>() {
            let records = presence.due(now_ms, writer(ctx), &settings::bounds());
            for record in &records {
                effects::replicate::<Presence>(ctx, room, record);
            }
            if !records.is_empty() {
                effects::notify(ctx, c"presence.ended", name);
            }
            tell(ctx, room, presence);
        }
    }
    if let Ok(Some(presence)) = key.value::<Presence>() {
        schedule(name, presence.next_deadline());
    }
}

/// Puts off what is due in a list that was there at the takeover, until that is over.
fn spare(name: &[u8], now_ms: u64) -> bool {
    let until_ms = with(|s| {
        if now_ms >= s.takeover_ends_ms {
            s.spared.clear();
        }
        s.spared.contains(name).then_some(s.takeover_ends_ms)
    });
    if let Some(until_ms) = until_ms {
        put_off(name, until_ms);
    }
    until_ms.is_some()
}

/// Plans to look at a value again that was looked at just now.
fn put_off(name: &[u8], due_ms: u64) {
    with(|s| {
        s.ends.insert(name.into(), due_ms);
        s.heap.push(Reverse((due_ms, What::End, name.into())));
    });
}

fn tell_again(ctx: &Ctx<'_>, name: &[u8]) {
    with(|s| s.told.remove(name));
    let Ok(room) = RoomKey::parse(name) else { return };
    // Opened for reading: an announcement changes nothing that is stored, and nobody who watches the key.
    let mut key = Key::open(ctx, name, Mode::Read);
    if let Ok(Some(presence)) = key.value_mut::<Presence>() {
        return tell_news(ctx, &room, presence);
    }
    if let Ok(Some(log)) = key.value_mut::<Log>() {
        return tell_news(ctx, &room, log);
    }
    if let Ok(Some(document)) = key.value_mut::<Document>() {
        tell_news(ctx, &room, document);
    }
}

fn tell_news(ctx: &Ctx<'_>, room: &RoomKey<'_>, value: &mut impl Gathered) {
    if value.has_news() {
        tell(ctx, room, value);
    }
}

fn tell_heads(ctx: &Ctx<'_>, channel: &[u8]) {
    let Ok(channel) = std::str::from_utf8(channel) else { return };
    let Some(heads) = with(|s| s.heads.remove(channel)).filter(|heads| !heads.is_empty()) else { return };
    effects::announce_heads(ctx, channel, &heads);
}

fn tell_gone(ctx: &Ctx<'_>, name: &[u8]) {
    let Ok(room) = RoomKey::parse(name) else { return };
    // A key that another server of the cluster has now is not gone.
    if !ctx.answers_for(name) {
        return;
    }
    effects::announce(ctx, room.channel, &Header::reset(room.stream), &effects::reset_frame(&room));
}

fn tell_emptied(ctx: &Ctx<'_>, channel: &[u8]) {
    // Others may use sharded channels of their own.
    let Ok(room) = RoomKey::parse_room(channel) else { return };
    if room.stream.is_empty() {
        effects::announce(ctx, room.channel, &Header::reset(""), &effects::reset_frame(&room));
    }
}

/// What `INFO` tells of this file: (waiting entries, rooms with a probe under way).
pub(crate) fn figures() -> (usize, usize) {
    with(|s| (s.heap.len(), s.heads.len()))
}
