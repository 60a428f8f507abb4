//! What all connections of a process hold together, bounded: each one's own bound is generous, the sum of them is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Bytes that connections hold together, and how many that may be.
///
/// What several connections share is counted for each: whoever frees memory has to know what it pins, and nobody knows
/// who else still does.
#[derive(Debug)]
pub struct Budget {
    bytes: AtomicUsize,
    bytes_max: usize,
    exceeded: Notify,
}

impl Budget {
    /// Nothing is held yet.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Budget { bytes: AtomicUsize::new(0), bytes_max, exceeded: Notify::new() })
    }

    /// How much is held.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether more is held than may be.
    pub fn is_exceeded(&self) -> bool {
        self.bytes() > self.bytes_max
    }

    /// Whether so little is held that it takes a while until it is too much again.
    pub fn is_relieved(&self) -> bool {
        self.bytes() <= self.bytes_max / 8 * 7
    }

    /// Returns once more is held than may be. For one waiter.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }
}

/// What one connection holds of a budget. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Share { budget: budget.clone(), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The connection holds this much now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            self.budget.bytes.fetch_add(bytes - before, Ordering::Relaxed);
            if self.budget.is_exceeded() {
                self.budget.exceeded.notify_one();
            }
        } else if bytes < before {
            self.budget.bytes.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.budget.is_exceeded()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_add_up_and_are_given_back() {
        let budget = Budget::new(800);
        let (mut one, mut two) = (Share::of(&budget), Share::of(&budget));
        one.set(500);
        two.set(300);
        assert!(!budget.is_exceeded() && !budget.is_relieved());
        two.set(301);
        budget.exceeded().await;
        assert!(two.is_exceeded());
        one.set(100);
        assert_eq!((budget.bytes(), one.bytes()), (401, 100));
        assert!(budget.is_relieved());
        drop((one, two));
        assert_eq!(budget.bytes(), 0);
    }
}
