//! Which server the sentinels call the primary.
//!
//! An address is believed when most sentinels name it, at the highest configuration epoch, and the server itself says
//! that it is a primary. An older epoch is never believed again: that is how a primary that comes back would take writes
//! which are thrown away a moment later.

use super::control::{Control, Controls};
use super::deployment::Deployment;
use super::layout::Layout;
use super::topology::Kick;
use fred::prelude::{EventInterface, PubsubInterface};
use fred::types::Value;
use fred::types::config::Server;
use futures_util::future::join_all;
use std::collections::HashMap;
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

/// What one sentinel says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    epoch: u64,
    primary: Server,
    /// How many sentinels there are, as far as this one knows.
    sentinels: usize,
}

/// Asks for ever, and says what it finds.
pub(super) async fn follow(
    deployment: Deployment,
    (hosts, service): (Vec<Server>, String),
    found: watch::Sender<Layout>,
    kick: Kick,
    tasks: TaskTracker,
) {
    let mut controls = Controls::new(&tasks);
    controls.keep(&hosts, |server| deployment.sentinel(server));
    for (_, control) in controls.iter() {
        let (client, kick) = ((*control.client).clone(), kick.clone());
        tasks.spawn(async move { hear_of_switches(client, kick).await });
    }
    let mut adopted: Option<(u64, Server)> = None;
    loop {
        let asked = controls.iter().map(|(_, control)| view(control, &service));
        let views: Vec<View> = join_all(asked).await.into_iter().flatten().collect();
        if let Some((epoch, primary)) = choose(&views, hosts.len())
            && adopted.as_ref().is_none_or(|(known, server)| epoch > *known || (epoch == *known && primary != *server))
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
    let others = usize::try_from(number("num-other-sentinels")?).ok()?;
    Some(View { epoch: number("config-epoch")?, primary: Server::new(text("ip")?, port), sentinels: others + 1 })
}

/// The primary that most sentinels name, at the highest epoch.
fn choose(views: &[View], configured: usize) -> Option<(u64, Server)> {
    let sentinels = views.iter().map(|view| view.sentinels).chain([configured]).max()?;
    let epoch = views.iter().map(|view| view.epoch).max()?;
    let named = |primary: &Server| views.iter().filter(|view| view.epoch == epoch && view.primary == *primary).count();
    let primary = views.iter().map(|view| &view.primary).find(|primary| 2 * named(primary) > sentinels)?;
    Some((epoch, primary.clone()))
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
        View { epoch, primary: Server::new("h", port), sentinels: 3 }
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
}
