//! What the module announces on a room's channel: a binary header for fronts, then the JSON frame for people.
//!
//! ```text
//! | header: bincode standard, starts with its version byte | UTF-8 JSON frame, exactly as clients receive it |
//! ```
//! A front reads the header and relays the frame; it never parses the frame.
//!
//! Bytes of the application that are no JSON travel beside the frame; the header's version says that they are there:
//!
//! ```text
//! | header, version 2 | length of the frame, u32 big endian | frame | payload, as it was given |
//! ```

use crate::codec::{self, Damaged};
use crate::epoch::{Epoch, Position};
use bincode::{Decode, Encode};

/// The version of an event whose body is its frame.
pub const HEADER_VERSION: u8 = 1;
/// The version of an event whose body is its frame and a payload. The header itself is the same: who knows only
/// [`HEADER_VERSION`] refuses such an event instead of taking it for text.
pub const PAYLOAD_VERSION: u8 = 2;
/// Bytes of the length before the frame.
const LENGTH_BYTES: usize = 4;

/// How an event may be treated on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Kind {
    /// Has a revision. Never dropped, never reordered; a hole is repaired before anything later is delivered.
    Durable,
    /// Has no revision. May be replaced by a newer one with the same [`Header::slot`].
    Ephemeral,
    /// For fronts, not for people: the frame is `{"heads":{"<stream>":"<epoch>:<rev>",…}}`.
    Heads,
    /// The stream was deleted or replaced: whoever holds it takes the snapshot again.
    Reset,
    /// Whom it is addressed to has to go: out of the room, or from the front where the room is their own.
    Kick,
}

/// Whom an event is for, other than everybody in the room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum To {
    /// Everybody in the room.
    Room,
    /// All connections of one user in the room.
    User(String),
    /// One connection.
    Connection(String),
}

/// What a front needs to know of an event.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// [`HEADER_VERSION`] or [`PAYLOAD_VERSION`].
    pub version: u8,
    /// How it may be treated.
    pub kind: Kind,
    /// The stream within the room: `log`, `presence`, `doc:main`. Empty for events of the room itself.
    pub stream: String,
    /// The epoch of `rev`. Zero for ephemeral events.
    pub epoch: Epoch,
    /// The revision that the stream had before this event.
    pub from: u64,
    /// The revision that this event leads to.
    pub rev: u64,
    /// The connection that caused it; empty if none did.
    pub origin: String,
    /// Whether `origin` itself is left out.
    pub skip_origin: bool,
    /// Whom it is for.
    pub to: To,
    /// For ephemeral events: newer ones with the same slot replace older ones. Empty: never replaced.
    pub slot: String,
}

impl Header {
    /// The header of a durable event for everybody.
    pub fn durable(stream: &str, epoch: Epoch, from: u64, rev: u64) -> Self {
        Header { epoch, from, rev, ..Header::blank(Kind::Durable, stream) }
    }
    /// The header of an ephemeral event for everybody.
    pub fn ephemeral(stream: &str, slot: &str) -> Self {
        Header { slot: slot.to_owned(), ..Header::blank(Kind::Ephemeral, stream) }
    }
    /// The header of an announcement of heads.
    pub fn heads() -> Self {
        Header::blank(Kind::Heads, "")
    }
    /// The header of a reset.
    pub fn reset(stream: &str) -> Self {
        Header::blank(Kind::Reset, stream)
    }
    /// The header of a kick.
    pub fn kick(to: To) -> Self {
        Header { to, ..Header::blank(Kind::Kick, "") }
    }
    fn blank(kind: Kind, stream: &str) -> Self {
        Header {
            version: HEADER_VERSION,
            kind,
            stream: stream.to_owned(),
            epoch: Epoch::default(),
            from: 0,
            rev: 0,
            origin: String::new(),
            skip_origin: false,
            to: To::Room,
            slot: String::new(),
        }
    }
    /// The position that a durable event leads to.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, rev: self.rev }
    }
    /// Whether the body holds more than the frame.
    pub fn has_payload(&self) -> bool {
        self.version == PAYLOAD_VERSION
    }
}

/// A durable event for everybody, as [`Header::durable`], of texts that stand elsewhere: what hot commands announce.
#[derive(Debug, Clone, Copy)]
pub struct Durable<'a> {
    /// The stream within the room.
    pub stream: &'a str,
    /// The epoch of `rev`.
    pub epoch: Epoch,
    /// The revision that the stream had before this event.
    pub from: u64,
    /// The revision that this event leads to.
    pub rev: u64,
    /// The connection that caused it; empty if none did.
    pub origin: &'a str,
}

impl Durable<'_> {
    /// The position that it leads to.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, rev: self.rev }
    }

    /// Appends the bytes of the event on the channel.
    pub fn append(&self, bytes: &mut Vec<u8>, frame: &str) {
        // Field by field as Header has them.
        let whom = (self.origin, false, To::Room, "");
        codec::append(bytes, &(HEADER_VERSION, Kind::Durable, self.stream, self.epoch, self.from, self.rev, whom));
        bytes.extend_from_slice(frame.as_bytes());
    }
}

