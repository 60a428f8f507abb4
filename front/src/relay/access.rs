//! Who may do what in one room: what the room's list says of those who are here through this front.
//!
//! The list is in Redis. An event only says that it has changed: then the list is asked for those whom the event is about,
//! and a hole in the revisions is a reason to ask for everybody. So an event that is lost, doubled or late can never spoil
//! more than the next answer puts right.
//!
//! What holds at any time: whoever is here knows every change up to `at`, or is in `wanted`, or is being asked for.

use super::members::Members;
use super::room::MemberId;
use crate::access::{Action, Actions, Allowance, Grant, Listed, Roles};
use crate::frame::FrameError;
use crate::module_api::{AccessList, ModuleApi};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use stoa_core::access::EVERYBODY;
use stoa_core::epoch::{Epoch, Position};
use stoa_core::event::{Header, To};

/// The rights of somebody who joins.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What the token allows in this room.
    pub token: Actions,
    /// Where the session looks up what is allowed now.
    pub allowance: Arc<Allowance>,
}

/// Somebody who is here.
struct Held {
    user: Arc<str>,
    claim: Claim,
    /// The role of their own entry.
    own: Option<Arc<str>>,
    /// They do not know yet what they may do now.
    is_untold: bool,
}

/// Who may do what in one room.
pub(super) struct Access {
    roles: Roles,
    /// Up to where changes of the list were noticed; `None` as long as nobody can say.
    at: Option<Position>,
    /// The oldest answer since `at` was lost.
    floor: Option<Position>,
    here: Members<Held>,
    everybody: Option<Arc<str>>,
    wanted: BTreeSet<Arc<str>>,
    /// A question is under way.
    is_asking: bool,
}

impl Access {
    pub(super) fn new(roles: Roles) -> Self {
        Access {
            roles,
            at: None,
            floor: None,
            here: Members::default(),
            everybody: None,
            wanted: BTreeSet::new(),
            is_asking: false,
        }
    }

    /// Whether it is known what the list says of a member.
    pub(super) fn knows(&self, member: MemberId) -> bool {
        self.here.contains(member)
    }

    /// Takes in what the list said, at that position, of somebody who joins. Refuses who may not read; else says who has
    /// to be told that they may do something else now.
    pub(super) fn admit(
        &mut self,
        member: MemberId,
        (user, claim): (Arc<str>, Claim),
        (position, listed): (Position, Listed),
    ) -> Result<Vec<MemberId>, FrameError> {
        let actions = self.roles.decide(claim.token, &listed).actions;
        actions.check(Action::Read)?;
        let is_first = self.here.is_empty();
        if is_first {
            self.at.get_or_insert(position);
        }
        let is_current = self.at == Some(position);
        if !is_current {
            // Something happened between this answer and what others know: whatever it is, the list has it.
            self.wanted.insert(user.clone());
        }
        claim.allowance.set(actions);
        self.here.insert(member, Held { user, claim, own: listed.own, is_untold: false });
        if (!is_first && !is_current) || self.everybody == listed.everybody {
            return Ok(Vec::new());
        }
        self.everybody = listed.everybody;
        Ok(self.judge(|_, _| false))
    }

    /// What a member may do now.
    pub(super) fn allowed(&self, member: MemberId) -> Actions {
        self.here.get(member).map_or(Actions::NONE, |held| held.claim.allowance.get())
    }

    /// What a member may do now, to be told to it.
    pub(super) fn tell(&mut self, member: MemberId) -> Option<Grant> {
        let held = self.here.get_mut(member)?;
        held.is_untold = false;
        let listed = Listed { own: held.own.clone(), everybody: self.everybody.clone() };
        Some(self.roles.decide(held.claim.token, &listed))
    }

    /// Whether a member does not know what it may do now; asked once.
    pub(super) fn take_untold(&mut self, member: MemberId) -> bool {
        self.here.get_mut(member).is_some_and(|held| std::mem::take(&mut held.is_untold))
    }

