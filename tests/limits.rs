//! Limits inside the commands that write (`LIMITS`) at a real server: all allow or nothing happens, only what happens is
//! charged, and the server knows the keys. What a limit allows when is proven in `tests/rate.rs` and beside the rules.
#![allow(clippy::unwrap_used)]

use std::thread;
use stoa_harness::redis::Ending;
use stoa_harness::{Redis, Reply};

const LOG: &str = "stoa:{lobby}:log";
const DOC: &str = "stoa:{lobby}:doc:main";
const HERE: &str = "stoa:{lobby}:presence";
const ADA: &str = "stoa:{lobby}:rate:ada";
const ALL: &str = "stoa:{lobby}:rate";
/// A period that no test outlasts.
const DAY: &str = "86400000";

/// Every command that takes limits: a call that changes something each time it is made in [`a_room`].
const CALLS: &[&str] = &[
    "MSG.POST stoa:{lobby}:log ada \"more\"",
    "MSG.EDIT stoa:{lobby}:log 1 ada \"other\"",
    "MSG.DELETE stoa:{lobby}:log 1 ada",
    "MSG.REACT stoa:{lobby}:log 1 bo +1",
    "MSG.UNREACT stoa:{lobby}:log 1 ada ok",
    "MSG.APPEND stoa:{lobby}:log 2 ada more",
    "MSG.FINISH stoa:{lobby}:log 2 ada",
    "MSG.CANCEL stoa:{lobby}:log 2 bo",
    "DOC.SUBMIT stoa:{lobby}:doc:main 1 [\"more\"]",
    "DOC.UNDO stoa:{lobby}:doc:main c1 BY ada k1",
    "DOC.RESTORE stoa:{lobby}:doc:main empty BY ada k1",
    "PRESENCE.SET stoa:{lobby}:presence k1 {\"a\":1}",
    "ROOM.EMIT stoa:{lobby}:room wave {}",
];

fn words(call: &str) -> Vec<&str> {
    call.split(' ').collect()
}

/// A room in which every one of [`CALLS`] has something to change.
fn a_room() -> Redis {
    let redis = Redis::options().aof().start();
    for call in [
        "MSG.POST stoa:{lobby}:log ada \"first\"",
        "MSG.REACT stoa:{lobby}:log 1 ada ok",
        "MSG.POST stoa:{lobby}:log ada \"begins\" STREAMING",
        "DOC.CREATE stoa:{lobby}:doc:main text",
        "DOC.TAG stoa:{lobby}:doc:main empty",
        "DOC.SUBMIT stoa:{lobby}:doc:main 0 [\"text\"] ID c1 1 BY ada k1",
        "PRESENCE.JOIN stoa:{lobby}:presence ada k1 n1 600000",
    ] {
        redis.ok(&words(call));
    }
    redis
}

/// What a bucket of `burst` still holds.
#[track_caller]
fn left(redis: &Redis, key: &str, burst: u64) -> i64 {
    redis.ok(&words(&format!("RATE.PEEK {key} LIMIT {burst} 1 {DAY}"))).items()[2].int()
}

/// The milliseconds that a refusal names.
#[track_caller]
fn retry_after_ms(reply: &Reply) -> u64 {
    let Reply::Error(text) = reply else { panic!("not refused: {reply:?}") };
    let rest = text.strip_prefix("RATE_LIMITED retry after ").unwrap_or_else(|| panic!("{text}"));
    let (ms, rest) = rest.split_once(' ').unwrap();
    assert!(rest.starts_with("ms: "), "{text}");
    ms.parse().unwrap()
}

#[test]
fn every_command_that_writes_takes_limits_and_a_refusal_changes_nothing() {
    for call in CALLS {
        let redis = a_room();
        let limited = format!("{call} LIMITS 1 {ADA} 1 1 {DAY}");
        redis.ok(&words(&limited));
        assert_eq!(left(&redis, ADA, 1), 0, "{call}");
        let (digest, offset) = (redis.digest(), redis.info("master_repl_offset"));
        let waits_ms = retry_after_ms(&redis.call(&words(&limited)));
        assert!(waits_ms > 86_000_000 && waits_ms <= 86_400_000, "{call}: {waits_ms}");
        assert_eq!((redis.digest(), redis.info("master_repl_offset")), (digest, offset), "{call}");
    }
}

