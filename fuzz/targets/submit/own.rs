//! What is no plain edit: what is taken back, tags, cursors.

use super::World;
use stoa_core::bounds::Bounds;
use stoa_core::cursor;
use stoa_core::document::{CURSOR_MS, Submitted};
use stoa_core::identity::Identity;
use stoa_core::op::{Operation, Unit};
use stoa_core::refusal::Code;
use stoa_fuzz::apply;

impl World {
    /// Takes up a revision that the document made on its own account, and has the replica follow.
    fn take_up(&mut self, submitted: &Submitted) {
        assert!(!submitted.duplicate);
        if submitted.created {
            let read = |unit| {
                let json = self.document.operation_json(submitted.rev, unit).expect("the newest is kept");
                Operation::parse(json.as_bytes(), unit, &Bounds::default()).expect("its own JSON")
            };
            let pair = [read(Unit::Utf16), read(Unit::Char)];
            let head = self.texts.last().expect("there is always one");
            let text = apply(head, &pair[0]).expect("an accepted operation fits").0;
            assert_eq!(apply(head, &pair[1]).expect("in both units").0, text);
            assert_eq!(self.document.content(), text);
            self.operations.push(pair);
            self.texts.push(text);
        }
        assert_eq!(self.document.rev() as usize, self.operations.len());
        if let Some(effect) = &submitted.effect {
            self.replica.apply(effect).expect("a replica follows");
        }
    }

    fn identity(&mut self, client: usize, wanted: bool) -> Option<Identity> {
        wanted.then(|| {
            self.sequences[client] += 1;
            // What a resend would repeat is no longer the last one.
            self.last[client] = None;
            Identity::new("ada", &client.to_string(), self.sequences[client]).expect("it is fine")
        })
    }

    pub(super) fn undo(&mut self, client: usize, with_identity: bool) {
        let identity = self.identity(client, with_identity);
        let (id, before) = (client.to_string(), self.document.encode());
        let (writer, now_ms, head) = (self.writer, self.now_ms, self.document.rev());
        let is_own = self
            .document
            .accepted(head)
            .is_some_and(|newest| newest.user() == "ada" && newest.identity().is_some_and(|(client, _)| client == id));
        match self.document.undo(("ada", &id), identity.clone(), writer, now_ms, &self.bounds) {
            Ok(undone) => {
                self.take_up(&undone);
                // Their own newest edit is taken back to the letter; what takes something back is passed over.
                if is_own && !self.undoes.contains(&head) {
                    assert_eq!(self.texts[head as usize + 1], self.texts[head as usize - 1]);
                }
                self.undoes.insert(undone.rev);
                if let Some(identity) = identity {
                    let again = self.document.undo(("ada", &id), Some(identity), writer, now_ms, &self.bounds);
                    let again = again.expect("it is remembered");
                    assert!(again.duplicate && again.effect.is_none() && again.rev == undone.rev);
                }
            }
            Err(refusal) => {
                assert!(matches!(refusal.code, Code::NotFound | Code::TooLarge), "{refusal}");
                assert_eq!(self.document.encode(), before, "a refused undo changed something");
            }
        }
    }

    pub(super) fn tag(&mut self, name: &str) {
        match self.document.tag(name, self.now_ms, &self.bounds) {
            Ok(effect) => {
                self.replica.apply(&effect).expect("a replica follows");
                self.tags.insert(name.to_owned(), self.document.content());
            }
            Err(refusal) => assert!(matches!(refusal.code, Code::Full | Code::TooLarge), "{refusal}"),
        }
        assert!(self.tags.len() <= self.bounds.tags_max);
    }

    pub(super) fn drop_tag(&mut self, name: &str) {
        match self.document.untag(name) {
            Ok(effect) => self.replica.apply(&effect).expect("a replica follows"),
            Err(refusal) => assert_eq!(refusal.code, Code::NotFound),
        }
        self.tags.remove(name);
    }

    pub(super) fn restore_tag(&mut self, name: &str, client: usize, with_identity: bool) {
        let identity = self.identity(client, with_identity);
        match self.document.restore(name, "ada", identity, self.writer, self.now_ms, &self.bounds) {
            Ok(restored) => {
                self.take_up(&restored);
                assert_eq!(Some(&self.document.content()), self.tags.get(name), "the tag's text");
            }
            Err(refusal) => assert!(refusal.code == Code::TooLarge || !self.tags.contains_key(name), "{refusal}"),
        }
    }

    pub(super) fn cursor(&mut self, connection: String, behind: u8, anchor: u32, head: u32, is_gone: bool) {
        let rev = self.document.rev().saturating_sub(behind.into());
        let told = if is_gone { "null".to_owned() } else { format!("{{\"anchor\":{anchor},\"head\":{head}}}") };
        let who = (connection.as_str(), "ada");
        match self.document.set_cursor(who, rev, told.as_bytes(), self.now_ms, &self.bounds) {
            Ok(known) => {
                if is_gone {
                    self.cursors.remove(&connection);
                } else {
                    let cursor = (rev as usize, anchor, head, self.now_ms + CURSOR_MS);
                    self.cursors.insert(connection, cursor);
                }
                assert_eq!(known, self.cursors.len());
            }
            Err(refusal) => assert!(matches!(refusal.code, Code::Stale | Code::Desync), "{refusal}"),
        }
        self.compare_cursors();
    }

    /// Every cursor stands where all operations since it was told have moved it, however much of them is kept.
    pub(super) fn compare_cursors(&self) {
        let shown = self.document.cursors();
        assert_eq!(shown.len(), self.cursors.len());
        for (json, (connection, (rev, anchor, head, _))) in shown.iter().zip(&self.cursors) {
            let json: serde_json::Value = serde_json::from_str(json).expect("a cursor is JSON");
            let since = self.operations[*rev..].iter().map(|pair| pair[0].components());
            let (anchor, head) = since
                .fold((*anchor, *head), |(anchor, head), over| cursor::selection(anchor, head, over.iter().copied()));
            assert_eq!((json["anchor"].as_u64(), json["head"].as_u64()), (Some(anchor.into()), Some(head.into())));
            assert_eq!(json["connection"], connection.as_str());
        }
    }
}
