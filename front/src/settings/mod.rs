//! Settings: flags, environment variables, and files for secrets. Each group has a file of its own.

mod access;
mod auth;
mod keys;
mod limits;
mod secret;

pub use access::AccessSettings;
pub use auth::{AuthSettings, ForwardedHeader};
pub use keys::{JwksAlgorithm, KeyFile, KeySet};
pub use limits::{LimitSettings, LimitsKind};
pub use secret::Secret;

use crate::acks::{Ack, Acks, RoomAck};
use crate::redis::deployment::Access;
use clap::builder::FalseyValueParser;
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people at a terminal.
    Pretty,
}

/// What a front can be told. Every flag has an environment variable.
#[derive(Debug, Clone, Parser)]
#[command(name = "stoa-front", version, about = "The front of Stoa: realtime rooms over WebSocket, kept in Redis")]
pub struct Settings {
    /// Address to listen on.
    #[arg(long, env = "STOA_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address for `/metrics`, which is not for the public; without it nothing is served there.
    #[arg(long, env = "STOA_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// Redis with the Stoa module: `redis://user:password@host:port`; behind sentinels
    /// `redis-sentinel://user:password@host:port?node=host:port&sentinelServiceName=name`, or a cluster
    /// `redis-cluster://user:password@host:port?node=host:port`. With `rediss` instead of `redis` over TLS.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    pub redis_url: Secret,
    /// File that holds the Redis URL; wins over --redis-url.
    #[arg(long, env = "REDIS_URL_FILE")]
    pub redis_url_file: Option<PathBuf>,
    /// File that holds the password for Redis; wins over that in the URL.
    #[arg(long, env = "REDIS_PASSWORD_FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that vouch for a Redis behind `rediss://`; without it those of the system.
    #[arg(long, env = "REDIS_CA")]
    pub redis_ca: Option<PathBuf>,
    /// How long a command is tried again while no server takes it, in milliseconds, before it is answered with UNAVAILABLE:
    /// about as long as a failover.
    #[arg(long, env = "STOA_REDIS_PATIENCE_MS", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub redis_patience_ms: u64,
    /// First part of every key and channel; fronts with the same prefix share rooms.
    #[arg(long, env = "STOA_PREFIX", default_value = "stoa")]
    pub prefix: String,

    /// Who may come in, and from where.
    #[command(flatten)]
    pub auth: AuthSettings,
    /// Roles.
    #[command(flatten)]
    pub access: AccessSettings,
    /// Directory of the pages to serve at `/`.
    #[arg(long, env = "STOA_PAGES")]
    pub pages: Option<PathBuf>,

    /// What a write that is to last waits for before it is answered: `memory`, `replica:N`, or `disk` (which needs
    /// WAITAOF: Redis 7.2, Valkey).
    #[arg(long, env = "STOA_ACK", default_value = "memory")]
    pub ack: Ack,
    /// The same for single rooms, as `orders:*=replica:1,lobby=memory`: a room's name or a prefix that ends in `*`; the
    /// first that matches decides.
    #[arg(long, env = "STOA_ACK_ROOMS", value_delimiter = ',')]
    pub ack_rooms: Vec<RoomAck>,
    /// How long a write waits for that, in milliseconds, before it is answered with UNACKNOWLEDGED.
    #[arg(long, env = "STOA_ACK_TIMEOUT_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub ack_timeout_ms: u64,

    /// How long presence outlives a front that died, in milliseconds.
    #[arg(long, env = "STOA_PRESENCE_TTL_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub presence_ttl_ms: u64,
    /// How long somebody who closed the connection properly stays listed, in milliseconds: a page reload.
    #[arg(long, env = "STOA_PRESENCE_CLOSE_GRACE_MS", default_value_t = 5_000)]
    pub presence_close_grace_ms: u64,
    /// How long somebody whose connection dropped stays listed, in milliseconds: a tunnel.
    #[arg(long, env = "STOA_PRESENCE_GRACE_MS", default_value_t = 30_000)]
    pub presence_grace_ms: u64,

    /// List every connection in its user's own room, with its address and what it calls itself: `devices.list` shows
    /// them to their user, `devices.kick` ends one. Costs a call to Redis per connection and beat.
    #[arg(long, env = "STOA_DEVICES", value_parser = FalseyValueParser::new())]
    pub devices: bool,
    /// Time without a command, in milliseconds, after which a connection counts as `away` where it is listed; 0: never.
    #[arg(long, env = "STOA_AWAY_AFTER_MS", default_value_t = 0)]
    pub away_after_ms: u64,

