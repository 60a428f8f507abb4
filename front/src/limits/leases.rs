//! Leases of connections: how many a user or an address has, counted for all fronts together.
//!
//! Each connection has leases of its own, which end by themselves unless this front takes them anew. So nothing has to
//! be counted down, and a front that dies gives back what it held. One task takes them anew and gives them back; dropping
//! a lease only leaves a note.

use crate::chance;
use crate::frame::FrameError;
use crate::module_api::ModuleApi;
use crate::names::Room;
use futures_util::stream::{self, StreamExt};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// A lease is taken anew so often before it ends: two attempts may fail.
const BEATS_PER_LEASE: u32 = 3;
/// Commands of a beat under way at once, in number: they must not stand in the way of people's.
const WINDOW: usize = 64;
/// Time for the leases to be given back when the front stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The leases that this front holds.
pub(crate) struct Leases {
    api: ModuleApi,
    ttl: Duration,
    held: Mutex<Vec<Weak<Lease>>>,
    /// Unbounded, but never more than the connections that end.
    notes: mpsc::UnboundedSender<Note>,
    began: Instant,
}

enum Note {
    GiveBack(Room, String),
    /// Answered when all before it is done.
    Flush(oneshot::Sender<()>),
}

/// The lease of one connection. Dropping it gives it back.
pub(crate) struct Lease {
    leases: Arc<Leases>,
    home: Room,
    holder: String,
    /// How many there may be; `None` for any number, of which nobody keeps count.
    max: Option<u64>,
    /// The limit whose block ends what the holder may do.
    blocked_by: Option<String>,
    /// Until when it is blocked, in milliseconds since the leases began; 0 if it is not.
    blocked_until_ms: AtomicU64,
}

impl Leases {
    pub(super) fn start(api: ModuleApi, ttl: Duration) -> Arc<Self> {
        let (notes, read) = mpsc::unbounded_channel();
        let leases = Arc::new(Leases { api: api.clone(), ttl, held: Mutex::default(), notes, began: Instant::now() });
        tokio::spawn(beat(Arc::downgrade(&leases), ttl / BEATS_PER_LEASE));
        tokio::spawn(give_back(api, read));
        leases
    }

    /// A lease that nobody holds yet. `blocked_by` is the limit of `home` whose block counts for the holder.
    pub(super) fn lease(self: &Arc<Self>, home: Room, blocked_by: Option<String>, max: Option<u64>) -> Arc<Lease> {
        let blocked_until_ms = AtomicU64::new(0);
        Arc::new(Lease { leases: self.clone(), home, holder: chance::id(), max, blocked_by, blocked_until_ms })
    }

    /// Waits until what was dropped is given back.
    pub(super) async fn finish(&self) {
        let (done, is_done) = oneshot::channel();
        if self.notes.send(Note::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(FINISH_TIMEOUT, is_done).await;
        }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Lease>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leases that are still held.
    fn standing(&self) -> Vec<Arc<Lease>> {
        let mut held = self.lock();
        let standing: Vec<Arc<Lease>> = held.iter().filter_map(Weak::upgrade).collect();
        held.retain(|lease| lease.strong_count() > 0);
        standing
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, {})", self.home, self.holder)
    }
}

impl Lease {
    /// Takes the lease, and anew until it is dropped, if there is room for it; else says when, in milliseconds.
    ///
    /// If Redis cannot be asked the lease is taken as soon as it can.
    pub(super) async fn hold(self: &Arc<Self>) -> Result<Option<u64>, FrameError> {
        let held = self.take().await;
        if !matches!(held, Ok(Some(_))) {
            self.leases.lock().push(Arc::downgrade(self));
        }
        held
    }

    /// For how long its holder may do nothing, in milliseconds.
    pub(crate) fn blocked_ms(&self) -> Option<u64> {
        let until_ms = self.blocked_until_ms.load(Ordering::Relaxed);
        if until_ms == 0 {
            return None;
        }
        until_ms.checked_sub(self.leases.now_ms()).filter(|ms| *ms > 0)
    }

    async fn take(&self) -> Result<Option<u64>, FrameError> {
        let Some(max) = self.max else { return Ok(None) };
        let ttl_ms = self.leases.ttl.as_millis() as u64;
        self.leases.api.rate_hold(&self.home, &self.holder, max, ttl_ms).await
    }

    /// Takes it anew, and looks whether somebody blocked its holder.
    async fn renew(&self) {
        // One that ended and finds no room any more goes on: who is here stays here.
        if let Err(error) = self.take().await {
            tracing::debug!(home = %self.home, %error, "a lease was not taken anew");
        }
        let Some(stream) = &self.blocked_by else { return };
        if let Ok(blocked_ms) = self.leases.api.rate_blocked(&self.home, stream).await {
            let until_ms = blocked_ms.map_or(0, |ms| self.leases.now_ms() + ms);
            self.blocked_until_ms.store(until_ms, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.max.is_none() {
            return;
        }
        // One that was never held does not hurt. Without the task the runtime ends, and the lease by itself.
        let _ = self.leases.notes.send(Note::GiveBack(self.home.clone(), std::mem::take(&mut self.holder)));
    }
}

async fn beat(leases: Weak<Leases>, interval: Duration) {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let Some(leases) = leases.upgrade() else { return };
        let standing = leases.standing();
        stream::iter(standing).for_each_concurrent(WINDOW, |lease| async move { lease.renew().await }).await;
    }
}

async fn give_back(api: ModuleApi, mut notes: mpsc::UnboundedReceiver<Note>) {
    let mut pending = Vec::new();
    loop {
        if notes.recv_many(&mut pending, WINDOW).await == 0 {
            return;
        }
        let mut flushed = Vec::new();
        let drops = stream::FuturesUnordered::new();
        for note in pending.drain(..) {
            match note {
                Note::GiveBack(home, holder) => drops.push({
                    let api = &api;
                    async move {
                        // A lease that is not given back ends by itself.
                        if let Err(error) = api.rate_drop(&home, &holder).await {
                            tracing::debug!(%home, %error, "a lease was not given back");
                        }
                    }
                }),
                Note::Flush(done) => flushed.push(done),
            }
        }
        drops.for_each(|()| std::future::ready(())).await;
        flushed.into_iter().for_each(|done| _ = done.send(()));
    }
}
