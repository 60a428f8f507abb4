//! Stored documents and effects: what was written is read back, and what was not written never panics.

#![allow(clippy::unwrap_used)]

mod chance;
#[path = "data/heap.rs"]
mod heap;

use chance::Chance;
use proptest::prelude::*;
use stoa_core::bounds::Bounds;
use stoa_core::changes::Changes;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::Writer;
use stoa_core::identity::Identity;
use stoa_core::op::{Operation, Unit};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A document with a life behind it, and the effects since it was created.
fn lived(chance: &mut Chance, submits: usize) -> (Document, Document, Vec<Vec<u8>>) {
    let bounds = Bounds { document_operations_max: 40, writers_max: 6, ..Bounds::default() };
    let server = |chance: &mut Chance| Writer { replication_id: 1 + chance.next() % 2, chance: chance.next() as u32 };
    let content = chance.text(20);
    let first = Document::create(DocumentType::Text, &content, LineEnds::Any, server(chance), &bounds).unwrap();
    let (mut document, mut effects) = (first.clone(), Vec::new());
    let mut writer = server(chance);
    for at in 0..submits {
        if chance.below(20) == 0 {
            writer = server(chance);
        }
        let unit = if chance.below(3) == 0 { Unit::Char } else { Unit::Utf16 };
        let behind = chance.below(5) as u64;
        let rev = document.rev().saturating_sub(behind).max(document.first_kept() - 1);
        let op = chance.operation(&document.content_at(rev).unwrap(), 5, unit);
        let client = format!("tab-{}", chance.below(9));
        let identity = (chance.below(4) > 0).then(|| Identity::new("ada", &client, at as u64 + 1).unwrap());
        let (json, user) = (op.to_json(), if chance.below(2) == 0 { "" } else { "ada" });
        let submit = Submit { rev, op: json.as_bytes(), epoch: None, identity, user, len: None, hash: None, unit };
        let now_ms = 1_700_000_000_000u64.wrapping_add_signed(chance.below(5_000) as i64 - 1_000);
        effects.extend(document.submit(&submit, writer, now_ms, &bounds).unwrap().effect);
    }
    (first, document, effects)
}

