//! The client library as a plain connection: how it is set up, what it is asked, and what keeps it alive.

use fred::clients::WithOptions;
use fred::prelude::{Builder, Client, ClientLike, Options, ReconnectPolicy};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, TcpConfig};
use fred::types::{ClusterHash, CustomCommand, RespVersion};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time for a connection to come about, and for the commands of its set-up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Commands that wait in the library, in number: beyond it callers are told at once.
const COMMANDS_MAX: usize = 10_000;
/// Events that wait between the connection and the relay, in number. Beyond it the oldest are dropped, which is
/// noticed and repaired; more would be allocated at the start.
const EVENTS_MAX: usize = 16_384;
/// The same where nobody listens to more than new connections: the library allocates nine such queues for each client.
const NOTICES_MAX: usize = 64;
/// Time before a connection is attempted, in milliseconds: so much for the first attempt, the first of all too, and so much
/// more for each that follows, up to a maximum, with a jitter. Short at first: while a server is replaced, people wait for it.
const RECONNECT_MS: u32 = 10;
const RECONNECT_MS_MAX: u32 = 150;
const RECONNECT_JITTER_MS: u32 = 10;
/// Time before a client that ended for good is started anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A client that is not connected yet, whose commands take at most `timeout`.
pub(super) fn client(config: &Config, timeout: Duration) -> Result<Client, String> {
    build(config, timeout, NOTICES_MAX)
}

/// As [`client`], for listening to events.
pub(super) fn listener(config: &Config, timeout: Duration) -> Result<Client, String> {
    build(config, timeout, EVENTS_MAX)
}

fn build(config: &Config, timeout: Duration, queued_max: usize) -> Result<Client, String> {
    let mut builder = Builder::from_config(Config { fail_fast: false, version: RespVersion::RESP3, ..config.clone() });
    let mut policy = ReconnectPolicy::new_linear(0, RECONNECT_MS_MAX, RECONNECT_MS);
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
        broadcast_channel_capacity: queued_max,
        ..PerformanceConfig::default()
    });
    builder.build().map_err(|e| format!("the Redis client cannot be built: {}", e.details()))
}

/// The client, with commands that are sent once: while there is no connection the caller hears so at once.
pub(super) fn once(client: &Client, timeout: Duration) -> WithOptions<Client> {
    let options = Options { max_attempts: Some(1), timeout: Some(timeout), fail_fast: true, ..Options::default() };
    client.with_options(&options)
}

/// A command by its name.
pub(super) fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

/// Tasks that end together.
#[derive(Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    ends: CancellationToken,
}

impl Tasks {
    /// None yet; they end with `ends`, and `tracker` knows of them.
    pub(super) fn new(tracker: &TaskTracker, ends: &CancellationToken) -> Self {
        Tasks { tracker: tracker.clone(), ends: ends.clone() }
    }

    /// Works until the end.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ends = self.ends.clone();
        self.tracker.spawn(async move { ends.run_until_cancelled(work).await });
    }

    /// Keeps a client connected until the end.
    pub(super) fn connect(&self, client: Client, what: &'static str) {
        let ends = self.ends.clone();
        self.tracker.spawn(async move {
            ends.run_until_cancelled(supervise(client.clone(), what)).await;
            let _ = client.quit().await;
        });
    }
}

/// Keeps a client alive: its task ends for good on some errors, and without it every command only times out.
async fn supervise(client: Client, what: &'static str) {
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
