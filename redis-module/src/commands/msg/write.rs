//! Posts, edits, deletions, reactions, watermarks.

use super::{Options, call, changed, open, opened, reschedule, told};
use crate::args::{Args, once};
use crate::commands::limits::Limits;
use crate::commands::{epoch_reply, stream_key};
use crate::deadlines;
use crate::effects;
use crate::ffi::{Ctx, Key, Mode};
use crate::reply::{Outcome, Reply};
use crate::settings::bounds;
use stoa_core::bounds::READS_PER_CALL_MAX;
use stoa_core::epoch::{Epoch, Position};
use stoa_core::log::{Log, Post};
use stoa_core::refusal::Refusal;

/// Moves of watermarks that wait for the end of the tick; beyond it they are told at once, so that a frame is bounded.
const READS_WAITING_MAX: u64 = 500;

/// MSG.POST key user json [ID client seq] [TYPE type] [REPLY n] [MENTION user …] [META json] [STREAMING] [CONN conn] [LIMITS …]
pub(crate) fn post(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let mut options = Options::of(args.text("user")?);
    let body = args.bytes("json")?;
    let (mut kind, mut reply, mut meta, mut streaming, mut mentions) = (None, None, None, None, Vec::new());
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "TYPE" => once(&mut kind, "TYPE", args.text("type")?)?,
            "REPLY" => once(&mut reply, "REPLY", args.integer("n")?)?,
            "MENTION" => mentions.push(args.text("user")?),
            "META" => once(&mut meta, "META", args.bytes("json")?)?,
            "STREAMING" => once(&mut streaming, "STREAMING", ())?,
            _ => options.take(&word, &mut args)?,
        }
    }
    let streaming = streaming.is_some();
    let post = Post { body, kind: kind.unwrap_or("text"), reply, mentions: &mentions, meta, streaming };
    let bounds = bounds();

    let mut open = open(ctx, &name);
    limits.check(ctx, || options.are_known(&open))?;
    let mut fresh = None;
    let log = match open.value_mut::<Log>()? {
        Some(log) => log,
        None => fresh.insert(Log::default()),
    };
    let posted = log.post(&post, options.actor(), &call(ctx, &key, &bounds))?;
    let n = posted.answer.number;
    let fields = told(ctx, (&name, &key), log, (n, &posted, &limits), options.connection, c"msg.post");
    // Later posts end later: only the first of a log brings its end nearer.
    if streaming || log.len() == 1 {
        reschedule(ctx, &key, log, &bounds);
    }
    if let Some(log) = fresh {
        open.put(log);
    }
    Ok(Reply::Map(fields))
}

/// MSG.EDIT key n user json [ANY] [MENTION user …] [ID client seq] [CONN conn] [LIMITS …]
pub(crate) fn edit(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let n = args.integer("n")?;
    let mut options = Options::of(args.text("user")?);
    let body = args.bytes("json")?;
    let mut mentions = Vec::new();
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "ANY" => once(&mut options.any, "ANY", ())?,
            "MENTION" => mentions.push(args.text("user")?),
            _ => options.take(&word, &mut args)?,
        }
    }
    let (mut open, bounds) = (open(ctx, &name), bounds());
    limits.check(ctx, || options.are_known(&open))?;
    let log = opened(&mut open)?;
    let edited = log.edit(n, body, &mentions, options.actor(), &call(ctx, &key, &bounds))?;
    let mut fields = told(ctx, (&name, &key), log, (n, &edited, &limits), options.connection, c"msg.edit");
    fields.push(changed(&edited));
    Ok(Reply::Map(fields))
}

/// MSG.DELETE key n user [ANY] [ID client seq] [CONN conn] [LIMITS …]
pub(crate) fn delete(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let n = args.integer("n")?;
    let mut options = Options::of(args.text("user")?);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "ANY" => once(&mut options.any, "ANY", ())?,
            _ => options.take(&word, &mut args)?,
        }
    }
    let (mut open, bounds) = (open(ctx, &name), bounds());
    limits.check(ctx, || options.are_known(&open))?;
    let log = opened(&mut open)?;
    let deleted = log.delete(n, options.actor(), &call(ctx, &key, &bounds))?;
    let mut fields = told(ctx, (&name, &key), log, (n, &deleted, &limits), options.connection, c"msg.delete");
    fields.push(changed(&deleted));
    Ok(Reply::Map(fields))
}

/// MSG.REACT key n user reaction [ID client seq] [CONN conn] [LIMITS …]
pub(crate) fn react(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    mark(ctx, args, true)
}

/// MSG.UNREACT key n user reaction [ID client seq] [CONN conn] [LIMITS …]
pub(crate) fn unreact(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    mark(ctx, args, false)
}

fn mark(ctx: &Ctx<'_>, mut args: Args<'_>, add: bool) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let n = args.integer("n")?;
    let options = Options::of(args.text("user")?);
    let reaction = args.text("reaction")?;
    let mut options = options.take_all(&mut args)?;
    let (mut open, bounds) = (open(ctx, &name), bounds());
    limits.check(ctx, || options.are_known(&open))?;
    let log = opened(&mut open)?;
    let marked = log.react(n, reaction, add, options.actor(), &call(ctx, &key, &bounds))?;
    let event = if add { c"msg.react" } else { c"msg.unreact" };
    let mut fields = told(ctx, (&name, &key), log, (n, &marked, &limits), options.connection, event);
    fields.push(changed(&marked));
    fields.push(("count", marked.answer.number.into()));
    Ok(Reply::Map(fields))
}

/// MSG.READ key user n [user n …]
pub(crate) fn read(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let mut marks = Vec::new();
    while !args.is_empty() {
        if marks.len() == READS_PER_CALL_MAX {
            let message = format!("at most {READS_PER_CALL_MAX} watermarks are moved together");
            return Err(Refusal::argument(message).into());
        }
        marks.push((args.text("user")?, args.integer("n")?));
    }
    let (mut open, bounds) = (Key::open(ctx, &name, Mode::Write), bounds());
    let Some(log) = open.value_mut::<Log>()? else {
        return Ok(read_reply(0, Position::START.epoch, 0));
    };
    let (moved, record) = log.read(&marks, &call(ctx, &key, &bounds))?;
    if let Some(record) = record {
        effects::replicate::<Log>(ctx, &name, &record);
        effects::notify(ctx, c"msg.read", &name);
        if log.reads_waiting() > READS_WAITING_MAX {
            effects::announce_reads(ctx, &key, log);
        }
        deadlines::tell(ctx, &key, log);
    }
    Ok(read_reply(log.rev(), log.epochs().current(), moved))
}

fn read_reply(rev: u64, epoch: Epoch, moved: u64) -> Reply {
    Reply::Map(vec![("rev", rev.into()), ("epoch", epoch_reply(epoch)), ("changed", moved.into())])
}
