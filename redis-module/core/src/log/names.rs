//! Names and reactions that many messages share, each kept once.
//!
//! A room's people write and react again and again under the same few names; shared, a name in a message costs two
//! words and no allocation.

use foldhash::HashSet;
use std::sync::Arc;

/// A user, a client or a reaction.
pub(super) type Name = Arc<str>;

/// What a shared name takes beside its text: its two counters.
const COUNTERS_BYTES: usize = 2 * size_of::<usize>();

/// Every name that something in the log holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    known: HashSet<Name>,
}

impl Names {
    /// The shared name for a text.
    pub(super) fn share(&mut self, text: &str) -> Name {
        if let Some(name) = self.known.get(text) {
            return name.clone();
        }
        let name: Name = text.into();
        self.known.insert(name.clone());
        name
    }

    /// Gives a name back; the last one that gives it back forgets it.
    pub(super) fn release(&mut self, name: Name) {
        // This one and the table's.
        if Arc::strong_count(&name) == 2 {
            self.known.remove(&name);
        }
    }

    /// Bytes on the heap, within a few per cent.
    pub(super) fn heap_bytes(&self) -> usize {
        let texts: usize = self.known.iter().map(|name| name.len().next_multiple_of(8) + COUNTERS_BYTES).sum();
        self.known.capacity() * (size_of::<Name>() + 1) + texts
    }
}
