//! A WebSocket as an outlet: whoever sends writes into the socket at once; only what it does not take waits here.
//!
//! TLS ends in front of this process, at the load balancer: writing from any thread without a copy per connection needs
//! the bare TCP stream.

use super::REPLY_BYTES_MAX;
use super::budget::{Budget, Share};
use super::codec::{self, Opcode};
use super::event::{Batch, Class, Form};
use super::queue::{Overflow, Queue};
use crate::close::CloseReason;
use bytes::{Buf, Bytes};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Pieces that one system call writes: beyond it the call itself costs nothing any more.
const PIECES_AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    form: Form,
    /// What all queues may hold.
    total: Arc<Budget>,
    state: Mutex<State>,
    /// Tells the connection's own task that something waits.
    waiting: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Only while the socket takes nothing.
    backlog: Option<Box<Backlog>>,
    ending: Option<Ending>,
    /// The close frame is written or stands in the backlog.
    said_goodbye: bool,
    is_broken: bool,
}

#[derive(Debug)]
struct Backlog {
    /// The rest of a frame whose beginning is written: nothing else may be written before it.
    begun: Bytes,
    queue: Queue<Bytes>,
    /// What both hold of all queues' budget.
    share: Share,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The front ends it.
    Reason(CloseReason),
    /// What came cannot be read.
    Fault(u16, &'static str),
    /// The other side said goodbye, perhaps with a code.
    Echo(Option<u16>),
}

impl Ending {
    fn frame(self) -> Bytes {
        match self {
            Ending::Reason(reason) => codec::close_frame(reason.code(), reason.as_str()),
            Ending::Fault(code, reason) => codec::close_frame(code, reason),
            Ending::Echo(Some(code)) => codec::close_frame(code, ""),
            Ending::Echo(None) => codec::frame(Opcode::Close, &[]),
        }
    }
}

/// How far writing has come.
enum Progress {
    Written,
    /// Written to the last byte, the goodbye with it.
    Ended,
    Blocked,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, form: Form, total: &Arc<Budget>) -> Self {
        Socket { stream, form, total: total.clone(), state: Mutex::default(), waiting: Notify::new() }
    }

    pub(super) fn send(&self, batch: &Batch, durable_bytes_max: usize) -> Result<(), Overflow> {
        let mut state = self.lock();
        if state.is_over() {
            return Ok(());
        }
        let mut written = 0;
        if state.backlog.is_none() {
            let frames = batch.frames(self.form);
            written = self.write_some(&mut state, frames);
            if written == frames.len() {
                return Ok(());
            }
        }
        let backlog = state.backlog(&self.total);
        let mut queued = Ok(());
        for event in batch.events() {
            let frame = event.frame(self.form);
            if written >= frame.len() {
                written -= frame.len();
            } else if written > 0 {
                backlog.begun = frame.slice(written..);
                written = 0;
            } else {
                queued = backlog.queue.offer(&event.class, frame.clone(), durable_bytes_max);
            }
            // Nothing may come behind a hole.
            if queued.is_err() {
                break;
            }
        }
        backlog.settle();
        self.waiting.notify_one();
        queued
    }

    pub(super) fn reply(&self, text: &str) {
        self.write(codec::frame(Opcode::Text, text.as_bytes()));
    }

    pub(super) fn ping(&self) {
        self.write(codec::frame(Opcode::Ping, &[]));
    }

    /// Answers a ping. Counted like other answers, so pings that nobody reads the answers of stop the reading.
    pub(super) fn pong(&self, payload: &[u8]) {
        self.write(codec::frame(Opcode::Pong, payload));
    }

    /// Writes a finished frame, or several in one piece. Counted like answers.
    pub(super) fn write(&self, frame: Bytes) {
        let mut state = self.lock();
        if state.is_over() {
            return;
        }
        let written = if state.backlog.is_none() { self.write_some(&mut state, &frame) } else { 0 };
        if written == frame.len() {
            return;
        }
        let backlog = state.backlog(&self.total);
        if written > 0 {
            backlog.begun = frame.slice(written..);
        } else {
            // Answers always fit.
            let _ = backlog.queue.offer(&Class::Reply, frame, usize::MAX);
        }
        backlog.settle();
        self.waiting.notify_one();
    }

