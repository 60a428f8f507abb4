//! Which servers there are, and which of them holds a room.

use super::shard::{Profile, Shard};
use super::subscriptions::Listener;
use crate::acks::Ack;
use crate::settings::Secret;
use crate::tls;
use fred::types::Value;
use fred::types::config::{Config, TlsConnector};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

const FORM: &str = "the Redis URL is not of the form redis://[user:password@]host:port, or rediss:// for TLS";

/// The servers that hold rooms. With one server there is one shard; several are told apart by slot.
pub struct ShardRouter {
    shards: Vec<Arc<Shard>>,
}

/// How a server is reached.
#[derive(Debug)]
pub struct Access {
    /// `redis://[user:password@]host:port`, or with `rediss` over TLS.
    pub url: Secret,
    /// The password, if it is not in the URL.
    pub password: Option<Secret>,
    /// The certificates of whoever vouches for the server, if not the system's.
    pub authorities: Option<PathBuf>,
}

impl Access {
    fn config(&self) -> Result<Config, String> {
        let url = self.url.reveal();
        let (is_secure, rest) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(FORM.into()),
        };
        if self.authorities.is_some() && !is_secure {
            return Err("--redis-ca is for rediss://: over redis:// nobody would be checked".into());
        }
        // The library's message could repeat the URL, and with it the password.
        let mut config = Config::from_url_centralized(&format!("redis://{rest}")).map_err(|_| FORM.to_owned())?;
        if let Some(password) = &self.password {
            config.password = Some(password.reveal().to_owned());
        }
        if is_secure {
            let connector = TlsConnector::Rustls(tls::client(self.authorities.as_deref())?.into());
            config.tls = Some(connector.into());
        }
        Ok(config)
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

impl ShardRouter {
    /// The router of a single server.
    pub fn single(access: &Access, profile: Profile, tasks: &TaskTracker) -> Result<Self, String> {
        Ok(ShardRouter { shards: vec![Shard::start(access.config()?, profile, tasks)?] })
    }

    /// Runs a command on the server that holds `channel`'s room, and waits until what it wrote is where `ack` says.
    pub async fn call(
        &self,
        channel: &str,
        command: &'static str,
        args: Vec<Value>,
        ack: Ack,
    ) -> Result<Value, CallError> {
        self.shard(channel).call_safely(command, args, ack).await
    }

    /// Wants the events of a channel from now on.
    pub fn subscribe(&self, channel: &str, listener: Arc<dyn Listener>) {
        self.shard(channel).subscriptions().want(channel, listener);
    }

    /// Wants them no longer.
    pub fn unsubscribe(&self, channel: &str) {
        self.shard(channel).subscriptions().drop(channel);
    }

    /// Whether the server of a channel can be reached.
    pub fn is_up(&self, channel: &str) -> bool {
        self.shard(channel).is_up()
    }

    /// Whether any room can be served.
    pub fn is_ready(&self) -> bool {
        self.shards.iter().any(|shard| shard.is_up())
    }

    fn shard(&self, _channel: &str) -> &Arc<Shard> {
        // One server holds all slots.
        &self.shards[0]
    }
}
