//! What happens to servers that belong together, one thing after the other: each ends, and everybody is well again,
//! before the next begins.

use crate::cluster::{Cluster, SERVICE, Sentinels};
use crate::network::{Cut, Network};
use crate::redis::Redis;
use crate::waiting;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long servers may take until another took over, or all are well again: sentinels leave a primary that came back
/// alone for ten seconds, and machines are slow.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pause after each step of a slot's move.
const MOVE_STEP: Duration = Duration::from_millis(20);
/// What may be lost of a file that is synced every second, in bytes: more than a second of a story's writes.
const UNSYNCED_BYTES_MAX: u64 = 16_384;

/// Something that is done to the primary of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// `SIGKILL`; it comes back once another took over.
    Kill,
    /// As [`Blow::Kill`], and its append-only file ends at a byte that this number chooses: what was not synced is gone.
    LosePower(u64),
    /// As [`Blow::LosePower`], and it is back before anybody noticed.
    Flicker(u64),
    /// `SIGSTOP` for so long.
    Stop(Duration),
    /// No line to any other server for so long; fronts reach it all the same.
    CutOff(Duration),
    /// No line to anybody for so long.
    Isolate(Duration),
    /// Its replicas stand still for so long.
    Lag(Duration),
    /// Another server takes over, as before maintenance.
    HandOver,
    /// Another server takes over behind sentinels, and nobody stops the writes meanwhile.
    Hasty,
    /// The room moves to another shard.
    Move,
}

impl Blow {
    /// What may happen behind sentinels where writes are acknowledged by replicas.
    pub const SENTINELS: &[Blow] =
        &[KILL, Blow::Stop(S), Blow::CutOff(S), Blow::Lag(S), Blow::HandOver, POWER, Blow::Isolate(S)];
    /// What may happen in a cluster where writes are acknowledged by replicas.
    pub const CLUSTER: &[Blow] =
        &[KILL, Blow::Stop(S), Blow::CutOff(S), Blow::Lag(S), Blow::HandOver, Blow::Move, POWER, Blow::Isolate(S)];
    /// What loses writes behind sentinels where they are acknowledged from memory.
    pub const LOSSY_SENTINELS: &[Blow] = &[Blow::CutOff(S), Blow::Hasty, Blow::Flicker(0)];
    /// What loses writes in a cluster where they are acknowledged from memory.
    pub const LOSSY_CLUSTER: &[Blow] = &[Blow::CutOff(S), Blow::Flicker(0)];

    /// The same kind of blow with chance in it.
    fn drawn(self, rng: &mut SmallRng) -> Blow {
        let mut time = |ms: std::ops::Range<u64>| Duration::from_millis(rng.random_range(ms));
        match self {
            // From one that nobody notices to one after which another has taken over.
            Blow::Stop(_) => Blow::Stop(time(300..6_000)),
            Blow::CutOff(_) => Blow::CutOff(time(3_000..6_000)),
            Blow::Isolate(_) => Blow::Isolate(time(3_000..6_000)),
            Blow::Lag(_) => Blow::Lag(time(200..3_500)),
            Blow::LosePower(_) => Blow::LosePower(rng.random()),
            Blow::Flicker(_) => Blow::Flicker(rng.random()),
            Blow::Kill | Blow::HandOver | Blow::Hasty | Blow::Move => self,
        }
    }
}

const S: Duration = Duration::from_secs(1);
const KILL: Blow = Blow::Kill;
const POWER: Blow = Blow::LosePower(0);

/// A blow, whose primary it hits (a room, by number), and the pause before it.
pub type Strike = (Duration, usize, Blow);

/// Blows without end: every kind comes once before any comes again. A seed repeats them.
pub fn strikes(seed: u64, kinds: &[Blow], rooms: usize) -> impl Iterator<Item = Strike> {
    let (mut rng, mut hand) = (SmallRng::seed_from_u64(seed), Vec::new());
    std::iter::from_fn(move || {
        if hand.is_empty() {
            hand.extend(kinds);
        }
        let kind: Blow = hand.swap_remove(rng.random_range(0..hand.len()));
        let pause = Duration::from_millis(rng.random_range(300..1_500));
        Some((pause, rng.random_range(0..rooms), kind.drawn(&mut rng)))
    })
}

