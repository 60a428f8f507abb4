//! What Redis does to a key of any kind, it does to ours: every type of value, by every command and on every way.
#![allow(clippy::unwrap_used)]

use stoa_harness::furnished::{ACCESS, DOC, HERE, KEYS, LEASES, LIMIT, LOG, LONG, furnish, seen};
use stoa_harness::{Redis, Reply, assert_eventually};

/// The digests of every key's value, and of all that is stored.
fn digests(redis: &Redis) -> Vec<String> {
    let mut digests = KEYS.map(|key| redis.digest_of(key)).to_vec();
    digests.push(redis.digest());
    digests
}

/// What somebody sees of a key.
fn shown(redis: &Redis, key: &str, name: &str) -> String {
    let read: &[&str] = match key {
        LOG => &["MSG.SINCE", name, "0"],
        HERE => &["PRESENCE.GET", name, "ada", "bo"],
        DOC => &["DOC.OPS", name, "0"],
        ACCESS => &["ROOM.ACCESS", name],
        _ => &["GET", name],
    };
    // A copy says its own name where the original says `lobby`.
    format!("{:?}", redis.ok(read)).replace("attic", "lobby")
}

/// Another name for a key: of the same stream in another room.
fn elsewhere(key: &str) -> String {
    key.replace("lobby", "attic")
}

#[test]
fn a_renamed_key_is_the_same_under_its_new_name() {
    let redis = Redis::start();
    furnish(&redis);
    for key in KEYS {
        let (before, name) = (redis.digest_of(key), elsewhere(key));
        let looked = shown(&redis, key, key);
        redis.ok(&["RENAME", key, &name]);
        assert_eq!((redis.digest_of(&name), shown(&redis, key, &name)), (before, looked), "{key}");
        assert_eq!(redis.ok(&["EXISTS", key]).int(), 0);
    }
}

