//! Epochs: how a position says which history it belongs to.
//!
//! A revision alone lies after a failover: the new primary may give the same number to other content. So a
//! position is (epoch, revision), and a stream remembers at which revision each of its epochs began, as Kafka's
//! leader epochs do (KIP-101, KIP-320). A position from an older epoch is right up to where the next one began.

use crate::bounds::EPOCHS_KEPT;
use bincode::{Decode, Encode};
use std::fmt;

/// A stretch of history with one author of revisions.
///
/// The id is drawn by the primary when the epoch opens, so that two servers that both open epoch 7, or a key that
/// is deleted and made again, are told apart. Text form: `7.9f3a12c0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
pub struct Epoch {
    /// Counts from 1 within a stream.
    pub number: u32,
    /// Drawn when the epoch opens.
    pub id: u32,
}

impl Epoch {
    /// Lends the text form, without memory of its own.
    pub fn lend<T>(self, to: impl FnOnce(&str) -> T) -> T {
        // Written from the back: eight hexadecimal digits, a point, at most ten digits.
        let (mut text, mut at) = ([b'.'; 19], 19);
        for shift in 0..8 {
            at -= 1;
            text[at] = b"0123456789abcdef"[(self.id >> (4 * shift) & 0xf) as usize];
        }
        at -= 1;
        let mut number = self.number;
        loop {
            at -= 1;
            text[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        to(std::str::from_utf8(&text[at..]).unwrap_or(""))
    }

    /// Appends the text form.
    pub fn push(self, out: &mut String) {
        self.lend(|text| out.push_str(text));
    }

    /// The text form.
    pub fn text(self) -> String {
        self.lend(str::to_owned)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lend(|text| f.write_str(text))
    }
}

impl std::str::FromStr for Epoch {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, id) = text.split_once('.').ok_or(())?;
        if id.len() != 8 || id.starts_with('+') || number.starts_with('+') {
            return Err(());
        }
        Ok(Epoch { number: number.parse().map_err(|_| ())?, id: u32::from_str_radix(id, 16).map_err(|_| ())? })
    }
}

/// (epoch, revision). Text form: `7.9f3a12c0:1042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Position {
    /// The history that the revision counts in.
    pub epoch: Epoch,
    /// Counts from 0, the empty or first state.
    pub rev: u64,
}

impl Position {
    /// The position of a stream that nothing has ever been written to.
    pub const START: Position = Position { epoch: Epoch { number: 0, id: 0 }, rev: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.rev)
    }
}

impl std::str::FromStr for Position {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, rev) = text.split_once(':').ok_or(())?;
        if rev.starts_with('+') {
            return Err(());
        }
        Ok(Position { epoch: epoch.parse()?, rev: rev.parse().map_err(|_| ())? })
    }
}

/// What the primary knows when a write arrives: under whose replication id it writes, and a drawn id in case a
/// new epoch has to open.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The first 64 bits of this server's replication id. Never 0.
    pub replication_id: u64,
    /// Chance, for the id of an epoch that this write may open.
    pub chance: u32,
}

/// Where a position stands in a stream's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The position is part of this history.
    Valid,
    /// The history that the position belongs to ended at this revision, before the position.
    RolledBack {
        /// The last revision that both histories share.
        end: u64,
    },
    /// Nothing is known of that epoch.
    Unknown,
}

/// The epochs of one stream, newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Epochs {
    /// (epoch, the revision that the stream had when it began).
    starts: Vec<(Epoch, u64)>,
    /// The replication id under which the current epoch writes; 0 forces a new epoch at the next write.
    writer: u64,
}

impl Epochs {
    /// The current epoch.
    pub fn current(&self) -> Epoch {
        self.starts.last().map(|(epoch, _)| *epoch).unwrap_or_default()
    }

    /// Call before a write at `head`. Opens a new epoch when another server wrote last; says whether it did.
    pub fn enter(&mut self, head: u64, writer: Writer) -> bool {
        if self.writer == writer.replication_id && !self.starts.is_empty() {
            return false;
        }
        let number = self.current().number.saturating_add(1);
        self.open(Epoch { number, id: writer.chance }, head);
        self.writer = writer.replication_id;
        true
    }

