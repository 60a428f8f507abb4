//! Who is here: connections of a person counted, joins and departures told once each.
//!
//! A *connection* belongs to a person (user) and to a *node*, the front that holds its socket. A node keeps one
//! *lease* per room for all its connections; when the lease ends, so do they. A person is here while they have a
//! connection, and after the last one for its *grace*.
//!
//! What others see of a person follows from all of their connections: the data is that of the connection that changed
//! last; the status is `invisible` if any connection says so, else that of the connection that changed last among
//! those not `away`, else `away`. Others see nothing of who is invisible: hiding is told as leaving, showing oneself
//! as joining.
//!
//! The primary decides (`join`, `set`, `beat`, `leave`, `kick`, `due`) and hands out a record; everybody, the primary
//! too, changes state only by following that record ([`Presence::apply`]). So a replica cannot differ. Who is
//! typing, where people point and what was announced are the primary's alone and are not stored.

mod color;
mod cursors;
mod look;
mod memory;
mod people;
mod person;
mod record;
mod status;
mod stored;
mod told;

use crate::bounds::Bounds;
use crate::epoch::{Epochs, Position, Writer};
use crate::identity::check_id;
use crate::json;
use crate::refusal::{Code, Refusal};
use cursors::Cursors;
use people::{Arrival, People};
use record::{Effect, Record};
use status::Status;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use color::color;
pub use cursors::{CURSORS_MAX, CURSORS_TOLD_MAX};
pub use look::{CONNECTIONS_NAMED_MAX, ConnectionLook, Counts, Look};
pub use memory::KICKED_MAX;
pub use status::STATUS_BYTES_MAX;
pub use told::Snapshot;

/// Longest lease or grace, in milliseconds: a day.
pub const WAIT_MS_MAX: u64 = 24 * 3600 * 1000;
/// Longest typing mark, in milliseconds: who types says so again and again.
pub const TYPING_MS_MAX: u64 = 60 * 1000;
/// Connections that end in one step: bounds the work between two other commands.
pub const ENDED_PER_STEP_MAX: usize = 512;
/// People that an announcement of typing names: more do not fit a line.
pub const TYPING_NAMED_MAX: usize = 50;
/// Longest reason of a kick, in bytes: a sentence.
pub const REASON_BYTES_MAX: usize = 256;

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
    /// What it says; what is left out keeps what a known connection had.
    pub says: Says<'a>,
}

/// What a connection says of itself. In a join the objects are as given, later they are RFC 7396 merge patches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Says<'a> {
    /// A JSON object that everybody in the room sees.
    pub data: Option<&'a [u8]>,
    /// A JSON object that is stored and never announced.
    pub private: Option<&'a [u8]>,
    /// What its person is doing: 1 to 32 of `A-Z a-z 0-9 _ . -`.
    pub status: Option<&'a str>,
}

/// Who is kicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom<'a> {
    /// All connections of a user.
    User(&'a str),
    /// One connection.
    Connection(&'a str),
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The record to replicate; `None` if nothing changed.
    pub record: Option<Vec<u8>>,
    /// Whether this was the person's first connection.
    pub first: bool,
    /// Connections that the person, or for a beat the node, has now; for a kick those that ended.
    pub connections: u64,
}

/// The people of one room.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    epochs: Epochs,
    people: People,
    /// The revision that the last announcement led to.
    announced: u64,
    /// The newest revision that a list showed: whoever asked may know more than was announced.
    shown_rev: Cell<u64>,
    /// Whether a list showed who types before that was announced.
    shown_typing: Cell<bool>,
    /// User to the time at which the typing mark ends.
    typing: BTreeMap<Arc<str>, u64>,
    /// No typing mark ends earlier.
    typing_ends_ms: Option<u64>,
    typing_announced: Vec<Arc<str>>,
    cursors: Cursors,
}

