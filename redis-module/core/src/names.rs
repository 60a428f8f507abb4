//! Names of rooms and streams, and how a key carries them.
//!
//! ```text
//! stoa:{lobby}:doc:main
//! └─┬────────┘ └──┬───┘
//!   channel        stream        room = lobby
//! ```
//! The braces make Redis Cluster keep all keys of a room, and its channel, in one slot.

use crate::bounds::NAME_BYTES_MAX;
use crate::refusal::{Code, Refusal};

/// A key of a room, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomKey<'a> {
    /// The whole key.
    pub key: &'a str,
    /// The key up to its closing brace: where the room's events are announced.
    pub channel: &'a str,
    /// The room.
    pub room: &'a str,
    /// What the key holds, such as `log`; empty if the key names the room alone.
    pub stream: &'a str,
}

impl<'a> RoomKey<'a> {
    /// Takes a key apart. Refuses with `INVALID_KEY` what does not name a room and a stream.
    pub fn parse(key: &'a [u8]) -> Result<Self, Refusal> {
        let parsed = Self::parse_room(key)?;
        if parsed.stream.is_empty() {
            return Err(invalid(format!("it names no stream, as `{}:log` does", parsed.channel)));
        }
        Ok(parsed)
    }

    /// As [`RoomKey::parse`], for commands that need no stream.
    pub fn parse_room(key: &'a [u8]) -> Result<Self, Refusal> {
        let key = std::str::from_utf8(key).map_err(|_| invalid("it is not UTF-8".into()))?;
        // By bytes, at a third of what searching a text for a character takes: every command does this.
        let find = |byte, from: usize| key.bytes().skip(from).position(|b| b == byte).map(|at| from + at);
        let braces = find(b'{', 0).and_then(|open| Some((open, find(b'}', open)?)));
        let Some((open, close)) = braces else {
            return Err(invalid("a room's key carries the room in braces, as `stoa:{lobby}:log` does".into()));
        };
        let (room, rest) = (&key[open + 1..close], &key[close + 1..]);
        check_name("room", room)?;
        let stream = match rest.strip_prefix(':') {
            Some(stream) => stream,
            None if rest.is_empty() => "",
            None => return Err(invalid("after the closing brace comes a colon and the stream".into())),
        };
        if rest.len() == 1 {
            return Err(invalid("the stream after the colon is empty".into()));
        }
        if !stream.is_empty() {
            check_name("stream", stream)?;
        }
        Ok(RoomKey { key, channel: &key[..=close], room, stream })
    }
}

/// What decides over a key's slot, if anything in it does: what stands between its first brace and the next closing one
/// (Redis Cluster specification, "Hash tags").
pub fn slot_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')? + 1;
    let len = key[open..].iter().position(|byte| *byte == b'}').filter(|len| *len > 0)?;
    Some(&key[open..open + len])
}

/// Which bytes a name may hold.
const NAME_BYTES: [bool; 256] = {
    let (mut fine, mut at) = ([false; 256], 0);
    while at < 256 {
        fine[at] = matches!(at as u8, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9')
            || matches!(at as u8, b'_' | b'-' | b'.' | b':' | b'@' | b'/' | b'~' | b'+' | b'=');
        at += 1;
    }
    fine
};

/// Checks a room's or stream's name: 1 to 200 bytes of `A-Z a-z 0-9 _ - . : @ / ~ + =`.
pub fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    let fine = name.bytes().fold(true, |fine, byte| fine & NAME_BYTES[byte as usize]);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !fine {
        return Err(invalid(format!("a {what} has 1 to {NAME_BYTES_MAX} bytes of A-Z a-z 0-9 _ - . : @ / ~ + =")));
    }
    Ok(())
}

fn invalid(why: String) -> Refusal {
    Refusal::new(Code::InvalidKey, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_channel_room_and_stream() {
        let key = RoomKey::parse(b"stoa:{lobby}:doc:main").unwrap();
        assert_eq!((key.channel, key.room, key.stream), ("stoa:{lobby}", "lobby", "doc:main"));
        assert_eq!(RoomKey::parse_room(b"{a}").unwrap().stream, "");
    }

    #[test]
    fn a_tag_is_what_redis_takes_for_one() {
        for (key, tag) in [("stoa:{a}:log", "a"), ("{a}{b}", "a"), ("x{a{b}", "a{b")] {
            assert_eq!(slot_tag(key.as_bytes()), Some(tag.as_bytes()), "{key}");
        }
        for key in ["", "a", "{a", "a}", "}a{", "{}a", "{}{a}"] {
            assert_eq!(slot_tag(key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn a_key_that_could_mislead_is_refused() {
        let long = format!("stoa:{{{}}}:log", "x".repeat(201));
        let bad = [
            "",
            "log",
            "stoa:{}:log",
            "stoa:{a b}:log",
            "stoa:{a}log",
            "stoa:{a}:",
            "stoa:{a}",
            "stoa:{a}:b{c}",
            "stoa:{a{b}:log",
            "stoa:{a\r\n}:log",
            "stoa:{é}:log",
            &long,
        ];
        for key in bad {
            assert_eq!(RoomKey::parse(key.as_bytes()).map_err(|r| r.code), Err(Code::InvalidKey), "{key}");
        }
        assert!(RoomKey::parse(b"\xff{a}:log").is_err());
    }
}
