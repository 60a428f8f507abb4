//! What somebody who holds a position is answered: the same shape for every stream.

use crate::bounds::Bounds;

/// What came after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Exactly what came after it, oldest first, as (revision, frame).
    Page {
        /// The frames, as they were announced.
        events: Vec<(u64, String)>,
        /// The revision that the last of them leads to; below the head if there is more than a page.
        through: u64,
    },
    /// The history that the position belongs to ended at this revision.
    RolledBack {
        /// The last revision that both histories share.
        end: u64,
    },
    /// Nothing is known of that epoch: the stream was replaced.
    Unknown,
    /// What came after it is no longer kept.
    Trimmed,
}

/// Fills one page within its bounds on entries and bytes; the first entry always fits.
pub fn page(after: u64, entries: impl Iterator<Item = (u64, String)>, count: usize, bounds: &Bounds) -> Changes {
    let mut events = Vec::new();
    let mut bytes = 0;
    for (rev, frame) in entries.take(count.min(bounds.page_entries_max)) {
        bytes += frame.len();
        if bytes > bounds.page_bytes_max && !events.is_empty() {
            break;
        }
        events.push((rev, frame));
    }
    let through = events.last().map_or(after, |(rev, _)| *rev);
    Changes::Page { events, through }
}
