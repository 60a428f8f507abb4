//! What one room does with events: the rules of delivery, without I/O.
//!
//! Promises kept here: every member gets the durable events of a stream in order, each once, without holes, starting
//! after what it was answered when it joined; or it is told to take a snapshot. `step` takes what happened and
//! returns what to do.
//!
//! Two places know a position. The *room* has one per stream: that of the last event that it let through. A *member*
//! has its own only while it joins, or while the answer to its join was ahead of the room (its floor).

mod joining;
mod position;
mod repair;
#[cfg(test)]
mod tests;

use super::members::Members;
use crate::conn::Event;
use crate::frame::FrameError;
use crate::module_api::Opened;
use crate::names;
use position::{At, Fit};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use stoa_core::epoch::Position;
use stoa_core::event::{Kind, To};

/// Events held back per stream or per joining member, in number: a burst, not a backlog.
pub const HELD_EVENTS_MAX: usize = 1024;
/// Events held back per stream or per joining member, in bytes.
pub const HELD_BYTES_MAX: usize = 1024 * 1024;
/// How often a member's position is asked for again before it is sent away to resume later.
const ATTEMPTS_MAX: u32 = 8;

/// Names a member within the front.
pub type MemberId = u64;
/// Names a question to Redis, so that answers to old ones are told apart.
pub type Ticket = u64;
/// Streams with what is known of them.
pub type Ask = Vec<(Arc<str>, Option<Position>)>;

/// What happened.
#[derive(Debug)]
#[allow(missing_docs)] // The types of the fields say what they are.
pub enum Input {
    /// Redis confirmed the subscription, for the first time or again.
    Subscribed,
    /// The subscription is gone.
    Unsubscribed,
    /// Events may have been lost.
    Lagged,
    /// An event arrived.
    Event(Arc<Event>),
    /// The module announced where its streams are.
    Heads(Vec<(String, Position)>),
    /// Somebody joins, or opens further streams.
    Join { member: MemberId, connection: Arc<str>, user: Arc<str>, streams: Ask },
    /// The answer to [`Output::Open`].
    Opened { ticket: Ticket, member: MemberId, answer: Result<Vec<Arc<Opened>>, FrameError> },
    /// The member has its answer queued: from here on it gets events.
    Live { member: MemberId },
    /// A member no longer wants a stream.
    Close { member: MemberId, stream: String },
    /// A member is gone.
    Part { member: MemberId },
    /// A member was taken out of the room; the event is what it is told.
    Kicked { member: MemberId, event: Arc<Event> },
    /// The answer to [`Output::Fetch`].
    Fetched { ticket: Ticket, stream: Arc<str>, answer: Result<Arc<Opened>, FrameError> },
}

/// What to do.
#[derive(Debug)]
#[allow(missing_docs)] // The types of the fields say what they are.
pub enum Output {
    /// Ask Redis for these streams on behalf of a member. `again`: nobody waits for it, so try until it works.
    Open { ticket: Ticket, member: MemberId, ask: Ask, again: bool },
    /// Answer whoever asked to join.
    Answer { member: MemberId, answer: Result<Vec<Arc<Opened>>, FrameError> },
    /// Ask Redis for what came after a position. `calm`: nothing is known to be missing, so it may wait a little.
    Fetch { ticket: Ticket, stream: Arc<str>, position: Option<Position>, calm: bool },
    /// Pass an event on.
    Deliver { to: Vec<MemberId>, event: Arc<Event> },
    /// Tell members to take this snapshot.
    Resync { to: Vec<MemberId>, opened: Arc<Opened> },
    /// Tell members that a stream is gone.
    Reset { to: Vec<MemberId>, stream: Arc<str> },
    /// Tell a member that it is out of the room. It is none any more.
    Evict { member: MemberId, event: Arc<Event> },
    /// Close a member's connection: it comes back and resumes.
    Resume { member: MemberId },
}

#[derive(Debug)]
struct Stream {
    at: At,
    held: VecDeque<Arc<Event>>,
    held_bytes: usize,
    /// The question that is under way, and how many of the held events it covers.
    fetching: Option<(Ticket, usize)>,
    /// Ask once more after the answer.
    again: bool,
}

#[derive(Debug)]
struct Member {
    connection: Arc<str>,
    user: Arc<str>,
    open: Names,
    floors: BTreeMap<Arc<str>, At>,
    /// In a box: most members are not joining.
    joining: Option<Box<Joining>>,
}

/// The few streams that a member has open, in the order in which it opened them.
#[derive(Debug, Default)]
struct Names(Vec<Arc<str>>);

