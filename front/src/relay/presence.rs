//! Who is here through this front, in one room: joins, leaves, and the beat that keeps the lease.
//!
//! All calls of a room go out in the order in which they are made here, so a repair can never bring back somebody
//! who has left.

use crate::chance;
use crate::frame::{Code, FrameError};
use crate::module_api::{Change, Here, ModuleApi, ONLINE};
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

use super::members::Members;
use super::room::MemberId;

/// Beats in the life of a lease: two may be lost.
const BEATS_PER_TTL: u32 = 3;

/// Whom to tell of a position.
type Answer = oneshot::Sender<Result<Position, FrameError>>;

/// What the room has to know of what came back.
pub(super) enum News {
    /// Somebody who joins is listed, or not.
    Joined(MemberId, Result<(), FrameError>),
    /// Somebody was taken out of the room, and the event that said so was lost.
    Kicked(MemberId),
}

/// What came back from Redis.
pub(super) enum Done {
    /// Somebody is listed, or not.
    Joined(MemberId, Result<(), FrameError>),
    /// How many of ours Redis knows, and how many there were when it was asked.
    Beaten(Result<u64, FrameError>, usize),
    /// Somebody is off the list, or has to be taken off later.
    Left(Arc<str>, Duration, Result<(), FrameError>),
    /// What others see was changed.
    Set(MemberId, Change, Answer, Result<Position, FrameError>),
    /// Somebody is away, or back.
    StatusTold(MemberId, Result<Position, FrameError>),
    /// Somebody was listed again.
    Repaired(MemberId, Option<Answer>, Result<Position, FrameError>),
}

/// Somebody who is here through this front.
struct Listed {
    here: Here,
    /// Redis did not hear of the status that it has now.
    status_untold: bool,
}

/// Who is here through this front, in one room.
pub(super) struct Presence {
    api: ModuleApi,
    room: Room,
    ttl: Duration,
    here: Members<Listed>,
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
        Presence { api, room, ttl, here: Members::default(), leaving: HashMap::new(), calls: None, beat_at }
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

    pub(super) fn join(&mut self, member: MemberId, mut here: Here) {
        let (api, room, ttl) = (self.api.clone(), self.room.clone(), self.ttl);
        if let Some(before) = self.here.get_mut(member) {
            here.private = here.private.or_else(|| before.here.private.take());
        }
        self.insert(member, here.clone());
        self.call(async move {
            let joined = api.presence_join(&room, &here, ttl).await;
            Done::Joined(member, joined.map(drop))
        });
    }

    /// Lists somebody who did not ask for it: if that fails now, a beat makes up for it.
    pub(super) fn list(&mut self, member: MemberId, here: Here) {
        self.insert(member, here.clone());
        self.call_repair(member, here, None);
    }

    fn insert(&mut self, member: MemberId, here: Here) {
        self.leaving.remove(&here.connection);
        self.here.insert(member, Listed { here, status_untold: false });
    }

    pub(super) fn leave(&mut self, member: MemberId, grace: Duration) {
        if let Some(listed) = self.here.remove(member) {
            self.call_leave(listed.here.connection, grace);
        }
    }

    /// Somebody whom Redis has taken off the list already.
    pub(super) fn forget(&mut self, member: MemberId) {
        self.here.remove(member);
    }

    pub(super) fn set(&mut self, member: MemberId, change: Change, answer: Answer) {
        let Some(Listed { here, .. }) = self.here.get(member) else {
            let _ = answer.send(Err(FrameError::new(Code::NotFound, "join the room with presence first")));
            return;
        };
        let (api, room, connection) = (self.api.clone(), self.room.clone(), here.connection.clone());
        self.call(async move {
            let set = api.presence_set(&room, &connection, None, &change).await;
            Done::Set(member, change, answer, set)
        });
    }

    /// Nothing came from a member for long, or something does again.
    pub(super) fn set_away(&mut self, member: MemberId, is_away: bool) {
        let Some(Listed { here, .. }) = self.here.get_mut(member) else { return };
        let before = here.status().map(str::to_owned);
        here.is_away = is_away;
        if here.status() != before.as_deref() {
            self.tell_status(member);
        }
    }

    fn tell_status(&mut self, member: MemberId) {
        let Some(Listed { here, status_untold }) = self.here.get_mut(member) else { return };
        *status_untold = false;
        let change = Change { data: None, status: Some(here.status().unwrap_or(ONLINE).to_owned()) };
        let (api, room, connection) = (self.api.clone(), self.room.clone(), here.connection.clone());
        self.call(async move { Done::StatusTold(member, api.presence_set(&room, &connection, None, &change).await) });
    }

