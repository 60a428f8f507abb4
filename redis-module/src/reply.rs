//! Replies and errors, as values; `ffi` writes them.

use std::ops::Range;
use stoa_core::epoch::Epoch;
use stoa_core::refusal::Refusal;

/// What a command answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An integer; booleans are 0 and 1.
    Integer(i64),
    /// Nothing where something could be.
    Null,
    /// A bulk string.
    Text(String),
    /// A bulk string that stands in another text.
    Part(String, Range<usize>),
    /// An epoch, as a bulk string.
    Epoch(Epoch),
    /// An array of bulk strings: one text, and where in it each of them ends.
    Texts(String, Vec<usize>),
    /// An array of integers.
    Integers([i64; 5]),
    /// An array.
    List(Vec<Reply>),
    /// A map in RESP3, field and value in turn in RESP2.
    Map(Vec<(&'static str, Reply)>),
}

impl From<u64> for Reply {
    fn from(value: u64) -> Self {
        Reply::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<usize> for Reply {
    fn from(value: usize) -> Self {
        Reply::from(value as u64)
    }
}
impl From<bool> for Reply {
    fn from(value: bool) -> Self {
        Reply::Integer(i64::from(value))
    }
}
impl From<String> for Reply {
    fn from(value: String) -> Self {
        Reply::Text(value)
    }
}
impl From<&str> for Reply {
    fn from(value: &str) -> Self {
        Reply::Text(value.to_owned())
    }
}
impl From<Vec<String>> for Reply {
    fn from(values: Vec<String>) -> Self {
        Reply::List(values.into_iter().map(Reply::Text).collect())
    }
}

/// Why a command answers an error.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The rules refused it; nothing changed.
    Refused(Refusal),
    /// The key holds another type.
    WrongType,
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Trouble::Refused(refusal)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Refused(refusal) => write!(f, "{refusal}"),
            Trouble::WrongType => f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value"),
        }
    }
}

/// What a handler returns.
pub(crate) type Outcome = Result<Reply, Trouble>;
