//! What a connection says its person is doing, and what that comes to for a person with several.

use crate::refusal::Refusal;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use std::sync::Arc;

/// Longest status, in bytes: a word or two.
pub const STATUS_BYTES_MAX: usize = 32;

/// A status. Those that mean something to the rules, and any other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Status {
    #[default]
    Online,
    Away,
    Busy,
    Invisible,
    Custom(Arc<str>),
}

impl Status {
    /// Reads a status: 1 to 32 of `A-Z a-z 0-9 _ . -`.
    pub(super) fn parse(text: &str) -> Result<Status, Refusal> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if text.is_empty() || text.len() > STATUS_BYTES_MAX || !text.bytes().all(is_fine) {
            return Err(Refusal::argument(format!("a status has 1 to {STATUS_BYTES_MAX} of A-Z a-z 0-9 _ . -")));
        }
        Ok(match text {
            "online" => Status::Online,
            "away" => Status::Away,
            "busy" => Status::Busy,
            "invisible" => Status::Invisible,
            other => Status::Custom(other.into()),
        })
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Status::Online => "online",
            Status::Away => "away",
            Status::Busy => "busy",
            Status::Invisible => "invisible",
            Status::Custom(text) => text,
        }
    }
}

impl Encode for Status {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_str().encode(encoder)
    }
}

impl<C> Decode<C> for Status {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let text = String::decode(decoder)?;
        Status::parse(&text).map_err(|refusal| DecodeError::OtherString(refusal.message))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Status {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let text = <&str>::borrow_decode(decoder)?;
        Status::parse(text).map_err(|refusal| DecodeError::OtherString(refusal.message))
    }
}
