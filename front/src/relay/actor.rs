//! The task of one live room: feeds the rules what happens, and does what they say. What it asks Redis stands in `asking`.

mod asking;
mod rights;

use super::access::{Access, Claim};
use super::hub::{Hub, Joined, Joiner};
use super::inbox::Inbox;
use super::members::Members;
use super::presence::{self, Presence};
use super::room::{Ask, Input, MemberId, Output, RoomState, Ticket};
use crate::access::Actions;
use crate::close::CloseReason;
use crate::conn::{Batch, Conn, Event};
use crate::frame::{Code, FrameError, reply};
use crate::module_api::{AccessList, Change, Here, Opened};
use crate::names::{ACCESS, Room};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use stoa_core::epoch::Position;
use stoa_core::event::{Header, Kind};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a room without members keeps its subscription: a page reload takes a second or two.
const LINGER: Duration = Duration::from_secs(3);
/// Events taken at once, in number: under load what has come since is written together, and idle nothing waits.
const EVENTS_AT_ONCE: usize = 1024;
/// Writes after which others get the thread: some 5 microseconds each.
const WRITES_AT_ONCE: usize = 256;

/// What a live room is told.
pub(super) enum Control {
    Join {
        joiner: Joiner,
        streams: Ask,
        here: Option<Here>,
        answer: oneshot::Sender<Result<Joined, FrameError>>,
    },
    /// The answer to the question of a member that joins.
    Opened {
        ticket: Ticket,
        member: MemberId,
        answer: Result<Vec<Opened>, FrameError>,
    },
    /// A member's token says something else.
    Renew {
        member: MemberId,
        token: Actions,
    },
    /// What the room's list says of these users.
    Listed {
        users: Vec<Arc<str>>,
        answer: AccessList,
    },
    Part {
        member: MemberId,
        grace: Duration,
    },
    PresenceSet {
        member: MemberId,
        change: Change,
        answer: oneshot::Sender<Result<Position, FrameError>>,
    },
    Away {
        member: MemberId,
        is_away: bool,
    },
    Input(Input),
    Finish,
}

struct Pending {
    /// Who asks: the answer says what they have not read.
    user: Arc<str>,
    claim: Claim,
    answer: oneshot::Sender<Result<Joined, FrameError>>,
    here: Option<Here>,
    /// The question that waits until the presence is known.
    open: Option<(Ticket, Ask)>,
}

/// What waits for the end of the turn.
enum Outgoing {
    Batch(Vec<MemberId>, Batch),
    /// The member has been told that it is out of the room.
    Evicted(MemberId),
    /// The member comes back and resumes.
    Resume(MemberId),
}

pub(super) struct Actor {
    room: Room,
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    state: RoomState,
    conns: Members<Arc<Conn>>,
    pending: BTreeMap<MemberId, Pending>,
    /// Only in rooms where somebody was listed: in most nobody is, they are personal.
    presence: Option<Box<Presence>>,
    /// Only in rooms that are nobody's own.
    access: Option<Box<Access>>,
    /// What goes to members at the end of this turn, in order.
    outbox: Vec<Outgoing>,
    idle_since: Option<Instant>,
}

impl Actor {
    pub(super) fn new(room: Room, hub: Arc<Hub>, inbox: Arc<Inbox>) -> Self {
        Actor {
            access: (!room.is_personal()).then(|| Box::new(Access::new(hub.roles().clone()))),
            room,
            hub,
            inbox,
            presence: None,
            state: RoomState::default(),
            conns: Members::default(),
            pending: BTreeMap::new(),
            outbox: Vec::new(),
            idle_since: None,
        }
    }

    /// Lives until nobody is left or the front stops, and says its last words: the leaves that are under way.
    pub(super) async fn run(&mut self) {
        self.live().await;
        while let Some(done) = next_done(&mut self.presence).await {
            self.presence().done(done);
        }
    }

