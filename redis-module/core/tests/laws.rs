//! The laws that make people's copies agree, held by random cases against a slow, obvious twin.
//!
//! A failing case prints its seed and size; the seed brings it back.

#![allow(clippy::unwrap_used)]

mod chance;

use chance::{Chance, after, apply, assert_normal, converted, merged, over};
use proptest::prelude::*;
use stoa_core::bounds::Bounds;
use stoa_core::compose::{Bias, compose, compose_lengths, invert};
use stoa_core::cursor;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::Writer;
use stoa_core::op::{Component, Operation, Unit};
use stoa_core::transform::Side;

const WRITER: Writer = Writer { replication_id: 7, chance: 1 };
const UNITS: [Unit; 2] = [Unit::Utf16, Unit::Char];

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A text and the seed's next numbers.
fn start(seed: u64, size: usize) -> (Chance, String) {
    let mut chance = Chance(seed);
    let text = chance.text(size * 3);
    (chance, text)
}

/// Operations that follow each other.
fn history(chance: &mut Chance, text: &str, count: usize, size: usize, unit: Unit) -> (Vec<Operation>, String) {
    let mut text = text.to_owned();
    let mut operations = Vec::new();
    for _ in 0..count {
        let op = chance.operation(&text, size, unit);
        text = after(&text, &op);
        operations.push(op);
    }
    (operations, text)
}

fn composed(operations: &[Operation], bias: Bias) -> Operation {
    let start = Operation::new(operations.first().map_or(Unit::Utf16, Operation::unit));
    operations.iter().fold(start, |sum, op| compose(&sum, op, bias).unwrap())
}

proptest! {
    #![proptest_config(cases(30_000))]

    #[test]
    fn two_who_write_at_once_end_with_the_same_text(seed: u64, size in 1..12usize) {
        let (mut chance, text) = start(seed, size);
        for unit in UNITS {
            let (a, b) = (chance.operation(&text, size, unit), chance.operation(&text, size, unit));
            let expected = merged(&text, &a, &b);
            prop_assert_eq!(&after(&after(&text, &b), &over(&a, &b, Side::Left)), &expected);
            prop_assert_eq!(&after(&after(&text, &a), &over(&b, &a, Side::Right)), &expected);
        }
    }

    #[test]
    fn a_composition_does_what_its_parts_do(seed: u64, size in 1..12usize) {
        let (mut chance, text) = start(seed, size);
        for unit in UNITS {
            let (parts, end) = history(&mut chance, &text, 2, size, unit);
            for bias in [Bias::Late, Bias::Early] {
                let both = compose(&parts[0], &parts[1], bias).unwrap();
                assert_normal(both.components());
                prop_assert_eq!(&after(&text, &both), &end);
                let mut lengths = Vec::new();
                compose_lengths(parts[0].components(), parts[1].components().iter().copied(), bias, &mut lengths);
                prop_assert_eq!(both.components(), &lengths[..]);
            }
        }
    }

    #[test]
    fn over_a_composed_history_is_exactly_step_by_step(seed: u64, size in 1..8usize, count in 1..6usize) {
        let (mut chance, text) = start(seed, size);
        let x = chance.operation(&text, size, Unit::Utf16);
        let (steps, _) = history(&mut chance, &text, count, size, Unit::Utf16);
        let one_by_one = steps.iter().fold(x.clone(), |x, h| over(&x, h, Side::Left));
        prop_assert_eq!(over(&x, &composed(&steps, Bias::Late), Side::Left), one_by_one);
    }

    #[test]
    fn over_composed_pending_operations_is_exactly_step_by_step(seed: u64, size in 1..8usize, count in 1..6usize) {
        let (mut chance, text) = start(seed, size);
        let incoming = chance.operation(&text, size, Unit::Char);
        let (pending, _) = history(&mut chance, &text, count, size, Unit::Char);
        let one_by_one = pending.iter().fold(incoming.clone(), |h, own| over(&h, own, Side::Right));
        prop_assert_eq!(over(&incoming, &composed(&pending, Bias::Early), Side::Right), one_by_one);
    }

    #[test]
    fn an_inverse_brings_the_text_back(seed: u64, size in 1..12usize) {
        let (mut chance, text) = start(seed, size);
        for unit in UNITS {
            let op = chance.operation(&text, size, unit);
            let (changed, deleted) = apply(&text, &op);
            let inverse = invert(&op, &deleted).unwrap();
            prop_assert_eq!(&after(&changed, &inverse), &text);
            prop_assert_eq!(invert(&inverse, op.text()).unwrap(), op);
        }
    }

    #[test]
    fn a_caret_moves_as_an_insert_of_nothing(seed: u64, size in 1..12usize) {
        let (mut chance, text) = start(seed, size);
        let op = chance.operation(&text, size, Unit::Char);
        let at = chance.below(text.chars().count() + 1) as u32;
        let marker = Operation::from_parts(Unit::Char, &[Component::Retain(at), Component::Insert(1)], "|".into());
        let marker = marker.unwrap();
        for (side, text) in [(Side::Left, merged(&text, &marker, &op)), (Side::Right, merged(&text, &op, &marker))] {
            let found = text.chars().position(|c| c == '|').unwrap() as u32;
            prop_assert_eq!(cursor::position(at, op.components().iter().copied(), side), found);
        }
        let head = chance.below(text.chars().count() + 1) as u32;
        let (start, end) = cursor::selection(at.min(head), at.max(head), op.components().iter().copied());
        prop_assert!(start <= end);
        prop_assert_eq!(cursor::selection(at.max(head), at.min(head), op.components().iter().copied()), (end, start));
    }

    #[test]
    fn what_is_written_is_read_back(seed: u64, size in 1..12usize) {
        let (mut chance, text) = start(seed, size);
        for unit in UNITS {
            let op = chance.operation(&text, size, unit);
            assert_normal(op.components());
            prop_assert_eq!(&Operation::parse(op.to_json().as_bytes(), unit, &Bounds::default()).unwrap(), &op);
            let other = if unit == Unit::Char { Unit::Utf16 } else { Unit::Char };
            let there = converted(&text, &op, other);
            prop_assert_eq!(after(&text, &there), after(&text, &op));
            prop_assert_eq!(converted(&text, &there, unit), op);
        }
    }
}

