//! One connection: reads commands, answers them in order, and watches over its time.
//!
//! Redis is never awaited in the read loop: commands go out one after the other, and their answers are collected in
//! order. Reading stops while too many are under way, which holds the sender back. Commands that change what the
//! connection is part of (`connect`, joins, leaves) are answered before the next command is read.

pub(crate) mod calls;
mod clock;
mod commands;
mod limits;
mod rooms;

use crate::access::Allowance;
use crate::audit::{Note, Who};
use crate::auth::Identity;
use crate::close::CloseReason;
use crate::conn::Conn;
use crate::frame::{Code, Command, Envelope, FrameError, JoinOptions, Token, reply, split_binary};
use crate::limits::Lease;
use crate::names::Room;
use crate::relay::room::MemberId;
use crate::serve::App;
use crate::telemetry;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use limits::Quota;
pub(crate) use limits::room_of;
use rooms::{Membership, Rooms};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// Commands of one connection under way at once, in number: beyond it the socket is not read.
const WINDOW: usize = 32;

/// What the session does once an answer is queued.
pub(crate) enum Effect {
    Nothing,
    /// These rooms may send events now.
    Live(Vec<Room>),
    /// Joined, with what is allowed there; or not, if the join failed.
    Joined(Vec<(Room, Option<Arc<Allowance>>)>),
    Close(CloseReason),
    /// Somebody has said who they are, and which rooms they come back to; the answer is still to come.
    Connected(Box<(Identity, BTreeMap<String, JoinOptions>)>),
    /// The connection goes on with another token of the same user.
    Refreshed(Box<Identity>),
}

/// A command that has come to its end.
pub(crate) struct Done {
    id: Option<u64>,
    result: Result<String, FrameError>,
    effect: Effect,
}

impl Done {
    fn refused(id: Option<u64>, error: FrameError) -> Self {
        Done { id, result: Err(error), effect: Effect::Nothing }
    }
}

/// What is known of somebody before they say who they are.
#[derive(Debug, Default, Clone)]
pub(crate) struct Visitor {
    /// The token in the request.
    pub(crate) bearer: Option<Token>,
    /// Where they come from, and what they call themselves; only where devices are listed.
    pub(crate) device: Option<Device>,
    /// Where they come from, as limits count it.
    pub(crate) address: Arc<str>,
    /// The lease of that address, where connections are counted.
    pub(crate) lease: Option<Arc<Lease>>,
}

/// Whether Redis allows a command.
pub(crate) type Permit = BoxFuture<'static, Result<(), FrameError>>;

/// A command that waits for its permit. Nothing that comes after it overtakes it.
struct Pending {
    id: Option<u64>,
    command: Command,
    permit: Permit,
}

/// Where a connection comes from.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) address: String,
    pub(crate) agent: String,
}

struct Session {
    app: Arc<App>,
    conn: Arc<Conn>,
    member: MemberId,
    visitor: Option<Box<Visitor>>,
    identity: Option<Arc<Identity>>,
    /// Where the client is, as limits count it.
    address: Arc<str>,
    quota: Quota,
    pending: Option<Box<Pending>>,
    rooms: Rooms,
    /// Documents in which this connection has told a cursor.
    cursors: HashMap<Room, BTreeSet<String>>,
    /// Commands under way, in their order. Only while there are any: most connections are silent.
    in_flight: Option<Box<FuturesOrdered<BoxFuture<'static, Done>>>>,
    /// A command under way changes what the next ones mean.
    barrier: bool,
    said: VecDeque<Said>,
    /// How long presence outlives this connection, by the way in which it ends.
    grace: Duration,
    connect_by: Instant,
    last_heard: Instant,
    /// When the last command came that was no ping.
    last_command: Instant,
    is_away: bool,
    /// It was told that its token ends soon.
    is_expiring: bool,
    pinged_at: Option<Instant>,
    /// When the wheel wakes this connection.
    wakes_at: Option<Instant>,
    /// When this connection has to go because the front stops.
    leaves_at: Option<Instant>,
    /// It goes on although it was refused again and again, and is not read before.
    slow_until: Option<Instant>,
    /// It was told to go, and nothing more is read.
    is_leaving: bool,
    /// Why it ended, once it has.
    ended: Option<CloseReason>,
}

