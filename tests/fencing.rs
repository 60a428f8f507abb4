//! A primary that stood still may have been replaced meanwhile: it decides nothing until it knows.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::time::Duration;
use stoa_harness::furnished::{ACCESS, DOC, HERE, LOG, furnish, seen};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, Reply, assert_eventually, front, module};

/// Longer than a server may stand still, and longer than a lease here: a time, not a condition.
const STILL: Duration = Duration::from_millis(2_500);

/// A primary that is set up for failovers, and its replica.
fn a_pair() -> (Redis, Redis) {
    let options = || {
        let safe = Redis::options().aof().line("min-replicas-to-write 1").line("min-replicas-max-lag 2");
        safe.module_argument("takeover-grace-ms").module_argument("0")
    };
    let primary = options().start();
    let replica = options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    // A replica counts once it has said how far it is, which it does every second.
    assert_eventually!(!primary.call(&["MSG.POST", LOG, "ada", "\"first\""]).is_error());
    (primary, replica)
}

#[test]
fn a_primary_that_was_replaced_while_it_stood_still_acknowledges_nothing_and_tells_nothing() {
    let (primary, replica) = a_pair();
    furnish(&primary);
    primary.ok(&["PRESENCE.JOIN", HERE, "cy", "k3", "n2", "1500"]);
    let writes: [&[&str]; 7] = [
        &["MSG.POST", LOG, "ada", "\"lost\""],
        &["DOC.SUBMIT", DOC, "2", "[\"lost\"]"],
        &["PRESENCE.JOIN", HERE, "di", "k4", "n1", "600000"],
        &["PRESENCE.LEAVE", HERE, "k1"],
        &["ROOM.REVOKE", ACCESS, "ada"],
        &["RATE.TAKE", "ip:1", "LIMIT", "5", "1", "60000"],
        &["ROOM.EMIT", "stoa:{lobby}", "wave", "{}"],
    ];
    replica.in_sync_with(&primary);
    let mut listener = primary.listen("lobby");
    while listener.next(Duration::from_millis(700)).is_some() {}
    let (digest, before) = (primary.digest(), seen(&primary));
    let mut writer = primary.connect();
    writer.ok(&["PING"]);

    primary.pause(true);
    // Whoever has not heard of the failover yet goes on writing to it.
    for words in writes {
        writer.send(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()).unwrap();
    }
    writer.send(&[b"MSG.RANGE", LOG.as_bytes()]).unwrap();
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    std::thread::sleep(STILL);
    primary.pause(false);

    for words in writes {
        let answer = writer.read().unwrap();
        assert!(["FENCED", "NOREPLICAS"].contains(&answer.refused()), "{words:?}: {answer:?}");
    }
    assert_eq!(writer.read().unwrap().field("rev").int(), 3, "reads are answered");
    // Then it knows that nobody follows it any more.
    assert_eventually!(writer.call(writes[0]).refused() == "NOREPLICAS");
    assert_eq!((primary.digest(), seen(&primary)), (digest, before));
    let heard = listener.next(Duration::from_millis(1_500));
    assert!(heard.is_none(), "not even of a lease that is over: {heard:?}");
    assert!(primary.log().contains("refuses writes with FENCED"), "{}", primary.log());
    assert_eq!(primary.info("stoa_times_fenced").as_deref(), Some("1"));
    // The one that took over has decided in the meantime.
    assert_eventually!(!format!("{:?}", replica.ok(&["PRESENCE.LIST", HERE]).field("members")).contains("\"cy\""));
}

#[test]
fn a_primary_that_was_not_replaced_goes_on_after_a_second() {
    let (primary, replica) = a_pair();
    let mut writer = primary.connect();
    for times in 1..=2 {
        primary.pause(true);
        writer
            .send(&[b"MSG.POST", LOG.as_bytes(), b"ada", b"\"again\"", b"ID", b"c1", times.to_string().as_bytes()])
            .unwrap();
        std::thread::sleep(STILL);
        primary.pause(false);
        let refused = writer.read().unwrap();
        assert!(["FENCED", "NOREPLICAS"].contains(&refused.refused()), "{refused:?}");
        // The same again, with its identity, until it is taken: once.
        let post = ["MSG.POST", LOG, "ada", "\"again\"", "ID", "c1", &times.to_string()];
        assert_eventually!(!writer.call(&post).is_error());
        assert_eq!(writer.ok(&post).field("n").int(), 1 + times);
        assert_eq!(primary.info("stoa_times_fenced"), Some(times.to_string()));
    }
    replica.in_sync_with(&primary);
    assert_eq!(replica.digest(), primary.digest());
}

