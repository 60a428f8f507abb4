//! What leaves a command: records to replicas and AOF, events to fronts. Nothing else replicates or publishes.

use crate::args::Args;
use crate::deadlines;
use crate::ffi::{Ctx, Fixed, Key, Mode, Name, OwnString, Word};
use crate::reply::{Outcome, Reply};
use crate::stored::Stored;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use stoa_core::access::{Access, Change, EVERYBODY};
use stoa_core::codec::Damaged;
use stoa_core::document::Document;
use stoa_core::epoch::Position;
use stoa_core::event::{self, Durable, Header, Kind, To};
use stoa_core::json;
use stoa_core::log::{Accepted, Event, Log};
use stoa_core::names::RoomKey;
use stoa_core::presence::Presence;
use stoa_core::refusal::{Code, Refusal};

/// The longest event whose memory the next one is written to, in bytes: an ordinary one's.
const PAYLOAD_BYTES_KEPT: usize = 16 * 1024;

thread_local! {
    static ANNOUNCED: Cell<u64> = const { Cell::new(0) };
    static REFUSED: Cell<u64> = const { Cell::new(0) };
    /// Where the bytes of an event are put together, one event after the other.
    static PAYLOAD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Events announced since the module was loaded.
pub(crate) fn announced() -> u64 {
    ANNOUNCED.get()
}

/// Records of the primary that did not fit since the module was loaded: anything but 0 is a fault.
pub(crate) fn refused() -> u64 {
    REFUSED.get()
}

/// Sends a decision to replicas and AOF.
pub(crate) fn replicate<T: Stored>(ctx: &Ctx<'_>, key: &(impl Name + ?Sized), record: &[u8]) {
    ctx.replicate(T::EFFECT, key, Fixed::Change, record);
}

/// Sends a whole value to replicas and AOF.
pub(crate) fn replicate_state<T: Stored>(ctx: &Ctx<'_>, key: &RoomKey<'_>, value: &T) {
    ctx.replicate(T::EFFECT, key, Fixed::State, &value.encode());
}

/// Sends a string with its end, if that is another one, to replicas and AOF.
pub(crate) fn replicate_string(ctx: &Ctx<'_>, key: Word<'_>, value: &OwnString, expires_ms: Option<u64>) {
    ctx.replicate_set(key, value, expires_ms);
}

/// Tells replicas and AOF that a key is gone.
pub(crate) fn replicate_end(ctx: &Ctx<'_>, key: Word<'_>) {
    ctx.replicate_delete(key);
}

/// Tells those who listen to keyspace notifications.
pub(crate) fn notify(ctx: &Ctx<'_>, event: &CStr, key: &(impl Name + ?Sized)) {
    ctx.notify(event, key);
}

/// Announces an event; answers how many fronts this server reached.
pub(crate) fn announce(ctx: &Ctx<'_>, channel: &str, header: &Header, frame: &str) -> i64 {
    ANNOUNCED.set(ANNOUNCED.get() + 1);
    let reached = ctx.publish(channel, &event::encode(header, frame));
    if header.kind == Kind::Durable {
        deadlines::remember_head(ctx, channel, &header.stream, header.position());
    }
    reached
}

/// Announces an ephemeral event with bytes beside its frame; answers how many fronts this server reached.
pub(crate) fn announce_with_payload(ctx: &Ctx<'_>, channel: &str, header: Header, frame: &str, payload: &[u8]) -> i64 {
    ANNOUNCED.set(ANNOUNCED.get() + 1);
    ctx.publish(channel, &event::encode_with_payload(header, frame, payload))
}

/// Announces an event that has a revision and is for everybody.
pub(crate) fn announce_durable(ctx: &Ctx<'_>, key: &RoomKey<'_>, event: &Durable<'_>, frame: &str) {
    ANNOUNCED.set(ANNOUNCED.get() + 1);
    let mut payload = PAYLOAD.take();
    payload.clear();
    event.append(&mut payload, frame);
    ctx.publish(key.channel, &payload);
    if payload.capacity() <= PAYLOAD_BYTES_KEPT {
        PAYLOAD.set(payload);
    }
    deadlines::remember_head(ctx, key.channel, event.stream, event.position());
}

/// Announces what changed in a presence list, who types and where people point. Answers whether there was anything.
pub(crate) fn announce_presence(ctx: &Ctx<'_>, key: &RoomKey<'_>, presence: &mut Presence) -> bool {
    let changed = presence.announce(key.room, key.stream, &crate::settings::bounds());
    if let Some((epoch, from, rev, frame)) = &changed {
        let (stream, epoch, from, rev, origin) = (key.stream, *epoch, *from, *rev, "");
        announce_durable(ctx, key, &Durable { stream, epoch, from, rev, origin }, frame);
    }
    let typing = presence.announce_typing(key.room);
    if let Some(frame) = &typing {
        announce(ctx, key.channel, &Header::ephemeral(key.stream, "typing"), frame);
    }
    let cursors = presence.announce_cursors(key.room);
    if let Some(frame) = &cursors {
        announce(ctx, key.channel, &Header::ephemeral(key.stream, ""), frame);
    }
    changed.is_some() || typing.is_some() || cursors.is_some()
}

/// Replicates a decision about a log and announces its events. The connection is the one that caused it, or empty.
pub(crate) fn tell_of_message(
    ctx: &Ctx<'_>,
    (name, key): (&(impl Name + ?Sized), &RoomKey<'_>),
    log: &Log,
    accepted: &Accepted,
    connection: &str,
) {
    replicate::<Log>(ctx, name, &accepted.record);
    if let Some(reads) = &accepted.reads {
        announce_of_log(ctx, key, log, reads, "");
    }
    if let Some(event) = &accepted.event {
        announce_of_log(ctx, key, log, event, connection);
    }
}

/// Announces the watermarks of a log that moved. Answers whether there were any.
pub(crate) fn announce_reads(ctx: &Ctx<'_>, key: &RoomKey<'_>, log: &mut Log) -> bool {
    let Some(reads) = log.announce_reads(key.room, key.stream) else { return false };
    announce_of_log(ctx, key, log, &reads, "");
    true
}

fn announce_of_log(ctx: &Ctx<'_>, key: &RoomKey<'_>, log: &Log, event: &Event, origin: &str) {
    let (stream, epoch) = (key.stream, log.epochs().current());
    announce_durable(ctx, key, &Durable { stream, epoch, from: event.from, rev: event.rev, origin }, &event.frame);
}

/// Replicates a change of who may do what, and announces it to whom it is about.
pub(crate) fn tell_of_access(
    ctx: &Ctx<'_>,
    (name, key): (&(impl Name + ?Sized), &RoomKey<'_>),
    access: &Access,
    change: &Change,
) {
    replicate::<Access>(ctx, name, &change.record);
    let to = if &*change.user == EVERYBODY { To::Room } else { To::User(change.user.to_string()) };
    let (epoch, rev) = (access.position().epoch, change.rev);
    let header = Header { to, ..Header::durable(key.stream, epoch, rev - 1, rev) };
    announce(ctx, key.channel, &header, &access.frame(change, key.room));
}

/// Announces which cursors of a document changed. Answers whether there was anything.
pub(crate) fn announce_cursors(ctx: &Ctx<'_>, key: &RoomKey<'_>, document: &mut Document) -> bool {
    let Some(frame) = document.announce_cursors(key.room, key.stream) else { return false };
    announce(ctx, key.channel, &Header::ephemeral(key.stream, ""), &frame);
    true
}

/// Announces how far the streams of a room are, so that a lost last event is noticed.
pub(crate) fn announce_heads(ctx: &Ctx<'_>, channel: &str, heads: &BTreeMap<Box<str>, Position>) {
    let list: Vec<String> =
        heads.iter().map(|(stream, position)| format!("{}:\"{position}\"", json::quoted(stream))).collect();
    announce(ctx, channel, &Header::heads(), &format!("{{\"heads\":{{{}}}}}", list.join(",")));
}

/// The frame that says that a stream is gone.
pub(crate) fn reset_frame(key: &RoomKey<'_>) -> String {
    format!("{{\"event\":\"room.reset\",\"room\":{},\"stream\":{}}}", json::quoted(key.room), json::quoted(key.stream))
}

/// As [`follow`], for values that begin with their first change.
pub(crate) fn follow_or_new<T: Stored + Default>(
    ctx: &Ctx<'_>,
    args: Args<'_>,
    apply: impl FnOnce(&mut T, &[u8]) -> Result<(), Damaged>,
) -> Outcome {
    follow(ctx, args, |value, record| match value {
        Some(value) => apply(value, record).map(|()| None),
        None => {
            let mut value = T::default();
            apply(&mut value, record)?;
            Ok(Some(value))
        }
    })
}

/// Follows what the primary sent: a whole value, or one change by `apply`, which may answer a value to put there.
pub(crate) fn follow<T: Stored>(
    ctx: &Ctx<'_>,
    mut args: Args<'_>,
    apply: impl FnOnce(Option<&mut T>, &[u8]) -> Result<Option<T>, Damaged>,
) -> Outcome {
    if !ctx.is_followed() {
        return Err(Refusal::new(Code::InternalOnly, "this command belongs to replication, AOF and migration").into());
    }
    // As the server holds it: a name of our own would be made and freed for every record.
    let word = args.word("key")?;
    let name = word.bytes();
    let kind = args.bytes("kind")?;
    let record = args.bytes("record")?;
    args.end()?;
    let mut key = Key::open(ctx, &word, Mode::Write);
    let followed = match kind {
        b"STATE" => T::decode(record).map(Some),
        _ => apply(key.value_mut::<T>()?, record),
    };
    match followed {
        Ok(Some(value)) => {
            value.loaded(name);
            key.put(value);
        }
        Ok(None) => {
            // When it ends is asked after a promotion: a replica ends nothing, and asking costs as much as following some
            // records does.
            if T::ENDS {
                deadlines::followed(name);
            }
        }
        Err(damaged) => {
            REFUSED.set(REFUSED.get() + 1);
            let text = format!(
                "{:?} {}: {damaged}; this copy has parted from its primary",
                T::EFFECT,
                String::from_utf8_lossy(name)
            );
            crate::ffi::log(c"warning", &text);
            return Err(Refusal::argument(damaged.to_string()).into());
        }
    }
    // The server writes what modules do into its own AOF, and to the replicas that a slot's new owner has, only if it is
    // told to; without that a replica that restarts after its promotion has forgotten what it followed.
    ctx.replicate_as_it_came();
    Ok(Reply::Integer(1))
}
