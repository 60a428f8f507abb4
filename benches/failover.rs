//! How long people wait when a server is replaced: by a hand-over, by a slot that moves, and because it died.
//!
//! `cargo bench --bench failover [part of a name]`; method and results: benches/README.md. Somebody posts without a pause in a
//! room of the server and in one of another, and somebody reads both: a message that is missing, doubled or out of order, or
//! a front that is not subscribed afterwards, fails the run. `STOA_RUNS` says how often (13; of deaths a third).
//!
//! Beside each of them a plain client writes to the same servers, without a front: its wait is what the servers and the machine take.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stoa_harness::nemesis::servers::switch_over;
use stoa_harness::talk::{Talk, Written};
use stoa_harness::{Cluster, Connection, Front, Redis, Reply, Sentinels, assert_eventually};

/// How long people talk before and after.
const CALM: Duration = Duration::from_millis(700);
/// Pause of a plain client between two writes.
const TALK_PAUSE: Duration = Duration::from_millis(2);
/// Pause after each step of a slot's move.
const MOVE_STEP: Duration = Duration::from_millis(5);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    let runs: usize = std::env::var("STOA_RUNS").map_or(13, |runs| runs.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!(
        "| what | runs | longest wait, ms: median, worst | of a plain client | in other rooms | of a plain client there | new primary known to first write |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, runs, measure) in [
        ("cluster, hand-over", runs, hand_over as fn(usize, &tokio::runtime::Runtime) -> Vec<Run>),
        ("cluster, slot moves", runs, slot_moves),
        ("cluster, primary dies", runs.div_ceil(3), cluster_death),
        ("sentinels, switch-over", runs.div_ceil(3), switched_over),
        ("sentinels, primary dies", runs.div_ceil(3), sentinel_death),
    ] {
        if is_chosen(name) {
            show(name, &measure(runs, &runtime));
        }
    }
}

/// What was seen once.
struct Run {
    here: Duration,
    plain: Duration,
    elsewhere: Option<(Duration, Duration)>,
    after_known: Option<Duration>,
}

fn show(name: &str, runs: &[Run]) {
    let figures = |of: &dyn Fn(&Run) -> Option<Duration>| {
        let mut all: Vec<Duration> = runs.iter().filter_map(of).collect();
        all.sort_unstable();
        all.last().map_or(String::new(), |worst| format!("{}, {}", all[all.len() / 2].as_millis(), worst.as_millis()))
    };
    let columns = [
        figures(&|run| Some(run.here)),
        figures(&|run| Some(run.plain)),
        figures(&|run| Some(run.elsewhere?.0)),
        figures(&|run| Some(run.elsewhere?.1)),
        figures(&|run| run.after_known),
    ];
    println!("| {name} | {} | {} |", runs.len(), columns.join(" | "));
}

async fn two_fronts(url: &str) -> [Front; 2] {
    [Front::start_on(url, |_| {}).await, Front::start_on(url, |_| {}).await]
}

/// A plain client that writes to a room's server as often as somebody who talks, and goes where it is sent, or else to the next
/// server, at once.
struct Plain {
    ends: Arc<AtomicBool>,
    writer: JoinHandle<Duration>,
}

impl Plain {
    fn start(room: &str, servers: &[Redis]) -> Plain {
        let ends = Arc::new(AtomicBool::new(false));
        let (key, ports): (String, Vec<u16>) = (format!("plain:{{{room}}}"), servers.iter().map(|s| s.port).collect());
        let is_over = ends.clone();
        Plain { ends, writer: std::thread::spawn(move || write(&key, &ports, &is_over)) }
    }

    fn end(self) -> Duration {
        self.ends.store(true, Ordering::Relaxed);
        self.writer.join().unwrap()
    }
}

/// Writes until it is over; gives the longest time between two writes.
fn write(key: &str, ports: &[u16], is_over: &AtomicBool) -> Duration {
    let mut connections: Vec<Option<Connection>> = ports.iter().map(|port| Connection::to(*port).ok()).collect();
    let (mut at, mut last, mut longest) = (0, None::<Instant>, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let reply = connections[at].as_mut().and_then(|connection| connection.try_call(&["INCR", key]).ok());
        match reply {
            Some(Reply::Int(_)) => {
                longest = longest.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
                last = Some(Instant::now());
                std::thread::sleep(TALK_PAUSE);
            }
            Some(Reply::Error(error)) => {
                let named = error.strip_prefix("MOVED ").and_then(|to| to.rsplit(':').next()?.parse().ok());
                let named = named.and_then(|port: u16| ports.iter().position(|known| *known == port));
                at = named.unwrap_or((at + 1) % ports.len());
                std::thread::sleep(if named.is_some() { Duration::ZERO } else { TALK_PAUSE });
            }
            _ => {
                connections[at] = Connection::to(ports[at]).ok();
                at = (at + 1) % ports.len();
                std::thread::sleep(TALK_PAUSE);
            }
        }
    }
    longest
}

