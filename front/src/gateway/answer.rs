//! What clients are told once their rooms have answered, where it takes more than the answer.

use super::ack::Ack;
use super::hear::{DOCUMENT, Job, command};
use super::link::{Link, way};
use super::out::{JOB_EVENT, JOB_MESSAGE, job, note_messages, resync};
use super::packet::Packet;
use super::shapes;
use crate::names::{LOG, PRESENCE};
use serde_json::{Value, json};
use std::sync::Arc;

/// Operations that come with a document, in number.
const OPERATIONS_MAX: u64 = 50;
/// Messages that one client's link reads at once because they changed and nobody here has seen them, in number: they are
/// commands of the client, who did not ask for them. Of more the next change is told.
const FETCHING_MAX: usize = 8;
/// The stream of a room's document.
const DOCUMENT_STREAM: &str = "doc:main";

/// A room was joined: tells what is in it, in the way in which it was asked for.
pub(super) fn joined(link: &Arc<Link>, job: Job, way: u8, ok: &Value, ack: Ack, out: &mut Vec<Packet>) {
    let room = &*job.room;
    let streams = &ok["streams"];
    let known = &link.gateway().known;
    note_messages(room, streams[LOG]["rev"].as_u64().unwrap_or_default(), &streams[LOG]["messages"], known);
    let users = shapes::people(&streams[PRESENCE]["members"], known);
    {
        let mut state = link.lock();
        let place = state.places.entry(room.to_owned()).or_default();
        place.ways |= way;
        place.is_listed |= way != way::JOB;
        let typing = streams[PRESENCE]["typing"].as_array().into_iter().flatten().filter_map(Value::as_str);
        place.typing = typing.map(str::to_owned).collect();
    }
    super::early::joined(link, room);
    match way {
        way::DOCUMENT => document(link, job, streams, users, ack, out),
        way::PRESENCE => {
            let told = json!({"documentId": room, "users": users});
            link.emit("presence:state", &told, out);
            ack.ok(link, &told, out);
        }
        way::JOB => {
            let mut messages = streams[LOG]["messages"].as_array().into_iter().flatten();
            let newest = messages.rfind(|message| message["type"] == json!(JOB_MESSAGE));
            if let Some(message) = newest {
                link.emit(JOB_EVENT, &self::job(room, message["body"].clone()), out);
            }
            ack.ok(link, &json!({"jobId": job.shown}), out);
        }
        _ => {
            let log = &streams[LOG];
            let messages = shapes::messages(room, &log["messages"], known);
            let told = json!({"roomId": room, "messages": messages, "users": users,
                "typing": streams[PRESENCE]["typing"], "unread": log["unread"], "mentions": log["mentions"],
                "role": ok["role"], "actions": ok["actions"]});
            ack.ok(link, &told, out);
        }
    }
}

/// The room is joined; its document may have to be made.
fn document(link: &Arc<Link>, job: Job, streams: &Value, users: Vec<Value>, ack: Ack, out: &mut Vec<Packet>) {
    let part = &streams[DOCUMENT_STREAM];
    if part["outcome"] != json!("missing") {
        return opened(link, job, part, users, ack, out);
    }
    let mut open = command("doc.open", &job.room);
    open["doc"] = json!(DOCUMENT);
    open["create"] = json!({"type": "text", "content": ""});
    link.ask(
        open,
        Box::new(move |link, answer, out| match answer {
            Ok(part) => opened(link, job, &part, users, ack, out),
            Err(error) => ack.fail(link, &error, out),
        }),
    );
}