#[test]
fn what_is_refused_for_another_reason_costs_nothing() {
    let redis = a_room();
    let before = redis.digest();
    for (call, code) in [
        ("MSG.POST stoa:{lobby}:log ada {", "INVALID_JSON"),
        ("MSG.POST stoa:{lobby}:log ada \"hi\" REPLY 99", "NOT_FOUND"),
        ("MSG.EDIT stoa:{lobby}:log 1 bo \"mine\"", "PERMISSION_DENIED"),
        ("MSG.APPEND stoa:{lobby}:log 1 ada more", "CLOSED"),
        ("DOC.SUBMIT stoa:{lobby}:doc:main 9 [\"x\"]", "AHEAD"),
        ("DOC.SUBMIT stoa:{lobby}:doc:main 1 [99,\"x\"]", "DESYNC"),
        ("DOC.SUBMIT stoa:{lobby}:doc:other 0 [\"x\"]", "NOT_FOUND"),
        ("DOC.UNDO stoa:{lobby}:doc:main nobody BY ada k1", "NOT_FOUND"),
        ("PRESENCE.SET stoa:{lobby}:presence k9 {}", "NOT_FOUND"),
        ("ROOM.EMIT stoa:{lobby}:room wave {", "INVALID_JSON"),
    ] {
        assert_eq!(redis.call(&words(&format!("{call} LIMITS 1 {ADA} 5 1 {DAY}"))).refused(), code, "{call}");
    }
    assert_eq!(redis.digest(), before);
}

#[test]
fn a_resend_is_answered_without_a_charge_also_when_the_limit_is_used_up() {
    let redis = a_room();
    let post = format!("MSG.POST {LOG} ada \"once\" ID c2 1 LIMITS 1 {ADA} 2 1 {DAY}");
    let first = redis.ok(&words(&post));
    for _ in 0..3 {
        let again = redis.ok(&words(&post));
        assert_eq!((again.field("n"), again.field("duplicate").int()), (first.field("n"), 1));
    }
    assert_eq!(left(&redis, ADA, 2), 1);
    let submit = format!("DOC.SUBMIT {DOC} 1 [\"x\"] ID c2 1 BY ada k1 LIMITS 1 {ADA} 2 1 {DAY}");
    assert_eq!(redis.ok(&words(&submit)).field("duplicate").int(), 0);
    let before = redis.digest();
    for call in [&post, &submit] {
        assert_eq!(redis.ok(&words(call)).field("duplicate").int(), 1, "{call}");
    }
    assert_eq!(redis.digest(), before);
    // The next one is new, and refused.
    retry_after_ms(&redis.call(&words(&format!("MSG.POST {LOG} ada \"x\" ID c2 2 LIMITS 1 {ADA} 2 1 {DAY}"))));
    // What is forgotten is told so, since waiting would not help.
    for seq in 10..100 {
        redis.ok(&words(&format!("MSG.POST {LOG} ada \"x\" ID c3 {seq}")));
    }
    let forgotten = format!("MSG.POST {LOG} ada \"x\" ID c3 1 LIMITS 1 {ADA} 2 1 {DAY}");
    assert_eq!(redis.call(&words(&forgotten)).refused(), "FORGOTTEN");
}

#[test]
fn all_limits_allow_or_none_is_charged() {
    let redis = a_room();
    // Of two keys with two limits each the third post finds one used up.
    let post =
        format!("MSG.POST {LOG} ada \"x\" LIMITS 4 {ALL} 9 1 {DAY} {ADA} 5 1 {DAY} {ADA} 2 1 {DAY} {ALL} 8 1 {DAY}");
    redis.ok(&words(&post));
    redis.ok(&words(&post));
    let (before, keys) = (redis.digest(), redis.ok(&["DBSIZE"]).int());
    retry_after_ms(&redis.call(&words(&post)));
    assert_eq!((redis.digest(), redis.ok(&["DBSIZE"]).int()), (before, keys));
    let peek = |key: &str, limits: &str| redis.ok(&words(&format!("RATE.PEEK {key} {limits}"))).items()[2].int();
    assert_eq!(peek(ALL, &format!("LIMIT 9 1 {DAY} LIMIT 8 1 {DAY}")), 6);
    assert_eq!(peek(ADA, &format!("LIMIT 5 1 {DAY} LIMIT 2 1 {DAY}")), 0);
    // The wait is that of the limit that takes longest.
    let post = format!("MSG.POST {LOG} ada \"x\" LIMITS 2 stoa:{{lobby}}:a 1 1 60000 stoa:{{lobby}}:b 1 1 600000");
    redis.ok(&words(&post));
    let waits_ms = retry_after_ms(&redis.call(&words(&post)));
    assert!(waits_ms > 60_000 && waits_ms <= 600_000, "{waits_ms}");
}

