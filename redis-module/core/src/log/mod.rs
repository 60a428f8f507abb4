//! The message log of a room: what was said, in order, each once, and what became of it.
//!
//! A message has a number `n`, its place in the log from 1. The log has a revision that counts its changes: a post,
//! an edit, a deletion, a reaction, a watermark. They are two counters because a message keeps its number, and its
//! place, when it changes.
//!
//! The primary decides ([`Log::post`] and the other writes) and hands out a record; everybody, the primary too,
//! changes state only by following that record (`record.rs`). So a replica cannot differ.
//!
//! What is stored is the messages, the watermarks and the identities. Everything else, who wrote what, who is named
//! where, which messages changed when, follows from them and is made again when a log is loaded.

mod body;
mod frames;
mod message;
mod names;
mod people;
mod range;
mod record;
mod since;
mod stored;
mod stream;
mod trim;
mod write;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

pub use people::Unread;
pub use range::{Page, Range};
pub use trim::{Figures, Limits};
pub use write::{Accepted, Actor, Call, Event, Outcome, Post, Written};

use crate::codec::Damaged;
use crate::epoch::{Epochs, Position};
use crate::identity::Writers;
use message::Message;
use people::People;
use std::collections::{BTreeMap, VecDeque};

/// Leads a stored log and a replicated record. Version 1 had plain messages only.
const VERSION: u8 = 2;

/// A room's log.
#[derive(Debug, Default)]
pub struct Log {
    epochs: Epochs,
    /// The newest revision.
    rev: u64,
    /// The revision that was announced last; after it come moved watermarks alone. Not stored.
    announced: u64,
    /// The number of the newest message that there ever was.
    last_n: u64,
    /// The revision at which the newest message was posted that was trimmed; positions before it cannot be served.
    trimmed_rev: u64,
    /// The messages that are kept; their numbers have no gap.
    messages: VecDeque<Message>,
    /// What they count for in the bound on bytes.
    message_bytes: u64,
    /// Bounds of this log alone.
    own_limits: Limits,
    writers: Writers,
    people: People,
    /// The messages that changed after they were posted, by the revision of the last change.
    changes: BTreeMap<u64, u64>,
    /// The messages that are streamed.
    streams: Vec<u64>,
}

impl Log {
    /// The newest revision.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// The position that was announced last. Watermarks moved since then are told at the end of the tick; they may
    /// be read before that, which does no harm, because a watermark is told by its number.
    pub fn position(&self) -> Position {
        Position { epoch: self.epochs.current(), rev: self.announced }
    }

    /// The epochs of this log.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// See [`Epochs::detach`].
    pub fn detach(&mut self) {
        self.epochs.detach();
    }

    /// How many messages are kept.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message is kept.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The number of the newest message that there ever was, or 0.
    pub fn newest(&self) -> u64 {
        self.last_n
    }

    /// What a user has not read.
    pub fn unread(&self, user: &str) -> Unread {
        self.people.unread(user, self.first_n(), self.last_n)
    }

    /// The number of the oldest message that is kept; of the next one if none is.
    fn first_n(&self) -> u64 {
        self.last_n + 1 - self.messages.len() as u64
    }

    fn index(&self, n: u64) -> Option<usize> {
        let at = n.checked_sub(self.first_n())? as usize;
        (at < self.messages.len()).then_some(at)
    }

    fn message(&self, n: u64) -> Option<&Message> {
        self.messages.get(self.index(n)?)
    }
}

fn versioned(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        other => Err(Damaged(format!("log version {:?}, this build reads {VERSION}", other.map(|(v, _)| v)))),
    }
}
