//! An obvious listener: it knows what it was told, and nothing else.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use stoa_core::changes::Changes;
use stoa_core::epoch::Position;
use stoa_core::presence::{Presence, Snapshot};

use super::NAMES;
use stoa_core::bounds::Bounds;

#[derive(Deserialize)]
struct Changed<'a> {
    from: u64,
    rev: u64,
    count: usize,
    #[serde(borrow)]
    joined: Vec<&'a RawValue>,
    #[serde(borrow)]
    updated: Vec<&'a RawValue>,
    left: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    user: String,
}

#[derive(Deserialize)]
struct Cursors<'a> {
    #[serde(borrow)]
    cursors: Vec<&'a RawValue>,
    gone: Vec<String>,
}

#[derive(Deserialize)]
struct Pointing {
    connection: String,
}

#[derive(Deserialize)]
struct Typing {
    users: Vec<String>,
}

fn user_of(member: &RawValue) -> String {
    serde_json::from_str::<User>(member.get()).unwrap().user
}

pub(crate) struct Listener {
    pub(crate) position: Position,
    pub(crate) members: BTreeMap<String, String>,
    pub(crate) typing: Vec<String>,
    pub(crate) cursors: BTreeMap<String, String>,
    /// Whether what it is told again, or never knew, is a mistake.
    is_strict: bool,
    /// Whether others saw, since the last announcement, what was not announced yet: that those left is told to all.
    pub(crate) somebody_looked: bool,
    /// Whether the list that it took showed more than its position says.
    pub(crate) is_ahead: bool,
}

impl Listener {
    pub(crate) fn new(is_strict: bool) -> Self {
        let position = Position::START;
        let (members, cursors, typing) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Listener { position, members, typing, cursors, is_strict, somebody_looked: false, is_ahead: false }
    }

    /// Hears an announcement, and takes the list if it does not go on from what is known.
    pub(crate) fn hear(&mut self, frame: &str, presence: &Presence, bounds: &Bounds) {
        let changed: Changed<'_> = serde_json::from_str(frame).unwrap();
        assert!(!self.is_strict || changed.from >= self.position.rev, "told twice: {frame}");
        if changed.from > self.position.rev {
            (self.somebody_looked, self.is_ahead) = (false, false);
            return self.take_list(presence, bounds);
        }
        self.apply(&changed, frame);
        (self.position, self.somebody_looked, self.is_ahead) = (presence.position(), false, false);
        assert_eq!(self.position.rev, changed.rev);
    }

    fn apply(&mut self, changed: &Changed<'_>, frame: &str) {
        for User { user } in &changed.left {
            let was_here = self.members.remove(user).is_some();
            assert!(!self.is_strict || self.somebody_looked || was_here, "{user} left who was not here: {frame}");
        }
        for member in &changed.joined {
            let was_here = self.members.insert(user_of(member), member.get().to_owned()).is_some();
            assert!(!self.is_strict || !was_here, "joined twice: {frame}");
        }
        for member in &changed.updated {
            let was_here = self.members.insert(user_of(member), member.get().to_owned()).is_some();
            assert!(!self.is_strict || was_here, "a ghost changed: {frame}");
        }
        assert!(!self.is_strict || changed.count == self.members.len(), "{frame}");
    }

    pub(crate) fn hear_typing(&mut self, frame: &str) {
        self.typing = serde_json::from_str::<Typing>(frame).unwrap().users;
    }

    pub(crate) fn hear_cursors(&mut self, frame: &str) {
        let told: Cursors<'_> = serde_json::from_str(frame).unwrap();
        for cursor in told.cursors {
            let connection = serde_json::from_str::<Pointing>(cursor.get()).unwrap().connection;
            self.cursors.insert(connection, cursor.get().to_owned());
        }
        for connection in told.gone {
            self.cursors.remove(&connection);
        }
    }

    /// Comes back: to another server, or after having heard nothing for a while.
    pub(crate) fn come_back(&mut self, presence: &Presence, bounds: &Bounds) {
        self.is_ahead = presence.position().rev != presence.rev();
        match presence.since(self.position, NAMES, bounds) {
            Changes::Page { events, .. } => {
                // Those who left are told even to who never heard of them.
                let is_strict = std::mem::take(&mut self.is_strict);
                for (_, frame) in &events {
                    let changed: Changed<'_> = serde_json::from_str(frame).unwrap();
                    assert_eq!(changed.from, self.position.rev);
                    self.apply(&changed, frame);
                }
                let now = presence.snapshot();
                (self.position, self.is_strict) = (now.position, is_strict);
                self.take_passing(now);
            }
            _ => self.take_list(presence, bounds),
        }
    }

    fn take_list(&mut self, presence: &Presence, bounds: &Bounds) {
        let list = presence.snapshot();
        self.position = list.position;
        let named = |json: &String| serde_json::from_str::<User>(json).unwrap().user;
        self.members = listed(presence, bounds).into_iter().map(|json| (named(&json), json)).collect();
        self.take_passing(list);
    }

    fn take_passing(&mut self, list: Snapshot) {
        let named = |json: &String| serde_json::from_str::<Pointing>(json).unwrap().connection;
        self.cursors = list.cursors.iter().map(|json| (named(json), json.clone())).collect();
        self.typing = list.typing;
    }
}

/// Everybody in the list, each JSON.
pub(crate) fn listed(presence: &Presence, bounds: &Bounds) -> Vec<String> {
    let list: Vec<Box<RawValue>> = serde_json::from_str(&presence.members(bounds)).unwrap();
    list.into_iter().map(|member| member.get().to_owned()).collect()
}
