//! What is stored of limits, and its bytes.
//!
//! ```text
//! | 1 u8 | { full_at_ns u64 } … |                       nobody is blocked, no refusal counts, no moment has parts
//! | 2 u8 | refusals u32 | blocked_until_ns u64 | blocked_for_ns u64 | { full_at_ns u64 | parts u32 } … |
//! ```
//! All little endian. The first form is what nearly all keys hold: it is short, and as long after a call as before it,
//! so that it is written over in place.

use super::limit::{Exact, Limit};
use super::{LIMITS_MAX, NS_PER_MS, foreign};
use crate::refusal::Refusal;

/// Leads the first form.
const PLAIN: u8 = 1;
/// Leads the second form.
const FULL: u8 = 2;
const FULL_HEAD: usize = 1 + 4 + 8 + 8;
const FULL_ENTRY: usize = 8 + 4;

/// The end of a key moves in steps of so many milliseconds. So a key that is asked often is not deleted and made again
/// for each call, and most calls leave its end as it is, which spares a tenth of their instructions; and it outlives
/// what it means by two seconds on average.
pub(super) const END_STEP_MS: u64 = 4000;

/// The stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    bytes: [u8; FULL_HEAD + FULL_ENTRY * LIMITS_MAX],
    len: usize,
}

impl State {
    fn plain(full_at: &[Exact]) -> Self {
        let (mut bytes, mut len) = ([PLAIN; FULL_HEAD + FULL_ENTRY * LIMITS_MAX], 1);
        for (to, at) in bytes[1..].as_chunks_mut::<8>().0.iter_mut().zip(full_at) {
            *to = at.ns.to_le_bytes();
            len += 8;
        }
        State { bytes, len }
    }

    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    /// The bytes to store.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What to store, and until when it means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// The bytes.
    pub state: State,
    /// The Unix time in milliseconds at which the key may go.
    pub ends_ms: u64,
    /// Whether that is the end which the key has already.
    pub same_end: bool,
}

/// What is known of a key. It is large, so it stays where it was made.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// When each bucket is full again.
    full_at: [Exact; LIMITS_MAX],
    len: usize,
    /// Refusals in a row that count.
    pub(super) refusals: u32,
    blocked_until_ns: u64,
    blocked_for_ns: u64,
    /// Where within a step the key ends. It follows from the key's name: if all ended at the same place, Redis would
    /// have to delete them all at once. (So a key that is renamed may end earlier than it should, by a step, once.)
    phase_ms: u64,
    /// When the key ends, if it is there.
    ends_ms: Option<u64>,
    /// Whether a stored time was later than it can be.
    pub(super) is_repaired: bool,
}

impl Book {
    /// An empty book of the key with this name.
    pub(super) fn of(name: &[u8]) -> Self {
        let sum = name.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        Book { phase_ms: sum % END_STEP_MS, ..Book::default() }
    }

