//! Events of clients as commands of their sessions.

mod documents;
mod messages;
mod people;
#[cfg(test)]
mod tests;

use super::ack::Ack;
use super::link::{Answer, Link, State, Then, way};
use super::out::JOBS;
use super::packet::{Event, Packet};
use super::{answer, shapes};
use crate::frame::{Code, FrameError};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// The document of a room that `documentId` names.
pub(super) const DOCUMENT: &str = "main";

/// What is done once all commands of an event are answered, in their order.
type Done = Box<dyn FnOnce(&Arc<Link>, Vec<Answer>, Ack, &mut Vec<Packet>) + Send>;
type Made = Result<Task, FrameError>;

/// What an event asks for, once its arguments are known to be good.
struct Task {
    commands: Vec<Value>,
    done: Done,
}

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

/// A field is missing or not of its form.
fn invalid(message: impl Into<String>) -> FrameError {
    FrameError::new(Code::InvalidArgument, message)
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
    let (name, args) = match read(&event.args) {
        Ok(read) => read,
        Err(error) => return ack.refuse(link, &error, out),
    };
    ack.answers(&name);
    if name == "emit" {
        return match emit(&args, attachments) {
            Ok((fields, payload)) => link.ask_raw(&fields, payload.as_ref(), ack.answer(|_, _| json!({}))),
            Err(error) => ack.refuse(link, &error, out),
        };
    }
    let arg: Value = match args.first().map(|arg| serde_json::from_str(arg.get())).transpose() {
        Ok(arg) => arg.unwrap_or_default(),
        Err(_) => return ack.refuse(link, &invalid("the argument nests too deeply"), out),
    };
    ack.shows(&arg);
    let made = match attachments.is_empty() {
        true => task(&name, arg, &mut link.lock()),
        false => Err(invalid(format!("{name} takes no binary data"))),
    };
    match made {
        Ok(mut task) => {
            if matches!(&*name, "send-message" | "edit-message") {
                sign(link, &mut task.commands);
            }
            task.run(link, ack, out);
        }
        Err(error) => ack.refuse(link, &error, out),
    }
}

