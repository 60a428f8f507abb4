//! Events of clients as commands of their sessions.

use super::link::{Ack, Answer, Link, State, Then, invalid, way};
use super::operation::{self, Sent};
use super::out::JOBS;
use super::packet::{Event, Packet};
use super::{answer, shapes};
use crate::frame::{Code, FrameError};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// The document of a room that `documentId` names.
pub(super) const DOCUMENT: &str = "main";
/// Presence data that is remembered for rooms to come, in bytes as JSON: what a room takes.
const PRESENCE_BYTES_MAX: usize = 1024;

/// What an event asks for, once its arguments are known to be good.
type Task = Box<dyn FnOnce(&Arc<Link>, Ack, &mut Vec<Packet>) + Send>;
type Made = Result<Task, FrameError>;

/// A room that is being joined.
pub(super) struct Job {
    pub(super) room: String,
    /// What the client calls it.
    pub(super) shown: Value,
}

/// A command about a room.
pub(super) fn command(what: &str, room: &str) -> Value {
    json!({"do": what, "room": room})
}

/// Carries out an event, or says why not.
pub(super) fn hear(
    link: &Arc<Link>,
    event: Event,
    attachments: Vec<Bytes>,
    permit: OwnedSemaphorePermit,
    out: &mut Vec<Packet>,
) {
    let mut ack = Ack::new(event.ack, permit);
    let made = read(&event.args).and_then(|(name, args)| {
        let arg = args.first().map_or(Ok(Value::Null), |arg| serde_json::from_str(arg.get()));
        let arg: Value = arg.map_err(|_| invalid("the argument nests too deeply"))?;
        ack = std::mem::replace(&mut ack, Ack::none()).to(&name, &arg);
        if !attachments.is_empty() && name != "emit" {
            return Err(invalid(format!("{name} takes no binary data")));
        }
        match &*name {
            "emit" => emit(&args, attachments),
            name => task(name, arg, &link.lock()),
        }
    });
    match made {
        Ok(task) => task(link, ack, out),
        Err(error) => ack.refuse(link, &error, out),
    }
}

/// The name of an event and what follows it.
fn read(args: &str) -> Result<(String, Vec<Box<RawValue>>), FrameError> {
    let mut args: Vec<Box<RawValue>> =
        serde_json::from_str(args).map_err(|_| invalid("an event is an array that begins with its name"))?;
    let name = args.first().and_then(|name| serde_json::from_str::<String>(name.get()).ok());
    let name = name.ok_or_else(|| invalid("an event begins with its name"))?;
    args.remove(0);
    Ok((name, args))
}

fn task(name: &str, arg: Value, state: &State) -> Made {
    match name {
        "join-room" => join(room(&arg, "roomId")?, way::ROOM, state),
        "leave-room" => leave(room(&arg, "roomId")?, way::ROOM, json!({})),
        "join-document" => join(room(&arg, "documentId")?, way::DOCUMENT, state),
        "leave-document" => leave(room(&arg, "documentId")?, way::DOCUMENT, json!({})),
        "subscribe:presence" => join(room(&arg, "documentId")?, way::PRESENCE, state),
        "unsubscribe:presence" => leave(room(&arg, "documentId")?, way::PRESENCE, json!({})),
        "subscribe:job" => {
            let job = job(&arg)?;
            join(Job { room: format!("{JOBS}{job}"), shown: json!(job) }, way::JOB, state)
        }
        "unsubscribe:job" => {
            let job = job(&arg)?;
            let shown = json!({"jobId": job});
            leave(Job { room: format!("{JOBS}{job}"), shown: Value::Null }, way::JOB, shown)
        }
        "send-message" => send_message(&arg),
        "edit-message" => edit_message(&arg),
        "delete-message" => {
            let id = if arg.is_string() { &arg } else { &arg["messageId"] };
            let (room, n) = message(id)?;
            let shown = json!({"messageId": id});
            Ok(ask(with(command("msg.delete", room), &[("n", json!(n))]), move |_, _| shown))
        }
        "add-reaction" => react("msg.react", &arg),
        "remove-reaction" => react("msg.unreact", &arg),
        "mark-as-read" => mark_as_read(&arg),
        "get-messages" => get_messages(&arg),
        "typing-start" | "typing-stop" => {
            let types = json!(name == "typing-start");
            let Job { room, .. } = room(&arg, "roomId")?;
            Ok(ask(with(command("presence.typing", &room), &[("typing", types)]), |_, _| json!({})))
        }
        "update-presence" => update_presence(arg, state),
        "presence:update" => presence_update(arg, state),
        "get-room-presence" => get_room_presence(&arg),
        "get-presence" => get_presence(&arg, state),
        "operation" => operation(&arg, state),
        "cursor-position" => cursor(&arg, state),
        "refresh-token" => {
            let token = text(&arg, "token")?;
            let token = token.strip_prefix("Bearer ").unwrap_or(token);
            Ok(ask(json!({"do": "auth.refresh", "token": token}), |_, ok| json!({"expiresIn": ok["expires_in_ms"]})))
        }
        _ => Err(FrameError::new(Code::UnknownCommand, "this front knows no such event")),
    }
}

