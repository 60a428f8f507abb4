//! One connection of Engine.IO: a WebSocket, or requests of HTTP until there is one. It carries the namespaces that its
//! client entered.

mod incoming;

use super::Gateway;
use super::link::Link;
use super::packet::{Event, Namespace, Packet};
use crate::close::CloseReason;
use crate::conn::Conn;
use crate::conn::budget::Share;
use crate::session::Visitor;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes that wait here beyond which whoever sends waits: what does not fit stays in the queue of the connection, where
/// it is bounded by class.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// Time in which a client may fetch the last packets after its connection has ended.
const LINGER: Duration = Duration::from_secs(5);

/// The connection.
pub(super) struct Engine {
    pub(super) id: String,
    pub(super) gateway: Arc<Gateway>,
    /// Who is at the other end, as its first request said: so much every session knows.
    visitor: Visitor,
    state: Mutex<State>,
    /// Tells a request that waits that there is something.
    arrived: Notify,
    /// Tells whoever sends that there is room again.
    taken: Notify,
    /// Held while packets go out: those of one sender stay together, and only one waits for room.
    turn: tokio::sync::Mutex<()>,
    /// A sign of life.
    heard: Notify,
    /// The client has entered a namespace.
    entered: CancellationToken,
    pub(super) gone: CancellationToken,
    ended: OnceLock<End>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client went; `true`: on purpose.
    Client(bool),
    /// The front ended it.
    Front(CloseReason),
}

struct State {
    carrier: Option<Arc<Conn>>,
    /// A WebSocket is being tried out.
    is_upgrading: bool,
    /// A request waits for packets.
    is_polled: bool,
    /// Requests, or the WebSocket, that are held back: it cannot hear signs of life.
    holds: u32,
    /// How often its client entered a namespace.
    entries: u32,
    /// What waits for a request.
    queue: VecDeque<Packet>,
    share: Share,
    links: Vec<Arc<Link>>,
    /// An event whose attachments are still to come.
    partial: Option<(Event, Vec<Bytes>)>,
}

/// What a request for packets comes to.
pub(super) enum Polled {
    Packets(Vec<Packet>),
    /// There is a WebSocket now.
    Elsewhere,
    /// Another request waits already.
    Twice,
}

impl Engine {
    pub(super) fn new(id: String, gateway: Arc<Gateway>, visitor: Visitor) -> Arc<Self> {
        let share = Share::of(&gateway.app.queued);
        Arc::new(Engine {
            id,
            gateway,
            visitor,
            state: Mutex::new(State {
                carrier: None,
                is_upgrading: false,
                is_polled: false,
                holds: 0,
                entries: 0,
                queue: VecDeque::new(),
                share,
                links: Vec::new(),
                partial: None,
            }),
            arrived: Notify::new(),
            taken: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            heard: Notify::new(),
            entered: CancellationToken::new(),
            gone: CancellationToken::new(),
            ended: OnceLock::new(),
        })
    }

    /// The first packet.
    pub(super) fn open_packet(&self, upgrades: &[&str]) -> Packet {
        let settings = &self.gateway.app.settings;
        let text = json!({"sid": self.id, "upgrades": upgrades, "pingInterval": settings.socketio_ping_interval_ms,
            "pingTimeout": settings.socketio_ping_timeout_ms, "maxPayload": settings.frame_bytes_max});
        Packet::text(&format!("0{text}"))
    }

    /// What a session has to know of its visitor.
    pub(super) fn visitor(&self) -> Visitor {
        self.visitor.clone()
    }

    /// Sends packets in their order, once those before them are on their way.
    pub(super) async fn send(&self, packets: &[Packet]) {
        if packets.is_empty() {
            return;
        }
        let _turn = self.turn.lock().await;
        loop {
            let carrier = {
                let mut state = self.lock();
                if self.gone.is_cancelled() {
                    return;
                }
                match &state.carrier {
                    Some(carrier) if carrier.queued_bytes() <= AHEAD_BYTES_MAX => {
                        carrier.carry(joined(packets));
                        return;
                    }
                    Some(carrier) => Some(carrier.clone()),
                    None if state.share.bytes() <= AHEAD_BYTES_MAX => {
                        state.push(packets);
                        self.arrived.notify_one();
                        return;
                    }
                    None => None,
                }
            };
            let room = async {
                match &carrier {
                    Some(carrier) => carrier.changed().await,
                    None => self.taken.notified().await,
                }
            };
            tokio::select! {
                () = self.gone.cancelled() => return,
                () = room => {}
            }
        }
    }

