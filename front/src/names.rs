//! Names: which ones a client may use, and the only place where they become keys and channels.

use crate::frame::{Code, FrameError};
use std::fmt;
use std::sync::Arc;
use stoa_core::bounds::NAME_BYTES_MAX;

/// The stream of a room's messages.
pub const LOG: &str = "log";
/// The stream of who is in a room.
pub const PRESENCE: &str = "presence";
/// The stream of who may do what in a room. Clients never name it.
pub const ACCESS: &str = stoa_core::access::STREAM;
/// What the streams of documents start with.
pub const DOCUMENT_PREFIX: &str = "doc:";

/// The name of a room, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// Checks a name that came from outside.
    pub fn parse(name: &str) -> Result<Self, FrameError> {
        check("room", name, NAME_BYTES_MAX)?;
        Ok(Room(name.into()))
    }

    /// The personal room of a user.
    ///
    /// `|` may stand in a user's id but not in a room's name; `=` may not stand in an id, so `=7C` cannot be mistaken.
    pub fn personal(user: &str) -> Self {
        Room(format!("user:{}", user.replace('|', "=7C")).into())
    }

    /// What stands for an address of clients: never a room, but its limits have keys as those of rooms.
    pub(crate) fn of_address(address: &str) -> Self {
        Room(format!("address:{address}").into())
    }

    /// What stands for a token: never a room, but a block of it has a key as that of a user.
    pub(crate) fn of_token(id: &str) -> Self {
        Room(format!("token:{id}").into())
    }

    /// Whether this is the personal room of anybody.
    pub fn is_personal(&self) -> bool {
        self.0.starts_with("user:")
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The stream of a document, if its name may be used.
pub fn document(name: &str) -> Result<String, FrameError> {
    check("doc", name, NAME_BYTES_MAX - DOCUMENT_PREFIX.len())?;
    Ok(format!("{DOCUMENT_PREFIX}{name}"))
}

/// Checks the name of a stream as clients write it in `positions`.
pub fn stream(name: &str) -> Result<String, FrameError> {
    match name.strip_prefix(DOCUMENT_PREFIX) {
        Some(doc) => document(doc),
        None if name == LOG || name == PRESENCE => Ok(name.to_owned()),
        None => Err(FrameError::new(Code::InvalidArgument, "positions: a stream is log, presence or doc:<name>")),
    }
}

/// Whether a stream is a document.
pub fn is_document(stream: &str) -> bool {
    stream.starts_with(DOCUMENT_PREFIX)
}

fn check(what: &str, name: &str, bytes_max: usize) -> Result<(), FrameError> {
    if name.len() > bytes_max || stoa_core::names::check_name(what, name).is_err() {
        let message = format!("{what}: a name is 1 to {bytes_max} of A-Z a-z 0-9 _ - . : @ / ~ + =");
        return Err(FrameError::new(Code::InvalidArgument, message));
    }
    Ok(())
}

/// Builds keys and channels under one prefix.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    /// Keys under `prefix`.
    pub fn new(prefix: &str) -> Self {
        Keys { prefix: prefix.into() }
    }
    /// The channel of a room; the braces make it and all keys of the room share a slot.
    pub fn channel(&self, room: &Room) -> String {
        format!("{}:{{{room}}}", self.prefix)
    }
    /// The key that barriers write: of no room, and without content.
    pub fn barrier(&self) -> String {
        format!("{}:barrier", self.prefix)
    }
    /// The key of a stream.
    pub fn key(&self, room: &Room, stream: &str) -> String {
        format!("{}:{{{room}}}:{stream}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_key_are_refused() {
        for bad in ["", "a}b{c", "{x}", "*", "a\r\nFLUSHALL", "a b", "ä", "a\0", "p|q", &"x".repeat(201)] {
            assert_eq!(Room::parse(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
        for good in ["lobby", "course:7/chat", "a@b.c", "..", "__proto__", &"x".repeat(200)] {
            assert!(Room::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn keys_of_a_room_share_its_channel() {
        let (keys, room) = (Keys::new("stoa"), Room::parse("lobby").unwrap());
        assert_eq!(keys.channel(&room), "stoa:{lobby}");
        assert_eq!(keys.key(&room, "doc:main"), "stoa:{lobby}:doc:main");
    }

    #[test]
    fn personal_rooms_of_different_users_differ() {
        assert_ne!(Room::personal("a|7C"), Room::personal("a7C"));
        assert!(Room::parse(Room::personal("auth0|1").as_str()).is_ok());
    }
}
