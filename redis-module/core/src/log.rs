//! The message log of a room: what was said, in order, each once.
//!
//! A message has a number `n`, its place in the log from 1. The log has a revision that counts its changes. They
//! are two counters because a message keeps its number when it changes.
//!
//! The primary decides with [`Log::post`], which hands out a record; everybody, the primary too, changes state
//! only by [`Log::apply`] of that record. So a replica cannot differ.

use crate::bounds::Bounds;
use crate::changes::{self, Changes};
use crate::codec::{self, Damaged};
use crate::epoch::{Epoch, Epochs, Position, Standing, Writer};
use crate::identity::{Answer, Identity, Known, Writers, check_id};
use crate::json;
use crate::refusal::{Code, Refusal};
use bincode::{Decode, Encode};
use std::borrow::Cow;
use std::collections::VecDeque;

/// Leads a stored log and a replicated record.
const VERSION: u8 = 1;
/// Messages that one post may trim: bounds its work after the bounds were lowered.
const TRIMMED_PER_POST_MAX: usize = 64;
/// Longest name of a message type, in bytes.
const TYPE_BYTES_MAX: usize = 32;
/// What a message costs beside its texts, in bytes.
const MESSAGE_OVERHEAD_BYTES: usize = size_of::<Message>();

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// Its place in the log, from 1.
    pub n: u64,
    /// The revision that its last change created.
    pub rev: u64,
    /// When it was accepted, Unix time in milliseconds; never before an earlier message.
    pub at_ms: u64,
    /// Number of the message that it answers, or 0.
    pub reply: u64,
    /// The writer's sequence, or 0.
    pub seq: u64,
    /// Who wrote it.
    pub user: Box<str>,
    /// The writer's client id, or empty.
    pub client: Box<str>,
    /// `text`, or what the application calls it.
    pub kind: Box<str>,
    /// JSON, as it was written.
    pub body: Box<str>,
}

impl Message {
    fn bytes(&self) -> usize {
        MESSAGE_OVERHEAD_BYTES + self.user.len() + self.client.len() + self.kind.len() + self.body.len()
    }

    /// The message as people receive it.
    pub fn json(&self) -> String {
        let mut out = String::with_capacity(self.body.len() + 160);
        self.push_json(&mut out);
        out
    }

    fn push_json(&self, out: &mut String) {
        out.push_str("{\"n\":");
        json::push_number(out, self.n);
        out.push_str(",\"user\":");
        json::push_quoted(out, &self.user);
        out.push_str(",\"type\":");
        json::push_quoted(out, &self.kind);
        out.push_str(",\"at_ms\":");
        json::push_number(out, self.at_ms);
        out.push_str(",\"body\":");
        out.push_str(&self.body);
        if self.reply > 0 {
            out.push_str(",\"reply\":");
            json::push_number(out, self.reply);
        }
        if self.seq > 0 {
            out.push_str(",\"client\":");
            json::push_quoted(out, &self.client);
            out.push_str(",\"seq\":");
            json::push_number(out, self.seq);
        }
        out.push('}');
    }
}

/// What somebody wants to say.
#[derive(Debug, Clone)]
pub struct Post<'a> {
    /// Who says it.
    pub user: &'a str,
    /// An object or a string, as JSON.
    pub body: &'a [u8],
    /// `text` unless the caller says otherwise.
    pub kind: &'a str,
    /// Number of the message that it answers.
    pub reply: Option<u64>,
    /// Makes a resend harmless.
    pub identity: Option<Identity>,
}

/// What a post came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Number and revision of the message.
    pub answer: Answer,
    /// The record to replicate; `None` if the same post was accepted before.
    pub record: Option<Vec<u8>>,
}

/// A decision of the primary.
#[derive(Debug, Clone, Encode, Decode)]
struct Record {
    epoch: Epoch,
    writer: u64,
    message: Message,
    /// Messages to drop from the old end.
    trim: u64,
}

/// A room's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Log {
    epochs: Epochs,
    rev: u64,
    last_n: u64,
    /// The newest revision that was trimmed away; positions before it cannot be served.
    trimmed_rev: u64,
    messages: VecDeque<Message>,
    message_bytes: u64,
    writers: Writers,
}

