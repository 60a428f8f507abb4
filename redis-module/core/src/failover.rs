//! What a server has to know about being replaced by another: whether it is set up for it, and whether it may decide now.

/// How long a server may not have looked around before it counts as one that stood still, in milliseconds. Nobody is
/// replaced sooner: sentinels and the nodes of a cluster wait at least as long before they call a primary gone.
pub const STILL_MS_MAX: u64 = 1_000;

/// Longest that `min-replicas-max-lag` may be, in seconds: so long a primary that is cut off goes on accepting writes.
pub const LAG_S_MAX: u64 = 2;

/// Keeps a server from deciding right after it stood still: another may have been promoted meanwhile, and this one has not
/// heard of it yet.
///
/// The server goes round its loop many times a second. When that was not so for [`STILL_MS_MAX`], the fence closes; it
/// opens after a second's worth of loops, in which the server has counted its replicas anew: those that follow another
/// primary now are gone, and `min-replicas-to-write` refuses writes from there on. A server that never had a replica has
/// no fence, because nobody can replace it.
#[derive(Debug, Default)]
pub struct Fence {
    had_replicas: bool,
    looped_ms: Option<u64>,
    /// How many loops there were since the fence closed.
    loops: Option<u32>,
    closed: u64,
}

/// What a look at the fence finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The server decides.
    Open,
    /// The server stood still for so many milliseconds, and does not decide from now on.
    Closes(u64),
    /// The server does not decide.
    Closed,
}

impl Fence {
    /// A replica is there: from now on this server can be replaced.
    pub fn replica_came(&mut self) {
        self.had_replicas = true;
    }

    /// The server begins to serve, after loading what it holds: until now it could not look around.
    pub fn begin(&mut self, now_ms: u64) {
        self.looped_ms = Some(now_ms);
    }

    /// The server went round its loop, which it does so many times a second; `now_ms` counts from anywhere and never back.
    pub fn looped(&mut self, now_ms: u64, loops_per_second: u32) -> Look {
        let look = self.look(now_ms);
        self.looped_ms = Some(now_ms);
        // The second's worth of loops begins after the one that noticed.
        self.loops = self.loops.map(|loops| loops + 1).filter(|loops| *loops <= loops_per_second);
        look
    }

    /// Whether another could take over from this server, so that the fence can close.
    pub fn exists(&self) -> bool {
        self.had_replicas
    }

    /// Whether the server may decide now.
    pub fn look(&mut self, now_ms: u64) -> Look {
        if !self.had_replicas {
            return Look::Open;
        }
        let still_ms = self.looped_ms.map_or(0, |looped_ms| now_ms.saturating_sub(looped_ms));
        match self.loops {
            Some(_) => Look::Closed,
            None if still_ms <= STILL_MS_MAX => Look::Open,
            None => {
                self.loops = Some(0);
                self.closed += 1;
                Look::Closes(still_ms)
            }
        }
    }

    /// How often the fence has closed.
    pub fn times_closed(&self) -> u64 {
        self.closed
    }
}

/// The settings of a server that decide whether it may be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings<'a> {
    /// `min-replicas-to-write`.
    pub replicas_min: u64,
    /// `min-replicas-max-lag`.
    pub lag_s_max: u64,
    /// `appendonly`.
    pub append_only: &'a str,
    /// `maxmemory-policy`.
    pub eviction: &'a str,
}

