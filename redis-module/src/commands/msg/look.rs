//! Reading a log.

use super::RANGE_COUNT;
use crate::args::{Args, once, unknown};
use crate::commands::{changes_reply, epoch_reply, stream_key};
use crate::ffi::{Ctx, Key, Mode};
use crate::reply::{Outcome, Reply, Trouble};
use crate::settings::bounds;
use stoa_core::bounds::GET_MAX;
use stoa_core::changes::Changes;
use stoa_core::epoch::Position;
use stoa_core::log::{Log, Range, Unread};
use stoa_core::refusal::{Code, Refusal};

/// MSG.RANGE key [BEFORE n | AFTER n | AROUND n] [THREAD n] [COUNT c]
pub(crate) fn range(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let (mut which, mut thread, mut count) = (None, None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "BEFORE" => once(&mut which, "BEFORE, AFTER or AROUND", Range::Before(args.integer("n")?))?,
            "AFTER" => once(&mut which, "BEFORE, AFTER or AROUND", Range::After(args.integer("n")?))?,
            "AROUND" => once(&mut which, "BEFORE, AFTER or AROUND", Range::Around(args.integer("n")?))?,
            "THREAD" => once(&mut thread, "THREAD", args.integer("n")?)?,
            "COUNT" => once(&mut count, "COUNT", counted(args.integer("count")?)?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let which = which.unwrap_or(Range::Before(u64::MAX));
    let open = Key::open(ctx, &name, Mode::Read);
    let nothing = Log::default();
    let log = open.value::<Log>()?.unwrap_or(&nothing);
    let page = log.range(which, thread, count.unwrap_or(RANGE_COUNT), &bounds())?;
    let more = match which {
        Range::Before(_) => page.more_before,
        Range::After(_) => page.more_after,
        Range::Around(_) => page.more_before || page.more_after,
    };
    let position = log.position();
    Ok(Reply::Map(vec![
        ("epoch", epoch_reply(position.epoch)),
        ("rev", position.rev.into()),
        ("messages", page.messages.into()),
        ("more", more.into()),
        ("more_before", page.more_before.into()),
        ("more_after", page.more_after.into()),
    ]))
}

/// MSG.GET key n [n …]
pub(crate) fn get(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let mut numbers = Vec::new();
    while !args.is_empty() {
        if numbers.len() == GET_MAX {
            return Err(Refusal::argument(format!("at most {GET_MAX} messages are read together")).into());
        }
        numbers.push(args.integer("n")?);
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let log = open.value::<Log>()?;
    let message = |n: u64| log.and_then(|log| log.get(n)).map_or(Reply::Null, Reply::Text);
    Ok(Reply::List(numbers.into_iter().map(message).collect()))
}

/// MSG.HISTORY key n
pub(crate) fn history(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let n = args.integer("n")?;
    args.end()?;
    let open = Key::open(ctx, &name, Mode::Read);
    let log = open.value::<Log>()?.ok_or_else(nothing_said)?;
    Ok(Reply::Map(vec![("versions", log.history(n)?.into())]))
}

/// MSG.UNREAD key user
pub(crate) fn unread(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let user = args.text("user")?;
    args.end()?;
    let open = Key::open(ctx, &name, Mode::Read);
    let log = open.value::<Log>()?;
    let counts = log.map_or(Unread::default(), |log| log.unread(user));
    let (rev, newest) = log.map_or((0, 0), |log| (log.rev(), log.newest()));
    let epoch = log.map_or(Position::START.epoch, |log| log.epochs().current());
    Ok(Reply::Map(vec![
        ("read", counts.read.into()),
        ("unread", counts.unread.into()),
        ("mentions", counts.mentions.into()),
        ("n", newest.into()),
        ("rev", rev.into()),
        ("epoch", epoch_reply(epoch)),
    ]))
}

/// MSG.SINCE key rev [EPOCH epoch] [COUNT c]
pub(crate) fn since(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let rev = args.integer("rev")?;
    let (mut epoch, mut count) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "EPOCH" => once(&mut epoch, "EPOCH", args.epoch()?)?,
            "COUNT" => once(&mut count, "COUNT", counted(args.integer("count")?)?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let Some(log) = open.value::<Log>()? else {
        let nothing = if rev == 0 { Changes::Page { events: Vec::new(), through: 0 } } else { Changes::Unknown };
        return Ok(changes_reply(nothing, Position::START));
    };
    let changes = log.since(rev, epoch, count.unwrap_or(usize::MAX), (key.room, key.stream), &bounds());
    Ok(changes_reply(changes, log.position()))
}

pub(super) fn nothing_said() -> Trouble {
    Refusal::new(Code::NotFound, "nothing was said here yet").into()
}

/// A count of at least 1; the bounds of a page cap it.
pub(crate) fn counted(count: u64) -> Result<usize, Refusal> {
    if count == 0 {
        return Err(Refusal::argument("COUNT has to be at least 1"));
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}
