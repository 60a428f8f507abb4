//! Many clients on one document: resends, trims, new epochs, wrong revisions and wrong claims, in both units; what is
//! taken back, tags that are set, restored and dropped, and cursors.
//!
//! Beside the document go a replica that only follows effects, and a twin that keeps every text as a string and
//! transforms step by step.
#![no_main]

#[path = "submit/own.rs"]
mod own;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, BTreeSet};
use stoa_core::bounds::{Bounds, EPOCHS_KEPT};
use stoa_core::document::{CURSOR_MS, Document, DocumentType, LineEnds, Submit, Submitted};
use stoa_core::epoch::{Epoch, Writer};
use stoa_core::identity::Identity;
use stoa_core::op::{Operation, Unit};
use stoa_core::refusal::Code;
use stoa_core::text::Text;
use stoa_core::transform::Side;
use stoa_fuzz::{Json, Line, apply, len, over, unit};

#[derive(Debug, Clone, Arbitrary)]
enum Claim {
    None,
    Right,
    Wrong(u64),
}

#[derive(Debug, Clone, Arbitrary)]
enum Base {
    /// So many revisions behind the head.
    Behind(u8),
    Any(u64),
}

#[derive(Debug, Clone, Arbitrary)]
struct Write {
    client: u8,
    with_identity: bool,
    base: Base,
    op: Json,
    chars: bool,
    len: Claim,
    hash: Claim,
    epoch: Claim,
}

#[derive(Debug, Arbitrary)]
enum Act {
    Write(Write),
    /// The last write of this client once more.
    Resend(u8),
    Trim(u8),
    /// The last edit of this client is taken back.
    Undo {
        client: u8,
        with_identity: bool,
    },
    Tag(u8),
    DropTag(u8),
    /// The text of a tag comes back.
    RestoreTag {
        tag: u8,
        client: u8,
        with_identity: bool,
    },
    /// A connection is somewhere, or with no text after it nowhere.
    Cursor {
        connection: u8,
        behind: u8,
        anchor: u16,
        head: u16,
        is_gone: bool,
    },
    AnnounceCursors,
    EndCursors,
    /// Another server writes from now on.
    Promote(u8),
    Detach,
    /// The primary is stored and read.
    Restore,
    /// The replica is stored and read.
    RestoreReplica,
}

#[derive(Debug, Arbitrary)]
struct Input {
    text: Line,
    /// How often the text is repeated.
    times: u8,
    any_line_ends: bool,
    operations_max: u8,
    bytes_max: u16,
    acts: Vec<Act>,
}

struct Sent {
    op: Vec<u8>,
    rev: u64,
    unit: Unit,
    seq: u64,
    answer: Submitted,
}

struct World {
    bounds: Bounds,
    writer: Writer,
    document: Document,
    replica: Document,
    /// The text at every revision.
    texts: Vec<String>,
    /// The operation that created every revision, in UTF-16 units and in code points; none created the first.
    operations: Vec<[Operation; 2]>,
    sequences: [u64; 4],
    last: [Option<Sent>; 4],
    /// The revisions that take back another one.
    undoes: BTreeSet<u64>,
    tags: BTreeMap<String, String>,
    /// (revision, anchor, head, when it ends) of each connection.
    cursors: BTreeMap<String, (usize, u32, u32, u64)>,
    now_ms: u64,
    /// How many epochs there may have been.
    servers: usize,
}

fuzz_target!(|input: Input| {
    let bounds = Bounds {
        document_bytes_max: 16_384,
        document_operations_max: usize::from(input.operations_max).max(1),
        document_log_bytes_max: usize::from(input.bytes_max).max(64),
        tags_max: 3,
        tags_bytes_max: 20_000,
        ..Bounds::default()
    };
    let line_ends = if input.any_line_ends { LineEnds::Any } else { LineEnds::Lf };
    let writer = Writer { replication_id: 1, chance: 11 };
    let text: String = input.text.text().repeat(usize::from(input.times % 32) + 1);
    let document = Document::create(DocumentType::Text, &text, line_ends, writer, &bounds).expect("it is short");
    let replica = Document::decode(&document.encode()).expect("its own bytes");
    let mut world = World {
        bounds,
        writer,
        document,
        replica,
        texts: vec![text],
        operations: Vec::new(),
        sequences: [0; 4],
        last: [None, None, None, None],
        undoes: BTreeSet::new(),
        tags: BTreeMap::new(),
        cursors: BTreeMap::new(),
        now_ms: 1_700_000_000_000,
        servers: 1,
    };
    for act in input.acts.iter().take(400) {
        world.act(act);
    }
    world.compare();
});

