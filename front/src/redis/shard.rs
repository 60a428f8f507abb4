//! One Redis server: a connection for commands, a connection for events.

use super::barrier::{Barrier, Waits};
use super::subscriptions::Subscriptions;
use super::topology::CallError;
use super::watchdog::{self, Health};
use crate::acks::Ack;
use fred::clients::WithOptions;
use fred::prelude::{Builder, Client, ClientLike, Error, ErrorKind, EventInterface, Options, ReconnectPolicy};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, TcpConfig};
use fred::types::{ClusterHash, CustomCommand, RespVersion, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Time for a connection to come about, and for the commands of its set-up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a command. That a server is gone the watchdog notices earlier, and then whoever waits hears so at once;
/// what is late for another reason waits behind others, on a machine that has too much to do, and will come.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(4);
/// Commands that wait in the library, in number: beyond it callers are told at once.
const COMMANDS_MAX: usize = 10_000;
/// Events that wait between the connection and the relay, in number. Beyond it the oldest are dropped, which is
/// noticed and repaired; more would be allocated at the start.
const EVENTS_MAX: usize = 16_384;
/// Time between attempts to reconnect, in milliseconds, and its jitter.
const RECONNECT_MS: u32 = 100;
const RECONNECT_JITTER_MS: u32 = 50;
/// Time before a client that ended for good is started anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What the shard should know of the deployment.
#[derive(Debug, Clone)]
pub struct Profile {
    /// A read command and its key, to learn whether the module is loaded.
    pub probe: (&'static str, String),
    /// What writes may have to wait for.
    pub waits: Waits,
}

/// One Redis server.
pub struct Shard {
    commands: WithOptions<Client>,
    subscriptions: Arc<Subscriptions>,
    barriers: Vec<Barrier>,
    health: Arc<Health>,
}

impl Shard {
    /// Begins to connect, and goes on until the runtime ends.
    pub fn start(config: Config, profile: Profile, tasks: &TaskTracker) -> Result<Arc<Self>, String> {
        let (commands, events) = (client(&config, COMMAND_TIMEOUT)?, client(&config, COMMAND_TIMEOUT)?);
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(COMMAND_TIMEOUT),
            // While there is no connection the caller hears so at once.
            fail_fast: true,
            ..Options::default()
        };
        let health = Arc::new(Health::default());
        let subscriptions = Arc::new(Subscriptions::new(health.events()));
        let barriers: Result<Vec<Barrier>, String> = profile
            .waits
            .acks
            .iter()
            .map(|ack| Barrier::start(&config, &commands, &profile.waits, *ack, tasks))
            .collect();
        let shard = Arc::new(Shard {
            commands: commands.with_options(&options),
            subscriptions: subscriptions.clone(),
            barriers: barriers?,
            health: health.clone(),
        });
        // Listening starts before connecting, so that nothing is missed.
        tasks.spawn(subscriptions.clone().relay(events.message_rx()));
        tasks.spawn(subscriptions.reconcile(events.clone()));
        tasks.spawn(supervise(commands.clone(), "commands"));
        tasks.spawn(supervise(events.clone(), "events"));
        tasks.spawn(watchdog::watch(commands.clone(), health.commands().clone()));
        tasks.spawn(watchdog::watch(events, health.events().clone()));
        tasks.spawn(watchdog::probe(shard.clone(), health, profile));
        Ok(shard)
    }

    /// Runs a command, once.
    pub async fn call(&self, command: &'static str, args: Vec<Value>) -> Result<Value, CallError> {
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let reply: Result<Value, CallError> = self.commands.custom(command, args).await.map_err(call_error);
        // A server that loads or does not take writes is not there for us, though it says so.
        if reply.is_ok() {
            self.health.commands().note();
        }
        reply
    }

    /// Runs a command, once, and waits until what it wrote is where `ack` says.
    pub async fn call_safely(&self, command: &'static str, args: Vec<Value>, ack: Ack) -> Result<Value, CallError> {
        let Some(barrier) = self.barriers.iter().find(|barrier| barrier.ack == ack) else {
            return self.call(command, args).await;
        };
        let connection = barrier.connection();
        let reply = self.call(command, args).await?;
        if barrier.pass(connection).await { Ok(reply) } else { Err(CallError::Unacknowledged) }
    }

    /// Whether commands and events flow, the module is there, and writes can be acknowledged as they have to be.
    pub fn is_up(&self) -> bool {
        self.health.is_up() && self.barriers.iter().all(Barrier::is_usable)
    }

    /// The subscriptions on this server.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }
}

/// Errors that say that the server does not accept this now.
const NOT_NOW: [&str; 10] =
    ["LOADING", "READONLY", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "OOM", "MISCONF", "TRYAGAIN", "BUSY", "NOAUTH"];

fn call_error(error: Error) -> CallError {
    let away = matches!(
        error.kind(),
        ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Backpressure | ErrorKind::Routing
    );
    let text = error.details();
    let word = text.split_whitespace().next().unwrap_or_default();
    // The library's own sentences begin with a capital letter and go on in small ones.
    let from_server = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if away || !from_server || NOT_NOW.contains(&word) {
        return CallError::Away;
    }
    CallError::Refused(text.to_owned())
}

/// A client that is not connected yet, whose commands take at most `timeout`.
pub(super) fn client(config: &Config, timeout: Duration) -> Result<Client, String> {
    let mut builder = Builder::from_config(Config { fail_fast: false, version: RespVersion::RESP3, ..config.clone() });
    let mut policy = ReconnectPolicy::new_constant(0, RECONNECT_MS);
    policy.set_jitter(RECONNECT_JITTER_MS);
    builder.set_policy(policy);
    builder.set_connection_config(ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        max_command_attempts: 1,
        max_command_buffer_len: COMMANDS_MAX,
        reconnect_on_auth_error: true,
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    });
    builder.set_performance_config(PerformanceConfig {
        default_command_timeout: timeout,
        broadcast_channel_capacity: EVENTS_MAX,
        ..PerformanceConfig::default()
    });
    builder.build().map_err(|e| format!("the Redis client cannot be built: {}", e.details()))
}

/// Keeps a client alive: its task ends for good on some errors, and without it every command only times out.
pub(super) async fn supervise(client: Client, what: &'static str) {
    loop {
        let ended = client.connect().await;
        let error = match ended {
            Ok(Ok(())) => "ended".to_owned(),
            Ok(Err(error)) => error.details().to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(what, error, "the connection task to Redis ended; starting it again");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_refused_is_told_from_what_did_not_reach_it() {
        let refused = |kind, text: &str| match call_error(Error::new(kind, text.to_owned())) {
            CallError::Away | CallError::Unacknowledged => None,
            CallError::Refused(text) => Some(text),
        };
        assert_eq!(refused(ErrorKind::Unknown, "NOT_FOUND no such message"), Some("NOT_FOUND no such message".into()));
        assert_eq!(refused(ErrorKind::Unknown, "ERR unknown command"), Some("ERR unknown command".into()));
        assert_eq!(refused(ErrorKind::Unknown, "READONLY You can't write against a read only replica."), None);
        assert_eq!(refused(ErrorKind::Unknown, "Client is not initialized."), None);
        assert_eq!(refused(ErrorKind::Timeout, "Request timed out."), None);
    }
}
