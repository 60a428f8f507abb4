//! Several servers that belong together: a Redis Cluster, or a primary with replicas that sentinels watch.

use crate::network::{self, Line, Network};
use crate::redis::{Redis, RedisOptions, free_port};
use crate::resp::Reply;
use crate::waiting;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long servers may take to agree with one another: on a machine with much to do.
const AGREEMENT: Duration = Duration::from_secs(30);
/// How long one attempt to hand a shard over may take.
const HAND_OVER: Duration = Duration::from_secs(8);
/// A replica begins no other election until so many times the node timeout, but at least so many milliseconds, have passed since
/// its last one (seen in Redis 7.0 and Valkey 8.0, not in Valkey 9.1): it takes the votes of that one for its own, nobody believes it, and
/// the primary takes no writes until it gives the hand-over up after five seconds.
const ELECTION: (u64, u64) = (4, 4_000);
/// Time without an answer after which a node of a cluster, or a primary, counts as gone, in milliseconds.
const GONE_AFTER_MS: u64 = 3_000;

/// One group of servers at a time in a process: a dozen of them at once would think each other gone on a slow machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until no other test of this process has servers that belong together.
fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How servers that belong together are set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Time without an answer after which a server counts as gone, in milliseconds.
    pub gone_after_ms: u64,
    /// Whether there is a network between them. It takes a runtime.
    pub has_network: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { gone_after_ms: GONE_AFTER_MS, has_network: false }
    }
}

/// Servers, and the ports by which others know them: their own, or those of the lines in front of them.
fn start_servers(
    count: usize,
    network: &mut Option<Network>,
    options: impl Fn(usize, Option<&Line>, &[u16]) -> RedisOptions,
) -> (Vec<Redis>, Vec<u16>) {
    let (mut servers, mut ports): (Vec<Redis>, Vec<u16>) = (Vec::new(), Vec::new());
    for number in 0..count {
        let line = network.as_mut().map(|network| network.line(number));
        let mut options = options(number, line.as_ref(), &ports);
        if line.is_some() {
            options = options.line(format!("bind-source-addr {}", network::address(number)));
        }
        let server = options.start();
        line.iter().for_each(|line| line.lead_to(server.port));
        ports.push(line.map_or(server.port, |line| line.port));
        servers.push(server);
    }
    (servers, ports)
}

/// A Redis Cluster: so many primaries, and as many replicas of each.
pub struct Cluster {
    /// First the primaries of the start, then their replicas in the same order.
    pub nodes: Vec<Redis>,
    /// The network between them, if they were set up with one.
    pub network: Option<Network>,
    ports: Vec<u16>,
    gone_after_ms: u64,
    /// When each node was last made a primary.
    elected: Mutex<HashMap<usize, Instant>>,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts it with all slots, evenly spread, and waits until every node agrees. `options` are those of each node.
    pub fn start(primaries: usize, replicas: usize, options: impl Fn() -> RedisOptions) -> Cluster {
        Cluster::start_as(Setup::default(), primaries, replicas, options)
    }

