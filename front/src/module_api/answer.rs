//! The module's replies, parsed. JSON inside them stays text.

use super::opened::ReadState;
use crate::conn::Text;
use crate::frame::FrameError;
use fred::types::{Key, Value};
use std::collections::HashMap;
use stoa_core::epoch::Position;

/// The answer of a command that writes one message. What a command does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The message's number.
    pub n: u64,
    /// Where the log is now.
    pub position: Position,
    /// Whether it was written before.
    pub duplicate: bool,
    /// Whether anything is different now.
    pub changed: Option<bool>,
    /// How many have reacted like this.
    pub count: Option<u64>,
    /// How long the text is, in UTF-16 units.
    pub length: Option<u64>,
    /// Whether somebody asked the writer to stop.
    pub cancelled: Option<bool>,
}

/// The answer of `MSG.READ`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Where the log is now.
    pub position: Position,
    /// Whether the mark moved.
    pub changed: bool,
}

/// What somebody has not read: the answer of `MSG.UNREAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What they have not read.
    pub state: ReadState,
    /// The number of the newest message.
    pub n: u64,
    /// Where the log is.
    pub position: Position,
}

/// The answer of `MSG.RANGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Where the log is.
    pub position: Position,
    /// Oldest first, each JSON.
    pub messages: Vec<Text>,
    /// Whether there are further ones in the direction that was asked for; around a message in either.
    pub more: bool,
    /// Whether there are older ones.
    pub more_before: bool,
    /// Whether there are newer ones.
    pub more_after: bool,
}

/// The answer of `DOC.SUBMIT` and `DOC.UNDO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Where the document is now.
    pub position: Position,
    /// The operation as it was applied, JSON; empty when it is no longer kept.
    pub op: Text,
    /// Whether it was applied before.
    pub duplicate: bool,
    /// What others had done since the base, each JSON.
    pub concurrent: Vec<Text>,
}

/// The answer of `DOC.GET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentAt {
    /// Which state it is.
    pub position: Position,
    /// `text`
    pub kind: String,
    /// The text itself.
    pub content: Text,
}

/// The answer of `DOC.INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentInfo {
    /// `text`
    pub kind: Text,
    /// How lines end: `lf` or `any`.
    pub eol: Text,
    /// Where the document is.
    pub position: Position,
    /// The oldest revision that can be read or based on.
    pub first_rev: u64,
    /// How many operations are kept.
    pub operations: u64,
    /// Their size in bytes.
    pub operation_bytes: u64,
    /// The length of the text in bytes of UTF-8.
    pub bytes: u64,
    /// The length of the text in UTF-16 units.
    pub utf16: u64,
    /// The length of the text in Unicode scalar values.
    pub chars: u64,
    /// How many identities are remembered.
    pub writers: u64,
    /// How many cursors are known.
    pub cursors: u64,
    /// Texts that are kept under a name.
    pub tags: Vec<Tag>,
}

/// A text that is kept under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name.
    pub name: Text,
    /// The revision of the text.
    pub rev: u64,
    /// When it was tagged, in milliseconds of Unix time.
    pub at_ms: u64,
}

/// The answer of `DOC.OPS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operations {
    /// `changes`, `rollback`, `reset` or `trimmed`.
    pub outcome: String,
    /// The head of the document.
    pub position: Position,
    /// The last revision in this page.
    pub through: u64,
    /// Frames, oldest first.
    pub events: Vec<(u64, Text)>,
}

impl Written {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Written {
            n: fields.number("n")?,
            position: fields.position()?,
            duplicate: fields.flag("duplicate")?,
            changed: fields.optional_flag("changed")?,
            count: fields.optional_number("count")?,
            length: fields.optional_number("length")?,
            cancelled: fields.optional_flag("cancelled")?,
        })
    }
}

impl Marked {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Marked { position: fields.position()?, changed: fields.flag("changed")? })
    }
}

impl Unread {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Unread {
            state: fields.read_state()?.ok_or_else(|| unexpected("read"))?,
            n: fields.number("n")?,
            position: fields.position()?,
        })
    }
}

impl Range {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Range {
            position: fields.position()?,
            messages: fields.texts("messages")?,
            more: fields.flag("more")?,
            more_before: fields.flag("more_before")?,
            more_after: fields.flag("more_after")?,
        })
    }
}

