//! Rooms on a primary that sentinels watch: it dies, or is replaced on purpose, and fronts follow by themselves.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::time::Duration;
use stoa_harness::socket::Client;
use stoa_harness::talk::Talk;
use stoa_harness::{Front, Redis, Sentinels, front};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_primary_dies_people_stay_connected_and_go_on_with_the_next() {
    let mut servers = Sentinels::start(2, 3, || Redis::options().aof());
    let url = servers.url();
    let fronts = [Front::start_on(&url, |_| {}).await, Front::start_on(&url, |_| {}).await];
    let talk = Talk::start("lobby", (fronts[0].port, fronts[1].port)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = servers.primary();
    servers.servers[before].kill();
    let (after, known) = servers.switched(before);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let written = talk.end().await;
    println!(
        "another primary after {known:?}; {:?} without an answer, {} refusals",
        written.longest_gap, written.refused
    );
    // Who comes now finds everything.
    let late = Client::connect(fronts[0].port, &front::token("cy")).await;
    let joined = late.ok(json!({"do": "room.join", "room": "lobby"})).await;
    let messages = joined["streams"]["log"]["messages"].as_array().unwrap();
    assert_eq!(messages.last().unwrap()["body"].as_str(), written.acknowledged.last().map(String::as_str));
    // The dead one comes back as a replica, and is not taken for the primary again.
    servers.servers[before].start_again();
    late.ok(json!({"do": "msg.post", "room": "lobby", "body": "after"})).await;
    let last = servers.servers[after].connect().ok(&["MSG.RANGE", "stoa:{lobby}:log", "COUNT", "1"]);
    assert!(last.field("messages").texts()[0].contains("after"));
}
