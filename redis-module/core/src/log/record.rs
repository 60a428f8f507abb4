//! Records: what the primary decided, and how it changes the state of everybody, the primary too.
//!
//! A record says what was decided, down to how many messages leave the log and who is forgotten; following one reads
//! no bounds, no clock and no chance. A record is checked as a whole before it changes anything.

use super::message::{Deleted, Edits, Mark, Message, More, Stream, Version, utf16_len};
use super::people::People;
use super::trim::Limits;
use super::{Log, VERSION, versioned};
use crate::bounds::{Bounds, VERSIONS_BYTES_MAX, VERSIONS_KEPT};
use crate::codec::{self, Damaged};
use crate::epoch::Epoch;
use crate::identity::{Answer, Identity};
use crate::json;
use bincode::{BorrowDecode, Encode};

/// A decision of the primary.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct Record<'a> {
    pub(super) epoch: Epoch,
    /// The replication id that the epoch writes under.
    pub(super) writer: u64,
    /// The revision that this leads to.
    pub(super) rev: u64,
    pub(super) at_ms: u64,
    /// Who acts; empty if nobody does.
    pub(super) user: &'a str,
    /// The client that acts, or empty.
    pub(super) client: &'a str,
    /// Its sequence, or 0.
    pub(super) seq: u64,
    /// What a resend is answered with beside the revision.
    pub(super) number: u64,
    /// Messages to drop from the old end.
    pub(super) trim: u64,
    pub(super) change: Change<'a>,
}

