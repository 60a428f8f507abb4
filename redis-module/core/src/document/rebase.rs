//! Taking an operation over the history that it did not know.
//!
//! An ordinary operation has a handful of components and goes over the history one by one, some nanoseconds each. A
//! large one pays its whole length at every step; there the history is composed first, in a balanced tree, up to
//! blocks about as long as the operation. Both ways give the same components (see [`crate::compose`]).

use super::history::{History, Span};
use super::words::{self, Shift};
use crate::compose::{Bias, compose_lengths};
use crate::op::{Component, Unit, base_len};
use crate::transform::{Side, transform};

/// From so many components on, composing first is cheaper.
const COMPOSE_FROM: usize = 200;

/// Makes of `x`, made at revision `rev`, what it becomes at the head. It goes left of what is accepted. What
/// `scratch` holds is lost.
pub(super) fn rebase(x: &mut Vec<Component>, scratch: &mut Vec<Component>, history: &History, rev: u64, unit: Unit) {
    let moving = Moving { first: first_of(x), reach: base_len(x), x, scratch };
    match unit {
        Unit::Utf16 => over_spans(moving, history.spans(rev + 1), words::utf16, words::utf16_shift),
        Unit::Char => over_spans(moving, history.spans(rev + 1), words::chars, words::chars_shift),
    }
}

fn over_spans<'a, I>(
    mut moving: Moving<'_>,
    spans: impl Iterator<Item = Span<'a>>,
    read: impl Fn(&'a [u32]) -> I,
    shift: impl Fn(&'a [u32], u32, u32) -> Shift,
) where
    I: Iterator<Item = Component>,
{
    for span in spans {
        if moving.x.len() < COMPOSE_FROM || span.len() == 1 {
            for operation in span.operations() {
                match shift(operation, moving.first, moving.reach) {
                    Shift::None => {}
                    Shift::By(units) => moving.shift(units),
                    Shift::Unknown => moving.transform(read(operation)),
                }
            }
        } else {
            for block in composed(span.operations().map(&read), moving.x.len()) {
                moving.transform(block.into_iter());
            }
        }
    }
}

fn first_of(x: &[Component]) -> u32 {
    match x.first() {
        Some(Component::Retain(first)) => *first,
        _ => 0,
    }
}

/// An operation on its way to the head.
struct Moving<'x> {
    x: &'x mut Vec<Component>,
    /// Where it first does something.
    first: u32,
    /// How far into the text it reaches.
    reach: u32,
    scratch: &'x mut Vec<Component>,
}

impl Moving<'_> {
    /// Goes by an operation that lies before all of x.
    fn shift(&mut self, units: u32) {
        if let Some(Component::Retain(first)) = self.x.first_mut() {
            self.first = first.wrapping_add(units);
            self.reach = self.reach.wrapping_add(units);
            *first = self.first;
        }
    }

    fn transform(&mut self, other: impl Iterator<Item = Component>) {
        transform(self.x, other, Side::Left, self.scratch);
        std::mem::swap(self.x, self.scratch);
        (self.first, self.reach) = (first_of(self.x), base_len(self.x));
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
