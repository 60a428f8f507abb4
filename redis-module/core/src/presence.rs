//! Who is here: connections of a person counted, joins and departures told once each.
//!
//! A *connection* belongs to a person (user) and to a *node*, the front that holds its socket. A node keeps one
//! *lease* per room for all its connections; when the lease ends, so do they. A person is here while they have a
//! connection, and after the last one for its *grace*.
//!
//! The primary decides (`join`, `patch`, `beat`, `leave`, `due`) and hands out a record; everybody, the primary
//! too, changes state only by following that record ([`Presence::apply`]). So a replica cannot differ. Who is
//! typing and what was announced are the primary's alone and are not stored.

mod people;
mod record;
mod told;

use crate::bounds::Bounds;
use crate::epoch::{Epochs, Position, Writer};
use crate::identity::check_id;
use crate::json;
use crate::refusal::{Code, Refusal};
use people::People;
use record::{Effect, Record};
use std::collections::BTreeMap;

pub use told::Snapshot;

/// Longest lease or grace, in milliseconds: a day.
pub const WAIT_MS_MAX: u64 = 24 * 3600 * 1000;
/// Longest typing mark, in milliseconds: who types says so again and again.
pub const TYPING_MS_MAX: u64 = 60 * 1000;
/// Connections that end in one step: bounds the work between two other commands.
pub const ENDED_PER_STEP_MAX: usize = 512;
/// People that an announcement of typing names: more do not fit a line.
pub const TYPING_NAMED_MAX: usize = 50;

/// One connection that arrives.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// Whose it is.
    pub user: &'a str,
    /// Its id, unique among all fronts.
    pub connection: &'a str,
    /// The front that holds it.
    pub node: &'a str,
    /// How long the node's lease lasts from now.
    pub ttl_ms: u64,
    /// A JSON object that everybody in the room sees; empty keeps what a known connection had.
    pub data: Option<&'a [u8]>,
    /// A JSON object that is stored and never announced.
    pub private: Option<&'a [u8]>,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The record to replicate; `None` if nothing changed.
    pub record: Option<Vec<u8>>,
    /// Whether this was the person's first connection.
    pub first: bool,
    /// Connections that the person, or for a beat the node, has now.
    pub connections: u64,
}

/// The people of one room.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    epochs: Epochs,
    people: People,
    /// The revision that the last announcement led to.
    announced: u64,
    /// User to the time at which the typing mark ends.
    typing: BTreeMap<Box<str>, u64>,
    typing_announced: Vec<Box<str>>,
}

impl Presence {
    /// Lists a connection. The same connection again replaces its data and extends the lease.
    ///
    /// Refuses with `FULL` when the room holds its bound, `INVALID_ARGUMENT` when the connection belongs to
    /// somebody else, `INVALID_JSON` or `TOO_LARGE` for the data.
    pub fn join(&mut self, join: Join<'_>, writer: Writer, now_ms: u64, bounds: &Bounds) -> Result<Changed, Refusal> {
        check_id("user", join.user, false)?;
        check_id("conn", join.connection, false)?;
        check_id("node", join.node, false)?;
        check_wait("ttl_ms", join.ttl_ms)?;
        let known = self.people.connection(join.connection);
        if known.is_some_and(|c| *c.user != *join.user || *c.node != *join.node) {
            return Err(Refusal::argument("this connection is listed for another user or node"));
        }
        if known.is_none() && self.people.connections() >= bounds.connections_max {
            return Err(Refusal::new(
                Code::Full,
                format!("the room holds {} connections, its bound", bounds.connections_max),
            ));
        }
        let data = match join.data {
            Some(data) => checked_object("DATA", data, bounds)?,
            None => known.map_or("{}".to_owned(), |c| c.data.to_string()),
        };
        let private = match join.private {
            Some(private) => checked_object("PRIVATE", private, bounds)?,
            None => known.map_or(String::new(), |c| c.private.to_string()),
        };
        let first = self.people.person(join.user).is_none();
        let record = self.decide(
            Effect::Join {
                connection: join.connection.into(),
                user: join.user.into(),
                node: join.node.into(),
                at_ms: now_ms,
                lease_ends_ms: now_ms.saturating_add(join.ttl_ms),
                data,
                private,
            },
            writer,
            bounds,
        );
        Ok(Changed { record: Some(record), first, connections: self.connections_of(join.user) })
    }

    /// Changes the data of a connection by an RFC 7396 merge patch.
    pub fn patch(
        &mut self,
        connection: &str,
        patch: &[u8],
        writer: Writer,
        bounds: &Bounds,
    ) -> Result<Changed, Refusal> {
        let patch = checked_object("the patch", patch, bounds)?;
        let known = self.known(connection)?;
        let user = known.user.clone();
        let data = json::merge_patch(&known.data, &patch)?;
        let data = checked_object("the patched data", data.as_bytes(), bounds)?;
        let record = self.decide(Effect::Patch { connection: connection.into(), data }, writer, bounds);
        Ok(Changed { record: Some(record), first: false, connections: self.connections_of(&user) })
    }

