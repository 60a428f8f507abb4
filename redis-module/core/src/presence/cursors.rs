//! Where people point. Known to the primary alone, never stored: who reconnects tells again.

use super::Presence;
use crate::bounds::Bounds;
use crate::cursor::CURSOR_MS;
use crate::json;
use crate::refusal::{Code, Refusal};
use std::collections::{BTreeMap, VecDeque};

/// Cursors of one room: more nobody can look at.
pub const CURSORS_MAX: usize = 1_000;
/// Cursors that one announcement tells; the others follow a tick later.
pub const CURSORS_TOLD_MAX: usize = 500;
/// Bytes of cursors that one announcement tells: a frame stays below 1 MiB whatever `presence-bytes-max` is.
const CURSORS_TOLD_BYTES_MAX: usize = 768 * 1024;

#[derive(Debug, Clone)]
struct Cursor {
    user: Box<str>,
    /// None: it ended, and listeners have to hear that, also of one that was never announced: lists show it at once.
    value: Option<Box<str>>,
    ends_ms: u64,
    /// Whether it stands in the queue.
    waits: bool,
}

impl Cursor {
    /// Ends it. Says whether it was shown.
    fn end(&mut self, connection: &str, queue: &mut VecDeque<Box<str>>) -> bool {
        let was_shown = self.value.take().is_some();
        if was_shown {
            self.tell_later(connection, queue);
        }
        was_shown
    }

    fn tell_later(&mut self, connection: &str, queue: &mut VecDeque<Box<str>>) {
        if !std::mem::replace(&mut self.waits, true) {
            queue.push_back(connection.into());
        }
    }
}

/// The cursors of one room.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursors {
    known: BTreeMap<Box<str>, Cursor>,
    /// How many of those have a value.
    shown: usize,
    /// Connections whose cursor changed since it was told, the first change first.
    queue: VecDeque<Box<str>>,
    /// No cursor ends earlier.
    next_end_ms: Option<u64>,
}

impl Cursors {
    fn set(&mut self, connection: &str, user: &str, value: String, ends_ms: u64) {
        self.next_end_ms = Some(self.next_end_ms.map_or(ends_ms, |known| known.min(ends_ms)));
        let cursor = self.known.entry(connection.into()).or_insert_with(|| Cursor {
            user: user.into(),
            value: None,
            ends_ms,
            waits: false,
        });
        self.shown += usize::from(cursor.value.is_none());
        (cursor.value, cursor.ends_ms) = (Some(value.into()), ends_ms);
        if *cursor.user != *user {
            cursor.user = user.into();
        }
        cursor.tell_later(connection, &mut self.queue);
    }

    /// Ends the cursors of which `ends` says so.
    fn end(&mut self, mut ends: impl FnMut(&str, &Cursor) -> bool) {
        let Cursors { known, shown, queue, .. } = self;
        for (connection, cursor) in known {
            if ends(connection, cursor) {
                *shown -= usize::from(cursor.end(connection, queue));
            }
        }
    }

    fn end_one(&mut self, connection: &str) {
        if let Some(cursor) = self.known.get_mut(connection) {
            self.shown -= usize::from(cursor.end(connection, &mut self.queue));
        }
    }

    pub(super) fn end_all(&mut self) {
        self.end(|_, _| true);
    }

