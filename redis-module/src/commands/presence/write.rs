//! Coming, changing, going; typing and pointing.

use super::super::limits::Limits;
use super::super::{epoch_reply, stream_key};
use super::{change, check_owner, here, owner_option, settle};
use crate::args::{Args, once, unknown};
use crate::deadlines::{self, writer};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode, Word};
use crate::reply::{Outcome, Reply};
use crate::settings::bounds;
use stoa_core::names::RoomKey;
use stoa_core::presence::{Join, Presence, Says};
use stoa_core::refusal::Refusal;

/// PRESENCE.JOIN key user conn node ttl_ms [DATA json] [PRIVATE json] [STATUS status]
pub(crate) fn join(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (user, connection, node) = (args.text("user")?, args.text("conn")?, args.text("node")?);
    let ttl_ms = args.integer("ttl_ms")?;
    let mut says = Says::default();
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "DATA" => once(&mut says.data, "DATA", args.bytes("data")?)?,
            "PRIVATE" => once(&mut says.private, "PRIVATE", args.bytes("private")?)?,
            "STATUS" => once(&mut says.status, "STATUS", args.text("status")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let join = Join { user, connection, node, ttl_ms, says };

    let mut open = Key::open(ctx, &name, Mode::Write);
    let changed = change(&mut open, |presence| presence.join(join, writer(ctx), ffi::now_ms(), &bounds()))?;
    let presence = here(&mut open)?;
    settle(ctx, (&name, &key), presence, &changed, c"presence.join");
    Ok(Reply::Map(vec![
        ("rev", presence.rev().into()),
        ("epoch", epoch_reply(presence.epochs().current())),
        ("first", changed.first.into()),
        ("connections", changed.connections.into()),
    ]))
}

/// PRESENCE.SET key conn [json] [STATUS status] [PRIVATE json] [USER user] [LIMITS …]
pub(crate) fn set(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let connection = args.text("conn")?;
    let (mut says, mut owner) = (Says::default(), None);
    // No JSON value looks like one of these words.
    if args.has_value(&["STATUS", "PRIVATE", "USER"]) {
        says.data = Some(args.bytes("json")?);
    }
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "STATUS" => once(&mut says.status, "STATUS", args.text("status")?)?,
            "PRIVATE" => once(&mut says.private, "PRIVATE", args.bytes("private")?)?,
            "USER" => once(&mut owner, "USER", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let mut open = Key::open(ctx, &name, Mode::Write);
    limits.check(ctx, || false)?;
    let presence = here(&mut open)?;
    check_owner(presence, connection, owner)?;
    let changed = presence.set(connection, says, writer(ctx), ffi::now_ms(), &bounds())?;
    limits.charge(ctx);
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
    change_passing(ctx, (&name, &key), (connection, owner), |presence| presence.type_for(connection, ms, ffi::now_ms()))
}

/// PRESENCE.CURSOR key conn cursor [USER user]
pub(crate) fn cursor(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (connection, cursor) = (args.text("conn")?, args.bytes("cursor")?);
    let owner = owner_option(&mut args)?;
    change_passing(ctx, (&name, &key), (connection, owner), |presence| {
        presence.point(connection, cursor, ffi::now_ms(), &bounds())
    })
}

/// Changes what the primary alone knows: nothing that is stored changes, so the key is opened for reading.
fn change_passing<T: Into<Reply>>(
    ctx: &Ctx<'_>,
    (name, key): (&Word<'_>, &RoomKey<'_>),
    (connection, owner): (&str, Option<&str>),
    change: impl FnOnce(&mut Presence) -> Result<T, Refusal>,
) -> Outcome {
    let mut open = Key::open(ctx, name, Mode::Read);
    let presence = here(&mut open)?;
    check_owner(presence, connection, owner)?;
    let count = change(presence)?;
    deadlines::changed(ctx, key.key.as_bytes(), presence.next_deadline());
    deadlines::tell(ctx, key, presence);
    Ok(count.into())
}

/// PRESENCE.APPLY key CHANGE|STATE record
pub(crate) fn apply(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    effects::follow_or_new::<Presence>(ctx, args, |presence, record| presence.apply(record, &bounds()))
}

fn position_reply(presence: &Presence, connections: Option<u64>) -> Reply {
    let mut fields = vec![("rev", presence.rev().into()), ("epoch", epoch_reply(presence.epochs().current()))];
    fields.extend(connections.map(|n| ("connections", n.into())));
    Reply::Map(fields)
}
