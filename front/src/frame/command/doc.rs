//! `doc.`: what many people edit.

use super::Raw;
use schemars::JsonSchema;
use serde::Deserialize;

/// `doc.open`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocOpen {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// What the client holds already.
    pub position: Option<String>,
    /// Makes the document if it is missing.
    pub create: Option<Create>,
}

/// How a missing document is made.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Create {
    /// `text`
    #[serde(rename = "type")]
    pub kind: String,
    /// Its first content.
    pub content: Option<String>,
}

/// `doc.close`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocClose {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
}

/// `doc.submit`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocSubmit {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// Base revision.
    pub rev: u64,
    /// Epoch of the base.
    pub epoch: Option<String>,
    /// The operation: `[5,"text",-3]` in UTF-16 units.
    #[schemars(with = "Vec<crate::frame::Component>")]
    pub op: Raw,
    /// Length of the base text in UTF-16 units.
    pub len: Option<u64>,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `doc.get`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocGet {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// The revision, or the newest.
    pub rev: Option<u64>,
}

/// `doc.ops`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocOps {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// Operations after this revision.
    pub from: u64,
    /// Up to this revision.
    pub to: Option<u64>,
    /// Epoch of `from`.
    pub epoch: Option<String>,
}

/// `doc.undo`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocUndo {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// Whose edits: the client id that they were submitted with.
    pub client: String,
    /// Grows with each undo of the client; with it, a resend happens once.
    pub seq: Option<u64>,
}

/// `doc.info`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocInfo {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
}

/// `doc.tag`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocTag {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// The name of the tag.
    pub name: String,
    /// Drops the tag instead.
    #[serde(default)]
    pub drop: bool,
}

/// `doc.restore`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocRestore {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// The name of the tag.
    pub name: String,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
}

/// `doc.cursor`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct DocCursor {
    /// The room.
    pub room: String,
    /// The name of the document.
    pub doc: String,
    /// The revision of the text that the positions are in.
    pub rev: u64,
    /// Where; `null` for nowhere.
    #[schemars(with = "CursorOrNull")]
    pub cursor: Raw,
}

/// A place in a text, or `null` for nowhere.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, missing_docs)]
pub enum CursorOrNull {
    At(CursorAt),
    Nowhere,
}

/// A place in a text, in UTF-16 units.
#[derive(Debug, JsonSchema)]
#[allow(dead_code)]
pub struct CursorAt {
    /// The end of the selection that stays.
    anchor: u64,
    /// The end that moves; where the caret is.
    head: u64,
    /// At most 1 KiB of JSON object.
    data: Option<serde_json::Map<String, serde_json::Value>>,
}
