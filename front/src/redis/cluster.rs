//! What the nodes of a cluster say of their slots.
//!
//! All known nodes are asked at once, and again and again: no single one is believed, because one that is cut off goes on
//! telling what was. Of the answers of healthy nodes those of the highest epoch count, and of these the most common.

use super::control::{Control, Controls};
use super::deployment::Deployment;
use super::layout::{Layout, Place};
use super::topology::Kick;
use fred::types::Value;
use fred::types::config::Server;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Time between two rounds of questions.
const ROUND_INTERVAL: Duration = Duration::from_millis(200);
/// Time between two rounds when a command found that something has changed.
const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Nodes that are asked in a round, in number: in a large cluster every one has its turn.
const ASKED_MAX: usize = 16;

/// What one node says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct View {
    epoch: u64,
    layout: Layout,
    /// Every node that is named, replicas too.
    nodes: BTreeSet<Server>,
}

/// Asks for ever, and says what it finds.
pub(super) async fn follow(
    deployment: Deployment,
    seeds: Vec<Server>,
    found: watch::Sender<Layout>,
    kick: Kick,
    tasks: TaskTracker,
) {
    let mut controls = Controls::new(&tasks);
    controls.keep(&seeds, |server| deployment.server(server));
    let mut round = 0;
    loop {
        let all: Vec<_> = controls.iter().collect();
        let asked = all.iter().cycle().skip(round).take(ASKED_MAX.min(all.len()));
        let views: Vec<View> =
            join_all(asked.map(|(server, control)| view(server, control))).await.into_iter().flatten().collect();
        round = (round + ASKED_MAX) % all.len().max(1);
        if let Some(view) = choose(views) {
            let nodes: Vec<Server> = view.nodes.iter().chain(&seeds).cloned().collect();
            controls.keep(&nodes, |server| deployment.server(server));
            found.send_if_modified(|known| {
                let is_news = *known != view.layout;
                if is_news {
                    tracing::info!(epoch = view.epoch, shards = view.layout.0.len(), "the slots are known anew");
                    *known = view.layout;
                }
                is_news
            });
        }
        kick.wait(ROUND_INTERVAL_MIN, ROUND_INTERVAL).await;
    }
}

async fn view(server: &Server, control: &Control) -> Option<View> {
    let (info, slots) = tokio::join!(control.ask("CLUSTER", &["INFO"]), control.ask("CLUSTER", &["SLOTS"]));
    let info = info.ok()?.into_string()?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    // A node that is cut off says "fail".
    if field("cluster_state")?.trim() != "ok" {
        return None;
    }
    read(server, field("cluster_current_epoch")?.trim().parse().ok()?, slots.ok()?)
}

/// Reads an answer to `CLUSTER SLOTS`: `[first, last, [host, port, id, …], replicas …]` for each range.
fn read(asked: &Server, epoch: u64, slots: Value) -> Option<View> {
    let mut by_server: BTreeMap<Server, Vec<(u16, u16)>> = BTreeMap::new();
    let mut nodes = BTreeSet::new();
    for range in slots.into_array() {
        let mut parts = range.into_array().into_iter();
        let mut number = || u16::try_from(parts.next()?.as_u64()?).ok();
        let (first, last) = (number()?, number()?);
        let mut named = parts.filter_map(|node| address(asked, node));
        let primary = named.next()?;
        nodes.insert(primary.clone());
        nodes.extend(named);
        by_server.entry(primary).or_default().push((first, last));
    }
    let mut places: Vec<Place> = by_server.into_iter().map(|(server, slots)| Place { server, slots }).collect();
    places.iter_mut().for_each(|place| place.slots.sort_unstable());
    Some(View { epoch, layout: Layout(places), nodes })
}

/// The address of a node. One that does not know its own name means the address at which it was asked.
fn address(asked: &Server, node: Value) -> Option<Server> {
    let mut parts = node.into_array().into_iter();
    let host = parts.next()?.into_string().filter(|host| !host.is_empty() && host != "?");
    let port = u16::try_from(parts.next()?.as_u64()?).ok()?;
    Some(Server::new(host.unwrap_or_else(|| asked.host.to_string()), port))
}

/// Whom to believe.
fn choose(views: Vec<View>) -> Option<View> {
    let epoch = views.iter().map(|view| view.epoch).max()?;
    let newest = || views.iter().filter(|view| view.epoch == epoch);
    let mut votes: HashMap<Vec<Place>, usize> = HashMap::new();
    for view in newest() {
        *votes.entry(view.layout.0.clone()).or_default() += 1;
    }
    let (layout, _) = votes.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)))?;
    let nodes = newest().flat_map(|view| view.nodes.clone()).collect();
    Some(View { epoch, layout: Layout(layout), nodes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, primary: u16) -> View {
        let layout = Layout::one(Server::new("h", primary));
        View { epoch, nodes: layout.0.iter().map(|place| place.server.clone()).collect(), layout }
    }
    fn chosen(views: &[View]) -> Option<u16> {
        choose(views.to_vec()).map(|view| view.layout.0[0].server.port)
    }

    #[test]
    fn the_newest_epoch_counts_and_in_it_what_most_say() {
        assert_eq!(chosen(&[view(3, 1), view(3, 1), view(4, 2)]), Some(2));
        assert_eq!(chosen(&[view(4, 1), view(4, 2), view(4, 2)]), Some(2));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn slots_are_read_as_a_node_tells_them() {
        let node = |host: Value, port: i64| Value::Array(vec![host, port.into(), "id".into()]);
        let range = |first: i64, last: i64, nodes: Vec<Value>| {
            Value::Array([Value::from(first), last.into()].into_iter().chain(nodes).collect())
        };
        let slots = Value::Array(vec![
            range(100, 200, vec![node("a".into(), 1), node("b".into(), 2)]),
            range(0, 99, vec![node(Value::Null, 7)]),
            range(300, 300, vec![node("a".into(), 1)]),
        ]);
        let view = read(&Server::new("asked", 7), 5, slots).unwrap();
        let place = |host: &str, port, slots| Place { server: Server::new(host, port), slots };
        assert_eq!(view.layout.0, [place("a", 1, vec![(100, 200), (300, 300)]), place("asked", 7, vec![(0, 99)])]);
        assert!(view.nodes.contains(&Server::new("b", 2)));
    }

    #[test]
    fn an_answer_that_is_something_else_is_no_view() {
        assert_eq!(read(&Server::new("h", 1), 1, Value::Array(vec!["x".into()])), None);
    }
}
