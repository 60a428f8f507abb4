//! Which server the sentinels call the primary.
//!
//! An address is believed when most sentinels name it, at the highest configuration epoch, and the server itself says
//! that it is a primary. An older epoch is never believed again: that is how a primary that comes back would take writes
//! which are thrown away a moment later.
//!
//! Where there are more replicas than a write waits for, the word of those is not enough. A primary that was cut off and
//! is back may still have one of them, for the second in which sentinels have already made another the primary. So the
//! sentinels are asked once more, after the replicas have answered: a write is safe if no failover was under way then,
//! since one that begins later takes a replica that has come as far.

use super::control::Control;
use super::deployment::Deployment;
use super::layout::Layout;
use super::topology::Kick;
use fred::prelude::{EventInterface, PubsubInterface};
use fred::types::Value;
use fred::types::config::Server;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Time between two rounds of questions; sentinels tell of a switch by themselves too.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two rounds when something has changed.
const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// What a sentinel publishes when the primary is another one.
const SWITCH: &str = "+switch-master";
/// What a sentinel says of a primary that it is about to replace, or is replacing.
const FLAGS_OF_FAILOVER: [&str; 2] = ["o_down", "failover_in_progress"];

/// What one sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    epoch: u64,
    primary: Server,
    /// How many sentinels there are, as far as this one knows.
    sentinels: usize,
    /// How many replicas the primary has, or had.
    replicas: usize,
    /// Whether the primary is being replaced.
    is_failing_over: bool,
}

/// One of them.
struct Sentinel {
    control: Control,
    /// Whether it answered when it was last asked.
    answers: AtomicBool,
}

/// The sentinels of a deployment.
pub(super) struct Sentinels {
    all: Vec<Sentinel>,
    service: String,
    /// The replicas that they knew of in the last round.
    replicas: AtomicUsize,
}

impl Sentinels {
    /// Begins to connect.
    pub(super) fn start(
        deployment: &Deployment,
        hosts: &[Server],
        service: String,
        tasks: &TaskTracker,
    ) -> Result<Self, String> {
        let connect = |host| Control::start(&deployment.sentinel(host), tasks);
        let sentinel = |host| connect(host).map(|control| Sentinel { control, answers: AtomicBool::new(false) });
        let all: Result<Vec<Sentinel>, String> = hosts.iter().map(sentinel).collect();
        Ok(Sentinels { all: all?, service, replicas: AtomicUsize::new(0) })
    }

    /// Asks for ever, and says what it finds.
    pub(super) async fn follow(
        self: Arc<Self>,
        deployment: Deployment,
        found: watch::Sender<Layout>,
        kick: Kick,
        tasks: TaskTracker,
    ) {
        for Sentinel { control, .. } in &self.all {
            let (client, kick) = ((*control.client).clone(), kick.clone());
            tasks.spawn(async move { hear_of_switches(client, kick).await });
        }
        let mut adopted: Option<(u64, Server)> = None;
        loop {
            let views = self.views(|_| true).await;
            self.replicas.store(views.iter().map(|view| view.replicas).max().unwrap_or_default(), Ordering::Relaxed);
            if let Some((epoch, primary)) = choose(&views, self.all.len())
                && adopted
                    .as_ref()
                    .is_none_or(|(known, server)| epoch > *known || (epoch == *known && primary != *server))
            {
                if is_primary(&deployment, &primary, &tasks).await {
                    tracing::info!(epoch, %primary, "the sentinels name this primary");
                    found.send_replace(Layout::one(primary.clone()));
                    adopted = Some((epoch, primary));
                } else {
                    kick.kick();
                }
            }
            kick.wait(ROUND_INTERVAL_MIN, ROUND_INTERVAL).await;
        }
    }

    /// Waits until it is sure that what `count` replicas of `primary` hold by now stays; false when `primary` is none any
    /// more. How long to wait is for the caller to say.
    pub(super) async fn confirm(&self, primary: &Server, count: u32) -> bool {
        // Whoever of all replicas takes over has it.
        if self.replicas.load(Ordering::Relaxed) <= count as usize {
            return true;
        }
        loop {
            // All who answer, however long it takes: the one that replaces the primary has the most to do. Who did not
            // answer is asked again in the next round, and holds nobody up until then.
            let views = self.views(|sentinel| sentinel.answers.load(Ordering::Relaxed)).await;
            match verdict(&views, self.all.len(), primary) {
                Some(stays) => return stays,
                None => tokio::time::sleep(ROUND_INTERVAL_MIN).await,
            }
        }
    }