/// One frame of the client, and the bytes that came with it.
struct Said {
    frame: String,
    payload: Option<Bytes>,
}

impl From<String> for Said {
    fn from(frame: String) -> Self {
        Said { frame, payload: None }
    }
}

/// What a client says, whatever carries it.
pub(crate) enum Incoming {
    /// Frames, one per line.
    Text(String),
    /// A frame and a payload, see [`split_binary`].
    Binary(Vec<u8>),
    /// A sign of life and nothing else.
    Alive,
    /// Something larger than [`Settings::frame_bytes_max`](crate::Settings::frame_bytes_max).
    TooLarge,
    /// The other side has ended the connection. `goodbye`: on purpose, as far as one can tell.
    Ended { goodbye: bool },
}

/// Where a session hears from its client.
pub(crate) trait Source: Send {
    /// Waits for what comes next. Nothing is lost if the future is dropped before it is ready.
    fn next(&mut self) -> impl Future<Output = Incoming> + Send;
}

/// Serves a connection until it should end, and says why; `None` if the other side ended it.
///
/// When this returns, or is dropped, the connection has left its rooms.
pub(crate) async fn run(
    app: Arc<App>,
    conn: Arc<Conn>,
    source: &mut impl Source,
    visitor: Box<Visitor>,
) -> Option<CloseReason> {
    let mut session = Session::new(app, conn, visitor);
    session.app.metrics.connections.add(1);
    session.app.metrics.connected.add(1);
    let reason = session.read(source).await;
    session.ended = reason;
    tracing::debug!(connection = %session.conn.id, ?reason, "a connection ends");
    if reason == Some(CloseReason::Slow) {
        session.app.metrics.slow.add(1);
    }
    reason
}

impl Session {
    fn new(app: Arc<App>, conn: Arc<Conn>, mut visitor: Box<Visitor>) -> Self {
        let now = Instant::now();
        let (address, quota) = (visitor.address.clone(), Quota::of(visitor.lease.take()));
        Session {
            member: app.hub.next_member(),
            grace: Duration::from_millis(app.settings.presence_grace_ms),
            connect_by: now + Duration::from_millis(app.settings.connect_timeout_ms),
            app,
            conn,
            visitor: Some(visitor),
            identity: None,
            address,
            quota,
            pending: None,
            rooms: Rooms::default(),
            cursors: HashMap::new(),
            in_flight: None,
            barrier: false,
            said: VecDeque::new(),
            last_heard: now,
            last_command: now,
            is_away: false,
            is_expiring: false,
            pinged_at: None,
            wakes_at: None,
            leaves_at: None,
            slow_until: None,
            is_leaving: false,
            ended: None,
        }
    }

    /// Reads and answers until the connection should end, and says why; `None` if the other side ended it.
    async fn read(&mut self, source: &mut impl Source) -> Option<CloseReason> {
        let (app, conn) = (self.app.clone(), self.conn.clone());
        loop {
            self.hear_of_lost_rooms();
            while self.may_start()
                && let Some(said) = self.said.pop_front()
            {
                self.start(said);
            }
            if self.said.is_empty() {
                self.said = VecDeque::new();
            }
            // The wheel wakes everybody when this begins.
            if self.leaves_at.is_none() && app.drain.has_begun() {
                self.leaves_at = Some(app.drain.leave_at());
            }
            if let Some(reason) = conn.closing().or_else(|| self.look_at_the_clock()) {
                return Some(reason);
            }
            if self.is_leaving && self.in_flight.is_none() && self.pending.is_none() {
                return Some(CloseReason::Shutdown);
            }
            let reads = self.said.is_empty() && self.may_start() && self.slow_until.is_none() && !self.is_leaving;
            tokio::select! {
                Some(done) = next_done(&mut self.in_flight), if self.in_flight.is_some() => {
                    if let Some(reason) = self.finish(done) {
                        return Some(reason);
                    }
                }
                permitted = permitted(&mut self.pending), if self.pending.is_some() => self.is_permitted(permitted),
                incoming = source.next(), if reads => {
                    if let Err(reason) = self.receive(incoming) {
                        return reason;
                    }
                }
                () = conn.changed() => {}
            }
        }
    }

