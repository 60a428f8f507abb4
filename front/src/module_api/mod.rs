//! The module's commands as functions. The only place that names them.

mod access;
mod answer;
mod audit;
mod documents;
mod limits;
mod messages;
mod opened;
mod presence;

pub use access::{AccessChanged, AccessList};
pub use answer::{DocumentAt, DocumentInfo, Marked, Operations, Range, Submitted, Tag, Unread, Written};
pub use audit::Entry;
pub use limits::{Strikes, Verdict, takes_limits};
pub use opened::{Opened, Outcome, ReadState, SnapshotBody};
pub use presence::{AWAY, Change, Device, INVISIBLE, ONLINE, Person, Somebody};

use crate::acks::{Ack, Acks};
use crate::frame::{Code, FrameError, Payload, Recipient, RoomEmit};
use crate::limits::Table;
use crate::names::{Keys, PRESENCE, Room};
use crate::redis::barrier::Waits;
use crate::redis::shard::Profile;
use crate::redis::topology::{Call, CallError, ShardRouter};
use crate::telemetry;
use bytes::Bytes;
use fred::types::Value;
use opened::open_list;
use std::sync::Arc;
use std::time::Duration;
use stoa_core::epoch::Position;
use tracing::Instrument;

/// The stream part of the key that `ROOM.EMIT` takes: it stores nothing, the key says which room.
const EMIT: &str = "room";

/// Somebody who is here through this front.
#[derive(Debug, Clone)]
pub struct Here {
    /// The user.
    pub user: Arc<str>,
    /// The connection.
    pub connection: Arc<str>,
    /// What others see, as a JSON object.
    pub data: String,
    /// What is kept of it for its user and for services, as a JSON object.
    pub private: Option<String>,
    /// The status that its client chose last.
    pub chosen: Option<String>,
    /// Nothing came from its client for long.
    pub is_away: bool,
}

/// Calls the module.
#[derive(Clone)]
pub struct ModuleApi {
    router: Arc<ShardRouter>,
    keys: Keys,
    node: Arc<str>,
    acks: Arc<Acks>,
    limits: Arc<Table>,
}

/// Arguments of a command: texts and numbers alike become strings.
struct Args {
    values: Vec<Value>,
    /// With the writer's identity among them the command happens once, however often it is sent.
    has_identity: bool,
}

impl Args {
    fn with_capacity(capacity: usize) -> Self {
        Args { values: Vec::with_capacity(capacity), has_identity: false }
    }
    fn key(key: String) -> Self {
        Args { values: vec![key.into()], has_identity: false }
    }
    fn add(mut self, arg: impl ToString) -> Self {
        self.values.push(arg.to_string().into());
        self
    }
    fn bytes(mut self, bytes: Bytes) -> Self {
        self.values.push(Value::Bytes(bytes));
        self
    }
    fn flag(self, word: &str, set: bool) -> Self {
        if set { self.add(word) } else { self }
    }
    fn option(self, word: &str, arg: Option<impl ToString>) -> Self {
        match arg {
            Some(arg) => self.add(word).add(arg),
            None => self,
        }
    }
    fn identity(self, client: Option<&str>, seq: Option<u64>) -> Result<Self, FrameError> {
        match (client, seq) {
            (Some(client), Some(seq)) => Ok(Args { has_identity: true, ..self.add("ID").add(client).add(seq) }),
            (None, None) => Ok(self),
            _ => Err(FrameError::new(Code::InvalidArgument, "client and seq: give both or neither")),
        }
    }
    fn call(self, command: &'static str, ack: Ack) -> Call {
        Call { command, args: self.values, ack, is_repeatable: self.has_identity }
    }
}

impl ModuleApi {
    /// Calls through `router`, as the front `node`. The limits of rooms go with the commands.
    pub fn new(router: Arc<ShardRouter>, keys: Keys, node: &str, acks: Acks, limits: Arc<Table>) -> Self {
        ModuleApi { router, keys, node: node.into(), acks: acks.into(), limits }
    }

    /// What the connections to Redis have to know: a harmless command that says whether the module is loaded, and
    /// what writes wait for.
    pub fn profile(keys: &Keys, acks: &Acks, ack_timeout: Duration) -> Profile {
        let room = Room::personal("stoa-probe");
        let waits = Waits { acks: acks.waits(), timeout: ack_timeout, key: keys.barrier() };
        Profile { probe: ("PRESENCE.COUNT", keys.key(&room, PRESENCE)), waits }
    }

    /// Where the events of a room come from.
    pub fn channel(&self, room: &Room) -> String {
        self.keys.channel(room)
    }

    /// The router that carries the calls.
    pub fn router(&self) -> &Arc<ShardRouter> {
        &self.router
    }

