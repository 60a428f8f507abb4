//! One client in one namespace: a session whose commands are made out of events, and whose answers and events become
//! events again.

use super::ack::error_value;
use super::early::Early;
use super::engine::{End, Engine};
use super::out::{Effect, Emission, To};
use super::packet::{Event, Namespace, Packet};
use super::{Gateway, hear};
use crate::chance;
use crate::close::CloseReason;
use crate::conn::{self, Batch, Conn, Express, Parcel};
use crate::frame::{Code, FrameError};
use crate::session::{self, Incoming, Source};
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Events of one client in one namespace that are under way, in number: beyond it nothing more is read from the client.
const EVENTS_MAX: usize = 32;
/// Bytes that are gathered for one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// Time for the last packets once the session has ended.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Ways of being in a room, as bits: what one is told depends on them.
pub(super) mod way {
    /// `join-room`
    pub(in super::super) const ROOM: u8 = 1;
    /// `join-document`
    pub(in super::super) const DOCUMENT: u8 = 2;
    /// `subscribe:presence`
    pub(in super::super) const PRESENCE: u8 = 4;
    /// `subscribe:job`
    pub(in super::super) const JOB: u8 = 8;
    /// Any of them, and the personal room.
    pub(in super::super) const ANY: u8 = 0;
}

/// What the link knows of a room it is in.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) ways: u8,
    /// It is listed as here.
    pub(super) is_listed: bool,
    pub(super) typing: BTreeSet<String>,
    /// Epoch and revision of the document, if it is open.
    pub(super) document: Option<(String, u64)>,
}

/// What a link knows.
#[derive(Default)]
pub(super) struct State {
    next_id: u64,
    waiting: HashMap<u64, Then>,
    pub(super) user: Arc<str>,
    /// Its own connection.
    pub(super) connection: Arc<str>,
    pub(super) places: BTreeMap<String, Place>,
    /// What the client last said of itself, for the rooms that it joins later.
    pub(super) presence: serde_json::Map<String, Value>,
    pub(super) status: Option<String>,
    pub(super) operations: u64,
    /// What came before its room was joined.
    pub(super) early: Early,
    /// Messages that are being read, and whether they have changed again meanwhile.
    pub(super) fetching: BTreeMap<(String, u64), bool>,
}

impl State {
    /// That of a connection which has just begun.
    pub(super) fn of(connection: &str) -> Self {
        State { connection: connection.into(), ..State::default() }
    }
}

/// What happens with the answer of a command. Packets for the client go into the list.
pub(super) type Then = Box<dyn FnOnce(&Arc<Link>, Answer, &mut Vec<Packet>) + Send>;
/// What a command was answered with; an error is the object that clients get.
pub(super) type Answer = Result<Value, Value>;

/// The client in the namespace.
pub(super) struct Link {
    pub(super) namespace: Namespace,
    pub(super) engine: Arc<Engine>,
    pub(super) conn: Arc<Conn>,
    input: Mutex<VecDeque<Incoming>>,
    arrived: Notify,
    alive: Notify,
    window: Arc<Semaphore>,
    state: Mutex<State>,
    pub(super) gone: CancellationToken,
    is_goodbye: AtomicBool,
}

impl Link {
    /// Begins with `connect`.
    pub(super) fn start(engine: &Arc<Engine>, namespace: Namespace, auth: &str) -> Arc<Self> {
        let app = engine.gateway.app.clone();
        let id = format!("k{}", chance::id());
        let link = Arc::new(Link {
            namespace,
            engine: engine.clone(),
            conn: Conn::conversing(&id, app.settings.queue_bytes_max, &app.queued),
            input: Mutex::default(),
            arrived: Notify::new(),
            alive: Notify::new(),
            window: Arc::new(Semaphore::new(EVENTS_MAX)),
            state: Mutex::new(State::of(&id)),
            gone: CancellationToken::new(),
            is_goodbye: AtomicBool::new(false),
        });
        let auth: Value = serde_json::from_str(auth).unwrap_or_default();
        let mut connect = json!({"do": "connect"});
        if let Some(token) = auth["token"].as_str() {
            // Some write it as it stands in a header.
            connect["token"] = json!(token.strip_prefix("Bearer ").unwrap_or(token));
        }
        link.ask(connect, Box::new(Link::connected));
        let outlet: Weak<Link> = Arc::downgrade(&link);
        link.conn.express(outlet);
        tokio::spawn(link.clone().write());
        let session = link.clone();
        app.sessions.spawn(async move {
            let visitor = Box::new(session.engine.visitor());
            let mut said = session.clone();
            let reason = session::run(session.gateway().app.clone(), session.conn.clone(), &mut said, visitor).await;
            // Without a reason the other side has gone.
            let ending = reason.unwrap_or(CloseReason::Resync);
            session.conn.close(ending);
            // Last packets are for those who still read; a transport that takes none is closed at once, so that its client
            // knows and comes back.
            let is_told = ending.drains() && tokio::time::timeout(END_TIMEOUT, session.gone.cancelled()).await.is_ok();
            session.end(false);
            if !is_told && reason.is_some() {
                session.engine.end(End::Front(ending));
            }
        });
        link
    }

    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.engine.gateway
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client leaves, on purpose or not.
    pub(super) fn end(&self, goodbye: bool) {
        if goodbye {
            self.is_goodbye.store(true, Ordering::Relaxed);
        }
        self.gone.cancel();
        self.engine.leave(self.namespace);
    }

