//! What a reply promises when fronts wait for replicas. For the disk: `acks_disk.rs`.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use stoa_front::Settings;
use stoa_front::settings::Secret;
use stoa_harness::socket::{Client, post};
use stoa_harness::{Front, Redis};

const TIMEOUT: Duration = Duration::from_millis(700);

fn waits(settings: &mut Settings) {
    settings.ack = "replica:1".parse().unwrap();
    settings.ack_timeout_ms = TIMEOUT.as_millis() as u64;
}

/// A primary, its replica in sync, and a front that waits for it.
async fn pair(change: impl FnOnce(&mut Settings)) -> (Redis, Redis, Front) {
    let primary = Redis::start();
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    let front = Front::start_with(&primary, |settings| {
        waits(settings);
        change(settings);
    })
    .await;
    (primary, replica, front)
}

fn calls(redis: &Redis, command: &str) -> u64 {
    let stats = redis.info(&format!("cmdstat_{command}")).unwrap_or_default();
    stats.split(',').find_map(|field| field.strip_prefix("calls=")?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_answered_is_on_the_replica() {
    let (_primary, replica, front) = pair(|_| {}).await;
    let client = Client::joined(front.port, "ada", "lobby").await;
    for seq in 1..=20 {
        client.ok(post("lobby", seq)).await;
        let there = replica.ok(&["MSG.RANGE", "stoa:{lobby}:log", "COUNT", "1"]);
        assert_eq!(there.field("rev").int(), seq as i64, "answered before the replica had it");
    }
    let create = json!({"type": "text", "content": "a"});
    client.ok(json!({"do": "doc.open", "room": "lobby", "doc": "d", "create": create})).await;
    let submit = json!({"do": "doc.submit", "room": "lobby", "doc": "d", "rev": 0, "op": [1, "b"]});
    client.ok(submit).await;
    assert_eq!(replica.ok(&["DOC.GET", "stoa:{lobby}:doc:d"]).field("content").text(), "ab");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_replica_a_write_is_not_acknowledged_and_a_resend_waits_again() {
    let (_primary, replica, front) = pair(|settings| {
        settings.ack_rooms = vec!["chat:*=memory".parse().unwrap()];
    })
    .await;
    let (client, other) =
        (Client::joined(front.port, "ada", "orders").await, Client::joined(front.port, "ada", "chat:1").await);
    client.ok(post("orders", 1)).await;
    replica.pause(true);

    let began = Instant::now();
    let writing = client.ask(post("orders", 2));
    // Nobody else is held up: neither who reads nor who writes where nothing is waited for.
    let meanwhile = async {
        other.ok(post("chat:1", 1)).await;
        other.ok(json!({"do": "msg.range", "room": "chat:1"})).await;
        began.elapsed()
    };
    let (refused, others) = tokio::join!(writing, meanwhile);
    let (error, waited) = (refused.unwrap_err(), began.elapsed());
    assert_eq!((&error["code"], &error["retry"]), (&json!("UNACKNOWLEDGED"), &json!(true)));
    assert!(waited >= TIMEOUT && waited < TIMEOUT * 3, "{waited:?}");
    assert!(others < TIMEOUT, "others waited {others:?}");

    assert_eq!(client.refused(post("orders", 2)).await, "UNACKNOWLEDGED", "it waits again");
    replica.pause(false);
    let again = client.ok(post("orders", 2)).await;
    assert_eq!((&again["n"], &again["duplicate"]), (&json!(2), &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_at_once_share_their_waits() {
    let (primary, replica, front) = pair(|_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Client::joined(front.port, "ada", "lobby").await);
    }
    let before = calls(&primary, "wait");
    let posts = clients.iter().enumerate().flat_map(|(tab, client)| {
        (1..=20).map(move |seq| {
            client.ok(json!({"do": "msg.post", "room": "lobby", "body": "x", "client": format!("t{tab}"), "seq": seq}))
        })
    });
    futures_util::future::join_all(posts).await;
    let waits = calls(&primary, "wait") - before;
    assert!((1..=60).contains(&waits), "200 writes took {waits} waits");
    println!("200 writes took {waits} waits");
    assert_eq!(replica.ok(&["MSG.RANGE", "stoa:{lobby}:log", "COUNT", "1"]).field("rev").int(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_front_may_wait_with_the_rights_that_redis_conf_names() {
    let conf = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf")).unwrap();
    let user = conf.lines().find_map(|line| line.strip_prefix("# user front ")).unwrap();
    let rights = "+wait (+set ~stoa:barrier)";
    assert!(conf.contains(&format!("append `{rights}`")), "redis.conf names other rights");
    let primary = Redis::options().line(format!("user front {user} {rights}")).start();
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    let front = Front::start_with(&primary, |settings| {
        waits(settings);
        settings.redis_url = Secret::new(format!("redis://front:change-me@127.0.0.1:{}", primary.port));
    })
    .await;
    Client::joined(front.port, "ada", "lobby").await.ok(post("lobby", 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledgements_come_again_after_connections_were_lost() {
    let (primary, _replica, front) = pair(|_| {}).await;
    let client = Client::joined(front.port, "ada", "lobby").await;
    client.ok(post("lobby", 1)).await;
    primary.ok(&["CLIENT", "KILL", "TYPE", "normal"]);
    let mut answered = None;
    for _ in 0..200 {
        match client.ask(post("lobby", 2)).await {
            Ok(ok) => {
                answered = Some(ok);
                break;
            }
            Err(error) => assert_eq!(error["retry"], true, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(answered.expect("acknowledged in the end")["n"], 2);
}

/// An address behind which another server may stand for every new connection, as after a failover.
async fn address_of(target: Arc<AtomicU16>) -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let target = target.load(Ordering::Relaxed);
            tokio::spawn(async move {
                if let Ok(mut far) = tokio::net::TcpStream::connect(("127.0.0.1", target)).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_of_another_server_acknowledge_nothing() {
    let (old, _replica, _) = pair(|_| {}).await;
    let new = Redis::start();
    let target = Arc::new(AtomicU16::new(old.port));
    let port = address_of(target.clone()).await;
    let front = Front::start_with(&old, |settings| {
        waits(settings);
        settings.redis_url = Secret::new(format!("redis://127.0.0.1:{port}"));
    })
    .await;
    let client = Client::joined(front.port, "ada", "lobby").await;
    client.ok(post("lobby", 1)).await;

    // From now on who connects gets another server. Only the connection of the barriers stays: its last word is WAIT.
    target.store(new.port, Ordering::Relaxed);
    for line in old.ok(&["CLIENT", "LIST", "TYPE", "normal"]).text().lines() {
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        if field("cmd") != Some("wait") && field("cmd") != Some("client|list") {
            old.ok(&["CLIENT", "KILL", "ID", field("id").unwrap()]);
        }
    }
    old.ok(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let written = || new.ok(&["MSG.RANGE", "stoa:{lobby}:log"]).field("rev").int();
    let mut seq = 2;
    while written() == 0 {
        let error = client.ask(post("lobby", seq)).await.expect_err("the old server's replica has not got this");
        assert_eq!(error["retry"], true, "{error}");
        seq += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waits = calls(&old, "wait");
    assert_eq!(client.refused(post("lobby", seq)).await, "UNACKNOWLEDGED");
    assert_eq!(calls(&old, "wait"), waits, "the old server is not even asked");
}
