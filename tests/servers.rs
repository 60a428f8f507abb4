//! The servers that the module runs in: what differs between them is held to the same promises.
//!
//! `STOA_REDIS_SERVER` names the server, as for all stories; `scripts/servers` fetches those that `make test` tries.
//! `STOA_REDIS_SERVER_OLD` names one that is too old.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};
use stoa_harness::furnished::{ACCESS, DOC, HERE, KEYS, LOG, LONG, furnish};
use stoa_harness::{Cluster, Redis, Reply, assert_eventually};

/// The way in which a server moves slots with all they hold in one step.
enum Move {
    /// Valkey 9: the owner is told where to.
    Away,
    /// Redis 8.4: the new owner is told what.
    Here,
}

/// Whether this server has such a way.
fn atomic_move(node: &Redis) -> Option<Move> {
    let help = format!("{:?}", node.call(&["CLUSTER", "HELP"]));
    if help.contains("MIGRATESLOTS") {
        return Some(Move::Away);
    }
    help.contains("MIGRATION").then_some(Move::Here)
}

/// Moves a slot, and waits until every node knows.
fn move_slot(cluster: &Cluster, room: &str, to: usize) {
    let (slot, from) = (cluster.slot(room).to_string(), cluster.primary_of(room));
    match atomic_move(&cluster.nodes[from]).unwrap() {
        Move::Away => {
            let target = cluster.nodes[to].ok(&["CLUSTER", "MYID"]).text();
            cluster.nodes[from].ok(&["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &slot, &slot, "NODE", &target]);
        }
        Move::Here => drop(cluster.nodes[to].ok(&["CLUSTER", "MIGRATION", "IMPORT", &slot, &slot])),
    }
    let here = |node: &Redis| match node.call(&["EXISTS", &format!("stoa:{{{room}}}:log")]) {
        Reply::Int(1) => node.port == cluster.nodes[to].port,
        Reply::Error(moved) => moved.ends_with(&format!(":{}", cluster.nodes[to].port)),
        _ => false,
    };
    let logs = || cluster.nodes.iter().map(Redis::log).collect::<String>();
    assert_eventually!(within Duration::from_secs(30), cluster.nodes.iter().all(here), "{}", logs());
}

/// The room that is furnished.
const ROOM: &str = "lobby";

#[test]
fn a_slot_that_moves_in_one_step_takes_every_type_along() {
    let cluster = Cluster::start(2, 0, Redis::options);
    if atomic_move(&cluster.nodes[0]).is_none() {
        println!("not tried: this server moves slots key by key only");
        return;
    }
    let from = cluster.primary_of(ROOM);
    furnish(&cluster.nodes[from]);
    let digests = |node: &Redis| KEYS.map(|key| node.digest_of(key));
    let before = digests(&cluster.nodes[from]);
    for to in [1 - from, from] {
        move_slot(&cluster, ROOM, to);
        assert_eq!(digests(&cluster.nodes[to]), before);
        assert_eq!(cluster.nodes[to].info("stoa_records_refused").as_deref(), Some("0"));
    }
    // Where it is now, it goes on.
    assert_eq!(cluster.nodes[from].ok(&["MSG.POST", LOG, "ada", "\"hi\""]).field("n").int(), 3);
}

#[test]
fn what_is_written_while_a_slot_moves_is_there_once_and_nobody_is_ended_twice() {
    let cluster = Cluster::start(2, 1, || Redis::options().aof());
    if atomic_move(&cluster.nodes[0]).is_none() {
        println!("not tried: this server moves slots key by key only");
        return;
    }
    let from = cluster.primary_of(ROOM);
    furnish(&cluster.nodes[from]);
    let filler = "x".repeat(10_000);
    // Enough that the move takes a while.
    (0..400).for_each(|_| drop(cluster.nodes[from].ok(&["MSG.POST", LOG, "bo", &format!("\"{filler}\"")])));
    let first = cluster.nodes[from].ok(&["MSG.INFO", LOG]).field("n").int() + 1;
    let writing = std::sync::atomic::AtomicBool::new(true);
    let posted = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut connections = [cluster.nodes[0].connect(), cluster.nodes[1].connect()];
            let (mut posted, mut at, until) = (0_u64, from, Instant::now() + Duration::from_secs(60));
            while writing.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < until {
                let (n, user) = ((posted + 1).to_string(), format!("u{posted}"));
                let post = ["MSG.POST", LOG, "ada", "\"hi\"", "ID", "c7", &n];
                if let Reply::Error(why) = connections[at].call(&post) {
                    assert!(
                        ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"].iter().any(|code| why.starts_with(code)),
                        "{why}"
                    );
                    at = 1 - at;
                    continue;
                }
                posted += 1;
                // Leases that end at any moment of the move, on whichever side has them then.
                connections[at].call(&["PRESENCE.JOIN", HERE, &user, &format!("x{n}"), &user, "150"]);
                connections[at].call(&["ROOM.GRANT", ACCESS, &user, "editor", "TTL", "150"]);
                connections[at].call(&["DOC.SUBMIT", DOC, "0", "[\"y\"]", "ID", &user, "1"]);
            }
            posted
        });
        for to in [1 - from, from, 1 - from] {
            move_slot(&cluster, ROOM, to);
        }
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(posted > 20, "{posted}");
    let owner = &cluster.nodes[1 - from];
    let info = owner.ok(&["MSG.INFO", LOG]);
    assert_eq!(info.field("n").int(), first - 1 + posted as i64, "each once");
    // Whoever had a lease is gone by now, and those who stay are there.
    assert_eventually!(within Duration::from_secs(30), owner.ok(&["PRESENCE.COUNT", HERE]).int() == 1);
    assert_eventually!(owner.ok(&["ROOM.ACCESS", ACCESS]).field("entries").items().len() == 3);
    for node in &cluster.nodes {
        assert_eq!(node.info("stoa_records_refused").as_deref(), Some("0"), "{}", node.log());
        assert_eq!(node.info("stoa_panics_caught").as_deref(), Some("0"), "{}", node.log());
    }
    let replica = &cluster.nodes[cluster.replica_of(1 - from)];
    replica.in_sync_with(owner);
    for key in KEYS {
        assert_eq!(replica.digest_of(key), owner.digest_of(key), "{key} on the replica of the new owner");
    }
}

