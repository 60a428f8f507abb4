//! Refusals: what a command answers when it did nothing, and why.

use std::fmt;

/// The stable codes. The first word of the error reply, and the `code` of the front's error frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// An argument is not of its form. Correct it; the same call is refused again.
    InvalidArgument,
    /// The key does not name a room's stream, as `stoa:{lobby}:log` does.
    InvalidKey,
    /// A value that has to be JSON is not, or nests too deeply.
    InvalidJson,
    /// The operation is malformed or cuts a character in two.
    InvalidOperation,
    /// A bound on size or count is exceeded; the message names it.
    TooLarge,
    /// The key, message or revision does not exist.
    NotFound,
    /// The base revision is no longer kept: take the snapshot and rebase.
    Stale,
    /// The base revision is newer than the stream: the caller is wrong, or writes to another server.
    Ahead,
    /// The operation reaches beyond the text, or the caller's idea of the text differs: take the snapshot.
    Desync,
    /// The history that the caller saw was replaced: drop what is newer than the named revision.
    Rollback,
    /// The stream that the caller remembers was replaced as a whole: take the snapshot.
    Reset,
    /// The sequence was used, too long ago to know its answer. Never resend it.
    Forgotten,
    /// What is asked for has no room left. Try again later.
    Full,
    /// The thing belongs to somebody else. The same call is refused again.
    PermissionDenied,
    /// The message is not streamed any more: post another one.
    Closed,
    /// This connection was taken out of the room. The same call is refused again.
    Kicked,
    /// A limit allows no more; the message says for how long. The same call is accepted then.
    RateLimited,
    /// The server stood still and does not decide until it knows whether another took over. Send the same again.
    Fenced,
    /// The command belongs to replication, AOF and migration; callers use the public one.
    InternalOnly,
}

impl Code {
    /// The code as it stands in replies and frames.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::InvalidKey => "INVALID_KEY",
            Code::InvalidJson => "INVALID_JSON",
            Code::InvalidOperation => "INVALID_OPERATION",
            Code::TooLarge => "TOO_LARGE",
            Code::NotFound => "NOT_FOUND",
            Code::Stale => "STALE",
            Code::Ahead => "AHEAD",
            Code::Desync => "DESYNC",
            Code::Rollback => "ROLLBACK",
            Code::Reset => "RESET",
            Code::Forgotten => "FORGOTTEN",
            Code::Full => "FULL",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::Closed => "CLOSED",
            Code::Kicked => "KICKED",
            Code::RateLimited => "RATE_LIMITED",
            Code::Fenced => "FENCED",
            Code::InternalOnly => "INTERNAL_ONLY",
        }
    }
}

/// A call that changed nothing, with the reason in the caller's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: lower case, no full stop, with the values that disagree.
    pub message: String,
}

impl Refusal {
    /// A refusal with its code and its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }
    /// Shorthand for the commonest one.
    pub fn argument(message: impl Into<String>) -> Self {
        Refusal::new(Code::InvalidArgument, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Refusal {}
