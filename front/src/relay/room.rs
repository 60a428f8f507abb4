//! What one room does with events: the rules of delivery, without I/O.
//!
//! Promises kept here: every member gets the durable events of a stream in order, each once, without holes, starting
//! after what it was answered when it joined; or it is told to take a snapshot. `step` takes what happened and
//! returns what to do.
//!
//! Two places know a position. The *room* has one per stream: that of the last event that it let through. A *member*
//! has its own only while it joins, or while the answer to its join was ahead of the room (its floor).

use super::event::Event;
use crate::frame::FrameError;
use crate::module_api::{Opened, Outcome};
use crate::names;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use stoa_core::epoch::{Epoch, Position};
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
    /// Close a member's connection: it comes back and resumes.
    Kick { member: MemberId },
}

/// Where somebody stands in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nobody has said yet: the next event says it.
    Unknown,
    /// There was no such stream.
    Missing,
    /// After this revision.
    Position(Position),
}

/// What an event is to somebody at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Next,
    Known,
    Gap,
}

impl At {
    fn of(opened: &Opened) -> At {
        if matches!(opened.outcome, Outcome::Missing) { At::Missing } else { At::Position(opened.position) }
    }

    fn position(self) -> Option<Position> {
        if let At::Position(position) = self { Some(position) } else { None }
    }

    fn fit(self, event: &Event) -> Fit {
        let header = &event.header;
        match self {
            At::Unknown => Fit::Next,
            // A document begins with revision 0.
            At::Missing if header.rev == 0 => Fit::Next,
            At::Missing => Fit::Gap,
            // A stream that nobody has written to yet has no epoch.
            At::Position(at) if at.epoch == Epoch::default() && at.rev == 0 && header.from == 0 => Fit::Next,
            At::Position(at) if at.epoch == header.epoch && header.rev <= at.rev => Fit::Known,
            At::Position(at) if at.epoch == header.epoch && header.from == at.rev => Fit::Next,
            At::Position(_) => Fit::Gap,
        }
    }

