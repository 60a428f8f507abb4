//! The decision about one operation.

use super::edit::Edit;
use super::effect::{Applied, Effect, Memory, Remembered};
use super::history::Record;
use super::rebase::rebase;
use super::{Document, LineEnds, REVISION_MAX};
use crate::bounds::Bounds;
use crate::epoch::{Epoch, Position, Standing, Writer};
use crate::identity::{Answer, Identity, Known, check_id};
use crate::op::{Component, Operation, Unit};
use crate::refusal::{Code, Refusal};
use crate::text::TEXT_BYTES_MAX;
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

/// The longest operation whose memory the next one is read into, in components or bytes: an ordinary one's.
const SCRATCH_LEN_MAX: usize = 4_096;

thread_local! {
    /// Most of what a small operation costs would be memory that is taken and given back.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// What deciding about one operation writes to, kept for the next one.
#[derive(Default)]
struct Scratch {
    operation: Operation,
    components: Vec<Component>,
    edit: Edit,
}

impl Scratch {
    fn keep(mut self: Box<Self>) {
        let (components, text) = self.operation.parts_mut();
        let lens = [components.capacity(), text.capacity(), self.components.capacity(), self.edit.words.capacity()];
        if lens.into_iter().chain([self.edit.deleted.capacity()]).all(|len| len <= SCRATCH_LEN_MAX) {
            SCRATCH.set(Some(self));
        }
    }
}

/// [`Answer::number`] of an operation that had nothing left to do and created no revision.
const CREATED_NOTHING: u64 = 1;

/// The answer to an operation that had nothing left to do at `head`.
pub(super) fn created_nothing(head: u64) -> Answer {
    Answer { rev: head, number: CREATED_NOTHING }
}

/// An operation as it arrives.
#[derive(Debug, Clone)]
pub struct Submit<'a> {
    /// The revision that it was made on.
    pub rev: u64,
    /// `[5,"text",-3]`, see [`Operation::parse`].
    pub op: &'a [u8],
    /// The epoch of `rev`, if the author knows it.
    pub epoch: Option<Epoch>,
    /// By which a resend is recognised.
    pub identity: Option<Identity>,
    /// Who wrote it, unless `identity` says so; may be empty.
    pub user: &'a str,
    /// The length of the text at `rev` as the author has it, in `unit`: finds a copy that went astray.
    pub len: Option<u64>,
    /// The hash of the text at `rev` as the author has it, see [`crate::text::Text::hash`]. Checked only if
    /// `rev` is the head.
    pub hash: Option<u64>,
    /// What `op` and `len` count, and what the answer is given in.
    pub unit: Unit,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The revision that it created; the head if it had nothing left to do.
    pub rev: u64,
    /// The epoch of `rev`.
    pub epoch: Epoch,
    /// Whether it was accepted before, and is only answered again.
    pub duplicate: bool,
    /// Whether it created `rev`.
    pub created: bool,
    /// The revisions that it was transformed over, as far as they are kept. Read them with
    /// [`Document::operation_json`].
    pub concurrent: Range<u64>,
    /// What replicas follow. None if nothing changed.
    pub effect: Option<Vec<u8>>,
}

impl Document {
    /// Decides about an operation and applies it.
    ///
    /// In this order: the operation is read; a known identity is answered again; the epoch, the revision, the
    /// length and the hash are checked; the operation is transformed over what came since; it is checked against
    /// the text; only then something changes.
    ///
    /// Refuses with `INVALID_OPERATION`, `TOO_LARGE`, `FORGOTTEN`, `RESET` (unknown epoch), `ROLLBACK` (the epoch
    /// ended before `rev`), `AHEAD`, `STALE` (the history starts later) or `DESYNC`.
    pub fn submit(
        &mut self,
        submit: &Submit<'_>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Submitted, Refusal> {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let read = scratch.operation.read(submit.op, submit.unit, bounds);
        let decided = read.and_then(|()| self.decide(&mut scratch, submit, writer, now_ms, bounds));
        scratch.keep();
        decided
    }

    /// As [`Document::submit`], for an operation that is already read; its unit counts, `submit.op` does not.
    pub fn submit_operation(
        &mut self,
        operation: &Operation,
        submit: &Submit<'_>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Submitted, Refusal> {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        scratch.operation.copy(operation);
        let decided = self.decide(&mut scratch, submit, writer, now_ms, bounds);
        scratch.keep();
        decided
    }

