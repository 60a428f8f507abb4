//! `DOC.`: what many people edit.

use super::{changes_reply, epoch_reply, msg, stream_key};
use crate::args::{Args, once, unknown};
use crate::deadlines::writer;
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode};
use crate::reply::{Outcome, Reply, Trouble};
use crate::settings::bounds;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::Position;
use stoa_core::event::Header;
use stoa_core::identity::{Identity, check_id};
use stoa_core::op::Unit;
use stoa_core::refusal::{Code, Refusal};

/// DOC.CREATE key type [content] [EOL lf|any]
pub(crate) fn create(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let kind: DocumentType = args.text("type")?.parse().map_err(|()| Refusal::argument("the type has to be `text`"))?;
    let content = if args.has_value(&["EOL"]) { args.text("content")? } else { "" };
    let mut ends = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "EOL" => {
                let parsed = args.text("EOL")?.to_ascii_lowercase().parse::<LineEnds>();
                once(&mut ends, "EOL", parsed.map_err(|()| Refusal::argument("EOL has to be lf or any"))?)?;
            }
            _ => return Err(unknown(&word)),
        }
    }
    let mut open = Key::open(ctx, &name, Mode::Write);
    if let Some(known) = open.value::<Document>()? {
        return Ok(created_reply(false, known));
    }
    let document = Document::create(kind, content, ends.unwrap_or_default(), writer(ctx), &bounds())?;
    let frame = document.created_frame(key.room, key.stream);
    effects::replicate_state(ctx, &key, &document);
    effects::notify(ctx, c"doc.create", &name);
    effects::announce(ctx, key.channel, &Header::durable(key.stream, document.epoch(), 0, 0), &frame);
    let reply = created_reply(true, &document);
    open.put(document);
    Ok(reply)
}

/// DOC.SUBMIT key rev op [ID client seq] [EPOCH epoch] [LEN n] [HASH hash] [UNIT utf16|char] [BY user conn]
pub(crate) fn submit(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (rev, op) = (args.integer("rev")?, args.bytes("op")?);
    let (mut id, mut epoch, mut len, mut hash, mut unit, mut by) = (None, None, None, None, None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "ID" => once(&mut id, "ID", (args.text("client")?, args.integer("seq")?))?,
            "EPOCH" => once(&mut epoch, "EPOCH", args.epoch()?)?,
            "LEN" => once(&mut len, "LEN", args.integer("len")?)?,
            "HASH" => once(&mut hash, "HASH", parse_hash(args.text("hash")?)?)?,
            "UNIT" => {
                let parsed = args.text("UNIT")?.to_ascii_lowercase().parse::<Unit>();
                once(&mut unit, "UNIT", parsed.map_err(|()| Refusal::argument("UNIT has to be utf16 or char"))?)?;
            }
            "BY" => once(&mut by, "BY", (args.text("user")?, args.text("conn")?))?,
            _ => return Err(unknown(&word)),
        }
    }
    let (user, connection) = by.unwrap_or_default();
    check_id("conn", connection, true)?;
    let identity = id.map(|(client, seq)| Identity::new(user, client, seq)).transpose()?;
    let unit = unit.unwrap_or_default();
    let submit = Submit { rev, op, epoch, identity, user, len, hash, unit };

    let mut open = Key::open(ctx, &name, Mode::Write);
    let document = open.value_mut::<Document>()?.ok_or_else(missing)?;
    let submitted = document.submit(&submit, writer(ctx), ffi::now_ms(), &bounds())?;
    if let Some(effect) = &submitted.effect {
        effects::replicate::<Document>(ctx, &key, effect);
        effects::notify(ctx, c"doc.submit", &name);
    }
    if submitted.created && !submitted.duplicate {
        let frame = document.frame(key.room, key.stream, submitted.rev).unwrap_or_default();
        let mut header = Header::durable(key.stream, submitted.epoch, submitted.rev - 1, submitted.rev);
        header.origin = connection.to_owned();
        effects::announce(ctx, key.channel, &header, &frame);
    }
    let concurrent: Vec<String> = document.concurrent_json(&submitted, unit).collect();
    Ok(Reply::Map(vec![
        ("rev", submitted.rev.into()),
        ("epoch", epoch_reply(submitted.epoch)),
        ("op", document.applied_json(&submitted, unit).unwrap_or_default().into()),
        ("duplicate", submitted.duplicate.into()),
        ("concurrent", concurrent.into()),
    ]))
}

/// DOC.GET key [REV n]
pub(crate) fn get(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    let mut rev = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "REV" => once(&mut rev, "REV", args.integer("rev")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let document = open.value::<Document>()?.ok_or_else(missing)?;
    let rev = rev.unwrap_or(document.rev());
    let content = document.content_at(rev)?;
    Ok(Reply::Map(vec![
        ("rev", rev.into()),
        ("epoch", epoch_reply(document.epochs().of(rev))),
        ("type", document.kind().as_str().into()),
        ("content", content.into()),
    ]))
}

/// DOC.OPS key from [to] [EPOCH epoch] [COUNT c]
pub(crate) fn ops(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let from = args.integer("from")?;
    let to = if args.has_value(&["EPOCH", "COUNT"]) { Some(args.integer("to")?) } else { None };
    let (mut epoch, mut count) = (None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "EPOCH" => once(&mut epoch, "EPOCH", args.epoch()?)?,
            "COUNT" => once(&mut count, "COUNT", msg::counted(args.integer("count")?)?)?,
            _ => return Err(unknown(&word)),
        }
    }
    let open = Key::open(ctx, &name, Mode::Read);
    let document = open.value::<Document>()?.ok_or_else(missing)?;
    let changes = document.changes(key.room, key.stream, (from, epoch), to, count.unwrap_or(usize::MAX), &bounds());
    Ok(changes_reply(changes, position(document)))
}

/// DOC.APPLY key CHANGE|STATE record
pub(crate) fn apply(ctx: &Ctx<'_>, args: Args<'_>) -> Outcome {
    use stoa_core::codec::Damaged;
    effects::follow::<Document>(ctx, args, |document, record| match document {
        Some(document) => document.apply(record).map(|()| None).map_err(|e| Damaged(e.to_string())),
        None => Err(Damaged("a change of a document that does not exist here".into())),
    })
}

/// Where a document is.
pub(super) fn position(document: &Document) -> Position {
    Position { epoch: document.epoch(), rev: document.rev() }
}

fn created_reply(created: bool, document: &Document) -> Reply {
    Reply::Map(vec![
        ("created", created.into()),
        ("epoch", epoch_reply(document.epoch())),
        ("rev", document.rev().into()),
    ])
}

fn missing() -> Trouble {
    Refusal::new(Code::NotFound, "there is no such document, DOC.CREATE makes one").into()
}

fn parse_hash(text: &str) -> Result<u64, Refusal> {
    let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let parsed = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    parsed.ok_or_else(|| Refusal::argument("HASH has to be 16 hexadecimal digits"))
}
