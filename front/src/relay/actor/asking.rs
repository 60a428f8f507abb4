//! What a room asks Redis: the streams of who joins, what it misses itself, and what came of listing somebody.

use super::{Actor, Control};
use crate::chance;
use crate::conn::Event;
use crate::frame::{Code, FrameError, reply};
use crate::names::ACCESS;
use crate::relay::inbox::Inbox;
use crate::relay::presence::News;
use crate::relay::room::{Ask, Input, MemberId, Ticket};
use std::sync::Arc;
use std::time::Duration;
use stoa_core::epoch::Position;
use stoa_core::event::{Header, To};

/// First and longest pause between attempts to read what is missing.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(800);
/// Rooms without a known gap repair themselves within this time after a reconnection: not all in one instant.
const CALM_JITTER_MAX: Duration = Duration::from_millis(200);

impl Actor {
    pub(super) fn open(&mut self, ticket: Ticket, member: MemberId, ask: Ask, again: bool) {
        let pending = self.pending.get_mut(&member).filter(|_| !again);
        if let Some(pending) = pending
            && let Some(here) = pending.here.take()
        {
            // Listed first, so that the answer shows the joiner too.
            pending.open = Some((ticket, ask));
            return self.presence().join(member, here);
        }
        self.call_open(ticket, member, ask, again);
    }

    pub(super) fn presence_known(&mut self, news: News) {
        let (member, kicked) = match news {
            News::Kicked(member) => (member, true),
            News::Joined(member, joined) => {
                let kicked = matches!(&joined, Err(error) if error.code == Code::Kicked);
                let open = self.pending.get_mut(&member).and_then(|pending| pending.open.take());
                match (open, joined) {
                    (Some((ticket, ask)), Ok(())) => self.call_open(ticket, member, ask, false),
                    (Some((ticket, _)), Err(error)) => self.step(Input::Opened { ticket, member, answer: Err(error) }),
                    (None, _) => {}
                }
                (member, kicked)
            }
        };
        if kicked {
            let text = reply::kicked_frame(self.room.as_str());
            let event = Event::new(self.room.as_str(), Header::kick(To::Room), text.into());
            self.step(Input::Kicked { member, event: Arc::new(event) });
        }
    }

    fn call_open(&self, ticket: Ticket, member: MemberId, mut ask: Ask, again: bool) {
        let (api, room, inbox) = (self.hub.api().clone(), self.room.clone(), self.inbox.clone());
        let user = self.pending.get(&member).filter(|_| !again).map(|pending| pending.user.clone());
        if user.is_some() && self.access.as_ref().is_some_and(|access| !access.knows(member)) {
            ask.push((ACCESS.into(), None));
        }
        tokio::spawn(async move {
            let answer = if again {
                persist(&inbox, || api.room_open(&room, None, &ask)).await
            } else {
                api.room_open(&room, user.as_deref(), &ask).await
            };
            inbox.tell(Control::Opened { ticket, member, answer });
        });
    }

    pub(super) fn fetch(&self, ticket: Ticket, stream: Arc<str>, position: Option<Position>, calm: bool) {
        tracing::debug!(room = %self.room, %stream, calm, "reading what may be missing");
        self.hub.metrics().repairs.add(1);
        let (api, room, inbox) = (self.hub.api().clone(), self.room.clone(), self.inbox.clone());
        tokio::spawn(async move {
            if calm {
                tokio::time::sleep(chance::jitter(CALM_JITTER_MAX)).await;
            }
            let ask = [(stream.clone(), position)];
            let parts = persist(&inbox, || api.room_open(&room, None, &ask)).await;
            let answer = parts.and_then(|mut parts| parts.pop().ok_or_else(FrameError::internal)).map(Arc::new);
            inbox.tell(Control::Input(Input::Fetched { ticket, stream, answer }));
        });
    }
}

/// Asks until Redis answers or the room has ended.
async fn persist<T, F>(inbox: &Inbox, mut ask: impl FnMut() -> F) -> Result<T, FrameError>
where
    F: Future<Output = Result<T, FrameError>>,
{
    let mut pause = RETRY_MIN;
    loop {
        match ask().await {
            Err(error) if error.code.retry() && !inbox.is_closed() => {
                tokio::time::sleep(pause + chance::jitter(pause)).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
            answer => return answer,
        }
    }
}
