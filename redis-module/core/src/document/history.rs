//! The operations that are kept, packed: what transforms need stands together and is read as it lies.
//!
//! A segment holds up to 256 operations in three arrays. Its index has 8 bytes per operation, its words the
//! components (see [`super::words`]), its bytes the rest:
//!
//! ```text
//! | author slot * 2 + astral? | seq | at_ms - the segment's, zigzag | inserted bytes |   each as varint
//! | astral: UTF-16 units of the base less its code points, varint, only if flagged |
//! | inserted text | deleted text, up to the next operation |
//! ```
//! A full segment gives back what it reserved; the oldest one is dropped once all of its operations are trimmed.

use super::authors::Authors;
use super::varint;
use super::words;
use crate::op::{self, Component, Unit};
use crate::text::Place;
use std::collections::VecDeque;
use std::ops::Range;

/// Operations per segment: the slack that trimming leaves, and what is composed at once.
const SEGMENT_OPERATIONS: usize = 256;
/// A segment ends once its offsets would not fit 16 bits.
const SEGMENT_OFFSET_MAX: usize = u16::MAX as usize;
/// Operations that one submit drops because of their age.
const TRIMMED_BY_AGE_MAX: usize = 64;
/// What an operation costs beside its components and texts, in bytes.
const OVERHEAD_BYTES: usize = 16;

/// An operation on its way into the history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) words: &'a [u32],
    pub(super) inserted: &'a str,
    pub(super) deleted: &'a str,
    /// Length of the text before it.
    pub(super) base: Place,
    pub(super) user: &'a str,
    /// Empty if it came without an identity.
    pub(super) client: &'a str,
    pub(super) seq: u64,
    pub(super) at_ms: u64,
}

/// An operation of the history, with the revision that it created.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// The revision that it created.
    pub rev: u64,
    pub(super) record: Record<'a>,
}

impl<'a> Accepted<'a> {
    /// Its components in `unit`.
    pub fn components(&self, unit: Unit) -> Vec<Component> {
        match unit {
            Unit::Utf16 => words::utf16(self.record.words).collect(),
            Unit::Char => words::chars(self.record.words).collect(),
        }
    }
    /// Appends it as JSON in `unit`.
    pub fn push_json(&self, unit: Unit, out: &mut String) {
        push_json(self.record.words, self.record.inserted, unit, out);
    }
    /// The text that it inserted.
    pub fn inserted(&self) -> &'a str {
        self.record.inserted
    }
    /// The text that it deleted.
    pub fn deleted(&self) -> &'a str {
        self.record.deleted
    }
    /// Who wrote it; empty if nobody was named.
    pub fn user(&self) -> &'a str {
        self.record.user
    }
    /// The client id and sequence that it came with.
    pub fn identity(&self) -> Option<(&'a str, u64)> {
        (!self.record.client.is_empty()).then_some((self.record.client, self.record.seq))
    }
    /// When it was accepted, Unix time in milliseconds.
    pub fn at_ms(&self) -> u64 {
        self.record.at_ms
    }
    /// Length of the text before it.
    pub fn base(&self) -> Place {
        self.record.base
    }
}

