//! Events and the values inside them, for the schema: the module writes them, fronts pass them on.
// The fields are explained where people look for them, in docs/protocol.md.
#![allow(dead_code, missing_docs)]

use schemars::JsonSchema;
use std::collections::BTreeMap;

/// What a message says.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
pub enum Body {
    Object(serde_json::Map<String, serde_json::Value>),
    Text(String),
}

/// What a message says; null once it was deleted.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
pub enum BodyOrNull {
    Object(serde_json::Map<String, serde_json::Value>),
    Text(String),
    Deleted,
}

/// Who reacted in one way.
#[derive(Debug, JsonSchema)]
pub struct Reaction {
    count: u64,
    /// The first 100.
    users: Vec<String>,
}

/// Up to where somebody has read.
#[derive(Debug, JsonSchema)]
pub struct ReadMark {
    user: String,
    /// The number of a message.
    n: u64,
}

/// What a message said once.
#[derive(Debug, JsonSchema)]
pub struct Version {
    at_ms: u64,
    user: String,
    body: BodyOrNull,
}

/// A part of an operation: keep so many UTF-16 units, insert a text, or with a negative number delete.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
pub enum Component {
    Count(i64),
    Text(String),
}

/// Where somebody is in a document, in UTF-16 units.
#[derive(Debug, JsonSchema)]
pub struct Cursor {
    connection: String,
    user: String,
    /// The end of the selection that stays.
    anchor: u64,
    /// The end that moves; where the caret is.
    head: u64,
    data: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A message of the log.
#[derive(Debug, JsonSchema)]
pub struct Message {
    /// Its number in the room.
    n: u64,
    user: String,
    #[serde(rename = "type")]
    kind: String,
    at_ms: u64,
    /// As it was written.
    body: BodyOrNull,
    /// The message that this one answers.
    reply: Option<u64>,
    /// The root of the thread that it belongs to.
    thread: Option<u64>,
    /// At the root of a thread: how many replies there are.
    replies: Option<u64>,
    /// Users whom it names; `*` means everybody.
    mentions: Option<Vec<String>>,
    meta: Option<serde_json::Map<String, serde_json::Value>>,
    reactions: Option<BTreeMap<String, Reaction>>,
    edited_at_ms: Option<u64>,
    deleted_at_ms: Option<u64>,
    deleted_by: Option<String>,
    /// Its body grows still.
    streaming: Option<bool>,
    /// Somebody asked its writer to stop.
    cancelled: Option<bool>,
    /// Its writer fell silent.
    interrupted: Option<bool>,
    client: Option<String>,
    seq: Option<u64>,
}

/// Where a connection points in a room.
#[derive(Debug, JsonSchema)]
pub struct Pointer {
    connection: String,
    user: String,
    /// As it was told.
    cursor: serde_json::Value,
}

/// Where people are: in the text of a document, or, for presence, in whatever the application shows.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
pub enum Cursors {
    Document(Vec<Cursor>),
    Presence(Vec<Pointer>),
}

/// Somebody who is here.
#[derive(Debug, JsonSchema)]
pub struct Member {
    user: String,
    connections: u64,
    since_ms: u64,
    /// `online`, `away`, `busy`, or one of the application's own.
    status: String,
    /// `#3d7ab8`: follows from the user alone.
    color: String,
    data: serde_json::Map<String, serde_json::Value>,
}

/// Somebody who left.
#[derive(Debug, JsonSchema)]
pub struct Departure {
    user: String,
}

/// Why a client has to take a snapshot.
#[derive(Debug, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Because {
    /// It held nothing.
    First,
    /// What it missed is no longer kept.
    Trimmed,
    /// What it missed is more than a page.
    Far,
    /// A failover lost history that it saw.
    Rollback,
    /// The stream was replaced.
    Reset,
}

/// How a stream is brought up to date.
#[derive(Debug, JsonSchema)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum StreamPart {
    /// Exactly what was missed, oldest first.
    Changes {
        epoch: String,
        rev: u64,
        events: Vec<Event>,
        /// Log: up to where the user has read.
        read: Option<u64>,
        /// Log: how many messages of others come after it.
        unread: Option<u64>,
        /// Log: how many of them name the user.
        mentions: Option<u64>,
        /// Presence: who types.
        typing: Option<Vec<String>>,
        /// Document: where people are, in the text of `rev`. Presence: where they point.
        cursors: Option<Cursors>,
    },
    /// Forget what you hold and take this.
    Snapshot(Snapshot),
    /// There is no such document.
    Missing {},
}

/// A stream as a whole: which fields there are depends on the stream.
#[derive(Debug, JsonSchema)]
pub struct Snapshot {
    because: Because,
    /// With `rollback`: the last revision that survived.
    history_end: Option<u64>,
    epoch: String,
    rev: u64,
    /// Log: the newest, oldest first.
    messages: Option<Vec<Message>>,
    /// Log: whether there are older ones.
    more: Option<bool>,
    /// Log: up to where people have read, the 100 marks that moved last.
    reads: Option<Vec<ReadMark>>,
    /// Log: up to where the user has read.
    read: Option<u64>,
    /// Log: how many messages of others come after it.
    unread: Option<u64>,
    /// Log: how many of them name the user.
    mentions: Option<u64>,
    /// Presence: how many users.
    count: Option<u64>,
    /// Presence: who is here.
    members: Option<Vec<Member>>,
    /// Presence: who types.
    typing: Option<Vec<String>>,
    /// Document: `text`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Document: the text.
    content: Option<String>,
    /// Document: where people are, in the text of `rev`. Presence: where they point.
    cursors: Option<Cursors>,
}

