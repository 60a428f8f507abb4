//! What one connection may do, and what happens to one that does not stop.

use super::clock::place;
use super::{Done, Effect, Permit, Session, calls};
use crate::close::CloseReason;
use crate::frame::{Code, Command, FrameError};
use crate::limits::{Asker, Lease, Limits, What};
use crate::serve::App;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use stoa_core::rate::Bucket;
use tokio::time::Instant;

/// Refusals, less what was allowed since, after which a connection is read slowly: whoever waits as long as a refusal
/// says gets none.
const SLOW_AFTER: u64 = 10;
/// Time for which it is not read then, at least. What it sends meanwhile stays with the sender.
const SLOW: Duration = Duration::from_millis(500);
/// By how much of it it lasts longer for some: a thousand that began at once should not all go on at once.
const SLOW_SPREAD: f64 = 1.0;

/// What the audit log calls the beginning of a connection.
const BEGIN: &str = "connection.begin";

/// The limits of one connection, and its leases. A connection that said nothing yet has no buckets.
#[derive(Default)]
pub(super) struct Quota {
    /// One for each limit of connections, in the order of the table.
    buckets: Option<Box<[Bucket]>>,
    refusals: Refusals,
    /// Held for as long as the connection lasts.
    _of_address: Option<Arc<Lease>>,
    of_user: Option<Arc<Lease>>,
}

/// Refusals, less what was allowed since. Were they forgotten with the first thing that is allowed, a flood would be read
/// at full speed again each time its limit lets one command through.
#[derive(Default)]
struct Refusals(u64);

impl Refusals {
    fn allow(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    fn refuse(&mut self) {
        self.0 += 1;
    }

    fn slows(&self) -> bool {
        self.0 > SLOW_AFTER
    }

    fn blocks(&self, strikes: u64) -> bool {
        self.0 >= strikes
    }
}

impl Quota {
    /// That of a connection which holds this lease of its address.
    pub(super) fn of(of_address: Option<Arc<Lease>>) -> Self {
        Quota { _of_address: of_address, ..Quota::default() }
    }

    /// Keeps the lease of the user for as long as the connection lasts.
    pub(super) fn keep(&mut self, of_user: Option<Arc<Lease>>) {
        self.of_user = of_user;
    }

    /// Takes a token for `counted` of every limit that counts it, or of none.
    fn take(&mut self, limits: &Limits, now_ns: u64, counted: impl Fn(&What) -> bool) -> Result<(), FrameError> {
        let buckets = self.buckets.get_or_insert_with(|| limits.of_connections().map(|_| Bucket::default()).collect());
        let rules = || limits.of_connections().zip(0..).filter(|(rule, _)| counted(&rule.what));
        let waits =
            rules().map(|(rule, at)| buckets.get(at).map_or(0, |bucket| bucket.wait_ms(&rule.figures.limit, now_ns)));
        match waits.max() {
            None | Some(0) => {}
            Some(wait_ms) => return Err(FrameError::rate_limited(wait_ms)),
        }
        for (rule, at) in rules() {
            if let Some(bucket) = buckets.get_mut(at) {
                bucket.take(&rule.figures.limit, now_ns);
            }
        }
        Ok(())
    }
}

impl Session {
    /// Counts a frame, before anything is known of it.
    pub(super) fn may_speak(&mut self) -> Result<(), FrameError> {
        if let Some(ms) = self.quota.of_user.as_ref().and_then(|lease| lease.blocked_ms()) {
            return Err(FrameError::rate_limited(ms));
        }
        self.quota.take(&self.app.limits, now_ns(&self.app), |what| *what == What::All)
    }

    /// Counts a command.
    pub(super) fn may(&mut self, command: &'static str) -> Result<(), FrameError> {
        let counted = |what: &What| *what != What::All && what.counts(command);
        self.quota.take(&self.app.limits, now_ns(&self.app), counted)
    }

