//! The decisions about messages: post, edit, delete, react, read. Those about streamed ones stand in `stream.rs`.

use super::Log;
use super::body::{check_kind, check_reaction, checked_beginning, checked_body, checked_mentions, checked_meta};
use super::message::{Message, TEXT};
use super::record::{self, Change, New, Record};
use super::trim::TRIMMED_PER_CHANGE_MAX;
use crate::bounds::{Bounds, REACTIONS_DIFFERENT_MAX, REACTIONS_PER_MESSAGE_MAX, READS_PER_CALL_MAX, STREAMS_MAX};
use crate::epoch::Writer;
use crate::identity::{Answer, Identity, Known, check_id};
use crate::refusal::{Code, Refusal};

/// What every write needs beside its own arguments.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The room, for the frame that tells of the write.
    pub room: &'a str,
    /// The stream within it.
    pub stream: &'a str,
    /// Who writes for this server.
    pub writer: Writer,
    /// Unix time in milliseconds.
    pub now_ms: u64,
    /// What must not be exceeded.
    pub bounds: &'a Bounds,
}

/// Who acts.
#[derive(Debug, Clone)]
pub struct Actor<'a> {
    /// The user.
    pub user: &'a str,
    /// Makes a resend harmless.
    pub identity: Option<Identity>,
    /// May change what others wrote: the caller vouches for that.
    pub any: bool,
}

impl<'a> Actor<'a> {
    /// A user without an identity, and with no right beyond their own messages.
    pub fn user(user: &'a str) -> Self {
        Actor { user, identity: None, any: false }
    }
}

/// What somebody wants to say.
#[derive(Debug, Clone)]
pub struct Post<'a> {
    /// An object or a string, as JSON.
    pub body: &'a [u8],
    /// `text` unless the caller says otherwise.
    pub kind: &'a str,
    /// Number of the message that it answers.
    pub reply: Option<u64>,
    /// Whom it names; `*` for everybody.
    pub mentions: &'a [&'a str],
    /// An object of the application.
    pub meta: Option<&'a [u8]>,
    /// The body grows until it is finished.
    pub streaming: bool,
}

impl<'a> Post<'a> {
    /// A message of type `text` and nothing else.
    pub fn text(body: &'a [u8]) -> Self {
        Post { body, kind: TEXT, reply: None, mentions: &[], meta: None, streaming: false }
    }
}

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The revision that it created, or the newest one if it changed nothing; and the message's number, of a reaction
    /// its count, of an append the length.
    pub answer: Answer,
    /// Whether it changed anything.
    pub outcome: Outcome,
}

/// Whether a write changed anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Accepted(Accepted),
    /// It was accepted before: the answer is the one of then.
    Duplicate,
    /// There was nothing to change.
    Unchanged,
}

/// What has to leave the server for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The record to replicate.
    pub record: Vec<u8>,
    /// Watermarks that waited to be told: to be announced first.
    pub reads: Option<Event>,
    /// The event to announce. Watermarks, trimming and bounds have none.
    pub event: Option<Event>,
}

/// An event that leads from one revision to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision before.
    pub from: u64,
    /// The revision after.
    pub rev: u64,
    /// What people receive.
    pub frame: String,
}

impl Log {
    /// Posts a message. The answer's number is the message's.
    ///
    /// Refuses with `INVALID_ARGUMENT`, `INVALID_JSON`, `TOO_LARGE`, `NOT_FOUND` (the message it answers), `FULL`
    /// (too many are streamed) or `FORGOTTEN`; then nothing has changed.
    pub fn post(&mut self, post: &Post<'_>, actor: Actor<'_>, call: &Call<'_>) -> Result<Written, Refusal> {
        check_kind(post.kind)?;
        let body = if post.streaming {
            checked_beginning(post.body, call.bounds)?
        } else {
            checked_body(post.kind, post.body, call.bounds)?
        };
        let (mentions, meta) = (checked_mentions(post.mentions)?, checked_meta(post.meta)?);
        if let Some(known) = self.known(&actor)? {
            return Ok(known);
        }
        if post.streaming && self.streams.len() >= STREAMS_MAX {
            let message = format!("{STREAMS_MAX} messages of this log are streamed, more are not");
            return Err(Refusal::new(Code::Full, message));
        }
        let (reply, n) = (self.checked_reply(post.reply)?, self.last_n + 1);
        let thread = match self.message(reply) {
            Some(message) if message.thread > 0 => message.thread,
            _ => reply,
        };
        let kind = if post.kind == TEXT { "" } else { post.kind };
        let (body, meta, streaming) = (body.as_str(), meta.as_str(), post.streaming);
        let new = New { n, reply, thread, kind, body, mentions, meta, streaming };
        Ok(self.accept(call, actor, n, Change::Post(new)))
    }

