//! The stored form of a list, and what has to hold of it.

use super::{Access, Entry, VERSION, check_role};
use crate::codec::{self, Damaged};
use crate::epoch::Epochs;
use crate::identity::check_id;
use std::sync::Arc;

/// The newest revision that a list may reach: beyond 2^53 JavaScript cannot count.
pub(super) const REV_MAX: u64 = 1 << 53;

/// Equal lists are stored as the same bytes.
impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        self.encode() == other.encode()
    }
}
impl Eq for Access {}

impl Access {
    /// The whole state, for RDB and AOF.
    pub fn encode(&self) -> Vec<u8> {
        let entries: Vec<(&Arc<str>, &Entry)> = self.entries.iter().collect();
        codec::encode_versioned(VERSION, &(&self.epochs, self.rev, entries))
    }

    /// Reads what [`Access::encode`] wrote. Bytes that break an invariant are refused.
    pub fn decode(bytes: &[u8]) -> Result<Access, Damaged> {
        let (epochs, rev, entries): (Epochs, u64, Vec<(Arc<str>, Entry)>) = codec::decode_all(versioned(bytes)?)?;
        let is_sorted = entries.iter().zip(entries.iter().skip(1)).all(|((a, _), (b, _))| a < b);
        let is_fine = |(user, entry): &(Arc<str>, Entry)| {
            let ids = check_id("user", user, false).and(check_id("by", &entry.by, true));
            ids.and(check_role(&entry.role)).is_ok()
        };
        if !is_sorted || !entries.iter().all(is_fine) || entries.len() as u64 > rev || rev > REV_MAX {
            return Err(Damaged("a list of roles that nobody can have written".into()));
        }
        let mut access = Access { epochs, rev, ..Access::default() };
        for (user, entry) in entries {
            access.set(user, entry);
        }
        Ok(access)
    }

    /// Bytes held on the heap, within a few per cent.
    pub fn heap_bytes(&self) -> usize {
        // A text with its two counts, and a B-tree's nodes, which are about two thirds full.
        let text = |text: &Arc<str>| text.len() + 2 * size_of::<usize>();
        let texts: usize = self.entries.iter().map(|(user, e)| text(user) + text(&e.role) + text(&e.by)).sum();
        let entries = self.entries.len() * size_of::<(Arc<str>, Entry)>() * 3 / 2;
        texts + entries + self.ends.len() * size_of::<(u64, Arc<str>)>() * 3 / 2 + self.epochs.heap_bytes()
    }

    /// What has to be done to free this, in allocations.
    pub fn free_effort(&self) -> usize {
        3 * self.entries.len()
    }
}

pub(super) fn versioned(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        other => Err(Damaged(format!("access version {:?}, this build reads {VERSION}", other.map(|(v, _)| v)))),
    }
}
