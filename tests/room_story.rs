//! A room in use, through two fronts: people talk and write at once, drop out, come back, and miss nothing.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::Duration;
use stoa_harness::redis::Ending;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, Room, front};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_people_on_two_fronts_write_one_text() {
    let room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    ada.types(0, "hello");
    room.agrees_on("hello").await;
    // At once, at the same place.
    ada.types(5, " from ada");
    bo.types(5, " from bo");
    let text = room.agrees().await;
    assert!(["hello from ada from bo", "hello from bo from ada"].contains(&text.as_str()), "{text}");
    bo.deletes(0, 5);
    ada.types(0, "> ");
    let text = room.agrees().await;
    assert!(text.starts_with(">  from"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_typed_in_a_tunnel_arrives_afterwards() {
    let room = Room::with(["ada", "bo", "cy"]).await;
    let [ada, bo, cy] = room.people();
    ada.types(0, "hi");
    room.agrees_on("hi").await;
    bo.cut();
    bo.types(0, "yo ");
    bo.types(3, "again ");
    ada.types(2, "!");
    cy.deletes(0, 1);
    // Comes back at the other front.
    bo.heal_through(room.fronts[0].port).await;
    room.agrees_on("yo again i!").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_edit_whose_answer_was_lost_is_applied_once() {
    let room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    for round in 0..10 {
        // Cut right after sending: the edit may or may not have arrived, and nobody here knows.
        bo.types(0, "x");
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(round)).await;
        }
        bo.cut();
        ada.types(0, "y");
        bo.heal_through(room.fronts[round as usize % 2].port).await;
    }
    let text = room.agrees().await;
    assert_eq!((text.matches('x').count(), text.matches('y').count()), (10, 10), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn characters_of_two_units_stay_whole() {
    let room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    ada.types(0, "😀👩‍👩‍👧é");
    room.agrees_on("😀👩‍👩‍👧é").await;
    bo.types(2, "|");
    ada.deletes(0, 2);
    room.agrees_on("|👩‍👩‍👧é").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_reach_everybody_in_one_order() {
    let room = Room::with(["ada", "bo", "cy"]).await;
    let [ada, bo, cy] = room.people();
    ada.says("one").await;
    bo.says("two").await;
    cy.says("three").await;
    for person in [&ada, &bo, &cy] {
        person.has_read(&["one", "two", "three"]).await;
    }
    let shouts = (0..30).map(|n| {
        let person = [&ada, &bo, &cy][n % 3].clone();
        tokio::spawn(async move { person.says(&format!("shout {n}")).await })
    });
    for shout in shouts.collect::<Vec<_>>() {
        shout.await.unwrap();
    }
    stoa_harness::assert_eventually!(ada.reads().len() == 33);
    let order = ada.reads();
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    bo.has_read(&order).await;
    cy.has_read(&order).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_away_gets_exactly_what_was_missed() {
    let room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    ada.says("before").await;
    bo.has_read(&["before"]).await;
    bo.cut();
    ada.says("meanwhile").await;
    ada.says("and more").await;
    bo.heal().await;
    ada.says("after").await;
    bo.has_read(&["before", "meanwhile", "and more", "after"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_comes_later_sees_what_was_said_and_written() {
    let room = Room::with(["ada"]).await;
    let [ada] = room.people();
    ada.says("anybody here?").await;
    ada.types(0, "notes");
    room.agrees_on("notes").await;
    let late = stoa_harness::Person::new("bo", &room.name);
    late.arrive(room.fronts[1].port).await;
    late.has_read(&["anybody here?"]).await;
    assert_eq!(late.text(), "notes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_resent_message_is_said_once_through_any_front() {
    let room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    let post = json!({"do": "msg.post", "room": room.name, "body": {"text": "hi"}, "client": "tab", "seq": 1});
    let first = ada.client().ok(post.clone()).await;
    ada.heal_through(room.fronts[1].port).await;
    let again = ada.client().ok(post).await;
    assert_eq!((&again["n"], &again["rev"]), (&first["n"], &first["rev"]));
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
    ada.says("next").await;
    bo.has_read(&["hi", "next"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_with_a_plain_redis_client_takes_part() {
    let room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    room.redis.ok(&["MSG.POST", &room.key("log"), "build-bot", r#"{"text":"green"}"#]);
    ada.has_read(&["green"]).await;
    bo.has_read(&["green"]).await;
    let rev = room.redis.ok(&["DOC.GET", &room.key("doc:main")]).field("rev").int().to_string();
    room.redis.ok(&["DOC.SUBMIT", &room.key("doc:main"), &rev, r#"["generated\n"]"#]);
    room.agrees_on("generated\n").await;
    room.redis.ok(&["ROOM.EMIT", &room.key("log"), "deploy", r#"{"done":true}"#]);
    for person in [&ada, &bo] {
        let emitted = person.client().expect("room.emitted").await;
        assert_eq!((&emitted["name"], &emitted["data"]), (&json!("deploy"), &json!({"done": true})));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_emitted_reaches_whom_it_is_for() {
    let room = Room::with(["ada", "bo", "cy"]).await;
    let [ada, bo, cy] = room.people();
    let emit = |to: Value| json!({"do": "room.emit", "room": room.name, "name": "ring", "data": 1, "to": to});
    ada.client().ok(emit(json!({"user": "bo"}))).await;
    assert_eq!(bo.client().expect("room.emitted").await["user"], "ada");
    let mut to_all = emit(Value::Null);
    to_all.as_object_mut().unwrap().remove("to");
    to_all["name"] = json!("all");
    bo.client().ok(to_all).await;
    assert_eq!(cy.client().expect("room.emitted").await["name"], "all", "cy was not rung");
    assert_eq!(ada.client().expect("room.emitted").await["name"], "all", "ada did not ring herself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_redis_comes_back_and_nobody_has_lost_anything() {
    let mut room = Room::on(Redis::options().aof().start(), ["ada", "bo"]).await;
    let [ada, bo] = room.people();
    ada.types(0, "written before");
    ada.says("said before").await;
    room.agrees_on("written before").await;
    bo.has_read(&["said before"]).await;
    room.redis.restart(Ending::Killed);
    // The fronts find it again by themselves; whoever writes meanwhile is told to try again.
    let post = json!({"do": "msg.post", "room": room.name, "body": "said after", "client": "tab", "seq": 1});
    let mut posted = None;
    for _ in 0..200 {
        match ada.client().ask(post.clone()).await {
            Ok(ok) => {
                posted = Some(ok);
                break;
            }
            Err(error) => assert_eq!(error["retry"], true, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(posted.expect("the front finds Redis again")["n"], 2);
    ada.has_read(&["said before", "said after"]).await;
    bo.has_read(&["said before", "said after"]).await;
    bo.types(0, "and after, ");
    room.agrees_on("and after, written before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_of_a_killed_front_go_on_at_another() {
    let mut room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    ada.types(0, "a");
    room.agrees_on("a").await;
    room.fronts.remove(0).kill();
    ada.cut();
    ada.types(1, "b");
    bo.types(0, "c");
    bo.says("still here").await;
    ada.heal_through(room.fronts[0].port).await;
    room.agrees_on("cab").await;
    ada.has_read(&["still here"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_subscription_leaves_no_hole() {
    let room = Room::with(["ada", "bo"]).await;
    let [ada, bo] = room.people();
    for round in 0..5 {
        ada.says(&format!("{round} before")).await;
        // The fronts' subscriptions end, and what is announced until they are back reaches nobody.
        room.redis.ok(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        ada.says(&format!("{round} unheard")).await;
        ada.types(0, "x");
    }
    let said: Vec<String> = (0..5).flat_map(|n| [format!("{n} before"), format!("{n} unheard")]).collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    bo.has_read(&said).await;
    ada.has_read(&said).await;
    room.agrees_on("xxxxx").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_document_is_told_to_those_who_have_it_open() {
    let room = Room::with(["ada"]).await;
    let watcher = Client::connect(room.fronts[0].port, &front::token("cy")).await;
    watcher.ok(json!({"do": "room.join", "room": room.name})).await;
    watcher
        .ok(json!({"do": "doc.open", "room": room.name, "doc": "other", "create": {"type": "text", "content": "x"}}))
        .await;
    room.redis.ok(&["DEL", &room.key("doc:other")]);
    let reset = watcher.expect("room.reset").await;
    assert_eq!(reset["stream"], "doc:other");
    let opened = watcher.ok(json!({"do": "doc.open", "room": room.name, "doc": "other"})).await;
    assert_eq!(opened["outcome"], "missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_token_does_not_open_stays_closed() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let token = front::token_with(json!({"sub": "ada", "rooms": {"lobby": "r", "course:*": "rw"}}));
    let client = Client::connect(front.port, &token).await;
    client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    client.ok(json!({"do": "room.join", "room": "course:1"})).await;
    assert_eq!(client.refused(json!({"do": "room.join", "room": "secret"})).await, "PERMISSION_DENIED");
    assert_eq!(client.refused(json!({"do": "room.join", "room": "user:bo"})).await, "PERMISSION_DENIED");
    assert_eq!(client.refused(json!({"do": "msg.post", "room": "lobby", "body": "hi"})).await, "PERMISSION_DENIED");
    client.ok(json!({"do": "msg.post", "room": "course:1", "body": "hi"})).await;
    assert_eq!(redis.call(&["EXISTS", "stoa:{lobby}:log", "stoa:{secret}:log"]).int(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tokens_that_are_not_good_are_refused_with_their_code() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let good = front::token("ada");
    let forged = format!("{}x", &good[..good.len() - 1]);
    for (token, code, close) in [
        ("", "AUTH_INVALID", 4501),
        ("nonsense", "AUTH_INVALID", 4501),
        (forged.as_str(), "AUTH_INVALID", 4501),
        (&front::token_with(json!({"sub": "ada", "exp": 1})), "AUTH_EXPIRED", 4502),
        (&front::token_with(json!({"sub": "a b"})), "AUTH_INVALID", 4501),
    ] {
        let client = Client::open(front.port).await;
        assert_eq!(client.refused(json!({"do": "connect", "token": token})).await, code, "{token}");
        assert_eq!(client.closed().await.0, close, "{token}");
    }
    let silent = Client::open(front.port).await;
    assert_eq!(silent.closed().await, (4500, "AUTH_REQUIRED".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_personal_room_is_joined_by_itself_and_hears_from_services() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let (phone, laptop) =
        (Client::connect(one.port, &front::token("ada")).await, Client::connect(two.port, &front::token("ada")).await);
    let bo = Client::connect(one.port, &front::token("bo")).await;
    redis.ok(&["ROOM.EMIT", "stoa:{user:ada}:log", "mention", r#"{"by":"bo"}"#]);
    for device in [&phone, &laptop] {
        assert_eq!(device.expect("room.emitted").await["data"], json!({"by": "bo"}));
    }
    assert!(bo.events().is_empty());
}
