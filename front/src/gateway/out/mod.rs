//! Events of rooms as clients of Socket.IO hear them. Translated once per event, however many clients hear it.

mod messages;
mod people;
#[cfg(test)]
mod tests;

use super::known::Known;
use super::link::way;
use super::packet::{NAMESPACES_COUNT, Namespace, Packet};
use super::{operation, shapes};
use crate::conn::Event;
use crate::names::{LOG, PRESENCE, is_document};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// Names that Socket.IO keeps for itself: no application's event has one.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// What a room about a job begins with.
pub(super) const JOBS: &str = "jobs.";
/// The type of a message that is the state of a job: `:` cannot stand in one.
pub(super) const JOB_MESSAGE: &str = "job.update";
/// The event that tells it.
pub(super) const JOB_EVENT: &str = "job:update";

/// What one event of a room becomes.
#[derive(Debug)]
pub(crate) struct Told {
    pub(super) emissions: Vec<Emission>,
    pub(super) effect: Effect,
}

/// What else a client's link does about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// These type now. What is told depends on who typed before.
    Typing(Vec<String>),
    /// The document is at this revision.
    Document(u64),
    /// The document is another one, at this epoch and revision.
    Replaced(String, u64),
    /// The client is out of the room.
    Out,
    /// The room has to be opened again.
    Reset,
    /// A message changed that nobody here has seen: it has to be read to be told.
    Fetch(u64),
}

/// Whom it is for, among those in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    All,
    /// All but this user.
    Others(Arc<str>),
    /// All but this connection.
    OtherConnections(Arc<str>),
}

/// An event for clients.
#[derive(Debug)]
pub(super) struct Emission {
    pub(super) to: To,
    /// Ways of being in the room of which one needs one.
    pub(super) ways: u8,
    /// A JSON array that begins with the name.
    args: String,
    payload: Option<Packet>,
    packets: [OnceLock<Packet>; NAMESPACES_COUNT],
}

impl Emission {
    fn new(to: To, ways: u8, name: &str, data: &Value) -> Self {
        Emission { to, ways, args: json!([name, data]).to_string(), payload: None, packets: Default::default() }
    }

    /// As a packet; written once per namespace.
    pub(super) fn packet(&self, namespace: Namespace) -> Packet {
        let attachments = usize::from(self.payload.is_some());
        let packet = self.packets.get(namespace.index());
        let write = || Packet::event(namespace, &self.args, attachments);
        packet.map_or_else(write, |packet| packet.get_or_init(write).clone())
    }

    /// What follows the packet.
    pub(super) fn attachment(&self) -> Option<Packet> {
        self.payload.clone()
    }
}

/// Translates an event.
pub(super) fn tell(room: &str, event: &Event, known: &Known) -> Told {
    let mut teller = Teller { room, known, emissions: Vec::new(), effect: Effect::Nothing };
    if event.text.contains("\"room.emitted\"") && emitted(&mut teller, &event.text, event.payload()).is_some() {
        return teller.end();
    }
    if let Ok(frame) = serde_json::from_str::<Value>(&event.text) {
        teller.tell(&frame);
    }
    teller.end()
}

/// An event of the application: its data pass through as they are.
fn emitted(teller: &mut Teller<'_>, text: &str, payload: Option<&Bytes>) -> Option<()> {
    #[derive(serde::Deserialize)]
    struct Emitted<'a> {
        event: &'a str,
        name: String,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let emitted: Emitted<'_> = serde_json::from_str(text).ok().filter(|it: &Emitted<'_>| it.event == "room.emitted")?;
    if RESERVED.contains(&&*emitted.name) {
        return Some(());
    }
    if emitted.name == JOB_EVENT
        && let Ok(data @ Value::Object(_)) = serde_json::from_str(emitted.data.get())
    {
        teller.all(JOB_EVENT, &job(teller.room, data));
        return Some(());
    }
    let placeholder = if payload.is_some() { ",{\"_placeholder\":true,\"num\":0}" } else { "" };
    let args = format!("[{},{}{placeholder}]", json!(emitted.name), emitted.data.get());
    let payload = payload.map(|bytes| Packet::binary(bytes));
    teller.emissions.push(Emission { to: To::All, ways: way::ANY, args, payload, packets: Default::default() });
    Some(())
}

/// The state of a job, with what its service left out.
pub(super) fn job(room: &str, mut data: Value) -> Value {
    let Some(fields) = data.as_object_mut() else { return data };
    if let Some(id) = room.strip_prefix(JOBS) {
        fields.entry("jobId").or_insert_with(|| json!(id));
    }
    fields.entry("type").or_insert_with(|| json!(JOB_MESSAGE));
    fields.entry("timestamp").or_insert_with(|| json!(shapes::now()));
    data
}

