//! What ends by itself ends on time, whatever happens to the keys, the files and the server that it waits in.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::time::{Duration, Instant};
use stoa_core::event::Kind;
use stoa_harness::redis::{Ending, SLACK, assert_on_time};
use stoa_harness::resp::Subscriber;
use stoa_harness::{Connection, Redis, RedisOptions, assert_eventually};

const HERE: &str = "stoa:{lobby}:presence";
/// A lease that outlasts every story here.
const LONG: &str = "600000";
const SOON: Duration = Duration::from_secs(10);
/// Nobody's lease ends before that after a start or a promotion: as short as the stories need it.
const TAKEOVER_GRACE_MS: u64 = 1_000;

fn redis() -> RedisOptions {
    Redis::options().module_argument("takeover-grace-ms").module_argument(&TAKEOVER_GRACE_MS.to_string())
}

/// A server that has been up for longer than its takeover.
fn settled(options: RedisOptions) -> Redis {
    let redis = options.start();
    std::thread::sleep(Duration::from_millis(TAKEOVER_GRACE_MS)); // What is spared is over: a time, not a condition.
    redis
}

/// Waits until somebody is told to have left, and says when.
fn left_at(listener: &mut Subscriber, user: &str) -> Instant {
    let until = Instant::now() + SOON;
    loop {
        let changed = listener.expect("presence.changed", until.saturating_duration_since(Instant::now()));
        if changed["left"].as_array().unwrap().iter().any(|member| member["user"] == user) {
            return Instant::now();
        }
    }
}

/// Waits for a reset and says of which stream.
fn reset(listener: &mut Subscriber) -> Value {
    let until = Instant::now() + SOON;
    loop {
        let (header, frame) = listener.next(until.saturating_duration_since(Instant::now())).expect("a reset");
        if header.kind == Kind::Reset {
            return frame["stream"].clone();
        }
    }
}

/// Sends many commands and then reads their replies.
fn send_all(connection: &mut Connection, commands: impl Iterator<Item = Vec<String>>) {
    let mut pending = 0;
    for command in commands {
        let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        connection.send(&words).unwrap();
        pending += 1;
        if pending == 500 {
            (0..std::mem::take(&mut pending)).for_each(|_| assert!(!connection.read().unwrap().is_error()));
        }
    }
    (0..pending).for_each(|_| assert!(!connection.read().unwrap().is_error()));
}

#[test]
fn an_end_is_on_time_while_a_hundred_thousand_wait_for_theirs() {
    let redis = settled(redis());
    let mut connection = redis.connect();
    let join = |n: usize| {
        let key = format!("stoa:{{room{}}}:presence", n % 1_000);
        vec!["PRESENCE.JOIN".into(), key, format!("u{n}"), format!("c{n}"), format!("n{}", n % 3), LONG.into()]
    };
    send_all(&mut connection, (0..100_000).map(join));
    // Half of them wait for the end of a grace, the others for that of a lease.
    let leave = |n: usize| {
        let key = format!("stoa:{{room{}}}:presence", n % 1_000);
        vec!["PRESENCE.LEAVE".into(), key, format!("c{n}"), "GRACE".into(), LONG.into()]
    };
    send_all(&mut connection, (0..50_000).map(leave));
    let mut listener = redis.listen("lobby");
    for (ms, command) in [(300, ["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "300"].as_slice()), (200, &[])] {
        let began = Instant::now();
        if command.is_empty() {
            redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c2", "n1", LONG]);
            redis.ok(&["PRESENCE.LEAVE", HERE, "c2", "GRACE", "200"]);
        } else {
            redis.ok(command);
        }
        let after = left_at(&mut listener, "ada") - began;
        assert_on_time(after, Duration::from_millis(ms));
    }
}

#[test]
fn many_who_end_together_do_not_stop_the_server() {
    let redis = settled(redis());
    let mut connection = redis.connect();
    let mut listener = redis.listen("lobby");
    let join = |n: usize| {
        vec!["PRESENCE.JOIN".into(), HERE.into(), format!("u{n}"), format!("c{n}"), "n1".into(), "3000".into()]
    };
    send_all(&mut connection, (0..20_000).map(join));
    connection.ok(&["PRESENCE.BEAT", HERE, "n1", "300"]);
    let (mut longest, mut count) = (Duration::ZERO, 20_000);
    let until = Instant::now() + SOON;
    while count > 0 {
        assert!(Instant::now() < until, "{count} are still here");
        let began = Instant::now();
        connection.ok(&["PING"]);
        longest = longest.max(began.elapsed());
        count = connection.ok(&["PRESENCE.COUNT", HERE]).int();
    }
    // The figure is the bench's; here it only must not be all of the work at once.
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    let told = loop {
        let changed = listener.expect("presence.changed", SOON);
        if changed["count"] == 0 && changed["left"].as_array().is_some_and(|left| !left.is_empty()) {
            break changed;
        }
    };
    assert!(told["left"].as_array().unwrap().len() <= 1_000, "as many as are remembered");
}

#[test]
fn a_grace_outlives_the_server_that_granted_it() {
    // "The grace timer dies with the process": not when the front dies, and not when Redis does.
    let mut redis = redis().aof().start();
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", LONG]);
    redis.ok(&["PRESENCE.JOIN", HERE, "bo", "c2", "n1", LONG]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1", "GRACE", "2500"]);
    let dropped = Instant::now();
    redis.restart(Ending::Killed);
    let mut listener = redis.listen("lobby");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 2, "the grace goes on");
    let after = left_at(&mut listener, "ada") - dropped;
    assert!(after >= Duration::from_millis(2_400), "too early: {after:?}");
    assert!(after < Duration::from_millis(2_500 + TAKEOVER_GRACE_MS) + SLACK, "too late: {after:?}");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
}

#[test]
fn who_comes_back_after_a_restart_and_within_the_grace_never_left() {
    let mut redis = redis().aof().start();
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", LONG]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1", "GRACE", "60000"]);
    redis.restart(Ending::Killed);
    let mut listener = redis.listen("lobby");
    let back = redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c2", "n2", LONG]);
    assert_eq!(back.field("first").int(), 0);
    let changed = listener.expect("presence.changed", SOON);
    assert_eq!((&changed["joined"], &changed["left"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn a_promoted_replica_ends_what_the_primary_began() {
    let mut primary = redis().start();
    let replica = redis().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    primary.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", LONG]);
    primary.ok(&["PRESENCE.JOIN", HERE, "bo", "c2", "n2", "3000"]);
    primary.ok(&["PRESENCE.LEAVE", HERE, "c1", "GRACE", "3000"]);
    replica.in_sync_with(&primary);
    primary.kill();
    std::thread::sleep(Duration::from_millis(3_200)); // Longer than both: on a replica nothing may end.
    assert_eq!(replica.ok(&["PRESENCE.COUNT", HERE]).int(), 2, "a replica does not decide");
    let mut listener = replica.listen("lobby");
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    let promoted = Instant::now();
    left_at(&mut listener, "ada");
    assert_eventually!(replica.ok(&["PRESENCE.COUNT", HERE]).int() == 0);
    let after = promoted.elapsed();
    assert!(after < Duration::from_millis(TAKEOVER_GRACE_MS) + SLACK, "too late: {after:?}");
}

#[test]
fn a_renamed_list_ends_on_time_and_the_old_name_is_reset() {
    let redis = settled(redis());
    let (mut old, mut new) = (redis.listen("lobby"), redis.listen("attic"));
    let began = Instant::now();
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "600"]);
    redis.ok(&["RENAME", HERE, "stoa:{attic}:presence"]);
    assert_eq!(reset(&mut old), "presence");
    let after = left_at(&mut new, "ada") - began;
    assert_on_time(after, Duration::from_millis(600));
}

#[test]
fn a_reload_ends_nothing_and_forgets_no_end() {
    let redis = settled(redis());
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "300"]);
    redis.ok(&["DEBUG", "RELOAD"]);
    let mut listener = redis.listen("lobby");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
    left_at(&mut listener, "ada");
}