impl DocumentInfo {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        let mut flat = list(fields.take("tags")?)?.into_iter();
        let mut tags = Vec::with_capacity(flat.len() / 3);
        while let (Some(name), Some(rev), Some(at)) = (flat.next(), flat.next(), flat.next()) {
            tags.push(Tag { name: text(name)?, rev: integer(&rev)?, at_ms: integer(&at)? });
        }
        Ok(DocumentInfo {
            kind: fields.text("type")?,
            eol: fields.text("eol")?,
            position: fields.position()?,
            first_rev: fields.number("first_rev")?,
            operations: fields.number("operations")?,
            operation_bytes: fields.number("operation_bytes")?,
            bytes: fields.number("bytes")?,
            utf16: fields.number("utf16")?,
            chars: fields.number("chars")?,
            writers: fields.number("writers")?,
            cursors: fields.number("cursors")?,
            tags,
        })
    }
}

impl Submitted {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Submitted {
            position: fields.position()?,
            op: fields.text("op")?,
            duplicate: fields.flag("duplicate")?,
            concurrent: fields.texts("concurrent")?,
        })
    }
}

impl DocumentAt {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        let (position, kind) = (fields.position()?, fields.text("type")?.to_string());
        Ok(DocumentAt { position, kind, content: fields.text("content")? })
    }
}

impl Operations {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Operations {
            outcome: fields.text("outcome")?.to_string(),
            position: fields.position()?,
            through: fields.number("through")?,
            events: fields.events()?,
        })
    }
}

/// A map in a reply.
pub(super) struct Fields(HashMap<Key, Value>);

impl Fields {
    pub(super) fn read(reply: Value) -> Result<Self, FrameError> {
        reply.into_map().map(|map| Fields(map.inner())).map_err(|_| unexpected("no map"))
    }

    pub(super) fn take(&mut self, name: &'static str) -> Result<Value, FrameError> {
        self.optional(name).ok_or_else(|| unexpected(name))
    }
    pub(super) fn optional(&mut self, name: &'static str) -> Option<Value> {
        self.0.remove(&Key::from_static_str(name)).filter(|value| !value.is_null())
    }
    pub(super) fn number(&mut self, name: &'static str) -> Result<u64, FrameError> {
        integer(&self.take(name)?)
    }
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, FrameError> {
        flag(&self.take(name)?)
    }
    pub(super) fn optional_number(&mut self, name: &'static str) -> Result<Option<u64>, FrameError> {
        self.optional(name).map(|value| integer(&value)).transpose()
    }
    pub(super) fn optional_flag(&mut self, name: &'static str) -> Result<Option<bool>, FrameError> {
        self.optional(name).map(|value| flag(&value)).transpose()
    }
    pub(super) fn text(&mut self, name: &'static str) -> Result<Text, FrameError> {
        text(self.take(name)?)
    }
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Vec<Text>, FrameError> {
        texts(self.take(name)?)
    }
    pub(super) fn events(&mut self) -> Result<Vec<(u64, Text)>, FrameError> {
        let mut flat = list(self.take("events")?)?.into_iter();
        let mut events = Vec::with_capacity(flat.len() / 2);
        while let (Some(rev), Some(frame)) = (flat.next(), flat.next()) {
            events.push((integer(&rev)?, text(frame)?));
        }
        Ok(events)
    }
    pub(super) fn position(&mut self) -> Result<Position, FrameError> {
        let epoch = self.text("epoch")?.parse().map_err(|()| unexpected("epoch"))?;
        Ok(Position { epoch, rev: self.number("rev")? })
    }
}

/// A reply that is a number.
pub(super) fn integer(value: &Value) -> Result<u64, FrameError> {
    value.as_u64().ok_or_else(|| unexpected("a number"))
}

fn flag(value: &Value) -> Result<bool, FrameError> {
    if let Value::Boolean(flag) = value { Ok(*flag) } else { Ok(integer(value)? != 0) }
}

pub(super) fn text(value: Value) -> Result<Text, FrameError> {
    let bytes = value.into_bytes().ok_or_else(|| unexpected("a text"))?;
    Text::try_from(bytes).map_err(|_| unexpected("UTF-8"))
}

pub(super) fn texts(value: Value) -> Result<Vec<Text>, FrameError> {
    list(value)?.into_iter().map(text).collect()
}

pub(super) fn list(value: Value) -> Result<Vec<Value>, FrameError> {
    if let Value::Array(items) = value { Ok(items) } else { Err(unexpected("a list")) }
}

pub(super) fn unexpected(what: &str) -> FrameError {
    tracing::error!(what, "the module's reply is not of its form; do front and module have the same version?");
    FrameError::internal()
}
