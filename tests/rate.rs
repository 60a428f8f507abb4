//! Limits and leases at a real server: they hold for everybody together, on replicas and after a restart, and end by
//! themselves. What they decide when is proven beside the rules, in `redis-module/core/src/rate`.
#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::{Duration, Instant};
use stoa_harness::redis::Ending;
use stoa_harness::{Connection, Redis, Reply, assert_eventually};

/// Callers at the same time.
const CALLERS: usize = 16;
/// A period that no test outlasts.
const DAY: &str = "86400000";

fn words(call: &str) -> Vec<&str> {
    call.split(' ').collect()
}

/// The integers of an answer: allowed, limit, remaining, retry after, reset after; of a lease allowed, held, max, retry.
#[track_caller]
fn ints(reply: &Reply) -> Vec<i64> {
    reply.items().iter().map(Reply::int).collect()
}

#[track_caller]
fn ask(redis: &Redis, call: &str) -> Vec<i64> {
    ints(&redis.ok(&words(call)))
}

/// What all callers were answered who each called `times` at the same time.
fn together(redis: &Redis, times: usize, call: impl Fn(usize, usize) -> String + Sync) -> Vec<Vec<i64>> {
    let caller = |caller| {
        let mut connection = redis.connect();
        let call = &call;
        move || (0..times).map(|n| ints(&connection.ok(&words(&call(caller, n))))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|n| scope.spawn(caller(n))).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

fn allowed(answers: &[Vec<i64>]) -> usize {
    answers.iter().filter(|answer| answer[0] == 1).count()
}

// --- For everybody together ---------------------------------------------------------------------------------------

#[test]
fn a_limit_holds_for_the_sum_of_all_callers_exactly() {
    let redis = Redis::start();
    let answers = together(&redis, 100, |_, _| format!("RATE.TAKE user:ada LIMIT 250 1 {DAY}"));
    assert_eq!(allowed(&answers), 250, "of {}", answers.len());
    // Each of the 250 was told another number that is left.
    let mut left: Vec<i64> = answers.iter().filter(|answer| answer[0] == 1).map(|answer| answer[2]).collect();
    left.sort_unstable();
    assert_eq!(left, (0..250).collect::<Vec<i64>>());
}

#[test]
fn what_is_taken_and_given_back_by_many_adds_up() {
    let redis = Redis::start();
    redis.ok(&words(&format!("RATE.TAKE user:ada LIMIT 1000 1 {DAY} COST 1000")));
    together(&redis, 50, |caller, _| match caller % 2 {
        0 => format!("RATE.REFUND user:ada LIMIT 1000 1 {DAY} COST 2"),
        _ => format!("RATE.TAKE user:ada LIMIT 1000 1 {DAY} COST 0"),
    });
    assert_eq!(ask(&redis, &format!("RATE.PEEK user:ada LIMIT 1000 1 {DAY}"))[2], 2 * 50 * CALLERS as i64 / 2);
}

#[test]
fn so_many_hold_a_lease_and_not_one_more() {
    let redis = Redis::start();
    let answers = together(&redis, 20, |caller, n| format!("RATE.HOLD seats c{caller}-{n} 25 600000"));
    assert_eq!(allowed(&answers), 25, "of {}", answers.len());
    assert_eq!(ask(&redis, "RATE.HOLD seats one-more 25 600000")[..3], [0, 25, 25]);
}

// --- Mistakes that limiters are known for -------------------------------------------------------------------------

#[test]
fn a_key_without_the_time_in_it_limits_over_every_millisecond() {
    let redis = Redis::start();
    let mut connection = redis.connect();
    let started = Instant::now();
    let mut allowed = 0;
    while started.elapsed() < Duration::from_millis(50) {
        allowed += ints(&connection.ok(&words(&format!("RATE.TAKE ip:1 LIMIT 30 30 {DAY}"))))[0];
    }
    assert_eq!(allowed, 30);
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 1, "and it is one key");
}

#[test]
fn a_count_is_never_stored_without_its_end() {
    let redis = Redis::options().aof().start();
    for call in [
        "RATE.TAKE a LIMIT 2 1 60000 LIMIT 5 3 60000",
        "RATE.TAKE a LIMIT 2 1 60000 LIMIT 5 3 60000",
        "RATE.REFUND a LIMIT 2 1 60000",
        "RATE.BLOCK b 60000",
        "RATE.TAKE c LIMIT 1 1 60000 BLOCK 2 600000",
        "RATE.TAKE c LIMIT 1 1 60000 BLOCK 2 600000",
        "RATE.TAKE c LIMIT 1 1 60000 BLOCK 2 600000",
        "RATE.HOLD d one 2 60000",
        "RATE.HOLD d two 2 90000",
        "RATE.DROP d two",
    ] {
        redis.ok(&words(call));
        let key = words(call)[1];
        let ends_in_ms = redis.ok(&["PTTL", key]).int();
        // Ten minutes are the longest block here; keys end at every fourth second.
        assert!(ends_in_ms > 0 && ends_in_ms <= 604_000, "{call}: {ends_in_ms}");
    }
}

#[test]
fn who_polls_faster_than_a_token_comes_back_gets_every_token() {
    let redis = Redis::start();
    let mut connection = redis.connect();
    let started = Instant::now();
    let mut allowed = 0;
    while started.elapsed() < Duration::from_secs(1) {
        allowed += ints(&connection.ok(&words("RATE.TAKE ip:1 LIMIT 1 3 100")))[0];
    }
    // Each token is found at most a poll late, which costs the poll's time.
    let most = started.elapsed().as_micros() as i64 * 3 / 100_000 + 1;
    assert!(allowed > most / 2 && allowed <= most, "{allowed} of {most}");
}

#[test]
fn no_second_holds_twice_the_limit() {
    let redis = Redis::start();
    let mut connection = redis.connect();
    let mut at: Vec<Instant> = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        let before = Instant::now();
        // Twenty a second, evenly: who wants no burst asks for none.
        if ints(&connection.ok(&words("RATE.TAKE ip:1 LIMIT 1 20 1000")))[0] == 1 {
            at.push(before);
        }
    }
    let within = |from: &Instant| at.iter().filter(|at| *at >= from && **at < *from + Duration::from_secs(1)).count();
    let most = at.iter().map(within).max().unwrap();
    assert!(most <= 21, "{most} within a second");
}

