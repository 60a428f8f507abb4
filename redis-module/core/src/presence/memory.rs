//! Whom a room remembers when they are not here: who was seen when, and which connections were kicked.

use crate::codec::Damaged;
use foldhash::{HashMap, HashSet};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Kicked connections that a room remembers: who was told to go has gone long before so many others were.
pub const KICKED_MAX: usize = 1_024;

/// When the people who left were last seen; who left last is forgotten last.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// In the order of leaving.
    order: BTreeMap<u64, (Arc<str>, u64)>,
    of: HashMap<Arc<str>, u64>,
}

impl Seen {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// When somebody who is not here was last seen, Unix time in milliseconds.
    pub(super) fn at_ms(&self, user: &str) -> Option<u64> {
        self.of.get(user).and_then(|place| self.order.get(place)).map(|(_, at_ms)| *at_ms)
    }

    pub(super) fn remember(&mut self, user: Arc<str>, at_ms: u64, max: usize) {
        self.forget(&user);
        let place = self.order.last_key_value().map_or(0, |(place, _)| place + 1);
        self.of.insert(user.clone(), place);
        self.order.insert(place, (user, at_ms));
        while self.order.len() > max {
            let Some((_, (user, _))) = self.order.pop_first() else { break };
            self.of.remove(&user);
        }
    }

    pub(super) fn forget(&mut self, user: &str) {
        if let Some(place) = self.of.remove(user) {
            self.order.remove(&place);
        }
    }

    pub(super) fn to_list(&self) -> Vec<(Arc<str>, u64)> {
        self.order.values().cloned().collect()
    }

    pub(super) fn from_list(list: Vec<(Arc<str>, u64)>) -> Result<Seen, Damaged> {
        let mut seen = Seen::default();
        for (place, (user, at_ms)) in (0..).zip(list) {
            if seen.of.insert(user.clone(), place).is_some() {
                return Err(Damaged("somebody was last seen twice".into()));
            }
            seen.order.insert(place, (user, at_ms));
        }
        Ok(seen)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let table = self.of.capacity() * 8 / 7 * (size_of::<(Arc<str>, u64)>() + 1);
        table + self.order.values().map(|(user, _)| user.len() + 16 + 60).sum::<usize>()
    }
}

/// The connections that were kicked last.
#[derive(Debug, Clone, Default)]
pub(super) struct Kicked {
    order: VecDeque<Arc<str>>,
    known: HashSet<Arc<str>>,
}

impl Kicked {
    pub(super) fn has(&self, connection: &str) -> bool {
        !self.known.is_empty() && self.known.contains(connection)
    }

    pub(super) fn remember(&mut self, connection: &str) {
        let connection: Arc<str> = connection.into();
        if !self.known.insert(connection.clone()) {
            return;
        }
        self.order.push_back(connection);
        while self.order.len() > KICKED_MAX {
            let Some(forgotten) = self.order.pop_front() else { break };
            self.known.remove(&forgotten);
        }
    }

    pub(super) fn list(&self) -> &VecDeque<Arc<str>> {
        &self.order
    }

    pub(super) fn from_list(order: VecDeque<Arc<str>>) -> Result<Kicked, Damaged> {
        let known: HashSet<Arc<str>> = order.iter().cloned().collect();
        if known.len() != order.len() || order.len() > KICKED_MAX {
            return Err(Damaged("kicked connections that are too many, or the same".into()));
        }
        Ok(Kicked { order, known })
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.order.iter().map(|id| id.len() + 16 + 16 + 32).sum()
    }
}
