//! Stored values and effects as bytes from outside: raw ones, and true ones with some bytes changed. What is read
//! must bear every call that follows.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stoa_core::bounds::Bounds;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::{Position, Writer};
use stoa_core::identity::Identity;
use stoa_core::log::{Log, Post, Range};
use stoa_core::op::Unit;
use stoa_core::presence::{Join, Presence};
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

fuzz_target!(|input: Input| match input.kind % 3 {
    0 => document(&input),
    1 => log(&input),
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

fn log(input: &Input) {
    let bounds = Bounds { log_messages_max: 5, ..Bounds::default() };
    let mut log = Log::default();
    let mut record = Vec::new();
    let body = stoa_core::json::quoted(&input.text.text());
    for at in 0..input.operations.len() as u64 {
        let post = Post {
            user: "ada",
            body: body.as_bytes(),
            kind: "note",
            reply: (at > 1).then_some(at / 2),
            identity: Identity::new("ada", "tab", at).ok(),
        };
        if let Ok(posted) = log.post(post, WRITER, input.now_ms.wrapping_add(at), &bounds) {
            record = posted.record.unwrap_or(record);
        }
    }
    assert_eq!(Log::decode(&log.encode()).expect("its own bytes"), log);
    let Ok(mut read) = Log::decode(&input.stored.of(log.encode())) else { return };
    assert_eq!(Log::decode(&read.encode()).expect("its own bytes"), read);
    let _ = read.apply(&input.effect.of(record), &bounds);
    let _ = (read.heap_bytes(), read.position(), read.len());
    for which in [Range::Before(u64::MAX), Range::After(0), Range::Before(3)] {
        let _ = read.range(which, 3, &bounds);
    }
    let _ = read.since(0, None, 10, ("lobby", "log"), &bounds);
    let _ = read.frame("lobby", "log", read.rev());
    for seq in [1, 7] {
        let identity = Identity::new("ada", "tab", seq).ok();
        let post = Post { user: "ada", body: body.as_bytes(), kind: "note", reply: Some(1), identity };
        let _ = read.post(post, WRITER, input.now_ms, &bounds);
    }
    let _ = read.encode();
}

fn presence(input: &Input) {
    let bounds = Bounds { departures_max: 3, connections_max: 8, ..Bounds::default() };
    let mut presence = Presence::default();
    let mut record = Vec::new();
    let now_ms = input.now_ms;
    for (at, json) in input.operations.iter().enumerate() {
        let (user, connection) = (["ada", "bob"][at % 2], ["c1", "c2", "c3", "c4"][at % 4]);
        let join = Join { user, connection, node: ["n1", "n2"][at % 3 / 2], ttl_ms: 1000, data: None, private: None };
        let raw = json.bytes();
        let changed = match raw.len() % 5 {
            0 => presence.leave(connection, 500, WRITER, now_ms, &bounds),
            1 => presence.leave(connection, 0, WRITER, now_ms, &bounds),
            2 => presence.patch(connection, &raw, WRITER, &bounds),
            _ => presence.join(join, WRITER, now_ms, &bounds),
        };
        if let Ok(Some(bytes)) = changed.map(|c| c.record) {
            record = bytes;
        }
    }
    assert_eq!(Presence::decode(&presence.encode()).expect("its own bytes").encode(), presence.encode());
    let Ok(mut read) = Presence::decode(&input.stored.of(presence.encode())) else { return };
    assert_eq!(Presence::decode(&read.encode()).expect("its own bytes").encode(), read.encode());
    let _ = read.apply(&input.effect.of(record), &bounds);
    let _ = (read.snapshot(&bounds), read.heap_bytes(), read.free_effort(), read.next_deadline());
    let _ = read.since(Position::START, ("lobby", "presence"), &bounds);
    let join = Join { user: "ada", connection: "c1", node: "n1", ttl_ms: 1000, data: None, private: None };
    let _ = read.join(join, WRITER, now_ms, &bounds);
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
