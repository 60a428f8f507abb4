//! Commands that ask the module for one thing and leave the connection as it is: who may, one call, the answer.
//!
//! Nothing here knows whether the command came over a WebSocket or in a plain request.

use crate::access::{Action, Actions, Roles};
use crate::auth::Identity;
use crate::frame::{Code, Command, DocOpen, FrameError, PresenceSet, Recipient, reply};
use crate::module_api::{Change, Device, ModuleApi, Opened, Somebody};
use crate::names::{self, PRESENCE, Room};
use crate::settings::Settings;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use stoa_core::json;

/// How long a typing mark lasts, in milliseconds.
const TYPING_MS: u64 = 5_000;
/// Largest presence data, in bytes.
const PRESENCE_BYTES_MAX: usize = 1024;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The user that the token names.
    pub(crate) user: Arc<str>,
    /// The connection that is theirs; empty if the command came without one.
    pub(crate) connection: Arc<str>,
}

/// The room that a command is about, and what one has to be allowed there. `None` for a command that names none, or
/// that changes what the connection is part of.
pub(crate) fn access(command: &Command) -> Option<(&str, Action)> {
    use Command::*;
    let (room, action) = match command {
        Connect(_) | RoomJoin(_) | RoomLeave(_) | DocOpen(_) | DocClose(_) | Ping => return None,
        AuthRefresh(_) | DevicesList | DevicesKick(_) => return None,
        RoomEmit(it) => (&it.room, Action::Talk),
        RoomGrant(it) => (&it.room, Action::Manage),
        RoomRevoke(it) => (&it.room, Action::Manage),
        RoomKick(it) => (&it.room, Action::Manage),
        MsgPost(it) => (&it.room, Action::Talk),
        MsgEdit(it) => (&it.room, Action::Talk),
        MsgDelete(it) | MsgCancel(it) => (&it.room, Action::Talk),
        MsgReact(it) | MsgUnreact(it) => (&it.room, Action::Talk),
        MsgAppend(it) => (&it.room, Action::Talk),
        MsgFinish(it) => (&it.room, Action::Talk),
        // The mark is one's own.
        MsgRead(it) | MsgHistory(it) => (&it.room, Action::Read),
        MsgUnread(it) | PresenceList(it) => (&it.room, Action::Read),
        MsgRange(it) => (&it.room, Action::Read),
        DocSubmit(it) => (&it.room, Action::Edit),
        DocUndo(it) => (&it.room, Action::Edit),
        DocTag(it) => (&it.room, Action::Edit),
        DocRestore(it) => (&it.room, Action::Edit),
        DocGet(it) => (&it.room, Action::Read),
        DocOps(it) => (&it.room, Action::Read),
        DocInfo(it) => (&it.room, Action::Read),
        // Whoever reads may be seen.
        DocCursor(it) => (&it.room, Action::Read),
        PresenceSet(it) => (&it.room, Action::Read),
        PresenceGet(it) => (&it.room, Action::Read),
        PresenceCursor(it) => (&it.room, Action::Read),
        PresenceTyping(it) => (&it.room, Action::Talk),
    };
    Some((room, action))
}

/// As [`access`], for a command that came without a connection: to make a document is a write like others there, since
/// nothing is open because of it.
pub(crate) fn access_alone(command: &Command) -> Option<(&str, Action)> {
    match command {
        Command::DocOpen(it) if it.create.is_some() => Some((&it.room, Action::Edit)),
        _ => access(command),
    }
}

/// Refuses a command that would give somebody what the caller may not do.
pub(crate) fn check_gift(roles: &Roles, own: Actions, command: &Command) -> Result<(), FrameError> {
    match command {
        Command::RoomGrant(grant) => roles.check_gift(&grant.role, own),
        _ => Ok(()),
    }
}

