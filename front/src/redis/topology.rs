//! Which servers there are, and which of them holds a room.

use super::shard::{Profile, Shard};
use super::subscriptions::Listener;
use crate::acks::Ack;
use fred::types::Value;
use fred::types::config::Config;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// The servers that hold rooms. With one server there is one shard; several are told apart by slot.
pub struct ShardRouter {
    shards: Vec<Arc<Shard>>,
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
    pub fn single(redis_url: &str, profile: Profile, tasks: &TaskTracker) -> Result<Self, String> {
        // The library's message could repeat the URL, and with it the password.
        let config = Config::from_url_centralized(redis_url)
            .map_err(|_| "the Redis URL is not of the form redis://[user:password@]host:port".to_owned())?;
        Ok(ShardRouter { shards: vec![Shard::start(config, profile, tasks)?] })
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