    /// Whether somebody here has certainly seen less than somebody at `other`.
    fn is_behind(self, other: At) -> bool {
        match (self, other) {
            (At::Position(a), At::Position(b)) if a.epoch == b.epoch => a.rev < b.rev,
            (At::Position(a), At::Position(b)) => a.epoch.number <= b.epoch.number,
            (At::Missing, At::Position(_)) => true,
            _ => false,
        }
    }
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
    open: BTreeSet<Arc<str>>,
    floors: BTreeMap<Arc<str>, At>,
    joining: Option<Joining>,
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
    members: HashMap<MemberId, Member>,
    streams: BTreeMap<Arc<str>, Stream>,
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
            Input::Fetched { ticket, stream, answer } => self.fetched(ticket, &stream, answer, out),
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
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
        for (id, member) in &mut self.members {
            if let Some(joining) = member.joining.as_mut().filter(|joining| joining.stage == Stage::Subscribing) {
                joining.begin(*id, out);
            }
        }
    }

    /// Something may be missing in every stream.
    fn repair_everything(&mut self, out: &mut Vec<Output>) {
        let known = self.streams.iter().filter(|(_, stream)| stream.at != At::Unknown);
        let names: Vec<Arc<str>> = known.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.fetch(&name, true, out);
        }
        for joining in self.members.values_mut().filter_map(|member| member.joining.as_mut()) {
            joining.torn |= joining.stage != Stage::Subscribing;
        }
    }

    fn heads(&mut self, heads: Vec<(String, Position)>, out: &mut Vec<Output>) {
        for (name, head) in heads {
            let Some((name, stream)) = self.streams.get_key_value(name.as_str()) else { continue };
            let behind = match stream.at {
                At::Unknown => false,
                At::Missing => true,
                At::Position(at) => at.epoch != head.epoch || at.rev < head.rev,
            };
            if behind && stream.fetching.is_none() {
                let name = name.clone();
                self.fetch(&name, false, out);
            }
        }
    }

    /// Asks for what the room misses of a stream. One question at a time: a second one waits for the first.
    fn fetch(&mut self, name: &Arc<str>, calm: bool, out: &mut Vec<Output>) {
        let ticket = self.ticket();
        let Some(stream) = self.streams.get_mut(name) else { return };
        if stream.fetching.is_some() {
            stream.again = true;
            return;
        }
        stream.fetching = Some((ticket, stream.held.len()));
        stream.again = false;
        out.push(Output::Fetch { ticket, stream: name.clone(), position: stream.at.position(), calm });
    }

    fn event(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        match event.header.kind {
            Kind::Ephemeral => self.pass_on(event, out),
            Kind::Reset => self.reset(event, out),
            Kind::Durable => self.durable(event, out),
            Kind::Heads => {}
        }
    }

    fn reset(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        self.streams.remove(event.header.stream.as_str());
        self.pass_on(event.clone(), out);
        for member in self.members.values_mut().filter(|member| member.joining.is_none()) {
            member.forget(&event.header.stream);
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

    fn hold(&mut self, name: &Arc<str>, event: Arc<Event>, out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        stream.held_bytes += event.frame.len();
        stream.held.push_back(event);
        if stream.held.len() > HELD_EVENTS_MAX || stream.held_bytes > HELD_BYTES_MAX {
            stream.held.clear();
            stream.held_bytes = 0;
            stream.again = true;
            stream.fetching = stream.fetching.map(|(ticket, _)| (ticket, 0));
        }
        if stream.fetching.is_none() {
            self.fetch(name, false, out);
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
            self.members.iter().filter(|(_, m)| m.joining.is_none() && unfit(m)).map(|(id, _)| *id).collect();
        for id in unfit {
            self.redo(id, name, out);
        }
    }

    /// Gives an event to everybody whom it concerns.
    fn pass_on(&mut self, event: Arc<Event>, out: &mut Vec<Output>) {
        let mut to = Vec::with_capacity(self.members.len());
        for (id, member) in &mut self.members {
            if !member.wants(&event) {
                continue;
            }
            if let Some(joining) = &mut member.joining {
                joining.keep(&event);
            } else if member.passes_floor(&event) {
                to.push(*id);
            }
        }
        if !to.is_empty() {
            out.push(Output::Deliver { to, event });
        }
    }

    /// Gives an event to everybody who opened anything, whether or not they opened this stream.
    fn announce(&self, event: Arc<Event>, out: &mut Vec<Output>) {
        let joined = |m: &&Member| !m.open.is_empty() && m.joining.is_none();
        let to: Vec<MemberId> = self.members.iter().filter(|(_, m)| joined(m)).map(|(id, _)| *id).collect();
        if !to.is_empty() {
            out.push(Output::Deliver { to, event });
        }
    }

    fn close(&mut self, id: MemberId, stream: &str) {
        if let Some(member) = self.members.get_mut(&id) {
            member.forget(stream);
        }
        self.prune();
    }

    fn part(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.prune();
    }

    /// Drops what is known of streams that nobody wants.
    fn prune(&mut self) {
        let members = &self.members;
        self.streams.retain(|name, _| members.values().any(|member| member.open.contains(name)));
    }

    fn fetched(
        &mut self,
        ticket: Ticket,
        name: &Arc<str>,
        answer: Result<Arc<Opened>, FrameError>,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some((_, covered)) = stream.fetching.filter(|(under_way, _)| *under_way == ticket) else { return };
        stream.fetching = None;
        // What was held when Redis was asked is part of the answer, or of a history that is no more.
        stream.held.drain(..covered.min(stream.held.len()));
        stream.held_bytes = stream.held.iter().map(|event| event.frame.len()).sum();
        let again = std::mem::take(&mut stream.again);
        let at = stream.at;
        match answer {
            Ok(opened) => match &opened.outcome {
                Outcome::Changes { .. } => self.catch_up(name, at, &opened, out),
                Outcome::Snapshot { .. } => self.resync(name, &opened, out),
                Outcome::Missing => return self.gone(name, out),
            },
            Err(_) => return self.gone(name, out),
        }
        self.release(name, again, out);
    }

    fn catch_up(&mut self, name: &Arc<str>, at: At, opened: &Opened, out: &mut Vec<Output>) {
        for event in Event::missed(opened, at.position().map_or(0, |position| position.rev)) {
            self.advance(name, Arc::new(event), out);
        }
        if let Some(stream) = self.streams.get_mut(name) {
            stream.at = At::Position(opened.position);
        }
    }

    fn resync(&mut self, name: &Arc<str>, opened: &Arc<Opened>, out: &mut Vec<Output>) {
        let new = At::Position(opened.position);
        let mut to = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.open.contains(name)) {
            if let Some(joining) = &mut member.joining {
                joining.torn = true;
                continue;
            }
            let floor = member.floors.remove(name);
            match floor {
                Some(floor) if floor == new => {}
                Some(floor) if new.is_behind(floor) => {
                    member.floors.insert(name.clone(), floor);
                }
                _ => to.push(*id),
            }
        }
        if let Some(stream) = self.streams.get_mut(name) {
            stream.at = new;
        }
        if !to.is_empty() {
            out.push(Output::Resync { to, opened: opened.clone() });
        }
    }

    /// Delivers what was held back, as far as it is contiguous, and asks again for the rest.
    fn release(&mut self, name: &Arc<str>, mut again: bool, out: &mut Vec<Output>) {
        while let Some(stream) = self.streams.get_mut(name) {
            let Some(event) = stream.held.front().cloned() else { break };
            let fit = stream.at.fit(&event);
            if fit == Fit::Gap {
                again = true;
                break;
            }
            stream.held.pop_front();
            stream.held_bytes -= event.frame.len();
            if fit == Fit::Next {
                self.advance(name, event, out);
            }
        }
        if again {
            self.fetch(name, false, out);
        }
    }

    /// A stream that is no more.
    fn gone(&mut self, name: &Arc<str>, out: &mut Vec<Output>) {
        self.streams.remove(name);
        let mut to = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.open.contains(name)) {
            match &mut member.joining {
                Some(joining) => joining.torn = true,
                None => {
                    member.forget(name);
                    to.push(*id);
                }
            }
        }
        if !to.is_empty() {
            out.push(Output::Reset { to, stream: name.clone() });
        }
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
        addressed && (header.stream.is_empty() || self.open.contains(header.stream.as_str()))
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

    fn forget(&mut self, stream: &str) {
        self.open.remove(stream);
        self.floors.remove(stream);
        if let Some(joining) = &mut self.joining {
            joining.at.remove(stream);
        }
    }
}

#[path = "joining.rs"]
mod joining;

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