struct Teller<'a> {
    room: &'a str,
    known: &'a Known,
    emissions: Vec<Emission>,
    effect: Effect,
}

impl Teller<'_> {
    fn end(self) -> Told {
        Told { emissions: self.emissions, effect: self.effect }
    }

    fn all(&mut self, name: &str, data: &Value) {
        self.emissions.push(Emission::new(To::All, way::ANY, name, data));
    }

    fn others(&mut self, user: &str, ways: u8, name: &str, data: &Value) {
        self.emissions.push(Emission::new(To::Others(user.into()), ways, name, data));
    }

    fn tell(&mut self, frame: &Value) {
        let rev = frame["rev"].as_u64().unwrap_or_default();
        match frame["event"].as_str().unwrap_or_default() {
            "msg.posted" => self.posted(&frame["message"], rev),
            "msg.changed" => self.changed(&frame["message"], rev),
            "msg.reacted" => self.reacted(frame, rev),
            "msg.appended" => self.appended(frame, rev),
            "msg.read" => self.read(&frame["reads"]),
            "doc.applied" => self.applied(frame, rev),
            "doc.cursors" => self.cursors(frame),
            "presence.changed" => self.presence(frame),
            "presence.typing" => {
                let users = frame["users"].as_array().into_iter().flatten().filter_map(Value::as_str);
                self.effect = Effect::Typing(users.map(str::to_owned).collect());
            }
            "presence.cursors" => self.pointers(frame),
            "room.access" => {
                let actions = &frame["actions"];
                self.all("room-access", &json!({"roomId": self.room, "role": frame["role"], "actions": actions}));
                if !actions.as_array().is_some_and(|actions| actions.contains(&json!("read"))) {
                    self.effect = Effect::Out;
                }
            }
            "room.kicked" => {
                let mut data = json!({"roomId": self.room});
                if let Some(reason) = frame.get("reason") {
                    data["reason"] = reason.clone();
                }
                self.all("kicked", &data);
                self.effect = Effect::Out;
            }
            "room.reset" => self.effect = Effect::Reset,
            "room.resync" => self.resync(frame, rev),
            _ => {}
        }
    }

    fn applied(&mut self, frame: &Value, rev: u64) {
        self.effect = Effect::Document(rev);
        let author = frame["user"].as_str().unwrap_or_default();
        let to = frame["client"].as_str().map_or(To::All, |client| To::OtherConnections(client.into()));
        let parts = operation::simple(&frame["op"]);
        let (count, at_ms) = (parts.len(), frame["at_ms"].as_u64().unwrap_or_default());
        for (part, mut operation) in parts.into_iter().enumerate() {
            operation["author"] = json!(author);
            operation["timestamp"] = json!(at_ms);
            let mut data = json!({"documentId": self.room, "operation": operation, "operations": frame["op"],
                "version": rev, "author": author});
            if count > 1 {
                data["part"] = json!(part + 1);
                data["parts"] = json!(count);
            }
            self.emissions.push(Emission::new(to.clone(), way::DOCUMENT, "operation", &data));
        }
    }

    fn resync(&mut self, frame: &Value, rev: u64) {
        let stream = frame["stream"].as_str().unwrap_or_default();
        if stream == LOG {
            self.known.forget_room(self.room);
        }
        let data = resync(self.room, stream, frame, self.known);
        let ways = if is_document(stream) { way::DOCUMENT } else { way::ANY };
        if is_document(stream) {
            let epoch = frame["epoch"].as_str().unwrap_or_default().to_owned();
            self.effect = Effect::Replaced(epoch, rev);
        }
        self.emissions.push(Emission::new(To::All, ways, "room-resync", &data));
    }
}

/// The whole of a stream, in place of what a client holds.
pub(super) fn resync(room: &str, stream: &str, part: &Value, known: &Known) -> Value {
    let mut data = json!({"roomId": room, "stream": stream, "version": part["rev"], "because": part["because"]});
    if stream == LOG {
        let rev = part["rev"].as_u64().unwrap_or_default();
        note_messages(room, rev, &part["messages"], known);
        data["messages"] = json!(shapes::messages(room, &part["messages"], known));
    } else if stream == PRESENCE {
        data["users"] = json!(shapes::people(&part["members"], known));
        data["typing"] = part["typing"].clone();
    } else {
        data["documentId"] = json!(room);
        data["content"] = part["content"].clone();
    }
    data
}

/// Remembers messages that were read, as they stood after `rev`.
pub(super) fn note_messages(room: &str, rev: u64, messages: &Value, known: &Known) {
    messages.as_array().into_iter().flatten().for_each(|message| known.note_message(room, rev, message));
}
