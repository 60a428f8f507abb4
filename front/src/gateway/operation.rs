//! Operations on texts: those of one place and one kind that many editors send, and those of Stoa.

use serde_json::{Value, json};

/// Positions and lengths that numbers of JavaScript hold exactly.
const COUNT_MAX: u64 = 1 << 53;

/// What a client of Socket.IO sends as an operation.
#[derive(Debug, PartialEq)]
pub(super) enum Sent {
    /// For `doc.submit`.
    Edit(Value),
    /// Nothing changes.
    Retain,
}

/// Reads `{type, position, content?, length?}`, or an operation of Stoa.
pub(super) fn read(operation: &Value) -> Result<Sent, &'static str> {
    if operation.is_array() {
        // The module says what is wrong with it.
        return Ok(Sent::Edit(operation.clone()));
    }
    let count = |name: &str| operation[name].as_u64().filter(|count| *count < COUNT_MAX);
    let at = count("position");
    let missing = "operation.position: a non-negative integer is missing";
    let edit = match operation["type"].as_str() {
        Some("retain") => return Ok(Sent::Retain),
        Some("insert") => {
            let content = operation["content"].as_str().ok_or("operation.content: a text is missing")?;
            if content.is_empty() {
                return Ok(Sent::Retain);
            }
            json!(content)
        }
        Some("delete") => match count("length") {
            Some(0) => return Ok(Sent::Retain),
            Some(length) => json!(-(length as i64)),
            None => return Err("operation.length: a non-negative integer is missing"),
        },
        _ => return Err("operation.type: insert, delete or retain; or an operation like [5,\"text\",-3]"),
    };
    Ok(Sent::Edit(match at.ok_or(missing)? {
        0 => json!([edit]),
        at => json!([at, edit]),
    }))
}

/// An operation of Stoa as simple ones: each position is right once those before it have been applied.
pub(super) fn simple(operation: &Value) -> Vec<Value> {
    let mut position = 0_u64;
    let mut parts = Vec::new();
    for component in operation.as_array().into_iter().flatten() {
        if let Some(text) = component.as_str() {
            parts.push(json!({"type": "insert", "position": position, "content": text}));
            position += text.encode_utf16().count() as u64;
        } else if let Some(kept) = component.as_u64() {
            position += kept;
        } else if let Some(deleted) = component.as_i64() {
            parts.push(json!({"type": "delete", "position": position, "length": deleted.unsigned_abs()}));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_operations_become_those_of_stoa() {
        for (sent, operation) in [
            (json!({"type": "insert", "position": 0, "content": "a"}), json!(["a"])),
            (json!({"type": "insert", "position": 5, "content": "ä😀"}), json!([5, "ä😀"])),
            (json!({"type": "delete", "position": 5, "length": 3}), json!([5, -3])),
            (json!([5, "x", -3]), json!([5, "x", -3])),
        ] {
            assert_eq!(read(&sent), Ok(Sent::Edit(operation)), "{sent}");
        }
        for nothing in [
            json!({"type": "retain", "position": 3, "length": 2}),
            json!({"type": "insert", "position": 3, "content": ""}),
            json!({"type": "delete", "position": 3, "length": 0}),
        ] {
            assert_eq!(read(&nothing), Ok(Sent::Retain), "{nothing}");
        }
        for bad in [
            json!(null),
            json!("x"),
            json!({}),
            json!({"type": "replace", "position": 0}),
            json!({"type": "insert", "position": -1, "content": "a"}),
            json!({"type": "insert", "position": 1.5, "content": "a"}),
            json!({"type": "insert", "position": 1_u64 << 60, "content": "a"}),
            json!({"type": "insert", "position": 0, "content": 7}),
            json!({"type": "delete", "position": 0}),
            json!({"type": "delete", "position": 0, "length": -1}),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    /// What a naive editor does.
    fn apply(text: &str, part: &Value) -> String {
        let units: Vec<u16> = text.encode_utf16().collect();
        let at = part["position"].as_u64().unwrap() as usize;
        let (before, behind) = units.split_at(at);
        let gone = part["length"].as_u64().unwrap_or(0) as usize;
        let put: Vec<u16> = part["content"].as_str().unwrap_or("").encode_utf16().collect();
        String::from_utf16(&[before, &put, &behind[gone..]].concat()).unwrap()
    }

    #[test]
    fn the_parts_of_an_operation_applied_one_after_the_other_are_the_operation() {
        let parts = simple(&json!([1, "😀x", 1, -2, "y", 1, -1]));
        assert_eq!(parts.len(), 4);
        let text = parts.iter().fold("abcdefg".to_owned(), |text, part| apply(&text, part));
        assert_eq!(text, "a😀xbyeg");
        assert_eq!(simple(&json!([5])), Vec::<Value>::new());
    }
}
