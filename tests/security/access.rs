//! Who may do what: every command with every role, rooms of others, and rights that end while somebody is inside.

#[path = "access/matrix.rs"]
mod matrix;
#[path = "access/revocation.rs"]
mod revocation;

use serde_json::{Value, json};
use stoa_front::access::Role;
use stoa_harness::http::{Events, request};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, assert_eventually, front};

/// A front that knows two roles of the operator beside the built-in ones.
async fn front_with_roles(redis: &Redis) -> Front {
    Front::start_with(redis, |settings| {
        let role = |text: &str| text.parse::<Role>().unwrap();
        settings.access.own_roles = vec![role("reviewer=read+talk"), role("auditor=read+manage")];
    })
    .await
}

/// A token that opens these rooms.
fn token(user: &str, rooms: Value) -> String {
    front::token_with(json!({"sub": user, "name": user, "rooms": rooms}))
}

async fn connects(front: &Front, user: &str, rooms: Value) -> Client {
    Client::connect(front.port, &token(user, rooms)).await
}

async fn joins(front: &Front, user: &str, rooms: Value, room: &str) -> (Client, Value) {
    let client = connects(front, user, rooms).await;
    let joined = client.ok(json!({"do": "room.join", "room": room, "presence": {"data": {}}})).await;
    (client, joined)
}

/// One command over `/rpc`: its answer, `ok` or `error` in it.
async fn rpc(front: &Front, token: &str, mut command: Value) -> Value {
    command["id"] = json!(1);
    let bearer = format!("Bearer {token}");
    let answer = request(front.port, "POST /rpc", &[("Authorization", &bearer)], &command.to_string()).await;
    answer.frames().remove(0)
}

/// What `/sse` first says.
async fn listens(front: &Front, token: &str, room: &str) -> (Events, Value) {
    let bearer = format!("Bearer {token}");
    let target = format!("/sse?resume=%7B%22{room}%22:%7B%7D%7D");
    let events = Events::open(front.port, &target, &[("Authorization", &bearer)]).await.unwrap();
    let connected = events.expect("connected", |block| block.event == "connected").await;
    (events, connected.data["rooms"][room].clone())
}

fn list_of(room: &str) -> String {
    format!("stoa:{{{room}}}:access")
}

fn grant(redis: &Redis, room: &str, user: &str, role: &str) {
    redis.ok(&["ROOM.GRANT", &list_of(room), user, role]);
}

