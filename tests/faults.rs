//! The promise of delivery while servers fail: primaries are killed, stopped, cut off, fall behind, are replaced and lose
//! what they had not synced, behind sentinels and in a cluster, while clients that always come back go on writing.
//!
//! With the acknowledgement of one replica nothing that was acknowledged may be lost. With acknowledgements from memory it may:
//! then everybody is told where history ends, nobody keeps what is no part of it, and whoever wrote it writes it again.
//!
//! `STOA_FAULT_SECONDS` says how long each story goes on (40, and 20 for those that lose), `STOA_SEED` repeats a choice of
//! faults, `STOA_HISTORY` names a directory for the history of a run that went well, too.
#![allow(clippy::unwrap_used)]

use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stoa_harness::checker::{check, count_lost};
use stoa_harness::cluster::Setup;
use stoa_harness::damage::{Damage, OF_FAILOVERS};
use stoa_harness::ends::{Keepers, key};
use stoa_harness::history::{Fact, History, Recorder, Terms};
use stoa_harness::nemesis::servers::{Blow, Servers, cut_file, strikes};
use stoa_harness::process::FrontProcess;
use stoa_harness::reader::{DOCUMENT, Role};
use stoa_harness::redis::Ending;
use stoa_harness::resuming::{Resuming, Surroundings};
use stoa_harness::{Cluster, Redis, RedisOptions, Sentinels, module};

const FRONTS: usize = 2;
const CLIENTS: usize = 9;
const ROOMS: usize = 3;
/// So many of the rooms have a document.
const DOCUMENTS: usize = 2;
/// Somebody who missed fewer events than these is given each of them.
const PAGE: u64 = 90;
/// After the last fault everybody stands at the head within this time.
const CALM: Duration = Duration::from_secs(20);
/// Servers give each other up after this time, in milliseconds. On a slow machine some do so for nothing: a further fault.
const SETUP: Setup = Setup { gone_after_ms: 1_500, has_network: true };

/// A server as `redis.conf` says it should be where there are replicas.
fn careful() -> RedisOptions {
    carefree().line("min-replicas-to-write 1").line("min-replicas-max-lag 2")
}

fn carefree() -> RedisOptions {
    let settings = format!("takeover-grace-ms 1000 page-bytes-max {} log-bytes-max {}", 1 << 17, 1 << 30);
    Redis::options().line("appendonly yes").line("appendfsync everysec").module_argument(&settings)
}

#[test]
fn behind_sentinels_nothing_that_one_of_two_replicas_acknowledged_is_lost() {
    let servers = || Servers::Sentinels(Sentinels::start_as(SETUP, 2, 3, careful));
    Story::of("sentinels", Terms::Acknowledged, 40).tell(Blow::SENTINELS, servers);
}

#[test]
fn in_a_cluster_nothing_that_a_replica_acknowledged_is_lost() {
    let servers = || Servers::Cluster(Cluster::start_as(SETUP, 3, 1, careful));
    Story::of("cluster", Terms::Acknowledged, 40).tell(Blow::CLUSTER, servers);
}

#[test]
fn behind_sentinels_what_memory_loses_is_told_and_written_again() {
    let servers = || Servers::Sentinels(Sentinels::start_as(SETUP, 2, 3, carefree));
    Story::of("sentinels-memory", Terms::Memory, 20).tell(Blow::LOSSY_SENTINELS, servers);
}

#[test]
fn in_a_cluster_what_memory_loses_is_told_and_written_again() {
    let servers = || Servers::Cluster(Cluster::start_as(SETUP, 3, 1, carefree));
    Story::of("cluster-memory", Terms::Memory, 20).tell(Blow::LOSSY_CLUSTER, servers);
}

struct Story {
    name: &'static str,
    terms: Terms,
    seed: u64,
    time: Duration,
}

impl Story {
    fn of(name: &'static str, terms: Terms, seconds: u64) -> Story {
        let seed = env("STOA_SEED").unwrap_or_else(rand::random::<u64>);
        let seconds = env("STOA_FAULT_SECONDS").unwrap_or(seconds);
        println!("{name}: STOA_SEED={seed} STOA_FAULT_SECONDS={seconds}");
        Story { name, terms, seed, time: Duration::from_secs(seconds) }
    }

