//! Every command at a plain Redis client: what it does, what it refuses, what Redis knows of it.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::Duration;
use stoa_harness::resp::Subscriber;
use stoa_harness::{Connection, Redis, Reply};

const LOG: &str = "stoa:{lobby}:log";
const HERE: &str = "stoa:{lobby}:presence";
const DOC: &str = "stoa:{lobby}:doc:main";
const ACCESS: &str = "stoa:{lobby}:access";

/// Every command, a call of it that is well-formed, and the keys in that call.
const COMMANDS: &[(&str, &str, &[&str])] = &[
    ("RATE.TAKE", "RATE.TAKE ip:1 LIMIT 5 1 1000", &["ip:1"]),
    ("RATE.PEEK", "RATE.PEEK ip:1 LIMIT 5 1 1000", &["ip:1"]),
    ("RATE.REFUND", "RATE.REFUND ip:1 LIMIT 5 1 1000", &["ip:1"]),
    ("RATE.RESET", "RATE.RESET ip:1", &["ip:1"]),
    ("RATE.BLOCK", "RATE.BLOCK ip:1 1000", &["ip:1"]),
    ("RATE.HOLD", "RATE.HOLD seats:1 c1 5 1000", &["seats:1"]),
    ("RATE.DROP", "RATE.DROP seats:1 c1", &["seats:1"]),
    ("PRESENCE.JOIN", "PRESENCE.JOIN stoa:{lobby}:presence ada c1 n1 1000", &[HERE]),
    ("PRESENCE.SET", "PRESENCE.SET stoa:{lobby}:presence c1 {}", &[HERE]),
    ("PRESENCE.BEAT", "PRESENCE.BEAT stoa:{lobby}:presence n1 1000", &[HERE]),
    ("PRESENCE.LEAVE", "PRESENCE.LEAVE stoa:{lobby}:presence c1", &[HERE]),
    ("PRESENCE.TYPING", "PRESENCE.TYPING stoa:{lobby}:presence c1 1000", &[HERE]),
    ("PRESENCE.CURSOR", "PRESENCE.CURSOR stoa:{lobby}:presence c1 [1,2]", &[HERE]),
    ("PRESENCE.LIST", "PRESENCE.LIST stoa:{lobby}:presence", &[HERE]),
    ("PRESENCE.COUNT", "PRESENCE.COUNT stoa:{lobby}:presence", &[HERE]),
    ("PRESENCE.GET", "PRESENCE.GET stoa:{lobby}:presence ada bo", &[HERE]),
    ("PRESENCE.APPLY", "PRESENCE.APPLY stoa:{lobby}:presence CHANGE x", &[HERE]),
    ("DOC.CREATE", "DOC.CREATE stoa:{lobby}:doc:main text", &[DOC]),
    ("DOC.SUBMIT", "DOC.SUBMIT stoa:{lobby}:doc:main 0 []", &[DOC]),
    ("DOC.UNDO", "DOC.UNDO stoa:{lobby}:doc:main c1", &[DOC]),
    ("DOC.CURSOR", "DOC.CURSOR stoa:{lobby}:doc:main k1 0 null", &[DOC]),
    ("DOC.TAG", "DOC.TAG stoa:{lobby}:doc:main v1", &[DOC]),
    ("DOC.RESTORE", "DOC.RESTORE stoa:{lobby}:doc:main v1", &[DOC]),
    ("DOC.TRIM", "DOC.TRIM stoa:{lobby}:doc:main 10", &[DOC]),
    ("DOC.INFO", "DOC.INFO stoa:{lobby}:doc:main", &[DOC]),
    ("DOC.GET", "DOC.GET stoa:{lobby}:doc:main", &[DOC]),
    ("DOC.OPS", "DOC.OPS stoa:{lobby}:doc:main 0", &[DOC]),
    ("DOC.APPLY", "DOC.APPLY stoa:{lobby}:doc:main CHANGE x", &[DOC]),
    ("MSG.POST", "MSG.POST stoa:{lobby}:log ada \"hi\"", &[LOG]),
    ("MSG.EDIT", "MSG.EDIT stoa:{lobby}:log 1 ada \"ho\"", &[LOG]),
    ("MSG.DELETE", "MSG.DELETE stoa:{lobby}:log 1 ada", &[LOG]),
    ("MSG.REACT", "MSG.REACT stoa:{lobby}:log 1 ada +1", &[LOG]),
    ("MSG.UNREACT", "MSG.UNREACT stoa:{lobby}:log 1 ada +1", &[LOG]),
    ("MSG.APPEND", "MSG.APPEND stoa:{lobby}:log 1 ada more", &[LOG]),
    ("MSG.FINISH", "MSG.FINISH stoa:{lobby}:log 1 ada", &[LOG]),
    ("MSG.CANCEL", "MSG.CANCEL stoa:{lobby}:log 1 ada", &[LOG]),
    ("MSG.READ", "MSG.READ stoa:{lobby}:log ada 1", &[LOG]),
    ("MSG.UNREAD", "MSG.UNREAD stoa:{lobby}:log ada", &[LOG]),
    ("MSG.RANGE", "MSG.RANGE stoa:{lobby}:log", &[LOG]),
    ("MSG.GET", "MSG.GET stoa:{lobby}:log 1", &[LOG]),
    ("MSG.HISTORY", "MSG.HISTORY stoa:{lobby}:log 1", &[LOG]),
    ("MSG.SINCE", "MSG.SINCE stoa:{lobby}:log 0", &[LOG]),
    ("MSG.TRIM", "MSG.TRIM stoa:{lobby}:log 10", &[LOG]),
    ("MSG.CONFIG", "MSG.CONFIG stoa:{lobby}:log MESSAGES 10", &[LOG]),
    ("MSG.INFO", "MSG.INFO stoa:{lobby}:log", &[LOG]),
    ("MSG.APPLY", "MSG.APPLY stoa:{lobby}:log CHANGE x", &[LOG]),
    ("ROOM.EMIT", "ROOM.EMIT stoa:{lobby}:log wave {}", &[LOG]),
    ("ROOM.KICK", "ROOM.KICK stoa:{lobby}:presence USER ada", &[HERE]),
    ("ROOM.GRANT", "ROOM.GRANT stoa:{lobby}:access ada editor", &[ACCESS]),
    ("ROOM.REVOKE", "ROOM.REVOKE stoa:{lobby}:access ada", &[ACCESS]),
    ("ROOM.ACCESS", "ROOM.ACCESS stoa:{lobby}:access", &[ACCESS]),
    ("ROOM.APPLY", "ROOM.APPLY stoa:{lobby}:access CHANGE x", &[ACCESS]),
    ("ROOM.OPEN", "ROOM.OPEN stoa:{lobby}:log - stoa:{lobby}:presence -", &[LOG, HERE]),
];

/// Splits at spaces: for calls whose arguments have none.
fn words(call: &str) -> Vec<&str> {
    call.split(' ').collect()
}

