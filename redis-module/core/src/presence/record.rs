//! Decisions of the primary as they travel to replicas and the AOF, and the stored form of the whole.

use super::Presence;
use super::people::People;
use crate::bounds::Bounds;
use crate::codec::{self, Damaged};
use crate::epoch::{Epoch, Epochs};
use bincode::{Decode, Encode};

/// Leads a stored presence and a record.
const VERSION: u8 = 1;

/// What happened, with absolute times.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) enum Effect {
    Join {
        connection: Box<str>,
        user: Box<str>,
        node: Box<str>,
        at_ms: u64,
        lease_ends_ms: u64,
        data: String,
        private: String,
    },
    Patch {
        connection: Box<str>,
        data: String,
    },
    Beat {
        node: Box<str>,
        lease_ends_ms: u64,
    },
    Leave {
        connection: Box<str>,
        leaves_at_ms: u64,
    },
    EndLease {
        node: Box<str>,
        connections: Vec<Box<str>>,
    },
    EndGrace {
        users: Vec<Box<str>>,
    },
}

#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Record {
    pub(super) epoch: Epoch,
    pub(super) writer: u64,
    /// The revision that the effect was decided at.
    pub(super) from: u64,
    pub(super) effect: Effect,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }
}

impl Presence {
    /// Follows a decision of the primary.
    pub fn apply(&mut self, record: &[u8], bounds: &Bounds) -> Result<(), Damaged> {
        let record: Record = codec::decode_all(versioned(record)?)?;
        if record.from != self.people.rev() {
            return Err(Damaged(format!(
                "the record was decided at revision {}, this list is at {}",
                record.from,
                self.people.rev()
            )));
        }
        self.epochs.follow(record.epoch, record.from, record.writer);
        self.people.enact(record.effect, bounds);
        // Nobody is told anything here; after a promotion the announcements start from what is stored.
        self.announced = self.people.rev();
        Ok(())
    }

    /// The whole state, for RDB and AOF.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, &(&self.epochs, self.people.encode()))
    }

    /// Reads what [`Presence::encode`] wrote. Bytes that break an invariant are refused.
    pub fn decode(bytes: &[u8]) -> Result<Presence, Damaged> {
        let (epochs, people): (Epochs, Vec<u8>) = codec::decode_all(versioned(bytes)?)?;
        let people = People::decode(&people)?;
        let announced = people.rev();
        Ok(Presence { epochs, people, announced, ..Presence::default() })
    }
}

fn versioned(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        other => Err(Damaged(format!("presence version {:?}, this build reads {VERSION}", other.map(|(v, _)| v)))),
    }
}