#[test]
fn a_slot_that_moves_key_by_key_takes_every_type_along() {
    let cluster = Cluster::start(2, 0, Redis::options);
    let from = cluster.primary_of(ROOM);
    furnish(&cluster.nodes[from]);
    cluster.nodes[from].ok(&["PRESENCE.JOIN", HERE, "cy", "k3", "n2", "500"]);
    let looks = |node: &Redis| {
        [["MSG.SINCE", LOG, "0"].as_slice(), &["DOC.OPS", DOC, "0"], &["ROOM.ACCESS", ACCESS]]
            .map(|words| format!("{:?}", node.ok(words)))
    };
    let before = looks(&cluster.nodes[from]);
    cluster.migrate(ROOM, 1 - from, Duration::from_millis(300));
    let owner = &cluster.nodes[1 - from];
    assert_eq!(looks(owner), before);
    // What fell due on the way ends where it arrived.
    assert_eventually!(owner.ok(&["PRESENCE.COUNT", HERE]).int() == 1);
    assert_eq!(owner.ok(&["PRESENCE.BEAT", HERE, "n1", LONG]).int(), 1);
}

#[test]
fn a_server_that_is_too_old_is_told_so() {
    let Some(old) = std::env::var_os("STOA_REDIS_SERVER_OLD").filter(|old| !old.is_empty()) else {
        println!("not tried: STOA_REDIS_SERVER_OLD names no server from before Redis 7.0");
        return;
    };
    let redis = Redis::options().server(old).without_module().bare().start();
    let loaded = redis.call(&["MODULE", "LOAD", stoa_harness::module::path().to_str().unwrap()]);
    assert!(loaded.is_error());
    assert!(redis.log().contains("it needs Redis 7.0 or newer, or Valkey"), "{}", redis.log());
    assert_eq!(redis.ok(&["PING"]).text(), "PONG");
}