    /// As [`start`](Self::start), set up in another way.
    pub fn start_as(setup: Setup, primaries: usize, replicas: usize, options: impl Fn() -> RedisOptions) -> Cluster {
        let count = primaries * (1 + replicas);
        let alone = alone();
        let mut network = setup.has_network.then(Network::new);
        let buses: Vec<(u16, Option<Line>)> =
            (0..count).map(|node| (free_port(), network.as_mut().map(|network| network.line(node)))).collect();
        let (nodes, ports) = start_servers(count, &mut network, |node, line, _| {
            let (bus, bus_line) = &buses[node];
            let mut options = options()
                .line("cluster-enabled yes")
                .line(format!("cluster-node-timeout {}", setup.gone_after_ms))
                // The other shards go on when one has lost all of its servers.
                .line("cluster-require-full-coverage no")
                // A replica whose primary's line was cut for a while may take over all the same.
                .line("cluster-replica-validity-factor 0")
                .line(format!("cluster-port {bus}"));
            if let Some((line, bus_line)) = line.zip(bus_line.as_ref()) {
                bus_line.lead_to(*bus);
                for (name, value) in
                    [("ip", "127.0.0.1"), ("port", &line.port.to_string()), ("bus-port", &bus_line.port.to_string())]
                {
                    options = options.line(format!("cluster-announce-{name} {value}"));
                }
            }
            options
        });
        let (gone_after_ms, elected) = (setup.gone_after_ms, Mutex::default());
        let cluster = Cluster { nodes, network, ports, gone_after_ms, elected, _alone: alone };
        let per_primary = 16_384_usize.div_ceil(primaries);
        for (at, node) in cluster.nodes[..primaries].iter().enumerate() {
            let (first, last) = (at * per_primary, ((at + 1) * per_primary).min(16_384) - 1);
            node.ok(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        let first = &cluster.nodes[0];
        for (port, (bus, bus_line)) in cluster.ports.iter().zip(&buses).skip(1) {
            let bus = bus_line.as_ref().map_or(*bus, |line| line.port);
            first.ok(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus.to_string()]);
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
        format!("redis-cluster://127.0.0.1:{}", self.ports[seed])
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
        self.ports.iter().position(|known| i64::from(*known) == port).unwrap()
    }

    /// A replica of the node at `primary` that has caught up.
    pub fn replica_of(&self, primary: usize) -> usize {
        let port = self.ports[primary].to_string();
        let found = waiting::poll(AGREEMENT, || {
            self.nodes.iter().position(|node| {
                node.is_awake()
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

    /// Makes a replica the primary, as one does before maintenance: no write is lost. Waits for as long as it must not be
    /// elected again.
    pub fn hand_over(&self, replica: usize) {
        self.await_election(replica);
        self.elected().insert(replica, Instant::now());
        let port = i64::from(self.ports[replica]);
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

    /// Returns when this node may be elected again.
    pub fn await_election(&self, replica: usize) {
        let (times, least_ms) = ELECTION;
        let between = Duration::from_millis((times * self.gone_after_ms).max(least_ms));
        let last = self.elected().get(&replica).copied();
        if let Some(rest) = last.and_then(|last| between.checked_sub(last.elapsed())) {
            std::thread::sleep(rest);
        }
    }

    fn elected(&self) -> MutexGuard<'_, HashMap<usize, Instant>> {
        self.elected.lock().unwrap_or_else(PoisonError::into_inner)
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
            source.ok(&["MIGRATE", "127.0.0.1", &self.ports[to].to_string(), key, "0", "5000"]);
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
        self.nodes.iter().find(|node| node.is_awake()).unwrap()
    }

    fn is_whole(&self, node: &Redis, primaries: usize, replicas: usize) -> bool {
        let is_ok = node.ok(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok");
        let slots = node.ok(&["CLUSTER", "SLOTS"]);
        let has_replicas = |range: &Reply| range.items().len() == 3 + replicas;
        let is_linked =
            node.info("role").as_deref() == Some("master") || node.info("master_link_status").as_deref() == Some("up");
        is_ok && is_linked && slots.items().len() == primaries && slots.items().iter().all(has_replicas)
    }

    /// Whether every node is awake and well, everybody has agreed on who holds what, and each primary has its replicas.
    pub fn is_well(&self, replicas: usize) -> bool {
        let is_well = |node: &Redis| {
            let slots = node.ok(&["CLUSTER", "SLOTS"]);
            let replicates = node.info("role").as_deref() == Some("slave");
            let is_linked = !replicates || node.info("master_link_status").as_deref() == Some("up");
            let nodes = node.ok(&["CLUSTER", "NODES"]).text();
            let is_whole = slots.items().iter().all(|range| range.items().len() == 3 + replicas);
            let covered: i64 =
                slots.items().iter().map(|range| range.items()[1].int() - range.items()[0].int() + 1).sum();
            is_linked && is_whole && covered == 16_384 && !nodes.contains("fail")
        };
        let holders = |node: &Redis| -> Vec<(i64, i64)> {
            let slots = node.ok(&["CLUSTER", "SLOTS"]);
            let mut holders: Vec<(i64, i64)> =
                slots.items().iter().map(|range| (range.items()[0].int(), range.items()[2].items()[1].int())).collect();
            holders.sort_unstable();
            holders
        };
        self.nodes.iter().all(|node| node.is_awake() && is_well(node)) && {
            let first = holders(&self.nodes[0]);
            self.nodes[1..].iter().all(|node| holders(node) == first)
        }
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
    /// The network between them, if they were set up with one.
    pub network: Option<Network>,
    ports: Vec<u16>,
    _alone: MutexGuard<'static, ()>,
}

impl Sentinels {
    /// Starts them and waits until every sentinel knows all the others. `options` are those of each server.
    pub fn start(replicas: usize, sentinels: usize, options: impl Fn() -> RedisOptions) -> Sentinels {
        Sentinels::start_as(Setup::default(), replicas, sentinels, options)
    }

    /// As [`start`](Self::start), set up in another way.
    pub fn start_as(setup: Setup, replicas: usize, sentinels: usize, options: impl Fn() -> RedisOptions) -> Sentinels {
        let alone = alone();
        let mut network = setup.has_network.then(Network::new);
        let (servers, ports) = start_servers(1 + replicas, &mut network, |_, line, known| {
            let mut options = options();
            if let Some(line) = line {
                options = options.line("replica-announce-ip 127.0.0.1");
                options = options.line(format!("replica-announce-port {}", line.port));
            }
            match known.first() {
                Some(primary) => options.line(format!("replicaof 127.0.0.1 {primary}")),
                None => options,
            }
        });
        servers[1..].iter().for_each(|replica| replica.in_sync_with(&servers[0]));
        let (port, quorum) = (ports[0], sentinels / 2 + 1);
        let sentinel = |number: usize| {
            let mut options = Redis::options()
                .sentinel()
                .line(format!("sentinel monitor {SERVICE} 127.0.0.1 {port} {quorum}"))
                .line(format!("sentinel down-after-milliseconds {SERVICE} {}", setup.gone_after_ms))
                .line(format!("sentinel failover-timeout {SERVICE} 5000"));
            if setup.has_network {
                options = options.line(format!("bind-source-addr {}", network::address(1 + replicas + number)));
                options = options.line("sentinel announce-ip 127.0.0.1");
            }
            options.start()
        };
        let watching: Vec<Redis> = (0..sentinels).map(sentinel).collect();
        let expected = [replicas, sentinels - 1].map(|count| count.to_string());
        let all = Sentinels { servers, sentinels: watching, network, ports, _alone: alone };
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

    /// What a sentinel thinks of the primary.
    pub fn flags_of(&self, sentinel: &Redis) -> String {
        sentinel.ok(&["SENTINEL", "MASTER", SERVICE]).field("flags").text()
    }

    fn named_by(&self, sentinel: &Redis) -> Option<usize> {
        let port = sentinel.ok(&["SENTINEL", "MASTER", SERVICE]).field("port").text();
        self.ports.iter().position(|known| known.to_string() == port)
    }

    /// Whether all are awake, agree on the primary, and the others follow it.
    pub fn is_well(&self) -> bool {
        let primary = self.primary();
        let port = self.ports[primary].to_string();
        let knows = |sentinel: &Redis| {
            let master = sentinel.ok(&["SENTINEL", "MASTER", SERVICE]);
            self.named_by(sentinel) == Some(primary)
                && self.flags_of(sentinel) == "master"
                && master.field("num-slaves").text() == (self.servers.len() - 1).to_string()
        };
        let follows = |server: &Redis| {
            server.info("master_port").as_ref() == Some(&port)
                && server.info("master_link_status").as_deref() == Some("up")
        };
        self.servers.iter().all(Redis::is_awake)
            && self.sentinels.iter().all(knows)
            && self.servers[primary].info("role").as_deref() == Some("master")
            && self.servers.iter().enumerate().all(|(at, server)| at == primary || follows(server))
    }
}
