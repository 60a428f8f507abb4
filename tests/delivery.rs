//! The promise of delivery, under faults: what was accepted reaches everybody who follows, once and in order, whatever
//! is killed, cut, stopped or swallowed between. Every client writes down what it sees; a checker judges the whole.
//!
//! `STOA_FAULT_SECONDS` says how long faults go on (60), `STOA_SEED` repeats a choice of faults, `STOA_HISTORY` names a
//! directory for the history of a run that went well, too.
#![allow(clippy::unwrap_used)]

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stoa_core::event::Kind;
use stoa_front::settings::Secret;
use stoa_harness::checker::check;
use stoa_harness::damage;
use stoa_harness::ends::{Keepers, key};
use stoa_harness::history::{Fact, History, Recorder};
use stoa_harness::nemesis::{Plan, World};
use stoa_harness::process::FrontProcess;
use stoa_harness::proxy::Proxy;
use stoa_harness::reader::{DOCUMENT, Role};
use stoa_harness::resuming::{Resuming, Surroundings};
use stoa_harness::socket::Client;
use stoa_harness::waiting::SOON;
use stoa_harness::{Front, Redis, front, module};

const FRONTS: usize = 3;
const CLIENTS: usize = 16;
/// In every room somebody posts a few times a second; in the last one messages are so long that who stops reading
/// falls behind.
const ROOMS: [&str; 4] = ["one", "two", "three", "long"];
/// Bytes of the events that somebody who comes back is given: few, so that some are given a snapshot.
const PAGE_BYTES: u64 = 128 * 1024;
/// So many of the longest events fit into that for certain.
const PAGE: u64 = PAGE_BYTES / (LONG_BYTES as u64 + 1024) - 1;
/// Bytes of a long message.
const LONG_BYTES: usize = 8 * 1024;
/// So many of the rooms have a document.
const DOCUMENTS: usize = 2;
/// After the last fault everybody stands at the head within this time: a back-off, a resume, and a loaded machine.
const CALM: Duration = SOON;

#[test]
fn what_was_accepted_reaches_everybody_once_and_in_order_whatever_fails() {
    let seed = env("STOA_SEED").unwrap_or_else(rand::random::<u64>);
    let time = Duration::from_secs(env("STOA_FAULT_SECONDS").unwrap_or(60));
    println!("STOA_SEED={seed} STOA_FAULT_SECONDS={}", time.as_secs());
    let plan = Plan::draw(seed, time, FRONTS, CLIENTS);

    // Built before the clock runs.
    module::front_binary();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let recorder = Recorder::new();
    let writing = Arc::new(AtomicBool::new(true));
    let directory = tempfile::tempdir().unwrap();

    let settings = format!("takeover-grace-ms 1000 page-bytes-max {PAGE_BYTES} log-bytes-max {}", 1 << 30);
    let redis = Redis::options().aof().module_argument(&settings).start();
    for room in &ROOMS[..DOCUMENTS] {
        redis.ok(&["DOC.CREATE", &key(room, &format!("doc:{DOCUMENT}")), "text"]);
    }
    let proxies: Vec<Proxy> = (0..FRONTS).map(|_| runtime.block_on(Proxy::start(redis.port))).collect();
    let arguments = "--presence-ttl-ms 3000 --presence-grace-ms 1500 --queue-bytes-max 32768";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let fronts: Vec<FrontProcess> =
        proxies.iter().map(|proxy| FrontProcess::start(&proxy.url(), &arguments, directory.path())).collect();
    let ports: Arc<[u16]> = fronts.iter().map(|front| front.port).collect();
    let around = Surroundings { fronts: ports, recorder: recorder.clone(), writing: writing.clone() };
    let client = |n: usize| Resuming::start(&format!("c{n}"), &roles(n), &around, seed.wrapping_add(n as u64));
    let clients = (0..CLIENTS).map(client).collect();
    let mut world = World { redis, proxies, fronts, clients };

    world.suffer(&plan, seed, |act| recorder.note("nemesis", format!("{act:?}")));
    world.heal();
    recorder.note("nemesis", "healed");
    // What is written now shows that everything works again, to those who missed the last event, too.
    std::thread::sleep(Duration::from_secs(1));
    writing.store(false, Ordering::Relaxed);
    let rooms: Vec<String> = ROOMS.iter().map(|room| (*room).to_owned()).collect();
    let keepers = Keepers { rooms: &rooms, documents: DOCUMENTS, server: &|_| &world.redis };
    let (mut history, settled_after) = keepers.settle(&world.clients, &recorder, CALM);
    history.page = PAGE;

    let lost: usize = world.proxies.iter().map(Proxy::lost).sum();
    println!("{}, {lost} events swallowed, {} faults, calm after {settled_after:?}", figures(&history), plan.faults);
    judge(&history, seed, &world);
    if let Some(kept) = env::<PathBuf>("STOA_HISTORY") {
        println!("the history is in {}", history.write_to(&kept, &format!("delivery-{seed}.jsonl")).display());
    }
    every_damage_would_be_noticed(&history, seed);
}

