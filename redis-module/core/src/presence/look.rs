//! What services are told of a person: the truth, whatever others may see.

use super::{Presence, color};

/// Connections that are told of one person: the ones that changed last. Nobody has so many open.
pub const CONNECTIONS_NAMED_MAX: usize = 100;

/// Where somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look<'a> {
    /// Here, with a connection or in the grace after the last one.
    Here {
        /// What their connections come to.
        status: &'a str,
        /// See [`color()`].
        color: String,
        /// Since when others see them, or since when they hide.
        since_ms: u64,
        /// A JSON object: the data of the connection that changed last.
        data: &'a str,
        /// The connections that changed last, the newest change first.
        connections: Vec<ConnectionLook<'a>>,
    },
    /// Gone.
    Gone {
        /// When the last connection ended; of who left invisible, since when they hid.
        last_seen_ms: u64,
    },
    /// Never seen here, or forgotten.
    Unknown,
}

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLook<'a> {
    /// Its id.
    pub connection: &'a str,
    /// The front that holds it.
    pub node: &'a str,
    /// When it joined.
    pub since_ms: u64,
    /// When it last joined or set something.
    pub active_ms: u64,
    /// What it says its person is doing.
    pub status: &'a str,
    /// A JSON object that everybody sees.
    pub data: &'a str,
    /// A JSON object that nobody in the room sees.
    pub private: &'a str,
}

/// How many are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// People whom others can see.
    pub people: usize,
    /// Connections of everybody.
    pub connections: usize,
    /// People who are invisible.
    pub invisible: usize,
}

impl Presence {
    /// Where somebody is.
    pub fn look(&self, user: &str) -> Look<'_> {
        let Some(person) = self.people.person(user) else {
            return match self.people.seen.at_ms(user) {
                Some(last_seen_ms) => Look::Gone { last_seen_ms },
                None => Look::Unknown,
            };
        };
        let held = person.held().take(CONNECTIONS_NAMED_MAX);
        let connections = held.filter_map(|held| {
            let known = self.people.connections.get(&held.id)?;
            Some(ConnectionLook {
                connection: &held.id,
                node: &known.node,
                since_ms: known.since_ms,
                active_ms: known.active_ms,
                status: known.status.as_str(),
                data: &known.data,
                private: if known.private.is_empty() { "{}" } else { &known.private },
            })
        });
        let shown = &person.shown;
        Look::Here {
            status: shown.status.as_str(),
            color: color(user),
            since_ms: shown.since_ms,
            data: &shown.data,
            connections: connections.collect(),
        }
    }

    /// How many are here.
    pub fn counts(&self) -> Counts {
        let (people, all) = (self.people.count(), self.people.people.len());
        Counts { people, connections: self.people.connections.len(), invisible: all - people }
    }
}
