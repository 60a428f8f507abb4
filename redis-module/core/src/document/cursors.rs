//! Where people are in a text. Known to the primary alone, never stored: who reconnects tells again.
//!
//! A cursor is kept with the revision that it was told at and moved when somebody asks, so an operation costs
//! nothing however many people look on.

use super::history::History;
use super::{Document, words};
use crate::bounds::Bounds;
use crate::cursor::{self, CURSOR_MS};
use crate::identity::check_id;
use crate::json;
use crate::refusal::{Code, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// Cursors of one document: more nobody can look at.
const CURSORS_MAX: usize = 1_000;

#[derive(Debug, Clone)]
struct Cursor {
    user: Box<str>,
    rev: u64,
    anchor: u32,
    head: u32,
    data: Box<str>,
    ends_ms: u64,
}

/// The cursors of one document.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursors {
    known: BTreeMap<Box<str>, Cursor>,
    /// No cursor was told at an earlier revision.
    oldest: u64,
    /// Connections whose cursor changed since the last announcement; those that are not known are gone.
    changed: BTreeSet<Box<str>>,
}

/// `{"anchor":5,"head":9,"data":{…}}`
#[derive(serde::Deserialize)]
struct Told<'a> {
    anchor: u32,
    head: u32,
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
}

impl Document {
    /// Remembers where a connection is, or with `null` that it is nowhere. Answers how many cursors are known.
    ///
    /// Refuses with `AHEAD`, `STALE` a revision that is not kept, with `DESYNC` positions beyond the text there,
    /// with `FULL` more cursors than the bound.
    pub fn set_cursor(
        &mut self,
        (connection, user): (&str, &str),
        rev: u64,
        told: &[u8],
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<usize, Refusal> {
        check_id("conn", connection, false)?;
        check_id("user", user, true)?;
        let told = json::checked("the cursor", told, bounds.presence_bytes_max)?;
        if told == "null" {
            if self.cursors.known.remove(connection).is_some() {
                self.cursors.changed.insert(connection.into());
            }
            return Ok(self.cursors.known.len());
        }
        let told: Told<'_> = serde_json::from_str(&told).map_err(|e| Refusal::argument(format!("the cursor: {e}")))?;
        if rev > self.rev {
            return Err(Refusal::new(Code::Ahead, format!("revision {rev} does not exist, the head is {}", self.rev)));
        }
        self.check_kept(rev)?;
        let len = self.len_at(rev).utf16;
        if told.anchor.max(told.head) > len {
            return Err(Refusal::new(Code::Desync, format!("the text at revision {rev} has length {len}")));
        }
        let data = told.data.map_or("", |data| data.get());
        if !data.is_empty() && !data.starts_with('{') {
            return Err(Refusal::argument("the cursor's data has to be a JSON object"));
        }
        if self.cursors.known.len() >= CURSORS_MAX && !self.cursors.known.contains_key(connection) {
            return Err(Refusal::new(Code::Full, format!("the document has {CURSORS_MAX} cursors, its bound")));
        }
        let (anchor, head, ends_ms) = (told.anchor, told.head, now_ms.saturating_add(CURSOR_MS));
        let cursor = Cursor { user: user.into(), rev, anchor, head, data: data.into(), ends_ms };
        let oldest = if self.cursors.known.is_empty() { rev } else { self.cursors.oldest.min(rev) };
        self.cursors.oldest = oldest;
        self.cursors.known.insert(connection.into(), cursor);
        self.cursors.changed.insert(connection.into());
        Ok(self.cursors.known.len())
    }

    /// Ends the cursors that nobody told of for too long.
    pub fn end_cursors(&mut self, now_ms: u64) {
        let changed = &mut self.cursors.changed;
        self.cursors.known.retain(|connection, cursor| {
            let stays = cursor.ends_ms > now_ms;
            if !stays {
                changed.insert(connection.clone());
            }
            stays
        });
    }

    /// When the next cursor ends, Unix time in milliseconds.
    pub fn next_cursor_end(&self) -> Option<u64> {
        self.cursors.known.values().map(|cursor| cursor.ends_ms).min()
    }

    /// Whether [`Document::announce_cursors`] has something to tell.
    pub fn has_cursor_news(&self) -> bool {
        !self.cursors.changed.is_empty()
    }

    /// How many cursors are known.
    pub fn cursor_count(&self) -> usize {
        self.cursors.known.len()
    }

    /// All cursors as JSON, in the text of now.
    pub fn cursors(&self) -> Vec<String> {
        self.cursors.known.iter().filter_map(|(connection, cursor)| self.cursor_json(connection, cursor)).collect()
    }

    /// The frame that tells what changed since the last one.
    pub fn announce_cursors(&mut self, room: &str, stream: &str) -> Option<String> {
        if self.cursors.changed.is_empty() {
            return None;
        }
        let (mut shown, mut gone) = (Vec::new(), Vec::new());
        for connection in std::mem::take(&mut self.cursors.changed) {
            let cursor = self.cursors.known.get(&connection);
            match cursor.and_then(|cursor| self.cursor_json(&connection, cursor)) {
                Some(json) => shown.push(json),
                None => gone.push(json::quoted(&connection)),
            }
        }
        Some(format!(
            "{{\"event\":\"doc.cursors\",\"room\":{},\"stream\":{},\"epoch\":\"{}\",\"rev\":{},\"cursors\":[{}],\"gone\":[{}]}}",
            json::quoted(room),
            json::quoted(stream),
            self.epoch(),
            self.rev,
            shown.join(","),
            gone.join(",")
        ))
    }

    /// A cursor moved to the text of now; `None` if its revision is no longer kept.
    fn cursor_json(&self, connection: &str, cursor: &Cursor) -> Option<String> {
        let (anchor, head) = moved(cursor, &self.history, self.rev)?;
        let mut out = String::with_capacity(96 + cursor.data.len());
        out.push_str("{\"connection\":");
        json::push_quoted(&mut out, connection);
        out.push_str(",\"user\":");
        json::push_quoted(&mut out, &cursor.user);
        out.push_str(",\"anchor\":");
        json::push_number(&mut out, u64::from(anchor));
        out.push_str(",\"head\":");
        json::push_number(&mut out, u64::from(head));
        if !cursor.data.is_empty() {
            out.push_str(",\"data\":");
            out.push_str(&cursor.data);
        }
        out.push('}');
        Some(out)
    }
}

/// Where a cursor stands at the head; `None` if not all that came since is kept.
fn moved(cursor: &Cursor, history: &History, head: u64) -> Option<(u32, u32)> {
    let operations = (cursor.rev + 1..=head).map(|rev| history.words(rev));
    operations.into_iter().try_fold((cursor.anchor, cursor.head), |(anchor, head), words| {
        Some(cursor::selection(anchor, head, words::utf16(words?)))
    })
}

impl Cursors {
    /// Moves the cursors to `head` that the operations before `first` still have to move, as those are about to go.
    pub(super) fn carry(&mut self, history: &History, first: u64, head: u64) {
        if self.known.is_empty() || self.oldest.saturating_add(1) >= first {
            return;
        }
        self.oldest = head;
        for cursor in self.known.values_mut() {
            if cursor.rev.saturating_add(1) < first
                && let Some((anchor, head_at)) = moved(cursor, history, head)
            {
                (cursor.rev, cursor.anchor, cursor.head) = (head, anchor, head_at);
            }
            self.oldest = self.oldest.min(cursor.rev);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let known = self.known.iter().map(|(id, c)| id.len() + c.user.len() + c.data.len() + size_of::<Cursor>() + 24);
        known.sum::<usize>() + self.changed.len() * 48
    }
}