impl Log {
    /// Decides about a post and applies it.
    ///
    /// Refuses with `INVALID_ARGUMENT`, `INVALID_JSON`, `TOO_LARGE`, `NOT_FOUND` (the message it answers) or
    /// `FORGOTTEN`; then nothing has changed.
    pub fn post(&mut self, post: Post<'_>, writer: Writer, now_ms: u64, bounds: &Bounds) -> Result<Posted, Refusal> {
        check_id("user", post.user, false)?;
        check_kind(post.kind)?;
        let body = checked_body(post.kind, post.body, bounds)?;
        if let Some(identity) = &post.identity
            && let Known::Accepted(answer) = self.writers.look_up(identity)?
        {
            return Ok(Posted { answer, record: None });
        }
        self.check_reply(post.reply)?;
        self.epochs.enter(self.rev, writer);
        let (client, seq) = post.identity.map_or((String::new(), 0), |i| (i.client, i.seq));
        let message = Message {
            n: self.last_n + 1,
            rev: self.rev + 1,
            at_ms: now_ms.max(self.messages.back().map_or(0, |m| m.at_ms)),
            reply: post.reply.unwrap_or(0),
            seq,
            user: post.user.into(),
            client: client.into(),
            kind: post.kind.into(),
            body: body.into(),
        };
        let trim = self.surplus(&message, bounds);
        let record = Record { epoch: self.epochs.current(), writer: writer.replication_id, message, trim };
        let bytes = codec::encode_versioned(VERSION, &record);
        let answer = Answer { rev: record.message.rev, number: record.message.n };
        self.enact(record, bounds);
        Ok(Posted { answer, record: Some(bytes) })
    }

    /// Follows a decision of the primary.
    pub fn apply(&mut self, record: &[u8], bounds: &Bounds) -> Result<(), Damaged> {
        let record: Record = codec::decode_all(versioned(record)?)?;
        let message = &record.message;
        if message.rev != self.rev + 1 || message.n != self.last_n + 1 || record.trim > self.messages.len() as u64 + 1 {
            return Err(Damaged(format!(
                "the record makes message {} at revision {}, this log holds {} at {}",
                message.n, message.rev, self.last_n, self.rev
            )));
        }
        self.epochs.follow(record.epoch, self.rev, record.writer);
        self.enact(record, bounds);
        Ok(())
    }

    fn enact(&mut self, record: Record, bounds: &Bounds) {
        let message = record.message;
        (self.rev, self.last_n) = (message.rev, message.n);
        if message.seq > 0 {
            let identity =
                Identity { user: message.user.to_string(), client: message.client.to_string(), seq: message.seq };
            self.writers.remember(&identity, Answer { rev: message.rev, number: message.n }, message.at_ms, bounds);
        }
        self.message_bytes += message.bytes() as u64;
        self.messages.push_back(message);
        for _ in 0..record.trim {
            let Some(old) = self.messages.pop_front() else { break };
            self.message_bytes -= old.bytes() as u64;
            self.trimmed_rev = self.trimmed_rev.max(old.rev);
        }
    }

    /// How many of the oldest messages have to go when `new` comes.
    fn surplus(&self, new: &Message, bounds: &Bounds) -> u64 {
        let mut count = self.messages.len() + 1;
        let mut bytes = self.message_bytes as usize + new.bytes();
        let horizon = new.at_ms.saturating_sub(bounds.log_age_ms_max);
        let mut surplus = 0;
        for old in self.messages.iter().take(TRIMMED_PER_POST_MAX) {
            if count <= bounds.log_messages_max && bytes <= bounds.log_bytes_max && old.at_ms >= horizon {
                break;
            }
            (count, bytes, surplus) = (count - 1, bytes - old.bytes(), surplus + 1);
        }
        surplus
    }

    fn check_reply(&self, reply: Option<u64>) -> Result<(), Refusal> {
        match reply {
            Some(n) if n == 0 || n > self.last_n => Err(Refusal::new(
                Code::NotFound,
                format!("there is no message {n} to reply to, the newest is {}", self.last_n),
            )),
            _ => Ok(()),
        }
    }

    /// The newest revision.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// The current position.
    pub fn position(&self) -> Position {
        Position { epoch: self.epochs.current(), rev: self.rev }
    }

    /// The epochs of this log.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// See [`Epochs::detach`].
    pub fn detach(&mut self) {
        self.epochs.detach();
    }

