//! Taking back: the newest operation of one client, or everything since a tag, as an ordinary new operation.
//!
//! The inverse of the stored operation is transformed over everything after it (it arrives late, so it goes left),
//! and so leaves what others wrote since. Which operations were taken back is part of the state: undoing again
//! goes further back.

use super::edit::Edit;
use super::submit::{Submit, Submitted};
use super::{Document, Tag};
use crate::bounds::Bounds;
use crate::epoch::Writer;
use crate::identity::{Identity, Known, check_id};
use crate::names::check_name;
use crate::op::{Component, Operation, Unit};
use crate::refusal::{Code, Refusal};
use std::collections::BTreeSet;

/// Operations that one undo looks at whose effect others have removed already. Bounds its work.
const EMPTY_INVERSES_MAX: usize = 16;

impl Document {
    /// Takes back the newest operation of (user, client) that is kept and not taken back yet.
    ///
    /// What it deleted at one place comes back in one piece: an operation has no way to say that others stand in
    /// the middle of what it inserts. So where one person deleted letters around those that another had deleted
    /// before, and the earlier deletion is taken back first, all letters return, but the two pieces stand side by
    /// side (`abc` without `b`, then without `ac`, comes back as `acb`). Taken back newest first, as one person does
    /// with their own, letters stand as they stood.
    ///
    /// Refuses with `NOT_FOUND` when nothing is left to undo.
    pub fn undo(
        &mut self,
        (user, client): (&str, &str),
        identity: Option<Identity>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Submitted, Refusal> {
        check_id("user", user, true)?;
        check_id("client", client, false)?;
        if let Some(known) = self.known(identity.as_ref())? {
            return Ok(known);
        }
        let (target, inverse) = self.newest_of(user, client)?;
        let submit = self.own_submit(user, identity);
        self.put(inverse, target, &submit, writer, now_ms, bounds)
    }

    /// Makes the text what it was when the tag was set, by one operation that replaces what differs.
    ///
    /// Refuses with `NOT_FOUND` a tag that is not there.
    pub fn restore(
        &mut self,
        name: &str,
        user: &str,
        identity: Option<Identity>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Submitted, Refusal> {
        check_id("user", user, true)?;
        if let Some(known) = self.known(identity.as_ref())? {
            return Ok(known);
        }
        let tag = self.tags.get(name).ok_or_else(|| no_tag(name))?;
        let change = difference(&self.content(), &tag.content);
        let submit = self.own_submit(user, identity);
        self.put(change, 0, &submit, writer, now_ms, bounds)
    }

    /// Keeps the text of now under a name, so that it can be restored however far the history is trimmed. A tag of
    /// that name is replaced. Returns what replicas follow.
    ///
    /// Refuses with `FULL` or `TOO_LARGE` beyond the bounds on tags.
    pub fn tag(&mut self, name: &str, now_ms: u64, bounds: &Bounds) -> Result<Vec<u8>, Refusal> {
        check_name("tag", name).map_err(|r| Refusal::argument(r.message))?;
        let others = || self.tags.iter().filter(|(other, _)| ***other != *name);
        if others().count() >= bounds.tags_max {
            return Err(Refusal::new(Code::Full, format!("the document has {} tags, its bound", bounds.tags_max)));
        }
        let bytes = others().map(|(_, tag)| tag.content.len()).sum::<usize>() + self.len_bytes();
        if bytes > bounds.tags_bytes_max {
            let message = format!("the tags would hold {bytes} bytes, at most {} are allowed", bounds.tags_bytes_max);
            return Err(Refusal::new(Code::TooLarge, message));
        }
        self.set_tag(name, now_ms);
        Ok(super::effect::tagged(self.rev, name, now_ms))
    }

    /// Forgets a tag. Returns what replicas follow.
    pub fn untag(&mut self, name: &str) -> Result<Vec<u8>, Refusal> {
        self.tags.remove(name).ok_or_else(|| no_tag(name))?;
        Ok(super::effect::untagged(self.rev, name))
    }

    /// The tags: name, revision, when it was set (Unix time in milliseconds).
    pub fn tags(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.tags.iter().map(|(name, tag)| (&**name, tag.rev, tag.at_ms))
    }

    pub(super) fn set_tag(&mut self, name: &str, at_ms: u64) {
        let tag = Tag { rev: self.rev, at_ms, content: self.content().into() };
        self.tags.insert(name.into(), tag);
    }

    fn known(&self, identity: Option<&Identity>) -> Result<Option<Submitted>, Refusal> {
        let Some(identity) = identity else { return Ok(None) };
        match self.writers.look_up(identity)? {
            Known::New => Ok(None),
            Known::Accepted(answer) => Ok(Some(self.answer_again(answer.rev.saturating_sub(1), answer))),
        }
    }

    /// A submit on our own account, made at the head.
    fn own_submit<'a>(&self, user: &'a str, identity: Option<Identity>) -> Submit<'a> {
        Submit { rev: self.rev, op: b"", epoch: None, identity, user, len: None, hash: None, unit: Unit::Utf16 }
    }

