//! Which servers there are, and which of them holds a room.
//!
//! One server, sentinels and a cluster are the same here: a layout, which says which server holds which slots, and which
//! somebody keeps up to date. A command goes to the server that holds its room. What a server did not do (the room has
//! moved, it is no primary any more, it loads) is asked again, of whoever holds the room by then, as long as the
//! caller's patience lasts. What may have happened is asked again only if that is safe: a write that carries its
//! writer's identity is. Of anything else the caller hears at once.

use super::cluster;
use super::deployment::{Access, Deployment, Source};
use super::layout::{Layout, slot};
use super::line::{Lines, Ticket};
use super::sentinel::Sentinels;
use super::shard::{Profile, Shard, ShardError};
use super::subscriptions::Listener;
use crate::acks::Ack;
use crate::chance;
use fred::types::Value;
use fred::types::config::Server;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Mean pause before a command is tried again, at first and at most; it doubles. Each is up to half shorter or longer,
/// so that the rooms of a server do not all ask in one instant.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(400);

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

/// A command for the module.
#[derive(Debug)]
pub struct Call {
    /// Its name.
    pub command: &'static str,
    /// Its arguments, the key first.
    pub args: Vec<Value>,
    /// Where what it writes has to be before it is answered.
    pub ack: Ack,
    /// Whether it is the same to have it done once or twice, as a write with its writer's identity is.
    pub is_repeatable: bool,
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

/// The servers as the layout says.
struct Table {
    shards: Vec<(Server, Arc<Shard>)>,
    /// The server of each slot, by its number in the list; empty where the first one holds them all.
    by_slot: Vec<Option<u16>>,
}

impl Table {
    fn shard(&self, channel: &str) -> Option<&Arc<Shard>> {
        let number = if self.by_slot.is_empty() { 0 } else { self.by_slot[usize::from(slot(channel))]? };
        self.shards.get(usize::from(number)).map(|(_, shard)| shard)
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
    sentinels: Option<Arc<Sentinels>>,
    kick: Kick,
    /// Tells commands that wait when it may be worth another try: a server answers that did not, or holds other rooms.
    news: Arc<Notify>,
    lines: Lines,
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
        let sentinels = match &deployment.source {
            Source::Sentinels { hosts, service } => {
                Some(Arc::new(Sentinels::start(&deployment, hosts, service.clone(), tasks)?))
            }
            Source::Fixed(_) | Source::Cluster(_) => None,
        };
        let router = Arc::new(ShardRouter {
            deployment: deployment.clone(),
            profile,
            patience,
            tasks: tasks.clone(),
            table: RwLock::new(Arc::new(Table { shards: Vec::new(), by_slot: Vec::new() })),
            stranded: Mutex::default(),
            sentinels: sentinels.clone(),
            kick: kick.clone(),
            news: Arc::default(),
            lines: Lines::default(),
        });
        if let Source::Fixed(layout) = &deployment.source {
            router.adopt(layout)?;
            return Ok(router);
        }
        let (found, layouts) = watch::channel(Layout::default());
        tasks.spawn(router.clone().keep_up(layouts));
        if let Source::Cluster(seeds) = deployment.source.clone() {
            tasks.spawn(cluster::follow(deployment, seeds, found, kick, tasks.clone()));
        } else if let Some(sentinels) = sentinels {
            tasks.spawn(sentinels.follow(deployment, found, kick, tasks.clone()));
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
                None => {
                    let config = self.deployment.server(&place.server);
                    Shard::start(config, self.profile.clone(), self.sentinels.as_ref(), &self.tasks, &self.news)?
                }
            };
            shard.hold(&place.slots);
            shards.push((place.server.clone(), shard));
        }
        let by_slot = layout.by_slot();
        let is_one = shards.len() == 1 && by_slot.iter().all(Option::is_some);
        let table = Arc::new(Table { shards, by_slot: if is_one { Vec::new() } else { by_slot } });
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
        self.news.notify_waiters();
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

    /// Runs a command on the server that holds `channel`'s room, and waits until what it wrote is where it has to be.
    ///
    /// Commands of one room that have to be tried again keep their order.
    pub async fn call(&self, channel: &str, call: Call) -> Result<Value, CallError> {
        let ticket = self.lines.ticket();
        if !self.lines.has(channel) {
            match self.attempt(channel, &call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => self.worth_another(error, &call)?,
            }
        }
        // In a box: it is seldom needed, and large.
        Box::pin(self.call_again(channel, ticket, call)).await
    }

    /// Tries for as long as the router is patient: after a pause, and as soon as there is news.
    async fn call_again(&self, channel: &str, ticket: Ticket, call: Call) -> Result<Value, CallError> {
        let deadline = Instant::now() + self.patience;
        let place = self.lines.stand(channel, ticket).ok_or(CallError::Away)?;
        let (mut pause, mut news) = (PAUSE_MIN, self.news.notified());
        loop {
            let again = async {
                let _ = tokio::time::timeout(pause / 2 + chance::jitter(pause), news).await;
                place.turn().await;
            };
            tokio::time::timeout_at(deadline, again).await.map_err(|_| CallError::Away)?;
            // From before the attempt: what is new while it is made counts.
            news = self.news.notified();
            match self.attempt(channel, &call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => self.worth_another(error, &call)?,
            }
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// As [`ShardRouter::call`], but once, and only if the server is there: for what nobody is to wait for.
    pub async fn call_if_up(&self, channel: &str, call: Call) -> Result<Value, CallError> {
        if !self.is_up(channel) {
            return Err(CallError::Away);
        }
        match self.attempt(channel, &call).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.worth_another(error, &call).err().unwrap_or(CallError::Away)),
        }
    }

    /// Tries once, at the server that holds the room and, if that one says so, at the one that the room is moving to.
    async fn attempt(&self, channel: &str, call: &Call) -> Result<Value, ShardError> {
        let table = self.table();
        let Some(shard) = table.shard(channel).filter(|shard| shard.answers()) else {
            return Err(ShardError::NotNow("no server that answers holds this room".to_owned()));
        };
        match shard.call_safely(call.command, call.args.clone(), call.ack).await {
            Err(ShardError::Asked(server)) => match table.shards.iter().find(|(known, _)| *known == server) {
                Some((_, shard)) => Box::pin(shard.call_asking(call.command, call.args.clone(), call.ack)).await,
                None => Err(ShardError::NotNow(format!("{server} is not known to hold rooms"))),
            },
            answer => answer,
        }
    }

    /// Whether a command may be tried again; else what its caller is told.
    fn worth_another(&self, error: ShardError, call: &Call) -> Result<(), CallError> {
        match error {
            ShardError::Refused(text) => return Err(CallError::Refused(text)),
            ShardError::Unacknowledged => return Err(CallError::Unacknowledged),
            ShardError::Overloaded => return Err(CallError::Away),
            ShardError::Away | ShardError::Asked(_) => {}
            ShardError::NotNow(ref why) => tracing::debug!(command = call.command, why, "trying again"),
        }
        self.kick.kick();
        if matches!(error, ShardError::Away) && !call.is_repeatable { Err(CallError::Away) } else { Ok(()) }
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
