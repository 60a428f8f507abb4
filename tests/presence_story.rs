//! Who is here, as people see it over two fronts: statuses, pointers, kicks and devices.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::Duration;
use stoa_core::event::Kind;
use stoa_front::Settings;
use stoa_front::settings::Secret;
use stoa_harness::http::{Events, request};
use stoa_harness::proxy::Proxy;
use stoa_harness::socket::Client;
use stoa_harness::waiting::{self, SOON};
use stoa_harness::{Front, Redis, assert_eventually, front};

const PRESENCE: &str = "stoa:{lobby}:presence";

/// One Redis, two fronts with these settings.
async fn deployment(change: impl Fn(&mut Settings)) -> (Redis, Front, Front) {
    let redis = Redis::start();
    let one = Front::start_with(&redis, &change).await;
    let two = Front::start_with(&redis, &change).await;
    (redis, one, two)
}

async fn joins(front: &Front, user: &str, presence: Value) -> Client {
    let client = Client::connect(front.port, &front::token(user)).await;
    client.ok(json!({"do": "room.join", "room": "lobby", "presence": presence})).await;
    client
}

async fn watches(front: &Front, user: &str) -> Client {
    let client = Client::connect(front.port, &front::token(user)).await;
    client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    client
}

async fn set(client: &Client, mut change: Value) {
    change["do"] = json!("presence.set");
    change["room"] = json!("lobby");
    client.ok(change).await;
}

async fn listed(client: &Client) -> Vec<Value> {
    let mut list = client.ok(json!({"do": "presence.list", "room": "lobby"})).await;
    list["members"].take().as_array().unwrap().clone()
}

/// The id that the front gave this connection.
async fn connection(redis: &Redis, user: &str) -> String {
    redis.ok(&["PRESENCE.GET", PRESENCE, user]).items()[0].field("connections").items()[0].field("conn").text()
}

