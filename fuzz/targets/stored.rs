//! Stored values and effects as bytes from outside: raw ones, and true ones with some bytes changed. What is read
//! must bear every call that follows.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stoa_core::access::Access;
use stoa_core::bounds::Bounds;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::{Position, Writer};
use stoa_core::identity::Identity;
use stoa_core::log::{Actor, Call, Log, Outcome, Post, Range, Written};
use stoa_core::op::Unit;
use stoa_core::presence::{Join, Presence, Says, Whom};
use stoa_fuzz::{Json, Line, unit};

#[derive(Debug, Arbitrary)]
enum Bytes {
    Raw(Vec<u8>),
    /// What the code wrote, with bytes changed and perhaps an end cut off.
    Changed {
        edits: Vec<(u16, u8)>,
        cut: Option<u16>,
    },
}

impl Bytes {
    fn of(&self, written: Vec<u8>) -> Vec<u8> {
        match self {
            Bytes::Raw(bytes) => bytes.clone(),
            Bytes::Changed { edits, cut } => {
                let mut bytes = written;
                for (at, byte) in edits {
                    let at = usize::from(*at) % bytes.len().max(1);
                    if let Some(place) = bytes.get_mut(at) {
                        *place = *byte;
                    }
                }
                bytes.truncate(cut.map_or(usize::MAX, usize::from));
                bytes
            }
        }
    }
}

#[derive(Debug, Arbitrary)]
struct Input {
    kind: u8,
    chars: bool,
    text: Line,
    operations: Vec<Json>,
    stored: Bytes,
    effect: Bytes,
    now_ms: u64,
}

const WRITER: Writer = Writer { replication_id: 7, chance: 9 };

fuzz_target!(|input: Input| match input.kind % 4 {
    0 => document(&input),
    1 => log(&input),
    2 => access(&input),
    _ => presence(&input),
});

fn submit<'a>(rev: u64, op: &'a [u8], seq: u64, unit: Unit) -> Submit<'a> {
    let identity = Identity::new("ada", "tab", seq).ok();
    Submit { rev, op, epoch: None, identity, user: "ada", len: None, hash: None, unit }
}

fn document(input: &Input) {
    let bounds = Bounds { document_bytes_max: 100_000, ..Bounds::default() };
    let mut document =
        Document::create(DocumentType::Text, &input.text.text(), LineEnds::Any, WRITER, &bounds).expect("it is short");
    let mut effect = Vec::new();
    for (at, json) in input.operations.iter().enumerate() {
        let op = json.bytes();
        let submitted = document.submit(
            &submit(document.rev(), &op, at as u64 % 5, unit(input.chars)),
            WRITER,
            input.now_ms.wrapping_add(at as u64),
            &bounds,
        );
        if let Ok(Some(bytes)) = submitted.map(|s| s.effect) {
            effect = bytes;
        }
    }
    assert_eq!(Document::decode(&document.encode()).expect("its own bytes").encode(), document.encode());
    let Ok(mut read) = Document::decode(&input.stored.of(document.encode())) else { return };
    // What was accepted is written and read again as the same.
    let encoded = read.encode();
    assert_eq!(Document::decode(&encoded).expect("its own bytes").encode(), encoded);
    let before = read.encode();
    if read.apply(&input.effect.of(effect)).is_err() {
        assert_eq!(read.encode(), before, "a refused effect changed something");
    }
    for rev in read.first_kept().saturating_sub(1)..=read.rev() {
        let _ = read.content_at(rev);
        let _ = read.frame("lobby", "doc:main", rev);
        let _ = read.operation_json(rev, Unit::Char);
        let _ = read.inverse_of(rev);
    }
    let _ = read.changes("lobby", "doc:main", (read.first_kept().saturating_sub(1), None), None, 10, &bounds);
    for json in &input.operations {
        for rev in [read.first_kept().saturating_sub(1), read.rev()] {
            let op = json.bytes();
            let submitted = read.submit(&submit(rev, &op, 9, unit(input.chars)), WRITER, input.now_ms, &bounds);
            if let Ok(submitted) = submitted {
                let _ = read.applied_json(&submitted, Unit::Utf16);
                let _ = read.concurrent_json(&submitted, Unit::Char).count();
            }
        }
    }
    let _ = (read.heap_bytes(), read.free_effort(), read.kept(), read.content(), read.trim(1));
}

