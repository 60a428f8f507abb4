//! Documents as the module uses them: the stories of one submit after the other.

#![allow(clippy::unwrap_used)]

use stoa_core::bounds::Bounds;
use stoa_core::changes::Changes;
use stoa_core::document::{Diverged, Document, DocumentType, LineEnds, Submit, Submitted};
use stoa_core::epoch::{Epoch, Writer};
use stoa_core::identity::Identity;
use stoa_core::op::Unit;
use stoa_core::refusal::{Code, Refusal};

const WRITER: Writer = Writer { replication_id: 7, chance: 0x9f3a_12c0 };
const OTHER_WRITER: Writer = Writer { replication_id: 8, chance: 0x0000_00aa };

fn document(content: &str) -> Document {
    Document::create(DocumentType::Text, content, LineEnds::Lf, WRITER, &Bounds::default()).unwrap()
}

fn at(rev: u64, op: &str) -> Submit<'_> {
    Submit { rev, op: op.as_bytes(), epoch: None, identity: None, user: "", len: None, hash: None, unit: Unit::Utf16 }
}

fn by<'a>(client: &str, seq: u64, submit: Submit<'a>) -> Submit<'a> {
    Submit { identity: Some(Identity::new("ada", client, seq).unwrap()), user: "ada", ..submit }
}

fn submit(document: &mut Document, submit: Submit<'_>) -> Result<Submitted, Refusal> {
    document.submit(&submit, WRITER, 1795, &Bounds::default())
}

fn accepted(document: &mut Document, rev: u64, op: &str) -> Submitted {
    submit(document, at(rev, op)).unwrap()
}

fn refused(document: &mut Document, with: Submit<'_>) -> Code {
    let before = document.encode();
    let code = submit(document, with).unwrap_err().code;
    assert_eq!(document.encode(), before, "a refusal changed something");
    code
}

#[test]
fn what_arrives_late_is_taken_to_the_head() {
    let mut doc = document("hello");
    accepted(&mut doc, 0, "[5,\" world\"]");
    let late = accepted(&mut doc, 0, "[-1,\"J\"]");
    assert_eq!((doc.content().as_str(), late.rev), ("Jello world", 2));
    let tie = accepted(&mut doc, 0, "[5,\",\"]");
    assert_eq!(doc.content(), "Jello, world");
    assert_eq!(doc.applied_json(&tie, Unit::Utf16).as_deref(), Some("[5,\",\"]"));
    let concurrent: Vec<String> = doc.concurrent_json(&tie, Unit::Utf16).collect();
    assert_eq!(concurrent, ["[5,\" world\"]", "[-1,\"J\"]"]);
}

#[test]
fn a_resend_is_answered_with_the_first_answer_and_applied_once() {
    let mut doc = document("ab");
    accepted(&mut doc, 0, "[1,\"x\"]");
    let first = submit(&mut doc, by("tab", 1, at(0, "[2,\"y\"]"))).unwrap();
    accepted(&mut doc, 2, "[\"z\"]");
    let again = submit(&mut doc, by("tab", 1, at(0, "[2,\"y\"]"))).unwrap();
    assert!(again.duplicate && again.effect.is_none());
    assert_eq!((again.rev, again.epoch, &again.concurrent), (first.rev, first.epoch, &first.concurrent));
    assert_eq!(doc.applied_json(&again, Unit::Utf16).as_deref(), Some("[3,\"y\"]"));
    assert_eq!(doc.content(), "zaxby");
}

#[test]
fn what_has_nothing_left_to_do_is_remembered_and_creates_no_revision() {
    let mut doc = document("abc");
    accepted(&mut doc, 0, "[1,-1]");
    let empty = submit(&mut doc, by("tab", 1, at(0, "[1,-1]"))).unwrap();
    assert_eq!((empty.rev, empty.created, empty.duplicate, doc.rev()), (1, false, false, 1));
    assert_eq!(doc.applied_json(&empty, Unit::Utf16).as_deref(), Some("[]"));
    accepted(&mut doc, 1, "[\"x\"]");
    let again = submit(&mut doc, by("tab", 1, at(0, "[1,-1]"))).unwrap();
    assert_eq!((again.rev, again.created, again.duplicate), (1, false, true));
    assert_eq!(again.concurrent, empty.concurrent);
    assert_eq!(doc.concurrent_json(&again, Unit::Utf16).collect::<Vec<_>>(), ["[1,-1]"]);
}

