//! A whole document as bytes, for snapshots and rewrites. Equal documents have equal bytes.
//!
//! Only what cannot be worked out is stored: lengths before each operation follow from the text at the head, walking
//! back. Reading takes nothing on trust, since later calls rely on it.

use super::history::{History, Record};
use super::{Document, DocumentType, LineEnds, REVISION_MAX, Tag, words};
use crate::codec::{self, Damaged};
use crate::epoch::Epochs;
use crate::identity::{Writers, check_id};
use crate::names::check_name;
use crate::op::{Component, Unit};
use crate::text::{Place, TEXT_BYTES_MAX, Text, measure};
use bincode::{Decode, Encode};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Leads every stored document.
const VERSION: u8 = 1;

#[derive(Encode, Decode)]
struct Stored<'a, E, W> {
    kind: u8,
    line_ends: u8,
    rev: u64,
    epochs: E,
    writers: W,
    /// (user, client), in the order of their first operation.
    authors: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The newest operations, oldest first; the last one created `rev`.
    operations: Vec<StoredOperation<'a>>,
    content: Cow<'a, str>,
    /// (revision, the one that it takes back)
    undoes: Vec<(u64, u64)>,
    /// (name, revision, when it was set, text)
    tags: Vec<(Cow<'a, str>, u64, u64, Cow<'a, str>)>,
}

#[derive(Encode, Decode)]
struct StoredOperation<'a> {
    author: u32,
    seq: u64,
    /// Since the operation before it.
    ms: i64,
    words: Vec<u32>,
    inserted: Cow<'a, str>,
    deleted: Cow<'a, str>,
}

impl Document {
    /// The whole document as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut authors = Vec::new();
        let mut numbers: HashMap<(&str, &str), u32> = HashMap::new();
        let mut operations = Vec::with_capacity(self.history.len());
        let mut before_ms = 0;
        for accepted in (self.history.first()..=self.rev).filter_map(|rev| self.history.get(rev)) {
            let record = accepted.record;
            let author = *numbers.entry((record.user, record.client)).or_insert_with(|| {
                authors.push((Cow::Borrowed(record.user), Cow::Borrowed(record.client)));
                (authors.len() - 1) as u32
            });
            operations.push(StoredOperation {
                author,
                seq: record.seq,
                ms: record.at_ms.wrapping_sub(before_ms) as i64,
                words: record.words.to_vec(),
                inserted: Cow::Borrowed(record.inserted),
                deleted: Cow::Borrowed(record.deleted),
            });
            before_ms = record.at_ms;
        }
        let stored = Stored {
            kind: match self.kind {
                DocumentType::Text => 0,
            },
            line_ends: match self.line_ends {
                LineEnds::Lf => 0,
                LineEnds::Any => 1,
            },
            rev: self.rev,
            epochs: &self.epochs,
            writers: &self.writers,
            authors,
            operations,
            content: Cow::Owned(self.content()),
            undoes: self.undoes.iter().map(|(rev, target)| (*rev, *target)).collect(),
            tags: self
                .tags
                .iter()
                .map(|(name, t)| (Cow::Borrowed(&**name), t.rev, t.at_ms, Cow::Borrowed(&*t.content)))
                .collect(),
        };
        codec::encode(&(VERSION, &stored))
    }

    /// Reads what [`Document::encode`] wrote; anything else is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let stored: Stored<'static, Epochs, Writers> = match bytes.split_first() {
            Some((&VERSION, rest)) => codec::decode_all(rest)?,
            version => {
                let version = version.map(|v| v.0);
                return Err(Damaged(format!("document version {version:?}, this build reads {VERSION}")));
            }
        };
        let kind = match stored.kind {
            0 => DocumentType::Text,
            kind => return Err(Damaged(format!("document type {kind}"))),
        };
        let line_ends = match stored.line_ends {
            0 => LineEnds::Lf,
            1 => LineEnds::Any,
            ends => return Err(Damaged(format!("line ends {ends}"))),
        };
        let text = Text::new(&stored.content).ok_or_else(|| Damaged("the text is too long".into()))?;
        let history = read_history(&stored, text.len())?;
        let Stored { rev, epochs, writers, undoes, tags, .. } = stored;
        let undoes = undoes.into_iter().collect::<BTreeMap<_, _>>();
        if undoes.iter().any(|(at, target)| *at > rev || *at < history.first() || target >= at) {
            return Err(Damaged("an operation takes back one that it cannot know".into()));
        }
        let tags = read_tags(tags, rev)?;
        let cursors = Default::default();
        Ok(Document { kind, line_ends, text, rev, epochs, writers, history, undoes, tags, cursors })
    }
}

