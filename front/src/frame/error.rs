//! Errors as clients see them.

use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// The stable codes: the code alone says whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Not a JSON object, or without `do`.
    InvalidFrame,
    /// This front has no such command.
    UnknownCommand,
    /// A field is missing or not of its form; the message names it.
    InvalidArgument,
    /// A stored value is not JSON or nests too deeply.
    InvalidJson,
    /// The operation is malformed, reaches beyond the text or cuts a character in two.
    InvalidOperation,
    /// A bound is exceeded; the message names it.
    TooLarge,
    /// Nothing but `connect` is answered before `connect`.
    AuthRequired,
    /// The token was refused.
    AuthInvalid,
    /// The token ended.
    AuthExpired,
    /// Not allowed in this room.
    PermissionDenied,
    /// Join the room first.
    NotJoined,
    /// No such document, message or revision.
    NotFound,
    /// The base revision is no longer kept.
    Stale,
    /// The base revision is newer than the document.
    Ahead,
    /// The client's text differs from the document.
    Desync,
    /// The history of the position ended before it.
    Rollback,
    /// The history of the position was replaced.
    Reset,
    /// The sequence was used long ago.
    Forgotten,
    /// The message does not stream (any more).
    Closed,
    /// Somebody took this connection out of the room.
    Kicked,
    /// This front does not offer the command: a setting has to be on.
    Disabled,
    /// The room is full.
    Full,
    /// Too much of this.
    RateLimited,
    /// Too many commands of this connection are under way.
    Busy,
    /// Redis cannot be reached or does not accept writes now.
    Unavailable,
    /// The write happened, and is not known to be as safe as it has to be: resend with the same identity.
    Unacknowledged,
    /// A fault of the front or the module.
    Internal,
}

impl Code {
    const ALL: [(Code, &'static str); 27] = [
        (Code::InvalidFrame, "INVALID_FRAME"),
        (Code::UnknownCommand, "UNKNOWN_COMMAND"),
        (Code::InvalidArgument, "INVALID_ARGUMENT"),
        (Code::InvalidJson, "INVALID_JSON"),
        (Code::InvalidOperation, "INVALID_OPERATION"),
        (Code::TooLarge, "TOO_LARGE"),
        (Code::AuthRequired, "AUTH_REQUIRED"),
        (Code::AuthInvalid, "AUTH_INVALID"),
        (Code::AuthExpired, "AUTH_EXPIRED"),
        (Code::PermissionDenied, "PERMISSION_DENIED"),
        (Code::NotJoined, "NOT_JOINED"),
        (Code::NotFound, "NOT_FOUND"),
        (Code::Stale, "STALE"),
        (Code::Ahead, "AHEAD"),
        (Code::Desync, "DESYNC"),
        (Code::Rollback, "ROLLBACK"),
        (Code::Reset, "RESET"),
        (Code::Forgotten, "FORGOTTEN"),
        (Code::Closed, "CLOSED"),
        (Code::Kicked, "KICKED"),
        (Code::Disabled, "DISABLED"),
        (Code::Full, "FULL"),
        (Code::RateLimited, "RATE_LIMITED"),
        (Code::Busy, "BUSY"),
        (Code::Unavailable, "UNAVAILABLE"),
        (Code::Unacknowledged, "UNACKNOWLEDGED"),
        (Code::Internal, "INTERNAL"),
    ];

    /// The code as it stands in frames.
    pub fn as_str(self) -> &'static str {
        Code::ALL.iter().find(|(code, _)| *code == self).map_or("INTERNAL", |(_, word)| word)
    }

    /// The code that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Code::ALL.iter().find(|(_, known)| *known == word).map(|(code, _)| *code)
    }

    /// Whether the same frame may succeed later.
    pub fn retry(self) -> bool {
        matches!(
            self,
            Code::Full | Code::RateLimited | Code::Busy | Code::Unavailable | Code::Unacknowledged | Code::Internal
        )
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameError {
    /// For programs.
    pub code: Code,
    /// For people: a lower-case sentence.
    pub message: String,
    /// When to try again, if that is known, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl FrameError {
    /// An error with its code and its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        FrameError { code, message: message.into(), retry_after_ms: None }
    }
    /// Redis is away.
    pub fn unavailable() -> Self {
        FrameError::new(Code::Unavailable, "redis cannot be reached or does not accept writes now; send the same again")
    }
    /// The write is not safe enough yet, or nobody knows.
    pub fn unacknowledged() -> Self {
        let message =
            "accepted, but not known to be on as many replicas or on disk as it has to be; send the same again";
        FrameError::new(Code::Unacknowledged, message)
    }
    /// Too much of this, until so many milliseconds from now.
    pub fn rate_limited(retry_after_ms: u64) -> Self {
        let retry_after_ms = retry_after_ms.max(1);
        let message = format!("too much of this; send the same again after {retry_after_ms} ms");
        FrameError { retry_after_ms: Some(retry_after_ms), ..FrameError::new(Code::RateLimited, message) }
    }
    /// A fault of ours, which the log explains.
    pub fn internal() -> Self {
        FrameError::new(Code::Internal, "a fault of the front or the module; it is in their logs")
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_same_word_in_frames_and_in_the_schema() {
        for (code, word) in Code::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{word}\""));
            assert_eq!(Code::parse(word), Some(code));
            assert_eq!(code.as_str(), word);
        }
    }
}
