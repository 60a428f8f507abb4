//! Transforming an operation over another one that was accepted first.
//!
//! The rule is that of Ellis and Gibbs (1989) as Jupiter (Nichols et al., 1995) and ot.js use it: walk both over the
//! common base, retain what the other inserted, leave out what the other deleted. Two inserts at one place are
//! ordered by [`Side`]: the server always lets the **arriving operation go left** of what is accepted, so that two
//! people who type at one place never mix their letters.
//!
//! Transforming never splits, drops or reorders inserted text, so it needs lengths only.

use crate::op::{Component, push, trim};

/// Whose text comes first when both insert at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The transformed operation's: what arrives at the server, or a client's own pending operation.
    Left,
    /// The other's: what a client receives and takes over its pending operation.
    Right,
}

impl Side {
    /// The side of the other operation.
    pub fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// A place within components, which hands them out in pieces.
pub(crate) struct Walk<'a> {
    rest: std::slice::Iter<'a, Component>,
    current: Option<Component>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(components: &'a [Component]) -> Self {
        let mut rest = components.iter();
        let current = rest.next().copied();
        Walk { rest, current }
    }

    /// What is left of the component at this place.
    pub(crate) fn peek(&self) -> Option<Component> {
        self.current
    }

    /// Goes on by the first `n` units of the component at this place. `n` is at most its length.
    pub(crate) fn take(&mut self, n: u32) {
        self.current = match self.current {
            Some(Component::Retain(len)) if len > n => Some(Component::Retain(len - n)),
            Some(Component::Insert(len)) if len > n => Some(Component::Insert(len - n)),
            Some(Component::Delete(len)) if len > n => Some(Component::Delete(len - n)),
            _ => self.rest.next().copied(),
        };
    }

    /// Appends all that is left.
    pub(crate) fn finish(self, out: &mut Vec<Component>) {
        for component in self.current.into_iter().chain(self.rest.copied()) {
            push(out, component);
        }
        trim(out);
    }
}

/// Writes to `out` what `x` becomes once `over` has been applied to their common base.
pub fn transform(x: &[Component], over: impl IntoIterator<Item = Component>, side: Side, out: &mut Vec<Component>) {
    use Component::{Delete, Insert, Retain};
    out.clear();
    let mut x = Walk::new(x);
    for component in over {
        if x.peek().is_none() {
            // What follows could only add to a retain at the end.
            break;
        }
        let (mut n, deleted) = match component {
            Insert(n) => {
                while let (Side::Left, Some(insert @ Insert(len))) = (side, x.peek()) {
                    push(out, insert);
                    x.take(len);
                }
                push(out, Retain(n));
                continue;
            }
            Retain(n) => (n, false),
            Delete(n) => (n, true),
        };
        while n > 0 {
            let Some(own) = x.peek() else { break };
            if let Insert(len) = own {
                push(out, own);
                x.take(len);
                continue;
            }
            let step = own.len().min(n);
            match own {
                _ if deleted => {}
                Delete(_) => push(out, Delete(step)),
                _ => push(out, Retain(step)),
            }
            x.take(step);
            n -= step;
        }
    }
    x.finish(out);
}

/// Both halves of one step: what `left` becomes over `right`, and `right` over `left`; `left`'s text goes first.
pub fn transform_both(left: &[Component], right: &[Component]) -> (Vec<Component>, Vec<Component>) {
    let (mut left_after, mut right_after) = (Vec::new(), Vec::new());
    transform(left, right.iter().copied(), Side::Left, &mut left_after);
    transform(right, left.iter().copied(), Side::Right, &mut right_after);
    (left_after, right_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Component::{Delete, Insert, Retain};

    fn over(x: &[Component], h: &[Component], side: Side) -> Vec<Component> {
        let mut out = Vec::new();
        transform(x, h.iter().copied(), side, &mut out);
        out
    }

    #[test]
    fn the_side_decides_who_goes_first_at_one_place() {
        let (x, h) = ([Retain(1), Insert(2)], [Retain(1), Insert(3)]);
        assert_eq!(over(&x, &h, Side::Left), [Retain(1), Insert(2)]);
        assert_eq!(over(&x, &h, Side::Right), [Retain(4), Insert(2)]);
    }

    #[test]
    fn what_both_delete_is_deleted_once() {
        assert_eq!(over(&[Retain(1), Delete(4)], &[Retain(3), Delete(4)], Side::Left), [Retain(1), Delete(2)]);
        assert_eq!(over(&[Delete(2)], &[Delete(3)], Side::Left), []);
    }

    #[test]
    fn an_insert_keeps_its_side_of_a_deletion() {
        let h = [Retain(3), Insert(1)];
        assert_eq!(over(&[Delete(3), Insert(1)], &h, Side::Left), [Delete(3), Insert(1)]);
        assert_eq!(over(&[Insert(1), Delete(3)], &h, Side::Left), [Insert(1), Delete(3)]);
        assert_eq!(over(&[Delete(5)], &[Retain(2), Insert(4)], Side::Left), [Delete(2), Retain(4), Delete(3)]);
    }
}
