//! Every command with every role, by token and by the room's list, over a WebSocket and in plain requests.

use super::{Front, Redis, front_with_roles, grant, joins, listens, rpc, token};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every command about a room that needs to be in it, each with the action that it takes.
pub(super) fn commands(room: &str) -> Vec<(&'static str, Value)> {
    let with = |action: &'static str, mut command: Value| {
        command["room"] = json!(room);
        (action, command)
    };
    let doc = |action: &'static str, mut command: Value| {
        command["doc"] = json!("main");
        with(action, command)
    };
    vec![
        with("talk", json!({"do": "room.emit", "name": "wave", "data": 1})),
        with("manage", json!({"do": "room.grant", "user": "zoe", "role": "none"})),
        with("manage", json!({"do": "room.revoke", "user": "zoe"})),
        with("manage", json!({"do": "room.kick", "who": {"user": "zoe"}})),
        with("talk", json!({"do": "msg.post", "body": "hi"})),
        with("talk", json!({"do": "msg.edit", "n": 1, "body": "ho"})),
        with("talk", json!({"do": "msg.react", "n": 1, "reaction": "+1"})),
        with("talk", json!({"do": "msg.unreact", "n": 1, "reaction": "+1"})),
        with("talk", json!({"do": "msg.append", "n": 2, "chunk": "more"})),
        with("talk", json!({"do": "msg.cancel", "n": 2})),
        with("talk", json!({"do": "msg.finish", "n": 2})),
        with("read", json!({"do": "msg.read", "n": 1})),
        with("read", json!({"do": "msg.unread"})),
        with("read", json!({"do": "msg.range"})),
        with("read", json!({"do": "msg.history", "n": 1})),
        with("talk", json!({"do": "msg.delete", "n": 1})),
        doc("edit", json!({"do": "doc.submit", "rev": 1, "op": ["x"]})),
        doc("edit", json!({"do": "doc.undo", "client": "c1"})),
        doc("edit", json!({"do": "doc.tag", "name": "v2"})),
        doc("edit", json!({"do": "doc.restore", "name": "v1"})),
        doc("read", json!({"do": "doc.get"})),
        doc("read", json!({"do": "doc.ops", "from": 1})),
        doc("read", json!({"do": "doc.info"})),
        doc("read", json!({"do": "doc.cursor", "rev": 1, "cursor": {"anchor": 0, "head": 0}})),
        with("read", json!({"do": "presence.set", "status": "busy"})),
        with("read", json!({"do": "presence.list"})),
        with("read", json!({"do": "presence.get", "users": ["bo"]})),
        with("read", json!({"do": "presence.cursor", "cursor": [1, 2]})),
        with("talk", json!({"do": "presence.typing", "typing": true})),
    ]
}

/// A room with a message and a streaming one of the user, and a document that they wrote in.
fn furnish(redis: &Redis, room: &str, user: &str) {
    let key = |stream: &str| format!("stoa:{{{room}}}:{stream}");
    redis.ok(&["MSG.POST", &key("log"), user, "\"first\""]);
    redis.ok(&["MSG.POST", &key("log"), user, "\"\"", "STREAMING"]);
    redis.ok(&["DOC.CREATE", &key("doc:main"), "text", "text"]);
    redis.ok(&["DOC.SUBMIT", &key("doc:main"), "0", "[\"a\"]", "ID", "c1", "1", "BY", user, "k1"]);
    redis.ok(&["DOC.TAG", &key("doc:main"), "v1"]);
}

const ROLES: &[(&str, &[&str])] = &[
    ("none", &[]),
    ("viewer", &["read"]),
    ("commenter", &["read", "talk"]),
    ("editor", &["read", "talk", "edit"]),
    ("owner", &["read", "talk", "edit", "manage"]),
    ("reviewer", &["read", "talk"]),
    ("auditor", &["read", "manage"]),
    ("read+edit", &["read", "edit"]),
    ("talk", &["talk"]),
    ("rw", &["read", "talk", "edit"]),
    ("r", &["read"]),
];

#[test]
fn the_table_has_every_command_about_a_room() {
    let schema = stoa_front::frame::schema().to_string();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut named = BTreeSet::new();
    collect(&schema, &mut named);
    assert!(named.contains("msg.post") && named.contains("room.join"), "{named:?}");
    // These say what the connection is part of, or are about no room; they have stories of their own.
    for apart in ["connect", "ping", "room.join", "room.leave", "doc.open", "doc.close"] {
        assert!(named.remove(apart), "{apart}");
    }
    named.retain(|name| !name.starts_with("devices.") && !name.starts_with("auth."));
    let table: BTreeSet<String> =
        commands("x").iter().map(|(_, command)| command["do"].as_str().unwrap().to_owned()).collect();
    assert_eq!(table, named);
}

