//! An outlet that comes for what waits when it can take it, and writes its own form of it.

use super::budget::{Budget, Share};
use super::event::{Batch, Class};
use super::queue::{Overflow, Parcel, Queue};
use super::{REPLY_BYTES_MAX, Text};
use crate::close::CloseReason;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::Notify;

/// An outlet that can write by itself while nothing waits: to wake a task for each event of each connection costs more than
/// to write it.
pub(crate) trait Express: Send + Sync {
    /// Writes these events at once, or leaves it if it cannot: then they are queued.
    fn take(self: Arc<Self>, batch: &Batch) -> bool;
}

pub(super) struct Pulled {
    /// Commands come over the connection, too.
    pub(super) hears_commands: bool,
    state: Mutex<State>,
    arrived: Notify,
    express: OnceLock<Weak<dyn Express>>,
}

impl fmt::Debug for Pulled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulled").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    queue: Queue<Parcel>,
    /// What the queue holds of all queues' budget.
    share: Share,
    closing: Option<CloseReason>,
    /// Something was taken out and is not on its way yet: nothing may overtake it.
    is_in_hand: bool,
}

impl State {
    fn settle(&mut self) {
        self.share.set(self.queue.bytes());
    }
}

impl Pulled {
    pub(super) fn new(total: &Arc<Budget>, hears_commands: bool) -> Self {
        let state = State { queue: Queue::default(), share: Share::of(total), closing: None, is_in_hand: false };
        Pulled { hears_commands, state: Mutex::new(state), arrived: Notify::new(), express: OnceLock::new() }
    }

    /// Asks this outlet first from now on. The first one stays.
    pub(super) fn express(&self, outlet: Weak<dyn Express>) {
        let _ = self.express.set(outlet);
    }

    /// What was taken out is on its way.
    pub(super) fn put_down(&self) {
        self.lock().is_in_hand = false;
    }

    pub(super) fn send(&self, batch: &Batch, durable_bytes_max: usize) -> Result<(), Overflow> {
        // Whatever comes before these events was offered before: if nothing waits now, nothing is overtaken.
        if let Some(outlet) = self.express.get().and_then(Weak::upgrade)
            && self.is_at_rest()
            && outlet.take(batch)
        {
            return Ok(());
        }
        self.offer(|queue| queue.offer_batch(batch, durable_bytes_max))
    }

    pub(super) fn reply(&self, text: Text) {
        // Answers always fit.
        let _ = self.offer(|queue| queue.offer(&Class::Reply, Parcel::Reply(text), usize::MAX));
    }

    pub(super) fn ping(&self) {
        let _ = self.offer(|queue| queue.offer(&Class::Reply, Parcel::Ping, usize::MAX));
    }

    fn offer(&self, offer: impl FnOnce(&mut Queue<Parcel>) -> Result<(), Overflow>) -> Result<(), Overflow> {
        let mut state = self.lock();
        if state.closing.is_none() {
            offer(&mut state.queue)?;
            state.settle();
            self.arrived.notify_one();
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && !state.is_in_hand && state.closing.is_none()
    }

    /// Returns whether this is the first reason.
    pub(super) fn close(&self, reason: CloseReason) -> bool {
        let mut state = self.lock();
        if state.closing.is_some() {
            return false;
        }
        state.closing = Some(reason);
        if !reason.drains() {
            state.queue = Queue::default();
            state.settle();
        }
        self.arrived.notify_one();
        true
    }

    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.lock().closing
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.lock().share.bytes()
    }

    pub(super) fn is_congested(&self) -> bool {
        self.lock().queue.reply_bytes() > REPLY_BYTES_MAX
    }

    pub(super) async fn pull(&self, changed: &Notify) -> Option<Parcel> {
        loop {
            {
                let mut state = self.lock();
                let was_congested = state.queue.reply_bytes() > REPLY_BYTES_MAX;
                if let Some(parcel) = state.queue.pop() {
                    state.settle();
                    state.is_in_hand = true;
                    if was_congested && state.queue.reply_bytes() <= REPLY_BYTES_MAX {
                        changed.notify_one();
                    }
                    return Some(parcel);
                }
                if state.closing.is_some() {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