    /// What these say.
    async fn views(&self, whom: impl Fn(&Sentinel) -> bool) -> Vec<View> {
        let asked = self.all.iter().filter(|sentinel| whom(sentinel)).map(async |sentinel| {
            let view = view(&sentinel.control, &self.service).await;
            sentinel.answers.store(view.is_some(), Ordering::Relaxed);
            view
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

/// Asks again as soon as a sentinel says that the primary is another one.
async fn hear_of_switches(client: fred::prelude::Client, kick: Kick) {
    let (mut messages, mut reconnections) = (client.message_rx(), client.reconnect_rx());
    loop {
        tokio::select! {
            connected = reconnections.recv() => {
                if connected == Err(RecvError::Closed) {
                    return;
                }
                let _ = client.subscribe(SWITCH).await;
                // It may have switched before this.
                kick.kick();
            }
            message = messages.recv() => {
                if matches!(message, Err(RecvError::Closed)) {
                    return;
                }
                kick.kick();
            }
        }
    }
}

async fn view(control: &Control, service: &str) -> Option<View> {
    let fields: HashMap<String, Value> = control.ask("SENTINEL", &["MASTER", service]).await.ok()?.convert().ok()?;
    let text = |name: &str| fields.get(name)?.as_string();
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let port = u16::try_from(number("port")?).ok()?;
    let flags = text("flags")?;
    Some(View {
        epoch: number("config-epoch")?,
        primary: Server::new(text("ip")?, port),
        sentinels: usize::try_from(number("num-other-sentinels")?).ok()? + 1,
        replicas: usize::try_from(number("num-slaves")?).ok()?,
        is_failing_over: flags.split(',').any(|flag| FLAGS_OF_FAILOVER.contains(&flag)),
    })
}

/// The primary that most sentinels name, at the highest epoch.
fn choose(views: &[View], configured: usize) -> Option<(u64, Server)> {
    let sentinels = views.iter().map(|view| view.sentinels).chain([configured]).max()?;
    let epoch = views.iter().map(|view| view.epoch).max()?;
    let named = |primary: &Server| views.iter().filter(|view| view.epoch == epoch && view.primary == *primary).count();
    let primary = views.iter().map(|view| &view.primary).find(|primary| 2 * named(primary) > sentinels)?;
    Some((epoch, primary.clone()))
}

/// Whether the primary stays one for now, if that can be told.
fn verdict(views: &[View], configured: usize, primary: &Server) -> Option<bool> {
    let (_, named) = choose(views, configured)?;
    if named != *primary {
        return Some(false);
    }
    // One is enough: it is a single sentinel that carries a failover out.
    views.iter().all(|view| !view.is_failing_over).then_some(true)
}

/// Whether the server itself says so.
async fn is_primary(deployment: &Deployment, server: &Server, tasks: &TaskTracker) -> bool {
    let Ok(control) = Control::start(&deployment.server(server), tasks) else { return false };
    let connected = tokio::time::timeout(
        super::control::ANSWER_TIMEOUT,
        fred::prelude::ClientLike::wait_for_connect(&control.client),
    );
    if !matches!(connected.await, Ok(Ok(()))) {
        return false;
    }
    let role = control.ask("ROLE", &[]).await.ok().map(Value::into_array);
    role.and_then(|parts| parts.first()?.as_string()).as_deref() == Some("master")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, port: u16) -> View {
        View { epoch, primary: Server::new("h", port), sentinels: 3, replicas: 2, is_failing_over: false }
    }
    fn chosen(views: &[View]) -> Option<(u64, u16)> {
        choose(views, 3).map(|(epoch, server)| (epoch, server.port))
    }

    #[test]
    fn most_sentinels_have_to_name_it_at_the_highest_epoch() {
        assert_eq!(chosen(&[view(1, 1), view(1, 1), view(1, 1)]), Some((1, 1)));
        assert_eq!(chosen(&[view(2, 2), view(2, 2), view(1, 1)]), Some((2, 2)));
        assert_eq!(chosen(&[view(2, 2), view(1, 1), view(1, 1)]), None, "one of three knows of a switch");
        assert_eq!(chosen(&[view(1, 1), view(1, 1)]), Some((1, 1)), "one of three is away");
        assert_eq!(chosen(&[view(1, 1)]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn sentinels_that_nobody_named_count_too() {
        let views = [View { sentinels: 5, ..view(1, 1) }, View { sentinels: 5, ..view(1, 1) }];
        assert_eq!(choose(&views, 2), None);
    }

    #[test]
    fn a_primary_stays_only_if_none_that_answers_replaces_it() {
        let stays = |views: &[View]| verdict(views, 3, &Server::new("h", 1));
        let replacing = View { is_failing_over: true, ..view(1, 1) };
        assert_eq!(stays(&[view(1, 1), view(1, 1), view(1, 1)]), Some(true));
        assert_eq!(stays(&[view(1, 1), view(1, 1)]), Some(true), "one of three is away");
        assert_eq!(stays(&[view(1, 1), view(1, 1), replacing]), None);
        assert_eq!(stays(&[view(1, 1)]), None, "two of three are away");
        assert_eq!(stays(&[view(2, 2), view(1, 1), view(1, 1)]), None, "one of three knows of a switch");
        assert_eq!(stays(&[view(2, 2), view(2, 2), view(1, 1)]), Some(false));
    }
}
