//! What each command answers, for the schema.
// The fields are explained where people look for them, in docs/protocol.md.

use crate::frame::{Code, Component, Event, Message, StreamPart, Version};
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// A reply: `ok` or `error`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct Reply {
    /// The command's number; null if it could not be read.
    id: ReplyId,
    /// What the command answers: see [`Answers`].
    ok: Option<serde_json::Value>,
    /// Why it was not carried out.
    error: Option<ErrorBody>,
}

/// The number of the command that is answered.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, missing_docs)]
pub enum ReplyId {
    Number(u64),
    Unread,
}

/// What each command answers in `ok`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, missing_docs)]
pub struct Answers {
    pub connect: Connected,
    #[serde(rename = "auth.refresh")]
    pub auth_refresh: Refreshed,
    #[serde(rename = "room.join")]
    pub room_join: Joined,
    #[serde(rename = "room.leave")]
    pub room_leave: Nothing,
    #[serde(rename = "room.emit")]
    pub room_emit: Nothing,
    #[serde(rename = "room.grant")]
    pub room_grant: AccessChanged,
    #[serde(rename = "room.revoke")]
    pub room_revoke: AccessChanged,
    #[serde(rename = "room.kick")]
    pub room_kick: Kicked,
    #[serde(rename = "msg.post")]
    pub msg_post: MsgPosted,
    #[serde(rename = "msg.edit")]
    pub msg_edit: MsgChanged,
    #[serde(rename = "msg.delete")]
    pub msg_delete: MsgChanged,
    #[serde(rename = "msg.react")]
    pub msg_react: MsgReacted,
    #[serde(rename = "msg.unreact")]
    pub msg_unreact: MsgReacted,
    #[serde(rename = "msg.append")]
    pub msg_append: MsgAppended,
    #[serde(rename = "msg.finish")]
    pub msg_finish: MsgChanged,
    #[serde(rename = "msg.cancel")]
    pub msg_cancel: MsgChanged,
    #[serde(rename = "msg.read")]
    pub msg_read: MsgMarked,
    #[serde(rename = "msg.unread")]
    pub msg_unread: MsgUnread,
    #[serde(rename = "msg.history")]
    pub msg_history: MsgVersions,
    #[serde(rename = "msg.range")]
    pub msg_range: MsgPage,
    #[serde(rename = "doc.open")]
    pub doc_open: StreamPart,
    #[serde(rename = "doc.close")]
    pub doc_close: Nothing,
    #[serde(rename = "doc.submit")]
    pub doc_submit: DocSubmitted,
    #[serde(rename = "doc.get")]
    pub doc_get: DocState,
    #[serde(rename = "doc.ops")]
    pub doc_ops: DocPage,
    #[serde(rename = "doc.undo")]
    pub doc_undo: DocSubmitted,
    #[serde(rename = "doc.info")]
    pub doc_info: DocDescription,
    #[serde(rename = "doc.tag")]
    pub doc_tag: At,
    #[serde(rename = "doc.restore")]
    pub doc_restore: DocSubmitted,
    #[serde(rename = "doc.cursor")]
    pub doc_cursor: Nothing,
    #[serde(rename = "presence.set")]
    pub presence_set: At,
    #[serde(rename = "presence.list")]
    pub presence_list: StreamPart,
    #[serde(rename = "presence.get")]
    pub presence_get: PresencePeople,
    #[serde(rename = "presence.cursor")]
    pub presence_cursor: Nothing,
    #[serde(rename = "presence.typing")]
    pub presence_typing: Nothing,
    #[serde(rename = "devices.list")]
    pub devices_list: Devices,
    #[serde(rename = "devices.kick")]
    pub devices_kick: Nothing,
    pub ping: Nothing,
}

/// An answer that says no more than that it was done.
#[derive(Debug, JsonSchema)]
pub struct Nothing {}

/// Where a stream is.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct At {
    rev: u64,
    epoch: String,
}

/// The answer of `room.grant` and `room.revoke`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct AccessChanged {
    /// Whether the room's list is different now.
    changed: bool,
    rev: u64,
    epoch: String,
}

/// The answer of `room.kick`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct Kicked {
    /// How many connections were listed as here.
    connections: u64,
}

/// The answer of `msg.post`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgPosted {
    n: u64,
    rev: u64,
    epoch: String,
    duplicate: bool,
}

/// The answer of `msg.edit`, `msg.delete`, `msg.finish` and `msg.cancel`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgChanged {
    n: u64,
    rev: u64,
    epoch: String,
    duplicate: bool,
    /// Whether anything is different now.
    changed: bool,
}

/// The answer of `msg.react` and `msg.unreact`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgReacted {
    n: u64,
    rev: u64,
    epoch: String,
    duplicate: bool,
    /// Whether anything is different now.
    changed: bool,
    /// How many have reacted like this.
    count: u64,
}

