//! What should not come through the socket: it is answered with a code, changes nothing, and the connection lives on.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};

/// Somebody in the lobby with a document open.
async fn somebody() -> (Redis, Front, Client) {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::connect(front.port, &front::token("ada")).await;
    client.ok(json!({"do": "room.join", "room": "lobby", "presence": {"data": {}}})).await;
    let create = json!({"type": "text", "content": "hello"});
    client.ok(json!({"do": "doc.open", "room": "lobby", "doc": "main", "create": create})).await;
    (redis, front, client)
}

async fn lives(client: &Client) {
    client.ok(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_not_a_frame_is_answered_and_the_connection_lives() {
    let (_redis, _front, client) = somebody().await;
    for text in [
        "not json",
        "[]",
        "3",
        "null",
        "\"x\"",
        "{",
        "{\"id\":1}{",
        "{\"id\":-1,\"do\":\"ping\"}",
        "{\"id\":1.5,\"do\":\"ping\"}",
        "{\"do\":\"ping\"}",
        "\u{0}",
    ] {
        client.send_text(text);
        let answer = client.next_other().await;
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&Value::Null, &json!("INVALID_FRAME")),
            "{text:?}: {answer}"
        );
        assert_eq!(answer["error"]["retry"], false);
        lives(&client).await;
    }
    // Nothing between two line ends is no frame.
    client.send_text("\n\n");
    lives(&client).await;
    let error = client.ask(json!({"dont": "ping"})).await.unwrap_err();
    assert_eq!(error["code"], "INVALID_FRAME");
    lives(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_binary_frame_is_answered_and_the_connection_lives() {
    let (_redis, _front, client) = somebody().await;
    client.send_binary(&[0, 159, 146, 150]);
    assert_eq!(client.next_other().await["error"]["code"], "INVALID_FRAME");
    lives(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_fields_are_refused_with_their_code_and_change_nothing() {
    let (redis, _front, client) = somebody().await;
    let before = redis.digest();
    let long_room = "x".repeat(201);
    let long_text = "x".repeat(40 * 1024);
    let cases = [
        ("UNKNOWN_COMMAND", json!({"do": "fly"})),
        ("UNKNOWN_COMMAND", json!({"do": ""})),
        ("INVALID_FRAME", json!({"do": 7})),
        ("INVALID_ARGUMENT", json!({"do": "room.join"})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": 7})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": ""})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "a}b{c"})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "*"})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "a b"})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "a\r\nFLUSHALL"})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "lоbby"})), // A Cyrillic o.
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": long_room})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "lobby", "positions": {"log": "yesterday"}})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "lobby", "positions": 3})),
        ("INVALID_ARGUMENT", json!({"do": "room.join", "room": "lobby", "presence": {"data": 3}})),
        ("NOT_JOINED", json!({"do": "msg.post", "room": "elsewhere", "body": "hi"})),
        ("NOT_JOINED", json!({"do": "doc.open", "room": "elsewhere", "doc": "main"})),
        ("INVALID_ARGUMENT", json!({"do": "msg.post", "room": "lobby"})),
        ("INVALID_JSON", json!({"do": "msg.post", "room": "lobby", "body": 3})),
        ("INVALID_ARGUMENT", json!({"do": "msg.post", "room": "lobby", "body": "  "})),
        ("INVALID_ARGUMENT", json!({"do": "msg.post", "room": "lobby", "body": "hi", "type": "Loud"})),
        ("INVALID_ARGUMENT", json!({"do": "msg.post", "room": "lobby", "body": "hi", "client": "c"})),
        ("INVALID_ARGUMENT", json!({"do": "msg.post", "room": "lobby", "body": "hi", "client": "c", "seq": -1})),
        ("NOT_FOUND", json!({"do": "msg.post", "room": "lobby", "body": "hi", "reply": 99})),
        ("TOO_LARGE", json!({"do": "msg.post", "room": "lobby", "body": long_text})),
        ("INVALID_ARGUMENT", json!({"do": "msg.range", "room": "lobby", "count": 101})),
        ("INVALID_ARGUMENT", json!({"do": "msg.range", "room": "lobby", "count": 0})),
        ("INVALID_ARGUMENT", json!({"do": "msg.range", "room": "lobby", "before": 1, "after": 2})),
        ("INVALID_ARGUMENT", json!({"do": "doc.open", "room": "lobby", "doc": "a}b"})),
        ("INVALID_ARGUMENT", json!({"do": "doc.open", "room": "lobby", "doc": "new", "create": {"type": "table"}})),
        ("INVALID_ARGUMENT", json!({"do": "doc.submit", "room": "lobby", "doc": "main", "rev": "0", "op": ["x"]})),
        ("INVALID_ARGUMENT", json!({"do": "presence.typing", "room": "lobby", "typing": "yes"})),
        ("INVALID_ARGUMENT", json!({"do": "room.emit", "room": "lobby", "data": 1})),
        ("INVALID_ARGUMENT", json!({"do": "room.emit", "room": "lobby", "name": "x", "data": 1, "to": "bo"})),
    ];
    let mut wrong = Vec::new();
    for (code, command) in cases {
        match client.ask(command.clone()).await {
            Err(error) if error["code"] == code => {
                assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
            }
            answer => wrong.push(format!("{:.150} is answered {answer:?}, not {code}", command.to_string())),
        }
        lives(&client).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(redis.digest(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn operations_that_do_not_fit_are_refused_with_their_code_and_change_nothing() {
    let (redis, _front, client) = somebody().await;
    let before = redis.digest();
    let epoch = redis.ok(&["DOC.GET", "stoa:{lobby}:doc:main"]).field("epoch").text();
    let submit = |rev: u64, op: Value| json!({"do": "doc.submit", "room": "lobby", "doc": "main", "rev": rev, "epoch": epoch, "op": op});
    let mut with_length = submit(0, json!(["x"]));
    with_length["len"] = json!(4);
    let mut other_epoch = submit(0, json!(["x"]));
    other_epoch["epoch"] = json!("9.00000000");
    let mut other_document = submit(0, json!(["x"]));
    other_document["doc"] = json!("none");
    let cases = [
        ("DESYNC", submit(0, json!([6, "x"]))),
        ("DESYNC", submit(0, json!([-6]))),
        ("INVALID_OPERATION", submit(0, json!([1.5]))),
        ("INVALID_OPERATION", submit(0, json!([{"insert": "x"}]))),
        ("INVALID_OPERATION", submit(0, json!([99_999_999_999_u64]))),
        ("INVALID_OPERATION", submit(0, json!(["a\rb"]))),
        // With its epoch a revision that is not there (any more) is known to be from a history that ended.
        ("ROLLBACK", submit(5, json!(["x"]))),
        ("DESYNC", with_length),
        ("RESET", other_epoch),
        ("NOT_FOUND", other_document),
    ];
    for (code, command) in cases {
        assert_eq!(client.refused(command.clone()).await, code, "{command}");
        lives(&client).await;
    }
    let not_a_list = client.refused(submit(0, json!("x"))).await;
    assert!(["INVALID_OPERATION", "INVALID_ARGUMENT"].contains(&not_a_list.as_str()), "{not_a_list}");
    let surrogate = format!(
        r#"{{"id":900,"do":"doc.submit","room":"lobby","doc":"main","rev":0,"epoch":"{epoch}","op":["\ud800"]}}"#
    );
    client.send_text(&surrogate);
    lives(&client).await;
    assert!(!client.errors().is_empty());
    assert_eq!(redis.digest(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frame_of_two_megabytes_ends_the_connection_with_its_code() {
    let (redis, front, client) = somebody().await;
    client.send_text(
        &json!({"id": 1, "do": "msg.post", "room": "lobby", "body": "x".repeat(2 * 1024 * 1024)}).to_string(),
    );
    assert_eq!(client.closed().await, (4503, "TOO_LARGE".into()));
    assert_eq!(redis.ok(&["EXISTS", "stoa:{lobby}:log"]).int(), 0);
    // And nobody else has noticed.
    lives(&Client::connect(front.port, &front::token("bo")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_connect_is_refused_and_the_connection_lives() {
    let (_redis, _front, client) = somebody().await;
    assert!(client.ask(json!({"do": "connect", "token": front::token("bo")})).await.is_err());
    client.ok(json!({"do": "msg.post", "room": "lobby", "body": "hi"})).await;
    assert_eq!(client.expect("msg.posted").await["message"]["user"], "ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_served_before_connect() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::open(front.port).await;
    assert_eq!(client.refused(json!({"do": "room.join", "room": "lobby"})).await, "AUTH_REQUIRED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_come_in_the_order_of_the_commands() {
    let (_redis, _front, client) = somebody().await;
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(client.send(match n % 3 {
            0 => json!({"do": "msg.post", "room": "lobby", "body": format!("{n}"), "client": "c", "seq": n + 1}),
            1 => json!({"do": "ping"}),
            _ => json!({"do": "fly"}),
        }));
    }
    lives(&client).await;
    assert_eq!(client.answered().into_iter().filter(|id| ids.contains(id)).collect::<Vec<_>>(), ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn markup_is_kept_as_it_was_said() {
    let (_redis, _front, client) = somebody().await;
    let text = "<script>alert('x')</script> \u{2028} \" \\ \u{0} 👩‍👩‍👧";
    client.ok(json!({"do": "msg.post", "room": "lobby", "body": {"text": text}})).await;
    assert_eq!(client.expect("msg.posted").await["message"]["body"]["text"], text);
}