    fn decide(
        &mut self,
        scratch: &mut Scratch,
        submit: &Submit<'_>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Submitted, Refusal> {
        let Scratch { operation, components: spare, edit } = scratch;
        check_id("user", submit.user, true)?;
        if self.line_ends == LineEnds::Lf && operation.text().contains('\r') {
            let message = "the operation inserts a carriage return, lines of this document end with LF";
            return Err(Refusal::new(Code::InvalidOperation, message));
        }
        if let Some(identity) = &submit.identity
            && let Known::Accepted(answer) = self.writers.look_up(identity)?
        {
            return Ok(self.answer_again(submit.rev, answer));
        }
        self.check_position(submit)?;
        self.check_base(operation, submit)?;
        let unit = operation.unit();
        let (components, inserted) = operation.parts_mut();
        rebase(components, spare, &self.history, submit.rev, unit);
        if components.is_empty() {
            return Ok(self.acknowledge(submit, now_ms, bounds));
        }
        edit.read(&self.text, components, unit, inserted)
            .map_err(|e| Refusal::new(Code::InvalidOperation, e.to_string()))?;
        self.check_growth(inserted.len(), edit.deleted.len(), bounds)?;
        self.accept(edit, inserted, submit, writer, now_ms, bounds)
    }

    /// See [`Writers::knows`](crate::identity::Writers::knows).
    pub fn knows(&self, identity: &Identity) -> bool {
        self.writers.knows(identity)
    }

    /// The answer to an operation that was accepted before.
    pub(super) fn answer_again(&self, rev: u64, answer: Answer) -> Submitted {
        let created = answer.number != CREATED_NOTHING;
        let answered = answer.rev.min(self.rev);
        let end = if created { answered } else { answered + 1 };
        let start = rev.saturating_add(1).max(self.history.first()).min(end);
        Submitted {
            rev: answer.rev,
            epoch: self.epochs.of(answer.rev),
            duplicate: true,
            created,
            concurrent: start..end,
            effect: None,
        }
    }

    fn check_position(&self, submit: &Submit<'_>) -> Result<(), Refusal> {
        let rev = submit.rev;
        let refuse = |code, message| Err(Refusal::new(code, message));
        if let Some(epoch) = submit.epoch {
            match self.epochs.standing(Position { epoch, rev }, self.rev) {
                Standing::Valid => {}
                Standing::Unknown => return refuse(Code::Reset, format!("epoch {epoch} is not of this document")),
                Standing::RolledBack { end } => {
                    return refuse(
                        Code::Rollback,
                        format!("the history of epoch {epoch} ends at revision {end}, before {rev}"),
                    );
                }
            }
        }
        if rev > self.rev {
            return refuse(Code::Ahead, format!("revision {rev} does not exist, the head is {}", self.rev));
        }
        self.check_kept(rev)
    }

    fn check_base(&self, operation: &Operation, submit: &Submit<'_>) -> Result<(), Refusal> {
        let base = self.len_at(submit.rev);
        let len = match operation.unit() {
            Unit::Utf16 => base.utf16,
            Unit::Char => base.chars,
        };
        let desync = |message| Err(Refusal::new(Code::Desync, message));
        if operation.base_len() > len {
            let reach = operation.base_len();
            return desync(format!("the operation reaches to {reach}, the text at revision {} to {len}", submit.rev));
        }
        if let Some(claimed) = submit.len.filter(|claimed| *claimed != u64::from(len)) {
            return desync(format!("the text at revision {} has length {len}, not {claimed}", submit.rev));
        }
        if submit.rev == self.rev && submit.hash.is_some_and(|hash| hash != self.text.hash()) {
            return desync(format!("the text at revision {} is another one", submit.rev));
        }
        Ok(())
    }

    pub(super) fn check_growth(&self, inserted: usize, deleted: usize, bounds: &Bounds) -> Result<(), Refusal> {
        let bytes_max = bounds.document_bytes_max.min(TEXT_BYTES_MAX);
        let bytes = (self.text.len_bytes() - deleted).saturating_add(inserted);
        // A text that is too large already, since the bound was lowered, may still shrink.
        if inserted > deleted && bytes > bytes_max {
            let message = format!("the text would have {bytes} bytes, at most {bytes_max} are allowed");
            return Err(Refusal::new(Code::TooLarge, message));
        }
        if self.rev >= REVISION_MAX {
            return Err(Refusal::new(Code::TooLarge, format!("the document has reached revision {REVISION_MAX}")));
        }
        Ok(())
    }

