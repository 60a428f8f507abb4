//! One connection: reads commands, answers them in order, and watches over its time.
//!
//! Redis is never awaited in the read loop: commands go out one after the other, and their answers are collected in
//! order. Reading stops while too many are under way, which holds the sender back. Commands that change what the
//! connection is part of (`connect`, joins, leaves) are answered before the next command is read.

pub(crate) mod calls;
mod commands;

use crate::auth::{Identity, now_s};
use crate::chance;
use crate::close::CloseReason;
use crate::conn::{Conn, Parcel};
use crate::frame::{Code, Envelope, FrameError, reply};
use crate::names::Room;
use crate::relay::room::MemberId;
use crate::serve::App;
use crate::telemetry;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, Stream, StreamExt};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

/// Commands of one connection under way at once, in number: beyond it the socket is not read.
const WINDOW: usize = 32;
/// Time for the last bytes and the close frame to be written: who was slow gets a chance to read why.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which the other side may read the close frame before the socket goes: data that it still sends would
/// otherwise make the system throw the frame away.
const LINGER: Duration = Duration::from_millis(500);
/// How late the end of a token may be noticed at most, whatever the clocks do.
const EXPIRY_CHECK: Duration = Duration::from_secs(600);

/// What the session does once an answer is queued.
pub(crate) enum Effect {
    Nothing,
    /// These rooms may send events now.
    Live(Vec<Room>),
    /// Joined for the first time; or not, if the join failed.
    Joined(Vec<(Room, bool)>),
    Close(CloseReason),
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

/// How far the connection has got in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    Joining,
    Joined,
}

struct Session {
    app: Arc<App>,
    conn: Arc<Conn>,
    member: MemberId,
    bearer: Option<String>,
    identity: Option<Arc<Identity>>,
    rooms: HashMap<Room, Membership>,
    /// Documents in which this connection has told a cursor.
    cursors: HashMap<Room, BTreeSet<String>>,
    in_flight: FuturesOrdered<BoxFuture<'static, Done>>,
    /// A command under way changes what the next ones mean.
    barrier: bool,
    lines: VecDeque<String>,
    /// How long presence outlives this connection, by the way in which it ends.
    grace: Duration,
    connect_by: Instant,
    last_heard: Instant,
    pinged_at: Option<Instant>,
}

/// Serves a connection until it ends.
pub async fn run(app: Arc<App>, socket: WebSocket, bearer: Option<String>) {
    let (sink, mut stream) = socket.split();
    let conn = Conn::pulled(&format!("k{}", chance::id()), app.settings.queue_bytes_max);
    let mut session = Session::new(app, conn.clone(), bearer);
    let mut writer = std::pin::pin!(write(conn.clone(), sink));
    let app = session.app.clone();
    app.metrics.connections.add(1);
    app.metrics.connected.add(1);
    let reason = tokio::select! {
        // First the reader: a goodbye that was read says more than a socket that can no longer be written.
        biased;
        reason = session.read(&mut stream) => reason,
        _ = &mut writer => None,
    };
    tracing::debug!(connection = %conn.id, ?reason, "a connection ends");
    if reason == Some(CloseReason::Slow) {
        app.metrics.slow.add(1);
    }
    // Rooms hear of it now, and not after the last bytes are out.
    drop(session);
    if let Some(reason) = reason {
        conn.close(reason);
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, writer).await;
    }
    let _ = tokio::time::timeout(LINGER, async { while let Some(Ok(_)) = stream.next().await {} }).await;
}

