//! The module's commands as functions. The only place that names them.

mod answer;

pub use answer::{DocumentAt, Opened, Operations, Outcome, Posted, Range, SnapshotBody, Submitted};

use crate::frame::{Code, Create, DocSubmit, FrameError, MsgPost, MsgRange, Recipient};
use crate::names::{Keys, LOG, PRESENCE, Room};
use crate::redis::shard::Profile;
use crate::redis::topology::{CallError, ShardRouter};
use crate::telemetry;
use answer::{Fields, integer, open_list};
use fred::types::Value;
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
}

/// Calls the module.
#[derive(Clone)]
pub struct ModuleApi {
    router: Arc<ShardRouter>,
    keys: Keys,
    node: Arc<str>,
}

/// Arguments of a command: texts and numbers alike become strings.
struct Args(Vec<Value>);

impl Args {
    fn key(key: String) -> Self {
        Args(vec![key.into()])
    }
    fn add(mut self, arg: impl ToString) -> Self {
        self.0.push(arg.to_string().into());
        self
    }
    fn option(self, word: &str, arg: Option<impl ToString>) -> Self {
        match arg {
            Some(arg) => self.add(word).add(arg),
            None => self,
        }
    }
    fn identity(self, client: Option<&str>, seq: Option<u64>) -> Result<Self, FrameError> {
        match (client, seq) {
            (Some(client), Some(seq)) => Ok(self.add("ID").add(client).add(seq)),
            (None, None) => Ok(self),
            _ => Err(FrameError::new(Code::InvalidArgument, "client and seq: give both or neither")),
        }
    }
}

impl ModuleApi {
    /// Calls through `router`, as the front `node`.
    pub fn new(router: Arc<ShardRouter>, keys: Keys, node: &str) -> Self {
        ModuleApi { router, keys, node: node.into() }
    }

    /// A harmless command that says whether the module is loaded.
    pub fn probe(keys: &Keys) -> Profile {
        let room = Room::personal("stoa-probe");
        Profile { probe: ("PRESENCE.COUNT", keys.key(&room, PRESENCE)) }
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
        let channel = self.keys.channel(room);
        if !self.router.is_up(&channel) {
            return Err(FrameError::unavailable());
        }
        let call = self.router.call(&channel, command, args.0).instrument(telemetry::call_span(command));
        call.await.map_err(|error| frame_error(command, error))
    }

    /// `ROOM.OPEN`: everything that somebody at these positions needs.
    pub async fn room_open(
        &self,
        room: &Room,
        ask: &[(Arc<str>, Option<Position>)],
    ) -> Result<Vec<Opened>, FrameError> {
        let mut args = Args(Vec::with_capacity(2 * ask.len()));
        for (stream, position) in ask {
            args = args.add(self.keys.key(room, stream));
            args = args.add(position.map_or("-".to_owned(), |position| position.to_string()));
        }
        let names = ask.iter().map(|(stream, _)| &**stream);
        open_list(names, self.call(room, "ROOM.OPEN", args).await?)
    }

    /// `ROOM.EMIT`: an ephemeral event that the sender does not get itself.
    pub async fn room_emit(
        &self,
        room: &Room,
        sender: (&str, &str),
        name: &str,
        data: &str,
        to: Option<&Recipient>,
    ) -> Result<(), FrameError> {
        let (user, connection) = sender;
        let mut args = Args::key(self.keys.key(room, EMIT)).add(name).add(data);
        args = match to {
            Some(Recipient::User(user)) => args.add("TO").add("USER").add(user),
            Some(Recipient::Connection(connection)) => args.add("TO").add("CONN").add(connection),
            None => args,
        };
        args = args.add("FROM").add(connection).add("BY").add(user);
        self.call(room, "ROOM.EMIT", args).await.map(drop)
    }

    /// `MSG.POST`
    pub async fn msg_post(
        &self,
        room: &Room,
        user: &str,
        connection: &str,
        post: &MsgPost,
    ) -> Result<Posted, FrameError> {
        let args = Args::key(self.keys.key(room, LOG)).add(user).add(post.body.get());
        let args = args.identity(post.client.as_deref(), post.seq)?;
        let args = args.option("TYPE", post.kind.as_deref()).option("REPLY", post.reply).add("CONN").add(connection);
        Posted::read(Fields::read(self.call(room, "MSG.POST", args).await?)?)
    }

    /// `MSG.RANGE`
    pub async fn msg_range(&self, room: &Room, range: &MsgRange) -> Result<Range, FrameError> {
        if range.before.is_some() && range.after.is_some() {
            return Err(FrameError::new(Code::InvalidArgument, "before and after: give one of them"));
        }
        let count = range.count.unwrap_or(50);
        if !(1..=100).contains(&count) {
            return Err(FrameError::new(Code::InvalidArgument, "count: 1 to 100"));
        }
        let args = Args::key(self.keys.key(room, LOG));
        let args = args.option("BEFORE", range.before).option("AFTER", range.after).add("COUNT").add(count);
        Range::read(Fields::read(self.call(room, "MSG.RANGE", args).await?)?)
    }

