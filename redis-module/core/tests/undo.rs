//! Taking back, tags and cursors, as people meet them.
#![allow(clippy::unwrap_used)]

use stoa_core::bounds::Bounds;
use stoa_core::document::{CURSOR_MS, Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::Writer;
use stoa_core::identity::Identity;
use stoa_core::op::Unit;
use stoa_core::refusal::Code;

const HERE: Writer = Writer { replication_id: 1, chance: 7 };

/// A document whose replica follows every effect.
struct Shared {
    primary: Document,
    replica: Document,
    bounds: Bounds,
    seq: u64,
}

impl Shared {
    fn with(content: &str) -> Shared {
        let bounds = Bounds::default();
        let primary = Document::create(DocumentType::Text, content, LineEnds::Lf, HERE, &bounds).unwrap();
        let replica = Document::decode(&primary.encode()).unwrap();
        Shared { primary, replica, bounds, seq: 0 }
    }

    /// Somebody edits the text of now.
    fn edits(&mut self, user: &str, op: &str) {
        self.seq += 1;
        let identity = Some(Identity::new(user, "tab", self.seq).unwrap());
        let submit = Submit {
            rev: self.primary.rev(),
            op: op.as_bytes(),
            epoch: None,
            identity,
            user,
            len: None,
            hash: None,
            unit: Unit::Utf16,
        };
        let submitted = self.primary.submit(&submit, HERE, 1_000, &self.bounds).unwrap();
        self.follows(submitted.effect);
    }

    fn undoes(&mut self, user: &str) -> Result<(), Code> {
        let undone = self.primary.undo((user, "tab"), None, HERE, 2_000, &self.bounds).map_err(|r| r.code)?;
        self.follows(undone.effect);
        Ok(())
    }

    fn follows(&mut self, effect: Option<Vec<u8>>) {
        if let Some(effect) = effect {
            self.replica.apply(&effect).unwrap();
        }
        assert_eq!(self.primary.encode(), self.replica.encode(), "the replica differs");
        assert_eq!(Document::decode(&self.primary.encode()).unwrap().encode(), self.primary.encode());
    }

    fn text(&self) -> String {
        self.primary.content()
    }
}

#[test]
fn undo_takes_back_the_own_edits_newest_first_and_leaves_what_others_wrote() {
    let mut text = Shared::with("the fox");
    text.edits("ada", "[4,\"quick \"]");
    text.edits("bo", "[13,\" jumps\"]");
    text.edits("ada", "[4,\"very \"]");
    assert_eq!(text.text(), "the very quick fox jumps");
    text.undoes("ada").unwrap();
    assert_eq!(text.text(), "the quick fox jumps");
    text.undoes("ada").unwrap();
    assert_eq!(text.text(), "the fox jumps");
    assert_eq!(text.undoes("ada"), Err(Code::NotFound));
    text.undoes("bo").unwrap();
    assert_eq!(text.text(), "the fox");
}

#[test]
fn undo_restores_a_deletion_once_even_where_two_people_deleted() {
    let mut text = Shared::with("one two three");
    text.edits("ada", "[4,-4]");
    text.edits("bo", "[-4]");
    assert_eq!(text.text(), "three");
    text.undoes("ada").unwrap();
    assert_eq!(text.text(), "two three");
    text.undoes("bo").unwrap();
    assert_eq!(text.text(), "one two three");
}

#[test]
fn an_edit_that_others_removed_is_passed_over() {
    let mut text = Shared::with("");
    text.edits("ada", "[\"first \"]");
    text.edits("ada", "[6,\"second\"]");
    text.edits("bo", "[6,-6]");
    text.undoes("ada").unwrap();
    assert_eq!(text.text(), "");
    assert_eq!(text.undoes("ada"), Err(Code::NotFound));
}

#[test]
fn an_undo_with_an_identity_happens_once() {
    let mut text = Shared::with("");
    text.edits("ada", "[\"a\"]");
    text.edits("ada", "[1,\"b\"]");
    let identity = Some(Identity::new("ada", "undo", 1).unwrap());
    let first = text.primary.undo(("ada", "tab"), identity.clone(), HERE, 1, &text.bounds).unwrap();
    text.follows(first.effect);
    let again = text.primary.undo(("ada", "tab"), identity, HERE, 1, &text.bounds).unwrap();
    assert!(again.duplicate && again.rev == first.rev);
    assert_eq!(text.text(), "a");
}

#[test]
fn what_is_taken_back_is_forgotten_with_the_history() {
    let mut text = Shared::with("");
    for _ in 0..20 {
        text.edits("ada", "[\"x\"]");
        text.undoes("ada").unwrap();
    }
    let effect = text.primary.trim(3);
    text.follows(effect);
    assert_eq!(text.text(), "");
    text.edits("ada", "[\"y\"]");
    text.undoes("ada").unwrap();
    assert_eq!(text.undoes("ada"), Err(Code::NotFound));
}

#[test]
fn a_tag_brings_its_text_back_however_far_the_history_is_trimmed() {
    let mut text = Shared::with("draft 👩‍👧 one");
    let effect = text.primary.tag("v1", 5, &text.bounds).unwrap();
    text.follows(Some(effect));
    text.edits("bo", "[6,-5,\"two\"]");
    let effect = text.primary.trim(0);
    text.follows(effect);
    let restored = text.primary.restore("v1", "ada", None, HERE, 9, &text.bounds).unwrap();
    text.follows(restored.effect);
    assert_eq!(text.text(), "draft 👩‍👧 one");
    assert_eq!(text.primary.tags().collect::<Vec<_>>(), [("v1", 0, 5)]);
    let same = text.primary.restore("v1", "ada", None, HERE, 9, &text.bounds).unwrap();
    assert!(!same.created, "nothing differs, so nothing is changed");
    let effect = text.primary.untag("v1").unwrap();
    text.follows(Some(effect));
    assert_eq!(text.primary.restore("v1", "ada", None, HERE, 9, &text.bounds).unwrap_err().code, Code::NotFound);
}

#[test]
fn tags_are_bounded_in_number_and_size() {
    let mut text = Shared::with("0123456789");
    text.bounds.tags_max = 2;
    text.bounds.tags_bytes_max = 25;
    for name in ["a", "b", "a"] {
        text.primary.tag(name, 1, &text.bounds).unwrap();
    }
    assert_eq!(text.primary.tag("c", 1, &text.bounds).unwrap_err().code, Code::Full);
    text.bounds.tags_max = 3;
    assert_eq!(text.primary.tag("c", 1, &text.bounds).unwrap_err().code, Code::TooLarge);
    assert_eq!(text.primary.tag("bad name", 1, &text.bounds).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn old_operations_go_by_age() {
    let mut text = Shared::with("");
    text.bounds.document_age_ms_max = 100;
    text.edits("ada", "[\"old\"]");
    let submit = Submit {
        rev: 1,
        op: b"[\"new\"]",
        epoch: None,
        identity: None,
        user: "bo",
        len: None,
        hash: None,
        unit: Unit::Utf16,
    };
    let submitted = text.primary.submit(&submit, HERE, 2_000, &text.bounds).unwrap();
    text.follows(submitted.effect);
    assert_eq!(text.primary.first_kept(), 2);
}

#[test]
fn cursors_move_with_the_text_and_end_by_themselves() {
    let mut text = Shared::with("hello world");
    let told = |text: &mut Shared, who: &str, rev: u64, json: &str| {
        text.primary.set_cursor((who, who), rev, json.as_bytes(), 0, &text.bounds)
    };
    assert_eq!(told(&mut text, "ada", 0, "{\"anchor\":6,\"head\":11,\"data\":{\"color\":\"red\"}}"), Ok(1));
    text.edits("bo", "[\"oh \"]");
    assert_eq!(
        text.primary.announce_cursors("lobby", "doc:main").unwrap(),
        format!(
            "{{\"event\":\"doc.cursors\",\"room\":\"lobby\",\"stream\":\"doc:main\",\"epoch\":\"{}\",\"rev\":1,\"cursors\":[{{\"connection\":\"ada\",\"user\":\"ada\",\"anchor\":9,\"head\":14,\"data\":{{\"color\":\"red\"}}}}],\"gone\":[]}}",
            text.primary.epoch()
        )
    );
    assert_eq!(text.primary.announce_cursors("lobby", "doc:main"), None);
    assert_eq!(text.primary.cursors().len(), 1);
    text.primary.end_cursors(CURSOR_MS);
    assert!(
        text.primary.announce_cursors("lobby", "doc:main").unwrap().ends_with("\"cursors\":[],\"gone\":[\"ada\"]}")
    );
    assert_eq!(told(&mut text, "bo", 1, "{\"anchor\":0,\"head\":0}"), Ok(1));
    assert_eq!(told(&mut text, "bo", 1, "null"), Ok(0));
}

#[test]
fn cursors_stay_when_the_operations_since_they_were_told_go() {
    let mut text = Shared::with("hello world");
    text.bounds.document_operations_max = 3;
    let caret = |at: u32| format!("{{\"anchor\":{at},\"head\":{at}}}");
    text.primary.set_cursor(("old", "ada"), 0, caret(5).as_bytes(), 0, &text.bounds).unwrap();
    text.edits("bo", "[\"oh \"]");
    text.edits("bo", "[1,\"o\"]");
    text.primary.set_cursor(("new", "cy"), 2, caret(1).as_bytes(), 0, &text.bounds).unwrap();
    let shown = |text: &Shared| {
        let of = |cursor: String| serde_json::from_str::<serde_json::Value>(&cursor).unwrap()["head"].as_u64().unwrap();
        text.primary.cursors().into_iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(shown(&text), [1, 9]);
    // On request, all of them.
    let effect = text.primary.trim(0);
    text.follows(effect);
    assert_eq!(shown(&text), [1, 9]);
    // By the bounds, one with each edit.
    for _ in 0..10 {
        text.edits("bo", "[\"x\"]");
    }
    assert_eq!(shown(&text), [11, 19]);
}

#[test]
fn undo_brings_every_letter_back_whatever_the_order() {
    let mut text = Shared::with("abc");
    text.edits("ada", "[1,-1]");
    text.edits("bo", "[-2]");
    text.undoes("ada").unwrap();
    text.undoes("bo").unwrap();
    // One deletion comes back as one piece: see `Document::undo`.
    assert_eq!(text.text(), "acb");
}

#[test]
fn a_cursor_that_cannot_be_is_refused() {
    let mut text = Shared::with("hello");
    text.edits("bo", "[\"oh \"]");
    let mut told = |rev: u64, json: &str| {
        text.primary.set_cursor(("c", "ada"), rev, json.as_bytes(), 0, &text.bounds).map_err(|r| r.code)
    };
    assert_eq!(told(0, "{\"anchor\":6,\"head\":6}"), Err(Code::Desync));
    assert_eq!(told(2, "{\"anchor\":0,\"head\":0}"), Err(Code::Ahead));
    assert_eq!(told(0, "{\"anchor\":0}"), Err(Code::InvalidArgument));
    assert_eq!(told(0, "{\"anchor\":-1,\"head\":0}"), Err(Code::InvalidArgument));
    assert_eq!(told(0, "{\"anchor\":0,\"head\":0,\"data\":[1]}"), Err(Code::InvalidArgument));
    assert_eq!(told(0, "{"), Err(Code::InvalidJson));
}
