//! What was accepted is there afterwards: after a restart from every kind of file, and on every replica.
#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stoa_core::op::Unit;
use stoa_harness::furnished::{ACCESS, DOC, HERE, LOG, epochs, furnish, seen};
use stoa_harness::redis::Ending;
use stoa_harness::{Redis, RedisOptions, assert_eventually};

/// After a restart: the same for people, resends still happen once, and the next write opens a new epoch.
fn still_whole(redis: &Redis, seen_before: &[String], epochs_before: [String; 2]) {
    assert_eq!(seen(redis), seen_before);
    let resent = redis.ok(&["MSG.POST", LOG, "ada", r#"{"text":"hi"}"#, "ID", "c1", "1"]);
    assert_eq!((resent.field("n").int(), resent.field("duplicate").int()), (1, 1));
    let resent = redis.ok(&["DOC.SUBMIT", DOC, "0", r#"["> "]"#, "ID", "c2", "1"]);
    assert_eq!((resent.field("rev").int(), resent.field("duplicate").int()), (2, 1));

    let next = redis.ok(&["MSG.POST", LOG, "ada", r#""afterwards""#]);
    assert_eq!((next.field("n").int(), next.field("rev").int()), (3, 3));
    let edit = redis.ok(&["DOC.SUBMIT", DOC, "2", r#"["!"]"#]);
    assert_eq!(edit.field("rev").int(), 3);
    let epochs_after = [next.field("epoch").text(), edit.field("epoch").text()];
    assert_ne!(epochs_after, epochs_before, "history may have been lost, so the epoch changes");

    // A resend is answered with the position of the first answer, not with an old revision in the new history.
    let resent = redis.ok(&["MSG.POST", LOG, "ada", r#"{"text":"hi"}"#, "ID", "c1", "1"]);
    assert_eq!((resent.field("rev").int(), resent.field("epoch").text()), (1, epochs_before[0].clone()));
    let resent = redis.ok(&["DOC.SUBMIT", DOC, "0", r#"["> "]"#, "ID", "c2", "1"]);
    assert_eq!((resent.field("rev").int(), resent.field("epoch").text()), (2, epochs_before[1].clone()));

    // A position from before is still good up to where the new epoch began, and not beyond.
    let since = redis.ok(&["MSG.SINCE", LOG, "1", "EPOCH", &epochs_before[0]]);
    assert_eq!((since.field("outcome").text(), since.field("events").items().len()), ("changes".into(), 4));
    let beyond = redis.ok(&["MSG.SINCE", LOG, "3", "EPOCH", &epochs_before[0]]);
    assert_eq!(beyond.field("outcome").text(), "rollback");
}

/// Furnishes a room, lets `keep` make files, ends the server, starts it again and looks.
fn survives(options: RedisOptions, ending: Ending, keep: impl FnOnce(&Redis)) {
    let mut redis = options.start();
    furnish(&redis);
    keep(&redis);
    let (digest, seen_before, epochs_before) = (redis.digest(), seen(&redis), epochs(&redis));
    redis.restart(ending);
    assert_eq!(redis.digest(), digest);
    still_whole(&redis, &seen_before, epochs_before);
    // What the second life wrote survives as well.
    let (digest, seen_before) = (redis.digest(), seen(&redis));
    if redis.call(&["CONFIG", "GET", "appendonly"]).items()[1].text() == "no" {
        redis.ok(&["SAVE"]);
    }
    redis.restart(ending);
    assert_eq!((redis.digest(), seen(&redis)), (digest, seen_before));
}

#[test]
fn a_snapshot_brings_everything_back() {
    survives(Redis::options(), Ending::Killed, |redis| {
        redis.ok(&["SAVE"]);
    });
}

#[test]
fn a_snapshot_at_shutdown_brings_everything_back() {
    survives(Redis::options().line("save 3600 1"), Ending::Stopped, |_| {});
}

#[test]
fn the_append_only_file_brings_everything_back_after_a_kill() {
    survives(Redis::options().aof(), Ending::Killed, |_| {});
}

#[test]
fn a_rewritten_append_only_file_with_a_preamble_brings_everything_back() {
    survives(Redis::options().aof().line("aof-use-rdb-preamble yes"), Ending::Killed, Redis::rewrite_file);
}

#[test]
fn a_rewritten_append_only_file_of_pure_commands_brings_everything_back() {
    survives(Redis::options().aof().line("aof-use-rdb-preamble no"), Ending::Killed, Redis::rewrite_file);
}

#[test]
fn a_reload_in_place_changes_nothing() {
    let redis = Redis::start();
    furnish(&redis);
    let (digest, seen_before) = (redis.digest(), seen(&redis));
    redis.ok(&["DEBUG", "RELOAD"]);
    assert_eq!((redis.digest(), seen(&redis)), (digest, seen_before));
}

#[test]
fn a_copy_and_a_restored_dump_hold_the_same_and_open_a_new_epoch() {
    let redis = Redis::start();
    furnish(&redis);
    let copies = [(DOC, "stoa:{lobby}:doc:copy"), (LOG, "stoa:{other}:log"), (ACCESS, "stoa:{other}:access")];
    for (key, copy) in copies {
        let contents = |key: &str| {
            let (read, field) = match key.rsplit(':').next() {
                Some("log") => (vec!["MSG.SINCE", key, "0"], "events"),
                Some("access") => (vec!["ROOM.ACCESS", key], "entries"),
                _ => (vec!["DOC.OPS", key, "0"], "events"),
            };
            format!("{:?}", redis.ok(&read).field(field)).replace("copy", "main").replace("other", "lobby")
        };
        redis.ok(&["COPY", key, copy]);
        assert_eq!(contents(copy), contents(key), "{key}");
        let dump = redis.ok(&["DUMP", key]).bytes().to_vec();
        redis.call_bytes(&[b"RESTORE", copy.as_bytes(), b"0", &dump, b"REPLACE"]);
        assert_eq!(contents(copy), contents(key), "{key}");
    }
    let before = redis.ok(&["DOC.GET", DOC]).field("epoch").text();
    let edit = redis.ok(&["DOC.SUBMIT", copies[0].1, "2", r#"["copy of "]"#]);
    assert_ne!(edit.field("epoch").text(), before);
    assert_eq!(redis.ok(&["DOC.GET", DOC]).field("content").text(), "> hello 😀 world", "the original is untouched");
}

/// A stream of writes of all kinds by several writers, some stale, some resent.
fn use_the_room(redis: &Redis, rng: &mut StdRng, rounds: std::ops::Range<usize>) {
    let mut connection = redis.connect();
    for round in rounds {
        let who = rng.random_range(0..5);
        let (user, conn) = (format!("u{who}"), format!("k{}", rng.random_range(0..8)));
        let seq = (round + 1).to_string();
        match rng.random_range(0..13) {
            12 => {
                // Some of them end while the stream goes on.
                let ttl = rng.random_range(20..400).to_string();
                let change = match rng.random_range(0..4) {
                    0 => vec!["ROOM.GRANT", ACCESS, &user, "editor"],
                    1 => vec!["ROOM.GRANT", ACCESS, &user, "viewer", "TTL", &ttl],
                    2 => vec!["ROOM.REVOKE", ACCESS, &user],
                    _ => vec!["ROOM.REVOKE", ACCESS, &user, "FORGET"],
                };
                connection.ok(&change);
            }
            10 => {
                // Refused when there is nothing to take back or to restore.
                connection.call(&["DOC.UNDO", DOC, &user, "ID", &user, &seq]);
            }
            11 => {
                connection.ok(&["DOC.TAG", DOC, &format!("t{who}")]);
                connection.call(&["DOC.RESTORE", DOC, &format!("t{}", rng.random_range(0..5))]);
                if rng.random_bool(0.2) {
                    connection.ok(&["DOC.TRIM", DOC, "20"]);
                }
            }
            0..4 => {
                let document = connection.ok(&["DOC.GET", DOC]);
                let rev = document.field("rev").int();
                let first = connection.ok(&["DOC.INFO", DOC]).field("first_rev").int();
                let base = (rev - rng.random_range(0..8)).max(first).to_string();
                let content = connection.ok(&["DOC.GET", DOC, "REV", &base]).field("content").text();
                let length = Unit::Char.len(&content);
                let at = rng.random_range(0..=length);
                let removed = rng.random_range(0..=(length - at).min(4));
                let text = ["a", "😀", "\\n", "longer text", "ß"][rng.random_range(0..5)];
                let op = match (at, removed) {
                    (0, 0) => format!("[\"{text}\"]"),
                    (0, _) => format!("[-{removed},\"{text}\"]"),
                    (_, 0) => format!("[{at},\"{text}\"]"),
                    _ => format!("[{at},\"{text}\",-{removed}]"),
                };
                let submit = ["DOC.SUBMIT", DOC, &base, &op, "UNIT", "char", "ID", &user, &seq];
                connection.ok(&submit);
                if rng.random_bool(0.2) {
                    assert_eq!(connection.ok(&submit).field("duplicate").int(), 1);
                }
            }
            4..6 => {
                let post = ["MSG.POST", LOG, &user, &format!("\"message {round}\""), "ID", &user, &seq];
                let n = connection.ok(&post).field("n").int();
                if rng.random_bool(0.2) {
                    assert_eq!(connection.ok(&post).field("duplicate").int(), 1);
                }
                // What becomes of messages; refused where one is deleted.
                let n = rng.random_range((n - 5).max(1)..=n).to_string();
                let change = match rng.random_range(0..4) {
                    0 => vec!["MSG.REACT", LOG, &n, &user, "+1"],
                    1 => vec!["MSG.EDIT", LOG, &n, &user, "\"edited\"", "ANY"],
                    2 => vec!["MSG.READ", LOG, &user, &n],
                    _ => vec!["MSG.DELETE", LOG, &n, &user],
                };
                connection.call(&change);
            }
            6 => {
                // These leases end while the stream goes on. The room's own people are on another front.
                let lease = rng.random_range(20..400).to_string();
                connection.call(&[
                    "PRESENCE.JOIN",
                    HERE,
                    &user,
                    &conn,
                    "n2",
                    &lease,
                    "DATA",
                    &format!("{{\"r\":{round}}}"),
                ]);
            }
            7 => {
                connection.call(&["PRESENCE.LEAVE", HERE, &conn, "GRACE", &rng.random_range(0..200).to_string()]);
            }
            8 => {
                connection.call(&["PRESENCE.SET", HERE, &conn, &format!("{{\"s\":{round}}}")]);
                connection.call(&["PRESENCE.TYPING", HERE, &conn, "100"]);
            }
            _ => {
                connection.ok(&["RATE.TAKE", &format!("ip:{who}"), "LIMIT", "5", "1", "60000"]);
            }
        }
    }
    // What is given for a moment has ended before anybody compares.
    assert_eventually!({
        let entries = redis.ok(&["ROOM.ACCESS", ACCESS]).field("entries").items().to_vec();
        let far = |entry: &stoa_harness::Reply| entry.field("user").text() == "bo" || entry.field("ends_ms").int() == 0;
        entries.iter().all(far)
    });
    // Watermarks are told at the end of a tick; until then the primary shows an earlier position than a replica.
    assert_eventually!(redis.ok(&["MSG.RANGE", LOG]).field("rev") == redis.ok(&["MSG.INFO", LOG]).field("rev"));
}

#[test]
fn replicas_agree_by_digest_after_a_mixed_stream() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let primary = Redis::start();
    furnish(&primary);
    use_the_room(&primary, &mut rng, 0..200);
    // One replica takes all of it as a snapshot, and what follows as effects.
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    use_the_room(&primary, &mut rng, 200..600);
    // No lease is to end between the two looks.
    stoa_harness::assert_eventually!(primary.ok(&["PRESENCE.COUNT", HERE]).int() <= 1);
    replica.in_sync_with(&primary);
    for key in primary.ok(&["KEYS", "*"]).texts() {
        assert_eq!(replica.digest_of(&key), primary.digest_of(&key), "{key}");
    }
    assert_eq!(replica.digest(), primary.digest());
    assert_eq!(seen(&replica), seen(&primary));
}

#[test]
fn a_replica_has_in_its_own_file_what_it_followed() {
    let mut primary = Redis::start();
    let mut replica = Redis::options().aof().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    // The file begins with what the replica was sent at first; what matters is what it followed afterwards.
    assert_eventually!(replica.log().contains("Removing the history file appendonly.aof.1.base"));
    furnish(&primary);
    replica.in_sync_with(&primary);
    let (digest, seen_before) = (primary.digest(), seen(&primary));
    assert_eq!(replica.digest(), digest);
    primary.kill();
    replica.restart(Ending::Killed);
    assert_eq!((replica.digest(), seen(&replica)), (digest.clone(), seen_before.clone()), "of a replica alone");
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    replica.ok(&["MSG.POST", LOG, "ada", "\"as the primary\""]);
    let digest = replica.digest();
    replica.restart(Ending::Killed);
    assert_eq!(replica.digest(), digest, "of a replica that was promoted");
}

#[test]
fn a_promoted_replica_goes_on_under_a_new_epoch_and_ends_leases_itself() {
    let mut primary = Redis::start();
    furnish(&primary);
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    primary.ok(&["PRESENCE.JOIN", HERE, "cy", "k3", "n2", "300"]);
    replica.in_sync_with(&primary);
    let (seen_before, epochs_before) = (seen(&replica), epochs(&replica));
    primary.kill();
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(seen_before[..3], seen(&replica)[..3]);
    let next = replica.ok(&["MSG.POST", LOG, "ada", "\"afterwards\""]);
    assert_eq!(next.field("rev").int(), 3);
    assert_ne!(next.field("epoch").text(), epochs_before[0]);
    // cy's front died with the primary; the lease ends on the new one, after the pause that a failover grants.
    assert_eventually!(
        within std::time::Duration::from_secs(30),
        !format!("{:?}", replica.ok(&["PRESENCE.LIST", HERE]).field("members")).contains("cy")
    );
}

#[test]
fn a_replica_refuses_writes_and_serves_reads() {
    let primary = Redis::start();
    furnish(&primary);
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    assert_eq!(replica.call(&["MSG.POST", LOG, "ada", "\"hi\""]).refused(), "READONLY");
    assert_eq!(seen(&replica), seen(&primary));
}

#[test]
fn a_mixed_stream_survives_a_kill() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut redis = Redis::options().aof().start();
    furnish(&redis);
    use_the_room(&redis, &mut rng, 0..150);
    assert_eventually!(redis.ok(&["PRESENCE.COUNT", HERE]).int() <= 1);
    let (digest, seen_before) = (redis.digest(), seen(&redis));
    redis.restart(Ending::Killed);
    assert_eq!((redis.digest(), seen(&redis)), (digest, seen_before));
}

#[test]
fn a_full_redis_refuses_writes_and_people_still_leave() {
    let redis = Redis::start();
    furnish(&redis);
    redis.ok(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.ok(&["CONFIG", "SET", "maxmemory", "1mb"]);
    assert_eq!(redis.call(&["MSG.POST", LOG, "ada", "\"hi\""]).refused(), "OOM");
    assert_eq!(redis.call(&["DOC.SUBMIT", DOC, "2", r#"["x"]"#]).refused(), "OOM");
    redis.ok(&["PRESENCE.LEAVE", HERE, "k1"]);
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 0);
    redis.ok(&["CONFIG", "SET", "maxmemory", "0"]);
    redis.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
}
