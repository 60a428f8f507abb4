//! Commands: what a client asks for.

use super::error::{Code, FrameError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A JSON value that is passed on as it was written.
type Raw = Box<RawValue>;

/// The two fields that every command has, before anything else is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The client's number for the command, echoed in the answer.
    pub id: Option<u64>,
    text: &'a str,
    what: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads `id` and `do` of a frame.
    pub fn read(text: &'a str) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            #[serde(borrow, rename = "do")]
            what: Option<&'a RawValue>,
        }
        let frame = text.trim_ascii_start();
        if !frame.starts_with('{') {
            return Err(FrameError::new(Code::InvalidFrame, "a frame is a JSON object"));
        }
        let fields: Fields<'a> = serde_json::from_str(frame)
            .map_err(|e| FrameError::new(Code::InvalidFrame, format!("a frame is a JSON object: {}", plain(&e))))?;
        let id = fields.id.and_then(|id| id.get().parse().ok());
        Ok(Envelope { id, text: frame, what: fields.what })
    }

    /// Reads the command itself.
    pub fn command(&self) -> Result<Command, FrameError> {
        let what: Option<String> = self.what.and_then(|what| serde_json::from_str(what.get()).ok());
        let Some(what) = what else {
            return Err(FrameError::new(Code::InvalidFrame, "do: the name of a command is missing"));
        };
        if self.id.is_none() {
            return Err(FrameError::new(Code::InvalidFrame, "id: a non-negative integer is missing"));
        }
        Command::read(&what, self.text)
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $word:literal => $name:ident $(($fields:ty))?,)*) => {
        /// A command with its fields.
        #[derive(Debug, Clone, JsonSchema)]
        #[serde(tag = "do")]
        pub enum Command { $($(#[$doc])* #[serde(rename = $word)] $name $(($fields))?,)* }

        impl Command {
            fn read(what: &str, text: &str) -> Result<Self, FrameError> {
                match what {
                    $($word => Ok(Command::$name $((fields::<$fields>(text)?))?),)*
                    _ => Err(FrameError::new(Code::UnknownCommand, "this front has no such command")),
                }
            }
            /// The name of the command.
            pub fn name(&self) -> &'static str {
                match self { $(commands!(@pattern $name $(, $fields)?) => $word,)* }
            }
        }
    };
    (@pattern $name:ident) => { Command::$name };
    (@pattern $name:ident, $fields:ty) => { Command::$name(_) };
}

commands! {
    /// Always the first.
    "connect" => Connect(Connect),
    /// Joins a room and brings its streams up to date.
    "room.join" => RoomJoin(RoomJoin),
    /// Leaves a room.
    "room.leave" => RoomLeave(RoomOnly),
    /// An ephemeral event of the application.
    "room.emit" => RoomEmit(RoomEmit),
    /// Posts a message.
    "msg.post" => MsgPost(MsgPost),
    /// Reads messages.
    "msg.range" => MsgRange(MsgRange),
    /// Opens a document, or makes it.
    "doc.open" => DocOpen(DocOpen),
    /// Ends the events of a document.
    "doc.close" => DocClose(DocClose),
    /// Edits a document.
    "doc.submit" => DocSubmit(DocSubmit),
    /// Reads a document.
    "doc.get" => DocGet(DocGet),
    /// Reads the operations of a document.
    "doc.ops" => DocOps(DocOps),
    /// Takes back the newest edit of a client.
    "doc.undo" => DocUndo(DocUndo),
    /// Says where the user is in a document.
    "doc.cursor" => DocCursor(DocCursor),
    /// Changes the data of the own connection.
    "presence.set" => PresenceSet(PresenceSet),
    /// Who is here.
    "presence.list" => PresenceList(RoomOnly),
    /// Says that somebody types, or stopped.
    "presence.typing" => PresenceTyping(PresenceTyping),
    /// A sign of life.
    "ping" => Ping,
}

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

/// `msg.post`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MsgPost {
    /// The room.
    pub room: String,
    /// Object or string.
    #[schemars(with = "super::Body")]
    pub body: Raw,
    /// The kind of message; `text` if it is left out.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Number of the message that this one answers.
    pub reply: Option<u64>,
    /// The writer's client id; with `seq`, a resend happens once.
    pub client: Option<String>,
    /// Grows with each write of the client.
    pub seq: Option<u64>,
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
    /// 1 to 100, 50 if it is left out.
    pub count: Option<u64>,
}

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
    #[schemars(with = "Vec<super::Component>")]
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