/// The bytes of an event on the channel.
pub fn encode(header: &Header, frame: &str) -> Vec<u8> {
    let names = header.stream.len() + header.origin.len() + header.slot.len();
    let mut bytes = Vec::with_capacity(names + 64 + frame.len());
    codec::append(&mut bytes, header);
    bytes.extend_from_slice(frame.as_bytes());
    bytes
}

/// The bytes of an event with a payload on the channel.
pub fn encode_with_payload(mut header: Header, frame: &str, payload: &[u8]) -> Vec<u8> {
    header.version = PAYLOAD_VERSION;
    let names = header.stream.len() + header.origin.len() + header.slot.len();
    let mut bytes = Vec::with_capacity(names + 64 + LENGTH_BYTES + frame.len() + payload.len());
    codec::append(&mut bytes, &header);
    bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    bytes.extend_from_slice(frame.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Splits the bytes of an event into header and body. The body is the frame, unless there is a payload: see [`parts`].
pub fn decode(bytes: &[u8]) -> Result<(Header, &[u8]), Damaged> {
    match bytes.first() {
        Some(&(HEADER_VERSION | PAYLOAD_VERSION)) => {}
        version => {
            let message = format!("event header version {version:?}, this build reads up to {PAYLOAD_VERSION}");
            return Err(Damaged(message));
        }
    }
    let (header, used) = codec::decode::<Header>(bytes)?;
    Ok((header, &bytes[used..]))
}

/// Splits a body into the frame and the payload, if there is one.
pub fn parts<'a>(header: &Header, body: &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), Damaged> {
    if !header.has_payload() {
        return Ok((body, None));
    }
    split(body).map(|(frame, payload)| (frame, Some(payload))).ok_or_else(|| Damaged("an event's body is cut".into()))
}

/// Splits a frame and a payload that stand behind the frame's length; `None` if the frame is longer than what there is.
/// Clients send and get them in the same form.
pub fn split(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_gets_back_what_the_module_announced() {
        let header = Header {
            origin: "c1".into(),
            skip_origin: true,
            to: To::User("ada".into()),
            ..Header::durable("doc:main", Epoch { number: 3, id: 7 }, 41, 42)
        };
        let bytes = encode(&header, "{\"event\":\"doc.applied\"}");
        let (read, frame) = decode(&bytes).unwrap();
        assert_eq!((read, frame), (header, &b"{\"event\":\"doc.applied\"}"[..]));
    }

    #[test]
    fn the_bytes_of_a_header_never_change() {
        let header = Header::durable("log", Epoch { number: 1, id: 0x9f3a12c0 }, 41, 42);
        let golden = [1, 0, 3, b'l', b'o', b'g', 1, 252, 0xc0, 0x12, 0x3a, 0x9f, 41, 42, 0, 0, 0, 0, b'{', b'}'];
        assert_eq!(encode(&header, "{}"), golden);
        let header = Header { origin: "c1".into(), ..header };
        let durable = Durable { stream: "log", epoch: header.epoch, from: 41, rev: 42, origin: "c1" };
        let mut bytes = Vec::new();
        durable.append(&mut bytes, "{}");
        assert_eq!(bytes, encode(&header, "{}"));
        assert_eq!(durable.position(), header.position());
        let kick = Header::kick(To::Connection("c1".into()));
        assert_eq!(encode(&kick, "{}"), [1, 4, 0, 0, 0, 0, 0, 0, 0, 2, 2, b'c', b'1', 0, b'{', b'}']);
    }

    #[test]
    fn a_payload_stands_beside_the_frame_and_says_so_in_the_version() {
        let header = Header::ephemeral("", "");
        let bytes = encode_with_payload(header.clone(), "{}", &[0, 255]);
        assert_eq!(bytes, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, b'{', b'}', 0, 255]);
        let (read, body) = decode(&bytes).unwrap();
        assert_eq!(parts(&read, body).unwrap(), (&b"{}"[..], Some(&[0, 255][..])));
        assert_eq!(Header { version: HEADER_VERSION, ..read.clone() }, header);
        let (plain, body) = (decode(&encode(&header, "{}")).unwrap().0, b"{}");
        assert_eq!(parts(&plain, body).unwrap(), (&b"{}"[..], None));
        for cut in [&b""[..], &[0, 0, 0], &[0, 0, 0, 1], &[255, 255, 255, 255, b'{']] {
            assert!(parts(&read, cut).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn foreign_bytes_are_an_error() {
        for bytes in [&b""[..], b"{}", &[1], &[2, 0, 0], &[1, 9, 0]] {
            assert!(decode(bytes).is_err());
        }
    }
}
