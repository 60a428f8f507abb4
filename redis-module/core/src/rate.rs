//! Limits: the generic cell rate algorithm (ITU-T I.371), several limits decided together.
//!
//! A limit stores one number, the theoretical arrival time: when the bucket would be full again. Time counts in
//! nanoseconds, so that one per day and a million per second are equally exact and no fraction is ever forgotten.

use crate::refusal::Refusal;

/// Most limits decided in one call.
pub const LIMITS_MAX: usize = 8;
/// Longest time from empty to full, in nanoseconds: ten years.
const FILL_NS_MAX: u64 = 10 * 366 * 86_400 * 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
/// Leads the stored bytes.
const STATE_VERSION: u8 = 1;

/// A bucket of `burst` tokens that is refilled with `count` tokens every `period_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Tokens in a full bucket.
    burst: u64,
    /// Nanoseconds that one token takes to come back, rounded up.
    interval_ns: u64,
}

impl Limit {
    /// A limit, if its figures make sense: all at least 1, and full again within ten years.
    pub fn new(burst: u64, count: u64, period_ms: u64) -> Result<Self, Refusal> {
        if burst == 0 || count == 0 || period_ms == 0 {
            return Err(Refusal::argument("burst, count and period_ms have to be at least 1"));
        }
        let interval_ns = period_ms.checked_mul(NS_PER_MS).map(|period_ns| period_ns.div_ceil(count));
        let fill_ns = interval_ns.and_then(|interval_ns| interval_ns.checked_mul(burst));
        match (interval_ns, fill_ns) {
            (Some(interval_ns), Some(fill_ns)) if fill_ns <= FILL_NS_MAX => Ok(Limit { burst, interval_ns }),
            _ => Err(Refusal::argument("this limit takes more than ten years from empty to full")),
        }
    }

    fn fill_ns(self) -> u64 {
        self.interval_ns * self.burst
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

/// What a call is answered. The figures are those of the limit that allows least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether all limits allowed it.
    pub allowed: bool,
    /// The burst of the tightest limit.
    pub limit: u64,
    /// Calls of cost 1 that would be allowed right now, after this one.
    pub remaining: u64,
    /// When the same call would be allowed, in milliseconds from now; `None` if it was.
    pub retry_after_ms: Option<u64>,
    /// When the tightest limit is full again, in milliseconds from now.
    pub reset_after_ms: u64,
}

/// A decision, and what to store if it changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// The bytes to store and the Unix time in milliseconds at which they mean nothing any more; `None` leaves
    /// the key as it is.
    pub store: Option<(State, u64)>,
}

/// What is stored of limits.
///
/// `| version u8 | arrival u64 little endian | … |`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    bytes: [u8; 1 + 8 * LIMITS_MAX],
    len: usize,
}

impl State {
    fn write(arrivals: &[u64]) -> Self {
        let (mut bytes, mut len) = ([STATE_VERSION; 1 + 8 * LIMITS_MAX], 1);
        for (to, arrival) in bytes[1..].as_chunks_mut::<8>().0.iter_mut().zip(arrivals) {
            *to = arrival.to_le_bytes();
            len += 8;
        }
        State { bytes, len }
    }

