//! Subscriptions are reconciled, not fired: there is what rooms want, and what the server confirmed on the present
//! connection, and a loop that makes them equal. A new connection starts from nothing.
//!
//! Subscriptions go out many at a time, one command for each channel: an answer then says of one channel that events
//! flow, whichever server of a cluster holds it.

use super::client::command;
use super::watchdog::Pulse;
use bytes::Bytes;
use fred::prelude::{Client, ClientLike, EventInterface, PubsubInterface};
use fred::types::{Message, Value};
use futures_util::future::join_all;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How often the loop looks even if nobody calls it: the longest that a lost confirmation can matter.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a subscription that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Subscriptions that are under way at once, in number: the server answers so many in a millisecond, and who comes next
/// waits for no more than that.
const UNDER_WAY_MAX: usize = 256;

/// Who hears of a channel. None of these may wait.
pub trait Listener: Send + Sync {
    /// The server confirmed the subscription.
    fn subscribed(&self);
    /// The connection is a new one; the subscription is not confirmed on it yet.
    fn unsubscribed(&self);
    /// An event came.
    fn event(&self, bytes: Bytes);
    /// Events may have been lost.
    fn lagged(&self);
}

struct Entry {
    listener: Arc<dyn Listener>,
    /// Tells this wish from earlier ones for the same channel, whose answers may still come.
    number: u64,
    confirmed: bool,
}

#[derive(Default)]
struct Table {
    wanted: HashMap<Arc<str>, Entry>,
    /// Wanted and perhaps not confirmed: what the loop looks at, first come first served. Somebody waits for each.
    missing: VecDeque<Arc<str>>,
    /// Confirmed once and no longer wanted.
    surplus: Vec<Arc<str>>,
    /// Counts connections.
    connection: u64,
    /// Counts wishes.
    wishes: u64,
}

/// A subscription to be made: for which wish, on which connection.
struct Request {
    channel: Arc<str>,
    number: u64,
    connection: u64,
}

/// The subscriptions of one server.
#[derive(Default)]
pub struct Subscriptions {
    table: Mutex<Table>,
    changed: Notify,
    pulse: Arc<Pulse>,
}

impl Subscriptions {
    /// None yet; what the server answers is noted.
    pub(super) fn new(pulse: &Arc<Pulse>) -> Self {
        Subscriptions { pulse: pulse.clone(), ..Subscriptions::default() }
    }

    /// Wants a channel.
    pub fn want(&self, channel: &str, listener: Arc<dyn Listener>) {
        let channel: Arc<str> = channel.into();
        let mut table = self.lock();
        table.wishes += 1;
        let number = table.wishes;
        table.wanted.insert(channel.clone(), Entry { listener, number, confirmed: false });
        table.missing.push_back(channel);
        drop(table);
        self.changed.notify_one();
    }

    /// Wants it no longer.
    pub fn drop(&self, channel: &str) {
        let mut table = self.lock();
        if let Some((channel, entry)) = table.wanted.remove_entry(channel)
            && entry.confirmed
        {
            table.surplus.push(channel);
        }
        drop(table);
        self.changed.notify_one();
    }

    /// Gives up the channels that `is_gone` names, and hands out who wanted them.
    pub(super) fn give_up(&self, is_gone: impl Fn(&str) -> bool) -> Vec<(Arc<str>, Arc<dyn Listener>)> {
        let mut table = self.lock();
        let gone: Vec<_> = table.wanted.extract_if(|channel, _| is_gone(channel)).collect();
        let confirmed = gone.iter().filter(|(_, entry)| entry.confirmed).map(|(channel, _)| channel.clone());
        table.surplus.extend(confirmed);
        drop(table);
        self.changed.notify_one();
        gone.into_iter().map(|(channel, entry)| (channel, entry.listener)).collect()
    }

