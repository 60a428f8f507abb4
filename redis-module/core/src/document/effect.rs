//! What replicas, the append-only file and replays follow: the decision, never the question.

use super::edit::Edit;
use super::history::Record;
use super::{Document, words};
use crate::bounds::Bounds;
use crate::codec::{self, Damaged};
use crate::epoch::Epoch;
use crate::identity::{Answer, Identity};
use crate::op::{Component, Unit};
use bincode::{Decode, Encode};
use std::borrow::Cow;
use std::fmt;

/// Leads every effect.
const VERSION: u8 = 1;

/// An effect that cannot be followed. The document is unchanged.
#[derive(Debug)]
pub enum Diverged {
    /// The bytes are not an effect, or one that does not fit this text.
    Damaged(Damaged),
    /// An effect is missing, or this one was followed before.
    OutOfOrder {
        /// The revision that the effect leads to or rests on.
        effect: u64,
        /// The document's newest revision.
        head: u64,
    },
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diverged::Damaged(damaged) => damaged.fmt(f),
            Diverged::OutOfOrder { effect, head } => {
                write!(f, "the effect of revision {effect} does not follow the head, {head}")
            }
        }
    }
}
impl std::error::Error for Diverged {}

impl From<Damaged> for Diverged {
    fn from(damaged: Damaged) -> Self {
        Diverged::Damaged(damaged)
    }
}

fn damaged(what: impl fmt::Display) -> Diverged {
    Diverged::Damaged(Damaged(what.to_string()))
}

/// The primary's bounds on memory of writers: who is forgotten is part of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct Memory {
    writers_max: u64,
    age_ms_max: u64,
}

impl Memory {
    pub(super) fn of(bounds: &Bounds) -> Self {
        Memory { writers_max: bounds.writers_max as u64, age_ms_max: bounds.writer_age_ms_max }
    }

    fn bounds(self) -> Bounds {
        // One writer at least, as the one that writes now is always remembered.
        let writers_max = usize::try_from(self.writers_max).unwrap_or(usize::MAX).max(1);
        Bounds { writers_max, writer_age_ms_max: self.age_ms_max, ..Bounds::default() }
    }
}

/// An operation became a revision.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Applied<'a, W = Vec<u32>> {
    pub(super) epoch: Epoch,
    pub(super) writer: u64,
    pub(super) rev: u64,
    /// The oldest revision that the primary still keeps.
    pub(super) first_kept: u64,
    pub(super) at_ms: u64,
    pub(super) user: Cow<'a, str>,
    /// Empty without an identity.
    pub(super) client: Cow<'a, str>,
    pub(super) seq: u64,
    pub(super) words: W,
    pub(super) inserted: Cow<'a, str>,
    /// The revision that it takes back, or 0.
    pub(super) undoes: u64,
    pub(super) memory: Memory,
}

/// An operation had nothing left to do, and only its identity is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Remembered<'a> {
    /// The head, which it is answered with.
    pub(super) rev: u64,
    pub(super) at_ms: u64,
    pub(super) user: Cow<'a, str>,
    pub(super) client: Cow<'a, str>,
    pub(super) seq: u64,
    pub(super) memory: Memory,
}

/// The oldest operations were dropped on request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Trimmed {
    /// The head.
    rev: u64,
    first_kept: u64,
}

/// The text of now got a name, or lost it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Named<'a> {
    /// The head.
    rev: u64,
    name: Cow<'a, str>,
    /// When it was set; 0 takes the name away.
    at_ms: u64,
}

/// The effect of setting a tag.
pub(super) fn tagged(rev: u64, name: &str, at_ms: u64) -> Vec<u8> {
    Effect::<Vec<u32>>::Named(Named { rev, name: Cow::Borrowed(name), at_ms: at_ms.max(1) }).encode()
}

/// The effect of taking a tag away.
pub(super) fn untagged(rev: u64, name: &str) -> Vec<u8> {
    Effect::<Vec<u32>>::Named(Named { rev, name: Cow::Borrowed(name), at_ms: 0 }).encode()
}

/// What changes a document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum Effect<'a, W = Vec<u32>> {
    Applied(Applied<'a, W>),
    Remembered(Remembered<'a>),
    Trimmed(Trimmed),
    Named(Named<'a>),
}

impl Applied<'_, &[u32]> {
    /// The effect as bytes: as [`Effect::encode`], in two thirds of its instructions.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Applied { epoch, writer, rev, first_kept, at_ms, user, client, seq, words, inserted, undoes, memory } =
            self;
        let mut bytes = Vec::with_capacity(96 + user.len() + client.len() + inserted.len() + words.len() * 5);
        // The version, and which effect it is.
        bytes.extend([VERSION, 0]);
        for number in [u64::from(epoch.number), u64::from(epoch.id), *writer, *rev, *first_kept, *at_ms] {
            codec::push_number(&mut bytes, number);
        }
        codec::push_text(&mut bytes, user);
        codec::push_text(&mut bytes, client);
        codec::push_number(&mut bytes, *seq);
        codec::push_number(&mut bytes, words.len() as u64);
        words.iter().for_each(|word| codec::push_number(&mut bytes, u64::from(*word)));
        codec::push_text(&mut bytes, inserted);
        for number in [*undoes, memory.writers_max, memory.age_ms_max] {
            codec::push_number(&mut bytes, number);
        }
        bytes
    }
}

impl<W: Encode> Effect<'_, W> {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(&(VERSION, self))
    }
}

