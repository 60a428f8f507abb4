//! Waits until writes are on replicas or on disk, many writes at a time.
//!
//! The replication stream has one order: a barrier that begins after a write was answered covers that write, whichever
//! connection it came over. So each kind of wait has a connection of its own, on which one barrier follows the other,
//! and the connection of the commands is never held up. A barrier is a write, because WAIT and WAITAOF wait for what
//! their own connection has written, and then the wait. All writes that are answered while one barrier is under way
//! share the next one.
//!
//! A barrier says nothing of a write that another server took. So the two connections have to have led to the same
//! server process since before the write: every new connection is noticed, and compared by the server's run id. And where
//! sentinels may take another replica than those that answered, these are asked too (`sentinel`).

use super::client::{Tasks, client, command};
use super::layout::slot;
use super::sentinel::Sentinels;
use super::watchdog::run_id;
use crate::acks::Ack;
use fred::prelude::{Client, ClientLike, EventInterface};
use fred::types::Value;
use fred::types::config::{Config, Server, ServerConfig};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

/// Writes that wait for one kind of barrier, in number: as many as there may be commands.
const WAITING_MAX: usize = 10_000;
/// Time beyond the wait itself before the connection is given up.
const MARGIN: Duration = Duration::from_secs(1);
/// Time between two looks whether barriers work, until they do.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// How long the key that barriers write is kept after the last one, in milliseconds.
const KEY_MS: u64 = 60_000;

/// How barriers are made.
#[derive(Debug, Clone)]
pub struct Waits {
    /// Each kind that is needed.
    pub acks: Vec<Ack>,
    /// How long a write waits at most.
    pub timeout: Duration,
    /// The key that barriers write. It means nothing and holds nothing. Where a server holds a part of the slots only, `:{n}`
    /// stands behind it, such that it is one of them.
    pub key: String,
}

/// Counts the connections that a client has made.
struct Connections(Mutex<(Receiver<Server>, u64)>);

impl Connections {
    fn of(client: &Client) -> Self {
        Connections(Mutex::new((client.reconnect_rx(), 0)))
    }

    fn count(&self) -> u64 {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, count) = &mut *guard;
        loop {
            match made.try_recv() {
                Ok(_) => *count += 1,
                Err(TryRecvError::Lagged(missed)) => *count += missed,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return *count,
            }
        }
    }
}

/// A write that waits: the connection it was made on, and whom to tell.
type Waiting = (u64, oneshot::Sender<bool>);

/// One kind of barrier on one server.
pub(super) struct Barrier {
    pub(super) ack: Ack,
    timeout: Duration,
    waiting: mpsc::Sender<Waiting>,
    commands: Arc<Connections>,
    usable: Arc<AtomicBool>,
    key: Arc<BarrierKey>,
}

/// The key that barriers of a server write.
struct BarrierKey {
    base: String,
    now: Mutex<String>,
}

impl BarrierKey {
    fn new(base: &str) -> Self {
        BarrierKey { base: base.to_owned(), now: Mutex::new(base.to_owned()) }
    }

    fn get(&self) -> String {
        self.lock().clone()
    }

    /// The server holds these slots from now on.
    fn hold(&self, slots: &[(u16, u16)]) {
        let mut now = self.lock();
        let is_here = |key: &str| slots.iter().any(|(first, last)| (*first..=*last).contains(&slot(key)));
        if !slots.is_empty() && !is_here(&now) {
            // Ends: every slot is the slot of some number.
            let here = (0_u64..).map(|n| format!("{}:{{{n}}}", self.base)).find(|key| is_here(key));
            *now = here.unwrap_or_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Barrier {
    /// The server holds these slots from now on.
    pub(super) fn hold(&self, slots: &[(u16, u16)]) {
        self.key.hold(slots);
    }

    /// Begins to connect, and goes on until the shard stops. `commands` is the connection that writes go over.
    pub(super) fn start(
        config: &Config,
        commands: &Client,
        waits: &Waits,
        ack: Ack,
        sentinels: Option<&Arc<Sentinels>>,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        let own = client(config, waits.timeout + MARGIN)?;
        let (waiting, arrivals) = mpsc::channel(WAITING_MAX);
        let usable = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Connections::of(commands));
        let key = Arc::new(BarrierKey::new(&waits.key));
        let lane = Lane {
            ack,
            timeout: waits.timeout,
            key: key.clone(),
            sentinels: sentinels.cloned(),
            server: config.server.clone(),
            own_connections: Connections::of(&own),
            own: own.clone(),
            commands: commands.clone(),
            connections: connections.clone(),
            same: None,
            usable: usable.clone(),
            said: None,
        };
        tasks.connect(own, "acknowledgements");
        tasks.spawn(lane.run(arrivals));
        Ok(Barrier { ack, timeout: waits.timeout, waiting, commands: connections, usable, key })
    }

    /// Names the connection that the next write goes over.
    pub(super) fn connection(&self) -> u64 {
        self.commands.count()
    }

    /// Whether a write that was answered on `connection` got where it has to be, in time.
    pub(super) async fn pass(&self, connection: u64) -> bool {
        let (tell, told) = oneshot::channel();
        if self.waiting.try_send((connection, tell)).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(self.timeout, told).await, Ok(Ok(true)))
    }

    /// Whether the server knows this kind of barrier and lets this front use it.
    pub(super) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed)
    }
}

