//! How much a log keeps, what it holds, and following the primary.

use super::look::nothing_said;
use super::{call, reschedule};
use crate::args::{Args, once, unknown};
use crate::commands::{epoch_reply, stream_key};
use crate::effects;
use crate::ffi::{Ctx, Key, Mode};
use crate::reply::{Outcome, Reply};
use crate::settings::bounds;
use stoa_core::bounds::Bounds;
use stoa_core::log::Log;

/// MSG.TRIM key keep
pub(crate) fn trim(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let keep = args.integer("keep")?;
    args.end()?;
    let (mut open, bounds) = (Key::open(ctx, &name, Mode::Write), bounds());
    let log = open.value_mut::<Log>()?.ok_or_else(nothing_said)?;
    let (gone, record) = log.trim(keep, &call(ctx, &key, &bounds));
    if let Some(record) = record {
        effects::replicate::<Log>(ctx, &key, &record);
        effects::notify(ctx, c"msg.trim", &name);
    }
    Ok(gone.into())
}

/// MSG.CONFIG key [MESSAGES n] [AGE_MS ms] [BYTES bytes]
pub(crate) fn config(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (mut messages, mut age_ms, mut bytes) = (None, None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "MESSAGES" => once(&mut messages, "MESSAGES", args.integer("n")?)?,
            "AGE_MS" => once(&mut age_ms, "AGE_MS", args.integer("ms")?)?,
            "BYTES" => once(&mut bytes, "BYTES", args.integer("bytes")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let (mut open, bounds) = (Key::open(ctx, &name, Mode::Write), bounds());
    let mut fresh = None;
    let log = match open.value_mut::<Log>()? {
        Some(log) => log,
        None => fresh.insert(Log::default()),
    };
    let record = log.configure(messages, age_ms, bytes, &call(ctx, &key, &bounds));
    let fields = limits(log, &bounds);
    if let Some(record) = record {
        effects::replicate::<Log>(ctx, &key, &record);
        effects::notify(ctx, c"msg.config", &name);
        reschedule(ctx, &key, log, &bounds);
        // A log may be given its bounds before anything is said in it.
        if let Some(log) = fresh {
            open.put(log);
        }
    }
    Ok(Reply::Map(fields))
}

fn limits(log: &Log, bounds: &Bounds) -> Vec<(&'static str, Reply)> {
    let limits = log.limits(bounds);
    vec![
        ("messages_max", limits.messages.into()),
        ("age_ms_max", limits.age_ms.into()),
        ("bytes_max", limits.bytes.into()),
    ]
}

/// MSG.INFO key
pub(crate) fn info(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    args.end()?;
    let open = Key::open(ctx, &name, Mode::Read);
    let log = open.value::<Log>()?.ok_or_else(nothing_said)?;
    let figures = log.figures();
    let mut fields = vec![
        ("epoch", epoch_reply(log.epochs().current())),
        ("rev", log.rev().into()),
        ("first_n", figures.first_n.into()),
        ("n", figures.newest_n.into()),
        ("messages", figures.messages.into()),
        ("deleted", figures.deleted.into()),
        ("streaming", figures.streaming.into()),
        ("bytes", figures.bytes.into()),
        ("readers", figures.readers.into()),
        ("writers", figures.writers.into()),
    ];
    fields.extend(limits(log, &bounds()));
    Ok(Reply::Map(fields))
}

/// MSG.APPLY key CHANGE|STATE record
pub(crate) fn apply(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    effects::follow_or_new::<Log>(ctx, args, |log, record| log.apply(record, &bounds()))
}
