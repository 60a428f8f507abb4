//! `connect`, `room.` and `presence.`: where somebody is, and what others see of them.

use super::Raw;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `connect`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Connect {
    /// The JWT, unless it came in the `Authorization` header.
    pub token: Option<String>,
    /// Rooms to join at once.
    #[serde(default)]
    pub resume: BTreeMap<String, JoinOptions>,
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

/// `presence.set`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct PresenceSet {
    /// The room.
    pub room: String,
    /// RFC 7396 merge patch.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub data: Raw,
}

/// `presence.typing`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct PresenceTyping {
    /// The room.
    pub room: String,
    /// Whether the user types.
    pub typing: bool,
}
