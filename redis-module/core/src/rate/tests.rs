//! What limits and leases promise, one promise a test. Random calls stand in `twin.rs`.

use super::*;
use limit::Exact;
use state::END_STEP_MS;

const NAME: &[u8] = b"ip:1";
const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_795_000_000 * SECOND;
const START_MS: u64 = START / NS_PER_MS;

struct Bucket {
    key: Vec<u8>,
    ask: Ask,
}

impl Bucket {
    fn new(limits: &[(u64, u64, u64)]) -> Self {
        Bucket { key: Vec::new(), ask: ask(limits) }
    }
    fn decided(&mut self, decision: Decision) -> Verdict {
        if let Some(store) = decision.store {
            self.key = store.state.as_slice().to_vec();
        }
        decision.verdict
    }
    fn take(&mut self, cost: u64, now_ns: u64) -> Verdict {
        let decision = take(NAME, &self.key, &Ask { cost, ..self.ask }, now_ns).unwrap();
        self.decided(decision)
    }
    fn strike(&mut self, after: u64, block_ms: u64, now_ns: u64) -> Verdict {
        let strikes = Some(Strikes::new(after, block_ms).unwrap());
        let decision = take(NAME, &self.key, &Ask { strikes, ..self.ask }, now_ns).unwrap();
        self.decided(decision)
    }
    fn refund(&mut self, cost: u64, now_ns: u64) -> Verdict {
        let decision = refund(NAME, &self.key, &Ask { cost, ..self.ask }, now_ns).unwrap();
        self.decided(decision)
    }
    fn peek(&self, cost: u64, now_ns: u64) -> Verdict {
        peek(&self.key, &Ask { cost, ..self.ask }, now_ns).unwrap()
    }
}