    /// Ends those that nobody told of for too long.
    pub(super) fn end_old(&mut self, now_ms: u64) {
        if self.next_end_ms.is_none_or(|next| next > now_ms) {
            return;
        }
        self.end(|_, cursor| cursor.ends_ms <= now_ms);
        self.next_end_ms = self.known.values().filter(|c| c.value.is_some()).map(|c| c.ends_ms).min();
    }

    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.next_end_ms
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn has_news(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn to_json(&self) -> Vec<String> {
        let shown =
            self.known.iter().filter_map(|(connection, cursor)| Some((connection, cursor, cursor.value.as_ref()?)));
        let json = shown.map(|(connection, cursor, value)| {
            let mut out = String::with_capacity(value.len() + 96);
            push_cursor(&mut out, connection, &cursor.user, value);
            out
        });
        json.collect()
    }

    /// Takes what changed out of the queue, as much as one frame tells: the cursors and those that are gone, as JSON.
    fn take(&mut self) -> (String, String) {
        let (mut shown, mut gone) = (String::new(), String::new());
        for _ in 0..CURSORS_TOLD_MAX {
            if shown.len() + gone.len() > CURSORS_TOLD_BYTES_MAX {
                break;
            }
            let Some(connection) = self.queue.pop_front() else { break };
            let Some(cursor) = self.known.get_mut(&connection) else { continue };
            cursor.waits = false;
            let list = if cursor.value.is_some() { &mut shown } else { &mut gone };
            list.push_str(if list.is_empty() { "" } else { "," });
            if let Some(value) = &cursor.value {
                push_cursor(list, &connection, &cursor.user, value);
            } else {
                json::push_quoted(list, &connection);
                self.known.remove(&connection);
            }
        }
        (shown, gone)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let texts = self.known.iter().map(|(id, cursor)| {
            id.len()
                + cursor.user.len()
                + cursor.value.as_ref().map_or(0, |value| value.len())
                + size_of::<Cursor>()
                + 64
        });
        texts.sum()
    }
}

impl Presence {
    /// Remembers where a connection points, or with `null` that it does not. Answers how many cursors are shown.
    ///
    /// Of who is invisible nothing is remembered. Refuses with `NOT_FOUND` a connection that is not listed, with `FULL`
    /// more cursors than the bound, with `INVALID_JSON` or `TOO_LARGE` what is no cursor.
    pub fn point(&mut self, connection: &str, cursor: &[u8], now_ms: u64, bounds: &Bounds) -> Result<usize, Refusal> {
        let cursor = json::checked("the cursor", cursor, bounds.presence_bytes_max)?;
        let user = self.known(connection)?.user.clone();
        if cursor == "null" {
            self.cursors.end_one(connection);
        } else if self.people.is_visible(&user) {
            if self.cursors.known.len() >= CURSORS_MAX && !self.cursors.known.contains_key(connection) {
                return Err(Refusal::new(Code::Full, format!("the room has {CURSORS_MAX} cursors, its bound")));
            }
            self.cursors.set(connection, &user, cursor, now_ms.saturating_add(CURSOR_MS));
        }
        Ok(self.cursors.shown)
    }

    /// The announcement of the cursors that changed since the last one, as many as fit; `None` if there are none.
    pub fn announce_cursors(&mut self, room: &str) -> Option<String> {
        let (shown, gone) = self.cursors.take();
        if shown.is_empty() && gone.is_empty() {
            return None;
        }
        let mut frame = String::with_capacity(shown.len() + gone.len() + room.len() + 80);
        frame.push_str("{\"event\":\"presence.cursors\",\"room\":");
        json::push_quoted(&mut frame, room);
        frame.push_str(",\"cursors\":[");
        frame.push_str(&shown);
        frame.push_str("],\"gone\":[");
        frame.push_str(&gone);
        frame.push_str("]}");
        Some(frame)
    }

    /// Ends the cursors of connections that are not here, and of people whom nobody sees.
    pub(super) fn end_cursors_of_the_gone(&mut self, user: Option<&str>) {
        if self.cursors.is_empty() {
            return;
        }
        let people = &self.people;
        let is_meant = |cursor: &Cursor| user.is_none_or(|user| *user == *cursor.user);
        self.cursors.end(|connection, cursor| {
            is_meant(cursor) && (people.connection(connection).is_none() || !people.is_visible(&cursor.user))
        });
    }
}

fn push_cursor(out: &mut String, connection: &str, user: &str, value: &str) {
    out.push_str("{\"connection\":");
    json::push_quoted(out, connection);
    out.push_str(",\"user\":");
    json::push_quoted(out, user);
    out.push_str(",\"cursor\":");
    out.push_str(value);
    out.push('}');
}
