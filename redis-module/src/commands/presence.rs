//! `PRESENCE.`: who is here.

use super::{epoch_reply, stream_key};
use crate::args::{Args, once, unknown};
use crate::deadlines::{self, writer};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode, Word};
use crate::reply::{Outcome, Reply, Trouble};
use crate::settings::bounds;
use std::ffi::CStr;
use stoa_core::changes::Changes;
use stoa_core::epoch::Position;
use stoa_core::names::RoomKey;
use stoa_core::presence::{Changed, Join, Presence};
use stoa_core::refusal::{Code, Refusal};

/// PRESENCE.JOIN key user conn node ttl_ms [DATA json] [PRIVATE json]
pub(crate) fn join(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (user, connection, node) = (args.text("user")?, args.text("conn")?, args.text("node")?);
    let ttl_ms = args.integer("ttl_ms")?;
    let (mut data, mut private) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "DATA" => once(&mut data, "DATA", args.bytes("data")?)?,
            "PRIVATE" => once(&mut private, "PRIVATE", args.bytes("private")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let join = Join { user, connection, node, ttl_ms, data, private };

    let mut open = Key::open(ctx, &name, Mode::Write);
    let mut fresh = None;
    let presence = match open.value_mut::<Presence>()? {
        Some(presence) => presence,
        None => fresh.insert(Presence::default()),
    };
    let changed = presence.join(join, writer(ctx), ffi::now_ms(), &bounds())?;
    let presence = match fresh {
        Some(presence) => open.value_or_insert(|| presence)?,
        None => open.value_mut::<Presence>()?.ok_or(Trouble::WrongType)?,
    };
    settle(ctx, (&name, &key), presence, &changed, c"presence.join");
    Ok(Reply::Map(vec![
        ("rev", presence.rev().into()),
        ("epoch", epoch_reply(presence.epochs().current())),
        ("first", changed.first.into()),
        ("connections", changed.connections.into()),
    ]))
}

/// PRESENCE.SET key conn json [USER user]
pub(crate) fn set(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (connection, patch) = (args.text("conn")?, args.bytes("json")?);
    let owner = owner_option(&mut args)?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let presence = here(&mut open)?;
    check_owner(presence, connection, owner)?;
    let changed = presence.patch(connection, patch, writer(ctx), &bounds())?;
    settle(ctx, (&name, &key), presence, &changed, c"presence.set");
    Ok(position_reply(presence, None))
}

/// PRESENCE.BEAT key node ttl_ms
pub(crate) fn beat(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (node, ttl_ms) = (args.text("node")?, args.integer("ttl_ms")?);
    args.end()?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let Some(presence) = open.value_mut::<Presence>()? else { return Ok(Reply::Integer(0)) };
    let changed = presence.beat(node, ttl_ms, writer(ctx), ffi::now_ms(), &bounds())?;
    // Nobody outside sees a lease move: it is replicated, and not announced or notified.
    if let Some(record) = &changed.record {
        effects::replicate::<Presence>(ctx, &key, record);
        deadlines::changed(ctx, key.key.as_bytes(), presence.next_deadline());
    }
    Ok(changed.connections.into())
}

/// PRESENCE.LEAVE key conn [GRACE ms] [USER user]
pub(crate) fn leave(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let connection = args.text("conn")?;
    let (mut grace_ms, mut owner) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "GRACE" => once(&mut grace_ms, "GRACE", args.integer("ms")?)?,
            "USER" => once(&mut owner, "USER", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let mut open = Key::open(ctx, &name, Mode::Write);
    let presence = here(&mut open)?;
    check_owner(presence, connection, owner)?;
    let changed = presence.leave(connection, grace_ms.unwrap_or(0), writer(ctx), ffi::now_ms(), &bounds())?;
    settle(ctx, (&name, &key), presence, &changed, c"presence.leave");
    Ok(position_reply(presence, Some(changed.connections)))
}

/// PRESENCE.TYPING key conn ms [USER user]
pub(crate) fn typing(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (connection, ms) = (args.text("conn")?, args.integer("ms")?);
    let owner = owner_option(&mut args)?;
    // Who types is the primary's alone: nothing that is stored changes, so the key is opened for reading.
    let mut open = Key::open(ctx, &name, Mode::Read);
    let presence = here(&mut open)?;
    check_owner(presence, connection, owner)?;
    let count = presence.type_for(connection, ms, ffi::now_ms())?;
    deadlines::changed(ctx, key.key.as_bytes(), presence.next_deadline());
    deadlines::tell(ctx, &key, presence);
    Ok(count.into())
}

/// PRESENCE.LIST key [SINCE position]
pub(crate) fn list(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let mut since = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "SINCE" => {
                let position: Result<Position, ()> = args.text("position")?.parse();
                let refusal = || Refusal::argument("a position looks like 7.9f3a12c0:1042");
                once(&mut since, "SINCE", position.map_err(|()| refusal())?)?;
            }
            _ => return Err(unknown(&word)),
        }
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let nobody = Presence::default();
    let presence = open.value::<Presence>()?.unwrap_or(&nobody);
    let bounds = bounds();
    let now = presence.snapshot(&bounds);
    let changes = since.map(|position| presence.since(position, (key.room, key.stream), &bounds));
    let mut fields = vec![
        ("outcome", "snapshot".into()),
        ("epoch", epoch_reply(now.position.epoch)),
        ("rev", now.position.rev.into()),
        ("count", now.count.into()),
        ("typing", now.typing.into()),
    ];
    match changes {
        Some(Changes::Page { events, .. }) => {
            fields[0].1 = "changes".into();
            fields.push(("events", super::events_reply(events)));
        }
        _ => fields.push(("members", now.members.into())),
    }
    Ok(Reply::Map(fields))
}

/// PRESENCE.COUNT key
pub(crate) fn count(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    args.end()?;
    let open = Key::open(ctx, &name, Mode::Read);
    Ok(open.value::<Presence>()?.map_or(0, Presence::count).into())
}

/// PRESENCE.APPLY key CHANGE|STATE record
pub(crate) fn apply(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    effects::follow::<Presence>(ctx, args, |presence, record| match presence {
        Some(presence) => presence.apply(record, &bounds()).map(|()| None),
        None => {
            let mut presence = Presence::default();
            presence.apply(record, &bounds())?;
            Ok(Some(presence))
        }
    })
}

/// Replicates a change, tells of it, and plans what ends by itself.
fn settle(
    ctx: &Ctx<'_>,
    (name, key): (&Word<'_>, &RoomKey<'_>),
    presence: &mut Presence,
    changed: &Changed,
    event: &CStr,
) {
    let Some(record) = &changed.record else { return };
    effects::replicate::<Presence>(ctx, key, record);
    effects::notify(ctx, event, name);
    deadlines::changed(ctx, key.key.as_bytes(), presence.next_deadline());
    deadlines::tell(ctx, key, presence);
}

/// `[USER user]`: whose connection it has to be.
fn owner_option<'a>(args: &mut Args<'a>) -> Result<Option<&'a str>, Trouble> {
    let mut owner = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "USER" => once(&mut owner, "USER", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    Ok(owner)
}

fn check_owner(presence: &Presence, connection: &str, owner: Option<&str>) -> Result<(), Refusal> {
    owner.map_or(Ok(()), |user| presence.check_owner(connection, user))
}

fn here<'k>(open: &'k mut Key<'_>) -> Result<&'k mut Presence, Trouble> {
    open.value_mut::<Presence>()?.ok_or_else(|| Refusal::new(Code::NotFound, "nobody is in this room").into())
}

fn position_reply(presence: &Presence, connections: Option<u64>) -> Reply {
    let mut fields = vec![("rev", presence.rev().into()), ("epoch", epoch_reply(presence.epochs().current()))];
    fields.extend(connections.map(|n| ("connections", n.into())));
    Reply::Map(fields)
}