/// A text: the argument itself, or a field of it.
fn text<'a>(arg: &'a Value, field: &str) -> Result<&'a str, FrameError> {
    let text = arg.as_str().or_else(|| arg[field].as_str());
    text.ok_or_else(|| invalid(format!("{field}: a text is missing")))
}

fn room(arg: &Value, field: &str) -> Result<Job, FrameError> {
    let room = text(arg, field)?;
    Ok(Job { room: room.to_owned(), shown: json!(room) })
}

/// The id of a job may be a number.
fn job(arg: &Value) -> Result<String, FrameError> {
    match &arg["jobId"] {
        Value::Number(number) => Ok(number.to_string()),
        _ => match text(arg, "jobId")? {
            "" => Err(invalid("jobId: an id is missing")),
            id => Ok(id.to_owned()),
        },
    }
}

/// Room and number of a message.
fn message(id: &Value) -> Result<(&str, u64), FrameError> {
    let read = id.as_str().and_then(shapes::read_message_id);
    read.ok_or_else(|| invalid("messageId: the id of a message is missing, as its event told it"))
}

fn with(mut command: Value, fields: &[(&str, Value)]) -> Value {
    for (name, value) in fields {
        if !value.is_null() {
            command[*name] = value.clone();
        }
    }
    command
}

/// One command, whose answer is shown as `shape` makes it.
fn ask(command: Value, shape: impl FnOnce(&Arc<Link>, Value) -> Value + Send + 'static) -> Task {
    Box::new(move |link, ack, _| link.ask(command, ack.answer(shape)))
}

/// Several commands; once all are answered, `done` sees the answers in their order.
fn ask_all(
    commands: Vec<Value>,
    done: impl FnOnce(&Arc<Link>, Vec<Answer>, Ack, &mut Vec<Packet>) + Send + 'static,
) -> Task {
    struct Gathered<F> {
        answers: BTreeMap<usize, Answer>,
        done: Option<(F, Ack)>,
    }
    Box::new(move |link, ack, out| {
        let count = commands.len();
        if count == 0 {
            return done(link, Vec::new(), ack, out);
        }
        let gathered = Arc::new(Mutex::new(Gathered { answers: BTreeMap::new(), done: Some((done, ack)) }));
        for (at, command) in commands.into_iter().enumerate() {
            let gathered = gathered.clone();
            let then: Then = Box::new(move |link, answer, out| {
                let mut all = gathered.lock().unwrap_or_else(PoisonError::into_inner);
                all.answers.insert(at, answer);
                if all.answers.len() == count
                    && let Some((done, ack)) = all.done.take()
                {
                    let answers = std::mem::take(&mut all.answers);
                    drop(all);
                    done(link, answers.into_values().collect(), ack, out);
                }
            });
            link.ask(command, then);
        }
    })
}

/// Answers with `ok` if all went well, else with the first error.
fn all_well(commands: Vec<Value>, ok: Value) -> Task {
    ask_all(commands, move |link, answers, ack, out| match answers.into_iter().find_map(Result::err) {
        None => ack.ok(link, &ok, out),
        Some(error) => ack.fail(link, &error, out),
    })
}

