//! Without WebSockets: whoever listens over `/sse` and speaks over `/rpc` misses nothing and gets nothing twice.
#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::time::Duration;
use stoa_front::Settings;
use stoa_harness::http::{Answer, Block, Events, request};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, assert_eventually, front};

/// The target of a stream of these rooms.
fn target(resume: &Value) -> String {
    let text = resume.to_string();
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    format!("/sse?resume={}", escaped.collect::<String>())
}

fn bearer(user: &str) -> String {
    format!("Bearer {}", front::token(user))
}

async fn listens(port: u16, user: &str, resume: Value) -> Events {
    let token = bearer(user);
    Events::open(port, &target(&resume), &[("Authorization", &token)]).await.unwrap()
}

/// The id that the stream gave its connection.
async fn connection(events: &Events) -> String {
    let connected = events.expect("connected", |block| block.event == "connected").await;
    connected.data["connection"].as_str().unwrap().to_owned()
}

async fn post(port: u16, user: &str, connection: Option<&str>, frames: &[Value]) -> Answer {
    let body: Vec<String> = frames.iter().map(Value::to_string).collect();
    let token = bearer(user);
    let mut headers = vec![("Authorization", token.as_str())];
    headers.extend(connection.map(|id| ("Stoa-Connection", id)));
    request(port, "POST /rpc", &headers, &body.join("\n")).await
}

