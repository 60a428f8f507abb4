//! What has brought modules down, or made them lie, elsewhere: each stays a test here.
//!
//! Others of the kind stand where they belong: what becomes of keys behind the module's back in `presence_time.rs`, ends while
//! writes are paused in `presence.rs`, subscriptions of fronts in `sentinel.rs` and `cluster.rs`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use stoa_harness::furnished::{ACCESS, DOC, HERE, KEYS, LOG, LONG, furnish, seen};
use stoa_harness::{Cluster, Connection, Redis, Reply, assert_eventually, module};

/// What a printf would read as orders, and a C string would end at.
const NASTY: [&[u8]; 6] = [b"%s%s%s%n", b"\0", b"a\0b", b"\xff\xfe", b"\r\nPING\r\n", b""];

#[test]
fn what_is_logged_is_never_taken_for_a_format() {
    let redis = Redis::options().without_module().line("enable-module-command yes").start();
    let refused = redis.call(&["MODULE", "LOAD", module::path().to_str().unwrap(), "%s%s%n%x", "1"]);
    assert!(refused.is_error());
    assert!(redis.log().contains("there is no setting `%s%s%n%x`"), "{}", redis.log());
    assert_eq!(redis.ok(&["PING"]).text(), "PONG");
}

#[test]
fn any_bytes_in_any_argument_of_any_command_are_answered() {
    let redis = Redis::start();
    furnish(&redis);
    let mut connection = redis.connect();
    let names = redis.ok(&["COMMAND", "LIST", "FILTERBY", "MODULE", "stoa"]).texts();
    assert!(names.len() > 50);
    for name in &names {
        let info = redis.ok(&["COMMAND", "INFO", name]);
        let least = info.items()[0].items()[1].int().unsigned_abs() as usize;
        for nasty in NASTY {
            for count in [least - 1, least, least + 3] {
                for at in 0..count {
                    // A call that is right up to there, as far as that can be without knowing the command.
                    let key = LOG.as_bytes();
                    let word = |place: usize| match place {
                        _ if place == at => nasty,
                        0 => key,
                        _ => b"1".as_slice(),
                    };
                    let words: Vec<&[u8]> = std::iter::once(name.as_bytes()).chain((0..count).map(word)).collect();
                    connection.send(&words).unwrap();
                    let answer = connection.read().unwrap_or_else(|e| panic!("{name} {nasty:?} at {at}: {e}"));
                    assert!(!answer.is_error() || answer.refused() != "INTERNAL", "{name} {nasty:?} at {at}");
                }
            }
        }
    }
    assert_eq!(redis.info("stoa_panics_caught").as_deref(), Some("0"), "{}", redis.log());
}

#[test]
fn keys_of_any_bytes_come_and_go() {
    let redis = Redis::start();
    furnish(&redis);
    for (name, key) in NASTY.iter().filter(|name| !name.is_empty()).zip(KEYS.iter().cycle()) {
        for words in [
            [b"COPY".as_slice(), key.as_bytes(), name].as_slice(),
            &[b"RENAME", name, b"other"],
            &[b"RENAME", b"other", name],
            &[b"MOVE", name, b"1"],
        ] {
            let answer = redis.call_bytes(words);
            assert!(!answer.is_error(), "{words:?}: {answer:?}");
        }
        let dump = redis.ok(&["DUMP", key]).bytes().to_vec();
        assert!(!redis.call_bytes(&[b"RESTORE", name, b"0", &dump]).is_error());
        redis.call_bytes(&[b"UNLINK", name]);
    }
    redis.ok(&["DEBUG", "RELOAD"]);
    assert_eq!(redis.info("stoa_panics_caught").as_deref(), Some("0"), "{}", redis.log());
}

