//! What it costs to bring messages to many people: a front of Stoa beside Node's Socket.IO with its Redis adapter, each one
//! process on one core, under one load, in one run. The scenarios of "Socket.IO" drive the front by that protocol too.
//!
//! `cargo bench --bench relay [scenario …]`; method and results: benches/README.md. Every member counts what it received: a
//! message that is missing, doubled or out of order fails the run.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

#[path = "relay/crowd.rs"]
mod crowd;
#[path = "relay/fleet.rs"]
mod fleet;
#[path = "relay/flood.rs"]
mod flood;
#[path = "relay/scenarios.rs"]
mod scenarios;
#[path = "relay/server.rs"]
mod server;
#[path = "relay/typing.rs"]
mod typing;
#[path = "relay/wire.rs"]
mod wire;

use server::Server;
use wire::Wire;

/// A figure with its unit; whether less is better decides how the ratio reads.
struct Figure {
    name: String,
    value: f64,
    less_is_better: bool,
}

fn less(name: &str, value: f64) -> Figure {
    Figure { name: name.into(), value, less_is_better: true }
}

fn more(name: &str, value: f64) -> Figure {
    Figure { name: name.into(), value, less_is_better: false }
}

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let alone = std::env::var_os("STOA_ALONE").is_some();
    // The generator shares its core with Redis, the server has the other one.
    server::pin(std::process::id(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if runtime.block_on(fleet::hold_if_asked()) {
        return;
    }
    println!("| scenario | figure | Stoa | Node | Stoa is better by |");
    println!("|---|---|---|---|---|");
    let own = scenarios::ALL.map(|(name, scenario)| (name, scenario, Wire::Stoa));
    let gateway = scenarios::OF_GATEWAY.map(|(name, scenario)| (name, scenario, Wire::Gateway));
    for (name, scenario, wire) in own.into_iter().chain(gateway) {
        if !chosen.is_empty() && !chosen.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let measure = |wire| {
            let server = Server::start(wire);
            runtime.block_on(scenario(&server))
        };
        let ours = measure(wire);
        let theirs = if alone { Vec::new() } else { measure(Wire::SocketIo) };
        for (at, our) in ours.iter().enumerate() {
            let (their, ratio) = theirs.get(at).map_or(("".into(), "".into()), |their| {
                let ratio = if our.less_is_better { their.value / our.value } else { our.value / their.value };
                (shown(their.value), format!("{ratio:.1}x"))
            });
            println!("| {name} | {} | {} | {their} | {ratio} |", our.name, shown(our.value));
        }
    }
}

fn shown(value: f64) -> String {
    match value {
        1000.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
