//! What travels over `/sse`: positions in and out, and the blocks of the stream (HTML, 9.2.6).

use super::{Code, FrameError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write;
use stoa_core::epoch::Position;
use stoa_core::event::{Header, Kind};
use stoa_core::json::quoted;

/// Where a connection is in each durable stream of each room.
///
/// The id of a block of the stream is this, as JSON. Names of rooms and streams are ASCII, so it fits in a header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Positions(BTreeMap<String, BTreeMap<String, String>>);

impl Positions {
    /// The positions in a `Last-Event-ID`.
    pub fn parse(id: &str) -> Result<Self, FrameError> {
        serde_json::from_str(id)
            .map_err(|_| FrameError::new(Code::InvalidArgument, "Last-Event-ID: not an id of this stream"))
    }

    /// The id.
    pub fn id(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Takes in where an event leads to; says whether that moved anything.
    pub fn note(&mut self, room: &str, header: &Header) -> bool {
        match header.kind {
            Kind::Durable => {
                self.set(room, &header.stream, header.position());
                true
            }
            Kind::Reset => {
                let streams = self.0.get_mut(room);
                streams.is_some_and(|streams| {
                    streams.retain(|stream, _| !header.stream.is_empty() && *stream != header.stream);
                    true
                })
            }
            Kind::Ephemeral | Kind::Heads | Kind::Kick => false,
        }
    }

    /// Takes in the answer of `connect`; says whether a room should be tried again.
    pub fn note_answer(&mut self, ok: &str) -> bool {
        #[derive(Deserialize)]
        struct Connected {
            #[serde(default)]
            rooms: BTreeMap<String, Room>,
        }
        #[derive(Deserialize)]
        struct Room {
            #[serde(default)]
            streams: BTreeMap<String, Stream>,
            error: Option<Refused>,
        }
        #[derive(Deserialize)]
        struct Stream {
            epoch: Option<String>,
            rev: Option<u64>,
        }
        #[derive(Deserialize)]
        struct Refused {
            retry: bool,
        }
        let Ok(connected) = serde_json::from_str::<Connected>(ok) else { return false };
        let mut again = false;
        for (room, answer) in connected.rooms {
            again |= answer.error.is_some_and(|error| error.retry);
            for (stream, Stream { epoch, rev }) in answer.streams {
                if let (Some(epoch), Some(rev)) = (epoch.and_then(|epoch| epoch.parse().ok()), rev) {
                    self.set(&room, &stream, Position { epoch, rev });
                }
            }
        }
        again
    }

    fn set(&mut self, room: &str, stream: &str, position: Position) {
        let position = position.to_string();
        match self.0.get_mut(room).and_then(|streams| streams.get_mut(stream)) {
            Some(at) => *at = position,
            None => {
                self.0.entry(room.to_owned()).or_default().insert(stream.to_owned(), position);
            }
        }
    }
}

/// What `/sse` is asked for: rooms, as in `connect`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Resume(BTreeMap<String, RoomResume>);

#[derive(Debug, Default, Deserialize, Serialize)]
struct RoomResume {
    #[serde(default)]
    positions: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence: Option<Box<RawValue>>,
}

impl Resume {
    /// Reads the parameter `resume`.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        serde_json::from_str(text).map_err(|e| {
            let why = e.to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            FrameError::new(Code::InvalidArgument, format!("resume: rooms as in connect: {why}"))
        })
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes on from later positions: what they say of the rooms asked for wins.
    pub fn go_on_from(&mut self, later: Positions) {
        for (room, streams) in later.0 {
            if let Some(asked) = self.0.get_mut(&room) {
                asked.positions.extend(streams.into_iter().map(|(stream, at)| (stream, Some(at))));
            }
        }
    }

    /// What is held before anything is answered.
    pub fn positions(&self) -> Positions {
        let held = |(room, asked): (&String, &RoomResume)| {
            let streams = asked.positions.iter().filter_map(|(stream, at)| Some((stream.clone(), at.clone()?)));
            (room.clone(), streams.collect())
        };
        Positions(self.0.iter().map(held).collect())
    }

    /// The frame that asks for it.
    pub fn connect_frame(&self, token: &str) -> String {
        let resume = serde_json::to_string(&self.0).unwrap_or_default();
        format!("{{\"id\":0,\"do\":\"connect\",\"token\":{},\"resume\":{resume}}}", quoted(token))
    }
}