// --- What each command does ---------------------------------------------------------------------------------------

#[test]
fn looking_giving_back_and_forgetting() {
    let redis = Redis::start();
    let take = format!("RATE.TAKE ip:1 LIMIT 3 1 {DAY}");
    let peek = format!("RATE.PEEK ip:1 LIMIT 3 1 {DAY}");
    assert_eq!(ask(&redis, &peek), [1, 3, 3, -1, 0]);
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 0, "looking stores nothing");
    for left in [2, 1, 0] {
        assert_eq!(ask(&redis, &take)[..3], [1, 3, left]);
    }
    let before = redis.digest();
    let refused = ask(&redis, &peek);
    assert_eq!((&refused[..3], redis.digest()), (&[0, 3, 0][..], before));
    assert!(refused[3] > 0);

    assert_eq!(ask(&redis, &format!("RATE.REFUND ip:1 LIMIT 3 1 {DAY} COST 2"))[..3], [1, 3, 2]);
    assert_eq!(ask(&redis, &format!("RATE.REFUND ip:1 LIMIT 3 1 {DAY} COST 3"))[..3], [1, 3, 3]);
    assert_eq!(ask(&redis, &format!("RATE.REFUND ip:9 LIMIT 3 1 {DAY} COST 3"))[..3], [1, 3, 3]);
    assert_eq!(redis.ok(&["EXISTS", "ip:9"]).int(), 0, "where nothing was taken nothing is stored");

    assert_eq!(ask(&redis, &take)[2], 2);
    assert_eq!(redis.ok(&["RATE.RESET", "ip:1"]).int(), 1);
    assert_eq!(redis.ok(&["RATE.RESET", "ip:1"]).int(), 0);
    assert_eq!(redis.ok(&["EXISTS", "ip:1"]).int(), 0);
    assert_eq!(ask(&redis, &take)[2], 2);
}