fn push_json(words: &[u32], inserted: &str, unit: Unit, out: &mut String) {
    match unit {
        Unit::Utf16 => op::push_json(out, words::utf16(words), inserted, unit),
        Unit::Char => op::push_json(out, words::chars(words), inserted, unit),
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Length of the text before the operation, in UTF-16 units.
    base: u32,
    words: u16,
    bytes: u16,
}

#[derive(Debug, Clone, Default)]
struct Segment {
    first: u64,
    at_ms: u64,
    index: Vec<Entry>,
    words: Vec<u32>,
    bytes: Vec<u8>,
}

impl Segment {
    fn is_full(&self) -> bool {
        self.index.len() >= SEGMENT_OPERATIONS
            || self.words.len() > SEGMENT_OFFSET_MAX
            || self.bytes.len() > SEGMENT_OFFSET_MAX
    }

    fn end(&self) -> u64 {
        self.first + self.index.len() as u64
    }

    /// Gives back what is reserved and not used. The segment that comes next will be about as large.
    fn seal(&mut self) -> Segment {
        self.index.shrink_to_fit();
        self.words.shrink_to_fit();
        self.bytes.shrink_to_fit();
        Segment {
            index: Vec::with_capacity(self.index.len()),
            words: Vec::with_capacity(self.words.len().min(SEGMENT_OPERATIONS * 8)),
            bytes: Vec::with_capacity(self.bytes.len().min(SEGMENT_OPERATIONS * 32)),
            ..Segment::default()
        }
    }

    fn words(&self, at: usize) -> &[u32] {
        let start = self.index.get(at).map_or(self.words.len(), |entry| entry.words as usize);
        let end = self.index.get(at + 1).map_or(self.words.len(), |entry| entry.words as usize);
        self.words.get(start..end).unwrap_or_default()
    }

    fn bytes(&self, at: usize) -> &[u8] {
        let start = self.index.get(at).map_or(self.bytes.len(), |entry| entry.bytes as usize);
        let end = self.index.get(at + 1).map_or(self.bytes.len(), |entry| entry.bytes as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn push(&mut self, record: &Record<'_>, author: u32) {
        self.index.push(Entry {
            base: record.base.utf16,
            words: self.words.len() as u16,
            bytes: self.bytes.len() as u16,
        });
        self.words.extend_from_slice(record.words);
        let astral = record.base.utf16 - record.base.chars;
        varint::push(&mut self.bytes, u64::from(author) << 1 | u64::from(astral != 0));
        varint::push(&mut self.bytes, record.seq);
        varint::push(&mut self.bytes, varint::zigzag(record.at_ms.wrapping_sub(self.at_ms) as i64));
        varint::push(&mut self.bytes, record.inserted.len() as u64);
        if astral != 0 {
            varint::push(&mut self.bytes, u64::from(astral));
        }
        self.bytes.extend_from_slice(record.inserted.as_bytes());
        self.bytes.extend_from_slice(record.deleted.as_bytes());
    }

    fn author(&self, at: usize) -> u32 {
        (varint::take(&mut self.bytes(at)) >> 1) as u32
    }

    fn at_ms(&self, at: usize) -> u64 {
        let mut bytes = self.bytes(at);
        for _ in ["author", "seq"] {
            varint::take(&mut bytes);
        }
        self.at_ms.wrapping_add(varint::unzigzag(varint::take(&mut bytes)) as u64)
    }

    fn base(&self, at: usize) -> Place {
        let utf16 = self.index.get(at).map_or(0, |entry| entry.base);
        let mut bytes = self.bytes(at);
        if varint::take(&mut bytes) & 1 == 0 {
            return Place { utf16, chars: utf16 };
        }
        for _ in ["seq", "at_ms", "inserted"] {
            varint::take(&mut bytes);
        }
        Place { utf16, chars: utf16.saturating_sub(varint::take(&mut bytes) as u32) }
    }

    /// The bytes of its own text and of what it deleted.
    fn texts<'a>(&'a self, head: u64, mut rest: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let inserted = varint::take(&mut rest) as usize;
        if head & 1 == 1 {
            varint::take(&mut rest);
        }
        rest.split_at_checked(inserted).unwrap_or_default()
    }

    /// What its JSON is written from: components and own text.
    fn operation(&self, at: usize) -> (&[u32], &str) {
        let mut bytes = self.bytes(at);
        let head = varint::take(&mut bytes);
        for _ in ["seq", "at_ms"] {
            varint::take(&mut bytes);
        }
        (self.words(at), text(self.texts(head, bytes).0))
    }

    fn record<'a>(&'a self, at: usize, authors: &'a Authors) -> Record<'a> {
        let mut bytes = self.bytes(at);
        let head = varint::take(&mut bytes);
        let seq = varint::take(&mut bytes);
        let at_ms = self.at_ms.wrapping_add(varint::unzigzag(varint::take(&mut bytes)) as u64);
        let (inserted, deleted) = self.texts(head, bytes);
        let (inserted, deleted) = (text(inserted), text(deleted));
        let (user, client) = authors.get((head >> 1) as u32);
        let (words, base) = (self.words(at), self.base(at));
        Record { words, inserted, deleted, base, user, client, seq, at_ms }
    }

    fn heap_bytes(&self) -> usize {
        self.index.capacity() * size_of::<Entry>() + self.words.capacity() * 4 + self.bytes.capacity()
    }
}

/// What was written from a text.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Neighbouring operations that lie together.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    segment: &'a Segment,
    from: usize,
}

impl<'a> Span<'a> {
    pub(super) fn len(&self) -> usize {
        self.segment.index.len() - self.from
    }

    /// The words of each operation, oldest first.
    pub(super) fn operations(&self) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let words = self.segment.words.as_slice();
        let index = self.segment.index.get(self.from..).unwrap_or_default();
        index.iter().enumerate().map(|(at, entry)| {
            let end = index.get(at + 1).map_or(words.len(), |next| next.words as usize);
            words.get(entry.words as usize..end).unwrap_or_default()
        })
    }
}

/// The newest operations of a document, without holes.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    segments: VecDeque<Segment>,
    authors: Authors,
    /// The revision of the oldest operation that is kept.
    first: u64,
    /// The revision that the next operation creates.
    next: u64,
    /// What the kept operations cost.
    bytes: usize,
}

fn cost(words: &[u32], texts: usize) -> usize {
    words.len() * 4 + texts + OVERHEAD_BYTES
}

impl History {
    /// A history whose next operation creates the revision `next`.
    pub(super) fn new(next: u64) -> Self {
        History { first: next, next, ..History::default() }
    }