#[test]
fn each_refusal_says_what_is_wrong_and_changes_nothing() {
    let mut doc = document("a😀b");
    accepted(&mut doc, 0, "[4,\"c\"]");
    assert_eq!(refused(&mut doc, at(0, "[1.5]")), Code::InvalidOperation);
    assert_eq!(refused(&mut doc, at(1, "[1,-1]")), Code::InvalidOperation);
    assert_eq!(refused(&mut doc, at(1, "[2,\"x\"]")), Code::InvalidOperation);
    assert_eq!(refused(&mut doc, at(1, "[\"\\r\\n\"]")), Code::InvalidOperation);
    assert_eq!(refused(&mut doc, at(2, "[\"x\"]")), Code::Ahead);
    assert_eq!(refused(&mut doc, at(u64::MAX, "[\"x\"]")), Code::Ahead);
    assert_eq!(refused(&mut doc, at(0, "[5,\"x\"]")), Code::Desync);
    assert_eq!(refused(&mut doc, Submit { len: Some(5), ..at(0, "[\"x\"]") }), Code::Desync);
    assert_eq!(refused(&mut doc, Submit { hash: Some(5), ..at(1, "[\"x\"]") }), Code::Desync);
    assert_eq!(refused(&mut doc, Submit { user: "a\nb", ..at(1, "[\"x\"]") }), Code::InvalidArgument);
    let unknown = Some(Epoch { number: 1, id: 1 });
    assert_eq!(refused(&mut doc, Submit { epoch: unknown, ..at(1, "[\"x\"]") }), Code::Reset);
    let ours = Some(doc.epoch());
    assert_eq!(refused(&mut doc, Submit { epoch: ours, ..at(9, "[\"x\"]") }), Code::Rollback);
}

#[test]
fn a_copy_that_agrees_passes_its_checks() {
    let mut doc = document("a😀b");
    let hash = stoa_core::text::Text::new("a😀b").unwrap().hash();
    submit(&mut doc, Submit { len: Some(4), hash: Some(hash), ..at(0, "[4,\"c\"]") }).unwrap();
    let chars = Submit { len: Some(3), hash: Some(hash), unit: Unit::Char, ..at(0, "[2,\"😀\"]") };
    let submitted = submit(&mut doc, chars).unwrap();
    assert_eq!(doc.content(), "a😀😀bc");
    assert_eq!(doc.applied_json(&submitted, Unit::Utf16).as_deref(), Some("[3,\"😀\"]"));
    assert_eq!(doc.applied_json(&submitted, Unit::Char).as_deref(), Some("[2,\"😀\"]"));
}

#[test]
fn line_ends_become_lf_unless_the_document_keeps_any() {
    assert_eq!(document("a\r\nb\rc\n").content(), "a\nb\nc\n");
    let mut any = Document::create(DocumentType::Text, "a\r\n", LineEnds::Any, WRITER, &Bounds::default()).unwrap();
    accepted(&mut any, 0, "[1,\"\\r\"]");
    assert_eq!(any.content(), "a\r\r\n");
}

