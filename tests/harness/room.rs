//! The language of the stories: people in a room who type, say, drop out and come back.
//!
//! ```ignore
//! let room = Room::with(["ada", "bo"]).await;
//! let [ada, bo] = room.people();
//! bo.cut();
//! ada.types(0, "hi");
//! bo.types(0, "yo ");
//! bo.heal().await;
//! room.agrees_on("yo hi").await;
//! ```
//! Whoever stands in the room checks what it is told: a hole, a repetition or an operation applied otherwise than
//! announced is kept as a fault and fails the story at its next [`Room::agrees`].

use crate::editor::{Editor, replace};
use crate::front::{self, Front};
use crate::redis::Redis;
use crate::socket::Client;
use crate::waiting::{self, SOON};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use stoa_core::op::Operation;
use tokio::sync::watch;

/// The document that everybody in a story edits.
const DOCUMENT: &str = "main";

/// A room with people in it, on a Redis and two fronts of its own.
pub struct Room {
    people: Vec<Person>,
    /// The fronts, in the order of their start.
    pub fronts: Vec<Front>,
    /// The Redis that both fronts use.
    pub redis: Redis,
    /// The room's name.
    pub name: String,
}

impl Room {
    /// People who join one after the other, every other one through the second front.
    pub async fn with<const N: usize>(names: [&str; N]) -> Room {
        Room::on(Redis::start(), names).await
    }

    /// As [`with`](Self::with), on a Redis that the story has prepared.
    pub async fn on<const N: usize>(redis: Redis, names: [&str; N]) -> Room {
        let fronts = vec![Front::start(&redis).await, Front::start(&redis).await];
        let mut room = Room { people: Vec::new(), fronts, redis, name: "lobby".into() };
        for (n, name) in names.iter().enumerate() {
            let port = room.fronts[n % room.fronts.len()].port;
            let person = Person::new(name, &room.name);
            person.arrive(port).await;
            room.people.push(person);
        }
        room
    }

    /// Everybody, in the order of their coming.
    pub fn people<const N: usize>(&self) -> [Person; N] {
        self.people
            .clone()
            .try_into()
            .unwrap_or_else(|people: Vec<_>| panic!("{} people are here, not {N}", people.len()))
    }

    /// Waits until everybody shows this text, nothing is pending, and Redis holds it too.
    pub async fn agrees_on(&self, text: &str) {
        let agreed = self.agrees().await;
        assert_eq!(agreed, text);
    }

    /// Waits until everybody and Redis have the same text and nothing is pending, and gives the text.
    pub async fn agrees(&self) -> String {
        self.agrees_within(SOON * 2).await
    }

    /// As [`agrees`](Self::agrees), with another deadline.
    pub async fn agrees_within(&self, within: Duration) -> String {
        let stored = || self.redis.call(&["DOC.GET", &self.key(&format!("doc:{DOCUMENT}"))]);
        let agreed = waiting::poll_async(within, || {
            if let Some(fault) = self.people.iter().find_map(Person::fault) {
                panic!("{fault}");
            }
            if !self.people.iter().all(Person::is_settled) {
                return None;
            }
            let text = stored().field("content").text();
            self.people.iter().all(|person| person.text() == text).then_some(text)
        });
        agreed.await.unwrap_or_else(|| {
            let texts: Vec<_> = self
                .people
                .iter()
                .map(|person| format!("{} (settled: {}): {:?}", person.name, person.is_settled(), person.text()))
                .collect();
            panic!("no agreement within {within:?}\nRedis: {:?}\n{}", stored(), texts.join("\n"))
        })
    }

    /// A key of this room.
    pub fn key(&self, stream: &str) -> String {
        format!("stoa:{{{}}}:{stream}", self.name)
    }
}

/// Somebody with an editor and a chat window. Clones are the same person.
#[derive(Clone)]
pub struct Person {
    /// The user, and the name shown.
    pub name: String,
    room: String,
    inner: Arc<Mutex<Inner>>,
    changed: watch::Receiver<u64>,
}

struct Inner {
    editor: Editor,
    messages: Vec<Value>,
    log_position: Option<String>,
    client: Option<Arc<Client>>,
    port: u16,
    /// Which of the connections is the present one: what an older one still delivers is not taken.
    connection: u64,
    fault: Option<String>,
    /// The last sequence of somebody else that was taken in.
    seen_seq: u64,
    /// The document's events wait here while somebody looks away.
    withheld: VecDeque<Value>,
    withholding: bool,
    change: watch::Sender<u64>,
}

impl Person {
    /// Somebody who is nowhere yet.
    pub fn new(name: &str, room: &str) -> Person {
        let (change, changed) = watch::channel(0);
        let inner = Inner {
            editor: Editor::new(&format!("client-of-{name}")),
            messages: Vec::new(),
            log_position: None,
            client: None,
            port: 0,
            connection: 0,
            fault: None,
            seen_seq: 0,
            withheld: VecDeque::new(),
            withholding: false,
            change,
        };
        Person { name: name.into(), room: room.into(), inner: Arc::new(Mutex::new(inner)), changed }
    }