    fn tell(&self, kinds: &[Blow], start: impl Fn() -> Servers) {
        // Built before the clock runs.
        module::front_binary();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let mut servers = start();
        let rooms = rooms(&servers);
        for room in &rooms[..DOCUMENTS] {
            servers.of(room).ok(&["DOC.CREATE", &key(room, &format!("doc:{DOCUMENT}")), "text"]);
        }
        // What is older than this cannot be lost: streams that were never there are another story.
        servers.keep(&rooms);
        let people = People::arrive(&servers.url(), &rooms, self.terms, self.seed);
        let tell = |what: String| people.recorder.note("nemesis", what);
        let blows = servers.suffer(strikes(self.seed, kinds, rooms.len()), &rooms, self.time, tell);
        let server = |room: &str| servers.of(room);
        let history = people.leave(&Keepers { rooms: &rooms, documents: DOCUMENTS, server: &server });
        self.judge(&history, &people);
        println!("{}: {blows} blows, {}", self.name, figures(&history));
        assert!(blows > 0);
    }

    /// Fails with the evidence if a promise was broken, or if the judge would not notice one.
    fn judge(&self, history: &History, people: &People) {
        let violations = check(history);
        let name = format!("stoa-faults-{}-{}.jsonl", self.name, self.seed);
        if let Some(first) = violations.first() {
            let path = history.write_to(&std::env::temp_dir(), &name);
            people.fronts.iter().for_each(|front| eprintln!("--- front {} ---\n{}", front.port, front.log()));
            let shown: Vec<String> = violations.iter().take(10).map(ToString::to_string).collect();
            panic!(
                "{}: {} broken promises with STOA_SEED={}, beginning with {:?} ({}); the history is in {}\n{}",
                self.name,
                violations.len(),
                self.seed,
                first.promise,
                figures(history),
                path.display(),
                shown.join("\n")
            );
        }
        if let Some(kept) = env::<PathBuf>("STOA_HISTORY") {
            println!("the history is in {}", history.write_to(&kept, &name).display());
        }
        let possible = |damage: &&Damage| self.terms != Terms::Memory || **damage != Damage::LoseWhatWasAcknowledged;
        for damage in OF_FAILOVERS.iter().filter(possible) {
            let damaged = damage.inflict(history, &mut SmallRng::seed_from_u64(self.seed));
            let damaged = damaged.unwrap_or_else(|| panic!("nothing in the history could suffer {damage:?}"));
            let found = check(&damaged);
            let noticed = found.iter().any(|violation| violation.promise == damage.breaks());
            assert!(noticed, "{damage:?} would not be noticed (STOA_SEED={}): {found:?}", self.seed);
        }
    }
}

/// Fronts, and clients that go on writing.
struct People {
    clients: Vec<Resuming>,
    fronts: Vec<FrontProcess>,
    recorder: Recorder,
    writing: Arc<AtomicBool>,
    terms: Terms,
    _directory: tempfile::TempDir,
}

impl People {
    fn arrive(url: &str, rooms: &[String], terms: Terms, seed: u64) -> People {
        let directory = tempfile::tempdir().unwrap();
        let mut arguments = vec!["--presence-ttl-ms", "5000", "--presence-grace-ms", "1500"];
        if terms == Terms::Acknowledged {
            arguments.extend(["--ack", "replica:1", "--ack-timeout-ms", "1000"]);
        }
        let front = |_| FrontProcess::start(url, &arguments, directory.path());
        let fronts: Vec<FrontProcess> = (0..FRONTS).map(front).collect();
        let (recorder, writing) = (Recorder::new(), Arc::new(AtomicBool::new(true)));
        let ports = fronts.iter().map(|front| front.port).collect();
        let around = Surroundings { fronts: ports, recorder: recorder.clone(), writing: writing.clone() };
        let client =
            |n: usize| Resuming::start(&format!("c{n}"), &roles(rooms, n), &around, seed.wrapping_add(n as u64));
        let clients = (0..CLIENTS).map(client).collect();
        People { clients, fronts, recorder, writing, terms, _directory: directory }
    }