/// Servers that belong together.
pub enum Servers {
    /// A primary with replicas that sentinels watch.
    Sentinels(Sentinels),
    /// A cluster, each primary of which has one replica.
    Cluster(Cluster),
}

impl Servers {
    /// The URL that fronts take.
    pub fn url(&self) -> String {
        match self {
            Servers::Sentinels(servers) => servers.url(),
            Servers::Cluster(cluster) => cluster.url(0),
        }
    }

    /// The server that holds a room, while all are well.
    pub fn of(&self, room: &str) -> &Redis {
        &self.all()[self.primary(room)]
    }

    /// Sees to it that no blow reaches what these rooms hold now: it is on all servers, and not at the end of their files.
    pub fn keep(&self, rooms: &[String]) {
        for room in rooms {
            let replicas = self.replicas(self.primary(room)).len();
            let kept = self.of(room).ok(&["WAIT", &replicas.to_string(), "20000"]).int();
            assert!(kept >= replicas as i64, "{kept} of {replicas} replicas have {room}");
        }
        self.all().iter().for_each(Redis::rewrite_file);
    }

    /// Strikes until the time is over; `tell` hears of every blow. Returns how many there were.
    pub fn suffer(
        &mut self,
        strikes: impl Iterator<Item = Strike>,
        rooms: &[String],
        time: Duration,
        mut tell: impl FnMut(String),
    ) -> usize {
        let (began, mut count) = (Instant::now(), 0);
        for (pause, room, blow) in strikes {
            std::thread::sleep(pause);
            if began.elapsed() >= time {
                break;
            }
            count += 1;
            let primary = self.primary(&rooms[room]);
            tell(format!("{blow:?} to server {primary}, which holds {}", rooms[room]));
            self.strike(primary, &rooms[room], blow);
            let struck = Instant::now();
            let well = waiting::poll(PATIENCE, || {
                std::thread::sleep(Duration::from_millis(100));
                self.are_well().then_some(())
            });
            assert!(well.is_some(), "after {blow:?} the servers are not well within {PATIENCE:?}");
            tell(format!("all are well, {:?} after the end of that", struck.elapsed()));
        }
        count
    }

    fn strike(&mut self, primary: usize, room: &str, blow: Blow) {
        match blow {
            Blow::Kill | Blow::LosePower(_) => {
                self.all_mut()[primary].kill();
                self.wait_for_another(primary, room);
                if let Blow::LosePower(chance) = blow {
                    cut_file(&self.all()[primary], chance);
                }
                self.all_mut()[primary].start_again();
            }
            Blow::Flicker(chance) => {
                self.all_mut()[primary].kill();
                cut_file(&self.all()[primary], chance);
                self.all_mut()[primary].start_again();
            }
            Blow::Stop(time) => {
                self.all()[primary].pause(true);
                std::thread::sleep(time);
                self.all()[primary].pause(false);
            }
            Blow::CutOff(time) => self.cut(Cut::FromServers(primary), time),
            Blow::Isolate(time) => self.cut(Cut::FromEverybody(primary), time),
            Blow::Lag(time) => {
                let replicas = self.replicas(primary);
                replicas.iter().for_each(|replica| self.all()[*replica].pause(true));
                std::thread::sleep(time);
                replicas.iter().for_each(|replica| self.all()[*replica].pause(false));
            }
            Blow::HandOver => match self {
                Servers::Sentinels(servers) => switch_over(servers),
                Servers::Cluster(cluster) => cluster.hand_over(cluster.replica_of(primary)),
            },
            Blow::Hasty => {
                let Servers::Sentinels(servers) = self else { panic!("a cluster never hands over like that") };
                servers.sentinels[0].ok(&["SENTINEL", "FAILOVER", SERVICE]);
                self.wait_for_another(primary, room);
            }
            Blow::Move => {
                let Servers::Cluster(cluster) = self else { panic!("rooms move in a cluster alone") };
                let role = |node: &usize| cluster.nodes[*node].info("role").as_deref() == Some("master");
                let to = (0..cluster.nodes.len()).rev().filter(|node| *node != primary).find(role).unwrap();
                cluster.migrate(room, to, MOVE_STEP);
            }
        }
    }

