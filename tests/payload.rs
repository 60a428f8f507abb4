//! Bytes that are no JSON travel beside an event: they arrive as they were sent, whichever way they take, and what is wrong
//! about them ends nothing.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use stoa_front::conn::codec::{Message, Opcode};
use stoa_front::conn::deflate::deflate;
use stoa_harness::bare::{Bare, DEFLATED, FIN};
use stoa_harness::http::{Events, request};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
const BINARY: u8 = FIN | Opcode::Binary as u8;
/// Every byte there is, in base64.
const EVERY_BYTE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVW\
     V1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6yt\
     rq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==";

fn every_byte() -> Vec<u8> {
    (0..=255).collect()
}

/// A binary message: a frame and what follows it.
fn message(frame: &Value, payload: &[u8]) -> Vec<u8> {
    let frame = frame.to_string();
    [&(frame.len() as u32).to_be_bytes(), frame.as_bytes(), payload].concat()
}

fn emit(id: u64, name: &str) -> Value {
    json!({"id": id, "do": "room.emit", "room": "lobby", "name": name, "data": {"n": id}})
}

/// Somebody in the lobby at a bare socket.
async fn joined(front: &Front, user: &str, lines: &str) -> Bare {
    let (mut bare, _) = Bare::open(front.port, lines).await;
    for command in [
        json!({"id": 1, "do": "connect", "token": front::token(user)}),
        json!({"id": 2, "do": "room.join", "room": "lobby"}),
    ] {
        bare.send_text(&command.to_string()).await;
        assert!(bare.next_frame().await["ok"].is_object());
    }
    bare
}

/// The next binary message: its frame and its payload.
async fn binary(bare: &mut Bare) -> (Value, Vec<u8>) {
    match bare.next().await {
        Some(Message::Binary(bytes)) => {
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            (serde_json::from_slice(&bytes[4..4 + length]).unwrap(), bytes[4 + length..].to_vec())
        }
        other => panic!("{other:?} instead of a payload"),
    }
}

