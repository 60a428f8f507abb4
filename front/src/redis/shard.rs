//! One Redis server: a connection for commands, a connection for events.

use super::barrier::{Barrier, Waits};
use super::subscriptions::Subscriptions;
use super::watchdog::{self, Health};
use crate::acks::Ack;
use fred::clients::WithOptions;
use fred::prelude::{
    Builder, Client, ClientLike, ClientState, Error, ErrorKind, EventInterface, Options, ReconnectPolicy,
};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, Server, TcpConfig};
use fred::types::{ClusterHash, CustomCommand, RespVersion, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
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
/// Time in which a server that answers is connected to.
const NEW: Duration = Duration::from_secs(2);
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

/// Why a server gave no answer.
#[derive(Debug)]
pub(super) enum ShardError {
    /// It was not reached, or did not answer in time; the command may have happened.
    Away,
    /// It does not do this now, and says why; nothing happened.
    NotNow(String),
    /// The room is moving, and this server is to be asked; nothing happened.
    Asked(Server),
    /// It answered with this error.
    Refused(String),
    /// The command happened, and is not known to be as safe as it has to be.
    Unacknowledged,
}

/// One Redis server.
pub struct Shard {
    commands: WithOptions<Client>,
    subscriptions: Arc<Subscriptions>,
    barriers: Vec<Barrier>,
    health: Arc<Health>,
    stops: CancellationToken,
    started: Instant,
}

impl Shard {
    /// Begins to connect, and goes on until [`Shard::stop`].
    pub(super) fn start(config: Config, profile: Profile, tasks: &TaskTracker) -> Result<Arc<Self>, String> {
        let (commands, events) = (client(&config, COMMAND_TIMEOUT)?, client(&config, COMMAND_TIMEOUT)?);
        let options = Options {
            max_attempts: Some(1),
            timeout: Some(COMMAND_TIMEOUT),
            // While there is no connection the caller hears so at once.
            fail_fast: true,
            ..Options::default()
        };
        let (health, stops) = (Arc::new(Health::default()), CancellationToken::new());
        let subscriptions = Arc::new(Subscriptions::new(health.events()));
        let tasks = ShardTasks { tasks: tasks.clone(), stops: stops.clone() };
        let barriers: Result<Vec<Barrier>, String> = profile
            .waits
            .acks
            .iter()
            .map(|ack| Barrier::start(&config, &commands, &profile.waits, *ack, &tasks))
            .collect();
        let shard = Arc::new(Shard {
            commands: commands.with_options(&options),
            subscriptions: subscriptions.clone(),
            barriers: barriers?,
            health: health.clone(),
            stops,
            started: Instant::now(),
        });
        // Listening starts before connecting, so that nothing is missed.
        tasks.spawn(subscriptions.clone().relay(events.message_rx()));
        tasks.spawn(subscriptions.reconcile(events.clone()));
        tasks.spawn(watchdog::watch(commands.clone(), health.commands().clone()));
        tasks.spawn(watchdog::watch(events.clone(), health.events().clone()));
        tasks.spawn(watchdog::probe(shard.clone(), health, profile));
        tasks.connect(commands, "commands");
        tasks.connect(events, "events");
        Ok(shard)
    }

    /// Gives the server up: it holds no rooms any more.
    pub(super) fn stop(&self) {
        self.stops.cancel();
    }

    /// Runs a command, once.
    pub(super) async fn call(&self, command: &'static str, args: Vec<Value>) -> Result<Value, ShardError> {
        if self.commands.state() != ClientState::Connected {
            return Err(ShardError::NotNow("there is no connection".to_owned()));
        }
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let gone = self.health.commands().gone();
        let reply: Result<Value, ShardError> = tokio::select! {
            biased;
            reply = self.commands.custom(command, args) => reply.map_err(call_error),
            () = gone => Err(ShardError::Away),
        };
        // A server that loads or does not take writes is not there for us, though it says so.
        if reply.is_ok() {
            self.health.commands().note();
        }
        reply
    }

    /// Runs a command, once, and waits until what it wrote is where `ack` says.
    pub(super) async fn call_safely(
        &self,
        command: &'static str,
        args: Vec<Value>,
        ack: Ack,
    ) -> Result<Value, ShardError> {
        self.acknowledged(ack, self.call(command, args)).await
    }

    /// As [`Shard::call_safely`], for a room that is on its way to this server. The word that says so holds for the next
    /// command of the connection, so the two go out together.
    pub(super) async fn call_asking(
        &self,
        command: &'static str,
        args: Vec<Value>,
        ack: Ack,
    ) -> Result<Value, ShardError> {
        let both = async {
            let pipeline = self.commands.pipeline();
            for (word, args) in [("ASKING", Vec::new()), (command, args)] {
                let word = CustomCommand::new_static(word, ClusterHash::FirstKey, false);
                let _: () = pipeline.custom(word, args).await.map_err(call_error)?;
            }
            let mut replies: Vec<Result<Value, Error>> = pipeline.try_all().await;
            replies.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Protocol, "no answer"))).map_err(call_error)
        };
        self.acknowledged(ack, both).await
    }

    async fn acknowledged(
        &self,
        ack: Ack,
        call: impl Future<Output = Result<Value, ShardError>>,
    ) -> Result<Value, ShardError> {
        let Some(barrier) = self.barriers.iter().find(|barrier| barrier.ack == ack) else { return call.await };
        let connection = barrier.connection();
        let reply = call.await?;
        if barrier.pass(connection).await { Ok(reply) } else { Err(ShardError::Unacknowledged) }
    }

    /// Whether the server answers commands, as far as is known.
    pub(super) fn answers(&self) -> bool {
        self.health.answers()
    }

    /// Whether it may well be that it is not up only because it takes a moment to connect.
    pub(super) fn is_new(&self) -> bool {
        self.started.elapsed() < NEW
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

/// The tasks of a shard, which end with it.
pub(super) struct ShardTasks {
    tasks: TaskTracker,
    stops: CancellationToken,
}

impl ShardTasks {
    /// Works until the shard stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stops = self.stops.clone();
        self.tasks.spawn(async move { stops.run_until_cancelled(work).await });
    }

    /// Keeps a client connected until the shard stops.
    pub(super) fn connect(&self, client: Client, what: &'static str) {
        let stops = self.stops.clone();
        self.tasks.spawn(async move {
            stops.run_until_cancelled(supervise(client.clone(), what)).await;
            let _ = client.quit().await;
        });
    }
}

