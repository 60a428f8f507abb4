//! The commands, a file for each family. Each reads the same: parse, open, decide, replicate, announce, reply.

pub(crate) mod access;
pub(crate) mod doc;
pub(crate) mod limits;
pub(crate) mod msg;
pub(crate) mod presence;
pub(crate) mod rate;
pub(crate) mod room;

use crate::args::Args;
use crate::ffi::{Ctx, Key, Word};
use crate::reply::{Reply, Trouble};
use crate::stored::Stored;
use stoa_core::changes::Changes;
use stoa_core::epoch::{Epoch, Position};
use stoa_core::names::RoomKey;
use stoa_core::refusal::Refusal;

/// Takes the key of a room's stream from the arguments: as the server names it, and what it says.
fn stream_key<'a>(ctx: &Ctx<'_>, args: &mut Args<'a>) -> Result<(Word<'a>, RoomKey<'a>), Trouble> {
    check_database(ctx)?;
    let name = args.word("key")?;
    Ok((name, RoomKey::parse(name.bytes())?))
}

/// A channel says nothing of the database, so rooms live in one.
fn check_database(ctx: &Ctx<'_>) -> Result<(), Trouble> {
    match ctx.database() {
        0 => Ok(()),
        n => Err(Refusal::argument(format!("rooms live in database 0, this connection selected {n}")).into()),
    }
}

/// Decides a change of the value in a key, or of a new one, which stays only if there is something to keep.
fn change<T: Stored + Default, C>(
    open: &mut Key<'_>,
    decide: impl FnOnce(&mut T) -> Result<C, Refusal>,
    is_kept: impl FnOnce(&C) -> bool,
) -> Result<C, Trouble> {
    if let Some(value) = open.value_mut::<T>()? {
        return Ok(decide(value)?);
    }
    let mut value = T::default();
    let changed = decide(&mut value)?;
    if is_kept(&changed) {
        open.put(value);
    }
    Ok(changed)
}

/// Exactly what came after a position, or why that is impossible: {outcome, epoch, rev, through, events}.
fn changes_reply(changes: Changes, head: Position) -> Reply {
    let (outcome, rev, through, events) = match changes {
        Changes::Page { events, through } => ("changes", head.rev, through, events),
        Changes::RolledBack { end } => ("rollback", head.rev, end, Vec::new()),
        Changes::Unknown => ("reset", head.rev, 0, Vec::new()),
        Changes::Trimmed => ("trimmed", head.rev, 0, Vec::new()),
    };
    Reply::Map(vec![
        ("outcome", outcome.into()),
        ("epoch", epoch_reply(head.epoch)),
        ("rev", rev.into()),
        ("through", through.into()),
        ("events", events_reply(events)),
    ])
}

/// Revision and frame in turn.
fn events_reply(events: Vec<(u64, String)>) -> Reply {
    Reply::List(events.into_iter().flat_map(|(rev, frame)| [Reply::from(rev), Reply::Text(frame)]).collect())
}

fn epoch_reply(epoch: Epoch) -> Reply {
    Reply::Epoch(epoch)
}