/// What of a server's settings can lose writes when it is replaced; empty if nothing can.
pub fn dangers(settings: &Settings<'_>) -> Vec<String> {
    let Settings { replicas_min, lag_s_max, append_only, eviction } = settings;
    let mut dangers = Vec::new();
    if *replicas_min == 0 || *lag_s_max == 0 {
        let (name, value) = if *replicas_min == 0 { ("to-write", replicas_min) } else { ("max-lag", lag_s_max) };
        dangers.push(format!("min-replicas-{name} is {value}: cut off from its replicas it goes on accepting writes"));
    } else if *lag_s_max > LAG_S_MAX {
        dangers.push(format!(
            "min-replicas-max-lag is {lag_s_max}: cut off from its replicas it accepts writes for so many seconds, \
             {LAG_S_MAX} are enough"
        ));
    }
    if *append_only != "yes" {
        dangers.push(format!("appendonly is {append_only}: restarted before it is replaced it has forgotten writes"));
    }
    if *eviction != "noeviction" {
        dangers.push(format!("maxmemory-policy is {eviction}: a full server drops rooms instead of refusing writes"));
    }
    dangers
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u32 = 10;

    fn with_replicas() -> Fence {
        let mut fence = Fence::default();
        fence.begin(0);
        fence.replica_came();
        fence
    }

    #[test]
    fn a_server_that_looks_around_decides() {
        let mut fence = with_replicas();
        for now_ms in (0..60_000).step_by(100) {
            assert_eq!(fence.looped(now_ms, HZ), Look::Open);
            assert_eq!(fence.look(now_ms + STILL_MS_MAX), Look::Open);
        }
        assert_eq!(fence.times_closed(), 0);
    }

    #[test]
    fn a_server_that_stood_still_does_not_decide_until_it_has_counted_its_replicas() {
        for loop_comes_first in [false, true] {
            let mut fence = with_replicas();
            fence.looped(100, HZ);
            let now_ms = 5_100;
            if loop_comes_first {
                assert_eq!(fence.looped(now_ms, HZ), Look::Closes(5_000));
            } else {
                assert_eq!(fence.look(now_ms), Look::Closes(5_000));
                fence.looped(now_ms, HZ);
            }
            for n in 1..=u64::from(HZ) {
                assert_eq!(fence.look(now_ms + n), Look::Closed);
                fence.looped(now_ms + n * 100, HZ);
            }
            assert_eq!(fence.look(now_ms + 1_050), Look::Open);
            assert_eq!(fence.times_closed(), 1);
        }
    }

    #[test]
    fn a_server_that_stands_still_again_starts_over() {
        let mut fence = with_replicas();
        for (n, now_ms) in [5_000, 20_000, 40_000].into_iter().enumerate() {
            assert!(matches!(fence.look(now_ms), Look::Closes(_)));
            (0..=HZ).for_each(|n| _ = fence.looped(now_ms + u64::from(n) * 100, HZ));
            assert_eq!(fence.look(now_ms + 1_100), Look::Open);
            assert_eq!(fence.times_closed(), n as u64 + 1);
        }
    }

    #[test]
    fn a_server_without_replicas_has_no_fence() {
        let mut fence = Fence::default();
        fence.begin(0);
        assert_eq!(fence.look(1_000_000), Look::Open);
        assert_eq!(fence.looped(2_000_000, HZ), Look::Open);
    }

    #[test]
    fn loading_is_no_standing_still() {
        let mut fence = with_replicas();
        fence.begin(90_000);
        assert_eq!(fence.look(90_500), Look::Open);
    }

    #[test]
    fn the_settings_that_redis_conf_asks_for_are_safe_and_every_other_is_named() {
        let safe = Settings { replicas_min: 1, lag_s_max: 2, append_only: "yes", eviction: "noeviction" };
        assert!(dangers(&safe).is_empty());
        for (settings, word) in [
            (Settings { replicas_min: 0, ..safe.clone() }, "min-replicas-to-write is 0"),
            (Settings { lag_s_max: 0, ..safe.clone() }, "min-replicas-max-lag is 0"),
            (Settings { lag_s_max: 10, ..safe.clone() }, "min-replicas-max-lag is 10"),
            (Settings { append_only: "no", ..safe.clone() }, "appendonly is no"),
            (Settings { eviction: "allkeys-lru", ..safe.clone() }, "maxmemory-policy is allkeys-lru"),
        ] {
            let dangers = dangers(&settings);
            assert!(dangers.len() == 1 && dangers[0].starts_with(word), "{dangers:?}");
        }
    }
}
