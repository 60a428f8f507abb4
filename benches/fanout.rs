//! One message to a thousand people: how long it takes to reach them, and what it costs front and Redis.
//!
//! `cargo bench --bench fanout [members] [messages per second] [seconds]`. Method and results: benches/README.md.
//! Each member counts what it received: a message that is missing or doubled fails the run.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

use futures_util::{SinkExt, StreamExt};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use stoa_harness::{Redis, front};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// Longest wait for the last message, after the last was sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A front as operators run it: a process of its own, in the release profile.
struct FrontProcess {
    process: Child,
    port: u16,
}

impl FrontProcess {
    fn start(redis: &Redis) -> FrontProcess {
        let directory = stoa_harness::module::build_directory();
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--package", "stoa-front", "--target-dir"])
            .arg(directory.parent().unwrap())
            .status();
        assert!(built.unwrap().success(), "the front does not build");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(directory.join("stoa-front"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--redis-url", &redis.url(), "--threads", "1"])
            .args(["--jwt-secret", front::SECRET, "--log", "warn"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let front = FrontProcess { process, port };
        let started = Instant::now();
        while front::http_status(port, "/readyz") != Some(200) {
            assert!(started.elapsed() < PATIENCE, "the front is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        front
    }

    fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for FrontProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// CPU that all threads of a process have used, in nanoseconds.
fn cpu_ns(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
    };
    threads.flatten().map(of).sum()
}

/// Somebody in the room: joins, says so, and notes how late each message is.
async fn member(port: u16, token: String, messages: usize, start: Instant, ready: Arc<AtomicUsize>) -> Vec<u32> {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{port}/ws")).await.unwrap();
    let connect = format!("{{\"id\":1,\"do\":\"connect\",\"token\":\"{token}\"}}");
    socket.send(Message::text(connect)).await.unwrap();
    socket.send(Message::text("{\"id\":2,\"do\":\"room.join\",\"room\":\"hall\"}")).await.unwrap();
    let mut delays_us = Vec::with_capacity(messages);
    while delays_us.len() < messages {
        let Some(Ok(message)) = socket.next().await else { panic!("the connection ended") };
        let Message::Text(frames) = message else { continue };
        for frame in frames.split('\n') {
            if frame.starts_with("{\"id\":2") {
                assert!(frame.contains("\"ok\""), "{frame}");
                ready.fetch_add(1, Ordering::Relaxed);
            }
            let Some((_, rest)) = frame.split_once("\"sent_us\":") else { continue };
            let sent_us: u64 = rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap();
            delays_us.push((start.elapsed().as_micros() as u64 - sent_us) as u32);
        }
    }
    delays_us
}

async fn run(members: usize, rate: usize, seconds: usize) {
    let redis = Redis::start();
    let front = FrontProcess::start(&redis);
    let info = redis.call(&["INFO", "server"]).text();
    let redis_pid: u32 = info.lines().find_map(|l| l.strip_prefix("process_id:")).unwrap().trim().parse().unwrap();
    let idle_bytes = front.memory_bytes();
    let (messages, start, ready) = (rate * seconds, Instant::now(), Arc::new(AtomicUsize::new(0)));
    let people: Vec<JoinHandle<Vec<u32>>> = (0..members)
        .map(|n| tokio::spawn(member(front.port, front::token(&format!("user{n}")), messages, start, ready.clone())))
        .collect();
    while ready.load(Ordering::Relaxed) < members {
        assert!(start.elapsed() < PATIENCE, "only {} of {members} joined", ready.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let joined = start.elapsed();
    let joined_bytes = front.memory_bytes();
    let before = (cpu_ns(front.process.id()), cpu_ns(redis_pid));
    let sending = Instant::now();
    for n in 0..messages {
        tokio::time::sleep_until((sending + Duration::from_secs(1) * n as u32 / rate as u32).into()).await;
        let body = format!("{{\"sent_us\":{},\"text\":\"{:40}\"}}", start.elapsed().as_micros(), "hello");
        let posted = redis.call(&["MSG.POST", "stoa:{hall}:log", "service", &body, "TYPE", "bench"]);
        assert!(!posted.is_error(), "{posted:?}");
    }
    let mut delays_us = Vec::with_capacity(members * messages);
    for person in people {
        delays_us.extend(tokio::time::timeout(PATIENCE, person).await.expect("messages are missing").unwrap());
    }
    let after = (cpu_ns(front.process.id()), cpu_ns(redis_pid));
    delays_us.sort_unstable();
    assert_eq!(delays_us.len(), members * messages);
    let at = |share: f64| f64::from(delays_us[((delays_us.len() - 1) as f64 * share) as usize]) / 1000.0;
    let per_million = |ns: u64| ns as f64 / 1e9 / delays_us.len() as f64 * 1e6;
    println!(
        "| {members} | {rate} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} | {:.0} | {:.1} |",
        delays_us.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        per_million(after.0 - before.0),
        per_million(after.1 - before.1),
        joined.as_millis(),
        (joined_bytes - idle_bytes) as f64 / 1024.0 / members as f64,
    );
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    println!(
        "| members | messages/s | deliveries | p50 ms | p95 ms | p99 ms | front CPU s per million | Redis CPU s per million | all joined after ms | front KiB per member |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    match numbers.as_slice() {
        [members, rate, seconds] => runtime.block_on(run(*members, *rate, *seconds)),
        _ => [(10, 100), (1000, 20), (1000, 60)]
            .iter()
            .for_each(|(members, rate)| runtime.block_on(run(*members, *rate, 5))),
    }
}
