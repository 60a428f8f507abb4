//! Commands: what a client asks for.

mod doc;
mod msg;
mod room;

pub use doc::{
    Create, CursorAt, CursorOrNull, DocClose, DocCursor, DocGet, DocInfo, DocOpen, DocOps, DocRestore, DocSubmit,
    DocTag, DocUndo,
};
pub use msg::{MsgAppend, MsgEdit, MsgFinish, MsgNumber, MsgPost, MsgRange, MsgReaction, MsgWrite};
pub use room::{
    AuthRefresh, Connect, DevicesKick, JoinOptions, Payload, Presence, PresenceCursor, PresenceGet, PresenceSet,
    PresenceTyping, Recipient, RoomEmit, RoomGrant, RoomJoin, RoomKick, RoomOnly, RoomRevoke, Token,
};

use super::error::{Code, FrameError};
use bytes::Bytes;
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

/// Splits a binary message into its frame and the payload that follows it: the frame's length in bytes (32 bits, big
/// endian), the frame, the payload.
pub fn split_binary(message: Vec<u8>) -> Result<(String, Bytes), FrameError> {
    let Some((frame, payload)) = stoa_core::event::split(&message) else {
        let message = "a binary message is the length of its frame (32 bits, big endian), the frame, the payload";
        return Err(FrameError::new(Code::InvalidFrame, message));
    };
    let frame = std::str::from_utf8(frame).map_err(|_| FrameError::new(Code::InvalidFrame, "a frame is UTF-8"))?;
    let (frame, before) = (frame.to_owned(), message.len() - payload.len());
    Ok((frame, Bytes::from(message).slice(before..)))
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
    /// Goes on with another token of the same user.
    "auth.refresh" => AuthRefresh(AuthRefresh),
    /// Joins a room and brings its streams up to date.
    "room.join" => RoomJoin(RoomJoin),
    /// Leaves a room.
    "room.leave" => RoomLeave(RoomOnly),
    /// An ephemeral event of the application.
    "room.emit" => RoomEmit(RoomEmit),
    /// Says what a user may do in a room.
    "room.grant" => RoomGrant(RoomGrant),
    /// Shuts a user out of a room, or lets the token decide again.
    "room.revoke" => RoomRevoke(RoomRevoke),
    /// Takes somebody out of a room.
    "room.kick" => RoomKick(RoomKick),
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
    /// Changes what others see of the own connection.
    "presence.set" => PresenceSet(PresenceSet),
    /// Who is here.
    "presence.list" => PresenceList(RoomOnly),
    /// Whether these users are here, or when they were.
    "presence.get" => PresenceGet(PresenceGet),
    /// Says where the user points.
    "presence.cursor" => PresenceCursor(PresenceCursor),
    /// Says that somebody types, or stopped.
    "presence.typing" => PresenceTyping(PresenceTyping),
    /// The user's own connections.
    "devices.list" => DevicesList,
    /// Ends one of the user's own connections.
    "devices.kick" => DevicesKick(DevicesKick),
    /// A sign of life.
    "ping" => Ping,
}

impl Command {
    /// Takes in the payload that came behind the command.
    pub fn attach(&mut self, payload: Bytes) -> Result<(), FrameError> {
        let refuse = |message: String| Err(FrameError::new(Code::InvalidArgument, message));
        match self {
            Command::RoomEmit(RoomEmit { payload: None, .. }) => {}
            Command::RoomEmit(_) => return refuse("payload: it stands in the frame and follows it".to_owned()),
            other => return refuse(format!("payload: {} takes none", other.name())),
        }
        if let Command::RoomEmit(emit) = self {
            emit.payload = Some(Payload(payload));
        }
        Ok(())
    }
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
    fn a_payload_comes_in_base64_or_behind_the_frame() {
        let emit =
            |rest: &str| format!("{{\"id\":1,\"do\":\"room.emit\",\"room\":\"r\",\"name\":\"n\",\"data\":1{rest}}}");
        let payload = |command| match command {
            Command::RoomEmit(it) => it.payload.map(|payload| payload.0.to_vec()),
            other => panic!("{other:?}"),
        };
        assert_eq!(payload(read(&emit(",\"payload\":\"AP8=\"")).unwrap()), Some(vec![0, 255]));
        let error = read(&emit(",\"payload\":\"A\"")).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.starts_with("payload: not base64"), "{error}");

        let frame = emit("");
        let message = [&(frame.len() as u32).to_be_bytes()[..], frame.as_bytes(), &[0, 255]].concat();
        let (head, tail) = split_binary(message).unwrap();
        let mut command = read(&head).unwrap();
        command.attach(tail.clone()).unwrap();
        assert_eq!(payload(command.clone()), Some(vec![0, 255]));
        assert_eq!(command.attach(tail.clone()).unwrap_err().code, Code::InvalidArgument, "one is enough");
        let mut ping = read("{\"id\":1,\"do\":\"ping\"}").unwrap();
        assert_eq!(ping.attach(tail).unwrap_err().code, Code::InvalidArgument);
        for bad in [&b""[..], &[0, 0, 0], &[0, 0, 0, 3, b'{', b'}'], &[0, 0, 0, 1, 0xff], &[0xff; 9]] {
            assert_eq!(split_binary(bad.to_vec()).unwrap_err().code, Code::InvalidFrame, "{bad:?}");
        }
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
