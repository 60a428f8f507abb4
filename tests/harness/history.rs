//! What clients did and what they saw, in order: the evidence that [`crate::checker`] judges.
//!
//! A client records what it is told before it thinks about it. Nothing here knows what a kind of event means: a durable
//! event is what says from which revision it leads to which.

use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stoa_core::epoch::{Epoch, Position};

/// Names a write: the client's id and its sequence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The id that the client chose.
    pub client: Arc<str>,
    /// Counts the client's writes to one stream.
    pub seq: u64,
}

/// A durable event, as it came to a client or as the server keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name: `msg.posted`.
    pub name: Arc<str>,
    /// The revision that the stream had before it.
    pub from: u64,
    /// Where it leads to.
    pub to: Position,
    /// What it is about, where the stream counts that: the number of a message, the revision of an operation.
    pub item: Option<u64>,
    /// The write that caused it, if its author named it.
    pub identity: Option<Identity>,
    /// Digest of what the writer sent, where it arrives as it was sent.
    pub body: Option<u64>,
    /// Digest of the whole event, where everybody has to get the same, by whatever way it comes.
    pub frame: Option<u64>,
}

/// What happened between one client and one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The client sends a write, for the first time or again.
    Sent {
        /// Which one.
        identity: Identity,
        /// Digest of its body, if it has to arrive as it is.
        body: Option<u64>,
    },
    /// The write was accepted.
    Accepted {
        /// Which one.
        identity: Identity,
        /// Where it stands, by the answer.
        at: Position,
        /// What it became; `None` if it made nothing new.
        item: Option<u64>,
        /// What it changed, where that is told by a number.
        touched: Option<u64>,
        /// Whether the answer says that it was accepted before.
        duplicate: bool,
    },
    /// The write was refused.
    Refused {
        /// Which one.
        identity: Identity,
        /// The code.
        code: String,
        /// Whether the client was told to try again.
        retry: bool,
    },
    /// An event came.
    Delivered(Event),
    /// The client was told to forget what it holds of the stream and to go on from here.
    Snapshot {
        /// Why.
        because: String,
        /// From where.
        at: Position,
    },
    /// The client was told that the stream is gone.
    Reset,
    /// The front says that the client has everything up to here.
    Stands(Position),
    /// What the client shows in the end.
    Shows(String),
    /// What the client knows of single things in the end, by their numbers.
    Knows(BTreeMap<u64, String>),
    /// The client could not make sense of what it was told.
    Broken(String),
    /// Nothing to judge: a connection came, ended, a fault began.
    Note(String),
}

/// One fact, with when and who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, since the start of the history.
    pub at: Duration,
    /// Which client.
    pub client: Arc<str>,
    /// Room and stream: `room-1/log`. Empty for notes.
    pub stream: Arc<str>,
    /// What.
    pub fact: Fact,
}

/// What the server holds of a stream once everything is quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Where the stream ends.
    pub head: Position,
    /// All its events from revision 0 on; `None` for a stream that keeps no history.
    pub events: Option<Vec<Event>>,
    /// What everybody has to show.
    pub shows: Option<String>,
    /// What is true of single things; who knows of one has to know this.
    pub knows: BTreeMap<u64, String>,
    /// The last revision that remained of each epoch. Empty: nobody asked, since nothing can be lost.
    pub epochs: HashMap<Epoch, u64>,
}

impl Default for End {
    fn default() -> End {
        End { head: Position::START, events: None, shows: None, knows: BTreeMap::new(), epochs: HashMap::new() }
    }
}

/// What is promised of history while servers fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Terms {
    /// None is ever lost.
    #[default]
    Steady,
    /// What was answered stays; what was only announced may be lost, and everybody is told.
    Acknowledged,
    /// What was answered may be lost, too; everybody is told, and its writer sends it again.
    Memory,
}

/// All that happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// In the order of their happening; the order of one client's records is exact.
    pub records: Vec<Record>,
    /// What remained, by room and stream.
    pub ends: BTreeMap<Arc<str>, End>,
    /// What was promised.
    pub terms: Terms,
    /// How many missed events somebody who comes back is given for certain; who missed more may get a snapshot.
    pub page: u64,
}

/// Where all clients of a story write down what happens. Clones write into the same history.
#[derive(Clone)]
pub struct Recorder {
    records: Arc<Mutex<Vec<Record>>>,
    start: Instant,
}

impl Recorder {
    /// An empty history that begins now.
    #[allow(clippy::new_without_default)] // It looks at the clock.
    pub fn new() -> Recorder {
        Recorder { records: Arc::default(), start: Instant::now() }
    }