    /// A member is gone.
    pub(super) fn forget(&mut self, member: MemberId) {
        if let Some(held) = self.here.remove(member) {
            held.claim.allowance.set(Actions::NONE);
        }
    }

    /// A member's token says something else now. Says who has to be told.
    pub(super) fn renew(&mut self, member: MemberId, token: Actions) -> Vec<MemberId> {
        if let Some(held) = self.here.get_mut(member) {
            held.claim.token = token;
        }
        self.judge(|_, _| false)
    }

    /// The list has changed.
    pub(super) fn changed(&mut self, header: &Header) {
        let follows = match self.at {
            Some(at) if at.epoch == header.epoch && header.rev <= at.rev => return,
            Some(at) if at.epoch == header.epoch => header.from == at.rev,
            // A list that nobody has written to yet has no epoch.
            Some(at) => at.epoch == Epoch::default() && header.from == 0,
            None => false,
        };
        self.at = Some(header.position());
        match &header.to {
            To::User(user) if follows => self.want(user),
            To::Room if follows => _ = self.wanted.insert(EVERYBODY.into()),
            _ => self.want_all(),
        }
    }

    /// The list is at least here.
    pub(super) fn is_at(&mut self, head: Position) {
        if self.at.is_none_or(|at| at.epoch != head.epoch || at.rev < head.rev) {
            self.at = Some(head);
            self.want_all();
        }
    }

    /// Changes may have been missed, or the list is gone.
    pub(super) fn may_have_changed(&mut self) {
        (self.at, self.floor) = (None, None);
        self.want_all();
    }

    fn want(&mut self, user: &str) {
        if let Some(held) = self.here.iter().map(|(_, held)| held).find(|held| *held.user == *user) {
            self.wanted.insert(held.user.clone());
        }
    }

    fn want_all(&mut self) {
        self.wanted.extend(self.here.iter().map(|(_, held)| held.user.clone()));
    }

    /// Whom to ask for next, everybody apart; `None` if there is nobody, or a question is under way.
    pub(super) fn question(&mut self) -> Option<Vec<Arc<str>>> {
        if self.is_asking || self.wanted.is_empty() {
            return None;
        }
        self.is_asking = true;
        let mut users = Vec::new();
        while users.len() < ModuleApi::ACCESS_USERS_MAX
            && let Some(user) = self.wanted.pop_first()
        {
            // Of everybody each answer tells.
            if &*user != EVERYBODY {
                users.push(user);
            }
        }
        Some(users)
    }

    /// The answer to [`Access::question`]. Says who has to be told that they may do something else now.
    pub(super) fn answered(&mut self, users: &[Arc<str>], answer: AccessList) -> Vec<MemberId> {
        let AccessList { position, roles, everybody } = answer;
        self.is_asking = false;
        self.everybody = everybody;
        if self.at.is_none() {
            let floor = *self.floor.get_or_insert(position);
            self.at = self.wanted.is_empty().then_some(floor);
        }
        let roles: HashMap<&str, Option<Arc<str>>> = users.iter().map(|user| &**user).zip(roles).collect();
        self.judge(|_, held| match roles.get(&*held.user) {
            Some(role) if *role != held.own => {
                held.own = role.clone();
                true
            }
            _ => false,
        })
    }

    /// Works out anew what everybody may do. Says who has to be told: for whom it is something else, or is called
    /// something else as `renames` says.
    fn judge(&mut self, mut renames: impl FnMut(MemberId, &mut Held) -> bool) -> Vec<MemberId> {
        let mut news = Vec::new();
        for (member, held) in self.here.iter_mut() {
            let is_renamed = renames(member, held);
            let actions = self.roles.allowed(held.claim.token, held.own.as_deref(), self.everybody.as_deref());
            if is_renamed || held.claim.allowance.get() != actions {
                held.claim.allowance.set(actions);
                held.is_untold = true;
                news.push(member);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests;