async fn listens(front: &Front, user: &str) -> Events {
    let token = format!("Bearer {}", front::token(user));
    let events = Events::open(front.port, "/sse?resume=%7B%22lobby%22:%7B%7D%7D", &[("Authorization", &token)]).await;
    let events = events.unwrap();
    events.expect("connected", |block| block.event == "connected").await;
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_byte_arrives_as_it_was_sent_whichever_way_it_takes() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let mut ada = joined(&one, "ada", "").await;
    let mut bo = joined(&two, "bo", "").await;
    let mut deflating = joined(&two, "cy", OFFER).await;
    let listener = listens(&two, "dee").await;
    let every_byte = every_byte();

    // From a WebSocket.
    ada.send(BINARY, &message(&emit(3, "ws"), &every_byte)).await;
    assert_eq!(ada.next_frame().await, json!({"id": 3, "ok": {}}));
    for member in [&mut bo, &mut deflating] {
        let (frame, payload) = binary(member).await;
        assert_eq!(
            (&frame["event"], &frame["name"], &frame["user"]),
            (&json!("room.emitted"), &json!("ws"), &json!("ada"))
        );
        assert_eq!((&frame["data"], frame.get("payload")), (&json!({"n": 3}), None));
        assert_eq!(payload, every_byte);
    }
    let block = listener.expect("ws", |block| block.data["name"] == "ws").await;
    assert_eq!((&block.data["payload"], &block.data["data"]), (&json!(EVERY_BYTE), &json!({"n": 3})));

    // From a request, in base64.
    let mut command = emit(1, "rpc");
    command["payload"] = json!(EVERY_BYTE);
    let token = format!("Bearer {}", front::token("eve"));
    let answer = request(one.port, "POST /rpc", &[("Authorization", &token)], &command.to_string()).await;
    assert_eq!(answer.frames(), [json!({"id": 1, "ok": {}})]);

    // From any client of Redis.
    let raw = ["ROOM.EMIT", "stoa:{lobby}:x", "redis", "null", "PAYLOAD"].map(str::as_bytes);
    redis.call_bytes(&[&raw[..], &[&every_byte], &[b"BY", b"service"]].concat());
    for name in ["rpc", "redis"] {
        for member in [&mut ada, &mut bo, &mut deflating] {
            let (frame, payload) = binary(member).await;
            assert_eq!((&frame["name"], payload), (&json!(name), every_byte.clone()));
        }
        let block = listener.expect(name, |block| block.data["name"] == name).await;
        assert_eq!(block.data["payload"], EVERY_BYTE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn payloads_are_deflated_where_that_helps_and_may_come_deflated() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let mut ada = joined(&front, "ada", OFFER).await;
    let mut bo = joined(&front, "bo", OFFER).await;
    let mut plain = joined(&front, "cy", "").await;
    let even = vec![7; 100_000];
    ada.send(BINARY | DEFLATED, &deflate(&message(&emit(3, "even"), &even)).unwrap()).await;
    assert!(ada.next_frame().await["ok"].is_object());
    let before = bo.bytes_read();
    assert_eq!(binary(&mut bo).await.1, even);
    assert!(bo.bytes_read() - before < 2_000, "{}", bo.bytes_read() - before);
    assert_eq!(binary(&mut plain).await.1, even);
    assert!(plain.bytes_read() > even.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_payload_for_one_comes_to_that_one() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let mut ada = joined(&one, "ada", "").await;
    let (mut bo, mut cy) = (joined(&two, "bo", "").await, joined(&two, "cy", "").await);
    let mut secret = emit(3, "secret");
    secret["to"] = json!({"user": "bo"});
    ada.send(BINARY, &message(&secret, b"\0")).await;
    ada.send(BINARY, &message(&emit(4, "all"), b"")).await;
    let (frame, payload) = binary(&mut bo).await;
    assert_eq!((&frame["name"], payload), (&json!("secret"), vec![0]));
    for member in [&mut bo, &mut cy] {
        let (frame, payload) = binary(member).await;
        assert_eq!((&frame["name"], payload.len()), (&json!("all"), 0), "an empty payload is one, too");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_largest_payload_arrives_and_one_byte_more_is_refused() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let mut ada = joined(&front, "ada", "").await;
    let mut bo = joined(&front, "bo", "").await;
    let listener = listens(&front, "dee").await;
    let largest: Vec<u8> = (0..256 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    ada.send(BINARY, &message(&emit(3, "largest"), &largest)).await;
    assert_eq!(ada.next_frame().await, json!({"id": 3, "ok": {}}));
    assert_eq!(binary(&mut bo).await.1, largest);
    let block = listener.expect("largest", |block| block.data["name"] == "largest").await;
    assert_eq!(block.data["payload"].as_str().unwrap().len(), (256_usize * 1024).div_ceil(3) * 4);

    ada.send(BINARY, &message(&emit(4, "larger"), &[largest.as_slice(), b"x"].concat())).await;
    let refused = ada.next_frame().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(4), &json!("TOO_LARGE")), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("payload-bytes-max"), "{refused}");

    redis.ok(&["CONFIG", "SET", "stoa.payload-bytes-max", "10"]);
    ada.send(BINARY, &message(&emit(5, "small"), &[1; 10])).await;
    assert!(ada.next_frame().await["ok"].is_object());
    assert_eq!(binary(&mut bo).await.1, [1; 10]);
    ada.send(BINARY, &message(&emit(6, "small"), &[1; 11])).await;
    assert_eq!(ada.next_frame().await["error"]["code"], "TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_malformed_is_answered_and_the_connection_lives_on() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let mut ada = joined(&front, "ada", "").await;
    let malformed: [&[u8]; 7] = [
        b"",
        &[0, 0, 0],
        &[0, 0, 0, 9, b'{', b'}'],
        &[255, 255, 255, 255, b'{', b'}'],
        &[0, 0, 0, 2, 0xff, 0xfe, 1],
        &message(&json!([1]), b"x"),
        b"{\"id\":1,\"do\":\"ping\"}",
    ];
    for bytes in malformed {
        ada.send(BINARY, bytes).await;
        let answer = ada.next_frame().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(null), &json!("INVALID_FRAME")), "{bytes:?}");
    }
    let mut twice = emit(11, "twice");
    twice["payload"] = json!("AA==");
    let mut bad = emit(12, "bad");
    bad["payload"] = json!("not base64!");
    for (id, bytes, code) in [
        (9, message(&json!({"id": 9, "do": "ping"}), b""), "INVALID_ARGUMENT"),
        (10, message(&json!({"id": 10, "do": "msg.post", "room": "lobby", "body": "x"}), b"x"), "INVALID_ARGUMENT"),
        (11, message(&twice, b"x"), "INVALID_ARGUMENT"),
        (13, message(&json!({"id": 13, "do": "no.such"}), b"x"), "UNKNOWN_COMMAND"),
    ] {
        ada.send(BINARY, &bytes).await;
        let answer = ada.next_frame().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(code)), "{answer}");
    }
    ada.send_text(&bad.to_string()).await;
    let answer = ada.next_frame().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(12), &json!("INVALID_ARGUMENT")), "{answer}");
    ada.send_text(&json!({"id": 14, "do": "ping"}).to_string()).await;
    assert_eq!(ada.next_frame().await, json!({"id": 14, "ok": {}}));
    let log = redis.ok(&["MSG.RANGE", "stoa:{lobby}:log"]).field("messages").items().len();
    assert_eq!(log, 0, "nothing was posted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn payloads_count_towards_the_bounds_of_who_does_not_read() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.queue_bytes_max = 300 * 1024).await;
    let mut slow = joined(&front, "slow", "").await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    ada.ok(json!({"do": "room.join", "room": "lobby"})).await;
    let payload = vec![0; 200 * 1024];
    let raw = ["ROOM.EMIT", "stoa:{lobby}:x", "flood", "null", "PAYLOAD"].map(str::as_bytes);
    let mut connection = redis.connect();
    // More than the sockets' own buffers hold: what does not fit is dropped, and nobody is closed for it.
    for _ in 0..100 {
        connection.call_bytes(&[&raw[..], &[&payload]].concat());
    }
    ada.ok(json!({"do": "ping"})).await;
    let mut read = 0;
    connection.call_bytes(&["MSG.POST", "stoa:{lobby}:log", "service", "\"end\""].map(str::as_bytes));
    loop {
        match slow.next().await {
            Some(Message::Binary(bytes)) => {
                assert!(bytes.ends_with(&payload), "a payload is whole or not there");
                read += 1;
            }
            Some(Message::Text(text)) if text.contains("msg.posted") => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..100).contains(&read), "{read} of 100 came");
    assert!(!ada.is_closed());
}