/// Two talk while something happens; says when it was known to have happened.
async fn around(
    fronts: &[Front; 2],
    (room, elsewhere): (&str, Option<&str>),
    plain: [Plain; 2],
    happen: impl FnOnce() -> Option<Instant>,
) -> Run {
    let ports = (fronts[0].port, fronts[1].port);
    let here = Talk::start(room, ports).await;
    let elsewhere = match elsewhere {
        Some(room) => Some(Talk::start(room, ports).await),
        None => None,
    };
    tokio::time::sleep(CALM).await;
    let known_at = tokio::task::block_in_place(happen);
    tokio::time::sleep(CALM).await;
    let here = here.end().await;
    let [plain_here, plain_elsewhere] = plain.map(Plain::end);
    let elsewhere = match elsewhere {
        Some(talk) => Some((talk.end().await.longest_gap, plain_elsewhere)),
        None => None,
    };
    let after = |known_at: Instant, written: &Written| {
        written.times.iter().find(|at| **at > known_at).map(|at| at.duration_since(known_at))
    };
    let after_known = known_at.and_then(|at| after(at, &here));
    Run { here: here.longest_gap, plain: plain_here, elsewhere, after_known }
}

/// Waits until both fronts hear of a room where it is now.
fn are_subscribed(server: &Redis, room: &str) {
    let hear = || server.ok(&["PUBSUB", "SHARDNUMSUB", &format!("stoa:{{{room}}}")]).items()[1].int();
    assert_eventually!(hear() == 2, "{} fronts hear of {room}", hear());
}

fn hand_over(runs: usize, runtime: &tokio::runtime::Runtime) -> Vec<Run> {
    runtime.block_on(async {
        let cluster = Cluster::start(3, 1, Redis::options);
        let fronts = two_fronts(&cluster.url(0)).await;
        let rooms = [0, 1, 2].map(|shard| cluster.room_on(shard, "hall"));
        let mut seen = Vec::new();
        for run in 0..runs {
            // Each in its turn: a server may not be elected again at once.
            let (room, elsewhere) = (&rooms[run % 3], &rooms[(run + 1) % 3]);
            let replica = cluster.replica_of(cluster.primary_of(room));
            cluster.await_election(replica);
            let plain = [room, elsewhere].map(|room| Plain::start(room, &cluster.nodes));
            let happen = || {
                cluster.hand_over(replica);
                None
            };
            seen.push(around(&fronts, (room, Some(elsewhere)), plain, happen).await);
            are_subscribed(&cluster.nodes[cluster.primary_of(room)], room);
        }
        seen
    })
}

fn slot_moves(runs: usize, runtime: &tokio::runtime::Runtime) -> Vec<Run> {
    runtime.block_on(async {
        let cluster = Cluster::start(3, 0, Redis::options);
        let fronts = two_fronts(&cluster.url(0)).await;
        let (room, elsewhere) = (cluster.room_on(0, "hall"), cluster.room_on(2, "hall"));
        let mut seen = Vec::new();
        for run in 0..runs {
            let happen = || {
                cluster.migrate(&room, (run + 1) % 2, MOVE_STEP);
                None
            };
            let plain = [&room, &elsewhere].map(|room| Plain::start(room, &cluster.nodes));
            seen.push(around(&fronts, (&room, Some(&elsewhere)), plain, happen).await);
            are_subscribed(&cluster.nodes[cluster.primary_of(&room)], &room);
        }
        seen
    })
}

fn cluster_death(runs: usize, runtime: &tokio::runtime::Runtime) -> Vec<Run> {
    runtime.block_on(async {
        let mut seen = Vec::new();
        for _ in 0..runs {
            let mut cluster = Cluster::start(3, 1, || Redis::options().aof());
            let fronts = two_fronts(&cluster.url(1)).await;
            let (room, elsewhere) = (cluster.room_on(0, "hall"), cluster.room_on(1, "hall"));
            let replica = cluster.replica_of(0);
            let plain = [&room, &elsewhere].map(|room| Plain::start(room, &cluster.nodes));
            let happen = || {
                cluster.nodes[0].kill();
                while cluster.nodes[replica].info("role").as_deref() != Some("master") {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Some(Instant::now())
            };
            seen.push(around(&fronts, (&room, Some(&elsewhere)), plain, happen).await);
            are_subscribed(&cluster.nodes[replica], &room);
        }
        seen
    })
}

fn sentinel_death(runs: usize, runtime: &tokio::runtime::Runtime) -> Vec<Run> {
    runtime.block_on(async {
        let mut seen = Vec::new();
        for _ in 0..runs {
            let mut servers = Sentinels::start(2, 3, || Redis::options().aof());
            let fronts = two_fronts(&servers.url()).await;
            let plain = ["hall"; 2].map(|room| Plain::start(room, &servers.servers));
            let happen = || {
                let before = servers.primary();
                servers.servers[before].kill();
                servers.switched(before);
                Some(Instant::now())
            };
            seen.push(around(&fronts, ("hall", None), plain, happen).await);
            are_subscribed(&servers.servers[servers.primary()], "hall");
        }
        seen
    })
}

fn switched_over(runs: usize, runtime: &tokio::runtime::Runtime) -> Vec<Run> {
    runtime.block_on(async {
        let mut seen = Vec::new();
        for _ in 0..runs {
            let servers = Sentinels::start(2, 3, Redis::options);
            let fronts = two_fronts(&servers.url()).await;
            let plain = ["hall"; 2].map(|room| Plain::start(room, &servers.servers));
            let happen = || {
                switch_over(&servers);
                None
            };
            seen.push(around(&fronts, ("hall", None), plain, happen).await);
            are_subscribed(&servers.servers[servers.primary()], "hall");
        }
        seen
    })
}