    /// Replaces the body of a message, and whom it names. The earlier body is kept.
    ///
    /// Refuses with `PERMISSION_DENIED` what is not the actor's, and as [`Log::post`].
    pub fn edit(
        &mut self,
        n: u64,
        body: &[u8],
        mentions: &[&str],
        actor: Actor<'_>,
        call: &Call<'_>,
    ) -> Result<Written, Refusal> {
        let mentions = checked_mentions(mentions)?;
        if let Some(known) = self.known(&actor)? {
            return Ok(known);
        }
        let message = self.standing(n)?;
        check_author(message, &actor)?;
        if message.stream().is_some() {
            return Err(Refusal::argument(format!("message {n} is still streamed: finish it first")));
        }
        let kind = if message.kind.is_empty() { TEXT } else { &message.kind };
        let body = checked_body(kind, body, call.bounds)?;
        let named = message.more.as_ref().map_or(&[][..], |more| &more.mentions);
        if *message.body == *body && named.iter().map(|name| &**name).eq(mentions.iter().copied()) {
            return Ok(self.unchanged(n));
        }
        Ok(self.accept(call, actor, n, Change::Edit { n, body: &body, mentions }))
    }

    /// Leaves a tombstone of a message: place, number, author and times.
    pub fn delete(&mut self, n: u64, actor: Actor<'_>, call: &Call<'_>) -> Result<Written, Refusal> {
        if let Some(known) = self.known(&actor)? {
            return Ok(known);
        }
        let message = self.message(n).ok_or_else(|| missing(n))?;
        check_author(message, &actor)?;
        if message.is_deleted() {
            return Ok(self.unchanged(n));
        }
        Ok(self.accept(call, actor, n, Change::Delete { n }))
    }

    /// Adds or takes back a reaction of the actor. The answer's number is how often that reaction stands there.
    ///
    /// Refuses with `FULL` what is one too many.
    pub fn react(
        &mut self,
        n: u64,
        reaction: &str,
        add: bool,
        actor: Actor<'_>,
        call: &Call<'_>,
    ) -> Result<Written, Refusal> {
        check_reaction(reaction)?;
        if let Some(known) = self.known(&actor)? {
            return Ok(known);
        }
        let marks = self.standing(n)?.more.as_ref().map_or(&[][..], |more| &more.marks);
        let alike = marks.iter().filter(|mark| *mark.reaction == *reaction);
        let count = alike.clone().count() as u64;
        let is_there = alike.clone().any(|mark| *mark.user == *actor.user);
        if is_there == add {
            return Ok(self.unchanged(count));
        }
        if !add {
            return Ok(self.accept(call, actor, count - 1, Change::Unreact { n, reaction }));
        }
        if marks.len() >= REACTIONS_PER_MESSAGE_MAX {
            let message = format!("message {n} has {REACTIONS_PER_MESSAGE_MAX} reactions, more are not kept");
            return Err(Refusal::new(Code::Full, message));
        }
        if count == 0 && marks.chunk_by(|a, b| a.reaction == b.reaction).count() >= REACTIONS_DIFFERENT_MAX {
            let message = format!("message {n} has {REACTIONS_DIFFERENT_MAX} different reactions, more are not kept");
            return Err(Refusal::new(Code::Full, message));
        }
        Ok(self.accept(call, actor, count + 1, Change::React { n, reaction }))
    }

    /// Moves watermarks up, none beyond the newest message. Answers how many moved, and the record if one did.
    pub fn read(&mut self, marks: &[(&str, u64)], call: &Call<'_>) -> Result<(u64, Option<Vec<u8>>), Refusal> {
        if marks.len() > READS_PER_CALL_MAX {
            return Err(Refusal::argument(format!("at most {READS_PER_CALL_MAX} watermarks are moved together")));
        }
        let mut moved: Vec<(&str, u64)> = Vec::with_capacity(marks.len());
        let mut newcomers = 0;
        for (user, n) in marks {
            check_id("user", user, false)?;
            let n = (*n).min(self.last_n);
            let earlier = moved.iter().rev().find(|(other, _)| other == user).map(|(_, n)| *n);
            let stored = self.people.read_by(user);
            if n > earlier.unwrap_or(stored) {
                newcomers += usize::from(earlier.is_none() && stored == 0);
                moved.push((user, n));
            }
        }
        if moved.is_empty() {
            return Ok((0, None));
        }
        let count = moved.len() as u64;
        let forgotten = (self.people.readers() + newcomers).saturating_sub(call.bounds.readers_max) as u64;
        self.epochs.enter(self.rev, call.writer);
        let record = self.record(call, "", None, 0, Change::Read { marks: moved, forgotten });
        let bytes = record::encode(&record);
        self.enact(&record, None, call.bounds);
        Ok((count, Some(bytes)))
    }

