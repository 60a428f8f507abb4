//! Where a caret or a selection stands after an operation.
//!
//! A caret transforms as an insert of nothing that arrives: text that somebody else puts exactly there comes after
//! it, so nobody's caret is pushed along by what others type. A selection never grows: text inserted at either of
//! its ends stays outside.

use crate::op::Component;
use crate::transform::Side;

/// How long a cursor, in a text or elsewhere, is shown after it was last told, in milliseconds: a front that dies takes its
/// cursors with it.
pub const CURSOR_MS: u64 = 60_000;

/// Where `at` stands after an operation. With [`Side::Left`] it stays before text that is inserted at it, with
/// [`Side::Right`] it goes after.
pub fn position(at: u32, over: impl IntoIterator<Item = Component>, side: Side) -> u32 {
    let (mut old, mut new) = (0u32, 0u32);
    for component in over {
        match component {
            Component::Insert(_) if old == at && side == Side::Left => return new,
            Component::Insert(n) => new = new.saturating_add(n),
            Component::Retain(n) if n > at - old => return new.saturating_add(at - old),
            Component::Retain(n) => {
                old += n;
                new = new.saturating_add(n);
            }
            Component::Delete(n) if n > at - old => return new,
            Component::Delete(n) => old += n,
        }
    }
    new.saturating_add(at - old)
}

/// Where a selection from `anchor` to `head` (in either direction; equal for a caret) stands after an operation.
pub fn selection(anchor: u32, head: u32, over: impl Iterator<Item = Component> + Clone) -> (u32, u32) {
    let place = |at, side| position(at, over.clone(), side);
    if anchor == head {
        let caret = place(head, Side::Left);
        return (caret, caret);
    }
    let start = place(anchor.min(head), Side::Right);
    let end = place(anchor.max(head), Side::Left);
    if anchor < head { (start, end) } else { (end, start) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Component::{Delete, Insert, Retain};

    fn selection(anchor: u32, head: u32, over: &[Component]) -> (u32, u32) {
        super::selection(anchor, head, over.iter().copied())
    }

    #[test]
    fn a_caret_stays_before_text_that_others_type_at_it() {
        assert_eq!(selection(3, 3, &[Retain(3), Insert(5)]), (3, 3));
        assert_eq!(selection(3, 3, &[Retain(2), Insert(5)]), (8, 8));
        assert_eq!(selection(3, 3, &[Retain(1), Delete(5)]), (1, 1));
    }

    #[test]
    fn a_selection_does_not_grow_at_its_ends() {
        assert_eq!(selection(2, 4, &[Retain(2), Insert(1), Retain(2), Insert(1)]), (3, 5));
        assert_eq!(selection(4, 2, &[Retain(2), Insert(1), Retain(2), Insert(1)]), (5, 3));
        assert_eq!(selection(2, 4, &[Retain(3), Insert(1)]), (2, 5));
    }

    #[test]
    fn a_selection_whose_text_is_deleted_becomes_a_caret() {
        assert_eq!(selection(2, 4, &[Retain(1), Insert(1), Delete(5), Insert(1)]), (2, 2));
        assert_eq!(selection(2, 4, &[Retain(2), Delete(2), Insert(1)]), (2, 2));
    }
}
