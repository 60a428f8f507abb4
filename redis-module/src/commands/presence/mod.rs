//! `PRESENCE.`: who is here.

mod kick;
mod look;
mod write;

pub(crate) use kick::kick;
pub(crate) use look::{count, get, list};
pub(crate) use write::{apply, beat, cursor, join, leave, set, typing};

use crate::args::{Args, once, unknown};
use crate::deadlines;
use crate::effects;
use crate::ffi::{Ctx, Key, Word};
use crate::reply::Trouble;
use std::ffi::CStr;
use stoa_core::names::RoomKey;
use stoa_core::presence::{Changed, Presence};
use stoa_core::refusal::{Code, Refusal};

/// As [`super::change`]: a list stays if there is something that replicas have to know of it.
fn change(
    open: &mut Key<'_>,
    decide: impl FnOnce(&mut Presence) -> Result<Changed, Refusal>,
) -> Result<Changed, Trouble> {
    super::change(open, decide, |changed| changed.record.is_some())
}

/// Replicates a change, tells of it, and plans what ends by itself.
fn settle(
    ctx: &Ctx<'_>,
    (name, key): (&Word<'_>, &RoomKey<'_>),
    presence: &mut Presence,
    changed: &Changed,
    event: &CStr,
) {
    let Some(record) = &changed.record else { return };
    effects::replicate::<Presence>(ctx, key, record);
    effects::notify(ctx, event, name);
    deadlines::changed(ctx, key.key.as_bytes(), presence.next_deadline());
    deadlines::tell(ctx, key, presence);
}

/// `[USER user]`: whose connection it has to be.
fn owner_option<'a>(args: &mut Args<'a>) -> Result<Option<&'a str>, Trouble> {
    let mut owner = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "USER" => once(&mut owner, "USER", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    Ok(owner)
}

fn check_owner(presence: &Presence, connection: &str, owner: Option<&str>) -> Result<(), Refusal> {
    owner.map_or(Ok(()), |user| presence.check_owner(connection, user))
}

fn here<'k>(open: &'k mut Key<'_>) -> Result<&'k mut Presence, Trouble> {
    open.value_mut::<Presence>()?.ok_or_else(|| Refusal::new(Code::NotFound, "nobody is in this room").into())
}
