//! How a log is written to RDB and AOF, read again, and measured.

use super::message::{Mark, Message};
use super::names::Name;
use super::people::People;
use super::trim::Limits;
use super::{Log, VERSION, versioned};
use crate::codec::{self, Damaged};
use crate::epoch::Epochs;
use crate::identity::Writers;
use bincode::enc::Encoder;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};
use std::collections::VecDeque;

/// The newest revision and number that a log may reach: beyond 2^53 JavaScript cannot count.
const COUNTED_MAX: u64 = 1 << 53;

/// What is stored, in this order. Everything else follows from it.
#[derive(Decode)]
struct Stored {
    epochs: Epochs,
    rev: u64,
    last_n: u64,
    trimmed_rev: u64,
    own_limits: Limits,
    messages: VecDeque<Message>,
    /// (revision, user, watermark), oldest move first.
    reads: Vec<(u64, Name, u64)>,
    writers: Writers,
}

impl Encode for Log {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Log { epochs, rev, last_n, trimmed_rev, own_limits, messages, writers, .. } = self;
        (epochs, rev, last_n, trimmed_rev, own_limits, messages).encode(encoder)?;
        (self.people.readers() as u64).encode(encoder)?;
        for read in self.people.reads_after(0) {
            read.encode(encoder)?;
        }
        writers.encode(encoder)
    }
}

/// Equal logs are stored as the same bytes.
impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        self.encode() == other.encode()
    }
}
impl Eq for Log {}

impl Log {
    /// The whole state, for RDB and AOF.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Reads what [`Log::encode`] wrote. Bytes that break an invariant are refused.
    pub fn decode(bytes: &[u8]) -> Result<Log, Damaged> {
        let stored: Stored = codec::decode_all(versioned(bytes)?)?;
        if !is_ordered(&stored) {
            return Err(Damaged("a log whose messages are out of order".into()));
        }
        let Stored { epochs, rev, last_n, trimmed_rev, own_limits, messages, reads, writers } = stored;
        let mut log = Log { epochs, rev, announced: rev, last_n, trimmed_rev, own_limits, writers, ..Log::default() };
        for message in messages {
            log.restore(message)?;
        }
        for (rev, user, n) in reads {
            if log.people.read_by(&user) > 0 {
                return Err(Damaged("a log with two watermarks of one user".into()));
            }
            log.people.read(&user, n, rev);
        }
        Ok(log)
    }

    /// Adds a message that was stored, and what follows from it.
    fn restore(&mut self, mut message: Message) -> Result<(), Damaged> {
        share(&mut message, &mut self.people);
        let (n, rev) = (message.n, message.changed_rev());
        if rev > 0 && (rev <= message.rev || rev > self.rev || self.changes.insert(rev, n).is_some()) {
            return Err(Damaged("a log whose changes are out of order".into()));
        }
        let thread = message.thread;
        if message.is_deleted() {
            self.people.deleted(n, &message.user, &[]);
        } else {
            message.user = self.people.wrote(&message.user, n);
            if let Some(more) = &message.more {
                self.people.names_in(n, &message.user, &more.mentions);
            }
            if message.stream().is_some() {
                self.streams.push(n);
            }
        }
        if let Some(more) = &mut message.more {
            more.replies.clear();
        }
        self.message_bytes += message.bytes() as u64;
        self.messages.push_back(message);
        // Roots are older than replies, and numbers have no gap, so both are found by the number alone.
        let first_n = self.messages.front().map_or(n, |first| first.n);
        if let Some(root) = thread.checked_sub(first_n).and_then(|at| self.messages.get_mut(at as usize)) {
            self.message_bytes -= root.bytes() as u64;
            root.more_mut().replies.push(n);
            self.message_bytes += root.bytes() as u64;
        }
        Ok(())
    }

    /// Bytes held on the heap, within a few per cent.
    pub fn heap_bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::heap_bytes).sum();
        // A B-tree's nodes are about two thirds full.
        let changes = self.changes.len() * size_of::<(u64, u64)>() * 3 / 2;
        self.messages.capacity() * size_of::<Message>()
            + messages
            + changes
            + self.streams.capacity() * size_of::<u64>()
            + self.people.heap_bytes()
            + self.writers.heap_bytes()
            + self.epochs.heap_bytes()
    }
}

fn is_ordered(stored: &Stored) -> bool {
    let Stored { rev, last_n, trimmed_rev, messages, reads, .. } = stored;
    let numbered = messages.iter().rev().zip((1..=*last_n).rev()).all(|(m, n)| m.n == n);
    let ordered = messages.iter().zip(messages.iter().skip(1)).all(|(a, b)| a.rev < b.rev && a.at_ms <= b.at_ms);
    let bounded = messages.iter().all(|m| {
        let threaded = m.reply < m.n && m.thread <= m.reply && (m.thread == 0) == (m.reply == 0);
        m.rev > *trimmed_rev && m.rev <= *rev && threaded
    });
    let moved = reads.iter().zip(reads.iter().skip(1)).all(|(a, b)| a.0 < b.0);
    let read = reads.iter().all(|(at, _, n)| *at > 0 && at <= rev && *n > 0 && n <= last_n);
    let counted = messages.len() as u64 <= *last_n && *last_n < COUNTED_MAX && *rev < COUNTED_MAX;
    numbered && ordered && bounded && moved && read && counted
}

/// Replaces the names of a message by shared ones.
fn share(message: &mut Message, people: &mut People) {
    let mut share = |name: &mut Name| *name = people.names.share(name);
    share(&mut message.user);
    message.client.as_mut().map(&mut share);
    let Some(more) = &mut message.more else { return };
    for Mark { reaction, user } in &mut more.marks {
        share(reaction);
        share(user);
    }
    more.mentions.iter_mut().for_each(&mut share);
    if let Some(edits) = &mut more.edits {
        share(&mut edits.by);
        edits.versions.iter_mut().for_each(|version| share(&mut version.user));
    }
    more.deleted.iter_mut().for_each(|deleted| share(&mut deleted.by));
}
