//! Limits: who may do how much, and who may hold how many.
//!
//! [`take`] decides by the generic cell rate algorithm (ITU-T I.371), several limits together. Of a limit one moment is
//! stored: when its bucket is full again. That moment is kept as a whole number of parts of a nanosecond, so that one
//! token per day, a million per second and seven per second are equally exact, and no fraction is ever forgotten.
//!
//! [`hold`] counts leases, each of a holder, that end by themselves.

mod bucket;
mod leases;
mod limit;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

pub use bucket::Bucket;
pub use leases::{Held, Left, give_back, hold};
pub use limit::{Limit, Limits};
pub use state::{State, Store};

use crate::refusal::Refusal;
use state::Book;

/// Most limits decided in one call.
pub const LIMITS_MAX: usize = 8;
/// Largest burst and count of a limit, in tokens.
pub const TOKENS_MAX: u64 = 1_000_000_000;
/// Holders of one key: the connections of a user, or of an address with a school behind it.
pub const HOLDERS_MAX: u64 = 1_000;
/// Longest time that something is waited for, in nanoseconds: ten years.
const SPAN_NS_MAX: u64 = 10 * 366 * 86_400 * 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// What a call asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// The limits, all of which have to allow it.
    pub limits: Limits,
    /// How many tokens of each.
    pub cost: u64,
    /// When refusals turn into a block.
    pub strikes: Option<Strikes>,
}

/// Refusals in a row that block a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strikes {
    after: u32,
    block_ns: u64,
}

impl Strikes {
    /// Blocks with the refusal number `after` in a row, for `block_ms`; both at least 1.
    pub fn new(after: u64, block_ms: u64) -> Result<Self, Refusal> {
        let after = u32::try_from(after).ok().filter(|after| *after > 0);
        let after = after.ok_or_else(|| Refusal::argument(format!("after has to be 1 to {}", u32::MAX)))?;
        match block_ns(block_ms)? {
            0 => Err(Refusal::argument("block_ms has to be at least 1")),
            block_ns => Ok(Strikes { after, block_ns }),
        }
    }
}

/// What a call is answered. The figures are those of the limit that allows least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether all limits allowed it, and nobody is blocked.
    pub allowed: bool,
    /// The burst of the tightest limit; 0 while the key is blocked.
    pub limit: u64,
    /// Calls of cost 1 that would be allowed right now, after this one.
    pub remaining: u64,
    /// When the same call would be allowed, in milliseconds from now; `None` if it was.
    pub retry_after_ms: Option<u64>,
    /// When the tightest limit is full again, or the block ends, in milliseconds from now.
    pub reset_after_ms: u64,
}

/// A decision, and what to store if it changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// What to store; `None` leaves the key as it is.
    pub store: Option<Store>,
}

/// Takes tokens from every limit, or from none.
///
/// `name` is the key's, `stored` is what an earlier call stored there, or empty. Cost 0 only looks. Refuses a cost above
/// a burst, which could never be allowed, and stored bytes that are not a limit's.
///
/// With [`Strikes`], refusals in a row are counted, and the last of so many blocks the key: until that is over every
/// call is refused, whoever asks, and costs nothing. A call that is allowed ends the row. So does time: who waited as
/// long as a refusal said is allowed.
pub fn take(name: &[u8], stored: &[u8], ask: &Ask, now_ns: u64) -> Result<Decision, Refusal> {
    let (limits, cost) = (ask.limits.as_slice(), ask.cost);
    let mut book = Book::of(name);
    open(&mut book, stored, ask, now_ns)?;
    let mut wait = wait_ns(&book, limits, cost, now_ns);
    let mut changed = book.is_repaired;
    if wait == 0 && cost > 0 {
        book.shift(limits, |limit, full_at| limit.sum(full_at, limit.span(cost)));
        book.refusals = 0;
        changed = true;
    }
    if let Some(strikes) = ask.strikes.filter(|_| wait > 0 && book.blocked_ns(now_ns) == 0) {
        book.refusals = book.refusals.saturating_add(1);
        if book.refusals >= strikes.after {
            book.block(strikes.block_ns, now_ns);
            wait = wait.max(strikes.block_ns);
        }
        changed = true;
    }
    Ok(Decision { verdict: verdict(&book, limits, wait, now_ns), store: changed.then(|| book.store(now_ns)) })
}

