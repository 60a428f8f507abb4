//! What the module announces on a room's channel: a binary header for fronts, then the JSON frame for people.
//!
//! ```text
//! | header: bincode standard, starts with its version byte | UTF-8 JSON frame, exactly as clients receive it |
//! ```
//! A front reads the header and relays the frame; it never parses the frame.

use crate::codec::{self, Damaged};
use crate::epoch::{Epoch, Position};
use bincode::{Decode, Encode};

/// The version that this build writes, and the only one that it reads.
pub const HEADER_VERSION: u8 = 1;

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
    /// [`HEADER_VERSION`].
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

/// Splits the bytes of an event into header and frame.
pub fn decode(bytes: &[u8]) -> Result<(Header, &[u8]), Damaged> {
    match bytes.first() {
        Some(&HEADER_VERSION) => {}
        version => return Err(Damaged(format!("event header version {version:?}, this build reads {HEADER_VERSION}"))),
    }
    let (header, used) = codec::decode::<Header>(bytes)?;
    Ok((header, &bytes[used..]))
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
    fn foreign_bytes_are_an_error() {
        for bytes in [&b""[..], b"{}", &[1], &[2, 0, 0], &[1, 9, 0]] {
            assert!(decode(bytes).is_err());
        }
    }
}
