//! What an operation on text is, and how it is read and written.
//!
//! An operation walks over a text from its start. A component *retains* units, *inserts* text, or *deletes* units;
//! what is left after the last component stays. As JSON: `[5,"text",-3]` retains 5, inserts "text", deletes 3.
//!
//! **Units.** A length counts UTF-16 code units ([`Unit::Utf16`], what browsers count) or code points
//! ([`Unit::Char`], what Python and Rust count). 😀 is 2 UTF-16 units, 1 code point and 4 bytes.
//!
//! **Normal form.** No component is empty, neighbours are of different kinds, and no retain comes last. The order
//! of an insert and a delete at one place is kept as the author gave it: it says on which side of the deleted
//! text the new text stands, and transforming over a composed history is exact only because nobody forgets that
//! (see [`crate::compose`]).

mod read;

use crate::json;

/// What lengths and positions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Unit {
    /// UTF-16 code units: what JavaScript counts, and what is stored.
    #[default]
    Utf16,
    /// Unicode code points.
    Char,
}

impl Unit {
    /// The length of `text`.
    pub fn len(self, text: &str) -> usize {
        // A character has one leading byte, and two UTF-16 units if that byte is 0xf0 or more.
        let chars = text.bytes().filter(|byte| byte & 0xc0 != 0x80).count();
        match self {
            Unit::Char => chars,
            Unit::Utf16 => chars + text.bytes().filter(|byte| *byte >= 0xf0).count(),
        }
    }

    /// Splits `text` after `len` units, unless that is beyond its end or inside a character.
    pub fn split(self, text: &str, len: u32) -> Option<(&str, &str)> {
        let len = len as usize;
        if text.as_bytes().get(..len)?.is_ascii() {
            return text.split_at_checked(len);
        }
        let mut seen = 0;
        for (at, c) in text.char_indices() {
            if seen >= len {
                return if seen == len { text.split_at_checked(at) } else { None };
            }
            seen += if self == Unit::Utf16 { c.len_utf16() } else { 1 };
        }
        if seen == len { Some((text, "")) } else { None }
    }
}

impl std::str::FromStr for Unit {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "utf16" => Ok(Unit::Utf16),
            "char" => Ok(Unit::Char),
            _ => Err(()),
        }
    }
}

/// One step of an operation. The text of inserts stands apart, so that a component has 8 bytes and rules that need
/// only lengths touch only lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// Keeps so many units.
    Retain(u32),
    /// Inserts so many units of the operation's text.
    Insert(u32),
    /// Removes so many units.
    Delete(u32),
}

impl Component {
    /// How many units it retains, inserts or deletes.
    pub fn len(self) -> u32 {
        match self {
            Component::Retain(n) | Component::Insert(n) | Component::Delete(n) => n,
        }
    }

    /// Whether it does nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Appends a component and keeps the normal form, apart from a retain at the end.
///
/// Lengths saturate: a sum beyond `u32` cannot come from operations that fit a text.
pub fn push(components: &mut Vec<Component>, next: Component) {
    use Component::{Delete, Insert, Retain};
    if next.is_empty() {
        return;
    }
    match (components.last_mut(), next) {
        (Some(Retain(n)), Retain(m)) | (Some(Insert(n)), Insert(m)) | (Some(Delete(n)), Delete(m)) => {
            *n = n.saturating_add(m);
        }
        _ => components.push(next),
    }
}

/// Drops a retain at the end.
pub fn trim(components: &mut Vec<Component>) {
    if let Some(Component::Retain(_)) = components.last() {
        components.pop();
    }
}

/// An operation in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operation {
    unit: Unit,
    components: Vec<Component>,
    text: String,
}

impl Operation {
    /// The operation that does nothing.
    pub fn new(unit: Unit) -> Self {
        Operation { unit, ..Operation::default() }
    }

    /// The operation of these components and this text, brought into normal form; `None` if the inserts do not add
    /// up to the text.
    pub fn from_parts(unit: Unit, components: &[Component], text: String) -> Option<Self> {
        let mut rest = text.as_str();
        let mut normal = Vec::with_capacity(components.len());
        for component in components {
            if let Component::Insert(n) = component {
                rest = unit.split(rest, *n)?.1;
            }
            push(&mut normal, *component);
        }
        trim(&mut normal);
        rest.is_empty().then_some(Operation { unit, components: normal, text })
    }

    /// Assembles an operation whose parts are known to agree.
    pub(crate) fn from_normal(unit: Unit, mut components: Vec<Component>, text: String) -> Self {
        trim(&mut components);
        Operation { unit, components, text }
    }

    /// What its lengths count.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Its steps.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The text of all its inserts, one after the other.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// How much of a text it walks over. Shorter texts are not its base.
    pub fn base_len(&self) -> u32 {
        base_len(&self.components)
    }

    /// Becomes equal to another one, in the memory that it has.
    pub(crate) fn copy(&mut self, other: &Operation) {
        self.unit = other.unit;
        self.components.clone_from(&other.components);
        self.text.clone_from(&other.text);
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (Vec<Component>, String) {
        (self.components, self.text)
    }

    /// Its steps, to be changed, and the text of its inserts.
    pub(crate) fn parts_mut(&mut self) -> (&mut Vec<Component>, &String) {
        (&mut self.components, &self.text)
    }

    /// Appends it as JSON.
    pub fn push_json(&self, out: &mut String) {
        push_json(out, self.components.iter().copied(), &self.text, self.unit);
    }

    /// It as JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + self.components.len() * 6 + 4);
        self.push_json(&mut out);
        out
    }
}

