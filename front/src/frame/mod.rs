//! Everything that travels between a client and a front. docs/protocol.md is the same in prose.
//!
//! *Architecture invariant*: nothing else names a field of the wire. Events and stored values pass through as the
//! bytes that the module wrote; their types stand here only for the schema, from which the TypeScript types are made.

mod command;
mod error;
mod events;
pub mod listening;
pub mod reply;

pub use command::{
    AuthRefresh, Command, Connect, Create, CursorAt, CursorOrNull, DevicesKick, DocClose, DocCursor, DocGet, DocInfo,
    DocOpen, DocOps, DocRestore, DocSubmit, DocTag, DocUndo, Envelope, JoinOptions, MsgAppend, MsgEdit, MsgFinish,
    MsgNumber, MsgPost, MsgRange, MsgReaction, MsgWrite, Payload, Presence, PresenceCursor, PresenceGet, PresenceSet,
    PresenceTyping, Recipient, RoomEmit, RoomGrant, RoomJoin, RoomKick, RoomOnly, RoomRevoke, Token, split_binary,
};
pub use error::{Code, FrameError};
pub use events::{
    Because, Body, BodyOrNull, Component, Cursor, Cursors, Departure, Event, Member, Message, Pointer, Reaction,
    ReadMark, Snapshot, StreamPart, Version,
};
pub use reply::Reply;

/// The JSON Schema of all frames.
pub fn schema() -> serde_json::Value {
    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct CommandFrame {
        /// Chosen by the client, echoed in the reply.
        id: u64,
        #[serde(flatten)]
        command: Command,
    }
    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Wire {
        command: CommandFrame,
        reply: Reply,
        /// Per command what `ok` holds.
        answers: reply::Answers,
        event: Event,
        close: crate::close::CloseReason,
    }
    schemars::schema_for!(Wire).to_value()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn the_schema_names_every_command_and_event() {
        let schema = super::schema().to_string();
        for name in [
            "connect",
            "room.join",
            "doc.submit",
            "doc.undo",
            "presence.typing",
            "presence.cursors",
            "room.kicked",
            "room.access",
            "room.grant",
            "auth.refresh",
            "auth.expiring",
            "devices.list",
            "msg.posted",
            "msg.append",
            "msg.reacted",
            "doc.restore",
            "doc.cursors",
            "room.resync",
            "SHUTDOWN",
        ] {
            assert!(schema.contains(&format!("\"{name}\"")), "{name}");
        }
    }

    #[test]
    fn the_clients_types_are_made_from_this_schema() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/client/scripts/frames.mjs");
        let Ok(mut check) = Command::new("node").args([script, "--check"]).stdin(Stdio::piped()).spawn() else {
            eprintln!("\n*** THE CLIENT'S TYPES WERE NOT COMPARED WITH THE SCHEMA: there is no node ***\n");
            return;
        };
        let mut stdin = check.stdin.take().unwrap();
        stdin.write_all(super::schema().to_string().as_bytes()).unwrap();
        drop(stdin);
        assert!(check.wait().unwrap().success(), "front/client/src/frames.ts is out of date: `npm run frames` there");
    }
}
