//! Commands: what a client asks for.

mod doc;
mod msg;
mod room;

pub use doc::{
    Create, CursorAt, CursorOrNull, DocClose, DocCursor, DocGet, DocInfo, DocOpen, DocOps, DocRestore, DocSubmit,
    DocTag, DocUndo,
};
pub use msg::{MsgAppend, MsgEdit, MsgFinish, MsgNumber, MsgPost, MsgRange, MsgReaction, MsgWrite};
pub use room::{Connect, JoinOptions, Presence, PresenceSet, PresenceTyping, Recipient, RoomEmit, RoomJoin, RoomOnly};

use super::error::{Code, FrameError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

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
    /// Replaces the body of an own message.
    "msg.edit" => MsgEdit(MsgEdit),
    /// Deletes an own message; its place stays.
    "msg.delete" => MsgDelete(MsgWrite),
    /// Adds a reaction.
    "msg.react" => MsgReact(MsgReaction),
    /// Takes back a reaction.
    "msg.unreact" => MsgUnreact(MsgReaction),
    /// Lets the text of a streaming message grow.
    "msg.append" => MsgAppend(MsgAppend),
    /// Ends a streaming message.
    "msg.finish" => MsgFinish(MsgFinish),
    /// Asks the writer of a streaming message to stop.
    "msg.cancel" => MsgCancel(MsgWrite),
    /// Says up to where the user has read.
    "msg.read" => MsgRead(MsgNumber),
    /// What the user has not read.
    "msg.unread" => MsgUnread(RoomOnly),
    /// Reads messages.
    "msg.range" => MsgRange(MsgRange),
    /// Reads the earlier bodies of a message.
    "msg.history" => MsgHistory(MsgNumber),
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
    /// Says what a document holds.
    "doc.info" => DocInfo(DocInfo),
    /// Keeps the text of now under a name, or drops the name.
    "doc.tag" => DocTag(DocTag),
    /// Makes the text what it was at a tag.
    "doc.restore" => DocRestore(DocRestore),
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