fn access(input: &Input) {
    let bounds = Bounds { access_entries_max: 5, ..Bounds::default() };
    let (mut access, mut record) = (Access::default(), Vec::new());
    let text = input.text.text();
    for (at, json) in input.operations.iter().enumerate() {
        let bytes = json.bytes();
        let word = String::from_utf8_lossy(&bytes);
        let now = (WRITER, input.now_ms.wrapping_add(at as u64));
        let change = match at % 4 {
            0 => access.grant((&text, "viewer"), None, None, now, &bounds),
            1 => access.grant(("ada", &word), Some(at as u64), Some(&word), now, &bounds),
            2 => access.revoke(&word, None, now, &bounds),
            _ => access.forget("ada", Some(&text), WRITER),
        };
        if let Ok(Some(change)) = change {
            let _ = access.frame(&change, "lobby");
            record = change.record;
        }
    }
    assert_eq!(Access::decode(&access.encode()).expect("its own bytes"), access);
    let Ok(mut read) = Access::decode(&input.stored.of(access.encode())) else { return };
    let encoded = read.encode();
    assert_eq!(Access::decode(&encoded).expect("its own bytes"), read);
    if read.apply(&input.effect.of(record)).is_err() {
        assert_eq!(read.encode(), encoded, "a refused record changed something");
    }
    let _ = (read.heap_bytes(), read.free_effort(), read.position(), read.len(), read.next_deadline());
    let _ = (read.after(None).count(), read.after(Some(&text)).count(), read.role("ada"));
    let _ = read.due(input.now_ms, WRITER);
    let _ = read.grant(("bo", "editor"), Some(1), None, (WRITER, input.now_ms), &bounds);
    let _ = read.due(u64::MAX, WRITER);
}

fn log(input: &Input) {
    let bounds = Bounds { log_messages_max: 5, message_stream_ms: 2, ..Bounds::default() };
    let mut log = Log::default();
    let mut record = Vec::new();
    let text = input.text.text();
    let body = stoa_core::json::quoted(&text);
    let call = |at: u64| Call {
        room: "lobby",
        stream: "log",
        writer: WRITER,
        now_ms: input.now_ms.wrapping_add(at),
        bounds: &bounds,
    };
    let actor = |seq: u64| Actor { user: "ada", identity: Identity::new("ada", "tab", seq).ok(), any: true };
    for (at, json) in input.operations.iter().enumerate() {
        let (at, raw) = (at as u64, json.bytes());
        let n = log.newest().saturating_sub(raw.len() as u64 % 4);
        let written = match raw.len() % 11 {
            0 => log.edit(n, &raw, &["bo", "*"], actor(at), &call(at)),
            1 => log.delete(n, actor(at), &call(at)),
            2 => log.react(n, &text, at % 3 > 0, actor(at), &call(at)),
            3 => log.append(n, &text, None, actor(at), &call(at)),
            4 => log.finish(n, Some(&raw), actor(at), &call(at)),
            5 => log.cancel(n, actor(at), &call(at)),
            6 => {
                record = log.read(&[("ada", n), ("bo", at)], &call(at)).ok().and_then(|(_, r)| r).unwrap_or(record);
                continue;
            }
            7 => {
                let due = log.due(&call(at));
                record = due.into_iter().map(|accepted| accepted.record).next_back().unwrap_or(record);
                continue;
            }
            8 => log.post(&Post { streaming: true, ..Post::text(b"\"\"") }, actor(at), &call(at)),
            _ => {
                let post = Post { kind: "note", reply: (n > 0).then_some(n), ..Post::text(body.as_bytes()) };
                log.post(&post, actor(at), &call(at))
            }
        };
        if let Ok(Written { outcome: Outcome::Accepted(accepted), .. }) = written {
            record = accepted.record;
        }
    }
    assert_eq!(Log::decode(&log.encode()).expect("its own bytes"), log);
    let Ok(mut read) = Log::decode(&input.stored.of(log.encode())) else { return };
    let encoded = read.encode();
    assert_eq!(Log::decode(&encoded).expect("its own bytes"), read);
    if read.apply(&input.effect.of(record), &bounds).is_err() {
        assert_eq!(read.encode(), encoded, "a refused record changed something");
    }
    let _ = (read.heap_bytes(), read.position(), read.len(), read.figures(), read.next_deadline(&bounds));
    for which in [Range::Before(u64::MAX), Range::After(0), Range::Before(3), Range::Around(2)] {
        let _ = (read.range(which, None, 3, &bounds), read.range(which, Some(1), 3, &bounds));
    }
    let _ = read.since(0, None, 10, ("lobby", "log"), &bounds);
    for n in 0..8 {
        let _ = (read.get(n), read.history(n), read.unread(&text), read.unread("ada"));
    }
    for seq in [1, 7] {
        let _ = read.post(&Post { reply: Some(1), ..Post::text(body.as_bytes()) }, actor(seq), &call(0));
        let _ = read.edit(seq, body.as_bytes(), &["ada"], actor(seq + 1), &call(0));
        let _ = read.react(seq, "+", true, actor(seq + 2), &call(0));
        let _ = read.append(seq, &text, None, actor(seq + 3), &call(0));
        let _ = read.delete(seq, actor(seq + 4), &call(0));
    }
    let _ = (read.read(&[("ada", 3)], &call(1)), read.announce_reads("lobby", "log"));
    let _ = (read.configure(Some(2), None, Some(9), &call(1)), read.due(&call(u64::MAX)), read.trim(1, &call(1)));
    let _ = read.encode();
}