    /// The newest operation of a client that can be taken back, and its inverse for the text of now.
    fn newest_of(&self, user: &str, client: &str) -> Result<(u64, Operation), Refusal> {
        let taken_back: BTreeSet<u64> = self.undoes.values().copied().collect();
        let mut empty = 0;
        for rev in (self.history.first()..=self.rev).rev() {
            if taken_back.contains(&rev) || self.undoes.contains_key(&rev) {
                continue;
            }
            let Some(accepted) = self.history.get(rev) else { break };
            if accepted.user() != user || accepted.identity().is_none_or(|(id, _)| id != client) {
                continue;
            }
            let inverse = self.inverse_of(rev)?;
            if !inverse.is_empty() {
                return Ok((rev, inverse));
            }
            empty += 1;
            if empty == EMPTY_INVERSES_MAX {
                break;
            }
        }
        Err(Refusal::new(Code::NotFound, "nothing of this client is left to undo"))
    }

    /// Accepts an operation that was made for the head.
    fn put(
        &mut self,
        operation: Operation,
        undoes: u64,
        submit: &Submit<'_>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Submitted, Refusal> {
        let (components, inserted) = operation.into_parts();
        if components.is_empty() {
            return Ok(self.acknowledge(submit, now_ms, bounds));
        }
        let mut edit = Edit::check(&self.text, &components, Unit::Utf16, &inserted)
            .map_err(|e| Refusal::new(Code::InvalidOperation, e.to_string()))?;
        edit.undoes = undoes;
        self.check_growth(inserted.len(), edit.deleted.len(), bounds)?;
        self.accept(&edit, &inserted, submit, writer, now_ms, bounds)
    }
}

fn no_tag(name: &str) -> Refusal {
    let shown: String = name.chars().take(40).flat_map(char::escape_default).collect();
    Refusal::new(Code::NotFound, format!("there is no tag `{shown}`"))
}

/// The operation that turns one text into another by replacing all between what they share at both ends.
fn difference(from: &str, to: &str) -> Operation {
    let shared = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
        a.zip(b).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum::<usize>()
    };
    let head = shared(&mut from.chars(), &mut to.chars());
    let tail = shared(&mut from[head..].chars().rev(), &mut to[head..].chars().rev());
    let units = |text: &str| Unit::Utf16.len(text) as u32;
    let (gone, new) = (&from[head..from.len() - tail], &to[head..to.len() - tail]);
    let parts =
        [Component::Retain(units(&from[..head])), Component::Insert(units(new)), Component::Delete(units(gone))];
    let parts: Vec<Component> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let is_change = parts.iter().any(|part| !matches!(part, Component::Retain(_)));
    let parts = if is_change { parts } else { Vec::new() };
    Operation::from_parts(Unit::Utf16, &parts, new.to_owned()).unwrap_or_default()
}