impl World {
    fn act(&mut self, act: &Act) {
        self.now_ms += 5;
        match act {
            Act::Write(write) => self.write(write),
            Act::Resend(client) => self.resend(usize::from(client % 4)),
            Act::Trim(keep) => {
                if let Some(effect) = self.document.trim(usize::from(*keep)) {
                    self.replica.apply(&effect).expect("a replica follows a trim");
                }
            }
            Act::Promote(id) => {
                self.writer = Writer { replication_id: 1 + u64::from(*id), chance: u32::from(*id) };
                self.servers += 1;
            }
            Act::Detach => {
                self.document.detach();
                self.servers += 1;
            }
            Act::Undo { client, with_identity } => self.undo(usize::from(client % 4), *with_identity),
            Act::Tag(name) => self.tag(&format!("v{}", name % 5)),
            Act::DropTag(name) => self.drop_tag(&format!("v{}", name % 5)),
            Act::RestoreTag { tag, client, with_identity } => {
                self.restore_tag(&format!("v{}", tag % 5), usize::from(client % 4), *with_identity);
            }
            Act::Cursor { connection, behind, anchor, head, is_gone } => {
                self.cursor(format!("c{}", connection % 6), *behind, (*anchor).into(), (*head).into(), *is_gone);
            }
            Act::AnnounceCursors => {
                if let Some(frame) = self.document.announce_cursors("lobby", "doc:main") {
                    serde_json::from_str::<serde_json::Value>(&frame).expect("a frame is JSON");
                }
            }
            Act::EndCursors => {
                self.now_ms += CURSOR_MS / 2;
                self.document.end_cursors(self.now_ms);
                self.cursors.retain(|_, (_, _, _, ends_ms)| *ends_ms > self.now_ms);
            }
            Act::Restore => {
                self.document = Document::decode(&self.document.encode()).expect("its own bytes");
                // They are the primary's alone, and stored nowhere.
                self.cursors.clear();
            }
            Act::RestoreReplica => self.replica = Document::decode(&self.replica.encode()).expect("its own bytes"),
        }
    }

    fn write(&mut self, write: &Write) {
        let (client, unit, op) = (usize::from(write.client % 4), unit(write.chars), write.op.bytes());
        let head = self.document.rev();
        let rev = match write.base {
            Base::Behind(n) => head.saturating_sub(u64::from(n)),
            Base::Any(rev) => rev,
        };
        let base = self.texts.get(rev as usize).cloned();
        let right = base.as_deref().unwrap_or_default();
        let seq = self.sequences[client] + 1;
        let submit = Submit {
            rev,
            op: &op,
            epoch: match write.epoch {
                Claim::None => None,
                Claim::Right => Some(self.document.epochs().of(rev)),
                Claim::Wrong(n) => Some(Epoch { number: n as u32, id: (n >> 32) as u32 }),
            },
            identity: write.with_identity.then(|| Identity::new("ada", &client.to_string(), seq).expect("it is fine")),
            user: "bob",
            len: claimed(&write.len, || u64::from(len(right, unit))),
            hash: claimed(&write.hash, || Text::new(right).expect("it is short").hash()),
            unit,
        };
        let before = self.document.encode();
        let submitted = match self.document.submit(&submit, self.writer, self.now_ms, &self.bounds) {
            Ok(submitted) => submitted,
            Err(refusal) => {
                assert_eq!(self.document.encode(), before, "a refused operation changed something");
                if refusal.code == Code::Ahead {
                    assert!(rev > head);
                }
                return;
            }
        };
        assert!(!submitted.duplicate);
        let base = base.expect("an accepted operation has a base");
        let original = Operation::parse(&op, unit, &self.bounds).expect("an accepted operation is readable");
        self.check(&submitted, &original, &base, rev, unit);
        if write.with_identity {
            self.sequences[client] = seq;
            self.last[client] = Some(Sent { op, rev, unit, seq, answer: submitted });
        }
    }

