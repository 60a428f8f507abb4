//! How a front takes leave: first it says that it is not ready, then its people go batch by batch.
//!
//! Everybody at once would be a storm at the fronts that stay. A connection draws its batch by itself, so nobody has to
//! keep a list.

use crate::chance;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Batches in which everybody leaves: each is 5 % of all.
const BATCHES_MAX: usize = 20;
/// Connections that are worth a batch of their own.
const BATCH_MIN: usize = 10;
/// People are asked to come back this much later for each connection there is: a hundred arrive per second.
const RETURN_PER_CONNECTION: Duration = Duration::from_millis(10);
/// Latest time at which people are asked to come back.
const RETURN_MAX: Duration = Duration::from_secs(5);

/// How far the front has come with it.
#[derive(Default)]
pub(crate) struct Drain {
    announced: CancellationToken,
    begun: CancellationToken,
    plan: OnceLock<Plan>,
}

#[derive(Debug)]
struct Plan {
    began: Instant,
    batches: usize,
    interval: Duration,
    return_within: Duration,
}

impl Drain {
    /// From now on the front says that it is not ready.
    pub(crate) fn announce(&self) {
        self.announced.cancel();
    }

    /// From now on nobody comes in, and so many connections leave within `over`.
    pub(crate) fn begin(&self, connections: usize, over: Duration) {
        let _ = self.plan.set(Plan {
            began: Instant::now(),
            batches: connections.div_ceil(BATCH_MIN).clamp(1, BATCHES_MAX),
            interval: over / BATCHES_MAX as u32,
            return_within: RETURN_PER_CONNECTION.saturating_mul(connections as u32).min(RETURN_MAX),
        });
        self.begun.cancel();
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Returns once nobody comes in any more.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// When a connection should leave: that of a batch drawn by chance.
    pub(crate) fn leave_at(&self) -> Instant {
        let Some(plan) = self.plan.get() else { return Instant::now() };
        let batch = u32::from_le_bytes(chance::bytes()) % plan.batches as u32;
        plan.began + plan.interval * batch
    }

    /// After how long somebody should come back, elsewhere.
    pub(crate) fn return_after(&self) -> Duration {
        chance::jitter(self.plan.get().map_or(RETURN_MAX, |plan| plan.return_within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_leave_at_once_and_many_in_batches() {
        let drain = Drain::default();
        drain.begin(BATCH_MIN, Duration::from_secs(5));
        assert!((0..100).all(|_| drain.leave_at() <= Instant::now()));
        assert!((0..100).all(|_| drain.return_after() <= Duration::from_millis(100)));

        let drain = Drain::default();
        drain.begin(1000, Duration::from_secs(5));
        let (began, mut batches) = (drain.plan.get().unwrap().began, [0; BATCHES_MAX]);
        for _ in 0..10_000 {
            batches[((drain.leave_at() - began).as_millis() / 250) as usize] += 1;
        }
        // 500 each on average, with a standard deviation of 22.
        assert!(batches.iter().all(|count| (350..650).contains(count)), "{batches:?}");
        assert!((0..100).all(|_| drain.return_after() <= RETURN_MAX));
    }
}
