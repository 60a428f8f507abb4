//! How a member comes in: subscribe, buffer, ask, answer, replay, live. And how one is brought back in step.

use super::{
    ATTEMPTS_MAX, Ask, At, Fit, HELD_BYTES_MAX, HELD_EVENTS_MAX, Joining, Member, MemberId, Names, Output, RoomState,
    Stage, Stream, Ticket, is_reset_by,
};
use crate::conn::Event;
use crate::frame::FrameError;
use crate::module_api::{Opened, Outcome};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use stoa_core::event::Kind;

impl RoomState {
    pub(super) fn join(&mut self, id: MemberId, connection: Arc<str>, user: Arc<str>, ask: Ask, out: &mut Vec<Output>) {
        let newcomer = !self.members.contains(id);
        if newcomer {
            self.members.insert(id, Box::new(Member::new(connection, user)));
        }
        let mut joining = self.joining(id);
        let Some(member) = self.members.get_mut(id) else { return };
        joining.newcomer = newcomer;
        for (name, _) in &ask {
            let stream = self.streams.entry(name.clone());
            // The room's own name, so that a thousand members share it.
            if member.open.insert(stream.key()) {
                joining.fresh.push(stream.key().clone());
            }
            stream.or_insert_with(Stream::unknown);
        }
        joining.ask = ask;
        if self.subscribed {
            joining.begin(id, out);
        }
        member.joining = Some(Box::new(joining));
    }

    /// Starts to buffer for a member, from where it stands now.
    fn joining(&mut self, id: MemberId) -> Joining {
        let mut joining = Joining::new(self.ticket());
        let Some(member) = self.members.get_mut(id) else { return joining };
        if let Some(before) = member.joining.take() {
            // It was being brought in step when it asked for more: start over from what it certainly has.
            joining.at = before.at;
            joining.kicked = before.kicked;
            joining.torn = true;
            return joining;
        }
        for name in &member.open.0 {
            let at = member.floors.remove(name).or_else(|| self.streams.get(name).map(|stream| stream.at));
            joining.at.insert(name.clone(), at.unwrap_or(At::Unknown));
        }
        joining
    }

    /// Asks again for one stream of a member that is live.
    pub(super) fn redo(&mut self, id: MemberId, name: &Arc<str>, out: &mut Vec<Output>) {
        let joining = self.joining(id);
        let Some(member) = self.members.get_mut(id) else { return };
        member.joining = Some(Box::new(joining));
        self.ask_again(id, BTreeSet::from([name.clone()]), out);
    }

    pub(super) fn opened(
        &mut self,
        ticket: Ticket,
        id: MemberId,
        answer: Result<Vec<Arc<Opened>>, FrameError>,
        out: &mut Vec<Output>,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(joining) = member.joining.as_mut().filter(|joining| joining.ticket == ticket) else { return };
        match (joining.stage, answer) {
            (Stage::Asked, Ok(parts)) => {
                for part in &parts {
                    joining.at.insert(part.stream.as_str().into(), At::of(part));
                }
                joining.stage = Stage::Answered;
                out.push(Output::Answer { member: id, answer: Ok(parts) });
            }
            (Stage::Asked, Err(error)) => self.not_opened(id, error, out),
            (Stage::AskedAgain, Ok(parts)) => self.opened_again(id, parts, out),
            (Stage::AskedAgain, Err(_)) => out.push(Output::Resume { member: id }),
            (Stage::Subscribing | Stage::Answered, _) => {}
        }
    }

    /// A join that failed leaves everything as it was before.
    fn not_opened(&mut self, id: MemberId, error: FrameError, out: &mut Vec<Output>) {
        out.push(Output::Answer { member: id, answer: Err(error) });
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(joining) = &mut member.joining else { return };
        let (newcomer, fresh) = (joining.newcomer, std::mem::take(&mut joining.fresh));
        for name in fresh {
            member.forget(&name);
        }
        if newcomer {
            self.members.remove(id);
        } else {
            self.settle(id, out);
        }
        self.prune();
    }

    fn opened_again(&mut self, id: MemberId, parts: Vec<Arc<Opened>>, out: &mut Vec<Output>) {
        let Some(member) = self.members.get_mut(id) else { return };
        for part in parts {
            let Some(joining) = &mut member.joining else { return };
            let name: Arc<str> = part.stream.as_str().into();
            let before = joining.at.insert(name.clone(), At::of(&part)).and_then(At::position);
            match &part.outcome {
                Outcome::Changes { .. } => {
                    let missed = Event::missed(&part, before.map_or(0, |position| position.rev));
                    out.extend(missed.map(|event| Output::Deliver { to: vec![id], event: Arc::new(event) }));
                }
                Outcome::Snapshot { .. } => out.push(Output::Resync { to: vec![id], opened: part }),
                Outcome::Missing => {
                    member.forget(&name);
                    out.push(Output::Reset { to: vec![id], stream: name });
                }
            }
        }
        self.settle(id, out);
    }

