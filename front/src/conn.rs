//! One connection as the rest of the front sees it: `send`, `reply`, `close`, over a queue that is bounded in bytes.
//!
//! Nothing here waits for a socket: whoever sends to a thousand connections is never held up by one of them. A writer
//! per connection takes what is queued, feeds all of it and flushes once, so batches form by themselves under load.

use crate::close::CloseReason;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use futures_util::{Sink, SinkExt};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Queued bytes above which ephemeral events are dropped: what is behind by 64 KiB has no use for a cursor.
pub const EPHEMERAL_BYTES_MAX: usize = 64 * 1024;
/// Queued bytes of replies above which no further command is read.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// What may happen to a text on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Answers a command; bounded because reading stops while many wait.
    Reply,
    /// Never dropped: the connection is closed instead.
    Durable,
    /// Dropped when much waits; replaced by a newer one in the same slot.
    Ephemeral(Option<Arc<str>>),
    /// A WebSocket ping, not a text.
    Ping,
}

/// The sending half of a connection.
pub struct Conn {
    /// Chosen by the front; clients see it.
    pub id: Arc<str>,
    queue: Mutex<Queue>,
    queue_bytes_max: usize,
    wake: Notify,
    drained: Notify,
    cut: Notify,
    ended: Notify,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<(Class, Utf8Bytes)>,
    /// How many items left before: item `n` of all stands at `n - gone`.
    gone: u64,
    /// Where the queued item of a slot stands, counted from the first item of all.
    slots: HashMap<Arc<str>, u64>,
    event_bytes: usize,
    reply_bytes: usize,
    closing: Option<CloseReason>,
}

enum Next {
    Send(Message),
    Flush,
    Close(CloseReason),
}

impl Conn {
    /// A connection with an empty queue.
    pub fn new(id: &str, queue_bytes_max: usize) -> Arc<Self> {
        Arc::new(Conn {
            id: id.into(),
            queue: Mutex::default(),
            queue_bytes_max,
            wake: Notify::new(),
            drained: Notify::new(),
            cut: Notify::new(),
            ended: Notify::new(),
        })
    }

    /// Queues a text. A durable event that no longer fits closes the connection: the client resumes without loss.
    pub fn send(&self, class: Class, text: Utf8Bytes) {
        let mut queue = self.lock();
        if queue.closing.is_some() {
            return;
        }
        match &class {
            Class::Reply | Class::Ping => {}
            // A single event may be larger than the bound; it only must not wait behind others.
            Class::Durable if queue.event_bytes > 0 && queue.event_bytes + text.len() > self.queue_bytes_max => {
                drop(queue);
                return self.close(CloseReason::Slow);
            }
            Class::Durable => {}
            Class::Ephemeral(slot) => {
                if slot.as_ref().is_some_and(|slot| queue.replace(slot, &text)) {
                    return;
                }
                if queue.event_bytes + text.len() > EPHEMERAL_BYTES_MAX {
                    return;
                }
            }
        }
        queue.push(class, text);
        drop(queue);
        self.wake.notify_one();
    }

    /// Queues the answer to a command.
    pub fn reply(&self, text: String) {
        self.send(Class::Reply, text.into());
    }