#[test]
fn a_new_server_opens_an_epoch_and_old_positions_hold_up_to_it() {
    let mut doc = document("a");
    accepted(&mut doc, 0, "[\"b\"]");
    let old = doc.epoch();
    doc.submit(&at(1, "[\"c\"]"), OTHER_WRITER, 1, &Bounds::default()).unwrap();
    assert_eq!(doc.epoch().number, 2);
    let beyond = doc.submit(&Submit { epoch: Some(old), ..at(2, "[\"x\"]") }, OTHER_WRITER, 1, &Bounds::default());
    let refusal = beyond.unwrap_err();
    assert_eq!(refusal.code, Code::Rollback);
    assert!(refusal.message.contains("ends at revision 1"), "{refusal}");
    doc.submit(&Submit { epoch: Some(old), ..at(1, "[\"x\"]") }, OTHER_WRITER, 1, &Bounds::default()).unwrap();
    assert!(doc.frame("r", "doc:main", 1).unwrap().contains("\"epoch\":\"1.9f3a12c0\""));
    assert!(doc.frame("r", "doc:main", 2).unwrap().contains("\"epoch\":\"2.000000aa\""));
}

#[test]
fn the_history_is_bounded_and_who_is_too_far_behind_is_told() {
    let bounds = Bounds { document_operations_max: 10, ..Bounds::default() };
    let mut doc = document("");
    for rev in 0..1000 {
        doc.submit(&at(rev, "[\"x\"]"), WRITER, rev, &bounds).unwrap();
        assert!(doc.kept().0 <= 10);
    }
    assert_eq!(doc.first_kept(), 991);
    assert_eq!(refused(&mut doc, at(989, "[\"x\"]")), Code::Stale);
    assert_eq!(doc.content_at(989).unwrap_err().code, Code::Stale);
    assert_eq!(doc.content_at(990).unwrap().len(), 990);
    assert_eq!(doc.content_at(1001).unwrap_err().code, Code::NotFound);
    accepted(&mut doc, 990, "[\"x\"]");
    let tight = Bounds { document_log_bytes_max: 1, ..bounds };
    doc.submit(&at(1001, "[\"x\"]"), WRITER, 0, &tight).unwrap();
    assert_eq!(doc.kept().0, 1);
    assert!(doc.frame("r", "s", 1002).is_some() && doc.frame("r", "s", 1001).is_none());
}

#[test]
fn a_text_stays_within_its_bound_and_may_shrink_when_the_bound_was_lowered() {
    let bounds = Bounds { document_bytes_max: 4, ..Bounds::default() };
    let mut doc = document("abcdef");
    let mut try_with = |op| doc.submit(&at(doc.rev(), op), WRITER, 0, &bounds).map_err(|r| r.code);
    assert_eq!(try_with("[\"x\"]").unwrap_err(), Code::TooLarge);
    try_with("[-1]").unwrap();
    try_with("[-1,\"é\"]").unwrap_err();
    try_with("[-3,\"é\"]").unwrap();
    assert_eq!(doc.content(), "éef");
    let create = Document::create(DocumentType::Text, "abcde", LineEnds::Lf, WRITER, &bounds);
    assert_eq!(create.unwrap_err().code, Code::TooLarge);
}

#[test]
fn any_kept_revision_can_be_read() {
    let mut doc = document("one");
    let ops = ["[3,\" two\"]", "[1,-2,\"😀\"]", "[-1,3,\"x\",-2]"];
    let mut texts = vec![doc.content()];
    for (rev, op) in ops.iter().enumerate() {
        accepted(&mut doc, rev as u64, op);
        texts.push(doc.content());
    }
    for (rev, text) in texts.iter().enumerate() {
        assert_eq!(doc.content_at(rev as u64).as_ref(), Ok(text));
    }
}

#[test]
fn operations_of_any_size_are_kept_whole() {
    let mut doc = document("");
    let mut texts = vec![String::new()];
    for round in 0..6 {
        let long = "é😀 ".repeat(30_000);
        let many = format!("[{}]", vec!["2,\"xy\",1,-1"; 4_900 / 2].join(","));
        for op in [format!("[\"{long}\"]"), "[1,\"a\"]".to_owned(), "[2,-1]".to_owned(), many, "[\"ü\"]".to_owned()] {
            let op = if round % 2 == 1 && op.len() > 100_000 { "[-2,1,-10]".to_owned() } else { op };
            let rev = doc.rev();
            if submit(&mut doc, Submit { unit: Unit::Char, ..at(rev, &op) }).is_ok() {
                texts.push(doc.content());
            }
        }
    }
    assert!(texts.len() > 25);
    let doc = Document::decode(&doc.encode()).unwrap();
    for (rev, text) in texts.iter().enumerate() {
        assert!(doc.content_at(rev as u64).as_ref() == Ok(text), "revision {rev}");
    }
}