/// Calls everything that a command may call.
fn use_it(document: &mut Document) {
    let bounds = Bounds::default();
    for rev in (0..=document.rev() + 1).rev().take(60) {
        let _ = document.content_at(rev);
        let _ = document.inverse_of(rev);
        let _ = document.frame("r", "s", rev);
        let _ = document.operation_json(rev, Unit::Char);
        let epoch = Some(document.epochs().of(rev));
        for since in [(rev, None), (rev, epoch), (u64::MAX, None), (u64::MAX, epoch)] {
            let _ = document.changes("r", "s", since, None, 5, &bounds);
        }
        for (unit, op) in [(Unit::Utf16, "[1,\"x\",-1]"), (Unit::Char, "[-1,\"😀\"]")] {
            let identity = Some(Identity::new("ada", "tab-1", rev + 1).unwrap());
            let submit =
                Submit { rev, op: op.as_bytes(), epoch: None, identity, user: "", len: None, hash: None, unit };
            let mut other = document.clone();
            let writer = Writer { replication_id: 3, chance: 1 };
            if let Ok(submitted) = other.submit(&submit, writer, 0, &bounds) {
                let _ = other.concurrent_json(&submitted, unit).count();
            }
            let _ = other.submit(&Submit { epoch, ..submit }, writer, 0, &bounds);
            let _ = other.trim(3);
            assert_eq!(other.content().len(), other.len_bytes());
        }
    }
    let _ = (document.created_frame("r", "s"), document.heap_bytes(), document.free_effort());
    document.detach();
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_replica_has_the_same_bytes_wherever_it_started(seed: u64, submits in 1..120usize) {
        let mut chance = Chance(seed);
        let (first, document, effects) = lived(&mut chance, submits);
        let mut replica = Document::decode(&first.encode()).unwrap();
        for (at, effect) in effects.iter().enumerate() {
            replica.apply(effect).unwrap();
            if at % 50 == 49 {
                replica = Document::decode(&replica.encode()).unwrap();
            }
        }
        let bytes = document.encode();
        prop_assert!(replica.encode() == bytes);
        let reread = Document::decode(&bytes).unwrap();
        prop_assert!(reread.encode() == bytes);
        prop_assert_eq!(reread.kept(), document.kept());
        prop_assert_eq!(reread.len(), document.len());
        for rev in document.first_kept()..=document.rev() {
            prop_assert_eq!(reread.frame("r", "s", rev), document.frame("r", "s", rev));
            prop_assert_eq!(reread.content_at(rev - 1), document.content_at(rev - 1));
            prop_assert_eq!(reread.operation_json(rev, Unit::Char), document.operation_json(rev, Unit::Char));
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless(seed: u64, submits in 0..30usize) {
        let mut chance = Chance(seed);
        let (first, document, effects) = lived(&mut chance, submits);
        let bytes = document.encode();
        for _ in 0..20 {
            if let Ok(mut read) = Document::decode(&flipped(&mut chance, &bytes)) {
                use_it(&mut read);
                let _ = read.encode();
            }
            let mut replica = first.clone();
            for effect in effects.iter().take(chance.below(effects.len() + 1)) {
                replica.apply(effect).unwrap();
            }
            if let Some(effect) = effects.get(replica.rev() as usize) {
                let before = replica.encode();
                match replica.apply(&flipped(&mut chance, effect)) {
                    Ok(()) => use_it(&mut replica),
                    Err(_) => prop_assert!(replica.encode() == before),
                }
            }
        }
    }

    #[test]
    fn any_bytes_as_an_operation_are_refused_or_normal(seed: u64, len in 0..40usize) {
        let mut chance = Chance(seed);
        const TOKENS: [&str; 20] = [
            "[", "]", ",", "-", "0", "1", "42", "4294967295", "\"", "\\", "u", "d83d", "\\ude00", "a", "é", "😀", "e3",
            ".5", " ", "null",
        ];
        let text: String = (0..len).map(|_| TOKENS[chance.below(TOKENS.len())]).collect();
        for json in [text.clone(), format!("[{text}]"), format!("[1,\"{text}\",-1]")] {
            if let Ok(op) = Operation::parse(json.as_bytes(), Unit::Utf16, &Bounds::default()) {
                chance::assert_normal(op.components());
                prop_assert_eq!(&Operation::parse(op.to_json().as_bytes(), Unit::Utf16, &Bounds::default()).unwrap(), &op);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
            }
        }
    }
}

/// Some bits changed, or a part cut off or doubled.
fn flipped(chance: &mut Chance, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match chance.below(8) {
        0 => bytes.truncate(chance.below(bytes.len())),
        1 => bytes.extend_from_within(chance.below(bytes.len())..),
        _ => {
            for _ in 0..=chance.below(3) {
                let at = chance.below(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }
        }
    }
    bytes
}

#[test]
fn lengths_that_lie_are_an_error() {
    for len in 0..12 {
        let mut bytes = vec![1u8, 0, 0, 0];
        bytes.extend([253].iter().chain([0xff; 8].iter()).cycle().take(len * 3));
        assert!(Document::decode(&bytes).is_err());
    }
    assert!(Document::decode(&[]).is_err() && Document::decode(&[2, 0, 0]).is_err());
}

#[test]
fn memory_is_told_within_a_tenth() {
    let bounds = Bounds { document_operations_max: 3_000, ..Bounds::default() };
    for (content, submits, clients) in [("", 1_000, 3), ("some text ", 20_000, 50), ("é😀 ", 5_000, 500)] {
        let (content, before) = (content.repeat(20_000), heap::held());
        let mut document = Document::create(
            DocumentType::Text,
            &content,
            LineEnds::Lf,
            Writer { replication_id: 1, chance: 1 },
            &bounds,
        )
        .unwrap();
        let mut chance = Chance(1);
        for at in 0..submits {
            let op = format!("[{},\"ab\"]", chance.below(document.len().chars as usize + 1));
            let client = format!("client-{}", chance.below(clients));
            let identity = Some(Identity::new("somebody", &client, at + 1).unwrap());
            let (rev, op, unit) = (document.rev(), op.as_bytes(), Unit::Char);
            let submit = Submit { rev, op, epoch: None, identity, user: "", len: None, hash: None, unit };
            document.submit(&submit, Writer { replication_id: 1, chance: 1 }, at * 100, &bounds).unwrap();
        }
        let held = (heap::held() - before) as f64;
        let told = document.heap_bytes() as f64;
        assert!((told / held - 1.0).abs() < 0.1, "told {told}, held {held}");
    }
}

#[test]
fn the_first_page_after_a_restart_is_the_same() {
    let mut chance = Chance(5);
    let (_, document, _) = lived(&mut chance, 60);
    let bounds = Bounds::default();
    let since = (document.first_kept() - 1, None);
    let page = document.changes("r", "s", since, None, 100, &bounds);
    assert!(matches!(&page, Changes::Page { events, .. } if events.len() > 10));
    let reread = Document::decode(&document.encode()).unwrap();
    assert_eq!(reread.changes("r", "s", since, None, 100, &bounds), page);
}
