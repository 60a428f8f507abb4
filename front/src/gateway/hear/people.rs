//! Who is here, and what others see of them.

use super::{Job, Made, all_well, ask_all, ask_then, command, invalid, room, with};
use crate::frame::{Code, FrameError};
use crate::gateway::ack::Ack;
use crate::gateway::link::{Link, State, way};
use crate::gateway::packet::Packet;
use crate::gateway::shapes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Presence data that is remembered for rooms to come, in bytes as JSON: what a room takes.
const PRESENCE_BYTES_MAX: usize = 1024;

/// The rooms in which the client is listed.
fn listed(state: &State, way: u8) -> Vec<String> {
    let there = state.places.iter().filter(|(_, place)| place.is_listed && (way == way::ANY || place.ways & way != 0));
    there.map(|(room, _)| room.clone()).collect()
}

/// `status` and the data of presence.
fn presence(fields: &mut Map<String, Value>) -> Result<Option<String>, FrameError> {
    match fields.remove("status") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(status)) => Ok(Some(status)),
        Some(_) => Err(invalid("status: a text")),
    }
}

pub(super) fn update_presence(arg: Value, state: &mut State) -> Made {
    let mut fields = match arg {
        Value::String(status) => Map::from_iter([("status".to_owned(), json!(status))]),
        Value::Object(fields) => fields,
        _ => return Err(invalid("a status, or {status, activity, location}")),
    };
    let room = fields.remove("roomId").filter(|room| !room.is_null());
    let status = presence(&mut fields)?;
    if status.is_none() && fields.is_empty() {
        return Err(invalid("status: or something else to tell is missing"));
    }
    let rooms = match &room {
        Some(room) => vec![room.as_str().ok_or_else(|| invalid("roomId: a text"))?.to_owned()],
        None => listed(state, way::ANY),
    };
    let mut kept = state.presence.clone();
    for (name, value) in &fields {
        match value {
            Value::Null => drop(kept.remove(name)),
            value => drop(kept.insert(name.clone(), value.clone())),
        }
    }
    if room.is_none() && json!(kept).to_string().len() > PRESENCE_BYTES_MAX {
        let message = format!("presence data has at most {PRESENCE_BYTES_MAX} bytes");
        return Err(FrameError::new(Code::TooLarge, message));
    }
    let data = if fields.is_empty() { Value::Null } else { json!(fields) };
    let set = |room: &String| with(command("presence.set", room), &[("status", json!(status)), ("data", data.clone())]);
    let commands = rooms.iter().map(set).collect();
    if room.is_none() {
        state.presence = kept;
        state.status = status.or(state.status.take());
    }
    Ok(all_well(commands, json!({})))
}

pub(super) fn presence_update(arg: Value, state: &State) -> Made {
    let Value::Object(mut fields) = arg else { return Err(invalid("an object with what others should see")) };
    let rooms = match fields.remove("documentId") {
        None | Some(Value::Null) => listed(state, way::PRESENCE),
        Some(room) => vec![room.as_str().ok_or_else(|| invalid("documentId: a text"))?.to_owned()],
    };
    if rooms.is_empty() {
        return Err(FrameError::new(Code::NotJoined, "subscribe:presence first"));
    }
    let cursor = fields.remove("cursor");
    let status = presence(&mut fields)?;
    // Who somebody is stands in the token.
    fields.remove("userId");
    let mut commands = Vec::new();
    for room in &rooms {
        if let Some(cursor) = &cursor {
            commands.push(json!({"do": "presence.cursor", "room": room, "cursor": cursor}));
        }
        if status.is_some() || !fields.is_empty() {
            let data = if fields.is_empty() { Value::Null } else { json!(fields) };
            commands.push(with(command("presence.set", room), &[("status", json!(status)), ("data", data)]));
        }
    }
    if commands.is_empty() {
        return Err(invalid("cursor, selection or something else to tell is missing"));
    }
    Ok(all_well(commands, json!({})))
}

pub(super) fn get_room_presence(arg: &Value) -> Made {
    let Job { room, .. } = room(arg, "roomId")?;
    let list = command("presence.list", &room);
    Ok(ask_then(list, move |link, part, ack, out| {
        let users = shapes::people(&part["members"], &link.gateway().known);
        let told = json!({"roomId": room, "users": users});
        link.emit("room-presence", &told, out);
        ack.ok(link, &told, out);
    }))
}

pub(super) fn get_presence(arg: &Value, state: &State) -> Made {
    if !arg.is_object() && !arg.is_null() {
        return Err(invalid("{userIds}, or nothing"));
    }
    let users = match &arg["userIds"] {
        Value::Null => None,
        Value::Array(users) if users.iter().all(Value::is_string) => Some(users.clone()),
        _ => return Err(invalid("userIds: an array of texts")),
    };
    if users.as_ref().is_some_and(Vec::is_empty) {
        return Ok(ask_all(Vec::new(), |link, _, ack, out| people_told(link, Vec::new(), ack, out)));
    }
    let commands = state.places.keys().map(|room| match &users {
        Some(users) => with(command("presence.get", room), &[("users", json!(users))]),
        None => command("presence.list", room),
    });
    Ok(ask_all(commands.collect(), |link, answers, ack, out| {
        let known = &link.gateway().known;
        // Who is here in one room is here, whatever another says.
        let mut people: BTreeMap<String, Value> = BTreeMap::new();
        for answer in &answers {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return ack.fail(link, error, out),
            };
            let members = answer["members"].as_array().into_iter().flatten();
            for member in members.chain(answer["people"].as_array().into_iter().flatten()) {
                let Some(user) = member["user"].as_str() else { continue };
                let is_here = member["here"] != json!(false);
                if is_here {
                    people.insert(user.to_owned(), shapes::person(member, known));
                } else if !people.contains_key(user) {
                    let last_seen = shapes::iso(member["last_seen_ms"].as_u64().unwrap_or_default());
                    people.insert(user.to_owned(), shapes::absent(user, &last_seen, known));
                }
            }
        }
        people_told(link, people.into_values().collect(), ack, out);
    }))
}

fn people_told(link: &Arc<Link>, people: Vec<Value>, ack: Ack, out: &mut Vec<Packet>) {
    link.emit("presence-data", &json!(people), out);
    ack.ok(link, &json!({"users": people}), out);
}
