//! `RATE.`: who may do how much, and who may hold how many.

use crate::args::{Args, once, unknown};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode, OwnString, Word};
use crate::reply::{Outcome, Reply, Trouble};
use stoa_core::rate::{self, Ask, Left, Limit, Store, Strikes, Verdict};

/// RATE.TAKE key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST n] [BLOCK after block_ms]
pub(crate) fn take(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let name = args.word("key")?;
    let mut ask = Ask::default();
    read(&mut ask, &mut args, true)?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let decision = rate::take(name.bytes(), open.string()?, &ask, ffi::now_ns())?;
    store(ctx, name, &mut open, decision.store);
    Ok(verdict_reply(decision.verdict))
}

/// RATE.PEEK key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST n]
pub(crate) fn peek(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let name = args.word("key")?;
    let mut ask = Ask::default();
    read(&mut ask, &mut args, false)?;
    let open = Key::open(ctx, &name, Mode::Read);
    Ok(verdict_reply(rate::peek(open.string()?, &ask, ffi::now_ns())?))
}

/// RATE.REFUND key LIMIT burst count period_ms [LIMIT burst count period_ms …] [COST n]
pub(crate) fn refund(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let name = args.word("key")?;
    let mut ask = Ask::default();
    read(&mut ask, &mut args, false)?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let decision = rate::refund(name.bytes(), open.string()?, &ask, ffi::now_ns())?;
    store(ctx, name, &mut open, decision.store);
    Ok(verdict_reply(decision.verdict))
}

/// RATE.RESET key
pub(crate) fn reset(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let name = args.word("key")?;
    args.end()?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    if open.is_empty() {
        return Ok(false.into());
    }
    rate::check_stored(open.string()?)?;
    open.delete();
    effects::replicate_end(ctx, name);
    Ok(true.into())
}

/// RATE.BLOCK key ms
pub(crate) fn block(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, block_ms) = (args.word("key")?, args.integer("ms")?);
    args.end()?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let decided = rate::block(name.bytes(), open.string()?, block_ms, ffi::now_ns())?;
    store(ctx, name, &mut open, decided);
    Ok(decided.is_some().into())
}

/// RATE.HOLD key holder max ttl_ms
pub(crate) fn hold(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, holder) = (args.word("key")?, args.text("holder")?);
    let (max, ttl_ms) = (args.integer("max")?, args.integer("ttl_ms")?);
    args.end()?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let held = rate::hold(open.string()?, holder, max, ttl_ms, ffi::now_ms())?;
    leave(ctx, name, &mut open, held.left);
    let figures = [held.allowed.into(), held.held.into(), max.into()];
    Ok(Reply::List(figures.into_iter().chain([Reply::Integer(or_none(held.retry_after_ms))]).collect()))
}

/// RATE.DROP key holder
pub(crate) fn give_back(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, holder) = (args.word("key")?, args.text("holder")?);
    args.end()?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let (was_held, left) = rate::give_back(open.string()?, holder, ffi::now_ms())?;
    leave(ctx, name, &mut open, left);
    Ok(was_held.into())
}

/// How long a call has to wait, in milliseconds; 0 if it is allowed now.
pub(super) fn wait_ms(ctx: &Ctx<'_>, name: Word<'_>, ask: &Ask, now_ns: u64) -> Result<u64, Trouble> {
    let open = Key::open(ctx, &name, Mode::Read);
    Ok(rate::peek(open.string()?, ask, now_ns)?.retry_after_ms.unwrap_or(0))
}

/// Takes what [`wait_ms`] found to be allowed.
pub(super) fn charge(ctx: &Ctx<'_>, name: Word<'_>, ask: &Ask, now_ns: u64) {
    let mut open = Key::open(ctx, &name, Mode::Write);
    // Looked at before in the same call, so this cannot fail.
    let decision = open.string().ok().and_then(|stored| rate::take(name.bytes(), stored, ask, now_ns).ok());
    store(ctx, name, &mut open, decision.and_then(|decision| decision.store));
}

/// Reads limits, cost and, where a call may block, the strikes into the place where they stay: they are large.
fn read(ask: &mut Ask, args: &mut Args<'_>, may_block: bool) -> Result<(), Trouble> {
    let mut cost = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "LIMIT" => {
                let limit = Limit::new(args.integer("burst")?, args.integer("count")?, args.integer("period_ms")?)?;
                ask.limits.push(limit)?;
            }
            "COST" => once(&mut cost, "COST", args.integer("cost")?)?,
            "BLOCK" if may_block => {
                once(&mut ask.strikes, "BLOCK", Strikes::new(args.integer("after")?, args.integer("block_ms")?)?)?
            }
            _ => return Err(unknown(&word)),
        }
    }
    ask.cost = cost.unwrap_or(1);
    Ok(())
}

/// Stores what a limit decided, if it changed anything.
fn store(ctx: &Ctx<'_>, name: Word<'_>, open: &mut Key<'_>, decided: Option<Store>) {
    let Some(Store { state, ends_ms, same_end }) = decided else { return };
    let value = OwnString::new(state.as_slice());
    open.set_string(&value, ends_ms, same_end);
    effects::replicate_string(ctx, name, &value, (!same_end).then_some(ends_ms));
}

/// Stores what is left of leases.
fn leave(ctx: &Ctx<'_>, name: Word<'_>, open: &mut Key<'_>, left: Left) {
    match left {
        Left::Unchanged => {}
        Left::Nothing => {
            open.delete();
            effects::replicate_end(ctx, name);
        }
        Left::Store(bytes, ends_ms) => {
            let value = OwnString::new(&bytes);
            open.set_string(&value, ends_ms, false);
            effects::replicate_string(ctx, name, &value, Some(ends_ms));
        }
    }
}

fn verdict_reply(verdict: Verdict) -> Reply {
    Reply::Integers([
        i64::from(verdict.allowed),
        integer(verdict.limit),
        integer(verdict.remaining),
        or_none(verdict.retry_after_ms),
        integer(verdict.reset_after_ms),
    ])
}

fn or_none(ms: Option<u64>) -> i64 {
    ms.map_or(-1, integer)
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
