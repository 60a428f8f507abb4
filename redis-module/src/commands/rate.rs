//! `RATE.`: who may do how much.

use crate::args::{Args, unknown};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode};
use crate::reply::{Outcome, Reply};
use stoa_core::rate::{self, Limit};

/// RATE.TAKE key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST n]
pub(crate) fn take(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let name = args.word("key")?;
    let mut limits = Vec::with_capacity(2);
    let mut cost = 1;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "LIMIT" => {
                limits.push(Limit::new(args.integer("burst")?, args.integer("count")?, args.integer("period_ms")?)?)
            }
            "COST" => cost = args.integer("cost")?,
            _ => return Err(unknown(&word)),
        }
    }
    // Opened for reading first: a refusal must not disturb those who watch the key.
    let decision = rate::take(Key::open(ctx, &name, Mode::Read).string()?, &limits, cost, ffi::now_ns())?;
    if let Some((bytes, ends_ms)) = &decision.store {
        Key::open(ctx, &name, Mode::Write).set_string(bytes, *ends_ms);
        effects::replicate_string(ctx, name.bytes(), bytes, *ends_ms);
    }
    let verdict = decision.verdict;
    Ok(Reply::List(vec![
        verdict.allowed.into(),
        verdict.limit.into(),
        verdict.remaining.into(),
        verdict.retry_after_ms.map_or(Reply::Integer(-1), Reply::from),
        verdict.reset_after_ms.into(),
    ]))
}
