//! Frames that are wrong, too deep, too many: each is answered with its code, changes nothing, and nobody else notices.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stoa_front::conn::codec::Message;
use stoa_harness::bare::{Bare, FIN};
use stoa_harness::http::request;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};

/// How late an answer may be, on a machine that has much to do.
const BOUND: Duration = Duration::from_secs(5);

/// Somebody in the lobby, with a document open and listed as here.
async fn somebody(front: &Front, user: &str) -> Client {
    let client = Client::connect(front.port, &front::token(user)).await;
    client.ok(json!({"do": "room.join", "room": "lobby", "presence": {"data": {}}})).await;
    client
        .ok(json!({"do": "doc.open", "room": "lobby", "doc": "main", "create": {"type": "text", "content": "hello"}}))
        .await;
    client
}

/// Sends a frame whose id is 900 and gives the code of its refusal, which has to come in time.
async fn refusal(client: &Client, frame: &str) -> String {
    let began = Instant::now();
    client.send_text(frame);
    // Answers come in order.
    client.ok(json!({"do": "ping"})).await;
    assert!(began.elapsed() < BOUND, "answered after {:?}", began.elapsed());
    let error = match client.errors().pop() {
        Some(error) => error,
        // Of a frame that cannot be read as a whole nobody knows the number.
        None => client.next_other().await,
    };
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.len() < 1_000, "an error that is as long as the frame: {} bytes", message.len());
    error["error"]["code"].as_str().unwrap().to_owned()
}