impl Effect<'_> {
    fn decode(bytes: &[u8]) -> Result<Effect<'static>, Damaged> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => codec::decode_all(rest),
            version => Err(Damaged(format!("effect version {:?}, this build reads {VERSION}", version.map(|v| v.0)))),
        }
    }
}

impl Document {
    /// Follows an effect of the primary. On an error nothing has changed.
    pub fn apply(&mut self, effect: &[u8]) -> Result<(), Diverged> {
        match Effect::decode(effect)? {
            Effect::Applied(applied) => self.follow(&applied),
            Effect::Remembered(remembered) => self.remember(&remembered),
            Effect::Trimmed(trimmed) => self.follow_trim(&trimmed),
            Effect::Named(named) => self.follow_name(&named),
        }
    }

    /// Keeps the newest operations alone, at most so many. Returns what replicas follow, if any were dropped.
    pub fn trim(&mut self, keep: usize) -> Option<Vec<u8>> {
        let first_kept = (self.rev + 1).saturating_sub(keep as u64);
        if first_kept <= self.history.first() {
            return None;
        }
        self.cursors.carry(&self.history, first_kept, self.rev);
        self.history.trim_to(first_kept);
        self.prune();
        Some(Effect::<Vec<u32>>::Trimmed(Trimmed { rev: self.rev, first_kept }).encode())
    }

    fn follow_trim(&mut self, trimmed: &Trimmed) -> Result<(), Diverged> {
        if trimmed.rev != self.rev {
            return Err(Diverged::OutOfOrder { effect: trimmed.rev, head: self.rev });
        }
        self.history.trim_to(trimmed.first_kept);
        self.prune();
        Ok(())
    }

    fn follow_name(&mut self, named: &Named<'_>) -> Result<(), Diverged> {
        if named.rev != self.rev {
            return Err(Diverged::OutOfOrder { effect: named.rev, head: self.rev });
        }
        crate::names::check_name("tag", &named.name).map_err(damaged)?;
        if named.at_ms == 0 {
            self.tags.remove(&*named.name);
        } else {
            self.set_tag(&named.name, named.at_ms);
        }
        Ok(())
    }

    fn follow(&mut self, applied: &Applied<'_>) -> Result<(), Diverged> {
        if self.rev.checked_add(1) != Some(applied.rev) {
            return Err(Diverged::OutOfOrder { effect: applied.rev, head: self.rev });
        }
        let identity = identity(&applied.user, &applied.client, applied.seq)?;
        if !words::are_normal(&applied.words) {
            return Err(damaged("an operation is not in normal form"));
        }
        let components: Vec<Component> = words::utf16(&applied.words).collect();
        let edit = Edit::check(&self.text, &components, Unit::Utf16, &applied.inserted).map_err(damaged)?;
        if applied.undoes >= applied.rev {
            return Err(damaged("an operation takes back a later one"));
        }
        if edit.words != applied.words {
            return Err(damaged("the lengths of an operation are not those of the text"));
        }
        let base = self.text.len();
        edit.apply(&mut self.text, &applied.inserted).map_err(damaged)?;
        self.epochs.follow(applied.epoch, self.rev, applied.writer);
        self.rev = applied.rev;
        self.history.append(&Record {
            words: &edit.words,
            inserted: &applied.inserted,
            deleted: &edit.deleted,
            base,
            user: &applied.user,
            client: &applied.client,
            seq: applied.seq,
            at_ms: applied.at_ms,
        });
        self.history.trim_to(applied.first_kept);
        if applied.undoes > 0 {
            self.undoes.insert(self.rev, applied.undoes);
        }
        self.prune();
        if let Some(identity) = identity {
            let answer = Answer { rev: self.rev, number: 0 };
            self.writers.remember(&identity, answer, applied.at_ms, &applied.memory.bounds());
        }
        Ok(())
    }

    fn remember(&mut self, remembered: &Remembered<'_>) -> Result<(), Diverged> {
        if remembered.rev != self.rev {
            return Err(Diverged::OutOfOrder { effect: remembered.rev, head: self.rev });
        }
        let identity = identity(&remembered.user, &remembered.client, remembered.seq)?;
        let identity = identity.ok_or_else(|| damaged("an identity has no client"))?;
        let answer = super::submit::created_nothing(self.rev);
        self.writers.remember(&identity, answer, remembered.at_ms, &remembered.memory.bounds());
        Ok(())
    }
}

fn identity(user: &str, client: &str, seq: u64) -> Result<Option<Identity>, Diverged> {
    if client.is_empty() {
        crate::identity::check_id("user", user, true).map_err(damaged)?;
        return Ok(None);
    }
    Identity::new(user, client, seq).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_applied_operation_is_written_as_every_record_is() {
        let numbers = [0, 1, 250, 251, 65_535, 65_536, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX];
        for (at, number) in numbers.into_iter().enumerate() {
            let text = "é".repeat(at * 40);
            let words = vec![number as u32; at];
            let applied = Applied {
                epoch: Epoch { number: number as u32, id: 7 },
                writer: number,
                rev: number / 2,
                first_kept: number / 3,
                at_ms: number / 5,
                user: Cow::Borrowed(&*text),
                client: Cow::Borrowed("tab"),
                seq: number / 7,
                words: words.as_slice(),
                inserted: Cow::Borrowed(&*text),
                undoes: number / 11,
                memory: Memory { writers_max: number, age_ms_max: number / 13 },
            };
            let bytes = applied.encode();
            assert_eq!(bytes, Effect::Applied(applied).encode());
            let Ok(Effect::Applied(read)) = Effect::decode(&bytes) else { panic!("its own bytes") };
            assert_eq!((read.writer, read.words, &*read.inserted), (number, words, &*text));
        }
    }
}