    /// `DOC.CREATE`: whether it was missing.
    pub async fn doc_create(&self, room: &Room, stream: &str, create: &Create) -> Result<(), FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(&create.kind);
        let args = args.add(create.content.as_deref().unwrap_or_default());
        self.call(room, "DOC.CREATE", args).await.map(drop)
    }

    /// `DOC.SUBMIT`
    pub async fn doc_submit(
        &self,
        room: &Room,
        stream: &str,
        by: (&str, &str),
        submit: &DocSubmit,
    ) -> Result<Submitted, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(submit.rev).add(submit.op.get());
        let args = args.identity(submit.client.as_deref(), submit.seq)?;
        let args = args.option("EPOCH", submit.epoch.as_deref()).option("LEN", submit.len);
        let args = args.add("BY").add(by.0).add(by.1);
        Submitted::read(Fields::read(self.call(room, "DOC.SUBMIT", args).await?)?)
    }

    /// `DOC.UNDO`
    pub async fn doc_undo(
        &self,
        room: &Room,
        stream: &str,
        by: (&str, &str),
        client: &str,
    ) -> Result<Submitted, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(client).add("BY").add(by.0).add(by.1);
        Submitted::read(Fields::read(self.call(room, "DOC.UNDO", args).await?)?)
    }

    /// `DOC.CURSOR`: `cursor` is JSON, `null` for nowhere.
    pub async fn doc_cursor(
        &self,
        room: &Room,
        stream: &str,
        by: (&str, &str),
        rev: u64,
        cursor: &str,
    ) -> Result<(), FrameError> {
        let args = Args::key(self.keys.key(room, stream)).add(by.1).add(rev).add(cursor).add("BY").add(by.0);
        self.call(room, "DOC.CURSOR", args).await.map(drop)
    }

    /// `DOC.CURSOR` with `null`. One that Redis does not hear of ends by itself.
    pub async fn doc_cursors_end(&self, room: &Room, by: (&str, &str), streams: impl IntoIterator<Item = String>) {
        for stream in streams {
            if let Err(error) = self.doc_cursor(room, &stream, by, 0, "null").await {
                tracing::debug!(%room, stream, %error, "a cursor was not ended");
            }
        }
    }

    /// `DOC.GET`
    pub async fn doc_get(&self, room: &Room, stream: &str, rev: Option<u64>) -> Result<DocumentAt, FrameError> {
        let args = Args::key(self.keys.key(room, stream)).option("REV", rev);
        DocumentAt::read(Fields::read(self.call(room, "DOC.GET", args).await?)?)
    }

    /// `DOC.OPS`
    pub async fn doc_ops(
        &self,
        room: &Room,
        stream: &str,
        from: u64,
        to: Option<u64>,
        epoch: Option<&str>,
    ) -> Result<Operations, FrameError> {
        let mut args = Args::key(self.keys.key(room, stream)).add(from);
        if let Some(to) = to {
            args = args.add(to);
        }
        let args = args.option("EPOCH", epoch);
        Operations::read(Fields::read(self.call(room, "DOC.OPS", args).await?)?)
    }

    /// `PRESENCE.JOIN`: the new position.
    pub async fn presence_join(&self, room: &Room, here: &Here, ttl: Duration) -> Result<Position, FrameError> {
        let args = Args::key(self.keys.key(room, PRESENCE)).add(&here.user).add(&here.connection).add(&self.node);
        let args = args.add(ttl.as_millis()).add("DATA").add(&here.data);
        Fields::read(self.call(room, "PRESENCE.JOIN", args).await?)?.position()
    }

    /// `PRESENCE.SET`: the new position.
    pub async fn presence_set(&self, room: &Room, connection: &str, patch: &str) -> Result<Position, FrameError> {
        let args = Args::key(self.keys.key(room, PRESENCE)).add(connection).add(patch);
        Fields::read(self.call(room, "PRESENCE.SET", args).await?)?.position()
    }

    /// `PRESENCE.BEAT`: how many connections this front holds there.
    pub async fn presence_beat(&self, room: &Room, ttl: Duration) -> Result<u64, FrameError> {
        let args = Args::key(self.keys.key(room, PRESENCE)).add(&self.node).add(ttl.as_millis());
        integer(&self.call(room, "PRESENCE.BEAT", args).await?)
    }

    /// `PRESENCE.LEAVE`
    pub async fn presence_leave(&self, room: &Room, connection: &str, grace: Duration) -> Result<(), FrameError> {
        let args = Args::key(self.keys.key(room, PRESENCE)).add(connection).add("GRACE").add(grace.as_millis());
        match self.call(room, "PRESENCE.LEAVE", args).await {
            // Its lease has ended: what was wanted is so.
            Err(error) if error.code == Code::NotFound => Ok(()),
            left => left.map(drop),
        }
    }

    /// `PRESENCE.TYPING`
    pub async fn presence_typing(&self, room: &Room, connection: &str, ms: u64) -> Result<(), FrameError> {
        let args = Args::key(self.keys.key(room, PRESENCE)).add(connection).add(ms);
        self.call(room, "PRESENCE.TYPING", args).await.map(drop)
    }
}

fn frame_error(command: &'static str, error: CallError) -> FrameError {
    let text = match error {
        CallError::Away => return FrameError::unavailable(),
        CallError::Refused(text) => text,
    };
    let (word, message) = text.split_once(' ').unwrap_or((&text, ""));
    if let Some(code) = Code::parse(word) {
        return FrameError::new(code, message);
    }
    // What the front sends is checked, so the rest is a fault of ours or a key of another type.
    tracing::warn!(command, error = text, "the module's refusal has no code that clients know");
    FrameError::internal()
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
        assert_eq!(frame_error("X", CallError::Away).code, Code::Unavailable);
    }
}
