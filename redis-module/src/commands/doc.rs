//! `DOC.`: what many people edit.

use super::limits::Limits;
use super::{changes_reply, epoch_reply, msg, stream_key};
use crate::args::{Args, Keyword, once, unknown};
use crate::deadlines::{self, writer};
use crate::effects;
use crate::ffi::{self, Ctx, Key, Mode, Word};
use crate::reply::{Outcome, Reply, Trouble};
use crate::settings::bounds;
use std::ffi::CStr;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit, Submitted};
use stoa_core::epoch::Position;
use stoa_core::event::Durable;
use stoa_core::identity::{Identity, check_id};
use stoa_core::names::RoomKey;
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
    let event = Durable { stream: key.stream, epoch: document.epoch(), from: 0, rev: 0, origin: "" };
    effects::announce_durable(ctx, &key, &event, &frame);
    let reply = created_reply(true, &document);
    open.put(document);
    Ok(reply)
}

/// DOC.SUBMIT key rev op [ID client seq] [EPOCH epoch] [LEN n] [HASH hash] [UNIT utf16|char] [BY user conn] [LIMITS …]
pub(crate) fn submit(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let (rev, op) = (args.integer("rev")?, args.bytes("op")?);
    let mut author = Author::default();
    let (mut epoch, mut len, mut hash, mut unit) = (None, None, None, None);
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "EPOCH" => once(&mut epoch, "EPOCH", args.epoch()?)?,
            "LEN" => once(&mut len, "LEN", args.integer("len")?)?,
            "HASH" => once(&mut hash, "HASH", parse_hash(args.text("hash")?)?)?,
            "UNIT" => {
                let parsed = args.text("UNIT")?.to_ascii_lowercase().parse::<Unit>();
                once(&mut unit, "UNIT", parsed.map_err(|()| Refusal::argument("UNIT has to be utf16 or char"))?)?;
            }
            _ => author.take(&word, &mut args)?,
        }
    }
    let (identity, user, connection) = author.checked()?;
    let unit = unit.unwrap_or_default();
    let submit = Submit { rev, op, epoch, identity, user, len, hash, unit };

    let mut open = Key::open(ctx, &name, Mode::Write);
    limits.check(ctx, || knows(&open, submit.identity.as_ref()))?;
    let document = open.value_mut::<Document>()?.ok_or_else(missing)?;
    let submitted = document.submit(&submit, writer(ctx), ffi::now_ms(), &bounds()).inspect_err(count_desync)?;
    Ok(settle(ctx, (&name, &key), document, (&submitted, &limits), connection, unit, c"doc.submit"))
}

/// DOC.UNDO key client [ID id seq] [BY user conn] [LIMITS …]
pub(crate) fn undo(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let client = args.text("client")?;
    let (identity, user, connection) = Author::read(&mut args)?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    limits.check(ctx, || knows(&open, identity.as_ref()))?;
    let document = open.value_mut::<Document>()?.ok_or_else(missing)?;
    let undone = document.undo((user, client), identity, writer(ctx), ffi::now_ms(), &bounds())?;
    Ok(settle(ctx, (&name, &key), document, (&undone, &limits), connection, Unit::Utf16, c"doc.undo"))
}

/// DOC.RESTORE key name [ID id seq] [BY user conn] [LIMITS …]
pub(crate) fn restore(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let limits = Limits::cut(&mut args, &key)?;
    let tag = args.text("name")?;
    let (identity, user, connection) = Author::read(&mut args)?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    limits.check(ctx, || knows(&open, identity.as_ref()))?;
    let document = open.value_mut::<Document>()?.ok_or_else(missing)?;
    let restored = document.restore(tag, user, identity, writer(ctx), ffi::now_ms(), &bounds())?;
    Ok(settle(ctx, (&name, &key), document, (&restored, &limits), connection, Unit::Utf16, c"doc.restore"))
}

/// DOC.TAG key name [DROP]
pub(crate) fn tag(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let tag = args.text("name")?;
    let drop_it = match args.keyword() {
        None => false,
        Some(word) if word.as_str() == "DROP" => true,
        Some(word) => return Err(unknown(&word)),
    };
    args.end()?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let document = open.value_mut::<Document>()?.ok_or_else(missing)?;
    let effect = if drop_it { document.untag(tag)? } else { document.tag(tag, ffi::now_ms(), &bounds())? };
    effects::replicate::<Document>(ctx, &key, &effect);
    effects::notify(ctx, c"doc.tag", &name);
    Ok(Reply::Map(vec![("rev", document.rev().into()), ("epoch", epoch_reply(document.epoch()))]))
}

/// DOC.TRIM key keep
pub(crate) fn trim(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let keep = usize::try_from(args.integer("keep")?).unwrap_or(usize::MAX);
    args.end()?;
    let mut open = Key::open(ctx, &name, Mode::Write);
    let document = open.value_mut::<Document>()?.ok_or_else(missing)?;
    let (before, _) = document.kept();
    if let Some(effect) = document.trim(keep) {
        effects::replicate::<Document>(ctx, &key, &effect);
        effects::notify(ctx, c"doc.trim", &name);
    }
    let (after, _) = document.kept();
    Ok((before - after).into())
}

