//! What a limit is, and time as it counts for one.

use super::{LIMITS_MAX, NS_PER_MS, SPAN_NS_MAX, TOKENS_MAX, wrong_count};
use crate::refusal::Refusal;

/// A moment, or a stretch of time, exact for one limit: nanoseconds, and parts of one of which `count` make a whole.
/// So three tokens a second come back every 333,333,333⅓ ns, and not a little later each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Exact {
    pub(super) ns: u64,
    pub(super) parts: u64,
}

impl Exact {
    /// Whole nanoseconds.
    pub(super) fn ns(ns: u64) -> Self {
        Exact { ns, parts: 0 }
    }

    /// The first whole nanosecond that is not earlier.
    pub(super) fn ceil_ns(self) -> u64 {
        self.ns + u64::from(self.parts > 0)
    }
}

/// A bucket of `burst` tokens that gets `count` tokens back every `period_ms`, evenly.
///
/// Small, because eight of them are moved about for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Tokens in a full bucket.
    burst: u32,
    /// Parts that a nanosecond has.
    count: u32,
    /// What one token takes to come back: nanoseconds, and parts of one.
    interval_ns: u64,
    interval_parts: u32,
}

impl Limit {
    /// A limit, if its figures make sense: all at least 1, at most a thousand million tokens, and full again within
    /// ten years.
    pub fn new(burst: u64, count: u64, period_ms: u64) -> Result<Self, Refusal> {
        if burst == 0 || count == 0 || period_ms == 0 {
            return Err(Refusal::argument("burst, count and period_ms have to be at least 1"));
        }
        if burst > TOKENS_MAX || count > TOKENS_MAX {
            return Err(Refusal::argument(format!("burst and count are at most {TOKENS_MAX}")));
        }
        let too_long = || Refusal::argument("this limit takes more than ten years from empty to full");
        let period_ns = period_ms.checked_mul(NS_PER_MS).ok_or_else(too_long)?;
        let (interval_ns, parts) = (period_ns / count, period_ns % count);
        interval_ns.checked_mul(burst).filter(|ns| *ns <= SPAN_NS_MAX).ok_or_else(too_long)?;
        // All three are within TOKENS_MAX.
        let limit = Limit { burst: burst as u32, count: count as u32, interval_ns, interval_parts: parts as u32 };
        if limit.fill().ns > SPAN_NS_MAX { Err(too_long()) } else { Ok(limit) }
    }

    /// Tokens in a full bucket.
    pub(super) fn burst(&self) -> u64 {
        u64::from(self.burst)
    }

    fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// What an empty bucket takes to be full.
    fn fill(&self) -> Exact {
        self.span(self.burst())
    }

    /// What so many tokens, at most `burst`, take to come back.
    pub(super) fn span(&self, tokens: u64) -> Exact {
        let ns = self.interval_ns * tokens;
        if self.interval_parts == 0 {
            return Exact::ns(ns);
        }
        let parts = u64::from(self.interval_parts) * tokens;
        Exact { ns: ns + parts / self.count(), parts: parts % self.count() }
    }

    pub(super) fn sum(&self, a: Exact, b: Exact) -> Exact {
        let parts = a.parts + b.parts;
        let carry = u64::from(parts >= self.count());
        Exact { ns: a.ns + b.ns + carry, parts: parts - carry * self.count() }
    }

    /// What is left of `a` after `b` was taken off; nothing if that is more.
    pub(super) fn difference(&self, a: Exact, b: Exact) -> Exact {
        if a <= b {
            return Exact::default();
        }
        let borrow = u64::from(a.parts < b.parts);
        Exact { ns: a.ns - b.ns - borrow, parts: a.parts + borrow * self.count() - b.parts }
    }

    /// A stored moment as it counts for this limit now: an empty bucket is full after `fill`, so nothing that is later
    /// can have been stored for it, unless its figures were others or the clock stepped back.
    pub(super) fn within(&self, full_at: Exact, now_ns: u64) -> Exact {
        let parts = full_at.parts.min(self.count() - 1);
        let latest = self.sum(Exact::ns(now_ns), self.fill());
        Exact { ns: full_at.ns, parts }.clamp(Exact::ns(now_ns), latest)
    }

    /// Tokens in a bucket that is full again after `debt`.
    pub(super) fn tokens(&self, debt: Exact) -> u64 {
        let taken = if self.interval_parts == 0 && debt.parts == 0 {
            debt.ns.div_ceil(self.interval_ns)
        } else {
            let parts_of = |ns: u64, parts: u64| u128::from(ns) * u128::from(self.count) + u128::from(parts);
            let period = parts_of(self.interval_ns, u64::from(self.interval_parts));
            u64::try_from(parts_of(debt.ns, debt.parts).div_ceil(period)).unwrap_or(u64::MAX)
        };
        self.burst().saturating_sub(taken)
    }

    /// How long until a bucket that is full again after `debt` holds `tokens`, at most `burst`.
    pub(super) fn wait(&self, debt: Exact, tokens: u64) -> Exact {
        self.difference(self.sum(debt, self.span(tokens)), self.fill())
    }
}

/// The limits of one call, in a place of their own: asking is too frequent to take memory for each call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    limits: [Limit; LIMITS_MAX],
    len: usize,
}

impl Limits {
    /// Adds a limit. Refuses more than [`LIMITS_MAX`].
    pub fn push(&mut self, limit: Limit) -> Result<(), Refusal> {
        let place = self.limits.get_mut(self.len).ok_or_else(wrong_count)?;
        *place = limit;
        self.len += 1;
        Ok(())
    }

    /// The limits in the order in which they were added.
    pub fn as_slice(&self) -> &[Limit] {
        &self.limits[..self.len]
    }
}
