//! When connections have to look at the clock: one timing wheel for all of them.
//!
//! A connection that is silent needs to be woken for its ping, for the end of its token, or because it never said who it
//! is. None of these is exact to the millisecond, and most move on before they come (every byte postpones the ping). So a
//! connection stands in one slot of a ring; when its slot comes it looks at the clock itself and, most times, takes its
//! next place. Hashed timing wheel: Varghese and Lauck, 1987, scheme 5, without cancelling. An entry costs 8 bytes, a
//! timer of the runtime over 100.

use super::Conn;
use super::budget::Budget;
use crate::close::CloseReason;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How late somebody may be woken. All of a tick are woken at once, so it is also what others may have to wait for them.
const TICK: Duration = Duration::from_millis(20);
/// Slots of the ring: 51 s, twice the interval of pings. Who wants to wait longer is woken in between.
const SLOTS: u64 = 2_560;

/// The wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    started: Instant,
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    slots: Vec<Vec<Weak<Conn>>>,
    /// The tick that was carried out last.
    now: u64,
}

impl Wheel {
    /// A wheel that turns for as long as somebody holds it.
    pub(crate) fn start() -> Arc<Self> {
        let wheel = Arc::new(Wheel {
            started: Instant::now(),
            ring: Mutex::new(Ring { slots: vec![Vec::new(); SLOTS as usize], now: 0 }),
        });
        tokio::spawn(turn(Arc::downgrade(&wheel), wheel.started));
        wheel
    }

    /// Wakes a connection at `at` or a little later, or before if that is far away; says when.
    pub(crate) fn wake(&self, conn: &Arc<Conn>, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.started);
        let mut ring = self.lock();
        let tick = (since.as_millis().div_ceil(TICK.as_millis()) as u64).clamp(ring.now + 1, ring.now + SLOTS - 1);
        ring.slots[(tick % SLOTS) as usize].push(Arc::downgrade(conn));
        self.started + TICK * tick as u32
    }

    /// Wakes everybody who waits: something has changed for all.
    pub(crate) fn wake_all(&self) {
        self.everybody().iter().for_each(|conn| conn.wake());
    }

    /// Closes those for whom most waits until the budget is relieved, whenever too much waits in all.
    pub(crate) async fn relieve(&self, budget: &Budget) {
        loop {
            budget.exceeded().await;
            let mut all: Vec<_> = self.everybody().into_iter().map(|conn| (conn.queued_bytes(), conn)).collect();
            all.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
            for (bytes, conn) in all.iter().take_while(|(bytes, _)| *bytes > 0) {
                if budget.is_relieved() {
                    break;
                }
                tracing::warn!(connection = %conn.id, bytes, "too much waits for all; closing who is furthest behind");
                conn.close(CloseReason::Slow);
            }
        }
    }

    fn everybody(&self) -> Vec<Arc<Conn>> {
        self.lock().slots.iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Wakes all whose slot has come.
    fn advance(&self) {
        let until = (self.started.elapsed().as_millis() / TICK.as_millis()) as u64;
        loop {
            let mut ring = self.lock();
            if ring.now >= until {
                return;
            }
            ring.now += 1;
            let slot = ring.now % SLOTS;
            let due = std::mem::take(&mut ring.slots[slot as usize]);
            drop(ring);
            due.iter().filter_map(Weak::upgrade).for_each(|conn| conn.wake());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn turn(wheel: Weak<Wheel>, started: Instant) {
    let mut ticks = interval_at(started + TICK, TICK);
    // After a pause one turn does for all.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let Some(wheel) = wheel.upgrade() else { return };
        wheel.advance();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_woken_after_their_time_and_not_long_after() {
        let (wheel, conn) = (Wheel::start(), Conn::pulled("k1", 100, &Budget::new(usize::MAX)));
        let began = Instant::now();
        for wait_ms in [0, 1, 150, 350] {
            let at = Instant::now() + Duration::from_millis(wait_ms);
            let promised = wheel.wake(&conn, at);
            conn.changed().await;
            assert!(Instant::now() >= promised && promised >= at, "woken too early");
        }
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn who_waits_long_is_woken_in_between() {
        let (wheel, conn) = (Wheel::start(), Conn::pulled("k1", 100, &Budget::new(usize::MAX)));
        let far = Instant::now() + Duration::from_secs(3600);
        let promised = wheel.wake(&conn, far) - Instant::now();
        assert!(promised > Duration::from_secs(45) && promised < Duration::from_secs(52), "{promised:?}");
    }

    #[tokio::test]
    async fn who_is_furthest_behind_goes_when_too_much_waits_in_all() {
        let (wheel, budget) = (Wheel::start(), Budget::new(1_000));
        let conns = [300, 500, 250].map(|bytes| {
            let conn = Conn::pulled("k", usize::MAX, &budget);
            wheel.wake(&conn, Instant::now() + Duration::from_secs(20));
            conn.reply("x".repeat(bytes));
            conn
        });
        let relieved = async {
            while !budget.is_relieved() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = wheel.relieve(&budget) => {}
            () = relieved => {}
        }
        let closing = conns.each_ref().map(|conn| conn.closing());
        assert_eq!(closing, [None, Some(CloseReason::Slow), None]);
        assert_eq!(budget.bytes(), 550);
    }

    #[tokio::test]
    async fn the_wheel_keeps_nobody_alive() {
        let (wheel, conn) = (Wheel::start(), Conn::pulled("k1", 100, &Budget::new(usize::MAX)));
        wheel.wake(&conn, Instant::now() + Duration::from_secs(20));
        assert_eq!(Arc::strong_count(&conn), 1);
    }
}
