//! An event on its way to people: what the front has to know of it, and its bytes in every form that is asked for,
//! each built at most once per front however many connections it goes to.

use super::codec::{self, Opcode};
use super::deflate;
use crate::gateway::Told;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use stoa_core::event::{Header, Kind};

use super::Text;

/// Smallest text that is worth deflating, in bytes: below it the window has nothing to refer to.
pub const DEFLATE_BYTES_MIN: usize = 256;
/// Bytes of events that are joined for one write. More would pin much memory for one slow reader, and a write of
/// this size costs no more per byte than a larger one.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// What may happen to something on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Answers a command; bounded because reading stops while many wait.
    Reply,
    /// Never dropped: the connection is closed instead.
    Durable,
    /// Dropped when much waits; replaced by a newer one in the same slot.
    Ephemeral(Option<Arc<str>>),
}

/// How a connection wants its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A WebSocket frame: text, or binary if the event has a payload.
    Plain,
    /// The same, deflated where that makes it smaller.
    Deflated,
}

/// An event. Forms are built when the first connection asks for them.
#[derive(Debug)]
pub struct Event {
    /// Its stream, its position, whom it is for.
    pub header: Header,
    /// The JSON that clients receive.
    pub text: Text,
    /// How it may be treated in a queue.
    pub class: Class,
    payload: Option<Box<Payload>>,
    plain: OnceLock<Bytes>,
    /// Empty: deflating does not make it smaller.
    deflated: OnceLock<Bytes>,
    /// As clients of Socket.IO hear it; only where there are any.
    told: OnceLock<Box<Told>>,
}

/// Bytes of the application beside the JSON.
#[derive(Debug)]
struct Payload {
    bytes: Bytes,
    /// The event with them inside, for whoever takes only text.
    as_text: OnceLock<String>,
}

impl Event {
    /// An event of a room. The room keeps the slots of different rooms apart.
    pub fn new(room: &str, header: Header, text: Text) -> Self {
        let class = match header.kind {
            Kind::Ephemeral => {
                let slot = format_args!("{room}\n{}\n{}", header.stream, header.slot);
                Class::Ephemeral((!header.slot.is_empty()).then(|| slot.to_string().into()))
            }
            Kind::Durable | Kind::Heads | Kind::Reset | Kind::Kick => Class::Durable,
        };
        let (plain, deflated, told) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Event { header, text, class, payload: None, plain, deflated, told }
    }

    /// The event with bytes beside its text.
    pub fn with_payload(mut self, bytes: Bytes) -> Self {
        self.payload = Some(Box::new(Payload { bytes, as_text: OnceLock::new() }));
        self
    }

    /// What it counts towards every bound, in bytes: its text and its payload.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.payload.as_ref().map_or(0, |payload| payload.bytes.len())
    }

    /// The event as text alone: a payload stands in it as `"payload":"<base64>"`.
    pub fn as_text(&self) -> &str {
        let Some(Payload { bytes, as_text }) = self.payload.as_deref() else { return &self.text };
        as_text.get_or_init(|| {
            let fields = self.text.strip_suffix('}').unwrap_or(&self.text);
            format!("{fields},\"payload\":\"{}\"}}", STANDARD.encode(bytes))
        })
    }

    /// The bytes that came beside the text.
    pub fn payload(&self) -> Option<&Bytes> {
        self.payload.as_deref().map(|payload| &payload.bytes)
    }

    /// What clients of Socket.IO hear of it; `tell` translates it for the first of them.
    pub(crate) fn told(&self, tell: impl FnOnce() -> Told) -> &Told {
        self.told.get_or_init(|| Box::new(tell()))
    }

    /// The event as a finished frame.
    pub fn frame(&self, form: Form) -> &Bytes {
        if form == Form::Deflated && self.bytes() >= DEFLATE_BYTES_MIN {
            let frame = self.deflated.get_or_init(|| self.deflate());
            if !frame.is_empty() {
                return frame;
            }
        }
        self.plain.get_or_init(|| {
            let (opcode, content) = self.content();
            codec::frame(opcode, &content)
        })
    }

    fn deflate(&self) -> Bytes {
        let (opcode, content) = self.content();
        let deflated = deflate::deflate(&content).filter(|deflated| deflated.len() < content.len());
        deflated.map_or_else(Bytes::new, |deflated| codec::deflated_frame(opcode, &deflated))
    }

    /// What a WebSocket message of it holds: the text; or the length of the text, the text, the payload.
    fn content(&self) -> (Opcode, Cow<'_, [u8]>) {
        let text = self.text.as_bytes();
        match &self.payload {
            None => (Opcode::Text, Cow::Borrowed(text)),
            Some(payload) => {
                let length = (text.len() as u32).to_be_bytes();
                (Opcode::Binary, Cow::Owned([&length, text, &payload.bytes].concat()))
            }
        }
    }
}

/// Events of one room that go out together, in order.
#[derive(Debug)]
pub struct Batch {
    room: Arc<str>,
    events: Vec<Arc<Event>>,
    bytes: usize,
    plain: OnceLock<Bytes>,
    deflated: OnceLock<Bytes>,
}

impl Batch {
    /// A batch that begins with one event.
    pub fn new(room: Arc<str>, event: Arc<Event>) -> Self {
        let bytes = event.bytes();
        Batch { room, events: vec![event], bytes, plain: OnceLock::new(), deflated: OnceLock::new() }
    }

    /// Appends an event if there is room for it; gives it back otherwise. Not after a form was asked for.
    pub fn append(&mut self, event: Arc<Event>) -> Result<(), Arc<Event>> {
        if self.bytes + event.bytes() > BATCH_BYTES_MAX {
            return Err(event);
        }
        self.bytes += event.bytes();
        self.events.push(event);
        Ok(())
    }

    /// The room.
    pub fn room(&self) -> &Arc<str> {
        &self.room
    }

    /// The events, oldest first.
    pub fn events(&self) -> &[Arc<Event>] {
        &self.events
    }

    /// All frames in one piece, for one write.
    pub fn frames(&self, form: Form) -> &Bytes {
        if let [event] = self.events.as_slice() {
            return event.frame(form);
        }
        let joined = if form == Form::Plain { &self.plain } else { &self.deflated };
        joined.get_or_init(|| {
            let frames = || self.events.iter().map(|event| event.frame(form));
            let mut joined = BytesMut::with_capacity(frames().map(Bytes::len).sum());
            frames().for_each(|frame| joined.extend_from_slice(frame));
            joined.freeze()
        })
    }
}