impl Names {
    fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|known| **known == *name)
    }

    /// Returns whether it is new.
    fn insert(&mut self, name: &Arc<str>) -> bool {
        let is_new = !self.contains(name);
        if is_new {
            // Most members open what they open at once.
            self.0.reserve_exact(1);
            self.0.push(name.clone());
        }
        is_new
    }

    fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0.iter().find(|known| ***known == *name)
    }
}

#[derive(Debug)]
struct Joining {
    ticket: Ticket,
    ask: Ask,
    stage: Stage,
    /// The member was not here before: it is gone again if the join fails.
    newcomer: bool,
    /// Where the member stands in each of its streams; it gets the buffer from there.
    at: BTreeMap<Arc<str>, At>,
    /// Streams that are new to it: gone again if the join fails.
    fresh: Vec<Arc<str>>,
    buffer: Vec<Arc<Event>>,
    buffer_bytes: usize,
    /// The buffer is not complete: ask again for everything.
    torn: bool,
    /// The member was taken out of the room in the meantime: it leaves once it has its answer.
    kicked: Option<Arc<Event>>,
    attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The subscription is not confirmed yet.
    Subscribing,
    /// Redis was asked; somebody waits for the answer.
    Asked,
    /// The answer is on its way to the member.
    Answered,
    /// Redis was asked again, on our own account.
    AskedAgain,
}

/// One room of this front.
#[derive(Debug, Default)]
pub struct RoomState {
    subscribed: bool,
    /// In boxes: who leaves a large room moves all that came later.
    members: Members<Box<Member>>,
    /// In boxes: a room has one or two, and a tree makes room for eleven.
    streams: BTreeMap<Arc<str>, Box<Stream>>,
    tickets: Ticket,
}

