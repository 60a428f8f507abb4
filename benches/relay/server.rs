//! The servers under load: each a process of its own, on a core of its own.

use crate::wire::Wire;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use stoa_harness::{Redis, front, module};

/// Longest wait for a server to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clock ticks per second in /proc (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;
/// Loads are more than people are.
const NO_LIMITS: [&str; 2] = ["--limits", "off"];

/// A front of Stoa, or Node's Socket.IO, and its Redis.
pub(crate) struct Server {
    pub(crate) wire: Wire,
    pub(crate) port: u16,
    process: Child,
    /// Ends with the server.
    redis: Redis,
    redis_pid: u32,
}

/// Another front on the Redis of a server; ends when it is dropped.
pub(crate) struct Front {
    pub(crate) port: u16,
    process: Child,
}

impl Front {
    /// What it holds in memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.process.id())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts it with an empty Redis.
    pub(crate) fn start(wire: Wire) -> Server {
        let redis = Redis::start();
        let info = redis.call(&["INFO", "server"]).text();
        let redis_pid = info.lines().find_map(|l| l.strip_prefix("process_id:")).unwrap().trim().parse().unwrap();
        pin(redis_pid, 1);
        let (process, port) = match wire {
            Wire::Stoa | Wire::Gateway => stoa(&redis, &NO_LIMITS),
            Wire::SocketIo => node(&redis),
        };
        pin(process.id(), 0);
        Server { wire, port, process, redis, redis_pid }
    }

    /// Seconds of processor time of the server and of Redis.
    pub(crate) fn cpu_s(&self) -> (f64, f64) {
        (cpu_s(self.process.id()), cpu_s(self.redis_pid))
    }

    /// What the server holds in memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident_bytes(self.process.id())
    }

    /// Starts one more front of Stoa, wherever the system puts it.
    pub(crate) fn another_front(&self) -> Front {
        let (process, port) = stoa(&self.redis, &NO_LIMITS);
        Front { port, process }
    }

    /// Starts one more front, on the core of the first, which rests: with the standard limits and these arguments.
    pub(crate) fn front_with_limits(&self, arguments: &[&str]) -> Front {
        let (process, port) = stoa(&self.redis, arguments);
        pin(process.id(), 0);
        Front { port, process }
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Keeps a process on one core, so that servers and load do not take turns.
pub(crate) fn pin(pid: u32, core: usize) {
    let pinned =
        Command::new("taskset").args(["-acp", &core.to_string(), &pid.to_string()]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "taskset cannot keep {pid} on core {core}");
}

fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

fn stoa(redis: &Redis, arguments: &[&str]) -> (Child, u16) {
    let directory = module::build_directory();
    let binary = std::env::var_os("STOA_FRONT_BINARY").map_or(directory.join("stoa-front"), Into::into);
    if std::env::var_os("STOA_FRONT_BINARY").is_none() {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--package", "stoa-front", "--target-dir"])
            .arg(directory.parent().unwrap())
            .status();
        assert!(built.unwrap().success(), "the front does not build");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = Command::new(binary)
        .args(["--listen", &format!("127.0.0.1:{port}"), "--redis-url", &redis.url(), "--threads", "1"])
        .args(["--jwt-secret", front::SECRET, "--log", "warn"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while front::http_status(port, "/readyz") != Some(200) {
        assert!(started.elapsed() < PATIENCE, "the front is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    (process, port)
}

fn node(redis: &Redis) -> (Child, u16) {
    let mut process = Command::new("node")
        .arg("relay-server.mjs")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers"))
        .envs([("REDIS_URL", redis.url().as_str()), ("SECRET", front::SECRET), ("NODE_ENV", "production")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("node does not start");
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port =
        line.trim().parse().unwrap_or_else(|_| panic!("the peers are not installed: cd benches/peers && npm ci"));
    (process, port)
}
