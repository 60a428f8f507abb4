//! Reading operations, and the laws that apply, invert, compose and transform keep.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stoa_core::bounds::Bounds;
use stoa_core::compose::{Bias, compose, compose_lengths, invert};
use stoa_core::cursor;
use stoa_core::op::{Component, Operation, Unit};
use stoa_core::transform::{Side, transform, transform_both};
use stoa_fuzz::{Json, Line, apply, assert_normal, len, over, unit};

#[derive(Debug, Arbitrary)]
struct Input {
    chars: bool,
    text: Line,
    first: Json,
    second: Json,
    other: Json,
    carets: (u8, u8),
}

fuzz_target!(|input: Input| {
    for json in [&input.first, &input.second, &input.other] {
        for unit in [Unit::Utf16, Unit::Char] {
            reading(json, unit);
        }
    }
    let unit = unit(input.chars);
    let [Some(first), Some(second), Some(other)] = [&input.first, &input.second, &input.other].map(|j| j.read(unit))
    else {
        return;
    };
    // Lengths alone must do no harm, whether or not they fit any text.
    lengths(&first, &second, &other);
    let text = input.text.text();
    if let Some((after, deleted)) = apply(&text, &first) {
        let inverse = invert(&first, &deleted).expect("what was deleted fits");
        assert_eq!(apply(&after, &inverse).expect("the inverse fits").0, text);
        if let Some((end, _)) = apply(&after, &second) {
            for bias in [Bias::Late, Bias::Early] {
                let both = compose(&first, &second, bias).expect("operations that follow each other compose");
                assert_normal(&both);
                assert_eq!(apply(&text, &both).expect("the composition fits").0, end);
            }
            if apply(&text, &other).is_some() {
                closed(&first, &second, &other);
            }
        }
        if let Some((beside, _)) = apply(&text, &other) {
            converge(&first, &other, &after, &beside);
        }
        carets(&input, &text, &after, &first);
    }
});

fn reading(json: &Json, unit: Unit) {
    let bytes = json.bytes();
    let Ok(operation) = Operation::parse(&bytes, unit, &Bounds::default()) else { return };
    assert_normal(&operation);
    let inserted: u32 = operation
        .components()
        .iter()
        .map(|c| match c {
            Component::Insert(n) => *n,
            _ => 0,
        })
        .sum();
    assert_eq!(inserted, len(operation.text(), unit));
    let again = operation.to_json();
    // An escape may be shorter than what it stands for, so the bound on bytes is not that of the input.
    let bounds = Bounds { operation_bytes_max: usize::MAX, ..Bounds::default() };
    assert_eq!(Operation::parse(again.as_bytes(), unit, &bounds).as_ref(), Ok(&operation));
    let parts = Operation::from_parts(unit, operation.components(), operation.text().to_owned());
    assert_eq!(parts, Some(operation));
    let few = Bounds { operation_components_max: 1, operation_bytes_max: 8, ..Bounds::default() };
    let _ = Operation::parse(&bytes, unit, &few);
}

fn lengths(first: &Operation, second: &Operation, other: &Operation) {
    let mut out = Vec::new();
    for side in [Side::Left, Side::Right] {
        transform(first.components(), other.components().iter().copied(), side, &mut out);
    }
    for bias in [Bias::Late, Bias::Early] {
        compose_lengths(first.components(), second.components().iter().copied(), bias, &mut out);
        let _ = compose(first, second, bias);
    }
    let _ = invert(first, second.text());
}

/// Both ways around the diamond end with one text.
fn converge(left: &Operation, right: &Operation, after_left: &str, after_right: &str) {
    let (left_after, right_after) = (over(left, right, Side::Left), over(right, left, Side::Right));
    let both = transform_both(left.components(), right.components());
    assert_eq!((both.0.as_slice(), both.1.as_slice()), (left_after.components(), right_after.components()));
    let one = apply(after_right, &left_after).expect("left fits after right").0;
    let two = apply(after_left, &right_after).expect("right fits after left").0;
    assert_eq!(one, two);
}

/// Transforming over a composition is transforming step by step, component by component.
fn closed(first: &Operation, second: &Operation, x: &Operation) {
    for (side, bias) in [(Side::Left, Bias::Late), (Side::Right, Bias::Early)] {
        let steps = over(&over(x, first, side), second, side);
        let both = compose(first, second, bias).expect("they compose");
        assert_eq!(over(x, &both, side), steps, "{side:?}");
    }
}

fn carets(input: &Input, text: &str, after: &str, over: &Operation) {
    let end = len(text, over.unit());
    let (anchor, head) = (u32::from(input.carets.0).min(end), u32::from(input.carets.1).min(end));
    let (anchor, head) = cursor::selection(anchor, head, over.components().iter().copied());
    assert!(anchor.max(head) <= len(after, over.unit()));
}
