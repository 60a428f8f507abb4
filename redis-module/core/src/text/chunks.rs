//! The pieces that a text is kept in.

use super::{Place, measure};
use str_indices::{chars, utf16};

/// Longest chunk, in bytes: what an insert in its middle moves.
pub(super) const CHUNK_BYTES_MAX: usize = 1024;
/// What a chunk is filled to where a long text arrives, so that the next edits find room.
const CHUNK_BYTES_FILLED: usize = 768;
/// Most chunks of a group.
pub(super) const GROUP_CHUNKS_MAX: usize = 64;

/// A piece of the text.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    pub(super) text: String,
    pub(super) len: Place,
}

impl Chunk {
    pub(super) fn new(text: &str) -> Self {
        Chunk { text: text.to_owned(), len: measure(text) }
    }

    /// Where the character at `at` starts, in bytes. `at` is at most its length.
    pub(super) fn byte(&self, at: u32) -> usize {
        if self.text.len() == self.len.chars as usize {
            at as usize
        } else {
            chars::to_byte_idx(&self.text, at as usize)
        }
    }

    /// The length of a part of it that has so many code points.
    pub(super) fn measure_part(&self, from: usize, to: usize, chars: u32) -> Place {
        if self.len.utf16 == self.len.chars {
            return Place { utf16: chars, chars };
        }
        Place { utf16: utf16::count(&self.text[from..to]) as u32, chars }
    }

    /// Makes room for so many bytes more, with some to spare but never beyond what a chunk may hold.
    pub(super) fn reserve(&mut self, bytes: usize) {
        let needed = self.text.len() + bytes;
        if needed > self.text.capacity() {
            let wanted = (needed + needed / 4).next_multiple_of(64).min(CHUNK_BYTES_MAX).max(needed);
            self.text.reserve_exact(wanted - self.text.len());
        }
    }
}

/// Chunks that lie together. None of them is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) chunks: Vec<Chunk>,
    pub(super) len: Place,
}

impl Group {
    fn new(chunks: Vec<Chunk>) -> Self {
        let len = chunks.iter().fold(Place::default(), |sum, chunk| sum.plus(chunk.len));
        Group { chunks, len }
    }
}

/// Cuts a text into chunks.
pub(super) fn pieces(text: &str) -> Vec<Chunk> {
    let mut chunks = Vec::with_capacity(text.len() / CHUNK_BYTES_FILLED + 1);
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(CHUNK_BYTES_FILLED);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (head, tail) = rest.split_at(end);
        chunks.push(Chunk::new(head));
        rest = tail;
    }
    chunks
}

/// Puts chunks into groups that have room for more.
pub(super) fn grouped(chunks: Vec<Chunk>) -> Vec<Group> {
    let mut groups = Vec::with_capacity(chunks.len() / (GROUP_CHUNKS_MAX / 2) + 1);
    let mut chunks = chunks.into_iter().peekable();
    while chunks.peek().is_some() {
        groups.push(Group::new(chunks.by_ref().take(GROUP_CHUNKS_MAX / 2).collect()));
    }
    groups
}
