//! What a reply promises when fronts wait for the disk: with one server, behind sentinels, and in a cluster.
//!
//! It takes a server with `WAITAOF`: Redis 7.2, Valkey. `make test` runs this in Valkey, too.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stoa_front::Settings;
use stoa_harness::front::http_status;
use stoa_harness::socket::{Client, post};
use stoa_harness::{Cluster, Front, Redis, RedisOptions, Reply, Sentinels, assert_eventually};

fn waits(settings: &mut Settings) {
    settings.ack = "disk".parse().unwrap();
    settings.ack_timeout_ms = 1_000;
}

/// A server that syncs once a second: an answer that comes earlier than that has not waited.
fn synced() -> RedisOptions {
    Redis::options().line("appendonly yes").line("appendfsync everysec")
}

/// Whether the server under test can wait for its disk.
fn can_wait() -> bool {
    let redis = Redis::start();
    let can = matches!(&redis.ok(&["COMMAND", "INFO", "WAITAOF"]).items()[0], Reply::Array(_));
    if !can {
        println!("not tried: this server has no WAITAOF");
    }
    can
}

/// Posts until it is acknowledged; what is refused meanwhile may be tried again.
async fn posted(client: &Client, room: &str, seq: u64) -> Value {
    let began = Instant::now();
    loop {
        match client.ask(post(room, seq)).await {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error["retry"], true, "{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{seq} is not acknowledged");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// While a server syncs nothing, a write is not acknowledged; when it does again, the same write is.
async fn is_acknowledged_when_synced(client: &Client, room: &str, server: &Redis, seq: u64) {
    server.ok(&["CONFIG", "SET", "appendfsync", "no"]);
    assert_eq!(client.refused(post(room, seq)).await, "UNACKNOWLEDGED", "the disk of {} does not have it", server.port);
    server.ok(&["CONFIG", "SET", "appendfsync", "everysec"]);
    let again = posted(client, room, seq).await;
    assert_eq!((&again["n"], &again["duplicate"]), (&json!(seq), &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_disk_is_waited_for_where_the_server_can_and_said_to_be_impossible_elsewhere() {
    let redis = synced().start();
    if can_wait() {
        let front = Front::start_with(&redis, waits).await;
        let client = Client::joined(front.port, "ada", "lobby").await;
        posted(&client, "lobby", 1).await;
        is_acknowledged_when_synced(&client, "lobby", &redis, 2).await;
    } else {
        let front = Front::start_unready_with(&redis, waits).await;
        // It has tried, more than once, and is not ready.
        assert_eventually!(redis.info("errorstat_ERR").is_some_and(|stat| stat != "count=1"));
        assert_eq!(http_status(front.port, "/readyz"), Some(503));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_sentinels_the_disk_of_whoever_is_the_primary_is_waited_for() {
    if !can_wait() {
        return;
    }
    let mut servers = Sentinels::start(1, 3, synced);
    let front = Front::start_on(&servers.url(), waits).await;
    let client = Client::joined(front.port, "ada", "lobby").await;
    let before = servers.primary();
    posted(&client, "lobby", 1).await;
    is_acknowledged_when_synced(&client, "lobby", &servers.servers[before], 2).await;
    let replica = 1 - before;
    servers.servers[replica].in_sync_with(&servers.servers[before]);
    servers.servers[before].kill();
    let (after, _) = servers.switched(before);
    assert_eq!(posted(&client, "lobby", 3).await["n"], 3, "the next primary has what was acknowledged");
    is_acknowledged_when_synced(&client, "lobby", &servers.servers[after], 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_cluster_the_disk_of_the_shard_that_holds_the_room_is_waited_for() {
    if !can_wait() {
        return;
    }
    let cluster = Cluster::start(3, 0, synced);
    let front = Front::start_on(&cluster.url(0), waits).await;
    let rooms = [0, 1, 2].map(|shard| cluster.room_on(shard, "hall"));
    let elsewhere = Client::joined(front.port, "ada", &rooms[0]).await;
    for room in &rooms {
        let client = Client::joined(front.port, "ada", room).await;
        posted(&client, room, 1).await;
    }
    // A disk that does not sync holds up the rooms of its shard alone.
    let there = Client::joined(front.port, "ada", &rooms[1]).await;
    let held_up = is_acknowledged_when_synced(&there, &rooms[1], &cluster.nodes[1], 2);
    let ((), answer) = tokio::join!(held_up, posted(&elsewhere, &rooms[0], 2));
    assert_eq!(answer["n"], 2);
}
