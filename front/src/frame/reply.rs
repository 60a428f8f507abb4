//! Replies, and the few events that a front writes itself. Written as text: what the module answered goes in as it is.

use super::error::{Code, FrameError};
use super::events::StreamPart;
use crate::auth::Identity;
use crate::module_api::{DocumentAt, Opened, Operations, Outcome, Posted, Range, SnapshotBody, Submitted};
use schemars::JsonSchema;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use stoa_core::epoch::Position;
use stoa_core::json::push_quoted;

pub use stoa_core::json::quoted;

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
    #[serde(rename = "room.join")]
    pub room_join: Joined,
    #[serde(rename = "room.leave")]
    pub room_leave: Nothing,
    #[serde(rename = "room.emit")]
    pub room_emit: Nothing,
    #[serde(rename = "msg.post")]
    pub msg_post: MsgPosted,
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
    #[serde(rename = "doc.cursor")]
    pub doc_cursor: Nothing,
    #[serde(rename = "presence.set")]
    pub presence_set: At,
    #[serde(rename = "presence.list")]
    pub presence_list: StreamPart,
    #[serde(rename = "presence.typing")]
    pub presence_typing: Nothing,
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

/// The answer of `msg.post`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgPosted {
    n: u64,
    rev: u64,
    epoch: String,
    duplicate: bool,
}

/// The answer of `msg.range`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct MsgPage {
    epoch: String,
    rev: u64,
    messages: Vec<super::Message>,
    more: bool,
}

/// The answer of `doc.submit` and `doc.undo`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DocSubmitted {
    rev: u64,
    epoch: String,
    op: Vec<super::Component>,
    duplicate: bool,
    concurrent: Vec<Vec<super::Component>>,
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

/// The answer of `doc.ops`.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct DocPage {
    outcome: String,
    epoch: String,
    rev: u64,
    through: u64,
    events: Vec<super::Event>,
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

/// A reply that carries `ok`, which has to be JSON.
pub fn reply_frame(id: u64, ok: &str) -> String {
    let mut frame = String::with_capacity(ok.len() + 32);
    let _ = write!(frame, "{{\"id\":{id},\"ok\":{ok}}}");
    frame
}

/// A reply that carries an error.
pub fn error_frame(id: Option<u64>, error: &FrameError) -> String {
    let id = id.map_or("null".to_owned(), |id| id.to_string());
    format!("{{\"id\":{id},\"error\":{}}}", error_body(error))
}

fn error_body(error: &FrameError) -> String {
    let (code, message, retry) = (error.code.as_str(), quoted(&error.message), error.code.retry());
    let after = error.retry_after_ms.map_or(String::new(), |ms| format!(",\"retry_after_ms\":{ms}"));
    format!("{{\"code\":\"{code}\",\"message\":{message},\"retry\":{retry}{after}}}")
}

/// The answer of `msg.post`.
pub fn posted(posted: &Posted) -> String {
    let Posted { n, position: Position { epoch, rev }, duplicate } = posted;
    format!("{{\"n\":{n},\"rev\":{rev},\"epoch\":\"{epoch}\",\"duplicate\":{duplicate}}}")
}

/// The answer of `msg.range`.
pub fn range(range: &Range) -> String {
    let mut out = format!("{{\"epoch\":\"{}\",\"rev\":{}", range.position.epoch, range.position.rev);
    push_list(&mut out, "messages", range.messages.iter().map(|m| m.as_str()));
    let _ = write!(out, ",\"more\":{}}}", range.more);
    out
}

/// The answer of `doc.submit` and `doc.undo`.
pub fn submitted(submitted: &Submitted) -> String {
    let Submitted { position: Position { epoch, rev }, op, duplicate, concurrent } = submitted;
    let mut out = format!("{{\"rev\":{rev},\"epoch\":\"{epoch}\",\"op\":{op},\"duplicate\":{duplicate}");
    push_list(&mut out, "concurrent", concurrent.iter().map(|op| op.as_str()));
    out.push('}');
    out
}

/// The answer of `doc.get`.
pub fn document(document: &DocumentAt) -> String {
    let DocumentAt { position: Position { epoch, rev }, kind, content } = document;
    let (kind, content) = (quoted(kind), quoted(content));
    format!("{{\"epoch\":\"{epoch}\",\"rev\":{rev},\"type\":{kind},\"content\":{content}}}")
}

/// The answer of `doc.ops`.
pub fn operations(page: &Operations) -> String {
    let Operations { outcome, position: Position { epoch, rev }, through, events } = page;
    let outcome = quoted(outcome);
    let mut out = format!("{{\"outcome\":{outcome},\"epoch\":\"{epoch}\",\"rev\":{rev},\"through\":{through}");
    push_list(&mut out, "events", events.iter().map(|(_, frame)| frame.as_str()));
    out.push('}');
    out
}

/// The answer of `presence.set`.
pub fn position(position: Position) -> String {
    format!("{{\"rev\":{},\"epoch\":\"{}\"}}", position.rev, position.epoch)
}

/// The answer of `room.join`.
pub fn joined(room: &str, parts: &[Arc<Opened>]) -> String {
    let mut out = format!("{{\"room\":{},\"streams\":{{", quoted(room));
    push_fields(&mut out, parts.iter().map(|part| (part.stream.as_str(), stream_part(part))));
    out.push_str("}}");
    out
}

