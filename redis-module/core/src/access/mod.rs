//! Who may do what in a room, as far as the room itself says it: roles by user.
//!
//! A role is a word. What it allows is up to the fronts; one word is known here, [`NONE`], which shuts out. The entry of
//! [`EVERYBODY`] is about everybody whom no other entry names. How entries and tokens go together stands in
//! docs/protocol.md.
//!
//! The primary decides (`grant`, `revoke`, `forget`, `due`) and hands out a record; everybody, the primary too, changes
//! state only by following that record ([`Access::apply`]).

mod stored;
#[cfg(test)]
mod tests;

use crate::bounds::Bounds;
use crate::codec::{self, Damaged};
use crate::epoch::{Epoch, Epochs, Position, Writer};
use crate::identity::check_id;
use crate::json;
use crate::refusal::{Code, Refusal};
use bincode::{BorrowDecode, Decode, Encode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The stream of a room's list.
pub const STREAM: &str = "access";
/// Stands for everybody whom no other entry names. No user is called like this: a user's id has no such character.
pub const EVERYBODY: &str = "*";
/// The role of who is shut out.
pub const NONE: &str = "none";
/// Longest role, in bytes: a name, or a few actions joined by `+`.
pub const ROLE_BYTES_MAX: usize = 64;
/// Longest time that a role is given for, in milliseconds: ten years.
pub const TTL_MS_MAX: u64 = 10 * 366 * 24 * 3600 * 1000;
/// Entries that end in one step: bounds the work between two other commands.
pub const ENDED_PER_STEP_MAX: usize = 64;

/// What one user may do here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// What they are.
    pub role: Arc<str>,
    /// When that ends, in milliseconds of Unix time; 0 for never.
    pub ends_ms: u64,
    /// Who said so; empty if nobody was named.
    pub by: Arc<str>,
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
}

/// One change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record to replicate.
    pub record: Vec<u8>,
    /// Whom it is about, maybe [`EVERYBODY`].
    pub user: Arc<str>,
    /// What they are now; `None` if the list says nothing of them any more.
    pub role: Option<Arc<str>>,
    /// Who said so; empty if nobody was named.
    pub by: Arc<str>,
    /// The revision that it led to; the one before is one less.
    pub rev: u64,
}

/// What happened, with absolute times.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
enum Effect<'a> {
    /// Somebody has this role.
    Set { user: &'a str, role: &'a str, ends_ms: u64, by: &'a str, at_ms: u64 },
    /// The list says nothing of somebody any more.
    Drop { user: &'a str },
}

impl Effect<'_> {
    /// Refuses what nobody can have decided: what is taken in has to be read again.
    fn check(&self) -> Result<(), Refusal> {
        match *self {
            Effect::Set { user, role, by, .. } => {
                check_id("user", user, false).and(check_id("BY", by, true)).and(check_role(role))
            }
            Effect::Drop { user } => check_id("user", user, false),
        }
    }
}

#[derive(Debug, Clone, Encode, BorrowDecode)]
struct Record<'a> {
    epoch: Epoch,
    writer: u64,
    /// The revision that the effect was decided at.
    from: u64,
    effect: Effect<'a>,
}

/// Leads a stored list and a record.
const VERSION: u8 = 1;

/// The list of one room.
#[derive(Debug, Clone, Default)]
pub struct Access {
    epochs: Epochs,
    rev: u64,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Follows from the entries: those that end, earliest first.
    ends: BTreeSet<(u64, Arc<str>)>,
}

impl Access {
    /// Gives a user a role, for `ttl_ms` or for good. `None` if they have it already and for good.
    ///
    /// Refuses with `FULL` when the list holds its bound.
    pub fn grant(
        &mut self,
        (user, role): (&str, &str),
        ttl_ms: Option<u64>,
        by: Option<&str>,
        (writer, now_ms): (Writer, u64),
        bounds: &Bounds,
    ) -> Result<Option<Change>, Refusal> {
        check_id("user", user, false)?;
        check_id("BY", by.unwrap_or_default(), true)?;
        check_role(role)?;
        let ends_ms = match ttl_ms {
            Some(0) => return Err(Refusal::argument("TTL has to be at least 1 millisecond")),
            Some(ms) if ms > TTL_MS_MAX => return Err(Refusal::argument("TTL is ten years at most")),
            Some(ms) => now_ms.saturating_add(ms),
            None => 0,
        };
        match self.entries.get(user) {
            Some(known) if *known.role == *role && known.ends_ms == 0 && ends_ms == 0 => return Ok(None),
            None if self.entries.len() >= bounds.access_entries_max => {
                let message =
                    format!("the list holds {} entries, its bound (access-entries-max)", bounds.access_entries_max);
                return Err(Refusal::new(Code::Full, message));
            }
            _ => {}
        }
        let effect = Effect::Set { user, role, ends_ms, by: by.unwrap_or_default(), at_ms: now_ms };
        Ok(Some(self.decide(effect, by, writer)))
    }

    /// Shuts a user out, for good. `None` if they are already.
    pub fn revoke(
        &mut self,
        user: &str,
        by: Option<&str>,
        now: (Writer, u64),
        bounds: &Bounds,
    ) -> Result<Option<Change>, Refusal> {
        self.grant((user, NONE), None, by, now, bounds)
    }