/// What a front pushes.
#[derive(Debug, JsonSchema)]
#[serde(tag = "event")]
pub enum Event {
    /// Somebody, or a service, posted.
    #[serde(rename = "msg.posted")]
    MsgPosted { room: String, stream: String, epoch: String, from: u64, rev: u64, message: Message },
    /// A message was edited, deleted, finished, cancelled or interrupted.
    #[serde(rename = "msg.changed")]
    MsgChanged { room: String, stream: String, epoch: String, from: u64, rev: u64, message: Message },
    /// Somebody reacted to a message, or took a reaction back.
    #[serde(rename = "msg.reacted")]
    MsgReacted {
        room: String,
        stream: String,
        epoch: String,
        from: u64,
        rev: u64,
        n: u64,
        user: String,
        reaction: String,
        added: bool,
        /// How many have reacted like this now.
        count: u64,
    },
    /// The text of a streaming message grew.
    #[serde(rename = "msg.appended")]
    MsgAppended {
        room: String,
        stream: String,
        epoch: String,
        from: u64,
        rev: u64,
        n: u64,
        /// How long it was before, in UTF-16 units.
        at: u64,
        chunk: String,
    },
    /// People have read on.
    #[serde(rename = "msg.read")]
    MsgRead { room: String, stream: String, epoch: String, from: u64, rev: u64, reads: Vec<ReadMark> },
    /// A document was made.
    #[serde(rename = "doc.created")]
    DocCreated {
        room: String,
        stream: String,
        epoch: String,
        from: u64,
        rev: u64,
        #[serde(rename = "type")]
        kind: String,
    },
    /// An operation was accepted.
    #[serde(rename = "doc.applied")]
    DocApplied {
        room: String,
        stream: String,
        epoch: String,
        from: u64,
        rev: u64,
        op: Vec<Component>,
        at_ms: u64,
        user: Option<String>,
        client: Option<String>,
        seq: Option<u64>,
    },
    /// Cursors came, moved, went: those that changed since the last such event.
    #[serde(rename = "doc.cursors")]
    DocCursors {
        room: String,
        stream: String,
        epoch: String,
        /// The revision of the text that the positions are in.
        rev: u64,
        cursors: Vec<Cursor>,
        /// Connections whose cursor is gone.
        gone: Vec<String>,
    },
    /// People came, changed, went.
    #[serde(rename = "presence.changed")]
    PresenceChanged {
        room: String,
        stream: String,
        epoch: String,
        from: u64,
        rev: u64,
        count: u64,
        joined: Vec<Member>,
        updated: Vec<Member>,
        left: Vec<Departure>,
    },
    /// Everybody who types now.
    #[serde(rename = "presence.typing")]
    PresenceTyping { room: String, users: Vec<String> },
    /// Pointers came, moved, went: those that changed since the last such event.
    #[serde(rename = "presence.cursors")]
    PresenceCursors {
        room: String,
        cursors: Vec<Pointer>,
        /// Connections whose pointer is gone.
        gone: Vec<String>,
    },
    /// This connection was taken out of the room; if it is the user's own, the connection ends next.
    #[serde(rename = "room.kicked")]
    RoomKicked { room: String, reason: Option<String>, by: Option<String> },
    /// What this connection may do in the room is different now. Without `read` it is out of it.
    #[serde(rename = "room.access")]
    RoomAccess {
        room: String,
        /// The role in the room's list, or the name that fits the actions.
        role: String,
        /// `read`, `talk`, `edit`, `manage`: those that are allowed.
        actions: Vec<String>,
    },
    /// An ephemeral event of the application.
    #[serde(rename = "room.emitted")]
    RoomEmitted {
        room: String,
        name: String,
        data: serde_json::Value,
        user: Option<String>,
        connection: Option<String>,
        /// Base64, over `/sse`; over a WebSocket the bytes follow the frame in a binary message.
        payload: Option<String>,
    },
    /// The token ends soon: send another with `auth.refresh`.
    #[serde(rename = "auth.expiring")]
    AuthExpiring { in_ms: u64 },
    /// This front stops and ends the connection next: come back after that time.
    #[serde(rename = "connection.closing")]
    ConnectionClosing { retry_after_ms: u64 },
    /// The stream was deleted or replaced, or with an empty name all streams of the room: open it again.
    #[serde(rename = "room.reset")]
    RoomReset { room: String, stream: String },
    /// Exactly-what-you-missed is impossible: take the snapshot.
    #[serde(rename = "room.resync")]
    RoomResync {
        room: String,
        stream: String,
        #[serde(flatten)]
        part: Box<StreamPart>,
    },
}
