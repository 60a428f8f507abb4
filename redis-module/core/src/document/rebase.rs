//! Taking an operation over the history that it did not know.
//!
//! An ordinary operation has a handful of components and goes over the history one by one, some nanoseconds each. A
//! large one pays its whole length at every step; there the history is composed first, in a balanced tree, up to
//! blocks about as long as the operation. Both ways give the same components (see [`crate::compose`]).

use super::history::{History, Span};
use super::words;
use crate::compose::{Bias, compose_lengths};
use crate::op::{Component, Unit, base_len};
use crate::transform::{Side, transform};

/// From so many components on, composing first is cheaper.
const COMPOSE_FROM: usize = 200;

/// What `x`, made at revision `rev`, becomes at the head. It goes left of what is accepted.
pub(super) fn rebase(x: Vec<Component>, history: &History, rev: u64, unit: Unit) -> Vec<Component> {
    match unit {
        Unit::Utf16 => over_spans(x, history.spans(rev + 1), words::utf16),
        Unit::Char => over_spans(x, history.spans(rev + 1), words::chars),
    }
}

fn over_spans<'a, I>(
    x: Vec<Component>,
    spans: impl Iterator<Item = Span<'a>>,
    read: fn(&'a [u32]) -> I,
) -> Vec<Component>
where
    I: Iterator<Item = Component> + Clone,
{
    let mut moving = Moving { reach: base_len(&x), x, scratch: Vec::new() };
    for span in spans {
        if moving.x.len() < COMPOSE_FROM || span.len() == 1 {
            for operation in span.operations() {
                moving.over(read(operation));
            }
        } else {
            for block in composed(span.operations().map(read), moving.x.len()) {
                moving.over(block.iter().copied());
            }
        }
    }
    moving.x
}

/// An operation on its way to the head.
struct Moving {
    x: Vec<Component>,
    /// How far into the text it reaches.
    reach: u32,
    scratch: Vec<Component>,
}

impl Moving {
    fn over(&mut self, other: impl Iterator<Item = Component> + Clone) {
        use Component::{Delete, Insert, Retain};
        // All behind x: nothing to do. So it is half of the time, and one look tells.
        match other.clone().next() {
            Some(Retain(n)) if n >= self.reach => return,
            None => return,
            _ => {}
        }
        // All before x: only its first retain changes.
        if let Some(Retain(first)) = self.x.first_mut() {
            let (mut reach, mut inserted, mut deleted) = (0u32, 0u32, 0u32);
            for component in other.clone() {
                match component {
                    Retain(n) => reach = reach.saturating_add(n),
                    Insert(n) => inserted = inserted.saturating_add(n),
                    Delete(n) => {
                        reach = reach.saturating_add(n);
                        deleted = deleted.saturating_add(n);
                    }
                }
                if reach >= *first {
                    break;
                }
            }
            if reach < *first {
                *first = first.saturating_add(inserted) - deleted;
                self.reach = self.reach.saturating_add(inserted) - deleted;
                return;
            }
        }
        transform(&self.x, other, Side::Left, &mut self.scratch);
        std::mem::swap(&mut self.x, &mut self.scratch);
        self.reach = base_len(&self.x);
    }
}

/// Composes neighbours while the result stays shorter than `len_max`: up to there a composition costs less than
/// the walk over x that it saves.
fn composed<I: Iterator<Item = Component>>(operations: impl Iterator<Item = I>, len_max: usize) -> Vec<Vec<Component>> {
    // (height, block): neighbours of one height are composed at once, so that each operation takes part in a
    // logarithmic number of compositions.
    let mut blocks: Vec<(u32, Vec<Component>)> = Vec::new();
    for operation in operations {
        blocks.push((0, operation.collect()));
        while merge_last(&mut blocks, len_max, true) {}
    }
    while merge_last(&mut blocks, len_max, false) {}
    blocks.into_iter().map(|(_, block)| block).collect()
}

fn merge_last(blocks: &mut Vec<(u32, Vec<Component>)>, len_max: usize, same_height: bool) -> bool {
    let [.., (height, first), (second_height, second)] = blocks.as_slice() else { return false };
    if (same_height && height != second_height) || first.len() + second.len() > len_max {
        return false;
    }
    let mut both = Vec::with_capacity(first.len() + second.len());
    compose_lengths(first, second.iter().copied(), Bias::Late, &mut both);
    let height = height + 1;
    blocks.truncate(blocks.len() - 2);
    blocks.push((height, both));
    true
}