    /// Whether the user may have this connection; `None` if nobody asks.
    pub(super) fn enter_as(&mut self, user: &Arc<str>) -> Option<Permit> {
        if !self.app.limits.asks_users() {
            return None;
        }
        let lease = self.app.limits.lease_of_user(user);
        self.quota.keep(lease.clone());
        let (limits, user) = (self.app.limits.clone(), user.clone());
        Some(Box::pin(async move { limits.enter_as(&user, lease).await }))
    }

    /// Goes on once the user may have this connection.
    pub(super) fn once_entered(
        &self,
        id: Option<u64>,
        entry: Option<Permit>,
        next: BoxFuture<'static, Done>,
    ) -> BoxFuture<'static, Done> {
        let (audit, who) = (self.app.audit.clone(), self.who());
        let Some(entry) = entry else {
            audit.connection(|| who, BEGIN, "OK");
            return next;
        };
        Box::pin(async move {
            let entry = entry.await;
            audit.connection(|| who, BEGIN, entry.as_ref().map_or_else(|error| error.code.as_str(), |()| "OK"));
            match entry {
                Ok(()) => next.await,
                Err(error) => Done { id, result: Err(error), effect: Effect::Close(CloseReason::RateLimited) },
            }
        })
    }

    /// What Redis has to be asked before a command is carried out; `None` if nothing.
    pub(super) fn permit(&self, command: &Command) -> Option<Permit> {
        let user = self.identity.as_ref()?.user.clone();
        let asker = Asker { user, address: self.address.clone(), has_connection: true };
        let permit = self.app.limits.permit(&asker, room_of(command), command.name())?;
        Some(Box::pin(permit))
    }

    /// Counts refusals. Whoever goes on all the same is blocked, at all fronts, and this connection ends.
    pub(super) fn strike(&mut self, done: &Done) -> Option<CloseReason> {
        let is_limited = done.result.as_ref().is_err_and(|error| error.code == Code::RateLimited);
        if !is_limited {
            // What was refused for another reason is neither.
            if done.result.is_ok() {
                self.quota.refusals.allow();
            }
            return None;
        }
        self.app.metrics.limited.add(1);
        self.quota.refusals.refuse();
        if self.quota.refusals.slows() {
            self.slow_until = Some(Instant::now() + SLOW.mul_f64(1.0 + SLOW_SPREAD * place(self.member)));
        }
        let strikes = self.app.limits.settings().strikes()?;
        if !self.quota.refusals.blocks(strikes) {
            return None;
        }
        if let Some(identity) = &self.identity {
            let (limits, user) = (self.app.limits.clone(), identity.user.clone());
            tokio::spawn(async move { limits.block_user(&user).await });
        }
        Some(CloseReason::RateLimited)
    }
}

/// The room that a command is about, as it names it.
pub(crate) fn room_of(command: &Command) -> Option<&str> {
    match command {
        Command::RoomJoin(it) => Some(&it.room),
        Command::RoomLeave(it) => Some(&it.room),
        Command::DocOpen(it) => Some(&it.room),
        Command::DocClose(it) => Some(&it.room),
        command => calls::access(command).map(|(room, _)| room),
    }
}

/// A clock that does not step back.
fn now_ns(app: &App) -> u64 {
    Instant::now().saturating_duration_since(app.began).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_stays_slow_although_its_limit_lets_something_through() {
        let mut refusals = Refusals::default();
        (0..2 * SLOW_AFTER).for_each(|_| refusals.refuse());
        refusals.allow();
        assert!(refusals.slows());
        assert!(!refusals.blocks(2 * SLOW_AFTER));
        refusals.refuse();
        assert!(refusals.blocks(2 * SLOW_AFTER));
    }

    #[test]
    fn what_was_refused_is_forgiven_by_what_is_allowed() {
        let mut refusals = Refusals::default();
        (0..2 * SLOW_AFTER).for_each(|_| refusals.refuse());
        (0..SLOW_AFTER).for_each(|_| refusals.allow());
        assert!(!refusals.slows());
        (0..2 * SLOW_AFTER).for_each(|_| refusals.allow());
        assert_eq!(refusals.0, 0);
    }
}
