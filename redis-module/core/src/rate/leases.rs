//! Leases: how many may hold something at the same time, such as a connection or a seat.
//!
//! Each holder has a lease that ends by itself, so a holder that crashed frees its place, and one that asks again keeps
//! it. Nothing has to be counted down, so nothing can be counted wrong.

use super::{HOLDERS_MAX, foreign};
use crate::codec;
use crate::identity::check_id;
use crate::refusal::Refusal;
use bincode::{BorrowDecode, Encode};

/// Leads the stored bytes; the two before it are a limit's.
const VERSION: u8 = 3;
/// Longest lease, in milliseconds: a day. Who lives longer asks again.
const LEASE_MS_MAX: u64 = 24 * 3600 * 1000;

#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
struct Lease<'a> {
    holder: &'a str,
    ends_ms: u64,
    /// How long it was given for: a later end means that the clock stepped back.
    ttl_ms: u64,
}

/// What is stored after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// The key as it is.
    Unchanged,
    /// No key.
    Nothing,
    /// These bytes, until this Unix time in milliseconds.
    Store(Vec<u8>, u64),
}

/// What [`hold`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whether the holder holds a lease now.
    pub allowed: bool,
    /// How many hold one now.
    pub held: u64,
    /// When a lease ends so that there is room, in milliseconds from now; `None` if it was allowed.
    pub retry_after_ms: Option<u64>,
    /// What to store.
    pub left: Left,
}

/// Gives a holder a lease of `ttl_ms` from now, if fewer than `max` hold one. Who holds one keeps it, and it ends
/// `ttl_ms` from now.
///
/// `stored` is what an earlier call stored, or empty. Refuses a `max` beyond [`HOLDERS_MAX`] and a lease above a day.
pub fn hold(stored: &[u8], holder: &str, max: u64, ttl_ms: u64, now_ms: u64) -> Result<Held, Refusal> {
    check_id("holder", holder, false)?;
    if !(1..=HOLDERS_MAX).contains(&max) {
        return Err(Refusal::argument(format!("max has to be 1 to {HOLDERS_MAX}")));
    }
    if !(1..=LEASE_MS_MAX).contains(&ttl_ms) {
        return Err(Refusal::argument(format!("ttl_ms has to be 1 to {LEASE_MS_MAX}")));
    }
    let (mut leases, is_repaired) = standing(stored, now_ms)?;
    let lease = Lease { holder, ends_ms: now_ms + ttl_ms, ttl_ms };
    let known = leases.iter().position(|known| known.holder == holder);
    let allowed = known.is_some() || (leases.len() as u64) < max;
    match known {
        Some(at) => leases[at] = lease,
        None if allowed => leases.push(lease),
        None => {}
    }
    let retry_after_ms = (!allowed).then(|| {
        let mut ends: Vec<u64> = leases.iter().map(|lease| lease.ends_ms).collect();
        ends.sort_unstable();
        // There is room when all that are over the bound, and one more, have ended.
        ends.get(leases.len() - max as usize).map_or(0, |ends_ms| ends_ms - now_ms)
    });
    let left = if allowed || is_repaired { kept(&leases) } else { Left::Unchanged };
    Ok(Held { allowed, held: leases.len() as u64, retry_after_ms, left })
}

/// Ends the lease of a holder. Answers whether there was one, and what is left.
pub fn give_back(stored: &[u8], holder: &str, now_ms: u64) -> Result<(bool, Left), Refusal> {
    check_id("holder", holder, false)?;
    let (mut leases, _) = standing(stored, now_ms)?;
    let before = leases.len();
    leases.retain(|lease| lease.holder != holder);
    if leases.len() == before {
        return Ok((false, Left::Unchanged));
    }
    Ok((true, kept(&leases)))
}

/// Whether these bytes are leases.
pub(super) fn is_leases(stored: &[u8]) -> bool {
    stored.first() == Some(&VERSION)
}

/// Refuses bytes that are not leases.
pub(super) fn check(stored: &[u8]) -> Result<(), Refusal> {
    standing(stored, 0).map(|_| ())
}

/// The leases that have not ended, and whether one ended later than it can.
fn standing(stored: &[u8], now_ms: u64) -> Result<(Vec<Lease<'_>>, bool), Refusal> {
    let mut leases: Vec<Lease<'_>> = match stored.split_first() {
        None => Vec::new(),
        Some((&VERSION, rest)) => codec::decode_in_place(rest).map_err(|_| foreign())?,
        Some(_) => return Err(foreign()),
    };
    if leases.len() as u64 > HOLDERS_MAX || leases.iter().any(|lease| lease.ttl_ms > LEASE_MS_MAX) {
        return Err(foreign());
    }
    leases.retain(|lease| lease.ends_ms > now_ms);
    let mut is_repaired = false;
    for lease in &mut leases {
        let latest_ms = now_ms + lease.ttl_ms;
        if lease.ends_ms > latest_ms {
            (lease.ends_ms, is_repaired) = (latest_ms, true);
        }
    }
    Ok((leases, is_repaired))
}

/// The key ends with its last lease.
fn kept(leases: &[Lease<'_>]) -> Left {
    match leases.iter().map(|lease| lease.ends_ms).max() {
        Some(ends_ms) => Left::Store(codec::encode_versioned(VERSION, &leases), ends_ms),
        None => Left::Nothing,
    }
}
