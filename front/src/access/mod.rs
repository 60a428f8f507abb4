//! Who may do what in a room: actions, the roles that name sets of them, what a token opens, and the rule that puts the
//! token and the room's own list together.
//!
//! Nothing here asks anybody: the token is in `auth`, the room's list in the module.

#[cfg(test)]
mod tests;

use crate::frame::{Code, FrameError};
use crate::names::Room;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Longest name of a role, and longest list of actions in its place, in bytes: what the module stores.
pub const ROLE_BYTES_MAX: usize = 64;
/// The role of who is shut out.
pub const NONE: &str = "none";

/// What somebody wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Join, read, be listed as here, point.
    Read,
    /// Say something: messages, reactions, events of the application, typing.
    Talk,
    /// Change documents.
    Edit,
    /// Say who may do what here, and take people out.
    Manage,
}

impl Action {
    const ALL: [Action; 4] = [Action::Read, Action::Talk, Action::Edit, Action::Manage];

    /// The word in roles and in frames.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::Talk => "talk",
            Action::Edit => "edit",
            Action::Manage => "manage",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Action::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// A set of actions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(u8);

impl Actions {
    /// Nothing at all.
    pub const NONE: Actions = Actions(0);

    /// These.
    pub const fn of(list: &[Action]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u8;
            at += 1;
        }
        Actions(bits)
    }

    /// Whether the action is among them.
    pub fn allow(self, action: Action) -> bool {
        self.0 & (1 << action as u8) != 0
    }

    /// Refuses an action that is not among them. A room that does not exist is refused in the same words.
    pub fn check(self, action: Action) -> Result<(), FrameError> {
        if self.allow(action) {
            return Ok(());
        }
        let message = format!("you may not {} in this room", action.as_str());
        Err(FrameError::new(Code::PermissionDenied, message))
    }

    /// The words of all of them.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Action::ALL.into_iter().filter(move |action| self.allow(*action)).map(Action::as_str)
    }

    /// As a byte, see [`Actions::from_bits`].
    pub fn bits(self) -> u8 {
        self.0
    }

    /// What [`Actions::bits`] came from.
    pub fn from_bits(bits: u8) -> Self {
        Actions(bits & ALL.0)
    }

    /// `read+talk`
    fn parse(text: &str) -> Option<Self> {
        text.split('+').map(Action::parse).try_fold(Actions::NONE, |sum, action| Some(sum | Actions::of(&[action?])))
    }
}

impl BitOr for Actions {
    type Output = Actions;
    fn bitor(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }
}

/// `read+talk`, or `none`.
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Actions::NONE {
            return f.write_str(NONE);
        }
        f.write_str(&self.words().collect::<Vec<_>>().join("+"))
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const READ: Actions = Actions::of(&[Action::Read]);
const TALK: Actions = Actions::of(&[Action::Read, Action::Talk]);
const EDIT: Actions = Actions::of(&[Action::Read, Action::Talk, Action::Edit]);
const ALL: Actions = Actions::of(&Action::ALL);

/// The roles that are always there.
const BUILT_IN: [(&str, Actions); 5] =
    [(NONE, Actions::NONE), ("viewer", READ), ("commenter", TALK), ("editor", EDIT), ("owner", ALL)];

/// A role of the operator, as `reviewer=read+talk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    name: String,
    actions: Actions,
}

impl Role {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, actions) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form role=actions"))?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if name.is_empty() || name.len() > ROLE_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(format!("a role's name is 1 to {ROLE_BYTES_MAX} of A-Z a-z 0-9 _ . -"));
        }
        let is_taken = BUILT_IN.iter().any(|(known, _)| *known == name) || Action::parse(name).is_some();
        if is_taken || name == "r" || name == "rw" {
            return Err(format!("`{name}` means something already: choose another name"));
        }
        let actions = Actions::parse(actions)
            .ok_or_else(|| format!("`{actions}`: actions are read, talk, edit and manage, joined by +"))?;
        Ok(Role { name: name.to_owned(), actions })
    }
}

/// What the words mean that name roles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(Arc<[Role]>);

impl Roles {
    /// The built-in roles and these.
    pub fn new(own: &[Role]) -> Self {
        Roles(own.into())
    }

