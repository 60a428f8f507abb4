//! Connections on which servers are asked who holds what: short questions with a short patience.

use super::client::{Tasks, client, command, once};
use fred::clients::WithOptions;
use fred::prelude::{Client, ClientLike, Error};
use fred::types::Value;
use fred::types::config::{Config, Server};
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Time for an answer: whoever takes longer is not asked for this time.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);

/// One connection for questions. It ends when it is dropped.
pub(super) struct Control {
    pub(super) client: WithOptions<Client>,
    _ends: DropGuard,
}

impl Control {
    /// Begins to connect.
    pub(super) fn start(config: &Config, tracker: &TaskTracker) -> Result<Self, String> {
        let (client, ends) = (client(config, ANSWER_TIMEOUT)?, CancellationToken::new());
        Tasks::new(tracker, &ends).connect(client.clone(), "questions");
        Ok(Control { client: once(&client, ANSWER_TIMEOUT), _ends: ends.drop_guard() })
    }

    /// Asks, once.
    pub(super) async fn ask(&self, name: &'static str, words: &[&str]) -> Result<Value, Error> {
        let words: Vec<Value> = words.iter().map(|word| Value::from(*word)).collect();
        self.client.custom(command(name), words).await
    }
}

/// Connections to all servers that may be asked.
pub(super) struct Controls {
    by_server: HashMap<Server, Control>,
    tracker: TaskTracker,
}

impl Controls {
    pub(super) fn new(tracker: &TaskTracker) -> Self {
        Controls { by_server: HashMap::new(), tracker: tracker.clone() }
    }

    /// Has connections to these, and to no others.
    pub(super) fn keep(&mut self, servers: &[Server], config: impl Fn(&Server) -> Config) {
        self.by_server.retain(|server, _| servers.contains(server));
        for server in servers {
            if !self.by_server.contains_key(server) {
                match Control::start(&config(server), &self.tracker) {
                    Ok(control) => drop(self.by_server.insert(server.clone(), control)),
                    Err(error) => tracing::error!(%server, error, "a server cannot be asked"),
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Server, &Control)> {
        self.by_server.iter()
    }
}
