//! Whether the server answers. A socket that is open says nothing: the server may be stopped, or gone without a word.

use super::shard::{Profile, Shard};
use super::topology::CallError;
use fred::prelude::{Client, ClientLike, ClientState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
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
}

/// What is known of a server.
#[derive(Debug, Default)]
pub struct Health {
    commands: Arc<Pulse>,
    events: Arc<Pulse>,
    module: AtomicBool,
}

impl Health {
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
    fn is_connected(&self) -> bool {
        self.commands.is_up.load(Ordering::Relaxed) && self.events.is_up.load(Ordering::Relaxed)
    }
}

/// Pings a connection for ever and forces a new one when the answers stay away.
pub(super) async fn watch(client: Client, pulse: Arc<Pulse>) {
    let mut strikes = 0;
    loop {
        let before = pulse.answers();
        // A ping stands in line behind other commands: whoever answers those is alive, and only busy.
        let answered = client.state() == ClientState::Connected
            && (matches!(tokio::time::timeout(PING_TIMEOUT, client.ping::<()>(None)).await, Ok(Ok(())))
                || pulse.answers() > before);
        pulse.is_up.store(answered, Ordering::Relaxed);
        strikes = if answered { 0 } else { strikes + 1 };
        // Without a connection the library is busy making one already.
        if strikes >= STRIKES_MAX && client.state() == ClientState::Connected {
            tracing::warn!("redis does not answer; connecting anew");
            strikes = 0;
            let _ = tokio::time::timeout(PING_TIMEOUT, client.force_reconnection()).await;
        }
        let pause = if answered { PING_INTERVAL } else { PING_INTERVAL / 5 };
        tokio::time::sleep(pause).await;
    }
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
        Err(CallError::Away | CallError::Unacknowledged) => BUSY,
        Err(CallError::Refused(text)) if text.contains("unknown command") => {
            "redis answers but has no Stoa module: start it with `--loadmodule libstoa.so`; waiting"
        }
        Err(CallError::Refused(text)) if text.starts_with("NOPERM") => {
            "redis does not let this user run the commands of the Stoa module: check its ACL; waiting"
        }
        Err(CallError::Refused(_)) => "redis refuses the commands of the Stoa module; waiting",
    }
}
