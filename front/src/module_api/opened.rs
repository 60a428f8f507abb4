//! The reply of `ROOM.OPEN`: streams as somebody who enters a room needs them.

use super::answer::{Fields, integer, text, texts, unexpected};
use crate::access::Listed;
use crate::conn::Text;
use crate::frame::FrameError;
use fred::types::Value;
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
    pub typing: Option<Vec<Text>>,
    /// Log: what the user who asked has not read.
    pub unread: Option<ReadState>,
    /// Document: where people are, presence: where they point, each JSON. They have no revision of their own, so they
    /// stand beside changes too.
    pub cursors: Option<Vec<Text>>,
}

/// What somebody has not read, as it stands beside a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadState {
    /// Up to where they have read.
    pub read: u64,
    /// How many messages of others come after it.
    pub unread: u64,
    /// How many of them name the user.
    pub mentions: u64,
}

/// How a stream is brought up to date.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// By exactly what was missed: revisions and frames.
    Changes {
        /// Oldest first.
        events: Vec<(u64, Text)>,
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
        messages: Vec<Text>,
        /// Whether there are older ones.
        more: bool,
        /// Up to where people have read, a JSON list.
        reads: Option<Text>,
    },
    /// Who is here.
    Presence {
        /// How many users.
        count: u64,
        /// All of them, a JSON list.
        members: Text,
    },
    /// What the room's list says of who asks.
    Access(Listed),
    /// A document.
    Document {
        /// `text`
        kind: String,
        /// The text itself, not JSON.
        content: Text,
    },
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
                    unread: None,
                    cursors: None,
                });
            }
            other => return Err(unexpected(&format!("outcome `{other}`"))),
        };
        let typing = fields.optional("typing").map(texts).transpose()?;
        let cursors = fields.optional("cursors").map(texts).transpose()?;
        let unread = fields.read_state()?;
        Ok(Opened { stream: stream.into(), position: fields.position()?, outcome, typing, unread, cursors })
    }
}

const NOWHERE: Position = Position { epoch: Epoch { number: 0, id: 0 }, rev: 0 };

/// The reply of `ROOM.OPEN`, in the order of the question.
pub(super) fn open_list<'a>(names: impl Iterator<Item = &'a str>, reply: Value) -> Result<Vec<Opened>, FrameError> {
    let Value::Array(parts) = reply else { return Err(unexpected("no list")) };
    names.zip(parts).map(|(name, part)| Opened::read(name, Fields::read(part)?)).collect()
}

impl Fields {
    pub(super) fn read_state(&mut self) -> Result<Option<ReadState>, FrameError> {
        let Some(read) = self.optional_number("read")? else { return Ok(None) };
        Ok(Some(ReadState { read, unread: self.number("unread")?, mentions: self.number("mentions")? }))
    }
    fn body(&mut self) -> Result<SnapshotBody, FrameError> {
        Ok(match &*self.text("kind")? {
            "log" => SnapshotBody::Log {
                messages: self.texts("messages")?,
                more: self.flag("more")?,
                reads: self.optional("reads").map(text).transpose()?,
            },
            "presence" => SnapshotBody::Presence { count: self.number("count")?, members: self.text("members")? },
            "access" => SnapshotBody::Access(Listed { own: self.role("role")?, everybody: self.role("everybody")? }),
            "doc" => SnapshotBody::Document { kind: self.text("type")?.to_string(), content: self.text("content")? },
            other => return Err(unexpected(&format!("kind `{other}`"))),
        })
    }
}
