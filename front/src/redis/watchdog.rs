//! Whether the server answers. A socket that is open says nothing: the server may be stopped, or gone without a word.

use super::shard::{Profile, Shard, ShardError};
use fred::prelude::{Client, ClientLike, ClientState, EventInterface};
use fred::types::InfoKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// Time between two PINGs on one connection.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// Time for the answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// Answers that fail to come before the connection is given up.
const STRIKES_MAX: u32 = 2;
/// Time between two looks for the module while it is missing.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// Time without a connection before that is worth a warning: every start and every short break begins without one.
const AWAY_WARNING: Duration = Duration::from_secs(1);

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    is_up: AtomicBool,
    answers: AtomicU64,
    /// Tells those who wait for an answer that none will come.
    gone: Notify,
    /// Tells those who wait for a server that one answers again, or for the first time.
    came: Arc<Notify>,
    /// Which server process it leads to; an address may lead to another one after a while.
    run_id: Mutex<Option<String>>,
}

impl Pulse {
    /// The server answered something.
    pub(super) fn note(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
    /// How often the server has answered.
    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
    /// Returns when the connection is given up, from now on.
    pub(super) fn gone(&self) -> Notified<'_> {
        self.gone.notified()
    }
    fn run_id(&self) -> MutexGuard<'_, Option<String>> {
        self.run_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a server.
#[derive(Debug, Default)]
pub struct Health {
    commands: Arc<Pulse>,
    events: Arc<Pulse>,
    module: AtomicBool,
}

impl Health {
    /// Nothing yet; `came` hears when commands are answered after they were not.
    pub(super) fn new(came: &Arc<Notify>) -> Self {
        let commands = Pulse { came: came.clone(), ..Pulse::default() };
        Health { commands: Arc::new(commands), ..Health::default() }
    }

    pub(super) fn commands(&self) -> &Arc<Pulse> {
        &self.commands
    }
    pub(super) fn events(&self) -> &Arc<Pulse> {
        &self.events
    }
    /// Whether rooms can be served.
    pub fn is_up(&self) -> bool {
        self.is_connected() && self.module.load(Ordering::Relaxed)
    }
    /// Whether commands are answered.
    pub(super) fn answers(&self) -> bool {
        self.commands.is_up.load(Ordering::Relaxed)
    }
    /// Whether commands and events flow, to and from the same server process.
    fn is_connected(&self) -> bool {
        let is_up = self.answers() && self.events.is_up.load(Ordering::Relaxed);
        is_up && *self.commands.run_id() == *self.events.run_id()
    }
}

/// Pings a connection for ever and forces a new one when the answers stay away.
pub(super) async fn watch(client: Client, pulse: Arc<Pulse>) {
    let mut strikes = 0;
    let (mut connections, mut is_known) = (client.reconnect_rx(), false);
    loop {
        let before = pulse.answers();
        while !matches!(connections.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {
            is_known = false;
        }
        if !is_known && client.state() == ClientState::Connected {
            let run_id = run_id(&client).await;
            is_known = run_id.is_some();
            *pulse.run_id() = run_id;
        }
        // A ping stands in line behind other commands: whoever answers those is alive, and only busy.
        let answered = client.state() == ClientState::Connected
            && (matches!(tokio::time::timeout(PING_TIMEOUT, client.ping::<()>(None)).await, Ok(Ok(())))
                || pulse.answers() > before);
        if !pulse.is_up.swap(answered, Ordering::Relaxed) && answered {
            pulse.came.notify_waiters();
        }
        strikes = if answered { 0 } else { strikes + 1 };
        // Without a connection the library is busy making one already.
        if strikes >= STRIKES_MAX && client.state() == ClientState::Connected {
            tracing::warn!("redis does not answer; connecting anew");
            strikes = 0;
            // The library keeps what was not answered, for the next connection.
            pulse.gone.notify_waiters();
            let _ = tokio::time::timeout(PING_TIMEOUT, client.force_reconnection()).await;
        }
        let pause = if answered { PING_INTERVAL } else { PING_INTERVAL / 20 };
        // A new connection is looked at when it stands.
        if let Ok(Ok(_) | Err(RecvError::Lagged(_))) = tokio::time::timeout(pause, connections.recv()).await {
            is_known = false;
        }
    }
}

/// Which server process a connection leads to, if it says so.
pub(super) async fn run_id(client: &Client) -> Option<String> {
    let info: String = client.info(Some(InfoKind::Server)).await.ok()?;
    info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::to_owned)
}

/// Looks for the module whenever a connection is new, and says clearly when it is missing.
pub(super) async fn probe(shard: Arc<Shard>, health: Arc<Health>, profile: Profile) {
    let mut said = None;
    let mut connected_at = Instant::now();
    loop {
        let connected = health.is_connected();
        let before = health.commands.answers();
        let mut state = if connected { look(&shard, &profile).await } else { "redis cannot be reached; waiting" };
        if state == BUSY && health.commands.answers() > before && said == Some("") {
            // This question was too long in line; others were answered.
            state = "";
        }
        health.module.store(state.is_empty(), Ordering::Relaxed);
        if connected {
            connected_at = Instant::now();
        }
        let too_early = !connected && connected_at.elapsed() < AWAY_WARNING;
        if said != Some(state) && !too_early {
            said = Some(state);
            match state {
                "" => tracing::info!("redis answers and the Stoa module is loaded"),
                trouble => tracing::warn!("{trouble}"),
            }
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

const BUSY: &str = "redis does not accept commands now; waiting";

async fn look(shard: &Shard, profile: &Profile) -> &'static str {
    let (command, key) = &profile.probe;
    match shard.call(command, vec![key.clone().into()]).await {
        Ok(_) => "",
        // A server of a cluster knows the command, and that another one holds this key.
        Err(ShardError::NotNow(text)) if text.starts_with("MOVED") => "",
        Err(ShardError::Asked(_)) => "",
        Err(ShardError::NotNow(text)) if text.contains("unknown command") => {
            "redis answers but has no Stoa module: start it with `--loadmodule libstoa.so`; waiting"
        }
        Err(ShardError::Refused(text)) if text.starts_with("NOPERM") => {
            "redis does not let this user run the commands of the Stoa module: check its ACL; waiting"
        }
        Err(ShardError::Refused(_)) => "redis refuses the commands of the Stoa module; waiting",
        Err(_) => BUSY,
    }
}