    /// Comes in through a front for the first time.
    pub async fn arrive(&self, port: u16) {
        let client = Client::connect(port, &front::token(&self.name)).await;
        let joined = client.ok(json!({"do": "room.join", "room": self.room, "presence": {"data": {}}})).await;
        let open =
            json!({"do": "doc.open", "room": self.room, "doc": DOCUMENT, "create": {"type": "text", "content": ""}});
        let opened = client.ok(open).await;
        let streams = json!({"log": joined["streams"]["log"], format!("doc:{DOCUMENT}"): opened});
        self.attach(client, port, &streams);
    }

    /// Loses the connection without a goodbye. What is typed from now on waits.
    pub fn cut(&self) {
        let mut inner = self.lock();
        inner.client = None;
        inner.connection += 1;
        inner.bump();
    }

    /// Comes back through the same front and resumes.
    pub async fn heal(&self) {
        let port = self.lock().port;
        self.heal_through(port).await;
    }

    /// Comes back through a front and resumes: what was missed arrives, what was in flight is sent again.
    pub async fn heal_through(&self, port: u16) {
        let positions = {
            let inner = self.lock();
            json!({"log": inner.log_position, format!("doc:{DOCUMENT}"): inner.editor.position()})
        };
        let client = Client::open(port).await;
        let resume = json!({(self.room.as_str()): {"positions": positions, "presence": {"data": {}}}});
        let connected = client.ok(json!({"do": "connect", "token": front::token(&self.name), "resume": resume})).await;
        let room = &connected["rooms"][self.room.as_str()];
        assert!(room.get("error").is_none(), "{} cannot resume: {room}", self.name);
        self.attach(client, port, &room["streams"]);
    }

    /// Types at a place, counted in UTF-16 units.
    pub fn types(&self, at: usize, text: &str) {
        self.edits(replace(at, 0, text));
    }

    /// Deletes at a place, counted in UTF-16 units.
    pub fn deletes(&self, at: usize, count: usize) {
        self.edits(replace(at, count, ""));
    }

    /// Makes any edit.
    pub fn edits(&self, operation: Operation) {
        let mut inner = self.lock();
        inner.editor.edit(operation);
        inner.send_edits(&self.room);
    }

    /// What is typed next is sent apart from what was typed so far.
    pub fn pauses(&self) {
        self.lock().editor.seal();
    }

    /// Says something and waits until it is accepted.
    pub async fn says(&self, text: &str) -> Value {
        let client = self.client();
        client.ok(json!({"do": "msg.post", "room": self.room, "body": {"text": text}})).await
    }

    /// The connection, for what the language has no word for.
    pub fn client(&self) -> Arc<Client> {
        self.lock().client.clone().unwrap_or_else(|| panic!("{} is not connected", self.name))
    }

    /// The text that is shown.
    pub fn text(&self) -> String {
        self.lock().editor.text().to_owned()
    }

    /// The texts of the messages that are shown.
    pub fn reads(&self) -> Vec<String> {
        let text =
            |message: &Value| message["body"]["text"].as_str().or(message["body"].as_str()).unwrap_or("?").to_owned();
        self.lock().messages.iter().map(text).collect()
    }

    /// Waits until these messages are shown, and only these.
    pub async fn has_read(&self, texts: &[&str]) {
        let read = waiting::poll_async(SOON, || {
            if let Some(fault) = self.fault() {
                panic!("{fault}");
            }
            (self.reads() == texts).then_some(())
        });
        assert!(read.await.is_some(), "{} has read {:?}, not {texts:?}", self.name, self.reads());
    }

    /// Whether everything typed here is known to others, and everything that arrived is shown.
    pub fn is_settled(&self) -> bool {
        let inner = self.lock();
        inner.editor.is_settled() && inner.withheld.is_empty()
    }

    /// From now on others' operations are taken in only as far as [`has_seen`](Self::has_seen) asks.
    pub fn looks_away(&self) {
        self.lock().withholding = true;
    }

    /// Takes in everything again.
    pub fn looks_up(&self) {
        let mut inner = self.lock();
        inner.withholding = false;
        while let Some(event) = inner.withheld.pop_front() {
            inner.take(&event);
        }
        inner.send_edits(&self.room);
        inner.bump();
    }

    /// Takes in what has arrived, in order, until so many of `other`'s edits are seen, and nothing beyond.
    pub async fn has_seen(&self, other: &Person, edits: usize) {
        let mut changed = self.changed.clone();
        let deadline = Instant::now() + SOON * 2;
        loop {
            changed.mark_unchanged();
            // One lock at a time: the other does the same with us.
            let seq = self.lock().seen_seq;
            if other.lock().editor.sent_with(seq) >= edits {
                return;
            }
            let next = {
                let mut inner = self.lock();
                let next = inner.withheld.pop_front();
                if let Some(event) = &next {
                    inner.take(event);
                    inner.send_edits(&self.room);
                }
                next
            };
            if next.is_none() {
                if let Some(fault) = self.fault() {
                    panic!("{fault}");
                }
                assert!(Instant::now() < deadline, "{} waits in vain for edit {edits} of {}", self.name, other.name);
                // What the other typed and deleted again becomes known without an event, hence the short wait.
                let _ = tokio::time::timeout(Duration::from_millis(20), changed.changed()).await;
            }
        }
    }

