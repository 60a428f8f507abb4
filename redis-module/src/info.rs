//! What `INFO stoa` tells.

use crate::{deadlines, effects, ffi};
use std::ffi::CStr;
use std::sync::atomic::Ordering;

/// Name and value of each figure.
pub(crate) fn figures() -> [(&'static CStr, u64); 5] {
    let (waiting, probes) = deadlines::figures();
    [
        (c"events_announced", effects::announced()),
        (c"deadlines_waiting", waiting as u64),
        (c"probes_waiting", probes as u64),
        (c"records_refused", effects::refused()),
        (c"panics_caught", ffi::PANICS.load(Ordering::Relaxed)),
    ]
}