/// The values that `do` may have.
fn collect(schema: &Value, named: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = fields.get("do").and_then(|it| it["const"].as_str()) {
                named.insert(name.to_owned());
            }
            fields.values().for_each(|value| collect(value, named));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, named)),
        _ => {}
    }
}

/// What a command was answered with: `ok`, or the code.
fn outcome(answer: &Result<Value, Value>) -> String {
    match answer {
        Ok(_) => "ok".into(),
        Err(error) => error["code"].as_str().unwrap_or("?").into(),
    }
}

async fn plays(front: &Front, redis: &Redis, role: &str, allowed: &[&str], by_list: bool) {
    let room = format!("room-{}-{}", role.replace('+', "."), if by_list { "list" } else { "token" });
    furnish(redis, &room, "ada");
    // What the other one says must not matter where the list has an entry.
    let rooms = if by_list { json!({"*": "owner"}) } else { json!({(room.as_str()): role}) };
    if by_list {
        grant(redis, &room, "ada", role);
    }
    let bearer = token("ada", rooms.clone());
    let expected = |action: &str| if allowed.contains(&action) { "ok" } else { "PERMISSION_DENIED" };
    let what = |command: &Value| format!("{role} by list: {by_list}, {command}");

    if !allowed.contains(&"read") {
        let ada = super::connects(front, "ada", rooms).await;
        for join in [json!({"do": "room.join", "room": room}), json!({"do": "room.join", "room": room, "presence": {}})]
        {
            assert_eq!(ada.refused(join).await, "PERMISSION_DENIED", "{role}");
        }
        for (action, command) in commands(&room) {
            let code = outcome(&ada.ask(command.clone()).await);
            assert!(["PERMISSION_DENIED", "NOT_JOINED"].contains(&code.as_str()), "{code}: {}", what(&command));
            // Plain requests need no join: there the action alone counts.
            if !command["do"].as_str().unwrap().starts_with("presence.") && command["do"] != "doc.cursor" {
                let frame = rpc(front, &bearer, command.clone()).await;
                let code = frame["error"]["code"].as_str().unwrap_or("ok").to_owned();
                assert_eq!(code, expected(action), "/rpc, {}", what(&command));
            }
        }
        let (_events, joined) = listens(front, &bearer, &room).await;
        assert_eq!(joined["error"]["code"], "PERMISSION_DENIED", "/sse, {role}");
        return;
    }

    let (ada, joined) = joins(front, "ada", rooms, &room).await;
    assert_eq!(joined["actions"], json!(allowed), "{role}");
    let (events, joined) = listens(front, &bearer, &room).await;
    assert_eq!(joined["actions"], json!(allowed), "/sse, {role}");
    drop(events);
    let open = |name: &str, more: Value| {
        let mut open = json!({"do": "doc.open", "room": room, "doc": name});
        open.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        open
    };
    assert_eq!(outcome(&ada.ask(open("main", json!({}))).await), "ok");
    let create = json!({"create": {"type": "text", "content": ""}});
    assert_eq!(outcome(&ada.ask(open("new", create)).await), expected("edit"), "{role} creates");
    assert_eq!(outcome(&ada.ask(json!({"do": "doc.close", "room": room, "doc": "main"})).await), "ok");
    for (action, command) in commands(&room) {
        assert_eq!(outcome(&ada.ask(command.clone()).await), expected(action), "{}", what(&command));
    }
    // The same in plain requests, in a room as it was before.
    redis.ok(&["DEL", &format!("stoa:{{{room}}}:log"), &format!("stoa:{{{room}}}:doc:main")]);
    furnish(redis, &room, "ada");
    for (action, command) in commands(&room) {
        let needs_connection = ["presence.set", "presence.typing", "presence.cursor", "doc.cursor"];
        let frame = rpc(front, &bearer, command.clone()).await;
        let code = frame["error"]["code"].as_str().unwrap_or("ok");
        let is_about_one = needs_connection.contains(&command["do"].as_str().unwrap());
        let right = if is_about_one && expected(action) == "ok" { "INVALID_ARGUMENT" } else { expected(action) };
        assert_eq!(code, right, "/rpc, {}", what(&command));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_command_takes_its_action_and_no_other() {
    let redis = Redis::start();
    let front = front_with_roles(&redis).await;
    for (role, allowed) in ROLES {
        plays(&front, &redis, role, allowed, false).await;
        // Only tokens know the short forms.
        if *role != "r" && *role != "rw" {
            plays(&front, &redis, role, allowed, true).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_role_that_nobody_knows_allows_nothing() {
    let redis = Redis::start();
    let front = front_with_roles(&redis).await;
    plays(&front, &redis, "superuser", &[], true).await;
    let client = stoa_harness::socket::Client::open(front.port).await;
    let bearer = token("ada", json!({"lobby": "superuser"}));
    assert_eq!(client.refused(json!({"do": "connect", "token": bearer})).await, "AUTH_INVALID");
}
