//! `ROOM.`: the room as a whole.

use super::limits::Limits;
use super::{access, check_database, doc, epoch_reply, events_reply, msg};
use crate::args::{Args, once, unknown};
use crate::deadlines;
use crate::effects;
use crate::ffi::{Ctx, Key, Mode, Word};
use crate::reply::{Outcome, Reply, Trouble};
use crate::settings::bounds;
use stoa_core::access::{Access, EVERYBODY};
use stoa_core::bounds::Bounds;
use stoa_core::changes::Changes;
use stoa_core::document::Document;
use stoa_core::epoch::Position;
use stoa_core::event::{Header, To};
use stoa_core::identity::check_id;
use stoa_core::json;
use stoa_core::log::{Log, Range};
use stoa_core::names::{RoomKey, check_name};
use stoa_core::presence::Presence;
use stoa_core::refusal::{Code, Refusal};

/// Most keys of one ROOM.OPEN: 32 streams, and the list of who may do what.
const KEYS_MAX: usize = 33;
/// Events that bring one stream up to date; who missed more takes the snapshot. A page of bytes bounds it too.
const RESUMED_EVENTS_MAX: usize = 2_000;

/// ROOM.EMIT key event json [PAYLOAD bytes] [TO USER|CONN id] [FROM conn] [BY user] [LIMITS …]
pub(crate) fn emit(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    check_database(ctx)?;
    let key = RoomKey::parse_room(args.bytes("key")?)?;
    let limits = Limits::cut(&mut args, &key)?;
    let name = args.text("event")?;
    check_name("event", name).map_err(|r| Refusal::argument(r.message))?;
    let bounds = bounds();
    let data = json::checked("the data", args.bytes("json")?, bounds.message_bytes_max)?;
    let (mut payload, mut to, mut from, mut by) = (None, None, None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "PAYLOAD" => once(&mut payload, "PAYLOAD", args.bytes("payload")?)?,
            "TO" => once(&mut to, "TO", addressee(&mut args)?)?,
            "FROM" => once(&mut from, "FROM", args.text("conn")?)?,
            "BY" => once(&mut by, "BY", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    if let Some(payload) = payload.filter(|payload| payload.len() > bounds.payload_bytes_max) {
        let (bytes, bytes_max) = (payload.len(), bounds.payload_bytes_max);
        let message = format!("the payload has {bytes} bytes, at most {bytes_max} are allowed (payload-bytes-max)");
        return Err(Refusal::new(Code::TooLarge, message).into());
    }
    let mut header = Header::ephemeral("", "");
    header.to = to.unwrap_or(To::Room);
    let mut frame = format!(
        "{{\"event\":\"room.emitted\",\"room\":{},\"name\":{},\"data\":{data}",
        json::quoted(key.room),
        json::quoted(name)
    );
    if let Some(user) = by {
        check_id("user", user, false)?;
        frame.push_str(",\"user\":");
        json::push_quoted(&mut frame, user);
    }
    if let Some(connection) = from {
        check_id("conn", connection, false)?;
        frame.push_str(",\"connection\":");
        json::push_quoted(&mut frame, connection);
        header.origin = connection.to_owned();
        header.skip_origin = true;
    }
    frame.push('}');
    limits.check(ctx, || false)?;
    limits.charge(ctx);
    Ok(Reply::Integer(match payload {
        Some(payload) => effects::announce_with_payload(ctx, key.channel, header, &frame, payload),
        None => effects::announce(ctx, key.channel, &header, &frame),
    }))
}

fn addressee(args: &mut Args<'_>) -> Result<To, Trouble> {
    let kind = args.keyword().unwrap_or_default();
    let id = args.text("id")?;
    check_id("id", id, false)?;
    match kind.as_str() {
        "USER" => Ok(To::User(id.to_owned())),
        "CONN" => Ok(To::Connection(id.to_owned())),
        _ => Err(Refusal::argument("TO is followed by USER or CONN and an id").into()),
    }
}

/// ROOM.OPEN [room user] key position [key position …]
///
/// Who asks stands with the key of the room alone, `stoa:{lobby} ada`: so every other argument is a key, as the
/// server is told.
pub(crate) fn open(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    check_database(ctx)?;
    let mut wanted: Vec<(Word<'_>, RoomKey<'_>, Option<Position>)> = Vec::new();
    let mut asks: Option<(&str, &str)> = None;
    while !args.is_empty() {
        let name = args.word("key")?;
        let key = RoomKey::parse_room(name.bytes())?;
        if key.stream.is_empty() {
            let user = args.text("user")?;
            check_id("user", user, false)?;
            if !wanted.is_empty() {
                return Err(Refusal::argument("the room and who asks come before the streams").into());
            }
            once(&mut asks, "the room", (key.channel, user))?;
            continue;
        }
        let position = match args.text("position")? {
            "-" => None,
            text => {
                Some(text.parse().map_err(|()| Refusal::argument("a position looks like 7.9f3a12c0:1042, none is -"))?)
            }
        };
        let channel = asks.map(|(channel, _)| channel).or(wanted.first().map(|(_, first, _)| first.channel));
        if channel.is_some_and(|channel| channel != key.channel) {
            return Err(Refusal::argument("all keys have to be of one room").into());
        }
        wanted.push((name, key, position));
    }
    if wanted.is_empty() {
        return Err(Refusal::argument("no stream is named").into());
    }
    if wanted.len() > KEYS_MAX {
        return Err(Refusal::argument(format!("at most {KEYS_MAX} keys are opened together")).into());
    }
    let mut bounds = bounds();
    bounds.page_entries_max = RESUMED_EVENTS_MAX;
    let streams: Result<Vec<Reply>, Trouble> = wanted
        .iter()
        .map(|(name, key, held)| {
            open_stream(&Key::open(ctx, name, Mode::Read), key, *held, asks.map(|(_, user)| user), &bounds)
        })
        .collect();
    Ok(Reply::List(streams?))
}

/// The part of one stream: what its holder missed, or all of it and why.
fn open_stream(
    open: &Key<'_>,
    key: &RoomKey<'_>,
    held: Option<Position>,
    user: Option<&str>,
    bounds: &Bounds,
) -> Result<Reply, Trouble> {
    let mut fields = vec![("stream", key.stream.into())];
    if let Ok(Some(log)) = open.value::<Log>() {
        return log_part(fields, log, key, held, user, bounds);
    }
    if let Ok(Some(presence)) = open.value::<Presence>() {
        return Ok(presence_part(fields, presence, key, held, bounds));
    }
    if let Ok(Some(document)) = open.value::<Document>() {
        return Ok(document_part(fields, document, key, held, bounds));
    }
    if let Ok(Some(access)) = open.value::<Access>() {
        return Ok(access_part(fields, access, user));
    }
    if !open.is_empty() {
        return Err(Trouble::WrongType);
    }
    match key.stream {
        "log" => log_part(fields, &Log::default(), key, held, user, bounds),
        "presence" => Ok(presence_part(fields, &Presence::default(), key, held, bounds)),
        "access" => Ok(access_part(fields, &Access::default(), user)),
        _ => {
            fields.extend([("kind", "missing".into()), ("outcome", "missing".into())]);
            Ok(Reply::Map(fields))
        }
    }
}

type Fields = Vec<(&'static str, Reply)>;

/// Adds the changes if they reach the head within a page. Otherwise says why not, and answers that a snapshot
/// has to follow.
fn add_outcome(fields: &mut Fields, kind: &'static str, head: Position, changes: Option<Changes>) -> bool {
    fields.extend([("kind", kind.into()), ("epoch", epoch_reply(head.epoch)), ("rev", head.rev.into())]);
    let because = match changes {
        Some(Changes::Page { events, through }) if through == head.rev => {
            fields.extend([("outcome", "changes".into()), ("events", events_reply(events))]);
            return false;
        }
        Some(Changes::Page { .. }) => "far",
        Some(Changes::Trimmed) => "trimmed",
        Some(Changes::Unknown) => "reset",
        Some(Changes::RolledBack { end }) => {
            fields.push(("history_end", end.into()));
            "rollback"
        }
        None => "first",
    };
    fields.extend([("outcome", "snapshot".into()), ("because", because.into())]);
    true
}

fn log_part(
    mut fields: Fields,
    log: &Log,
    key: &RoomKey<'_>,
    held: Option<Position>,
    user: Option<&str>,
    bounds: &Bounds,
) -> Result<Reply, Trouble> {
    let names = (key.room, key.stream);
    let changes = held.map(|at| log.since(at.rev, Some(at.epoch), usize::MAX, names, bounds));
    if add_outcome(&mut fields, "log", log.position(), changes) {
        let page = log.range(Range::Before(u64::MAX), None, msg::RANGE_COUNT, bounds)?;
        fields.extend([("messages", page.messages.into()), ("more", page.more_before.into())]);
        fields.push(("reads", log.reads_json().into()));
    }
    if let Some(user) = user {
        let counts = log.unread(user);
        fields.extend([
            ("read", counts.read.into()),
            ("unread", counts.unread.into()),
            ("mentions", counts.mentions.into()),
        ]);
    }
    Ok(Reply::Map(fields))
}

fn presence_part(
    mut fields: Fields,
    presence: &Presence,
    key: &RoomKey<'_>,
    held: Option<Position>,
    bounds: &Bounds,
) -> Reply {
    let changes = held.map(|at| presence.since(at, (key.room, key.stream), bounds));
    deadlines::presence_read(presence, key.key.as_bytes());
    let now = presence.snapshot();
    if add_outcome(&mut fields, "presence", now.position, changes) {
        fields.extend([("count", now.count.into()), ("members", presence.members(bounds).into())]);
    }
    fields.extend([("typing", now.typing.into()), ("cursors", now.cursors.into())]);
    Reply::Map(fields)
}

fn document_part(
    mut fields: Fields,
    document: &Document,
    key: &RoomKey<'_>,
    held: Option<Position>,
    bounds: &Bounds,
) -> Reply {
    let changes =
        held.map(|at| document.changes(key.room, key.stream, (at.rev, Some(at.epoch)), None, usize::MAX, bounds));
    if add_outcome(&mut fields, "doc", doc::position(document), changes) {
        fields.extend([("type", document.kind().as_str().into()), ("content", document.content().into())]);
    }
    fields.push(("cursors", document.cursors().into()));
    Reply::Map(fields)
}

/// What the room's list says of who asks. Nobody is shown the list itself.
fn access_part(mut fields: Fields, list: &Access, user: Option<&str>) -> Reply {
    fields.extend([("kind", "access".into()), ("outcome", "snapshot".into()), ("because", "first".into())]);
    fields.extend(access::position(list));
    for (name, user) in [("role", user), ("everybody", Some(EVERYBODY))] {
        fields.extend(user.and_then(|user| list.role(user)).map(|role| (name, role.into())));
    }
    Reply::Map(fields)
}
