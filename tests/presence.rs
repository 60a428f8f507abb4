//! Who is here, and that it is true: leases that end on time, fronts that die, people who come back in time.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stoa_harness::redis::{Ending, SLACK, assert_on_time};
use stoa_harness::resp::Subscriber;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, Reply, assert_eventually, front};

const HERE: &str = "stoa:{lobby}:presence";

/// Gathers who is told to have come and gone, for a time.
fn comings_and_goings(listener: &mut Subscriber, within: Duration) -> (Vec<String>, Vec<String>) {
    let deadline = Instant::now() + within;
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    while let Some((_, frame)) = listener.next(deadline.saturating_duration_since(Instant::now())) {
        joined.extend(users(&frame["joined"]));
        left.extend(users(&frame["left"]));
    }
    (joined, left)
}

fn users(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|member| member["user"].as_str().unwrap().to_owned()).collect()
}

/// Waits until somebody is told to have left, and says when.
fn left_at(listener: &mut Subscriber, user: &str, within: Duration) -> Instant {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let changed = listener.expect("presence.changed", left);
        if users(&changed["left"]).contains(&user.to_owned()) {
            return Instant::now();
        }
    }
}

#[test]
fn a_lease_ends_by_itself_on_time_and_is_told_once() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    let joined = Instant::now();
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "500"]);
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c2", "n1", "500"]);
    redis.ok(&["PRESENCE.JOIN", HERE, "bo", "c3", "n2", "600000"]);
    let after = left_at(&mut listener, "ada", Duration::from_secs(5)) - joined;
    assert_on_time(after, Duration::from_millis(500));
    let (_, left) = comings_and_goings(&mut listener, Duration::from_millis(500));
    assert!(left.is_empty(), "told again: {left:?}");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
    assert_eq!(redis.ok(&["PRESENCE.BEAT", HERE, "n1", "500"]).int(), 0, "the front is told that its people are gone");
}

#[test]
fn a_heartbeat_keeps_everybody_of_its_front_and_nobody_else() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "400"]);
    redis.ok(&["PRESENCE.JOIN", HERE, "bo", "c2", "n2", "400"]);
    let until = Instant::now() + Duration::from_millis(1_500);
    let mut left = Vec::new();
    while Instant::now() < until {
        assert_eq!(redis.ok(&["PRESENCE.BEAT", HERE, "n1", "400"]).int(), 1);
        left.extend(comings_and_goings(&mut listener, Duration::from_millis(100)).1);
    }
    assert_eq!(left, ["bo"]);
}

#[test]
fn many_leases_that_end_together_end_on_time() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    let mut connection = redis.connect();
    for n in 0..300 {
        connection.ok(&["PRESENCE.JOIN", HERE, &format!("u{n}"), &format!("c{n}"), "n1", "1500"]);
    }
    let beat = Instant::now();
    assert_eq!(connection.ok(&["PRESENCE.BEAT", HERE, "n1", "1500"]).int(), 300);
    let mut left = Vec::new();
    while left.len() < 300 {
        let changed = listener.expect("presence.changed", Duration::from_secs(5));
        left.extend(users(&changed["left"]));
    }
    assert!(beat.elapsed() < Duration::from_millis(1_500) + SLACK, "{:?}", beat.elapsed());
    left.sort();
    left.dedup();
    assert_eq!(left.len(), 300, "each once");
}

#[test]
fn who_comes_back_within_the_grace_never_left() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "60000"]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1", "GRACE", "2000"]);
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
    let back = redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c2", "n2", "60000"]);
    assert_eq!(back.field("first").int(), 0);
    let (joined, left) = comings_and_goings(&mut listener, Duration::from_millis(2_600));
    assert_eq!((joined, left), (vec!["ada".to_owned()], vec![]));
}

#[test]
fn who_does_not_come_back_leaves_when_the_grace_ends() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "60000"]);
    let gone = Instant::now();
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1", "GRACE", "400"]);
    let after = left_at(&mut listener, "ada", Duration::from_secs(5)) - gone;
    assert_on_time(after, Duration::from_millis(400));
}

