//! Replies, and the few events that a front writes itself. Written as text: what the module answered goes in as it is.

pub mod schema;

use super::error::FrameError;
use crate::access::Grant;
use crate::auth::Identity;
use crate::conn::Text;
use crate::module_api::{
    AccessChanged, Device, DocumentAt, DocumentInfo, INVISIBLE, Marked, Opened, Operations, Outcome, Range, ReadState,
    SnapshotBody, Somebody, Submitted, Unread, Written,
};
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Duration;
use stoa_core::epoch::Position;
use stoa_core::json::push_quoted;

pub use schema::{Answers, Reply};
pub use stoa_core::json::quoted;

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

/// The answer of a command that writes one message.
pub fn written(written: &Written) -> String {
    let Written { n, position: Position { epoch, rev }, duplicate, changed, count, length, cancelled } = written;
    let mut out = format!("{{\"n\":{n},\"rev\":{rev},\"epoch\":\"{epoch}\",\"duplicate\":{duplicate}");
    push_some(&mut out, "changed", *changed);
    push_some(&mut out, "count", *count);
    push_some(&mut out, "length", *length);
    push_some(&mut out, "cancelled", *cancelled);
    out.push('}');
    out
}

/// The answer of `msg.read`.
pub fn marked(marked: &Marked) -> String {
    let Marked { position: Position { epoch, rev }, changed } = marked;
    format!("{{\"rev\":{rev},\"epoch\":\"{epoch}\",\"changed\":{changed}}}")
}

/// The answer of `msg.unread`.
pub fn unread(unread: &Unread) -> String {
    let Unread { state: ReadState { read, unread, mentions }, n, position: Position { epoch, rev } } = unread;
    format!(
        "{{\"read\":{read},\"unread\":{unread},\"mentions\":{mentions},\"n\":{n},\"rev\":{rev},\"epoch\":\"{epoch}\"}}"
    )
}

/// The answer of `msg.history`.
pub fn versions(versions: &[Text]) -> String {
    let mut out = String::from("{\"versions\":");
    push_values(&mut out, versions.iter().map(|version| version.as_str()));
    out.push('}');
    out
}

/// The answer of `msg.range`.
pub fn range(range: &Range) -> String {
    let mut out = format!("{{\"epoch\":\"{}\",\"rev\":{}", range.position.epoch, range.position.rev);
    push_list(&mut out, "messages", range.messages.iter().map(|m| m.as_str()));
    push_some(&mut out, "more", Some(range.more));
    push_some(&mut out, "more_before", Some(range.more_before));
    push_some(&mut out, "more_after", Some(range.more_after));
    out.push('}');
    out
}

