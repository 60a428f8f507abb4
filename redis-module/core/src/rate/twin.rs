//! Random calls against a slow, obvious twin: buckets whose level is a fraction, counted in whole numbers, and a list
//! of who holds what.

use super::*;
use proptest::prelude::*;

const NAME: &[u8] = b"ip:1";
const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_795_000_000 * SECOND;

/// A bucket by what it lacks: a token is `period_ns` units, and each nanosecond brings back `count` of them.
#[derive(Debug, Clone)]
struct Bucket {
    burst: u128,
    count: u128,
    period_ns: u128,
    lacks: u128,
}

impl Bucket {
    fn wait_ns(&self, cost: u128) -> u128 {
        let room = (self.burst - cost) * self.period_ns;
        self.lacks.saturating_sub(room).div_ceil(self.count)
    }
    fn tokens(&self) -> u128 {
        (self.burst * self.period_ns - self.lacks) / self.period_ns
    }
    fn reset_ms(&self) -> u128 {
        self.lacks.div_ceil(self.count).div_ceil(1_000_000)
    }
}

struct Twin {
    buckets: Vec<Bucket>,
    now_ns: u64,
    refusals: u64,
    blocked_until_ns: u64,
}

impl Twin {
    fn new(limits: &[(u64, u64, u64)]) -> Self {
        let bucket = |(burst, count, period_ms): &(u64, u64, u64)| Bucket {
            burst: u128::from(*burst),
            count: u128::from(*count),
            period_ns: u128::from(*period_ms) * 1_000_000,
            lacks: 0,
        };
        let buckets = limits.iter().map(bucket).collect();
        Twin { buckets, now_ns: START, refusals: 0, blocked_until_ns: 0 }
    }

    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        for bucket in &mut self.buckets {
            bucket.lacks = bucket.lacks.saturating_sub(u128::from(ns) * bucket.count);
        }
    }

    fn verdict(&self, cost: u64) -> Verdict {
        let ms = |ns: u128| u64::try_from(ns.div_ceil(1_000_000)).unwrap();
        let wait_ns = self.buckets.iter().map(|bucket| bucket.wait_ns(u128::from(cost))).max().unwrap();
        if self.blocked_until_ns > self.now_ns {
            let rest_ns = u128::from(self.blocked_until_ns - self.now_ns);
            let retry_after_ms = Some(ms(rest_ns.max(wait_ns)));
            return Verdict { allowed: false, limit: 0, remaining: 0, retry_after_ms, reset_after_ms: ms(rest_ns) };
        }
        let tightest = self.buckets.iter().min_by_key(|bucket| bucket.tokens()).unwrap();
        Verdict {
            allowed: wait_ns == 0,
            limit: tightest.burst as u64,
            remaining: tightest.tokens() as u64,
            retry_after_ms: (wait_ns > 0).then(|| ms(wait_ns)),
            reset_after_ms: tightest.reset_ms() as u64,
        }
    }

    fn take(&mut self, cost: u64, strikes: Option<(u64, u64)>) -> Verdict {
        let before = self.verdict(cost);
        if before.allowed {
            if cost > 0 {
                self.refusals = 0;
            }
            self.buckets.iter_mut().for_each(|bucket| bucket.lacks += u128::from(cost) * bucket.period_ns);
            return Verdict { allowed: true, retry_after_ms: None, ..self.verdict(0) };
        }
        if let Some((after, block_ms)) = strikes.filter(|_| self.blocked_until_ns <= self.now_ns) {
            self.refusals += 1;
            if self.refusals >= after {
                self.block(block_ms);
            }
        }
        self.verdict(cost)
    }

    fn refund(&mut self, cost: u64) {
        for bucket in &mut self.buckets {
            bucket.lacks = bucket.lacks.saturating_sub(u128::from(cost) * bucket.period_ns);
        }
    }

    fn block(&mut self, ms: u64) {
        (self.blocked_until_ns, self.refusals) = (self.now_ns + ms * 1_000_000, 0);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Take(u64, Option<(u64, u64)>),
    Peek(u64),
    Refund(u64),
    Block(u64),
    /// Time passes: so many nanoseconds.
    Pass(u64),
    /// Time passes as a refusal says, and the same call comes again.
    WaitAndTake(u64),
}

