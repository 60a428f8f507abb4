//! The bucket of one limit, for who keeps it in memory: a front for a connection of its own.

use super::NS_PER_MS;
use super::limit::{Exact, Limit};

/// When a bucket is full again, in nanoseconds of any clock that does not step back. A new one is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket(Exact);

impl Bucket {
    /// How long until there is a token, in milliseconds; 0 if there is one.
    pub fn wait_ms(&self, limit: &Limit, now_ns: u64) -> u64 {
        limit.wait(self.debt(now_ns), 1).ceil_ns().div_ceil(NS_PER_MS)
    }

    /// Takes a token; one that is not there yet is owed.
    pub fn take(&mut self, limit: &Limit, now_ns: u64) {
        self.0 = limit.sum(self.0.max(Exact::ns(now_ns)), limit.span(1));
    }

    fn debt(&self, now_ns: u64) -> Exact {
        let full_at = self.0.max(Exact::ns(now_ns));
        Exact { ns: full_at.ns - now_ns, parts: full_at.parts }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Ask, Limits, take};
    use super::*;

    /// What two servers are asked at the same moments, one of which keeps bytes and one a bucket.
    #[test]
    fn a_bucket_in_memory_decides_as_one_that_is_stored() {
        for (burst, count, period_ms) in [(1, 1, 1), (5, 3, 100), (7, 7, 1000), (30, 30, 60_000), (2, 1000, 999)] {
            let limit = Limit::new(burst, count, period_ms).unwrap();
            let mut limits = Limits::default();
            limits.push(limit).unwrap();
            let ask = Ask { limits, cost: 1, strikes: None };
            let (mut bucket, mut stored, mut now_ns, mut chance) = (Bucket::default(), Vec::new(), 1_000_000_000, 1u64);
            for _ in 0..2_000 {
                // A linear congruence is chance enough for moments (Knuth, The Art of Computer Programming 2, 3.3.4).
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                now_ns += (chance >> 33) % (2 * period_ms * NS_PER_MS / count);
                let decision = take(b"k", &stored, &ask, now_ns).unwrap();
                let wait_ms = bucket.wait_ms(&limit, now_ns);
                assert_eq!(wait_ms, decision.verdict.retry_after_ms.unwrap_or(0), "{limit:?} at {now_ns}");
                if wait_ms == 0 {
                    bucket.take(&limit, now_ns);
                }
                if let Some(store) = decision.store {
                    stored = store.state.as_slice().to_vec();
                }
            }
        }
    }
}
