//! Presence against a slow twin: whatever happens in whatever order, a listener who hears only announcements knows who
//! is here, was told of each coming and going once, and so does everybody who follows the records.
//!
//! `STOA_SEED` repeats a run, `STOA_STEPS` says how long it is.

#![allow(clippy::unwrap_used)]

mod chance;
#[path = "data/heap.rs"]
mod heap;
#[path = "here/listener.rs"]
mod listener;
#[path = "here/twin.rs"]
mod twin;

use chance::Chance;
use listener::{Listener, listed};
use std::collections::VecDeque;
use stoa_core::bounds::Bounds;
use stoa_core::epoch::Writer;
use stoa_core::presence::{Changed, Join, Look, Presence, Says, Whom, color};
use stoa_core::refusal::{Code, Refusal};
use twin::{CONNECTIONS_MAX, CURSOR_MS, Connection, SEEN_MAX, Twin};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

const NAMES: (&str, &str) = ("lobby", "presence");
const USERS: [&str; 5] = ["ada", "bo", "cy", "dee", "eli"];
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const STATUSES: [&str; 5] = ["online", "away", "busy", "invisible", "lunch"];
/// What a replica may be behind.
const BEHIND_MAX: usize = 6;

struct World {
    chance: Chance,
    now_ms: u64,
    writer: Writer,
    bounds: Bounds,
    primary: Presence,
    twin: Twin,
    /// Follows the primary, apart from what is on its way: records, and the twin after them.
    replica: Presence,
    on_the_way: VecDeque<(Vec<Vec<u8>>, Twin)>,
    listener: Listener,
    /// Hears nothing for a while, and comes back at any moment.
    sleeper: Listener,
    sleeper_is_awake: bool,
    /// The number of the first connection that is in use; earlier ones are gone for good.
    first_connection: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let bounds = Bounds {
            connections_max: CONNECTIONS_MAX,
            departures_max: 4,
            presence_seen_max: SEEN_MAX,
            ..Bounds::default()
        };
        World {
            chance: Chance(seed),
            now_ms: 1_000_000,
            writer: Writer { replication_id: 1, chance: 1 },
            bounds,
            primary: Presence::default(),
            twin: Twin::default(),
            replica: Presence::default(),
            on_the_way: VecDeque::new(),
            listener: Listener::new(true),
            sleeper: Listener::new(false),
            sleeper_is_awake: false,
            first_connection: 0,
        }
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.chance.below(from.len())]
    }

    /// Mostly a connection that is here.
    fn some_connection(&mut self) -> String {
        if self.chance.below(8) > 0 && !self.twin.connections.is_empty() {
            let at = self.chance.below(self.twin.connections.len());
            return self.twin.connections[at].id.clone();
        }
        format!("c{}", self.first_connection + self.chance.below(12))
    }

    /// Status, data, private: each or none.
    fn something_to_say(&mut self) -> [Option<String>; 3] {
        let status = (self.chance.below(3) > 0).then(|| self.pick(&STATUSES).to_owned());
        let number = self.chance.below(50);
        let data = (self.chance.below(2) > 0).then(|| format!("{{\"at\":{number}}}"));
        let private = (self.chance.below(4) == 0).then(|| format!("{{\"ip\":{number}}}"));
        [status, data, private]
    }

    fn step(&mut self) {
        match self.chance.below(100) {
            0..22 => self.join(),
            22..38 => self.set(),
            38..50 => self.leave(),
            50..58 => self.beat(),
            58..61 => self.kick(),
            61..67 => self.type_for(),
            67..74 => self.point(),
            74..86 => {
                self.now_ms += self.chance.below(700) as u64;
                if self.chance.below(200) == 0 {
                    self.now_ms += 70_000;
                }
                self.end_what_is_due();
            }
            86..88 => self.now_ms -= self.chance.below(3_000) as u64,
            88 => self.take_over(),
            89 => self.restart(),
            90 => self.wake(),
            91 => self.sleeper_is_awake = false,
            92 => self.first_connection += 1,
            _ => self.tick(),
        }
        self.check();
    }

    fn join(&mut self) {
        let (id, user, node) = (self.some_connection(), self.pick(&USERS), self.pick(&NODES));
        let known = self.twin.find(&id).cloned();
        // Mostly as it was, when it is known.
        let (user, node) = match &known {
            Some(known) if self.chance.below(10) > 0 => (known.user.clone(), known.node.clone()),
            _ => (user.to_owned(), node.to_owned()),
        };
        let says = self.something_to_say();
        let ttl_ms = 1 + self.chance.below(1_500) as u64;
        let join = Join { user: &user, connection: &id, node: &node, ttl_ms, says: borrowed(&says) };
        let (was_here, rev, hidden) = (self.twin.is_here(&user), self.primary.rev(), !self.twin.is_visible(&user));
        let joined = self.primary.join(join, self.writer, self.now_ms, &self.bounds);
        let expected = match &known {
            Some(known) if (&known.user, &known.node) != (&user, &node) => Err(Code::InvalidArgument),
            None if self.twin.kicked.contains(&id) => Err(Code::Kicked),
            None if self.twin.connections.len() == CONNECTIONS_MAX => Err(Code::Full),
            _ => Ok(()),
        };
        assert_eq!(joined.as_ref().map(drop).map_err(|refusal| refusal.code), expected);
        let Ok(changed) = joined else { return };
        let (at_ms, [data, private]) = (self.now_ms, ["{}".to_owned(), "{}".to_owned()]);
        let status = "online".to_owned();
        let fresh =
            Connection { id, user: user.clone(), node, status, data, private, since_ms: at_ms, active_ms: at_ms };
        self.twin.join(fresh, says, at_ms + ttl_ms);
        assert_eq!(changed.first, !was_here);
        assert_eq!(changed.connections as usize, self.twin.count_of(&user));
        assert!(!hidden || self.twin.is_visible(&user) || rev == self.primary.rev(), "somebody hidden made a revision");
        self.send(changed);
    }

    fn set(&mut self) {
        let (id, says) = (self.some_connection(), self.something_to_say());
        let known = self.twin.find(&id).cloned();
        let rev = self.primary.rev();
        let set = self.primary.set(&id, borrowed(&says), self.writer, self.now_ms, &self.bounds);
        let Some(known) = known else { return assert_refused(&set, Code::NotFound) };
        if says.iter().all(Option::is_none) {
            return assert_refused(&set, Code::InvalidArgument);
        }
        let (was_visible, is_private) = (self.twin.is_visible(&known.user), says[0].is_none() && says[1].is_none());
        self.twin.set(&id, says, self.now_ms);
        let is_seen = (was_visible || self.twin.is_visible(&known.user)) && !is_private;
        assert_eq!(self.primary.rev(), rev + u64::from(is_seen));
        self.send(set.unwrap());
    }

    fn leave(&mut self) {
        let id = self.some_connection();
        let grace_ms = if self.chance.below(3) == 0 { 0 } else { 1 + self.chance.below(2_000) as u64 };
        let left = self.primary.leave(&id, grace_ms, self.writer, self.now_ms, &self.bounds);
        let Some(known) = self.twin.find(&id).cloned() else { return assert_refused(&left, Code::NotFound) };
        self.twin.leave(&id, self.now_ms, grace_ms);
        let changed = left.unwrap();
        assert_eq!(changed.connections as usize, self.twin.count_of(&known.user));
        self.send(changed);
    }

    fn beat(&mut self) {
        let (node, ttl_ms) = (self.pick(&NODES), 1 + self.chance.below(1_500) as u64);
        let changed = self.primary.beat(node, ttl_ms, self.writer, self.now_ms, &self.bounds).unwrap();
        assert_eq!(changed.connections as usize, self.twin.beat(node, self.now_ms + ttl_ms));
        self.send(changed);
    }

    fn kick(&mut self) {
        let (user, id) = (self.pick(&USERS), self.some_connection());
        let is_user = self.chance.below(2) == 0;
        let whom = if is_user { Whom::User(user) } else { Whom::Connection(&id) };
        let changed = self.primary.kick(whom, self.writer, self.now_ms, &self.bounds).unwrap();
        let listed = self.twin.kick(is_user.then_some(user), (!is_user).then_some(&id), self.now_ms);
        assert_eq!(changed.connections as usize, listed);
        self.send(changed);
    }

    fn type_for(&mut self) {
        let (id, ms) = (self.some_connection(), self.chance.below(4) as u64 * 400);
        let typed = self.primary.type_for(&id, ms, self.now_ms);
        let Some(known) = self.twin.find(&id).cloned() else { return assert_refused(&typed, Code::NotFound) };
        if ms == 0 {
            self.twin.typing.remove(&known.user);
        } else if self.twin.is_visible(&known.user) {
            self.twin.typing.insert(known.user, self.now_ms + ms);
        }
        assert_eq!(typed.unwrap() as usize, self.twin.typing.len());
    }

    fn point(&mut self) {
        let (id, at) = (self.some_connection(), self.chance.below(100));
        let cursor = if at < 20 { "null".to_owned() } else { format!("[{at},0]") };
        let pointed = self.primary.point(&id, cursor.as_bytes(), self.now_ms, &self.bounds);
        let Some(known) = self.twin.find(&id).cloned() else { return assert_refused(&pointed, Code::NotFound) };
        if at < 20 {
            self.twin.cursors.remove(&id);
        } else if self.twin.is_visible(&known.user) {
            let json = format!("{{\"connection\":\"{id}\",\"user\":\"{}\",\"cursor\":{cursor}}}", known.user);
            self.twin.cursors.insert(id, (known.user, json, self.now_ms + CURSOR_MS));
        }
        assert_eq!(pointed.unwrap(), self.twin.cursors.len());
    }

    /// As the module's timer does; sometimes it is late.
    fn end_what_is_due(&mut self) {
        if self.chance.below(5) == 0 {
            return;
        }
        let mut records = Vec::new();
        for round in 0.. {
            assert!(round < 100, "this does not end");
            if self.primary.next_deadline().is_none_or(|at| at > self.now_ms) {
                break;
            }
            records.extend(self.primary.due(self.now_ms, self.writer, &self.bounds));
        }
        self.twin.due(self.now_ms);
        self.send_all(records);
    }

    fn send(&mut self, changed: Changed) {
        self.send_all(changed.record.into_iter().collect());
    }

    fn send_all(&mut self, records: Vec<Vec<u8>>) {
        if records.is_empty() {
            return;
        }
        self.on_the_way.push_back((records, self.twin.clone()));
        while self.on_the_way.len() > BEHIND_MAX {
            self.deliver();
        }
    }

    /// What was sent first reaches the replica; answers the twin of then.
    fn deliver(&mut self) -> Option<Twin> {
        let (records, twin) = self.on_the_way.pop_front()?;
        for record in records {
            self.replica.apply(&record, &self.bounds).unwrap();
        }
        Some(twin)
    }

    /// The replica takes over; it may not have received the last records, and then they never happened.
    fn take_over(&mut self) {
        let lost = if self.chance.below(2) == 0 { 0 } else { self.chance.below(BEHIND_MAX) };
        // Who is back before everything that is on its way: the twin as it was then is not kept.
        let lost = lost.min(self.on_the_way.len().saturating_sub(1));
        while self.on_the_way.len() > lost {
            if let Some(twin) = self.deliver() {
                self.twin = twin;
            }
        }
        // What was lost before it was announced was lost without a trace. Whoever saw it in a list is the only one to know;
        // a front that holds somebody lists them again, and nobody else has heard of them.
        if lost > 0 && self.sleeper.is_ahead {
            self.sleeper = Listener::new(false);
        }
        if lost == 0 {
            assert_eq!(self.replica.encode(), self.primary.encode(), "the replica differs");
        }
        self.primary = self.replica.clone();
        self.begin_again();
    }

    /// The server starts again, from what is stored.
    fn restart(&mut self) {
        self.primary = Presence::decode(&self.primary.encode()).unwrap();
        self.begin_again();
    }

    fn begin_again(&mut self) {
        self.replica = Presence::decode(&self.primary.encode()).unwrap();
        assert_eq!(self.replica.encode(), self.primary.encode());
        self.on_the_way.clear();
        let chance = self.chance.next() as u32;
        self.writer = Writer { replication_id: self.writer.replication_id + 1, chance };
        self.twin.forget_the_passing();
        self.listener.come_back(&self.primary, &self.bounds);
        self.sleeper_is_awake = false;
        self.agrees();
    }

    /// An announcement, as at the end of a tick.
    fn tick(&mut self) {
        if let Some((_, _, _, frame)) = self.primary.announce(NAMES.0, NAMES.1, &self.bounds) {
            self.listener.hear(&frame, &self.primary, &self.bounds);
            if self.sleeper_is_awake {
                self.sleeper.hear(&frame, &self.primary, &self.bounds);
            }
        }
        if let Some(frame) = self.primary.announce_typing(NAMES.0) {
            self.listener.hear_typing(&frame);
            self.sleeper.hear_typing(&frame);
        }
        while let Some(frame) = self.primary.announce_cursors(NAMES.0) {
            self.listener.hear_cursors(&frame);
            self.sleeper.hear_cursors(&frame);
        }
        assert!(!self.primary.has_news());
        self.agrees();
        if self.sleeper_is_awake {
            assert_eq!(self.sleeper.members, self.twin.visible(), "who came back between two announcements");
            assert!(self.sleeper.typing.iter().eq(self.twin.typing.keys()));
            assert_eq!(self.sleeper.cursors, self.listener.cursors);
        }
    }

    /// The sleeper comes back, or is somebody new.
    fn wake(&mut self) {
        if self.chance.below(2) == 0 {
            self.sleeper = Listener::new(false);
        }
        self.sleeper_is_awake = true;
        self.sleeper.come_back(&self.primary, &self.bounds);
        self.listener.somebody_looked = true;
    }

    /// What the listener knows is what is.
    fn agrees(&self) {
        assert_eq!(self.listener.members, self.twin.visible());
        assert!(self.listener.typing.iter().eq(self.twin.typing.keys()));
        let cursors = self.twin.cursors.iter().map(|(id, (_, json, _))| (id, json));
        assert!(self.listener.cursors.iter().eq(cursors), "{:?} {:?}", self.listener.cursors, self.twin.cursors);
    }

    fn check(&mut self) {
        let (now, visible) = (self.primary.clone().snapshot(), self.twin.visible());
        let members = listed(&self.primary, &self.bounds);
        assert!(members.iter().eq(visible.values()), "{members:?} {visible:?}");
        assert_eq!((now.count, self.primary.count()), (visible.len(), visible.len()));
        assert!(now.typing.iter().eq(self.twin.typing.keys()));
        assert!(now.cursors.iter().eq(self.twin.cursors.values().map(|(_, json, _)| json)));
        let next = self.twin.next_end_ms();
        assert!(
            next.is_none_or(|at| self.primary.next_deadline().is_some_and(|told| told <= at)),
            "a deadline is missing"
        );
        let counts = self.primary.counts();
        assert_eq!(counts.connections, self.twin.connections.len());
        assert_eq!((counts.people, counts.people + counts.invisible), (visible.len(), self.twin.everybody().len()));
        let user = self.pick(&USERS);
        self.check_look(user);
    }

    fn check_look(&self, user: &str) {
        match self.primary.look(user) {
            Look::Here { status, color: shown, since_ms, data, connections } => {
                assert!(self.twin.is_here(user));
                assert_eq!((status, data), (&*self.twin.status(user), &*self.twin.data(user)));
                assert_eq!((shown, since_ms), (color(user), self.twin.since_ms(user)));
                let mine = self.twin.connections.iter().rev().filter(|c| c.user == user);
                assert_eq!(connections.len(), mine.clone().count());
                for (look, c) in connections.iter().zip(mine) {
                    assert_eq!((look.connection, look.node, look.status), (&*c.id, &*c.node, &*c.status));
                    assert_eq!((look.since_ms, look.active_ms), (c.since_ms, c.active_ms));
                    assert_eq!((look.data, look.private), (&*c.data, &*c.private));
                }
            }
            Look::Gone { last_seen_ms } => {
                assert_eq!((self.twin.is_here(user), self.twin.last_seen_ms(user)), (false, Some(last_seen_ms)));
            }
            Look::Unknown => assert_eq!((self.twin.is_here(user), self.twin.last_seen_ms(user)), (false, None)),
        }
    }
}