/// What a record does.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) enum Change<'a> {
    Post(New<'a>),
    Edit { n: u64, body: &'a str, mentions: Vec<&'a str> },
    Delete { n: u64 },
    React { n: u64, reaction: &'a str },
    Unreact { n: u64, reaction: &'a str },
    Append { n: u64, chunk: &'a str },
    Finish { n: u64, body: Option<&'a str>, interrupted: bool },
    Cancel { n: u64 },
    Read { marks: Vec<(&'a str, u64)>, forgotten: u64 },
    Trim,
    Configure(Limits),
}

/// A new message.
#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct New<'a> {
    pub(super) n: u64,
    pub(super) reply: u64,
    pub(super) thread: u64,
    pub(super) kind: &'a str,
    pub(super) body: &'a str,
    pub(super) mentions: Vec<&'a str>,
    pub(super) meta: &'a str,
    pub(super) streaming: bool,
}

impl Change<'_> {
    /// How many revisions it makes.
    pub(super) fn revisions(&self) -> u64 {
        match self {
            Change::Trim | Change::Configure(_) => 0,
            Change::Read { marks, .. } => marks.len() as u64,
            _ => 1,
        }
    }

    /// The message that it changes.
    pub(super) fn target(&self) -> Option<u64> {
        match self {
            Change::Edit { n, .. }
            | Change::Delete { n }
            | Change::React { n, .. }
            | Change::Unreact { n, .. }
            | Change::Append { n, .. }
            | Change::Finish { n, .. }
            | Change::Cancel { n } => Some(*n),
            Change::Post(_) | Change::Read { .. } | Change::Trim | Change::Configure(_) => None,
        }
    }
}

impl Log {
    /// Follows a decision of the primary. A record that does not fit changes nothing.
    pub fn apply(&mut self, record: &[u8], bounds: &Bounds) -> Result<(), Damaged> {
        let record: Record<'_> = codec::decode_in_place(versioned(record)?)?;
        self.check(&record)?;
        if record.change.revisions() > 0 {
            self.epochs.follow(record.epoch, self.rev, record.writer);
        }
        let identity = (record.seq > 0).then(|| Identity {
            user: record.user.to_owned(),
            client: record.client.to_owned(),
            seq: record.seq,
        });
        self.enact(&record, identity.as_ref(), bounds);
        // Who follows announces nothing, so nothing waits.
        self.announced = self.rev;
        Ok(())
    }

    fn check(&self, record: &Record<'_>) -> Result<(), Damaged> {
        let misfit = |what: &str| {
            let change = &record.change;
            Err(Damaged(format!(
                "{what}: {change:?} at revision {}, this log is at {} and holds {} to {}",
                record.rev,
                self.rev,
                self.first_n(),
                self.last_n
            )))
        };
        let is_post = matches!(record.change, Change::Post(_));
        if Some(record.rev) != self.rev.checked_add(record.change.revisions()) {
            return misfit("a record of another revision");
        }
        if record.trim > self.messages.len() as u64 + u64::from(is_post) {
            return misfit("a record that trims more than there is");
        }
        let fits = match &record.change {
            Change::Post(new) => {
                new.n == self.last_n + 1 && new.reply <= self.last_n && new.thread <= new.reply && {
                    (new.thread == 0) == (new.reply == 0)
                }
            }
            Change::Read { marks, .. } => marks.iter().all(|(_, n)| *n <= self.last_n),
            Change::Trim | Change::Configure(_) => true,
            change => match change.target().and_then(|n| self.message(n)) {
                None => false,
                Some(message) => match change {
                    Change::Append { .. } | Change::Finish { .. } | Change::Cancel { .. } => message.stream().is_some(),
                    Change::Edit { .. } => !message.is_deleted() && message.stream().is_none(),
                    _ => !message.is_deleted(),
                },
            },
        };
        if fits { Ok(()) } else { misfit("a record that does not fit") }
    }

    /// Changes the state as a checked record says.
    pub(super) fn enact(&mut self, record: &Record<'_>, identity: Option<&Identity>, bounds: &Bounds) {
        let (user, at_ms, rev) = (record.user, record.at_ms, record.rev);
        let before = std::mem::replace(&mut self.rev, rev);
        if let Some(identity) = identity {
            self.writers.remember(identity, Answer { rev, number: record.number }, at_ms, bounds);
        }
        match &record.change {
            Change::Post(new) => self.add(record, new),
            Change::Edit { n, body, mentions } => self.change(*n, rev, |m, people| {
                remember_version(m, people, user, at_ms);
                m.body = (*body).into();
                people.names_no_more(m.n, &m.user, m.more.as_ref().map_or(&[], |more| &more.mentions));
                let names: Box<[_]> = mentions.iter().map(|name| people.names.share(name)).collect();
                people.names_in(m.n, &m.user, &names);
                let old = std::mem::replace(&mut m.more_mut().mentions, names);
                old.into_iter().for_each(|name| people.names.release(name));
            }),
            Change::Delete { n } => {
                self.streams.retain(|at| at != n);
                self.change(*n, rev, |m, people| {
                    let mut old = m.more.take().map(|more| *more).unwrap_or_default();
                    people.deleted(m.n, &m.user, &old.mentions);
                    m.body = Box::default();
                    let more = m.more_mut();
                    (more.rev, more.replies) = (old.rev, std::mem::take(&mut old.replies));
                    // That and when it was edited stays, what it said does not.
                    more.edits = old.edits.take().map(|mut edits| {
                        edits.versions.drain(..).for_each(|version| people.names.release(version.user));
                        edits
                    });
                    more.deleted = Some(Box::new(Deleted { at_ms, by: people.names.share(user) }));
                    old.into_names().for_each(|name| people.names.release(name));
                });
            }
            Change::React { n, reaction } => self.change(*n, rev, |m, people| {
                let mark = Mark { reaction: people.names.share(reaction), user: people.names.share(user) };
                let marks = &mut m.more_mut().marks;
                let after = marks.iter().rposition(|known| *known.reaction == **reaction);
                marks.reserve_exact(1);
                marks.insert(after.map_or(marks.len(), |at| at + 1), mark);
            }),
            Change::Unreact { n, reaction } => self.change(*n, rev, |m, people| {
                let marks = &mut m.more_mut().marks;
                if let Some(at) = marks.iter().position(|k| *k.reaction == **reaction && *k.user == *user) {
                    let mark = marks.remove(at);
                    people.names.release(mark.reaction);
                    people.names.release(mark.user);
                }
            }),
            Change::Append { n, chunk } => self.change(*n, rev, |m, _| {
                if let Some(stream) = &mut m.more_mut().stream {
                    let quoted = json::quoted(chunk);
                    stream.grow(&quoted[1..quoted.len() - 1], utf16_len(chunk), at_ms);
                }
            }),
            Change::Finish { n, body, interrupted } => {
                self.streams.retain(|at| at != n);
                self.change(*n, rev, |m, _| {
                    let more = m.more_mut();
                    let grown = more.stream.take().map_or_else(String::new, |stream| stream.body());
                    more.interrupted = *interrupted;
                    m.body = body.map_or_else(|| grown.into(), Box::from);
                });
            }
            Change::Cancel { n } => self.change(*n, rev, |m, _| m.more_mut().cancelled = true),
            Change::Read { marks, forgotten } => {
                for (at, (user, n)) in marks.iter().enumerate() {
                    self.people.read(user, *n, before + 1 + at as u64);
                }
                self.people.forget_reads(*forgotten);
            }
            Change::Trim => {}
            Change::Configure(limits) => self.own_limits = *limits,
        }
        for _ in 0..record.trim {
            self.drop_oldest();
        }
    }

    fn add(&mut self, record: &Record<'_>, new: &New<'_>) {
        let user = self.people.wrote(record.user, new.n);
        let client = (record.seq > 0).then(|| self.people.names.share(record.client));
        let mut message = Message {
            n: new.n,
            rev: record.rev,
            at_ms: record.at_ms,
            reply: new.reply,
            thread: new.thread,
            seq: record.seq,
            user,
            client,
            kind: new.kind.into(),
            body: Box::default(),
            more: None,
        };
        if !new.mentions.is_empty() || !new.meta.is_empty() || new.streaming {
            let mentions: Box<[_]> = new.mentions.iter().map(|name| self.people.names.share(name)).collect();
            self.people.names_in(new.n, record.user, &mentions);
            message.more = Some(Box::new(More { mentions, meta: new.meta.into(), ..More::default() }));
        }
        if new.streaming {
            let mut stream = Stream::new(record.at_ms);
            let quoted = json::quoted(new.body);
            stream.grow(&quoted[1..quoted.len() - 1], utf16_len(new.body), record.at_ms);
            message.more_mut().stream = Some(Box::new(stream));
            self.streams.push(new.n);
        } else {
            message.body = new.body.into();
        }
        self.last_n = new.n;
        self.message_bytes += message.bytes() as u64;
        self.messages.push_back(message);
        self.add_reply(new.thread, new.n);
    }

    /// Counts a reply at the message that its thread began with.
    pub(super) fn add_reply(&mut self, thread: u64, n: u64) {
        let Some(at) = self.index(thread) else { return };
        let Some(root) = self.messages.get_mut(at) else { return };
        self.message_bytes -= root.bytes() as u64;
        root.more_mut().replies.push(n);
        self.message_bytes += root.bytes() as u64;
    }

    /// Changes a message and keeps what depends on it.
    fn change(&mut self, n: u64, rev: u64, change: impl FnOnce(&mut Message, &mut People)) {
        let Some(at) = self.index(n) else { return };
        let Some(message) = self.messages.get_mut(at) else { return };
        self.message_bytes -= message.bytes() as u64;
        change(message, &mut self.people);
        let before = std::mem::replace(&mut message.more_mut().rev, rev);
        self.message_bytes += message.bytes() as u64;
        self.changes.remove(&before);
        self.changes.insert(rev, n);
    }

    /// Drops the oldest message.
    pub(super) fn drop_oldest(&mut self) {
        let Some(old) = self.messages.pop_front() else { return };
        self.message_bytes -= old.bytes() as u64;
        self.trimmed_rev = old.rev;
        if let Some(more) = &old.more {
            self.changes.remove(&more.rev);
            if more.stream.is_some() {
                self.streams.retain(|at| *at != old.n);
            }
        }
        self.people.dropped(old);
    }
}

/// Keeps the body that an edit replaces, within the bounds on versions.
fn remember_version(message: &mut Message, people: &mut People, by: &str, at_ms: u64) {
    let body = std::mem::take(&mut message.body);
    let (posted_ms, author) = (message.at_ms, message.user.clone());
    let by = people.names.share(by);
    let more = message.more_mut();
    let mut edits = match more.edits.take() {
        Some(edits) => edits,
        None => Box::new(Edits { at_ms: posted_ms, by: author, versions: Vec::new() }),
    };
    let version = Version { at_ms: edits.at_ms, user: std::mem::replace(&mut edits.by, by), body };
    edits.at_ms = at_ms;
    edits.versions.push(version);
    let mut bytes: usize = edits.versions.iter().map(|version| version.body.len()).sum();
    let mut surplus = 0;
    for version in &edits.versions {
        if edits.versions.len() - surplus <= VERSIONS_KEPT && bytes <= VERSIONS_BYTES_MAX {
            break;
        }
        (bytes, surplus) = (bytes - version.body.len(), surplus + 1);
    }
    edits.versions.drain(..surplus).for_each(|version| people.names.release(version.user));
    more.edits = Some(edits);
}

/// The bytes of a record: its version, and then as [`codec::append`] would write it, field by field. What a message
/// is posted with is written by hand, in a quarter of the instructions.
pub(super) fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192);
    let Record { epoch, writer, rev, at_ms, user, client, seq, number, trim, change } = record;
    bytes.push(VERSION);
    for value in [u64::from(epoch.number), u64::from(epoch.id), *writer, *rev, *at_ms] {
        codec::push_number(&mut bytes, value);
    }
    codec::push_text(&mut bytes, user);
    codec::push_text(&mut bytes, client);
    for value in [*seq, *number, *trim] {
        codec::push_number(&mut bytes, value);
    }
    let Change::Post(new) = change else {
        codec::append(&mut bytes, change);
        return bytes;
    };
    let New { n, reply, thread, kind, body, mentions, meta, streaming } = new;
    // The first of the changes.
    for value in [0, *n, *reply, *thread] {
        codec::push_number(&mut bytes, value);
    }
    codec::push_text(&mut bytes, kind);
    codec::push_text(&mut bytes, body);
    codec::push_number(&mut bytes, mentions.len() as u64);
    mentions.iter().for_each(|name| codec::push_text(&mut bytes, name));
    codec::push_text(&mut bytes, meta);
    bytes.push(u8::from(*streaming));
    bytes
}