    /// Forgets the rooms that this connection was taken out of.
    fn hear_of_lost_rooms(&mut self) {
        for room in self.conn.take_lost() {
            self.rooms.remove(&room);
            if let Some(streams) = self.cursors.remove(&room) {
                let user = self.identity.as_ref().map_or("", |identity| &identity.user);
                self.app.hub.end_cursors(room, (user, &self.conn.id), streams);
            }
        }
    }

    fn may_start(&self) -> bool {
        !self.barrier
            && self.pending.is_none()
            && self.in_flight.as_ref().is_none_or(|calls| calls.len() < WINDOW)
            && !self.conn.is_congested()
    }

    fn receive(&mut self, incoming: Incoming) -> Result<(), Option<CloseReason>> {
        self.last_heard = Instant::now();
        self.pinged_at = None;
        match incoming {
            Incoming::Text(text) if !text.contains('\n') => {
                if !text.trim_ascii().is_empty() {
                    self.said.push_back(text.into());
                }
                Ok(())
            }
            Incoming::Text(text) => {
                let frames = text.split('\n').filter(|line| !line.trim_ascii().is_empty());
                self.said.extend(frames.map(|frame| Said::from(frame.to_owned())));
                Ok(())
            }
            Incoming::Binary(message) => {
                match split_binary(message) {
                    Ok((frame, payload)) => self.said.push_back(Said { frame, payload: Some(payload) }),
                    Err(error) => self.refuse_unread(error),
                }
                Ok(())
            }
            Incoming::Alive => Ok(()),
            Incoming::TooLarge => {
                let message =
                    format!("frame_bytes_max: a frame has at most {} bytes", self.app.settings.frame_bytes_max);
                self.conn.reply(reply::error_frame(None, &FrameError::new(Code::TooLarge, message)));
                Err(Some(CloseReason::TooLarge))
            }
            Incoming::Ended { goodbye } => {
                if goodbye {
                    self.grace = Duration::from_millis(self.app.settings.presence_close_grace_ms);
                }
                Err(None)
            }
        }
    }

    fn begin(&mut self, call: BoxFuture<'static, Done>) {
        self.in_flight.get_or_insert_default().push_back(call);
    }

    /// Puts an answer in line behind those that are under way.
    fn answer(&mut self, done: Done) {
        self.begin(Box::pin(std::future::ready(done)));
    }

    fn start(&mut self, said: Said) {
        self.app.metrics.commands.add(1);
        let envelope = match Envelope::read(&said.frame) {
            Ok(envelope) => envelope,
            Err(error) => return self.refuse_unread(error),
        };
        let id = envelope.id;
        if let Err(error) = self.may_speak() {
            return self.answer(Done::refused(id, error));
        }
        let command = envelope.command().and_then(|mut command| {
            said.payload.map_or(Ok(()), |payload| command.attach(payload))?;
            Ok(command)
        });
        let command = match command {
            Ok(command) => command,
            Err(error) => return self.answer(Done::refused(id, error)),
        };
        if !matches!(command, Command::Ping) {
            self.is_busy();
        }
        if let Err(error) = self.may(command.name()) {
            return self.refuse(id, self.note(&command), error);
        }
        match self.permit(&command) {
            Some(permit) => self.pending = Some(Box::new(Pending { id, command, permit })),
            None => self.go_on(id, command),
        }
    }

    /// A frame that says nothing counts all the same.
    fn refuse_unread(&mut self, error: FrameError) {
        let error = self.may_speak().err().unwrap_or(error);
        self.answer(Done::refused(None, error));
    }

    fn is_permitted(&mut self, permitted: Result<(), FrameError>) {
        let Some(Pending { id, command, .. }) = self.pending.take().map(|pending| *pending) else { return };
        match permitted {
            Ok(()) => self.go_on(id, command),
            Err(error) => self.refuse(id, self.note(&command), error),
        }
    }