/// The task of one kind of barrier.
struct Lane {
    ack: Ack,
    timeout: Duration,
    key: Arc<BarrierKey>,
    /// Those who watch the server, if any do, and its address.
    sentinels: Option<Arc<Sentinels>>,
    server: ServerConfig,
    own: Client,
    own_connections: Connections,
    commands: Client,
    connections: Arc<Connections>,
    /// The connections, of the commands and our own, that are known to lead to the same server.
    same: Option<(u64, u64)>,
    usable: Arc<AtomicBool>,
    said: Option<String>,
}

impl Lane {
    async fn run(mut self, mut arrivals: mpsc::Receiver<Waiting>) {
        while !self.check().await {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        let mut group = Vec::new();
        while arrivals.recv_many(&mut group, WAITING_MAX).await > 0 {
            let covers = self.barrier().await;
            for (connection, tell) in group.drain(..) {
                // Whoever no longer waits has been told already.
                let _ = tell.send(covers == Some(connection));
            }
        }
    }

    /// Makes a barrier; says which connection's writes it covers.
    async fn barrier(&mut self) -> Option<u64> {
        let connections = self.connect().await?;
        let reached = match self.wait(self.timeout).await {
            Ok(reached) => reached,
            Err(error) => {
                tracing::warn!(ack = %self.ack, error, "a wait for acknowledgements failed");
                // What hangs may hang for ever: a new connection does not.
                let _ = tokio::time::timeout(MARGIN, self.own.force_reconnection()).await;
                false
            }
        };
        let is_safe = reached && self.stays().await;
        (is_safe && self.present() == connections).then_some(connections.0)
    }

    /// Whether no other server takes over that lacks what the replicas have by now, as far as anybody can tell.
    async fn stays(&self) -> bool {
        let (Some(sentinels), Ack::Replicas(count), ServerConfig::Centralized { server }) =
            (&self.sentinels, self.ack, &self.server)
        else {
            return true;
        };
        matches!(tokio::time::timeout(self.timeout, sentinels.confirm(server, count)).await, Ok(true))
    }

    fn present(&self) -> (u64, u64) {
        (self.connections.count(), self.own_connections.count())
    }

    /// The connections, if they lead to the same server.
    async fn connect(&mut self) -> Option<(u64, u64)> {
        let present = self.present();
        if self.same != Some(present) {
            let ids = tokio::join!(run_id(&self.commands), run_id(&self.own));
            let (Some(theirs), Some(ours)) = ids else { return None };
            if theirs != ours || self.present() != present {
                return None;
            }
            self.same = Some(present);
        }
        Some(present)
    }

    /// A write and the wait for it, in one go.
    async fn wait(&self, timeout: Duration) -> Result<bool, String> {
        let ms = timeout.as_millis().to_string();
        let (name, arguments) = match self.ack {
            Ack::Memory => return Ok(true),
            Ack::Replicas(count) => ("WAIT", vec![count.to_string(), ms]),
            Ack::Disk => ("WAITAOF", vec!["1".into(), "0".into(), ms]),
        };
        let set = [self.key.get().as_str(), "", "PX", &KEY_MS.to_string()].map(str::to_owned).to_vec();
        let pipeline = self.own.pipeline();
        for (name, arguments) in [("SET", set), (name, arguments)] {
            let _: () = pipeline.custom(command(name), arguments).await.map_err(|e| e.details().to_owned())?;
        }
        let replies: Vec<Value> = pipeline.all().await.map_err(|e| e.details().to_owned())?;
        let reached = match (self.ack, replies.last()) {
            (Ack::Replicas(count), Some(reply)) => reply.as_u64().map(|reached| reached >= u64::from(count)),
            (_, Some(Value::Array(reached))) => reached.first().and_then(Value::as_u64).map(|local| local > 0),
            _ => None,
        };
        reached.ok_or_else(|| format!("{name} answered {:?}", replies.last()))
    }

    /// Whether barriers work at all. Says why not, once.
    async fn check(&mut self) -> bool {
        let trouble = match self.connect().await {
            None => None,
            Some(_) => match self.wait(Duration::from_millis(1)).await {
                Ok(_) => {
                    self.usable.store(true, Ordering::Relaxed);
                    return true;
                }
                Err(error) => Some(explain(self.ack, &error)),
            },
        };
        if let Some(trouble) = trouble.filter(|trouble| self.said.as_ref() != Some(trouble)) {
            tracing::error!(ack = %self.ack, "{trouble}");
            self.said = Some(trouble);
        }
        false
    }
}

/// What somebody who set `--ack` should do.
fn explain(ack: Ack, error: &str) -> String {
    if error.contains("unknown command") {
        "--ack disk needs a server with WAITAOF: Redis 7.2 or newer, or Valkey; waiting".to_owned()
    } else if error.contains("appendonly") {
        "--ack disk needs `appendonly yes` in the configuration of redis; waiting".to_owned()
    } else if error.contains("NOPERM") || error.contains("permission") {
        format!("--ack {ack} needs SET on one key and WAIT or WAITAOF: check the ACL of this user; waiting")
    } else {
        format!("no acknowledgements: {error}; waiting")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_is_written_to_a_slot_that_the_server_holds() {
        let key = BarrierKey::new("stoa:barrier");
        key.hold(&[(0, 16_383)]);
        assert_eq!(key.get(), "stoa:barrier", "who holds them all holds this one");
        for slots in [[(0, 5_460), (9, 9)], [(5_461, 10_922), (1, 1)], [(77, 77), (16_383, 16_383)]] {
            key.hold(&slots);
            let held = slot(&key.get());
            assert!(slots.iter().any(|(first, last)| (*first..=*last).contains(&held)), "{} {slots:?}", key.get());
        }
    }
}