async fn write(conn: Arc<Conn>, mut sink: futures_util::stream::SplitSink<WebSocket, Message>) {
    while let Some(parcel) = conn.pull().await {
        let text = match parcel {
            Parcel::Event(_, event) => event.text.clone(),
            Parcel::Reply(text) => text,
            Parcel::Ping => {
                let _ = sink.send(Message::Ping(Default::default())).await;
                continue;
            }
        };
        let Ok(text) = Utf8Bytes::try_from(bytes::Bytes::from(text)) else { return };
        if sink.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
    if let Some(reason) = conn.closing() {
        let frame = CloseFrame { code: reason.code(), reason: reason.as_str().into() };
        let _ = sink.send(Message::Close(Some(frame))).await;
    }
}

impl Session {
    fn new(app: Arc<App>, conn: Arc<Conn>, bearer: Option<String>) -> Self {
        let now = Instant::now();
        Session {
            member: app.hub.next_member(),
            grace: Duration::from_millis(app.settings.presence_grace_ms),
            connect_by: now + Duration::from_millis(app.settings.connect_timeout_ms),
            app,
            conn,
            bearer,
            identity: None,
            rooms: HashMap::new(),
            cursors: HashMap::new(),
            in_flight: FuturesOrdered::new(),
            barrier: false,
            lines: VecDeque::new(),
            last_heard: now,
            pinged_at: None,
        }
    }

    /// Reads and answers until the connection should end, and says why; `None` if the other side ended it.
    async fn read<S>(&mut self, stream: &mut S) -> Option<CloseReason>
    where
        S: Stream<Item = Result<Message, axum::Error>> + Unpin,
    {
        let stop = self.app.stop.clone();
        let conn = self.conn.clone();
        let mut timer = std::pin::pin!(sleep_until(self.next_check()));
        loop {
            while self.may_start()
                && let Some(line) = self.lines.pop_front()
            {
                self.start(&line);
            }
            if stop.is_cancelled() && self.in_flight.is_empty() {
                return Some(CloseReason::Shutdown);
            }
            let next_check = self.next_check();
            if timer.deadline() != next_check {
                timer.as_mut().reset(next_check);
            }
            tokio::select! {
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    if let Some(reason) = self.finish(done) {
                        return Some(reason);
                    }
                }
                message = stream.next(), if self.lines.is_empty() && self.may_start() && !stop.is_cancelled() => {
                    if let Err(reason) = self.receive(message) {
                        return reason;
                    }
                }
                () = conn.changed() => if let Some(reason) = conn.closing() {
                    return Some(reason);
                },
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = &mut timer => if let Some(reason) = self.check_times() {
                    return Some(reason);
                }
            }
        }
    }

    fn may_start(&self) -> bool {
        !self.barrier && self.in_flight.len() < WINDOW && !self.conn.is_congested()
    }

    fn receive(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Option<CloseReason>> {
        self.last_heard = Instant::now();
        self.pinged_at = None;
        match message {
            Some(Ok(Message::Text(text))) => {
                let frames = text.split('\n').filter(|line| !line.trim_ascii().is_empty());
                self.lines.extend(frames.map(str::to_owned));
                Ok(())
            }
            Some(Ok(Message::Binary(_))) => {
                let error = FrameError::new(Code::InvalidFrame, "frames are text, not binary");
                self.answer(Done::refused(None, error));
                Ok(())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(frame))) => {
                // 1000 and 1001: somebody closed the page. Without a code or with another one: who knows.
                if frame.is_some_and(|frame| matches!(frame.code, 1000 | 1001)) {
                    self.grace = Duration::from_millis(self.app.settings.presence_close_grace_ms);
                }
                Err(None)
            }
            Some(Err(error)) if is_too_large(&error) => {
                let message =
                    format!("frame_bytes_max: a frame has at most {} bytes", self.app.settings.frame_bytes_max);
                self.conn.reply(reply::error_frame(None, &FrameError::new(Code::TooLarge, message)));
                Err(Some(CloseReason::TooLarge))
            }
            Some(Err(_)) | None => Err(None),
        }
    }

    /// Puts an answer in line behind those that are under way.
    fn answer(&mut self, done: Done) {
        self.in_flight.push_back(Box::pin(std::future::ready(done)));
    }

    fn start(&mut self, line: &str) {
        self.app.metrics.commands.add(1);
        let envelope = match Envelope::read(line) {
            Ok(envelope) => envelope,
            Err(error) => return self.answer(Done::refused(None, error)),
        };
        let id = envelope.id;
        let command = match envelope.command() {
            Ok(command) => command,
            Err(error) => return self.answer(Done::refused(id, error)),
        };
        let span = telemetry::command_span(command.name());
        match (self.dispatch(id, command), span) {
            (Ok(future), None) => self.in_flight.push_back(future),
            (Ok(future), Some(span)) => self.in_flight.push_back(Box::pin(future.instrument(span))),
            (Err(error), _) => self.answer(Done::refused(id, error)),
        }
    }

    fn finish(&mut self, done: Done) -> Option<CloseReason> {
        self.app.metrics.refusals.add(usize::from(done.result.is_err()));
        self.conn.reply(match (&done.result, done.id) {
            (Ok(ok), Some(id)) => reply::reply_frame(id, ok),
            (Ok(ok), None) => reply::reply_frame(0, ok),
            (Err(error), id) => reply::error_frame(id, error),
        });
        match done.effect {
            Effect::Nothing => return None,
            Effect::Close(reason) => return Some(reason),
            Effect::Live(rooms) => {
                for room in rooms {
                    self.app.hub.live(&room, self.member);
                }
            }
            Effect::Joined(rooms) => {
                for (room, joined) in rooms {
                    self.has_joined(room, joined);
                }
            }
        }
        self.barrier = false;
        None
    }

    fn has_joined(&mut self, room: Room, joined: bool) {
        if joined {
            self.app.hub.live(&room, self.member);
            self.rooms.insert(room, Membership::Joined);
        } else if self.rooms.get(&room) == Some(&Membership::Joining) {
            self.rooms.remove(&room);
            self.app.hub.part(&room, self.member, Duration::ZERO);
        }
    }

    /// When something may have to be done although nobody says a word.
    fn next_check(&self) -> Instant {
        let Some(identity) = &self.identity else { return self.connect_by };
        let life = match self.pinged_at {
            Some(at) => at + self.app.settings.pong_timeout(),
            None => self.last_heard + self.app.settings.ping_interval(),
        };
        life.min(Instant::now() + identity.remaining().min(EXPIRY_CHECK))
    }

    fn check_times(&mut self) -> Option<CloseReason> {
        let Some(identity) = &self.identity else { return Some(CloseReason::AuthRequired) };
        if identity.expires_s <= now_s() {
            return Some(CloseReason::AuthExpired);
        }
        let now = Instant::now();
        match self.pinged_at {
            Some(at) if now >= at + self.app.settings.pong_timeout() => return Some(CloseReason::PingTimeout),
            None if now >= self.last_heard + self.app.settings.ping_interval() => {
                self.pinged_at = Some(now);
                self.conn.ping();
            }
            Some(_) | None => {}
        }
        None
    }
}

/// However a connection ends, even by a panic, its rooms hear of it.
impl Drop for Session {
    fn drop(&mut self) {
        self.app.metrics.connections.subtract(1);
        let user = self.identity.as_ref().map_or("", |identity| &identity.user);
        for (room, streams) in self.cursors.drain() {
            self.app.hub.end_cursors(room, (user, &self.conn.id), streams);
        }
        for room in self.rooms.keys() {
            self.app.hub.part(room, self.member, self.grace);
        }
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    // The library's error type is behind two boxes; its words are the only way to tell.
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.to_string().contains("too long") || error.to_string().contains("too big") {
            return true;
        }
        source = error.source();
    }
    false
}