    /// Carries out a command that is allowed.
    fn go_on(&mut self, id: Option<u64>, command: Command) {
        let (span, note) = (telemetry::command_span(command.name()), self.note(&command));
        let future = match self.dispatch(id, command) {
            Ok(future) => future,
            Err(error) => return self.refuse(id, note, error),
        };
        let future = match note {
            Some(note) => Box::pin(async move {
                let done = future.await;
                note.end(&done.result);
                done
            }),
            None => future,
        };
        match span {
            None => self.begin(future),
            Some(span) => self.begin(Box::pin(future.instrument(span))),
        }
    }

    fn refuse(&mut self, id: Option<u64>, note: Option<Note>, error: FrameError) {
        let done = Done::refused(id, error);
        if let Some(note) = note {
            note.end(&done.result);
        }
        self.answer(done);
    }

    /// What will be written down about a command, if anything.
    fn note(&self, command: &Command) -> Option<Note> {
        self.app.audit.note(|| self.who(), command, room_of(command))
    }

    fn who(&self) -> Who {
        let user = self.identity.as_ref().map_or_else(|| "".into(), |identity| identity.user.clone());
        Who { user, connection: self.conn.id.clone(), address: self.address.clone() }
    }

    fn finish(&mut self, done: Done) -> Option<CloseReason> {
        if let Effect::Connected(connected) = done.effect {
            let (identity, rooms) = *connected;
            let entry = self.enter_as(&identity.user);
            let resumed = self.resume(done.id, Arc::new(identity), rooms);
            let answer = self.once_entered(done.id, entry, resumed);
            self.begin(answer);
            return None;
        }
        self.app.metrics.refusals.add(usize::from(done.result.is_err()));
        let struck = self.strike(&done);
        self.conn.reply(match (&done.result, done.id) {
            (Ok(ok), Some(id)) => reply::reply_frame(id, ok),
            (Ok(ok), None) => reply::reply_frame(0, ok),
            (Err(error), id) => reply::error_frame(id, error),
        });
        if struck.is_some() {
            return struck;
        }
        match done.effect {
            Effect::Nothing | Effect::Connected(_) => return None,
            Effect::Close(reason) => return Some(reason),
            Effect::Refreshed(identity) => self.go_on_as(*identity),
            Effect::Live(rooms) => {
                for room in rooms {
                    self.app.hub.live(&room, self.member);
                }
            }
            Effect::Joined(rooms) => {
                for (room, allowance) in rooms {
                    self.has_joined(room, allowance);
                }
            }
        }
        self.barrier = false;
        None
    }

    fn has_joined(&mut self, room: Room, allowance: Option<Arc<Allowance>>) {
        if let Some(allowance) = allowance {
            self.app.hub.live(&room, self.member);
            // Entered anew: while it was asked, the connection may have heard that it is out.
            self.rooms.enter(room, Membership::Joined, allowance);
        } else if self.rooms.get(&room) != Some(Membership::Joined) {
            self.rooms.remove(&room);
            self.app.hub.part(&room, self.member, Duration::ZERO);
        }
    }
}

/// The next answer, in the order of the commands.
async fn next_done(in_flight: &mut Option<Box<FuturesOrdered<BoxFuture<'static, Done>>>>) -> Option<Done> {
    let calls = in_flight.as_mut()?;
    let done = calls.next().await;
    if calls.is_empty() {
        *in_flight = None;
    }
    done
}

/// Whether the command that waits is allowed.
async fn permitted(pending: &mut Option<Box<Pending>>) -> Result<(), FrameError> {
    match pending {
        Some(pending) => (&mut pending.permit).await,
        None => std::future::pending().await,
    }
}

/// However a connection ends, even by a panic, its rooms hear of it.
impl Drop for Session {
    fn drop(&mut self) {
        self.app.metrics.connections.subtract(1);
        if self.identity.is_some() {
            let reason = self.ended.or(self.conn.closing()).map_or("LEFT", CloseReason::as_str);
            self.app.audit.connection(|| self.who(), "connection.end", reason);
        }
        if self.conn.closing() == Some(CloseReason::Kicked) {
            self.grace = Duration::ZERO;
        }
        let user = self.identity.as_ref().map_or("", |identity| &identity.user);
        for (room, streams) in self.cursors.drain() {
            self.app.hub.end_cursors(room, (user, &self.conn.id), streams);
        }
        for room in self.rooms.iter() {
            self.app.hub.part(room, self.member, self.grace);
        }
    }
}