    pub(super) fn live(&mut self, id: MemberId, out: &mut Vec<Output>) {
        let joining = self.members.get(id).and_then(|member| member.joining.as_ref());
        if joining.is_some_and(|joining| joining.stage == Stage::Answered) {
            self.settle(id, out);
        }
    }

    /// Gives a member what was buffered. It is live then, unless that left a hole.
    fn settle(&mut self, id: MemberId, out: &mut Vec<Output>) {
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(mut joining) = member.joining.take() else { return };
        if let Some(event) = joining.kicked.take() {
            return self.evict(id, event, out);
        }
        let mut holes = joining.replay(id, member, out);
        for name in &member.open.0 {
            let at = joining.at.get(name).copied().unwrap_or(At::Unknown);
            let stream = self.streams.entry(name.clone()).or_insert_with(Stream::unknown);
            if holes.contains(name) || at == stream.at {
                continue;
            }
            if stream.at == At::Unknown {
                stream.at = at;
            } else if at.is_behind(stream.at) {
                holes.insert(name.clone());
            } else {
                member.floors.insert(name.clone(), at);
            }
        }
        if !holes.is_empty() {
            member.joining = Some(joining);
            self.ask_again(id, holes, out);
        }
    }

    fn ask_again(&mut self, id: MemberId, holes: BTreeSet<Arc<str>>, out: &mut Vec<Output>) {
        let ticket = self.ticket();
        let Some(joining) = self.members.get_mut(id).and_then(|member| member.joining.as_mut()) else { return };
        joining.attempts += 1;
        if joining.attempts > ATTEMPTS_MAX {
            return out.push(Output::Resume { member: id });
        }
        let at = |name: &Arc<str>| joining.at.get(name).copied().and_then(At::position);
        joining.ask = holes.iter().map(|name| (name.clone(), at(name))).collect();
        joining.stage = Stage::AskedAgain;
        joining.ticket = ticket;
        out.push(Output::Open { ticket, member: id, ask: joining.ask.clone(), again: true });
    }
}

impl Joining {
    fn new(ticket: Ticket) -> Self {
        Joining {
            ticket,
            ask: Vec::new(),
            stage: Stage::Subscribing,
            newcomer: false,
            at: BTreeMap::new(),
            fresh: Vec::new(),
            buffer: Vec::new(),
            buffer_bytes: 0,
            torn: false,
            kicked: None,
            attempts: 0,
        }
    }

    /// The subscription stands: ask now. What is published from here on is buffered, so nothing falls in between.
    pub(super) fn begin(&mut self, id: MemberId, out: &mut Vec<Output>) {
        if self.ask.is_empty() {
            self.stage = Stage::Answered;
            return out.push(Output::Answer { member: id, answer: Ok(Vec::new()) });
        }
        self.stage = Stage::Asked;
        out.push(Output::Open { ticket: self.ticket, member: id, ask: self.ask.clone(), again: false });
    }

    pub(super) fn keep(&mut self, event: &Arc<Event>) {
        self.buffer_bytes += event.bytes();
        self.buffer.push(event.clone());
        if self.buffer.len() > HELD_EVENTS_MAX || self.buffer_bytes > HELD_BYTES_MAX {
            self.torn = true;
            self.drop_buffer();
        }
    }

    fn drop_buffer(&mut self) {
        self.buffer.clear();
        self.buffer_bytes = 0;
    }

    /// Delivers the buffer as far as it continues what the member has; returns the streams where it does not.
    fn replay(&mut self, id: MemberId, member: &mut Member, out: &mut Vec<Output>) -> BTreeSet<Arc<str>> {
        if std::mem::take(&mut self.torn) {
            self.drop_buffer();
            return member.open.0.iter().cloned().collect();
        }
        let mut holes = BTreeSet::new();
        self.buffer_bytes = 0;
        for event in std::mem::take(&mut self.buffer) {
            let name = event.header.stream.as_str();
            if event.header.kind == Kind::Durable {
                let Some((name, at)) = member.open.get(name).cloned().zip(self.at.get(name).copied()) else { continue };
                match at.fit(&event) {
                    _ if holes.contains(&name) => continue,
                    Fit::Known => continue,
                    Fit::Gap => {
                        holes.insert(name);
                        continue;
                    }
                    Fit::Next => self.at.insert(name, At::Position(event.header.position())),
                };
            }
            if event.header.kind == Kind::Reset {
                member.reset(name);
                self.at.retain(|stream, _| !is_reset_by(stream, name));
                holes.retain(|stream| !is_reset_by(stream, name));
            }
            out.push(Output::Deliver { to: vec![id], event });
        }
        holes
    }
}

impl Member {
    fn new(connection: Arc<str>, user: Arc<str>) -> Self {
        Member { connection, user, open: Names::default(), floors: BTreeMap::new(), joining: None }
    }
}

impl Stream {
    fn unknown() -> Box<Self> {
        let stream = Stream { at: At::Unknown, held: VecDeque::new(), held_bytes: 0, fetching: None, again: false };
        Box::new(stream)
    }
}
