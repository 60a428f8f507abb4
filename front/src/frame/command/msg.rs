//! `msg.`: what is said in a room.

use super::Raw;
use schemars::JsonSchema;
use serde::Deserialize;

/// `msg.post`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgPost {
    /// The room.
    pub room: String,
    /// Object or string.
    #[schemars(with = "crate::frame::Body")]
    pub body: Raw,
    /// The kind of message; `text` if it is left out.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Number of the message that this one answers.
    pub reply: Option<u64>,
    /// Users whom the message names; `*` means everybody.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// What the application keeps with the message: at most 4 KiB of JSON object.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub meta: Option<Raw>,
    /// The body is a string that grows by `msg.append` until `msg.finish`.
    #[serde(default)]
    pub streaming: bool,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `msg.edit`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgEdit {
    /// The room.
    pub room: String,
    /// The message's number.
    pub n: u64,
    /// The new body: object or string.
    #[schemars(with = "crate::frame::Body")]
    pub body: Raw,
    /// Users whom the message names now; `*` means everybody.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `msg.delete` and `msg.cancel`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgWrite {
    /// The room.
    pub room: String,
    /// The message's number.
    pub n: u64,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `msg.react` and `msg.unreact`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgReaction {
    /// The room.
    pub room: String,
    /// The message's number.
    pub n: u64,
    /// 1 to 64 bytes without control characters, usually an emoji.
    pub reaction: String,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `msg.append`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgAppend {
    /// The room.
    pub room: String,
    /// The message's number.
    pub n: u64,
    /// What the text grows by.
    pub chunk: String,
    /// How long the text is before, in UTF-16 units: says whether an earlier chunk is missing.
    pub at: Option<u64>,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `msg.finish`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgFinish {
    /// The room.
    pub room: String,
    /// The message's number.
    pub n: u64,
    /// Replaces the text that has grown: object or string.
    #[schemars(with = "Option<crate::frame::Body>")]
    pub body: Option<Raw>,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `msg.read` and `msg.history`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgNumber {
    /// The room.
    pub room: String,
    /// The message's number.
    pub n: u64,
}

/// `msg.range`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgRange {
    /// The room.
    pub room: String,
    /// Messages before this number.
    pub before: Option<u64>,
    /// Messages after this number.
    pub after: Option<u64>,
    /// Messages before and after this number, and itself.
    pub around: Option<u64>,
    /// Only the replies of the thread under this message.
    pub thread: Option<u64>,
    /// 1 to 100, 50 if it is left out.
    pub count: Option<u64>,
}