    fn cut(&self, cut: Cut, time: Duration) {
        let network = self.network().expect("servers with a network between them");
        network.cut(cut);
        std::thread::sleep(time);
        network.cut(Cut::Nothing);
    }

    /// The number of the server that holds a room, while all are well.
    pub fn primary(&self, room: &str) -> usize {
        match self {
            Servers::Sentinels(servers) => servers.primary(),
            Servers::Cluster(cluster) => cluster.primary_of(room),
        }
    }

    /// Waits until the others have another primary than this one, which is gone.
    pub fn wait_for_another(&self, gone: usize, room: &str) {
        match self {
            Servers::Sentinels(servers) => _ = servers.switched(gone),
            Servers::Cluster(cluster) => {
                let another = waiting::poll(PATIENCE, || (cluster.primary_of(room) != gone).then_some(()));
                assert!(another.is_some(), "no replica took over");
            }
        }
    }

    fn are_well(&self) -> bool {
        match self {
            Servers::Sentinels(servers) => servers.is_well(),
            Servers::Cluster(cluster) => cluster.is_well(1),
        }
    }

    fn replicas(&self, primary: usize) -> Vec<usize> {
        match self {
            Servers::Sentinels(servers) => (0..servers.servers.len()).filter(|server| *server != primary).collect(),
            Servers::Cluster(cluster) => vec![cluster.replica_of(primary)],
        }
    }

    fn network(&self) -> Option<&Network> {
        match self {
            Servers::Sentinels(servers) => servers.network.as_ref(),
            Servers::Cluster(cluster) => cluster.network.as_ref(),
        }
    }

    fn all(&self) -> &[Redis] {
        match self {
            Servers::Sentinels(servers) => &servers.servers,
            Servers::Cluster(cluster) => &cluster.nodes,
        }
    }

    fn all_mut(&mut self) -> &mut [Redis] {
        match self {
            Servers::Sentinels(servers) => &mut servers.servers,
            Servers::Cluster(cluster) => &mut cluster.nodes,
        }
    }
}

/// Replaces the primary as one does before maintenance: with the script that the documentation tells of.
pub fn switch_over(servers: &Sentinels) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/switchover");
    let sentinel = format!("127.0.0.1:{}", servers.sentinels[0].port);
    let done = Command::new(script).args([&sentinel, SERVICE]).output().unwrap();
    // It ends everybody's connections, ours too.
    servers.servers.iter().for_each(Redis::hang_up);
    let told = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success(), "{told}");
}

/// Ends the newest append-only file of a server that is down at a byte that `chance` chooses among the last.
pub fn cut_file(redis: &Redis, chance: u64) {
    assert!(!redis.is_running());
    let directory = redis.directory().join("appendonlydir");
    let files = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.to_string_lossy().ends_with(".incr.aof"));
    let newest = files.max().expect("an append-only file");
    let bytes = std::fs::metadata(&newest).unwrap().len();
    let kept = bytes.saturating_sub(chance % UNSYNCED_BYTES_MAX);
    std::fs::OpenOptions::new().write(true).open(&newest).unwrap().set_len(kept).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_blows_and_every_kind_comes() {
        let drawn = |seed| strikes(seed, Blow::CLUSTER, 3).take(Blow::CLUSTER.len()).collect::<Vec<_>>();
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        for kind in Blow::CLUSTER {
            let same = |strike: &Strike| std::mem::discriminant(&strike.2) == std::mem::discriminant(kind);
            assert!(drawn(7).iter().any(same), "{kind:?}");
        }
    }
}
