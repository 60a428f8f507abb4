//! What a connection does because time passes: pings, the end of its token, leaving a front that stops, being away.

use super::Session;
use crate::auth::now_s;
use crate::close::CloseReason;
use crate::frame::reply;
use crate::relay::room::MemberId;
use std::time::Duration;
use tokio::time::Instant;

/// How late the end of a token may be noticed at most, whatever the clocks do.
const EXPIRY_CHECK: Duration = Duration::from_secs(600);
/// The part of the ping interval over which pings are spread: whoever came at once should not be pinged at once.
const PING_SPREAD: f64 = 0.2;

impl Session {
    /// Does what is due, and sees to it that somebody wakes this connection when something is due next.
    pub(super) fn look_at_the_clock(&mut self) -> Option<CloseReason> {
        let now = Instant::now();
        if self.leaves_at.is_some_and(|at| at <= now) && !self.is_leaving {
            self.is_leaving = true;
            self.conn.reply(reply::closing_frame(self.app.drain.return_after()));
        }
        self.slow_until = self.slow_until.filter(|until| *until > now);
        let mut next = self.next_check();
        if next <= Instant::now() {
            if let Some(reason) = self.check_times() {
                return Some(reason);
            }
            next = self.next_check();
        }
        self.wakes_at = self.wakes_at.filter(|at| *at > now);
        // Whoever is woken too early looks again; most checks move on before they come.
        if self.wakes_at.is_none_or(|at| next < at) {
            self.wakes_at = Some(self.app.wheel.wake(&self.conn, next));
        }
        None
    }

    /// A command came, and no mere sign of life.
    pub(super) fn is_busy(&mut self) {
        self.last_command = Instant::now();
        if self.is_away {
            self.set_away(false);
        }
    }

    /// When something may have to be done although nobody says a word.
    fn next_check(&self) -> Instant {
        let leaves_at = self.leaves_at.filter(|_| !self.is_leaving);
        [leaves_at, self.away_at(), self.slow_until].into_iter().flatten().fold(self.next_sign_of_life(), Instant::min)
    }

    fn next_sign_of_life(&self) -> Instant {
        let Some(identity) = &self.identity else { return self.connect_by };
        let life = match self.pinged_at {
            Some(at) => at + self.app.settings.pong_timeout(),
            None => self.last_heard + self.ping_after(),
        };
        let remaining = identity.remaining();
        let until_told = self.expiring().map_or(remaining, |before| remaining.saturating_sub(before));
        life.min(Instant::now() + until_told.min(EXPIRY_CHECK))
    }

    /// How long before the end of its token this connection is still to be told of it. Not before its first answer.
    fn expiring(&self) -> Option<Duration> {
        self.app.settings.auth.auth_expiring().filter(|_| !self.is_expiring && !self.barrier)
    }

    /// The silence after which this connection is pinged: never longer than what clients are told.
    fn ping_after(&self) -> Duration {
        self.app.settings.ping_interval().mul_f64(1.0 - PING_SPREAD * place(self.member))
    }

    /// When the user counts as away, if nothing comes until then.
    fn away_at(&self) -> Option<Instant> {
        let after = self.app.settings.away_after().filter(|_| !self.is_away && self.identity.is_some())?;
        self.conn.hears_commands().then(|| self.last_command + after)
    }

    fn set_away(&mut self, is_away: bool) {
        self.is_away = is_away;
        for room in self.rooms.iter() {
            self.app.hub.presence_away(room, self.member, is_away);
        }
    }

    fn check_times(&mut self) -> Option<CloseReason> {
        let Some(identity) = &self.identity else {
            return (Instant::now() >= self.connect_by).then_some(CloseReason::AuthRequired);
        };
        if identity.expires_s <= now_s() {
            return Some(CloseReason::AuthExpired);
        }
        let remaining = identity.remaining();
        if self.expiring().is_some_and(|before| remaining <= before) {
            self.is_expiring = true;
            self.conn.reply(reply::expiring_frame(remaining));
        }
        let now = Instant::now();
        if self.away_at().is_some_and(|at| at <= now) {
            self.set_away(true);
        }
        match self.pinged_at {
            Some(at) if now >= at + self.app.settings.pong_timeout() => return Some(CloseReason::PingTimeout),
            None if now >= self.last_heard + self.ping_after() => {
                self.pinged_at = Some(now);
                self.conn.ping();
            }
            Some(_) | None => {}
        }
        None
    }
}

/// A place from 0 to 1 for each connection. Their numbers follow one another; multiples of the golden ratio fill the
/// interval evenly however many there are (Knuth, The Art of Computer Programming 3, 6.4), without chance or memory.
pub(super) fn place(member: MemberId) -> f64 {
    member.wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_at_once_is_not_pinged_at_once() {
        let mut tenths = [0; 10];
        for member in 123_456..133_456 {
            tenths[(place(member) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (980..1_020).contains(count)), "{tenths:?}");
    }
}
