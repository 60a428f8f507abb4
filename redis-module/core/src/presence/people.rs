//! The state of a room's presence and the only code that changes it.

use super::memory::{Kicked, Seen};
use super::person::{Person, Shown};
use super::record::Effect;
use super::status::Status;
use crate::bounds::Bounds;
use bincode::{Decode, Encode};
use foldhash::HashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// One socket on some front.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Connection {
    pub(super) user: Arc<str>,
    pub(super) node: Arc<str>,
    pub(super) status: Status,
    pub(super) data: Arc<str>,
    pub(super) private: Box<str>,
    pub(super) since_ms: u64,
    /// When it last joined or set something.
    pub(super) active_ms: u64,
    /// The step in which it last changed what others may see of its person.
    pub(super) changed: u64,
}

/// Somebody who was here, as far as others could see.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Departure {
    pub(super) rev: u64,
    pub(super) joined_rev: u64,
    pub(super) user: Arc<str>,
}

/// One front, and what it holds here.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) lease_ends_ms: u64,
    /// Those that hide their person come last: when not all end in one step, nobody comes to light by that.
    pub(super) connections: BTreeSet<(bool, Arc<str>)>,
}

/// Who is here, and what follows from it and makes looking things up cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct People {
    /// Counts the changes that others can see.
    pub(super) rev: u64,
    /// Counts all effects.
    pub(super) steps: u64,
    pub(super) connections: HashMap<Arc<str>, Connection>,
    pub(super) people: BTreeMap<Arc<str>, Person>,
    pub(super) nodes: BTreeMap<Arc<str>, Node>,
    pub(super) departures: VecDeque<Departure>,
    /// The newest departure that is no longer remembered; who knows less needs the whole list.
    pub(super) forgotten_rev: u64,
    pub(super) seen: Seen,
    pub(super) kicked: Kicked,
    /// Everybody who is visible, by the revision of the last change.
    pub(super) by_change: BTreeMap<u64, Arc<str>>,
    pub(super) by_grace: BTreeSet<(u64, Arc<str>)>,
}

impl People {
    /// How many people others can see.
    pub(super) fn count(&self) -> usize {
        self.by_change.len()
    }
    pub(super) fn connection(&self, id: &str) -> Option<&Connection> {
        self.connections.get(id)
    }
    pub(super) fn person(&self, user: &str) -> Option<&Person> {
        self.people.get(user)
    }
    /// Whether somebody is here and not invisible.
    pub(super) fn is_visible(&self, user: &str) -> bool {
        self.people.get(user).is_some_and(|person| !person.is_invisible())
    }
    /// Everybody whom others can see, by user.
    pub(super) fn everybody(&self) -> impl Iterator<Item = (&str, &Person)> {
        self.people.iter().filter(|(_, person)| !person.is_invisible()).map(|(user, person)| (&**user, person))
    }
    /// Visible people whose last change is after `rev`, oldest change first.
    pub(super) fn changed_after(&self, rev: u64) -> impl Iterator<Item = (&str, &Person)> {
        let changed = self.by_change.range(rev.saturating_add(1)..);
        changed.filter_map(|(_, user)| self.people.get(user).map(|person| (&**user, person)))
    }
    /// People who left after `rev` and had joined by `known`, oldest first.
    pub(super) fn departed_after(&self, rev: u64, known: u64) -> impl Iterator<Item = &str> {
        let start = self.departures.partition_point(|d| d.rev <= rev);
        self.departures.range(start..).filter(move |d| d.joined_rev <= known).map(|d| &*d.user)
    }
    pub(super) fn connections_of_node(&self, node: &str) -> Option<usize> {
        self.nodes.get(node).map(|node| node.connections.len())
    }

