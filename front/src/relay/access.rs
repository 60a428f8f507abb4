//! Who may do what in one room: what the room's list says of those who are here through this front.
//!
//! The list is in Redis. An event only says that it has changed: then the list is asked for those whom the event is about,
//! and a hole in the revisions is a reason to ask for everybody. So an event that is lost, doubled or late can never spoil
//! more than the next answer puts right.
//!
//! What holds at any time: whoever is here knows every change up to `at`, or is in `wanted`, or is being asked for.

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
    here: HashMap<MemberId, Held>,
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
            here: HashMap::new(),
            everybody: None,
            wanted: BTreeSet::new(),
            is_asking: false,
        }
    }

    /// Whether it is known what the list says of a member.
    pub(super) fn knows(&self, member: MemberId) -> bool {
        self.here.contains_key(&member)
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
        self.here.get(&member).map_or(Actions::NONE, |held| held.claim.allowance.get())
    }

    /// What a member may do now, to be told to it.
    pub(super) fn tell(&mut self, member: MemberId) -> Option<Grant> {
        let held = self.here.get_mut(&member)?;
        held.is_untold = false;
        let listed = Listed { own: held.own.clone(), everybody: self.everybody.clone() };
        Some(self.roles.decide(held.claim.token, &listed))
    }

    /// Whether a member does not know what it may do now; asked once.
    pub(super) fn take_untold(&mut self, member: MemberId) -> bool {
        self.here.get_mut(&member).is_some_and(|held| std::mem::take(&mut held.is_untold))
    }

    /// A member is gone.
    pub(super) fn forget(&mut self, member: MemberId) {
        if let Some(held) = self.here.remove(&member) {
            held.claim.allowance.set(Actions::NONE);
        }
        if self.here.is_empty() {
            self.here = HashMap::new();
        }
    }

    /// A member's token says something else now. Says who has to be told.
    pub(super) fn renew(&mut self, member: MemberId, token: Actions) -> Vec<MemberId> {
        if let Some(held) = self.here.get_mut(&member) {
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
        if let Some(held) = self.here.values().find(|held| *held.user == *user) {
            self.wanted.insert(held.user.clone());
        }
    }

    fn want_all(&mut self) {
        self.wanted.extend(self.here.values().map(|held| held.user.clone()));
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
        for (member, held) in &mut self.here {
            let is_renamed = renames(*member, held);
            let actions = self.roles.allowed(held.claim.token, held.own.as_deref(), self.everybody.as_deref());
            if is_renamed || held.claim.allowance.get() != actions {
                held.claim.allowance.set(actions);
                held.is_untold = true;
                news.push(*member);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch { number: 1, id: 7 };

    fn at(rev: u64) -> Position {
        Position { epoch: EPOCH, rev }
    }

    fn actions(role: &str) -> Actions {
        Roles::default().actions(role).unwrap()
    }

    /// A list, and what a room makes of it.
    struct Bench {
        access: Access,
        list: HashMap<String, String>,
        rev: u64,
        asked: Vec<Vec<String>>,
        allowances: HashMap<MemberId, Arc<Allowance>>,
    }

    impl Bench {
        fn new() -> Self {
            let access = Access::new(Roles::default());
            Bench { access, list: HashMap::new(), rev: 0, asked: Vec::new(), allowances: HashMap::new() }
        }

        fn role(&self, user: &str) -> Option<Arc<str>> {
            self.list.get(user).map(|role| role.as_str().into())
        }

        fn position(&self) -> Position {
            if self.rev == 0 { Position { epoch: Epoch::default(), rev: 0 } } else { at(self.rev) }
        }

        fn join(&mut self, member: MemberId, user: &str, token: &str) -> Result<Vec<MemberId>, FrameError> {
            let claim = Claim { token: actions(token), allowance: Arc::default() };
            self.allowances.insert(member, claim.allowance.clone());
            let listed = Listed { own: self.role(user), everybody: self.role(EVERYBODY) };
            self.access.admit(member, (user.into(), claim), (self.position(), listed))
        }

        /// Changes the list, and answers the event that says so.
        fn write(&mut self, user: &str, role: &str) -> Header {
            self.list.insert(user.to_owned(), role.to_owned());
            self.rev += 1;
            let to = if user == EVERYBODY { To::Room } else { To::User(user.to_owned()) };
            Header { to, ..Header::durable("access", EPOCH, self.rev - 1, self.rev) }
        }

        fn ask(&mut self) -> Option<Vec<Arc<str>>> {
            let users = self.access.question()?;
            self.asked.push(users.iter().map(|user| user.to_string()).collect());
            Some(users)
        }

        fn answer(&mut self, users: &[Arc<str>]) -> Vec<MemberId> {
            let roles = users.iter().map(|user| self.role(user)).collect();
            let answer = AccessList { position: self.position(), roles, everybody: self.role(EVERYBODY) };
            self.access.answered(users, answer)
        }

        /// Asks and answers until nobody is left to ask for; who was told something.
        fn settle(&mut self) -> Vec<MemberId> {
            let mut news = Vec::new();
            while let Some(users) = self.ask() {
                news.extend(self.answer(&users));
            }
            news.sort_unstable();
            news
        }

        fn allowed(&self, member: MemberId) -> String {
            self.allowances[&member].get().to_string()
        }
    }

    #[test]
    fn who_is_shut_out_is_not_admitted() {
        let mut bench = Bench::new();
        bench.write("ada", "none");
        assert!(bench.join(1, "ada", "owner").is_err());
        assert!(!bench.access.knows(1));
        bench.write("bo", "viewer");
        assert_eq!(bench.join(2, "bo", "none"), Ok(Vec::new()));
        assert_eq!(bench.allowed(2), "read");
    }

    #[test]
    fn a_change_is_asked_for_and_told_to_whom_it_is_about() {
        let mut bench = Bench::new();
        bench.join(1, "ada", "editor").unwrap();
        bench.join(2, "bo", "editor").unwrap();
        bench.join(3, "ada", "viewer").unwrap();
        assert!(bench.settle().is_empty());
        let event = bench.write("ada", "commenter");
        bench.access.changed(&event);
        assert_eq!(bench.settle(), [1, 3]);
        assert_eq!(bench.asked, [["ada"]]);
        assert_eq!([1, 2, 3].map(|member| bench.allowed(member)), ["read+talk", "read+talk+edit", "read+talk"]);
        bench.access.changed(&event);
        assert!(bench.settle().is_empty(), "an event that comes twice says nothing new");
    }

    #[test]
    fn what_is_said_of_everybody_reaches_those_without_an_entry() {
        let mut bench = Bench::new();
        bench.write("bo", "viewer");
        bench.join(1, "ada", "viewer").unwrap();
        bench.join(2, "bo", "viewer").unwrap();
        let event = bench.write(EVERYBODY, "editor");
        bench.access.changed(&event);
        assert_eq!(bench.settle(), [1]);
        assert_eq!([1, 2].map(|member| bench.allowed(member)), ["read+talk+edit", "read"]);
    }

    #[test]
    fn a_lost_event_is_noticed_by_the_next_one_or_by_the_heads() {
        let mut bench = Bench::new();
        bench.join(1, "ada", "editor").unwrap();
        bench.join(2, "bo", "editor").unwrap();
        bench.write("ada", "none");
        let event = bench.write("zoe", "viewer");
        bench.access.changed(&event);
        assert_eq!(bench.settle(), [1]);
        bench.write("bo", "none");
        bench.access.is_at(at(3));
        assert_eq!(bench.settle(), [2]);
        bench.access.is_at(at(3));
        assert_eq!(bench.ask(), None, "heads that are known ask for nobody");
    }

    #[test]
    fn what_happens_while_the_list_is_asked_is_asked_for_again() {
        let mut bench = Bench::new();
        bench.join(1, "ada", "editor").unwrap();
        let event = bench.write("ada", "viewer");
        bench.access.changed(&event);
        let users = bench.ask().unwrap();
        let early = AccessList { position: at(1), roles: vec![bench.role("ada")], everybody: None };
        let event = bench.write("ada", "none");
        bench.access.changed(&event);
        assert_eq!(bench.ask(), None, "one question at a time");
        assert_eq!(bench.access.answered(&users, early), [1]);
        assert_eq!(bench.settle(), [1]);
        assert_eq!(bench.allowed(1), "none");
    }

    #[test]
    fn an_answer_to_a_join_that_is_older_than_what_others_know_is_asked_for_again() {
        let mut bench = Bench::new();
        bench.join(1, "bo", "viewer").unwrap();
        let event = bench.write("ada", "none");
        bench.access.changed(&event);
        bench.settle();
        // Ada was asked for before she was shut out, and the answer comes only now.
        let claim = Claim { token: actions("editor"), allowance: Arc::default() };
        bench.allowances.insert(2, claim.allowance.clone());
        let old = (Position { epoch: Epoch::default(), rev: 0 }, Listed::default());
        bench.access.admit(2, ("ada".into(), claim), old).unwrap();
        assert_eq!(bench.settle(), [2]);
        assert_eq!(bench.allowed(2), "none");
    }

    /// The list changes and is read at any moments; events come late, twice or never, but heads come in the end.
    #[test]
    fn in_the_end_everybody_may_do_what_the_list_says() {
        let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % below
        };
        for round in 0..3_000 {
            let mut bench = Bench::new();
            let (mut events, mut joins, mut asks) = (Vec::new(), Vec::new(), Vec::new());
            let mut members: HashMap<MemberId, (&str, &str)> = HashMap::new();
            for step in 0..draw(60) {
                let user = ["ada", "bo", "cy", EVERYBODY][draw(4) as usize];
                match draw(8) {
                    0 | 1 => events.push(bench.write(user, ["none", "viewer", "editor"][draw(3) as usize])),
                    2 if user != EVERYBODY => {
                        let listed = Listed { own: bench.role(user), everybody: bench.role(EVERYBODY) };
                        joins.push((step, user, ["none", "viewer"][draw(2) as usize], bench.position(), listed));
                    }
                    3 if !joins.is_empty() => {
                        let (member, user, token, position, listed) = joins.remove(draw(joins.len() as u64) as usize);
                        let claim = Claim { token: actions(token), allowance: Arc::default() };
                        bench.allowances.insert(member, claim.allowance.clone());
                        if bench.access.admit(member, (user.into(), claim), (position, listed)).is_ok() {
                            members.insert(member, (user, token));
                        }
                    }
                    4 if !events.is_empty() => {
                        let event = events.remove(0);
                        // One in four is lost, one in four comes twice.
                        let times = [0, 1, 1, 2][draw(4) as usize];
                        (0..times).for_each(|_| bench.access.changed(&event));
                    }
                    5 => bench.access.may_have_changed(),
                    6 => {
                        if let Some(users) = bench.ask() {
                            let roles = users.iter().map(|user| bench.role(user)).collect();
                            let (position, everybody) = (bench.position(), bench.role(EVERYBODY));
                            asks.push((users, AccessList { position, roles, everybody }));
                        }
                    }
                    7 => {
                        if let Some((users, answer)) = asks.pop() {
                            bench.access.answered(&users, answer);
                        }
                    }
                    _ => {}
                }
            }
            for (users, answer) in asks {
                bench.access.answered(&users, answer);
            }
            for event in events {
                bench.access.changed(&event);
            }
            if bench.rev > 0 {
                bench.access.is_at(bench.position());
            }
            bench.settle();
            for (member, (user, token)) in members {
                let (own, everybody) = (bench.role(user), bench.role(EVERYBODY));
                let right = Roles::default().allowed(actions(token), own.as_deref(), everybody.as_deref());
                assert_eq!(bench.allowed(member), right.to_string(), "round {round}: {user} with {token}");
            }
        }
    }
}