#[test]
fn what_becomes_of_a_key_is_told_and_nobody_leaves_twice() {
    let redis = settled(redis());
    for (what, stream) in [(["DEL", HERE].as_slice(), "presence"), (&["UNLINK", HERE], "presence"), (&["FLUSHALL"], "")]
    {
        let mut listener = redis.listen("lobby");
        redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "400"]);
        redis.ok(what);
        assert_eq!(reset(&mut listener), stream, "{what:?}");
        // The lease that waited finds nothing, and the list begins anew.
        assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 0);
        let again = redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "1200"]);
        assert_eq!(again.field("first").int(), 1);
        let began = Instant::now();
        assert!(
            left_at(&mut listener, "ada") - began >= Duration::from_millis(1_150),
            "{what:?}: the old lease ended it"
        );
    }
}

#[test]
fn what_takes_the_place_of_a_deleted_value_at_once_ends_on_time() {
    let redis = settled(redis().module_argument("message-stream-ms").module_argument("200"));
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", LONG]);
    // Before anybody could be told that the first one is gone.
    for words in [["MULTI"].as_slice(), &["DEL", HERE], &["PRESENCE.JOIN", HERE, "bo", "c2", "n2", "300"], &["EXEC"]] {
        redis.ok(words);
    }
    left_at(&mut listener, "bo");
    let [log, copy] = ["stoa:{lobby}:log", "stoa:{attic}:log"];
    redis.ok(&["MSG.POST", copy, "ada", "\"old\""]);
    redis.ok(&["MSG.POST", log, "ada", "\"new\"", "STREAMING"]);
    redis.ok(&["COPY", log, copy, "REPLACE"]);
    for key in [log, copy] {
        assert_eventually!(redis.ok(&["MSG.INFO", key]).field("streaming").int() == 0, "{key}");
    }
}

#[test]
fn a_key_that_expires_is_told() {
    let redis = settled(redis());
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", LONG]);
    redis.ok(&["PEXPIRE", HERE, "100"]);
    assert_eq!(reset(&mut listener), "presence");
}

#[test]
fn a_list_that_is_evicted_is_told() {
    let redis = settled(redis());
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", LONG]);
    redis.ok(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    redis.ok(&["CONFIG", "SET", "maxmemory", "1mb"]);
    // Every write makes room first, until nothing is left to evict.
    redis.call(&["SET", "other", "x"]);
    assert_eq!(reset(&mut listener), "presence");
    redis.ok(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 0);
}

#[test]
fn a_swap_of_databases_is_told_and_who_comes_back_by_one_ends_on_time() {
    let redis = settled(redis());
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "300"]);
    redis.ok(&["SWAPDB", "0", "1"]);
    assert_eq!(reset(&mut listener), "", "all streams of the room");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 0);
    std::thread::sleep(Duration::from_millis(500)); // Longer than the lease, which waits in the other database.
    redis.ok(&["SWAPDB", "1", "0"]);
    assert_eq!(reset(&mut listener), "");
    // Whoever is told takes the list again, as a front does; from then on its ends are planned.
    assert_eq!(redis.ok(&["ROOM.OPEN", HERE, "-"]).items()[0].field("count").int(), 1);
    left_at(&mut listener, "ada");
}
