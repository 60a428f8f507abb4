//! How late what ends by itself ends: with 100,000 people waiting, and when 20,000 end together.
//!
//! `cargo bench --bench presence`. Method and results: benches/README.md. Everybody who has to leave is counted: an end
//! that is never told stops the run.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stoa_harness::{Connection, Redis, Reply};

const ROOMS: usize = 1_000;
const WAITING: usize = 100_000;
const ENDING: usize = 20_000;
/// A lease that outlasts the bench.
const LONG_MS: u64 = 600_000;
/// Longest wait for an announcement.
const PATIENCE: Duration = Duration::from_secs(30);

fn key(room: usize) -> String {
    format!("stoa:{{room{room}}}:presence")
}

fn join(key: String, n: usize, node: &str, ttl_ms: u64) -> Vec<String> {
    vec!["PRESENCE.JOIN".into(), key, format!("u{n}"), format!("c{n}"), node.into(), ttl_ms.to_string()]
}

/// Sends many commands and then reads their replies; an error stops the run.
fn send_all(connection: &mut Connection, commands: impl Iterator<Item = Vec<String>>) {
    let mut pending = 0;
    let settle = |connection: &mut Connection, pending: &mut usize| {
        (0..std::mem::take(pending)).for_each(|_| assert!(!connection.read().unwrap().is_error()));
    };
    for command in commands {
        let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        connection.send(&words).unwrap();
        pending += 1;
        if pending == 200 {
            settle(connection, &mut pending);
        }
    }
    settle(connection, &mut pending);
}

/// Listens to rooms.
fn listen(redis: &Redis, rooms: std::ops::Range<usize>) -> Connection {
    let mut connection = redis.connect();
    for room in rooms {
        connection.send(&[b"SSUBSCRIBE", format!("stoa:{{room{room}}}").as_bytes()]).unwrap();
        connection.read().unwrap();
    }
    connection
}

/// The next announcement that somebody left: the room, how many are in it now, and when it came.
fn next_departure(connection: &mut Connection) -> (usize, u64, Instant) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "an end was not told");
        let Reply::Array(parts) = connection.read().unwrap() else { continue };
        if parts[0].text() != "smessage" {
            continue;
        }
        let (_, frame) = stoa_core::event::decode(parts[2].bytes()).unwrap();
        let frame: serde_json::Value = serde_json::from_slice(frame).unwrap();
        if frame["left"].as_array().is_some_and(|left| !left.is_empty()) {
            let room = frame["room"].as_str().unwrap().trim_start_matches("room").parse().unwrap();
            return (room, frame["count"].as_u64().unwrap(), Instant::now());
        }
    }
}

fn percentile(values: &mut [Duration], part: f64) -> f64 {
    values.sort();
    values[((values.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
}

/// 100,000 people in 1,000 rooms wait, half of them in a grace; in 500 of these rooms somebody's lease ends, one after
/// the other.
fn lateness(redis: &Redis) {
    let mut connection = redis.connect();
    send_all(&mut connection, (0..WAITING).map(|n| join(key(n % ROOMS), n, &format!("front{}", n % 3), LONG_MS)));
    let leave =
        |n: usize| vec!["PRESENCE.LEAVE".into(), key(n % ROOMS), format!("c{n}"), "GRACE".into(), LONG_MS.to_string()];
    send_all(&mut connection, (0..WAITING / 2).map(leave));
    let mut listener = listen(redis, 0..ROOMS / 2);
    let mut due = vec![Instant::now(); ROOMS / 2];
    for (room, due) in due.iter_mut().enumerate() {
        let ttl_ms = 3_000 + 7 * room as u64;
        connection.ok(&join(key(room), WAITING + room, "dead", ttl_ms).iter().map(String::as_str).collect::<Vec<_>>());
        *due = Instant::now() + Duration::from_millis(ttl_ms);
    }
    let mut late = Vec::new();
    while late.len() < due.len() {
        let (room, _, at) = next_departure(&mut listener);
        late.push(at.saturating_duration_since(due[room]));
    }
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| percentile(&mut late, part));
    println!("| an end among {WAITING} who wait, {} ends | {p50:.1} | {p99:.1} | {max:.1} | |", due.len());
}

/// 20,000 people end together, in so many rooms: how late the last is told, and the longest PING meanwhile.
fn together(rooms: usize) {
    let redis = settled();
    let mut connection = redis.connect();
    let ttl_ms = 4_000;
    send_all(&mut connection, (0..ENDING).map(|n| join(key(n % rooms), n, "dead", LONG_MS)));
    let mut listener = listen(&redis, 0..rooms);
    let beat = |room: usize| vec!["PRESENCE.BEAT".into(), key(room), "dead".into(), ttl_ms.to_string()];
    send_all(&mut connection, (0..rooms).map(beat));
    let due = Instant::now() + Duration::from_millis(ttl_ms);
    let stop = Arc::new(AtomicBool::new(false));
    let pings = std::thread::spawn({
        let (stop, mut connection) = (Arc::clone(&stop), redis.connect());
        move || {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                connection.ok(&["PING"]);
                times.push(began.elapsed());
                std::thread::sleep(Duration::from_micros(200));
            }
            times
        }
    });
    let (mut late, mut left) = (Vec::new(), rooms);
    while left > 0 {
        let (_, count, at) = next_departure(&mut listener);
        if count == 0 {
            left -= 1;
            late.push(at.saturating_duration_since(due));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut times = pings.join().unwrap();
    let ping = percentile(&mut times, 1.0);
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| percentile(&mut late, part));
    println!("| {ENDING} end together in {rooms} rooms | {p50:.1} | {p99:.1} | {max:.1} | {ping:.1} |");
}

/// A server in whose lists everybody ends on time: nobody was there when it started.
fn settled() -> Redis {
    Redis::options().module_argument("takeover-grace-ms").module_argument("0").start()
}

fn main() {
    println!("| what | p50 late, ms | p99, ms | latest, ms | longest PING, ms |\n|---|---|---|---|---|");
    lateness(&settled());
    for rooms in [1, 20, 200] {
        together(rooms);
    }
}