/// Builds for development have a room in which everything panics; others have none (`ffi::panic_if_asked`).
#[test]
fn a_panic_is_an_error_for_the_caller_and_a_line_in_the_log() {
    // A backtrace is what other modules crash by on servers that bring another allocator.
    let redis = Redis::options().environment("RUST_BACKTRACE", "full").start();
    furnish(&redis);
    let (before, key) = (redis.digest(), "stoa:{panic!}:log");
    let answer = redis.call(&["MSG.POST", key, "ada", "\"hi\""]);
    if answer.refused() == "INVALID_KEY" {
        println!("not tried: this module was built for use, STOA_MODULE names it");
        return;
    }
    assert_eq!(answer.refused(), "INTERNAL");
    let dump = redis.ok(&["DUMP", LOG]).bytes().to_vec();
    assert!(redis.call_bytes(&[b"RESTORE", key.as_bytes(), b"0", &dump]).is_error());
    assert!(redis.call(&["COPY", LOG, key]).is_error() || redis.ok(&["EXISTS", key]).int() == 0);
    redis.ok(&["MULTI"]);
    redis.call(&["MSG.POST", key, "ada", "\"hi\""]);
    assert_eq!(redis.ok(&["EXEC"]).items()[0].refused(), "INTERNAL");
    assert!(redis.log().contains("a bug in the module: a test asked for it at "), "{}", redis.log());
    assert!(redis.info("stoa_panics_caught").unwrap().parse::<u64>().unwrap() >= 4);
    assert_eq!(redis.digest(), before);
}

#[test]
fn every_entry_from_the_server_catches_panics() {
    // What cannot be made to panic from outside is held to its form.
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("redis-module/src");
    let mut entries = 0;
    for file in ["ffi.rs", "ffi/load.rs", "stored/callbacks.rs"] {
        let text = std::fs::read_to_string(source.join(file)).unwrap();
        for entry in text.split("extern \"C\" fn ").skip(1).filter(|entry| !entry.starts_with('(')) {
            let name = entry.split(['(', '<']).next().unwrap();
            let body = entry.split("\n}").next().unwrap();
            assert!(["guarded(", "::enter("].iter().any(|guard| body.contains(guard)), "{file}: {name}");
            entries += 1;
        }
    }
    assert!(entries > 15, "{entries}");
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(manifest.contains("panic = \"unwind\""), "a build that aborts catches nothing");
}

#[test]
fn writes_by_themselves_wait_while_a_failover_is_under_way() {
    let primary = Redis::options().aof().start();
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    // All that ends by itself, in the time in which nothing may be written.
    primary.ok(&["PRESENCE.JOIN", HERE, "ada", "k1", "n1", "100"]);
    primary.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "100"]);
    primary.ok(&["MSG.CONFIG", LOG, "AGE_MS", "100"]);
    primary.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
    primary.ok(&["CLIENT", "PAUSE", "600", "WRITE"]);
    assert_eventually!(primary.ok(&["MSG.INFO", LOG]).field("messages").int() == 0);
    assert_eventually!(primary.ok(&["ROOM.ACCESS", ACCESS]).field("entries").items().is_empty());
    replica.in_sync_with(&primary);
    assert_eq!(replica.digest(), primary.digest());
}

#[test]
fn events_of_a_replica_come_once_in_a_cluster_and_never_outside_of_one() {
    let primary = Redis::start();
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    let mut listener = replica.listen("lobby");
    primary.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
    replica.in_sync_with(&primary);
    // It has the message, and tells nobody: fronts listen to primaries.
    assert_eq!(replica.ok(&["MSG.RANGE", LOG]).field("rev").int(), 1);
    assert!(listener.next(Duration::from_millis(300)).is_none());

    let cluster = Cluster::start(1, 1, Redis::options);
    let [primary, replica] = [&cluster.nodes[0], &cluster.nodes[1]];
    let mut listener = replica.listen("lobby");
    for n in 1..=3 {
        primary.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
        let posted = listener.expect("msg.posted", Duration::from_secs(10));
        assert_eq!(posted["message"]["n"], n, "each once, in order");
    }
}

