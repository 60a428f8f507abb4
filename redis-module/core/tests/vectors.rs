//! Cases that other implementations made: ot-text-unicode, ot.js, CodeMirror and quill-delta agree with us, or the
//! recorded reason says why not. Needs `STOA_DATA`.

#![allow(clippy::unwrap_used)]

mod data;

use data::{lines, operation, to_json};
use serde_json::Value;
use stoa_core::bounds::Bounds;
use stoa_core::compose::{Bias, compose, compose_lengths, invert};
use stoa_core::cursor;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit, Submitted};
use stoa_core::epoch::Writer;
use stoa_core::op::{Component, Operation, Unit};
use stoa_core::refusal::{Code, Refusal};
use stoa_core::transform::{Side, transform};

const WRITER: Writer = Writer { replication_id: 7, chance: 1 };

fn create(content: &str) -> Document {
    Document::create(DocumentType::Text, content, LineEnds::Any, WRITER, &Bounds::default()).unwrap()
}

fn submit(document: &mut Document, rev: u64, op: &str, unit: Unit) -> Result<Submitted, Refusal> {
    let submit = Submit { rev, op: op.as_bytes(), epoch: None, identity: None, user: "", len: None, hash: None, unit };
    document.submit(&submit, WRITER, 0, &Bounds::default())
}

/// The text after an operation, and the text that it deleted.
fn apply(text: &str, op: &Operation) -> (String, String) {
    let mut document = create(text);
    submit(&mut document, 0, &op.to_json(), op.unit()).unwrap();
    let deleted = document.accepted(1).map(|accepted| accepted.deleted().to_owned()).unwrap_or_default();
    (document.content(), deleted)
}

fn after(text: &str, op: &Operation) -> String {
    apply(text, op).0
}

