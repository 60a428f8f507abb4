//! Stops asking a server that answers nothing in time, so that nobody waits for it and it can catch up.
//!
//! A connection that is gone is told by the library at once, and a server that is stopped by the watchdog within seconds.
//! What is left is a server that lives and has too much to do: its answers come, but after everybody has given up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Commands in a row without an answer in time, in number, before callers are told at once: more than the few that one
/// slow command or one lost packet holds up.
const FAILURES_MAX: u32 = 8;
/// Time between two commands that are let through then: often enough that nobody notices when it is over, and four
/// commands a second are no load. In milliseconds.
const OPEN_MS: u64 = 250;

/// Whether a server is worth asking. Times are milliseconds of a clock that only moves on.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// When the next trial may pass.
    trial_at_ms: AtomicU64,
}

impl Breaker {
    /// Whether a command may go out now. While it is open that is one in [`OPEN_MS`], whose fate decides.
    pub(super) fn lets_pass(&self, now_ms: u64) -> bool {
        if self.failures.load(Ordering::Relaxed) < FAILURES_MAX {
            return true;
        }
        let (trial_at, next) = (self.trial_at_ms.load(Ordering::Relaxed), now_ms + OPEN_MS);
        now_ms >= trial_at
            && self.trial_at_ms.compare_exchange(trial_at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The server answered, whatever it said. Returns whether that closes it.
    pub(super) fn answered(&self) -> bool {
        // Nearly always it is 0 already: then nothing is written that other threads share.
        self.failures.load(Ordering::Relaxed) > 0 && self.failures.swap(0, Ordering::Relaxed) >= FAILURES_MAX
    }

    /// No answer came in time. Returns whether that opens it.
    pub(super) fn failed(&self, now_ms: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures == FAILURES_MAX {
            self.trial_at_ms.store(now_ms + OPEN_MS, Ordering::Relaxed);
        }
        failures == FAILURES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000;

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for failure in 1..=FAILURES_MAX {
            assert!(breaker.lets_pass(NOW));
            assert_eq!(breaker.failed(NOW), failure == FAILURES_MAX);
        }
        breaker
    }

    #[test]
    fn so_many_failures_in_a_row_open_it_and_fewer_do_not() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            (1..FAILURES_MAX).for_each(|_| assert!(!breaker.failed(NOW)));
            assert!(!breaker.answered(), "it was not open");
        }
        assert!(breaker.lets_pass(NOW));
        assert!(!opened().lets_pass(NOW));
    }

    #[test]
    fn while_it_is_open_one_command_in_a_while_is_let_through() {
        let breaker = opened();
        for at in [NOW + OPEN_MS, NOW + 2 * OPEN_MS] {
            assert!(!breaker.lets_pass(at - 1));
            assert!(breaker.lets_pass(at), "a trial");
            assert!(!breaker.lets_pass(at), "and only one");
            assert!(!breaker.failed(at), "it was open before");
        }
    }

    #[test]
    fn an_answer_closes_it() {
        let breaker = opened();
        assert!(breaker.answered());
        assert!(breaker.lets_pass(NOW) && breaker.lets_pass(NOW));
        assert!(!breaker.failed(NOW), "the row begins anew");
    }
}
