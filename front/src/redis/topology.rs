//! Which servers there are, and which of them holds a room.
//!
//! One server, sentinels and a cluster are the same here: a layout, which says which server holds which slots, and which
//! somebody keeps up to date. A command goes to the server that holds its room. What a server did not do (the room has
//! moved, it is no primary any more, it loads) is asked again, of whoever holds the room by then, as long as the
//! caller's patience lasts; of what may have happened the caller hears at once, because only a write with an identity
//! may be sent again.

use super::deployment::{Access, Deployment, Source};
use super::layout::{Layout, slot};
use super::shard::{Profile, Shard, ShardError};
use super::subscriptions::Listener;
use super::{cluster, sentinel};
use crate::acks::Ack;
use fred::types::Value;
use fred::types::config::Server;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Pause before a command is tried again, at first and at most; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// Commands that wait for a server at once, in number: beyond it callers are told at once.
const WAITING_MAX: usize = 10_000;

/// Makes whoever keeps the layout look again at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Kick(Arc<Notify>);

impl Kick {
    /// Something is not as the layout says.
    pub(super) fn kick(&self) {
        self.0.notify_one();
    }
    /// Waits for `longest`, or until somebody kicks, but for `shortest` in any case.
    pub(super) async fn wait(&self, shortest: Duration, longest: Duration) {
        tokio::time::sleep(shortest).await;
        let _ = tokio::time::timeout(longest - shortest, self.0.notified()).await;
    }
}

/// Why a command has no answer.
#[derive(Debug)]
pub enum CallError {
    /// The server was not reached, or did not answer in time; the command may have happened.
    Away,
    /// The server answered with this error.
    Refused(String),
    /// The command happened, and is not known to be as safe as it has to be.
    Unacknowledged,
}

/// The servers as the layout says, and channels that no server holds now.
struct Table {
    shards: Vec<(Server, Arc<Shard>)>,
    by_slot: Vec<Option<u16>>,
}

impl Table {
    fn shard(&self, channel: &str) -> Option<&Arc<Shard>> {
        let number =
            if self.shards.len() == 1 && self.is_whole() { 0 } else { self.by_slot[usize::from(slot(channel))]? };
        self.shards.get(usize::from(number)).map(|(_, shard)| shard)
    }
    /// Whether every slot has a server: then there is nothing to look up where there is one.
    fn is_whole(&self) -> bool {
        self.by_slot.is_empty()
    }
}

/// The servers that hold rooms.
pub struct ShardRouter {
    deployment: Deployment,
    profile: Profile,
    patience: Duration,
    tasks: TaskTracker,
    table: RwLock<Arc<Table>>,
    /// Channels that are wanted and that no server holds.
    stranded: Mutex<HashMap<Arc<str>, Arc<dyn Listener>>>,
    kick: Kick,
    waiting: Semaphore,
}

impl ShardRouter {
    /// Begins to connect to the servers that the URL names, and goes on until the runtime ends. Commands that no server
    /// takes now are tried again for `patience`.
    pub fn start(
        access: &Access,
        profile: Profile,
        patience: Duration,
        tasks: &TaskTracker,
    ) -> Result<Arc<Self>, String> {
        let deployment = Deployment::of(access)?;
        let kick = Kick::default();
        let router = Arc::new(ShardRouter {
            deployment: deployment.clone(),
            profile,
            patience,
            tasks: tasks.clone(),
            table: RwLock::new(Arc::new(Table { shards: Vec::new(), by_slot: Layout::default().by_slot() })),
            stranded: Mutex::default(),
            kick: kick.clone(),
            waiting: Semaphore::new(WAITING_MAX),
        });
        let (found, layouts) = watch::channel(Layout::default());
        match deployment.source.clone() {
            Source::Fixed(layout) => router.adopt(&layout)?,
            Source::Cluster(seeds) => {
                tasks.spawn(cluster::follow(deployment, seeds, found, kick, tasks.clone()));
                tasks.spawn(router.clone().keep_up(layouts));
            }
            Source::Sentinels { hosts, service } => {
                tasks.spawn(sentinel::follow(deployment, (hosts, service), found, kick, tasks.clone()));
                tasks.spawn(router.clone().keep_up(layouts));
            }
        }
        Ok(router)
    }

    async fn keep_up(self: Arc<Self>, mut layouts: watch::Receiver<Layout>) {
        while layouts.changed().await.is_ok() {
            let layout = layouts.borrow_and_update().clone();
            if let Err(error) = self.adopt(&layout) {
                tracing::error!(error, "a server cannot be used");
            }
        }
    }

