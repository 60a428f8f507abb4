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

/// What an operation is to another one that first does something at `first` and reaches to `reach`.
pub(super) enum Shift {
    /// It lies behind the other one and changes nothing of it.
    None,
    /// It lies before the other one, which moves by so many units, modulo 2^32.
    By(u32),
    /// They meet: only a transform tells.
    Unknown,
}

// What a word of each kind adds to three sums; adding a masked length beats a branch that nobody can foretell.
const WALKS: [u32; 4] = [u32::MAX, 0, u32::MAX, 0];
const INSERTS: [u32; 4] = [0, u32::MAX, 0, 0];
const DELETES: [u32; 4] = [0, 0, u32::MAX, 0];

/// The shift in UTF-16 units. So nearly every operation of the history is met, and one look at its lengths tells.
pub(super) fn utf16_shift(words: &[u32], first: u32, reach: u32) -> Shift {
    match words.first() {
        Some(word) if word & 3 != RETAIN || word >> 2 < reach => {}
        _ => return Shift::None,
    }
    let (mut end, mut by) = (0u32, 0u32);
    for word in words {
        // Sums over an operation that was accepted, so all are lengths of texts; `by` may be negative on its way.
        let (len, kind) = (word >> 2, (word & 3) as usize);
        end = end.wrapping_add(len & WALKS[kind]);
        by = by.wrapping_add(len & INSERTS[kind]).wrapping_sub(len & DELETES[kind]);
    }
    if end < first { Shift::By(by) } else { Shift::Unknown }
}

/// The shift in code points.
pub(super) fn chars_shift(words: &[u32], first: u32, reach: u32) -> Shift {
    match chars(words).next() {
        Some(Component::Retain(len)) if len >= reach => return Shift::None,
        None => return Shift::None,
        _ => {}
    }
    let (mut end, mut by) = (0u32, 0u32);
    for component in chars(words) {
        match component {
            Component::Retain(len) => end = end.wrapping_add(len),
            Component::Insert(len) => by = by.wrapping_add(len),
            Component::Delete(len) => (end, by) = (end.wrapping_add(len), by.wrapping_sub(len)),
        }
    }
    if end < first { Shift::By(by) } else { Shift::Unknown }
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