    /// Ends the connection, after what is queued if the reason allows. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.lock();
        if queue.closing.is_some() {
            return;
        }
        queue.closing = Some(reason);
        if !reason.drains() {
            queue.clear();
            self.cut.notify_one();
        }
        drop(queue);
        self.wake.notify_one();
        self.ended.notify_one();
    }

    /// Returns once somebody has closed the connection.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Whether the connection is ending, and why.
    pub fn closing(&self) -> Option<CloseReason> {
        self.lock().closing
    }

    /// Whether so many replies wait that no further command should be read.
    pub fn is_congested(&self) -> bool {
        self.lock().reply_bytes > REPLY_BYTES_MAX
    }

    /// Returns after the queue ran empty once more.
    pub async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Writes what is queued until the connection ends; returns why, if this side ended it.
    pub async fn write_to<S>(&self, mut socket: S) -> Result<CloseReason, S::Error>
    where
        S: Sink<Message> + Unpin,
    {
        let mut unflushed = false;
        loop {
            let next = self.lock().next();
            match next {
                Next::Send(message) => {
                    unflushed = true;
                    tokio::select! {
                        fed = socket.feed(message) => fed?,
                        () = self.cut.notified() => {}
                    }
                }
                Next::Flush if unflushed => {
                    unflushed = false;
                    tokio::select! {
                        flushed = socket.flush() => flushed?,
                        () = self.cut.notified() => {}
                    }
                }
                Next::Flush => {
                    self.drained.notify_one();
                    self.wake.notified().await;
                }
                Next::Close(reason) => {
                    let frame = CloseFrame { code: reason.code(), reason: reason.as_str().into() };
                    socket.send(Message::Close(Some(frame))).await?;
                    return Ok(reason);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, class: Class, text: Utf8Bytes) {
        match &class {
            Class::Reply => self.reply_bytes += text.len(),
            Class::Durable | Class::Ephemeral(_) => self.event_bytes += text.len(),
            Class::Ping => {}
        }
        if let Class::Ephemeral(Some(slot)) = &class {
            self.slots.insert(slot.clone(), self.gone + self.items.len() as u64);
        }
        self.items.push_back((class, text));
    }

    /// Puts `text` in the place of the queued item of the same slot, if there is one.
    fn replace(&mut self, slot: &Arc<str>, text: &Utf8Bytes) -> bool {
        let at = self.slots.get(slot).map(|number| (number - self.gone) as usize);
        let Some((_, queued)) = at.and_then(|at| self.items.get_mut(at)) else {
            return false;
        };
        self.event_bytes = self.event_bytes - queued.len() + text.len();
        *queued = text.clone();
        true
    }

    fn next(&mut self) -> Next {
        let Some((class, text)) = self.items.pop_front() else {
            return self.closing.map_or(Next::Flush, Next::Close);
        };
        self.gone += 1;
        match class {
            Class::Reply => self.reply_bytes -= text.len(),
            Class::Durable | Class::Ephemeral(None) => self.event_bytes -= text.len(),
            Class::Ephemeral(Some(slot)) => {
                self.event_bytes -= text.len();
                self.slots.remove(&slot);
            }
            Class::Ping => return Next::Send(Message::Ping(Default::default())),
        }
        Next::Send(Message::Text(text))
    }

    fn clear(&mut self) {
        self.gone += self.items.len() as u64;
        self.items.clear();
        self.slots.clear();
        (self.event_bytes, self.reply_bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn() -> Arc<Conn> {
        Conn::new("k1", 100)
    }
    fn queued(conn: &Conn) -> Vec<String> {
        conn.lock().items.iter().map(|(_, text)| text.to_string()).collect()
    }
    fn slot(name: &str) -> Class {
        Class::Ephemeral(Some(name.into()))
    }

    #[test]
    fn newer_ephemeral_events_replace_queued_ones_of_their_slot() {
        let conn = conn();
        conn.send(slot("a"), "a1".into());
        conn.send(Class::Durable, "d".into());
        conn.send(slot("b"), "b1".into());
        conn.send(slot("a"), "a22".into());
        assert_eq!(queued(&conn), ["a22", "d", "b1"]);
        assert!(matches!(conn.lock().next(), Next::Send(_)));
        conn.send(slot("a"), "a3".into());
        assert_eq!(queued(&conn), ["d", "b1", "a3"]);
        assert_eq!(conn.lock().event_bytes, 5);
    }

    #[test]
    fn ephemeral_events_are_dropped_when_much_waits() {
        let conn = Conn::new("k1", 1024 * 1024);
        conn.send(Class::Durable, "x".repeat(EPHEMERAL_BYTES_MAX).into());
        conn.send(Class::Ephemeral(None), "e".into());
        assert_eq!(queued(&conn).len(), 1);
        assert_eq!(conn.closing(), None);
    }

    #[test]
    fn a_connection_that_cannot_keep_up_with_durable_events_is_closed() {
        let conn = conn();
        conn.send(Class::Durable, "x".repeat(500).into());
        assert_eq!(conn.closing(), None, "one event may be larger than the bound");
        conn.send(Class::Durable, "y".into());
        assert_eq!(conn.closing(), Some(CloseReason::Slow));
        assert!(queued(&conn).is_empty());
    }

    #[test]
    fn replies_never_close_but_stop_the_reading() {
        let conn = conn();
        conn.reply("x".repeat(REPLY_BYTES_MAX + 1));
        assert!(conn.is_congested() && conn.closing().is_none());
    }

    #[test]
    fn the_first_reason_to_close_stays_and_comes_after_what_is_queued() {
        let conn = conn();
        conn.reply("bye".into());
        conn.close(CloseReason::Shutdown);
        conn.close(CloseReason::Slow);
        conn.reply("too late".into());
        assert!(matches!(conn.lock().next(), Next::Send(_)));
        assert!(matches!(conn.lock().next(), Next::Close(CloseReason::Shutdown)));
    }
}