    /// Lets everybody come to rest, and gives the history.
    fn leave(&self, keepers: &Keepers<'_>) -> History {
        self.recorder.note("nemesis", "healed");
        self.fronts.iter().for_each(FrontProcess::is_ready_soon);
        // What is written now shows that everything works again.
        std::thread::sleep(Duration::from_secs(1));
        self.writing.store(false, Ordering::Relaxed);
        let (mut history, took) = keepers.settle(&self.clients, &self.recorder, CALM);
        (history.page, history.terms) = (PAGE, self.terms);
        keepers.read_epochs(&mut history);
        println!("calm after {took:?}");
        history
    }
}

/// Each on a shard of its own, where there are several.
fn rooms(servers: &Servers) -> Vec<String> {
    match servers {
        Servers::Sentinels(_) => (0..ROOMS).map(|n| format!("room{n}")).collect(),
        Servers::Cluster(cluster) => (0..ROOMS).map(|shard| cluster.room_on(shard, "room")).collect(),
    }
}

/// Everybody is in two of the rooms and writes in both; some have a document open.
fn roles(rooms: &[String], client: usize) -> Vec<Role> {
    let role = |room: usize| Role {
        room: rooms[room].clone(),
        posts_every: Some(Duration::from_millis(300)),
        body_bytes: 20,
        only_posts: true,
        edits_every: (room < DOCUMENTS && !client.is_multiple_of(3)).then_some(Duration::from_millis(500)),
    };
    (0..rooms.len()).filter(|room| *room != client % rooms.len()).map(role).collect()
}

/// A server alone, whose file loses its end at a byte that chance chooses, again and again.
#[test]
fn a_file_that_is_cut_at_any_byte_loses_its_end_and_everybody_is_told() {
    let story = Story::of("file", Terms::Memory, 20);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut redis = carefree().start();
    let rooms: Vec<String> = (0..ROOMS).map(|n| format!("room{n}")).collect();
    for room in &rooms[..DOCUMENTS] {
        redis.ok(&["DOC.CREATE", &key(room, &format!("doc:{DOCUMENT}")), "text"]);
    }
    // What is older than this cannot be lost: streams that were never there are another story.
    redis.rewrite_file();
    let people = People::arrive(&redis.url(), &rooms, Terms::Memory, story.seed);
    let (began, mut cuts) = (std::time::Instant::now(), 0);
    for (pause, _, blow) in strikes(story.seed, &[Blow::Flicker(0)], 1) {
        std::thread::sleep(pause);
        if began.elapsed() >= story.time {
            break;
        }
        let Blow::Flicker(chance) = blow else { continue };
        people.recorder.note("nemesis", format!("{blow:?}"));
        redis.kill();
        cut_file(&redis, chance);
        redis.restart(Ending::Killed);
        cuts += 1;
    }
    let history = people.leave(&Keepers { rooms: &rooms, documents: DOCUMENTS, server: &|_| &redis });
    story.judge(&history, &people);
    println!("file: {cuts} cuts, {}", figures(&history));
}

fn figures(history: &History) -> String {
    let count = |wanted: fn(&Fact) -> bool| history.records.iter().filter(|record| wanted(&record.fact)).count();
    format!(
        "{} writes sent, {} accepted ({} as duplicates), {} of them lost, {} refused for now, {} deliveries, \
         {} times told that history ended",
        count(|fact| matches!(fact, Fact::Sent { .. })),
        count(|fact| matches!(fact, Fact::Accepted { .. })),
        count(|fact| matches!(fact, Fact::Accepted { duplicate: true, .. })),
        count_lost(history),
        count(|fact| matches!(fact, Fact::Refused { .. })),
        count(|fact| matches!(fact, Fact::Delivered(_))),
        count(|fact| matches!(fact, Fact::Snapshot { because, .. } if because == "rollback" || because == "reset")),
    )
}

fn env<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not of its form")))
}