    /// Silence after which a connection is pinged, in milliseconds. Up to a fifth less, so that not all are pinged at once.
    #[arg(long, env = "STOA_PING_INTERVAL_MS", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub ping_interval_ms: u64,
    /// Silence after a ping that ends a connection, in milliseconds.
    #[arg(long, env = "STOA_PONG_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub pong_timeout_ms: u64,
    /// Silence after which `/sse` sends a comment, in milliseconds: proxies end streams that say nothing.
    #[arg(long, env = "STOA_SSE_HEARTBEAT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub sse_heartbeat_ms: u64,
    /// Time for the first frame, in milliseconds.
    #[arg(long, env = "STOA_CONNECT_TIMEOUT_MS", default_value_t = 5_000)]
    pub connect_timeout_ms: u64,
    /// Largest frame from a client, in bytes.
    #[arg(long, env = "STOA_FRAME_BYTES_MAX", default_value_t = 1024 * 1024)]
    pub frame_bytes_max: usize,
    /// Durable events queued for one connection, in bytes, before it is closed as too slow.
    #[arg(long, env = "STOA_QUEUE_BYTES_MAX", default_value_t = 1024 * 1024)]
    pub queue_bytes_max: usize,
    /// What waits for all connections together, in bytes; beyond it those for whom most waits are closed as too slow.
    #[arg(long, env = "STOA_QUEUED_BYTES_TOTAL_MAX", default_value_t = 256 * 1024 * 1024)]
    pub queued_bytes_total_max: usize,
    /// What is kept of all messages that are not complete, in bytes; beyond it connections that send a large one are
    /// closed (1013).
    #[arg(long, env = "STOA_PARTIAL_BYTES_TOTAL_MAX", default_value_t = 256 * 1024 * 1024)]
    pub partial_bytes_total_max: usize,
    /// Rooms that one connection may join.
    #[arg(long, env = "STOA_ROOMS_MAX", default_value_t = 100)]
    pub rooms_max: usize,
    /// Time between SIGTERM, when `/readyz` fails, and the end of the listener, in milliseconds: as long as the load
    /// balancer needs to notice.
    #[arg(long, env = "STOA_DRAIN_DELAY_MS", default_value_t = 0)]
    pub drain_delay_ms: u64,
    /// Time over which connections are then closed, in milliseconds, so that people come back to the other fronts
    /// one after the other.
    #[arg(long, env = "STOA_DRAIN_MS", default_value_t = 5_000)]
    pub drain_ms: u64,
    /// Time for everything to end after SIGTERM, in milliseconds; then it ends hard.
    #[arg(long, env = "STOA_SHUTDOWN_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2_000..))]
    pub shutdown_timeout_ms: u64,

    /// How much is allowed, and what is written down.
    #[command(flatten)]
    pub limits: LimitSettings,

    /// Serve clients of Socket.IO at `/socket.io/`.
    #[arg(long, env = "STOA_SOCKETIO", num_args = 0..=1, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = FalseyValueParser::new())]
    pub socketio: bool,
    /// How often a client of Socket.IO is asked for a sign of life, in milliseconds; clients are told.
    #[arg(long, env = "STOA_SOCKETIO_PING_INTERVAL_MS", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub socketio_ping_interval_ms: u64,
    /// How long it may take to give one, in milliseconds; clients are told.
    #[arg(long, env = "STOA_SOCKETIO_PING_TIMEOUT_MS", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(10..))]
    pub socketio_ping_timeout_ms: u64,

    /// Worker threads; 0: one per core.
    #[arg(long, env = "STOA_THREADS", default_value_t = 0)]
    pub threads: usize,
    /// Format of the log.
    #[arg(long, env = "STOA_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// What is logged: a level, or directives as in `info,stoa_front=debug`.
    #[arg(long, env = "STOA_LOG", default_value = "info,fred=error")]
    pub log: String,
}

impl Settings {
    /// The defaults, with an address that the system chooses: a start for tests.
    pub fn for_tests(redis_url: &str, jwt_secret: &str) -> Self {
        let mut settings = Settings::parse_from(["stoa-front"]);
        settings.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.redis_url = Secret::new(redis_url);
        settings.auth.jwt_secret = Some(Secret::new(jwt_secret));
        settings.threads = 1;
        settings.drain_ms = 0;
        settings.limits.limits = LimitsKind::Off;
        settings.redis_patience_ms = 200;
        settings
    }

    /// How Redis is reached, with what the files say.
    pub fn redis(&self) -> Result<Access, String> {
        let url = Secret::of(Some(&self.redis_url), self.redis_url_file.as_deref())?.unwrap_or_else(|| Secret::new(""));
        let password = Secret::of(None, self.redis_password_file.as_deref())?;
        Ok(Access { url, password, authorities: self.redis_ca.clone() })
    }

    /// Refuses what cannot work, in words that say what to do.
    pub fn check(&self) -> Result<(), String> {
        let named = !self.prefix.is_empty() && self.prefix.len() <= 64;
        if !named || !self.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte)) {
            return Err("--prefix has to be 1 to 64 of A-Z a-z 0-9 _ - . :".into());
        }
        if self.drain_delay_ms.saturating_add(self.drain_ms) >= self.shutdown_timeout_ms {
            return Err("--shutdown-timeout-ms has to be more than --drain-delay-ms and --drain-ms together".into());
        }
        self.access.check()?;
        if let Some(pages) = self.pages.as_ref().filter(|pages| !pages.is_dir()) {
            return Err(format!("--pages {} is not a directory", pages.display()));
        }
        Ok(())
    }

    /// What writes wait for.
    pub fn acks(&self) -> Acks {
        Acks::new(self.ack_rooms.clone(), self.ack)
    }
    /// [`Settings::redis_patience_ms`] as a duration.
    pub fn redis_patience(&self) -> Duration {
        Duration::from_millis(self.redis_patience_ms)
    }
    /// [`Settings::ack_timeout_ms`] as a duration.
    pub fn ack_timeout(&self) -> Duration {
        Duration::from_millis(self.ack_timeout_ms)
    }
    /// [`Settings::away_after_ms`] as a duration; `None` for never.
    pub fn away_after(&self) -> Option<Duration> {
        (self.away_after_ms > 0).then(|| Duration::from_millis(self.away_after_ms))
    }
    /// [`Settings::ping_interval_ms`] as a duration.
    pub fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms)
    }
    /// [`Settings::pong_timeout_ms`] as a duration.
    pub fn pong_timeout(&self) -> Duration {
        Duration::from_millis(self.pong_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        let settings = Settings::for_tests("redis://:hunter2@h:1", "hunter2-hunter2");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn a_prefix_that_would_break_the_keys_is_refused() {
        for prefix in ["", "a{b", "a b", "ä"] {
            let settings = Settings { prefix: prefix.into(), ..Settings::for_tests("", "s") };
            assert!(settings.check().is_err(), "{prefix}");
        }
    }
}