fn fields<T: DeserializeOwned>(text: &str) -> Result<T, FrameError> {
    serde_json::from_str(text).or_else(|_| {
        // Only now, because keeping track of the path costs.
        let mut reader = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            let at = e.path().to_string();
            let at = if at == "." { String::new() } else { format!("{at}: ") };
            FrameError::new(Code::InvalidArgument, format!("{at}{}", plain(e.inner())))
        })
    })
}

/// What is wrong, without the line and column that mean nothing to the sender.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Command, FrameError> {
        Envelope::read(text)?.command()
    }

    #[test]
    fn what_is_not_a_command_says_why() {
        for (text, code) in [
            ("", Code::InvalidFrame),
            ("[]", Code::InvalidFrame),
            ("{\"id\":1}", Code::InvalidFrame),
            ("{\"id\":1,\"do\":7}", Code::InvalidFrame),
            ("{\"id\":1,\"do\":\"ping\"", Code::InvalidFrame),
            ("{\"do\":\"ping\"}", Code::InvalidFrame),
            ("{\"id\":-1,\"do\":\"ping\"}", Code::InvalidFrame),
            ("{\"id\":1,\"do\":\"no.such\"}", Code::UnknownCommand),
            ("{\"id\":1,\"do\":\"room.join\"}", Code::InvalidArgument),
            ("{\"id\":1,\"do\":\"room.join\",\"room\":3}", Code::InvalidArgument),
        ] {
            assert_eq!(read(text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn the_message_names_the_field() {
        let error = read("{\"id\":1,\"do\":\"doc.get\",\"room\":\"r\",\"doc\":\"d\",\"rev\":\"x\"}").unwrap_err();
        assert!(error.message.starts_with("rev: "), "{error}");
        assert!(read("{\"id\":1,\"do\":\"room.leave\"}").unwrap_err().message.contains("`room`"));
    }

    #[test]
    fn unknown_fields_are_ignored_and_raw_values_kept() {
        let text =
            "{\"id\":1,\"do\":\"msg.post\",\"room\":\"r\",\"body\":{\"n\":1.50,\"x\":[ ]},\"extra\":{\"a\":[1]}}";
        let Ok(Command::MsgPost(post)) = read(text) else { panic!("not read") };
        assert_eq!(post.body.get(), "{\"n\":1.50,\"x\":[ ]}");
    }

    #[test]
    fn a_join_carries_positions_and_presence() {
        let text = "{\"id\":1,\"do\":\"room.join\",\"room\":\"r\",\"positions\":{\"log\":\"1.00000001:2\",\"doc:a\":null},\
                    \"presence\":{\"data\":{\"a\":1}}}";
        let Ok(Command::RoomJoin(join)) = read(text) else { panic!("not read: {:?}", read(text)) };
        assert_eq!(join.positions.len(), 2);
        assert_eq!(join.presence.unwrap().data.unwrap().get(), "{\"a\":1}");
    }

    #[test]
    fn an_id_that_can_be_read_survives_a_bad_command() {
        assert_eq!(Envelope::read("{\"id\":9,\"do\":\"x\"}").unwrap().id, Some(9));
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let deep = "[".repeat(100_000);
        assert!(read(&format!("{{\"id\":1,\"do\":\"connect\",\"resume\":{deep}")).is_err());
    }
}