    /// Takes in an event. Waits while too many are under way.
    pub(super) async fn hear(self: &Arc<Self>, event: Event, attachments: Vec<Bytes>) {
        let Ok(permit) = self.window.clone().acquire_owned().await else { return };
        let mut out = Vec::new();
        hear::hear(self, event, attachments, permit, &mut out);
        self.engine.send(&out).await;
    }

    /// Gives a command to the session; what it is answered with goes to `then`.
    pub(super) fn ask(&self, mut command: Value, then: Then) {
        command["id"] = json!(self.expect(then));
        self.say(command.to_string(), None);
    }

    /// The same for a frame whose values pass through as they are: `fields` follow its `id`, and bytes the frame.
    pub(super) fn ask_raw(&self, fields: &str, payload: Option<&Bytes>, then: Then) {
        let id = self.expect(then);
        self.say(format!("{{\"id\":{id},{fields}}}"), payload);
    }

    fn expect(&self, then: Then) -> u64 {
        let mut state = self.lock();
        state.next_id += 1;
        let id = state.next_id;
        state.waiting.insert(id, then);
        id
    }

    fn say(&self, frame: String, payload: Option<&Bytes>) {
        let incoming = match payload {
            None => Incoming::Text(frame),
            Some(payload) => {
                let length = (frame.len() as u32).to_be_bytes();
                Incoming::Binary([&length, frame.as_bytes(), payload].concat())
            }
        };
        self.input.lock().unwrap_or_else(PoisonError::into_inner).push_back(incoming);
        self.arrived.notify_one();
    }

    /// An event for this client alone.
    pub(super) fn emit(&self, name: &str, data: &Value, out: &mut Vec<Packet>) {
        out.push(Packet::event(self.namespace, &json!([name, data]).to_string(), 0));
    }

    fn connected(self: &Arc<Self>, answer: Answer, out: &mut Vec<Packet>) {
        match answer {
            Ok(ok) => {
                let user = ok["user"].as_str().unwrap_or_default();
                if let Some(name) = ok["name"].as_str() {
                    self.gateway().known.note_name(user, name);
                }
                let mut state = self.lock();
                state.user = user.into();
                state.early.begin();
                out.push(Packet::connected(self.namespace, &self.conn.id));
                self.engine.has_entered();
            }
            // The client comes back by itself if the transport closes, and only then.
            Err(error) if error["code"] == json!(Code::Unavailable.as_str()) => {
                self.engine.end(End::Front(CloseReason::Resync));
            }
            Err(error) => {
                let message = error["message"].as_str().unwrap_or_default();
                out.push(Packet::connect_error(self.namespace.name(), message, &error.to_string()));
                // The client may come again at once.
                self.end(false);
            }
        }
    }

    /// Writes what the session sends, until it ends.
    async fn write(self: Arc<Self>) {
        let mut out = Vec::new();
        // Once for all rounds: to ask anew takes a place in a list each time.
        let mut gone = std::pin::pin!(self.gone.cancelled());
        loop {
            let parcel = tokio::select! {
                () = &mut gone => return,
                parcel = self.conn.pull() => parcel,
            };
            let Some(mut parcel) = parcel else { break };
            loop {
                self.deliver(parcel, &mut out);
                let gathered: usize = out.iter().map(Packet::bytes).sum();
                match self.conn.pull().now_or_never() {
                    Some(Some(next)) if gathered < WRITE_BYTES_MAX => parcel = next,
                    Some(Some(next)) => {
                        self.engine.send(&out).await;
                        out.clear();
                        parcel = next;
                    }
                    Some(None) | None => break,
                }
            }
            self.engine.send(&out).await;
            out.clear();
            self.conn.put_down();
        }
        self.finish().await;
    }

    /// The session has ended.
    async fn finish(self: &Arc<Self>) {
        // Who left this namespace may stay in others.
        if self.gone.is_cancelled() {
            return;
        }
        let reason = self.conn.closing().unwrap_or(CloseReason::Resync);
        if reason.returns() {
            // Clients come back by themselves when the transport closes, and only then.
            self.end(false);
            return self.engine.end(End::Front(reason));
        }
        let code = match reason {
            CloseReason::AuthExpired => Some(Code::AuthExpired),
            CloseReason::TooLarge => Some(Code::TooLarge),
            _ => None,
        };
        let mut out = Vec::new();
        if let Some(code) = code {
            let error = FrameError::new(code, "this ends the connection: come back with what is missing");
            self.emit("error", &error_value(&error), &mut out);
        }
        out.push(Packet::disconnected(self.namespace));
        self.engine.send(&out).await;
        self.end(false);
    }

