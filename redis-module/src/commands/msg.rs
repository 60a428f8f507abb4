//! `MSG.`: what was said in a room.

use super::{changes_reply, epoch_reply, stream_key};
use crate::args::{Args, once, unknown};
use crate::deadlines::writer;
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode};
use crate::reply::{Outcome, Reply};
use crate::settings::bounds;
use stoa_core::changes::Changes;
use stoa_core::epoch::Position;
use stoa_core::event::Header;
use stoa_core::identity::Identity;
use stoa_core::log::{Log, Post, Range};
use stoa_core::refusal::Refusal;

/// Messages that MSG.RANGE gives when the caller says nothing.
pub(super) const RANGE_COUNT: usize = 50;

/// MSG.POST key user json [ID client seq] [TYPE type] [REPLY n] [CONN conn]
pub(crate) fn post(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (user, body) = (args.text("user")?, args.bytes("json")?);
    let (mut identity, mut kind, mut reply, mut connection) = (None, None, None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "ID" => once(&mut identity, "ID", Identity::new(user, args.text("client")?, args.integer("seq")?)?)?,
            "TYPE" => once(&mut kind, "TYPE", args.text("type")?)?,
            "REPLY" => once(&mut reply, "REPLY", args.integer("n")?)?,
            "CONN" => once(&mut connection, "CONN", args.text("conn")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let post = Post { user, body, kind: kind.unwrap_or("text"), reply, identity };
    let bounds = bounds();

    let mut open = Key::open(ctx, &name, Mode::Write);
    let mut fresh = None;
    let log = match open.value_mut::<Log>()? {
        Some(log) => log,
        None => fresh.insert(Log::default()),
    };
    let posted = log.post(post, writer(ctx), ffi::now_ms(), &bounds)?;
    let epoch = log.epochs().current();
    if let Some(record) = &posted.record {
        let frame = log.frame(key.room, key.stream, posted.answer.rev).unwrap_or_default();
        if let Some(log) = fresh {
            open.put(log);
        }
        effects::replicate::<Log>(ctx, &key, record);
        effects::notify(ctx, c"msg.post", &name);
        let mut header = Header::durable(key.stream, epoch, posted.answer.rev - 1, posted.answer.rev);
        header.origin = connection.unwrap_or_default().to_owned();
        effects::announce(ctx, key.channel, &header, &frame);
    }
    Ok(Reply::Map(vec![
        ("n", posted.answer.number.into()),
        ("rev", posted.answer.rev.into()),
        ("epoch", epoch_reply(epoch)),
        ("duplicate", posted.record.is_none().into()),
    ]))
}

/// MSG.RANGE key [BEFORE n | AFTER n] [COUNT c]
pub(crate) fn range(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let (mut which, mut count) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "BEFORE" => once(&mut which, "BEFORE or AFTER", Range::Before(args.integer("n")?))?,
            "AFTER" => once(&mut which, "BEFORE or AFTER", Range::After(args.integer("n")?))?,
            "COUNT" => once(&mut count, "COUNT", counted(args.integer("count")?)?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let (position, (messages, more)) = match open.value::<Log>()? {
        None => (Position::START, (Vec::new(), false)),
        Some(log) => {
            let which = which.unwrap_or(Range::Before(u64::MAX));
            (log.position(), log.range(which, count.unwrap_or(RANGE_COUNT), &bounds()))
        }
    };
    Ok(Reply::Map(vec![
        ("epoch", epoch_reply(position.epoch)),
        ("rev", position.rev.into()),
        ("messages", messages.into()),
        ("more", more.into()),
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

/// MSG.APPLY key CHANGE|STATE record
pub(crate) fn apply(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    effects::follow::<Log>(ctx, args, |log, record| match log {
        Some(log) => log.apply(record, &bounds()).map(|()| None),
        None => {
            let mut log = Log::default();
            log.apply(record, &bounds())?;
            Ok(Some(log))
        }
    })
}

/// A count of at least 1; the bounds of a page cap it.
pub(super) fn counted(count: u64) -> Result<usize, Refusal> {
    if count == 0 {
        return Err(Refusal::argument("COUNT has to be at least 1"));
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}