    /// The WebSocket, if nobody else sends and it takes more without waiting.
    pub(super) fn clear_way(&self) -> Option<ClearWay<'_>> {
        let turn = self.turn.try_lock().ok()?;
        let carrier = self.lock().carrier.clone()?;
        let is_clear = carrier.queued_bytes() <= AHEAD_BYTES_MAX && !self.gone.is_cancelled();
        is_clear.then_some(ClearWay { carrier, _turn: turn })
    }

    /// Sends a packet past those that wait for room.
    fn urge(&self, packet: Packet) {
        let mut state = self.lock();
        match &state.carrier {
            Some(carrier) => carrier.carry(packet.frame().clone()),
            None => {
                state.push(&[packet]);
                self.arrived.notify_one();
            }
        }
    }

    /// What waits, as soon as there is something.
    pub(super) async fn poll(&self) -> Polled {
        {
            let mut state = self.lock();
            if state.is_polled {
                return Polled::Twice;
            }
            state.is_polled = true;
        }
        let _polls = Polls(self);
        loop {
            {
                let mut state = self.lock();
                if state.carrier.is_some() {
                    return Polled::Elsewhere;
                }
                if state.is_upgrading && state.queue.is_empty() {
                    return Polled::Packets(vec![Packet::text("6")]);
                }
                let mut packets: Vec<Packet> = state.take().into();
                let is_over = self.gone.is_cancelled();
                if is_over {
                    packets.push(Packet::text("1"));
                }
                if !packets.is_empty() {
                    self.taken.notify_one();
                    return Polled::Packets(packets);
                }
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = self.gone.cancelled() => {}
            }
        }
    }

    /// A WebSocket is being tried out: a request that waits is answered, so that the client can stop asking.
    pub(super) fn begins_upgrade(&self) -> bool {
        let mut state = self.lock();
        let may = state.carrier.is_none() && !state.is_upgrading && !self.gone.is_cancelled();
        if may {
            state.is_upgrading = true;
            self.arrived.notify_one();
        }
        may
    }

    pub(super) fn gives_up_upgrade(&self) {
        self.lock().is_upgrading = false;
    }

    /// From now on packets go over this WebSocket, first those that wait.
    pub(super) fn goes_over(&self, carrier: &Arc<Conn>) {
        let mut state = self.lock();
        let waiting: Vec<Packet> = state.take().into();
        if !waiting.is_empty() {
            carrier.carry(joined(&waiting));
        }
        state.carrier = Some(carrier.clone());
        state.is_upgrading = false;
        self.taken.notify_one();
    }

    /// Whether requests of HTTP carry it.
    pub(super) fn is_polling(&self) -> bool {
        self.lock().carrier.is_none()
    }

    /// The client is somebody whom the front knows.
    pub(super) fn has_entered(&self) {
        self.entered.cancel();
    }

    /// Returns once that is so.
    pub(super) async fn entered(&self) {
        self.entered.cancelled().await;
    }

    /// A namespace is left.
    pub(super) fn leave(&self, namespace: Namespace) {
        self.lock().links.retain(|link| link.namespace != namespace);
    }

    fn link(&self, namespace: Namespace) -> Option<Arc<Link>> {
        self.lock().links.iter().find(|link| link.namespace == namespace).cloned()
    }

    /// Ends the connection. The first end counts.
    pub(super) fn end(self: &Arc<Self>, end: End) {
        if self.ended.set(end).is_err() {
            return;
        }
        let links = std::mem::take(&mut self.lock().links);
        self.gone.cancel();
        for link in links {
            link.end(end == End::Client(true));
        }
        let engine = self.clone();
        tokio::spawn(async move {
            if engine.is_polling() && matches!(end, End::Front(_)) {
                tokio::time::sleep(LINGER).await;
            }
            engine.gateway.forget(&engine.id);
        });
    }

    /// How it ended, once it has.
    pub(super) fn ended(&self) -> Option<End> {
        self.ended.get().copied()
    }

    /// Asks for signs of life until there are none.
    pub(super) async fn beat(self: Arc<Self>) {
        let settings = &self.gateway.app.settings;
        let interval = Duration::from_millis(settings.socketio_ping_interval_ms);
        let timeout = Duration::from_millis(settings.socketio_ping_timeout_ms);
        loop {
            tokio::select! {
                () = self.gone.cancelled() => return,
                () = tokio::time::sleep(interval) => self.urge(Packet::text("2")),
            }
            tokio::select! {
                () = self.gone.cancelled() => return,
                () = self.heard.notified() => {}
                () = tokio::time::sleep(timeout) => {
                    // Whoever is not read cannot give a sign.
                    if self.lock().holds == 0 {
                        return self.end(End::Front(CloseReason::PingTimeout));
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn to send, without a wait.
pub(super) struct ClearWay<'a> {
    carrier: Arc<Conn>,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl ClearWay<'_> {
    pub(super) fn send(self, packets: &[Packet]) {
        if !packets.is_empty() {
            self.carrier.carry(joined(packets));
        }
    }
}

impl State {
    fn push(&mut self, packets: &[Packet]) {
        self.queue.extend(packets.iter().cloned());
        self.share.set(self.share.bytes() + packets.iter().map(Packet::bytes).sum::<usize>());
    }

    fn take(&mut self) -> VecDeque<Packet> {
        self.share.set(0);
        std::mem::take(&mut self.queue)
    }
}

/// A request that waits. However it ends, another one may come.
struct Polls<'a>(&'a Engine);

impl Drop for Polls<'_> {
    fn drop(&mut self) {
        self.0.lock().is_polled = false;
    }
}

/// Several frames in one piece, for one write.
fn joined(packets: &[Packet]) -> Bytes {
    if let [packet] = packets {
        return packet.frame().clone();
    }
    let mut joined = BytesMut::with_capacity(packets.iter().map(Packet::bytes).sum());
    packets.iter().for_each(|packet| joined.extend_from_slice(packet.frame()));
    joined.freeze()
}