#[test]
fn typing_ends_by_itself() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "60000"]);
    redis.ok(&["PRESENCE.TYPING", HERE, "c1", "300"]);
    assert_eq!(listener.expect("presence.typing", Duration::from_secs(5))["users"], json!(["ada"]));
    assert_eq!(listener.expect("presence.typing", Duration::from_secs(5))["users"], json!([]));
    assert!(redis.ok(&["PRESENCE.LIST", HERE]).field("typing").items().is_empty());
}

#[test]
fn a_restart_extends_leases_once_and_then_they_end() {
    let mut redis = Redis::options().aof().start();
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "300"]);
    redis.restart(Ending::Killed);
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1, "a restart logs nobody out");
    assert_eventually!(within Duration::from_secs(30), redis.ok(&["PRESENCE.COUNT", HERE]).int() == 0);
}

#[test]
fn a_lease_that_ends_while_writes_are_paused_does_not_stop_redis() {
    let redis = Redis::options().aof().start();
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", "200"]);
    redis.ok(&["CLIENT", "PAUSE", "800", "WRITE"]);
    assert_eventually!(redis.ok(&["PRESENCE.COUNT", HERE]).int() == 0);
    assert_eq!(redis.ok(&["PING"]).text(), "PONG", "{}", redis.log());
}

/// A front whose people are gone soon after it.
async fn front_with_short_leases(redis: &Redis) -> Front {
    Front::start_with(redis, |settings| {
        settings.presence_ttl_ms = 1_000;
        settings.presence_grace_ms = 1_500;
        settings.presence_close_grace_ms = 200;
    })
    .await
}

async fn arrive(front: &Front, user: &str) -> Client {
    let client = Client::connect(front.port, &front::token(user)).await;
    client.ok(json!({"do": "room.join", "room": "lobby", "presence": {"data": {}}})).await;
    client
}

async fn users_here(client: &Client) -> Vec<String> {
    users(&client.ok(json!({"do": "presence.list", "room": "lobby"})).await["members"])
}

