//! The life of a connection: its order, its bounds, and every way in which it ends.
#![allow(clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stoa_front::conn::codec::Opcode;
use stoa_harness::bare::{Bare, FIN};
use stoa_harness::http::request;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};
use tokio_tungstenite::tungstenite::Message;

async fn join(client: &Client, room: &str) -> Value {
    client.ok(json!({"do": "room.join", "room": room})).await
}

fn post(n: usize, text: &str) -> Value {
    json!({"do": "msg.post", "room": "lobby", "body": format!("{n} {text}")})
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Reads until the close frame, and says its code.
async fn close_code(socket: &mut Socket) -> Option<u16> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            return frame.map(|frame| frame.code.into());
        }
    }
    None
}

async fn raw(port: u16) -> Socket {
    tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{port}/ws")).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_sent_in_one_breath_are_answered_in_order() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let mut socket = raw(front.port).await;
    let mut frames = vec![
        json!({"id": 0, "do": "connect", "token": front::token("ada")}).to_string(),
        json!({"id": 1, "do": "room.join", "room": "lobby"}).to_string(),
    ];
    frames.extend((2..200).map(|id| {
        let mut command = post(id, "in one breath");
        command["id"] = json!(id);
        command.to_string()
    }));
    socket.send(Message::text(frames.join("\n"))).await.unwrap();
    let (mut replies, mut events) = (Vec::new(), Vec::new());
    while replies.len() < 200 || events.len() < 198 {
        let message = socket.next().await.unwrap().unwrap();
        let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        match frame["id"].as_u64() {
            Some(id) => {
                assert!(frame.get("ok").is_some(), "{frame}");
                replies.push(id);
            }
            None => events.push(frame["rev"].as_u64().unwrap()),
        }
    }
    assert_eq!(replies, (0..200).collect::<Vec<_>>());
    assert_eq!(events, (1..199).collect::<Vec<_>>());
}