/// The answer of `msg.append`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgAppended {
    n: u64,
    rev: u64,
    epoch: String,
    duplicate: bool,
    /// How long the text is, in UTF-16 units.
    length: u64,
    /// Whether somebody asked the writer to stop.
    cancelled: bool,
}

/// The answer of `msg.read`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgMarked {
    rev: u64,
    epoch: String,
    /// Whether the mark moved: it only moves up.
    changed: bool,
}

/// The answer of `msg.unread`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgUnread {
    /// Up to where the user has read.
    read: u64,
    /// How many messages of others come after it.
    unread: u64,
    /// How many of them name the user.
    mentions: u64,
    /// The number of the newest message.
    n: u64,
    rev: u64,
    epoch: String,
}

/// The answer of `msg.history`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgVersions {
    /// Oldest first, the present one last.
    versions: Vec<Version>,
}

/// The answer of `msg.range`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgPage {
    epoch: String,
    rev: u64,
    messages: Vec<Message>,
    /// Whether there are further ones in the direction that was asked for; with `around` in either.
    more: bool,
    more_before: bool,
    more_after: bool,
}

/// The answer of `doc.submit`, `doc.undo` and `doc.restore`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DocSubmitted {
    rev: u64,
    epoch: String,
    /// The operation as it was applied; left out when it was accepted so long ago that it is no longer kept.
    op: Option<Vec<Component>>,
    duplicate: bool,
    concurrent: Vec<Vec<Component>>,
}

/// The answer of `doc.get`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DocState {
    epoch: String,
    rev: u64,
    #[serde(rename = "type")]
    kind: String,
    content: String,
}

/// The answer of `doc.info`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DocDescription {
    #[serde(rename = "type")]
    kind: String,
    /// How lines end: `lf` or `any`.
    eol: String,
    epoch: String,
    rev: u64,
    /// The oldest revision that can be read or based on.
    first_rev: u64,
    operations: u64,
    operation_bytes: u64,
    /// The length of the text in bytes of UTF-8.
    bytes: u64,
    /// The length of the text in UTF-16 units.
    utf16: u64,
    /// The length of the text in Unicode scalar values.
    chars: u64,
    writers: u64,
    cursors: u64,
    tags: Vec<DocTagged>,
}

/// A text that is kept under a name.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DocTagged {
    name: String,
    rev: u64,
    at_ms: u64,
}

/// The answer of `doc.ops`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DocPage {
    outcome: String,
    epoch: String,
    rev: u64,
    through: u64,
    events: Vec<Event>,
}

/// The answer of `connect`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct Connected {
    connection: String,
    user: String,
    name: Option<String>,
    ping_interval_ms: u64,
    /// Per room what `room.join` answers, or `{"error":…}`.
    rooms: BTreeMap<String, RoomAnswer>,
}

/// The answer of `auth.refresh`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct Refreshed {
    /// How long the new token lasts.
    expires_in_ms: u64,
}

/// The answer for one room of `connect`.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, missing_docs)]
pub enum RoomAnswer {
    /// Joined.
    Joined(Joined),
    /// Not joined.
    Refused { error: ErrorBody },
}

/// The answer of `room.join`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct Joined {
    room: String,
    /// The role in the room's list, or the name that fits the actions.
    role: String,
    /// `read`, `talk`, `edit`, `manage`: those that are allowed.
    actions: Vec<String>,
    streams: BTreeMap<String, StreamPart>,
}

/// The body of an error.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct ErrorBody {
    code: Code,
    message: String,
    retry: bool,
    retry_after_ms: Option<u64>,
}

/// The answer of `presence.get`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct PresencePeople {
    /// In the order asked; `null` for who was never seen here, or so long ago that it is forgotten.
    people: Vec<Option<PersonSeen>>,
}

/// Somebody who was asked for.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct PersonSeen {
    user: String,
    /// Whether the user is here, and shows it.
    here: bool,
    /// Here: what the user's connections come to.
    status: Option<String>,
    /// Here: `#3d7ab8`.
    color: Option<String>,
    /// Here: since when.
    since_ms: Option<u64>,
    /// Here: what others see.
    data: Option<serde_json::Map<String, serde_json::Value>>,
    /// Not here: when the user was seen last.
    last_seen_ms: Option<u64>,
}

/// The answer of `devices.list`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct Devices {
    devices: Vec<DeviceSeen>,
}

/// One of the user's own connections.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DeviceSeen {
    connection: String,
    /// The front that it is at.
    node: String,
    since_ms: u64,
    /// When it last came or set something.
    active_ms: u64,
    status: String,
    /// Where it came from; empty if that is not known.
    address: String,
    /// What it called itself; empty if it did not.
    agent: String,
}