    /// What a role, or a list of actions in its place, allows. `None` if nobody knows it.
    pub fn actions(&self, role: &str) -> Option<Actions> {
        let built_in = BUILT_IN.iter().find(|(name, _)| *name == role).map(|(_, actions)| *actions);
        let own = || self.0.iter().find(|own| own.name == role).map(|own| own.actions);
        built_in.or_else(own).or_else(|| Actions::parse(role))
    }

    /// The shortest way to name a set of actions.
    pub fn name(&self, actions: Actions) -> String {
        let built_in = BUILT_IN.iter().find(|(_, known)| *known == actions).map(|(name, _)| (*name).to_owned());
        let own = || self.0.iter().find(|own| own.actions == actions).map(|own| own.name.clone());
        built_in.or_else(own).unwrap_or_else(|| actions.to_string())
    }
}

/// Which rooms a token opens, and for what.
#[derive(Debug, Clone, PartialEq)]
pub struct Rights(Vec<(String, Actions)>);

impl Rights {
    /// What a token without a claim opens: every room, for everything but to manage it.
    pub fn open() -> Self {
        Rights(vec![("*".into(), EDIT)])
    }

    /// Reads a claim: patterns, each a room's name or a prefix that ends in `*`, to a role, to actions, or to `r` or
    /// `rw`.
    pub fn read(claim: BTreeMap<String, String>, roles: &Roles) -> Result<Self, &'static str> {
        let patterns = claim.into_iter().map(|(pattern, role)| {
            let actions = match role.as_str() {
                "r" => Some(READ),
                "rw" | "wr" => Some(EDIT),
                role => roles.actions(role),
            };
            actions.map(|actions| (pattern, actions)).ok_or("unknown role in the rooms claim")
        });
        Ok(Rights(patterns.collect::<Result<_, _>>()?))
    }

    /// What they allow in a room that is nobody's own: all patterns that match, together.
    pub fn of(&self, room: &Room) -> Actions {
        let matching = self.0.iter().filter(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(start) => room.as_str().starts_with(start),
            None => room.as_str() == pattern,
        });
        matching.fold(Actions::NONE, |sum, (_, actions)| sum | *actions)
    }
}

/// What a room's list says of somebody: the role of their own entry, and that of everybody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Of their own entry, if there is one.
    pub own: Option<Arc<str>>,
    /// Of the entry of everybody, if there is one.
    pub everybody: Option<Arc<str>>,
}

/// What somebody may do in a room now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What one calls it: the role in the room's list, or the name that fits the actions.
    pub role: String,
    /// What it comes to.
    pub actions: Actions,
}

impl Roles {
    /// The rule: an own entry decides alone. Without one it is what the token says and what the room says of everybody,
    /// together. A role that nobody knows allows nothing.
    pub fn allowed(&self, token: Actions, own: Option<&str>, everybody: Option<&str>) -> Actions {
        let meant = |role: &str| self.actions(role).unwrap_or(Actions::NONE);
        own.map_or_else(|| token | everybody.map_or(Actions::NONE, meant), meant)
    }

    /// What that comes to, with its name.
    pub fn decide(&self, token: Actions, listed: &Listed) -> Grant {
        let actions = self.allowed(token, listed.own.as_deref(), listed.everybody.as_deref());
        Grant { role: listed.own.as_deref().map_or_else(|| self.name(actions), str::to_owned), actions }
    }

    /// Refuses a role that nobody knows, and one that allows more than `own`: nobody gives what they do not have.
    pub fn check_gift(&self, role: &str, own: Actions) -> Result<(), FrameError> {
        let unknown = || {
            let message = "role: none, viewer, commenter, editor, owner, one of --role, or actions joined by +";
            FrameError::new(Code::InvalidArgument, message)
        };
        let given = self.actions(role).ok_or_else(unknown)?;
        if given | own == own {
            return Ok(());
        }
        Err(FrameError::new(Code::PermissionDenied, "you may not give in this room what you may not do yourself"))
    }
}

/// What one connection may do in one room, as the room last said it. The room writes it, the session reads it at every
/// command.
#[derive(Debug, Default)]
pub struct Allowance(AtomicU8);

impl Allowance {
    /// Of who may do this from the start.
    pub fn new(actions: Actions) -> Self {
        Allowance(AtomicU8::new(actions.bits()))
    }

    /// What is allowed now.
    pub fn get(&self) -> Actions {
        Actions::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// What is allowed from now on.
    pub fn set(&self, actions: Actions) {
        self.0.store(actions.bits(), Ordering::Relaxed);
    }
}