fn is_listed(redis: &Redis, room: &str, user: &str) -> bool {
    let people = redis.ok(&["PRESENCE.GET", &format!("stoa:{{{room}}}:presence"), user]);
    people.items()[0].field_if_any("here").is_some_and(|here| here.int() == 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forbidden_room_and_an_unknown_one_answer_the_same() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let (bo, _) = joins(&front, "bo", json!({"secret": "owner"}), "secret").await;
    bo.ok(json!({"do": "msg.post", "room": "secret", "body": "for nobody else"})).await;
    bo.ok(json!({"do": "doc.open", "room": "secret", "doc": "main", "create": {"type": "text", "content": "hidden"}}))
        .await;
    let rooms = json!({"lobby": "editor"});
    let ada = connects(&front, "ada", rooms.clone()).await;
    let ada_token = token("ada", rooms);
    let answers = async |room: &str| {
        let mut answers = Vec::new();
        for command in [
            json!({"do": "room.join", "room": room}),
            json!({"do": "room.join", "room": room, "presence": {"data": {}}, "positions": {"doc:main": null}}),
            json!({"do": "room.leave", "room": room}),
            json!({"do": "doc.open", "room": room, "doc": "main"}),
            json!({"do": "doc.close", "room": room, "doc": "main"}),
        ] {
            answers.push(ada.ask(command).await);
        }
        for (_, command) in matrix::commands(room) {
            answers.push(ada.ask(command.clone()).await);
            let frame = rpc(&front, &ada_token, command).await;
            assert_eq!(frame["error"]["code"], "PERMISSION_DENIED", "{frame}");
            answers.push(Err(frame["error"].clone()));
        }
        let (_events, joined) = listens(&front, &ada_token, room).await;
        assert_eq!(joined["error"]["code"], "PERMISSION_DENIED");
        answers.push(Err(joined["error"].clone()));
        answers
    };
    let (forbidden, unknown) = (answers("secret").await, answers("there-is-no-such-room").await);
    assert_eq!(forbidden, unknown);
    assert!(forbidden.iter().all(Result::is_err), "{forbidden:?}");
    assert!(!format!("{forbidden:?}{:?}", ada.events()).contains("hidden"));
    assert!(!is_listed(&redis, "secret", "ada"), "not even for a moment");
    assert!(bo.events_named("presence.changed").iter().all(|event| !event.to_string().contains("ada")));
    let left_behind = redis.ok(&["KEYS", "*there-is-no-such-room*"]).texts();
    assert!(left_behind.is_empty(), "asking makes no room: {left_behind:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_personal_room_is_its_users_alone_whatever_token_and_list_say() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    grant(&redis, "user:bo", "ada", "owner");
    grant(&redis, "user:bo", "*", "owner");
    grant(&redis, "user:ada", "ada", "none");
    let rooms = json!({"*": "owner", "user:*": "owner", "user:bo": "owner"});
    let ada = connects(&front, "ada", rooms.clone()).await;
    let denied = |answer: Result<Value, Value>| assert_eq!(answer.unwrap_err()["code"], "PERMISSION_DENIED");
    denied(ada.ask(json!({"do": "room.join", "room": "user:bo"})).await);
    for (_, command) in matrix::commands("user:bo") {
        denied(ada.ask(command.clone()).await);
        let frame = rpc(&front, &token("ada", rooms.clone()), command).await;
        assert_eq!(frame["error"]["code"], "PERMISSION_DENIED", "{frame}");
    }
    let (_events, joined) = listens(&front, &token("ada", rooms), "user:bo").await;
    assert_eq!(joined["error"]["code"], "PERMISSION_DENIED");
    // In one's own one may talk and edit, even if a list says no; and nobody manages it.
    ada.ok(json!({"do": "msg.post", "room": "user:ada", "body": "note"})).await;
    denied(ada.ask(json!({"do": "room.grant", "room": "user:ada", "user": "bo", "role": "viewer"})).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_a_name_that_begins_like_another_gets_nothing_of_theirs() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let (one, _) = joins(&front, "1", json!({"lobby": "viewer"}), "lobby").await;
    let (twelve, _) = joins(&front, "12", json!({"lobby": "viewer"}), "lobby").await;
    grant(&redis, "lobby", "12", "owner");
    assert_eq!(twelve.expect("room.access").await["role"], "owner");
    twelve.ok(json!({"do": "room.emit", "room": "lobby", "name": "secret", "data": 12, "to": {"user": "12"}})).await;
    redis.ok(&["ROOM.EMIT", "stoa:{lobby}:room", "secret", "12", "TO", "USER", "12"]);
    twelve.expect("room.emitted").await;
    assert_eq!(one.refused(json!({"do": "room.join", "room": "user:12"})).await, "PERMISSION_DENIED");
    redis.ok(&["ROOM.REVOKE", &list_of("lobby"), "1"]);
    assert_eq!(one.expect("room.access").await["role"], "none", "the first that is said to 1 at all");
    assert!(one.events_named("room.emitted").is_empty());
    // And the other way round: 12 is not out because 1 is.
    twelve.ok(json!({"do": "msg.range", "room": "lobby"})).await;
    assert_eq!(twelve.events_named("room.access").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_manages_gives_no_more_than_they_have() {
    let redis = Redis::start();
    let front = front_with_roles(&redis).await;
    grant(&redis, "lobby", "mo", "auditor");
    let (mo, joined) = joins(&front, "mo", json!({}), "lobby").await;
    assert_eq!((joined["role"].as_str(), &joined["actions"]), (Some("auditor"), &json!(["read", "manage"])));
    let gives = |role: &str| json!({"do": "room.grant", "room": "lobby", "user": "mo", "role": role});
    for role in ["owner", "editor", "commenter", "reviewer", "talk", "read+edit"] {
        assert_eq!(mo.refused(gives(role)).await, "PERMISSION_DENIED", "{role}");
        let frame = rpc(&front, &token("mo", json!({})), gives(role)).await;
        assert_eq!(frame["error"]["code"], "PERMISSION_DENIED", "{role}");
    }
    for role in ["", "boss", "Owner", "viewer+talk", "read+", "rw"] {
        assert_eq!(mo.refused(gives(role)).await, "INVALID_ARGUMENT", "{role}");
    }
    let entry = redis.ok(&["ROOM.ACCESS", &list_of("lobby"), "USER", "mo"]).field("entries").items()[0].clone();
    assert_eq!(entry.field("role").text(), "auditor");
    let given =
        mo.ok(json!({"do": "room.grant", "room": "lobby", "user": "bo", "role": "viewer", "ttl_ms": 60_000})).await;
    assert_eq!(given["changed"], true);
    let entry = redis.ok(&["ROOM.ACCESS", &list_of("lobby"), "USER", "bo"]).field("entries").items()[0].clone();
    assert_eq!((entry.field("role").text(), entry.field("by").text()), ("viewer".into(), "mo".into()));
    let (bo, _) = joins(&front, "bo", json!({}), "lobby").await;
    let kicked = mo.ok(json!({"do": "room.kick", "room": "lobby", "who": {"user": "bo"}, "reason": "enough"})).await;
    assert_eq!(kicked["connections"], 1);
    assert_eq!(bo.expect("room.kicked").await["by"], "mo");
    let long = "x".repeat(257);
    let kick = json!({"do": "room.kick", "room": "lobby", "who": {"user": "bo"}, "reason": long});
    assert_eq!(mo.refused(kick).await, "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_said_of_everybody_opens_a_room_and_closes_it() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let ada = connects(&front, "ada", json!({})).await;
    let join = json!({"do": "room.join", "room": "hall"});
    assert_eq!(ada.refused(join.clone()).await, "PERMISSION_DENIED");
    grant(&redis, "hall", "*", "commenter");
    assert_eq!(ada.ok(join.clone()).await["role"], "commenter");
    let (bo, joined) = joins(&front, "bo", json!({"hall": "edit"}), "hall").await;
    assert_eq!(joined["role"], "editor", "what the token says is added");
    grant(&redis, "hall", "*", "viewer");
    assert_eq!(ada.expect("room.access").await["actions"], json!(["read"]));
    assert_eq!(bo.expect("room.access").await["role"], "read+edit");
    grant(&redis, "hall", "bo", "owner");
    assert_eq!(bo.expect("room.access").await["role"], "owner");
    redis.ok(&["ROOM.REVOKE", &list_of("hall"), "*", "FORGET"]);
    assert_eq!(ada.expect("room.access").await["role"], "none");
    assert_eq!(ada.refused(join).await, "PERMISSION_DENIED");
    bo.ok(json!({"do": "msg.range", "room": "hall"})).await;
    assert_eventually!(!is_listed(&redis, "hall", "ada") && is_listed(&redis, "hall", "bo"));
}