    async fn live(&mut self) {
        let inbox = self.inbox.clone();
        loop {
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                message = poll_fn(|cx| inbox.poll_control(cx)) => {
                    if matches!(message, Control::Finish) {
                        return;
                    }
                    self.control(message);
                }
                Some(done) = next_done(&mut self.presence) => {
                    if let Some(news) = self.presence().done(done) {
                        self.presence_known(news);
                    }
                }
                events = poll_fn(|cx| inbox.poll_events(cx, EVENTS_AT_ONCE)) => {
                    self.hub.metrics().events.add(events.len());
                    events.iter().for_each(|bytes| self.event(bytes));
                }
                () = sleep_until(wake_at), if wake_at.is_some() => {
                    if self.next_beat().is_some_and(|at| at <= Instant::now()) {
                        self.presence().beat();
                    }
                    if self.idle_since.is_some_and(|since| since.elapsed() >= LINGER)
                        && self.hub.forget_if_idle(&self.room, &inbox)
                    {
                        return;
                    }
                }
            }
            if inbox.take_lagged() {
                self.hear(Input::Lagged);
            }
            self.ask_access();
            if !self.outbox.is_empty() {
                // In a box: a room at rest should not have the size of a busy one.
                Box::pin(self.flush()).await;
            }
            self.note_idle();
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let idle = self.idle_since.map(|since| since + LINGER);
        self.next_beat().into_iter().chain(idle).min()
    }

    fn next_beat(&self) -> Option<Instant> {
        self.presence.as_ref().and_then(|presence| presence.next_beat())
    }

    fn presence(&mut self) -> &mut Presence {
        self.presence.get_or_insert_with(|| {
            Box::new(Presence::new(self.hub.api().clone(), self.room.clone(), self.hub.presence_ttl()))
        })
    }

    fn note_idle(&mut self) {
        if self.pending.is_empty() {
            // An empty tree keeps its root, and most rooms are quiet for as long as they live.
            self.pending = BTreeMap::new();
        }
        if !self.conns.is_empty() {
            self.idle_since = None;
        } else if self.idle_since.is_none() {
            self.idle_since = Some(Instant::now());
        }
    }

    fn control(&mut self, message: Control) {
        match message {
            Control::Join { joiner, streams, here, answer } => {
                let Joiner { conn, member, user, claim, is_member } = joiner;
                if is_member && !self.state.has(member) {
                    // It is on its way to hear that it is out.
                    let _ = answer.send(Err(FrameError::new(Code::NotJoined, "join the room first")));
                    return;
                }
                let connection = conn.id.clone();
                conn.regain(&self.room);
                self.conns.insert(member, conn);
                let here = if streams.is_empty() { self.list(member, here) } else { here };
                self.pending.insert(member, Pending { user: user.clone(), claim, answer, here, open: None });
                self.step(Input::Join { member, connection, user, streams });
            }
            Control::Part { member, grace } => {
                self.conns.remove(member);
                self.pending.remove(&member);
                if let Some(presence) = &mut self.presence {
                    // In the own room stand the connections that there are, not who will be back.
                    presence.leave(member, if self.room.is_personal() { Duration::ZERO } else { grace });
                }
                if let Some(access) = &mut self.access {
                    access.forget(member);
                }
                self.step(Input::Part { member });
            }
            Control::Opened { ticket, member, answer } => self.opened(ticket, member, answer),
            Control::Renew { member, token } => self.with_access(|access| access.renew(member, token)),
            Control::Listed { users, answer } => self.with_access(|access| access.answered(&users, answer)),
            Control::PresenceSet { member, change, answer } => self.presence().set(member, change, answer),
            Control::Away { member, is_away } => {
                if let Some(presence) = &mut self.presence {
                    presence.set_away(member, is_away);
                }
            }
            Control::Input(Input::Live { member }) => {
                self.step(Input::Live { member });
                self.tell_access_late(member);
            }
            Control::Input(input) => self.hear(input),
            Control::Finish => {}
        }
    }

    /// Something that may concern the list as well as the streams.
    fn hear(&mut self, input: Input) {
        if let Some(access) = &mut self.access
            && matches!(input, Input::Subscribed | Input::Lagged)
        {
            access.may_have_changed();
        }
        self.step(input);
    }