/// Errors that say that the server does not do this now, or not any more.
const NOT_NOW: [&str; 12] = [
    "LOADING",
    "READONLY",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "OOM",
    "MISCONF",
    "TRYAGAIN",
    "BUSY",
    "NOAUTH",
    "MOVED",
    "FENCED",
];

fn call_error(error: Error) -> ShardError {
    let text = error.details();
    let mut words = text.split_whitespace();
    let word = words.next().unwrap_or_default();
    if word == "ASK" {
        let server = words.nth(1).and_then(|address| address.rsplit_once(':'));
        let server = server.and_then(|(host, port)| Some(Server::new(host, port.parse().ok()?)));
        return server.map_or_else(|| ShardError::NotNow(text.to_owned()), ShardError::Asked);
    }
    if NOT_NOW.contains(&word) || text.starts_with("ERR unknown command") {
        return ShardError::NotNow(text.to_owned());
    }
    let away = matches!(
        error.kind(),
        ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Backpressure | ErrorKind::Routing
    );
    // The library's own sentences begin with a capital letter and go on in small ones.
    let from_server = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if away || !from_server {
        return ShardError::Away;
    }
    ShardError::Refused(text.to_owned())
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
        let told = |kind, text: &str| match call_error(Error::new(kind, text.to_owned())) {
            ShardError::Refused(_) => "refused",
            ShardError::NotNow(_) => "not now",
            ShardError::Asked(server) if server == Server::new("10.0.0.2", 7001) => "asked",
            _ => "away",
        };
        assert_eq!(told(ErrorKind::Unknown, "NOT_FOUND no such message"), "refused");
        assert_eq!(told(ErrorKind::Unknown, "ERR wrong number of arguments"), "refused");
        assert_eq!(told(ErrorKind::Unknown, "ERR unknown command"), "not now");
        assert_eq!(told(ErrorKind::Unknown, "READONLY You can't write against a read only replica."), "not now");
        assert_eq!(told(ErrorKind::Cluster, "MOVED 3999 10.0.0.2:7001"), "not now");
        assert_eq!(told(ErrorKind::Cluster, "ASK 3999 10.0.0.2:7001"), "asked");
        assert_eq!(told(ErrorKind::Unknown, "Client is not initialized."), "away");
        assert_eq!(told(ErrorKind::Timeout, "Request timed out."), "away");
    }
}
