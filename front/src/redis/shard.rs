//! One Redis server: a connection for commands, a connection for events.

use super::barrier::{Barrier, Waits};
use super::breaker::Breaker;
use super::client::{Tasks, client, command, listener, once};
use super::sentinel::Sentinels;
use super::subscriptions::Subscriptions;
use super::watchdog::{self, Health};
use crate::acks::Ack;
use fred::clients::WithOptions;
use fred::prelude::{Client, ClientLike, ClientState, Error, ErrorKind, EventInterface};
use fred::types::Value;
use fred::types::config::{Config, Server};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time for a command. That a server is gone the watchdog notices earlier, and then whoever waits hears so at once;
/// what is late for another reason waits behind others, on a machine that has too much to do, and will come.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(4);
/// Time in which a server that answers is connected to.
const NEW: Duration = Duration::from_secs(2);

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
    /// It answers nothing in time, so it was not asked; nothing happened.
    Overloaded,
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
    breaker: Breaker,
    stops: CancellationToken,
    started: Instant,
}

impl Shard {
    /// Begins to connect, and goes on until [`Shard::stop`]; `came` hears when it answers.
    pub(super) fn start(
        config: Config,
        profile: Profile,
        sentinels: Option<&Arc<Sentinels>>,
        tasks: &TaskTracker,
        came: &Arc<Notify>,
    ) -> Result<Arc<Self>, String> {
        let (commands, events) = (client(&config, COMMAND_TIMEOUT)?, listener(&config, COMMAND_TIMEOUT)?);
        let (health, stops) = (Arc::new(Health::new(came)), CancellationToken::new());
        let subscriptions = Arc::new(Subscriptions::new(health.events()));
        let tasks = Tasks::new(tasks, &stops);
        let barriers: Result<Vec<Barrier>, String> = profile
            .waits
            .acks
            .iter()
            .map(|ack| Barrier::start(&config, &commands, &profile.waits, *ack, sentinels, &tasks))
            .collect();
        let shard = Arc::new(Shard {
            commands: once(&commands, COMMAND_TIMEOUT),
            subscriptions: subscriptions.clone(),
            barriers: barriers?,
            health: health.clone(),
            breaker: Breaker::default(),
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
    pub(super) async fn call(&self, name: &'static str, args: Vec<Value>) -> Result<Value, ShardError> {
        self.answer(Box::pin(self.commands.custom(command(name), args))).await
    }

    /// Runs a command, once, and waits until what it wrote is where `ack` says.
    pub(super) async fn call_safely(
        &self,
        name: &'static str,
        args: Vec<Value>,
        ack: Ack,
    ) -> Result<Value, ShardError> {
        self.acknowledged(ack, pin!(self.call(name, args))).await
    }

    /// As [`Shard::call_safely`], for a room that is on its way to this server. The word that says so holds for the next
    /// command of the connection, so the two go out together.
    pub(super) async fn call_asking(
        &self,
        name: &'static str,
        args: Vec<Value>,
        ack: Ack,
    ) -> Result<Value, ShardError> {
        let both = async {
            let pipeline = self.commands.pipeline();
            for (name, args) in [("ASKING", Vec::new()), (name, args)] {
                let _: () = pipeline.custom(command(name), args).await?;
            }
            let mut replies: Vec<Result<Value, Error>> = pipeline.try_all().await;
            replies.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Protocol, "no answer")))
        };
        self.acknowledged(ack, pin!(self.answer(Box::pin(both)))).await
    }

    /// Waits for the answer to what is sent, for as long as one may come. The library's futures are large, and what is in
    /// no box is copied with each future around it: 80 KB a command, a tenth of what the front does for it.
    async fn answer(&self, sent: Pin<Box<impl Future<Output = Result<Value, Error>>>>) -> Result<Value, ShardError> {
        if self.commands.state() != ClientState::Connected {
            return Err(ShardError::NotNow("there is no connection".to_owned()));
        }
        let now_ms = || self.started.elapsed().as_millis() as u64;
        if !self.breaker.lets_pass(now_ms()) {
            return Err(ShardError::Overloaded);
        }
        let gone = self.health.commands().gone();
        let reply = tokio::select! {
            biased;
            reply = sent => reply,
            () = gone => Err(Error::new(ErrorKind::Timeout, "the connection was given up")),
        };
        let is_late = |error: &Error| matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Backpressure);
        if reply.as_ref().is_err_and(is_late) {
            if self.breaker.failed(now_ms()) {
                tracing::warn!("redis answers nothing in time; asking it less");
            }
        } else if is_answer(&reply) && self.breaker.answered() {
            tracing::info!("redis answers in time again");
        }
        // A server that loads or does not take writes is not there for us, though it says so.
        if reply.is_ok() {
            self.health.commands().note();
        }
        reply.map_err(call_error)
    }

    async fn acknowledged(
        &self,
        ack: Ack,
        call: Pin<&mut impl Future<Output = Result<Value, ShardError>>>,
    ) -> Result<Value, ShardError> {
        let Some(barrier) = self.barriers.iter().find(|barrier| barrier.ack == ack) else { return call.await };
        let connection = barrier.connection();
        let reply = call.await?;
        if barrier.pass(connection).await { Ok(reply) } else { Err(ShardError::Unacknowledged) }
    }

    /// The server holds these slots from now on.
    pub(super) fn hold(&self, slots: &[(u16, u16)]) {
        self.barriers.iter().for_each(|barrier| barrier.hold(slots));
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

/// Whether this came from the server, and not from the library or nobody.
fn is_answer(reply: &Result<Value, Error>) -> bool {
    reply.as_ref().map_or_else(|error| is_from_server(error.details()), |_| true)
}

/// The library's own sentences begin with a capital letter and go on in small ones.
fn is_from_server(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or_default();
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

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
    if away || !is_from_server(text) {
        return ShardError::Away;
    }
    ShardError::Refused(text.to_owned())
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