/// Waits for a `presence.changed` in which somebody left.
async fn told_left(client: &Client, user: &str) -> Instant {
    loop {
        let changed = client.expect("presence.changed").await;
        if users(&changed["left"]).contains(&user.to_owned()) {
            return Instant::now();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_front_that_dies_takes_its_people_with_it_and_nobody_else() {
    let redis = Redis::start();
    let (one, two) = (front_with_short_leases(&redis).await, front_with_short_leases(&redis).await);
    let (_ada, bo) = (arrive(&one, "ada").await, arrive(&two, "bo").await);
    let cy = arrive(&two, "cy").await;
    assert_eq!(users_here(&bo).await.len(), 3);
    let died = Instant::now();
    one.kill();
    let after = told_left(&bo, "ada").await - died;
    assert!(after < Duration::from_millis(1_000) + SLACK, "{after:?}");
    let mut here = users_here(&cy).await;
    here.sort();
    assert_eq!(here, ["bo", "cy"]);
    let told: usize = cy.events_named("presence.changed").iter().map(|changed| users(&changed["left"]).len()).sum();
    assert_eq!(told, 1, "ada left, once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_tab_on_another_front_keeps_somebody_here() {
    let redis = Redis::start();
    let (one, two) = (front_with_short_leases(&redis).await, front_with_short_leases(&redis).await);
    let watcher = arrive(&two, "bo").await;
    let (first_tab, second_tab) = (arrive(&one, "ada").await, arrive(&two, "ada").await);
    let joined = watcher.expect("presence.changed").await;
    assert_eq!(users(&joined["joined"]), ["ada"]);
    drop(first_tab);
    tokio::time::sleep(Duration::from_millis(2_500)).await; // Longer than every grace: nothing may happen.
    let told = watcher.events_named("presence.changed");
    assert!(told.iter().all(|changed| users(&changed["left"]).is_empty()), "{told:?}");
    assert!(told.iter().filter(|changed| users(&changed["joined"]).contains(&"ada".into())).count() == 1, "{told:?}");
    drop(second_tab);
    told_left(&watcher, "ada").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn somebody_in_a_tunnel_stays_until_the_grace_ends() {
    let redis = Redis::start();
    let front = front_with_short_leases(&redis).await;
    let (ada, bo) = (arrive(&front, "ada").await, arrive(&front, "bo").await);
    let cut = Instant::now();
    drop(ada);
    let after = told_left(&bo, "ada").await - cut;
    assert!(after >= Duration::from_millis(1_400), "too early: {after:?}");
    assert!(after < Duration::from_millis(1_500) + SLACK, "too late: {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_grace_outlives_the_front_that_asked_for_it() {
    let redis = Redis::start();
    let (one, two) = (front_with_short_leases(&redis).await, front_with_short_leases(&redis).await);
    let (ada, bo) = (arrive(&one, "ada").await, arrive(&two, "bo").await);
    let cut = Instant::now();
    drop(ada);
    // The front has said that ada has no connection any more; then it dies, and with it every timer of its own.
    let connections = || redis.ok(&["PRESENCE.GET", HERE, "ada"]).items()[0].field("connections").items().len();
    assert_eventually!(connections() == 0);
    one.kill();
    assert_eq!(users_here(&bo).await.len(), 2, "ada may come back");
    let after = told_left(&bo, "ada").await - cut;
    assert!(after >= Duration::from_millis(1_400), "too early: {after:?}");
    assert!(after < Duration::from_millis(1_500) + SLACK, "too late: {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_front_that_stops_properly_says_goodbye() {
    let redis = Redis::start();
    let (one, two) = (front_with_short_leases(&redis).await, front_with_short_leases(&redis).await);
    let (ada, bo) = (arrive(&one, "ada").await, arrive(&two, "bo").await);
    one.shutdown().await;
    assert_eq!(ada.closed().await.0, 4000);
    told_left(&bo, "ada").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_outlive_their_ttl_while_the_front_lives() {
    let redis = Redis::start();
    let front = front_with_short_leases(&redis).await;
    let (_ada, bo) = (arrive(&front, "ada").await, arrive(&front, "bo").await);
    tokio::time::sleep(Duration::from_millis(3_500)).await; // Three leases long: heartbeats have to have kept them.
    assert_eq!(users_here(&bo).await.len(), 2);
    assert!(bo.events_named("presence.changed").iter().all(|changed| users(&changed["left"]).is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn data_and_typing_reach_the_others() {
    let redis = Redis::start();
    let (one, two) = (front_with_short_leases(&redis).await, front_with_short_leases(&redis).await);
    let (ada, bo) = (arrive(&one, "ada").await, arrive(&two, "bo").await);
    ada.ok(json!({"do": "presence.set", "room": "lobby", "data": {"mood": "busy"}})).await;
    let updated = loop {
        let changed = bo.expect("presence.changed").await;
        if let Some(member) = changed["updated"].as_array().and_then(|updated| updated.first()) {
            break member.clone();
        }
    };
    assert_eq!((&updated["user"], &updated["data"]), (&json!("ada"), &json!({"mood": "busy", "name": "ada"})));
    ada.ok(json!({"do": "presence.typing", "room": "lobby", "typing": true})).await;
    assert_eq!(bo.expect("presence.typing").await["users"], json!(["ada"]));
    ada.ok(json!({"do": "presence.typing", "room": "lobby", "typing": false})).await;
    assert_eq!(bo.expect("presence.typing").await["users"], json!([]));
}

#[test]
fn with_user_a_connection_answers_to_its_own_user_alone() {
    let redis = Redis::start();
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "k1", "n1", "600000"]);
    let commands: [&[&str]; 3] = [
        &["PRESENCE.SET", HERE, "k1", r#"{"a":1}"#],
        &["PRESENCE.TYPING", HERE, "k1", "1000"],
        &["PRESENCE.LEAVE", HERE, "k1"],
    ];
    for command in commands {
        for stranger in ["bo", "ad", "adaa"] {
            let reply = redis.call(&[command, &["USER", stranger]].concat());
            assert!(matches!(&reply, Reply::Error(text) if text.starts_with("NOT_FOUND")), "{command:?} {reply:?}");
        }
    }
    assert_eq!(redis.ok(&["PRESENCE.LIST", HERE]).field("typing").items().len(), 0);
    for command in commands {
        redis.ok(&[command, &["USER", "ada"]].concat());
    }
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 0);
}