fn ask(limits: &[(u64, u64, u64)]) -> Ask {
    let mut ask = Ask { limits: Limits::default(), cost: 1, strikes: None };
    for (burst, count, period_ms) in limits {
        ask.limits.push(Limit::new(*burst, *count, *period_ms).unwrap()).unwrap();
    }
    ask
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

// --- Mistakes that limiters are known for -------------------------------------------------------------------------

#[test]
fn the_edge_of_a_window_lets_no_double_burst_through() {
    let mut bucket = Bucket::new(&[(30, 30, 60_000)]);
    // All at the end of one minute and all at the beginning of the next.
    let edge = START + 59 * SECOND;
    let allowed = (0..60).filter(|i| bucket.take(1, edge + i * SECOND / 30).allowed).count();
    assert_eq!(allowed, 30, "in two seconds");
    let mut bucket = Bucket::new(&[(30, 30, 60_000)]);
    let allowed = (0..1200).filter(|i| bucket.take(1, START + i * SECOND / 10).allowed).count();
    assert_eq!(allowed, 30 + 59, "two minutes: one burst, then one every two seconds");
}

#[test]
fn polling_faster_than_a_token_comes_back_never_starves() {
    let mut bucket = Bucket::new(&[(1, 1, 1000)]);
    let allowed = (0..10_000).filter(|ms| bucket.take(1, START + ms * NS_PER_MS).allowed).count();
    assert_eq!(allowed, 10);
}

#[test]
fn no_fraction_of_a_token_is_forgotten() {
    // Three a second come back every 333,333,333⅓ ns: after 3,000 of them 1,000 seconds have passed, to the nanosecond.
    let mut bucket = Bucket::new(&[(3, 3, 1000)]);
    assert!(bucket.take(3, START).allowed);
    let mut now_ns = START;
    for taken in 1..=3_000u64 {
        now_ns = START + (taken * SECOND).div_ceil(3);
        assert!(!bucket.take(1, now_ns - 1).allowed);
        assert!(bucket.take(1, now_ns).allowed);
    }
    assert_eq!(now_ns, START + 1_000 * SECOND);
}

#[test]
fn one_per_day_and_a_million_per_second_are_exact() {
    let mut day = Bucket::new(&[(1, 1, 86_400_000)]);
    assert!(day.take(1, START).allowed);
    assert!(!day.take(1, START + 86_400 * SECOND - 1).allowed);
    assert!(day.take(1, START + 86_400 * SECOND).allowed);
    let mut million = Bucket::new(&[(1, 1_000_000, 1000)]);
    let allowed = (0..2_000_000u64).filter(|half_us| million.take(1, START + half_us * 500).allowed).count();
    assert_eq!(allowed, 1_000_000);
}

// --- Several limits -----------------------------------------------------------------------------------------------

#[test]
fn several_limits_take_all_or_nothing() {
    let mut bucket = Bucket::new(&[(10, 10, 1000), (2, 1, 60_000)]);
    assert!(bucket.take(1, START).allowed);
    assert!(bucket.take(1, START).allowed);
    let before = bucket.key.clone();
    let refused = bucket.take(1, START);
    assert_eq!((refused.allowed, refused.limit, refused.retry_after_ms), (false, 2, Some(60_000)));
    assert_eq!(bucket.key, before);
}

#[test]
fn a_limit_that_one_call_leaves_out_is_not_forgotten() {
    let mut bucket = Bucket::new(&[(10, 10, 1000), (1, 1, 60_000)]);
    let both = bucket.ask;
    assert!(bucket.take(1, START).allowed);
    bucket.ask = ask(&[(10, 10, 1000)]);
    assert!(bucket.take(1, START).allowed);
    bucket.ask = both;
    assert!(!bucket.take(1, START).allowed);
}

#[test]
fn a_limit_with_other_figures_makes_nobody_wait_longer_than_from_empty() {
    let mut bucket = Bucket::new(&[(10, 1, 86_400_000)]);
    assert!(bucket.take(10, START).allowed);
    bucket.ask = ask(&[(10, 10, 1000)]);
    assert_eq!(bucket.take(1, START).retry_after_ms, Some(100));
    assert!(bucket.take(1, START + SECOND / 10).allowed);
}

// --- Looking, giving back -----------------------------------------------------------------------------------------

#[test]
fn looking_answers_as_taking_would_and_changes_nothing() {
    let mut bucket = Bucket::new(&[(5, 1, 1000)]);
    bucket.take(4, START);
    let before = bucket.key.clone();
    assert_eq!(bucket.take(0, START).remaining, 1);
    assert_eq!(bucket.key, before);
    assert!(bucket.peek(1, START).allowed);
    let refused = bucket.peek(2, START);
    assert_eq!((refused.allowed, refused.remaining, refused.retry_after_ms), (false, 1, Some(1000)));
    assert_eq!(refused, bucket.take(2, START));
}

#[test]
fn what_is_given_back_can_be_taken_again_and_never_more_than_the_burst() {
    let mut bucket = Bucket::new(&[(3, 1, 1000), (5, 1, 1000)]);
    bucket.take(3, START);
    assert_eq!(bucket.refund(2, START).remaining, 2);
    assert_eq!(bucket.refund(3, START).remaining, 3);
    assert_eq!(bucket.refund(3, START), bucket.peek(1, START));
    let full = bucket.key.clone();
    let again = refund(NAME, &full, &bucket.ask, START).unwrap();
    assert_eq!(again.store, None, "there is nothing to give back");
    assert!(bucket.take(3, START).allowed);
    assert!(!bucket.take(1, START).allowed);
}

// --- Blocks -------------------------------------------------------------------------------------------------------

#[test]
fn refusals_in_a_row_block_and_a_block_refuses_everything_until_it_ends() {
    let mut bucket = Bucket::new(&[(1, 1, 1000)]);
    assert!(bucket.strike(3, 10_000, START).allowed);
    for _ in 0..2 {
        let refused = bucket.strike(3, 10_000, START);
        assert_eq!((refused.allowed, refused.limit, refused.retry_after_ms), (false, 1, Some(1000)));
    }
    let third = bucket.strike(3, 10_000, START);
    assert_eq!((third.allowed, third.limit, third.retry_after_ms), (false, 0, Some(10_000)), "0 says blocked");
    let before = bucket.key.clone();
    for cost in [0, 1] {
        let later = bucket.take(cost, START + 4 * SECOND);
        assert_eq!((later.allowed, later.limit, later.retry_after_ms), (false, 0, Some(6_000)));
    }
    assert!(!bucket.strike(3, 10_000, START + 4 * SECOND).allowed);
    assert_eq!(bucket.key, before, "a call during a block makes it no longer");
    assert!(bucket.take(1, START + 10 * SECOND).allowed);
}

#[test]
fn an_allowed_call_ends_the_row_of_refusals() {
    let mut bucket = Bucket::new(&[(1, 1, 1000)]);
    for second in 0..10 {
        assert!(bucket.strike(3, 10_000, START + second * SECOND).allowed);
        assert_eq!(bucket.strike(3, 10_000, START + second * SECOND).limit, 1);
        assert_eq!(bucket.strike(3, 10_000, START + second * SECOND).limit, 1);
    }
}

#[test]
fn a_block_is_set_replaced_and_ended_by_hand() {
    let mut bucket = Bucket::new(&[(1, 1, 1000)]);
    let mut block = |ms, now_ns| {
        let store = block(NAME, &bucket.key, ms, now_ns).unwrap();
        store.inspect(|store| bucket.key = store.state.as_slice().to_vec()).is_some()
    };
    assert!(!block(0, START), "there is none to end");
    assert!(block(60_000, START));
    assert!(block(1_000, START));
    assert!(block(0, START));
    assert!(block(1_000, START));
    assert!(!block(0, START + SECOND), "it has ended");
    assert!(!bucket.peek(1, START).allowed);
    assert!(bucket.take(1, START + SECOND).allowed);
}

// --- Clocks -------------------------------------------------------------------------------------------------------

#[test]
fn a_clock_that_steps_back_leaves_at_worst_an_empty_bucket() {
    let mut bucket = Bucket::new(&[(5, 1, 1000)]);
    bucket.take(1, START);
    let hour_before = START - 3600 * SECOND;
    let refused = bucket.take(1, hour_before);
    assert_eq!((refused.allowed, refused.retry_after_ms), (false, Some(1000)));
    assert!(bucket.take(1, hour_before + SECOND).allowed, "it fills from then on");
}

#[test]
fn a_clock_that_steps_back_begins_a_block_and_a_lease_anew() {
    let mut bucket = Bucket::new(&[(1, 1, 1000)]);
    bucket.key = block(NAME, &[], 5_000, START).unwrap().unwrap().state.as_slice().to_vec();
    let hour_before = START - 3600 * SECOND;
    assert_eq!(bucket.take(1, hour_before).retry_after_ms, Some(5_000));
    assert!(bucket.take(1, hour_before + 5 * SECOND).allowed);

    let Left::Store(key, _) = hold(&[], "a", 1, 5_000, START_MS).unwrap().left else { panic!() };
    let hour_before = START_MS - 3_600_000;
    let refused = hold(&key, "b", 1, 5_000, hour_before).unwrap();
    assert_eq!(refused.retry_after_ms, Some(5_000));
    let Left::Store(key, ends_ms) = refused.left else { panic!("the end is set again") };
    assert_eq!(ends_ms, hour_before + 5_000);
    assert!(hold(&key, "b", 1, 5_000, ends_ms).unwrap().allowed);
}

// --- Leases -------------------------------------------------------------------------------------------------------

#[test]
fn so_many_hold_a_lease_and_who_falls_silent_frees_their_place() {
    let mut key = Vec::new();
    let mut ask = |holder: &str, now_ms| {
        let held = hold(&key, holder, 2, 30_000, now_ms).unwrap();
        if let Left::Store(bytes, _) = &held.left {
            key = bytes.clone();
        }
        (held.allowed, held.held, held.retry_after_ms)
    };
    assert_eq!(ask("a", START_MS), (true, 1, None));
    assert_eq!(ask("b", START_MS + 10_000), (true, 2, None));
    assert_eq!(ask("c", START_MS + 20_000), (false, 2, Some(10_000)));
    assert_eq!(ask("b", START_MS + 20_000), (true, 2, None), "who holds one keeps it");
    assert_eq!(ask("c", START_MS + 30_000), (true, 2, None), "a fell silent");
    assert!(give_back(&key, "b", START_MS + 30_000).unwrap().0);
    assert_eq!(give_back(&key, "a", START_MS + 30_000).unwrap(), (false, Left::Unchanged));
}

#[test]
fn when_fewer_may_hold_than_do_the_wait_is_until_enough_have_ended() {
    let mut key = Vec::new();
    for n in 1..=5u64 {
        let held = hold(&key, &format!("h{n}"), 5, n * 1000, START_MS).unwrap();
        let Left::Store(bytes, _) = held.left else { panic!() };
        key = bytes;
    }
    let refused = hold(&key, "new", 2, 1000, START_MS).unwrap();
    assert_eq!((refused.held, refused.retry_after_ms), (5, Some(4000)));
}

#[test]
fn the_last_lease_that_is_given_back_leaves_nothing() {
    let Left::Store(key, ends_ms) = hold(&[], "a", 1, 1000, START_MS).unwrap().left else { panic!() };
    assert_eq!(ends_ms, START_MS + 1000, "the key ends with its last lease");
    assert_eq!(give_back(&key, "a", START_MS).unwrap(), (true, Left::Nothing));
}

// --- What is stored -----------------------------------------------------------------------------------------------

#[test]
fn what_is_stored_ends_soon_after_the_bucket_is_full() {
    let ask = Ask { cost: 2, ..ask(&[(3, 1, 1000)]) };
    for now_ns in [START, START + 1, START + SECOND - 1] {
        let ends_ms = take(NAME, &[], &ask, now_ns).unwrap().store.unwrap().ends_ms;
        let full_ms = (now_ns + 2 * SECOND).div_ceil(NS_PER_MS);
        assert!((full_ms..full_ms + END_STEP_MS).contains(&ends_ms), "{full_ms} {ends_ms}");
    }
}

#[test]
fn calls_shortly_after_one_another_leave_the_end_as_it_is() {
    let mut bucket = Bucket::new(&[(1_000, 1_000, 1000)]);
    let mut moved = 0;
    for ms in 0..10_000 {
        let decision = take(NAME, &bucket.key, &bucket.ask, START + ms * NS_PER_MS).unwrap();
        moved += usize::from(!decision.store.unwrap().same_end);
        bucket.decided(decision);
    }
    assert_eq!(moved, 3, "in ten seconds");
}

#[test]
fn keys_of_one_moment_end_at_many() {
    let end = |n: u32| take(format!("user:{n}").as_bytes(), &[], &ask(&[(3, 1, 1000)]), START).unwrap().store.unwrap();
    let mut ends: Vec<u64> = (0..1000).map(|n| end(n).ends_ms).collect();
    ends.sort_unstable();
    let alike = ends.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap();
    assert!(alike < 20, "{alike} of 1,000 keys end in one millisecond");
}

#[test]
fn the_stored_bytes_never_change() {
    let limits = ask(&[(3, 1, 1000), (5, 5, 60_000)]);
    let state = take(NAME, &[], &limits, START).unwrap().store.unwrap().state;
    let (second, minute) = (START + SECOND, START + 12 * SECOND);
    assert_eq!(state.as_slice(), [&[1][..], &second.to_le_bytes(), &minute.to_le_bytes()].concat());

    let thirds = Ask { strikes: Some(Strikes::new(9, 1).unwrap()), ..ask(&[(1, 3, 1000)]) };
    let state = take(NAME, &[], &thirds, START).unwrap().store.unwrap().state;
    let at = START + 333_333_333;
    let entry = [&at.to_le_bytes()[..], &1u32.to_le_bytes()].concat();
    assert_eq!(state.as_slice(), [&[2][..], &[0; 20], &entry].concat());
    let state = take(NAME, state.as_slice(), &thirds, START).unwrap().store.unwrap().state;
    assert_eq!(state.as_slice(), [&[2][..], &1u32.to_le_bytes(), &[0; 16], &entry].concat());
    let state = block(NAME, state.as_slice(), 7, START).unwrap().unwrap().state;
    let until = START + 7 * NS_PER_MS;
    let blocked = [&[2, 0, 0, 0, 0][..], &until.to_le_bytes(), &(7 * NS_PER_MS).to_le_bytes(), &entry].concat();
    assert_eq!(state.as_slice(), blocked);

    let Left::Store(leases, _) = hold(&[], "a", 1, 7, 1000).unwrap().left else { panic!() };
    assert_eq!(leases, [3, 1, 1, b'a', 251, 0xef, 0x03, 7]);
}

#[test]
fn a_bucket_that_is_full_takes_no_place() {
    let mut bucket = Bucket::new(&[(3, 1, 1000), (5, 5, 60_000)]);
    bucket.take(1, START);
    bucket.refund(1, START);
    assert_eq!(bucket.key, [1]);
}

#[test]
fn figures_without_sense_are_refused() {
    for (burst, count, period_ms) in [
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 0),
        (TOKENS_MAX + 1, TOKENS_MAX, 1),
        (1, TOKENS_MAX + 1, 1),
        (1, 1, u64::MAX),
        (TOKENS_MAX, 1, 1000),
        (2, 1, SPAN_NS_MAX / NS_PER_MS),
    ] {
        assert!(Limit::new(burst, count, period_ms).is_err(), "{burst} {count} {period_ms}");
    }
    let most = Limit::new(TOKENS_MAX, TOKENS_MAX, SPAN_NS_MAX / NS_PER_MS).unwrap();
    assert_eq!(most.tokens(most.wait(Exact::default(), TOKENS_MAX)), TOKENS_MAX);
    let limits = ask(&[(3, 1, 1000)]);
    assert!(take(NAME, &[], &Ask { cost: 4, ..limits }, START).is_err());
    assert!(take(NAME, &[], &ask(&[]), START).is_err());
    assert!(Strikes::new(0, 1).is_err() && Strikes::new(1, 0).is_err() && Strikes::new(1, u64::MAX).is_err());
    assert!(block(NAME, &[], u64::MAX, START).is_err());
    for (holder, max, ttl_ms) in [("", 1, 1), ("a", 0, 1), ("a", HOLDERS_MAX + 1, 1), ("a", 1, 0), ("a", 1, u64::MAX)] {
        assert!(hold(&[], holder, max, ttl_ms, START_MS).is_err(), "{holder} {max} {ttl_ms}");
    }
}