fn over(x: &Operation, h: &Operation, side: Side) -> Operation {
    let mut out = Vec::new();
    transform(x.components(), h.components().iter().copied(), side, &mut out);
    Operation::from_parts(x.unit(), &out, x.text().to_owned()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[test]
fn pairs_converge_on_both_sides_and_in_both_units() {
    let Some(pairs) = lines("ot-vectors/pairs.jsonl", "pairs") else { return };
    assert_eq!(pairs.len(), 800);
    for v in &pairs {
        let (doc, a, b) = (text(v, "doc"), operation(&v["a"], Unit::Char), operation(&v["b"], Unit::Char));
        let (da, deleted) = apply(doc, &a);
        assert_eq!((da.as_str(), after(doc, &b).as_str()), (text(v, "da"), text(v, "db")));
        let (a16, b16) = (operation(&v["a_utf16"], Unit::Utf16), operation(&v["b_utf16"], Unit::Utf16));
        assert_eq!((after(doc, &a16), after(doc, &b16)), (da.clone(), after(doc, &b)));
        for (name, side) in [("left", Side::Left), ("right", Side::Right)] {
            let (a2, b2) = (over(&a, &b, side), over(&b, &a, side.other()));
            assert_eq!(a2, operation(&v[name]["a2"], Unit::Char), "{v}");
            assert_eq!(b2, operation(&v[name]["b2"], Unit::Char), "{v}");
            assert_eq!(after(text(v, "db"), &a2), text(&v[name], "out"));
            assert_eq!(after(&da, &b2), text(&v[name], "out"));
        }
        assert_eq!(over(&a16, &b16, Side::Left), operation(&v["left_a2_utf16"], Unit::Utf16));
        assert_eq!(over(&b16, &a16, Side::Right), operation(&v["left_b2_utf16"], Unit::Utf16));
        let b2 = over(&b, &a, Side::Right);
        assert_eq!(compose(&a, &b2, Bias::Early).unwrap(), operation(&v["compose_a_b2"], Unit::Char), "{v}");
        assert_eq!(after(doc, &compose(&a, &b2, Bias::Late).unwrap()), text(&v["left"], "out"));
        let inverse = invert(&a, &deleted).unwrap();
        assert_eq!(inverse, operation(&v["invert_a"], Unit::Char), "{v}");
        assert_eq!(after(&da, &inverse), doc);
        for cursor in v["cursors_cp"].as_array().unwrap() {
            let n = |at: usize| cursor[at].as_u64().unwrap() as u32;
            let place = |side| cursor::position(n(0), a.components().iter().copied(), side);
            assert_eq!((place(Side::Left), place(Side::Right)), (n(1), n(2)), "{v}");
        }
    }
}

#[test]
fn sessions_have_the_same_text_at_every_step_in_both_units() {
    let Some(sessions) = lines("ot-vectors/sessions.jsonl", "sessions") else { return };
    let mut submits = 0;
    for session in &sessions {
        let mut documents = [create(text(session, "init")), create(text(session, "init"))];
        // The recording counts a revision for what had nothing left to do, too.
        let mut revs = vec![0u64];
        for v in session["submits"].as_array().unwrap() {
            let rev = revs[v["rev"].as_u64().unwrap() as usize];
            let (u16, cp) = (to_json(&v["op_utf16"]), to_json(&v["op_cp"]));
            // Each document receives the units in turn, so that each kind of history meets each kind of author.
            let turn = submits % 2;
            for (at, document) in documents.iter_mut().enumerate() {
                let (op, unit) = if turn == at { (&u16, Unit::Utf16) } else { (&cp, Unit::Char) };
                let submitted = submit(document, rev, op, unit).unwrap();
                assert_eq!(document.content(), text(v, "after"));
                let applied = document.applied_json(&submitted, Unit::Utf16).unwrap();
                assert_eq!(applied, operation(&v["transformed_utf16"], Unit::Utf16).to_json());
            }
            assert_eq!(documents[0].rev(), documents[1].rev());
            revs.push(documents[0].rev());
            submits += 1;
        }
        for document in &documents {
            assert_eq!(document.content(), text(session, "final"));
            let reread = Document::decode(&document.encode()).unwrap();
            assert_eq!(reread.content_at(0).unwrap(), text(session, "init"));
            assert_eq!(reread.encode(), document.encode());
        }
    }
    assert_eq!((sessions.len(), submits), (60, 1_759));
}

#[test]
fn a_chain_ends_the_same_step_by_step_and_over_its_composition() {
    let Some(chains) = lines("ot-vectors/chains.jsonl", "chains") else { return };
    assert_eq!(chains.len(), 160);
    for v in &chains {
        let x = operation(&v["x"], Unit::Char);
        let history: Vec<Operation> =
            v["history"].as_array().unwrap().iter().map(|h| operation(h, Unit::Char)).collect();
        let (mut pending, mut composed) = (x.clone(), Vec::new());
        let mut client = after(text(v, "doc"), &x);
        for (h, expected) in history.iter().zip(v["history_over_x"].as_array().unwrap()) {
            let incoming = over(h, &pending, Side::Right);
            assert_eq!(incoming, operation(expected, Unit::Char));
            client = after(&client, &incoming);
            pending = over(&pending, h, Side::Left);
            let mut both = Vec::new();
            compose_lengths(&composed, h.components().iter().copied(), Bias::Late, &mut both);
            composed = both;
        }
        assert_eq!(pending, operation(&v["x_at_head"], Unit::Char));
        let mut at_once: Vec<Component> = Vec::new();
        transform(x.components(), composed, Side::Left, &mut at_once);
        assert_eq!(at_once, pending.components());
        assert_eq!((client.as_str(), after(text(v, "head"), &pending).as_str()), (text(v, "final"), text(v, "final")));
        // The same through a document.
        let mut document = create(text(v, "doc"));
        for h in &history {
            let head = document.rev();
            submit(&mut document, head, &h.to_json(), Unit::Char).unwrap();
        }
        assert_eq!(document.content(), text(v, "head"));
        submit(&mut document, 0, &x.to_json(), Unit::Char).unwrap();
        assert_eq!(document.content(), text(v, "final"));
    }
}

#[test]
fn changes_of_codemirror_mean_the_same() {
    let Some(cases) = lines("ot-vectors/codemirror.jsonl", "codemirror") else { return };
    assert_eq!(cases.len(), 150);
    for v in &cases {
        assert_eq!(after(text(v, "doc"), &operation(&v["op_utf16"], Unit::Utf16)), text(v, "out"));
        let mut parts = Vec::new();
        for part in v["changeset"].as_array().unwrap() {
            let Some(change) = part.as_array() else {
                parts.push(part.clone());
                continue;
            };
            let lines: Vec<&str> = change[1..].iter().map(|line| line.as_str().unwrap()).collect();
            parts.push(Value::from(lines.join("\n")));
            if change[0] != 0 {
                parts.push(serde_json::json!({ "d": change[0] }));
            }
        }
        assert_eq!(after(text(v, "doc"), &operation(&Value::from(parts), Unit::Utf16)), text(v, "out"));
    }
}

#[test]
fn what_must_be_refused_is_refused_and_changes_nothing() {
    let Some(cases) = lines("ot-vectors/reject.jsonl", "reject") else { return };
    for v in &cases {
        let unit = if v["unit"] == "utf16" { Unit::Utf16 } else { Unit::Char };
        // A deletion of -1 becomes `--1`, as malformed here as it was there; what is no list stays as it is.
        let op = match v["op_json"].as_str() {
            Some(json) => json.to_owned(),
            None if v["op"].is_array() => wire(&v["op"]),
            None => v["op"].to_string(),
        };
        let must = text(v, "must");
        let mut document = create(text(v, "doc"));
        let before = document.encode();
        let outcome = submit(&mut document, 0, &op, unit);
        match must {
            // Here a negative number is a deletion, and something else is meant.
            "reject_in_d_dialect" => {}
            "accept" => drop(outcome.unwrap()),
            "reject_or_normalise" if outcome.is_ok() => {}
            _ => {
                let code = outcome.expect_err(&v.to_string()).code;
                assert!(matches!(code, Code::InvalidOperation | Code::Desync), "{v}: {code:?}");
                assert_eq!(document.encode(), before, "{v}");
            }
        }
    }
}

/// As `to_json`, but without a check of what the data holds.
fn wire(op: &Value) -> String {
    let component = |component: &Value| match component.get("d") {
        Some(n) => format!("-{n}"),
        None => component.to_string(),
    };
    format!("[{}]", op.as_array().unwrap().iter().map(component).collect::<Vec<_>>().join(","))
}

#[test]
fn ot_text_unicode_transforms_applies_and_composes_the_same() {
    let Some(cases) = lines("ot-vectors/textot-transform.jsonl", "textot-transform") else { return };
    let op = |value: &Value| operation(value, Unit::Char);
    for v in &cases {
        let side = if v["side"] == "left" { Side::Left } else { Side::Right };
        assert_eq!(over(&op(&v["op"]), &op(&v["otherOp"]), side), op(&v["result"]), "{v}");
    }
    let applied = lines("ot-vectors/textot-apply.jsonl", "textot-apply").unwrap();
    for v in &applied {
        assert_eq!(after(text(v, "str"), &op(&v["op"])), text(v, "result"), "{v}");
    }
    let composed = lines("ot-vectors/textot-compose.jsonl", "textot-compose").unwrap();
    for v in &composed {
        assert_eq!(compose(&op(&v["op1"]), &op(&v["op2"]), Bias::Early).unwrap(), op(&v["result"]), "{v}");
    }
    assert_eq!((cases.len(), applied.len(), composed.len()), (1_500, 1_000, 500));
}
