//! Random texts and operations from one seed, and the slow, obvious twin of the engine that judges them.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use stoa_core::op::{Component, Operation, Unit, base_len};
use stoa_core::transform::{Side, transform};

/// Letters that are hard to count: of two and three bytes, astral, combining, joined, flags, skin tones.
pub(crate) const PIECES: [&str; 14] =
    ["a", "b", "c", " ", "\n", "é", "e\u{301}", "漢", "😀", "𝒳", "👩\u{200d}👩\u{200d}👧", "🇫🇷", "👍🏽", "\u{200d}"];

/// Random numbers from a seed (splitmix64, Steele et al. 2014).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A text of up to `pieces` pieces.
    pub(crate) fn text(&mut self, pieces: usize) -> String {
        (0..self.below(pieces + 1)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    /// An operation on `text` with about `size` components.
    pub(crate) fn operation(&mut self, text: &str, size: usize, unit: Unit) -> Operation {
        let mut rest: &str = text;
        let (mut components, mut inserted) = (Vec::new(), String::new());
        let stride = text.chars().count() / size.max(1) + 2;
        for _ in 0..=self.below(size + 1) {
            let kind = self.below(4);
            if kind == 0 || kind == 3 {
                let piece = self.text(2);
                components.push(Component::Insert(unit.len(&piece) as u32));
                inserted.push_str(&piece);
                continue;
            }
            let chars = self.below(stride);
            let end = rest.char_indices().nth(chars).map_or(rest.len(), |(at, _)| at);
            let (head, tail) = rest.split_at(end);
            let len = unit.len(head) as u32;
            components.push(if kind == 1 { Component::Retain(len) } else { Component::Delete(len) });
            rest = tail;
        }
        Operation::from_parts(unit, &components, inserted).unwrap()
    }
}

/// A text as the units that it is counted in.
fn units(text: &str, unit: Unit) -> Vec<u32> {
    match unit {
        Unit::Utf16 => text.encode_utf16().map(u32::from).collect(),
        Unit::Char => text.chars().map(u32::from).collect(),
    }
}

fn joined(units: &[u32], unit: Unit) -> String {
    match unit {
        Unit::Utf16 => String::from_utf16(&units.iter().map(|u| *u as u16).collect::<Vec<_>>()).unwrap(),
        Unit::Char => units.iter().map(|u| char::from_u32(*u).unwrap()).collect(),
    }
}

/// The text after an operation, and what it deleted, unit by unit.
pub(crate) fn apply(text: &str, op: &Operation) -> (String, String) {
    let (base, inserted) = (units(text, op.unit()), units(op.text(), op.unit()));
    let (mut out, mut deleted, mut at, mut from) = (Vec::new(), Vec::new(), 0, 0);
    for component in op.components() {
        let n = component.len() as usize;
        match component {
            Component::Retain(_) => out.extend_from_slice(&base[at..at + n]),
            Component::Delete(_) => deleted.extend_from_slice(&base[at..at + n]),
            Component::Insert(_) => {
                out.extend_from_slice(&inserted[from..from + n]);
                from += n;
                continue;
            }
        }
        at += n;
    }
    out.extend_from_slice(&base[at..]);
    (joined(&out, op.unit()), joined(&deleted, op.unit()))
}

/// The text after an operation.
pub(crate) fn after(text: &str, op: &Operation) -> String {
    apply(text, op).0
}

/// An operation as what stands in each gap of the base, and which units go: no order is left to get wrong.
struct Marks {
    gaps: BTreeMap<usize, Vec<u32>>,
    gone: Vec<bool>,
}

impl Marks {
    fn of(op: &Operation, base: usize) -> Self {
        let (mut marks, mut at, mut from) = (Marks { gaps: BTreeMap::new(), gone: vec![false; base] }, 0, 0);
        let inserted = units(op.text(), op.unit());
        for component in op.components() {
            let n = component.len() as usize;
            match component {
                Component::Retain(_) => at += n,
                Component::Delete(_) => {
                    marks.gone[at..at + n].fill(true);
                    at += n;
                }
                Component::Insert(_) => {
                    marks.gaps.entry(at).or_default().extend_from_slice(&inserted[from..from + n]);
                    from += n;
                }
            }
        }
        marks
    }
}

/// The text that two concurrent operations lead to: in each gap first `left`'s text, then `right`'s; each unit stays
/// that nobody deleted.
pub(crate) fn merged(text: &str, left: &Operation, right: &Operation) -> String {
    let base = units(text, left.unit());
    let (left_marks, right_marks) = (Marks::of(left, base.len()), Marks::of(right, base.len()));
    let mut out = Vec::new();
    for at in 0..=base.len() {
        for marks in [&left_marks, &right_marks] {
            out.extend(marks.gaps.get(&at).into_iter().flatten());
        }
        if at < base.len() && !left_marks.gone[at] && !right_marks.gone[at] {
            out.push(base[at]);
        }
    }
    joined(&out, left.unit())
}

/// `x` over `h`.
pub(crate) fn over(x: &Operation, h: &Operation, side: Side) -> Operation {
    let mut out = Vec::new();
    transform(x.components(), h.components().iter().copied(), side, &mut out);
    assert_normal(&out);
    Operation::from_parts(x.unit(), &out, x.text().to_owned()).unwrap()
}

/// No component is empty, neighbours differ, no retain comes last.
pub(crate) fn assert_normal(components: &[Component]) {
    assert!(!matches!(components.last(), Some(Component::Retain(_))), "{components:?}");
    assert!(components.iter().all(|component| !component.is_empty()), "{components:?}");
    let same = |pair: &[Component]| std::mem::discriminant(&pair[0]) == std::mem::discriminant(&pair[1]);
    assert!(!components.windows(2).any(same), "{components:?}");
}

/// An operation in the other unit.
pub(crate) fn converted(text: &str, op: &Operation, to: Unit) -> Operation {
    let (mut rest, mut inserted) = (text, op.text());
    let mut components = Vec::new();
    for component in op.components() {
        let from = if matches!(component, Component::Insert(_)) { &mut inserted } else { &mut rest };
        let (head, tail) = op.unit().split(from, component.len()).unwrap();
        *from = tail;
        let len = to.len(head) as u32;
        components.push(match component {
            Component::Retain(_) => Component::Retain(len),
            Component::Insert(_) => Component::Insert(len),
            Component::Delete(_) => Component::Delete(len),
        });
    }
    assert!(base_len(&components) as usize <= to.len(text));
    Operation::from_parts(to, &components, op.text().to_owned()).unwrap()
}
