//! One connection as the rest of the front sees it: `send`, `reply`, `close`, over a queue that is bounded in bytes.
//!
//! Nothing here waits for a socket: whoever sends to a thousand connections is never held up by one of them.

pub mod codec;
pub mod deflate;
mod event;
mod queue;
mod text;
mod utf8;

pub use event::{BATCH_BYTES_MAX, Batch, Class, DEFLATE_BYTES_MIN, Event, Form};
pub use queue::Parcel;
pub use text::Text;

use crate::close::CloseReason;
use queue::{Overflow, Queue};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Queued bytes above which ephemeral events are dropped: what is behind by 64 KiB has no use for a cursor.
pub const EPHEMERAL_BYTES_MAX: usize = 64 * 1024;
/// Queued bytes of replies above which no further command is read.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// The sending half of a connection.
#[derive(Debug)]
pub struct Conn {
    /// Chosen by the front; clients see it.
    pub id: Arc<str>,
    queue_bytes_max: usize,
    /// Tells the session that something it waits for may have come: room in the queue, or the end.
    changed: Notify,
    outlet: Pulled,
}

/// An outlet that comes for what waits, when it can take it.
#[derive(Debug, Default)]
struct Pulled {
    state: Mutex<PulledState>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct PulledState {
    queue: Queue<Parcel>,
    closing: Option<CloseReason>,
}

impl Conn {
    /// A connection whose outlet takes what is queued by [`Conn::pull`].
    pub fn pulled(id: &str, queue_bytes_max: usize) -> Arc<Self> {
        Arc::new(Conn { id: id.into(), queue_bytes_max, changed: Notify::new(), outlet: Pulled::default() })
    }

    /// Sends events. If durable ones no longer fit, the connection is closed: the client resumes without loss.
    pub fn send(&self, batch: &Batch) {
        self.offer(|queue| queue.offer_batch(batch, self.queue_bytes_max));
    }

    /// Sends the answer to a command.
    pub fn reply(&self, text: String) {
        self.offer(|queue| queue.offer(&Class::Reply, Parcel::Reply(text.into()), self.queue_bytes_max));
    }

    /// Asks the other side for a sign of life.
    pub fn ping(&self) {
        self.offer(|queue| queue.offer(&Class::Reply, Parcel::Ping, self.queue_bytes_max));
    }

    fn offer(&self, offer: impl FnOnce(&mut Queue<Parcel>) -> Result<(), Overflow>) {
        let mut state = self.outlet.lock();
        if state.closing.is_some() {
            return;
        }
        let offered = offer(&mut state.queue);
        drop(state);
        match offered {
            Ok(()) => self.outlet.arrived.notify_one(),
            Err(Overflow) => self.close(CloseReason::Slow),
        }
    }

    /// Ends the connection, after what is queued if the reason allows. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let mut state = self.outlet.lock();
        if state.closing.is_some() {
            return;
        }
        state.closing = Some(reason);
        if !reason.drains() {
            state.queue = Queue::default();
        }
        drop(state);
        self.outlet.arrived.notify_one();
        self.changed.notify_one();
    }

    /// Whether the connection is ending, and why.
    pub fn closing(&self) -> Option<CloseReason> {
        self.outlet.lock().closing
    }

    /// Whether so many replies wait that no further command should be read.
    pub fn is_congested(&self) -> bool {
        self.outlet.lock().queue.reply_bytes() > REPLY_BYTES_MAX
    }

    /// Returns once the connection may no longer be congested, has been closed, or was woken. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The next thing to write; `None` once the connection has been closed and all is written. For one caller.
    pub async fn pull(&self) -> Option<Parcel> {
        loop {
            let arrived = self.outlet.arrived.notified();
            {
                let mut state = self.outlet.lock();
                if let Some(parcel) = state.queue.pop() {
                    if state.queue.reply_bytes() == 0 {
                        self.changed.notify_one();
                    }
                    return Some(parcel);
                }
                if state.closing.is_some() {
                    return None;
                }
            }
            arrived.await;
        }
    }
}

impl Pulled {
    fn lock(&self) -> MutexGuard<'_, PulledState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
