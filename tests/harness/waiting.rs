//! Waiting with a deadline, and saying how long when it was in vain.

use std::time::{Duration, Instant};

/// How long a story waits for what ought to happen at once. Generous: a loaded machine is not a fault.
pub const SOON: Duration = Duration::from_secs(10);

/// The pause between two looks.
pub const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` gives something or the deadline passes.
pub fn poll<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if started.elapsed() > within {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// As [`poll`], for stories that run fronts in their own runtime.
pub async fn poll_async<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if started.elapsed() > within {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Panics unless the condition becomes true within ten seconds, or within what `within` says.
///
/// ```ignore
/// assert_eventually!(redis.call(&["GET", "a"]).text() == "1");
/// assert_eventually!(within Duration::from_secs(2), people.is_empty(), "still here: {people:?}");
/// ```
#[macro_export]
macro_rules! assert_eventually {
    (within $within:expr, $condition:expr $(,)?) => {
        $crate::assert_eventually!(within $within, $condition, "{}", stringify!($condition))
    };
    (within $within:expr, $condition:expr, $($message:tt)+) => {{
        let within: std::time::Duration = $within;
        if $crate::waiting::poll(within, || $condition.then_some(())).is_none() {
            panic!("not within {within:?}: {}", format!($($message)+));
        }
    }};
    ($condition:expr $(,)?) => {
        $crate::assert_eventually!(within $crate::waiting::SOON, $condition)
    };
    ($condition:expr, $($message:tt)+) => {
        $crate::assert_eventually!(within $crate::waiting::SOON, $condition, $($message)+)
    };
}
