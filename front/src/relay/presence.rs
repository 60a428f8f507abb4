//! Who is here through this front, in one room: joins, leaves, and the beat that keeps the lease.
//!
//! All calls of a room go out in the order in which they are made here, so a repair can never bring back somebody
//! who has left.

use crate::chance;
use crate::frame::{Code, FrameError};
use crate::module_api::{Here, ModuleApi};
use crate::names::Room;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use stoa_core::epoch::Position;
use stoa_core::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::room::MemberId;

/// Beats in the life of a lease: two may be lost.
const BEATS_PER_TTL: u32 = 3;

/// What came back from Redis.
pub(super) enum Done {
    /// Somebody is listed, or not.
    Joined(MemberId, Result<(), FrameError>),
    /// How many of ours Redis knows, and how many there were when it was asked.
    Beaten(Result<u64, FrameError>, usize),
    /// Somebody is off the list, or has to be taken off later.
    Left(Arc<str>, Duration, Result<(), FrameError>),
    /// Data was changed.
    Set(MemberId, String, oneshot::Sender<Result<Position, FrameError>>, Result<Position, FrameError>),
    /// Somebody was listed again.
    Repaired(Option<oneshot::Sender<Result<Position, FrameError>>>, Result<Position, FrameError>),
}

/// Who is here through this front, in one room.
pub(super) struct Presence {
    api: ModuleApi,
    room: Room,
    ttl: Duration,
    here: HashMap<MemberId, Here>,
    /// Leaves that Redis has not heard yet: without them a beat would keep the departed here.
    leaving: HashMap<Arc<str>, Duration>,
    /// Only while there are any.
    calls: Option<FuturesUnordered<BoxFuture<'static, Done>>>,
    beat_at: Instant,
}

impl Presence {
    pub(super) fn new(api: ModuleApi, room: Room, ttl: Duration) -> Self {
        // Spread, so that the rooms of a front do not all beat at once.
        let beat_at = Instant::now() + chance::jitter(ttl / BEATS_PER_TTL);
        Presence { api, room, ttl, here: HashMap::new(), leaving: HashMap::new(), calls: None, beat_at }
    }

    /// When the next beat is due, if there is anybody to keep.
    pub(super) fn next_beat(&self) -> Option<Instant> {
        (!self.here.is_empty() || !self.leaving.is_empty()).then_some(self.beat_at)
    }

    /// The next thing that came back; `None` once there are no calls.
    pub(super) async fn next_done(&mut self) -> Option<Done> {
        let calls = self.calls.as_mut()?;
        let done = calls.next().await;
        if calls.is_empty() {
            self.calls = None;
        }
        done
    }

    fn call(&mut self, call: impl Future<Output = Done> + Send + 'static) {
        self.calls.get_or_insert_default().push(Box::pin(call));
    }

    pub(super) fn join(&mut self, member: MemberId, here: Here) {
        let (api, room, ttl) = (self.api.clone(), self.room.clone(), self.ttl);
        self.leaving.remove(&here.connection);
        self.here.insert(member, here.clone());
        self.call(async move {
            let joined = api.presence_join(&room, &here, ttl).await;
            Done::Joined(member, joined.map(drop))
        });
    }

    pub(super) fn leave(&mut self, member: MemberId, grace: Duration) {
        if let Some(here) = self.here.remove(&member) {
            self.call_leave(here.connection, grace);
        }
    }

    pub(super) fn set(
        &mut self,
        member: MemberId,
        patch: String,
        answer: oneshot::Sender<Result<Position, FrameError>>,
    ) {
        let Some(here) = self.here.get(&member) else {
            let _ = answer.send(Err(FrameError::new(Code::NotFound, "join the room with presence first")));
            return;
        };
        let (api, room, connection) = (self.api.clone(), self.room.clone(), here.connection.clone());
        self.call(async move {
            let set = api.presence_set(&room, &connection, None, &patch).await;
            Done::Set(member, patch, answer, set)
        });
    }

    pub(super) fn beat(&mut self) {
        self.beat_at = Instant::now() + self.ttl / BEATS_PER_TTL;
        for (connection, grace) in std::mem::take(&mut self.leaving) {
            self.call_leave(connection, grace);
        }
        let (api, room, ttl, expected) = (self.api.clone(), self.room.clone(), self.ttl, self.here.len());
        if expected > 0 {
            self.call(async move { Done::Beaten(api.presence_beat(&room, ttl).await, expected) });
        }
    }

    /// Takes in what came back; returns the outcome of a join, if it was one.
    pub(super) fn done(&mut self, done: Done) -> Option<(MemberId, Result<(), FrameError>)> {
        match done {
            Done::Joined(member, joined) => {
                if joined.is_err() {
                    // It may have happened all the same.
                    self.leave(member, Duration::ZERO);
                }
                return Some((member, joined));
            }
            Done::Beaten(Ok(known), expected) if known < expected as u64 => self.repair(known),
            // Redis is away: the next beat comes, and finds out what is left.
            Done::Beaten(..) => {}
            Done::Left(connection, grace, Err(error)) if error.code.retry() => {
                self.leaving.insert(connection, grace);
            }
            Done::Left(connection, _, Err(error)) => tracing::warn!(%connection, %error, "presence did not end"),
            Done::Left(_, _, Ok(())) => {}
            Done::Set(member, patch, answer, set) => self.has_set(member, &patch, answer, set),
            Done::Repaired(answer, joined) => {
                if let Some(answer) = answer {
                    let _ = answer.send(joined);
                } else if let Err(error) = joined {
                    tracing::debug!(%error, "presence not repaired; the next beat tries again");
                }
            }
        }
        None
    }

    fn has_set(
        &mut self,
        member: MemberId,
        patch: &str,
        answer: oneshot::Sender<Result<Position, FrameError>>,
        set: Result<Position, FrameError>,
    ) {
        let lost = matches!(&set, Err(error) if error.code == Code::NotFound);
        let Some(here) = self.here.get_mut(&member).filter(|_| lost || set.is_ok()) else {
            let _ = answer.send(set);
            return;
        };
        if let Ok(merged) = json::merge_patch(&here.data, patch) {
            here.data = merged;
        }
        if lost {
            // The lease had ended: listing anew with the new data comes to the same.
            let here = here.clone();
            self.call_repair(here, Some(answer));
        } else {
            let _ = answer.send(set);
        }
    }

    fn repair(&mut self, known: u64) {
        tracing::info!(room = %self.room, known, ours = self.here.len(), "redis lost presence; listing ours again");
        let all: Vec<Here> = self.here.values().cloned().collect();
        for here in all {
            self.call_repair(here, None);
        }
    }

    fn call_repair(&mut self, here: Here, answer: Option<oneshot::Sender<Result<Position, FrameError>>>) {
        let (api, room, ttl) = (self.api.clone(), self.room.clone(), self.ttl);
        self.call(async move { Done::Repaired(answer, api.presence_join(&room, &here, ttl).await) });
    }

    fn call_leave(&mut self, connection: Arc<str>, grace: Duration) {
        let (api, room) = (self.api.clone(), self.room.clone());
        self.call(async move {
            let left = api.presence_leave(&room, &connection, grace).await;
            Done::Left(connection, grace, left)
        });
    }
}
