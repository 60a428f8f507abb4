//! What a live room hears from the front and from Redis, in order and bounded. An empty one keeps no memory: most rooms
//! are the personal ones of people to whom nothing happens.

use super::actor::Control;
use super::room::Input;
use crate::frame::{Code, FrameError};
use crate::redis::subscriptions::Listener;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Events that wait for one room, in number. Beyond it they are dropped, which the room repairs.
pub(super) const ROOM_EVENTS_MAX: usize = 4096;
/// Requests of members that wait for one room, in number: a second's worth of joins. Beyond it they are refused.
///
/// What follows from an admitted request (its answer from Redis, that it is live, that it leaves) is always taken in;
/// there is a bounded number of such things for each.
pub(super) const ROOM_REQUESTS_MAX: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    control: VecDeque<Control>,
    events: VecDeque<Bytes>,
    lagged: bool,
    closed: bool,
    reader: Option<Waker>,
}

impl Inbox {
    /// Tells the room what follows from something that was admitted. A room that has ended has nobody to disappoint.
    pub(super) fn tell(&self, control: Control) {
        let mut state = self.lock();
        if !state.closed {
            state.control.push_back(control);
        }
        wake(state);
    }

    /// Asks the room for something, if not too many ask already.
    pub(super) fn ask(&self, request: Control) -> Result<(), FrameError> {
        if self.lock().control.len() >= ROOM_REQUESTS_MAX {
            return Err(FrameError::new(Code::Busy, "too many requests wait for this room; send the same again"));
        }
        self.tell(request);
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn has_control(&self) -> bool {
        !self.lock().control.is_empty()
    }

    /// Takes nothing in from here on, and forgets what waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = (std::mem::take(&mut state.control), std::mem::take(&mut state.events));
        drop(state);
        drop(dropped);
    }

    pub(super) fn take_lagged(&self) -> bool {
        std::mem::take(&mut self.lock().lagged)
    }

    pub(super) fn poll_control(&self, cx: &mut Context<'_>) -> Poll<Control> {
        let mut state = self.lock();
        if let Some(control) = state.control.pop_front() {
            return Poll::Ready(control);
        }
        state.control = VecDeque::new();
        state.wait(cx)
    }

    /// Up to `count` events.
    pub(super) fn poll_events(&self, cx: &mut Context<'_>, count: usize) -> Poll<VecDeque<Bytes>> {
        let mut state = self.lock();
        if state.events.is_empty() {
            return state.wait(cx);
        }
        let events = &mut state.events;
        let later = events.split_off(count.min(events.len()));
        Poll::Ready(std::mem::replace(events, later))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if self.reader.as_ref().is_none_or(|reader| !reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl Listener for Inbox {
    fn subscribed(&self) {
        self.tell(Control::Input(Input::Subscribed));
    }
    fn unsubscribed(&self) {
        self.tell(Control::Input(Input::Unsubscribed));
    }
    fn event(&self, bytes: Bytes) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.events.len() < ROOM_EVENTS_MAX {
            state.events.push_back(bytes);
        } else {
            state.lagged = true;
        }
        wake(state);
    }
    fn lagged(&self) {
        self.tell(Control::Input(Input::Lagged));
    }
}