/// Somebody in the lobby who has read that they are, and reads nothing from then on.
async fn stops_reading(port: u16, user: &str) -> Socket {
    let mut socket = raw(port).await;
    for command in [
        json!({"id": 1, "do": "connect", "token": front::token(user)}),
        json!({"id": 2, "do": "room.join", "room": "lobby"}),
    ] {
        socket.send(Message::text(command.to_string())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert!(answer.to_text().unwrap().contains("\"ok\""), "{answer}");
    }
    socket
}

/// A counter of the front.
async fn counted(port: u16, name: &str) -> u64 {
    let metrics = request(port, "GET /metrics", &[], "").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

const SLOW: &str = "stoa_front_slow_connections_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_durable_events_is_closed_as_slow_and_misses_nothing() {
    let redis = Redis::start();
    let metrics = stoa_harness::redis::free_port();
    let front = Front::start_with(&redis, |settings| {
        settings.queue_bytes_max = 256 * 1024;
        settings.metrics_listen = Some(([127, 0, 0, 1], metrics).into());
    })
    .await;
    let mut slow = stops_reading(front.port, "slow").await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    join(&ada, "lobby").await;
    let text = "x".repeat(30_000);
    // More than the sockets' own buffers hold, however large they are.
    let mut posted = 0;
    while counted(metrics, SLOW).await == 0 {
        posted += 1;
        assert!(posted < 5_000, "nobody is too slow");
        ada.ok(post(posted, &text)).await;
    }
    assert_eq!(close_code(&mut slow).await, Some(4001));
    assert!(!ada.is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_much_waits_in_all_who_is_furthest_behind_goes() {
    let redis = Redis::start();
    let metrics = stoa_harness::redis::free_port();
    let front = Front::start_with(&redis, |settings| {
        settings.queue_bytes_max = 1024 * 1024 * 1024;
        settings.queued_bytes_total_max = 2 * 1024 * 1024;
        settings.metrics_listen = Some(([127, 0, 0, 1], metrics).into());
    })
    .await;
    let mut slowest = stops_reading(front.port, "slowest").await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    join(&ada, "lobby").await;
    let text = "x".repeat(30_000);
    let mut posted = 0;
    // It comes when there is something in the queue of the first already.
    let mut slow = None;
    while counted(metrics, SLOW).await == 0 {
        posted += 1;
        assert!(posted < 5_000, "nobody is too slow");
        ada.ok(post(posted, &text)).await;
        if posted == 20 {
            slow = Some(stops_reading(front.port, "slow").await);
        }
    }
    assert_eq!(close_code(&mut slowest).await, Some(4001));
    assert_eq!(counted(metrics, SLOW).await, 1);
    assert!(!ada.is_closed());
    // What waited for the other one arrives.
    let last = format!("\"{posted} ");
    let mut slow = slow.unwrap();
    while !slow.next().await.unwrap().unwrap().to_text().unwrap().contains(&last) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_much_is_received_in_all_large_messages_are_sent_away() {
    let redis = Redis::start();
    let metrics = stoa_harness::redis::free_port();
    let front = Front::start_with(&redis, |settings| {
        settings.partial_bytes_total_max = 300 * 1024;
        settings.connect_timeout_ms = 60_000;
        settings.metrics_listen = Some(([127, 0, 0, 1], metrics).into());
    })
    .await;
    let half = vec![b' '; 200 * 1024];
    let mut first = Bare::open(front.port, "").await.0;
    // Two fragments of one text: the message does not end.
    first.send(Opcode::Text as u8, &half).await;
    while counted(metrics, "stoa_front_partial_bytes").await < half.len() as u64 {}
    let ada = Client::connect(front.port, &front::token("ada")).await;
    let mut second = Bare::open(front.port, "").await.0;
    second.send(Opcode::Text as u8, &half).await;
    assert_eq!(second.closed().await.0, 1013);
    // Small ones are taken, and room is made when a large one ends.
    ada.ok(json!({"do": "ping"})).await;
    first.send(FIN | Opcode::Continuation as u8, b"{\"id\":1,\"do\":\"ping\"}").await;
    assert_eq!(first.next_frame().await["error"]["code"], "AUTH_REQUIRED");
    let mut third = Bare::open(front.port, "").await.0;
    third.send(Opcode::Text as u8, &half).await;
    third.send(FIN | Opcode::Continuation as u8, b"{\"id\":1,\"do\":\"ping\"}").await;
    assert_eq!(third.next_frame().await["error"]["code"], "AUTH_REQUIRED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_closes_its_connection_within_a_second() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = front::token_with(json!({"sub": "ada", "exp": now + 2}));
    let client = Client::connect(front.port, &token).await;
    assert_eq!(client.closed().await, (4502, "AUTH_EXPIRED".into()));
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(end >= (now + 2) as f64 && end < (now + 3) as f64, "{end} is not within a second after {}", now + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_pinged_and_then_ended() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| {
        settings.ping_interval_ms = 200;
        settings.pong_timeout_ms = 300;
    })
    .await;
    // A client that reads answers pings by itself.
    let lively = Client::connect(front.port, &front::token("ada")).await;
    let mut silent = raw(front.port).await;
    silent
        .send(Message::text(json!({"id": 1, "do": "connect", "token": front::token("bo")}).to_string()))
        .await
        .unwrap();
    // Nothing is read here, so nothing answers.
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(close_code(&mut silent).await, Some(4002));
    lively.ok(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_connect_in_time_is_closed() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.connect_timeout_ms = 300).await;
    let client = Client::open(front.port).await;
    assert_eq!(client.refused(json!({"do": "ping"})).await, "AUTH_REQUIRED");
    assert_eq!(client.closed().await, (4500, "AUTH_REQUIRED".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_that_stops_answers_what_it_was_asked_and_says_goodbye() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::connect(front.port, &front::token("ada")).await;
    join(&client, "lobby").await;
    let ids: Vec<u64> = (0..20).map(|n| client.send(post(n, "last words"))).collect();
    while client.answered().len() < 3 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    front.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert_eq!(client.closed().await, (4000, "SHUTDOWN".into()));
    // The answers are a beginning of what was asked: none is left out in between.
    let answered: Vec<u64> = client.answered().into_iter().filter(|id| ids.contains(id)).collect();
    assert_eq!(answered, ids[..answered.len()]);
    let posted = redis.ok(&["MSG.RANGE", "stoa:{lobby}:log", "COUNT", "100"]).field("messages").items().len();
    assert_eq!(answered.len(), posted, "what was done was answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_without_redis_waits_and_says_so() {
    let front = {
        let mut settings =
            stoa_front::Settings::for_tests("redis://127.0.0.1:1", "a secret of thirty-two bytes and more");
        settings.auth.demo = true;
        stoa_front::Front::start(settings).await.unwrap()
    };
    let port = front.address().port();
    assert_eq!(front::http_status(port, "/livez"), Some(200));
    assert_eq!(front::http_status(port, "/readyz"), Some(503));
    assert_eq!(front::http_status(port, "/"), Some(200));
    front.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_writes_are_refused_at_once_and_connections_stay() {
    let mut redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::connect(front.port, &front::token("ada")).await;
    join(&client, "lobby").await;
    redis.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let error = client.ask(post(1, "into the void")).await.unwrap_err();
    assert_eq!((&error["code"], &error["retry"]), (&json!("UNAVAILABLE"), &json!(true)));
    assert!(began.elapsed() < Duration::from_millis(500), "it took {:?}", began.elapsed());
    let error = client.ask(json!({"do": "room.join", "room": "other"})).await.unwrap_err();
    assert_eq!(error["code"], "UNAVAILABLE");
    assert_eq!(front::http_status(front.port, "/readyz"), Some(503));
    client.ok(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_brought_up_to_date_however_often_it_is_joined() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::connect(front.port, &front::token("ada")).await;
    for n in 1..30u64 {
        let joined = join(&client, "lobby").await;
        assert_eq!(joined["streams"]["log"]["rev"], n - 1);
        client.ok(post(n as usize, "again")).await;
        assert_eq!(client.expect("msg.posted").await["rev"], n);
    }
    assert_eq!(client.events_named("msg.posted").len(), 29, "each once");
    client.ok(json!({"do": "room.leave", "room": "lobby"})).await;
    assert_eq!(client.refused(post(0, "gone")).await, "NOT_JOINED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_in_the_midst_of_writing_have_no_hole_and_no_double() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let writer = Client::connect(front.port, &front::token("writer")).await;
    join(&writer, "lobby").await;
    let write = async {
        for n in 0..400 {
            writer.ok(post(n, "stream")).await;
        }
    };
    let readers = async {
        let mut readers = Vec::new();
        for n in 0..20 {
            let reader = Client::connect(front.port, &front::token(&format!("reader{n}"))).await;
            let joined = join(&reader, "lobby").await;
            readers.push((reader, joined["streams"]["log"]["rev"].as_u64().unwrap()));
        }
        readers
    };
    let ((), readers) = tokio::join!(write, readers);
    for (reader, start) in readers {
        while reader.events_named("msg.posted").last().map_or(start, |event| event["rev"].as_u64().unwrap()) < 400 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let revs: Vec<u64> =
            reader.events_named("msg.posted").iter().map(|event| event["rev"].as_u64().unwrap()).collect();
        assert_eq!(revs, (start + 1..=400).collect::<Vec<_>>());
        assert!(reader.events_named("room.resync").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_noticed_and_everything_goes_on_afterwards() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    let bo = Client::connect(front.port, &front::token("bo")).await;
    join(&ada, "lobby").await;
    join(&bo, "lobby").await;
    // Everything but writing stops, as in a process that is paused.
    redis.ok(&["CLIENT", "PAUSE", "4000", "ALL"]);
    let began = Instant::now();
    let mut command = post(1, "held up");
    command["client"] = json!("c");
    command["seq"] = json!(1);
    let mut tries = 0;
    let answer = loop {
        tries += 1;
        match ada.ask(command.clone()).await {
            Ok(answer) => break answer,
            Err(error) => assert_eq!(error["code"], "UNAVAILABLE"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it did not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(tries > 2, "it was noticed and answered quickly");
    assert_eq!(answer["rev"], 1, "accepted once, however often it was sent");
    assert_eq!(bo.expect("msg.posted").await["rev"], 1);
    ada.ok(post(2, "and on")).await;
    assert_eq!(bo.expect("msg.posted").await["rev"], 2);
    assert_eq!(bo.events_named("msg.posted").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_that_redis_lost_is_listed_again() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.presence_ttl_ms = 900).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    ada.ok(json!({"do": "room.join", "room": "lobby", "presence": {"data": {"a": 1}}})).await;
    ada.ok(json!({"do": "presence.set", "room": "lobby", "data": {"b": 2, "name": "somebody else"}})).await;
    redis.ok(&["DEL", "stoa:{lobby}:presence"]);
    tokio::time::sleep(Duration::from_millis(900)).await;
    let joined = ada.ok(json!({"do": "presence.list", "room": "lobby"})).await;
    assert_eq!(joined["count"], 1);
    assert_eq!(joined["members"][0]["data"], json!({"a": 1, "b": 2, "name": "ada"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_served_apart_from_the_public() {
    let redis = Redis::start();
    let port = stoa_harness::redis::free_port();
    let front =
        Front::start_with(&redis, |settings| settings.metrics_listen = Some(([127, 0, 0, 1], port).into())).await;
    assert_eq!(front::http_status(port, "/metrics"), Some(200));
    assert_eq!(front::http_status(front.port, "/metrics"), Some(404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_everything_can_be_opened_again_and_nobody_is_sent_away() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    let opened = json!({"do": "doc.open", "room": "lobby", "doc": "main", "create": {"type": "text", "content": "a"}});
    join(&ada, "lobby").await;
    ada.ok(opened.clone()).await;
    ada.ok(post(1, "before")).await;
    assert_eq!(ada.expect("msg.posted").await["rev"], 1);
    redis.ok(&["FLUSHALL"]);
    let reset = ada.expect("room.reset").await;
    assert_eq!(reset["stream"], "");
    // A service writes before anybody is back.
    redis.ok(&["MSG.POST", "stoa:{lobby}:log", "service", "\"first\""]);
    let positions = json!({"log": "1.00000001:1", "doc:main": "1.00000001:0"});
    let joined = ada.ok(json!({"do": "room.join", "room": "lobby", "positions": positions})).await;
    assert_eq!(joined["streams"]["log"]["messages"][0]["body"], "first");
    assert_eq!(joined["streams"]["doc:main"]["outcome"], "missing");
    ada.ok(opened).await;
    redis.ok(&["MSG.POST", "stoa:{lobby}:log", "service", "\"second\""]);
    redis.ok(&["DOC.SUBMIT", "stoa:{lobby}:doc:main", "0", "[\"b\"]"]);
    assert_eq!(ada.expect("msg.posted").await["message"]["body"], "second");
    assert_eq!(ada.expect("doc.applied").await["op"], json!(["b"]));
    assert!(!ada.is_closed());
}
