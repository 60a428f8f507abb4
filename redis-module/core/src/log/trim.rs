//! What leaves a log: by number, by bytes, by age, and by hand. And streamed messages whose writers fell silent.

use super::record::{self, Change};
use super::{Accepted, Actor, Call, Log, Outcome};
use crate::bounds::{Bounds, TRIMMED_PER_CALL_MAX};
use bincode::{Decode, Encode};

/// Messages that one change may trim: bounds its work after the bounds were lowered.
pub(super) const TRIMMED_PER_CHANGE_MAX: usize = 64;
/// Messages that one step of the timer may trim.
const TRIMMED_PER_STEP_MAX: usize = 256;
/// Streamed messages that one step of the timer may finish.
const INTERRUPTED_PER_STEP_MAX: usize = 16;

/// How much one log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Limits {
    /// Messages; 0 for as many as the server keeps.
    pub messages: u64,
    /// Age of the oldest message, in milliseconds; 0 for the server's bound.
    pub age_ms: u64,
    /// Bytes of messages; 0 for the server's bound.
    pub bytes: u64,
}

/// What a log holds, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Messages that are kept, with the deleted ones.
    pub messages: usize,
    /// How many of them are deleted.
    pub deleted: usize,
    /// How many of them are streamed.
    pub streaming: usize,
    /// Bytes that they count for.
    pub bytes: u64,
    /// The number of the oldest one that is kept; of the next one if none is.
    pub first_n: u64,
    /// The number of the newest one that there ever was, or 0.
    pub newest_n: u64,
    /// Users whose watermark is known.
    pub readers: usize,
    /// Clients whose last sequences are remembered.
    pub writers: usize,
}

impl Log {
    /// What it holds.
    pub fn figures(&self) -> Figures {
        Figures {
            messages: self.messages.len(),
            deleted: self.people.deleted_count(),
            streaming: self.streams.len(),
            bytes: self.message_bytes,
            first_n: self.first_n(),
            newest_n: self.last_n,
            readers: self.people.readers(),
            writers: self.writers.len(),
        }
    }

    /// The limits in force: this log's own where they are below the server's.
    pub fn limits(&self, bounds: &Bounds) -> Limits {
        let least = |own: u64, server: u64| if own == 0 { server } else { own.min(server) };
        Limits {
            messages: least(self.own_limits.messages, bounds.log_messages_max as u64),
            age_ms: least(self.own_limits.age_ms, bounds.log_age_ms_max),
            bytes: least(self.own_limits.bytes, bounds.log_bytes_max as u64),
        }
    }

    /// Sets limits of this log alone; what is not given stays. Answers the record if anything changed. What is over
    /// leaves in steps: see [`Log::due`].
    pub fn configure(
        &mut self,
        messages: Option<u64>,
        age_ms: Option<u64>,
        bytes: Option<u64>,
        call: &Call<'_>,
    ) -> Option<Vec<u8>> {
        let own = self.own_limits;
        let limits = Limits {
            messages: messages.unwrap_or(own.messages),
            age_ms: age_ms.unwrap_or(own.age_ms),
            bytes: bytes.unwrap_or(own.bytes),
        };
        (limits != own).then(|| self.settle(call, 0, Change::Configure(limits)))
    }

    /// Drops all but the newest messages, at most 10,000 in one call. Answers how many went, and the record.
    pub fn trim(&mut self, keep: u64, call: &Call<'_>) -> (u64, Option<Vec<u8>>) {
        let surplus = (self.messages.len() as u64).saturating_sub(keep).min(TRIMMED_PER_CALL_MAX as u64);
        (surplus, (surplus > 0).then(|| self.settle(call, surplus, Change::Trim)))
    }

    /// One bounded step of what is due by now: finishes streamed messages whose writers fell silent, and trims what
    /// is over or too old.
    pub fn due(&mut self, call: &Call<'_>) -> Vec<Accepted> {
        let mut done = Vec::new();
        for n in self.silent_streams(call, INTERRUPTED_PER_STEP_MAX) {
            let change = Change::Finish { n, body: None, interrupted: true };
            let nobody = Actor { user: "", identity: None, any: true };
            if let Outcome::Accepted(accepted) = self.accept(call, nobody, n, change).outcome {
                done.push(accepted);
            }
        }
        let surplus = self.surplus((0, 0), call.now_ms, TRIMMED_PER_STEP_MAX, call.bounds);
        if surplus > 0 {
            let record = self.settle(call, surplus, Change::Trim);
            done.push(Accepted { record, reads: None, event: None });
        }
        done
    }

    /// When [`Log::due`] has something to do next.
    pub fn next_deadline(&self, bounds: &Bounds) -> Option<u64> {
        if self.surplus((0, 0), 0, 1, bounds) > 0 {
            return Some(0);
        }
        let ages =
            self.messages.front().map(|old| old.at_ms.saturating_add(self.limits(bounds).age_ms).saturating_add(1));
        let stream = |n: &u64| Some(self.message(*n)?.stream()?.at_ms.saturating_add(bounds.message_stream_ms));
        ages.into_iter().chain(self.streams.iter().filter_map(stream)).min()
    }

    /// How many of the oldest `most` messages have to go when (count, bytes) come.
    pub(super) fn surplus(&self, (count, bytes): (u64, u64), at_ms: u64, most: usize, bounds: &Bounds) -> u64 {
        let limits = self.limits(bounds);
        let (mut count, mut bytes) = (self.messages.len() as u64 + count, self.message_bytes + bytes);
        let horizon = at_ms.saturating_sub(limits.age_ms);
        let mut surplus = 0;
        for old in self.messages.iter().take(most) {
            // The last one stays, however large it is.
            let fits = count <= limits.messages && (bytes <= limits.bytes || count == 1);
            if fits && old.at_ms >= horizon {
                break;
            }
            (count, bytes, surplus) = (count - 1, bytes - old.bytes() as u64, surplus + 1);
        }
        surplus
    }

    /// Follows a change that makes no revision.
    fn settle(&mut self, call: &Call<'_>, trim: u64, change: Change<'_>) -> Vec<u8> {
        let mut record = self.record(call, "", None, 0, change);
        record.trim = trim;
        let bytes = record::encode(&record);
        self.enact(&record, None, call.bounds);
        bytes
    }
}
