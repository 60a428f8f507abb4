//! What waits for one connection, bounded in bytes by class, in the order in which it was sent.

use super::event::{Batch, Class, Event};
use super::{EPHEMERAL_BYTES_MAX, Text};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What can wait.
pub(super) trait Weight {
    /// What it counts towards the bounds.
    fn bytes(&self) -> usize;
}

impl Weight for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// What an outlet takes that writes its own form of everything: one item of [`Conn::pull`](super::Conn::pull).
#[derive(Debug, Clone)]
pub enum Parcel {
    /// An event of a room.
    Event(Arc<str>, Arc<Event>),
    /// The answer to a command.
    Reply(Text),
    /// A sign of life.
    Ping,
}

impl Weight for Parcel {
    fn bytes(&self) -> usize {
        match self {
            Parcel::Event(_, event) => event.bytes(),
            Parcel::Reply(text) => text.len(),
            Parcel::Ping => 0,
        }
    }
}

/// A durable item did not fit: the connection is too slow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// Items with their classes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    items: VecDeque<(Class, T)>,
    /// How many items left before: item `n` of all stands at `n - gone`.
    gone: u64,
    /// Where the queued item of a slot stands, counted from the first item of all.
    slots: HashMap<Arc<str>, u64>,
    event_bytes: usize,
    reply_bytes: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { items: VecDeque::new(), gone: 0, slots: HashMap::new(), event_bytes: 0, reply_bytes: 0 }
    }
}

impl<T: Weight> Queue<T> {
    /// Takes an item in, drops it, or lets it replace an older one, as its class says.
    pub(super) fn offer(&mut self, class: &Class, item: T, durable_bytes_max: usize) -> Result<(), Overflow> {
        match class {
            Class::Reply => {}
            // A single event may be larger than the bound; it only must not wait behind others.
            Class::Durable if self.event_bytes > 0 && self.event_bytes + item.bytes() > durable_bytes_max => {
                return Err(Overflow);
            }
            Class::Durable => {}
            Class::Ephemeral(slot) => {
                let Some(item) = self.replace(slot.as_ref(), item) else { return Ok(()) };
                // As above: what is large by itself goes if nothing is before it.
                if self.event_bytes == 0 || self.event_bytes + item.bytes() <= EPHEMERAL_BYTES_MAX {
                    self.push(class.clone(), item);
                }
                return Ok(());
            }
        }
        self.push(class.clone(), item);
        Ok(())
    }

    fn push(&mut self, class: Class, item: T) {
        match &class {
            Class::Reply => self.reply_bytes += item.bytes(),
            Class::Durable | Class::Ephemeral(None) => self.event_bytes += item.bytes(),
            Class::Ephemeral(Some(slot)) => {
                self.event_bytes += item.bytes();
                self.slots.insert(slot.clone(), self.gone + self.items.len() as u64);
            }
        }
        self.items.push_back((class, item));
    }

    /// Puts an item in the place of the queued one of the same slot; gives it back if there is none.
    fn replace(&mut self, slot: Option<&Arc<str>>, item: T) -> Option<T> {
        let at = slot.and_then(|slot| self.slots.get(slot)).map(|number| (number - self.gone) as usize);
        let Some((_, queued)) = at.and_then(|at| self.items.get_mut(at)) else { return Some(item) };
        self.event_bytes = self.event_bytes - queued.bytes() + item.bytes();
        *queued = item;
        None
    }

    /// The oldest item.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (class, item) = self.items.pop_front()?;
        self.gone += 1;
        match class {
            Class::Reply => self.reply_bytes -= item.bytes(),
            Class::Durable | Class::Ephemeral(None) => self.event_bytes -= item.bytes(),
            Class::Ephemeral(Some(slot)) => {
                self.event_bytes -= item.bytes();
                self.slots.remove(&slot);
            }
        }
        Some(item)
    }

    /// All items, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.event_bytes + self.reply_bytes
    }

    /// Bytes of answers that wait.
    pub(super) fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }
}

impl Queue<Parcel> {
    /// Takes in what a room sends.
    pub(super) fn offer_batch(&mut self, batch: &Batch, durable_bytes_max: usize) -> Result<(), Overflow> {
        batch.events().iter().try_for_each(|event| {
            let parcel = Parcel::Event(batch.room().clone(), event.clone());
            self.offer(&event.class, parcel, durable_bytes_max)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 100;

    fn queued(queue: &Queue<Bytes>) -> Vec<String> {
        queue.iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect()
    }
    fn slot(name: &str) -> Class {
        Class::Ephemeral(Some(name.into()))
    }
    fn offer(queue: &mut Queue<Bytes>, class: Class, text: &str) -> Result<(), Overflow> {
        queue.offer(&class, Bytes::copy_from_slice(text.as_bytes()), BYTES_MAX)
    }

    #[test]
    fn newer_ephemeral_items_replace_queued_ones_of_their_slot() {
        let mut queue = Queue::default();
        for (class, text) in [(slot("a"), "a1"), (Class::Durable, "d"), (slot("b"), "b1"), (slot("a"), "a22")] {
            offer(&mut queue, class, text).unwrap();
        }
        assert_eq!(queued(&queue), ["a22", "d", "b1"]);
        assert_eq!(queue.pop().unwrap(), "a22");
        offer(&mut queue, slot("a"), "a3").unwrap();
        assert_eq!(queued(&queue), ["d", "b1", "a3"]);
        assert_eq!(queue.event_bytes, 5);
    }

    #[test]
    fn ephemeral_items_are_dropped_when_much_waits() {
        let mut queue = Queue::default();
        offer(&mut queue, Class::Durable, &"x".repeat(EPHEMERAL_BYTES_MAX)).unwrap();
        offer(&mut queue, Class::Ephemeral(None), "e").unwrap();
        assert_eq!(queued(&queue).len(), 1);
        queue.pop();
        for text in ["large", "dropped"] {
            offer(&mut queue, Class::Ephemeral(None), &text.repeat(EPHEMERAL_BYTES_MAX)).unwrap();
        }
        assert_eq!(queued(&queue), ["large".repeat(EPHEMERAL_BYTES_MAX)], "one may be larger than the bound");
    }

    #[test]
    fn durable_items_overflow_unless_they_are_alone() {
        let mut queue = Queue::default();
        offer(&mut queue, Class::Durable, &"x".repeat(500)).unwrap();
        assert_eq!(offer(&mut queue, Class::Durable, "y"), Err(Overflow));
    }

    #[test]
    fn replies_are_counted_apart_and_always_fit() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            offer(&mut queue, Class::Reply, &"x".repeat(BYTES_MAX)).unwrap();
        }
        assert_eq!((queue.reply_bytes(), queue.event_bytes), (3 * BYTES_MAX, 0));
        while queue.pop().is_some() {}
        assert_eq!(queue.reply_bytes(), 0);
    }
}
