//! One message, and how people receive it.

use super::names::Name;
use crate::bounds::REACTION_USERS_LISTED;
use crate::json;
use bincode::{Decode, Encode};

/// The type of a message unless its writer says otherwise. It is stored as an empty one.
pub(super) const TEXT: &str = "text";
/// The mention that names everybody.
pub(super) const EVERYBODY: &str = "*";

/// One message. What few messages have stands in `more`, so that a plain one costs little beside its texts.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct Message {
    /// Its place in the log, from 1.
    pub(super) n: u64,
    /// The revision that it was posted at.
    pub(super) rev: u64,
    /// When it was accepted, Unix time in milliseconds; never before an earlier message.
    pub(super) at_ms: u64,
    /// Number of the message that it answers, or 0.
    pub(super) reply: u64,
    /// Number of the message that its thread began with, or 0.
    pub(super) thread: u64,
    /// The writer's sequence, or 0.
    pub(super) seq: u64,
    /// Who wrote it.
    pub(super) user: Name,
    /// The writer's client id.
    pub(super) client: Option<Name>,
    /// What the application calls it; empty for `text`.
    pub(super) kind: Box<str>,
    /// JSON, as it was written; empty while it is streamed and after it was deleted.
    pub(super) body: Box<str>,
    /// What few messages have.
    pub(super) more: Option<Box<More>>,
}

/// What few messages have.
#[derive(Debug, Default, PartialEq, Encode, Decode)]
pub(super) struct More {
    /// The revision of its last change; 0 if it is as it was posted.
    pub(super) rev: u64,
    /// Reactions; those of one kind stand together, in the order in which they came.
    pub(super) marks: Vec<Mark>,
    /// Numbers of the replies in its thread, ascending.
    pub(super) replies: Vec<u64>,
    /// Whom it names; `*` for everybody.
    pub(super) mentions: Box<[Name]>,
    /// An object of the application, or empty.
    pub(super) meta: Box<str>,
    /// What it was before.
    pub(super) edits: Option<Box<Edits>>,
    /// That it was deleted.
    pub(super) deleted: Option<Box<Deleted>>,
    /// What came of it so far, while it is streamed.
    pub(super) stream: Option<Box<Stream>>,
    /// Somebody asked its writer to stop.
    pub(super) cancelled: bool,
    /// Its writer was not heard of for too long.
    pub(super) interrupted: bool,
}

/// One reaction of one user.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct Mark {
    pub(super) reaction: Name,
    pub(super) user: Name,
}

/// The history of an edited message.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct Edits {
    /// When it became what it is.
    pub(super) at_ms: u64,
    /// Who made it so.
    pub(super) by: Name,
    /// Earlier bodies, oldest first.
    pub(super) versions: Vec<Version>,
}

impl Edits {
    fn bytes(&self) -> usize {
        let versions: usize = self.versions.iter().map(|v| size_of::<Version>() + v.body.len()).sum();
        size_of::<Edits>() + versions
    }
}

/// A body that a message had.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct Version {
    pub(super) at_ms: u64,
    pub(super) user: Name,
    pub(super) body: Box<str>,
}

impl Version {
    pub(super) fn json(&self) -> String {
        version_json(self.at_ms, &self.user, &self.body)
    }
}

/// When and by whom a message was deleted.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct Deleted {
    pub(super) at_ms: u64,
    pub(super) by: Name,
}

/// A body that grows.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct Stream {
    /// The text as a JSON string that lacks its closing quote.
    pub(super) text: String,
    /// Its length in UTF-16 units, without quote and escapes.
    pub(super) length: u64,
    /// When it grew last.
    pub(super) at_ms: u64,
}

impl Stream {
    pub(super) fn new(at_ms: u64) -> Self {
        Stream { text: "\"".to_owned(), length: 0, at_ms }
    }

    /// Adds a text that is escaped for JSON, of a length in UTF-16 units.
    pub(super) fn grow(&mut self, escaped: &str, length: u64, at_ms: u64) {
        self.text.push_str(escaped);
        (self.length, self.at_ms) = (self.length + length, at_ms);
    }

    /// What came so far, as a JSON string.
    pub(super) fn body(&self) -> String {
        format!("{}\"", self.text)
    }
}

/// What a mention costs beside the name: an entry of the index.
const MENTION_BYTES: usize = 64;

impl Message {
    /// What it counts for in the bound on a log's bytes. Shared names count as if they were its own.
    pub(super) fn bytes(&self) -> usize {
        let names = self.user.len() + self.client.as_ref().map_or(0, |client| client.len());
        size_of::<Message>() + names + self.kind.len() + self.body.len() + self.more.as_ref().map_or(0, |m| m.bytes())
    }

    /// Bytes on the heap, without the message itself and without shared names.
    pub(super) fn heap_bytes(&self) -> usize {
        self.kind.len() + self.body.len() + self.more.as_ref().map_or(0, |more| more.heap_bytes())
    }