#[test]
fn an_undo_leaves_what_others_wrote_since() {
    let mut doc = document("one two three");
    accepted(&mut doc, 0, "[4,-4]");
    accepted(&mut doc, 1, "[3,\",\",6,\"!\"]");
    assert_eq!(doc.content(), "one, three!");
    let inverse = doc.inverse_of(1).unwrap().to_json();
    accepted(&mut doc, 2, &inverse);
    assert_eq!(doc.content(), "one, two three!");
    let redo = doc.inverse_of(3).unwrap().to_json();
    accepted(&mut doc, 3, &redo);
    assert_eq!(doc.content(), "one, three!");
    assert_eq!(doc.inverse_of(9).unwrap_err().code, Code::NotFound);
}

#[test]
fn what_two_people_deleted_is_restored_once() {
    let restored = |order: [u64; 2]| {
        let mut doc = document("abcdef");
        accepted(&mut doc, 0, "[1,-3]");
        accepted(&mut doc, 0, "[2,-3]");
        for rev in order {
            let (head, inverse) = (doc.rev(), doc.inverse_of(rev).unwrap().to_json());
            accepted(&mut doc, head, &inverse);
        }
        doc.content()
    };
    assert_eq!(restored([2, 1]), "abcdef");
    // The first to come back cannot know what else once stood at its place.
    assert_eq!(restored([1, 2]), "aebcdf");
}

#[test]
fn frames_are_exactly_as_announced() {
    let mut doc = document("abcdefg");
    for rev in 0..4 {
        accepted(&mut doc, rev, "[\"x\"]");
    }
    submit(&mut doc, by("c9", 3, at(4, "[5,\"a\"]"))).unwrap();
    assert_eq!(
        doc.frame("lobby", "doc:main", 5).unwrap(),
        "{\"event\":\"doc.applied\",\"room\":\"lobby\",\"stream\":\"doc:main\",\"epoch\":\"1.9f3a12c0\",\"from\":4,\
         \"rev\":5,\"op\":[5,\"a\"],\"at_ms\":1795,\"user\":\"ada\",\"client\":\"c9\",\"seq\":3}"
    );
    assert!(doc.frame("lobby", "doc:main", 4).unwrap().ends_with("\"op\":[\"x\"],\"at_ms\":1795}"));
    assert_eq!(doc.frame("lobby", "doc:main", 0), None);
    assert_eq!(
        doc.created_frame("lobby", "doc:main"),
        "{\"event\":\"doc.created\",\"room\":\"lobby\",\"stream\":\"doc:main\",\"epoch\":\"1.9f3a12c0\",\"from\":0,\
         \"rev\":0,\"type\":\"text\"}"
    );
}

#[test]
fn pages_have_no_holes_and_stay_within_their_bounds() {
    let bounds = Bounds { page_entries_max: 4, document_operations_max: 8, ..Bounds::default() };
    let mut doc = document("");
    for rev in 0..10 {
        doc.submit(&at(rev, "[\"x\"]"), WRITER, rev, &bounds).unwrap();
    }
    let changes = |since, to, count| doc.changes("r", "s", since, to, count, &bounds);
    let revs = |changes| match changes {
        Changes::Page { events, through } => (events.into_iter().map(|(rev, _)| rev).collect::<Vec<_>>(), through),
        other => panic!("{other:?}"),
    };
    assert_eq!(revs(changes((3, None), None, 100)), (vec![4, 5, 6, 7], 7));
    assert_eq!(revs(changes((7, Some(doc.epoch())), None, 100)), (vec![8, 9, 10], 10));
    assert_eq!(revs(changes((3, None), Some(5), 100)), (vec![4, 5], 5));
    assert_eq!(revs(changes((10, None), None, 100)), (vec![], 10));
    assert_eq!(changes((1, None), None, 100), Changes::Trimmed);
    assert_eq!(changes((11, None), None, 100), Changes::RolledBack { end: 10 });
    assert_eq!(changes((1, Some(Epoch { number: 9, id: 9 })), None, 100), Changes::Unknown);
    let narrow = Bounds { page_bytes_max: 1, ..bounds.clone() };
    assert_eq!(revs(doc.changes("r", "s", (3, None), None, 100, &narrow)), (vec![4], 4));
}