fn join(job: Job, way: u8, state: &State) -> Made {
    let mut join = command("room.join", &job.room);
    let is_listed = state.places.get(&job.room).is_some_and(|place| place.is_listed);
    if way != way::JOB && !is_listed {
        join["presence"] = json!({"data": state.presence});
        if let Some(status) = &state.status {
            join["presence"]["status"] = json!(status);
        }
    }
    if way == way::DOCUMENT {
        join["positions"] = json!({"doc:main": null});
    }
    Ok(Box::new(move |link, ack, _| {
        link.ask(
            join,
            Box::new(move |link, answer, out| match answer {
                Ok(ok) => answer::joined(link, job, way, &ok, ack, out),
                Err(error) => ack.fail(link, &error, out),
            }),
        );
    }))
}

/// Leaves a room, unless the client is in it in another way too.
fn leave(job: Job, way: u8, shown: Value) -> Made {
    Ok(Box::new(move |link, ack, out| {
        let ways = {
            let mut state = link.lock();
            let ways = state.places.get_mut(&job.room).map_or(0, |place| {
                place.ways &= !way;
                if way == way::DOCUMENT {
                    place.document = None;
                }
                place.ways
            });
            if ways == 0 {
                state.places.remove(&job.room);
            }
            ways
        };
        let command = match ways {
            0 => command("room.leave", &job.room),
            _ if way == way::DOCUMENT => with(command("doc.close", &job.room), &[("doc", json!(DOCUMENT))]),
            _ => return ack.ok(link, &shown, out),
        };
        link.ask(command, ack.answer(|_, _| shown));
    }))
}

/// What a message says, in the form in which rooms keep it.
fn body(content: &Value, attachments: &Value) -> Result<Value, FrameError> {
    let content = content.as_str().ok_or_else(|| invalid("content: a text is missing"))?;
    if content.trim().is_empty() {
        return Err(invalid("content: a message says something"));
    }
    let mut body = json!({"text": content});
    match attachments {
        Value::Null => {}
        Value::Array(_) => body["attachments"] = attachments.clone(),
        _ => return Err(invalid("attachments: an array")),
    }
    Ok(body)
}

fn send_message(arg: &Value) -> Made {
    let room = arg["roomId"].as_str().ok_or_else(|| invalid("roomId: a text is missing"))?;
    let mut post = with(
        command("msg.post", room),
        &[
            ("body", body(&arg["content"], &arg["attachments"])?),
            ("type", arg["type"].clone()),
            ("meta", arg["metadata"].clone()),
            ("mentions", arg["mentions"].clone()),
            ("client", arg["clientId"].clone()),
            ("seq", arg["seq"].clone()),
        ],
    );
    if !arg["replyTo"].is_null() {
        let (of, n) = message(&arg["replyTo"]).map_err(|_| invalid("replyTo: the id of a message"))?;
        if of != room {
            return Err(invalid("replyTo: a message of the same room"));
        }
        post["reply"] = json!(n);
    }
    let room = room.to_owned();
    Ok(ask(post, move |_, ok| {
        let id = shapes::message_id(&room, ok["n"].as_u64().unwrap_or_default());
        json!({"messageId": id, "version": ok["rev"], "duplicate": ok["duplicate"]})
    }))
}

fn edit_message(arg: &Value) -> Made {
    let (room, n) = message(&arg["messageId"])?;
    let content = if arg["content"].is_null() { &arg["newContent"] } else { &arg["content"] };
    let body = body(content, &arg["attachments"])?;
    let shown = json!({"messageId": arg["messageId"]});
    let edit =
        with(command("msg.edit", room), &[("n", json!(n)), ("body", body), ("mentions", arg["mentions"].clone())]);
    Ok(ask(edit, move |_, _| shown))
}

fn react(what: &str, arg: &Value) -> Made {
    let (room, n) = message(&arg["messageId"])?;
    let emoji = arg["emoji"].as_str().ok_or_else(|| invalid("emoji: a text is missing"))?;
    let id = arg["messageId"].clone();
    let react = with(command(what, room), &[("n", json!(n)), ("reaction", json!(emoji))]);
    Ok(ask(react, move |_, ok| json!({"messageId": id, "count": ok["count"]})))
}

