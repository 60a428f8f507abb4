//! Several servers that belong together: a Redis Cluster, or a primary with replicas that sentinels watch.

use crate::redis::{Redis, RedisOptions, free_port};
use crate::resp::Reply;
use crate::waiting;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long servers may take to agree with one another: on a machine with much to do.
const AGREEMENT: Duration = Duration::from_secs(30);
/// How long one attempt to hand a shard over may take.
const HAND_OVER: Duration = Duration::from_secs(8);
/// Time without an answer after which a node of a cluster, or a primary, counts as gone, in milliseconds.
const GONE_AFTER_MS: u64 = 3_000;

/// One group of servers at a time in a process: a dozen of them at once would think each other gone on a slow machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until no other test of this process has servers that belong together.
fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A Redis Cluster: so many primaries, and as many replicas of each.
pub struct Cluster {
    /// First the primaries of the start, then their replicas in the same order.
    pub nodes: Vec<Redis>,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts it with all slots, evenly spread, and waits until every node agrees. `options` are those of each node.
    pub fn start(primaries: usize, replicas: usize, options: impl Fn() -> RedisOptions) -> Cluster {
        let node = |_| {
            options()
                .line("cluster-enabled yes")
                .line(format!("cluster-node-timeout {GONE_AFTER_MS}"))
                // The other shards go on when one has lost all of its servers.
                .line("cluster-require-full-coverage no")
                .line(format!("cluster-port {}", free_port()))
                .start()
        };
        let alone = alone();
        let nodes: Vec<Redis> = (0..primaries * (1 + replicas)).map(node).collect();
        let cluster = Cluster { nodes, _alone: alone };
        let per_primary = 16_384_usize.div_ceil(primaries);
        for (at, node) in cluster.nodes[..primaries].iter().enumerate() {
            let (first, last) = (at * per_primary, ((at + 1) * per_primary).min(16_384) - 1);
            node.ok(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        let first = &cluster.nodes[0];
        for node in &cluster.nodes[1..] {
            let bus = node.ok(&["CONFIG", "GET", "cluster-port"]).texts().remove(1);
            first.ok(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus]);
        }
        cluster.agrees("knows everybody", |node| known(node) == cluster.nodes.len());
        for (at, replica) in cluster.nodes[primaries..].iter().enumerate() {
            let primary = cluster.id(at % primaries);
            replica.ok(&["CLUSTER", "REPLICATE", &primary]);
        }
        cluster.agrees("is whole", |node| cluster.is_whole(node, primaries, replicas));
        cluster
    }

    /// The URL that fronts take; the node at `seed` is all it names.
    pub fn url(&self, seed: usize) -> String {
        format!("redis-cluster://127.0.0.1:{}", self.nodes[seed].port)
    }

    /// The slot of a room.
    pub fn slot(&self, room: &str) -> u16 {
        self.live().ok(&["CLUSTER", "KEYSLOT", room]).int() as u16
    }

    /// The node that takes writes for a room, as some live node knows it.
    pub fn primary_of(&self, room: &str) -> usize {
        let slot = i64::from(self.slot(room));
        let slots = self.live().ok(&["CLUSTER", "SLOTS"]);
        let range = slots.items().iter().find(|range| {
            let [first, last] = [range.items()[0].int(), range.items()[1].int()];
            (first..=last).contains(&slot)
        });
        let port = range.expect("somebody holds the slot").items()[2].items()[1].int();
        self.nodes.iter().position(|node| i64::from(node.port) == port).unwrap()
    }

    /// A replica of the node at `primary` that has caught up.
    pub fn replica_of(&self, primary: usize) -> usize {
        let port = self.nodes[primary].port.to_string();
        let found = waiting::poll(AGREEMENT, || {
            self.nodes.iter().position(|node| {
                node.is_running()
                    && node.info("master_port").as_ref() == Some(&port)
                    && node.info("master_link_status").as_deref() == Some("up")
            })
        });
        found.expect("a replica of this node")
    }

    /// A room, named after `start`, that the node at `primary` holds.
    pub fn room_on(&self, primary: usize, start: &str) -> String {
        (0..).map(|n| format!("{start}{n}")).find(|room| self.primary_of(room) == primary).unwrap()
    }

    /// Makes a replica the primary, as one does before maintenance: no write is lost.
    pub fn hand_over(&self, replica: usize) {
        let port = i64::from(self.nodes[replica].port);
        let is_known = |node: &Redis| {
            let slots = node.ok(&["CLUSTER", "SLOTS"]);
            slots.items().iter().any(|range| range.items()[2].items()[1].int() == port)
        };
        // A server gives a hand-over up after five seconds when others were too busy to answer.
        let done = (0..5).any(|_| {
            self.nodes[replica].call(&["CLUSTER", "FAILOVER"]);
            waiting::poll(HAND_OVER, || self.nodes.iter().all(is_known).then_some(())).is_some()
        });
        assert!(done, "the replica did not take over\n{}", self.nodes[replica].log());
    }

    /// Moves the slot of a room to another primary while it is in use, `pause` after each step.
    pub fn migrate(&self, room: &str, to: usize, pause: Duration) {
        let (slot, from) = (self.slot(room).to_string(), self.primary_of(room));
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (source_id, target_id) = (self.id(from), self.id(to));
        target.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
        source.ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
        loop {
            let keys = source.ok(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).texts();
            let Some(key) = keys.first() else { break };
            source.ok(&["MIGRATE", "127.0.0.1", &target.port.to_string(), key, "0", "5000"]);
            std::thread::sleep(pause);
        }
        for node in [target, source].into_iter().chain(&self.nodes) {
            if node.info("role").as_deref() == Some("master") {
                node.ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
            }
        }
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].ok(&["CLUSTER", "MYID"]).text()
    }

