//! One connection as the rest of the front sees it: `send`, `reply`, `close`, over a queue that is bounded in bytes.
//!
//! Nothing here waits for a socket: whoever sends to a thousand connections is never held up by one of them.
//!
//! Behind a connection stands an outlet. `socket` is a WebSocket: frames go straight into the socket from whoever sends
//! them, and only what the socket does not take waits. `pulled` is for everything that writes its own form of an event
//! when it can: it comes for what waits.
//!
//! Read in this order: `event` is what goes out, `queue` the bounds of one connection and [`budget`] those of all, `codec`
//! and `deflate` the wire without I/O, `socket` and [`upgrade`] the I/O, `wheel` the time.

pub mod budget;
pub mod codec;
pub mod deflate;
pub mod upgrade;

mod event;
mod pulled;
mod queue;
mod reader;
mod socket;
mod text;
mod utf8;
mod wheel;

pub use event::{BATCH_BYTES_MAX, Batch, Class, DEFLATE_BYTES_MIN, Event, Form};
pub(crate) use pulled::Express;
pub use queue::Parcel;
pub use text::Text;
pub(crate) use wheel::Wheel;

use crate::close::CloseReason;
use crate::names::Room;
use budget::Budget;
use bytes::Bytes;
use pulled::Pulled;
use queue::Overflow;
use socket::Socket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Queued bytes above which ephemeral events are dropped: what is behind by 64 KiB has no use for a cursor.
pub const EPHEMERAL_BYTES_MAX: usize = 64 * 1024;
/// Queued bytes of replies above which no further command is read.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// The sending half of a connection.
#[derive(Debug)]
pub struct Conn {
    /// Chosen by the front; clients see it.
    pub id: Arc<str>,
    queue_bytes_max: usize,
    /// Tells the session that something it waits for may have come: room in the queue, the end, its time, or that it
    /// is out of a room.
    changed: Notify,
    /// Rooms that the connection was taken out of, until its session has heard of it.
    lost: Mutex<Vec<Room>>,
    outlet: Outlet,
}

#[derive(Debug)]
enum Outlet {
    Socket(Socket),
    Pulled(Pulled),
}

impl Conn {
    /// A connection whose outlet takes what is queued by [`Conn::pull`]. All queues together hold `total`.
    pub fn pulled(id: &str, queue_bytes_max: usize, total: &Arc<Budget>) -> Arc<Self> {
        Self::new(id, queue_bytes_max, Outlet::Pulled(Pulled::new(total, false)))
    }

    /// The same for a connection over which commands come.
    pub(crate) fn conversing(id: &str, queue_bytes_max: usize, total: &Arc<Budget>) -> Arc<Self> {
        Self::new(id, queue_bytes_max, Outlet::Pulled(Pulled::new(total, true)))
    }

    /// Asks this outlet whether it takes events at once while nothing waits. It says with [`Conn::put_down`] when what it
    /// pulled is on its way.
    pub(crate) fn express(&self, outlet: Weak<dyn Express>) {
        if let Outlet::Pulled(pulled) = &self.outlet {
            pulled.express(outlet);
        }
    }

    /// All that was pulled is on its way.
    pub(crate) fn put_down(&self) {
        if let Outlet::Pulled(pulled) = &self.outlet {
            pulled.put_down();
        }
    }

    /// A WebSocket after its handshake.
    fn socket(id: &str, queue_bytes_max: usize, stream: TcpStream, form: Form, total: &Arc<Budget>) -> Arc<Self> {
        Self::new(id, queue_bytes_max, Outlet::Socket(Socket::new(stream, form, total)))
    }

    fn new(id: &str, queue_bytes_max: usize, outlet: Outlet) -> Arc<Self> {
        Arc::new(Conn { id: id.into(), queue_bytes_max, changed: Notify::new(), lost: Mutex::default(), outlet })
    }

    /// Sends events. If durable ones no longer fit, the connection is closed: the client resumes without loss.
    pub fn send(&self, batch: &Batch) {
        let sent = match &self.outlet {
            Outlet::Socket(socket) => socket.send(batch, self.queue_bytes_max),
            Outlet::Pulled(pulled) => pulled.send(batch, self.queue_bytes_max),
        };
        if sent == Err(Overflow) {
            self.close(CloseReason::Slow);
        }
    }

    /// Sends the answer to a command.
    pub fn reply(&self, text: String) {
        match &self.outlet {
            Outlet::Socket(socket) => socket.reply(&text),
            Outlet::Pulled(pulled) => pulled.reply(text.into()),
        }
    }

    /// Writes finished frames of a WebSocket that carries something else than a session.
    pub(crate) fn carry(&self, frames: Bytes) {
        if let Outlet::Socket(socket) = &self.outlet {
            socket.write(frames);
        }
    }

    /// Asks the other side for a sign of life.
    pub fn ping(&self) {
        match &self.outlet {
            Outlet::Socket(socket) => socket.ping(),
            Outlet::Pulled(pulled) => pulled.ping(),
        }
    }