fn mark_as_read(arg: &Value) -> Made {
    let ids = arg["messageIds"].as_array().ok_or_else(|| invalid("messageIds: an array of ids is missing"))?;
    let room = match &arg["roomId"] {
        Value::Null => ids.first().map(message).transpose()?.map(|(room, _)| room),
        room => room.as_str(),
    };
    let room = room.ok_or_else(|| invalid("roomId: a text is missing"))?;
    let mut newest = None;
    for id in ids {
        let (of, n) = message(id)?;
        if of != room {
            return Err(invalid("messageIds: of the room alone"));
        }
        newest = newest.max(Some(n));
    }
    match newest {
        Some(n) => Ok(ask(with(command("msg.read", room), &[("n", json!(n))]), |_, _| json!({}))),
        None => Ok(Box::new(|link, ack, out| ack.ok(link, &json!({}), out))),
    }
}

fn get_messages(arg: &Value) -> Made {
    let Job { room, .. } = room(arg, "roomId")?;
    let mut range = with(command("msg.range", &room), &[("count", arg["count"].clone())]);
    for side in ["before", "after"] {
        if !arg[side].is_null() {
            let (of, n) = message(&arg[side]).map_err(|_| invalid(format!("{side}: the id of a message")))?;
            if of != room {
                return Err(invalid(format!("{side}: a message of the same room")));
            }
            range[side] = json!(n);
        }
    }
    Ok(ask(range, move |link, ok| {
        let known = &link.gateway().known;
        super::out::note_messages(&room, ok["rev"].as_u64().unwrap_or_default(), &ok["messages"], known);
        json!({"messages": shapes::messages(&room, &ok["messages"], known), "more": ok["more"]})
    }))
}

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

fn update_presence(arg: Value, state: &State) -> Made {
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
    let tell = all_well(rooms.iter().map(set).collect(), json!({}));
    Ok(Box::new(move |link, ack, out| {
        if room.is_none() {
            let mut state = link.lock();
            state.presence = kept;
            state.status = status.or(state.status.take());
        }
        tell(link, ack, out);
    }))
}