/// A Redis with a room that has a document, messages and somebody who stays.
fn a_room() -> Redis {
    let redis = Redis::start();
    redis.ok(&["DOC.CREATE", DOC, "text", "hello"]);
    redis.ok(&["DOC.SUBMIT", DOC, "0", r#"[5," world"]"#, "ID", "c1", "1"]);
    redis.ok(&["MSG.POST", LOG, "ada", r#"{"text":"first"}"#, "ID", "c1", "1"]);
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "600000"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "bo", "viewer"]);
    redis
}

/// Somebody who listens, once the announcements of what was done before have passed.
fn listen(redis: &Redis) -> Subscriber {
    let mut listener = redis.listen("lobby");
    while listener.next(Duration::from_millis(100)).is_some() {}
    listener
}

const SOON: Duration = Duration::from_secs(5);

// --- What Redis knows of every command --------------------------------------------------------------------------

#[test]
fn the_module_brings_exactly_these_commands() {
    let redis = Redis::start();
    let mut listed = redis.ok(&["COMMAND", "LIST", "FILTERBY", "MODULE", "stoa"]).texts();
    listed.sort();
    let mut expected: Vec<String> = COMMANDS.iter().map(|(name, ..)| name.to_lowercase()).collect();
    expected.sort();
    let listed: Vec<String> = listed.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(listed, expected);
}

#[test]
fn every_command_has_docs_arity_flags_and_keys() {
    let redis = Redis::start();
    for (name, call, keys) in COMMANDS {
        let docs = redis.ok(&["COMMAND", "DOCS", name]);
        let docs = &docs.items()[1];
        assert!(docs.field("summary").text().len() > 10, "{name} has a summary");
        assert!(!docs.field("complexity").text().is_empty(), "{name} says what it costs");

        let info = redis.ok(&["COMMAND", "INFO", name]);
        let info = info.items()[0].items().to_vec();
        let arity = info[1].int();
        let count = words(call).len() as i64;
        assert!(arity == count || (arity < 0 && count >= -arity), "{name}: arity {arity}, {count} words");
        let flags = info[2].texts();
        assert!(flags.contains(&"write".into()) || flags.contains(&"readonly".into()), "{name}: {flags:?}");
        assert!(!info[8].items().is_empty(), "{name} declares where its keys are");

        let command: Vec<&str> = ["COMMAND", "GETKEYS"].into_iter().chain(words(call)).collect();
        assert_eq!(redis.ok(&command).texts(), *keys, "{name}");
    }
}

#[test]
fn the_wrong_number_of_arguments_is_refused_by_every_command() {
    let redis = a_room();
    let before = redis.digest();
    for (name, ..) in COMMANDS {
        let Reply::Error(error) = redis.call(&[name]) else { panic!("{name} took no arguments") };
        assert!(error.contains("wrong number of arguments"), "{name}: {error}");
    }
    for call in ["PRESENCE.COUNT stoa:{lobby}:presence more", "PRESENCE.BEAT stoa:{lobby}:presence n1 1000 more"] {
        assert!(redis.call(&words(call)).is_error(), "{call}");
    }
    assert_eq!(redis.digest(), before);
}

#[test]
fn a_key_of_another_type_is_refused_by_every_command() {
    let redis = Redis::start();
    for (name, call, keys) in COMMANDS {
        // ROOM.EMIT only announces: it never opens the key. The effects are refused before they look.
        if *name == "ROOM.EMIT" || name.ends_with(".APPLY") {
            continue;
        }
        redis.ok(&["FLUSHALL"]);
        redis.ok(&["RPUSH", keys[0], "a list"]);
        assert_eq!(redis.call(&words(call)).refused(), "WRONGTYPE", "{name}");
        assert_eq!(redis.ok(&["LRANGE", keys[0], "0", "-1"]).texts(), ["a list"], "{name}");
    }
}

#[test]
fn a_stream_is_not_taken_for_another_kind_of_stream() {
    let redis = a_room();
    let before = redis.digest();
    for call in [
        format!("MSG.POST {DOC} ada \"hi\""),
        format!("DOC.GET {LOG}"),
        format!("PRESENCE.COUNT {DOC}"),
        format!("GET {LOG}"),
    ] {
        let reply = redis.call(&words(&call));
        assert!(["WRONGTYPE", "INVALID_KEY"].contains(&reply.refused()), "{call}: {reply:?}");
    }
    assert_eq!(redis.digest(), before);
}

#[test]
fn effects_are_refused_from_callers() {
    let redis = a_room();
    let before = redis.digest();
    for (command, key) in [("MSG.APPLY", LOG), ("DOC.APPLY", DOC), ("PRESENCE.APPLY", HERE), ("ROOM.APPLY", ACCESS)] {
        for kind in ["CHANGE", "STATE"] {
            for record in [&b"x"[..], b"", b"\x01\x00\xff\xff\xff\xff"] {
                let reply = redis.call_bytes(&[command.as_bytes(), key.as_bytes(), kind.as_bytes(), record]);
                assert_eq!(reply.refused(), "INTERNAL_ONLY", "{command} {kind}");
            }
        }
        let script = format!("return redis.pcall('{command}', KEYS[1], 'CHANGE', 'x')");
        assert_eq!(redis.call(&["EVAL", &script, "1", key]).refused(), "INTERNAL_ONLY", "{command} in a script");
    }
    assert_eq!(redis.digest(), before);
}

#[test]
fn maps_are_maps_in_resp3_and_flat_in_resp2() {
    let redis = a_room();
    let mut resp3 = redis.connect_resp3();
    for (call, fields) in [
        (format!("DOC.GET {DOC}"), vec!["rev", "epoch", "type", "content"]),
        (format!("DOC.OPS {DOC} 0"), vec!["outcome", "epoch", "rev", "through", "events"]),
        (format!("MSG.RANGE {LOG}"), vec!["epoch", "rev", "messages", "more", "more_before", "more_after"]),
        (format!("MSG.UNREAD {LOG} ada"), vec!["read", "unread", "mentions", "n", "rev", "epoch"]),
        (format!("MSG.HISTORY {LOG} 1"), vec!["versions"]),
        (format!("MSG.CONFIG {LOG}"), vec!["messages_max", "age_ms_max", "bytes_max"]),
        (format!("MSG.SINCE {LOG} 0"), vec!["outcome", "epoch", "rev", "through", "events"]),
        (format!("PRESENCE.LIST {HERE}"), vec!["outcome", "epoch", "rev", "count", "members", "typing", "cursors"]),
        (format!("PRESENCE.COUNT {HERE} DETAIL"), vec!["people", "connections", "invisible"]),
        (format!("DOC.CREATE {DOC} text"), vec!["created", "epoch", "rev"]),
    ] {
        let flat = redis.ok(&words(&call));
        let map = resp3.ok(&words(&call));
        assert!(matches!(flat, Reply::Array(_)), "{call}: {flat:?}");
        assert!(matches!(map, Reply::Map(_)), "{call}: {map:?}");
        for reply in [&flat, &map] {
            let mut names = reply.field_names();
            names.sort();
            let mut fields = fields.clone();
            fields.sort();
            assert_eq!(names, fields, "{call}");
        }
    }
    let opened = redis.ok(&["ROOM.OPEN", LOG, "-"]);
    assert_eq!(opened.items()[0].field("stream").text(), "log");
    assert!(matches!(resp3.ok(&["ROOM.OPEN", LOG, "-"]).items()[0], Reply::Map(_)));
}

#[test]
fn transactions_and_scripts_may_use_the_commands() {
    let redis = a_room();
    redis.ok(&["MULTI"]);
    redis.ok(&["MSG.POST", LOG, "ada", "\"in a transaction\""]);
    redis.ok(&["DOC.SUBMIT", DOC, "1", r#"["> "]"#]);
    let replies = redis.ok(&["EXEC"]);
    assert_eq!(replies.items()[0].field("n").int(), 2);
    assert_eq!(replies.items()[1].field("rev").int(), 2);
    let script = "return redis.call('MSG.POST', KEYS[1], 'bo', '\"from a script\"')";
    assert_eq!(redis.ok(&["EVAL", script, "1", LOG]).field("n").int(), 3);
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "> hello world");
}

#[test]
fn who_watches_a_key_is_disturbed_by_what_changes_it_and_by_nothing_else() {
    let redis = a_room();
    let mut watcher = redis.connect();
    let mut is_disturbed = |key: &str, call: &[&str]| {
        watcher.ok(&["WATCH", key]);
        redis.call(call);
        watcher.ok(&["MULTI"]);
        watcher.ok(&["PING"]);
        matches!(watcher.call(&["EXEC"]), Reply::Null)
    };
    let take = words("RATE.TAKE ip:1 LIMIT 1 1 60000");
    assert!(is_disturbed("ip:1", &take));
    assert!(!is_disturbed("ip:1", &take), "a refusal changes nothing");
    for call in [
        ["PRESENCE.BEAT", HERE, "n1", "900000"].as_slice(),
        &["PRESENCE.LEAVE", HERE, "c1"],
        &["DOC.SUBMIT", DOC, "1", "[\"x\"]"],
        &["DOC.TAG", DOC, "v1"],
        &["DOC.TRIM", DOC, "0"],
        &["MSG.POST", LOG, "ada", "\"hi\""],
    ] {
        assert!(is_disturbed(call[1], call), "{call:?}");
    }
    for call in [
        ["PRESENCE.COUNT", HERE].as_slice(),
        &["DOC.CURSOR", DOC, "k1", "2", r#"{"anchor":0,"head":0}"#],
        &["DOC.GET", DOC],
        &["MSG.RANGE", LOG],
        &["ROOM.OPEN", LOG, "-"],
        // Refused, or nothing to change.
        &["MSG.POST", LOG, "ada", "no json"],
        &["MSG.EDIT", LOG, "99", "ada", "\"hi\""],
        &["MSG.REACT", LOG, "1", "ada", ""],
        &["DOC.SUBMIT", DOC, "99", "[\"x\"]"],
        &["DOC.TRIM", DOC, "100"],
        &["PRESENCE.SET", HERE, "nobody", "{}"],
        &["ROOM.GRANT", ACCESS, "bo", "viewer"],
        &["ROOM.REVOKE", ACCESS, "cy", "FORGET"],
    ] {
        assert!(!is_disturbed(call[1], call), "{call:?}");
    }
}

// --- What changes nothing -----------------------------------------------------------------------------------------

#[test]
fn bad_arguments_are_refused_with_their_code_and_change_nothing() {
    let redis = a_room();
    let before = redis.digest();
    let long = "x".repeat(201);
    let big_message = format!("\"{}\"", "x".repeat(33 * 1024));
    let big_data = format!("{{\"a\":\"{}\"}}", "x".repeat(1100));
    let deep = "[".repeat(100) + &"]".repeat(100);
    let nine_limits = [vec!["RATE.TAKE", "ip:1"], ["LIMIT", "5", "1", "1000"].repeat(9)].concat();
    let many_keys = [vec!["ROOM.OPEN"], [LOG, "-"].repeat(34)].concat();
    let big_meta = format!("{{\"a\":\"{}\"}}", "x".repeat(4096));
    let many_mentions = [vec!["MSG.POST", LOG, "ada", "\"hi\""], ["MENTION", "bo"].repeat(33)].concat();
    let many_reads = [vec!["MSG.READ", LOG], ["ada", "1"].repeat(101)].concat();
    let many_named = [vec!["ROOM.ACCESS", ACCESS], ["USER", "ada"].repeat(102)].concat();
    let many_users = [vec!["PRESENCE.GET", HERE], ["ada"].repeat(101)].concat();
    let long_reason = "x".repeat(257);
    let many_numbers = [vec!["MSG.GET", LOG], ["1"].repeat(101)].concat();
    let room_too_long = format!("stoa:{{{long}}}:log");

    let calls: Vec<(&str, Vec<&str>)> = vec![
        // Limits.
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "0", "1", "1000"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "5", "0", "1000"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "5", "1", "0"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "5", "1", "-1000"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "five", "1", "1000"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "99999999999999999999", "1", "1000"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "5", "1", "1000", "COST", "-1"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "5", "1", "1000", "COST"]),
        ("INVALID_ARGUMENT", vec!["RATE.TAKE", "ip:1", "LIMIT", "5", "1", "1000", "PRICE", "1"]),
        ("INVALID_ARGUMENT", nine_limits),
        // Keys.
        ("INVALID_KEY", vec!["MSG.POST", "lobby", "ada", "\"hi\""]),
        ("INVALID_KEY", vec!["MSG.POST", "stoa:lobby:log", "ada", "\"hi\""]),
        ("INVALID_KEY", vec!["MSG.POST", "stoa:{}:log", "ada", "\"hi\""]),
        ("INVALID_KEY", vec!["MSG.POST", "stoa:{a b}:log", "ada", "\"hi\""]),
        ("INVALID_KEY", vec!["MSG.POST", "stoa:{lobby}", "ada", "\"hi\""]),
        ("INVALID_KEY", vec!["MSG.POST", &room_too_long, "ada", "\"hi\""]),
        ("INVALID_KEY", vec!["DOC.CREATE", "lobby:doc", "text"]),
        ("INVALID_KEY", vec!["PRESENCE.JOIN", "lobby", "ada", "c1", "n1", "1000"]),
        ("INVALID_KEY", vec!["ROOM.EMIT", "lobby", "wave", "{}"]),
        // Presence.
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "", "c2", "n1", "1000"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "", "n1", "1000"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "", "1000"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, &long, "c2", "n1", "1000"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "0"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "soon"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "c1", "n1", "1000"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "ada", "c1", "n2", "1000"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "1000", "DATA"]),
        ("INVALID_JSON", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "1000", "DATA", "{"]),
        ("TOO_LARGE", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "1000", "DATA", &big_data]),
        ("NOT_FOUND", vec!["PRESENCE.SET", HERE, "c9", "{}"]),
        ("INVALID_JSON", vec!["PRESENCE.SET", HERE, "c1", "nope"]),
        ("INVALID_JSON", vec!["PRESENCE.SET", HERE, "c1", "3"]),
        ("TOO_LARGE", vec!["PRESENCE.SET", HERE, "c1", &big_data]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.BEAT", HERE, "n1", "0"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.BEAT", HERE, "n1", "x"]),
        ("NOT_FOUND", vec!["PRESENCE.LEAVE", HERE, "c9"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.LEAVE", HERE, "c1", "GRACE", "-1"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.LEAVE", HERE, "c1", "GRACE"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.TYPING", HERE, "c1", "60001"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.TYPING", HERE, "c1", "-1"]),
        ("NOT_FOUND", vec!["PRESENCE.TYPING", HERE, "c9", "1000"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.LIST", HERE, "SINCE", "yesterday"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "1000", "STATUS", "out to lunch"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "1000", "STATUS", &long]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.SET", HERE, "c1", "STATUS", ""]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.SET", HERE, "c1", "USER", "ada"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.SET", HERE, "c1", "{}", "STATUS"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.SET", HERE, "c1", "{}", "STATUS", "a", "STATUS", "b"]),
        ("INVALID_JSON", vec!["PRESENCE.SET", HERE, "c1", "PRIVATE", "7"]),
        ("TOO_LARGE", vec!["PRESENCE.SET", HERE, "c1", "PRIVATE", &big_data]),
        ("NOT_FOUND", vec!["PRESENCE.SET", HERE, "c9", "STATUS", "away"]),
        ("NOT_FOUND", vec!["PRESENCE.CURSOR", HERE, "c9", "1"]),
        ("NOT_FOUND", vec!["PRESENCE.CURSOR", HERE, "c1", "1", "USER", "bo"]),
        ("INVALID_JSON", vec!["PRESENCE.CURSOR", HERE, "c1", "here"]),
        ("TOO_LARGE", vec!["PRESENCE.CURSOR", HERE, "c1", &big_data]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.COUNT", HERE, "ALL"]),
        ("INVALID_ARGUMENT", vec!["PRESENCE.GET", HERE, "ada", ""]),
        ("INVALID_ARGUMENT", many_users),
        ("INVALID_KEY", vec!["ROOM.KICK", "stoa:{lobby}", "USER", "ada"]),
        ("INVALID_ARGUMENT", vec!["ROOM.KICK", HERE, "USER", ""]),
        ("INVALID_ARGUMENT", vec!["ROOM.KICK", HERE, "ROOM", "lobby"]),
        ("INVALID_ARGUMENT", vec!["ROOM.KICK", HERE, "USER", "ada", "REASON", "a\nb"]),
        ("INVALID_ARGUMENT", vec!["ROOM.KICK", HERE, "USER", "ada", "REASON", &long_reason]),
        ("INVALID_ARGUMENT", vec!["ROOM.KICK", HERE, "USER", "ada", "BY", ""]),
        // Documents.
        ("INVALID_ARGUMENT", vec!["DOC.CREATE", "stoa:{lobby}:doc:new", "table"]),
        ("INVALID_ARGUMENT", vec!["DOC.CREATE", "stoa:{lobby}:doc:new", "text", "", "EOL", "crlf"]),
        ("NOT_FOUND", vec!["DOC.SUBMIT", "stoa:{lobby}:doc:new", "0", "[\"x\"]"]),
        ("INVALID_ARGUMENT", vec!["DOC.SUBMIT", DOC, "-1", "[\"x\"]"]),
        ("INVALID_ARGUMENT", vec!["DOC.SUBMIT", DOC, "one", "[\"x\"]"]),
        ("AHEAD", vec!["DOC.SUBMIT", DOC, "2", "[\"x\"]"]),
        ("INVALID_OPERATION", vec!["DOC.SUBMIT", DOC, "1", "x"]),
        ("INVALID_OPERATION", vec!["DOC.SUBMIT", DOC, "1", "{\"insert\":\"x\"}"]),
        ("INVALID_OPERATION", vec!["DOC.SUBMIT", DOC, "1", "[1.5]"]),
        ("INVALID_OPERATION", vec!["DOC.SUBMIT", DOC, "1", "[null]"]),
        ("DESYNC", vec!["DOC.SUBMIT", DOC, "1", "[12,\"x\"]"]),
        ("DESYNC", vec!["DOC.SUBMIT", DOC, "1", "[-12]"]),
        ("INVALID_OPERATION", vec!["DOC.SUBMIT", DOC, "1", "[\"a\\r\\nb\"]"]),
        ("INVALID_OPERATION", vec!["DOC.SUBMIT", DOC, "1", "[\"\\ud800\"]"]),
        ("DESYNC", vec!["DOC.SUBMIT", DOC, "1", "[\"x\"]", "LEN", "4"]),
        ("RESET", vec!["DOC.SUBMIT", DOC, "1", "[\"x\"]", "EPOCH", "1.00000000"]),
        ("INVALID_ARGUMENT", vec!["DOC.SUBMIT", DOC, "1", "[\"x\"]", "EPOCH", "first"]),
        ("INVALID_ARGUMENT", vec!["DOC.SUBMIT", DOC, "1", "[\"x\"]", "ID", "c1", "0"]),
        ("INVALID_ARGUMENT", vec!["DOC.SUBMIT", DOC, "1", "[\"x\"]", "ID", "c1"]),
        ("INVALID_ARGUMENT", vec!["DOC.SUBMIT", DOC, "1", "[\"x\"]", "UNIT", "bytes"]),
        ("INVALID_ARGUMENT", vec!["DOC.SUBMIT", DOC, "1", "[\"x\"]", "LOUDLY"]),
        ("NOT_FOUND", vec!["DOC.GET", "stoa:{lobby}:doc:new"]),
        ("INVALID_ARGUMENT", vec!["DOC.GET", DOC, "REV", "x"]),
        ("NOT_FOUND", vec!["DOC.OPS", "stoa:{lobby}:doc:new", "0"]),
        ("INVALID_ARGUMENT", vec!["DOC.OPS", DOC, "x"]),
        ("NOT_FOUND", vec!["DOC.UNDO", DOC, "nobody"]),
        ("NOT_FOUND", vec!["DOC.UNDO", "stoa:{lobby}:doc:new", "c1"]),
        ("INVALID_ARGUMENT", vec!["DOC.UNDO", DOC, ""]),
        ("INVALID_ARGUMENT", vec!["DOC.UNDO", DOC, "c1", "ID", "c1"]),
        ("NOT_FOUND", vec!["DOC.CURSOR", "stoa:{lobby}:doc:new", "k1", "0", "null"]),
        ("AHEAD", vec!["DOC.CURSOR", DOC, "k1", "9", r#"{"anchor":0,"head":0}"#]),
        ("DESYNC", vec!["DOC.CURSOR", DOC, "k1", "1", r#"{"anchor":99,"head":99}"#]),
        ("INVALID_JSON", vec!["DOC.CURSOR", DOC, "k1", "1", "{"]),
        ("INVALID_ARGUMENT", vec!["DOC.TAG", DOC, &long]),
        ("NOT_FOUND", vec!["DOC.TAG", DOC, "v9", "DROP"]),
        ("INVALID_ARGUMENT", vec!["DOC.TAG", DOC, "v9", "LOUDLY"]),
        ("NOT_FOUND", vec!["DOC.RESTORE", DOC, "v9"]),
        ("INVALID_ARGUMENT", vec!["DOC.TRIM", DOC, "-1"]),
        ("INVALID_ARGUMENT", vec!["DOC.TRIM", DOC, "x"]),
        ("NOT_FOUND", vec!["DOC.TRIM", "stoa:{lobby}:doc:new", "1"]),
        ("NOT_FOUND", vec!["DOC.INFO", "stoa:{lobby}:doc:new"]),
        // Messages.
        ("INVALID_JSON", vec!["MSG.POST", LOG, "ada", "hi"]),
        ("INVALID_JSON", vec!["MSG.POST", LOG, "ada", "{} {}"]),
        ("INVALID_JSON", vec!["MSG.POST", LOG, "ada", &deep, "TYPE", "data"]),
        ("TOO_LARGE", vec!["MSG.POST", LOG, "ada", &big_message]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "\"  \""]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "{\"txt\":\"hi\"}"]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "\"hi\"", "TYPE", "Loud Text"]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "\"hi\"", "TYPE", ""]),
        ("NOT_FOUND", vec!["MSG.POST", LOG, "ada", "\"hi\"", "REPLY", "99"]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "\"hi\"", "ID", "c1", "-1"]),
        ("INVALID_ARGUMENT", vec!["MSG.RANGE", LOG, "BEFORE", "x"]),
        ("INVALID_ARGUMENT", vec!["MSG.RANGE", LOG, "BEFORE", "3", "AFTER", "1"]),
        ("INVALID_ARGUMENT", vec!["MSG.RANGE", LOG, "COUNT", "x"]),
        ("INVALID_ARGUMENT", vec!["MSG.SINCE", LOG, "x"]),
        ("INVALID_ARGUMENT", vec!["MSG.SINCE", LOG, "0", "EPOCH", "x"]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "\"hi\"", "MENTION", ""]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "\"hi\"", "MENTION"]),
        ("INVALID_ARGUMENT", vec!["MSG.POST", LOG, "ada", "\"hi\"", "STREAMING", "STREAMING"]),
        ("INVALID_JSON", vec!["MSG.POST", LOG, "ada", "\"hi\"", "META", "3"]),
        ("TOO_LARGE", vec!["MSG.POST", LOG, "ada", "\"hi\"", "META", &big_meta]),
        ("TOO_LARGE", many_mentions),
        ("INVALID_JSON", vec!["MSG.POST", LOG, "ada", "{\"text\":\"hi\"}", "STREAMING"]),
        ("PERMISSION_DENIED", vec!["MSG.EDIT", LOG, "1", "bo", "\"mine\""]),
        ("NOT_FOUND", vec!["MSG.EDIT", LOG, "9", "ada", "\"x\""]),
        ("NOT_FOUND", vec!["MSG.EDIT", "stoa:{lobby}:log:new", "1", "ada", "\"x\""]),
        ("INVALID_ARGUMENT", vec!["MSG.EDIT", LOG, "x", "ada", "\"x\""]),
        ("INVALID_ARGUMENT", vec!["MSG.EDIT", LOG, "1", "ada", "\" \""]),
        ("INVALID_ARGUMENT", vec!["MSG.EDIT", LOG, "1", "ada", "\"x\"", "TYPE", "note"]),
        ("INVALID_JSON", vec!["MSG.EDIT", LOG, "1", "ada", "x"]),
        ("TOO_LARGE", vec!["MSG.EDIT", LOG, "1", "ada", &big_message]),
        ("PERMISSION_DENIED", vec!["MSG.DELETE", LOG, "1", "bo"]),
        ("NOT_FOUND", vec!["MSG.DELETE", LOG, "9", "ada"]),
        ("INVALID_ARGUMENT", vec!["MSG.DELETE", LOG, "1", "ada", "ID", "c1", "0"]),
        ("NOT_FOUND", vec!["MSG.REACT", LOG, "9", "ada", "+1"]),
        ("INVALID_ARGUMENT", vec!["MSG.REACT", LOG, "1", "ada", ""]),
        ("INVALID_ARGUMENT", vec!["MSG.REACT", LOG, "1", "ada", "a\tb"]),
        ("INVALID_ARGUMENT", vec!["MSG.REACT", LOG, "1", "ada", &long[..65]]),
        ("INVALID_ARGUMENT", vec!["MSG.REACT", LOG, "1", "ada", "+1", "ANY"]),
        ("NOT_FOUND", vec!["MSG.UNREACT", LOG, "9", "ada", "+1"]),
        ("CLOSED", vec!["MSG.APPEND", LOG, "1", "ada", "more"]),
        ("NOT_FOUND", vec!["MSG.APPEND", LOG, "9", "ada", "more"]),
        ("INVALID_ARGUMENT", vec!["MSG.APPEND", LOG, "1", "ada", "more", "AT", "x"]),
        ("CLOSED", vec!["MSG.FINISH", LOG, "1", "ada"]),
        ("NOT_FOUND", vec!["MSG.FINISH", LOG, "9", "ada"]),
        ("CLOSED", vec!["MSG.CANCEL", LOG, "1", "ada"]),
        ("INVALID_ARGUMENT", vec!["MSG.READ", LOG, "ada", "x"]),
        ("INVALID_ARGUMENT", vec!["MSG.READ", LOG, "ada", "1", "bo"]),
        ("INVALID_ARGUMENT", vec!["MSG.READ", LOG, "", "1"]),
        ("INVALID_ARGUMENT", many_reads),
        ("INVALID_ARGUMENT", vec!["MSG.GET", LOG, "x"]),
        ("INVALID_ARGUMENT", many_numbers),
        ("NOT_FOUND", vec!["MSG.HISTORY", LOG, "9"]),
        ("NOT_FOUND", vec!["MSG.RANGE", LOG, "THREAD", "9"]),
        ("INVALID_ARGUMENT", vec!["MSG.RANGE", LOG, "AROUND", "1", "BEFORE", "3"]),
        ("INVALID_ARGUMENT", vec!["MSG.TRIM", LOG, "-1"]),
        ("NOT_FOUND", vec!["MSG.TRIM", "stoa:{lobby}:log:new", "1"]),
        ("INVALID_ARGUMENT", vec!["MSG.CONFIG", LOG, "MESSAGES", "-1"]),
        ("INVALID_ARGUMENT", vec!["MSG.CONFIG", LOG, "SECONDS", "1"]),
        ("NOT_FOUND", vec!["MSG.INFO", "stoa:{lobby}:log:new"]),
        // The room.
        ("INVALID_JSON", vec!["ROOM.EMIT", HERE, "wave", "{"]),
        ("INVALID_ARGUMENT", vec!["ROOM.EMIT", HERE, "wave", "{}", "TO", "EVERYBODY", "x"]),
        ("INVALID_KEY", vec!["ROOM.GRANT", "stoa:{lobby}:list", "ada", "editor"]),
        ("INVALID_KEY", vec!["ROOM.GRANT", "stoa:{lobby}", "ada", "editor"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "", "editor"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, &long, "editor"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", ""]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", "an editor"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", &long]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "0"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "-1"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "9000000000000"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", "editor", "TTL"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", "editor", "BY", "a\n"]),
        ("INVALID_ARGUMENT", vec!["ROOM.GRANT", ACCESS, "ada", "editor", "LOUDLY"]),
        ("INVALID_ARGUMENT", vec!["ROOM.REVOKE", ACCESS, ""]),
        ("INVALID_ARGUMENT", vec!["ROOM.REVOKE", ACCESS, "ada", "FORGET", "FORGET"]),
        ("INVALID_ARGUMENT", vec!["ROOM.REVOKE", ACCESS, "ada", "LOUDLY"]),
        ("INVALID_KEY", vec!["ROOM.REVOKE", "stoa:{lobby}:log2", "ada"]),
        ("INVALID_ARGUMENT", vec!["ROOM.ACCESS", ACCESS, "USER"]),
        ("INVALID_ARGUMENT", vec!["ROOM.ACCESS", ACCESS, "USER", "ada", "AFTER", "bo"]),
        ("INVALID_ARGUMENT", vec!["ROOM.ACCESS", ACCESS, "COUNT", "x"]),
        ("INVALID_ARGUMENT", vec!["ROOM.ACCESS", ACCESS, "ada"]),
        ("INVALID_ARGUMENT", many_named),
        ("INVALID_ARGUMENT", vec!["ROOM.OPEN", LOG, "-", HERE]),
        ("INVALID_ARGUMENT", vec!["ROOM.OPEN", LOG, "yesterday"]),
        ("INVALID_ARGUMENT", vec!["ROOM.OPEN", "stoa:{lobby}", "ada"]),
        ("INVALID_ARGUMENT", vec!["ROOM.OPEN", "stoa:{lobby}", "", LOG, "-"]),
        ("INVALID_ARGUMENT", vec!["ROOM.OPEN", LOG, "-", "stoa:{lobby}", "ada"]),
        ("INVALID_ARGUMENT", vec!["ROOM.OPEN", "stoa:{elsewhere}", "ada", LOG, "-"]),
        ("INVALID_ARGUMENT", vec!["ROOM.OPEN", LOG, "-", "stoa:{elsewhere}:log", "-"]),
        ("INVALID_ARGUMENT", many_keys),
    ];
    let mut wrong = Vec::new();
    for (code, call) in &calls {
        let reply = redis.call(call);
        let short: String = call.join(" ").chars().take(120).collect();
        match &reply {
            Reply::Error(error) if error.split(' ').next() == Some(code) => {}
            _ => wrong.push(format!("{short}\n    is answered {reply:?} and not {code}")),
        }
        let after = redis.digest();
        if after != before {
            wrong.push(format!("{short}\n    changed what is stored (answer: {reply:?})"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{} of {} calls:\n{}", wrong.len(), calls.len(), wrong.join("\n"));
}

#[test]
fn stored_streams_live_in_database_0_only() {
    let redis = Redis::start();
    redis.ok(&["SELECT", "1"]);
    assert!(redis.call(&["MSG.POST", LOG, "ada", "\"hi\""]).is_error());
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 0);
}

// --- Limits -------------------------------------------------------------------------------------------------------

/// allowed, limit, remaining, retry after, reset after.
fn taken(reply: &Reply) -> [i64; 5] {
    reply.items().iter().map(Reply::int).collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_limit_lets_its_burst_through_and_then_says_when() {
    let redis = Redis::start();
    let mut connection = redis.connect();
    let mut take =
        |words: &[&str]| taken(&connection.ok(&[&["RATE.TAKE", "ip:1", "LIMIT", "3", "1", "60000"], words].concat()));
    for remaining in [2, 1, 0] {
        let [allowed, limit, left, retry, reset] = take(&[]);
        assert_eq!((allowed, limit, left, retry), (1, 3, remaining, -1));
        assert!(reset > 0);
    }
    let before = redis.digest();
    let [allowed, limit, left, retry, _] = take(&[]);
    assert_eq!((allowed, limit, left), (0, 3, 0));
    assert!(retry > 0 && retry <= 60_000, "{retry}");
    assert_eq!(redis.digest(), before, "a refusal costs nothing");
    let [allowed, ..] = take(&["COST", "0"]);
    assert_eq!((allowed, redis.digest()), (1, before), "looking costs nothing");
}

#[test]
fn of_several_limits_the_tightest_decides_and_none_is_charged_when_one_refuses() {
    let redis = Redis::start();
    let take = |limits: &str| taken(&redis.ok(&words(&format!("RATE.TAKE ip:1 {limits}"))));
    assert_eq!(take("LIMIT 10 1 60000 LIMIT 2 1 3600000")[..3], [1, 2, 1]);
    assert_eq!(take("LIMIT 10 1 60000 LIMIT 2 1 3600000")[..3], [1, 2, 0]);
    assert_eq!(take("LIMIT 10 1 60000 LIMIT 2 1 3600000")[..3], [0, 2, 0]);
}

#[test]
fn a_limit_refills_with_time_and_its_key_goes_by_itself() {
    let redis = Redis::start();
    let take = || taken(&redis.ok(&words("RATE.TAKE ip:1 LIMIT 1 1 200")));
    assert_eq!(take()[0], 1);
    let [allowed, _, _, retry, _] = take();
    assert!(allowed == 0 && (1..=200).contains(&retry));
    stoa_harness::assert_eventually!(within SOON, take()[0] == 1);
    assert!(redis.ok(&["PTTL", "ip:1"]).int() > 0, "the key has an end");
    stoa_harness::assert_eventually!(within SOON, redis.ok(&["EXISTS", "ip:1"]).int() == 0);
}

// --- Presence -----------------------------------------------------------------------------------------------------

#[test]
fn somebody_joins_changes_types_and_leaves() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    let joined =
        redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "60000", "DATA", r#"{"name":"Ada","mood":"ok"}"#]);
    assert_eq!((joined.field("first").int(), joined.field("connections").int()), (1, 1));
    let second = redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c2", "n1", "60000"]);
    assert_eq!((second.field("first").int(), second.field("connections").int()), (0, 2));
    let changed = listener.expect("presence.changed", SOON);
    assert_eq!(changed["joined"][0]["user"], "ada", "{changed}");

    let set = redis.ok(&["PRESENCE.SET", HERE, "c1", r#"{"mood":null,"at":3}"#]);
    assert!(set.field("rev").int() > second.field("rev").int());
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
    assert_eq!(redis.ok(&["PRESENCE.BEAT", HERE, "n1", "60000"]).int(), 2);
    assert_eq!(redis.ok(&["PRESENCE.BEAT", HERE, "n2", "60000"]).int(), 0);
    assert_eq!(redis.ok(&["PRESENCE.TYPING", HERE, "c1", "5000"]).int(), 1);
    assert_eq!(listener.expect("presence.typing", SOON)["users"], json!(["ada"]));

    let list = redis.ok(&["PRESENCE.LIST", HERE]);
    assert_eq!(list.field("outcome").text(), "snapshot");
    assert_eq!(list.field("count").int(), 1);
    assert_eq!(list.field("typing").texts(), ["ada"]);
    let members = list.field("members").json();
    assert_eq!((&members[0]["user"], &members[0]["connections"]), (&json!("ada"), &json!(2)), "{members:?}");
    assert!(members[0]["since_ms"].is_u64());

    assert_eq!(redis.ok(&["PRESENCE.TYPING", HERE, "c1", "0"]).int(), 0);
    assert_eq!(redis.ok(&["PRESENCE.LEAVE", HERE, "c1"]).field("connections").int(), 1);
    assert_eq!(redis.ok(&["PRESENCE.LEAVE", HERE, "c2"]).field("connections").int(), 0);
    let left = loop {
        let changed = listener.expect("presence.changed", SOON);
        if changed["left"].as_array().is_some_and(|left| !left.is_empty()) {
            break changed;
        }
    };
    assert_eq!((&left["left"], &left["count"]), (&json!([{"user": "ada"}]), &json!(0)));
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 0);
}

#[test]
fn private_presence_data_is_told_to_nobody() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "60000", "PRIVATE", r#"{"ip":"hidden"}"#]);
    let changed = listener.expect("presence.changed", SOON);
    assert!(!changed.to_string().contains("hidden"), "{changed}");
    let list = format!("{:?}", redis.ok(&["PRESENCE.LIST", HERE]));
    assert!(!list.contains("hidden"), "{list}");
}

#[test]
fn a_list_since_a_position_holds_only_what_changed() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "60000"]);
    redis.ok(&["PRESENCE.JOIN", HERE, "bo", "c2", "n1", "60000"]);
    // The first change is told at once, what follows is gathered.
    let told = loop {
        let told = listener.expect("presence.changed", SOON);
        if told["count"] == 2 {
            break told;
        }
    };
    let position = format!("{}:{}", told["epoch"].as_str().unwrap(), told["rev"]);
    redis.ok(&["PRESENCE.JOIN", HERE, "cy", "c3", "n1", "60000"]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1"]);
    let told = listener.expect("presence.changed", SOON);
    let since = redis.ok(&["PRESENCE.LIST", HERE, "SINCE", &position]);
    assert_eq!((since.field("outcome").text(), since.field("count").int()), ("changes".into(), 2));
    let events = since.field("events").items();
    let (joined, left) = (&events[1].json()["joined"], &events[1].json()["left"]);
    assert_eq!((joined[0]["user"].as_str(), left), (Some("cy"), &json!([{"user": "ada"}])), "{since:?}");
    assert_eq!((&told["joined"], &told["left"]), (joined, left), "as it was announced");
}

// --- Documents ----------------------------------------------------------------------------------------------------

#[test]
fn a_document_is_made_once() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    let made = redis.ok(&["DOC.CREATE", DOC, "text", "a\r\nb\rc"]);
    assert_eq!((made.field("created").int(), made.field("rev").int()), (1, 0));
    assert_eq!(listener.expect("doc.created", SOON)["type"], "text");
    let again = redis.ok(&["DOC.CREATE", DOC, "text", "other"]);
    assert_eq!(again.field("created").int(), 0);
    assert_eq!(again.field("epoch"), made.field("epoch"));
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "a\nb\nc", "line ends are LF");
}

