//! Subscriptions are reconciled, not fired: there is what rooms want, and what the server confirmed on the present
//! connection, and a loop that makes them equal. A new connection starts from nothing.

use bytes::Bytes;
use fred::prelude::{Client, EventInterface, PubsubInterface};
use fred::types::{Message, Value};
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
}

enum Step {
    Subscribe(Arc<str>, u64),
    Unsubscribe(Arc<str>),
    Nothing,
}

/// The subscriptions of one server.
#[derive(Default)]
pub struct Subscriptions {
    table: Mutex<Table>,
    changed: Notify,
}

impl Subscriptions {
    /// Wants a channel.
    pub fn want(&self, channel: &str, listener: Arc<dyn Listener>) {
        let channel: Arc<str> = channel.into();
        let mut table = self.lock();
        table.wanted.insert(channel.clone(), Entry { listener, confirmed: false });
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
                () = tokio::time::sleep(RECONCILE_INTERVAL) => {}
            }
            while reconnections.is_empty() {
                match self.next_step() {
                    Step::Nothing => break,
                    Step::Subscribe(channel, connection) => self.subscribe(&client, &channel, connection).await,
                    Step::Unsubscribe(channel) => {
                        // Its confirmation comes out of band; at worst events arrive that nobody wants.
                        let _ = client.sunsubscribe(&*channel).await;
                    }
                }
            }
        }
    }

    async fn subscribe(&self, client: &Client, channel: &Arc<str>, connection: u64) {
        if let Err(error) = client.ssubscribe(&**channel).await {
            tracing::debug!(error = error.details(), "subscription failed; trying again");
            self.lock().missing.push_back(channel.clone());
            return tokio::time::sleep(RETRY_PAUSE).await;
        }
        let mut table = self.lock();
        if table.connection != connection {
            return;
        }
        match table.wanted.get_mut(channel) {
            Some(entry) => {
                entry.confirmed = true;
                let listener = entry.listener.clone();
                drop(table);
                listener.subscribed();
            }
            None => table.surplus.push(channel.clone()),
        }
    }

    fn next_step(&self) -> Step {
        let mut table = self.lock();
        // First what is surplus: somebody may want it again.
        if let Some(channel) = table.surplus.pop() {
            return Step::Unsubscribe(channel);
        }
        while let Some(channel) = table.missing.pop_front() {
            if table.wanted.get(&channel).is_some_and(|entry| !entry.confirmed) {
                return Step::Subscribe(channel, table.connection);
            }
        }
        Step::Nothing
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

    #[test]
    fn who_came_first_is_subscribed_first_however_many_follow() {
        let subscriptions = Subscriptions::default();
        let next = || match subscriptions.next_step() {
            Step::Subscribe(channel, _) => channel.to_string(),
            Step::Unsubscribe(_) | Step::Nothing => panic!("there is something to subscribe"),
        };
        subscriptions.want("a", Arc::new(Nobody));
        subscriptions.want("b", Arc::new(Nobody));
        assert_eq!(next(), "a");
        subscriptions.want("c", Arc::new(Nobody));
        assert_eq!([next(), next()], ["b", "c"]);
    }
}
