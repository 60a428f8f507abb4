//! Connections on which servers are asked who holds what: short questions with a short patience.

use super::shard::{client, supervise};
use fred::prelude::{Client, ClientLike, Error};
use fred::types::config::{Config, Server};
use fred::types::{ClusterHash, CustomCommand, Value};
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Time for an answer: whoever takes longer is not asked for this time.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(400);

/// One connection for questions. It ends when it is dropped.
pub(super) struct Control {
    pub(super) client: Client,
    _ends: DropGuard,
}

impl Control {
    /// Begins to connect.
    pub(super) fn start(config: &Config, tasks: &TaskTracker) -> Result<Self, String> {
        let (client, ends) = (client(config, ANSWER_TIMEOUT)?, CancellationToken::new());
        let (connecting, ended) = (client.clone(), ends.clone());
        tasks.spawn(async move {
            ended.run_until_cancelled(supervise(connecting.clone(), "questions")).await;
            let _ = connecting.quit().await;
        });
        Ok(Control { client, _ends: ends.drop_guard() })
    }

    /// Asks, once.
    pub(super) async fn ask(&self, command: &'static str, words: &[&str]) -> Result<Value, Error> {
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let words: Vec<Value> = words.iter().map(|word| Value::from(*word)).collect();
        let options = fred::prelude::Options {
            max_attempts: Some(1),
            timeout: Some(ANSWER_TIMEOUT),
            fail_fast: true,
            ..Default::default()
        };
        self.client.with_options(&options).custom(command, words).await
    }
}

/// Connections to all servers that may be asked.
pub(super) struct Controls {
    by_server: HashMap<Server, Control>,
    tasks: TaskTracker,
}

impl Controls {
    pub(super) fn new(tasks: &TaskTracker) -> Self {
        Controls { by_server: HashMap::new(), tasks: tasks.clone() }
    }

    /// Has connections to these, and to no others.
    pub(super) fn keep(&mut self, servers: &[Server], config: impl Fn(&Server) -> Config) {
        self.by_server.retain(|server, _| servers.contains(server));
        for server in servers {
            if !self.by_server.contains_key(server) {
                match Control::start(&config(server), &self.tasks) {
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