    /// The revision of the oldest operation that is kept; the next one's if none is.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn len(&self) -> usize {
        (self.next - self.first) as usize
    }

    /// What the kept operations cost: components, texts and a constant each, so that it depends on them alone.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn append(&mut self, record: &Record<'_>) {
        let author = self.authors.hold(record.user, record.client);
        if self.segments.back().is_none_or(Segment::is_full) {
            let next = self.segments.back_mut().map_or_else(Segment::default, Segment::seal);
            self.segments.push_back(Segment { first: self.next, at_ms: record.at_ms, ..next });
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.push(record, author);
        }
        self.bytes += cost(record.words, record.inserted.len() + record.deleted.len());
        self.next += 1;
    }

    /// Drops the oldest operations until at most so many and so many bytes are left, and of those that were accepted
    /// before `horizon_ms` a bounded number. The newest one stays, as it has still to be announced. `before` is
    /// called before the operation that created a revision is dropped.
    pub(super) fn trim(
        &mut self,
        operations_max: usize,
        bytes_max: usize,
        horizon_ms: u64,
        mut before: impl FnMut(&History, u64),
    ) {
        let mut by_age = 0;
        while self.len() > 1 {
            if self.len() <= operations_max && self.bytes <= bytes_max {
                if by_age == TRIMMED_BY_AGE_MAX || !self.starts_before(horizon_ms) {
                    return;
                }
                by_age += 1;
            }
            before(self, self.first);
            self.drop_first();
        }
    }

    fn starts_before(&self, horizon_ms: u64) -> bool {
        let at_ms = |segment: &Segment| segment.at_ms((self.first - segment.first) as usize);
        self.segments.front().is_some_and(|segment| at_ms(segment) < horizon_ms)
    }

    /// Drops the operations before the revision `first`.
    pub(super) fn trim_to(&mut self, first: u64) {
        while self.first < first && self.first < self.next {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(segment) = self.segments.front() else { return };
        let at = (self.first - segment.first) as usize;
        let record = segment.record(at, &self.authors);
        self.bytes = self.bytes.saturating_sub(cost(record.words, record.inserted.len() + record.deleted.len()));
        let author = segment.author(at);
        self.first += 1;
        if self.first >= segment.end() {
            self.segments.pop_front();
        }
        self.authors.release(author);
    }

    /// The segment and the place within it of a kept revision.
    fn find(&self, rev: u64) -> Option<(usize, usize)> {
        if rev < self.first || rev >= self.next {
            return None;
        }
        let segment = self.segments.partition_point(|segment| segment.first <= rev).checked_sub(1)?;
        Some((segment, (rev - self.segments.get(segment)?.first) as usize))
    }

    pub(super) fn get(&self, rev: u64) -> Option<Accepted<'_>> {
        let (segment, at) = self.find(rev)?;
        Some(Accepted { rev, record: self.segments.get(segment)?.record(at, &self.authors) })
    }

    /// The words of the operation that created `rev`.
    pub(super) fn words(&self, rev: u64) -> Option<&[u32]> {
        let (segment, at) = self.find(rev)?;
        Some(self.segments.get(segment)?.words(at))
    }

    /// Length of the text before the operation that created `rev`.
    pub(super) fn base(&self, rev: u64) -> Option<Place> {
        let (segment, at) = self.find(rev)?;
        Some(self.segments.get(segment)?.base(at))
    }

    /// The operations from the revision `from` on, in runs that lie together.
    pub(super) fn spans(&self, from: u64) -> impl Iterator<Item = Span<'_>> {
        let (start, mut at) = self.find(from).unwrap_or((self.segments.len(), 0));
        self.segments.range(start..).map(move |segment| Span { segment, from: std::mem::take(&mut at) })
    }

    /// The operations of these revisions as JSON, as far as they are kept.
    pub(super) fn json(&self, revs: Range<u64>, unit: Unit) -> impl Iterator<Item = String> {
        self.operations(revs).map(move |(words, inserted)| {
            let mut out = String::with_capacity(inserted.len() + 16);
            push_json(words, inserted, unit, &mut out);
            out
        })
    }

    /// Appends the operations of these revisions as JSON, and where each of them ends.
    pub(super) fn push_json(&self, revs: Range<u64>, unit: Unit, out: &mut String, ends: &mut Vec<usize>) {
        // A typed letter and its position.
        let count = revs.end.saturating_sub(revs.start.max(self.first)) as usize;
        out.reserve(count.min(self.len()) * 16);
        ends.reserve(count.min(self.len()));
        for (words, inserted) in self.operations(revs) {
            push_json(words, inserted, unit, out);
            ends.push(out.len());
        }
    }

    /// Components and own texts: what a reply needs and no more.
    fn operations(&self, revs: Range<u64>) -> impl Iterator<Item = (&[u32], &str)> {
        let from = revs.start.max(self.first);
        let operations = self
            .spans(from)
            .flat_map(|span| (span.from..span.segment.index.len()).map(move |at| span.segment.operation(at)));
        operations.take(revs.end.saturating_sub(from) as usize)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(Segment::heap_bytes).sum();
        self.segments.capacity() * size_of::<Segment>() + segments + self.authors.heap_bytes()
    }

    pub(super) fn allocations(&self) -> usize {
        self.segments.len() * 3 + self.authors.len()
    }
}