#[test]
fn a_server_that_never_had_a_replica_goes_on_at_once() {
    let redis = Redis::start();
    let mut writer = redis.connect();
    writer.ok(&["MSG.POST", LOG, "ada", "\"first\""]);
    redis.pause(true);
    writer.send(&[b"MSG.POST", LOG.as_bytes(), b"ada", b"\"second\""]).unwrap();
    std::thread::sleep(STILL);
    redis.pause(false);
    assert_eq!(writer.read().unwrap().field("n").int(), 2);
    assert_eq!(redis.info("stoa_times_fenced").as_deref(), Some("0"));
}

#[test]
fn loading_is_no_standing_still() {
    let (primary, _replica) = a_pair();
    for _ in 0..3 {
        primary.ok(&["DEBUG", "RELOAD"]);
    }
    assert_eq!(primary.info("stoa_times_fenced").as_deref(), Some("0"), "{}", primary.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_front_tries_again_and_what_is_said_is_said_once() {
    let (primary, _replica) = a_pair();
    let front = Front::start(&primary).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    ada.ok(json!({"do": "room.join", "room": "lobby"})).await;
    primary.pause(true);
    tokio::time::sleep(STILL).await;
    primary.pause(false);
    for seq in 1..=3 {
        let post = json!({"do": "msg.post", "room": "lobby", "body": "hi", "client": "c1", "seq": seq});
        // A front that waits longer than its patience says that it may be tried again.
        let posted = loop {
            match ada.ask(post.clone()).await {
                Ok(posted) => break posted,
                Err(error) => assert_eq!((&error["code"], &error["retry"]), (&json!("UNAVAILABLE"), &json!(true))),
            }
        };
        assert_eq!(posted["n"], 1 + seq);
    }
}

#[test]
fn info_says_whether_the_settings_are_safe_for_a_failover() {
    let redis = Redis::start();
    assert_eq!(redis.info("stoa_ha_safe").as_deref(), Some("0"));
    assert!(redis.log().contains("min-replicas-to-write is 0"), "{}", redis.log());
    for (setting, value, is_safe) in [
        ("min-replicas-to-write", "1", "0"),
        ("min-replicas-max-lag", "2", "0"),
        ("appendonly", "yes", "1"),
        ("maxmemory-policy", "allkeys-lru", "0"),
        ("maxmemory-policy", "noeviction", "1"),
        ("min-replicas-max-lag", "10", "0"),
    ] {
        redis.ok(&["CONFIG", "SET", setting, value]);
        assert_eq!(redis.info("stoa_ha_safe").as_deref(), Some(is_safe), "{setting} {value}");
    }
    let warning = "the settings can lose writes in a failover: min-replicas-max-lag is 10";
    assert!(redis.log().contains(warning), "{}", redis.log());

    // With the first replica what was a remark becomes a warning.
    let replica = Redis::options().replica_of(&redis).start();
    replica.in_sync_with(&redis);
    assert_eventually!(redis.log().contains("a replica is there, but a failover can lose writes"));
}

#[test]
fn who_requires_it_loads_only_where_the_settings_are_safe() {
    let load = |redis: &Redis| redis.call(&["MODULE", "LOAD", module::path().to_str().unwrap(), "require-ha", "yes"]);
    let redis = Redis::options().without_module().line("enable-module-command yes").start();
    assert!(load(&redis).is_error());
    assert!(redis.log().contains("Stoa does not load: require-ha is set"), "{}", redis.log());
    for (setting, value) in [("min-replicas-to-write", "1"), ("min-replicas-max-lag", "2"), ("appendonly", "yes")] {
        redis.ok(&["CONFIG", "SET", setting, value]);
    }
    assert_eq!(load(&redis), Reply::Status("OK".into()), "{}", redis.log());
    assert_eq!(redis.info("stoa_ha_safe").as_deref(), Some("1"));
}