    /// How many messages are kept.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message is kept.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The frame that announces the change to `rev`, if it is kept.
    pub fn frame(&self, room: &str, stream: &str, rev: u64) -> Option<String> {
        // Nearly always the newest one is asked for.
        let newest = self.messages.back().filter(|m| m.rev == rev);
        let message = newest.or_else(|| self.messages.get(self.messages.partition_point(|m| m.rev < rev)));
        message.filter(|m| m.rev == rev).map(|m| self.posted(room, stream, m))
    }

    fn posted(&self, room: &str, stream: &str, message: &Message) -> String {
        let mut out = String::with_capacity(message.body.len() + room.len() + stream.len() + 256);
        out.push_str("{\"event\":\"msg.posted\",\"room\":");
        json::push_quoted(&mut out, room);
        out.push_str(",\"stream\":");
        json::push_quoted(&mut out, stream);
        out.push_str(",\"epoch\":\"");
        self.epochs.current().push(&mut out);
        out.push_str("\",\"from\":");
        json::push_number(&mut out, message.rev - 1);
        out.push_str(",\"rev\":");
        json::push_number(&mut out, message.rev);
        out.push_str(",\"message\":");
        message.push_json(&mut out);
        out.push('}');
        out
    }

    /// What came after `rev`, at most `count` changes. Without an epoch the current one is meant.
    pub fn since(&self, rev: u64, epoch: Option<Epoch>, count: usize, names: (&str, &str), bounds: &Bounds) -> Changes {
        let position = Position { epoch: epoch.unwrap_or(self.epochs.current()), rev };
        match self.epochs.standing(position, self.rev) {
            Standing::Valid => {}
            Standing::RolledBack { end } => return Changes::RolledBack { end },
            // Who saw the log before its first message saw revision 0 of no epoch.
            Standing::Unknown if position == Position::START => {}
            Standing::Unknown => return Changes::Unknown,
        }
        if rev < self.trimmed_rev {
            return Changes::Trimmed;
        }
        let start = self.messages.partition_point(|m| m.rev <= rev);
        let entries = self.messages.range(start..).map(|m| (m.rev, self.posted(names.0, names.1, m)));
        changes::page(rev, entries, count, bounds)
    }

    /// Messages as JSON, oldest first, and whether there are more beyond them in that direction.
    pub fn range(&self, which: Range, count: usize, bounds: &Bounds) -> (Vec<String>, bool) {
        let count = count.min(bounds.page_entries_max);
        match which {
            Range::After(n) => {
                let start = self.messages.partition_point(|m| m.n <= n);
                let page = fill(self.messages.range(start..).take(count), bounds);
                let more = start + page.len() < self.messages.len();
                (page, more)
            }
            Range::Before(n) => {
                let end = self.messages.partition_point(|m| m.n < n);
                let mut page = fill(self.messages.range(..end).rev().take(count), bounds);
                page.reverse();
                let more = page.len() < end;
                (page, more)
            }
        }
    }

    /// The whole state, for RDB and AOF.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Reads what [`Log::encode`] wrote. Bytes that break an invariant are refused.
    pub fn decode(bytes: &[u8]) -> Result<Log, Damaged> {
        let mut log: Log = codec::decode_all(versioned(bytes)?)?;
        let numbered = log.messages.iter().rev().zip((1..=log.last_n).rev()).all(|(m, n)| m.n == n);
        let ordered = log.messages.iter().zip(log.messages.iter().skip(1)).all(|(a, b)| a.rev < b.rev);
        let bounded = log.messages.iter().all(|m| m.rev > log.trimmed_rev && m.rev <= log.rev);
        if !(numbered
            && ordered
            && bounded
            && log.messages.len() as u64 <= log.last_n
            && log.last_n < u64::MAX
            && log.rev < u64::MAX)
        {
            return Err(Damaged("a log whose messages are out of order".into()));
        }
        log.message_bytes = log.messages.iter().map(|m| m.bytes() as u64).sum();
        Ok(log)
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        let texts: usize = self.message_bytes as usize - self.messages.len() * MESSAGE_OVERHEAD_BYTES;
        self.messages.capacity() * MESSAGE_OVERHEAD_BYTES + texts + self.writers.heap_bytes() + self.epochs.heap_bytes()
    }
}

/// Which messages [`Log::range`] reads.
#[derive(Debug, Clone, Copy)]
pub enum Range {
    /// The newest ones before this number.
    Before(u64),
    /// The oldest ones after this number.
    After(u64),
}