#[test]
fn a_string_of_another_kind_is_refused_and_left_alone() {
    let limits = ask(&[(3, 1, 1000)]);
    let late = [&[1][..], &u64::MAX.to_le_bytes()].concat();
    let too_many = [&[1][..], &[0; 8 * (LIMITS_MAX + 1)]].concat();
    for foreign in [&b"hello"[..], &[1, 2], &[2], &[2; 30], &late, &too_many, &[3], &[3, 1, 9], &[3, 251]] {
        assert!(take(NAME, foreign, &limits, START).is_err(), "{foreign:?}");
        assert!(block(NAME, foreign, 1, START).is_err(), "{foreign:?}");
        assert!(hold(foreign, "a", 1, 1, START_MS).is_err(), "{foreign:?}");
        assert!(give_back(foreign, "a", START_MS).is_err(), "{foreign:?}");
        assert!(check_stored(foreign).is_err(), "{foreign:?}");
    }
    let Left::Store(leases, _) = hold(&[], "a", 1, 7, START_MS).unwrap().left else { panic!() };
    assert!(take(NAME, &leases, &limits, START).is_err(), "leases are no limit");
    assert!(hold(&[1], "a", 1, 7, START_MS).is_err(), "a limit holds no leases");
    assert!(check_stored(&leases).is_ok() && check_stored(&[1]).is_ok() && check_stored(&[]).is_ok());
}