#[test]
fn a_script_that_takes_long_delays_an_end_and_loses_none() {
    let redis = Redis::options().module_argument("takeover-grace-ms").module_argument("0").start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "k1", "n1", "100"]);
    listener.expect("presence.changed", Duration::from_secs(10));
    redis.ok(&["EVAL", "local t = redis.call('TIME') local now = t local function ms(t) return t[1] * 1000 + t[2] / 1000 end while ms(now) - ms(t) < 400 do now = redis.call('TIME') end return 1", "0"]);
    let left = listener.expect("presence.changed", Duration::from_secs(10));
    assert_eq!(left["left"][0]["user"], "ada");
}

#[test]
fn clients_that_keep_copies_are_told_of_what_changes_and_of_nothing_else() {
    let redis = Redis::start();
    furnish(&redis);
    let mut reader = redis.connect_resp3();
    reader.ok(&["CLIENT", "TRACKING", "ON"]);
    let mut writer = redis.connect();
    reader.ok(&["MSG.RANGE", LOG]);
    writer.call(&["MSG.EDIT", LOG, "99", "ada", "\"no such message\""]);
    writer.call(&["DOC.CURSOR", DOC, "k1", "2", r#"{"anchor":0,"head":0}"#]);
    assert_eq!(reader.call(&["PING"]), Reply::Status("PONG".into()), "nothing changed");
    writer.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
    let told = reader.read().unwrap();
    assert!(matches!(&told, Reply::Push(parts) if parts[1].texts() == [LOG]), "{told:?}");
}

#[test]
fn a_replica_without_the_module_says_so_instead_of_keeping_half() {
    let primary = Redis::start();
    furnish(&primary);
    // Follows only once it runs: what it is sent then may end it.
    let replica = Redis::options().without_module().start();
    replica.ok(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    assert_eventually!(replica.log().contains("stoa-"), "{}", replica.log());
    // It ends, or goes on with nothing; some servers do the one and some the other.
    let held = Connection::to(replica.port).and_then(|mut connection| connection.try_call(&["EXISTS", LOG]));
    assert!(!matches!(held, Ok(Reply::Int(1))), "{held:?}");
}

#[test]
fn the_module_stays_as_long_as_there_can_be_data_of_it() {
    let redis = Redis::options().line("enable-module-command yes").start();
    for fill in [furnish as fn(&Redis), |_| ()] {
        let answer = redis.call(&["MODULE", "UNLOAD", "stoa"]);
        let Reply::Error(why) = &answer else { panic!("{answer:?}") };
        assert!(why.contains("data types"), "the reason: {why}");
        fill(&redis);
    }
    assert_eq!(redis.ok(&["MSG.RANGE", LOG]).field("rev").int(), 2);
}

#[test]
fn a_full_server_refuses_what_grows_with_its_own_error_and_reads_on() {
    let redis = Redis::start();
    furnish(&redis);
    let before = seen(&redis);
    redis.ok(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.ok(&["CONFIG", "SET", "maxmemory", "1mb"]);
    for call in [
        ["MSG.POST", LOG, "ada", "\"hi\""].as_slice(),
        &["DOC.SUBMIT", DOC, "2", "[\"x\"]"],
        &["PRESENCE.JOIN", HERE, "cy", "k9", "n1", LONG],
        &["ROOM.GRANT", ACCESS, "cy", "editor"],
        &["RATE.TAKE", "ip:2", "LIMIT", "5", "1", LONG],
    ] {
        assert_eq!(redis.call(call).refused(), "OOM", "{call:?}");
    }
    assert_eq!(seen(&redis), before);
    for call in [["MSG.TRIM", LOG, "1"].as_slice(), &["DOC.TRIM", DOC, "1"], &["ROOM.REVOKE", ACCESS, "ada"]] {
        redis.ok(call);
    }
}
