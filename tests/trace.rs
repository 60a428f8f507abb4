//! Two people wrote a text at the same time, for real, with a second of delay between them. Here they do it again,
//! keystroke by keystroke, through two fronts, with cuts, and everybody ends with the text that they ended with.
#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stoa_harness::editor::replace;
use stoa_harness::trace::{Trace, data};
use stoa_harness::{Person, Room};

/// Plays one of the two. Each edit is made when exactly what its author had seen has been seen.
async fn play(trace: Arc<Trace>, who: usize, person: Person, other: Person, ports: [u16; 2], seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    person.looks_away();
    let mut made = 0;
    for edit in trace.edits.iter().filter(|edit| edit.person == who) {
        person.has_seen(&other, edit.seen).await;
        person.edits(replace(edit.at, edit.removed, &edit.inserted));
        made += 1;
        if trace.boundaries[who].contains(&made) {
            // The other one stood still here: what follows must not be in the same operation.
            person.pauses();
        }
        if rng.random_bool(0.01) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..5))).await;
        }
        if rng.random_bool(0.001) {
            // Into a tunnel, perhaps with an operation in flight, and back at either front.
            person.cut();
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..20))).await;
            person.heal_through(ports[rng.random_range(0..2)]).await;
        }
        if made % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    person.looks_up();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_real_session_of_two_people_through_two_fronts_ends_with_their_text() {
    let Some(data) = data("a real session of two people") else { return };
    let seed: u64 = std::env::var("STOA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed} (again with STOA_SEED={seed})");
    let trace = Arc::new(Trace::friends_forever(&data));
    // Two who write and two who only watch, one of each at each front.
    let room = Room::with(["ada", "bo", "cy", "di"]).await;
    let [ada, bo, _cy, _di] = room.people();
    let ports = [room.fronts[0].port, room.fronts[1].port];
    let started = Instant::now();
    let players = [
        tokio::spawn(play(Arc::clone(&trace), 0, ada.clone(), bo.clone(), ports, seed)),
        tokio::spawn(play(Arc::clone(&trace), 1, bo, ada, ports, seed ^ 1)),
    ];
    for player in players {
        player.await.unwrap();
    }
    let text = room.agrees_within(Duration::from_secs(60)).await;
    assert!(text == trace.end, "the text differs from the trace's: {} characters, not {}", text.len(), trace.end.len());
    let took = started.elapsed();
    let revisions = room.redis.ok(&["DOC.GET", &room.key("doc:main")]).field("rev").int();
    println!("{} keystrokes in {revisions} operations, {took:?}", trace.edits.len());
    assert!(took < Duration::from_secs(60), "{took:?}");
}