    /// Reads what is stored into a new book; nothing is a key of which nothing is known.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match bytes {
            [] => return Ok(()),
            [PLAIN, stored @ ..] => {
                let (chunks, []) = stored.as_chunks::<8>() else { return Err(foreign()) };
                for chunk in chunks {
                    self.push(Exact::ns(u64::from_le_bytes(*chunk)))?;
                }
            }
            [FULL, stored @ ..] => {
                let (refusals, stored) = stored.split_first_chunk::<4>().ok_or_else(foreign)?;
                let (until, stored) = stored.split_first_chunk::<8>().ok_or_else(foreign)?;
                let (length, stored) = stored.split_first_chunk::<8>().ok_or_else(foreign)?;
                let (chunks, []) = stored.as_chunks::<FULL_ENTRY>() else { return Err(foreign()) };
                self.refusals = u32::from_le_bytes(*refusals);
                self.blocked_until_ns = plausible(u64::from_le_bytes(*until))?;
                self.blocked_for_ns = plausible(u64::from_le_bytes(*length))?;
                for chunk in chunks {
                    let [a, b, c, d, e, f, g, h, parts @ ..] = *chunk;
                    let ns = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                    self.push(Exact { ns, parts: u64::from(u32::from_le_bytes(parts)) })?;
                }
            }
            _ => return Err(foreign()),
        }
        self.ends_ms = Some(self.end_ms());
        Ok(())
    }

    fn push(&mut self, full_at: Exact) -> Result<(), Refusal> {
        let place = self.full_at.get_mut(self.len).ok_or_else(foreign)?;
        *place = Exact { ns: plausible(full_at.ns)?, ..full_at };
        self.len += 1;
        Ok(())
    }

    /// Brings what is stored to now: a bucket that is not known is full, and what lies further ahead than it ever can
    /// is set again from now. That happens when a clock stepped back, or when a limit got other figures.
    pub(super) fn bring_to(&mut self, limits: &[Limit], now_ns: u64) {
        for (at, (limit, full_at)) in limits.iter().zip(&mut self.full_at).enumerate() {
            let stored = if at < self.len { *full_at } else { Exact::default() };
            *full_at = limit.within(stored, now_ns);
            self.is_repaired |= full_at.ns < stored.ns;
        }
        self.len = self.len.max(limits.len());
        if self.blocked_until_ns.saturating_sub(now_ns) > self.blocked_for_ns {
            self.blocked_until_ns = now_ns + self.blocked_for_ns;
            self.is_repaired = true;
        }
    }

    /// What each limit's bucket lacks until it is full.
    pub(super) fn debts<'a>(
        &'a self,
        limits: &'a [Limit],
        now_ns: u64,
    ) -> impl Iterator<Item = (&'a Limit, Exact)> + Clone {
        limits.iter().zip(&self.full_at).map(move |(limit, at)| (limit, Exact { ns: at.ns - now_ns, parts: at.parts }))
    }

    /// Moves the moments at which buckets are full.
    pub(super) fn shift(&mut self, limits: &[Limit], shift: impl Fn(&Limit, Exact) -> Exact) {
        for (limit, full_at) in limits.iter().zip(&mut self.full_at) {
            *full_at = shift(limit, *full_at);
        }
    }

    /// How long everything is still refused, in nanoseconds; 0 if it is not.
    pub(super) fn blocked_ns(&self, now_ns: u64) -> u64 {
        self.blocked_until_ns.saturating_sub(now_ns)
    }

    /// Refuses everything from now on for so long; 0 ends that. The row of refusals begins anew.
    pub(super) fn block(&mut self, length_ns: u64, now_ns: u64) {
        self.blocked_until_ns = if length_ns > 0 { now_ns + length_ns } else { 0 };
        (self.blocked_for_ns, self.refusals) = (length_ns, 0);
    }

    /// What to store of it.
    pub(super) fn store(&mut self, now_ns: u64) -> Store {
        // Buckets at the end that are full need no memory.
        while self.len > 0 && self.full_at[self.len - 1] <= Exact::ns(now_ns) {
            self.len -= 1;
        }
        if self.blocked_until_ns <= now_ns {
            self.block_is_over();
        }
        let ends_ms = self.end_ms().max(now_ns.div_ceil(NS_PER_MS));
        Store { state: self.write(), ends_ms, same_end: self.ends_ms == Some(ends_ms) }
    }

    fn block_is_over(&mut self) {
        (self.blocked_until_ns, self.blocked_for_ns) = (0, 0);
    }

    fn write(&self) -> State {
        let full_at = &self.full_at[..self.len];
        let is_plain = self.refusals == 0 && self.blocked_until_ns == 0 && full_at.iter().all(|at| at.parts == 0);
        if is_plain {
            return State::plain(full_at);
        }
        let mut state = State { bytes: [FULL; FULL_HEAD + FULL_ENTRY * LIMITS_MAX], len: 1 };
        state.push(&self.refusals.to_le_bytes());
        state.push(&self.blocked_until_ns.to_le_bytes());
        state.push(&self.blocked_for_ns.to_le_bytes());
        for at in full_at {
            state.push(&at.ns.to_le_bytes());
            // Fewer than a limit's count, which fits.
            state.push(&(at.parts as u32).to_le_bytes());
        }
        state
    }

    /// When a key with these times ends.
    fn end_ms(&self) -> u64 {
        let full = self.full_at[..self.len].iter().map(|at| at.ceil_ns());
        let last_ns = full.chain([self.blocked_until_ns]).max().unwrap_or(0);
        (last_ns.div_ceil(NS_PER_MS) + self.phase_ms).next_multiple_of(END_STEP_MS) - self.phase_ms
    }
}

/// Nothing much later than the longest span from now can have been stored; the sums rely on it.
fn plausible(ns: u64) -> Result<u64, Refusal> {
    if ns > u64::MAX / 4 { Err(foreign()) } else { Ok(ns) }
}