    /// Follows a decision of the primary: makes `epoch` current from `head` on, unless it is so already.
    pub fn follow(&mut self, epoch: Epoch, head: u64, writer: u64) {
        if self.current() != epoch || self.starts.is_empty() {
            self.open(epoch, head);
        }
        self.writer = writer;
    }

    /// The epoch in which `rev` was written; the oldest one that is remembered for what is older.
    pub fn of(&self, rev: u64) -> Epoch {
        let began = self.starts.iter().rev().find(|(_, start)| *start < rev);
        began.or(self.starts.first()).map(|(epoch, _)| *epoch).unwrap_or_default()
    }

    /// The replication id under which the current epoch writes.
    pub fn writer(&self) -> u64 {
        self.writer
    }

    /// Makes the next write open a new epoch: the value was copied or restored, and may be older than what
    /// people saw.
    pub fn detach(&mut self) {
        self.writer = 0;
    }

    /// Where `position` stands in a history whose newest revision is `head`.
    pub fn standing(&self, position: Position, head: u64) -> Standing {
        let Some(at) = self.starts.iter().rposition(|(epoch, _)| *epoch == position.epoch) else {
            return Standing::Unknown;
        };
        let end = self.starts.get(at + 1).map(|(_, start)| *start).unwrap_or(head);
        if position.rev <= end { Standing::Valid } else { Standing::RolledBack { end } }
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.starts.capacity() * size_of::<(Epoch, u64)>()
    }

    fn open(&mut self, epoch: Epoch, head: u64) {
        if self.starts.len() == EPOCHS_KEPT {
            self.starts.remove(0);
        }
        self.starts.push((epoch, head));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(replication_id: u64, chance: u32) -> Writer {
        Writer { replication_id, chance }
    }

    #[test]
    fn an_epoch_lasts_while_one_server_writes() {
        let mut epochs = Epochs::default();
        assert!(epochs.enter(0, writer(1, 10)));
        assert!(!epochs.enter(5, writer(1, 11)));
        assert!(epochs.enter(9, writer(2, 12)));
        assert_eq!(epochs.current(), Epoch { number: 2, id: 12 });
    }

    #[test]
    fn an_old_position_is_valid_up_to_where_the_next_epoch_began() {
        let mut epochs = Epochs::default();
        epochs.enter(0, writer(1, 10));
        let old = epochs.current();
        epochs.enter(9, writer(2, 12));
        assert_eq!(epochs.standing(Position { epoch: old, rev: 9 }, 20), Standing::Valid);
        assert_eq!(epochs.standing(Position { epoch: old, rev: 10 }, 20), Standing::RolledBack { end: 9 });
        let other = Epoch { number: 2, id: 99 };
        assert_eq!(epochs.standing(Position { epoch: other, rev: 3 }, 20), Standing::Unknown);
    }

    #[test]
    fn a_position_ahead_of_the_current_epoch_is_rolled_back_to_its_head() {
        let mut epochs = Epochs::default();
        epochs.enter(0, writer(1, 10));
        let epoch = epochs.current();
        assert_eq!(epochs.standing(Position { epoch, rev: 8 }, 7), Standing::RolledBack { end: 7 });
    }

    #[test]
    fn a_restored_value_opens_a_new_epoch_at_the_next_write() {
        let mut epochs = Epochs::default();
        epochs.enter(0, writer(1, 10));
        epochs.detach();
        assert!(epochs.enter(4, writer(1, 11)));
        assert_eq!(epochs.current().number, 2);
    }

    #[test]
    fn positions_survive_their_text_form() {
        let position = Position { epoch: Epoch { number: 7, id: 0x9f3a12c0 }, rev: 1042 };
        assert_eq!(position.to_string(), "7.9f3a12c0:1042");
        assert_eq!("7.9f3a12c0:1042".parse(), Ok(position));
        for bad in ["", "7:1", "7.9f3a12c:1", "x.9f3a12c0:1", "7.9f3a12c0:", "7.9f3a12c0:-1", "7.+f3a12c0:1"] {
            assert_eq!(bad.parse::<Position>(), Err(()), "{bad}");
        }
    }
}