/// Carries out a command whose access was checked, and composes the answer.
pub(crate) async fn call(api: ModuleApi, caller: Caller, room: Room, command: Command) -> Result<String, FrameError> {
    let by = (&*caller.user, &*caller.connection);
    let room = &room;
    Ok(match &command {
        Command::RoomEmit(it) => {
            api.room_emit(room, by, it).await?;
            nothing()
        }
        Command::RoomGrant(it) => reply::access_changed(&api.room_grant(room, by.0, it).await?),
        Command::RoomRevoke(it) => reply::access_changed(&api.room_revoke(room, by.0, it).await?),
        Command::RoomKick(it) => reply::kicked(api.room_kick(room, &it.who, it.reason.as_deref(), by.0).await?),
        Command::MsgPost(it) => reply::written(&api.msg_post(room, by, it).await?),
        Command::MsgEdit(it) => reply::written(&api.msg_edit(room, by, it).await?),
        Command::MsgDelete(it) => reply::written(&api.msg_delete(room, by, it).await?),
        Command::MsgReact(it) => reply::written(&api.msg_react(room, by, it).await?),
        Command::MsgUnreact(it) => reply::written(&api.msg_unreact(room, by, it).await?),
        Command::MsgAppend(it) => reply::written(&api.msg_append(room, by, it).await?),
        Command::MsgFinish(it) => reply::written(&api.msg_finish(room, by, it).await?),
        Command::MsgCancel(it) => reply::written(&api.msg_cancel(room, by, it).await?),
        Command::MsgRead(it) => reply::marked(&api.msg_read(room, by.0, it.n).await?),
        Command::MsgUnread(_) => reply::unread(&api.msg_unread(room, by.0).await?),
        Command::MsgRange(it) => reply::range(&api.msg_range(room, it).await?),
        Command::MsgHistory(it) => reply::versions(&api.msg_history(room, it).await?),
        Command::DocOpen(DocOpen { doc, create: Some(create), .. }) => {
            let stream = names::document(doc)?;
            api.doc_create(room, &stream, create).await?;
            first(&api.room_open(room, None, &[(stream.into(), None)]).await?)?
        }
        Command::DocSubmit(it) => reply::submitted(&api.doc_submit(room, &names::document(&it.doc)?, by, it).await?),
        Command::DocUndo(it) => reply::submitted(&api.doc_undo(room, &names::document(&it.doc)?, by, it).await?),
        Command::DocRestore(it) => reply::submitted(&api.doc_restore(room, &names::document(&it.doc)?, by, it).await?),
        Command::DocTag(it) => reply::position(api.doc_tag(room, &names::document(&it.doc)?, it).await?),
        Command::DocInfo(it) => reply::description(&api.doc_info(room, &names::document(&it.doc)?).await?),
        Command::DocGet(it) => reply::document(&api.doc_get(room, &names::document(&it.doc)?, it.rev).await?),
        Command::DocOps(it) => {
            let stream = names::document(&it.doc)?;
            reply::operations(&api.doc_ops(room, &stream, it.from, it.to, it.epoch.as_deref()).await?)
        }
        Command::DocCursor(it) => {
            api.doc_cursor(room, &names::document(&it.doc)?, by, it.rev, it.cursor.get()).await?;
            nothing()
        }
        Command::PresenceList(_) => first(&api.room_open(room, None, &[(PRESENCE.into(), None)]).await?)?,
        Command::PresenceGet(it) => {
            let people = api.presence_get(room, &it.users).await?;
            reply::people(it.users.iter().map(String::as_str).zip(&people))
        }
        Command::PresenceCursor(it) => {
            api.presence_cursor(room, by, it.cursor.get()).await?;
            nothing()
        }
        Command::DevicesList => reply::devices(&devices(api.presence_get(room, &[by.0]).await?)),
        Command::DevicesKick(it) => match kick_device(&api, room, &it.connection, by.0).await? {
            0 => return Err(FrameError::new(Code::NotFound, "connection: there is no such connection of this user")),
            _ => nothing(),
        },
        Command::PresenceTyping(it) => {
            api.presence_typing(room, by, if it.typing { TYPING_MS } else { 0 }).await?;
            nothing()
        }
        Command::Connect(_)
        | Command::AuthRefresh(_)
        | Command::RoomJoin(_)
        | Command::RoomLeave(_)
        | Command::DocOpen(_)
        | Command::DocClose(_)
        | Command::PresenceSet(_)
        | Command::Ping => return Err(FrameError::internal()),
    })
}

async fn kick_device(api: &ModuleApi, room: &Room, connection: &str, by: &str) -> Result<u64, FrameError> {
    api.room_kick(room, &Recipient::Connection(connection.to_owned()), None, by).await
}

fn nothing() -> String {
    "{}".into()
}

fn first(parts: &[Opened]) -> Result<String, FrameError> {
    parts.first().map(reply::stream_part).ok_or_else(FrameError::internal)
}

/// Refuses where connections are not listed with their user.
pub(crate) fn check_devices(settings: &Settings) -> Result<(), FrameError> {
    if settings.devices {
        return Ok(());
    }
    Err(FrameError::new(Code::Disabled, "devices are not listed here: start the fronts with --devices"))
}

fn devices(people: Vec<Somebody>) -> Vec<Device> {
    people.into_iter().next().map_or_else(Vec::new, |somebody| match somebody {
        Somebody::Here(person) => person.connections,
        Somebody::Gone { .. } | Somebody::Unknown => Vec::new(),
    })
}

/// What `presence.set` changes.
pub(crate) fn change(identity: &Identity, set: &PresenceSet) -> Result<Change, FrameError> {
    if set.data.is_none() && set.status.is_none() {
        return Err(FrameError::new(Code::InvalidArgument, "data, status: give at least one"));
    }
    let data = set.data.as_deref().map(|data| named(identity, data.get())).transpose()?;
    Ok(Change { data, status: set.status.clone() })
}

/// Presence data with the token's display name in it: nobody shows another one.
pub(crate) fn named(identity: &Identity, data: &str) -> Result<String, FrameError> {
    if data.len() > PRESENCE_BYTES_MAX {
        let message = format!("presence data has {} bytes, at most {PRESENCE_BYTES_MAX} are allowed", data.len());
        return Err(FrameError::new(Code::TooLarge, message));
    }
    let refused = |refusal: stoa_core::refusal::Refusal| {
        FrameError::new(Code::parse(refusal.code.as_str()).unwrap_or(Code::InvalidJson), refusal.message)
    };
    let data = json::checked("data", data.as_bytes(), PRESENCE_BYTES_MAX).map_err(refused)?;
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&data)
        .map_err(|_| FrameError::new(Code::InvalidArgument, "data: presence data is a JSON object"))?;
    if let Some(name) = &identity.name {
        let name = serde_json::value::to_raw_value(name).map_err(|_| FrameError::internal())?;
        fields.insert("name".into(), name);
    }
    serde_json::to_string(&fields).map_err(|_| FrameError::internal())
}