    /// A node whose lease has ended, with at most `count` of its connections.
    pub(super) fn ended_lease(&self, now_ms: u64, count: usize) -> Option<(Arc<str>, Vec<Arc<str>>)> {
        let (name, node) = self.nodes.iter().find(|(_, node)| node.lease_ends_ms <= now_ms)?;
        Some((name.clone(), node.connections.iter().take(count).map(|(_, id)| id.clone()).collect()))
    }
    /// At most `count` people whose grace has ended.
    pub(super) fn ended_graces(&self, now_ms: u64, count: usize) -> Vec<Arc<str>> {
        let ended = self.by_grace.iter().take_while(|(ends_ms, _)| *ends_ms <= now_ms);
        ended.take(count).map(|(_, user)| user.clone()).collect()
    }
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let lease = self.nodes.values().map(|node| node.lease_ends_ms).min();
        let grace = self.by_grace.first().map(|(ends_ms, _)| *ends_ms);
        [lease, grace].into_iter().flatten().min()
    }

    /// Follows a decision. Total: an effect that names what is not here changes nothing.
    pub(super) fn enact(&mut self, effect: &Effect<'_>, bounds: &Bounds) {
        self.steps += 1;
        match effect {
            Effect::Join(arrival) => self.arrive(arrival, bounds),
            Effect::Set { connection, at_ms, status, data, private } => {
                // Who goes away shows no more of this connection than before.
                let is_newest = data.is_some() || status.as_ref().is_some_and(|status| *status != Status::Away);
                let user = self.say(connection, *at_ms, (status.as_ref(), *data, *private), is_newest);
                if let Some(user) = user.filter(|_| status.is_some() || data.is_some()) {
                    self.show(&user, *at_ms, bounds);
                }
            }
            Effect::Beat { node, lease_ends_ms } => {
                if let Some(node) = self.nodes.get_mut(*node) {
                    node.lease_ends_ms = *lease_ends_ms;
                }
            }
            Effect::Leave { connection, at_ms, leaves_at_ms } => {
                self.end(&[connection], *at_ms, *leaves_at_ms, bounds);
            }
            Effect::EndLease { node, connections } => {
                let ended_ms = self.nodes.get(*node).map_or(0, |node| node.lease_ends_ms);
                self.end(connections, ended_ms, 0, bounds);
                if self.nodes.get(*node).is_some_and(|node| node.connections.is_empty()) {
                    self.nodes.remove(*node);
                }
            }
            Effect::EndGrace { users } => {
                for user in users {
                    self.depart_if_alone(user, bounds);
                }
            }
            Effect::Kick { user, connections, at_ms } => {
                for connection in connections {
                    self.kicked.remember(connection);
                }
                self.end(connections, *at_ms, 0, bounds);
                self.depart_if_alone(user, bounds);
            }
        }
    }

    fn arrive(&mut self, arrival: &Arrival<'_>, bounds: &Bounds) {
        let Arrival { connection: id, user, node, at_ms, lease_ends_ms, .. } = *arrival;
        let (status, data, private) = (arrival.status.as_ref(), arrival.data, arrival.private);
        if self.connections.get(id).is_some_and(|known| *known.user != *user || *known.node != *node) {
            return;
        }
        let node = self.nodes.get_key_value(node).map_or_else(|| node.into(), |(node, _)| Arc::clone(node));
        let lease = self.nodes.entry(Arc::clone(&node)).or_default();
        lease.lease_ends_ms = lease.lease_ends_ms.max(lease_ends_ms);
        if let Some(user) = self.say(id, at_ms, (status, data, private), true) {
            return self.show(&user, at_ms, bounds);
        }
        let id: Arc<str> = id.into();
        let user = self.people.get_key_value(user).map_or_else(|| user.into(), |(user, _)| Arc::clone(user));
        let status = status.cloned().unwrap_or_default();
        if let Some(held) = self.nodes.get_mut(&node) {
            held.connections.insert((status == Status::Invisible, Arc::clone(&id)));
        }
        let connection = Connection {
            user: Arc::clone(&user),
            node,
            status,
            data: data.unwrap_or("{}").into(),
            private: private.unwrap_or_default().into(),
            since_ms: at_ms,
            active_ms: at_ms,
            changed: self.steps,
        };
        let person = self.people.entry(Arc::clone(&user)).or_insert_with(|| {
            self.seen.forget(&user);
            Person::new(Shown { since_ms: at_ms, ..Shown::default() })
        });
        if person.shown.leaves_at_ms > 0 {
            self.by_grace.remove(&(person.shown.leaves_at_ms, Arc::clone(&user)));
            (person.shown.leaves_at_ms, person.shown.gone_ms) = (0, 0);
        }
        person.hold(Arc::clone(&id), &connection);
        self.connections.insert(id, connection);
        self.show(&user, at_ms, bounds);
    }

    /// Takes in what a connection says of itself; answers whose it is, or nothing if it is not here.
    fn say(
        &mut self,
        id: &str,
        at_ms: u64,
        (status, data, private): (Option<&Status>, Option<&str>, Option<&str>),
        is_newest: bool,
    ) -> Option<Arc<str>> {
        let known = self.connections.get_mut(id)?;
        let (was_changed, was_hidden) = (known.changed, known.status == Status::Invisible);
        known.active_ms = at_ms;
        if is_newest {
            known.changed = self.steps;
        }
        if let Some(private) = private {
            known.private = private.into();
        }
        if let Some(data) = data {
            known.data = data.into();
        }
        if let Some(status) = status {
            known.status = status.clone();
        }
        let held = self.people.get_mut(&known.user).and_then(|person| {
            let held = person.release(was_changed)?;
            person.hold(Arc::clone(&held.id), known);
            Some(held)
        })?;
        let hides = known.status == Status::Invisible;
        if was_hidden != hides
            && let Some(node) = self.nodes.get_mut(&known.node)
        {
            node.connections.remove(&(was_hidden, Arc::clone(&held.id)));
            node.connections.insert((hides, held.id));
        }
        Some(Arc::clone(&known.user))
    }

    /// Ends connections; of several of one person others hear as of one.
    fn end(&mut self, ids: &[&str], at_ms: u64, leaves_at_ms: u64, bounds: &Bounds) {
        let mut users: Vec<Arc<str>> = Vec::with_capacity(ids.len());
        for id in ids {
            let Some((id, gone)) = self.connections.remove_entry(*id) else { continue };
            if let Some(node) = self.nodes.get_mut(&gone.node) {
                node.connections.remove(&(gone.status == Status::Invisible, id));
                // A node without people needs no lease, and no deadline that fires for nobody.
                if node.connections.is_empty() {
                    self.nodes.remove(&gone.node);
                }
            }
            if let Some(person) = self.people.get_mut(&gone.user) {
                person.release(gone.changed);
            }
            users.push(gone.user);
        }
        users.sort_unstable();
        users.dedup();
        for user in users {
            let Some(person) = self.people.get_mut(&user) else { continue };
            if person.connections() == 0 {
                person.shown.gone_ms = at_ms;
                if leaves_at_ms == 0 {
                    self.depart(&user, bounds);
                    continue;
                }
                person.shown.leaves_at_ms = leaves_at_ms;
                self.by_grace.insert((leaves_at_ms, Arc::clone(&user)));
            }
            self.show(&user, at_ms, bounds);
        }
    }

    /// Works out what others see of a person whose connections changed: a new revision, unless that is nothing.
    fn show(&mut self, user: &Arc<str>, at_ms: u64, bounds: &Bounds) {
        let Some(person) = self.people.get_mut(user) else { return };
        if let Some(status) = person.status().cloned() {
            person.shown.status = status;
        }
        if let Some(newest) = person.newest().and_then(|held| self.connections.get(&held.id)) {
            person.shown.data = Arc::clone(&newest.data);
        }
        let (was_visible, is_visible) = (person.shown.joined_rev > 0, person.shown.status != Status::Invisible);
        let shown = &mut person.shown;
        if was_visible != is_visible {
            shown.since_ms = at_ms;
        }
        if was_visible {
            self.by_change.remove(&shown.changed_rev);
        }
        if was_visible || is_visible {
            self.rev += 1;
        }
        if is_visible {
            shown.changed_rev = self.rev;
            if !was_visible {
                shown.joined_rev = self.rev;
            }
            self.by_change.insert(self.rev, Arc::clone(user));
        } else if was_visible {
            let departure = Departure { rev: self.rev, joined_rev: shown.joined_rev, user: Arc::clone(user) };
            (shown.joined_rev, shown.changed_rev) = (0, 0);
            self.remember_departure(departure, bounds);
        }
    }

    fn depart_if_alone(&mut self, user: &str, bounds: &Bounds) {
        if self.people.get(user).is_some_and(|person| person.connections() == 0) {
            self.depart(user, bounds);
        }
    }

    fn depart(&mut self, user: &str, bounds: &Bounds) {
        let Some((user, person)) = self.people.remove_entry(user) else { return };
        let shown = person.shown;
        if shown.leaves_at_ms > 0 {
            self.by_grace.remove(&(shown.leaves_at_ms, Arc::clone(&user)));
        }
        // Of who hides, others know no more afterwards than before.
        let last_seen_ms = if shown.joined_rev > 0 { shown.gone_ms } else { shown.since_ms };
        self.seen.remember(Arc::clone(&user), last_seen_ms, bounds.presence_seen_max);
        if shown.joined_rev > 0 {
            self.by_change.remove(&shown.changed_rev);
            self.rev += 1;
            self.remember_departure(Departure { rev: self.rev, joined_rev: shown.joined_rev, user }, bounds);
        }
    }

    fn remember_departure(&mut self, departure: Departure, bounds: &Bounds) {
        self.departures.push_back(departure);
        while self.departures.len() > bounds.departures_max {
            let Some(forgotten) = self.departures.pop_front() else { break };
            self.forgotten_rev = forgotten.rev;
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        // A shared text has two counters before it; it is counted where it is the key. A hash table keeps an eighth free,
        // and its size when it empties; a tree that grows at its end has nodes that are half full.
        let text = |text: &str| text.len() + 16;
        let table = self.connections.capacity() * 8 / 7 * (size_of::<(Arc<str>, Connection)>() + 1);
        let connections = self.connections.iter().map(|(id, c)| text(id) + text(&c.data) + c.private.len() + 44);
        let people = self
            .people
            .iter()
            .map(|(user, person)| text(user) + person.heap_bytes() + size_of::<(Arc<str>, Person)>() * 3 / 2 + 80);
        table
            + connections.sum::<usize>()
            + people.sum::<usize>()
            + self.departures.capacity() * size_of::<Departure>()
            + self.nodes.keys().map(|node| text(node) + 64).sum::<usize>()
            + self.seen.heap_bytes()
            + self.kicked.heap_bytes()
    }
}

/// A connection that arrives, as it is decided.
#[derive(Debug, Clone, Encode, bincode::BorrowDecode)]
pub(super) struct Arrival<'a> {
    pub(super) connection: &'a str,
    pub(super) user: &'a str,
    pub(super) node: &'a str,
    pub(super) at_ms: u64,
    pub(super) lease_ends_ms: u64,
    /// None keeps what a known connection had, as do the next two.
    pub(super) status: Option<Status>,
    pub(super) data: Option<&'a str>,
    pub(super) private: Option<&'a str>,
}