    async fn call(&self, room: &Room, command: &'static str, args: Args) -> Result<Value, FrameError> {
        self.call_at(&self.keys.channel(room), command, args, Ack::Memory).await
    }

    /// A command that writes what is to last: answered once it is as safe as the room wants it.
    async fn call_durable(&self, room: &Room, command: &'static str, args: Args) -> Result<Value, FrameError> {
        self.call_at(&self.keys.channel(room), command, args, self.acks.of(room)).await
    }

    async fn call_at(&self, channel: &str, command: &'static str, args: Args, ack: Ack) -> Result<Value, FrameError> {
        let call = self.router.call(channel, args.call(command, ack)).instrument(telemetry::call_span(command));
        call.await.map_err(|error| frame_error(command, error))
    }

    /// A command that nobody is to wait for: while its server is away the answer is `UNAVAILABLE` at once.
    async fn call_if_up(&self, channel: &str, command: &'static str, args: Args) -> Result<Value, FrameError> {
        let call = self.router.call_if_up(channel, args.call(command, Ack::Memory));
        call.instrument(telemetry::call_span(command)).await.map_err(|error| frame_error(command, error))
    }

    /// `ROOM.OPEN`: everything that somebody at these positions needs; with a user also what that one has not read.
    pub async fn room_open(
        &self,
        room: &Room,
        user: Option<&str>,
        ask: &[(Arc<str>, Option<Position>)],
    ) -> Result<Vec<Opened>, FrameError> {
        let mut args = Args::with_capacity(2 * ask.len() + 2);
        if let Some(user) = user {
            args = args.add(self.keys.channel(room)).add(user);
        }
        for (stream, position) in ask {
            args = args.add(self.keys.key(room, stream));
            args = args.add(position.map_or("-".to_owned(), |position| position.to_string()));
        }
        let names = ask.iter().map(|(stream, _)| &**stream);
        open_list(names, self.call(room, "ROOM.OPEN", args).await?)
    }

    /// `ROOM.EMIT`: an ephemeral event that the sender's connection, if there is one, does not get itself.
    pub async fn room_emit(&self, room: &Room, sender: (&str, &str), emit: &RoomEmit) -> Result<(), FrameError> {
        let (user, connection) = sender;
        let mut args = Args::key(self.keys.key(room, EMIT)).add(&emit.name).add(emit.data.get());
        if let Some(Payload(bytes)) = &emit.payload {
            args = args.add("PAYLOAD").bytes(bytes.clone());
        }
        args = match &emit.to {
            Some(Recipient::User(user)) => args.add("TO").add("USER").add(user),
            Some(Recipient::Connection(connection)) => args.add("TO").add("CONN").add(connection),
            None => args,
        };
        args = args.option("FROM", Some(connection).filter(|connection| !connection.is_empty())).add("BY").add(user);
        self.call(room, "ROOM.EMIT", self.limited(args, room, user, "ROOM.EMIT")).await.map(drop)
    }
}

fn frame_error(command: &'static str, error: CallError) -> FrameError {
    let text = match error {
        CallError::Away => return FrameError::unavailable(),
        CallError::Unacknowledged => return FrameError::unacknowledged(),
        CallError::Refused(text) => text,
    };
    let (word, message) = text.split_once(' ').unwrap_or((&text, ""));
    if word == Code::RateLimited.as_str() {
        return FrameError::rate_limited(retry_after_ms(message));
    }
    if let Some(code) = Code::parse(word) {
        return FrameError::new(code, message);
    }
    // What the front sends is checked, so the rest is a fault of ours or a key of another type.
    tracing::warn!(command, error = text, "the module's refusal has no code that clients know");
    FrameError::internal()
}

/// `retry after 1200 ms: the limit … allows no more`
fn retry_after_ms(message: &str) -> u64 {
    message.split(' ').nth(2).and_then(|ms| ms.parse().ok()).unwrap_or(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_their_code_and_others_become_ours() {
        let code = |text: &str| frame_error("X", CallError::Refused(text.into())).code;
        assert_eq!(code("NOT_FOUND no such message"), Code::NotFound);
        assert_eq!(code("STALE revision 3 is no longer kept"), Code::Stale);
        assert_eq!(code("WRONGTYPE Operation against a key"), Code::Internal);
        assert_eq!(code("ERR unknown command"), Code::Internal);
        assert_eq!(code("INTERNAL_ONLY no"), Code::Internal);
        let limited = frame_error("X", CallError::Refused("RATE_LIMITED retry after 1200 ms: the limit k".into()));
        assert_eq!((limited.code, limited.retry_after_ms), (Code::RateLimited, Some(1_200)));
        assert_eq!(frame_error("X", CallError::Away).code, Code::Unavailable);
        assert_eq!(frame_error("X", CallError::Unacknowledged).code, Code::Unacknowledged);
    }
}