/// Rooms know users, not names: so a message brings the name under which it was written.
fn sign(link: &Link, commands: &mut [Value]) {
    let user = link.lock().user.clone();
    if let Some(name) = link.gateway().known.told_name(&user) {
        for command in commands {
            command["body"]["name"] = json!(&*name);
        }
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

fn task(name: &str, arg: Value, state: &mut State) -> Made {
    match name {
        "join-room" => join(room(&arg, "roomId")?, way::ROOM, state),
        "leave-room" => Ok(leave(room(&arg, "roomId")?, way::ROOM, json!({}), state)),
        "join-document" => join(room(&arg, "documentId")?, way::DOCUMENT, state),
        "leave-document" => Ok(leave(room(&arg, "documentId")?, way::DOCUMENT, json!({}), state)),
        "subscribe:presence" => join(room(&arg, "documentId")?, way::PRESENCE, state),
        "unsubscribe:presence" => Ok(leave(room(&arg, "documentId")?, way::PRESENCE, json!({}), state)),
        "subscribe:job" => {
            let job = job(&arg)?;
            join(Job { room: format!("{JOBS}{job}"), shown: json!(job) }, way::JOB, state)
        }
        "unsubscribe:job" => {
            let job = job(&arg)?;
            let shown = json!({"jobId": job});
            Ok(leave(Job { room: format!("{JOBS}{job}"), shown: Value::Null }, way::JOB, shown, state))
        }
        "send-message" => messages::send_message(&arg),
        "edit-message" => messages::edit_message(&arg),
        "delete-message" => {
            let id = if arg.is_string() { &arg } else { &arg["messageId"] };
            let (room, n) = message(id)?;
            let shown = json!({"messageId": id});
            Ok(ask(with(command("msg.delete", room), &[("n", json!(n))]), move |_, _| shown))
        }
        "add-reaction" => messages::react("msg.react", &arg),
        "remove-reaction" => messages::react("msg.unreact", &arg),
        "mark-as-read" => messages::mark_as_read(&arg),
        "get-messages" => messages::get_messages(&arg),
        "typing-start" | "typing-stop" => {
            let types = json!(name == "typing-start");
            let Job { room, .. } = room(&arg, "roomId")?;
            Ok(ask(with(command("presence.typing", &room), &[("typing", types)]), |_, _| json!({})))
        }
        "update-presence" => people::update_presence(arg, state),
        "presence:update" => people::presence_update(arg, state),
        "get-room-presence" => people::get_room_presence(&arg),
        "get-presence" => people::get_presence(&arg, state),
        "operation" => documents::operation(&arg, state),
        "cursor-position" => documents::cursor(&arg, state),
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

/// The room of `roomId` or `documentId`.
fn room(arg: &Value, field: &str) -> Result<Job, FrameError> {
    let room = text(arg, field)?;
    Ok(Job { room: room.to_owned(), shown: json!(room) })
}

/// The id of a job may be a number.
fn job(arg: &Value) -> Result<String, FrameError> {
    match &arg["jobId"] {
        Value::Number(number) => Ok(number.to_string()),
        _ => match text(arg, "jobId")? {
            "" => Err(invalid("jobId: a text is missing")),
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

impl Task {
    /// Asks, and goes on once everything is answered.
    fn run(self, link: &Arc<Link>, ack: Ack, out: &mut Vec<Packet>) {
        struct Gathered {
            answers: BTreeMap<usize, Answer>,
            done: Option<(Done, Ack)>,
        }
        let Task { commands, done } = self;
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
            super::early::ask(link, command, then);
        }
    }
}

/// Several commands; once all are answered, `done` sees the answers in their order.
fn ask_all(
    commands: Vec<Value>,
    done: impl FnOnce(&Arc<Link>, Vec<Answer>, Ack, &mut Vec<Packet>) + Send + 'static,
) -> Task {
    Task { commands, done: Box::new(done) }
}

/// One command; `done` sees what it was answered with.
fn ask_then(command: Value, done: impl FnOnce(&Arc<Link>, Value, Ack, &mut Vec<Packet>) + Send + 'static) -> Task {
    ask_all(vec![command], |link, answers, ack, out| match answers.into_iter().next() {
        Some(Ok(ok)) => done(link, ok, ack, out),
        Some(Err(error)) => ack.fail(link, &error, out),
        None => {}
    })
}

/// One command, whose answer is shown as `shape` makes it.
fn ask(command: Value, shape: impl FnOnce(&Arc<Link>, Value) -> Value + Send + 'static) -> Task {
    ask_then(command, |link, ok, ack, out| {
        let ok = shape(link, ok);
        ack.ok(link, &ok, out);
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
    Ok(ask_then(join, move |link, ok, ack, out| answer::joined(link, job, way, &ok, ack, out)))
}

/// Leaves a room, unless the client is in it in another way too.
fn leave(job: Job, way: u8, shown: Value, state: &mut State) -> Task {
    let mut ways = 0;
    if let Some(place) = state.places.get_mut(&job.room) {
        place.ways &= !way;
        if way == way::DOCUMENT {
            place.document = None;
        }
        ways = place.ways;
    }
    let commands = match ways {
        0 => {
            state.places.remove(&job.room);
            vec![command("room.leave", &job.room)]
        }
        _ if way == way::DOCUMENT => vec![with(command("doc.close", &job.room), &[("doc", json!(DOCUMENT))])],
        _ => Vec::new(),
    };
    all_well(commands, shown)
}

/// `emit`: an event of the application as the fields of a command, with at most one piece of binary data.
fn emit(args: &[Box<RawValue>], mut attachments: Vec<Bytes>) -> Result<(String, Option<Bytes>), FrameError> {
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
    Ok((fields, attachments.pop()))
}