#[test]
fn a_replica_that_follows_effects_has_the_same_bytes() {
    let bounds = Bounds { document_operations_max: 5, writers_max: 4, ..Bounds::default() };
    let mut primary = document("a😀b");
    let mut replica = Document::decode(&primary.encode()).unwrap();
    let ops = ["[1,\"x😀\"]", "[\"y\"]", "[1,-2]", "[1,-2]", "[4,\"ü\"]", "[-4]", "[-3,\"z\"]", "[\"\\n\"]"];
    for (n, op) in ops.iter().cycle().take(64).enumerate() {
        let rev = primary.rev().saturating_sub(n as u64 % 3).max(primary.first_kept() - 1);
        let client = format!("tab{}", n % 7);
        let Ok(submitted) = primary.submit(&by(&client, n as u64 + 1, at(rev, op)), WRITER, n as u64 * 10, &bounds)
        else {
            continue;
        };
        replica.apply(&submitted.effect.unwrap()).unwrap();
        assert_eq!(replica.encode(), primary.encode());
        if n % 10 == 0 {
            replica = Document::decode(&primary.encode()).unwrap();
        }
    }
    assert!(primary.rev() > 20);
}

#[test]
fn a_trimmed_history_is_as_short_on_the_replica() {
    let mut primary = document("");
    for rev in 0..600 {
        accepted(&mut primary, rev, "[\"x\"]");
    }
    let mut replica = Document::decode(&primary.encode()).unwrap();
    let effect = primary.trim(10).unwrap();
    assert_eq!((primary.kept().0, primary.first_kept()), (10, 591));
    replica.apply(&effect).unwrap();
    assert_eq!(replica.encode(), primary.encode());
    assert!(primary.trim(10).is_none());
    replica.apply(&primary.trim(0).unwrap()).unwrap();
    assert_eq!(refused(&mut primary, at(599, "[\"x\"]")), Code::Stale);
    let next = accepted(&mut primary, 600, "[\"x\"]").effect.unwrap();
    replica.apply(&next).unwrap();
    assert_eq!(Document::decode(&replica.encode()).unwrap().encode(), primary.encode());
}

#[test]
fn an_effect_that_does_not_follow_the_head_is_refused_and_names_both() {
    let mut primary = document("abc");
    let replica = Document::decode(&primary.encode()).unwrap();
    let first = accepted(&mut primary, 0, "[\"x\"]").effect.unwrap();
    let second = accepted(&mut primary, 1, "[\"y\"]").effect.unwrap();
    let mut late = replica.clone();
    match late.apply(&second) {
        Err(Diverged::OutOfOrder { effect: 2, head: 0 }) => {}
        other => panic!("{other:?}"),
    }
    late.apply(&first).unwrap();
    assert!(matches!(late.apply(&first), Err(Diverged::OutOfOrder { effect: 1, head: 1 })));
    assert!(matches!(late.apply(&[]), Err(Diverged::Damaged(_))));
    assert!(matches!(late.apply(&[9, 1, 1]), Err(Diverged::Damaged(_))));
    late.apply(&second).unwrap();
    assert_eq!(late.encode(), primary.encode());
}

#[test]
fn a_document_may_be_freed_on_another_thread() {
    let doc = document("abc");
    assert_eq!(std::thread::spawn(move || doc.free_effort()).join().unwrap(), 1);
}
