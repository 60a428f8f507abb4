//! `MSG.`: what was said in a room, and what became of it.
//!
//! Every write reads the same: options ([`Options`]), the decision of `stoa_core`, and then [`told`], which replicates
//! and announces it.

mod keep;
mod look;
mod stream;
mod write;

pub(crate) use keep::{apply, config, info, trim};
pub(crate) use look::{counted, get, history, range, since, unread};
pub(crate) use stream::{append, cancel, finish};
pub(crate) use write::{delete, edit, post, react, read, unreact};

use super::epoch_reply;
use super::limits::Limits;
use crate::args::{Args, Keyword, once, unknown};
use crate::deadlines::{self, writer};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode, Word};
use crate::reply::{Reply, Trouble};
use std::ffi::CStr;
use stoa_core::bounds::Bounds;
use stoa_core::identity::{Identity, check_id};
use stoa_core::log::{Actor, Call, Log, Outcome, Written};
use stoa_core::names::RoomKey;
use stoa_core::refusal::{Code, Refusal};

/// Messages that MSG.RANGE gives when the caller says nothing.
pub(super) const RANGE_COUNT: usize = 50;

/// Fields that the reply of a write has at most.
const REPLY_FIELDS: usize = 6;

/// Fields of a reply.
type Fields = Vec<(&'static str, Reply)>;

/// The options that every write takes: `[ID client seq] [CONN conn]`, and `[ANY]` where a moderator may act.
struct Options<'a> {
    user: &'a str,
    identity: Option<Identity>,
    connection: Option<&'a str>,
    any: Option<()>,
}

impl<'a> Options<'a> {
    fn of(user: &'a str) -> Self {
        Options { user, identity: None, connection: None, any: None }
    }

    /// Reads one of `ID`, `CONN`; anything else is no option of the command.
    fn take(&mut self, word: &Keyword, args: &mut Args<'a>) -> Result<(), Trouble> {
        match word.as_str() {
            "ID" => {
                let identity = Identity::new(self.user, args.text("client")?, args.integer("seq")?)?;
                once(&mut self.identity, "ID", identity)
            }
            "CONN" => {
                let connection = args.text("conn")?;
                check_id("conn", connection, true)?;
                once(&mut self.connection, "CONN", connection)
            }
            _ => Err(unknown(word)),
        }
    }

    /// Reads all of them.
    fn take_all(mut self, args: &mut Args<'a>) -> Result<Self, Trouble> {
        while let Some(word) = args.keyword() {
            self.take(&word, args)?;
        }
        Ok(self)
    }

    /// Whether a write with this identity does nothing any more.
    fn are_known(&self, open: &Key<'_>) -> bool {
        let log = open.value::<Log>().ok().flatten();
        log.zip(self.identity.as_ref()).is_some_and(|(log, identity)| log.knows(identity))
    }

    fn actor(&mut self) -> Actor<'a> {
        Actor { user: self.user, identity: self.identity.take(), any: self.any.is_some() }
    }
}

/// What the core has to know of a call.
fn call<'a>(ctx: &Ctx<'_>, key: &RoomKey<'a>, bounds: &'a Bounds) -> Call<'a> {
    Call { room: key.room, stream: key.stream, writer: writer(ctx), now_ms: ffi::now_ms(), bounds }
}

/// Opens a log for writing to what it holds. Refuses with `NOT_FOUND` where nothing was ever said.
fn open<'k>(ctx: &Ctx<'k>, name: &Word<'_>) -> Key<'k> {
    Key::open(ctx, name, Mode::Write)
}

fn opened<'k>(key: &'k mut Key<'_>) -> Result<&'k mut Log, Trouble> {
    key.value_mut::<Log>()?.ok_or_else(|| Refusal::new(Code::NotFound, "nothing was said here yet").into())
}

/// Charges for a write, replicates and announces what it changed, and begins its reply: `n`, `rev`, `epoch`, `duplicate`.
fn told(
    ctx: &Ctx<'_>,
    (name, key): (&Word<'_>, &RoomKey<'_>),
    log: &Log,
    (n, written, limits): (u64, &Written, &Limits<'_>),
    connection: Option<&str>,
    event: &CStr,
) -> Fields {
    if written.outcome != Outcome::Duplicate {
        limits.charge(ctx);
    }
    if let Outcome::Accepted(accepted) = &written.outcome {
        effects::tell_of_message(ctx, (name, key), log, accepted, connection.unwrap_or_default());
        effects::notify(ctx, event, name);
    }
    let mut fields = Vec::with_capacity(REPLY_FIELDS);
    fields.extend([
        ("n", n.into()),
        ("rev", written.answer.rev.into()),
        // A resend gets the first answer, in whichever epoch that was.
        ("epoch", epoch_reply(log.epochs().of(written.answer.rev))),
        ("duplicate", matches!(written.outcome, Outcome::Duplicate).into()),
    ]);
    fields
}

/// Whether the write, or the first one if it was resent, found something to change.
fn changed(written: &Written) -> (&'static str, Reply) {
    ("changed", (written.outcome != Outcome::Unchanged).into())
}

/// Tells when the log has something to end by itself.
fn reschedule(ctx: &Ctx<'_>, key: &RoomKey<'_>, log: &Log, bounds: &Bounds) {
    deadlines::changed(ctx, key.key.as_bytes(), deadlines::log_deadline(log, bounds));
}