fn presence(input: &Input) {
    let bounds = Bounds { departures_max: 3, connections_max: 8, presence_seen_max: 2, ..Bounds::default() };
    let mut presence = Presence::default();
    let mut record = Vec::new();
    let now_ms = input.now_ms;
    for (at, json) in input.operations.iter().enumerate() {
        let (user, connection) = (["ada", "bob"][at % 2], ["c1", "c2", "c3", "c4"][at % 4]);
        let raw = json.bytes();
        let status = ["online", "away", "invisible", "lunch", "no status"][at % 5];
        let says = Says { data: Some(&raw), private: Some(&raw), status: Some(status) };
        let quiet = Says { data: None, private: None, ..says };
        let join = Join { user, connection, node: ["n1", "n2"][at % 3 / 2], ttl_ms: 1000, says: quiet };
        let changed = match raw.len() % 8 {
            0 => presence.leave(connection, 500, WRITER, now_ms, &bounds),
            1 => presence.leave(connection, 0, WRITER, now_ms, &bounds),
            2 => presence.set(connection, says, WRITER, now_ms, &bounds),
            3 => presence.set(connection, quiet, WRITER, now_ms, &bounds),
            4 => presence.kick(Whom::Connection(connection), WRITER, now_ms, &bounds),
            5 => presence.kick(Whom::User(user), WRITER, now_ms, &bounds),
            _ => presence.join(join, WRITER, now_ms, &bounds),
        };
        let _ = presence.point(connection, &raw, now_ms, &bounds);
        if let Ok(Some(bytes)) = changed.map(|c| c.record) {
            record = bytes;
        }
    }
    assert_eq!(Presence::decode(&presence.encode()).expect("its own bytes").encode(), presence.encode());
    let Ok(mut read) = Presence::decode(&input.stored.of(presence.encode())) else { return };
    assert_eq!(Presence::decode(&read.encode()).expect("its own bytes").encode(), read.encode());
    let _ = read.apply(&input.effect.of(record), &bounds);
    let _ = (read.snapshot(), read.members(&bounds), read.heap_bytes(), read.free_effort(), read.next_deadline());
    let _ = read.since(Position::START, ("lobby", "presence"), &bounds);
    let _ = (read.look("ada"), read.counts());
    let join = Join { user: "ada", connection: "c1", node: "n1", ttl_ms: 1000, says: Says::default() };
    let _ = read.join(join, WRITER, now_ms, &bounds);
    let _ = (read.point("c1", b"1", now_ms, &bounds), read.announce_cursors("lobby"));
    let _ = read.type_for("c1", 10, now_ms);
    let _ = read.beat("n1", 1000, WRITER, now_ms, &bounds);
    let _ = (read.announce("lobby", "presence", &bounds), read.announce_typing("lobby"));
    let _ = read.leave("c1", 10, WRITER, now_ms, &bounds);
    // Time ends every lease and grace, in bounded steps.
    for _ in 0..16 {
        let _ = read.due(u64::MAX, WRITER, &bounds);
    }
    let _ = (read.announce("lobby", "presence", &bounds), read.encode());
}