    /// See [`Writers::knows`](crate::identity::Writers::knows).
    pub fn knows(&self, identity: &Identity) -> bool {
        self.writers.knows(identity)
    }

    /// Whether this write was accepted before.
    pub(super) fn known(&self, actor: &Actor<'_>) -> Result<Option<Written>, Refusal> {
        check_id("user", actor.user, false)?;
        let Some(identity) = &actor.identity else { return Ok(None) };
        match self.writers.look_up(identity)? {
            Known::Accepted(answer) => Ok(Some(Written { answer, outcome: Outcome::Duplicate })),
            Known::New => Ok(None),
        }
    }

    pub(super) fn unchanged(&self, number: u64) -> Written {
        Written { answer: Answer { rev: self.rev, number }, outcome: Outcome::Unchanged }
    }

    /// A message that is there and not deleted.
    pub(super) fn standing(&self, n: u64) -> Result<&Message, Refusal> {
        self.message(n).filter(|message| !message.is_deleted()).ok_or_else(|| missing(n))
    }

    fn checked_reply(&self, reply: Option<u64>) -> Result<u64, Refusal> {
        match reply {
            Some(n) if n == 0 || n > self.last_n => Err(Refusal::new(
                Code::NotFound,
                format!("there is no message {n} to reply to, the newest is {}", self.last_n),
            )),
            reply => Ok(reply.unwrap_or(0)),
        }
    }

    /// Decides a checked change: makes its record, follows it, and says what has to be told.
    pub(super) fn accept(&mut self, call: &Call<'_>, actor: Actor<'_>, number: u64, change: Change<'_>) -> Written {
        self.epochs.enter(self.rev, call.writer);
        let reads = self.announce_reads(call.room, call.stream);
        let identity = actor.identity.as_ref();
        let sender = identity.map(|identity| (identity.client.as_str(), identity.seq));
        let record = self.record(call, actor.user, sender, number, change);
        let bytes = record::encode(&record);
        self.enact(&record, identity, call.bounds);
        self.announced = self.rev;
        let frame = self.frame_of(&record, (call.room, call.stream));
        let event = Event { from: record.rev - record.change.revisions(), rev: record.rev, frame };
        let answer = Answer { rev: record.rev, number };
        let accepted = Accepted { record: bytes, reads, event: Some(event) };
        Written { answer, outcome: Outcome::Accepted(accepted) }
    }

    /// The record of a change, with what has to leave the log for it.
    pub(super) fn record<'a>(
        &self,
        call: &Call<'_>,
        user: &'a str,
        sender: Option<(&'a str, u64)>,
        number: u64,
        change: Change<'a>,
    ) -> Record<'a> {
        let (client, seq) = sender.unwrap_or_default();
        let at_ms = call.now_ms.max(self.messages.back().map_or(0, |message| message.at_ms));
        let trim = match &change {
            Change::Post(new) => {
                let bytes = new_bytes(new, user, client) as u64;
                self.surplus((1, bytes), at_ms, TRIMMED_PER_CHANGE_MAX, call.bounds)
            }
            // What changes must not leave; what is over then goes with the next change.
            change => {
                let older = change.target().and_then(|n| self.index(n)).unwrap_or(0);
                self.surplus((0, 0), at_ms, older.min(TRIMMED_PER_CHANGE_MAX), call.bounds)
            }
        };
        let rev = self.rev + change.revisions();
        let (epoch, writer) = (self.epochs.current(), call.writer.replication_id);
        Record { epoch, writer, rev, at_ms, user, client, seq, number, trim, change }
    }
}

/// What a message will count for, as [`Message::bytes`] has it.
fn new_bytes(new: &New<'_>, user: &str, client: &str) -> usize {
    let mentions: usize = new.mentions.iter().map(|name| name.len()).sum();
    size_of::<Message>() + user.len() + client.len() + new.kind.len() + new.body.len() + new.meta.len() + mentions
}

fn check_author(message: &Message, actor: &Actor<'_>) -> Result<(), Refusal> {
    if actor.any || *message.user == *actor.user {
        return Ok(());
    }
    let message = format!("message {} is not from this user", message.n);
    Err(Refusal::new(Code::PermissionDenied, message))
}

pub(super) fn missing(n: u64) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no message {n}"))
}
