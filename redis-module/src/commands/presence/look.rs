//! Who is here, and where somebody is.

use super::super::{epoch_reply, events_reply, stream_key};
use crate::args::{Args, once, unknown};
use crate::deadlines;
use crate::ffi::{Ctx, Key, Mode};
use crate::reply::{Outcome, Reply};
use crate::settings::bounds;
use stoa_core::changes::Changes;
use stoa_core::epoch::Position;
use stoa_core::identity::check_id;
use stoa_core::presence::{ConnectionLook, Look, Presence};
use stoa_core::refusal::Refusal;

/// Most users of one PRESENCE.GET.
const USERS_MAX: usize = 100;

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
    deadlines::presence_read(presence, key.key.as_bytes());
    let now = presence.snapshot();
    let changes = since.map(|position| presence.since(position, (key.room, key.stream), &bounds));
    let mut fields = vec![
        ("outcome", "snapshot".into()),
        ("epoch", epoch_reply(now.position.epoch)),
        ("rev", now.position.rev.into()),
        ("count", now.count.into()),
        ("typing", now.typing.into()),
        ("cursors", now.cursors.into()),
    ];
    match changes {
        Some(Changes::Page { events, .. }) => {
            fields[0].1 = "changes".into();
            fields.push(("events", events_reply(events)));
        }
        _ => fields.push(("members", presence.members(&bounds).into())),
    }
    Ok(Reply::Map(fields))
}

/// PRESENCE.COUNT key [DETAIL]
pub(crate) fn count(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let mut detail = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "DETAIL" => once(&mut detail, "DETAIL", ())?,
            _ => return Err(unknown(&word)),
        }
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let nobody = Presence::default();
    let presence = open.value::<Presence>()?.unwrap_or(&nobody);
    if detail.is_none() {
        return Ok(presence.count().into());
    }
    let counts = presence.counts();
    Ok(Reply::Map(vec![
        ("people", counts.people.into()),
        ("connections", counts.connections.into()),
        ("invisible", counts.invisible.into()),
    ]))
}

/// PRESENCE.GET key user [user …]
pub(crate) fn get(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let mut users = Vec::new();
    while !args.is_empty() {
        let user = args.text("user")?;
        check_id("user", user, false)?;
        users.push(user);
        if users.len() > USERS_MAX {
            return Err(Refusal::argument(format!("at most {USERS_MAX} users are looked up together")).into());
        }
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let nobody = Presence::default();
    let presence = open.value::<Presence>()?.unwrap_or(&nobody);
    Ok(Reply::List(users.into_iter().map(|user| person_reply(user, presence.look(user))).collect()))
}

fn person_reply(user: &str, look: Look<'_>) -> Reply {
    Reply::Map(match look {
        Look::Unknown => return Reply::Null,
        Look::Gone { last_seen_ms } => {
            vec![("user", user.into()), ("here", false.into()), ("last_seen_ms", last_seen_ms.into())]
        }
        Look::Here { status, color, since_ms, data, connections } => vec![
            ("user", user.into()),
            ("here", true.into()),
            ("status", status.into()),
            ("color", color.into()),
            ("since_ms", since_ms.into()),
            ("data", data.into()),
            ("connections", Reply::List(connections.into_iter().map(connection_reply).collect())),
        ],
    })
}

fn connection_reply(look: ConnectionLook<'_>) -> Reply {
    Reply::Map(vec![
        ("conn", look.connection.into()),
        ("node", look.node.into()),
        ("since_ms", look.since_ms.into()),
        ("active_ms", look.active_ms.into()),
        ("status", look.status.into()),
        ("data", look.data.into()),
        ("private", look.private.into()),
    ])
}