fn create(content: &str) -> Document {
    Document::create(DocumentType::Text, content, LineEnds::Any, WRITER, &Bounds::default()).unwrap()
}

fn submit(document: &mut Document, rev: u64, op: &Operation) -> u64 {
    let (json, unit) = (op.to_json(), op.unit());
    let submit =
        Submit { rev, op: json.as_bytes(), epoch: None, identity: None, user: "", len: None, hash: None, unit };
    document.submit(&submit, WRITER, 0, &Bounds::default()).unwrap().rev
}

proptest! {
    #![proptest_config(cases(80))]

    /// Long operations over long histories, which a document composes first, against one step after the other.
    #[test]
    fn a_document_takes_long_operations_over_long_histories_as_step_by_step(seed: u64, count in 1..400usize) {
        let mut chance = Chance(seed);
        let text: String = (0..1_500).map(|_| chance.text(1)).collect();
        for unit in UNITS {
            let mut document = create(&text);
            let x = chance.operation(&text, 800, unit);
            let mut expected = x.clone();
            let mut now = text.clone();
            for _ in 0..count {
                let size = if chance.below(20) == 0 { 100 } else { 2 };
                let h = chance.operation(&now, size, unit);
                now = after(&now, &h);
                let head = document.rev();
                submit(&mut document, head, &h);
                expected = over(&expected, &h, Side::Left);
            }
            let head = document.rev();
            let rev = submit(&mut document, 0, &x);
            prop_assert_eq!(document.content(), after(&now, &expected));
            if rev > head {
                let applied = document.accepted(rev).unwrap();
                prop_assert_eq!(&applied.components(unit)[..], expected.components());
            }
            prop_assert_eq!(document.content_at(0).unwrap(), &text[..]);
        }
    }
}