    /// The rare parts, made if there are none yet.
    pub(super) fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The revision of its last change, or 0.
    pub(super) fn changed_rev(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.rev)
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.deleted.is_some())
    }

    pub(super) fn stream(&self) -> Option<&Stream> {
        self.more.as_ref()?.stream.as_deref()
    }

    /// The body as JSON; `null` if it was deleted.
    pub(super) fn push_body(&self, out: &mut String) {
        match self.stream() {
            Some(stream) => {
                out.push_str(&stream.text);
                out.push('"');
            }
            None if self.is_deleted() => out.push_str("null"),
            None => out.push_str(&self.body),
        }
    }

    /// The message as people receive it.
    pub(super) fn json(&self) -> String {
        let mut out = String::with_capacity(self.body.len() + 160);
        self.push_json(&mut out);
        out
    }

    pub(super) fn push_json(&self, out: &mut String) {
        push_field(out, "{\"n\":", self.n);
        out.push_str(",\"user\":");
        json::push_quoted(out, &self.user);
        out.push_str(",\"type\":");
        json::push_quoted(out, if self.kind.is_empty() { TEXT } else { &self.kind });
        push_field(out, ",\"at_ms\":", self.at_ms);
        out.push_str(",\"body\":");
        self.push_body(out);
        if self.reply > 0 {
            push_field(out, ",\"reply\":", self.reply);
            push_field(out, ",\"thread\":", self.thread);
        }
        if let Some(more) = &self.more {
            more.push_json(out);
        }
        if self.seq > 0 {
            out.push_str(",\"client\":");
            json::push_quoted(out, self.client.as_deref().unwrap_or_default());
            push_field(out, ",\"seq\":", self.seq);
        }
        out.push('}');
    }
}

impl More {
    /// What it counts for: by lengths alone, so that every copy counts the same.
    fn bytes(&self) -> usize {
        let marks: usize = self.marks.iter().map(|m| size_of::<Mark>() + m.reaction.len() + m.user.len()).sum();
        let mentions: usize = self.mentions.iter().map(|name| name.len() + MENTION_BYTES).sum();
        let text = self.stream.as_ref().map_or(0, |stream| stream.text.len());
        size_of::<More>()
            + marks
            + mentions
            + text
            + self.replies.len() * size_of::<u64>()
            + self.meta.len()
            + self.edits.as_ref().map_or(0, |edits| edits.bytes())
    }

    fn heap_bytes(&self) -> usize {
        size_of::<More>()
            + self.marks.capacity() * size_of::<Mark>()
            + self.replies.capacity() * size_of::<u64>()
            + self.mentions.len() * size_of::<Name>()
            + self.meta.len()
            + self.edits.as_ref().map_or(0, |edits| edits.bytes())
            + self.deleted.as_ref().map_or(0, |_| size_of::<Deleted>())
            + self.stream.as_ref().map_or(0, |stream| size_of::<Stream>() + stream.text.capacity())
    }

    /// The reactions, each with those who gave it.
    pub(super) fn reactions(&self) -> impl Iterator<Item = &[Mark]> {
        self.marks.chunk_by(|a, b| a.reaction == b.reaction)
    }

    /// All shared names in it.
    pub(super) fn into_names(self) -> impl Iterator<Item = Name> {
        let edits = self.edits.map(|edits| *edits);
        let edits = edits.map(|edits| std::iter::once(edits.by).chain(edits.versions.into_iter().map(|v| v.user)));
        let marks = self.marks.into_iter().flat_map(|mark| [mark.reaction, mark.user]);
        marks.chain(self.mentions).chain(edits.into_iter().flatten()).chain(self.deleted.map(|deleted| deleted.by))
    }

    fn push_json(&self, out: &mut String) {
        if !self.replies.is_empty() {
            push_field(out, ",\"replies\":", self.replies.len() as u64);
        }
        if !self.mentions.is_empty() {
            out.push_str(",\"mentions\":");
            push_names(out, self.mentions.iter());
        }
        if !self.meta.is_empty() {
            out.push_str(",\"meta\":");
            out.push_str(&self.meta);
        }
        for (at, marks) in self.reactions().enumerate() {
            out.push_str(if at == 0 { ",\"reactions\":{" } else { "," });
            json::push_quoted(out, &marks[0].reaction);
            push_field(out, ":{\"count\":", marks.len() as u64);
            out.push_str(",\"users\":");
            push_names(out, marks.iter().take(REACTION_USERS_LISTED).map(|mark| &mark.user));
            out.push('}');
        }
        if !self.marks.is_empty() {
            out.push('}');
        }
        if let Some(edits) = &self.edits {
            push_field(out, ",\"edited_at_ms\":", edits.at_ms);
        }
        if let Some(deleted) = &self.deleted {
            push_field(out, ",\"deleted_at_ms\":", deleted.at_ms);
            out.push_str(",\"deleted_by\":");
            json::push_quoted(out, &deleted.by);
        }
        for (word, is_so) in [
            (",\"streaming\":true", self.stream.is_some()),
            (",\"cancelled\":true", self.cancelled),
            (",\"interrupted\":true", self.interrupted),
        ] {
            if is_so {
                out.push_str(word);
            }
        }
    }
}

fn push_field(out: &mut String, name: &str, value: u64) {
    out.push_str(name);
    json::push_number(out, value);
}

fn push_names<'a>(out: &mut String, names: impl Iterator<Item = &'a Name>) {
    out.push('[');
    for (at, name) in names.enumerate() {
        if at > 0 {
            out.push(',');
        }
        json::push_quoted(out, name);
    }
    out.push(']');
}

/// A body that a message has or had, as `MSG.HISTORY` tells it.
pub(super) fn version_json(at_ms: u64, user: &str, body: &str) -> String {
    let mut out = String::with_capacity(body.len() + 64);
    push_field(&mut out, "{\"at_ms\":", at_ms);
    out.push_str(",\"user\":");
    json::push_quoted(&mut out, user);
    out.push_str(",\"body\":");
    out.push_str(body);
    out.push('}');
    out
}

/// The length of a text in UTF-16 units.
pub(super) fn utf16_len(text: &str) -> u64 {
    text.chars().map(|c| c.len_utf16() as u64).sum()
}
