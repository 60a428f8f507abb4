//! `LIMITS n key burst count period_ms …`, the last option of commands that write: limits that have to allow the
//! command. All of them do, or none is charged and nothing happens.
//!
//! A command [`cut`](Limits::cut)s the option off its arguments, asks [`check`](Limits::check) before it decides, and
//! [`charge`](Limits::charge)s with what it changes. A write that was accepted before is answered again, without a
//! charge and also when a limit allows no more: resending must not depend on being allowed to write anew.

use super::rate;
use crate::args::Args;
use crate::ffi::{self, Ctx, Word};
use crate::reply::Trouble;
use stoa_core::names::{RoomKey, slot_tag};
use stoa_core::rate::{Ask, LIMITS_MAX, Limit};
use stoa_core::refusal::{Code, Refusal};

const WORD: &[u8] = b"LIMITS";
/// Arguments of one limit: key, burst, count, period.
const GROUP: usize = 4;

/// Where the option begins and how many limits it has, if these arguments end with it.
///
/// The server is told the keys of a command by this function, too, so that what it checks and what is done cannot
/// differ. Any other argument may be the word `LIMITS`, a user's name for one; but what follows it is never a number, as
/// many groups, and in the first place of them a key of a room.
pub(crate) fn place(args: &[Word<'_>]) -> Option<(usize, usize)> {
    (1..=LIMITS_MAX).find_map(|count| {
        let at = args.len().checked_sub(2 + count * GROUP)?;
        // The digits of 1 to LIMITS_MAX are one.
        let counts = || args[at + 1].bytes() == [b'0' + count as u8];
        let is_there = args[at].bytes().eq_ignore_ascii_case(WORD) && counts() && args[at + 2].bytes().contains(&b'{');
        is_there.then_some((at, count))
    })
}

/// The places of the limits' keys among all words of a command, its name included.
pub(crate) fn key_places(words: &[Word<'_>]) -> impl Iterator<Item = usize> + use<> {
    let (at, count) = place(words).unwrap_or_default();
    (0..count).map(move |limit| at + 2 + limit * GROUP)
}

/// The limits of a call. Most calls have none, and pay nothing for those that do.
pub(crate) struct Limits<'a>(Option<Box<Asked<'a>>>);

struct Asked<'a> {
    /// One moment for looking and for charging: what was allowed cannot be refused in between.
    now_ns: u64,
    keys: Vec<(Word<'a>, Ask)>,
}

impl<'a> Limits<'a> {
    /// Takes the option off the end of a command on `key`. Refuses keys that are the command's own, or of another slot.
    pub(crate) fn cut(args: &mut Args<'a>, key: &RoomKey<'_>) -> Result<Self, Trouble> {
        let Some((at, count)) = place(args.rest()) else { return Ok(Limits(None)) };
        let mut option = args.split_off(at).after(2);
        let mut keys: Vec<(Word<'a>, Ask)> = Vec::with_capacity(count);
        for _ in 0..count {
            let name = option.word("key")?;
            if name.bytes() == key.key.as_bytes() {
                return Err(Refusal::argument("LIMITS: the command's own key is no limit's").into());
            }
            if slot_tag(name.bytes()) != Some(key.room.as_bytes()) {
                return Err(Refusal::argument(format!("LIMITS: the keys have {{{}}} in them", key.room)).into());
            }
            let (burst, refill) = (option.integer("burst")?, option.integer("count")?);
            let limit = Limit::new(burst, refill, option.integer("period_ms")?)?;
            match keys.iter_mut().find(|(known, _)| known.bytes() == name.bytes()) {
                Some((_, ask)) => ask.limits.push(limit)?,
                None => {
                    let mut ask = Ask { cost: 1, ..Ask::default() };
                    ask.limits.push(limit)?;
                    keys.push((name, ask));
                }
            }
        }
        Ok(Limits(Some(Box::new(Asked { now_ns: ffi::now_ns(), keys }))))
    }

    /// Refuses with `RATE_LIMITED` if a limit does not allow the command, unless it `is_known`: accepted before, or for
    /// another reason answered without an effect.
    pub(crate) fn check(&self, ctx: &Ctx<'_>, is_known: impl FnOnce() -> bool) -> Result<(), Trouble> {
        let Some(asked) = &self.0 else { return Ok(()) };
        let mut longest = (0, None);
        for (name, ask) in &asked.keys {
            let wait_ms = rate::wait_ms(ctx, *name, ask, asked.now_ns)?;
            if wait_ms > longest.0 {
                longest = (wait_ms, Some(name));
            }
        }
        match longest {
            (wait_ms, Some(name)) if !is_known() => {
                let name = String::from_utf8_lossy(name.bytes());
                let message = format!("retry after {wait_ms} ms: the limit {name} allows no more");
                Err(Refusal::new(Code::RateLimited, message).into())
            }
            _ => Ok(()),
        }
    }

    /// Takes a token from every limit, for a command that was carried out.
    pub(crate) fn charge(&self, ctx: &Ctx<'_>) {
        let Some(asked) = &self.0 else { return };
        for (name, ask) in &asked.keys {
            rate::charge(ctx, *name, ask, asked.now_ns);
        }
    }
}
