//! What a room does when somebody may do something else than before: lets in, tells, takes out.

use super::{Actor, Control, Pending};
use crate::access::{Action, Actions, Grant, Listed};
use crate::chance;
use crate::conn::Event;
use crate::frame::{FrameError, reply};
use crate::module_api::{Opened, Outcome, SnapshotBody};
use crate::names::ACCESS;
use crate::relay::access::Access;
use crate::relay::room::{Input, MemberId, Ticket};
use std::sync::Arc;
use std::time::Duration;
use stoa_core::event::{Header, To};

/// First and longest pause between attempts to read the list, whatever the reason that it cannot be read.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(400);

impl Actor {
    /// The answer to the question of a member that joins: it is let in first, or not.
    pub(super) fn opened(&mut self, ticket: Ticket, member: MemberId, answer: Result<Vec<Opened>, FrameError>) {
        let answer = answer.and_then(|parts| self.admit(member, parts));
        let answer = answer.map(|parts| parts.into_iter().map(Arc::new).collect());
        self.step(Input::Opened { ticket, member, answer });
    }

    fn admit(&mut self, member: MemberId, mut parts: Vec<Opened>) -> Result<Vec<Opened>, FrameError> {
        let Some(list) = parts.pop_if(|part| part.stream == ACCESS) else { return Ok(parts) };
        let (Some(access), Some(pending)) = (&mut self.access, self.pending.get(&member)) else { return Ok(parts) };
        let Outcome::Snapshot { body: SnapshotBody::Access(listed), .. } = list.outcome else {
            return Err(FrameError::internal());
        };
        let news = access.admit(member, (pending.user.clone(), pending.claim.clone()), (list.position, listed))?;
        self.tell_access(news);
        Ok(parts)
    }

    /// What a member is answered that it may do.
    pub(super) fn grant_to_answer(&mut self, member: MemberId, pending: Option<&Pending>) -> Grant {
        let known = self.access.as_mut().and_then(|access| access.tell(member));
        known.unwrap_or_else(|| {
            // In one's own room it is what the token says.
            let token = pending.map_or(Actions::NONE, |pending| pending.claim.token);
            self.hub.roles().decide(token, &Listed::default())
        })
    }

    /// Lets the list change what people may do here.
    pub(super) fn with_access(&mut self, change: impl FnOnce(&mut Access) -> Vec<MemberId>) {
        if let Some(access) = &mut self.access {
            let news = change(access);
            self.tell_access(news);
        }
    }

    fn tell_access(&mut self, news: Vec<MemberId>) {
        for member in news {
            let allowed = self.access.as_ref().map_or(Actions::NONE, |access| access.allowed(member));
            // Who may not read hears nothing more; others hear it after the answer that they wait for.
            if !allowed.allow(Action::Read) || self.state.is_live(member) {
                self.tell_access_late(member);
            }
        }
    }

    /// Tells a member what it may do, if it does not know. Who may not read any more is out.
    pub(super) fn tell_access_late(&mut self, member: MemberId) {
        let Some(access) = &mut self.access else { return };
        if !access.take_untold(member) {
            return;
        }
        let Some(grant) = access.tell(member) else { return };
        let text = reply::access_frame(self.room.as_str(), &grant);
        let event = Arc::new(Event::new(self.room.as_str(), Header::kick(To::Room), text.into()));
        if grant.actions.allow(Action::Read) {
            return self.send(vec![member], event);
        }
        self.take_off_the_list(member);
        self.step(Input::Kicked { member, event });
    }

    fn take_off_the_list(&mut self, member: MemberId) {
        if let Some(presence) = &mut self.presence {
            presence.leave(member, Duration::ZERO);
        }
    }

    /// Asks what the list says of those of whom it is not known.
    pub(super) fn ask_access(&mut self) {
        let Some(users) = self.access.as_mut().and_then(|access| access.question()) else { return };
        let (api, room, inbox) = (self.hub.api().clone(), self.room.clone(), self.inbox.clone());
        self.hub.metrics().repairs.add(1);
        tokio::spawn(async move {
            let mut pause = RETRY_MIN;
            while !inbox.is_closed() {
                match api.room_access(&room, &users).await {
                    Ok(answer) => return inbox.tell(Control::Listed { users, answer }),
                    Err(error) => {
                        tracing::debug!(%room, %error, "the list of who may do what is not known; asking again")
                    }
                }
                tokio::time::sleep(pause + chance::jitter(pause)).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        });
    }
}