    /// Uses these servers from now on; channels move to the server that holds them.
    fn adopt(&self, layout: &Layout) -> Result<(), String> {
        let mut stranded = self.stranded();
        let known = self.table();
        let mut shards = Vec::new();
        for place in &layout.0 {
            let shard = known.shards.iter().find(|(server, _)| *server == place.server).map(|(_, shard)| shard.clone());
            let shard = match shard {
                Some(shard) => shard,
                None => Shard::start(self.deployment.server(&place.server), self.profile.clone(), &self.tasks)?,
            };
            shards.push((place.server.clone(), shard));
        }
        let by_slot = layout.by_slot();
        let is_whole = by_slot.iter().all(Option::is_some) && shards.len() == 1;
        let table = Arc::new(Table { shards, by_slot: if is_whole { Vec::new() } else { by_slot } });
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
        let mut moving: Vec<_> = stranded.drain().collect();
        for (server, shard) in &known.shards {
            let is_here = |channel: &str| table.shard(channel).is_some_and(|now| Arc::ptr_eq(now, shard));
            let gone = shard.subscriptions().give_up(|channel| !is_here(channel));
            gone.iter().for_each(|(_, listener)| listener.unsubscribed());
            moving.extend(gone);
            if !table.shards.iter().any(|(other, _)| other == server) {
                shard.stop();
            }
        }
        for (channel, listener) in moving {
            match table.shard(&channel) {
                Some(shard) => shard.subscriptions().want(&channel, listener),
                None => drop(stranded.insert(channel, listener)),
            }
        }
        Ok(())
    }

    /// Runs a command on the server that holds `channel`'s room, and waits until what it wrote is where `ack` says.
    pub async fn call(
        &self,
        channel: &str,
        command: &'static str,
        args: Vec<Value>,
        ack: Ack,
    ) -> Result<Value, CallError> {
        let deadline = Instant::now() + self.patience;
        let mut pause = PAUSE_MIN;
        loop {
            let error = match self.table().shard(channel).filter(|shard| shard.answers()) {
                Some(shard) => match shard.call_safely(command, args.clone(), ack).await {
                    Ok(reply) => return Ok(reply),
                    Err(ShardError::Asked(server)) => match self.ask(&server, command, args.clone(), ack).await {
                        Ok(reply) => return Ok(reply),
                        Err(error) => error,
                    },
                    Err(error) => error,
                },
                None => ShardError::NotNow("no server that answers holds this room".to_owned()),
            };
            match error {
                ShardError::Refused(text) => return Err(CallError::Refused(text)),
                ShardError::Unacknowledged => return Err(CallError::Unacknowledged),
                ShardError::Away => {
                    self.kick.kick();
                    return Err(CallError::Away);
                }
                ShardError::NotNow(why) => {
                    tracing::debug!(command, why, "trying again");
                    self.kick.kick();
                }
                ShardError::Asked(_) => self.kick.kick(),
            }
            let Ok(_place) = self.waiting.try_acquire() else { return Err(CallError::Away) };
            if Instant::now() + pause >= deadline {
                return Err(CallError::Away);
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Runs a command on the server that a room is moving to.
    async fn ask(
        &self,
        server: &Server,
        command: &'static str,
        args: Vec<Value>,
        ack: Ack,
    ) -> Result<Value, ShardError> {
        let table = self.table();
        let shard = table.shards.iter().find(|(known, _)| known == server).map(|(_, shard)| shard);
        match shard {
            Some(shard) => shard.call_asking(command, args, ack).await,
            None => Err(ShardError::NotNow(format!("{server} is not known to hold rooms"))),
        }
    }

    /// Wants the events of a channel from now on.
    pub fn subscribe(&self, channel: &str, listener: Arc<dyn Listener>) {
        let mut stranded = self.stranded();
        match self.table().shard(channel) {
            Some(shard) => shard.subscriptions().want(channel, listener),
            None => drop(stranded.insert(channel.into(), listener)),
        }
    }

    /// Wants them no longer.
    pub fn unsubscribe(&self, channel: &str) {
        let mut stranded = self.stranded();
        stranded.remove(channel);
        if let Some(shard) = self.table().shard(channel) {
            shard.subscriptions().drop(channel);
        }
    }

    /// Whether the server of a channel can be reached.
    pub fn is_up(&self, channel: &str) -> bool {
        self.table().shard(channel).is_some_and(|shard| shard.is_up())
    }

    /// Whether any room can be served, and every server has had its time to be reached.
    pub fn is_ready(&self) -> bool {
        let table = self.table();
        let mut shards = table.shards.iter().map(|(_, shard)| shard);
        shards.clone().any(|shard| shard.is_up()) && shards.all(|shard| shard.is_up() || !shard.is_new())
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whoever changes the table, or what is wanted, holds this.
    fn stranded(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<dyn Listener>>> {
        self.stranded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