    /// Extends the lease of a node. Answers 0 connections, and changes nothing, when the lease had ended: then
    /// the node joins its people again.
    pub fn beat(
        &mut self,
        node: &str,
        ttl_ms: u64,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Changed, Refusal> {
        check_id("node", node, false)?;
        check_wait("ttl_ms", ttl_ms)?;
        let Some(connections) = self.people.connections_of_node(node) else {
            return Ok(Changed { record: None, first: false, connections: 0 });
        };
        let effect = Effect::Beat { node: node.into(), lease_ends_ms: now_ms.saturating_add(ttl_ms) };
        let record = self.decide(effect, writer, bounds);
        Ok(Changed { record: Some(record), first: false, connections: connections as u64 })
    }

    /// Ends a connection. After a person's last one they leave: at once, or after `grace_ms` unless they return.
    pub fn leave(
        &mut self,
        connection: &str,
        grace_ms: u64,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Changed, Refusal> {
        if grace_ms > 0 {
            check_wait("GRACE", grace_ms)?;
        }
        let user = self.known(connection)?.user.clone();
        let leaves_at_ms = if grace_ms == 0 { 0 } else { now_ms.saturating_add(grace_ms) };
        let record = self.decide(Effect::Leave { connection: connection.into(), leaves_at_ms }, writer, bounds);
        if self.connections_of(&user) == 0 {
            self.typing.remove(&user);
        }
        Ok(Changed { record: Some(record), first: false, connections: self.connections_of(&user) })
    }

    /// Marks the person behind a connection as typing for `ms`, or as not typing with 0. Answers how many type.
    pub fn type_for(&mut self, connection: &str, ms: u64, now_ms: u64) -> Result<u64, Refusal> {
        if ms > TYPING_MS_MAX {
            return Err(Refusal::argument(format!("ms has to be 0 to {TYPING_MS_MAX}")));
        }
        let user = self.known(connection)?.user.clone();
        if ms == 0 {
            self.typing.remove(&user);
        } else {
            self.typing.insert(user, now_ms.saturating_add(ms));
        }
        Ok(self.typing.len() as u64)
    }

    /// Ends what is due by `now_ms`: leases, graces, typing marks. Hands out records, each a bounded step; call
    /// again while [`Presence::next_deadline`] is not in the future.
    pub fn due(&mut self, now_ms: u64, writer: Writer, bounds: &Bounds) -> Vec<Vec<u8>> {
        self.typing.retain(|_, ends_ms| *ends_ms > now_ms);
        let mut records = Vec::new();
        if let Some((node, connections)) = self.people.ended_lease(now_ms, ENDED_PER_STEP_MAX) {
            records.push(self.decide(Effect::EndLease { node, connections }, writer, bounds));
        }
        let users = self.people.ended_graces(now_ms, ENDED_PER_STEP_MAX);
        if !users.is_empty() {
            records.push(self.decide(Effect::EndGrace { users }, writer, bounds));
        }
        let people = &self.people;
        self.typing.retain(|user, _| people.person(user).is_some());
        records
    }

    /// The earliest time at which [`Presence::due`] has something to end.
    pub fn next_deadline(&self) -> Option<u64> {
        let typing = self.typing.values().min().copied();
        [self.people.next_deadline(), typing].into_iter().flatten().min()
    }

    /// How many people are here.
    pub fn count(&self) -> usize {
        self.people.count()
    }

    /// The newest revision.
    pub fn rev(&self) -> u64 {
        self.people.rev()
    }

    /// The position that people outside know: where the last announcement led to.
    pub fn position(&self) -> Position {
        Position { epoch: self.epochs.current(), rev: self.announced }
    }

    /// The epochs of this stream.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// See [`Epochs::detach`].
    pub fn detach(&mut self) {
        self.epochs.detach();
    }

    /// Bytes held on the heap, within a few per cent.
    pub fn heap_bytes(&self) -> usize {
        self.people.heap_bytes() + self.epochs.heap_bytes() + self.typing.len() * 64
    }

    /// What has to be done to free this, in allocations.
    pub fn free_effort(&self) -> usize {
        self.people.connections() + self.people.count()
    }

    /// Refuses with `NOT_FOUND` a connection that is not listed, or not as `user`'s: whoever asks learns no more.
    pub fn check_owner(&self, connection: &str, user: &str) -> Result<(), Refusal> {
        let stranger = || Refusal::new(Code::NotFound, "this connection of this user is not listed here; join first");
        self.people.connection(connection).filter(|known| &*known.user == user).map(drop).ok_or_else(stranger)
    }

    fn known(&self, connection: &str) -> Result<&people::Connection, Refusal> {
        self.people
            .connection(connection)
            .ok_or_else(|| Refusal::new(Code::NotFound, "this connection is not listed here; join first"))
    }

    fn connections_of(&self, user: &str) -> u64 {
        self.people.person(user).map_or(0, |p| u64::from(p.connections))
    }

    fn decide(&mut self, effect: Effect, writer: Writer, bounds: &Bounds) -> Vec<u8> {
        self.epochs.enter(self.people.rev(), writer);
        let record =
            Record { epoch: self.epochs.current(), writer: writer.replication_id, from: self.people.rev(), effect };
        let bytes = record.encode();
        self.people.enact(record.effect, bounds);
        bytes
    }
}

fn check_wait(what: &str, ms: u64) -> Result<(), Refusal> {
    if ms == 0 || ms > WAIT_MS_MAX {
        return Err(Refusal::argument(format!("{what} has to be 1 to {WAIT_MS_MAX} milliseconds")));
    }
    Ok(())
}

fn checked_object(what: &str, text: &[u8], bounds: &Bounds) -> Result<String, Refusal> {
    let text = json::checked(what, text, bounds.presence_bytes_max)?;
    if !text.starts_with('{') {
        return Err(Refusal::new(Code::InvalidJson, format!("{what} has to be a JSON object")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