    /// The operation has nothing left to do: others deleted all that it would have.
    pub(super) fn acknowledge(&mut self, submit: &Submit<'_>, now_ms: u64, bounds: &Bounds) -> Submitted {
        let effect = submit.identity.as_ref().map(|identity| {
            let remembered = Remembered {
                rev: self.rev,
                at_ms: now_ms,
                user: Cow::Borrowed(&identity.user),
                client: Cow::Borrowed(&identity.client),
                seq: identity.seq,
                memory: Memory::of(bounds),
            };
            Effect::<Vec<u32>>::Remembered(remembered).encode()
        });
        if let Some(identity) = &submit.identity {
            self.writers.remember(identity, created_nothing(self.rev), now_ms, bounds);
        }
        Submitted {
            rev: self.rev,
            epoch: self.epoch(),
            duplicate: false,
            created: false,
            concurrent: submit.rev + 1..self.rev + 1,
            effect,
        }
    }

    /// Everything is checked: the operation becomes the next revision.
    pub(super) fn accept(
        &mut self,
        edit: &Edit,
        inserted: &str,
        submit: &Submit<'_>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Submitted, Refusal> {
        let base = self.text.len();
        edit.apply(&mut self.text, inserted).map_err(|e| Refusal::new(Code::InvalidOperation, e.to_string()))?;
        self.epochs.enter(self.rev, writer);
        self.rev += 1;
        let (user, client, seq) = match &submit.identity {
            Some(identity) => (identity.user.as_str(), identity.client.as_str(), identity.seq),
            None => (submit.user, "", 0),
        };
        let (words, deleted) = (&edit.words, &edit.deleted);
        self.history.append(&Record { words, inserted, deleted, base, user, client, seq, at_ms: now_ms });
        let (head, cursors) = (self.rev, &mut self.cursors);
        let horizon_ms = now_ms.saturating_sub(bounds.document_age_ms_max);
        let (operations_max, bytes_max) = (bounds.document_operations_max, bounds.document_log_bytes_max);
        self.history.trim(operations_max, bytes_max, horizon_ms, |history, rev| cursors.carry(history, rev + 1, head));
        if edit.undoes > 0 {
            self.undoes.insert(self.rev, edit.undoes);
        }
        self.prune();
        if let Some(identity) = &submit.identity {
            self.writers.remember(identity, Answer { rev: self.rev, number: 0 }, now_ms, bounds);
        }
        let applied = Applied {
            epoch: self.epoch(),
            writer: writer.replication_id,
            rev: self.rev,
            first_kept: self.history.first(),
            at_ms: now_ms,
            user: Cow::Borrowed(user),
            client: Cow::Borrowed(client),
            seq,
            words: words.as_slice(),
            inserted: Cow::Borrowed(inserted),
            undoes: edit.undoes,
            memory: Memory::of(bounds),
        };
        Ok(Submitted {
            rev: self.rev,
            epoch: self.epoch(),
            duplicate: false,
            created: true,
            concurrent: submit.rev + 1..self.rev,
            effect: Some(applied.encode()),
        })
    }

    /// The operation that created a revision, as JSON in `unit`; `None` if it is not kept.
    pub fn operation_json(&self, rev: u64, unit: Unit) -> Option<String> {
        self.history.json(rev..rev.saturating_add(1), unit).next()
    }

    /// What a submitted operation became, as JSON in `unit`: `[]` if it had nothing left to do, `None` if it is a
    /// resend of something that is no longer kept.
    pub fn applied_json(&self, submitted: &Submitted, unit: Unit) -> Option<String> {
        if submitted.created { self.operation_json(submitted.rev, unit) } else { Some("[]".to_owned()) }
    }

    /// What a submitted operation was transformed over, as JSON in `unit`, oldest first. By these the author
    /// learns what came before their own; a resend may find that the first ones are no longer kept.
    pub fn concurrent_json(&self, submitted: &Submitted, unit: Unit) -> impl Iterator<Item = String> {
        self.history.json(submitted.concurrent.clone(), unit)
    }

    /// As [`Document::concurrent_json`], appended to `out`; `ends` says where in `out` each of them ends.
    pub fn push_concurrent(&self, submitted: &Submitted, unit: Unit, out: &mut String, ends: &mut Vec<usize>) {
        if !submitted.concurrent.is_empty() {
            self.history.push_json(submitted.concurrent.clone(), unit, out, ends);
        }
    }
}