    /// Hands what arrives to the listeners.
    pub(super) async fn relay(self: Arc<Self>, mut messages: Receiver<Message>) {
        loop {
            match messages.recv().await {
                Ok(message) => self.hand_over(message),
                Err(RecvError::Lagged(count)) => {
                    tracing::warn!(count, "events came faster than they were relayed; repairing every room");
                    self.for_each(|entry| entry.listener.lagged());
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn hand_over(&self, message: Message) {
        let listener = self.lock().wanted.get(&*message.channel).map(|entry| entry.listener.clone());
        let bytes = match message.value {
            Value::Bytes(bytes) => bytes,
            Value::String(text) => text.into_inner(),
            _ => return,
        };
        if let Some(listener) = listener {
            listener.event(bytes);
        }
    }

    /// Makes what is confirmed equal to what is wanted, for ever.
    pub(super) async fn reconcile(self: Arc<Self>, client: Client) {
        let mut reconnections = client.reconnect_rx();
        loop {
            tokio::select! {
                // Lagged means that there were several: the same to us.
                new = reconnections.recv() => match new {
                    Ok(_) | Err(RecvError::Lagged(_)) => self.start_over(),
                    Err(RecvError::Closed) => return,
                },
                () = self.changed.notified() => {}
                () = tokio::time::sleep(RECONCILE_INTERVAL) => {
                    // A server that hands a room to another one drops its subscriptions, and the library does not say so.
                    let confirmed = self.confirmed();
                    if held(&client).await.is_some_and(|held| held < confirmed) && self.confirmed() == confirmed {
                        tracing::info!("the server has dropped subscriptions; making them anew");
                        self.start_over();
                    }
                }
            }
            while reconnections.is_empty() {
                // First what is surplus: somebody may want it again.
                for channels in self.take_surplus().chunks(UNDER_WAY_MAX) {
                    // Confirmations come out of band; at worst events arrive that nobody wants.
                    join_all(channels.iter().map(|channel| client.sunsubscribe(&**channel))).await;
                }
                let requests = self.take_missing(UNDER_WAY_MAX);
                if requests.is_empty() {
                    break;
                }
                let answers = join_all(requests.into_iter().map(|request| self.subscribe(&client, request))).await;
                if answers.contains(&false) {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Subscribes to a channel and tells whoever wants it; says whether the server answered that it is done.
    async fn subscribe(&self, client: &Client, request: Request) -> bool {
        if let Err(error) = client.ssubscribe(&*request.channel).await {
            tracing::debug!(error = error.details(), "subscription failed; trying again");
            self.lock().missing.push_back(request.channel);
            return false;
        }
        self.pulse.note();
        if let Some(listener) = self.confirm(request) {
            listener.subscribed();
        }
        true
    }

    /// Takes in that the server confirmed a subscription; says who has to hear of it.
    fn confirm(&self, request: Request) -> Option<Arc<dyn Listener>> {
        let mut table = self.lock();
        if table.connection != request.connection {
            return None;
        }
        let Some(entry) = table.wanted.get_mut(&request.channel) else {
            table.surplus.push(request.channel);
            return None;
        };
        // A later wish has a request of its own: this channel may have been given up in between.
        if entry.number != request.number || entry.confirmed {
            return None;
        }
        entry.confirmed = true;
        Some(entry.listener.clone())
    }

    /// How many subscriptions the server has confirmed and nobody has given up.
    fn confirmed(&self) -> usize {
        self.lock().wanted.values().filter(|entry| entry.confirmed).count()
    }

    fn take_surplus(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.lock().surplus)
    }

    /// Up to `count` subscriptions that somebody waits for, in the order in which they were wanted.
    fn take_missing(&self, count: usize) -> Vec<Request> {
        let mut table = self.lock();
        let mut requests = Vec::new();
        while requests.len() < count
            && let Some(channel) = table.missing.pop_front()
        {
            if let Some(Entry { number, confirmed: false, .. }) = table.wanted.get(&channel) {
                requests.push(Request { number: *number, connection: table.connection, channel });
            }
        }
        requests
    }

    fn start_over(&self) {
        let mut table = self.lock();
        table.connection += 1;
        table.surplus.clear();
        table.missing = table.wanted.keys().cloned().collect();
        for entry in table.wanted.values_mut() {
            entry.confirmed = false;
        }
        drop(table);
        self.for_each(|entry| entry.listener.unsubscribed());
    }

    fn for_each(&self, tell: impl Fn(&Entry)) {
        self.lock().wanted.values().for_each(tell);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many sharded subscriptions the server counts on this connection, if it says so.
async fn held(client: &Client) -> Option<usize> {
    let info: String = client.custom(command("CLIENT"), vec!["INFO"]).await.ok()?;
    info.split_whitespace().find_map(|field| field.strip_prefix("ssub=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;
    impl Listener for Nobody {
        fn subscribed(&self) {}
        fn unsubscribed(&self) {}
        fn event(&self, _: Bytes) {}
        fn lagged(&self) {}
    }

    fn taken(subscriptions: &Subscriptions, count: usize) -> Vec<Request> {
        subscriptions.take_missing(count)
    }
    fn names(requests: &[Request]) -> Vec<&str> {
        requests.iter().map(|request| &*request.channel).collect()
    }

    #[test]
    fn who_came_first_is_subscribed_first_however_many_follow() {
        let subscriptions = Subscriptions::default();
        subscriptions.want("a", Arc::new(Nobody));
        subscriptions.want("b", Arc::new(Nobody));
        assert_eq!(names(&taken(&subscriptions, 1)), ["a"]);
        subscriptions.want("c", Arc::new(Nobody));
        assert_eq!(names(&taken(&subscriptions, 9)), ["b", "c"]);
        assert!(taken(&subscriptions, 9).is_empty());
    }

    #[test]
    fn an_answer_confirms_the_wish_that_it_answers_and_no_later_one() {
        let subscriptions = Subscriptions::default();
        subscriptions.want("a", Arc::new(Nobody));
        let first = taken(&subscriptions, 1).remove(0);
        subscriptions.drop("a");
        subscriptions.want("a", Arc::new(Nobody));
        let second = taken(&subscriptions, 1).remove(0);
        assert!(subscriptions.confirm(first).is_none(), "the channel was given up after that");
        assert!(subscriptions.confirm(second).is_some());
        assert!(subscriptions.take_surplus().is_empty());
    }

    #[test]
    fn what_nobody_wants_when_it_is_confirmed_is_given_up_once() {
        let subscriptions = Subscriptions::default();
        subscriptions.want("a", Arc::new(Nobody));
        let request = taken(&subscriptions, 1).remove(0);
        subscriptions.drop("a");
        assert!(subscriptions.take_surplus().is_empty(), "nothing is known to be subscribed");
        assert!(subscriptions.confirm(request).is_none());
        assert_eq!(subscriptions.take_surplus(), ["a".into()]);
    }

    #[test]
    fn a_new_connection_starts_from_nothing() {
        let subscriptions = Subscriptions::default();
        subscriptions.want("a", Arc::new(Nobody));
        let before = taken(&subscriptions, 1).remove(0);
        subscriptions.start_over();
        assert!(subscriptions.confirm(before).is_none());
        assert!(subscriptions.confirm(taken(&subscriptions, 1).remove(0)).is_some());
    }
}
