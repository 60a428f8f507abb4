//! `ROOM.GRANT`, `ROOM.REVOKE`, `ROOM.ACCESS` and `ROOM.KICK`: who may do what in a room, and who has to go.

use super::answer::{Fields, integer, list, unexpected};
use super::{Args, ModuleApi};
use crate::access::Listed;
use crate::frame::{FrameError, Recipient, RoomGrant, RoomRevoke};
use crate::names::{ACCESS, PRESENCE, Room};
use std::sync::Arc;
use stoa_core::access::EVERYBODY;
use stoa_core::epoch::Position;

/// What a change of a room's list was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessChanged {
    /// Whether the list is different now.
    pub changed: bool,
    /// Where the list is now.
    pub position: Position,
}

/// What a room's list says of some users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessList {
    /// Where the list is.
    pub position: Position,
    /// In the order asked: the role of each who has an entry.
    pub roles: Vec<Option<Arc<str>>>,
    /// The role of everybody whom no other entry names.
    pub everybody: Option<Arc<str>>,
}

impl ModuleApi {
    /// Users that one question may name, in number: the module takes no more.
    pub const ACCESS_USERS_MAX: usize = 100;

    /// `ROOM.ACCESS` of some users, at most [`ModuleApi::ACCESS_USERS_MAX`], and of everybody.
    pub async fn room_access(&self, room: &Room, users: &[impl AsRef<str>]) -> Result<AccessList, FrameError> {
        let named = users.iter().map(AsRef::as_ref).chain([EVERYBODY]);
        let args = named.fold(self.list_of(room), |args, user| args.add("USER").add(user));
        let mut fields = Fields::read(self.call(room, "ROOM.ACCESS", args).await?)?;
        let position = fields.position()?;
        let entries = list(fields.take("entries")?)?.into_iter();
        let roles = entries.map(|entry| if entry.is_null() { Ok(None) } else { Fields::read(entry)?.role("role") });
        let mut roles = roles.collect::<Result<Vec<_>, _>>()?;
        match roles.pop() {
            Some(everybody) if roles.len() == users.len() => Ok(AccessList { position, roles, everybody }),
            _ => Err(unexpected("as many entries as were asked for")),
        }
    }

    /// What the list of a room says of one user.
    pub async fn listed(&self, room: &Room, user: &str) -> Result<Listed, FrameError> {
        let AccessList { mut roles, everybody, .. } = self.room_access(room, &[user]).await?;
        Ok(Listed { own: roles.pop().flatten(), everybody })
    }

    /// `ROOM.GRANT`
    pub async fn room_grant(&self, room: &Room, by: &str, it: &RoomGrant) -> Result<AccessChanged, FrameError> {
        let args = self.list_of(room).add(&it.user).add(&it.role).option("TTL", it.ttl_ms).add("BY").add(by);
        AccessChanged::read(Fields::read(self.call_durable(room, "ROOM.GRANT", args).await?)?)
    }

    /// `ROOM.REVOKE`
    pub async fn room_revoke(&self, room: &Room, by: &str, it: &RoomRevoke) -> Result<AccessChanged, FrameError> {
        let args = self.list_of(room).add(&it.user).flag("FORGET", it.forget).add("BY").add(by);
        AccessChanged::read(Fields::read(self.call_durable(room, "ROOM.REVOKE", args).await?)?)
    }

    /// `ROOM.KICK`: how many connections were listed.
    pub async fn room_kick(
        &self,
        room: &Room,
        who: &Recipient,
        reason: Option<&str>,
        by: &str,
    ) -> Result<u64, FrameError> {
        let args = Args::key(self.keys.key(room, PRESENCE));
        let args = match who {
            Recipient::User(user) => args.add("USER").add(user),
            Recipient::Connection(connection) => args.add("CONN").add(connection),
        };
        integer(&self.call(room, "ROOM.KICK", args.option("REASON", reason).add("BY").add(by)).await?)
    }

    fn list_of(&self, room: &Room) -> Args {
        Args::key(self.keys.key(room, ACCESS))
    }
}

impl AccessChanged {
    fn read(mut fields: Fields) -> Result<Self, FrameError> {
        Ok(AccessChanged { changed: fields.flag("changed")?, position: fields.position()? })
    }
}

impl Fields {
    /// A role, if there is one.
    pub(super) fn role(&mut self, name: &'static str) -> Result<Option<Arc<str>>, FrameError> {
        self.optional(name).map(|value| super::answer::text(value).map(|role| role.as_str().into())).transpose()
    }
}
