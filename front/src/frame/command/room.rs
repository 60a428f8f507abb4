//! `connect`, `room.` and `presence.`: where somebody is, and what others see of them.

use super::Raw;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A JWT, which is never printed.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(token)")
    }
}

/// `connect`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Connect {
    /// The JWT, unless it came in the `Authorization` header.
    pub token: Option<Token>,
    /// Rooms to join at once.
    #[serde(default)]
    pub resume: BTreeMap<String, JoinOptions>,
}

/// `auth.refresh`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct AuthRefresh {
    /// The new JWT, of the same user.
    pub token: Token,
}

/// How a room is joined.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct JoinOptions {
    /// What the client holds of each stream; `null` for nothing yet.
    #[serde(default)]
    pub positions: BTreeMap<String, Option<String>>,
    /// With it the connection is listed as here.
    pub presence: Option<Presence>,
}

/// What others see of a connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Presence {
    /// At most 1 KiB of JSON object.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub data: Option<Raw>,
    /// 1 to 32 of `A-Z a-z 0-9 _ . -`: `online` if it is left out, `away`, `busy`, `invisible`, or one of the
    /// application's own.
    pub status: Option<String>,
}

/// `room.join`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RoomJoin {
    /// The room.
    pub room: String,
    /// What the client holds of each stream; `null` for nothing yet.
    #[serde(default)]
    pub positions: BTreeMap<String, Option<String>>,
    /// With it the connection is listed as here.
    pub presence: Option<Presence>,
}

/// A command that has no field but the room.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RoomOnly {
    /// The room.
    pub room: String,
}

/// `room.emit`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RoomEmit {
    /// The room.
    pub room: String,
    /// The name of the application's event.
    pub name: String,
    /// Any JSON.
    #[schemars(with = "serde_json::Value")]
    pub data: Raw,
    /// Whom it is for, if not for everybody.
    pub to: Option<Recipient>,
    /// Bytes beside the data, in base64 (RFC 4648, 4); or they follow the frame in a binary message.
    pub payload: Option<Payload>,
}

/// Bytes of the application, of any kind.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Payload(#[schemars(with = "String")] pub Bytes);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        let bytes = STANDARD.decode(&*text).map_err(|e| D::Error::custom(format!("not base64: {e}")))?;
        Ok(Payload(bytes.into()))
    }
}

/// One user or one connection in a room.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recipient {
    /// All connections of one user in the room.
    User(String),
    /// One connection.
    Connection(String),
}

/// `room.grant`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RoomGrant {
    /// The room.
    pub room: String,
    /// The user; `*` for everybody whom the room's list does not name.
    pub user: String,
    /// `none`, `viewer`, `commenter`, `editor`, `owner`, a role of the operator, or actions joined by `+`.
    pub role: String,
    /// After this time the entry ends, in milliseconds; for good if it is left out.
    pub ttl_ms: Option<u64>,
}

/// `room.revoke`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RoomRevoke {
    /// The room.
    pub room: String,
    /// The user, or `*`.
    pub user: String,
    /// Takes the entry away, so that the token decides again, instead of shutting the user out.
    #[serde(default)]
    pub forget: bool,
}

/// `room.kick`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct RoomKick {
    /// The room.
    pub room: String,
    /// Who has to go.
    pub who: Recipient,
    /// Why, for those who have to go: at most 256 bytes.
    pub reason: Option<String>,
}

/// `presence.set`: at least one of data and status.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct PresenceSet {
    /// The room.
    pub room: String,
    /// RFC 7396 merge patch.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub data: Option<Raw>,
    /// The status of the own connection.
    pub status: Option<String>,
}

/// `presence.cursor`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct PresenceCursor {
    /// The room.
    pub room: String,
    /// Where the user points: any JSON, at most 1 KiB; `null` for nowhere.
    #[schemars(with = "serde_json::Value")]
    pub cursor: Raw,
}

/// `presence.get`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct PresenceGet {
    /// The room.
    pub room: String,
    /// 1 to 100 users.
    pub users: Vec<String>,
}

/// `devices.kick`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DevicesKick {
    /// One of the user's own connections.
    pub connection: String,
}

/// `presence.typing`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct PresenceTyping {
    /// The room.
    pub room: String,
    /// Whether the user types.
    pub typing: bool,
}
