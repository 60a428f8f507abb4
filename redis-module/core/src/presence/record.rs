//! Decisions of the primary as they travel to replicas and the AOF, and the stored form of the whole.

use super::Presence;
use super::people::{Arrival, People};
use super::status::Status;
use crate::bounds::Bounds;
use crate::codec::{self, Damaged};
use crate::epoch::{Epoch, Epochs};
use bincode::{BorrowDecode, Encode};

/// Leads a stored presence and a record.
const VERSION: u8 = 1;

/// What happened, with absolute times.
#[derive(Debug, Clone, Encode, BorrowDecode)]
pub(super) enum Effect<'a> {
    /// A connection is listed, or lists itself again.
    Join(Arrival<'a>),
    /// A connection has other data, or its person another status. None leaves as it is.
    Set { connection: &'a str, at_ms: u64, status: Option<Status>, data: Option<&'a str>, private: Option<&'a str> },
    /// A lease goes on.
    Beat { node: &'a str, lease_ends_ms: u64 },
    /// A connection ends; 0 is no grace.
    Leave { connection: &'a str, at_ms: u64, leaves_at_ms: u64 },
    /// Connections of a node whose lease ended.
    EndLease { node: &'a str, connections: Vec<&'a str> },
    /// People whose grace ended.
    EndGrace { users: Vec<&'a str> },
    /// Connections are refused from now on, and end if they are here; so does the grace of the user, if one is named.
    Kick { user: &'a str, connections: Vec<&'a str>, at_ms: u64 },
}

#[derive(Debug, Clone, Encode, BorrowDecode)]
pub(super) struct Record<'a> {
    pub(super) epoch: Epoch,
    pub(super) writer: u64,
    /// The revision and the step that the effect was decided at.
    pub(super) from: u64,
    pub(super) steps: u64,
    pub(super) effect: Effect<'a>,
}

impl Record<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }
}

impl Presence {
    /// Follows a decision of the primary.
    pub fn apply(&mut self, record: &[u8], bounds: &Bounds) -> Result<(), Damaged> {
        let record: Record<'_> = codec::decode_in_place(versioned(record)?)?;
        if (record.from, record.steps) != (self.people.rev, self.people.steps) {
            return Err(Damaged(format!(
                "the record was decided at revision {} (step {}), this list is at {} (step {})",
                record.from, record.steps, self.people.rev, self.people.steps
            )));
        }
        self.epochs.follow(record.epoch, record.from, record.writer);
        self.people.enact(&record.effect, bounds);
        // Nobody is told anything here; after a promotion the announcements start from what is stored.
        self.announced = self.people.rev;
        self.forget_the_passing();
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
        let announced = people.rev;
        Ok(Presence { epochs, people, announced, ..Presence::default() })
    }
}

fn versioned(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        other => Err(Damaged(format!("presence version {:?}, this build reads {VERSION}", other.map(|(v, _)| v)))),
    }
}
