//! What `INFO stoa` tells.

use crate::{deadlines, effects, failover, ffi};
use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::Ordering;

thread_local! {
    static DESYNCS: Cell<u64> = const { Cell::new(0) };
}

/// A client's copy of a document was found to differ.
pub(crate) fn count_desync() {
    DESYNCS.set(DESYNCS.get() + 1);
}

/// Name and value of each figure.
pub(crate) fn figures() -> [(&'static CStr, u64); 8] {
    let (waiting, probes) = deadlines::figures();
    let [safe, fenced] = failover::figures();
    [
        safe,
        fenced,
        (c"events_announced", effects::announced()),
        (c"deadlines_waiting", waiting as u64),
        (c"probes_waiting", probes as u64),
        (c"desyncs_noticed", DESYNCS.get()),
        (c"records_refused", effects::refused()),
        (c"panics_caught", ffi::PANICS.load(Ordering::Relaxed)),
    ]
}