#[test]
fn a_copied_and_a_restored_key_show_the_same() {
    let redis = Redis::start();
    furnish(&redis);
    for key in KEYS {
        let (before, name, looked) = (redis.digest_of(key), elsewhere(key), shown(&redis, key, key));
        assert_eq!(redis.ok(&["COPY", key, &name]).int(), 1, "{key}");
        assert_eq!(shown(&redis, key, &name), looked, "{key} copied");
        let payload = redis.ok(&["DUMP", key]).bytes().to_vec();
        let answer = redis.call_bytes(&[b"RESTORE", name.as_bytes(), b"0", &payload, b"REPLACE"]);
        assert_eq!(answer, Reply::Status("OK".into()), "{key}\n{}", redis.log());
        assert_eq!(shown(&redis, key, &name), looked, "{key} restored");
        assert_eq!(redis.digest_of(key), before, "the original is untouched");
    }
    // The copy is a value of its own: what is written to it changes the original in nothing.
    let before = digests(&redis);
    redis.ok(&["MSG.POST", &elsewhere(LOG), "ada", "\"here\""]);
    redis.ok(&["PRESENCE.LEAVE", &elsewhere(HERE), "k1"]);
    redis.ok(&["DOC.SUBMIT", &elsewhere(DOC), "2", r#"["x"]"#]);
    redis.ok(&["ROOM.REVOKE", &elsewhere(ACCESS), "ada"]);
    assert_eq!(digests(&redis)[..KEYS.len()], before[..KEYS.len()]);
}

#[test]
fn a_key_is_moved_to_another_database_and_back() {
    let redis = Redis::start();
    furnish(&redis);
    let (before, seen_before) = (digests(&redis), seen(&redis));
    let mut other = redis.connect();
    other.ok(&["SELECT", "7"]);
    for key in KEYS {
        assert_eq!(redis.ok(&["MOVE", key, "7"]).int(), 1, "{key}");
        assert_eq!(redis.ok(&["EXISTS", key]).int(), 0);
        assert_eq!(other.ok(&["MOVE", key, "0"]).int(), 1, "{key}");
    }
    assert_eq!((digests(&redis), seen(&redis)), (before.clone(), seen_before.clone()));
    redis.ok(&["SWAPDB", "0", "7"]);
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 0);
    redis.ok(&["SWAPDB", "7", "0"]);
    assert_eq!((digests(&redis), seen(&redis)), (before, seen_before));
}

/// Makes each value large enough that it is freed on another thread.
fn grow(redis: &Redis) {
    let mut connection = redis.connect();
    for n in 0..500_u64 {
        let (user, rev) = (format!("u{n}"), (n + 2).to_string());
        connection.ok(&["MSG.POST", LOG, &user, "\"some words\"", "ID", "c1", "1"]);
        connection.ok(&["PRESENCE.JOIN", HERE, &user, &format!("k-{n}"), "n1", LONG]);
        connection.ok(&["DOC.SUBMIT", DOC, &rev, r#"["some words"]"#, "ID", &user, "1"]);
        connection.ok(&["ROOM.GRANT", ACCESS, &user, "editor"]);
        connection.ok(&["RATE.HOLD", LEASES, &user, "900", LONG]);
    }
}

#[test]
fn memory_is_told_and_grows_with_what_is_stored() {
    let redis = Redis::start();
    furnish(&redis);
    let memory = |key: &str| redis.ok(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).int();
    let before = KEYS.map(memory);
    grow(&redis);
    for (key, before) in KEYS.into_iter().zip(before).filter(|(key, _)| *key != LIMIT) {
        assert!(before > 0 && memory(key) > before, "{key}: {before}, then {}", memory(key));
    }
}

#[test]
fn large_values_are_freed_aside_and_the_memory_comes_back() {
    let redis = Redis::start();
    furnish(&redis);
    grow(&redis);
    let used = || redis.info("used_memory").unwrap().parse::<i64>().unwrap();
    let full = used();
    for way in [["FLUSHALL", "ASYNC"].as_slice(), &["FLUSHALL", "SYNC"], &["FLUSHDB", "ASYNC"], &["UNLINK"], &["DEL"]] {
        let words: Vec<&str> =
            way.iter().copied().chain(if way.len() == 1 { KEYS.to_vec() } else { Vec::new() }).collect();
        redis.ok(&words);
        assert_eventually!(redis.info("lazyfree_pending_objects").as_deref() == Some("0"));
        assert_eq!(redis.ok(&["DBSIZE"]).int(), 0, "{way:?}");
        assert_eventually!(used() < full, "{way:?}: {full} bytes, and {} afterwards", used());
        furnish(&redis);
        grow(&redis);
    }
    assert_eventually!(redis.info("lazyfreed_objects").is_some_and(|count| count.parse::<u64>().unwrap() >= 12));
}

#[test]
fn a_replica_has_the_same_by_a_full_and_by_a_partial_resync() {
    let primary = Redis::start();
    furnish(&primary);
    for load in ["disabled", "on-empty-db", "swapdb"] {
        let replica = Redis::options().line(format!("repl-diskless-load {load}")).replica_of(&primary).start();
        replica.in_sync_with(&primary);
        assert_eq!(digests(&replica), digests(&primary), "first, with repl-diskless-load {load}");
        // The line breaks, and what was written meanwhile comes from the backlog.
        let partial = || primary.info("sync_partial_ok").unwrap().parse::<u64>().unwrap();
        let before = partial();
        primary.ok(&["CLIENT", "KILL", "TYPE", "replica"]);
        primary.ok(&["MSG.POST", LOG, "ada", "\"meanwhile\""]);
        primary.ok(&["DOC.TAG", DOC, &format!("tag-{load}")]);
        primary.ok(&["PRESENCE.JOIN", HERE, "cy", load, "n1", LONG]);
        primary.ok(&["ROOM.GRANT", ACCESS, load, "viewer"]);
        primary.ok(&["RATE.HOLD", LEASES, load, "9", LONG]);
        assert_eventually!(partial() > before);
        replica.in_sync_with(&primary);
        assert_eq!(digests(&replica), digests(&primary), "after a partial resync");
        // A history of its own, and then everything anew.
        replica.ok(&["REPLICAOF", "NO", "ONE"]);
        replica.ok(&["MSG.POST", LOG, "ada", "\"alone\""]);
        replica.ok(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
        replica.in_sync_with(&primary);
        assert_eq!(digests(&replica), digests(&primary), "after a full resync over a dataset");
        assert_eq!(replica.info("stoa_records_refused").as_deref(), Some("0"), "{}", replica.log());
    }
}

#[test]
fn moving_memory_about_changes_nothing() {
    let redis = Redis::start();
    furnish(&redis);
    grow(&redis);
    let (before, seen_before) = (digests(&redis), seen(&redis));
    let answer = redis.call(&["CONFIG", "SET", "activedefrag", "yes"]);
    if answer.is_error() {
        println!("not tried: this server was built without defragmentation ({answer:?})");
        return;
    }
    for (setting, value) in [
        ("active-defrag-ignore-bytes", "1"),
        ("active-defrag-threshold-lower", "0"),
        ("active-defrag-cycle-min", "50"),
        ("active-defrag-cycle-max", "75"),
    ] {
        redis.ok(&["CONFIG", "SET", setting, value]);
    }
    // Holes for it to fill.
    let mut connection = redis.connect();
    (0..20_000).for_each(|n| drop(connection.ok(&["SET", &format!("filler:{n}"), &"x".repeat(200)])));
    (0..20_000).filter(|n| n % 3 > 0).for_each(|n| drop(connection.ok(&["DEL", &format!("filler:{n}")])));
    assert_eventually!(redis.info("active_defrag_hits").is_some_and(|hits| hits != "0"));
    (0..20_000).filter(|n| n % 3 == 0).for_each(|n| drop(connection.ok(&["DEL", &format!("filler:{n}")])));
    assert_eq!((digests(&redis), seen(&redis)), (before, seen_before));
}