impl RoomState {
    /// Takes what happened, appends what to do.
    pub fn step(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Subscribed => self.subscribed(out),
            Input::Unsubscribed => self.subscribed = false,
            Input::Lagged => self.repair_everything(out),
            Input::Event(event) => self.event(event, out),
            Input::Heads(heads) => self.heads(heads, out),
            Input::Join { member, connection, user, streams } => self.join(member, connection, user, streams, out),
            Input::Opened { ticket, member, answer } => self.opened(ticket, member, answer, out),
            Input::Live { member } => self.live(member, out),
            Input::Close { member, stream } => self.close(member, &stream),
            Input::Part { member } => self.part(member),
            Input::Kicked { member, event } => self.evict(member, event, out),
            Input::Fetched { ticket, stream, answer } => self.fetched(ticket, &stream, answer, out),
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether a member is here, or about to be.
    pub fn has(&self, member: MemberId) -> bool {
        self.members.contains(member)
    }

    /// Whether a member has its answer, so that it gets events.
    pub fn is_live(&self, member: MemberId) -> bool {
        let joining = self.members.get(member).map(|member| &member.joining);
        joining.is_some_and(|joining| joining.as_ref().is_none_or(|joining| joining.stage == Stage::AskedAgain))
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    fn subscribed(&mut self, out: &mut Vec<Output>) {
        self.subscribed = true;
        self.repair_everything(out);
        for (id, member) in self.members.iter_mut() {
            if let Some(joining) = member.joining.as_mut().filter(|joining| joining.stage == Stage::Subscribing) {
                joining.begin(id, out);
            }
        }
    }

    fn event(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        match event.header.kind {
            Kind::Ephemeral => self.pass_on(event, out),
            Kind::Kick => self.kick(event, out),
            Kind::Reset => self.reset(event, out),
            Kind::Durable => self.durable(event, out),
            Kind::Heads => {}
        }
    }

    /// A stream is gone, or with an empty name all of the room.
    fn reset(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        let gone = event.header.stream.as_str();
        self.streams.retain(|name, _| !is_reset_by(name, gone));
        self.pass_on(event.clone(), out);
        for member in self.members.iter_mut().map(|(_, member)| member).filter(|member| member.joining.is_none()) {
            member.reset(gone);
        }
    }

    fn durable(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        let Some((name, stream)) = self.streams.get_key_value(event.header.stream.as_str()) else {
            // Nobody opened it. That a document was made is news all the same.
            if event.header.rev == 0 && names::is_document(&event.header.stream) {
                self.announce(event, out);
            }
            return;
        };
        let name = name.clone();
        match stream.at.fit(&event) {
            Fit::Known => {}
            // While Redis is asked the answer comes first: it may reach beyond this event.
            Fit::Next if stream.fetching.is_none() => self.advance(&name, event, out),
            Fit::Next | Fit::Gap => self.hold(&name, event, out),
        }
    }

    /// Lets the next event of a stream through.
    fn advance(&mut self, name: &Arc<str>, event: Arc<Event>, out: &mut Vec<Output>) {
        self.redo_members_it_does_not_fit(name, &event, out);
        if let Some(stream) = self.streams.get_mut(name) {
            stream.at = At::Position(event.header.position());
        }
        self.pass_on(event, out);
    }

    /// A floor that the event neither continues nor lies under is from another history: ask for that member.
    fn redo_members_it_does_not_fit(&mut self, name: &Arc<str>, event: &Event, out: &mut Vec<Output>) {
        let unfit = |member: &Member| member.floors.get(name).is_some_and(|floor| floor.fit(event) == Fit::Gap);
        let unfit: Vec<MemberId> =
            self.members.iter().filter(|(_, m)| m.joining.is_none() && unfit(m)).map(|(id, _)| id).collect();
        for id in unfit {
            self.redo(id, name, out);
        }
    }

    /// Gives an event to everybody whom it concerns.
    fn pass_on(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        let mut to = Vec::with_capacity(self.members.len());
        for (id, member) in self.members.iter_mut() {
            if !member.wants(&event) {
                continue;
            }
            if let Some(joining) = &mut member.joining {
                joining.keep(&event);
            } else if member.passes_floor(&event) {
                to.push(id);
            }
        }
        if !to.is_empty() {
            out.push(Output::Deliver { to, event });
        }
    }

    /// Whom the event is addressed to has to go.
    fn kick(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        let addressed = self.members.iter().filter(|(_, member)| member.wants(&event));
        for id in addressed.map(|(id, _)| id).collect::<Vec<_>>() {
            self.evict(id, event.clone(), out);
        }
    }

    fn evict(&mut self, id: MemberId, event: Arc<Event>, out: &mut Vec<Output>) {
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(joining) = member.joining.as_mut().filter(|joining| joining.stage != Stage::AskedAgain) {
            // Whoever asked hears first that it is in, or it would think so afterwards.
            joining.kicked = Some(event);
            return;
        }
        out.push(Output::Evict { member: id, event });
        self.part(id);
    }

    /// Gives an event to everybody who opened anything, whether or not they opened this stream.
    fn announce(&self, event: Arc<Event>, out: &mut Vec<Output>) {
        let joined = |m: &Member| !m.open.0.is_empty() && m.joining.is_none();
        let to: Vec<MemberId> = self.members.iter().filter(|(_, m)| joined(m)).map(|(id, _)| id).collect();
        if !to.is_empty() {
            out.push(Output::Deliver { to, event });
        }
    }

    fn close(&mut self, id: MemberId, stream: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.forget(stream);
        }
        self.prune();
    }

    fn part(&mut self, id: MemberId) {
        self.members.remove(id);
        self.prune();
    }

    /// Drops what is known of streams that nobody wants.
    fn prune(&mut self) {
        let members = &self.members;
        self.streams.retain(|name, _| members.iter().any(|(_, member)| member.open.contains(name)));
    }
}

impl Member {
    fn wants(&self, event: &Event) -> bool {
        let header = &event.header;
        if header.skip_origin && *self.connection == *header.origin {
            return false;
        }
        let addressed = match &header.to {
            To::Room => true,
            To::User(user) => *self.user == **user,
            To::Connection(connection) => *self.connection == **connection,
        };
        addressed && (header.stream.is_empty() || self.open.contains(&header.stream))
    }

    /// Whether an event is new to a member whose join was answered with more than the room had then.
    fn passes_floor(&mut self, event: &Event) -> bool {
        if event.header.kind != Kind::Durable {
            return true;
        }
        match self.floors.get(event.header.stream.as_str()).map(|floor| floor.fit(event)) {
            None => true,
            Some(Fit::Known) => false,
            Some(Fit::Next | Fit::Gap) => {
                self.floors.remove(event.header.stream.as_str());
                true
            }
        }
    }

    /// What a reset of `gone` leaves of the member's streams.
    fn reset(&mut self, gone: &str) {
        self.open.0.retain(|name| !is_reset_by(name, gone));
        self.floors.retain(|name, _| !is_reset_by(name, gone));
    }

    fn forget(&mut self, stream: &str) {
        self.open.0.retain(|name| **name != *stream);
        self.floors.remove(stream);
        if let Some(joining) = &mut self.joining {
            joining.at.remove(stream);
        }
    }
}

/// Whether a reset of `gone` ends the stream: a reset without a name ends all (the database was flushed).
fn is_reset_by(stream: &str, gone: &str) -> bool {
    gone.is_empty() || stream == gone
}