    /// Says nothing of a user any more. `None` if nothing was said.
    pub fn forget(&mut self, user: &str, by: Option<&str>, writer: Writer) -> Result<Option<Change>, Refusal> {
        check_id("user", user, false)?;
        check_id("BY", by.unwrap_or_default(), true)?;
        if !self.entries.contains_key(user) {
            return Ok(None);
        }
        Ok(Some(self.decide(Effect::Drop { user }, by, writer)))
    }

    /// Ends what is due by `now_ms`, a bounded step; call again while [`Access::next_deadline`] is not in the future.
    pub fn due(&mut self, now_ms: u64, writer: Writer) -> Vec<Change> {
        let due = self.ends.iter().take_while(|(ends_ms, _)| *ends_ms <= now_ms).take(ENDED_PER_STEP_MAX);
        let due: Vec<Arc<str>> = due.map(|(_, user)| user.clone()).collect();
        due.iter().map(|user| self.decide(Effect::Drop { user }, None, writer)).collect()
    }

    /// When the next entry ends.
    pub fn next_deadline(&self) -> Option<u64> {
        self.ends.first().map(|(ends_ms, _)| *ends_ms)
    }

    /// What the list says of a user.
    pub fn entry(&self, user: &str) -> Option<&Entry> {
        self.entries.get(user)
    }

    /// The role that the list names for a user.
    pub fn role(&self, user: &str) -> Option<&str> {
        self.entries.get(user).map(|entry| &*entry.role)
    }

    /// The entries after a user in the order of their names, or from the first on.
    pub fn after(&self, user: Option<&str>) -> impl Iterator<Item = (&str, &Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = user.map_or(Unbounded, Excluded);
        self.entries.range::<str, _>((start, Unbounded)).map(|(user, entry)| (&**user, entry))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the list says nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where the list is.
    pub fn position(&self) -> Position {
        Position { epoch: self.epochs.current(), rev: self.rev }
    }

    /// See [`Epochs::detach`].
    pub fn detach(&mut self) {
        self.epochs.detach();
    }

    /// What people are told of a change.
    pub fn frame(&self, change: &Change, room: &str) -> String {
        let mut out = String::with_capacity(room.len() + change.user.len() + 160);
        out.push_str("{\"event\":\"room.access\",\"room\":");
        json::push_quoted(&mut out, room);
        out.push_str(",\"stream\":\"access\",\"epoch\":\"");
        self.epochs.current().push(&mut out);
        out.push_str("\",\"from\":");
        json::push_number(&mut out, change.rev - 1);
        out.push_str(",\"rev\":");
        json::push_number(&mut out, change.rev);
        out.push_str(",\"user\":");
        json::push_quoted(&mut out, &change.user);
        out.push_str(",\"role\":");
        match &change.role {
            Some(role) => json::push_quoted(&mut out, role),
            None => out.push_str("null"),
        }
        if !change.by.is_empty() {
            out.push_str(",\"by\":");
            json::push_quoted(&mut out, &change.by);
        }
        out.push('}');
        out
    }

    /// Follows a decision of the primary.
    pub fn apply(&mut self, record: &[u8]) -> Result<(), Damaged> {
        let record: Record<'_> = codec::decode_in_place(stored::versioned(record)?)?;
        if record.from != self.rev || self.rev >= stored::REV_MAX {
            let (from, rev) = (record.from, self.rev);
            return Err(Damaged(format!("the record was decided at revision {from}, this list is at {rev}")));
        }
        record.effect.check().map_err(|refusal| Damaged(refusal.message))?;
        self.epochs.follow(record.epoch, record.from, record.writer);
        self.enact(&record.effect);
        Ok(())
    }

    fn decide(&mut self, effect: Effect<'_>, by: Option<&str>, writer: Writer) -> Change {
        let from = self.rev;
        self.epochs.enter(from, writer);
        let record = Record { epoch: self.epochs.current(), writer: writer.replication_id, from, effect };
        let bytes = codec::encode_versioned(VERSION, &record);
        self.enact(&record.effect);
        let (user, role) = match record.effect {
            Effect::Set { user, role, .. } => (user, Some(role.into())),
            Effect::Drop { user } => (user, None),
        };
        Change { record: bytes, user: user.into(), role, by: by.unwrap_or_default().into(), rev: self.rev }
    }

    fn enact(&mut self, effect: &Effect<'_>) {
        self.rev += 1;
        match *effect {
            Effect::Set { user, role, ends_ms, by, at_ms } => {
                let user: Arc<str> = user.into();
                let entry = Entry { role: role.into(), ends_ms, by: by.into(), at_ms };
                self.set(user, entry);
            }
            Effect::Drop { user } => {
                if let Some((user, entry)) = self.entries.remove_entry(user) {
                    self.ends.remove(&(entry.ends_ms, user));
                }
            }
        }
    }

    fn set(&mut self, user: Arc<str>, entry: Entry) {
        let ends_ms = entry.ends_ms;
        if let Some(before) = self.entries.insert(user.clone(), entry) {
            self.ends.remove(&(before.ends_ms, user.clone()));
        }
        if ends_ms > 0 {
            self.ends.insert((ends_ms, user));
        }
    }
}

/// Checks a role: 1 to 64 of `A-Z a-z 0-9 _ . - +`.
pub fn check_role(role: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-+".contains(&byte);
    if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.bytes().all(allowed) {
        return Err(Refusal::argument(format!("a role has 1 to {ROLE_BYTES_MAX} bytes of A-Z a-z 0-9 _ . - +")));
    }
    Ok(())
}