/// From one a day to a million a second, with counts that divide nothing.
fn limits() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    let count = prop_oneof![Just(1u64), Just(3), Just(7), 1..100u64, Just(999_999), Just(1_000_000), 1..=TOKENS_MAX];
    let period_ms = prop_oneof![Just(1u64), Just(1_000), Just(60_000), Just(86_400_000), 1..100_000u64];
    prop::collection::vec((3..50u64, count, period_ms), 1..4)
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let cost = || prop_oneof![3 => Just(1u64), 1 => 0..4u64];
    let strikes = prop::option::weighted(0.3, (1..6u64, 1..5_000u64));
    // As many short steps as long ones: the exponent is drawn.
    let pass = (0..14u32, 1..100u64).prop_map(|(digits, ns)| ns * 10u64.pow(digits));
    let act = prop_oneof![
        8 => (cost(), strikes).prop_map(|(cost, strikes)| Act::Take(cost, strikes)),
        2 => cost().prop_map(Act::Peek),
        1 => cost().prop_map(Act::Refund),
        1 => prop_oneof![Just(0u64), 1..10_000u64].prop_map(Act::Block),
        6 => pass.prop_map(Act::Pass),
        2 => (1..4u64).prop_map(Act::WaitAndTake),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn limits_decide_as_their_exact_twin((limits, acts) in (limits(), acts())) {
        let mut twin = Twin::new(&limits);
        let mut ask = Ask { limits: Limits::default(), cost: 0, strikes: None };
        for (burst, count, period_ms) in &limits {
            ask.limits.push(Limit::new(*burst, *count, *period_ms).unwrap()).unwrap();
        }
        let mut key = Vec::new();
        let mut ends_ms = 0;
        for act in acts {
            let store = |key: &mut Vec<u8>, ends_ms: &mut u64, store: Option<Store>| {
                if let Some(store) = store {
                    assert!(!store.same_end || store.ends_ms == *ends_ms);
                    (*key, *ends_ms) = (store.state.as_slice().to_vec(), store.ends_ms);
                }
            };
            // A key that has ended is gone.
            if twin.now_ns.div_ceil(1_000_000) > ends_ms {
                prop_assert!(twin.buckets.iter().all(|bucket| bucket.lacks == 0) || key.is_empty());
                if twin.blocked_until_ns <= twin.now_ns {
                    // A row of refusals that still counts has a bucket that is not full.
                    twin.refusals = 0;
                }
                key.clear();
            }
            match act {
                Act::Take(cost, strikes) => {
                    let of = |(after, block_ms)| Strikes::new(after, block_ms).unwrap();
                    let decision = take(NAME, &key, &Ask { cost, strikes: strikes.map(of), ..ask }, twin.now_ns).unwrap();
                    prop_assert_eq!(decision.verdict, twin.take(cost, strikes));
                    store(&mut key, &mut ends_ms, decision.store);
                }
                Act::Peek(cost) => {
                    prop_assert_eq!(peek(&key, &Ask { cost, ..ask }, twin.now_ns).unwrap(), twin.verdict(cost));
                }
                Act::Refund(cost) => {
                    let decision = refund(NAME, &key, &Ask { cost, ..ask }, twin.now_ns).unwrap();
                    twin.refund(cost);
                    prop_assert_eq!(decision.verdict, twin.verdict(1));
                    store(&mut key, &mut ends_ms, decision.store);
                }
                Act::Block(ms) => {
                    let blocked = twin.blocked_until_ns > twin.now_ns;
                    let decided = block(NAME, &key, ms, twin.now_ns).unwrap();
                    prop_assert_eq!(decided.is_some(), ms > 0 || blocked);
                    if decided.is_some() {
                        twin.block(ms);
                    }
                    store(&mut key, &mut ends_ms, decided);
                }
                Act::Pass(ns) => twin.pass(ns),
                Act::WaitAndTake(cost) => {
                    let wait_ms = peek(&key, &Ask { cost, ..ask }, twin.now_ns).unwrap().retry_after_ms;
                    twin.pass(wait_ms.unwrap_or(0) * 1_000_000);
                    let decision = take(NAME, &key, &Ask { cost, ..ask }, twin.now_ns).unwrap();
                    prop_assert!(decision.verdict.allowed, "who waits as told is allowed");
                    prop_assert_eq!(decision.verdict, twin.take(cost, None));
                    store(&mut key, &mut ends_ms, decision.store);
                }
            }
        }
    }

    #[test]
    fn leases_count_as_a_list_of_who_holds_what(
        acts in prop::collection::vec((0..3u8, 0..6u64, 1..4u64, 1..60u64), 1..80)
    ) {
        let (mut key, mut key_ends_ms, mut now_ms) = (Vec::new(), 0, START / 1_000_000);
        let mut twin: Vec<(String, u64)> = Vec::new();
        for (what, who, max, ms) in acts {
            let holder = format!("h{who}");
            twin.retain(|(_, ends_ms)| *ends_ms > now_ms);
            if key_ends_ms <= now_ms {
                key = Vec::new();
            }
            let left = match what {
                0 => {
                    now_ms += ms;
                    continue;
                }
                1 => {
                    let held = hold(&key, &holder, max, ms, now_ms).unwrap();
                    let known = twin.iter().position(|(name, _)| *name == holder);
                    prop_assert_eq!(held.allowed, known.is_some() || twin.len() < max as usize);
                    if held.allowed {
                        twin.retain(|(name, _)| *name != holder);
                        twin.push((holder, now_ms + ms));
                    } else {
                        let wait_ms = held.retry_after_ms.unwrap();
                        let then = |ms| twin.iter().filter(|(_, ends_ms)| *ends_ms > now_ms + ms).count();
                        prop_assert!(then(wait_ms) < max as usize && then(wait_ms - 1) >= max as usize);
                    }
                    prop_assert_eq!(held.held, twin.len() as u64);
                    held.left
                }
                _ => {
                    let (was_held, left) = give_back(&key, &holder, now_ms).unwrap();
                    prop_assert_eq!(was_held, twin.iter().any(|(name, _)| *name == holder));
                    twin.retain(|(name, _)| *name != holder);
                    left
                }
            };
            match left {
                Left::Unchanged => {}
                Left::Nothing => {
                    prop_assert!(twin.is_empty());
                    key = Vec::new();
                }
                Left::Store(bytes, ends_ms) => {
                    prop_assert_eq!(Some(ends_ms), twin.iter().map(|(_, ends_ms)| *ends_ms).max());
                    (key, key_ends_ms) = (bytes, ends_ms);
                }
            }
        }
    }
}
