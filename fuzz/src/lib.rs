//! What the targets share: short texts, operations both well and badly made, and a naive twin of the rules.
//!
//! The twin knows strings and nothing else, so that it cannot share a mistake with the engine.

use arbitrary::Arbitrary;
use stoa_core::bounds::Bounds;
use stoa_core::op::{Component, Operation, Unit};
use stoa_core::transform::{Side, transform};

/// A short text in which every kind of character is common.
#[derive(Debug, Clone, Arbitrary)]
pub struct Line(Vec<u8>);

impl Line {
    pub fn text(&self) -> String {
        // One to four bytes of UTF-8, combining characters, line ends and what JSON escapes.
        const LETTERS: [&str; 16] = [
            "a", "b", "c", " ", "\n", "é", "漢", "😀", "\u{301}", "\u{200d}", "\"", "\\", "\u{1}", "\u{feff}", "𝄞", "x",
        ];
        // Long texts cost time and find nothing.
        self.0.iter().take(200).map(|byte| LETTERS[usize::from(byte % 16)]).collect()
    }
}

/// One component of an operation that is well made, or nearly.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    Retain(u8),
    Insert(Line),
    Delete(u8),
    /// A length that fits no text.
    Huge(u32),
}

/// An operation as JSON.
#[derive(Debug, Clone, Arbitrary)]
pub enum Json {
    Made(Vec<Step>),
    /// So many components that the history is composed before they go over it.
    Many(Vec<Step>, u8),
    Raw(Vec<u8>),
}

impl Json {
    pub fn bytes(&self) -> Vec<u8> {
        let (steps, times) = match self {
            Json::Made(steps) => (steps, 1),
            Json::Many(steps, times) => (steps, usize::from(*times)),
            Json::Raw(bytes) => return bytes.clone(),
        };
        let mut out = String::from("[");
        for step in steps.iter().cycle().take(steps.len().saturating_mul(times).min(600)) {
            if out.len() > 1 {
                out.push(',');
            }
            match step {
                Step::Retain(n) => out.push_str(&(n % 32).to_string()),
                Step::Delete(n) => out.push_str(&format!("-{}", n % 16)),
                Step::Huge(n) => out.push_str(&n.to_string()),
                Step::Insert(line) => stoa_core::json::push_quoted(&mut out, &line.text()),
            }
        }
        out.push(']');
        out.into_bytes()
    }

    /// The operation, if it can be read.
    pub fn read(&self, unit: Unit) -> Option<Operation> {
        Operation::parse(&self.bytes(), unit, &Bounds::default()).ok()
    }
}

pub fn unit(chars: bool) -> Unit {
    if chars { Unit::Char } else { Unit::Utf16 }
}

/// The length of a text, counted character by character.
pub fn len(text: &str, unit: Unit) -> u32 {
    text.chars().map(|c| size(c, unit)).sum()
}

fn size(c: char, unit: Unit) -> u32 {
    if unit == Unit::Char || u32::from(c) < 0x10000 { 1 } else { 2 }
}

/// Takes `n` units off a text; `None` beyond its end and inside a character.
fn take<'a>(text: &mut &'a str, n: u32, unit: Unit) -> Option<&'a str> {
    let mut chars = text.chars();
    let mut left = n;
    while left > 0 {
        left = left.checked_sub(size(chars.next()?, unit))?;
    }
    let (head, tail) = text.split_at(text.len() - chars.as_str().len());
    *text = tail;
    Some(head)
}

/// What an operation makes of a text, and the text that it deletes; `None` if it does not fit.
pub fn apply(text: &str, operation: &Operation) -> Option<(String, String)> {
    let (mut rest, mut own) = (text, operation.text());
    let (mut out, mut deleted) = (String::new(), String::new());
    for component in operation.components() {
        match component {
            Component::Retain(n) => out.push_str(take(&mut rest, *n, operation.unit())?),
            Component::Delete(n) => deleted.push_str(take(&mut rest, *n, operation.unit())?),
            Component::Insert(n) => out.push_str(take(&mut own, *n, operation.unit())?),
        }
    }
    out.push_str(rest);
    Some((out, deleted))
}

/// `x` over `other`, one step.
pub fn over(x: &Operation, other: &Operation, side: Side) -> Operation {
    let mut components = Vec::new();
    transform(x.components(), other.components().iter().copied(), side, &mut components);
    Operation::from_parts(x.unit(), &components, x.text().to_owned()).expect("a transform keeps the inserted text")
}

/// Whether components are in normal form.
pub fn assert_normal(operation: &Operation) {
    use std::mem::discriminant;
    let components = operation.components();
    assert!(components.iter().all(|c| !c.is_empty()), "an empty component: {components:?}");
    let merged = components.windows(2).all(|pair| discriminant(&pair[0]) != discriminant(&pair[1]));
    assert!(merged, "neighbours of one kind: {components:?}");
    assert!(!matches!(components.last(), Some(Component::Retain(_))), "a retain at the end: {components:?}");
}
