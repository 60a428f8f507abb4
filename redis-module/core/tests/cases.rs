//! Frozen cases that every implementation of the operations is held to: this crate and the TypeScript client.
//!
//! `cases/ot.jsonl` holds one case a line. Lengths and positions are UTF-16 units; an operation is
//! `[5,"text",-3]` in normal form. The field `do` names the rule:
//!
//! | `do` | given | expected |
//! | --- | --- | --- |
//! | `parse` | `json`: the text of an operation | `op`: its normal form, or `null` where it must be refused |
//! | `apply` | `text`, `op` | `out`: the text after it; `deleted`: what it deleted, one after the other |
//! | `invert` | `op`, `deleted` | `out`: the operation that takes it back |
//! | `transform` | concurrent `x` and `over` | `left`, `right`: x over the other, with x's text to the left (what arrives, a client's own) or right (what a client receives) at one place |
//! | `compose` | `first`, then `second` | `late` (history) and `early` (a client's own pending) |
//! | `cursor` | position `at`, `op` | `left`, `right`: staying before or going after text inserted at it |
//! | `selection` | `anchor`, `head`, `op` | `out`: [anchor, head] after it |
//! | `hash` | `text` | `out`: 64-bit FNV-1a of its UTF-8, as 16 hexadecimal digits |
//!
//! The file changes only on purpose: `STOA_WRITE_CASES=1 cargo test -p stoa-core --test cases` writes it anew.

#![allow(clippy::unwrap_used)]

mod chance;

use chance::{Chance, apply, over};
use serde_json::{Value, json};
use stoa_core::bounds::Bounds;
use stoa_core::compose::{Bias, compose, invert};
use stoa_core::cursor;
use stoa_core::op::{Operation, Unit};
use stoa_core::text::Text;
use stoa_core::transform::Side;

const CASES: &str = include_str!("cases/ot.jsonl");
const CASES_PER_RULE: u64 = 60;

fn parse(json: &str) -> Option<Operation> {
    Operation::parse(json.as_bytes(), Unit::Utf16, &Bounds::default()).ok()
}

fn op(value: &Value) -> Operation {
    let op = parse(&value.to_string()).unwrap();
    assert_eq!(op.to_json(), value.to_string(), "not in normal form");
    op
}

fn out(op: &Operation) -> Value {
    serde_json::from_str(&op.to_json()).unwrap()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap()
}

fn number(case: &Value, field: &str) -> u32 {
    case[field].as_u64().unwrap() as u32
}

/// The case with its expected fields filled in.
fn solved(case: &Value) -> Value {
    let mut solved = case.clone();
    let mut expect = |field: &str, value: Value| drop(solved.as_object_mut().unwrap().insert(field.into(), value));
    match text(case, "do") {
        "parse" => expect("op", parse(text(case, "json")).map_or(Value::Null, |op| out(&op))),
        "apply" => {
            let (after, deleted) = apply(text(case, "text"), &op(&case["op"]));
            expect("out", after.into());
            expect("deleted", deleted.into());
        }
        "invert" => expect("out", out(&invert(&op(&case["op"]), text(case, "deleted")).unwrap())),
        "transform" => {
            let (x, other) = (op(&case["x"]), op(&case["over"]));
            expect("left", out(&over(&x, &other, Side::Left)));
            expect("right", out(&over(&x, &other, Side::Right)));
        }
        "compose" => {
            let (first, second) = (op(&case["first"]), op(&case["second"]));
            expect("late", out(&compose(&first, &second, Bias::Late).unwrap()));
            expect("early", out(&compose(&first, &second, Bias::Early).unwrap()));
        }
        "cursor" => {
            let (at, op) = (number(case, "at"), op(&case["op"]));
            let place = |side| cursor::position(at, op.components().iter().copied(), side);
            expect("left", place(Side::Left).into());
            expect("right", place(Side::Right).into());
        }
        "selection" => {
            let (anchor, head) = (number(case, "anchor"), number(case, "head"));
            let (anchor, head) = cursor::selection(anchor, head, op(&case["op"]).components().iter().copied());
            expect("out", json!([anchor, head]));
        }
        "hash" => expect("out", format!("{:016x}", Text::new(text(case, "text")).unwrap().hash()).into()),
        other => panic!("no rule is named {other}"),
    }
    solved
}

#[test]
fn the_frozen_cases_hold() {
    if std::env::var_os("STOA_WRITE_CASES").is_some() {
        let lines: Vec<String> = generated().iter().map(|case| solved(case).to_string() + "\n").collect();
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/ot.jsonl"), lines.concat()).unwrap();
        return;
    }
    let mut count = 0;
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        assert_eq!(solved(&case), case, "{line}");
        count += 1;
    }
    assert!(count > 400, "{count} cases");
}