/// The document is open; what led to it comes next.
fn opened(link: &Arc<Link>, job: Job, part: &Value, users: Vec<Value>, ack: Ack, out: &mut Vec<Packet>) {
    let rev = part["rev"].as_u64().unwrap_or_default();
    let epoch = part["epoch"].as_str().unwrap_or_default();
    {
        let mut state = link.lock();
        if let Some(place) = state.places.get_mut(&job.room) {
            place.document = Some((epoch.to_owned(), rev));
        }
    }
    let participants: Vec<Value> = users.iter().map(|person| person["userId"].clone()).collect();
    let state =
        json!({"documentId": job.room, "content": part["content"], "version": rev, "participants": participants});
    link.emit("document-state", &state, out);
    let mut told = state;
    told["users"] = json!(users);
    let mut ops = command("doc.ops", &job.room);
    ops["doc"] = json!(DOCUMENT);
    ops["from"] = json!(rev.saturating_sub(OPERATIONS_MAX));
    ops["to"] = json!(rev);
    link.ask(
        ops,
        Box::new(move |link, answer, out| {
            // What is no longer kept is not told; the state is enough.
            let events = answer.map(|mut ok| ok["events"].take()).unwrap_or_default();
            let operations: Vec<Value> = events.as_array().into_iter().flatten().map(recent).collect();
            link.emit("recent-operations", &json!(operations), out);
            ack.ok(link, &told, out);
        }),
    );
}

/// An operation of before.
fn recent(event: &Value) -> Value {
    let mut parts = super::operation::simple(&event["op"]);
    let first = if parts.is_empty() { json!({"type": "retain", "position": 0}) } else { parts.swap_remove(0) };
    json!({"operation": first, "operations": event["op"], "version": event["rev"], "author": event["user"]})
}

/// Opens a room again whose streams were replaced, and tells what is in it now.
pub(super) fn rejoin(link: &Arc<Link>, room: &str) {
    let has_document = match link.lock().places.get(room) {
        Some(place) => place.document.is_some(),
        // Not joined by the client: the personal room has nothing that it would have to forget.
        None => return,
    };
    link.gateway().known.forget_room(room);
    let mut join = command("room.join", room);
    if has_document {
        join["positions"] = json!({(DOCUMENT_STREAM): null});
    }
    let room = room.to_owned();
    link.ask(
        join,
        Box::new(move |link, answer, out| {
            let Ok(ok) = answer else { return };
            let known = &link.gateway().known;
            for (stream, part) in ok["streams"].as_object().into_iter().flatten() {
                if stream == DOCUMENT_STREAM {
                    let epoch = part["epoch"].as_str().unwrap_or_default().to_owned();
                    let rev = part["rev"].as_u64().unwrap_or_default();
                    if let Some(place) = link.lock().places.get_mut(&room) {
                        place.document = Some((epoch, rev));
                    }
                }
                let mut told = resync(&room, stream, part, known);
                told["because"] = json!("reset");
                link.emit("room-resync", &told, out);
            }
        }),
    );
}

/// Reads a message that changed, and tells it.
pub(super) fn fetch(link: &Arc<Link>, room: &str, n: u64) {
    {
        let mut state = link.lock();
        if !state.places.contains_key(room) {
            return;
        }
        if let Some(has_changed) = state.fetching.get_mut(&(room.to_owned(), n)) {
            *has_changed = true;
            return;
        }
        if state.fetching.len() >= FETCHING_MAX {
            return;
        }
        state.fetching.insert((room.to_owned(), n), false);
    }
    let mut range = command("msg.range", room);
    range["around"] = json!(n);
    range["count"] = json!(1);
    let room = room.to_owned();
    link.ask(
        range,
        Box::new(move |link, answer, out| {
            let has_changed = link.lock().fetching.remove(&(room.clone(), n)).unwrap_or_default();
            let Ok(ok) = answer else { return };
            if has_changed {
                return fetch(link, &room, n);
            }
            let known = &link.gateway().known;
            note_messages(&room, ok["rev"].as_u64().unwrap_or_default(), &ok["messages"], known);
            let mut messages = ok["messages"].as_array().into_iter().flatten();
            if let Some(message) = messages.find(|message| message["n"] == json!(n)) {
                link.emit("message-updated", &shapes::message(&room, message, known), out);
            }
        }),
    );
}
