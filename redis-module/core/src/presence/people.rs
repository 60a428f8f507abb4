//! The state of a room's presence and the only code that changes it.

use super::record::Effect;
use crate::bounds::Bounds;
use crate::codec::Damaged;
use bincode::{Decode, Encode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One socket on some front.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Connection {
    pub(super) user: Box<str>,
    pub(super) node: Box<str>,
    pub(super) data: Box<str>,
    pub(super) private: Box<str>,
}

/// Somebody who is here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Person {
    pub(super) connections: u32,
    pub(super) since_ms: u64,
    /// The revision of the join.
    pub(super) joined_rev: u64,
    /// The revision of the last change.
    pub(super) changed_rev: u64,
    /// When the grace ends, or 0 while there is a connection.
    pub(super) leaves_at_ms: u64,
    /// The data of the connection that changed last.
    pub(super) data: Box<str>,
}

/// Somebody who was here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Departure {
    pub(super) rev: u64,
    pub(super) joined_rev: u64,
    pub(super) user: Box<str>,
}

/// What is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
struct Stored {
    rev: u64,
    connections: BTreeMap<Box<str>, Connection>,
    people: BTreeMap<Box<str>, Person>,
    /// Node to the end of its lease.
    leases: BTreeMap<Box<str>, u64>,
    departures: VecDeque<Departure>,
    /// The newest departure that is no longer remembered; who knows less needs the whole list.
    forgotten_rev: u64,
}

/// What is stored, and what follows from it and makes looking things up cheap.
#[derive(Debug, Clone, Default)]
pub(super) struct People {
    stored: Stored,
    by_change: BTreeMap<u64, Box<str>>,
    by_node: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    by_grace: BTreeSet<(u64, Box<str>)>,
}

impl People {
    pub(super) fn rev(&self) -> u64 {
        self.stored.rev
    }
    pub(super) fn count(&self) -> usize {
        self.stored.people.len()
    }
    pub(super) fn connections(&self) -> usize {
        self.stored.connections.len()
    }
    pub(super) fn connection(&self, id: &str) -> Option<&Connection> {
        self.stored.connections.get(id)
    }
    pub(super) fn person(&self, user: &str) -> Option<&Person> {
        self.stored.people.get(user)
    }
    pub(super) fn everybody(&self) -> impl Iterator<Item = (&str, &Person)> {
        self.stored.people.iter().map(|(user, person)| (&**user, person))
    }
    pub(super) fn forgotten_rev(&self) -> u64 {
        self.stored.forgotten_rev
    }
    /// People whose last change is after `rev`, oldest change first.
    pub(super) fn changed_after(&self, rev: u64) -> impl Iterator<Item = (&str, &Person)> {
        let changed = self.by_change.range(rev.saturating_add(1)..);
        changed.filter_map(|(_, user)| self.stored.people.get_key_value(user)).map(|(user, person)| (&**user, person))
    }
    /// People who left after `rev` and were here before it, oldest first.
    pub(super) fn departed_after(&self, rev: u64) -> impl Iterator<Item = &str> {
        let start = self.stored.departures.partition_point(|d| d.rev <= rev);
        self.stored.departures.range(start..).filter(move |d| d.joined_rev <= rev).map(|d| &*d.user)
    }
    pub(super) fn connections_of_node(&self, node: &str) -> Option<usize> {
        self.stored.leases.get(node)?;
        Some(self.by_node.get(node).map_or(0, BTreeSet::len))
    }

