//! Who is told what after an absence, and who is never told: mistakes that services of this kind are known for.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use stoa_harness::redis::Ending;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, assert_eventually, front};

fn log(room: &str) -> String {
    format!("stoa:{{{room}}}:log")
}

/// Many messages of a service within one millisecond or two; gives the texts.
fn shout(redis: &Redis, room: &str, count: usize) -> Vec<String> {
    let mut connection = redis.connect();
    let texts: Vec<String> = (0..count).map(|n| format!("{room} {n}")).collect();
    for text in &texts {
        let body = format!(r#"{{"text":"{text}"}}"#);
        connection.send(&[b"MSG.POST", log(room).as_bytes(), b"bo", body.as_bytes()]).unwrap();
    }
    for _ in &texts {
        assert!(!connection.read().unwrap().is_error());
    }
    texts
}

fn texts<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let posted = events.into_iter().filter(|event| event["event"] == "msg.posted");
    posted.map(|event| event["message"]["body"]["text"].as_str().unwrap().to_owned()).collect()
}

fn events(part: &Value) -> &[Value] {
    assert_eq!(part["outcome"], "changes", "{part}");
    part["events"].as_array().unwrap()
}

fn position(frame: &Value) -> String {
    format!("{}:{}", frame["epoch"].as_str().unwrap(), frame["rev"])
}

async fn come_back(front: &Front, user: &str, resume: Value) -> (Client, Value) {
    let client = Client::open(front.port).await;
    let answer = client.ok(json!({"do": "connect", "token": front::token(user), "resume": resume})).await;
    (client, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_missed_is_found_by_position_and_not_by_time() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::connect(front.port, &front::token("ada")).await;
    client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    let said = shout(&redis, "lobby", 200);
    assert_eventually!(client.events_named("msg.posted").len() == 200);
    let heard = client.events_named("msg.posted");
    let times: BTreeSet<u64> = heard.iter().map(|event| event["message"]["at_ms"].as_u64().unwrap()).collect();
    assert!(times.len() < 200, "no two messages of one millisecond: nothing is proven");
    // Wherever somebody stopped hearing, also between two messages of one millisecond.
    for last in [0, 1, 57, 58, 59, 60, 198, 199] {
        let resume = json!({"lobby": {"positions": {"log": position(&heard[last])}}});
        let (_client, answer) = come_back(&front, "ada", resume).await;
        let missed = texts(events(&answer["rooms"]["lobby"]["streams"]["log"]));
        assert_eq!(missed, said[last + 1..], "after {last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_room_that_was_joined_later_is_resumed_like_the_first() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let (client, _) = come_back(&one, "ada", json!({"first": {}})).await;
    let later = client.ok(json!({"do": "room.join", "room": "later"})).await;
    shout(&redis, "first", 3);
    assert_eventually!(client.events_named("msg.posted").len() == 3);
    let first = position(client.events_named("msg.posted").last().unwrap());
    drop(client);
    let missed = [shout(&redis, "first", 4), shout(&redis, "later", 5)];
    let resume = json!({"first": {"positions": {"log": first}},
                        "later": {"positions": {"log": position(&later["streams"]["log"])}}});
    let (client, answer) = come_back(&two, "ada", resume).await;
    for (room, missed) in ["first", "later"].iter().zip(&missed) {
        assert_eq!(texts(events(&answer["rooms"][room]["streams"]["log"])), *missed);
    }
    let after = [shout(&redis, "later", 2), shout(&redis, "first", 2)].concat();
    assert_eventually!(client.events_named("msg.posted").len() == 4);
    let mut heard = texts(&client.events());
    heard.sort_unstable();
    let mut said = after;
    said.sort_unstable();
    assert_eq!(heard, said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_happens_in_a_room_is_told_to_nobody_outside() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    // Names that begin alike, as the users' ids below.
    let (inside, outside) = (
        Client::connect(front.port, &front::token("ada")).await,
        Client::connect(front.port, &front::token("bo")).await,
    );
    inside.ok(json!({"do": "room.join", "room": "team:1", "presence": {"data": {}}})).await;
    outside.ok(json!({"do": "room.join", "room": "team:12", "presence": {"data": {}}})).await;
    inside.ok(json!({"do": "msg.post", "room": "team:1", "body": "hi"})).await;
    inside.ok(json!({"do": "presence.typing", "room": "team:1", "typing": true})).await;
    inside.ok(json!({"do": "room.emit", "room": "team:1", "name": "ring", "data": 1})).await;
    inside.expect("presence.typing").await;
    // What comes last comes after all that should not have come.
    outside.ok(json!({"do": "msg.post", "room": "team:12", "body": "hi"})).await;
    outside.expect("msg.posted").await;
    let told = outside.events();
    assert!(told.iter().all(|event| event["room"] == "team:12"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_for_user_12_does_not_reach_user_1() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let mut clients = Vec::new();
    for user in ["1", "12", "2"] {
        let client = Client::connect(front.port, &front::token(user)).await;
        client.ok(json!({"do": "room.join", "room": "lobby"})).await;
        clients.push(client);
    }
    let [one, twelve, two] = &clients[..] else { unreachable!() };
    two.ok(json!({"do": "room.emit", "room": "lobby", "name": "secret", "data": 1, "to": {"user": "12"}})).await;
    redis.ok(&["ROOM.EMIT", "stoa:{user:12}:log", "secret", "2"]);
    two.ok(json!({"do": "room.emit", "room": "lobby", "name": "end", "data": 0})).await;
    redis.ok(&["ROOM.EMIT", "stoa:{user:1}:log", "end", "0"]);
    assert_eventually!(twelve.events_named("room.emitted").len() == 3);
    assert_eventually!(one.events_named("room.emitted").len() == 2);
    let names: Vec<Value> = one.events_named("room.emitted").iter().map(|event| event["name"].clone()).collect();
    assert_eq!(names, ["end", "end"]);
}

#[test]
fn a_resend_after_a_restart_gets_the_first_answer_with_its_epoch() {
    let mut redis = Redis::options().aof().start();
    let document = "stoa:{lobby}:doc:main";
    redis.ok(&["DOC.CREATE", document, "text"]);
    let post = |redis: &Redis, seq: &str| redis.ok(&["MSG.POST", &log("lobby"), "ada", r#""hi""#, "ID", "tab", seq]);
    let submit = |redis: &Redis, rev: &str, seq: &str| {
        redis.ok(&["DOC.SUBMIT", document, rev, r#"["x"]"#, "ID", "tab", seq, "BY", "ada", "k1"])
    };
    let first = [post(&redis, "1"), submit(&redis, "0", "1")];
    redis.restart(Ending::Killed);
    // The first write of the restarted server opens another epoch.
    let next = [post(&redis, "2"), submit(&redis, "1", "2")];
    let again = [post(&redis, "1"), submit(&redis, "0", "1")];
    for ((first, next), again) in first.iter().zip(&next).zip(&again) {
        assert_ne!(first.field("epoch"), next.field("epoch"));
        assert_eq!((first.field("rev"), first.field("epoch")), (again.field("rev"), again.field("epoch")));
        assert_eq!((first.field("duplicate").int(), again.field("duplicate").int()), (0, 1));
    }
}