#[test]
fn a_document_of_any_line_ends_keeps_them() {
    let redis = Redis::start();
    redis.ok(&["DOC.CREATE", DOC, "text", "a\r\nb", "EOL", "any"]);
    redis.ok(&["DOC.SUBMIT", DOC, "0", r#"["\r"]"#]);
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "\ra\r\nb");
}

#[test]
fn two_edits_of_one_revision_both_count_and_the_later_goes_left() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    redis.ok(&["DOC.CREATE", DOC, "text", "ac"]);
    let first = redis.ok(&["DOC.SUBMIT", DOC, "0", r#"[1,"X"]"#, "ID", "one", "1"]);
    assert_eq!(first.field("rev").int(), 1);
    assert!(first.field("concurrent").items().is_empty());
    let second = redis.ok(&["DOC.SUBMIT", DOC, "0", r#"[1,"Y"]"#, "ID", "two", "1", "BY", "bo", "k2"]);
    assert_eq!(second.field("rev").int(), 2);
    assert_eq!(second.field("concurrent").jsons(), [json!([1, "X"])]);
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "aYXc");

    listener.expect("doc.applied", SOON);
    let applied = listener.expect("doc.applied", SOON);
    assert_eq!((&applied["op"], &applied["from"], &applied["rev"]), (&json!([1, "Y"]), &json!(1), &json!(2)));
    assert_eq!((&applied["user"], &applied["client"], &applied["seq"]), (&json!("bo"), &json!("two"), &json!(1)));
}

#[test]
fn a_resent_edit_is_answered_with_the_first_answer() {
    let redis = a_room();
    let first = redis.ok(&["DOC.SUBMIT", DOC, "1", r#"["> "]"#, "ID", "tab", "1"]);
    let digest = redis.digest();
    let again = redis.ok(&["DOC.SUBMIT", DOC, "1", r#"["> "]"#, "ID", "tab", "1"]);
    assert_eq!(again.field("rev"), first.field("rev"));
    assert_eq!((first.field("duplicate").int(), again.field("duplicate").int()), (0, 1));
    assert_eq!(redis.digest(), digest);
}

#[test]
fn lengths_may_be_counted_in_code_points() {
    let redis = Redis::start();
    redis.ok(&["DOC.CREATE", DOC, "text", "😀b"]);
    assert_eq!(redis.call(&["DOC.SUBMIT", DOC, "0", r#"[1,"x"]"#]).refused(), "INVALID_OPERATION");
    redis.ok(&["DOC.SUBMIT", DOC, "0", r#"[1,"x"]"#, "UNIT", "char"]);
    redis.ok(&["DOC.SUBMIT", DOC, "1", r#"[2,"y"]"#]);
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "😀yxb");
}

#[test]
fn earlier_revisions_and_the_operations_between_can_be_read() {
    let redis = a_room();
    redis.ok(&["DOC.SUBMIT", DOC, "1", "[-6]"]);
    assert_eq!(redis.ok(&["DOC.GET", DOC, "REV", "0"]).field("content").text(), "hello");
    assert_eq!(redis.ok(&["DOC.GET", DOC, "REV", "1"]).field("content").text(), "hello world");
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "world");
    let ops = redis.ok(&["DOC.OPS", DOC, "0"]);
    assert_eq!((ops.field("outcome").text(), ops.field("through").int()), ("changes".into(), 2));
    let events = ops.field("events").items();
    assert_eq!((events[0].int(), events[2].int(), events.len()), (1, 2, 4));
    assert_eq!(events[3].json()["op"], json!([-6]));
    let page = redis.ok(&["DOC.OPS", DOC, "0", "COUNT", "1"]);
    assert_eq!((page.field("through").int(), page.field("rev").int()), (1, 2));
    let unknown = redis.ok(&["DOC.OPS", DOC, "0", "EPOCH", "9.00000000"]);
    assert_eq!(unknown.field("outcome").text(), "reset");
}

#[test]
fn an_edit_is_taken_back_and_what_others_wrote_stays() {
    let redis = Redis::start();
    redis.ok(&["DOC.CREATE", DOC, "text", "base"]);
    redis.ok(&["DOC.SUBMIT", DOC, "0", r#"["mine "]"#, "ID", "one", "1", "BY", "ada", "k1"]);
    redis.ok(&["DOC.SUBMIT", DOC, "1", r#"[2,"others"]"#, "ID", "two", "1", "BY", "bo", "k2"]);
    let undo = ["DOC.UNDO", DOC, "one", "ID", "one", "2", "BY", "ada", "k1"];
    assert_eq!(redis.ok(&undo).field("rev").int(), 3);
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "othersbase");
    assert_eq!(redis.ok(&undo).field("duplicate").int(), 1, "a resend happens once");
    assert_eq!(redis.call(&["DOC.UNDO", DOC, "two", "BY", "ada", "k1"]).refused(), "NOT_FOUND", "it is bo's");
}

#[test]
fn a_cursor_moves_with_the_text_and_is_stored_nowhere() {
    let redis = Redis::start();
    redis.ok(&["DOC.CREATE", DOC, "text", "hello"]);
    let mut listener = listen(&redis);
    let before = redis.digest();
    redis.ok(&["DOC.CURSOR", DOC, "k1", "0", r#"{"anchor":5,"head":5}"#, "BY", "ada"]);
    let told = listener.expect("doc.cursors", SOON);
    assert!(told.to_string().contains("ada"), "{told}");
    assert_eq!(redis.digest(), before);
    redis.ok(&["DOC.SUBMIT", DOC, "0", r#"["> "]"#]);
    let opened = redis.ok(&["ROOM.OPEN", DOC, "-"]);
    let cursors = format!("{:?}", opened.items()[0].field("cursors"));
    assert!(cursors.contains('7') && !cursors.contains('5'), "{cursors}");
}

#[test]
fn a_tagged_text_outlives_its_history_and_comes_back() {
    let redis = a_room();
    redis.ok(&["DOC.TAG", DOC, "v1"]);
    for rev in 1..20 {
        redis.ok(&["DOC.SUBMIT", DOC, &rev.to_string(), "[-1]", "LEN", &(12 - rev.min(11)).to_string()]);
        if rev == 11 {
            break;
        }
    }
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "");
    assert!(redis.ok(&["DOC.TRIM", DOC, "2"]).int() > 0);
    assert_eq!(redis.call(&["DOC.GET", DOC, "REV", "1"]).refused(), "STALE");
    let info = redis.ok(&["DOC.INFO", DOC]);
    assert_eq!((info.field("operations").int(), info.field("first_rev").int()), (2, 10));
    assert_eq!(info.field("tags").items()[0].text(), "v1");
    redis.ok(&["DOC.RESTORE", DOC, "v1"]);
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "hello world");
    redis.ok(&["DOC.TAG", DOC, "v1", "DROP"]);
    assert_eq!(redis.call(&["DOC.RESTORE", DOC, "v1"]).refused(), "NOT_FOUND");
}

// --- Messages -----------------------------------------------------------------------------------------------------

#[test]
fn a_message_has_a_number_and_is_announced_as_it_is_stored() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    let first = redis.ok(&["MSG.POST", LOG, "ada", r#"{"text":"hi"}"#, "ID", "c1", "1", "CONN", "k1"]);
    assert_eq!((first.field("n").int(), first.field("rev").int(), first.field("duplicate").int()), (1, 1, 0));
    let reply = redis.ok(&["MSG.POST", LOG, "bo", r#""hello""#, "TYPE", "note", "REPLY", "1"]);
    assert_eq!(reply.field("n").int(), 2);

    let one = listener.expect("msg.posted", SOON);
    assert_eq!((&one["room"], &one["stream"], &one["from"]), (&json!("lobby"), &json!("log"), &json!(0)));
    let two = listener.expect("msg.posted", SOON);
    let mut messages = redis.ok(&["MSG.RANGE", LOG]).field("messages").jsons();
    // The message replied to has a thread since then, which the reply's event says.
    assert_eq!(messages[0].as_object_mut().unwrap().remove("replies"), two.get("replies").cloned());
    assert_eq!(messages, [one["message"].clone(), two["message"].clone()]);
    assert_eq!((&messages[0]["client"], &messages[0]["seq"]), (&json!("c1"), &json!(1)));
    assert_eq!(
        (&messages[1]["type"], &messages[1]["reply"], &messages[1]["body"]),
        (&json!("note"), &json!(1), &json!("hello"))
    );
    assert!(messages[1].get("client").is_none(), "{messages:?}");
}

#[test]
fn a_resent_message_is_said_once() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    let post = |text: &str, seq: &str| redis.ok(&["MSG.POST", LOG, "ada", text, "ID", "c1", seq]);
    post("\"a\"", "1");
    post("\"b\"", "2");
    let digest = redis.digest();
    let again = post("\"a\"", "1");
    assert_eq!((again.field("n").int(), again.field("rev").int(), again.field("duplicate").int()), (1, 1, 1));
    assert_eq!(redis.digest(), digest);
    post("\"c\"", "3");
    let said: Vec<Value> = (0..3).map(|_| listener.expect("msg.posted", SOON)["message"]["body"].clone()).collect();
    assert_eq!(said, ["a", "b", "c"]);
}

#[test]
fn messages_are_paged_both_ways() {
    let redis = Redis::start();
    for n in 1..=10 {
        redis.ok(&["MSG.POST", LOG, "ada", &format!("\"{n}\"")]);
    }
    let page = |words: &[&str]| {
        let reply = redis.ok(&[&["MSG.RANGE", LOG], words].concat());
        let numbers: Vec<u64> = reply.field("messages").jsons().iter().map(|m| m["n"].as_u64().unwrap()).collect();
        (numbers, reply.field("more").int())
    };
    assert_eq!(page(&["COUNT", "3"]), (vec![8, 9, 10], 1));
    assert_eq!(page(&["BEFORE", "8", "COUNT", "3"]), (vec![5, 6, 7], 1));
    assert_eq!(page(&["BEFORE", "3", "COUNT", "3"]), (vec![1, 2], 0));
    assert_eq!(page(&["AFTER", "8", "COUNT", "5"]), (vec![9, 10], 0));
    assert_eq!(page(&["AFTER", "1", "COUNT", "2"]), (vec![2, 3], 1));
    let since = redis.ok(&["MSG.SINCE", LOG, "7", "COUNT", "2"]);
    assert_eq!((since.field("through").int(), since.field("rev").int()), (9, 10));
    assert_eq!(since.field("events").items()[1].json()["message"]["body"], "8");
}

// --- The room -----------------------------------------------------------------------------------------------------

#[test]
fn what_is_emitted_reaches_listeners_and_leaves_nothing_behind() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    let reached = redis.ok(&["ROOM.EMIT", HERE, "wave", r#"{"hand":"left"}"#, "BY", "ada", "FROM", "k1"]).int();
    assert_eq!(reached, 1);
    let (header, frame) = listener.next(SOON).unwrap();
    assert_eq!((header.origin.as_str(), header.skip_origin), ("k1", true));
    assert_eq!(
        (&frame["event"], &frame["name"], &frame["data"]),
        (&json!("room.emitted"), &json!("wave"), &json!({"hand": "left"}))
    );
    assert_eq!((&frame["user"], &frame["connection"]), (&json!("ada"), &json!("k1")));
    redis.ok(&["ROOM.EMIT", HERE, "psst", "null", "TO", "USER", "bo"]);
    let (header, _) = listener.next(SOON).unwrap();
    assert_eq!(header.to, stoa_core::event::To::User("bo".into()));
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 0);
}

#[test]
fn a_room_is_opened_with_everything_a_joiner_needs() {
    let redis = a_room();
    let opened = redis.ok(&["ROOM.OPEN", LOG, "-", HERE, "-", DOC, "-", "stoa:{lobby}:doc:none", "-"]);
    let parts = opened.items();
    let kinds: Vec<_> = parts.iter().map(|part| (part.field("kind").text(), part.field("outcome").text())).collect();
    let kinds: Vec<_> = kinds.iter().map(|(kind, outcome)| (kind.as_str(), outcome.as_str())).collect();
    assert_eq!(kinds, [("log", "snapshot"), ("presence", "snapshot"), ("doc", "snapshot"), ("missing", "missing")]);
    assert_eq!(parts[0].field("messages").jsons()[0]["body"]["text"], "first");
    assert_eq!(parts[1].field("members").json()[0]["user"], "ada");
    assert_eq!(parts[2].field("content").text(), "hello world");

    let position = format!("{}:0", parts[2].field("epoch").text());
    let changes = redis.ok(&["ROOM.OPEN", DOC, &position]);
    let changes = &changes.items()[0];
    assert_eq!((changes.field("outcome").text(), changes.field("events").items().len()), ("changes".into(), 2));

    let unknown = redis.ok(&["ROOM.OPEN", DOC, "7.00000000:3"]);
    let unknown = &unknown.items()[0];
    assert_eq!((unknown.field("outcome").text(), unknown.field("because").text()), ("snapshot".into(), "reset".into()));
}

#[test]
fn a_room_that_nobody_has_used_is_an_empty_one() {
    let redis = Redis::start();
    let opened = redis.ok(&["ROOM.OPEN", LOG, "-", HERE, "-"]);
    for (part, kind) in opened.items().iter().zip(["log", "presence"]) {
        assert_eq!((part.field("kind").text(), part.field("rev").int()), (kind.into(), 0));
        assert_eq!(
            (part.field("outcome").text(), part.field("epoch").text()),
            ("snapshot".into(), "0.00000000".into())
        );
    }
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 0);
}

#[test]
fn the_heads_of_a_room_follow_its_last_event() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    let posted = redis.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
    listener.expect("msg.posted", SOON);
    let (header, heads) = listener.next(SOON).unwrap();
    assert_eq!(header.kind, stoa_core::event::Kind::Heads);
    assert_eq!(heads, json!({"heads": {"log": format!("{}:1", posted.field("epoch").text())}}));
}

#[test]
fn the_heads_of_a_room_leave_out_what_is_gone() {
    let redis = Redis::start();
    let mut listener = listen(&redis);
    let posted = redis.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
    redis.ok(&["DOC.CREATE", DOC, "text", "gone soon"]);
    redis.ok(&["DEL", DOC]);
    let heads = loop {
        let (header, frame) = listener.next(SOON).expect("the heads");
        if header.kind == stoa_core::event::Kind::Heads {
            break frame;
        }
    };
    assert_eq!(heads, json!({"heads": {"log": format!("{}:1", posted.field("epoch").text())}}));
}

#[test]
fn a_deleted_stream_is_announced() {
    let redis = a_room();
    // A flush ends all streams of the room at once, which the empty name says.
    for (delete, stream) in [(&["DEL", DOC][..], "doc:main"), (&["FLUSHALL"], "")] {
        let mut listener = listen(&redis);
        redis.ok(delete);
        let (header, frame) = loop {
            let (header, frame) = listener.next(SOON).expect("a reset");
            if header.kind == stoa_core::event::Kind::Reset {
                break (header, frame);
            }
        };
        assert_eq!((header.stream.as_str(), &frame["stream"]), (stream, &json!(stream)), "{delete:?}");
    }
}

#[test]
fn somebody_without_the_right_cannot_call() {
    let redis = a_room();
    redis.ok(&words("ACL SETUSER reader on nopass ~stoa:* -@all +doc.get +auth"));
    let mut reader = Connection::to(redis.port).unwrap();
    reader.ok(&["AUTH", "reader", "any"]);
    reader.ok(&["DOC.GET", DOC]);
    assert_eq!(reader.call(&["DOC.SUBMIT", DOC, "1", "[-1]"]).refused(), "NOPERM");
    assert_eq!(reader.call(&["DOC.GET", "other:{lobby}:doc:main"]).refused(), "NOPERM");
}