#[test]
fn a_block_refuses_everything_until_it_ends_or_is_ended() {
    let redis = Redis::start();
    let take = "RATE.TAKE ip:1 LIMIT 10 10 1000";
    assert_eq!(redis.ok(&words("RATE.BLOCK ip:1 0")).int(), 0, "there is none to end");
    assert_eq!(redis.ok(&words("RATE.BLOCK ip:1 600000")).int(), 1);
    for call in [take, "RATE.TAKE ip:1 LIMIT 7 1 1000 COST 0", "RATE.PEEK ip:1 LIMIT 10 10 1000"] {
        let refused = ask(&redis, call);
        assert_eq!(refused[..3], [0, 0, 0], "{call}: a limit of 0 says that it is a block");
        assert!(refused[3] > 590_000 && refused[3] <= 600_000 && refused[4] == refused[3], "{refused:?}");
    }
    assert_eq!(redis.ok(&words("RATE.BLOCK ip:1 0")).int(), 1);
    assert_eq!(ask(&redis, take)[..3], [1, 10, 9]);

    redis.ok(&words("RATE.BLOCK ip:1 100"));
    assert_eq!(ask(&redis, take)[..3], [0, 0, 0]);
    assert_eventually!(ask(&redis, take)[0] == 1);
}

#[test]
fn refusals_in_a_row_block() {
    let redis = Redis::start();
    let take = format!("RATE.TAKE ip:1 LIMIT 2 1 {DAY} BLOCK 3 600000");
    let plain = format!("RATE.TAKE ip:1 LIMIT 2 1 {DAY}");
    assert_eq!((ask(&redis, &take)[0], ask(&redis, &take)[0]), (1, 1));
    assert_eq!((ask(&redis, &take)[1], ask(&redis, &take)[1]), (2, 2));
    assert_eq!(ask(&redis, &plain)[1], 2, "a call that does not say BLOCK does not count");
    let third = ask(&redis, &take);
    assert_eq!(third[..3], [0, 0, 0]);
    // The block ends before the bucket has a token again.
    assert!(third[4] > 0 && third[4] <= 600_000 && third[3] > 600_000, "{third:?}");
    let before = redis.digest();
    assert_eq!((ask(&redis, &take)[1], ask(&redis, &plain)[1]), (0, 0));
    assert_eq!(redis.digest(), before, "it gets no longer");
    redis.ok(&words(&format!("RATE.REFUND ip:1 LIMIT 2 1 {DAY}")));
    assert_eq!(ask(&redis, &take)[1], 0, "giving back ends no block");
    redis.ok(&["RATE.RESET", "ip:1"]);
    assert_eq!(ask(&redis, &take)[..3], [1, 2, 1]);
}

#[test]
fn a_lease_ends_by_itself_and_the_key_with_the_last_one() {
    let redis = Redis::start();
    assert_eq!(ask(&redis, "RATE.HOLD seats c1 2 600000"), [1, 1, 2, -1]);
    assert_eq!(ask(&redis, "RATE.HOLD seats c2 2 300"), [1, 2, 2, -1]);
    let refused = ask(&redis, "RATE.HOLD seats c3 2 600000");
    assert_eq!(refused[..3], [0, 2, 2]);
    assert!((1..=300).contains(&refused[3]), "{refused:?}");
    assert_eq!(ask(&redis, "RATE.HOLD seats c1 2 600000"), [1, 2, 2, -1], "who holds one keeps it");
    assert_eventually!(ask(&redis, "RATE.HOLD seats c3 2 600000") == [1, 2, 2, -1], "c2 fell silent");
    assert_eq!(redis.ok(&words("RATE.DROP seats c2")).int(), 0);
    assert_eq!(redis.ok(&words("RATE.DROP seats c1")).int(), 1);
    assert_eq!(redis.ok(&words("RATE.DROP seats c3")).int(), 1);
    assert_eq!(redis.ok(&["EXISTS", "seats"]).int(), 0);
    redis.ok(&words("RATE.HOLD seats c1 2 100"));
    assert_eventually!(redis.ok(&["EXISTS", "seats"]).int() == 0);
}