/// The answer of `connect`; `rooms` are names and answers of joins.
pub fn connected(connection: &str, identity: &Identity, ping_interval_ms: u64, rooms: Vec<(String, String)>) -> String {
    let mut out = format!("{{\"connection\":{},\"user\":{}", quoted(connection), quoted(&identity.user));
    if let Some(name) = &identity.name {
        let _ = write!(out, ",\"name\":{}", quoted(name));
    }
    let _ = write!(out, ",\"ping_interval_ms\":{ping_interval_ms},\"rooms\":{{");
    push_fields(&mut out, rooms.iter().map(|(room, answer)| (room.as_str(), answer.clone())));
    out.push_str("}}");
    out
}

/// The answer of `connect` for a room that could not be joined.
pub fn refused(error: &FrameError) -> String {
    format!("{{\"error\":{}}}", error_body(error))
}

fn push_fields<'a>(out: &mut String, fields: impl Iterator<Item = (&'a str, String)>) {
    for (n, (name, value)) in fields.enumerate() {
        if n > 0 {
            out.push(',');
        }
        push_quoted(out, name);
        out.push(':');
        out.push_str(&value);
    }
}

/// One stream's part of the answer to `room.join`.
pub fn stream_part(opened: &Opened) -> String {
    let mut out = String::from("{");
    push_stream_fields(&mut out, opened);
    out.push('}');
    out
}

/// The event that replaces what a client holds of a stream.
pub fn resync_frame(room: &str, opened: &Opened) -> String {
    let mut out = String::from("{\"event\":\"room.resync\",\"room\":");
    push_quoted(&mut out, room);
    out.push_str(",\"stream\":");
    push_quoted(&mut out, &opened.stream);
    out.push(',');
    push_stream_fields(&mut out, opened);
    out.push('}');
    out
}

/// The event that says that a stream is gone.
pub fn reset_frame(room: &str, stream: &str) -> String {
    format!("{{\"event\":\"room.reset\",\"room\":{},\"stream\":{}}}", quoted(room), quoted(stream))
}

fn push_stream_fields(out: &mut String, opened: &Opened) {
    let position = opened.position;
    match &opened.outcome {
        Outcome::Missing => out.push_str("\"outcome\":\"missing\""),
        Outcome::Changes { events } => {
            let _ = write!(out, "\"outcome\":\"changes\",\"epoch\":\"{}\",\"rev\":{}", position.epoch, position.rev);
            push_list(out, "events", events.iter().map(|(_, frame)| frame.as_str()));
        }
        Outcome::Snapshot { because, history_end, body } => {
            let _ = write!(out, "\"outcome\":\"snapshot\",\"because\":\"{because}\"");
            if let Some(end) = history_end {
                let _ = write!(out, ",\"history_end\":{end}");
            }
            let _ = write!(out, ",\"epoch\":\"{}\",\"rev\":{}", position.epoch, position.rev);
            push_snapshot(out, body);
        }
    }
    if let Some(typing) = &opened.typing {
        push_names(out, "typing", typing.iter().map(|user| user.as_str()));
    }
    if let Some(cursors) = &opened.cursors {
        push_list(out, "cursors", cursors.iter().map(|cursor| cursor.as_str()));
    }
}

fn push_snapshot(out: &mut String, body: &SnapshotBody) {
    match body {
        SnapshotBody::Log { messages, more } => {
            push_list(out, "messages", messages.iter().map(|m| m.as_str()));
            let _ = write!(out, ",\"more\":{more}");
        }
        SnapshotBody::Presence { count, members } => {
            let _ = write!(out, ",\"count\":{count}");
            push_list(out, "members", members.iter().map(|m| m.as_str()));
        }
        SnapshotBody::Document { kind, content } => {
            out.push_str(",\"type\":");
            push_quoted(out, kind);
            out.push_str(",\"content\":");
            push_quoted(out, content);
        }
    }
}

/// Appends `,"name":[…]` of values that are JSON already.
fn push_list<'a>(out: &mut String, name: &str, values: impl Iterator<Item = &'a str>) {
    let _ = write!(out, ",\"{name}\":[");
    for (n, value) in values.enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(value);
    }
    out.push(']');
}

fn push_names<'a>(out: &mut String, name: &str, values: impl Iterator<Item = &'a str>) {
    let quoted: Vec<String> = values.map(quoted).collect();
    push_list(out, name, quoted.iter().map(String::as_str));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_to_try_again() {
        let error = FrameError { retry_after_ms: Some(1200), ..FrameError::new(Code::RateLimited, "a \"b\"") };
        assert_eq!(
            error_frame(Some(7), &error),
            "{\"id\":7,\"error\":{\"code\":\"RATE_LIMITED\",\"message\":\"a \\\"b\\\"\",\"retry\":true,\"retry_after_ms\":1200}}"
        );
        assert!(error_frame(None, &error).starts_with("{\"id\":null,"));
    }

    #[test]
    fn a_part_of_a_join_is_the_modules_own_text() {
        let opened = Opened {
            stream: "log".into(),
            position: "1.9f3a12c0:42".parse().unwrap(),
            outcome: Outcome::Changes { events: vec![(41, "{\"a\":1}".into()), (42, "{\"b\":2}".into())] },
            typing: None,
            cursors: Some(vec!["{\"anchor\":1}".into()]),
        };
        let part = stream_part(&opened);
        assert_eq!(
            part,
            "{\"outcome\":\"changes\",\"epoch\":\"1.9f3a12c0\",\"rev\":42,\"events\":[{\"a\":1},{\"b\":2}],\"cursors\":[{\"anchor\":1}]}"
        );
    }
}
