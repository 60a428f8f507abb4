//! What may be said: the checks of bodies, types, mentions and reactions.

use super::message::TEXT;
use crate::bounds::{Bounds, MENTIONS_MAX, META_BYTES_MAX, REACTION_BYTES_MAX};
use crate::identity::check_id;
use crate::json;
use crate::refusal::{Code, Refusal};
use std::borrow::Cow;

/// Longest name of a message type, in bytes.
const TYPE_BYTES_MAX: usize = 32;

pub(super) fn check_kind(kind: &str) -> Result<(), Refusal> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    if kind.is_empty() || kind.len() > TYPE_BYTES_MAX || !kind.bytes().all(fine) {
        return Err(Refusal::argument(format!("a type has 1 to {TYPE_BYTES_MAX} of a-z 0-9 _ - .")));
    }
    Ok(())
}

/// A body is an object or a string. What is of type `text` has to say something, and as a string loses the blanks
/// around it.
pub(super) fn checked_body(kind: &str, body: &[u8], bounds: &Bounds) -> Result<String, Refusal> {
    let body = json::checked("the body", body, bounds.message_bytes_max)?;
    if !body.starts_with(['{', '"']) {
        return Err(Refusal::new(Code::InvalidJson, "the body has to be a JSON object or string"));
    }
    if kind != TEXT {
        return Ok(body);
    }
    let text = text_of(&body).ok_or_else(blank)?;
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(blank());
    }
    if trimmed.len() == text.len() || body.starts_with('{') {
        return Ok(body);
    }
    Ok(json::quoted(trimmed))
}

fn blank() -> Refusal {
    Refusal::argument("a message of type text needs a text that is not blank")
}

/// The text of a checked body: the string itself, or the object's `text`.
fn text_of(body: &str) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }
    if body.starts_with('{') {
        return match only_text(body) {
            Some(text) => Some(Cow::Borrowed(text)),
            None => serde_json::from_str::<Object<'_>>(body).ok().map(|object| object.text),
        };
    }
    if !body.contains('\\') {
        return Some(Cow::Borrowed(&body[1..body.len() - 1]));
    }
    serde_json::from_str(body).ok().map(Cow::Owned)
}

/// The text of an object that has nothing else and needs no escapes: nearly all are so, and then it needs no reading.
fn only_text(body: &str) -> Option<&str> {
    let text = body.strip_prefix("{\"text\":\"")?.strip_suffix("\"}")?;
    let has = |byte: u8| text.as_bytes().contains(&byte);
    (!has(b'"') && !has(b'\\')).then_some(text)
}

/// What a streamed message begins with: a string, which may be empty.
pub(super) fn checked_beginning(body: &[u8], bounds: &Bounds) -> Result<String, Refusal> {
    let body = json::checked("the body", body, bounds.message_bytes_max)?;
    serde_json::from_str(&body)
        .map_err(|_| Refusal::new(Code::InvalidJson, "the body of a streamed message has to be a JSON string"))
}

pub(super) fn checked_meta(meta: Option<&[u8]>) -> Result<String, Refusal> {
    let Some(meta) = meta else { return Ok(String::new()) };
    let meta = json::checked("the meta", meta, META_BYTES_MAX)?;
    if !meta.starts_with('{') {
        return Err(Refusal::new(Code::InvalidJson, "the meta has to be a JSON object"));
    }
    Ok(meta)
}

/// Whom a message names, each once, in order.
pub(super) fn checked_mentions<'a>(mentions: &[&'a str]) -> Result<Vec<&'a str>, Refusal> {
    if mentions.len() > MENTIONS_MAX {
        let message = format!("a message names at most {MENTIONS_MAX} users, `*` names everybody");
        return Err(Refusal::new(Code::TooLarge, message));
    }
    let mut checked: Vec<&str> = Vec::with_capacity(mentions.len());
    for name in mentions {
        check_id("a mention", name, false)?;
        if !checked.contains(name) {
            checked.push(name);
        }
    }
    Ok(checked)
}

pub(super) fn check_reaction(reaction: &str) -> Result<(), Refusal> {
    let fits = (1..=REACTION_BYTES_MAX).contains(&reaction.len()) && !reaction.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(Refusal::argument(format!("a reaction has 1 to {REACTION_BYTES_MAX} bytes and no control characters")))
}
