//! What a command costs Redis: CPU of the server's main thread per command, beside plain commands in the same run.
//!
//! `cargo bench --bench commands`. Method and results: benches/README.md. Every run counts the replies that are not
//! errors, so a command that is fast because it fails is reported as broken.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

mod load;

use load::cases::{CASES, COMMANDS, Case, MESSAGES, TALK, talk};
use load::{CONNECTIONS, PIPELINE, Server, median};

/// Rounds; all cases take turns, the median is shown.
const ROUNDS: usize = 7;

/// What a message takes: plain, and with three reactions of one of fifty users each.
fn state_bytes(server: &mut Server) {
    println!(
        "\n| 10,000 messages with identities | DUMP, bytes per message | MEMORY USAGE, bytes per message |\n|---|---|---|"
    );
    for reactions in [0, 3] {
        talk(server, MESSAGES);
        server.load(MESSAGES * reactions, false, |n| {
            let (message, which) = (1 + n % MESSAGES, n / MESSAGES);
            let (user, reaction) = (format!("user{}", (message + 7 * which) % 50), ["👍", "🎉", "🚀"][which]);
            vec!["MSG.REACT".into(), TALK.into(), message.to_string(), user, reaction.into()]
        });
        let dump = server.redis.call(&["DUMP", TALK]).bytes().len();
        let memory = server.redis.call(&["MEMORY", "USAGE", TALK]).int() as usize;
        println!("| {reactions} reactions each | {} | {} |", dump / MESSAGES, memory / MESSAGES);
    }
}

/// What a command is compared with: what else a service would call, the figures of which add up.
const PAIRS: &[(&str, &[&str])] = &[
    ("MSG.POST with two limits", &["MSG.POST", "RATE.TAKE, allowed", "RATE.TAKE, allowed"]),
    ("MSG.POST with identity", &["XADD MAXLEN", "SPUBLISH"]),
    ("MSG.POST with identity", &["  append, dedupe, publish in Lua"]),
    ("PRESENCE.JOIN", &["HSET", "SPUBLISH"]),
    ("RATE.TAKE, allowed", &["  the same in Lua, allowed"]),
];

/// Says how many times the processor time of its neighbours in the same round a command takes.
fn compare(cases: &[&Case], figures: &[Vec<f64>]) {
    let of = |name: &str| cases.iter().position(|case| case.name == name).map(|at| &figures[at]);
    println!("\n| command | beside | times its processor time |\n|---|---|---|");
    for (name, beside) in PAIRS {
        let Some(ns) = of(name) else { continue };
        let Some(others) = beside.iter().map(|other| of(other)).collect::<Option<Vec<_>>>() else { continue };
        let sum = |round: usize| others.iter().map(|ns| ns[round]).sum::<f64>();
        let mut ratios: Vec<f64> = ns.iter().enumerate().map(|(round, ns)| ns / sum(round)).collect();
        println!("| {name} | {} | {:.2} |", beside.join(" + ").trim(), median(&mut ratios));
    }
}

fn main() {
    let only = std::env::args().nth(1).filter(|a| !a.starts_with("--")).map(|part| part.to_lowercase());
    let mut server = Server::start();
    let named = |name: &str| only.as_ref().is_none_or(|part| name.to_lowercase().contains(part.as_str()));
    let beside = |other: &str| PAIRS.iter().any(|(name, others)| named(name) && others.contains(&other));
    let wanted = |case: &&Case| case.name == "INCR" || named(case.name) || beside(case.name);
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    let mut broken = vec![0; cases.len()];
    for round in 0..=ROUNDS {
        for (at, case) in cases.iter().enumerate() {
            (case.prepare)(&mut server);
            // Revisions count up.
            let in_order = case.name.starts_with("DOC.SUBMIT");
            let (ns, errors) = server.load(COMMANDS, in_order, case.command);
            broken[at] += errors;
            // The first round warms up.
            if round > 0 {
                figures[at].push(ns);
            }
        }
    }
    let base = figures[0].clone();
    println!(
        "{CONNECTIONS} connections, pipeline {PIPELINE}, {COMMANDS} commands a round, median of {ROUNDS} rounds\n"
    );
    println!("| command | server CPU, µs | ÷ INCR of the same round |\n|---|---|---|");
    for ((case, ns), errors) in cases.iter().zip(&figures).zip(&broken) {
        let mut ratios: Vec<f64> = ns.iter().zip(&base).map(|(a, b)| a / b).collect();
        println!("| {} | {:.2} | {:.1} |", case.name, median(&mut ns.clone()) / 1000.0, median(&mut ratios));
        assert!(*errors == 0, "{}: {errors} replies were errors", case.name);
    }
    compare(&cases, &figures);
    if only.as_ref().is_none_or(|part| "msg. state".contains(part.as_str())) {
        state_bytes(&mut server);
    }
}