fn fill<'a>(messages: impl Iterator<Item = &'a Message>, bounds: &Bounds) -> Vec<String> {
    let mut page = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let json = message.json();
        bytes += json.len();
        if bytes > bounds.page_bytes_max && !page.is_empty() {
            break;
        }
        page.push(json);
    }
    page
}

fn versioned(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        other => Err(Damaged(format!("log version {:?}, this build reads {VERSION}", other.map(|(v, _)| v)))),
    }
}

fn check_kind(kind: &str) -> Result<(), Refusal> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    if kind.is_empty() || kind.len() > TYPE_BYTES_MAX || !kind.bytes().all(fine) {
        return Err(Refusal::argument(format!("a type has 1 to {TYPE_BYTES_MAX} of a-z 0-9 _ - .")));
    }
    Ok(())
}

/// A body is an object or a string. What is of type `text` has to say something.
fn checked_body(kind: &str, body: &[u8], bounds: &Bounds) -> Result<String, Refusal> {
    let body = json::checked("the body", body, bounds.message_bytes_max)?;
    if !body.starts_with(['{', '"']) {
        return Err(Refusal::new(Code::InvalidJson, "the body has to be a JSON object or string"));
    }
    if kind == "text" && text_of(&body).is_none_or(|text| text.trim().is_empty()) {
        return Err(Refusal::argument("a message of type text needs a text that is not blank"));
    }
    Ok(body)
}

