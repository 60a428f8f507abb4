//! `ROOM.GRANT`, `ROOM.REVOKE`, `ROOM.ACCESS`: who may do what in a room.

use super::{epoch_reply, stream_key};
use crate::args::{Args, once, unknown};
use crate::deadlines::{self, writer};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode, Word};
use crate::reply::{Outcome, Reply, Trouble};
use crate::settings::bounds;
use std::ffi::CStr;
use stoa_core::access::{Access, Change, Entry, STREAM};
use stoa_core::identity::check_id;
use stoa_core::names::RoomKey;
use stoa_core::refusal::{Code, Refusal};

/// Most users that one ROOM.ACCESS names: a hundred, and everybody else.
const USERS_MAX: usize = 101;

/// ROOM.GRANT key user role [TTL ms] [BY user]
pub(crate) fn grant(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = list_key(ctx, &mut args)?;
    let (user, role) = (args.text("user")?, args.text("role")?);
    let (mut ttl_ms, mut by) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "TTL" => once(&mut ttl_ms, "TTL", args.integer("ms")?)?,
            "BY" => once(&mut by, "BY", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let now = (writer(ctx), ffi::now_ms());
    change(ctx, (&name, &key), c"room.grant", |access| access.grant((user, role), ttl_ms, by, now, &bounds()))
}

/// ROOM.REVOKE key user [FORGET] [BY user]
pub(crate) fn revoke(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = list_key(ctx, &mut args)?;
    let user = args.text("user")?;
    let (mut forget, mut by) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "FORGET" => once(&mut forget, "FORGET", ())?,
            "BY" => once(&mut by, "BY", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let now = (writer(ctx), ffi::now_ms());
    change(ctx, (&name, &key), c"room.revoke", |access| match forget {
        Some(()) => access.forget(user, by, now.0),
        None => access.revoke(user, by, now, &bounds()),
    })
}

/// ROOM.ACCESS key [USER user …] [AFTER user] [COUNT count]
pub(crate) fn access(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let (mut users, mut after, mut count) = (Vec::new(), None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "USER" => users.push(args.text("user")?),
            "AFTER" => once(&mut after, "AFTER", args.text("user")?)?,
            "COUNT" => once(&mut count, "COUNT", args.integer("count")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    if users.len() > USERS_MAX {
        return Err(Refusal::argument(format!("at most {USERS_MAX} users are named together")).into());
    }
    if !users.is_empty() && (after.is_some() || count.is_some()) {
        return Err(Refusal::argument("AFTER and COUNT are for a page, which USER is not").into());
    }
    users.iter().try_for_each(|user| check_id("user", user, false))?;
    let open = Key::open(ctx, &name, Mode::Read);
    let empty = Access::default();
    let access = open.value::<Access>()?.unwrap_or(&empty);
    let (mut entries, mut more) = (Vec::with_capacity(users.len()), false);
    if users.is_empty() {
        let most = bounds().page_entries_max;
        let most = count.map_or(most, |count| most.min(usize::try_from(count).unwrap_or(most)));
        let mut rest = access.after(after);
        entries.extend(rest.by_ref().take(most).map(entry_reply));
        more = rest.next().is_some();
    }
    entries.extend(users.iter().map(|user| access.entry(user).map_or(Reply::Null, |entry| entry_reply((user, entry)))));
    let mut fields = position(access);
    fields.extend([("more", more.into()), ("entries", Reply::List(entries))]);
    Ok(Reply::Map(fields))
}

/// ROOM.APPLY key CHANGE|STATE record
pub(crate) fn apply(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    effects::follow_or_new::<Access>(ctx, args, |access, record| access.apply(record))
}

/// Where the list is, as fields of an answer.
pub(super) fn position(access: &Access) -> Vec<(&'static str, Reply)> {
    let at = access.position();
    vec![("epoch", epoch_reply(at.epoch)), ("rev", at.rev.into())]
}

/// The key of a room's list: there is one in each room.
fn list_key<'a>(ctx: &Ctx<'_>, args: &mut Args<'a>) -> Result<(Word<'a>, RoomKey<'a>), Trouble> {
    let (name, key) = stream_key(ctx, args)?;
    if key.stream != STREAM {
        let message = format!("the list of who may do what in this room is `{}:{STREAM}`", key.channel);
        return Err(Refusal::new(Code::InvalidKey, message).into());
    }
    Ok((name, key))
}

/// Decides a change of the list in a key, or of a new one, tells of it and answers.
fn change(
    ctx: &Ctx<'_>,
    (name, key): (&Word<'_>, &RoomKey<'_>),
    event: &CStr,
    decide: impl FnOnce(&mut Access) -> Result<Option<Change>, Refusal>,
) -> Outcome {
    let mut open = Key::open(ctx, name, Mode::Write);
    let changed = super::change(&mut open, decide, Option::is_some)?;
    let empty = Access::default();
    let access = open.value::<Access>()?.unwrap_or(&empty);
    if let Some(change) = &changed {
        effects::tell_of_access(ctx, (name, key), access, change);
        effects::notify(ctx, event, name);
        deadlines::changed(ctx, key.key.as_bytes(), access.next_deadline());
    }
    let mut fields = vec![("changed", changed.is_some().into())];
    fields.extend(position(access));
    Ok(Reply::Map(fields))
}

fn entry_reply((user, entry): (&str, &Entry)) -> Reply {
    Reply::Map(vec![
        ("user", user.into()),
        ("role", (&*entry.role).into()),
        ("ends_ms", entry.ends_ms.into()),
        ("by", (&*entry.by).into()),
        ("at_ms", entry.at_ms.into()),
    ])
}
