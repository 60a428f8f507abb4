//! How a front leaves: it says so first, sends its people away one batch after the other, and never hangs.
#![allow(clippy::unwrap_used)]

use futures_util::StreamExt;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use stoa_harness::front::{SECRET, http_status};
use stoa_harness::redis::free_port;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, assert_eventually, front};

/// A front in a process of its own.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(redis: &Redis, flags: &[&str]) -> Process {
        let port = free_port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoa-front"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--redis-url", &redis.url(), "--jwt-secret", SECRET])
            .args(["--threads", "1", "--log", "info,fred=off"])
            .args(flags)
            // All that come here come from one address.
            .env("STOA_LIMITS", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Its log would fill the pipe and stop it.
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| eprintln!("front: {line}")));
        let process = Process { child, port };
        assert_eventually!(http_status(port, "/readyz") == Some(200));
        process
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn crowd(port: u16, size: usize) -> Vec<Client> {
    let arrivals = (0..size).map(|n| async move {
        let client = Client::connect(port, &front::token(&format!("u{n}"))).await;
        client.ok(json!({"do": "room.join", "room": "lobby", "presence": {"data": {}}})).await;
        client
    });
    // Not all at once: that is another story.
    futures_util::stream::iter(arrivals).buffer_unordered(10).collect().await
}

/// Takes part, is cut off the front's answers by reading nothing: its socket is full in the end.
async fn slow_reader(port: u16) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let handshake = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = [0; 64];
    assert!(stream.read(&mut head).await.unwrap() > 0);
    let frames = [
        json!({"id": 1, "do": "connect", "token": front::token("slow")}),
        json!({"id": 2, "do": "room.join", "room": "flooded"}),
    ];
    for frame in frames {
        let text = frame.to_string();
        // Masked with zeros, which leaves it as it is.
        let mut bytes = vec![0x81, 0x80 | 126];
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(text.as_bytes());
        stream.write_all(&bytes).await.unwrap();
    }
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_sent_away_in_batches_and_stays_listed_until_it_is_back() {
    let redis = Redis::start();
    let stays = Front::start(&redis).await;
    let watcher = Client::connect(stays.port, &front::token("watcher")).await;
    watcher.ok(json!({"do": "room.join", "room": "lobby"})).await;
    watcher.ok(json!({"do": "room.join", "room": "flooded"})).await;
    let mut leaves = Process::start(&redis, &["--drain-delay-ms", "500", "--drain-ms", "2000"]);
    let clients = crowd(leaves.port, 200).await;
    let _slow = slow_reader(leaves.port).await;
    let count = || redis.ok(&["PRESENCE.COUNT", "stoa:{lobby}:presence"]).int();
    assert_eventually!(count() == 200);
    // Enough for the slow one's socket to be full.
    for _ in 0..300 {
        watcher.ok(json!({"do": "room.emit", "room": "flooded", "name": "x", "data": "x".repeat(30_000)})).await;
    }

    let signalled = Instant::now();
    leaves.signal("-TERM");
    assert_eventually!(within Duration::from_millis(400), http_status(leaves.port, "/readyz") == Some(503));
    // Until the load balancer has noticed, whoever comes is served.
    let late = Client::connect(leaves.port, &front::token("late")).await;
    late.ok(json!({"do": "room.join", "room": "lobby"})).await;

    let closes = clients.iter().map(|client| async {
        let (code, _) = client.closed().await;
        (code, signalled.elapsed(), client.events_named("connection.closing"))
    });
    let closes = futures_util::future::join_all(closes).await;
    let mut after: Vec<Duration> = Vec::new();
    for (code, elapsed, closing) in &closes {
        assert_eq!(*code, 4000);
        assert_eq!(closing.len(), 1, "{closing:?}");
        assert!(closing[0]["retry_after_ms"].as_u64().unwrap() <= 5_000);
        after.push(*elapsed);
    }
    assert!(after.iter().all(|at| *at >= Duration::from_millis(500)), "nobody goes before the delay is over");
    let first_half = after.iter().filter(|at| **at < Duration::from_millis(1_500)).count();
    assert!((50..150).contains(&first_half), "{first_half} of 200 left in the first half of the time");
    assert!(std::net::TcpStream::connect(("127.0.0.1", leaves.port)).is_err(), "the listener is closed");

    let status = leaves.ended().await;
    assert!(status.success(), "{status}");
    let took = signalled.elapsed();
    assert!(took < Duration::from_secs(6), "the slow reader held it up: {took:?}");
    assert_eq!(count(), 200, "they are listed until their grace ends");
    let left = watcher.events_named("presence.changed").iter().filter(|event| event["left"] != json!([])).count();
    assert_eq!(left, 0, "nobody was told to have left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_served_until_a_connection_leaves() {
    let redis = Redis::start();
    let mut leaves = Process::start(&redis, &["--drain-delay-ms", "300", "--drain-ms", "1000"]);
    let client = Client::connect(leaves.port, &front::token("ada")).await;
    client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    leaves.signal("-TERM");
    let mut sent = Vec::new();
    while !client.is_closed() {
        sent.push(client.send(json!({"do": "msg.post", "room": "lobby", "body": "x"})));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let answered: Vec<u64> = client.answered().into_iter().filter(|id| sent.contains(id)).collect();
    assert_eq!(answered, sent[..answered.len()], "the answers are a beginning of what was asked");
    let posted = redis.ok(&["MSG.RANGE", "stoa:{lobby}:log", "COUNT", "1"]).field("rev").int();
    assert_eq!(posted as usize, answered.len(), "what was done was answered");
    assert!(answered.len() > 20, "it was served while it drained: {}", answered.len());
    assert!(leaves.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() {
    let redis = Redis::start();
    let mut leaves = Process::start(&redis, &["--drain-delay-ms", "60000", "--shutdown-timeout-ms", "120000"]);
    let client = Client::connect(leaves.port, &front::token("ada")).await;
    leaves.signal("-INT");
    assert_eventually!(http_status(leaves.port, "/readyz") == Some(503));
    client.ok(json!({"do": "ping"})).await;
    let again = Instant::now();
    leaves.signal("-INT");
    leaves.ended().await;
    assert!(again.elapsed() < Duration::from_secs(2), "{:?}", again.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_without_people_ends_at_once() {
    let redis = Redis::start();
    let mut leaves = Process::start(&redis, &[]);
    let began = Instant::now();
    leaves.signal("-TERM");
    assert!(leaves.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
