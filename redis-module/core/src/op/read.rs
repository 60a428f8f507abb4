//! Reading an operation from JSON.

use super::{Component, Operation, Unit, push, trim};
use crate::bounds::Bounds;
use crate::refusal::{Code, Refusal};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;

impl Operation {
    /// Reads `[5,"text",-3]`.
    ///
    /// Numbers are exact integers from -(2^32-1) to 2^32-1; fractions and exponents are refused, and so is an
    /// escape that is half a character. Empty and unmerged components and a retain at the end are legal and
    /// normalised away. Refuses with `INVALID_OPERATION`, or `TOO_LARGE` beyond the bounds.
    pub fn parse(json: &[u8], unit: Unit, bounds: &Bounds) -> Result<Self, Refusal> {
        let mut operation = Operation::default();
        operation.read(json, unit, bounds)?;
        Ok(operation)
    }

    /// As [`Operation::parse`], in place of what this one was. After a refusal it holds anything.
    pub(crate) fn read(&mut self, json: &[u8], unit: Unit, bounds: &Bounds) -> Result<(), Refusal> {
        self.unit = unit;
        self.components.clear();
        self.text.clear();
        if json.len() > bounds.operation_bytes_max {
            let message =
                format!("the operation has {} bytes, at most {} are allowed", json.len(), bounds.operation_bytes_max);
            return Err(Refusal::new(Code::TooLarge, message));
        }
        let max = bounds.operation_components_max;
        if let Ok(json) = std::str::from_utf8(json)
            && self.read_plain(json, max).is_some()
        {
            trim(&mut self.components);
            return Ok(());
        }
        self.components.clear();
        self.text.clear();
        let mut reader = Reader { operation: self, max, base: 0, out: 0, too_many: false };
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let read = deserializer.deserialize_seq(&mut reader).and_then(|()| deserializer.end());
        let too_many = reader.too_many;
        match read {
            Ok(()) => {
                trim(&mut self.components);
                Ok(())
            }
            Err(_) if too_many => Err(Refusal::new(
                Code::TooLarge,
                format!("the operation has more than {} components", bounds.operation_components_max),
            )),
            Err(e) => Err(Refusal::new(Code::InvalidOperation, format!("the operation cannot be read: {e}"))),
        }
    }

    /// Reads what clients send nearly always: no white space, no escapes, nothing to refuse. `None` where it is
    /// anything else, which the JSON library reads or refuses.
    fn read_plain(&mut self, json: &str, max: usize) -> Option<()> {
        let mut rest = json.strip_prefix('[')?.strip_suffix(']')?;
        let mut reader = Reader { operation: self, max, base: 0, out: 0, too_many: false };
        let mut count = 0;
        while count < max {
            count += 1;
            let (bytes, is_delete) = (rest.as_bytes(), rest.starts_with('-'));
            let end = if bytes.first() == Some(&b'"') {
                let end = 1 + bytes[1..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
                if bytes[end] != b'"' {
                    return None;
                }
                reader.add_text::<serde::de::value::Error>(&rest[1..end]).ok()?;
                end + 1
            } else {
                let start = usize::from(is_delete);
                let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                // Longer ones may be too large, and what begins with 0 is 0 or no number.
                if !(1..=9).contains(&digits) || bytes[start] == b'0' {
                    return None;
                }
                let number = |value: u32, byte: &u8| value * 10 + u32::from(byte - b'0');
                let value = bytes[start..start + digits].iter().fold(0, number);
                let component = if is_delete { Component::Delete(value) } else { Component::Retain(value) };
                reader.add::<serde::de::value::Error>(component).ok()?;
                start + digits
            };
            rest = &rest[end..];
            if rest.is_empty() {
                return Some(());
            }
            rest = rest.strip_prefix(',')?;
        }
        None
    }
}

/// Reads the components of one operation into it.
struct Reader<'a> {
    operation: &'a mut Operation,
    max: usize,
    base: u32,
    out: u32,
    too_many: bool,
}

impl Reader<'_> {
    fn number<E: Error>(&mut self, value: u64, component: fn(u32) -> Component) -> Result<(), E> {
        let n = u32::try_from(value).map_err(|_| E::custom("a length is beyond 2^32-1"))?;
        self.add(component(n))
    }

    fn add_text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let len = u32::try_from(self.operation.unit.len(text)).map_err(|_| E::custom("a text is too long"))?;
        self.add(Component::Insert(len))?;
        self.operation.text.push_str(text);
        Ok(())
    }

    fn add<E: Error>(&mut self, component: Component) -> Result<(), E> {
        let (base, out) = match component {
            Component::Retain(n) => (n, n),
            Component::Insert(n) => (0, n),
            Component::Delete(n) => (n, 0),
        };
        let sums = (self.base.checked_add(base), self.out.checked_add(out));
        let (Some(base), Some(out)) = sums else {
            return Err(E::custom("the lengths add up to more than 2^32-1"));
        };
        (self.base, self.out) = (base, out);
        push(&mut self.operation.components, component);
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of whole numbers and strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut count = 0;
        while items.next_element_seed(Item(self))?.is_some() {
            count += 1;
            if count > self.max {
                self.too_many = true;
                return Err(A::Error::custom("too many components"));
            }
        }
        Ok(())
    }
}

/// One component of the list; a type of its own, so that a list within the list is refused.
struct Item<'a, 'b>(&'a mut Reader<'b>);

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or a string")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.number(value, Component::Retain)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        // The parser hands over as i64 only what is negative.
        self.0.number(value.unsigned_abs(), Component::Delete)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.add_text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_nearly_always_is_read_without_the_json_library() {
        let plain = |json: &str, max| {
            let mut operation = Operation::default();
            operation.read_plain(json, max).map(|()| operation.to_json())
        };
        for json in ["[5,\"text\",-3]", "[\"é😀\u{7f}\"]", "[\"\"]", "[999999999,-999999999,\"],[\"]", "[1,2,-3,-4]"]
        {
            // Without white space both ways read the same; with it only the library reads it.
            assert_eq!(plain(json, 5), Some(parse_all(&json.replacen('[', "[ ", 1))), "{json}");
        }
        for json in ["[]", "[ 1]", "[1,]", "[,1]", "[1 ]", "[0]", "[01]", "[-0]", "[1.0]", "[1e2]", "[--1]", "[1", "1]"]
        {
            assert_eq!(plain(json, 5), None, "{json}");
        }
        for json in
            ["[\"\\n\"]", "[\"a\nb\"]", "[\"a]", "[a]", "[1000000000]", "[[1]]", "[1][1]", "[-]", "[\"a\"b]", "["]
        {
            assert_eq!(plain(json, 5), None, "{json}");
        }
        assert_eq!((plain("[1,\"a\",1]", 3).is_some(), plain("[1,\"a\",1]", 2)), (true, None));
    }

    /// The operation as the JSON library reads it, before a retain at the end is dropped.
    fn parse_all(json: &str) -> String {
        let mut operation = Operation::default();
        let mut reader = Reader { operation: &mut operation, max: 10, base: 0, out: 0, too_many: false };
        serde_json::Deserializer::from_str(json).deserialize_seq(&mut reader).unwrap();
        operation.to_json()
    }
}