/// Waits until somebody is shown with this status by `watcher`'s events.
async fn shows(watcher: &Client, user: &str, status: &str) {
    let seen = || {
        let events = watcher.events_named("presence.changed");
        let mut members = events.iter().flat_map(|event| {
            let lists = ["joined", "updated"].map(|list| event[list].as_array().cloned().unwrap_or_default());
            lists.concat()
        });
        members.rfind(|member| member["user"] == user).filter(|member| member["status"] == status).map(drop)
    };
    let shown = waiting::poll_async(SOON, seen).await;
    assert!(shown.is_some(), "{user} is not {status}: {:?}", watcher.events_named("presence.changed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_status_is_told_and_shown_to_whoever_comes_later() {
    let (_redis, one, two) = deployment(|_| {}).await;
    let bo = watches(&two, "bo").await;
    let ada = joins(&one, "ada", json!({"data": {"a": 1}, "status": "busy"})).await;
    shows(&bo, "ada", "busy").await;
    set(&ada, json!({"status": "at-lunch"})).await;
    shows(&bo, "ada", "at-lunch").await;
    set(&ada, json!({"data": {"b": 2}})).await;
    let cy = watches(&two, "cy").await;
    let member = listed(&cy).await.remove(0);
    assert_eq!((&member["status"], &member["data"]), (&json!("at-lunch"), &json!({"a": 1, "b": 2, "name": "ada"})));
    let color = member["color"].as_str().unwrap();
    assert!(color.len() == 7 && color.starts_with('#'), "{color}");

    // Somewhere else the same person is away: what they do here counts.
    let _tab = joins(&two, "ada", json!({"status": "away"})).await;
    assert_eq!(listed(&cy).await[0]["status"], "at-lunch");
    for wrong in [json!({"status": "on air!"}), json!({"status": ""}), json!({"status": "x".repeat(33)}), json!({})] {
        let mut command = wrong.clone();
        (command["do"], command["room"]) = (json!("presence.set"), json!("lobby"));
        assert_eq!(ada.refused(command).await, "INVALID_ARGUMENT", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_told_before_a_leave_is_not_overtaken_by_it() {
    let (_redis, one, _two) = deployment(|_| {}).await;
    for _ in 0..20 {
        let ada = joins(&one, "ada", json!({})).await;
        // In one message, so that both are there at once.
        ada.send_text(concat!(
            r#"{"id":901,"do":"presence.set","room":"lobby","status":"busy"}"#,
            "\n",
            r#"{"id":902,"do":"room.leave","room":"lobby"}"#
        ));
        assert_eventually!(ada.answered().contains(&902));
        assert_eq!(ada.errors(), Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_invisible_is_shown_to_nobody() {
    let (redis, one, two) = deployment(|_| {}).await;
    let bo = watches(&two, "bo").await;
    let ada = joins(&one, "ada", json!({})).await;
    shows(&bo, "ada", "online").await;
    set(&ada, json!({"status": "invisible"})).await;
    let left = || bo.events_named("presence.changed").iter().filter(|event| event["left"] != json!([])).count();
    assert_eventually!(left() == 1);
    assert!(listed(&bo).await.is_empty());
    let asked = json!({"do": "presence.get", "room": "lobby", "users": ["ada", "nobody"]});
    let people = bo.ok(asked.clone()).await;
    let person = &people["people"][0];
    assert_eq!((&person["user"], &person["here"]), (&json!("ada"), &json!(false)));
    assert!(person["last_seen_ms"].is_u64() && person.get("status").is_none(), "{person}");
    assert_eq!(people["people"][1], json!(null));
    // Neither what they type nor where they point gives them away.
    ada.ok(json!({"do": "presence.typing", "room": "lobby", "typing": true})).await;
    ada.ok(json!({"do": "presence.cursor", "room": "lobby", "cursor": {"x": 1}})).await;
    ada.ok(json!({"do": "room.emit", "room": "lobby", "name": "end", "data": 1})).await;
    bo.expect("room.emitted").await;
    assert!(bo.events_named("presence.typing").iter().all(|event| event["users"] == json!([])));
    assert!(bo.events_named("presence.cursors").iter().all(|event| event["cursors"] == json!([])));
    assert_eq!(redis.ok(&["PRESENCE.GET", PRESENCE, "ada"]).items()[0].field("status").text(), "invisible");

    set(&ada, json!({"status": "online"})).await;
    assert_eventually!(
        bo.events_named("presence.changed").last().is_some_and(|event| event["joined"][0]["user"] == "ada")
    );
    let person = bo.ok(asked).await["people"][0].take();
    assert_eq!((&person["here"], &person["status"]), (&json!(true), &json!("online")));
    assert_eq!(left(), 1, "left and joined once each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn asking_for_people_tells_what_everybody_may_know() {
    let (redis, one, two) = deployment(|settings| settings.presence_close_grace_ms = 0).await;
    let ada = joins(&one, "ada", json!({"data": {"a": 1}})).await;
    let bo = joins(&two, "bo", json!({})).await;
    let me = connection(&redis, "ada").await;
    redis.ok(&["PRESENCE.SET", PRESENCE, &me, "PRIVATE", "{\"secret\":1}"]);
    let ask = |users: Value| bo.ok(json!({"do": "presence.get", "room": "lobby", "users": users}));
    let person = ask(json!(["ada"])).await["people"][0].take();
    assert_eq!(person["data"], json!({"a": 1, "name": "ada"}));
    let names: Vec<&str> = person.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["color", "data", "here", "since_ms", "status", "user"], "and nothing of devices or secrets");
    ada.ok(json!({"do": "room.leave", "room": "lobby"})).await;
    let gone = || redis.ok(&["PRESENCE.COUNT", PRESENCE]).int() == 1;
    assert_eventually!(gone());
    let person = ask(json!(["bo", "ada"])).await["people"][1].take();
    assert_eq!((&person["user"], &person["here"]), (&json!("ada"), &json!(false)));
    for users in [json!([]), json!(vec!["x"; 101])] {
        let asked = json!({"do": "presence.get", "room": "lobby", "users": users});
        assert_eq!(bo.refused(asked).await, "INVALID_ARGUMENT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pointers_come_gathered_and_are_shown_to_whoever_comes_later() {
    let (redis, one, two) = deployment(|_| {}).await;
    let ada = joins(&one, "ada", json!({})).await;
    let bo = watches(&two, "bo").await;
    let point = |cursor: Value| json!({"do": "presence.cursor", "room": "lobby", "cursor": cursor});
    const MOVES: usize = 500;
    for n in 1..MOVES {
        ada.send(point(json!({"x": n})));
    }
    ada.ok(point(json!({"x": MOVES}))).await;
    let last = || bo.events_named("presence.cursors").pop().map(|event| event["cursors"][0]["cursor"].clone());
    assert_eventually!(last() == Some(json!({"x": MOVES})));
    let told = bo.events_named("presence.cursors");
    assert!(told.len() < MOVES / 2, "{} announcements of {MOVES} moves", told.len());
    let me = connection(&redis, "ada").await;
    let pointer = json!({"connection": me, "user": "ada", "cursor": {"x": MOVES}});
    assert_eq!((&told.last().unwrap()["cursors"], &told.last().unwrap()["room"]), (&json!([pointer]), &json!("lobby")));

    let cy = Client::connect(two.port, &front::token("cy")).await;
    let joined = cy.ok(json!({"do": "room.join", "room": "lobby"})).await;
    assert_eq!(joined["streams"]["presence"]["cursors"], json!([pointer]));
    assert_eq!(cy.refused(point(json!(1))).await, "NOT_FOUND", "who only watches points nowhere");
    assert_eq!(ada.refused(json!({"do": "presence.cursor", "room": "lobby"})).await, "INVALID_ARGUMENT");

    ada.ok(point(json!(null))).await;
    let gone = |client: &Client| client.events_named("presence.cursors").pop().map(|event| event["gone"].clone());
    assert_eventually!(gone(&cy) == Some(json!([me])));
    ada.ok(point(json!([1, 2]))).await;
    assert_eventually!(last() == Some(json!([1, 2])));
    // It goes with its connection.
    drop(ada);
    assert_eventually!(gone(&bo) == Some(json!([me])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_kicked_out_of_a_room_is_out_of_it_and_nowhere_else() {
    let (redis, one, two) = deployment(|_| {}).await;
    let ada = joins(&one, "ada", json!({})).await;
    let tab = joins(&two, "ada", json!({})).await;
    let bo = joins(&two, "bo", json!({})).await;
    ada.ok(json!({"do": "room.join", "room": "hall"})).await;
    let kick = ["ROOM.KICK", PRESENCE, "USER", "ada", "REASON", "too loud", "BY", "mod"];
    assert_eq!(redis.ok(&kick).int(), 2);
    for client in [&ada, &tab] {
        let told = client.expect("room.kicked").await;
        assert_eq!(told, json!({"event": "room.kicked", "room": "lobby", "reason": "too loud", "by": "mod"}));
        assert_eq!(client.refused(json!({"do": "msg.post", "room": "lobby", "body": "x"})).await, "NOT_JOINED");
    }
    assert_eventually!(bo.events_named("presence.changed").iter().any(|event| event["left"][0]["user"] == "ada"));
    assert_eq!(listed(&bo).await.len(), 1);
    bo.ok(json!({"do": "msg.post", "room": "lobby", "body": "gone"})).await;
    bo.expect("msg.posted").await;
    ada.ok(json!({"do": "msg.post", "room": "hall", "body": "still here"})).await;
    ada.expect("msg.posted").await;
    assert!(bo.events_named("room.kicked").is_empty() && ada.events_named("msg.posted").len() == 1);
    // The same connection is not listed again; it may watch, and who comes anew is nobody's enemy.
    let join = json!({"do": "room.join", "room": "lobby", "presence": {}});
    assert_eq!(ada.refused(join.clone()).await, "KICKED");
    assert_eq!(ada.refused(json!({"do": "presence.list", "room": "lobby"})).await, "NOT_JOINED");
    ada.ok(json!({"do": "room.join", "room": "lobby"})).await;
    assert_eq!(listed(&ada).await.len(), 1);
    joins(&one, "ada", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_connection_can_be_kicked_and_its_user_stays() {
    let (redis, one, two) = deployment(|_| {}).await;
    let ada = joins(&one, "ada", json!({})).await;
    let me = connection(&redis, "ada").await;
    let tab = joins(&two, "ada", json!({})).await;
    assert_eq!(redis.ok(&["ROOM.KICK", PRESENCE, "CONN", &me]).int(), 1);
    assert_eq!(ada.expect("room.kicked").await, json!({"event": "room.kicked", "room": "lobby"}));
    tab.ok(json!({"do": "msg.post", "room": "lobby", "body": "x"})).await;
    tab.expect("msg.posted").await;
    assert!(tab.events_named("room.kicked").is_empty());
    assert_eq!(listed(&tab).await[0]["connections"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_kicked_everywhere_is_disconnected_and_not_listed_anywhere() {
    let (redis, one, two) = deployment(|_| {}).await;
    let ada = joins(&one, "ada", json!({})).await;
    let tab = watches(&two, "ada").await;
    let bo = watches(&two, "bo").await;
    redis.ok(&["ROOM.KICK", "stoa:{user:ada}:presence", "USER", "ada", "REASON", "logged out"]);
    for client in [&ada, &tab] {
        assert_eq!(client.expect("room.kicked").await["reason"], "logged out");
        assert_eq!(client.closed().await, (4504, "KICKED".into()));
    }
    // At once, and not after a grace.
    assert_eventually!(within Duration::from_secs(5), redis.ok(&["PRESENCE.COUNT", PRESENCE]).int() == 0);
    bo.ok(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kick_whose_event_is_lost_is_noticed_all_the_same() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let front = Front::start_with(&redis, |settings| {
        settings.redis_url = Secret::new(proxy.url());
        settings.presence_ttl_ms = 900;
    })
    .await;
    let ada = joins(&front, "ada", json!({})).await;
    let bo = joins(&front, "bo", json!({})).await;
    proxy.lose(|_, header| header.kind == Kind::Kick);
    assert_eq!(redis.ok(&["ROOM.KICK", PRESENCE, "USER", "ada"]).int(), 1);
    // The next beat finds fewer than there should be, and listing them again is refused.
    assert_eq!(ada.expect("room.kicked").await, json!({"event": "room.kicked", "room": "lobby"}));
    assert_eq!(proxy.lost(), 1);
    assert_eq!(ada.refused(json!({"do": "msg.post", "room": "lobby", "body": "x"})).await, "NOT_JOINED");

    assert_eq!(redis.ok(&["ROOM.KICK", PRESENCE, "USER", "bo"]).int(), 1);
    // Whoever comes in again before that hears it at once.
    let again = json!({"do": "room.join", "room": "lobby", "presence": {}});
    if bo.events_named("room.kicked").is_empty() {
        assert_eq!(bo.refused(again).await, "KICKED");
    }
    bo.expect("room.kicked").await;
    assert_eq!(bo.refused(json!({"do": "msg.post", "room": "lobby", "body": "x"})).await, "NOT_JOINED");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", PRESENCE]).int(), 0);
}

fn own(user: &str) -> String {
    format!("stoa:{{user:{user}}}:presence")
}

/// The devices that `client`'s user has, once there are so many.
async fn devices(client: &Client, count: usize) -> Vec<Value> {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let mut answer = client.ok(json!({"do": "devices.list"})).await;
        let devices = answer["devices"].take().as_array().unwrap().clone();
        if devices.len() == count {
            return devices;
        }
        assert!(std::time::Instant::now() < deadline, "{count} devices are not {devices:?}");
        tokio::time::sleep(waiting::PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_sees_their_devices_and_ends_one() {
    let (redis, one, two) = deployment(|settings| settings.devices = true).await;
    let ada = Client::connect(one.port, &front::token("ada")).await;
    let bo = Client::connect(one.port, &front::token("bo")).await;
    let token = format!("Bearer {}", front::token("ada"));
    let headers = [("Authorization", token.as_str()), ("User-Agent", "a \"quoted\" tablet")];
    let tablet = Events::open(two.port, "/sse", &headers).await.unwrap();
    let connected = tablet.expect("connected", |block| block.event == "connected").await;
    let id = connected.data["connection"].as_str().unwrap();

    let mine = devices(&ada, 2).await;
    let shown = mine.iter().find(|device| device["connection"] == id).unwrap();
    assert_eq!((&shown["address"], &shown["agent"]), (&json!("127.0.0.1"), &json!("a \"quoted\" tablet")));
    assert_eq!((shown["status"].as_str(), shown["since_ms"].is_u64()), (Some("online"), true));
    assert_ne!(mine[0]["node"], mine[1]["node"]);
    assert_eq!(devices(&bo, 1).await.len(), 1);

    // Nobody ends the connection of another.
    let kick = json!({"do": "devices.kick", "connection": id});
    assert_eq!(bo.refused(kick.clone()).await, "NOT_FOUND");
    ada.ok(kick.clone()).await;
    let closed = tablet.expect("closed", |block| block.event == "closed").await;
    assert_eq!(closed.data, json!({"code": 4504, "reason": "KICKED"}));
    tablet.frame("room.kicked").await;
    assert_eq!(devices(&ada, 1).await.len(), 1);
    assert_eq!(ada.refused(kick).await, "NOT_FOUND");

    // A device that goes is gone at once, however it goes.
    let phone = Client::connect(two.port, &front::token("ada")).await;
    devices(&ada, 2).await;
    drop(phone);
    devices(&ada, 1).await;
    // And one that Redis forgot comes back.
    redis.ok(&["DEL", &own("ada")]);
    devices(&ada, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn devices_are_listed_only_where_that_is_wanted() {
    let (redis, one, _) = deployment(|_| {}).await;
    let ada = Client::connect(one.port, &front::token("ada")).await;
    for command in [json!({"do": "devices.list"}), json!({"do": "devices.kick", "connection": "k"})] {
        let error = ada.ask(command.clone()).await.unwrap_err();
        assert_eq!((&error["code"], &error["retry"]), (&json!("DISABLED"), &json!(false)));
        assert_eq!(call(one.port, "ada", None, command).await.unwrap_err()["code"], "DISABLED");
    }
    assert_eq!(redis.ok(&["EXISTS", &own("ada")]).int(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_address_is_the_one_that_the_proxy_names() {
    let (_redis, one, _) = deployment(|settings| {
        settings.devices = true;
        settings.auth.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ada = Client::connect(one.port, &front::token("ada")).await;
    let token = format!("Bearer {}", front::token("ada"));
    let headers = [("Authorization", token.as_str()), ("X-Forwarded-For", "6.6.6.6, 203.0.113.9")];
    let _tablet = Events::open(one.port, "/sse", &headers).await.unwrap();
    let mine = devices(&ada, 2).await;
    assert!(mine.iter().any(|device| device["address"] == "203.0.113.9" && device["agent"] == ""), "{mine:?}");
}

/// One command in a request of its own.
async fn call(port: u16, user: &str, connection: Option<&str>, mut command: Value) -> Result<Value, Value> {
    command["id"] = json!(7);
    let token = format!("Bearer {}", front::token(user));
    let mut headers = vec![("Authorization", token.as_str())];
    headers.extend(connection.map(|id| ("Stoa-Connection", id)));
    let mut frame = request(port, "POST /rpc", &headers, &command.to_string()).await.frames().remove(0);
    if frame.get("ok").is_some() { Ok(frame["ok"].take()) } else { Err(frame["error"].take()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_only_listens_sets_and_points_by_requests() {
    let (_redis, one, two) = deployment(|settings| settings.devices = true).await;
    let bo = watches(&one, "bo").await;
    let token = format!("Bearer {}", front::token("ada"));
    let target = "/sse?resume=%7B%22lobby%22:%7B%22presence%22:%7B%22status%22:%22busy%22%7D%7D%7D";
    let ada = Events::open(one.port, target, &[("Authorization", &token)]).await.unwrap();
    let connected = ada.expect("connected", |block| block.event == "connected").await;
    let me = connected.data["connection"].as_str();
    shows(&bo, "ada", "busy").await;
    let lobby = |mut command: Value| {
        command["room"] = json!("lobby");
        command
    };
    call(two.port, "ada", me, lobby(json!({"do": "presence.set", "status": "reading"}))).await.unwrap();
    shows(&bo, "ada", "reading").await;
    let point = lobby(json!({"do": "presence.cursor", "cursor": "here"}));
    assert_eq!(call(two.port, "ada", None, point.clone()).await.unwrap_err()["code"], "INVALID_ARGUMENT");
    call(two.port, "ada", me, point).await.unwrap();
    assert_eq!(bo.expect("presence.cursors").await["cursors"][0]["cursor"], "here");
    let people = call(two.port, "cy", None, lobby(json!({"do": "presence.get", "users": ["ada"]}))).await.unwrap();
    assert_eq!(people["people"][0]["status"], "reading");
    let devices = call(two.port, "ada", None, json!({"do": "devices.list"})).await.unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_does_nothing_for_long_is_away_and_back_with_the_next_command() {
    let (redis, one, two) = deployment(|settings| settings.away_after_ms = 600).await;
    let bo = watches(&two, "bo").await;
    let ada = joins(&one, "ada", json!({"status": "busy"})).await;
    shows(&bo, "ada", "busy").await;
    // Signs of life are no activity.
    while listed(&bo).await[0]["status"] == "busy" {
        ada.ok(json!({"do": "ping"})).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shows(&bo, "ada", "away").await;
    ada.ok(json!({"do": "msg.post", "room": "lobby", "body": "back"})).await;
    shows(&bo, "ada", "busy").await;
    shows(&bo, "ada", "away").await;
    // What Redis forgets meanwhile is told again as it is.
    set(&ada, json!({"status": "reading"})).await;
    shows(&bo, "ada", "reading").await;
    shows(&bo, "ada", "away").await;
    set(&ada, json!({"status": "invisible"})).await;
    let hidden = || redis.ok(&["PRESENCE.GET", PRESENCE, "ada"]).items()[0].field("status").text();
    assert_eventually!(hidden() == "invisible");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(hidden(), "invisible", "who hides stays hidden");
}
