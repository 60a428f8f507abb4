//! Faults: which ones, when, to whom, all drawn from a seed; and the hand that inflicts them.
//!
//! The plan is made before anything happens, so a seed repeats it. What the machine's timing makes of it is not in the
//! seed.

pub mod servers;

use crate::process::FrontProcess;
use crate::proxy::Proxy;
use crate::redis::{Ending, Redis};
use crate::resuming::Resuming;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use stoa_core::event::Kind;

/// Something that is done to the story's world at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// `SIGKILL` to a front.
    KillFront(usize),
    /// Start it again.
    StartFront(usize),
    /// `SIGSTOP` to a front.
    PauseFront(usize),
    /// `SIGCONT`.
    ResumeFront(usize),
    /// End the connections on which fronts hear of events.
    KillSubscriptions,
    /// End Redis and start it again.
    RestartRedis(Ending),
    /// Swallow so many of a thousand events on the way to a front.
    LoseEvents(usize, u32),
    /// Lose nothing any more.
    LoseNothing(usize),
    /// Cut off clients without a goodbye and keep them away.
    CutClients(Vec<usize>, Duration),
    /// Clients read nothing for a time.
    StallClients(Vec<usize>, Duration),
}

/// The faults of a story, in order, with the time since its beginning.
pub struct Plan {
    /// When to do what.
    pub acts: Vec<(Duration, Act)>,
    /// How many faults there are; what only ends one is not counted.
    pub faults: usize,
}

/// Kinds of faults, each as often as it stands here.
const KINDS: [Fault; 12] = [
    Fault::Cut,
    Fault::Cut,
    Fault::Cut,
    Fault::Kill,
    Fault::Kill,
    Fault::Pause,
    Fault::Lose,
    Fault::Lose,
    Fault::Subscriptions,
    Fault::Subscriptions,
    Fault::Stall,
    Fault::Redis,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Cut,
    Kill,
    Pause,
    Lose,
    Subscriptions,
    Stall,
    Redis,
}

impl Plan {
    /// Draws faults for so long, one every one to three seconds; each kind comes before any comes twice as often. At
    /// least one front is always left alone by those that stop it.
    pub fn draw(seed: u64, time: Duration, fronts: usize, clients: usize) -> Plan {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut acts = Vec::new();
        let mut hand: Vec<Fault> = Vec::new();
        let mut busy_until = vec![Duration::ZERO; fronts];
        let (mut now, mut faults) = (Duration::from_millis(1_000), 0);
        while now < time {
            if hand.is_empty() {
                hand.extend(KINDS);
            }
            let fault = hand.swap_remove(rng.random_range(0..hand.len()));
            let free: Vec<usize> = (0..fronts).filter(|front| busy_until[*front] <= now).collect();
            let front = free[rng.random_range(0..free.len())];
            let may_stop = free.len() >= 2;
            let some = some_of(&mut rng, clients);
            let mut time = |ms: std::ops::Range<u64>| Duration::from_millis(rng.random_range(ms));
            faults += 1;
            match fault {
                // From a cut that nobody notices to a tunnel.
                Fault::Cut => {
                    let longest = [1, 50, 500, 5_000][faults % 4];
                    acts.push((now, Act::CutClients(some, time(0..longest))));
                }
                Fault::Stall => acts.push((now, Act::StallClients(some, time(1_000..6_000)))),
                Fault::Subscriptions => acts.push((now, Act::KillSubscriptions)),
                Fault::Redis => {
                    let ending = [Ending::Killed, Ending::Stopped][faults % 2];
                    acts.push((now, Act::RestartRedis(ending)));
                }
                Fault::Lose => {
                    let until = now + time(2_000..5_000);
                    acts.extend([(now, Act::LoseEvents(front, 150)), (until, Act::LoseNothing(front))]);
                }
                Fault::Kill if may_stop => {
                    let until = now + time(0..3_000);
                    busy_until[front] = until + Duration::from_millis(1_500);
                    acts.extend([(now, Act::KillFront(front)), (until, Act::StartFront(front))]);
                }
                Fault::Pause if may_stop => {
                    let until = now + time(300..10_000);
                    busy_until[front] = until + Duration::from_millis(500);
                    acts.extend([(now, Act::PauseFront(front)), (until, Act::ResumeFront(front))]);
                }
                Fault::Kill | Fault::Pause => {
                    hand.push(fault);
                    faults -= 1;
                }
            }
            now += time(1_000..3_000);
        }
        acts.sort_by_key(|(at, _)| *at);
        Plan { acts, faults }
    }
}