    pub(super) fn beat(&mut self) {
        self.beat_at = Instant::now() + self.ttl / BEATS_PER_TTL;
        for (connection, grace) in std::mem::take(&mut self.leaving) {
            self.call_leave(connection, grace);
        }
        let untold = self.here.iter().filter(|(_, listed)| listed.status_untold);
        for member in untold.map(|(member, _)| member).collect::<Vec<_>>() {
            self.tell_status(member);
        }
        let (api, room, ttl, expected) = (self.api.clone(), self.room.clone(), self.ttl, self.here.len());
        if expected > 0 {
            self.call(async move { Done::Beaten(api.presence_beat(&room, ttl).await, expected) });
        }
    }

    /// Takes in what came back; says what the room has to know of it.
    pub(super) fn done(&mut self, done: Done) -> Option<News> {
        match done {
            Done::Joined(member, joined) => {
                match &joined {
                    Ok(()) => {}
                    Err(error) if error.code == Code::Kicked => self.forget(member),
                    // It may have happened all the same.
                    Err(_) => self.leave(member, Duration::ZERO),
                }
                return Some(News::Joined(member, joined));
            }
            Done::Beaten(Ok(known), expected) if known < expected as u64 => self.repair(known),
            // Redis is away: the next beat comes, and finds out what is left.
            Done::Beaten(..) => {}
            Done::Left(connection, grace, Err(error)) if error.code.retry() => {
                self.leaving.insert(connection, grace);
            }
            Done::Left(connection, _, Err(error)) => tracing::warn!(%connection, %error, "presence did not end"),
            Done::Left(_, _, Ok(())) => {}
            Done::Set(member, change, answer, set) => self.has_set(member, change, answer, set),
            Done::StatusTold(member, told) => {
                if let Some(listed) = self.here.get_mut(member) {
                    // If its lease has ended, it will be listed anew with the status that it has.
                    listed.status_untold = told.is_err_and(|error| error.code.retry());
                }
            }
            Done::Repaired(member, answer, joined) => return self.has_repaired(member, answer, joined),
        }
        None
    }

    fn has_repaired(
        &mut self,
        member: MemberId,
        answer: Option<Answer>,
        joined: Result<Position, FrameError>,
    ) -> Option<News> {
        let kicked = matches!(&joined, Err(error) if error.code == Code::Kicked);
        if let Some(answer) = answer {
            let _ = answer.send(joined);
        } else if let Err(error) = joined {
            tracing::debug!(%error, "presence not repaired; the next beat tries again");
        }
        if !kicked {
            return None;
        }
        self.forget(member);
        Some(News::Kicked(member))
    }

    fn has_set(&mut self, member: MemberId, change: Change, answer: Answer, set: Result<Position, FrameError>) {
        let lost = matches!(&set, Err(error) if error.code == Code::NotFound);
        let Some(Listed { here, .. }) = self.here.get_mut(member).filter(|_| lost || set.is_ok()) else {
            let _ = answer.send(set);
            return;
        };
        if let Some(patch) = &change.data
            && let Ok(merged) = json::merge_patch(&here.data, patch)
        {
            here.data = merged;
        }
        if let Some(status) = change.status {
            here.chosen = Some(status);
        }
        if lost {
            // The lease had ended: listing anew with what is new comes to the same.
            let here = here.clone();
            self.call_repair(member, here, Some(answer));
        } else {
            let _ = answer.send(set);
        }
    }

    fn repair(&mut self, known: u64) {
        tracing::info!(room = %self.room, known, ours = self.here.len(), "redis lost presence; listing ours again");
        let all: Vec<_> = self.here.iter().map(|(member, listed)| (member, listed.here.clone())).collect();
        for (member, here) in all {
            self.call_repair(member, here, None);
        }
    }

    fn call_repair(&mut self, member: MemberId, here: Here, answer: Option<Answer>) {
        let (api, room, ttl) = (self.api.clone(), self.room.clone(), self.ttl);
        self.call(async move { Done::Repaired(member, answer, api.presence_join(&room, &here, ttl).await) });
    }

    fn call_leave(&mut self, connection: Arc<str>, grace: Duration) {
        let (api, room) = (self.api.clone(), self.room.clone());
        self.call(async move {
            let left = api.presence_leave(&room, &connection, grace).await;
            Done::Left(connection, grace, left)
        });
    }
}
