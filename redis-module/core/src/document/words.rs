//! Components as the history keeps them: 32 bits each, with both lengths.
//!
//! ```text
//! | 30 bits: UTF-16 length | 2 bits: 0 retain, 1 insert, 2 delete |
//! | 30 bits: code points   | 3 |   follows a component whose two lengths differ
//! ```

use crate::op::{self, Component};

const RETAIN: u32 = 0;
const INSERT: u32 = 1;
const DELETE: u32 = 2;
const CHARS: u32 = 3;

/// Appends a component with its length in code points. Lengths have 30 bits, as every length within a text has.
pub(super) fn push(words: &mut Vec<u32>, component: Component, chars: u32) {
    let (len, kind) = match component {
        Component::Retain(len) => (len, RETAIN),
        Component::Insert(len) => (len, INSERT),
        Component::Delete(len) => (len, DELETE),
    };
    words.push(len << 2 | kind);
    if chars != len {
        words.push(chars << 2 | CHARS);
    }
}

fn component(word: u32, len: u32) -> Option<Component> {
    match word & 3 {
        RETAIN => Some(Component::Retain(len)),
        INSERT => Some(Component::Insert(len)),
        DELETE => Some(Component::Delete(len)),
        _ => None,
    }
}

/// The components in UTF-16 units.
pub(super) fn utf16(words: &[u32]) -> impl Iterator<Item = Component> + Clone {
    words.iter().filter_map(|word| component(*word, word >> 2))
}

/// The components in code points.
pub(super) fn chars(words: &[u32]) -> impl Iterator<Item = Component> + Clone {
    both(words).map(|(of, chars)| match of {
        Component::Retain(_) => Component::Retain(chars),
        Component::Insert(_) => Component::Insert(chars),
        Component::Delete(_) => Component::Delete(chars),
    })
}

/// The components in UTF-16 units, each with its length in code points.
pub(super) fn both(words: &[u32]) -> impl Iterator<Item = (Component, u32)> + Clone {
    words.iter().enumerate().filter_map(|(at, word)| {
        let component = component(*word, word >> 2)?;
        let chars = match words.get(at + 1) {
            Some(next) if next & 3 == CHARS => next >> 2,
            _ => word >> 2,
        };
        Some((component, chars))
    })
}

/// Whether these words are what [`push`] writes for an operation in normal form that does something.
pub(super) fn are_normal(words: &[u32]) -> bool {
    let (mut again, mut normal) = (Vec::with_capacity(words.len()), Vec::with_capacity(words.len()));
    for (component, chars) in both(words) {
        // A character has one or two units.
        if component.is_empty() || chars > component.len() || chars < component.len().div_ceil(2) {
            return false;
        }
        push(&mut again, component, chars);
        op::push(&mut normal, component);
    }
    op::trim(&mut normal);
    !normal.is_empty() && again == words && utf16(words).eq(normal)
}