/// How much of a text these components walk over.
pub fn base_len(components: &[Component]) -> u32 {
    components.iter().fold(0, |sum, component| match component {
        Component::Retain(n) | Component::Delete(n) => sum.saturating_add(*n),
        Component::Insert(_) => sum,
    })
}

/// Appends an operation as JSON.
pub fn push_json(out: &mut String, components: impl Iterator<Item = Component>, text: &str, unit: Unit) {
    let mut rest = text;
    let mut separator = '[';
    for component in components {
        out.push(separator);
        separator = ',';
        match component {
            Component::Retain(n) => json::push_number(out, u64::from(n)),
            Component::Delete(n) => {
                out.push('-');
                json::push_number(out, u64::from(n));
            }
            Component::Insert(n) => {
                let (head, tail) = unit.split(rest, n).unwrap_or((rest, ""));
                json::push_quoted(out, head);
                rest = tail;
            }
        }
    }
    if separator == '[' {
        out.push('[');
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::refusal::Code;

    fn parse(json: &str) -> Result<String, Code> {
        Operation::parse(json.as_bytes(), Unit::Utf16, &Bounds::default()).map(|op| op.to_json()).map_err(|r| r.code)
    }

    #[test]
    fn an_operation_is_read_and_written_as_it_was_sent() {
        for json in ["[]", "[5,\"text\",-3]", "[\"a\",-1]", "[-1,\"a\"]", "[1,\"😀\\n\\\"\",4294967290,-1]"] {
            assert_eq!(parse(json).as_deref(), Ok(json));
        }
    }

    #[test]
    fn what_is_legal_but_not_normal_becomes_normal() {
        for (json, normal) in [
            ("[0,\"a\",\"\"]", "[\"a\"]"),
            ("[1,2,\"a\",\"b\",-1,-2,7]", "[3,\"ab\",-3]"),
            (" [ 1 , \"\\u00e9\" ] ", "[1,\"é\"]"),
            ("[4294967295]", "[]"),
            ("[\"\\ud83d\\ude00\"]", "[\"😀\"]"),
            ("[\"a\",0,\"b\"]", "[\"ab\"]"),
        ] {
            assert_eq!(parse(json).as_deref(), Ok(normal), "{json}");
        }
    }

    #[test]
    fn what_is_not_an_operation_is_refused() {
        for json in [
            "",
            "{}",
            "null",
            "5",
            "\"a\"",
            "[null]",
            "[true]",
            "[[1]]",
            "[{\"d\":1}]",
            "[1.0]",
            "[1e2]",
            "[1.5]",
            "[-0.0]",
            "[01]",
            "[+1]",
            "[1,]",
            "[1]x",
            "[1",
            "[4294967296]",
            "[-4294967296]",
            "[4294967295,1]",
            "[-9223372036854775808,1,-9223372036854775808,4]",
            "[18446744065119617029]",
            "[\"\\ud800\"]",
            "[\"\\udc00\"]",
            "[\"\\ud83dx\"]",
            "[\"a\nb\"]",
            "[1e300]",
            "[123456789012345678901234567890]",
            "[4294967290,\"abcdefg\"]",
        ] {
            assert_eq!(parse(json), Err(Code::InvalidOperation), "{json}");
        }
        let not_utf8 = Operation::parse(b"[\"\xff\"]", Unit::Utf16, &Bounds::default());
        assert_eq!(not_utf8.unwrap_err().code, Code::InvalidOperation);
        let nested = "[".repeat(100_000);
        assert_eq!(parse(&nested), Err(Code::InvalidOperation));
    }

    #[test]
    fn an_operation_beyond_the_bounds_is_too_large() {
        let bounds = Bounds { operation_bytes_max: 20, operation_components_max: 3, ..Bounds::default() };
        let code = |json: &str| Operation::parse(json.as_bytes(), Unit::Utf16, &bounds).map_err(|r| r.code);
        assert!(code("[1,\"a\",2]").is_ok());
        assert_eq!(code("[1,\"a\",2,\"b\"]"), Err(Code::TooLarge));
        assert_eq!(code("[\"aaaaaaaaaaaaaaaaaaaa\"]"), Err(Code::TooLarge));
    }

    #[test]
    fn a_text_splits_only_between_characters() {
        assert_eq!(Unit::Utf16.split("a😀b", 3), Some(("a😀", "b")));
        assert_eq!(Unit::Utf16.split("a😀b", 2), None);
        assert_eq!(Unit::Utf16.split("a😀b", 5), None);
        assert_eq!(Unit::Char.split("a😀b", 2), Some(("a😀", "b")));
        assert_eq!(Unit::Char.split("é", 1), Some(("é", "")));
        assert_eq!(Unit::Char.split("", 0), Some(("", "")));
        assert_eq!(Unit::Utf16.split("é", 0), Some(("", "é")));
    }
}