impl Presence {
    /// Lists a connection. The same connection again replaces what it says and extends the lease.
    ///
    /// Refuses with `FULL` when the room holds its bound, `KICKED` when the connection was kicked, `INVALID_ARGUMENT`
    /// when it belongs to somebody else, `INVALID_JSON` or `TOO_LARGE` for what it says.
    pub fn join(&mut self, join: Join<'_>, writer: Writer, now_ms: u64, bounds: &Bounds) -> Result<Changed, Refusal> {
        let Join { user, connection, node, ttl_ms, says } = join;
        check_id("user", user, false)?;
        check_id("conn", connection, false)?;
        check_id("node", node, false)?;
        check_wait("ttl_ms", ttl_ms)?;
        let known = self.people.connection(connection);
        if known.is_some_and(|c| *c.user != *user || *c.node != *node) {
            return Err(Refusal::argument("this connection is listed for another user or node"));
        }
        if self.people.kicked.has(connection) {
            return Err(Refusal::new(Code::Kicked, "this connection was taken out of the room"));
        }
        if known.is_none() && self.people.connections.len() >= bounds.connections_max {
            return Err(Refusal::new(
                Code::Full,
                format!("the room holds {} connections, its bound", bounds.connections_max),
            ));
        }
        let status = says.status.map(Status::parse).transpose()?;
        let data = says.data.map(|data| checked_object("DATA", data, bounds)).transpose()?;
        let private = says.private.map(|private| checked_object("PRIVATE", private, bounds)).transpose()?;
        let first = self.people.person(user).is_none();
        let arrival = Arrival {
            connection,
            user,
            node,
            at_ms: now_ms,
            lease_ends_ms: now_ms.saturating_add(ttl_ms),
            status,
            data: data.as_deref(),
            private: private.as_deref(),
        };
        let may_hide = arrival.status == Some(Status::Invisible);
        let record = self.decide(Effect::Join(arrival), writer, bounds);
        if may_hide {
            self.quieten(Some(user));
        }
        Ok(Changed { record: Some(record), first, connections: self.connections_of(user) })
    }

    /// Changes what a connection says; its objects by RFC 7396 merge patches.
    pub fn set(
        &mut self,
        connection: &str,
        says: Says<'_>,
        writer: Writer,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Changed, Refusal> {
        let patched = |what: &str, known: &str, patch: &[u8]| {
            let patch = checked_object(what, patch, bounds)?;
            let known = if known.is_empty() { "{}" } else { known };
            checked_object(what, json::merge_patch(known, &patch)?.as_bytes(), bounds)
        };
        let known = self.known(connection)?;
        let user = known.user.clone();
        let status = says.status.map(Status::parse).transpose()?;
        let data = says.data.map(|patch| patched("the data", &known.data, patch)).transpose()?;
        let private = says.private.map(|patch| patched("PRIVATE", &known.private, patch)).transpose()?;
        if status.is_none() && data.is_none() && private.is_none() {
            return Err(Refusal::argument("nothing is given that could be set"));
        }
        let may_hide = status == Some(Status::Invisible);
        let effect =
            Effect::Set { connection, at_ms: now_ms, status, data: data.as_deref(), private: private.as_deref() };
        let record = self.decide(effect, writer, bounds);
        if may_hide {
            self.quieten(Some(&user));
        }
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
        let effect = Effect::Beat { node, lease_ends_ms: now_ms.saturating_add(ttl_ms) };
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
        let record = self.decide(Effect::Leave { connection, at_ms: now_ms, leaves_at_ms }, writer, bounds);
        self.quieten(Some(&user));
        Ok(Changed { record: Some(record), first: false, connections: self.connections_of(&user) })
    }

    /// Takes connections off the list at once, without a grace, and refuses them from now on: a connection whether it
    /// is listed or not, of a user the [`KICKED_MAX`] that changed last. Answers how many were listed.
    pub fn kick(&mut self, whom: Whom<'_>, writer: Writer, now_ms: u64, bounds: &Bounds) -> Result<Changed, Refusal> {
        let (user, ids): (Arc<str>, Vec<Arc<str>>) = match whom {
            Whom::User(user) => {
                check_id("user", user, false)?;
                let held = self.people.person(user).into_iter().flat_map(|person| person.held());
                (user.into(), held.take(KICKED_MAX).map(|held| held.id.clone()).collect())
            }
            Whom::Connection(connection) => {
                check_id("conn", connection, false)?;
                (Arc::default(), vec![connection.into()])
            }
        };
        let listed = ids.iter().filter(|id| self.people.connection(id).is_some()).count() as u64;
        if ids.is_empty() && self.people.person(&user).is_none() {
            return Ok(Changed { record: None, first: false, connections: 0 });
        }
        let connections = ids.iter().map(|id| &**id).collect();
        let record = self.decide(Effect::Kick { user: &user, connections, at_ms: now_ms }, writer, bounds);
        self.quieten(None);
        Ok(Changed { record: Some(record), first: false, connections: listed })
    }

    /// Marks the person behind a connection as typing for `ms`, or as not typing with 0. Answers how many type.
    /// Of who is invisible nothing is remembered.
    pub fn type_for(&mut self, connection: &str, ms: u64, now_ms: u64) -> Result<u64, Refusal> {
        if ms > TYPING_MS_MAX {
            return Err(Refusal::argument(format!("ms has to be 0 to {TYPING_MS_MAX}")));
        }
        let user = self.known(connection)?.user.clone();
        if ms == 0 {
            self.typing.remove(&user);
        } else if self.people.is_visible(&user) {
            let ends_ms = now_ms.saturating_add(ms);
            self.typing_ends_ms = Some(self.typing_ends_ms.map_or(ends_ms, |known| known.min(ends_ms)));
            self.typing.insert(user, ends_ms);
        }
        Ok(self.typing.len() as u64)
    }

    /// Ends what is due by `now_ms`: leases, graces, typing marks, cursors. Hands out records, each a bounded step;
    /// call again while [`Presence::next_deadline`] is not in the future.
    pub fn due(&mut self, now_ms: u64, writer: Writer, bounds: &Bounds) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        if let Some((node, connections)) = self.people.ended_lease(now_ms, ENDED_PER_STEP_MAX) {
            let connections = connections.iter().map(|id| &**id).collect();
            records.push(self.decide(Effect::EndLease { node: &node, connections }, writer, bounds));
        }
        let users = self.people.ended_graces(now_ms, ENDED_PER_STEP_MAX);
        if !users.is_empty() {
            let users = users.iter().map(|user| &**user).collect();
            records.push(self.decide(Effect::EndGrace { users }, writer, bounds));
        }
        if !records.is_empty() {
            self.quieten(None);
        }
        if self.typing_ends_ms.is_some_and(|at| at <= now_ms) {
            self.typing.retain(|_, ends_ms| *ends_ms > now_ms);
            self.typing_ends_ms = self.typing.values().min().copied();
        }
        self.cursors.end_old(now_ms);
        records
    }