    fn live(&self) -> &Redis {
        self.nodes.iter().find(|node| node.is_running()).unwrap()
    }

    fn is_whole(&self, node: &Redis, primaries: usize, replicas: usize) -> bool {
        let is_ok = node.ok(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok");
        let slots = node.ok(&["CLUSTER", "SLOTS"]);
        let has_replicas = |range: &Reply| range.items().len() == 3 + replicas;
        let is_linked =
            node.info("role").as_deref() == Some("master") || node.info("master_link_status").as_deref() == Some("up");
        is_ok && is_linked && slots.items().len() == primaries && slots.items().iter().all(has_replicas)
    }

    fn agrees(&self, what: &str, look: impl Fn(&Redis) -> bool) {
        let agreed = waiting::poll(AGREEMENT, || self.nodes.iter().all(&look).then_some(()));
        assert!(agreed.is_some(), "not every node of the cluster {what} within {AGREEMENT:?}");
    }
}

fn known(node: &Redis) -> usize {
    let nodes = node.ok(&["CLUSTER", "NODES"]).text();
    nodes.lines().filter(|line| !line.contains("handshake")).count()
}

/// The name by which sentinels know the primary.
pub const SERVICE: &str = "rooms";

/// A primary with replicas, and sentinels that watch them.
pub struct Sentinels {
    /// First the primary of the start, then its replicas.
    pub servers: Vec<Redis>,
    /// Those who watch.
    pub sentinels: Vec<Redis>,
    _alone: MutexGuard<'static, ()>,
}

impl Sentinels {
    /// Starts them and waits until every sentinel knows all the others. `options` are those of each server.
    pub fn start(replicas: usize, sentinels: usize, options: impl Fn() -> RedisOptions) -> Sentinels {
        let alone = alone();
        let primary = options().start();
        let replicas: Vec<Redis> = (0..replicas).map(|_| options().replica_of(&primary).start()).collect();
        replicas.iter().for_each(|replica| replica.in_sync_with(&primary));
        let (port, quorum) = (primary.port, sentinels / 2 + 1);
        let sentinel = |_| {
            Redis::options()
                .sentinel()
                .line(format!("sentinel monitor {SERVICE} 127.0.0.1 {port} {quorum}"))
                .line(format!("sentinel down-after-milliseconds {SERVICE} {GONE_AFTER_MS}"))
                .line(format!("sentinel failover-timeout {SERVICE} 5000"))
                .start()
        };
        let watching: Vec<Redis> = (0..sentinels).map(sentinel).collect();
        let expected = [replicas.len(), sentinels - 1].map(|count| count.to_string());
        let servers = [primary].into_iter().chain(replicas).collect();
        let all = Sentinels { servers, sentinels: watching, _alone: alone };
        let agreed = waiting::poll(AGREEMENT, || {
            let knows = |sentinel: &Redis| {
                let master = sentinel.ok(&["SENTINEL", "MASTER", SERVICE]);
                ["num-slaves", "num-other-sentinels"].map(|name| master.field(name).text()) == expected
            };
            all.sentinels.iter().all(knows).then_some(())
        });
        assert!(agreed.is_some(), "the sentinels do not know one another within {AGREEMENT:?}");
        all
    }

    /// The URL that fronts take.
    pub fn url(&self) -> String {
        let others: String =
            self.sentinels[1..].iter().map(|other| format!("node=127.0.0.1:{}&", other.port)).collect();
        format!("redis-sentinel://127.0.0.1:{}?{others}sentinelServiceName={SERVICE}", self.sentinels[0].port)
    }

    /// The server that most sentinels call the primary.
    pub fn primary(&self) -> usize {
        let mut named: Vec<usize> = self.sentinels.iter().filter_map(|sentinel| self.named_by(sentinel)).collect();
        named.sort_unstable();
        named[named.len() / 2]
    }

    /// Waits until every sentinel calls another server than `before` the primary; says which, and how long it took.
    pub fn switched(&self, before: usize) -> (usize, Duration) {
        let began = Instant::now();
        let primary = waiting::poll(AGREEMENT, || {
            let first = self.named_by(&self.sentinels[0])?;
            let all = self.sentinels.iter().all(|sentinel| self.named_by(sentinel) == Some(first));
            (first != before && all).then_some(first)
        });
        (primary.expect("the sentinels did not agree on another primary"), began.elapsed())
    }

    fn named_by(&self, sentinel: &Redis) -> Option<usize> {
        let port = sentinel.ok(&["SENTINEL", "MASTER", SERVICE]).field("port").text();
        self.servers.iter().position(|server| server.port.to_string() == port)
    }
}