    /// A broken promise that this person noticed.
    pub fn fault(&self) -> Option<String> {
        let inner = self.lock();
        let refused = || inner.client.as_ref()?.errors().first().map(|error| format!("an edit was refused: {error}"));
        inner.fault.clone().or_else(refused).map(|fault| format!("{}: {fault}", self.name))
    }

    /// Takes in what the front answered to a join, then follows the connection.
    fn attach(&self, client: Client, port: u16, streams: &Value) {
        let client = Arc::new(client);
        let connection = {
            let mut inner = self.lock();
            inner.take_log(&streams["log"]);
            inner.take_document(&streams[format!("doc:{DOCUMENT}")]);
            inner.client = Some(Arc::clone(&client));
            inner.port = port;
            inner.connection += 1;
            if let Some(submit) = inner.editor.resubmit() {
                inner.send_edit(submit, &self.room);
            }
            inner.send_edits(&self.room);
            inner.bump();
            inner.connection
        };
        let person = self.clone();
        tokio::spawn(async move {
            let mut index = 0;
            while let Some(event) = client.event_at(index).await {
                index += 1;
                let mut inner = person.lock();
                if inner.connection != connection {
                    break;
                }
                if event["room"] != person.room.as_str() {
                    continue;
                }
                if inner.withholding && event["stream"] == format!("doc:{DOCUMENT}") {
                    inner.withheld.push_back(event);
                } else {
                    inner.take(&event);
                    inner.send_edits(&person.room);
                }
                inner.bump();
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    /// Takes in one event of the room.
    fn take(&mut self, event: &Value) {
        match event["event"].as_str() {
            Some("doc.applied") => {
                let received = self.editor.receive(event);
                self.note(received);
                if let (true, Some(seq)) = (event["client"] != self.editor.client(), event["seq"].as_u64()) {
                    self.seen_seq = seq;
                }
            }
            Some("msg.posted") => self.take_message(event),
            Some("room.resync") if event["stream"] == "log" => self.take_log(event),
            Some("room.resync" | "room.reset") if event["stream"] == format!("doc:{DOCUMENT}") => {
                self.note(Err(format!("no story loses a document: {event}")));
            }
            _ => {}
        }
    }

    fn take_message(&mut self, event: &Value) {
        let known = self.log_position.as_deref().and_then(|position| position.rsplit(':').next()?.parse::<u64>().ok());
        if event["from"].as_u64() != known {
            self.note(Err(format!("a hole or a repetition: after {:?} there came {event}", self.log_position)));
        }
        self.messages.push(event["message"].clone());
        self.log_position = position(event);
    }

    /// The log's part of a join's answer.
    fn take_log(&mut self, part: &Value) {
        match part["outcome"].as_str() {
            Some("snapshot") => self.messages = part["messages"].as_array().cloned().unwrap_or_default(),
            Some("changes") => {
                part["events"].as_array().into_iter().flatten().for_each(|event| self.take_message(event))
            }
            _ => self.note(Err(format!("a log without an outcome: {part}"))),
        }
        self.log_position = position(part);
    }

    /// The document's part of a join's answer.
    fn take_document(&mut self, part: &Value) {
        let taken = match part["outcome"].as_str() {
            Some("snapshot") => self.editor.load(part),
            Some("changes") => {
                // What was withheld on the connection before is part of what the answer brings.
                self.withheld.clear();
                let events = part["events"].as_array().into_iter().flatten();
                if self.withholding {
                    self.withheld.extend(events.cloned());
                } else {
                    events.for_each(|event| self.take(event));
                }
                Ok(())
            }
            _ => Err(format!("a document without an outcome: {part}")),
        };
        self.note(taken);
    }

    fn send_edits(&mut self, room: &str) {
        if self.client.is_some() {
            while let Some(submit) = self.editor.submit() {
                self.send_edit(submit, room);
            }
        }
    }

    fn send_edit(&self, mut submit: Value, room: &str) {
        submit["do"] = json!("doc.submit");
        submit["room"] = json!(room);
        submit["doc"] = json!(DOCUMENT);
        if let Some(client) = &self.client {
            client.send(submit);
        }
    }

    fn note(&mut self, result: Result<(), String>) {
        if let (Err(fault), None) = (result, &self.fault) {
            self.fault = Some(fault);
        }
    }

    fn bump(&self) {
        self.change.send_modify(|count| *count += 1);
    }
}

/// The position that an event or a part of an answer leads to.
fn position(frame: &Value) -> Option<String> {
    Some(format!("{}:{}", frame["epoch"].as_str()?, frame["rev"].as_u64()?))
}