fn borrowed([status, data, private]: &[Option<String>; 3]) -> Says<'_> {
    let (data, private) = (data.as_deref().map(str::as_bytes), private.as_deref().map(str::as_bytes));
    Says { status: status.as_deref(), data, private }
}

fn assert_refused<T: std::fmt::Debug>(outcome: &Result<T, Refusal>, code: Code) {
    assert_eq!(outcome.as_ref().map(drop).map_err(|refusal| refusal.code), Err(code));
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn nobody_is_a_ghost_joins_twice_or_leaves_unheard() {
    let seed = setting("STOA_SEED").unwrap_or_else(|| {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0)
    });
    let steps = setting("STOA_STEPS").unwrap_or(100_000);
    println!("STOA_SEED={seed} STOA_STEPS={steps}");
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    // What is still to be told and to end comes out right as well.
    world.tick();
    world.now_ms += 200_000;
    while world.primary.next_deadline().is_some_and(|at| at <= world.now_ms) {
        world.end_what_is_due();
    }
    world.tick();
    assert_eq!(world.listener.members.len(), 0, "everybody's lease has ended");
}

#[test]
fn memory_is_told_within_a_tenth() {
    let (bounds, writer) = (Bounds::default(), Writer { replication_id: 1, chance: 1 });
    for (people, tabs, data) in [(20_000, 1, "{}"), (5_000, 3, r#"{"name":"Somebody","color":"blue","page":"/a/b"}"#)] {
        let before = heap::held();
        let mut presence = Presence::default();
        for n in 0..people * tabs {
            let (user, connection) = (format!("user-{}", n / tabs), format!("connection-{n}"));
            let says = Says { data: Some(data.as_bytes()), ..Says::default() };
            let join = Join { user: &user, connection: &connection, node: "front-1", ttl_ms: 1_000, says };
            presence.join(join, writer, n as u64, &bounds).unwrap();
        }
        let check = |presence: &Presence, what: &str| {
            let (held, told) = ((heap::held() - before) as f64, presence.heap_bytes() as f64);
            println!("{people} people, {tabs} tabs, {what}: told {told}, held {held}");
            assert!((told / held - 1.0).abs() < 0.1, "{people} {tabs} {what}: told {told}, held {held}");
        };
        check(&presence, "all here");
        for n in 0..people * tabs / 2 {
            presence.leave(&format!("connection-{n}"), 0, writer, 0, &bounds).unwrap();
        }
        check(&presence, "half gone");
    }
}