    /// The bytes to store.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Takes `cost` tokens from every limit, or from none.
///
/// `state` is what an earlier call stored, or empty. `cost` 0 only looks. Refuses a cost above a burst, which
/// could never be allowed, and stored bytes that are not a limit's.
pub fn take(state: &[u8], limits: &[Limit], cost: u64, now_ns: u64) -> Result<Decision, Refusal> {
    if limits.is_empty() || limits.len() > LIMITS_MAX {
        return Err(wrong_count());
    }
    if let Some(limit) = limits.iter().find(|l| cost > l.burst) {
        return Err(Refusal::argument(format!(
            "cost {cost} is above the burst {}, it could never be allowed",
            limit.burst
        )));
    }
    let mut arrivals = read(state)?;
    for arrival in &mut arrivals {
        *arrival = (*arrival).max(now_ns);
    }
    let wait_ns = limits.iter().zip(arrivals).map(|(limit, at)| wait_ns(*limit, at, cost, now_ns)).max().unwrap_or(0);
    if wait_ns == 0 {
        for (limit, arrival) in limits.iter().zip(&mut arrivals) {
            *arrival += limit.interval_ns * cost;
        }
    }
    let after = &arrivals[..limits.len()];
    let verdict = verdict(limits, after, now_ns, wait_ns);
    let store = (wait_ns == 0 && cost > 0).then(|| {
        let last = after.iter().copied().max().unwrap_or(now_ns);
        (State::write(after), last.div_ceil(NS_PER_MS))
    });
    Ok(Decision { verdict, store })
}

/// How long until `cost` tokens are there.
fn wait_ns(limit: Limit, arrival_ns: u64, cost: u64, now_ns: u64) -> u64 {
    let full_at = arrival_ns + limit.interval_ns * cost;
    full_at.saturating_sub(limit.fill_ns()).saturating_sub(now_ns)
}

fn verdict(limits: &[Limit], arrivals: &[u64], now_ns: u64, wait_ns: u64) -> Verdict {
    let left = |limit: &Limit, at: u64| limit.fill_ns().saturating_sub(at - now_ns) / limit.interval_ns;
    let tightest = limits.iter().zip(arrivals).min_by_key(|(limit, at)| left(limit, **at));
    let (limit, remaining, reset_ns) =
        tightest.map(|(limit, at)| (limit.burst, left(limit, *at), at - now_ns)).unwrap_or_default();
    Verdict {
        allowed: wait_ns == 0,
        limit,
        remaining,
        retry_after_ms: (wait_ns > 0).then(|| wait_ns.div_ceil(NS_PER_MS)),
        reset_after_ms: reset_ns.div_ceil(NS_PER_MS),
    }
}

/// The arrivals that are stored, and 0 for limits that were not there when it was.
fn read(bytes: &[u8]) -> Result<[u64; LIMITS_MAX], Refusal> {
    let mut arrivals = [0; LIMITS_MAX];
    let Some((version, stored)) = bytes.split_first() else { return Ok(arrivals) };
    let (chunks, rest) = stored.as_chunks::<8>();
    if *version != STATE_VERSION || !rest.is_empty() || chunks.len() > LIMITS_MAX {
        return Err(foreign());
    }
    for (arrival, chunk) in arrivals.iter_mut().zip(chunks) {
        *arrival = u64::from_le_bytes(*chunk);
        // Nothing much later than the longest fill from now can have been stored; the sums rely on it.
        if *arrival > u64::MAX / 4 {
            return Err(foreign());
        }
    }
    Ok(arrivals)
}

fn wrong_count() -> Refusal {
    Refusal::argument(format!("1 to {LIMITS_MAX} limits are decided together"))
}

fn foreign() -> Refusal {
    Refusal::argument("the key holds a string that no limit has written")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_795_000_000 * SECOND;

    struct Bucket {
        state: Vec<u8>,
        limits: Vec<Limit>,
    }
    impl Bucket {
        fn new(limits: &[(u64, u64, u64)]) -> Self {
            let limits = limits.iter().map(|(b, c, p)| Limit::new(*b, *c, *p).unwrap()).collect();
            Bucket { state: Vec::new(), limits }
        }
        fn take(&mut self, cost: u64, now_ns: u64) -> Verdict {
            let decision = take(&self.state, &self.limits, cost, now_ns).unwrap();
            if let Some((state, _)) = decision.store {
                self.state = state.as_slice().to_vec();
            }
            decision.verdict
        }
    }

    #[test]
    fn a_burst_passes_and_the_next_call_waits_for_one_token() {
        let mut bucket = Bucket::new(&[(3, 1, 1000)]);
        for left in [2, 1, 0] {
            let verdict = bucket.take(1, START);
            assert!(verdict.allowed);
            assert_eq!((verdict.limit, verdict.remaining, verdict.retry_after_ms), (3, left, None));
        }
        let refused = bucket.take(1, START);
        assert!(!refused.allowed);
        assert_eq!((refused.retry_after_ms, refused.reset_after_ms), (Some(1000), 3000));
        assert!(bucket.take(1, START + SECOND).allowed);
    }

    #[test]
    fn a_window_edge_lets_no_double_burst_through() {
        let mut bucket = Bucket::new(&[(30, 30, 60_000)]);
        let allowed = (0..1200).filter(|i| bucket.take(1, START + i * SECOND / 10).allowed).count();
        assert_eq!(allowed, 30 + 59, "two minutes: one burst, then one every two seconds");
    }

    #[test]
    fn polling_faster_than_a_token_comes_back_never_starves() {
        let mut bucket = Bucket::new(&[(1, 1, 1000)]);
        let allowed = (0..10_000).filter(|ms| bucket.take(1, START + ms * 1_000_000).allowed).count();
        assert_eq!(allowed, 10);
    }

    #[test]
    fn one_per_day_and_a_million_per_second_are_exact() {
        let mut day = Bucket::new(&[(1, 1, 86_400_000)]);
        assert!(day.take(1, START).allowed);
        assert!(!day.take(1, START + 86_400 * SECOND - 1).allowed);
        assert!(day.take(1, START + 86_400 * SECOND).allowed);
        let mut million = Bucket::new(&[(1, 1_000_000, 1000)]);
        let allowed =
            (0..2_000_000u64).step_by(2).filter(|half_us| million.take(1, START + half_us * 500).allowed).count();
        assert_eq!(allowed, 1_000_000);
    }

    #[test]
    fn several_limits_take_all_or_nothing() {
        let mut bucket = Bucket::new(&[(10, 10, 1000), (2, 1, 60_000)]);
        assert!(bucket.take(1, START).allowed);
        assert!(bucket.take(1, START).allowed);
        let before = bucket.state.clone();
        let refused = bucket.take(1, START);
        assert_eq!((refused.allowed, refused.limit, refused.retry_after_ms), (false, 2, Some(60_000)));
        assert_eq!(bucket.state, before);
    }

    #[test]
    fn cost_zero_looks_and_changes_nothing() {
        let mut bucket = Bucket::new(&[(5, 1, 1000)]);
        bucket.take(4, START);
        let before = bucket.state.clone();
        assert_eq!(bucket.take(0, START).remaining, 1);
        assert_eq!(bucket.state, before);
    }

    #[test]
    fn what_is_stored_ends_when_the_bucket_is_full() {
        let limits = [Limit::new(3, 1, 1000).unwrap()];
        let (_, ends_ms) = take(&[], &limits, 2, START).unwrap().store.unwrap();
        assert_eq!(ends_ms, START / NS_PER_MS + 2000);
    }

    #[test]
    fn the_stored_bytes_never_change() {
        let limits = [Limit::new(3, 1, 1000).unwrap(), Limit::new(5, 5, 60_000).unwrap()];
        let (state, _) = take(&[], &limits, 1, START).unwrap().store.unwrap();
        let (second, minute) = (START + SECOND, START + 12 * SECOND);
        assert_eq!(state.as_slice(), [&[1][..], &second.to_le_bytes(), &minute.to_le_bytes()].concat());
    }

    #[test]
    fn figures_without_sense_are_refused() {
        assert!(Limit::new(0, 1, 1).is_err());
        assert!(Limit::new(1, 0, 1).is_err());
        assert!(Limit::new(1, 1, 0).is_err());
        assert!(Limit::new(u64::MAX, 1, u64::MAX).is_err());
        let limits = [Limit::new(3, 1, 1000).unwrap()];
        assert!(take(&[], &limits, 4, START).is_err());
        assert!(take(b"hello", &limits, 1, START).is_err());
        assert!(take(&[1, 255, 255, 255, 255, 255, 255, 255, 255], &limits, 1, START).is_err());
        assert!(take(&[], &[], 1, START).is_err());
    }
}