    /// The twin does the same and has to come to the same.
    fn check(&mut self, submitted: &Submitted, original: &Operation, base: &str, rev: u64, unit: Unit) {
        assert!(original.base_len() <= len(base, unit));
        let mut expected = original.clone();
        for pair in &self.operations[rev as usize..] {
            expected = over(&expected, &pair[usize::from(unit == Unit::Char)], Side::Left);
        }
        let head = self.texts.last().expect("there is always one");
        let applied = self.document.applied_json(submitted, unit).expect("it was applied just now");
        assert_eq!(applied, expected.to_json(), "transformed step by step");
        let text = apply(head, &expected).expect("an accepted operation fits").0;
        assert_eq!(self.document.content(), text);
        assert_eq!(submitted.created, !expected.is_empty());
        let concurrent: Vec<String> = self.document.concurrent_json(submitted, unit).collect();
        let missed = self.operations[rev as usize..].iter().map(|pair| pair[usize::from(unit == Unit::Char)].to_json());
        let missed: Vec<String> = missed.collect();
        // What this very write pushed out of the history is no longer told.
        assert!(missed.ends_with(&concurrent), "{missed:?} {concurrent:?}");
        if submitted.created {
            let read = |unit| {
                let json = self.document.operation_json(submitted.rev, unit).expect("the newest is kept");
                Operation::parse(json.as_bytes(), unit, &Bounds::default()).expect("its own JSON")
            };
            self.operations.push([read(Unit::Utf16), read(Unit::Char)]);
            self.texts.push(text);
        }
        assert_eq!(self.document.rev() as usize, self.operations.len());
        if let Some(effect) = &submitted.effect {
            self.replica.apply(effect).expect("a replica follows");
            assert!(!submitted.created || self.replica.apply(effect).is_err(), "an effect was followed twice");
        }
    }

    /// A resend changes nothing and is answered as the first time.
    fn resend(&mut self, client: usize) {
        let Some(sent) = &self.last[client] else { return };
        let submit = Submit {
            rev: sent.rev,
            op: &sent.op,
            epoch: None,
            identity: Some(Identity::new("ada", &client.to_string(), sent.seq).expect("it was fine")),
            user: "",
            len: None,
            hash: None,
            unit: sent.unit,
        };
        let before = self.document.encode();
        let again = self.document.submit(&submit, self.writer, self.now_ms, &self.bounds).expect("it is remembered");
        assert_eq!(self.document.encode(), before, "a resend changed something");
        assert!(again.duplicate && again.effect.is_none());
        assert_eq!((again.rev, again.created), (sent.answer.rev, sent.answer.created));
        // Only so many epochs are remembered; what is older is told as the oldest.
        assert!(self.servers >= EPOCHS_KEPT || again.epoch == sent.answer.epoch);
        let _ = self.document.applied_json(&again, sent.unit);
        let _ = self.document.concurrent_json(&again, sent.unit).count();
    }

    fn compare(&self) {
        self.compare_cursors();
        assert!(self.document.tags().map(|(name, _, _)| name).eq(self.tags.keys()));
        let head = self.document.rev();
        assert_eq!(self.document.content(), *self.texts.last().expect("there is always one"));
        assert_eq!(self.document.len().utf16, len(&self.document.content(), Unit::Utf16));
        assert_eq!(self.document.len().chars, len(&self.document.content(), Unit::Char));
        // Detaching is the primary's own: a replica learns of it with the next write.
        let (mut document, mut replica) = (self.document.clone(), self.replica.clone());
        document.detach();
        replica.detach();
        assert_eq!(document.encode(), replica.encode(), "the replica differs");
        for rev in self.document.first_kept() - 1..=head {
            assert_eq!(self.document.content_at(rev).expect("it is kept"), self.texts[rev as usize]);
        }
        for rev in self.document.first_kept()..=head {
            let inverse = self.document.inverse_of(rev).expect("it is kept");
            apply(&self.document.content(), &inverse).expect("an inverse fits the head");
            assert!(self.document.frame("lobby", "doc:main", rev).is_some());
        }
        let (operations, bytes) = self.document.kept();
        assert!(operations <= self.bounds.document_operations_max.max(1));
        assert!(operations <= 1 || bytes <= self.bounds.document_log_bytes_max);
    }
}

fn claimed(claim: &Claim, right: impl FnOnce() -> u64) -> Option<u64> {
    match claim {
        Claim::None => None,
        Claim::Right => Some(right()),
        Claim::Wrong(n) => Some(*n),
    }
}
