//! Messages that people read while they are written.

use super::{Options, call, changed, open, opened, reschedule, told};
use crate::args::{Args, once};
use crate::commands::limits::Limits;
use crate::commands::stream_key;
use crate::ffi::Ctx;
use crate::reply::{Outcome, Reply};
use crate::settings::bounds;

/// MSG.APPEND key n user chunk [AT length] [ID client seq] [CONN conn] [LIMITS …]
pub(crate) fn append(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let n = args.integer("n")?;
    let mut options = Options::of(args.text("user")?);
    let chunk = args.text("chunk")?;
    let mut at = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "AT" => once(&mut at, "AT", args.integer("length")?)?,
            _ => options.take(&word, &mut args)?,
        }
    }
    let (mut open, bounds) = (open(ctx, &name), bounds());
    limits.check(ctx, || options.are_known(&open))?;
    let log = opened(&mut open)?;
    let appended = log.append(n, chunk, at, options.actor(), &call(ctx, &key, &bounds))?;
    let mut fields = told(ctx, (&name, &key), log, (n, &appended, &limits), options.connection, c"msg.append");
    fields.push(("length", appended.answer.number.into()));
    fields.push(("cancelled", log.is_cancelled(n).into()));
    Ok(Reply::Map(fields))
}

/// MSG.FINISH key n user [json] [ID client seq] [CONN conn] [LIMITS …]
pub(crate) fn finish(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let n = args.integer("n")?;
    let options = Options::of(args.text("user")?);
    // A body is an object or a string, and so never looks like an option.
    let body = if args.has_value(&["ID", "CONN"]) { Some(args.bytes("json")?) } else { None };
    let mut options = options.take_all(&mut args)?;
    let (mut open, bounds) = (open(ctx, &name), bounds());
    limits.check(ctx, || options.are_known(&open))?;
    let log = opened(&mut open)?;
    let finished = log.finish(n, body, options.actor(), &call(ctx, &key, &bounds))?;
    let mut fields = told(ctx, (&name, &key), log, (n, &finished, &limits), options.connection, c"msg.finish");
    fields.push(changed(&finished));
    reschedule(ctx, &key, log, &bounds);
    Ok(Reply::Map(fields))
}

/// MSG.CANCEL key n user [ID client seq] [CONN conn] [LIMITS …]
pub(crate) fn cancel(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let n = args.integer("n")?;
    let mut options = Options::of(args.text("user")?).take_all(&mut args)?;
    let (mut open, bounds) = (open(ctx, &name), bounds());
    limits.check(ctx, || options.are_known(&open))?;
    let log = opened(&mut open)?;
    let cancelled = log.cancel(n, options.actor(), &call(ctx, &key, &bounds))?;
    let mut fields = told(ctx, (&name, &key), log, (n, &cancelled, &limits), options.connection, c"msg.cancel");
    fields.push(changed(&cancelled));
    Ok(Reply::Map(fields))
}
