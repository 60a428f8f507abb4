//! `RATE.`: who may do how much.

use crate::args::{Args, unknown};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode, OwnString};
use crate::reply::{Outcome, Reply};
use stoa_core::rate::{self, Limit, Limits};

/// RATE.TAKE key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST n]
pub(crate) fn take(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let name = args.word("key")?;
    let mut limits = Limits::default();
    let mut cost = 1;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "LIMIT" => {
                limits.push(Limit::new(args.integer("burst")?, args.integer("count")?, args.integer("period_ms")?)?)?
            }
            "COST" => cost = args.integer("cost")?,
            _ => return Err(unknown(&word)),
        }
    }
    let mut open = Key::open(ctx, &name, Mode::Write);
    let decision = rate::take(open.string()?, limits.as_slice(), cost, ffi::now_ns())?;
    if let Some((bytes, ends_ms)) = &decision.store {
        let value = OwnString::new(bytes.as_slice());
        open.set_string(&value, *ends_ms);
        effects::replicate_string(ctx, name, &value, *ends_ms);
    }
    let verdict = decision.verdict;
    let integer = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Ok(Reply::Integers([
        i64::from(verdict.allowed),
        integer(verdict.limit),
        integer(verdict.remaining),
        verdict.retry_after_ms.map_or(-1, integer),
        integer(verdict.reset_after_ms),
    ]))
}
