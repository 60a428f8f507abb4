//! What a front remembers for its clients of Socket.IO, whose events name more than those of Stoa: the names of users,
//! whose connection is whose, and messages as they stand.
//!
//! Everything here may be forgotten at any time: it came from the rooms and can be asked of them again.

use serde_json::Value;
use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Users whose names are remembered, in number: those of some full rooms.
const NAMES_MAX: usize = 32_768;
/// Connections with a cursor, in number.
const CONNECTIONS_MAX: usize = 32_768;
/// Messages that may still change, in bytes as JSON: the newest of some thousand rooms.
const MESSAGES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A table that forgets what came first.
#[derive(Debug)]
struct Bounded<K, V> {
    map: HashMap<K, (V, usize)>,
    order: VecDeque<K>,
    weight: usize,
    weight_max: usize,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn new(weight_max: usize) -> Self {
        Bounded { map: HashMap::new(), order: VecDeque::new(), weight: 0, weight_max }
    }

    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key).map(|(value, _)| value)
    }

    fn put(&mut self, key: K, value: V, weight: usize) {
        match self.map.insert(key.clone(), (value, weight)) {
            Some((_, before)) => self.weight -= before,
            None => self.order.push_back(key),
        }
        self.weight += weight;
        while self.weight > self.weight_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.weight -= self.map.remove(&oldest).map_or(0, |(_, weight)| weight);
        }
    }
}

/// A message as it stood after a revision of its log.
#[derive(Debug)]
struct Kept {
    rev: u64,
    message: Value,
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Known {
    names: Mutex<Bounded<Arc<str>, Arc<str>>>,
    connections: Mutex<Bounded<Arc<str>, Arc<str>>>,
    messages: Mutex<Bounded<(Arc<str>, u64), Kept>>,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            names: Mutex::new(Bounded::new(NAMES_MAX)),
            connections: Mutex::new(Bounded::new(CONNECTIONS_MAX)),
            messages: Mutex::new(Bounded::new(MESSAGES_BYTES_MAX)),
        }
    }
}

impl Known {
    /// What a user is called, as presence or the token told it; else their id.
    pub(super) fn name(&self, user: &str) -> Arc<str> {
        self.told_name(user).unwrap_or_else(|| user.into())
    }

    /// What a user is called, if that was told.
    pub(super) fn told_name(&self, user: &str) -> Option<Arc<str>> {
        lock(&self.names).get(user).cloned()
    }

    pub(super) fn note_name(&self, user: &str, name: &str) {
        let mut names = lock(&self.names);
        if names.get(user).is_none_or(|known| **known != *name) {
            names.put(user.into(), name.into(), 1);
        }
    }

    /// Whose connection it is.
    pub(super) fn user_of(&self, connection: &str) -> Option<Arc<str>> {
        lock(&self.connections).get(connection).cloned()
    }

    pub(super) fn note_connection(&self, connection: &str, user: &str) {
        let mut connections = lock(&self.connections);
        if connections.get(connection).is_none() {
            connections.put(connection.into(), user.into(), 1);
        }
    }

    /// Remembers a message of a room as it stands after `rev`.
    pub(super) fn note_message(&self, room: &str, rev: u64, message: &Value) {
        let Some(n) = message["n"].as_u64() else { return };
        let mut messages = lock(&self.messages);
        let key = (Arc::from(room), n);
        if messages.get(&key).is_none_or(|kept| kept.rev <= rev) {
            let weight = weight(message);
            messages.put(key, Kept { rev, message: message.clone() }, weight);
        }
    }

    /// Changes a message that is remembered, unless it is newer already, and tells how it stands then. `None` if it is
    /// not remembered, or `change` cannot say what becomes of it.
    pub(super) fn change_message(
        &self,
        room: &str,
        n: u64,
        rev: u64,
        change: impl FnOnce(&mut Value) -> Option<()>,
    ) -> Option<Value> {
        let mut messages = lock(&self.messages);
        let key = (Arc::from(room), n);
        let kept = messages.get(&key)?;
        if kept.rev >= rev {
            return Some(kept.message.clone());
        }
        let mut message = kept.message.clone();
        change(&mut message)?;
        let weight = weight(&message);
        messages.put(key, Kept { rev, message: message.clone() }, weight);
        Some(message)
    }

    /// Forgets the messages of a room whose history was replaced.
    pub(super) fn forget_room(&self, room: &str) {
        let mut messages = lock(&self.messages);
        let gone: Vec<_> = messages.order.iter().filter(|(of, _)| **of == *room).cloned().collect();
        if gone.is_empty() {
            return;
        }
        for key in gone {
            let weight = messages.map.remove(&key).map_or(0, |(_, weight)| weight);
            messages.weight -= weight;
        }
        let Bounded { map, order, .. } = &mut *messages;
        order.retain(|key| map.contains_key(key));
    }
}

/// What a message takes, about.
fn weight(message: &Value) -> usize {
    match message {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 32 + text.len(),
        Value::Array(values) => 32 + values.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => 64 + fields.iter().map(|(name, value)| 48 + name.len() + weight(value)).sum::<usize>(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_oldest_is_forgotten_first_and_weights_add_up() {
        let mut table = Bounded::new(3);
        for key in ["a", "b", "a", "c", "d"] {
            table.put(key, (), 1);
        }
        assert!(table.get("a").is_none() && table.get("b").is_some() && table.get("d").is_some());
        assert_eq!((table.weight, table.order.len(), table.map.len()), (3, 3, 3));
        table.put("b", (), 3);
        assert!(table.weight <= 3 && table.order.len() == table.map.len());
    }

    #[test]
    fn an_older_change_leaves_a_newer_message_alone() {
        let known = Known::default();
        known.note_message("r", 5, &json!({"n": 1, "body": "five"}));
        known.note_message("r", 4, &json!({"n": 1, "body": "four"}));
        let same = known.change_message("r", 1, 5, |_| panic!("it is newer already")).unwrap();
        assert_eq!(same["body"], "five");
        let change = |message: &mut Value| {
            message["body"] = json!("six");
            Some(())
        };
        assert_eq!(known.change_message("r", 1, 6, change).unwrap()["body"], "six");
        assert!(known.change_message("r", 2, 7, change).is_none());
        known.forget_room("r");
        assert!(known.change_message("r", 1, 7, change).is_none());
    }

    #[test]
    fn a_name_is_the_newest_that_was_told() {
        let known = Known::default();
        assert_eq!(&*known.name("ada"), "ada");
        known.note_name("ada", "Ada");
        known.note_name("ada", "Ada L.");
        assert_eq!(&*known.name("ada"), "Ada L.");
    }
}
