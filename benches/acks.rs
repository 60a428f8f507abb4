//! What it costs to wait for a replica, or for the disk: posts through one front, so many on their way at once, beside
//! posts that are answered from memory, in the same run.
//!
//! `cargo bench --bench acks`; method and results: benches/README.md. A refused post fails the run.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stoa_harness::process::FrontProcess;
use stoa_harness::{Redis, Reply, Sentinels, front};
use tokio_tungstenite::tungstenite::Message;

/// Posts of one connection on their way at once: as many as a front takes from it.
const WINDOW: usize = 32;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

fn main() {
    println!("| servers | in flight | answered | posts/s | ÷ memory | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    let synced = || Redis::options().line("appendonly yes").line("appendfsync everysec");
    let primary = synced().start();
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    let has_waitaof = matches!(&primary.ok(&["COMMAND", "INFO", "WAITAOF"]).items()[0], Reply::Array(_));
    let kinds: &[&str] = if has_waitaof { &["memory", "replica:1", "disk"] } else { &["memory", "replica:1"] };
    compare("one replica", &primary.url(), kinds);
    drop((primary, replica));
    // Where there are more replicas than a post waits for, sentinels are asked as well.
    let servers = Sentinels::start(2, 3, synced);
    compare("sentinels, two replicas", &servers.url(), &["memory", "replica:1", "replica:2"]);
}

/// A front for each kind of answer, in turns; the first is what the others are compared with.
fn compare(servers: &str, url: &str, kinds: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let start = |kind: &&str| FrontProcess::start(url, &["--ack", kind], directory.path());
    let fronts: Vec<FrontProcess> = kinds.iter().map(start).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for connections in [1, 4, 16] {
        let mut rounds: Vec<Vec<(f64, Vec<f64>)>> = kinds.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (kind, front) in fronts.iter().enumerate() {
                rounds[kind].push(runtime.block_on(flood(front.port, connections)));
            }
        }
        let ratio = |kind: usize| {
            let ratios = rounds[kind].iter().zip(&rounds[0]).map(|(one, memory)| one.0 / memory.0);
            median(ratios.collect())
        };
        for (kind, name) in kinds.iter().enumerate() {
            let rate = median(rounds[kind].iter().map(|(rate, _)| *rate).collect());
            let mut times: Vec<f64> = rounds[kind].iter().flat_map(|(_, times)| times.iter().copied()).collect();
            times.sort_unstable_by(f64::total_cmp);
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
            let (in_flight, ratio) = (connections * WINDOW, ratio(kind));
            println!(
                "| {servers} | {in_flight} | {name} | {rate:.0} | {ratio:.2} | {:.2} | {:.2} |",
                at(0.5),
                at(0.99)
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// So many connections keep their windows full for a round: posts a second, and how long each took in milliseconds.
async fn flood(port: u16, connections: usize) -> (f64, Vec<f64>) {
    let posts = (0..connections).map(|number| post(port, number));
    let times = futures_util::future::join_all(posts).await.concat();
    (times.len() as f64 / ROUND.as_secs_f64(), times)
}

static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// Posts for a round into a room of its own.
async fn post(port: u16, number: usize) -> Vec<f64> {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{port}/ws")).await.unwrap();
    let room = format!("room{number}");
    for frame in [
        json!({"id": 0, "do": "connect", "token": front::token(&format!("u{number}"))}),
        json!({"id": 0, "do": "room.join", "room": room}),
    ] {
        socket.send(Message::text(frame.to_string())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert!(answer.contains("\"ok\""), "{answer}");
    }
    // A client of its own each time: its sequences begin anew.
    let client = format!("c{}", CLIENTS.fetch_add(1, Ordering::Relaxed));
    let (mut sent, mut times, mut next) = (HashMap::new(), Vec::new(), 1_u64);
    let frame = |next: &mut u64, sent: &mut HashMap<u64, Instant>| {
        let id = *next;
        *next += 1;
        sent.insert(id, Instant::now());
        format!(
            r#"{{"id":{id},"do":"msg.post","room":"{room}","body":"sixteen letters.","client":"{client}","seq":{id}}}"#
        )
    };
    let began = Instant::now();
    let first: Vec<String> = (0..WINDOW).map(|_| frame(&mut next, &mut sent)).collect();
    socket.send(Message::text(first.join("\n"))).await.unwrap();
    while began.elapsed() < ROUND {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let mut frames = Vec::new();
        for line in text.split('\n') {
            let answer: Value = serde_json::from_str(line).unwrap();
            let Some(id) = answer["id"].as_u64() else { continue };
            assert!(answer.get("ok").is_some(), "{answer}");
            times.push(sent.remove(&id).unwrap().elapsed().as_secs_f64() * 1_000.0);
            frames.push(frame(&mut next, &mut sent));
        }
        if !frames.is_empty() {
            socket.send(Message::text(frames.join("\n"))).await.unwrap();
        }
    }
    times
}