fn presence_update(arg: Value, state: &State) -> Made {
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

fn get_room_presence(arg: &Value) -> Made {
    let Job { room, .. } = room(arg, "roomId")?;
    let list = command("presence.list", &room);
    Ok(ask_all(vec![list], move |link, answers, ack, out| match answers.into_iter().next() {
        Some(Ok(part)) => {
            let users = shapes::people(&part["members"], &link.gateway().known);
            let told = json!({"roomId": room, "users": users});
            link.emit("room-presence", &told, out);
            ack.ok(link, &told, out);
        }
        Some(Err(error)) => ack.fail(link, &error, out),
        None => {}
    }))
}

fn get_presence(arg: &Value, state: &State) -> Made {
    if !arg.is_null() && !arg.is_object() {
        return Err(invalid("{userIds}, or nothing"));
    }
    let users = match &arg["userIds"] {
        Value::Null => None,
        Value::Array(users) if users.iter().all(Value::is_string) => Some(users.clone()),
        _ => return Err(invalid("userIds: an array of texts")),
    };
    if users.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Box::new(|link, ack, out| people_told(link, Vec::new(), ack, out)));
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

fn operation(arg: &Value, state: &State) -> Made {
    let Job { room, .. } = room(arg, "documentId")?;
    let Some((epoch, rev)) = state.places.get(&room).and_then(|place| place.document.clone()) else {
        return Err(FrameError::new(Code::NotJoined, "join-document first"));
    };
    let base = match &arg["version"] {
        Value::Null => rev,
        version => version.as_u64().ok_or_else(|| invalid("version: a non-negative integer"))?,
    };
    let sent = operation::read(&arg["operation"]).map_err(invalid)?;
    let id = arg["operation"]["timestamp"].clone();
    let shown = move |link: &Arc<Link>, room: &str, rev: &Value, op: Value, out: &mut Vec<Packet>| {
        let id = if id.is_null() { rev.clone() } else { id };
        link.emit("operation-ack", &json!({"documentId": room, "version": rev, "operationId": id}), out);
        json!({"version": rev, "operationId": id, "operations": op})
    };
    let Sent::Edit(op) = sent else {
        return Ok(Box::new(move |link, ack, out| {
            let ok = shown(link, &room, &json!(base), json!([]), out);
            ack.ok(link, &ok, out);
        }));
    };
    Ok(Box::new(move |link, ack, _| {
        let seq = {
            let mut state = link.lock();
            state.operations += 1;
            state.operations
        };
        let submit = json!({"do": "doc.submit", "room": room, "doc": DOCUMENT, "rev": base, "epoch": epoch, "op": op,
            "client": &*link.conn.id, "seq": seq});
        link.ask(
            submit,
            Box::new(move |link, answer, out| match answer {
                Ok(mut ok) => {
                    let op = ok["op"].take();
                    let ok = shown(link, &room, &ok["rev"], op, out);
                    ack.ok(link, &ok, out);
                }
                Err(error) => ack.fail(link, &error, out),
            }),
        );
    }))
}

fn cursor(arg: &Value, state: &State) -> Made {
    let Job { room, .. } = room(arg, "documentId")?;
    let known = state.places.get(&room).and_then(|place| place.document.as_ref()).map(|(_, rev)| *rev);
    let rev = match &arg["version"] {
        Value::Null => known.unwrap_or_default(),
        version => version.as_u64().ok_or_else(|| invalid("version: a non-negative integer"))?,
    };
    let selection = &arg["selection"];
    let cursor = match &arg["position"] {
        Value::Null => Value::Null,
        position => {
            let head = position.as_u64().ok_or_else(|| invalid("position: a non-negative integer"))?;
            let ends = match selection {
                Value::Null => (head, head),
                _ => selection["start"]
                    .as_u64()
                    .zip(selection["end"].as_u64())
                    .ok_or_else(|| invalid("selection: {start, end}"))?,
            };
            // The end of the selection at which the caret is not.
            let anchor = if ends.0 == head { ends.1 } else { ends.0 };
            json!({"anchor": anchor, "head": head})
        }
    };
    let told = json!({"do": "doc.cursor", "room": room, "doc": DOCUMENT, "rev": rev, "cursor": cursor});
    Ok(ask(told, |_, _| json!({})))
}

/// `emit`: an event of the application, with at most one piece of binary data.
fn emit(args: &[Box<RawValue>], mut attachments: Vec<Bytes>) -> Made {
    #[derive(serde::Deserialize)]
    struct Emit<'a> {
        #[serde(rename = "roomId")]
        room: String,
        event: String,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        to: Option<Recipient>,
    }
    #[derive(serde::Deserialize)]
    struct Recipient {
        #[serde(rename = "userId")]
        user: String,
    }
    let arg = args.first().map_or("null", |arg| arg.get());
    let emit: Emit<'_> = serde_json::from_str(arg)
        .map_err(|_| invalid("roomId and event: texts are missing; data: any JSON; to: {userId}"))?;
    if attachments.len() > 1 {
        return Err(invalid("an event has one piece of binary data at most"));
    }
    let data = emit.data.map_or("null", RawValue::get);
    let is_placeholder = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        value["_placeholder"] == json!(true)
    };
    let data_is_binary = is_placeholder(data);
    let second_is_binary = args.get(1).is_some_and(|arg| is_placeholder(arg.get()));
    if attachments.len() != usize::from(data_is_binary) + usize::from(second_is_binary) {
        return Err(invalid("binary data stands as data, or as a second argument"));
    }
    let to = emit.to.map_or(String::new(), |to| format!(",\"to\":{}", json!({"user": to.user})));
    let data = if data_is_binary { "null" } else { data };
    let fields = format!(
        "\"do\":\"room.emit\",\"room\":{},\"name\":{},\"data\":{data}{to}",
        json!(emit.room),
        json!(emit.event)
    );
    Ok(Box::new(move |link, ack, _| {
        link.ask_raw(&fields, attachments.pop().as_ref(), ack.answer(|_, _| json!({})));
    }))
}