#[test]
fn a_string_of_another_kind_is_refused_and_left_alone() {
    let redis = Redis::start();
    redis.ok(&["SET", "text", "hello"]);
    redis.ok(&words("RATE.HOLD seats c1 2 600000"));
    redis.ok(&words(&format!("RATE.TAKE ip:1 LIMIT 2 1 {DAY}")));
    let before = redis.digest();
    for call in [
        "RATE.TAKE text LIMIT 2 1 1000",
        "RATE.PEEK text LIMIT 2 1 1000",
        "RATE.REFUND text LIMIT 2 1 1000",
        "RATE.RESET text",
        "RATE.BLOCK text 1000",
        "RATE.HOLD text c1 2 1000",
        "RATE.DROP text c1",
        "RATE.TAKE seats LIMIT 2 1 1000",
        "RATE.BLOCK seats 1000",
        "RATE.HOLD ip:1 c1 2 1000",
        "RATE.DROP ip:1 c1",
        "RATE.PEEK ip:1 LIMIT 2 1 1000 BLOCK 1 1",
        "RATE.TAKE ip:1 LIMIT 2 1 1000 BLOCK 0 1",
        "RATE.TAKE ip:1 LIMIT 2 1 1000 BLOCK 1 0",
        "RATE.TAKE ip:1 LIMIT 2 1 1000 COST 1 COST 1",
        "RATE.HOLD seats c2 0 1000",
        "RATE.HOLD seats c2 1001 1000",
        "RATE.HOLD seats c2 1 0",
        "RATE.HOLD seats c2 1 86400001",
    ] {
        assert_eq!(redis.call(&words(call)).refused(), "INVALID_ARGUMENT", "{call}");
    }
    assert_eq!(redis.digest(), before);
}

#[test]
fn limits_are_any_key_in_any_database_and_in_a_transaction() {
    let redis = Redis::start();
    redis.ok(&["SELECT", "3"]);
    redis.ok(&["MULTI"]);
    redis.ok(&words("RATE.TAKE ip:1 LIMIT 2 1 60000"));
    redis.ok(&words("RATE.PEEK ip:1 LIMIT 2 1 60000"));
    let replies = redis.ok(&["EXEC"]);
    assert_eq!(ints(&replies.items()[1])[..3], [1, 2, 1]);
    let script = "return redis.call('RATE.TAKE', KEYS[1], 'LIMIT', '2', '1', '60000')";
    assert_eq!(ints(&redis.ok(&["EVAL", script, "1", "ip:1"]))[..3], [1, 2, 0]);
    redis.ok(&["SELECT", "0"]);
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 0);
}

// --- Replicas and restarts ----------------------------------------------------------------------------------------

/// Every kind of state, with ends that nothing here outlasts. Living keys are written over, with and without a new end.
fn furnish(redis: &Redis) {
    let mut connection = redis.connect();
    let mut call = |call: &str| drop(connection.ok(&words(call)));
    for n in 0..40 {
        call(&format!("RATE.TAKE ip:{} LIMIT 9 7 3600000 LIMIT 100 3 {DAY}", n % 5));
        call(&format!("RATE.TAKE fast LIMIT 1000 1000 1000 COST {}", n % 3));
        call(&format!("RATE.TAKE struck:{} LIMIT 1 1 {DAY} BLOCK 4 6000000", n % 9));
        call(&format!("RATE.HOLD seats:{} c{} 9 600{n}000", n % 3, n % 7));
    }
    call("RATE.BLOCK ip:1 6000000");
    call("RATE.BLOCK ip:9 6000000");
    call(&format!("RATE.REFUND ip:2 LIMIT 9 7 3600000 LIMIT 100 3 {DAY} COST 3"));
    call("RATE.RESET ip:3");
    call("RATE.DROP seats:0 c0");
    call("RATE.HOLD seats:3 alone 1 600000");
    call("RATE.DROP seats:3 alone");
}