/// About a third of the clients, at least one.
fn some_of(rng: &mut SmallRng, clients: usize) -> Vec<usize> {
    let mut some: Vec<usize> = (0..clients).filter(|_| rng.random_ratio(1, 3)).collect();
    if some.is_empty() {
        some.push(rng.random_range(0..clients));
    }
    some
}

/// What faults happen to.
pub struct World {
    /// The one Redis.
    pub redis: Redis,
    /// The line of each front to Redis.
    pub proxies: Vec<Proxy>,
    /// The fronts.
    pub fronts: Vec<FrontProcess>,
    /// The clients.
    pub clients: Vec<Resuming>,
}

impl World {
    /// Carries out a plan in real time, from the thread that started the fronts and Redis; `tell` hears of every act.
    pub fn suffer(&mut self, plan: &Plan, seed: u64, mut tell: impl FnMut(&Act)) {
        let started = Instant::now();
        for (number, (at, act)) in plan.acts.iter().enumerate() {
            std::thread::sleep(at.saturating_sub(started.elapsed()));
            tell(act);
            self.inflict(act, seed ^ number as u64);
        }
    }

    /// Ends every fault that may still last.
    pub fn heal(&mut self) {
        self.proxies.iter().for_each(Proxy::lose_nothing);
        self.fronts.iter().for_each(FrontProcess::is_ready_soon);
    }

    fn inflict(&mut self, act: &Act, seed: u64) {
        match act {
            Act::KillFront(front) => self.fronts[*front].kill(),
            Act::StartFront(front) => self.fronts[*front].launch(),
            Act::PauseFront(front) => self.fronts[*front].pause(),
            Act::ResumeFront(front) => self.fronts[*front].resume(),
            Act::KillSubscriptions => _ = self.redis.ok(&["CLIENT", "KILL", "TYPE", "pubsub"]),
            Act::RestartRedis(ending) => self.redis.restart(*ending),
            Act::LoseEvents(front, per_mille) => {
                let (mut rng, per_mille) = (SmallRng::seed_from_u64(seed), *per_mille);
                let mut unnoticed = HashSet::new();
                self.proxies[*front].lose(move |channel, header| {
                    let lost = rng.random_ratio(per_mille, 1_000);
                    match header.kind {
                        Kind::Durable if lost => _ = unnoticed.insert(channel.to_owned()),
                        // What says that the last event was lost is not lost as well: that is one fault too many.
                        Kind::Heads if unnoticed.remove(channel) => return false,
                        Kind::Durable | Kind::Heads => {}
                        Kind::Ephemeral | Kind::Reset | Kind::Kick => return false,
                    }
                    lost
                });
            }
            Act::LoseNothing(front) => self.proxies[*front].lose_nothing(),
            Act::CutClients(clients, away) => clients.iter().for_each(|at| self.clients[*at].cut(*away)),
            Act::StallClients(clients, time) => clients.iter().for_each(|at| self.clients[*at].stall(*time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_plan_and_every_front_is_given_back() {
        for seed in 0..200 {
            let plan = Plan::draw(seed, Duration::from_secs(60), 3, 12);
            assert_eq!(plan.acts, Plan::draw(seed, Duration::from_secs(60), 3, 12).acts);
            let mut stopped = [false; 3];
            for (at, act) in &plan.acts {
                match act {
                    Act::KillFront(front) | Act::PauseFront(front) => {
                        assert!(!stopped[*front], "seed {seed}: {act:?} at {at:?}");
                        stopped[*front] = true;
                    }
                    Act::StartFront(front) | Act::ResumeFront(front) => stopped[*front] = false,
                    _ => {}
                }
                assert!(stopped.contains(&false), "seed {seed}: no front is left at {at:?}");
            }
            assert_eq!(stopped, [false; 3], "seed {seed}");
        }
    }

    #[test]
    fn a_minute_has_every_kind_of_fault() {
        let plan = Plan::draw(7, Duration::from_secs(60), 3, 12);
        assert!(plan.faults >= 20, "{}", plan.faults);
        let has = |wanted: fn(&Act) -> bool| plan.acts.iter().any(|(_, act)| wanted(act));
        assert!(has(|act| matches!(act, Act::KillFront(_))));
        assert!(has(|act| matches!(act, Act::PauseFront(_))));
        assert!(has(|act| matches!(act, Act::LoseEvents(..))));
        assert!(has(|act| matches!(act, Act::KillSubscriptions)));
        assert!(has(|act| matches!(act, Act::RestartRedis(_))));
        assert!(has(|act| matches!(act, Act::CutClients(..))));
        assert!(has(|act| matches!(act, Act::StallClients(..))));
    }
}
