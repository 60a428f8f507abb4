//! `PRESENCE.`: who is here.

use super::answer::{Fields, integer, list, text, unexpected};
use super::{Args, Here, ModuleApi};
use crate::conn::Text;
use crate::frame::{Code, FrameError};
use crate::names::{PRESENCE, Room};
use fred::types::Value;
use std::sync::Arc;
use std::time::Duration;
use stoa_core::epoch::Position;

/// Users that one `PRESENCE.GET` may name, in number: the module takes no more.
const USERS_MAX: usize = 100;

/// A status that nobody else sees.
pub const INVISIBLE: &str = "invisible";
/// The status of who did nothing for long.
pub const AWAY: &str = "away";
/// The status of who said nothing else.
pub const ONLINE: &str = "online";

/// What a connection shows, or wants to show differently.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// RFC 7396 merge patch of what others see.
    pub data: Option<String>,
    /// The new status.
    pub status: Option<String>,
}

/// What `PRESENCE.GET` says of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Somebody {
    /// Nobody remembers them here.
    Unknown,
    /// They left.
    Gone {
        /// When, in milliseconds of Unix time.
        last_seen_ms: u64,
    },
    /// They are here, and may be invisible.
    Here(Box<Person>),
}

/// Somebody who is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// What their connections come to.
    pub status: Text,
    /// `#3d7ab8`
    pub color: Text,
    /// Since when, in milliseconds of Unix time.
    pub since_ms: u64,
    /// JSON.
    pub data: Text,
    /// Each of their connections.
    pub connections: Vec<Device>,
}

/// One connection of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The connection.
    pub connection: Text,
    /// The front that it is at.
    pub node: Text,
    /// Since when, in milliseconds of Unix time.
    pub since_ms: u64,
    /// When it last joined or set something, in milliseconds of Unix time.
    pub active_ms: u64,
    /// Its own status.
    pub status: Text,
    /// What was kept of it and is told to nobody else, JSON; may be empty.
    pub private: Text,
}

impl ModuleApi {
    /// `PRESENCE.JOIN`: the new position.
    pub async fn presence_join(&self, room: &Room, here: &Here, ttl: Duration) -> Result<Position, FrameError> {
        let args = self.presence(room).add(&here.user).add(&here.connection).add(&self.node).add(ttl.as_millis());
        let args = args.add("DATA").add(&here.data).option("PRIVATE", here.private.as_deref());
        let args = args.option("STATUS", here.status());
        Fields::read(self.call(room, "PRESENCE.JOIN", args).await?)?.position()
    }

    /// `PRESENCE.SET`: the new position. With a user it has to be that one's connection.
    pub async fn presence_set(
        &self,
        room: &Room,
        connection: &str,
        user: Option<&str>,
        change: &Change,
    ) -> Result<Position, FrameError> {
        let mut args = self.presence(room).add(connection);
        if let Some(data) = &change.data {
            args = args.add(data);
        }
        let args = args.option("STATUS", change.status.as_deref()).option("USER", user);
        Fields::read(self.call(room, "PRESENCE.SET", args).await?)?.position()
    }

    /// `PRESENCE.BEAT`: how many connections this front holds there.
    pub async fn presence_beat(&self, room: &Room, ttl: Duration) -> Result<u64, FrameError> {
        let args = self.presence(room).add(&self.node).add(ttl.as_millis());
        integer(&self.call(room, "PRESENCE.BEAT", args).await?)
    }

    /// `PRESENCE.LEAVE`
    pub async fn presence_leave(&self, room: &Room, connection: &str, grace: Duration) -> Result<(), FrameError> {
        let args = self.presence(room).add(connection).add("GRACE").add(grace.as_millis());
        match self.call(room, "PRESENCE.LEAVE", args).await {
            // Its lease has ended: what was wanted is so.
            Err(error) if error.code == Code::NotFound => Ok(()),
            left => left.map(drop),
        }
    }