/// The text of a checked body: the string itself, or the object's `text`.
fn text_of(body: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }
    if body.starts_with('"') {
        return serde_json::from_str(body).ok().map(Cow::Owned);
    }
    serde_json::from_str::<Object<'_>>(body).ok().map(|object| object.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Writer = Writer { replication_id: 1, chance: 0xabc };

    fn says<'a>(user: &'a str, body: &'a str) -> Post<'a> {
        Post { user, body: body.as_bytes(), kind: "text", reply: None, identity: None }
    }
    fn log_of(count: u64, bounds: &Bounds) -> Log {
        let mut log = Log::default();
        for n in 1..=count {
            log.post(says("ada", &format!("\"message {n}\"")), ADA, 1000 + n, bounds).unwrap();
        }
        log
    }
    fn revs(changes: Changes) -> Vec<u64> {
        match changes {
            Changes::Page { events, .. } => events.iter().map(|(rev, _)| *rev).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_resent_message_is_posted_once() {
        let (mut log, bounds) = (Log::default(), Bounds::default());
        let post = Post { identity: Some(Identity::new("ada", "tab", 1).unwrap()), ..says("ada", "\"hi\"") };
        let first = log.post(post.clone(), ADA, 1, &bounds).unwrap();
        let second = log.post(post, ADA, 2, &bounds).unwrap();
        assert_eq!(first.answer, second.answer);
        assert!(second.record.is_none());
        assert_eq!(log.len(), 1);
    }

    #[test]
    fn a_replica_that_follows_the_records_holds_the_same_bytes() {
        let bounds = Bounds { log_messages_max: 20, ..Bounds::default() };
        let (mut primary, mut replica) = (Log::default(), Log::default());
        for n in 1..=100u64 {
            let identity = (n % 3 == 0).then(|| Identity::new("ada", "tab", n).unwrap());
            let body = format!("\"{}\"", "x".repeat(n as usize));
            let posted = primary.post(
                Post { identity, ..says("ada", &body) },
                Writer { replication_id: 1 + n / 50, chance: n as u32 },
                n,
                &bounds,
            );
            replica.apply(&posted.unwrap().record.unwrap(), &bounds).unwrap();
        }
        assert_eq!(primary.encode(), replica.encode());
        assert_eq!(Log::decode(&primary.encode()).unwrap(), primary);
        assert_eq!(primary.epochs().current().number, 3);
    }

    #[test]
    fn a_replica_refuses_a_record_that_leaves_a_hole() {
        let bounds = Bounds::default();
        let mut primary = log_of(1, &bounds);
        let record = primary.post(says("ada", "\"x\""), ADA, 1, &bounds).unwrap().record.unwrap();
        assert!(Log::default().apply(&record, &bounds).is_err());
    }

    #[test]
    fn since_gives_every_message_after_a_position_once_in_bounded_pages() {
        let bounds = Bounds { page_entries_max: 4, ..Bounds::default() };
        let log = log_of(10, &bounds);
        let mut seen = Vec::new();
        let mut at = 2;
        while let Changes::Page { events, through } = log.since(at, None, 100, ("lobby", "log"), &bounds) {
            if events.is_empty() {
                break;
            }
            assert!(events.len() <= 4);
            seen.extend(events.iter().map(|(rev, _)| *rev));
            at = through;
        }
        assert_eq!(seen, (3..=10).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_trimmed_or_rolled_back_or_replaced_is_told() {
        let bounds = Bounds { log_messages_max: 5, ..Bounds::default() };
        let mut log = log_of(10, &bounds);
        assert_eq!(log.since(4, None, 9, ("l", "log"), &bounds), Changes::Trimmed);
        assert_eq!(revs(log.since(5, None, 9, ("l", "log"), &bounds)), [6, 7, 8, 9, 10]);
        let old = log.epochs().current();
        log.post(says("bo", "\"x\""), Writer { replication_id: 2, chance: 5 }, 99, &bounds).unwrap();
        assert_eq!(log.since(12, Some(old), 9, ("l", "log"), &bounds), Changes::RolledBack { end: 10 });
        let foreign = Epoch { number: 1, id: 77 };
        assert_eq!(log.since(9, Some(foreign), 9, ("l", "log"), &bounds), Changes::Unknown);
    }

    #[test]
    fn pages_run_both_ways() {
        let bounds = Bounds::default();
        let log = log_of(10, &bounds);
        let numbers = |(page, more): (Vec<String>, bool)| {
            let n =
                page.iter().map(|json| serde_json::from_str::<serde_json::Value>(json).unwrap()["n"].as_u64().unwrap());
            (n.collect::<Vec<_>>(), more)
        };
        assert_eq!(numbers(log.range(Range::Before(u64::MAX), 3, &bounds)), (vec![8, 9, 10], true));
        assert_eq!(numbers(log.range(Range::Before(3), 9, &bounds)), (vec![1, 2], false));
        assert_eq!(numbers(log.range(Range::After(8), 9, &bounds)), (vec![9, 10], false));
        assert_eq!(numbers(log.range(Range::After(0), 2, &bounds)), (vec![1, 2], true));
    }

    #[test]
    fn old_messages_go_by_count_bytes_and_age() {
        let by_bytes = Bounds { log_bytes_max: 4_000, ..Bounds::default() };
        assert!(log_of(1000, &by_bytes).message_bytes <= 4_000);
        let by_age = Bounds { log_age_ms_max: 7, ..Bounds::default() };
        assert_eq!(log_of(100, &by_age).len(), 8);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_reorder_messages() {
        let (mut log, bounds) = (Log::default(), Bounds::default());
        log.post(says("ada", "\"a\""), ADA, 5000, &bounds).unwrap();
        log.post(says("ada", "\"b\""), ADA, 4000, &bounds).unwrap();
        assert_eq!(log.messages[1].at_ms, 5000);
    }

    #[test]
    fn a_message_without_content_is_refused_and_changes_nothing() {
        let (mut log, bounds) = (Log::default(), Bounds::default());
        for (kind, body) in [
            ("text", "\"  \""),
            ("text", "{}"),
            ("text", "{\"text\":\"\\n\"}"),
            ("text", "{\"text\":3}"),
            ("Text", "\"x\""),
            ("", "\"x\""),
            ("text", "17"),
            ("text", "{"),
        ] {
            let post = Post { kind, ..says("ada", body) };
            assert!(log.post(post, ADA, 1, &bounds).is_err(), "{kind} {body}");
        }
        assert!(log.post(Post { reply: Some(1), ..says("ada", "\"x\"") }, ADA, 1, &bounds).is_err());
        assert!(log.post(says("", "\"x\""), ADA, 1, &bounds).is_err());
        let long = format!("\"{}\"", "x".repeat(33 * 1024));
        assert_eq!(log.post(says("ada", &long), ADA, 1, &bounds).unwrap_err().code, Code::TooLarge);
        assert_eq!(log, Log::default());
    }

    #[test]
    fn damaged_bytes_are_refused_without_a_panic() {
        let log = log_of(5, &Bounds::default());
        let bytes = log.encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(mut log) = Log::decode(&damaged) {
                    let _ = log.post(says("bo", "\"x\""), ADA, u64::MAX / 2, &Bounds::default());
                    let _ = log.since(1, None, 10, ("l", "log"), &Bounds::default());
                    let _ = log.heap_bytes();
                }
            }
            assert!(Log::decode(&bytes[..at]).is_err());
        }
    }
}