    /// Writes down a fact.
    pub fn record(&self, client: &Arc<str>, stream: &Arc<str>, fact: Fact) {
        let record = Record { at: self.start.elapsed(), client: client.clone(), stream: stream.clone(), fact };
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// Writes down something that explains the rest.
    pub fn note(&self, who: &str, what: impl Into<String>) {
        self.record(&who.into(), &"".into(), Fact::Note(what.into()));
    }

    /// Everything so far.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Digest of a JSON value.
pub fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

impl Event {
    /// Reads a durable event. What has no `from` and `rev` is not durable: `None`.
    pub fn read(stream: &str, frame: &Value) -> Option<Event> {
        let (from, rev) = (frame["from"].as_u64()?, frame["rev"].as_u64()?);
        let at = &frame["message"];
        let part = if at.is_object() { at } else { frame };
        let identity = part["client"].as_str().zip(part["seq"].as_u64());
        // Gathered events tell the newest of what changed since `from`: they depend on when somebody asked.
        let same_for_all = !stream.ends_with("presence") && frame["event"] != "msg.read";
        let as_it_was_sent = frame["event"] == "msg.posted" && at.get("edited_at_ms").is_none();
        Some(Event {
            name: frame["event"].as_str()?.into(),
            from,
            to: Position { epoch: frame["epoch"].as_str()?.parse().ok()?, rev },
            item: if stream.contains("doc:") { Some(rev) } else { part["n"].as_u64() },
            identity: identity.map(|(client, seq)| Identity { client: client.into(), seq }),
            body: as_it_was_sent.then(|| digest(&part["body"])),
            frame: same_for_all.then(|| digest(frame)),
        })
    }

    fn to_json(&self) -> Value {
        json!({"event": *self.name, "from": self.from, "to": self.to.to_string(), "item": self.item,
               "identity": self.identity.as_ref().map(Identity::to_json), "body": self.body, "frame": self.frame})
    }
}

impl Identity {
    fn to_json(&self) -> Value {
        json!(format!("{}:{}", self.client, self.seq))
    }
}

impl Record {
    /// One line of the written history.
    pub fn to_json(&self) -> Value {
        let mut line = match &self.fact {
            Fact::Sent { identity, body } => json!({"fact": "sent", "identity": identity.to_json(), "body": body}),
            Fact::Accepted { identity, at, item, touched, duplicate } => json!({"fact": "accepted",
                "identity": identity.to_json(), "at": at.to_string(), "item": item, "touched": touched,
                "duplicate": duplicate}),
            Fact::Refused { identity, code, retry } => {
                json!({"fact": "refused", "identity": identity.to_json(), "code": code, "retry": retry})
            }
            Fact::Delivered(event) => {
                let mut line = event.to_json();
                line["fact"] = json!("delivered");
                line
            }
            Fact::Snapshot { because, at } => json!({"fact": "snapshot", "because": because, "at": at.to_string()}),
            Fact::Reset => json!({"fact": "reset"}),
            Fact::Stands(at) => json!({"fact": "stands", "at": at.to_string()}),
            Fact::Shows(what) => json!({"fact": "shows", "what": what}),
            Fact::Knows(items) => json!({"fact": "knows", "items": items}),
            Fact::Broken(why) => json!({"fact": "broken", "why": why}),
            Fact::Note(text) => json!({"fact": "note", "text": text}),
        };
        line["at_ms"] = json!(self.at.as_millis() as u64);
        line["client"] = json!(*self.client);
        line["stream"] = json!(*self.stream);
        line
    }
}

impl End {
    /// Whether somebody at a position has everything. Where revisions are gathered, an epoch may begin between two of
    /// them: then there is nothing more to have.
    pub fn is_reached(&self, at: Position) -> bool {
        at == self.head || (self.events.is_none() && is_later_name(self.head, at))
    }
}

/// Whether `later` is the same revision, by the name that it has since another epoch began there.
pub fn is_later_name(later: Position, at: Position) -> bool {
    later.rev == at.rev && later.epoch.number > at.epoch.number
}

impl History {
    /// The part of it that happened in one room.
    pub fn of_room(&self, room: &str) -> History {
        let inside = |stream: &str| stream.split_once('/').is_some_and(|(of, _)| of == room);
        let records = self.records.iter().filter(|record| inside(&record.stream)).cloned().collect();
        let ends = self.ends.iter().filter(|(stream, _)| inside(stream));
        let ends = ends.map(|(stream, end)| (stream.clone(), end.clone())).collect();
        History { records, ends, terms: self.terms, page: self.page }
    }

    /// Writes everything as JSON lines: the records in order, then what remained of each stream.
    pub fn write_to(&self, directory: &Path, name: &str) -> PathBuf {
        let mut lines = String::new();
        for record in &self.records {
            let _ = writeln!(lines, "{}", record.to_json());
        }
        for (stream, end) in &self.ends {
            let events: Option<Vec<Value>> =
                end.events.as_ref().map(|events| events.iter().map(Event::to_json).collect());
            let epochs: BTreeMap<String, u64> =
                end.epochs.iter().map(|(epoch, rev)| (epoch.to_string(), *rev)).collect();
            let end = json!({"end": **stream, "head": end.head.to_string(), "shows": end.shows, "events": events,
                             "epochs": epochs});
            let _ = writeln!(lines, "{end}");
        }
        let path = directory.join(name);
        std::fs::write(&path, lines).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }
}