#[test]
fn a_block_of_a_service_refuses_the_command() {
    let redis = a_room();
    redis.ok(&["RATE.BLOCK", ADA, "600000"]);
    let before = redis.digest();
    let waits_ms = retry_after_ms(&redis.call(&words(&format!("MSG.POST {LOG} ada \"x\" LIMITS 1 {ADA} 9 9 1000"))));
    assert!(waits_ms > 590_000 && waits_ms <= 600_000, "{waits_ms}");
    assert_eq!(redis.digest(), before);
}

#[test]
fn many_callers_get_exactly_what_a_limit_allows() {
    let redis = a_room();
    let post = format!("MSG.POST {LOG} ada \"x\" LIMITS 2 {ADA} 100 1 {DAY} {ALL} 1000 1 {DAY}");
    let accepted: usize = thread::scope(|scope| {
        let caller = || {
            let mut connection = redis.connect();
            (0..40).filter(|_| !connection.call(&words(&post)).is_error()).count()
        };
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert_eq!(accepted, 100);
    assert_eq!(redis.ok(&["MSG.INFO", LOG]).field("messages").int(), 102);
    assert_eq!(left(&redis, ALL, 1000), 900, "what one limit refused the other was not charged for");
}

#[test]
fn what_cannot_be_a_limit_is_refused() {
    let redis = a_room();
    redis.ok(&["SET", "stoa:{lobby}:text", "hello"]);
    let before = redis.digest();
    let many = format!("LIMITS 9{}", format!(" {ADA} 1 1 1000").repeat(9));
    for (limits, code) in [
        ("LIMITS 1 stoa:{hall}:rate 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 {}{lobby} 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 lobby 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:log 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 0", "INVALID_ARGUMENT"),
        ("LIMITS", "INVALID_ARGUMENT"),
        ("LIMITS 2 stoa:{lobby}:rate 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:rate 1 1 1000 stoa:{lobby}:rate 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:rate 0 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:rate 1 1 x", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:rate 1 1 1000 CONN k1", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:rate 1 1 1000 LIMITS 1 stoa:{lobby}:rate 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:text 1 1 1000", "INVALID_ARGUMENT"),
        ("LIMITS 1 stoa:{lobby}:doc:main 1 1 1000", "WRONGTYPE"),
        (&many, "INVALID_ARGUMENT"),
    ] {
        let call = format!("MSG.POST {LOG} ada \"x\" {limits}");
        assert_eq!(redis.call(&words(&call)).refused(), code, "{call}");
    }
    for call in ["MSG.RANGE stoa:{lobby}:log", "DOC.CURSOR stoa:{lobby}:doc:main k1 0 null"] {
        let call = format!("{call} LIMITS 1 {ADA} 1 1 1000");
        assert_eq!(redis.call(&words(&call)).refused(), "INVALID_ARGUMENT", "{call}");
    }
    assert_eq!(redis.digest(), before);
}

#[test]
fn replicas_and_the_file_hold_the_same() {
    let mut redis = a_room();
    let replica = Redis::options().replica_of(&redis).start();
    replica.in_sync_with(&redis);
    for call in CALLS {
        redis.call(&words(&format!("{call} LIMITS 2 {ADA} 5 1 {DAY} {ALL} 9 7 {DAY}")));
    }
    assert_eq!(left(&redis, ADA, 5), 0);
    replica.in_sync_with(&redis);
    assert_eq!(replica.digest(), redis.digest());
    let (digest, ends) = (redis.digest(), redis.ok(&["PEXPIRETIME", ALL]));
    redis.restart(Ending::Killed);
    assert_eq!((redis.digest(), redis.ok(&["PEXPIRETIME", ALL])), (digest, ends));
}

#[test]
fn the_server_knows_the_keys_whatever_the_other_arguments_are() {
    let redis = a_room();
    let keys = |call: &str| redis.ok(&[vec!["COMMAND", "GETKEYS"], words(call)].concat()).texts();
    for call in CALLS {
        let key = words(call)[1];
        assert_eq!(keys(call), [key], "{call}");
        assert_eq!(keys(&format!("{call} LIMITS 2 {ADA} 1 1 1 {ALL} 2 2 2")), [key, ADA, ALL], "{call}");
    }
    // Somebody is called LIMITS, and so is their client.
    for (call, expected) in [
        (format!("MSG.POST {LOG} LIMITS \"x\""), vec![LOG]),
        (format!("MSG.POST {LOG} ada \"x\" ID LIMITS 1"), vec![LOG]),
        (format!("MSG.POST {LOG} ada \"x\" ID LIMITS 1 TYPE a CONN b"), vec![LOG]),
        (format!("MSG.POST {LOG} limits \"x\" MENTION limits ID limits 7 CONN limits"), vec![LOG]),
        (format!("MSG.POST {LOG} limits \"x\" ID limits 8 LIMITS 1 {ADA} 9 9 1"), vec![LOG, ADA]),
    ] {
        assert_eq!(keys(&call), expected, "{call}");
        assert!(!redis.call(&words(&call)).is_error(), "{call}");
    }
    let info = redis.ok(&["COMMAND", "INFO", "MSG.POST"]);
    let flags = info.items()[0].items()[2].texts();
    assert!(flags.contains(&"movablekeys".to_owned()), "{flags:?}");
}

#[test]
fn a_user_needs_the_rights_to_the_keys_of_limits_too() {
    let redis = a_room();
    redis.ok(&words("ACL SETUSER writer on nopass ~stoa:{lobby}:log ~stoa:{lobby}:rate* -@all +msg.post +auth"));
    let mut writer = redis.connect();
    writer.ok(&["AUTH", "writer", "any"]);
    writer.ok(&words(&format!("MSG.POST {LOG} ada \"x\" LIMITS 1 {ADA} 9 9 1000")));
    let before = redis.digest();
    for call in [
        format!("MSG.POST {LOG} ada \"x\" LIMITS 1 stoa:{{lobby}}:secret 9 9 1000"),
        format!("MSG.POST {LOG} ada \"x\" LIMITS 2 {ADA} 9 9 1000 stoa:{{lobby}}:secret 9 9 1000"),
        // Arguments that look like the option hide neither its keys nor the command's.
        format!("MSG.POST {LOG} limits \"x\" LIMITS 1 stoa:{{lobby}}:secret 9 9 1000"),
        format!("MSG.POST {LOG} ada \"x\" ID limits 0 LIMITS 1 stoa:{{lobby}}:secret 9 9 1000"),
        "MSG.POST stoa:{hall}:log limits \"x\"".to_owned(),
        "MSG.POST stoa:{hall}:log ada \"x\" LIMITS 0".to_owned(),
        "MSG.POST stoa:{hall}:log ada \"x\" LIMITS".to_owned(),
        format!("MSG.POST {HERE} ada \"x\" CONN limits"),
    ] {
        assert_eq!(writer.call(&words(&call)).refused(), "NOPERM", "{call}");
    }
    assert_eq!(redis.digest(), before);
}

#[test]
fn limits_work_in_transactions_and_scripts() {
    let redis = a_room();
    let post = format!("MSG.POST {LOG} ada \"x\" LIMITS 1 {ADA} 2 1 {DAY}");
    redis.ok(&["MULTI"]);
    for _ in 0..3 {
        redis.ok(&words(&post));
    }
    let replies = redis.ok(&["EXEC"]);
    let refused: Vec<bool> = replies.items().iter().map(Reply::is_error).collect();
    assert_eq!(refused, [false, false, true]);
    let script =
        "return redis.pcall('MSG.POST', KEYS[1], 'ada', '\"x\"', 'LIMITS', '1', KEYS[2], '3', '1', '86400000')";
    redis.ok(&["EVAL", script, "2", LOG, ADA]);
    retry_after_ms(&redis.call(&["EVAL", script, "2", LOG, ADA]));
}