/// The cases without their answers.
fn generated() -> Vec<Value> {
    let mut cases: Vec<Value> = PARSE.iter().map(|json| json!({ "do": "parse", "json": json })).collect();
    for [first, second] in MEETING {
        let (first, second): (Value, Value) =
            (serde_json::from_str(first).unwrap(), serde_json::from_str(second).unwrap());
        cases.push(json!({ "do": "transform", "x": first, "over": second }));
        cases.push(json!({ "do": "compose", "first": first, "second": second }));
    }
    for seed in 0..CASES_PER_RULE {
        let mut chance = Chance(seed);
        let size = 2 + chance.below(9);
        let pieces = size * (1 + chance.below(3));
        let text = chance.text(pieces);
        let a = chance.operation(&text, size, Unit::Utf16);
        let b = chance.operation(&text, size, Unit::Utf16);
        let (after, deleted) = apply(&text, &a);
        // What was written at once and taken over the first often inserts where the first deleted.
        let next = match seed % 2 {
            0 => chance.operation(&after, size, Unit::Utf16),
            _ => over(&b, &a, Side::Right),
        };
        let place = |chance: &mut Chance| {
            let at = chance.below(text.chars().count() + 1);
            text.chars().take(at).map(char::len_utf16).sum::<usize>()
        };
        let (anchor, head) = (place(&mut chance), place(&mut chance));
        cases.push(json!({ "do": "apply", "text": text, "op": out(&a) }));
        cases.push(json!({ "do": "invert", "op": out(&a), "deleted": deleted }));
        cases.push(json!({ "do": "transform", "x": out(&a), "over": out(&b) }));
        cases.push(json!({ "do": "compose", "first": out(&a), "second": out(&next) }));
        cases.push(json!({ "do": "cursor", "at": head, "op": out(&a) }));
        cases.push(json!({ "do": "selection", "anchor": anchor, "head": head, "op": out(&a) }));
        if seed < 10 {
            cases.push(json!({ "do": "hash", "text": text }));
        }
    }
    cases
}

const PARSE: [&str; 48] = [
    "[]",
    "[5,\"text\",-3]",
    "[\"a\",-1]",
    "[-1,\"a\"]",
    "[0,\"a\",\"\"]",
    "[1,2,\"a\",\"b\",-1,-2,7]",
    " [ 1 , \"\\u00e9\" ] ",
    "[4294967295]",
    "[4294967295,-1]",
    "[4294967294,-1]",
    "[\"a\",0,\"b\"]",
    "[3,0,4,-1]",
    "[\"\\ud83d\\ude00\"]",
    "[\"👩‍👩‍👧\"]",
    "[1,\"\\u0000\\n\\t\\\"\\\\\\/\"]",
    "[\"e\u{301}\"]",
    "[-1,5,\"x\",5]",
    "[\"\"]",
    "[-2,-3]",
    "",
    "{}",
    "null",
    "5",
    "\"a\"",
    "[null]",
    "[true]",
    "[[1]]",
    "[{\"d\":1}]",
    "[1.5]",
    "[1,-0.5]",
    "[01]",
    "[+1]",
    "[1,]",
    "[1]x",
    "[1",
    "[4294967296]",
    "[-4294967296]",
    "[18446744065119617029]",
    "[1e300]",
    "[\"\\ud800\"]",
    "[\"\\udc00\"]",
    "[\"\\ud83dx\"]",
    "[\"a\nb\"]",
    "[NaN]",
    "['a']",
    "[undefined]",
    "[1 2]",
    "[-9223372036854775808,1,-9223372036854775808,4]",
];

/// Inserts and deletions that meet at one place: where implementations differ.
const MEETING: [[&str; 2]; 12] = [
    ["[1,\"a\"]", "[1,\"b\"]"],
    ["[1,-2]", "[1,\"b\"]"],
    ["[1,-2]", "[1,-1,\"b\"]"],
    ["[1,\"a\",-2]", "[1,\"b\"]"],
    ["[1,\"a\",-2]", "[2,\"b\"]"],
    ["[1,-2,\"a\"]", "[1,\"b\"]"],
    ["[1,-2,\"a\"]", "[2,\"b\",-1]"],
    ["[-1,2,-1]", "[\"b\",2,\"d\"]"],
    ["[-1,\"a\",-1]", "[\"b\",1,\"d\"]"],
    ["[-3,\"a\"]", "[\"b\",-1,\"d\"]"],
    ["[\"😀\",-2]", "[2,\"b\",-2]"],
    ["[2,-4,\"é\"]", "[1,-2,\"😀\",3,\"b\"]"],
];
