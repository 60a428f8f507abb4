//! An operation made ready for one text: everything is checked before anything changes.

use super::words;
use crate::op::{Component, Unit};
use crate::text::{OutOfText, Place, Text, measure};

/// An operation that fits the text it was checked against.
#[derive(Debug, Default)]
pub(super) struct Edit {
    /// Its components with both lengths.
    pub(super) words: Vec<u32>,
    /// The text that it deletes.
    pub(super) deleted: String,
    /// The revision that it takes back, or 0.
    pub(super) undoes: u64,
}

impl Edit {
    /// Checks every boundary of an operation in normal form against `text`, and notes what only the text knows:
    /// the lengths in the other unit and the text that goes away.
    pub(super) fn check(text: &Text, components: &[Component], unit: Unit, inserted: &str) -> Result<Self, OutOfText> {
        let mut edit = Edit::default();
        edit.read(text, components, unit, inserted)?;
        Ok(edit)
    }

    /// As [`Edit::check`], into what an earlier operation has left.
    pub(super) fn read(
        &mut self,
        text: &Text,
        components: &[Component],
        unit: Unit,
        inserted: &str,
    ) -> Result<(), OutOfText> {
        self.words.clear();
        self.deleted.clear();
        self.undoes = 0;
        let (mut at, mut rest) = (Place::default(), inserted);
        for component in components {
            if let Component::Insert(len) = component {
                let (head, tail) = unit.split(rest, *len).ok_or(OutOfText)?;
                let added = measure(head);
                words::push(&mut self.words, Component::Insert(added.utf16), added.chars);
                rest = tail;
                continue;
            }
            let end = match unit {
                Unit::Utf16 => text.at_utf16(at.utf16.checked_add(component.len()).ok_or(OutOfText)?)?,
                Unit::Char => text.at_char(at.chars.checked_add(component.len()).ok_or(OutOfText)?)?,
            };
            let (utf16, chars) = (end.utf16 - at.utf16, end.chars - at.chars);
            if let Component::Delete(_) = component {
                text.push_slice(at.chars, end.chars, &mut self.deleted)?;
                words::push(&mut self.words, Component::Delete(utf16), chars);
            } else {
                words::push(&mut self.words, Component::Retain(utf16), chars);
            }
            at = end;
        }
        Ok(())
    }

    /// Changes the text.
    pub(super) fn apply(&self, text: &mut Text, inserted: &str) -> Result<(), OutOfText> {
        run(text, &self.words, inserted, false)
    }
}

/// Takes back what the words say.
pub(super) fn revert(text: &mut Text, words: &[u32], deleted: &str) -> Result<(), OutOfText> {
    run(text, words, deleted, true)
}

/// Does what the words say, from the front to the back of the text. `coming` is the text that appears; taking back
/// swaps inserts with deletes.
fn run(text: &mut Text, words: &[u32], coming: &str, back: bool) -> Result<(), OutOfText> {
    let (mut at, mut coming) = (0u32, coming);
    for (component, chars) in words::both(words) {
        let inserts = match component {
            Component::Retain(_) => {
                at = at.checked_add(chars).ok_or(OutOfText)?;
                continue;
            }
            Component::Insert(_) => !back,
            Component::Delete(_) => back,
        };
        if inserts {
            let len = Place { utf16: component.len(), chars };
            let (head, tail) = Unit::Utf16.split(coming, len.utf16).ok_or(OutOfText)?;
            coming = tail;
            text.insert(at, head, len)?;
            at = at.checked_add(chars).ok_or(OutOfText)?;
        } else {
            text.delete(at, chars)?;
        }
    }
    Ok(())
}
