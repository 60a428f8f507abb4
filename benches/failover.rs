//! How long people wait when a server is replaced: by a hand-over, by a slot that moves, and because it died.
//!
//! `cargo bench --bench failover [part of a name]`; method and results: benches/README.md. Somebody posts without a pause in a
//! room of the server and in one of another, and somebody reads both: a message that is missing, doubled or out of order
//! fails the run. `STOA_RUNS` says how often (13; of deaths a third).
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

use std::time::{Duration, Instant};
use stoa_harness::nemesis::servers::switch_over;
use stoa_harness::talk::{Talk, Written};
use stoa_harness::{Cluster, Front, Redis, Sentinels};

/// How long people talk before and after.
const CALM: Duration = Duration::from_millis(700);
/// Pause after each step of a slot's move.
const MOVE_STEP: Duration = Duration::from_millis(5);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    let runs: usize = std::env::var("STOA_RUNS").map_or(13, |runs| runs.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("| what | runs | longest wait, ms: median, worst | in other rooms | new primary known to first write |");
    println!("|---|---|---|---|---|");
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
    elsewhere: Option<Duration>,
    after_known: Option<Duration>,
}

fn show(name: &str, runs: &[Run]) {
    let figures = |of: &dyn Fn(&Run) -> Option<Duration>| {
        let mut all: Vec<Duration> = runs.iter().filter_map(of).collect();
        all.sort_unstable();
        all.last().map_or(String::new(), |worst| format!("{}, {}", all[all.len() / 2].as_millis(), worst.as_millis()))
    };
    let count = runs.len();
    let (here, elsewhere) = (figures(&|run| Some(run.here)), figures(&|run| run.elsewhere));
    println!("| {name} | {count} | {here} | {elsewhere} | {} |", figures(&|run| run.after_known));
}

async fn two_fronts(url: &str) -> [Front; 2] {
    [Front::start_on(url, |_| {}).await, Front::start_on(url, |_| {}).await]
}

/// Two talk while something happens; says when it was known to have happened.
async fn around(fronts: &[Front; 2], rooms: (&str, Option<&str>), happen: impl FnOnce() -> Option<Instant>) -> Run {
    let ports = (fronts[0].port, fronts[1].port);
    let here = Talk::start(rooms.0, ports).await;
    let elsewhere = match rooms.1 {
        Some(room) => Some(Talk::start(room, ports).await),
        None => None,
    };
    tokio::time::sleep(CALM).await;
    let known_at = tokio::task::block_in_place(happen);
    tokio::time::sleep(CALM).await;
    let here = here.end().await;
    let elsewhere = match elsewhere {
        Some(talk) => Some(talk.end().await.longest_gap),
        None => None,
    };
    let after = |known_at: Instant, written: &Written| {
        written.times.iter().find(|at| **at > known_at).map(|at| at.duration_since(known_at))
    };
    Run { here: here.longest_gap, elsewhere, after_known: known_at.and_then(|at| after(at, &here)) }
}

fn hand_over(runs: usize, runtime: &tokio::runtime::Runtime) -> Vec<Run> {
    runtime.block_on(async {
        let cluster = Cluster::start(3, 1, Redis::options);
        let fronts = two_fronts(&cluster.url(0)).await;
        let (room, elsewhere) = (cluster.room_on(0, "hall"), cluster.room_on(1, "hall"));
        let mut seen = Vec::new();
        for _ in 0..runs {
            let happen = || {
                cluster.hand_over(cluster.replica_of(cluster.primary_of(&room)));
                None
            };
            seen.push(around(&fronts, (&room, Some(&elsewhere)), happen).await);
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
            seen.push(around(&fronts, (&room, Some(&elsewhere)), happen).await);
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
            let happen = || {
                cluster.nodes[0].kill();
                while cluster.nodes[replica].info("role").as_deref() != Some("master") {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Some(Instant::now())
            };
            seen.push(around(&fronts, (&room, Some(&elsewhere)), happen).await);
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
            let happen = || {
                let before = servers.primary();
                servers.servers[before].kill();
                servers.switched(before);
                Some(Instant::now())
            };
            seen.push(around(&fronts, ("hall", None), happen).await);
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
            let happen = || {
                switch_over(&servers);
                None
            };
            seen.push(around(&fronts, ("hall", None), happen).await);
        }
        seen
    })
}