/// DOC.CURSOR key conn rev json [BY user]
pub(crate) fn cursor(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, key) = stream_key(ctx, &mut args)?;
    let (connection, rev, told) = (args.text("conn")?, args.integer("rev")?, args.bytes("json")?);
    let mut by = None;
    while let Some(word) = args.keyword() {
        match word.as_str() {
            "BY" => once(&mut by, "BY", args.text("user")?)?,
            _ => return Err(unknown(&word)),
        }
    }
    // Cursors are the primary's alone: nothing that is stored changes, so the key is opened for reading.
    let mut open = Key::open(ctx, &name, Mode::Read);
    let document = open.value_mut::<Document>()?.ok_or_else(missing)?;
    let who = (connection, by.unwrap_or_default());
    let known = document.set_cursor(who, rev, told, ffi::now_ms(), &bounds())?;
    deadlines::changed(ctx, key.key.as_bytes(), document.next_cursor_end());
    deadlines::tell(ctx, &key, document);
    Ok(known.into())
}

/// DOC.INFO key
pub(crate) fn info(ctx: &Ctx<'_>, mut args: Args<'_>) -> Outcome {
    let (name, _) = stream_key(ctx, &mut args)?;
    args.end()?;
    let open = Key::open(ctx, &name, Mode::Read);
    let document = open.value::<Document>()?.ok_or_else(missing)?;
    let (operations, operation_bytes) = document.kept();
    let tags = document.tags().flat_map(|(name, rev, at_ms)| [Reply::from(name), rev.into(), at_ms.into()]);
    Ok(Reply::Map(vec![
        ("type", document.kind().as_str().into()),
        ("eol", document.line_ends().as_str().into()),
        ("epoch", epoch_reply(document.epoch())),
        ("rev", document.rev().into()),
        ("first_rev", document.first_kept().saturating_sub(1).into()),
        ("operations", operations.into()),
        ("operation_bytes", operation_bytes.into()),
        ("bytes", document.len_bytes().into()),
        ("utf16", u64::from(document.len().utf16).into()),
        ("chars", u64::from(document.len().chars).into()),
        ("writers", document.writers().into()),
        ("cursors", document.cursor_count().into()),
        ("tags", Reply::List(tags.collect())),
    ]))
}

/// Who writes: `[ID client seq] [BY user conn]`.
#[derive(Default)]
struct Author<'a> {
    id: Option<(&'a str, u64)>,
    by: Option<(&'a str, &'a str)>,
}

impl<'a> Author<'a> {
    /// Reads one of both; anything else is no option of the command.
    fn take(&mut self, word: &Keyword, args: &mut Args<'a>) -> Result<(), Trouble> {
        match word.as_str() {
            "ID" => once(&mut self.id, "ID", (args.text("client")?, args.integer("seq")?)),
            "BY" => once(&mut self.by, "BY", (args.text("user")?, args.text("conn")?)),
            _ => Err(unknown(word)),
        }
    }

    /// The identity, the user and the connection; the last two may be empty.
    fn checked(self) -> Result<(Option<Identity>, &'a str, &'a str), Trouble> {
        let (user, connection) = self.by.unwrap_or_default();
        check_id("conn", connection, true)?;
        let identity = self.id.map(|(client, seq)| Identity::new(user, client, seq)).transpose()?;
        Ok((identity, user, connection))
    }

    /// Reads all that is left.
    fn read(args: &mut Args<'a>) -> Result<(Option<Identity>, &'a str, &'a str), Trouble> {
        let mut author = Author::default();
        while let Some(word) = args.keyword() {
            author.take(&word, args)?;
        }
        author.checked()
    }
}

/// Whether an operation with this identity does nothing any more.
fn knows(open: &Key<'_>, identity: Option<&Identity>) -> bool {
    let document = open.value::<Document>().ok().flatten();
    document.zip(identity).is_some_and(|(document, identity)| document.knows(identity))
}

/// Charges for what became of an operation, replicates and announces it, and answers with it.
fn settle(
    ctx: &Ctx<'_>,
    (name, key): (&Word<'_>, &RoomKey<'_>),
    document: &Document,
    (submitted, limits): (&Submitted, &Limits<'_>),
    connection: &str,
    unit: Unit,
    event: &CStr,
) -> Reply {
    if !submitted.duplicate {
        limits.charge(ctx);
    }
    if let Some(effect) = &submitted.effect {
        effects::replicate::<Document>(ctx, key, effect);
        effects::notify(ctx, event, name);
    }
    let mut op = None;
    if submitted.created && !submitted.duplicate {
        let mut frame = String::new();
        let operation = document.push_frame(&mut frame, key.room, key.stream, submitted.rev);
        let (stream, epoch, rev) = (key.stream, submitted.epoch, submitted.rev);
        let event = Durable { stream, epoch, from: rev - 1, rev, origin: connection };
        effects::announce_durable(ctx, key, &event, &frame);
        // The operation stands in the frame, in the unit that nearly everybody asks for.
        op = operation.filter(|_| unit == Unit::Utf16).map(|part| Reply::Part(frame, part));
    }
    let op = op.unwrap_or_else(|| document.applied_json(submitted, unit).unwrap_or_default().into());
    let (mut concurrent, mut ends) = (String::new(), Vec::new());
    document.push_concurrent(submitted, unit, &mut concurrent, &mut ends);
    Reply::Map(vec![
        ("rev", submitted.rev.into()),
        ("epoch", epoch_reply(submitted.epoch)),
        ("op", op),
        ("duplicate", submitted.duplicate.into()),
        ("concurrent", Reply::Texts(concurrent, ends)),
    ])
}

/// Copies that went astray are rare and worth knowing of: `INFO` tells how many were noticed.
fn count_desync(refusal: &Refusal) {
    if refusal.code == Code::Desync {
        crate::info::count_desync();
    }
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