/// Every key with its bytes and when it ends.
fn stored(redis: &Redis) -> Vec<(String, String, i64)> {
    let mut keys = redis.ok(&["KEYS", "*"]).texts();
    keys.sort();
    let seen = |key: String| {
        let (digest, ends_ms) = (redis.digest_of(&key), redis.ok(&["PEXPIRETIME", &key]).int());
        (key, digest, ends_ms)
    };
    // Its bucket is full again within the test.
    keys.into_iter().filter(|key| key != "fast").map(seen).collect()
}

#[test]
fn a_replica_holds_the_same_with_the_same_ends_and_answers_who_looks() {
    let redis = Redis::start();
    redis.ok(&words("RATE.TAKE early LIMIT 9 7 3600000"));
    let replica = Redis::options().replica_of(&redis).start();
    replica.in_sync_with(&redis);
    furnish(&redis);
    replica.in_sync_with(&redis);
    assert!(stored(&redis).len() > 15);
    assert_eq!(stored(&replica), stored(&redis));

    let peek = format!("RATE.PEEK ip:2 LIMIT 9 7 3600000 LIMIT 100 3 {DAY}");
    assert_eq!(ask(&replica, &peek)[..3], ask(&redis, &peek)[..3]);
    assert_eq!(ask(&replica, "RATE.PEEK ip:1 LIMIT 9 7 3600000")[..3], [0, 0, 0]);
    for call in ["RATE.TAKE ip:1 LIMIT 9 7 3600000", "RATE.BLOCK ip:1 0", "RATE.HOLD seats:1 x 9 1000"] {
        assert_eq!(replica.call(&words(call)).refused(), "READONLY", "{call}");
    }
}

#[test]
fn limits_and_leases_are_there_after_a_restart_from_every_file() {
    for (preamble, ending) in [("yes", Ending::Killed), ("no", Ending::Killed), ("no", Ending::Stopped)] {
        let mut redis = Redis::options().aof().line(format!("aof-use-rdb-preamble {preamble}")).start();
        furnish(&redis);
        let before = stored(&redis);
        redis.restart(ending);
        assert_eq!(stored(&redis), before, "{preamble} {ending:?}");
        assert_eq!(ask(&redis, "RATE.TAKE ip:1 LIMIT 9 7 3600000")[..3], [0, 0, 0]);
    }
}

#[test]
fn a_limit_goes_on_after_its_replica_was_promoted() {
    let redis = Redis::start();
    let replica = Redis::options().replica_of(&redis).start();
    replica.in_sync_with(&redis);
    let take = format!("RATE.TAKE ip:1 LIMIT 5 1 {DAY}");
    for _ in 0..3 {
        ask(&redis, &take);
    }
    replica.in_sync_with(&redis);
    drop(redis);
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(ask(&replica, &take)[..3], [1, 5, 1]);
}

/// A connection of each protocol gets the same five numbers.
#[test]
fn the_answer_is_five_numbers_in_both_protocols() {
    let redis = Redis::start();
    let five = |mut connection: Connection| ints(&connection.ok(&words("RATE.PEEK ip:1 LIMIT 5 1 1000")));
    assert_eq!(five(redis.connect()), [1, 5, 5, -1, 0]);
    assert_eq!(five(redis.connect_resp3()), [1, 5, 5, -1, 0]);
}
