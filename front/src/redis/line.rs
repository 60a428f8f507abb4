//! Keeps commands of a room that are tried again in the order in which they came.
//!
//! Whoever writes twice expects the second behind the first, and a write that many later ones of its client overtook is
//! refused for good: nobody could tell it from one that is forgotten. So a command that comes while others of its room wait
//! stands behind them, and they go one after the other. Where nothing waits, nothing is counted but a number.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Commands that wait at once, in number, over all rooms: beyond it callers are told at once.
const WAITING_MAX: usize = 10_000;

/// The lines of all rooms.
#[derive(Debug, Default)]
pub(super) struct Lines {
    next: AtomicU64,
    waiting: AtomicUsize,
    by_channel: Mutex<HashMap<String, BTreeMap<Ticket, Arc<Notify>>>>,
}

/// When a command came.
pub(super) type Ticket = u64;

/// A place in the line of a room; dropping it lets the next one go.
pub(super) struct Place<'a> {
    lines: &'a Lines,
    channel: &'a str,
    ticket: Ticket,
    turn: Arc<Notify>,
}

impl Lines {
    /// A command came; it need not wait yet.
    pub(super) fn ticket(&self) -> Ticket {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether any command of a room waits.
    pub(super) fn has(&self, channel: &str) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 && self.lock().contains_key(channel)
    }

    /// Stands in line, in the order of tickets; `None` if too many wait.
    pub(super) fn stand<'a>(&'a self, channel: &'a str, ticket: Ticket) -> Option<Place<'a>> {
        let mut lines = self.lock();
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return None;
        }
        self.waiting.fetch_add(1, Ordering::Release);
        let turn = Arc::new(Notify::new());
        lines.entry(channel.to_owned()).or_default().insert(ticket, turn.clone());
        Some(Place { lines: self, channel, ticket, turn })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<Ticket, Arc<Notify>>>> {
        self.by_channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Returns when nobody who came earlier waits any more.
    pub(super) async fn turn(&self) {
        while !self.is_first() {
            self.turn.notified().await;
        }
    }

    fn is_first(&self) -> bool {
        let lines = self.lines.lock();
        lines.get(self.channel).and_then(BTreeMap::first_key_value).is_none_or(|(first, _)| *first == self.ticket)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        self.lines.waiting.fetch_sub(1, Ordering::Release);
        let Some(line) = lines.get_mut(self.channel) else { return };
        line.remove(&self.ticket);
        match line.first_key_value() {
            Some((_, next)) => next.notify_one(),
            None => drop(lines.remove(self.channel)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn who_came_first_goes_first_whenever_they_began_to_wait() {
        let lines = Lines::default();
        let (early, late) = (lines.ticket(), lines.ticket());
        assert!(!lines.has("room"));
        let second = lines.stand("room", late).unwrap();
        assert!(second.turn().now_or_never().is_some(), "nobody else waits yet");
        let first = lines.stand("room", early).unwrap();
        assert!(second.turn().now_or_never().is_none());
        assert!(first.turn().now_or_never().is_some());
        assert!(lines.has("room") && !lines.has("elsewhere"));
        let waiting = second.turn();
        drop(first);
        waiting.await;
        drop(second);
        assert!(!lines.has("room"));
    }

    #[test]
    fn so_many_may_wait_and_no_more() {
        let lines = Lines::default();
        let places: Vec<Place<'_>> = (0..WAITING_MAX as u64).map(|n| lines.stand("room", n).unwrap()).collect();
        assert!(lines.stand("room", 1 << 40).is_none());
        drop(places);
        assert!(lines.stand("room", 0).is_some());
    }
}