    /// `PRESENCE.TYPING` of a user's own connection.
    pub async fn presence_typing(&self, room: &Room, by: (&str, &str), ms: u64) -> Result<(), FrameError> {
        let args = self.presence(room).add(by.1).add(ms).add("USER").add(by.0);
        self.call(room, "PRESENCE.TYPING", args).await.map(drop)
    }

    /// `PRESENCE.CURSOR` of a user's own connection: `cursor` is JSON, `null` for nowhere.
    pub async fn presence_cursor(&self, room: &Room, by: (&str, &str), cursor: &str) -> Result<(), FrameError> {
        let args = self.presence(room).add(by.1).add(cursor).add("USER").add(by.0);
        self.call(room, "PRESENCE.CURSOR", args).await.map(drop)
    }

    /// `PRESENCE.GET`: in the order asked.
    pub async fn presence_get(&self, room: &Room, users: &[impl AsRef<str>]) -> Result<Vec<Somebody>, FrameError> {
        if users.is_empty() || users.len() > USERS_MAX {
            return Err(FrameError::new(Code::InvalidArgument, format!("users: 1 to {USERS_MAX}")));
        }
        let args = users.iter().fold(self.presence(room), |args, user| args.add(user.as_ref()));
        let people = list(self.call(room, "PRESENCE.GET", args).await?)?;
        if people.len() != users.len() {
            return Err(unexpected("as many people as were asked for"));
        }
        people.into_iter().map(Somebody::read).collect()
    }

    fn presence(&self, room: &Room) -> Args {
        Args::key(self.keys.key(room, PRESENCE))
    }
}

impl Somebody {
    fn read(reply: Value) -> Result<Self, FrameError> {
        if reply.is_null() {
            return Ok(Somebody::Unknown);
        }
        let mut fields = Fields::read(reply)?;
        if !fields.flag("here")? {
            return Ok(Somebody::Gone { last_seen_ms: fields.number("last_seen_ms")? });
        }
        let connections = list(fields.take("connections")?)?;
        Ok(Somebody::Here(Box::new(Person {
            status: fields.text("status")?,
            color: fields.text("color")?,
            since_ms: fields.number("since_ms")?,
            data: fields.text("data")?,
            connections: connections.into_iter().map(Device::read).collect::<Result<_, _>>()?,
        })))
    }
}

impl Device {
    fn read(reply: Value) -> Result<Self, FrameError> {
        let mut fields = Fields::read(reply)?;
        Ok(Device {
            connection: fields.text("conn")?,
            node: fields.text("node")?,
            since_ms: fields.number("since_ms")?,
            active_ms: fields.number("active_ms")?,
            status: fields.text("status")?,
            private: fields.optional("private").map_or_else(|| Ok("".into()), text)?,
        })
    }
}

impl Here {
    /// A connection that shows `data`.
    pub fn new(user: Arc<str>, connection: Arc<str>, data: String) -> Self {
        Here { user, connection, data, private: None, chosen: None, is_away: false }
    }

    /// What its status is now, if anybody has said.
    pub fn status(&self) -> Option<&str> {
        match self.chosen.as_deref() {
            // Who hides stays hidden.
            Some(INVISIBLE) => Some(INVISIBLE),
            _ if self.is_away => Some(AWAY),
            chosen => chosen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_shows_it_unless_they_hide() {
        let mut here = Here::new("ada".into(), "k1".into(), "{}".into());
        let mut statuses = |chosen: Option<&str>| {
            here.chosen = chosen.map(str::to_owned);
            [false, true].map(|is_away| {
                here.is_away = is_away;
                here.status().map(str::to_owned)
            })
        };
        assert_eq!(statuses(None), [None, Some(AWAY.into())]);
        assert_eq!(statuses(Some("busy")), [Some("busy".into()), Some(AWAY.into())]);
        assert_eq!(statuses(Some(INVISIBLE)), [Some(INVISIBLE.into()), Some(INVISIBLE.into())]);
    }
}
