//! The reading half of a WebSocket: bytes in, messages out. Between two messages a connection keeps nothing.

use super::budget::{Budget, Share};
use super::codec::{Decoder, Fault, Message};
use super::socket::{Ending, Socket};
use super::{Conn, Outlet};
use crate::session::{Incoming, Source};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes read at once, into memory that all connections of a thread share.
const READ_BYTES: usize = 64 * 1024;
/// Time for a message from its first byte to its last: 1 MiB over a line of 70 kbit/s.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Reads one WebSocket.
pub(super) struct Reader {
    conn: Arc<Conn>,
    decoder: Decoder,
    /// What was read behind the last message that was taken.
    ahead: Vec<u8>,
    ahead_at: usize,
    /// What is kept of all readers' budget.
    share: Share,
    /// When the message began that is not complete.
    began: Option<Instant>,
    /// How the other side has ended the connection, if it can still be answered.
    ending: Option<Ending>,
}

impl Reader {
    /// Reads on behind what was read with the handshake.
    pub(super) fn new(conn: Arc<Conn>, decoder: Decoder, ahead: &[u8], total: &Arc<Budget>) -> Self {
        let share = Share::of(total);
        Reader { conn, decoder, ahead: ahead.to_vec(), ahead_at: 0, share, began: None, ending: None }
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let conn = self.conn.clone();
        let Outlet::Socket(socket) = &conn.outlet else { return Poll::Ready(Incoming::Ended { goodbye: false }) };
        loop {
            if !self.ahead.is_empty()
                && let Some(incoming) = self.read_ahead(socket)
            {
                return Poll::Ready(incoming);
            }
            if ready!(socket.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Incoming::Ended { goodbye: false });
            }
            let read = SCRATCH.with_borrow_mut(|scratch| match socket.stream.try_read(scratch) {
                Ok(0) => Some(Incoming::Ended { goodbye: false }),
                Ok(count) => Some(self.read(socket, &mut scratch[..count])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(_) => Some(Incoming::Ended { goodbye: false }),
            });
            if let Some(incoming) = read {
                return Poll::Ready(incoming);
            }
        }
    }

    /// The next message among what was read before.
    fn read_ahead(&mut self, socket: &Socket) -> Option<Incoming> {
        let mut ahead = std::mem::take(&mut self.ahead);
        let mut rest = &mut ahead[self.ahead_at..];
        let next = self.decoder.next(&mut rest);
        let left = rest.len();
        if left > 0 {
            self.ahead_at = ahead.len() - left;
            self.ahead = ahead;
        }
        self.share.set(self.decoder.kept_bytes() + self.ahead.len());
        self.take(socket, next)
    }

    /// Takes in what was read just now.
    fn read(&mut self, socket: &Socket, mut bytes: &mut [u8]) -> Incoming {
        let next = self.decoder.next(&mut bytes);
        (self.ahead, self.ahead_at) = (bytes.to_vec(), 0);
        self.share.set(self.decoder.kept_bytes() + self.ahead.len());
        if self.share.is_exceeded() && self.share.bytes() > READ_BYTES {
            return self.fault(1013, "too much is being received; try again later");
        }
        if let Some(incoming) = self.take(socket, next) {
            return incoming;
        }
        // Part of a message.
        let began = *self.began.get_or_insert_with(Instant::now);
        if began.elapsed() > MESSAGE_TIMEOUT {
            return self.fault(1008, "a message took too long");
        }
        Incoming::Alive
    }

    fn take(&mut self, socket: &Socket, next: Result<Option<Message>, Fault>) -> Option<Incoming> {
        if matches!(next, Ok(Some(_))) && self.decoder.is_idle() {
            self.began = None;
        }
        Some(match next {
            Ok(None) => return None,
            Ok(Some(Message::Text(text))) => Incoming::Text(text),
            Ok(Some(Message::Binary(bytes))) => Incoming::Binary(bytes),
            Ok(Some(Message::Ping(payload))) => {
                socket.pong(&payload);
                Incoming::Alive
            }
            Ok(Some(Message::Pong(_))) => Incoming::Alive,
            Ok(Some(Message::Close(close))) => {
                let code = close.map(|(code, _)| code);
                self.ending = Some(Ending::Echo(code));
                // Somebody closed the page. Without a code or with another one: who knows.
                Incoming::Ended { goodbye: matches!(code, Some(1000 | 1001)) }
            }
            Err(Fault::TooLarge) => Incoming::TooLarge,
            Err(Fault::Protocol(why)) => self.fault(1002, why),
            Err(Fault::NotUtf8) => self.fault(1007, "a text that is not UTF-8"),
        })
    }

    fn fault(&mut self, code: u16, why: &'static str) -> Incoming {
        self.ending = Some(Ending::Fault(code, why));
        // The socket takes its time to go; what came over it need not.
        self.decoder.give_up();
        self.ahead = Vec::new();
        self.share.set(0);
        Incoming::Ended { goodbye: false }
    }

    /// Reads until the other side is gone too, and throws it away.
    pub(super) async fn drain(&self) {
        let Outlet::Socket(socket) = &self.conn.outlet else { return };
        poll_fn(|cx| {
            loop {
                ready!(socket.stream.poll_read_ready(cx))?;
                let read = SCRATCH.with_borrow_mut(|scratch| socket.stream.try_read(scratch));
                match read {
                    Ok(0) => return Poll::Ready(Ok(())),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        })
        .await
        .unwrap_or_default();
    }
}

impl Source for Reader {
    async fn next(&mut self) -> Incoming {
        poll_fn(|cx| self.poll(cx)).await
    }
}
