//! Rooms on a primary that sentinels watch: it dies, or is replaced on purpose, and fronts follow by themselves.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::time::Duration;
use stoa_harness::cluster::Setup;
use stoa_harness::network::Cut;
use stoa_harness::socket::{Client, post};
use stoa_harness::talk::Talk;
use stoa_harness::{Front, Redis, Sentinels, assert_eventually, front};

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

/// A replica that is not taken may have a write that the one that is taken lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_of_two_replicas_has_is_not_acknowledged_while_sentinels_give_the_primary_up() {
    // None of the replicas may take over, so that all stays between the decision and the deed.
    let setup = Setup { gone_after_ms: 1_000, has_network: true };
    let servers = Sentinels::start_as(setup, 2, 3, || Redis::options().line("replica-priority 0"));
    let network = servers.network.as_ref().unwrap();
    let url = servers.url();
    let waits = |ack: &'static str| {
        Front::start_on(&url, move |settings| {
            settings.ack = ack.parse().unwrap();
            settings.ack_timeout_ms = 700;
        })
    };
    let (one, both) = (waits("replica:1").await, waits("replica:2").await);
    let has_one = Client::joined(one.port, "ada", "lobby").await;
    let has_both = Client::joined(both.port, "bo", "lobby").await;
    has_one.ok(post("lobby", 1)).await;

    network.cut(Cut::FromWatchers { server: 0, watchers: 3 });
    assert_eventually!(servers.sentinels.iter().any(|sentinel| servers.flags_of(sentinel).contains("o_down")));
    assert_eq!(has_one.refused(post("lobby", 2)).await, "UNACKNOWLEDGED");
    // Whoever of all replicas takes over has it.
    has_both.ok(post("lobby", 3)).await;

    network.cut(Cut::Nothing);
    assert_eventually!(servers.sentinels.iter().all(|sentinel| servers.flags_of(sentinel) == "master"));
    let again = has_one.ok(post("lobby", 2)).await;
    assert_eq!((&again["n"], &again["duplicate"]), (&json!(2), &json!(true)));

    // Of those who would know, too few answer.
    servers.sentinels[1..].iter().for_each(|sentinel| sentinel.pause(true));
    assert_eq!(has_one.refused(post("lobby", 4)).await, "UNACKNOWLEDGED");
    has_both.ok(post("lobby", 5)).await;
    servers.sentinels[1..].iter().for_each(|sentinel| sentinel.pause(false));
}
