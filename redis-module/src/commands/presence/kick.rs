//! `ROOM.KICK`: taking somebody out of a room.

use super::super::stream_key;
use super::{change, here, settle};
use crate::args::{Args, once, unknown};
use crate::deadlines::writer;
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode};
use crate::reply::Outcome;
use crate::settings::bounds;
use stoa_core::event::{Header, To};
use stoa_core::identity::check_id;
use stoa_core::json;
use stoa_core::names::RoomKey;
use stoa_core::presence::{Whom, check_reason};
use stoa_core::refusal::Refusal;

/// ROOM.KICK key USER user|CONN conn [REASON text] [BY user]
pub(crate) fn kick(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let kind = args.keyword().unwrap_or_default();
    let id = args.text("id")?;
    let (whom, to) = match kind.as_str() {
        "USER" => (Whom::User(id), To::User(id.to_owned())),
        "CONN" => (Whom::Connection(id), To::Connection(id.to_owned())),
        _ => return Err(Refusal::argument("the key is followed by USER or CONN and an id").into()),
    };
    let (mut reason, mut by) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "REASON" => once(&mut reason, "REASON", args.text("reason")?)?,
            "BY" => once(&mut by, "BY", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    reason.map_or(Ok(()), check_reason)?;
    by.map_or(Ok(()), |user| check_id("user", user, false))?;

    let mut open = Key::open(ctx, &name, Mode::Write);
    let changed = change(&mut open, |presence| presence.kick(whom, writer(ctx), ffi::now_ms(), &bounds()))?;
    // Whoever is not listed hears it as well: a front may know them that lists nobody.
    effects::announce(ctx, key.channel, &Header::kick(to), &frame(&key, reason, by));
    if changed.record.is_some() {
        settle(ctx, (&name, &key), here(&mut open)?, &changed, c"room.kick");
    }
    Ok(changed.connections.into())
}

fn frame(key: &RoomKey<'_>, reason: Option<&str>, by: Option<&str>) -> String {
    let mut frame = format!("{{\"event\":\"room.kicked\",\"room\":{}", json::quoted(key.room));
    for (name, text) in [(",\"reason\":", reason), (",\"by\":", by)] {
        if let Some(text) = text {
            frame.push_str(name);
            json::push_quoted(&mut frame, text);
        }
    }
    frame.push('}');
    frame
}