/// One command in one request: its `ok`, or its error.
async fn call(port: u16, user: &str, connection: Option<&str>, mut command: Value) -> Result<Value, Value> {
    command["id"] = json!(7);
    let answer = post(port, user, connection, &[command]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let mut frame = answer.frames().remove(0);
    assert_eq!(frame["id"], 7);
    if frame.get("ok").is_some() { Ok(frame["ok"].take()) } else { Err(frame["error"].take()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_listener_gets_what_a_member_with_a_websocket_gets() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let ada = Client::connect(one.port, &front::token("ada")).await;
    ada.ok(json!({"do": "room.join", "room": "lobby", "presence": {"data": {}}})).await;
    let create = json!({"type": "text", "content": ""});
    ada.ok(json!({"do": "doc.open", "room": "lobby", "doc": "d", "create": create})).await;
    let cy = Client::connect(two.port, &front::token("cy")).await;
    cy.ok(json!({"do": "room.join", "room": "lobby", "positions": {"doc:d": null}})).await;
    let resume = json!({"lobby": {"positions": {"doc:d": null}, "presence": {"data": {"mood": "ok"}}}});
    let bo = listens(two.port, "bo", resume).await;
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(bo.header(name), Some(value));
    }
    let connected = bo.expect("connected", |block| block.event == "connected").await;
    assert_eq!((&connected.data["user"], bo.blocks()[0].event.as_str()), (&json!("bo"), "connected"));
    let streams = &connected.data["rooms"]["lobby"]["streams"];
    assert_eq!((&streams["log"]["outcome"], &streams["doc:d"]["content"]), (&json!("snapshot"), &json!("")));
    assert_eventually!(redis.ok(&["PRESENCE.COUNT", "stoa:{lobby}:presence"]).int() == 2);

    let lobby = |mut command: Value| {
        command["room"] = json!("lobby");
        command
    };
    for n in 1..=20 {
        ada.ok(lobby(json!({"do": "msg.post", "body": format!("m{n}")}))).await;
        ada.ok(lobby(json!({"do": "doc.submit", "doc": "d", "rev": n - 1, "op": ["x"]}))).await;
    }
    ada.ok(lobby(json!({"do": "msg.edit", "n": 3, "body": "edited"}))).await;
    ada.ok(lobby(json!({"do": "presence.typing", "typing": true}))).await;
    ada.ok(lobby(json!({"do": "room.emit", "name": "wave", "data": {"last": true}}))).await;
    for client in [&cy] {
        client.expect("room.emitted").await;
    }
    bo.frame("room.emitted").await;
    let of = |events: Vec<Value>, stream: &str| -> Vec<Value> {
        events.into_iter().filter(|event| event["stream"] == stream && event["event"] != "doc.cursors").collect()
    };
    let frames = || bo.blocks().into_iter().skip(1).map(|block| block.data).collect::<Vec<_>>();
    for stream in ["log", "doc:d"] {
        assert_eq!(of(frames(), stream), of(cy.events(), stream), "{stream}");
    }
    assert_eq!(of(frames(), "log").len(), 21);
    bo.frame("presence.typing").await;
}

/// What somebody has who listens, is cut, and goes on from the last id.
#[derive(Default)]
struct Reader {
    said: Vec<u64>,
    id: Option<String>,
}

impl Reader {
    fn take(&mut self, block: &Block) {
        let log = &block.data["rooms"]["lobby"]["streams"]["log"];
        let missed = log["events"].as_array().into_iter().flatten();
        let whole = log["messages"].as_array().into_iter().flatten();
        self.said.extend(missed.map(|event| event["message"]["n"].as_u64().unwrap()));
        self.said.extend(whole.map(|message| message["n"].as_u64().unwrap()));
        if block.data["event"] == "msg.posted" {
            self.said.push(block.data["message"]["n"].as_u64().unwrap());
        }
        if let Some(id) = &block.id {
            self.id = Some(id.clone());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_any_number_of_cuts_each_message_has_come_once() {
    const MESSAGES: u64 = 400;
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let redis = Redis::start();
    let fronts = [Front::start(&redis).await, Front::start(&redis).await];
    let ada = Client::connect(fronts[0].port, &front::token("ada")).await;
    ada.ok(json!({"do": "room.join", "room": "lobby"})).await;
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let speaking = tokio::spawn(async move {
        begun.await.unwrap();
        for n in 1..=MESSAGES {
            ada.ok(json!({"do": "msg.post", "room": "lobby", "body": format!("m{n}")})).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    let mut begin = Some(begin);
    let mut reader = Reader::default();
    let mut cuts = 0;
    let token = bearer("bo");
    while reader.said.last() != Some(&MESSAGES) {
        let id = reader.id.clone().unwrap_or_default();
        let mut headers = vec![("Authorization", token.as_str()), ("Accept", "text/event-stream")];
        headers.extend(reader.id.is_some().then_some(("Last-Event-ID", id.as_str())));
        // The address says what was held at the very first: the id knows better.
        let target = target(&json!({"lobby": {"positions": {"log": null}}}));
        let stream = Events::open(fronts[cuts % 2].port, &target, &headers).await.unwrap();
        stream.expect("connected", |block| block.event == "connected").await;
        if let Some(begin) = begin.take() {
            begin.send(()).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..60))).await;
        stream.blocks().iter().for_each(|block| reader.take(block));
        cuts += 1;
        assert!(cuts < 2_000, "it does not come to an end: {:?}", reader.said.last());
    }
    speaking.await.unwrap();
    assert_eq!(reader.said, (1..=MESSAGES).collect::<Vec<_>>(), "after {cuts} cuts, seed {seed}");
    assert!(cuts > 10, "{cuts} cuts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_silent_stream_shows_that_it_lives() {
    let redis = Redis::start();
    let quick = |settings: &mut Settings| {
        settings.sse_heartbeat_ms = 50;
        (settings.ping_interval_ms, settings.pong_timeout_ms) = (100, 100);
    };
    let front = Front::start_with(&redis, quick).await;
    let stream = listens(front.port, "ada", json!({})).await;
    // Longer than a WebSocket without a sign of life would last.
    assert_eventually!(stream.comments() >= 10);
    assert_eq!(stream.blocks().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_go_to_any_front() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let bo = listens(one.port, "bo", json!({"lobby": {"presence": {"data": {}}}})).await;
    let me = connection(&bo).await;
    let posted = json!({"do": "msg.post", "room": "lobby", "body": "hi", "client": "t", "seq": 1});
    assert_eq!(call(two.port, "bo", None, posted.clone()).await.unwrap()["n"], 1);
    assert_eq!(call(one.port, "bo", None, posted).await.unwrap()["duplicate"], true);
    assert_eq!(bo.frame("msg.posted").await["message"]["user"], "bo");

    let set = json!({"do": "presence.set", "room": "lobby", "data": {"mood": "fine"}});
    assert_eq!(call(two.port, "bo", None, set.clone()).await.unwrap_err()["code"], "INVALID_ARGUMENT");
    call(two.port, "bo", Some(&me), set.clone()).await.unwrap();
    bo.expect("the change", |block| block.data["updated"][0]["data"]["mood"] == "fine").await;
    assert_eq!(bo.frame("presence.changed").await["room"], "lobby");
    call(two.port, "bo", Some(&me), json!({"do": "presence.typing", "room": "lobby", "typing": true})).await.unwrap();
    assert_eq!(bo.frame("presence.typing").await["users"], json!(["bo"]));

    redis.ok(&["DOC.CREATE", "stoa:{lobby}:doc:d", "text", "abc"]);
    let cursor = json!({"do": "doc.cursor", "room": "lobby", "doc": "d", "rev": 0, "cursor": {"anchor": 1, "head": 2}});
    call(two.port, "bo", Some(&me), cursor.clone()).await.unwrap();
    let cursors = || redis.ok(&["DOC.INFO", "stoa:{lobby}:doc:d"]).field("cursors").int();
    assert_eq!(cursors(), 1);

    // Somebody else's connection, or one of another kind, is nobody's.
    let ws = Client::open(one.port).await;
    let other = ws.ok(json!({"do": "connect", "token": front::token("eve")})).await["connection"].clone();
    for connection in [me.as_str(), other.as_str().unwrap(), "k", "nonsense"] {
        for command in [&set, &cursor] {
            let error = call(two.port, "eve", Some(connection), command.clone()).await.unwrap_err();
            assert_eq!(error["code"], "NOT_FOUND", "{connection} {command}");
        }
    }
    assert_eq!(cursors(), 1);

    for command in [
        json!({"do": "room.join", "room": "lobby"}),
        json!({"do": "room.leave", "room": "lobby"}),
        json!({"do": "doc.open", "room": "lobby", "doc": "d"}),
        json!({"do": "connect"}),
    ] {
        let error = call(one.port, "bo", None, command).await.unwrap_err();
        assert_eq!(error["code"], "INVALID_ARGUMENT");
        assert!(error["message"].as_str().unwrap().contains("/sse"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_frames_are_answered_in_order_and_many_are_too_many() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let frames: Vec<Value> = (1..=30)
        .map(|n| match n % 3 {
            0 => json!({"id": n, "do": "no.such"}),
            _ => json!({"id": n, "do": "msg.post", "room": "lobby", "body": n.to_string()}),
        })
        .collect();
    let answer = post(front.port, "ada", None, &frames).await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let ids: Vec<u64> = answer.frames().iter().map(|frame| frame["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=30).collect::<Vec<_>>());
    let said: Vec<Value> =
        answer.frames().into_iter().filter_map(|frame| frame.get("ok").map(|ok| ok["n"].clone())).collect();
    assert_eq!(said, (1..=20).map(|n| json!(n)).collect::<Vec<_>>(), "carried out in their order");

    let many: Vec<Value> = (0..33).map(|id| json!({"id": id, "do": "ping"})).collect();
    let answer = post(front.port, "ada", None, &many).await;
    assert_eq!((answer.status, &answer.frames()[0]["error"]["code"]), (413, &json!("TOO_LARGE")));
    assert_eq!(post(front.port, "ada", None, &[]).await.status, 400);
    let large = json!({"id": 1, "do": "msg.post", "room": "lobby", "body": "x".repeat(1024 * 1024)});
    assert_eq!(post(front.port, "ada", None, &[large]).await.status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_good_token_nothing_is_answered() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let forged = format!("{}x", bearer("ada"));
    for headers in [vec![], vec![("Authorization", "Bearer nonsense")], vec![("Authorization", forged.as_str())]] {
        let refused = Events::open(front.port, "/sse", &headers).await.err().unwrap();
        assert_eq!(refused.status, 401);
        assert!(refused.frames()[0]["error"]["code"].as_str().unwrap().starts_with("AUTH_"));
        assert_eq!(request(front.port, "POST /rpc", &headers, "{\"id\":1,\"do\":\"ping\"}").await.status, 401);
    }
    // A token in an address is taken only where that is wanted.
    let in_query = format!("/sse?token={}", front::token("ada"));
    assert_eq!(Events::open(front.port, &in_query, &[]).await.err().unwrap().status, 401);
    let lax = Front::start_with(&redis, |settings| settings.auth.token_in_query = true).await;
    Events::open(lax.port, &in_query, &[]).await.unwrap();

    let reader = format!("Bearer {}", front::token_with(json!({"sub": "ada", "rooms": {"lobby": "r"}})));
    let headers = [("Authorization", reader.as_str())];
    let posted =
        request(front.port, "POST /rpc", &headers, r#"{"id":1,"do":"msg.post","room":"lobby","body":"x"}"#).await;
    assert_eq!(posted.frames()[0]["error"]["code"], "PERMISSION_DENIED");
    let ranged = request(front.port, "POST /rpc", &headers, r#"{"id":1,"do":"msg.range","room":"secret"}"#).await;
    assert_eq!(ranged.frames()[0]["error"]["code"], "PERMISSION_DENIED");
    let stream = Events::open(front.port, &target(&json!({"secret": {}})), &headers).await.unwrap();
    let connected = stream.expect("connected", |block| block.event == "connected").await;
    assert_eq!(connected.data["rooms"]["secret"]["error"]["code"], "PERMISSION_DENIED");

    let rooms: serde_json::Map<String, Value> = (0..21).map(|n| (format!("r{n}"), json!({}))).collect();
    let refused = Events::open(front.port, &target(&rooms.into()), &headers).await.err().unwrap();
    assert_eq!((refused.status, &refused.frames()[0]["error"]["code"]), (413, &json!("TOO_LARGE")));
    let refused = Events::open(front.port, "/sse?resume=[", &headers).await.err().unwrap();
    assert_eq!(refused.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_a_name_that_begins_like_another_gets_nothing_of_theirs() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let one = listens(front.port, "1", json!({"lobby": {}})).await;
    let twelve = listens(front.port, "12", json!({"lobby": {}})).await;
    let (_, twelves) = (connection(&one).await, connection(&twelve).await);
    let emit = |name: &str, to: Value| json!({"do": "room.emit", "room": "lobby", "name": name, "data": 1, "to": to});
    call(front.port, "ada", None, emit("secret", json!({"user": "12"}))).await.unwrap();
    call(front.port, "ada", None, emit("secret", json!({"connection": twelves}))).await.unwrap();
    redis.ok(&["ROOM.EMIT", "stoa:{user:12}:log", "secret", "1"]);
    call(front.port, "ada", None, emit("for-all", Value::Null)).await.unwrap();
    let is_last = |block: &Block| block.data["name"] == "for-all";
    twelve.expect("the last", is_last).await;
    one.expect("the last", is_last).await;
    let secrets = |events: &Events| events.blocks().iter().filter(|block| block.data["name"] == "secret").count();
    assert_eq!((secrets(&one), secrets(&twelve)), (0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_document_is_made_without_a_websocket() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let open = |more: Value| {
        let mut command = json!({"do": "doc.open", "room": "lobby", "doc": "d"});
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(front.port, "ada", None, command)
    };
    let create = |content: &str| json!({"create": {"type": "text", "content": content}});
    let made = open(create("abc")).await.unwrap();
    assert_eq!((&made["outcome"], &made["content"]), (&json!("snapshot"), &json!("abc")));
    assert_eq!(open(create("another")).await.unwrap()["content"], "abc");
    assert_eq!(open(json!({})).await.unwrap_err()["code"], "INVALID_ARGUMENT");
    redis.ok(&["ROOM.GRANT", "stoa:{lobby}:access", "ada", "viewer"]);
    assert_eq!(open(create("abc")).await.unwrap_err()["code"], "PERMISSION_DENIED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_is_too_slow_is_ended_and_goes_on_where_it_was() {
    use tokio::io::AsyncReadExt;
    const MESSAGES: usize = 400;
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.queue_bytes_max = 64 * 1024).await;
    let token = bearer("slow");
    let headers = [("Authorization", token.as_str())];
    let resume = target(&json!({"lobby": {"positions": {"log": null}}}));
    let mut slow = Events::ask(front.port, &resume, &headers).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    ada.ok(json!({"do": "room.join", "room": "lobby"})).await;
    let text = "x".repeat(30_000);
    for n in 1..=MESSAGES {
        ada.ok(json!({"do": "msg.post", "room": "lobby", "body": format!("{n} {text}")})).await;
    }
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut bytes)).await;
    read.expect("the stream ends").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("event: closed\ndata: {\"code\":4001,\"reason\":\"SLOW\"}"), "{}", &text[text.len() - 200..]);
    let got = text.matches("\"msg.posted\"").count();
    assert!(got < MESSAGES, "it was not slow");

    // From its last id it gets all the rest, once; what is more than a page in several streams.
    let mut id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    assert!(id.is_ascii());
    let headers = [("Authorization", token.as_str()), ("Last-Event-ID", id.as_str())];
    let stream = Events::open(front.port, &resume, &headers).await.unwrap();
    let connected = stream.expect("connected", |block| block.event == "connected").await;
    id = connected.id.unwrap();
    assert!(id.contains(&format!(":{MESSAGES}\"")), "{id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_of_other_origins_read_only_where_that_is_allowed() {
    let redis = Redis::start();
    let friendly =
        Front::start_with(&redis, |settings| settings.auth.allow_origin = vec!["https://app.example".into()]).await;
    let closed = Front::start(&redis).await;
    let token = bearer("ada");
    let from = |origin: &'static str| [("Authorization", token.clone()), ("Origin", origin.to_owned())];
    for (front, origin, allowed) in [
        (&friendly, "https://app.example", Some("https://app.example")),
        (&friendly, "https://app.example.evil.test", None),
        (&friendly, "http://app.example", None),
        (&closed, "https://app.example", None),
    ] {
        let headers = from(origin);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = request(front.port, "POST /rpc", &headers, "{\"id\":1,\"do\":\"ping\"}").await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
        let stream = Events::open(front.port, "/sse", &headers).await.unwrap();
        assert_eq!(stream.header("access-control-allow-origin"), allowed, "{origin}");
    }
    let preflight = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,stoa-connection"),
    ];
    let answer = request(friendly.port, "OPTIONS /rpc", &preflight, "").await;
    assert_eq!(answer.status, 200);
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("stoa-connection"), "{headers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_says_when_its_front_stops_and_ends_when_one_of_its_streams_does() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    redis.ok(&["DOC.CREATE", "stoa:{lobby}:doc:d", "text", "abc"]);
    let resume = json!({"lobby": {"positions": {"doc:d": null}}});
    let stream = listens(front.port, "ada", resume.clone()).await;
    connection(&stream).await;
    redis.ok(&["DEL", "stoa:{lobby}:doc:d"]);
    stream.frame("room.reset").await;
    stream.ended().await;
    let last = stream.blocks().iter().rev().find_map(|block| block.id.clone()).unwrap();
    assert!(!last.contains("doc:d"), "{last}");

    let stream = listens(front.port, "ada", resume).await;
    connection(&stream).await;
    front.shutdown().await;
    assert!(stream.frame("connection.closing").await["retry_after_ms"].is_u64());
    stream.expect("the end", |block| block.event == "closed" && block.data["code"] == 4000).await;
    stream.ended().await;
}
