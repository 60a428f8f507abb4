//! JSON that people store, and JSON that the module writes.
//!
//! What arrives is checked and loses only the white space between its tokens (a frame must be one line); it is
//! never rewritten otherwise, so what is delivered is what was sent.

use crate::bounds::JSON_DEPTH_MAX;
use crate::refusal::{Code, Refusal};
use serde::de::DeserializeSeed;

/// Checks that `text` is one JSON value within the bounds and returns it without the white space between tokens.
///
/// Refuses with `TOO_LARGE` beyond `bytes_max`, with `INVALID_JSON` what is not JSON or nests too deeply.
pub fn checked(what: &str, text: &[u8], bytes_max: usize) -> Result<String, Refusal> {
    if text.len() > bytes_max {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("{what} has {} bytes, at most {bytes_max} are allowed", text.len()),
        ));
    }
    let invalid = |why: String| Refusal::new(Code::InvalidJson, format!("{what} is not JSON: {why}"));
    let text = std::str::from_utf8(text).map_err(|e| invalid(e.to_string()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    // A string with a lone surrogate escape passes IgnoredAny, and would reach people who cannot read it.
    let is_json = NoLoneSurrogates { depth: 0 }.deserialize(&mut reader).and_then(|()| reader.end());
    is_json.map_err(|e| invalid(e.to_string()))?;
    Ok(compact(text))
}

/// Drops the white space between the tokens of valid JSON.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped, mut from) = (false, false, 0);
    // Byte by byte: all that matters is ASCII, which is never a part of another character.
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte <= b' ' {
            out.push_str(&text[from..at]);
            from = at + 1;
        } else {
            in_string = byte == b'"';
        }
    }
    out.push_str(&text[from..]);
    out
}

/// Visits every value, so that each string is decoded and its escapes are checked, and builds nothing. Refuses what
/// nests too deeply.
#[derive(Clone, Copy)]
struct NoLoneSurrogates {
    depth: usize,
}

impl NoLoneSurrogates {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(E::custom(format!("it nests deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(NoLoneSurrogates { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for NoLoneSurrogates {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for NoLoneSurrogates {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while fields.next_key::<Key>()?.is_some() {
            fields.next_value_seed(inside)?;
        }
        Ok(())
    }
}

/// A key that means nothing to the library: where it builds trees, it takes some keys for values of its own.
struct Key;

/// What those keys begin with.
const LIBRARY_KEYS: &str = "$serde_json::private::";

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Key)
    }
}

impl serde::de::Visitor<'_> for Key {
    type Value = Key;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self, E> {
        if key.starts_with(LIBRARY_KEYS) {
            return Err(E::custom("a key must not begin with `$serde_json::private::`"));
        }
        Ok(self)
    }
}

/// Appends `text` as a JSON string.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    // Nearly no text has anything to escape; a look without a branch per byte is made for many bytes at once.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if is_plain {
        out.push_str(text)
    } else {
        push_escaped(out, text)
    }
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
}

/// The numbers from 00 to 99, one after the other.
const PAIRS: &str = {
    const DIGITS: [u8; 200] = {
        let (mut digits, mut at) = ([0; 200], 0);
        while at < 100 {
            digits[2 * at] = b'0' + (at / 10) as u8;
            digits[2 * at + 1] = b'0' + (at % 10) as u8;
            at += 1;
        }
        digits
    };
    match std::str::from_utf8(&DIGITS) {
        Ok(digits) => digits,
        Err(_) => "",
    }
};

/// Appends a number: the formatting machinery of the standard library costs more than the rest of a frame.
pub fn push_number(out: &mut String, number: u64) {
    let pair = |number: u64| &PAIRS[2 * number as usize..][..2];
    match number {
        0..10 => out.push((b'0' + number as u8) as char),
        10..100 => out.push_str(pair(number)),
        _ => {
            push_number(out, number / 100);
            out.push_str(pair(number % 100));
        }
    }
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Applies an RFC 7396 merge patch to an object; a patch or a target that is no object is refused.
pub fn merge_patch(target: &str, patch: &str) -> Result<String, Refusal> {
    let broken = |what: &str| Refusal::new(Code::InvalidJson, format!("{what} has to be a JSON object"));
    let mut target: serde_json::Value = serde_json::from_str(target).map_err(|_| broken("the stored data"))?;
    let patch: serde_json::Value = serde_json::from_str(patch).map_err(|_| broken("the patch"))?;
    if !patch.is_object() {
        return Err(broken("the patch"));
    }
    merge(&mut target, patch);
    Ok(target.to_string())
}

/// RFC 7396 section 2, word for word.
fn merge(target: &mut serde_json::Value, patch: serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = serde_json::Value::Object(Default::default());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(serde_json::Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<String, Code> {
        checked("body", text.as_bytes(), 1024).map_err(|r| r.code)
    }

    #[test]
    fn what_was_sent_is_kept_apart_from_white_space() {
        assert_eq!(
            check("{ \"b\" : [1.50, 12345678901234567890, \"a\\n b\"],\n \"a\": null }").as_deref(),
            Ok("{\"b\":[1.50,12345678901234567890,\"a\\n b\"],\"a\":null}")
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in [
            "",
            "{",
            "1 2",
            "nul",
            "\"\\ud800\"",
            "{\"a\":\"\\udc00x\"}",
            "[1,]",
            "\"a\nb\"",
            "tr ue",
            "{} {}",
            "\u{feff}1",
        ] {
            assert_eq!(check(bad), Err(Code::InvalidJson), "{bad}");
        }
        assert_eq!(check(&"[".repeat(500)), Err(Code::InvalidJson));
        assert_eq!(check(&format!("\"{}\"", "x".repeat(2000))), Err(Code::TooLarge));
        assert_eq!(checked("body", b"\"\xff\"", 10).unwrap_err().code, Code::InvalidJson);
    }

    #[test]
    fn a_key_that_the_library_takes_for_its_own_is_refused() {
        for bad in ["{\"$serde_json::private::RawValue\":42}", "{\"a\":{\"\\u0024serde_json::private::Number\":\"1\"}}"]
        {
            assert_eq!(check(bad), Err(Code::InvalidJson), "{bad}");
        }
        assert!(check("{\"$serde_json\":1}").is_ok());
    }

    #[test]
    fn quoting_round_trips() {
        for text in ["", "a\"b\\c", "\u{0}\u{1f}\n\r\t", "<script>\u{2028}", "👩‍👩‍👧 né"] {
            assert_eq!(serde_json::from_str::<String>(&quoted(text)).unwrap(), text);
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 12345, 99_999_999, 100_000_000, u64::MAX] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }

    #[test]
    fn a_merge_patch_sets_removes_and_nests() {
        let merged =
            merge_patch("{\"a\":1,\"b\":{\"c\":2,\"d\":3}}", "{\"a\":null,\"b\":{\"c\":9},\"e\":[1]}").unwrap();
        assert_eq!(merged, "{\"b\":{\"c\":9,\"d\":3},\"e\":[1]}");
        assert!(merge_patch("{}", "3").is_err());
    }
}