    fn deliver(self: &Arc<Self>, parcel: Parcel, out: &mut Vec<Packet>) {
        match parcel {
            Parcel::Ping => self.alive.notify_one(),
            Parcel::Reply(text) => self.answered(&text, out),
            Parcel::Event(room, event) => self.told(&room, &event, out),
        }
    }

    fn answered(self: &Arc<Self>, text: &str, out: &mut Vec<Packet>) {
        #[derive(serde::Deserialize)]
        struct Reply<'a> {
            id: Option<u64>,
            #[serde(borrow)]
            ok: Option<&'a RawValue>,
            #[serde(borrow)]
            error: Option<&'a RawValue>,
            event: Option<&'a str>,
            in_ms: Option<u64>,
            retry_after_ms: Option<u64>,
        }
        let Ok(reply) = serde_json::from_str::<Reply<'_>>(text) else { return };
        let value = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_default();
        match (reply.event, reply.ok, reply.error) {
            (Some("auth.expiring"), ..) => self.emit("auth-expiring", &json!({"in_ms": reply.in_ms}), out),
            (Some("connection.closing"), ..) => {
                self.emit("server-closing", &json!({"retry_after_ms": reply.retry_after_ms}), out);
            }
            (Some(_), ..) => {}
            (None, ok, error) => {
                let then = reply.id.and_then(|id| self.lock().waiting.remove(&id));
                let answer = match (ok, error) {
                    (Some(ok), _) => Ok(value(ok)),
                    (None, Some(error)) => Err(value(error)),
                    (None, None) => return,
                };
                match (then, answer) {
                    (Some(then), answer) => then(self, answer, out),
                    // Of nothing that was asked.
                    (None, Err(error)) => self.emit("error", &error, out),
                    (None, Ok(_)) => {}
                }
            }
        }
    }

    fn told(self: &Arc<Self>, room: &str, event: &conn::Event, out: &mut Vec<Packet>) {
        let told = event.told(|| super::out::tell(room, event, &self.gateway().known));
        if !told.emissions.is_empty() {
            let (user, ways) = {
                let state = self.lock();
                (state.user.clone(), state.places.get(room).map_or(way::ANY, |place| place.ways))
            };
            for emission in &told.emissions {
                if emission.ways & ways != 0 || emission.ways == way::ANY {
                    self.tell(emission, &user, out);
                }
            }
        }
        match &told.effect {
            Effect::Nothing => {}
            Effect::Typing(users) => self.typing(room, users, out),
            Effect::Document(rev) => {
                if let Some((_, at)) = self.lock().places.get_mut(room).and_then(|place| place.document.as_mut()) {
                    *at = (*at).max(*rev);
                }
            }
            Effect::Replaced(epoch, rev) => {
                if let Some(place) = self.lock().places.get_mut(room).filter(|place| place.document.is_some()) {
                    place.document = Some((epoch.clone(), *rev));
                }
            }
            Effect::Out => {
                self.lock().places.remove(room);
            }
            Effect::Reset => super::answer::rejoin(self, room),
            Effect::Fetch(n) => super::answer::fetch(self, room, *n),
        }
    }

    /// Sends it unless it is this client's own doing.
    fn tell(&self, emission: &Emission, user: &str, out: &mut Vec<Packet>) {
        let is_own = match &emission.to {
            To::All => false,
            To::Others(of) => **of == *user,
            To::OtherConnections(of) => **of == *self.conn.id,
        };
        if !is_own {
            out.push(emission.packet(self.namespace));
            out.extend(emission.attachment());
        }
    }

    fn typing(&self, room: &str, users: &[String], out: &mut Vec<Packet>) {
        let mut state = self.lock();
        let own = state.user.clone();
        let Some(place) = state.places.get_mut(room) else { return };
        let now: BTreeSet<String> = users.iter().filter(|user| **user != *own).cloned().collect();
        let before = std::mem::replace(&mut place.typing, now.clone());
        drop(state);
        for (user, types) in
            before.difference(&now).map(|user| (user, false)).chain(now.difference(&before).map(|user| (user, true)))
        {
            let username = self.gateway().known.name(user);
            let data = json!({"roomId": room, "userId": user, "username": &*username, "isTyping": types});
            self.emit("user-typing", &data, out);
        }
    }
}

impl Express for Link {
    fn take(self: Arc<Self>, batch: &Batch) -> bool {
        let Some(way) = self.engine.clear_way() else { return false };
        let mut out = Vec::new();
        batch.events().iter().for_each(|event| self.told(batch.room(), event, &mut out));
        way.send(&out);
        true
    }
}

/// What the session hears.
impl Source for Arc<Link> {
    async fn next(&mut self) -> Incoming {
        loop {
            let next = self.input.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(incoming) = next {
                return incoming;
            }
            tokio::select! {
                biased;
                () = self.gone.cancelled() => {
                    return Incoming::Ended { goodbye: self.is_goodbye.load(Ordering::Relaxed) };
                }
                () = self.arrived.notified() => {}
                () = self.alive.notified() => return Incoming::Alive,
            }
        }
    }
}
