//! What servers hold once everything is quiet, read as any Redis client can: the end of a [`crate::history`].

use crate::editor::apply;
use crate::history::{End, Event, Fact, History, Recorder};
use crate::reader::{DOCUMENT, full_name, known_messages, shown_people};
use crate::redis::Redis;
use crate::resp::Reply;
use crate::resuming::Resuming;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stoa_core::bounds::Bounds;
use stoa_core::epoch::{Epoch, Position};
use stoa_core::op::{Operation, Unit};

/// The rooms of a story, and who holds them.
pub struct Keepers<'a> {
    /// The rooms.
    pub rooms: &'a [String],
    /// So many of them, the first ones, have a document.
    pub documents: usize,
    /// The server that holds a room now.
    pub server: &'a dyn Fn(&str) -> &'a Redis,
}

impl Keepers<'_> {
    /// Waits until everybody stands where the servers do, for `calm` at most. Writes down what they show, and gives the
    /// records up to then, what remains, and how long that took.
    pub fn settle(&self, clients: &[Resuming], recorder: &Recorder, calm: Duration) -> (History, Duration) {
        let started = Instant::now();
        loop {
            let mut ends = self.heads();
            let reached =
                |(stream, at): (&Arc<str>, &Position)| ends.get(stream).is_some_and(|end| end.is_reached(*at));
            let arrived = |client: &Resuming| client.is_settled() && client.positions().iter().all(reached);
            let late = started.elapsed() > calm;
            if late || clients.iter().all(arrived) {
                clients.iter().for_each(Resuming::record_what_is_shown);
                let records = recorder.records();
                // Somebody may have come or gone meanwhile, and others may have heard of it.
                if late || self.heads() == ends {
                    let took = started.elapsed();
                    self.read_histories(&mut ends);
                    return (History { records, ends, ..History::default() }, took);
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where the streams end, and who is here; the histories are left empty.
    fn heads(&self) -> BTreeMap<Arc<str>, End> {
        let mut ends = BTreeMap::new();
        let end = |head, events: Option<_>, shows| End { head, events, shows, ..End::default() };
        for (n, room) in self.rooms.iter().enumerate() {
            let redis = (self.server)(room);
            let head = position(&redis.ok(&["MSG.RANGE", &key(room, "log"), "COUNT", "1"]));
            ends.insert(full_name(room, "log"), end(head, Some(Vec::new()), None));

            let list = redis.ok(&["PRESENCE.LIST", &key(room, "presence")]);
            let members = list.field("members").json();
            let people = members.as_array().unwrap().iter();
            let people = people.map(|m| (m["user"].as_str().unwrap(), m["connections"].as_u64().unwrap()));
            let shows = Some(shown_people(people));
            ends.insert(full_name(room, "presence"), end(position(&list), None, shows));

            if n < self.documents {
                let stream = format!("doc:{DOCUMENT}");
                let head = position(&redis.ok(&["DOC.INFO", &key(room, &stream)]));
                ends.insert(full_name(room, &stream), end(head, Some(Vec::new()), None));
            }
        }
        ends
    }

    /// Reads the histories of logs and documents, and the texts.
    fn read_histories(&self, ends: &mut BTreeMap<Arc<str>, End>) {
        for (name, end) in ends {
            let (room, stream) = name.split_once('/').unwrap();
            let (redis, key) = ((self.server)(room), key(room, stream));
            let document = stream.starts_with("doc:");
            let Some(events) = &mut end.events else { continue };
            let frames = everything(redis, if document { "DOC.OPS" } else { "MSG.SINCE" }, &key);
            events.extend(frames.iter().filter_map(|frame| Event::read(stream, frame)));
            end.knows = known_messages(frames.iter());
            if document {
                let text = redis.ok(&["DOC.GET", &key]).field("content").text();
                assert_eq!(replay(&frames), text, "the operations in {room} do not make its text");
                end.shows = Some(text);
            }
        }
    }

    /// Asks the servers up to which revision they still hold each epoch that anybody was told of.
    pub fn read_epochs(&self, history: &mut History) {
        let mut told: BTreeMap<Arc<str>, BTreeSet<(u32, u32)>> = BTreeMap::new();
        for record in &history.records {
            let epoch = match &record.fact {
                Fact::Delivered(event) => event.to.epoch,
                Fact::Accepted { at, .. } | Fact::Snapshot { at, .. } | Fact::Stands(at) => at.epoch,
                _ => continue,
            };
            told.entry(record.stream.clone()).or_default().insert((epoch.number, epoch.id));
        }
        for (name, end) in history.ends.iter_mut().filter(|(_, end)| end.events.is_some()) {
            let (room, stream) = name.split_once('/').unwrap();
            for (number, id) in told.remove(name).unwrap_or_default() {
                let epoch = Epoch { number, id };
                // Nobody was ever that far: the answer says where the epoch ends.
                let far = Position { epoch, rev: u64::from(u32::MAX) }.to_string();
                let opened = (self.server)(room).ok(&["ROOM.OPEN", &key(room, stream), &far]);
                let part = &opened.items()[0];
                match part.field("because").text().as_str() {
                    "rollback" => _ = end.epochs.insert(epoch, part.field("history_end").int() as u64),
                    "reset" => {}
                    other => panic!("{far} of {name}: {other}"),
                }
            }
        }
    }
}

/// All events of a stream, page by page.
fn everything(redis: &Redis, command: &str, key: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    let mut from = 0;
    loop {
        let page = redis.ok(&[command, key, &from.to_string()]);
        assert_eq!(page.field("outcome").text(), "changes", "{page:?}");
        frames.extend(page.field("events").items().chunks(2).map(|event| event[1].json()));
        from = page.field("through").int();
        if from == page.field("rev").int() {
            return frames;
        }
    }
}

/// What operations make of an empty text.
fn replay(frames: &[Value]) -> String {
    let bounds = Bounds::default();
    frames.iter().filter(|frame| frame["event"] == "doc.applied").fold(String::new(), |text, frame| {
        let operation = Operation::parse(frame["op"].to_string().as_bytes(), Unit::Utf16, &bounds).unwrap();
        apply(&text, &operation).unwrap_or_else(|| panic!("{frame} does not fit {text:?}"))
    })
}

fn position(reply: &Reply) -> Position {
    let text = format!("{}:{}", reply.field("epoch").text(), reply.field("rev").int());
    text.parse().unwrap_or_else(|()| panic!("no position: {reply:?}"))
}

/// The key of a stream.
pub fn key(room: &str, stream: &str) -> String {
    format!("stoa:{{{room}}}:{stream}")
}