/// Who does what: everybody is in two to four of the rooms, most write, some have a document open.
fn roles(client: usize) -> Vec<Role> {
    let role = |room: usize| {
        let long = room == 3;
        let writes = if long { client.is_multiple_of(5) } else { !client.is_multiple_of(4) };
        let (pace_ms, body_bytes) = if long { (100, LONG_BYTES) } else { (1_000, 20) };
        Role {
            room: ROOMS[room].into(),
            posts_every: writes.then_some(Duration::from_millis(pace_ms)),
            body_bytes,
            only_posts: false,
            edits_every: (room < DOCUMENTS && client % 3 != 2).then_some(Duration::from_millis(700)),
        }
    };
    let is_in =
        |room: &usize| if *room == 3 { matches!(client % 5, 0 | 3) } else { !(client + room).is_multiple_of(4) };
    (0..ROOMS.len()).filter(is_in).map(role).collect()
}

fn env<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not of its form")))
}

/// Fails with the evidence if a promise was broken.
fn judge(history: &History, seed: u64, world: &World) {
    let violations = check(history);
    if let Some(first) = violations.first() {
        let path = history.write_to(&std::env::temp_dir(), &format!("stoa-delivery-{seed}.jsonl"));
        world.fronts.iter().for_each(|front| eprintln!("--- front {} ---\n{}", front.port, front.log()));
        let shown: Vec<String> = violations.iter().take(10).map(ToString::to_string).collect();
        panic!(
            "{} broken promises with STOA_SEED={seed}, beginning with {:?}; the history is in {}\n{}",
            violations.len(),
            first.promise,
            path.display(),
            shown.join("\n")
        );
    }
}

/// What was just found good, damaged in every way: had one of them happened, the judgement would have told. One room is
/// enough: streams are judged each by itself.
fn every_damage_would_be_noticed(history: &History, seed: u64) {
    let history = &history.of_room(ROOMS[0]);
    for damage in damage::ALL {
        let damaged = damage.inflict(history, &mut SmallRng::seed_from_u64(seed));
        let damaged = damaged.unwrap_or_else(|| panic!("nothing in the history could suffer {damage:?}"));
        let found = check(&damaged);
        let noticed = found.iter().any(|violation| violation.promise == damage.breaks());
        assert!(noticed, "{damage:?} would not be noticed (STOA_SEED={seed}): {found:?}");
    }
}

fn figures(history: &History) -> String {
    let count = |wanted: fn(&Fact) -> bool| history.records.iter().filter(|record| wanted(&record.fact)).count();
    let noted = |words: &str| {
        let told = |fact: &Fact| matches!(fact, Fact::Note(text) if text.contains(words));
        history.records.iter().filter(|record| told(&record.fact)).count()
    };
    format!(
        "{} writes sent, {} accepted ({} as duplicates), {} refused for now, {} deliveries, {} connections, \
         {} closed as slow, {} snapshots after the first",
        count(|fact| matches!(fact, Fact::Sent { .. })),
        count(|fact| matches!(fact, Fact::Accepted { .. })),
        count(|fact| matches!(fact, Fact::Accepted { duplicate: true, .. })),
        count(|fact| matches!(fact, Fact::Refused { .. })),
        count(|fact| matches!(fact, Fact::Delivered(_))),
        noted("in front"),
        noted("SLOW"),
        count(|fact| matches!(fact, Fact::Snapshot { because, .. } if because != "first")),
    )
}

/// A front that hears Redis through a line that can lose events.
async fn front_behind_a_line(redis: &Redis) -> (Front, Proxy) {
    let line = Proxy::start(redis.port).await;
    let url = line.url();
    (Front::start_with(redis, |settings| settings.redis_url = Secret::new(url)).await, line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_loss_of_the_last_event_of_a_room_is_noticed_within_a_second() {
    let redis = Redis::start();
    let (front, line) = front_behind_a_line(&redis).await;
    let client = Client::connect(front.port, &front::token("ada")).await;
    client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    client
        .ok(json!({"do": "doc.open", "room": "lobby", "doc": "main", "create": {"type": "text", "content": ""}}))
        .await;
    for round in 1..=5 {
        let mut swallowed = false;
        line.lose(move |_, header| header.kind == Kind::Durable && !std::mem::replace(&mut swallowed, true));
        let lost_at = Instant::now();
        let name = if round % 2 == 0 {
            redis.ok(&["MSG.POST", &key("lobby", "log"), "bo", &format!(r#"{{"text":"{round}"}}"#)]);
            "msg.posted"
        } else {
            redis.ok(&["DOC.SUBMIT", &key("lobby", "doc:main"), &(round / 2).to_string(), r#"["x"]"#]);
            "doc.applied"
        };
        let event = client.expect_within(name, Duration::from_millis(1_500)).await;
        assert!(event.is_ok(), "not within {:?}, but {event:?}", lost_at.elapsed());
        assert_eq!(line.lost(), round, "it came although it was lost");
    }
}
