//! Rooms on a Redis Cluster: each lives on a shard, shards fail and hand over, slots move, and nobody misses anything.
#![allow(clippy::unwrap_used)]

use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stoa_harness::process::FrontProcess;
use stoa_harness::socket::Client;
use stoa_harness::talk::Talk;
use stoa_harness::{Cluster, Front, Redis, assert_eventually, front};

const LONG_ENOUGH: Duration = Duration::from_millis(500);
/// So many wait for a server when it stops: more than it takes for a front to ask that server less.
const WRITERS: usize = 12;
/// A machine with much to do keeps somebody waiting for so long, and not for the seconds after which a front gives a server up.
const NO_FAULT: Duration = Duration::from_secs(2);

async fn two_fronts(cluster: &Cluster) -> [Front; 2] {
    // Each is told of one node only, and finds the others.
    let other = cluster.nodes.len() - 1;
    [Front::start_on(&cluster.url(0), |_| {}).await, Front::start_on(&cluster.url(other), |_| {}).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_shard_serves_its_rooms_and_any_redis_client_reaches_them() {
    let cluster = Cluster::start(3, 0, Redis::options);
    let fronts = two_fronts(&cluster).await;
    for shard in 0..3 {
        let room = cluster.room_on(shard, "hall");
        let reader = Client::connect(fronts[1].port, &front::token("bo")).await;
        reader.ok(json!({"do": "room.join", "room": room, "presence": {}})).await;
        let writer = Client::connect(fronts[0].port, &front::token("ada")).await;
        writer.ok(json!({"do": "room.join", "room": room, "presence": {}})).await;
        writer.ok(json!({"do": "msg.post", "room": room, "body": "from ada"})).await;
        assert_eq!(reader.expect("msg.posted").await["message"]["body"], "from ada");
        let key = format!("stoa:{{{room}}}:log");
        cluster.nodes[shard].ok(&["MSG.POST", &key, "service", "\"from a service\""]);
        assert_eq!(reader.expect("msg.posted").await["message"]["body"], "from a service");
        let listed = reader.ok(json!({"do": "presence.list", "room": room})).await;
        assert_eq!(listed["count"], 2);
        let opened =
            json!({"do": "doc.open", "room": room, "doc": "main", "create": {"type": "text", "content": "hi"}});
        assert_eq!(writer.ok(opened).await["content"], "hi");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_answered_is_on_a_replica_whichever_shard_holds_the_room() {
    let cluster = Cluster::start(3, 1, Redis::options);
    let front = Front::start_on(&cluster.url(0), |settings| settings.ack = "replica:1".parse().unwrap()).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    let post = |room: &str| json!({"do": "msg.post", "room": room, "body": "hi", "client": "tab", "seq": 1});
    for shard in 0..3 {
        let room = cluster.room_on(shard, "hall");
        ada.ok(json!({"do": "room.join", "room": room})).await;
        ada.ok(post(&room)).await;
        let replica = &cluster.nodes[cluster.replica_of(shard)];
        let key = format!("stoa:{{{room}}}:log");
        let mut there = replica.connect();
        there.ok(&["READONLY"]);
        assert_eq!(there.ok(&["MSG.RANGE", &key]).field("rev").int(), 1, "answered before the replica had it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shard_that_is_handed_over_loses_nothing() {
    let cluster = Cluster::start(3, 1, Redis::options);
    let fronts = two_fronts(&cluster).await;
    let (room, elsewhere) = (cluster.room_on(0, "hall"), cluster.room_on(1, "hall"));
    let talk = Talk::start(&room, (fronts[0].port, fronts[1].port)).await;
    let other = Talk::start(&elsewhere, (fronts[0].port, fronts[1].port)).await;
    for _ in 0..2 {
        tokio::time::sleep(LONG_ENOUGH).await;
        let primary = cluster.primary_of(&room);
        cluster.hand_over(cluster.replica_of(primary));
        assert_ne!(cluster.primary_of(&room), primary);
    }
    tokio::time::sleep(LONG_ENOUGH).await;
    let (talk, other) = (talk.end().await, other.end().await);
    println!(
        "the shard: {:?} without an answer, {} refusals; another: {:?}",
        talk.longest_gap, talk.refused, other.longest_gap
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_room_that_moves_while_people_talk_loses_nothing() {
    let cluster = Cluster::start(3, 0, Redis::options);
    let fronts = two_fronts(&cluster).await;
    let room = cluster.room_on(0, "hall");
    let talk = Talk::start(&room, (fronts[0].port, fronts[1].port)).await;
    for to in [1, 2, 1] {
        tokio::time::sleep(LONG_ENOUGH).await;
        cluster.migrate(&room, to, Duration::from_millis(20));
        assert_eq!(cluster.primary_of(&room), to);
    }
    tokio::time::sleep(LONG_ENOUGH).await;
    let talk = talk.end().await;
    println!("{:?} without an answer, {} refusals", talk.longest_gap, talk.refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shard_whose_primary_dies_comes_back_and_the_others_never_notice() {
    let mut cluster = Cluster::start(3, 1, || Redis::options().aof());
    let fronts = two_fronts(&cluster).await;
    let (room, elsewhere) = (cluster.room_on(0, "hall"), cluster.room_on(1, "hall"));
    let talk = Talk::start(&room, (fronts[0].port, fronts[1].port)).await;
    let other = Talk::start(&elsewhere, (fronts[0].port, fronts[1].port)).await;
    tokio::time::sleep(LONG_ENOUGH).await;
    let replica = cluster.replica_of(0);
    cluster.nodes[0].kill();
    let took_over = stoa_harness::waiting::poll_async(Duration::from_secs(30), || {
        (cluster.nodes[replica].info("role").as_deref() == Some("master")).then_some(())
    });
    assert!(took_over.await.is_some(), "the replica did not take over");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (talk, other) = (talk.end().await, other.end().await);
    println!(
        "the shard: {:?} without an answer, {} refusals; another: {:?}",
        talk.longest_gap, talk.refused, other.longest_gap
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_writes_to_a_shard_that_stands_still_hears_so_at_once_and_the_others_never_notice() {
    let cluster = Cluster::start(3, 0, Redis::options);
    let directory = tempfile::tempdir().unwrap();
    let front = FrontProcess::start(&cluster.url(1), &["--redis-patience-ms", "200"], directory.path());
    let (room, elsewhere) = (cluster.room_on(0, "hall"), cluster.room_on(1, "hall"));
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let writer = Client::connect(front.port, &front::token(&format!("u{n}"))).await;
        writer.ok(json!({"do": "room.join", "room": room})).await;
        writers.push(writer);
    }
    let post = json!({"do": "msg.post", "room": room, "body": "hi", "client": "tab", "seq": 1});
    let is_refused = |answer: Result<Value, Value>| {
        let error = answer.expect_err("nobody can have stored this");
        assert_eq!((&error["code"], &error["retry"]), (&json!("UNAVAILABLE"), &json!(true)), "{error}");
    };
    let talk = Talk::start(&elsewhere, (front.port, front.port)).await;
    cluster.nodes[0].pause(true);
    // Whoever waits when it stops is told when the front gives it up, and counted.
    join_all(writers.iter().map(|writer| writer.ask(post.clone()))).await.into_iter().for_each(is_refused);
    assert_eventually!(front.log().contains("asking it less"), "{}", front.log());
    // Whoever comes later does not wait for it.
    let began = Instant::now();
    join_all(writers.iter().map(|writer| writer.ask(post.clone()))).await.into_iter().for_each(is_refused);
    let waited = began.elapsed();
    let written = talk.end().await;
    println!("told after {waited:?}; another shard: {:?} without an answer", written.longest_gap);
    assert!(waited < NO_FAULT, "{waited:?}");
    assert!(written.longest_gap < NO_FAULT, "{:?}", written.longest_gap);
    // It goes on, and so does its room.
    cluster.nodes[0].pause(false);
    for writer in &writers {
        let answered = stoa_harness::waiting::poll_async(Duration::from_secs(30), || {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(writer.ask(post.clone())).ok())
        });
        assert!(answered.await.is_some(), "its room does not go on\n{}", front.log());
    }
    let key = format!("stoa:{{{room}}}:log");
    assert_eq!(cluster.nodes[0].ok(&["MSG.INFO", &key]).field("n").int(), WRITERS as i64, "each is there once");
}