/// What `ok` holds in the answer of `connect`; the error frame as it is if it was refused.
pub fn answer_of(reply: &str) -> Result<&str, &str> {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow)]
        ok: Option<&'a RawValue>,
    }
    let ok = serde_json::from_str::<Reply<'_>>(reply).ok().and_then(|reply| reply.ok);
    ok.map(RawValue::get).ok_or(reply)
}

/// A block of the stream. `data` is one line of JSON.
pub fn block(event: Option<&str>, id: Option<&str>, data: &str) -> String {
    let mut out = String::with_capacity(data.len() + id.map_or(0, str::len) + 32);
    if let Some(event) = event {
        let _ = writeln!(out, "event: {event}");
    }
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    let _ = write!(out, "data: {data}\n\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoa_core::epoch::Epoch;

    fn durable(stream: &str, rev: u64) -> Header {
        Header::durable(stream, Epoch { number: 1, id: 0xab }, rev - 1, rev)
    }

    #[test]
    fn an_id_holds_all_positions_and_brings_them_back() {
        let mut positions = Positions::default();
        let answer = "{\"connection\":\"k\",\"rooms\":{\"a\":{\"streams\":{\"log\":{\"outcome\":\"changes\",\"epoch\":\
                      \"1.000000ab\",\"rev\":4,\"events\":[]},\"doc:x\":{\"outcome\":\"missing\"}}},\"b\":{\"error\":\
                      {\"code\":\"UNAVAILABLE\",\"message\":\"\",\"retry\":true}}}}";
        assert!(positions.note_answer(answer), "b is to be tried again");
        assert!(positions.note("a", &durable("log", 5)));
        assert!(positions.note("a", &durable("doc:x", 1)));
        assert!(!positions.note("a", &Header::ephemeral("log", "")));
        let id = positions.id();
        assert_eq!(id, "{\"a\":{\"doc:x\":\"1.000000ab:1\",\"log\":\"1.000000ab:5\"}}");
        assert_eq!(Positions::parse(&id), Ok(positions.clone()));
        assert!(positions.note("a", &Header::reset("log")));
        assert_eq!(positions.id(), "{\"a\":{\"doc:x\":\"1.000000ab:1\"}}");
        positions.note("a", &Header::reset(""));
        assert_eq!(positions.id(), "{\"a\":{}}");
        assert!(Positions::parse("42").is_err());
    }

    #[test]
    fn later_positions_win_in_the_rooms_that_are_asked_for() {
        let text = "{\"a\":{\"positions\":{\"log\":\"1.000000ab:1\",\"doc:x\":null},\"presence\":{\"data\":{\"n\":1.50}}},\"b\":{}}";
        let mut resume = Resume::parse(text).unwrap();
        let later = "{\"a\":{\"log\":\"1.000000ab:7\"},\"c\":{\"log\":\"1.000000ab:9\"}}";
        resume.go_on_from(Positions::parse(later).unwrap());
        assert_eq!(resume.positions().id(), "{\"a\":{\"log\":\"1.000000ab:7\"},\"b\":{}}");
        assert_eq!(
            resume.connect_frame("t\"k"),
            "{\"id\":0,\"do\":\"connect\",\"token\":\"t\\\"k\",\"resume\":{\"a\":{\"positions\":{\"doc:x\":null,\"log\":\
             \"1.000000ab:7\"},\"presence\":{\"data\":{\"n\":1.50}}},\"b\":{\"positions\":{}}}}"
        );
        assert!(Resume::parse("{\"a\":3}").unwrap_err().message.starts_with("resume: "));
    }

    #[test]
    fn a_block_is_one_event() {
        assert_eq!(block(Some("connected"), Some("{}"), "{\"a\":1}"), "event: connected\nid: {}\ndata: {\"a\":1}\n\n");
        assert_eq!(block(None, None, "1"), "data: 1\n\n");
        assert_eq!(answer_of("{\"id\":0,\"ok\":{\"a\":[1]}}"), Ok("{\"a\":[1]}"));
    }
}