    /// The earliest time at which [`Presence::due`] may have something to end.
    pub fn next_deadline(&self) -> Option<u64> {
        let passing = [self.typing_ends_ms, self.cursors.next_end_ms()];
        self.people.next_deadline().into_iter().chain(passing.into_iter().flatten()).min()
    }

    /// Whether [`Presence::due`] may have something to end.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.next_deadline().is_some_and(|at| at <= now_ms)
    }

    /// Whether that is stored: a lease or a grace, rather than a typing mark or a cursor.
    pub fn is_stored_due(&self, now_ms: u64) -> bool {
        self.people.next_deadline().is_some_and(|at| at <= now_ms)
    }

    /// How many people others can see.
    pub fn count(&self) -> usize {
        self.people.count()
    }

    /// The newest revision.
    pub fn rev(&self) -> u64 {
        self.people.rev
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
        self.people.heap_bytes() + self.epochs.heap_bytes() + self.typing.len() * 64 + self.cursors.heap_bytes()
    }

    /// What has to be done to free this, in allocations.
    pub fn free_effort(&self) -> usize {
        self.people.connections.len() + self.people.people.len() + self.people.seen.len()
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
        self.people.person(user).map_or(0, |person| person.connections() as u64)
    }

    /// Ends what only somebody who is seen does: typing, and pointing. Of one user, or of everybody.
    fn quieten(&mut self, user: Option<&str>) {
        let people = &self.people;
        let is_silent =
            |user: &str| people.person(user).is_none_or(|person| person.is_invisible() || person.connections() == 0);
        match user {
            Some(user) if is_silent(user) => _ = self.typing.remove(user),
            Some(_) => {}
            None => self.typing.retain(|user, _| !is_silent(user)),
        }
        self.end_cursors_of_the_gone(user);
    }

    /// Forgets, as one who follows, what only the primary knows.
    fn forget_the_passing(&mut self) {
        self.typing.clear();
        self.typing_ends_ms = None;
        self.cursors.end_all();
    }

    fn decide(&mut self, effect: Effect<'_>, writer: Writer, bounds: &Bounds) -> Vec<u8> {
        let People { rev, steps, .. } = self.people;
        self.epochs.enter(rev, writer);
        let record = Record { epoch: self.epochs.current(), writer: writer.replication_id, from: rev, steps, effect };
        let bytes = record.encode();
        self.people.enact(&record.effect, bounds);
        bytes
    }
}

/// Checks a reason that people are told: up to 256 bytes without control characters.
pub fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(Refusal::argument(format!("a reason has at most {REASON_BYTES_MAX} bytes, no control characters")));
    }
    Ok(())
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