/// What [`take`] would answer now, before it takes anything.
pub fn peek(stored: &[u8], ask: &Ask, now_ns: u64) -> Result<Verdict, Refusal> {
    let limits = ask.limits.as_slice();
    let mut book = Book::default();
    open(&mut book, stored, ask, now_ns)?;
    Ok(verdict(&book, limits, wait_ns(&book, limits, ask.cost, now_ns), now_ns))
}

/// Gives tokens back to every limit, none above its burst. Answers as [`peek`] for one token afterwards.
///
/// A block stays, and so does the row of refusals.
pub fn refund(name: &[u8], stored: &[u8], ask: &Ask, now_ns: u64) -> Result<Decision, Refusal> {
    let limits = ask.limits.as_slice();
    let mut book = Book::of(name);
    open(&mut book, stored, ask, now_ns)?;
    let is_full = book.debts(limits, now_ns).all(|(_, debt)| debt == limit::Exact::default());
    let now = limit::Exact::ns(now_ns);
    book.shift(limits, |limit, full_at| limit.difference(full_at, limit.span(ask.cost)).max(now));
    let verdict = verdict(&book, limits, wait_ns(&book, limits, 1, now_ns), now_ns);
    let changed = book.is_repaired || (ask.cost > 0 && !is_full);
    Ok(Decision { verdict, store: changed.then(|| book.store(now_ns)) })
}

/// Refuses everything for `block_ms`, whatever was blocked before; 0 ends a block. `None` if there was none to end.
pub fn block(name: &[u8], stored: &[u8], block_ms: u64, now_ns: u64) -> Result<Option<Store>, Refusal> {
    let length_ns = block_ns(block_ms)?;
    let mut book = Book::of(name);
    book.read(stored)?;
    if length_ns == 0 && book.blocked_ns(now_ns) == 0 {
        return Ok(None);
    }
    book.block(length_ns, now_ns);
    Ok(Some(book.store(now_ns)))
}

/// Refuses what neither a limit nor leases have stored.
pub fn check_stored(stored: &[u8]) -> Result<(), Refusal> {
    if leases::is_leases(stored) { leases::check(stored) } else { Book::default().read(stored) }
}

/// Reads what is stored and brings it to now.
fn open(book: &mut Book, stored: &[u8], ask: &Ask, now_ns: u64) -> Result<(), Refusal> {
    let limits = ask.limits.as_slice();
    if limits.is_empty() {
        return Err(wrong_count());
    }
    if let Some(limit) = limits.iter().find(|limit| ask.cost > limit.burst()) {
        let message = format!("cost {} is above the burst {}, it could never be allowed", ask.cost, limit.burst());
        return Err(Refusal::argument(message));
    }
    book.read(stored)?;
    book.bring_to(limits, now_ns);
    Ok(())
}

/// How long until so many tokens are there and nobody is blocked.
fn wait_ns(book: &Book, limits: &[Limit], cost: u64, now_ns: u64) -> u64 {
    let waits = book.debts(limits, now_ns).map(|(limit, debt)| limit.wait(debt, cost).ceil_ns());
    waits.fold(book.blocked_ns(now_ns), u64::max)
}

/// The answer to a call that has to wait so long.
fn verdict(book: &Book, limits: &[Limit], wait_ns: u64, now_ns: u64) -> Verdict {
    let retry_after_ms = (wait_ns > 0).then(|| wait_ns.div_ceil(NS_PER_MS));
    let blocked_ns = book.blocked_ns(now_ns);
    if blocked_ns > 0 {
        let reset_after_ms = blocked_ns.div_ceil(NS_PER_MS);
        return Verdict { allowed: false, limit: 0, remaining: 0, retry_after_ms, reset_after_ms };
    }
    let left = book.debts(limits, now_ns).map(|(limit, debt)| (limit.tokens(debt), limit.burst(), debt));
    let (remaining, limit, debt) = left.min_by_key(|(tokens, ..)| *tokens).unwrap_or_default();
    let reset_after_ms = debt.ceil_ns().div_ceil(NS_PER_MS);
    Verdict { allowed: wait_ns == 0, limit, remaining, retry_after_ms, reset_after_ms }
}

fn block_ns(block_ms: u64) -> Result<u64, Refusal> {
    let ns = block_ms.checked_mul(NS_PER_MS).filter(|ns| *ns <= SPAN_NS_MAX);
    ns.ok_or_else(|| Refusal::argument("a block lasts ten years at most"))
}

fn wrong_count() -> Refusal {
    Refusal::argument(format!("1 to {LIMITS_MAX} limits are decided together"))
}

fn foreign() -> Refusal {
    Refusal::argument("the key holds a string that is not of this kind")
}
