//! The stored form of a presence list, and what has to hold of it.

use super::memory::{Kicked, Seen};
use super::people::{Connection, Departure, Node, People};
use super::person::{Person, Shown};
use super::status::Status;
use crate::codec::{self, Damaged};
use bincode::Decode;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Largest count of revisions or steps: what grows from it never overflows.
const COUNT_MAX: u64 = u64::MAX / 2;

/// What is stored, as it is read; [`People::encode`] writes the same fields from where they stand.
#[derive(Decode)]
struct Stored {
    rev: u64,
    steps: u64,
    connections: Vec<(Arc<str>, Connection)>,
    people: Vec<(Arc<str>, Shown)>,
    /// Node and the end of its lease.
    leases: Vec<(Arc<str>, u64)>,
    departures: VecDeque<Departure>,
    forgotten_rev: u64,
    seen: Vec<(Arc<str>, u64)>,
    kicked: VecDeque<Arc<str>>,
}

impl People {
    /// Everything, in one order whatever the order of arrival.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut connections: Vec<_> = self.connections.iter().collect();
        connections.sort_unstable_by_key(|(id, _)| *id);
        let people: Vec<_> = self.people.iter().map(|(user, person)| (user, &person.shown)).collect();
        let leases: Vec<_> = self.nodes.iter().map(|(node, held)| (node, held.lease_ends_ms)).collect();
        let memory = (&self.departures, self.forgotten_rev, self.seen.to_list(), self.kicked.list());
        codec::encode(&(self.rev, self.steps, connections, people, leases, memory))
    }

    /// Reads what [`People::encode`] wrote; what follows from it is worked out again, and all of it must agree.
    pub(super) fn decode(bytes: &[u8]) -> Result<People, Damaged> {
        let stored: Stored = codec::decode_all(bytes)?;
        let damaged = |what: &str| Err(Damaged(what.into()));
        if stored.rev > COUNT_MAX || stored.steps > COUNT_MAX || stored.forgotten_rev > stored.rev {
            return damaged("revisions beyond all counting");
        }
        let (seen, kicked) = (Seen::from_list(stored.seen)?, Kicked::from_list(stored.kicked)?);
        let mut people = People {
            rev: stored.rev,
            steps: stored.steps,
            departures: stored.departures,
            forgotten_rev: stored.forgotten_rev,
            seen,
            kicked,
            ..People::default()
        };
        for (node, lease_ends_ms) in stored.leases {
            people.nodes.insert(node, Node { lease_ends_ms, ..Node::default() });
        }
        let mut persons: BTreeMap<Arc<str>, Person> =
            stored.people.into_iter().map(|(user, shown)| (user, Person::new(shown))).collect();
        let mut steps = std::collections::HashSet::new();
        for (id, mut connection) in stored.connections {
            let node = people.nodes.get_key_value(&connection.node).map(|(node, _)| Arc::clone(node));
            let user = persons.get_key_value(&connection.user).map(|(user, _)| Arc::clone(user));
            let (Some(node), Some(user)) = (node, user) else {
                return damaged("a connection without its person or lease");
            };
            if connection.changed > people.steps || !steps.insert(connection.changed) {
                return damaged("two connections that changed in one step");
            }
            if let Some(node) = people.nodes.get_mut(&node) {
                node.connections.insert((connection.status == Status::Invisible, Arc::clone(&id)));
            }
            if let Some(person) = persons.get_mut(&user) {
                person.hold(Arc::clone(&id), &connection);
            }
            (connection.node, connection.user) = (node, user);
            if people.connections.insert(id, connection).is_some() {
                return damaged("a connection that is listed twice");
            }
        }
        for (user, person) in &mut persons {
            people.adopt(user, person)?;
        }
        people.people = persons;
        let departures = &people.departures;
        let is_ordered = departures.iter().zip(departures.iter().skip(1)).all(|(a, b)| a.rev < b.rev);
        let oldest = departures.front().map_or(u64::MAX, |oldest| oldest.rev);
        let newest = departures.back().map_or(0, |newest| newest.rev);
        if !is_ordered || newest > people.rev || oldest <= people.forgotten_rev {
            return damaged("departures out of order");
        }
        Ok(people)
    }

    /// Checks a person against their connections, and enters them where they are looked up.
    fn adopt(&mut self, user: &Arc<str>, person: &mut Person) -> Result<(), Damaged> {
        let newest = person.newest().and_then(|held| self.connections.get(&held.id)).map(|c| Arc::clone(&c.data));
        let is_as_shown = person.status().is_none_or(|status| *status == person.shown.status)
            && newest.as_ref().is_none_or(|data| *data == person.shown.data);
        let is_in_grace = newest.is_none();
        let shown = &mut person.shown;
        if !is_as_shown || is_in_grace != (shown.leaves_at_ms > 0) || self.seen.at_ms(user).is_some() {
            return Err(Damaged("a person who is not what the connections say".into()));
        }
        if let Some(data) = newest {
            shown.data = data;
        }
        if is_in_grace {
            self.by_grace.insert((shown.leaves_at_ms, Arc::clone(user)));
        }
        let is_visible = shown.status != Status::Invisible;
        let revs_fit = shown.joined_rev <= shown.changed_rev && shown.changed_rev <= self.rev;
        if is_visible != (shown.joined_rev > 0) || is_visible != (shown.changed_rev > 0) || !revs_fit {
            return Err(Damaged("a person whose revisions do not fit".into()));
        }
        if is_visible && self.by_change.insert(shown.changed_rev, Arc::clone(user)).is_some() {
            return Err(Damaged("two people changed at one revision".into()));
        }
        Ok(())
    }
}
