//! What following costs: CPU of a replica's main thread per command that its primary carries out, beside the primary's.
//!
//! `cargo bench --bench replica [part of a name]`. Method and results: benches/README.md. A replica gets decisions and takes
//! none, so it has to need at most half; and what it holds afterwards has to be the same.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

mod load;

use load::cases::{CASES, COMMANDS, Case};
use load::{CONNECTIONS, PIPELINE, Server, median};
use stoa_harness::{Redis, assert_eventually};

/// Rounds; all cases take turns, the median is shown.
const ROUNDS: usize = 5;
/// How much of the primary's time a replica may take.
const SHARE_MAX: f64 = 0.5;

/// The commands that change what is stored, and plain ones beside them.
const WRITES: &[&str] = &[
    "INCR",
    "HSET",
    "XADD MAXLEN",
    "RATE.TAKE, allowed",
    "PRESENCE.JOIN",
    "PRESENCE.BEAT, 1,000 people",
    "PRESENCE.SET",
    "DOC.SUBMIT at the head, 10 KB",
    "DOC.SUBMIT at the head, 4 MB",
    "DOC.SUBMIT 10 behind",
    "MSG.POST",
    "MSG.POST with two limits",
    "MSG.POST with identity",
    "MSG.REACT, 10,000 messages",
    "MSG.READ, 1,000 people",
    "MSG.APPEND, 20 bytes",
];

fn main() {
    let only = std::env::args().nth(1).filter(|a| !a.starts_with("--")).map(|part| part.to_lowercase());
    let wanted = |case: &&Case| {
        WRITES.contains(&case.name) && only.as_ref().is_none_or(|part| case.name.to_lowercase().contains(part.as_str()))
    };
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let replica = |primary: &Redis| Redis::options().line("repl-backlog-size 256mb").replica_of(primary).start();
    let mut primary = Server::on(Redis::options().line("repl-backlog-size 256mb").start());
    let replica = Server::on(replica(&primary.redis));
    replica.redis.in_sync_with(&primary.redis);
    let mut figures: Vec<[Vec<f64>; 2]> = cases.iter().map(|_| Default::default()).collect();
    for round in 0..=ROUNDS {
        for (case, figures) in cases.iter().zip(&mut figures) {
            (case.prepare)(&mut primary);
            replica.redis.in_sync_with(&primary.redis);
            let before = replica.cpu_ns();
            let (ns, errors) = primary.load(COMMANDS, case.name.starts_with("DOC.SUBMIT"), case.command);
            assert!(errors == 0, "{}: {errors} replies were errors", case.name);
            replica.redis.in_sync_with(&primary.redis);
            // The first round warms up.
            if round > 0 {
                figures[0].push(ns);
                figures[1].push((replica.cpu_ns() - before) as f64 / COMMANDS as f64);
            }
        }
    }
    // Limits end by themselves, on the primary first.
    assert_eventually!(replica.redis.digest() == primary.redis.digest());
    println!(
        "{CONNECTIONS} connections, pipeline {PIPELINE}, {COMMANDS} commands a round, median of {ROUNDS} rounds\n\n\
         | command | primary CPU, µs | replica CPU, µs | replica ÷ primary |\n|---|---|---|---|"
    );
    let mut over = Vec::new();
    for (case, [on_primary, on_replica]) in cases.iter().zip(&mut figures) {
        let mut shares: Vec<f64> = on_replica.iter().zip(on_primary.iter()).map(|(a, b)| a / b).collect();
        let (primary, replica, share) = (median(on_primary), median(on_replica), median(&mut shares));
        println!("| {} | {:.2} | {:.2} | {share:.2} |", case.name, primary / 1000.0, replica / 1000.0);
        if share > SHARE_MAX && case.name.contains('.') {
            over.push(case.name);
        }
    }
    assert!(over.is_empty(), "a replica needs more than half of what its primary does for {over:?}");
}