fn read_tags(
    stored: Vec<(Cow<'_, str>, u64, u64, Cow<'_, str>)>,
    head: u64,
) -> Result<BTreeMap<Box<str>, Tag>, Damaged> {
    let mut tags = BTreeMap::new();
    for (name, rev, at_ms, content) in stored {
        check_name("tag", &name).map_err(|e| Damaged(e.to_string()))?;
        if rev > head || content.len() > TEXT_BYTES_MAX {
            return Err(Damaged("a tag that does not fit its document".into()));
        }
        tags.insert(name.into(), Tag { rev, at_ms, content: content.into() });
    }
    Ok(tags)
}

fn read_history<E, W>(stored: &Stored<'_, E, W>, head: Place) -> Result<History, Damaged> {
    let broken = |what: &str| Damaged(format!("the history {what}"));
    let first = (stored.rev.checked_sub(stored.operations.len() as u64)).ok_or_else(|| broken("is too long"))?;
    if stored.rev > REVISION_MAX {
        return Err(broken("counts too far"));
    }
    for (user, client) in &stored.authors {
        check_id("user", user, true).and(check_id("client", client, true)).map_err(|e| Damaged(e.to_string()))?;
    }
    let bases = read_bases(&stored.operations, head)?;
    let mut history = History::new(first + 1);
    let mut at_ms = 0u64;
    for (operation, base) in stored.operations.iter().zip(bases) {
        let author = stored.authors.get(operation.author as usize);
        let (user, client) = author.ok_or_else(|| broken("names an unknown author"))?;
        if client.is_empty() != (operation.seq == 0) {
            return Err(broken("holds half an identity"));
        }
        at_ms = at_ms.wrapping_add(operation.ms as u64);
        history.append(&Record {
            words: &operation.words,
            inserted: &operation.inserted,
            deleted: &operation.deleted,
            base,
            user,
            client,
            seq: operation.seq,
            at_ms,
        });
    }
    Ok(history)
}

/// The length of the text before each operation, from the length that the last one led to.
fn read_bases(operations: &[StoredOperation<'_>], head: Place) -> Result<Vec<Place>, Damaged> {
    let mut bases = vec![Place::default(); operations.len()];
    let mut after = head;
    for (operation, base) in operations.iter().zip(&mut bases).rev() {
        *base = base_of(operation, after).ok_or_else(|| Damaged("an operation does not fit its text".into()))?;
        after = *base;
    }
    Ok(bases)
}

/// The length of the text before an operation that led to the length `after`.
fn base_of(operation: &StoredOperation<'_>, after: Place) -> Option<Place> {
    if !words::are_normal(&operation.words) {
        return None;
    }
    let (mut inserted, mut deleted) = (operation.inserted.as_ref(), operation.deleted.as_ref());
    let (mut added, mut removed, mut retained) = (Place::default(), Place::default(), Place::default());
    for (component, chars) in words::both(&operation.words) {
        let len = Place { utf16: component.len(), chars };
        let (sum, text) = match component {
            Component::Retain(_) => {
                retained = plus(retained, len)?;
                continue;
            }
            Component::Insert(_) => (&mut added, &mut inserted),
            Component::Delete(_) => (&mut removed, &mut deleted),
        };
        let (head, tail) = Unit::Utf16.split(text, len.utf16)?;
        if measure(head) != len {
            return None;
        }
        (*sum, *text) = (plus(*sum, len)?, tail);
    }
    let reach = plus(retained, removed)?;
    let base = plus(minus(after, added)?, removed)?;
    let fits = reach.utf16 <= base.utf16 && reach.chars <= base.chars && base.chars <= base.utf16;
    let short = base.utf16 as usize <= TEXT_BYTES_MAX;
    (inserted.is_empty() && deleted.is_empty() && fits && short).then_some(base)
}

fn plus(a: Place, b: Place) -> Option<Place> {
    Some(Place { utf16: a.utf16.checked_add(b.utf16)?, chars: a.chars.checked_add(b.chars)? })
}

fn minus(a: Place, b: Place) -> Option<Place> {
    Some(Place { utf16: a.utf16.checked_sub(b.utf16)?, chars: a.chars.checked_sub(b.chars)? })
}
