//! The module's replies, parsed. JSON inside them stays text.

use crate::frame::FrameError;
use axum::extract::ws::Utf8Bytes;
use fred::types::{Key, Value};
use std::collections::HashMap;
use stoa_core::epoch::{Epoch, Position};

/// One stream as `ROOM.OPEN` answers it.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The stream.
    pub stream: String,
    /// What the answer leads to.
    pub position: Position,
    /// How.
    pub outcome: Outcome,
    /// Presence: who types now. It has no revision, so it stands beside changes too.
    pub typing: Option<Vec<Utf8Bytes>>,
    /// Document: where people are, each JSON. They have no revision of their own, so they stand beside changes too.
    pub cursors: Option<Vec<Utf8Bytes>>,
}

/// How a stream is brought up to date.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// By exactly what was missed: revisions and frames.
    Changes {
        /// Oldest first.
        events: Vec<(u64, Utf8Bytes)>,
    },
    /// By a whole.
    Snapshot {
        /// Why.
        because: String,
        /// The last revision that survived a failover.
        history_end: Option<u64>,
        /// The whole.
        body: SnapshotBody,
    },
    /// There is no such stream.
    Missing,
}

/// A stream as a whole.
#[derive(Debug, Clone, PartialEq)]
pub enum SnapshotBody {
    /// The newest messages.
    Log {
        /// Oldest first, each JSON.
        messages: Vec<Utf8Bytes>,
        /// Whether there are older ones.
        more: bool,
    },
    /// Who is here.
    Presence {
        /// How many users.
        count: u64,
        /// Each JSON.
        members: Vec<Utf8Bytes>,
    },
    /// A document.
    Document {
        /// `text`
        kind: String,
        /// The text itself, not JSON.
        content: Utf8Bytes,
    },
}

/// The answer of `MSG.POST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The message's number.
    pub n: u64,
    /// Where the log is now.
    pub position: Position,
    /// Whether it was posted before.
    pub duplicate: bool,
}

/// The answer of `MSG.RANGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Where the log is.
    pub position: Position,
    /// Oldest first, each JSON.
    pub messages: Vec<Utf8Bytes>,
    /// Whether there are further ones.
    pub more: bool,
}

/// The answer of `DOC.SUBMIT` and `DOC.UNDO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Where the document is now.
    pub position: Position,
    /// The operation as it was applied, JSON.
    pub op: Utf8Bytes,
    /// Whether it was applied before.
    pub duplicate: bool,
    /// What others had done since the base, each JSON.
    pub concurrent: Vec<Utf8Bytes>,
}

/// The answer of `DOC.GET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentAt {
    /// Which state it is.
    pub position: Position,
    /// `text`
    pub kind: String,
    /// The text itself.
    pub content: Utf8Bytes,
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
    pub events: Vec<(u64, Utf8Bytes)>,
}

impl Posted {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Posted { n: fields.number("n")?, position: fields.position()?, duplicate: fields.flag("duplicate")? })
    }
}

impl Range {
    pub(super) fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(Range { position: fields.position()?, messages: fields.texts("messages")?, more: fields.flag("more")? })
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

impl Opened {
    fn read(stream: &str, mut fields: Fields) -> Result<Self, FrameError> {
        let outcome = match &*fields.text("outcome")? {
            "changes" => Outcome::Changes { events: fields.events()? },
            "snapshot" => Outcome::Snapshot {
                because: fields.text("because")?.to_string(),
                history_end: fields.optional("history_end").map(|value| integer(&value)).transpose()?,
                body: fields.body()?,
            },
            "missing" => {
                return Ok(Opened {
                    stream: stream.into(),
                    position: NOWHERE,
                    outcome: Outcome::Missing,
                    typing: None,
                    cursors: None,
                });
            }
            other => return Err(unexpected(&format!("outcome `{other}`"))),
        };
        let typing = fields.optional("typing").map(texts).transpose()?;
        let cursors = fields.optional("cursors").map(texts).transpose()?;
        Ok(Opened { stream: stream.into(), position: fields.position()?, outcome, typing, cursors })
    }
}

const NOWHERE: Position = Position { epoch: Epoch { number: 0, id: 0 }, rev: 0 };

/// The reply of `ROOM.OPEN`, in the order of the question.
pub(super) fn open_list<'a>(names: impl Iterator<Item = &'a str>, reply: Value) -> Result<Vec<Opened>, FrameError> {
    let Value::Array(parts) = reply else { return Err(unexpected("no list")) };
    names.zip(parts).map(|(name, part)| Opened::read(name, Fields::read(part)?)).collect()
}

/// A map in a reply.
pub(super) struct Fields(HashMap<Key, Value>);

impl Fields {
    pub(super) fn read(reply: Value) -> Result<Self, FrameError> {
        reply.into_map().map(|map| Fields(map.inner())).map_err(|_| unexpected("no map"))
    }

    fn take(&mut self, name: &'static str) -> Result<Value, FrameError> {
        self.optional(name).ok_or_else(|| unexpected(name))
    }
    fn optional(&mut self, name: &'static str) -> Option<Value> {
        self.0.remove(&Key::from_static_str(name)).filter(|value| !value.is_null())
    }
    fn number(&mut self, name: &'static str) -> Result<u64, FrameError> {
        integer(&self.take(name)?)
    }
    fn flag(&mut self, name: &'static str) -> Result<bool, FrameError> {
        match self.take(name)? {
            Value::Boolean(flag) => Ok(flag),
            value => Ok(integer(&value)? != 0),
        }
    }
    fn text(&mut self, name: &'static str) -> Result<Utf8Bytes, FrameError> {
        text(self.take(name)?)
    }
    fn texts(&mut self, name: &'static str) -> Result<Vec<Utf8Bytes>, FrameError> {
        texts(self.take(name)?)
    }
    fn events(&mut self) -> Result<Vec<(u64, Utf8Bytes)>, FrameError> {
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
    fn body(&mut self) -> Result<SnapshotBody, FrameError> {
        Ok(match &*self.text("kind")? {
            "log" => SnapshotBody::Log { messages: self.texts("messages")?, more: self.flag("more")? },
            "presence" => SnapshotBody::Presence { count: self.number("count")?, members: self.texts("members")? },
            "doc" => SnapshotBody::Document { kind: self.text("type")?.to_string(), content: self.text("content")? },
            other => return Err(unexpected(&format!("kind `{other}`"))),
        })
    }
}

/// A reply that is a number.
pub(super) fn integer(value: &Value) -> Result<u64, FrameError> {
    value.as_u64().ok_or_else(|| unexpected("a number"))
}

fn text(value: Value) -> Result<Utf8Bytes, FrameError> {
    let bytes = value.into_bytes().ok_or_else(|| unexpected("a text"))?;
    Utf8Bytes::try_from(bytes).map_err(|_| unexpected("UTF-8"))
}

fn texts(value: Value) -> Result<Vec<Utf8Bytes>, FrameError> {
    list(value)?.into_iter().map(text).collect()
}

fn list(value: Value) -> Result<Vec<Value>, FrameError> {
    if let Value::Array(items) = value { Ok(items) } else { Err(unexpected("a list")) }
}

fn unexpected(what: &str) -> FrameError {
    tracing::error!(what, "the module's reply is not of its form; do front and module have the same version?");
    FrameError::internal()
}