    /// A node whose lease has ended, with at most `count` of its connections.
    pub(super) fn ended_lease(&self, now_ms: u64, count: usize) -> Option<(Box<str>, Vec<Box<str>>)> {
        let (node, _) = self.stored.leases.iter().find(|(_, ends_ms)| **ends_ms <= now_ms)?;
        let connections =
            self.by_node.get(node).map(|ids| ids.iter().take(count).cloned().collect()).unwrap_or_default();
        Some((node.clone(), connections))
    }
    /// At most `count` people whose grace has ended.
    pub(super) fn ended_graces(&self, now_ms: u64, count: usize) -> Vec<Box<str>> {
        let ended = self.by_grace.iter().take_while(|(ends_ms, _)| *ends_ms <= now_ms);
        ended.take(count).map(|(_, user)| user.clone()).collect()
    }
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let lease = self.stored.leases.values().min().copied();
        let grace = self.by_grace.first().map(|(ends_ms, _)| *ends_ms);
        [lease, grace].into_iter().flatten().min()
    }

    /// Follows a decision. Total: an effect that names what is not here changes nothing.
    pub(super) fn enact(&mut self, effect: Effect, bounds: &Bounds) {
        match effect {
            Effect::Join { connection, user, node, at_ms, lease_ends_ms, data, private } => {
                let lease = self.stored.leases.entry(node.clone()).or_default();
                *lease = (*lease).max(lease_ends_ms);
                let arrives = Connection { user: user.clone(), node, data: data.into(), private: private.into() };
                self.arrive(connection, user, arrives, at_ms);
            }
            Effect::Patch { connection, data } => {
                let Some(known) = self.stored.connections.get_mut(&connection) else { return };
                known.data = data.as_str().into();
                let user = known.user.clone();
                self.change(&user, |person| person.data = data.into());
            }
            Effect::Beat { node, lease_ends_ms } => {
                if let Some(ends_ms) = self.stored.leases.get_mut(&node) {
                    *ends_ms = lease_ends_ms;
                }
            }
            Effect::Leave { connection, leaves_at_ms } => {
                let node = self.stored.connections.get(&connection).map(|c| c.node.clone());
                self.disconnect(&connection, leaves_at_ms, bounds);
                // A node without people needs no lease, and no deadline that fires for nobody.
                if let Some(node) = node.filter(|node| !self.by_node.contains_key(node)) {
                    self.stored.leases.remove(&node);
                }
            }
            Effect::EndLease { node, connections } => {
                for connection in connections {
                    self.disconnect(&connection, 0, bounds);
                }
                if !self.by_node.contains_key(&node) {
                    self.stored.leases.remove(&node);
                }
            }
            Effect::EndGrace { users } => {
                for user in users {
                    self.depart(&user, bounds);
                }
            }
        }
    }

    fn arrive(&mut self, id: Box<str>, user: Box<str>, connection: Connection, at_ms: u64) {
        let data = connection.data.clone();
        self.by_node.entry(connection.node.clone()).or_default().insert(id.clone());
        let is_new = self.stored.connections.insert(id, connection).is_none();
        if !self.stored.people.contains_key(&user) {
            let person = Person {
                connections: 0,
                since_ms: at_ms,
                joined_rev: self.stored.rev + 1,
                changed_rev: 0,
                leaves_at_ms: 0,
                data: "{}".into(),
            };
            self.stored.people.insert(user.clone(), person);
        }
        self.end_grace_of(&user);
        self.change(&user, |person| {
            person.connections += u32::from(is_new);
            person.leaves_at_ms = 0;
            person.data = data;
        });
    }

    fn disconnect(&mut self, id: &str, leaves_at_ms: u64, bounds: &Bounds) {
        let Some(gone) = self.stored.connections.remove(id) else { return };
        if let Some(siblings) = self.by_node.get_mut(&gone.node) {
            siblings.remove(id);
            if siblings.is_empty() {
                self.by_node.remove(&gone.node);
            }
        }
        let Some(person) = self.stored.people.get(&gone.user) else { return };
        let is_last = person.connections <= 1;
        if is_last && leaves_at_ms == 0 {
            self.depart(&gone.user, bounds);
            return;
        }
        if is_last {
            self.by_grace.insert((leaves_at_ms, gone.user.clone()));
        }
        self.change(&gone.user, |person| {
            person.connections = person.connections.saturating_sub(1);
            person.leaves_at_ms = if is_last { leaves_at_ms } else { 0 };
        });
    }

    fn change(&mut self, user: &str, change: impl FnOnce(&mut Person)) {
        let Some(person) = self.stored.people.get_mut(user) else { return };
        self.stored.rev += 1;
        self.by_change.remove(&person.changed_rev);
        person.changed_rev = self.stored.rev;
        self.by_change.insert(self.stored.rev, user.into());
        change(person);
    }

    fn depart(&mut self, user: &str, bounds: &Bounds) {
        self.end_grace_of(user);
        let Some(person) = self.stored.people.remove(user) else { return };
        self.by_change.remove(&person.changed_rev);
        self.stored.rev += 1;
        let departure = Departure { rev: self.stored.rev, joined_rev: person.joined_rev, user: user.into() };
        self.stored.departures.push_back(departure);
        while self.stored.departures.len() > bounds.departures_max {
            let Some(forgotten) = self.stored.departures.pop_front() else { break };
            self.stored.forgotten_rev = forgotten.rev;
        }
    }

    fn end_grace_of(&mut self, user: &str) {
        if let Some(person) = self.stored.people.get(user).filter(|p| p.leaves_at_ms > 0) {
            self.by_grace.remove(&(person.leaves_at_ms, user.into()));
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        crate::codec::encode(&self.stored)
    }

    /// Reads what [`People::encode`] wrote; what follows from it is worked out again, and counts must agree.
    pub(super) fn decode(bytes: &[u8]) -> Result<People, Damaged> {
        let stored: Stored = crate::codec::decode_all(bytes)?;
        let mut people = People { stored, ..People::default() };
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (id, connection) in &people.stored.connections {
            people.by_node.entry(connection.node.clone()).or_default().insert(id.clone());
            *counts.entry(&connection.user).or_default() += 1;
            if !people.stored.leases.contains_key(&connection.node)
                || !people.stored.people.contains_key(&connection.user)
            {
                return Err(Damaged("a connection without its person or lease".into()));
            }
        }
        for (user, person) in &people.stored.people {
            let counted = counts.get(&**user).copied().unwrap_or(0);
            let in_grace = person.leaves_at_ms > 0;
            let newest = people.stored.rev;
            if counted != person.connections
                || in_grace != (counted == 0)
                || person.changed_rev > newest
                || person.joined_rev > newest
            {
                return Err(Damaged("a person whose connections do not add up".into()));
            }
            if in_grace {
                people.by_grace.insert((person.leaves_at_ms, user.clone()));
            }
            if people.by_change.insert(person.changed_rev, user.clone()).is_some() {
                return Err(Damaged("two people changed at one revision".into()));
            }
        }
        let departures = &people.stored.departures;
        let ordered = departures.iter().zip(departures.iter().skip(1)).all(|(a, b)| a.rev < b.rev);
        if !ordered || departures.back().is_some_and(|d| d.rev > people.stored.rev) || people.stored.rev > u64::MAX / 2
        {
            return Err(Damaged("departures out of order".into()));
        }
        Ok(people)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        // Tree nodes are about two thirds full; ids are counted once for each index that holds them.
        let connections: usize = self
            .stored
            .connections
            .iter()
            .map(|(id, c)| 2 * id.len() + c.user.len() + c.node.len() + c.data.len() + c.private.len() + 168)
            .sum();
        let people: usize = self.stored.people.iter().map(|(user, p)| 2 * user.len() + p.data.len() + 144).sum();
        connections
            + people
            + self.stored.departures.capacity() * (size_of::<Departure>() + 8)
            + self.stored.leases.len() * 96
    }
}