    /// Writes what the socket takes.
    fn write_some(&self, state: &mut State, bytes: &[u8]) -> usize {
        match self.stream.try_write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                // The connection's own task finds out what to do.
                state.is_broken = true;
                0
            }
        }
    }

    /// Returns whether this is the first reason.
    pub(super) fn close(&self, reason: CloseReason) -> bool {
        self.end(Ending::Reason(reason))
    }

    /// Ends the connection after what is queued, unless it ends already.
    pub(super) fn end(&self, ending: Ending) -> bool {
        let mut state = self.lock();
        if state.ending.is_some() {
            return false;
        }
        state.ending = Some(ending);
        if let Ending::Reason(reason) = ending
            && !reason.drains()
            && let Some(backlog) = &mut state.backlog
        {
            backlog.queue = Queue::default();
            backlog.settle();
        }
        self.waiting.notify_one();
        true
    }

    pub(super) fn closing(&self) -> Option<CloseReason> {
        match self.lock().ending {
            Some(Ending::Reason(reason)) => Some(reason),
            _ => None,
        }
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.lock().backlog.as_ref().map_or(0, |backlog| backlog.share.bytes())
    }

    pub(super) fn is_congested(&self) -> bool {
        self.lock().backlog.as_ref().is_some_and(|backlog| backlog.queue.reply_bytes() > REPLY_BYTES_MAX)
    }

    /// Writes what waits, whenever there is something, until the connection has ended in order. Tells `changed` when
    /// nothing waits any more.
    pub(super) async fn flush(&self, changed: &Notify) -> io::Result<()> {
        loop {
            match self.progress(changed)? {
                Progress::Written => self.waiting.notified().await,
                Progress::Blocked => poll_fn(|cx| self.stream.poll_write_ready(cx)).await?,
                Progress::Ended => return Ok(()),
            }
        }
    }

    fn progress(&self, changed: &Notify) -> io::Result<Progress> {
        let mut state = self.lock();
        if state.is_broken {
            state.backlog = None;
            return Err(ErrorKind::BrokenPipe.into());
        }
        loop {
            let Some(backlog) = &mut state.backlog else {
                match state.ending {
                    None => return Ok(Progress::Written),
                    Some(_) if state.said_goodbye => return Ok(Progress::Ended),
                    Some(ending) => {
                        state.said_goodbye = true;
                        state.backlog(&self.total).begun = ending.frame();
                        continue;
                    }
                }
            };
            if backlog.is_empty() {
                state.backlog = None;
                changed.notify_one();
                continue;
            }
            let mut pieces = [IoSlice::new(&[]); PIECES_AT_ONCE];
            let count = backlog.pieces(&mut pieces);
            match self.stream.try_write_vectored(&pieces[..count]) {
                Ok(written) => backlog.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Blocked),
                Err(error) => {
                    state.is_broken = true;
                    return Err(error);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.ending.is_some() || self.is_broken
    }

    fn backlog(&mut self, total: &Arc<Budget>) -> &mut Backlog {
        self.backlog.get_or_insert_with(|| {
            Box::new(Backlog { begun: Bytes::new(), queue: Queue::default(), share: Share::of(total) })
        })
    }
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.queue.is_empty()
    }

    /// Puts what is written next into `pieces`; returns how many there are.
    fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>]) -> usize {
        let begun = Some(&self.begun).filter(|begun| !begun.is_empty());
        let next = begun.into_iter().chain(self.queue.iter());
        pieces.iter_mut().zip(next).map(|(piece, bytes)| *piece = IoSlice::new(bytes)).count()
    }

    fn settle(&mut self) {
        self.share.set(self.begun.len() + self.queue.bytes());
    }

    /// Takes away what is written.
    fn advance(&mut self, written: usize) {
        self.pop(written);
        self.settle();
    }

    fn pop(&mut self, mut written: usize) {
        loop {
            let now = written.min(self.begun.len());
            self.begun.advance(now);
            written -= now;
            if written == 0 {
                return;
            }
            // A frame that has begun is no longer replaced by anything.
            let Some(next) = self.queue.pop() else { return };
            self.begun = next;
        }
    }
}
