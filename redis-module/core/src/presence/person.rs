//! A person: what their connections come to, and what others see of it.

use super::people::Connection;
use super::status::Status;
use bincode::{Decode, Encode};
use std::sync::Arc;

/// A connection as its person holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) changed: u64,
    pub(super) id: Arc<str>,
    status: Status,
}

/// Somebody who is here: with a connection, or in the grace after the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    /// Their connections; the one that changed last comes last.
    held: Vec<Held>,
    invisible: usize,
    away: usize,
    pub(super) shown: Shown,
}

/// What is known of a person beside their connections; what others see follows the connections and outlives the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Shown {
    /// Since when others see them, or do not.
    pub(super) since_ms: u64,
    /// The revision of the join; 0 while they are invisible.
    pub(super) joined_rev: u64,
    /// The revision of the last change; 0 while they are invisible.
    pub(super) changed_rev: u64,
    /// When the grace ends, or 0 while there is a connection.
    pub(super) leaves_at_ms: u64,
    /// When the last connection ended, or 0 while there is one.
    pub(super) gone_ms: u64,
    pub(super) status: Status,
    /// The data of the connection that changed last.
    pub(super) data: Arc<str>,
}

impl Person {
    pub(super) fn new(shown: Shown) -> Self {
        Person { shown, ..Person::default() }
    }
    pub(super) fn connections(&self) -> usize {
        self.held.len()
    }
    /// Their connections, the one that changed last first.
    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().rev()
    }
    /// The one that changed last.
    pub(super) fn newest(&self) -> Option<&Held> {
        self.held.last()
    }
    pub(super) fn is_invisible(&self) -> bool {
        self.shown.joined_rev == 0
    }

    pub(super) fn hold(&mut self, id: Arc<str>, connection: &Connection) {
        let held = Held { changed: connection.changed, id, status: connection.status.clone() };
        self.invisible += usize::from(held.status == Status::Invisible);
        self.away += usize::from(held.status == Status::Away);
        if self.held.is_empty() {
            // Most have one, and a list would begin with room for four.
            self.held.reserve_exact(1);
        }
        let place = self.held.partition_point(|other| other.changed < held.changed);
        self.held.insert(place, held);
    }

    pub(super) fn release(&mut self, changed: u64) -> Option<Held> {
        let place = self.held.binary_search_by_key(&changed, |held| held.changed).ok()?;
        let held = self.held.remove(place);
        self.invisible -= usize::from(held.status == Status::Invisible);
        self.away -= usize::from(held.status == Status::Away);
        Some(held)
    }

    /// What the connections come to: who hides with one hides with all, who is there with one is not away.
    pub(super) fn status(&self) -> Option<&Status> {
        if self.invisible > 0 {
            return Some(&Status::Invisible);
        }
        if self.away == self.held.len() {
            return self.held.last().map(|held| &held.status);
        }
        self.held().map(|held| &held.status).find(|status| **status != Status::Away)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.held.capacity() * size_of::<Held>()
    }
}
