//! The audit log: who did what where, and what came of it, in a stream of Redis (`--audit`).
//!
//! Nothing waits for it: what there is to write down goes into a queue with a bound, and a task adds it to the stream,
//! some hundred at once. What finds no room, or no Redis, is dropped and counted.

use crate::frame::{Command, FrameError};
use crate::limits::Class;
use crate::metrics::Metrics;
use crate::module_api::{Entry, ModuleApi};
use crate::settings::LimitSettings;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Entries that wait, in number: a second of a busy front.
const QUEUE_MAX: usize = 10_000;
/// Entries on their way to Redis at once, in number.
const BATCH_MAX: usize = 256;
/// Time for what waits to be written down when the front stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where entries go; nowhere without `--audit`.
pub(crate) struct Audit {
    queue: Option<mpsc::Sender<Item>>,
    metrics: Arc<Metrics>,
}

enum Item {
    Entry(Entry),
    /// Answered when all before it is written down.
    Flush(oneshot::Sender<()>),
}

/// Who acts, as entries say it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Who {
    pub(crate) user: Arc<str>,
    pub(crate) connection: Arc<str>,
    pub(crate) address: Arc<str>,
}

/// An entry whose result is not known yet.
pub(crate) struct Note {
    audit: Arc<Audit>,
    entry: Entry,
}

impl Audit {
    pub(crate) fn start(settings: &LimitSettings, api: ModuleApi, metrics: Arc<Metrics>) -> Arc<Self> {
        let queue = settings.audit.clone().map(|key| {
            let (queue, items) = mpsc::channel(QUEUE_MAX);
            tokio::spawn(write_down(api, key, settings.audit_entries_max, items, metrics.clone()));
            queue
        });
        Arc::new(Audit { queue, metrics })
    }

    /// An entry about a command, if it is one that is written down: those that change what others keep, and events of the
    /// application.
    pub(crate) fn note(
        self: &Arc<Self>,
        who: impl FnOnce() -> Who,
        command: &Command,
        room: Option<&str>,
    ) -> Option<Note> {
        let what = command.name();
        let is_write = matches!(Class::of(what), Some(Class::Message | Class::Edit | Class::Manage));
        let is_write = is_write || matches!(command, Command::RoomEmit(_));
        let makes = matches!(command, Command::DocOpen(open) if open.create.is_some());
        if self.queue.is_none() || !(is_write || makes) {
            return None;
        }
        // What the client wrote where a name should be is not written down at its length.
        let room = room.filter(|room| room.len() <= stoa_core::bounds::NAME_BYTES_MAX).unwrap_or_default();
        Some(Note { audit: self.clone(), entry: entry(who(), what, room, "") })
    }

    /// Writes down that a connection begins or ends.
    pub(crate) fn connection(&self, who: impl FnOnce() -> Who, what: &'static str, result: &'static str) {
        if self.queue.is_some() {
            self.add(entry(who(), what, "", result));
        }
    }

    /// Waits until what there is is written down; the last thing that a front does.
    pub(crate) async fn finish(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, is_done) = oneshot::channel();
        let flushed = async {
            if queue.send(Item::Flush(done)).await.is_ok() {
                let _ = is_done.await;
            }
        };
        let _ = tokio::time::timeout(FINISH_TIMEOUT, flushed).await;
    }

    fn add(&self, entry: Entry) {
        let dropped = self.queue.as_ref().is_some_and(|queue| queue.try_send(Item::Entry(entry)).is_err());
        self.metrics.audit_dropped.add(usize::from(dropped));
    }
}

impl Note {
    /// Writes it down with what came of it.
    pub(crate) fn end(mut self, result: &Result<String, FrameError>) {
        self.entry.result = result.as_ref().map_or_else(|error| error.code.as_str(), |_| "OK");
        self.audit.add(self.entry);
    }
}

fn entry(who: Who, what: &'static str, room: &str, result: &'static str) -> Entry {
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let Who { user, connection, address } = who;
    Entry { at_ms, user, connection, address, what, room: room.into(), result }
}

async fn write_down(
    api: ModuleApi,
    key: String,
    entries_max: u64,
    mut items: mpsc::Receiver<Item>,
    metrics: Arc<Metrics>,
) {
    let mut pending = Vec::with_capacity(BATCH_MAX);
    while items.recv_many(&mut pending, BATCH_MAX).await > 0 {
        let (adds, mut flushed) = (FuturesUnordered::new(), Vec::new());
        for item in pending.drain(..) {
            match item {
                Item::Entry(entry) => adds.push({
                    let (api, key) = (&api, &key);
                    async move { api.audit(key, entries_max, &entry).await }
                }),
                Item::Flush(done) => flushed.push(done),
            }
        }
        let failed: Vec<FrameError> = adds.filter_map(|added| std::future::ready(added.err())).collect().await;
        if let Some(error) = failed.first() {
            metrics.audit_dropped.add(failed.len());
            tracing::warn!(dropped = failed.len(), %error, "entries of the audit log are lost");
        }
        flushed.into_iter().for_each(|done| _ = done.send(()));
    }
}