/// The answer of `doc.submit`, `doc.undo` and `doc.restore`.
pub fn submitted(submitted: &Submitted) -> String {
    let Submitted { position: Position { epoch, rev }, op, duplicate, concurrent } = submitted;
    let mut out = format!("{{\"rev\":{rev},\"epoch\":\"{epoch}\",\"duplicate\":{duplicate}");
    push_some(&mut out, "op", Some(op.as_str()).filter(|op| !op.is_empty()));
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

/// The answer of `doc.info`.
pub fn description(info: &DocumentInfo) -> String {
    let Position { epoch, rev } = info.position;
    let (kind, eol) = (quoted(&info.kind), quoted(&info.eol));
    let mut out = format!("{{\"type\":{kind},\"eol\":{eol},\"epoch\":\"{epoch}\",\"rev\":{rev}");
    for (name, number) in [
        ("first_rev", info.first_rev),
        ("operations", info.operations),
        ("operation_bytes", info.operation_bytes),
        ("bytes", info.bytes),
        ("utf16", info.utf16),
        ("chars", info.chars),
        ("writers", info.writers),
        ("cursors", info.cursors),
    ] {
        push_some(&mut out, name, Some(number));
    }
    let tags: Vec<String> = info
        .tags
        .iter()
        .map(|tag| format!("{{\"name\":{},\"rev\":{},\"at_ms\":{}}}", quoted(&tag.name), tag.rev, tag.at_ms))
        .collect();
    push_list(&mut out, "tags", tags.iter().map(String::as_str));
    out.push('}');
    out
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

/// The answer of `presence.set` and `doc.tag`.
pub fn position(position: Position) -> String {
    format!("{{\"rev\":{},\"epoch\":\"{}\"}}", position.rev, position.epoch)
}

/// The answer of `presence.get`. What is nobody's business is left out; who hides is not here.
pub fn people<'a>(people: impl Iterator<Item = (&'a str, &'a Somebody)>) -> String {
    let people: Vec<String> = people
        .map(|(user, somebody)| match somebody {
            Somebody::Unknown => "null".to_owned(),
            Somebody::Gone { last_seen_ms } => not_here(user, *last_seen_ms),
            // When they hid is all that others could know.
            Somebody::Here(person) if person.status.as_str() == INVISIBLE => not_here(user, person.since_ms),
            Somebody::Here(person) => format!(
                "{{\"user\":{},\"here\":true,\"status\":{},\"color\":{},\"since_ms\":{},\"data\":{}}}",
                quoted(user),
                quoted(&person.status),
                quoted(&person.color),
                person.since_ms,
                person.data
            ),
        })
        .collect();
    let mut out = String::from("{\"people\":");
    push_values(&mut out, people.iter().map(String::as_str));
    out.push('}');
    out
}

fn not_here(user: &str, last_seen_ms: u64) -> String {
    format!("{{\"user\":{},\"here\":false,\"last_seen_ms\":{last_seen_ms}}}", quoted(user))
}

/// What is kept of a device, as a JSON object.
pub fn device_note(address: &str, agent: &str) -> String {
    format!("{{\"address\":{},\"agent\":{}}}", quoted(address), quoted(agent))
}

/// The answer of `devices.list`.
pub fn devices(devices: &[Device]) -> String {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Note {
        address: String,
        agent: String,
    }
    let devices: Vec<String> = devices
        .iter()
        .map(|device| {
            let note: Note = serde_json::from_str(&device.private).unwrap_or_default();
            format!(
                "{{\"connection\":{},\"node\":{},\"since_ms\":{},\"active_ms\":{},\"status\":{},\"address\":{},\"agent\":{}}}",
                quoted(&device.connection),
                quoted(&device.node),
                device.since_ms,
                device.active_ms,
                quoted(&device.status),
                quoted(&note.address),
                quoted(&note.agent)
            )
        })
        .collect();
    let mut out = String::from("{\"devices\":");
    push_values(&mut out, devices.iter().map(String::as_str));
    out.push('}');
    out
}

/// The answer of `room.grant` and `room.revoke`.
pub fn access_changed(done: &AccessChanged) -> String {
    let AccessChanged { changed, position: Position { epoch, rev } } = done;
    format!("{{\"changed\":{changed},\"rev\":{rev},\"epoch\":\"{epoch}\"}}")
}

/// The answer of `room.kick`.
pub fn kicked(connections: u64) -> String {
    format!("{{\"connections\":{connections}}}")
}

/// The answer of `room.join`.
pub fn joined(room: &str, grant: &Grant, parts: &[Arc<Opened>]) -> String {
    let mut out = format!("{{\"room\":{}", quoted(room));
    push_grant(&mut out, grant);
    out.push_str(",\"streams\":{");
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

/// The event that says that this connection ends soon because the front stops.
pub fn closing_frame(retry_after: Duration) -> String {
    format!("{{\"event\":\"connection.closing\",\"retry_after_ms\":{}}}", retry_after.as_millis())
}

/// What `auth.refresh` answers: how long the new token lasts.
pub fn refreshed(remaining: Duration) -> String {
    format!("{{\"expires_in_ms\":{}}}", remaining.as_millis())
}

/// The event that says that the token ends soon.
pub fn expiring_frame(remaining: Duration) -> String {
    format!("{{\"event\":\"auth.expiring\",\"in_ms\":{}}}", remaining.as_millis())
}

/// The event that says that this connection was taken out of a room, for a kick whose own event was lost.
pub fn kicked_frame(room: &str) -> String {
    format!("{{\"event\":\"room.kicked\",\"room\":{}}}", quoted(room))
}

/// The event that says that this connection may do something else in a room than before.
pub fn access_frame(room: &str, grant: &Grant) -> String {
    let mut out = format!("{{\"event\":\"room.access\",\"room\":{}", quoted(room));
    push_grant(&mut out, grant);
    out.push('}');
    out
}

fn push_grant(out: &mut String, grant: &Grant) {
    let _ = write!(out, ",\"role\":{}", quoted(&grant.role));
    push_names(out, "actions", grant.actions.words());
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
    if let Some(ReadState { read, unread, mentions }) = opened.unread {
        let _ = write!(out, ",\"read\":{read},\"unread\":{unread},\"mentions\":{mentions}");
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
        SnapshotBody::Log { messages, more, reads } => {
            push_list(out, "messages", messages.iter().map(|m| m.as_str()));
            let _ = write!(out, ",\"more\":{more}");
            push_some(out, "reads", reads.as_ref());
        }
        SnapshotBody::Presence { count, members } => {
            let _ = write!(out, ",\"count\":{count},\"members\":{}", members.as_str());
        }
        // Nobody is answered with it: what it says goes into `role` and `actions`.
        SnapshotBody::Access(_) => {}
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
    let _ = write!(out, ",\"{name}\":");
    push_values(out, values);
}

/// Appends `,"name":value`, if there is one, of a value that is JSON already.
fn push_some(out: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        let _ = write!(out, ",\"{name}\":{value}");
    }
}

fn push_values<'a>(out: &mut String, values: impl Iterator<Item = &'a str>) {
    out.push('[');
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
    use crate::frame::Code;

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
    fn an_operation_that_is_no_longer_kept_is_left_out() {
        let (position, op) = ("1.9f3a12c0:42".parse().unwrap(), "".into());
        let answer = submitted(&Submitted { position, op, duplicate: true, concurrent: Vec::new() });
        assert_eq!(answer, "{\"rev\":42,\"epoch\":\"1.9f3a12c0\",\"duplicate\":true,\"concurrent\":[]}");
    }

    #[test]
    fn a_part_of_a_join_is_the_modules_own_text() {
        let opened = Opened {
            stream: "log".into(),
            position: "1.9f3a12c0:42".parse().unwrap(),
            outcome: Outcome::Changes { events: vec![(41, "{\"a\":1}".into()), (42, "{\"b\":2}".into())] },
            typing: None,
            unread: Some(ReadState { read: 3, unread: 2, mentions: 1 }),
            cursors: Some(vec!["{\"anchor\":1}".into()]),
        };
        let part = stream_part(&opened);
        assert_eq!(
            part,
            "{\"outcome\":\"changes\",\"epoch\":\"1.9f3a12c0\",\"rev\":42,\"events\":[{\"a\":1},{\"b\":2}],\"read\":3,\"unread\":2,\"mentions\":1,\"cursors\":[{\"anchor\":1}]}"
        );
    }
}
