//! Everything that travels between a client and a front. docs/protocol.md is the same in prose.
//!
//! *Architecture invariant*: nothing else names a field of the wire. Events and stored values pass through as the
//! bytes that the module wrote; their types stand here only for the schema, from which the TypeScript types are made.

mod command;
mod error;
mod events;
pub mod reply;

pub use command::{
    Command, Connect, Create, DocClose, DocGet, DocOpen, DocOps, DocSubmit, Envelope, JoinOptions, MsgPost, MsgRange,
    Presence, PresenceSet, PresenceTyping, Recipient, RoomEmit, RoomJoin, RoomOnly,
};
pub use error::{Code, FrameError};
pub use events::{Because, Departure, Event, Member, Message, Snapshot, StreamPart};
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
    #[test]
    fn the_schema_names_every_command_and_event() {
        let schema = super::schema().to_string();
        for name in ["connect", "room.join", "doc.submit", "presence.typing", "msg.posted", "room.resync", "SHUTDOWN"] {
            assert!(schema.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