    fn event(&mut self, bytes: &Bytes) {
        let event = match Event::decode(self.room.as_str(), bytes) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(room = %self.room, error, "an event cannot be read; do front and module match?");
                return;
            }
        };
        let kind = event.header.kind;
        if kind == Kind::Heads {
            let heads = event.heads();
            if let Some(access) = &mut self.access
                && let Some((_, head)) = heads.iter().find(|(stream, _)| stream == ACCESS)
            {
                access.is_at(*head);
            }
            return self.step(Input::Heads(heads));
        }
        if let Some(access) = &mut self.access {
            match (kind, event.header.stream.as_str()) {
                // People hear what it means for them.
                (Kind::Durable, ACCESS) => return access.changed(&event.header),
                (Kind::Reset, ACCESS | "") => access.may_have_changed(),
                _ => {}
            }
        }
        self.step(Input::Event(Arc::new(event)));
    }

    fn step(&mut self, input: Input) {
        let (mut outputs, mut unheard) = (Vec::new(), Vec::new());
        self.state.step(input, &mut outputs);
        for output in outputs {
            self.carry_out(output, &mut unheard);
        }
        for member in unheard {
            self.step(Input::Live { member });
        }
    }

    fn carry_out(&mut self, output: Output, unheard: &mut Vec<MemberId>) {
        match output {
            Output::Deliver { to, event } => self.send(to, event),
            Output::Resync { to, opened } => {
                self.hub.metrics().resyncs.add(to.len());
                let at = opened.position;
                let header = Header::durable(&opened.stream, at.epoch, at.rev, at.rev);
                self.send_own(to, header, reply::resync_frame(self.room.as_str(), &opened));
            }
            Output::Reset { to, stream } => {
                self.send_own(to, Header::reset(&stream), reply::reset_frame(self.room.as_str(), &stream));
            }
            Output::Evict { member, event } => self.evict(member, event),
            Output::Resume { member } => self.outbox.push(Outgoing::Resume(member)),
            Output::Answer { member, answer } => {
                let pending = self.pending.remove(&member);
                let answer =
                    answer.map(|parts| Joined { parts, grant: self.grant_to_answer(member, pending.as_ref()) });
                if answer.is_err() {
                    self.tell_access_late(member);
                }
                // Whoever asked has given up: nobody will say that the answer is queued.
                if pending.is_none_or(|pending| pending.answer.send(answer).is_err()) {
                    unheard.push(member);
                }
            }
            Output::Open { ticket, member, ask, again } => self.open(ticket, member, ask, again),
            Output::Fetch { ticket, stream, position, calm } => self.fetch(ticket, stream, position, calm),
        }
    }

    /// Lists a member that only wants to stand in the list.
    fn list(&mut self, member: MemberId, here: Option<Here>) -> Option<Here> {
        if let Some(here) = here {
            self.presence().list(member, here);
        }
        None
    }

    fn evict(&mut self, member: MemberId, event: Arc<Event>) {
        if let Some(presence) = &mut self.presence {
            presence.forget(member);
        }
        if let Some(access) = &mut self.access {
            access.forget(member);
        }
        // Its own room nobody leaves: that ends the connection.
        if let Some(conn) = self.conns.get(member).filter(|_| !self.room.is_personal()) {
            // Before it can read that it is out.
            conn.lose(self.room.clone());
        }
        self.send(vec![member], event);
        self.outbox.push(Outgoing::Evicted(member));
    }

    fn send_own(&mut self, to: Vec<MemberId>, header: Header, text: String) {
        self.send(to, Arc::new(Event::new(self.room.as_str(), header, text.into())));
    }

    fn send(&mut self, to: Vec<MemberId>, mut event: Arc<Event>) {
        self.hub.metrics().deliveries.add(to.len());
        if let Some(Outgoing::Batch(same, batch)) = self.outbox.last_mut()
            && *same == to
        {
            match batch.append(event) {
                Ok(()) => return,
                Err(back) => event = back,
            }
        }
        self.outbox.push(Outgoing::Batch(to, Batch::new(self.room.shared(), event)));
    }

    /// Hands this turn's events to their connections.
    async fn flush(&mut self) {
        let mut writes = 0;
        for outgoing in std::mem::take(&mut self.outbox) {
            match outgoing {
                Outgoing::Batch(to, batch) => {
                    for conn in to.iter().filter_map(|member| self.conns.get(*member)) {
                        conn.send(&batch);
                        writes += 1;
                        if writes % WRITES_AT_ONCE == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                Outgoing::Evicted(member) => {
                    if let Some(conn) = self.conns.remove(member).filter(|_| self.room.is_personal()) {
                        conn.close(CloseReason::Kicked);
                    }
                }
                Outgoing::Resume(member) => {
                    if let Some(conn) = self.conns.get(member) {
                        conn.close(CloseReason::Resync);
                    }
                }
            }
        }
        // A busy room must not keep its thread from the others.
        tokio::task::yield_now().await;
    }
}

/// However a room ends, nobody waits for it any more.
impl Drop for Actor {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

async fn next_done(presence: &mut Option<Box<Presence>>) -> Option<presence::Done> {
    presence.as_mut()?.next_done().await
}

/// In a box, and none where nothing is waited for: most rooms are personal ones, and time never wakes them.
async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        Box::pin(tokio::time::sleep_until(at)).await;
    }
}