/// A command of the lobby with one more field, which is given as JSON.
fn frame(what: &str, field: &str, value: &str, more: &str) -> String {
    format!("{{\"id\":900,\"do\":\"{what}\",\"room\":\"lobby\",\"{field}\":{value}{more}}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn json_that_is_deep_or_broken_is_refused_wherever_it_stands() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = somebody(&front, "ada").await;
    // The presence list has a lease, which is renewed meanwhile.
    let stored = || ["log", "doc:main"].map(|stream| redis.digest_of(&format!("stoa:{{lobby}}:{stream}")));
    let before = stored();
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep_object = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let values = [
        ("33 lists", deep(33)),
        ("33 objects", deep_object(33)),
        ("1,000 lists", deep(1_000)),
        ("100,000 lists", deep(100_000)),
        ("100,000 objects", deep_object(100_000)),
        ("lists without an end", "[".repeat(1_000)),
        ("half a character", "\"\\ud800\"".into()),
        ("the wrong half", "\"\\udc00\\ud800\"".into()),
        ("half a character as a name", "{\"\\ud800\":1}".into()),
        ("a number beyond all numbers", "1e999".into()),
        ("no number", "NaN".into()),
        ("a leading zero", "[01]".into()),
        ("a bare control character", "\"\u{1}\"".into()),
        ("an escape that is none", "\"\\x41\"".into()),
        ("two values", "1 2".into()),
        ("a comment", "/* */ 1".into()),
        ("a key of the library", "{\"$serde_json::private::RawValue\":\"1\"}".into()),
    ];
    let mut taken = Vec::new();
    for (what, value) in &values {
        for frame in [
            frame("msg.post", "body", &format!("{{\"x\":{value}}}"), ""),
            frame("msg.post", "body", "\"hi\"", &format!(",\"meta\":{{\"x\":{value}}}")),
            frame("room.emit", "data", value, ",\"name\":\"n\""),
            frame("presence.set", "data", &format!("{{\"x\":{value}}}"), ""),
            frame("presence.cursor", "cursor", value, ""),
            frame(
                "doc.cursor",
                "cursor",
                &format!("{{\"anchor\":0,\"head\":0,\"data\":{{\"x\":{value}}}}}"),
                ",\"doc\":\"main\",\"rev\":0",
            ),
            frame("doc.submit", "op", &format!("[{value}]"), ",\"doc\":\"main\",\"rev\":0"),
        ] {
            let code = refusal(&client, &frame).await;
            let known = ["INVALID_FRAME", "INVALID_JSON", "INVALID_ARGUMENT", "INVALID_OPERATION", "TOO_LARGE"];
            if !known.contains(&code.as_str()) {
                taken.push(format!("{what}: {code} for {}", &frame[..frame.len().min(120)]));
            }
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
    assert_eq!(stored(), before);
    client.ok(json!({"do": "msg.post", "room": "lobby", "body": "hi"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fields_that_are_twofold_strange_or_too_many_are_refused() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = somebody(&front, "ada").await;
    client.ok(json!({"do": "msg.post", "room": "lobby", "body": "one"})).await;
    let stored = || (redis.ok(&["DBSIZE"]).int(), redis.digest_of("stoa:{lobby}:log"));
    let before = stored();
    let many: String = (0..50_000).map(|n| format!("\"k{n}\":0,")).collect();
    for (codes, text) in [
        ("INVALID_FRAME", r#"{"id":900,"id":901,"do":"ping"}"#.to_owned()),
        ("INVALID_FRAME", r#"{"id":900,"do":"ping","do":"msg.post"}"#.into()),
        ("INVALID_ARGUMENT", frame("msg.post", "body", "\"a\"", ",\"body\":\"b\"")),
        ("INVALID_ARGUMENT", frame("msg.post", "room", "\"other\"", ",\"body\":\"b\"")),
        ("INVALID_ARGUMENT", frame("msg.post", "client", "\"c\\u0000\"", ",\"seq\":1,\"body\":\"b\"")),
        ("INVALID_ARGUMENT", frame("msg.post", "client", "\"c\"", ",\"seq\":18446744073709551616,\"body\":\"b\"")),
        ("INVALID_ARGUMENT", frame("msg.post", "seq", "-1", ",\"client\":\"c\",\"body\":\"b\"")),
        ("INVALID_ARGUMENT", frame("msg.post", "reply", "1e3", ",\"body\":\"b\"")),
        ("INVALID_ARGUMENT", frame("msg.post", "mentions", "[\"a\\nb\"]", ",\"body\":\"b\"")),
        ("INVALID_ARGUMENT", frame("msg.react", "reaction", "\"\\u0007\"", ",\"n\":1")),
        ("INVALID_ARGUMENT", frame("room.emit", "name", "\"a\\r\\nb\"", ",\"data\":1")),
        ("INVALID_ARGUMENT", frame("presence.set", "status", "\"a b\\u202e\"", "")),
        ("INVALID_ARGUMENT", frame("doc.open", "doc", "\"\\u0000\"", "")),
        ("INVALID_ARGUMENT", frame("doc.open", "doc", "\"a\\r\\nFLUSHALL\"", "")),
        ("INVALID_ARGUMENT", frame("doc.tag", "name", "\"\\u0000\"", ",\"doc\":\"main\"")),
        ("TOO_LARGE", frame("msg.post", "body", &format!("{{{many}\"z\":0}}"), "")),
        ("TOO_LARGE", frame("msg.post", "body", &format!("\"{}\"", "x".repeat(40 * 1024)), "")),
    ] {
        let code = refusal(&client, &text).await;
        assert_eq!(code, codes, "{}", &text[..text.len().min(120)]);
    }
    for (id, text) in [
        (Value::Null, r#"{"id":18446744073709551616,"do":"ping"}"#),
        (Value::Null, r#"{"id":"7","do":"ping"}"#),
        (Value::Null, r#"{"id":7.0,"do":"ping"}"#),
        (Value::Null, r#"{"__proto__":{"id":7},"do":"ping"}"#),
    ] {
        client.send_text(text);
        let answer = client.next_other().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!("INVALID_FRAME")), "{text}");
    }
    assert_eq!(stored(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_of_rooms_are_names_and_nothing_more() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = somebody(&front, "ada").await;
    let keys = redis.ok(&["DBSIZE"]).int();
    for bad in [
        "",
        " ",
        "a b",
        "{x}",
        "a}b{c",
        "*",
        "a*",
        "a?",
        "[a]",
        "a\r\nFLUSHALL",
        "a\0",
        "\u{202e}a",
        "a\u{200b}",
        "l\u{43e}bby",
        "a|b",
        "a\\b",
        "a\"b",
        "a'b",
        "<a>",
        "a,b",
        "a;b",
        "a%00",
        "$a",
        "\u{1f600}",
    ] {
        for what in ["room.join", "room.leave", "msg.post", "doc.open", "presence.list", "room.emit"] {
            let command = json!({"do": what, "room": bad, "doc": "d", "body": "b", "name": "n", "data": 1});
            assert_eq!(client.refused(command).await, "INVALID_ARGUMENT", "{what} {bad:?}");
        }
    }
    assert_eq!(redis.ok(&["DBSIZE"]).int(), keys);
    // What only looks like more is a room like any other.
    for good in [
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "toString",
        "..",
        "../../etc",
        "a//b",
        "~",
        "=",
        "user",
        "user:",
        "log",
    ] {
        let room = json!(good);
        let joined = client.ask(json!({"do": "room.join", "room": room})).await;
        if good.starts_with("user:") {
            assert_eq!(joined.unwrap_err()["code"], "PERMISSION_DENIED");
            continue;
        }
        assert_eq!(joined.unwrap()["room"], room);
        client.ok(json!({"do": "msg.post", "room": room, "body": good})).await;
        assert_eq!(client.expect("msg.posted").await["message"]["body"], room);
        client
            .ok(json!({"do": "doc.open", "room": room, "doc": good, "create": {"type": "text", "content": good}}))
            .await;
        assert_eq!(client.ok(json!({"do": "doc.get", "room": room, "doc": good})).await["content"], room);
        client.ok(json!({"do": "room.leave", "room": room})).await;
    }
    // Nobody names a room in another's key, and the personal room of another is closed.
    for room in ["user:bo", "user:ada2", "user:ad"] {
        assert_eq!(client.refused(json!({"do": "room.join", "room": room})).await, "PERMISSION_DENIED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_that_nobody_reads_the_answers_of_is_held_back() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let witness = somebody(&front, "bo").await;
    let (mut flood, _) = Bare::open(front.port, "").await;
    flood.send_text(&json!({"id": 1, "do": "connect", "token": front::token("ada")}).to_string()).await;
    flood.next_frame().await;
    // Pings of the most bytes, and commands that are wrong, as many as the front takes within a second.
    let payload = [b'x'; 125];
    let mut sent = 0_u64;
    let sending = async {
        loop {
            for _ in 0..50 {
                flood.send(0x89, &payload).await;
            }
            flood.send_text("{\"id\":1,\"do\":\"fly\"}").await;
            sent += 1;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), sending).await.is_err());
    assert!(sent > 0);
    let began = Instant::now();
    witness.ok(json!({"do": "msg.post", "room": "lobby", "body": "still here"})).await;
    assert!(began.elapsed() < BOUND, "others waited for {:?}", began.elapsed());
    // What was taken is answered, in its order.
    for _ in 0..50 {
        assert!(matches!(flood.next().await, Some(Message::Pong(echo)) if echo == payload));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lengths_that_are_claimed_are_not_believed() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = somebody(&front, "ada").await;
    // In binary messages.
    for bytes in [&[][..], &[0, 0, 0, 1], &[0xff, 0xff, 0xff, 0xff, b'{'], &[0, 0, 0, 2, b'{', 0xff], &[0, 0, 0, 0]] {
        client.send_binary(bytes);
        assert_eq!(client.next_other().await["error"]["code"], "INVALID_FRAME", "{bytes:?}");
    }
    // In frames of the WebSocket: four gigabytes that never come take no memory, and end the connection at once.
    for head in [
        [&[FIN | 1, 0xff][..], &u32::MAX.to_be_bytes(), &u32::MAX.to_be_bytes()].concat(),
        [&[FIN | 2, 0xff][..], &(4_u64 << 30).to_be_bytes()].concat(),
        [&[0x01, 0xff][..], &(1_u64 << 62).to_be_bytes()].concat(),
    ] {
        let (mut bare, _) = Bare::open(front.port, "").await;
        bare.send_text(&json!({"id": 1, "do": "connect", "token": front::token("eve")}).to_string()).await;
        bare.next_frame().await;
        bare.send_bytes(&[&head[..], &[0; 4]].concat()).await;
        assert!([4503, 1002].contains(&bare.closed().await.0));
    }
    client.ok(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_of_frames_is_bounded_too() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let bearer = format!("Bearer {}", front::token("ada"));
    let headers = [("Authorization", bearer.as_str())];
    let ping = "{\"id\":1,\"do\":\"ping\"}\n";
    for (status, code, body) in [
        (413, "TOO_LARGE", ping.repeat(33)),
        (400, "INVALID_FRAME", String::new()),
        (400, "INVALID_FRAME", "\n\n\n".into()),
        (413, "TOO_LARGE", " ".repeat(1024 * 1024 + 1)),
    ] {
        let answer = request(front.port, "POST /rpc", &headers, &body).await;
        assert_eq!((answer.status, &answer.frames()[0]["error"]["code"]), (status, &json!(code)));
    }
    let deep =
        format!("{{\"id\":1,\"do\":\"room.emit\",\"room\":\"lobby\",\"name\":\"n\",\"data\":{}", "[".repeat(500_000));
    let answer = request(front.port, "POST /rpc", &headers, &deep).await;
    assert_eq!(answer.frames()[0]["error"]["code"], "INVALID_FRAME");
}