    /// Ends the connection, after what is queued if the reason allows. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let closed = match &self.outlet {
            Outlet::Socket(socket) => socket.close(reason),
            Outlet::Pulled(pulled) => pulled.close(reason),
        };
        if closed {
            self.changed.notify_one();
        }
    }

    /// Whether the connection is ending, and why.
    pub fn closing(&self) -> Option<CloseReason> {
        match &self.outlet {
            Outlet::Socket(socket) => socket.closing(),
            Outlet::Pulled(pulled) => pulled.closing(),
        }
    }

    /// Bytes that wait for this connection.
    pub fn queued_bytes(&self) -> usize {
        match &self.outlet {
            Outlet::Socket(socket) => socket.queued_bytes(),
            Outlet::Pulled(pulled) => pulled.queued_bytes(),
        }
    }

    /// Whether so many replies wait that no further command should be read.
    pub fn is_congested(&self) -> bool {
        match &self.outlet {
            Outlet::Socket(socket) => socket.is_congested(),
            Outlet::Pulled(pulled) => pulled.is_congested(),
        }
    }

    /// Returns once the connection may no longer be congested, has been closed, or was woken. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Tells the session that the connection is out of a room.
    pub fn lose(&self, room: Room) {
        self.lost().push(room);
        self.changed.notify_one();
    }

    /// It is in that room again, and has not heard that it was out.
    pub fn regain(&self, room: &Room) {
        self.lost().retain(|lost| lost != room);
    }

    /// The rooms that the connection is out of, each told once.
    pub fn take_lost(&self) -> Vec<Room> {
        std::mem::take(&mut *self.lost())
    }

    fn lost(&self) -> MutexGuard<'_, Vec<Room>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether commands come over it, or it only listens.
    pub fn hears_commands(&self) -> bool {
        match &self.outlet {
            Outlet::Socket(_) => true,
            Outlet::Pulled(pulled) => pulled.hears_commands,
        }
    }

    /// Makes the session look at the clock.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// The next thing to write; `None` once the connection has been closed and all is written. For one caller, and for
    /// a connection made by [`Conn::pulled`]; others have an outlet that needs nobody.
    pub async fn pull(&self) -> Option<Parcel> {
        match &self.outlet {
            Outlet::Socket(_) => None,
            Outlet::Pulled(pulled) => pulled.pull(&self.changed).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoa_core::epoch::Epoch;
    use stoa_core::event::Header;

    fn batch(text: &str) -> Batch {
        let event = Event::new("lobby", Header::durable("log", Epoch::default(), 0, 1), text.into());
        Batch::new("lobby".into(), Arc::new(event))
    }

    #[tokio::test]
    async fn a_connection_that_cannot_keep_up_with_durable_events_is_closed() {
        let conn = Conn::pulled("k1", 100, &Budget::new(usize::MAX));
        conn.send(&batch(&"x".repeat(500)));
        assert_eq!(conn.closing(), None, "one event may be larger than the bound");
        conn.send(&batch("y"));
        assert_eq!(conn.closing(), Some(CloseReason::Slow));
        assert!(conn.pull().await.is_none(), "nothing more is sent");
    }

    #[tokio::test]
    async fn an_outlet_takes_events_at_once_unless_that_would_overtake_something() {
        #[derive(Default)]
        struct Taker(Mutex<Vec<String>>);
        impl Express for Taker {
            fn take(self: Arc<Self>, batch: &Batch) -> bool {
                let mut taken = self.0.lock().unwrap();
                taken.extend(batch.events().iter().map(|event| event.text.to_string()));
                true
            }
        }
        let taker = Arc::new(Taker::default());
        let conn = Conn::conversing("k1", 1000, &Budget::new(usize::MAX));
        let outlet: Weak<Taker> = Arc::downgrade(&taker);
        conn.express(outlet);
        conn.send(&batch("a"));
        conn.reply("answer".into());
        conn.send(&batch("b"));
        assert!(matches!(conn.pull().await, Some(Parcel::Reply(_))));
        assert!(matches!(conn.pull().await, Some(Parcel::Event(..))));
        conn.send(&batch("c"));
        assert_eq!(*taker.0.lock().unwrap(), ["a"], "b is not on its way yet");
        assert!(matches!(conn.pull().await, Some(Parcel::Event(..))));
        conn.put_down();
        conn.send(&batch("d"));
        assert_eq!(*taker.0.lock().unwrap(), ["a", "d"]);
    }

    #[tokio::test]
    async fn replies_never_close_but_stop_the_reading() {
        let conn = Conn::pulled("k1", 100, &Budget::new(usize::MAX));
        conn.reply("x".repeat(REPLY_BYTES_MAX + 1));
        assert!(conn.is_congested() && conn.closing().is_none());
        assert!(matches!(conn.pull().await, Some(Parcel::Reply(_))));
        conn.changed().await;
        assert!(!conn.is_congested());
    }

    #[tokio::test]
    async fn the_first_reason_to_close_stays_and_comes_after_what_is_queued() {
        let conn = Conn::pulled("k1", 100, &Budget::new(usize::MAX));
        conn.reply("bye".into());
        conn.close(CloseReason::Shutdown);
        conn.close(CloseReason::Slow);
        conn.reply("too late".into());
        assert!(matches!(conn.pull().await, Some(Parcel::Reply(text)) if &*text == "bye"));
        assert!(conn.pull().await.is_none());
        assert_eq!(conn.closing(), Some(CloseReason::Shutdown));
    }

    #[tokio::test]
    async fn events_come_with_their_room_and_their_position() {
        let conn = Conn::pulled("k1", 100, &Budget::new(usize::MAX));
        conn.send(&batch("{}"));
        let Some(Parcel::Event(room, event)) = conn.pull().await else { panic!("an event waits") };
        assert_eq!((&*room, event.header.stream.as_str(), event.header.rev, &*event.text), ("lobby", "log", 1, "{}"));
    }
}
