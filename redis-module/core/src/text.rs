//! The text of a document, editable at any place in time that hardly grows with its length.
//!
//! The buffer is a list of chunks of at most 1 KiB of UTF-8, in groups of at most 64, each with its length in code
//! points and UTF-16 units: finding a position looks at the groups, then at the chunks of one group, then into one
//! chunk. Its measure is the code point; wherever a text holds no astral character (above U+FFFF), code points and
//! UTF-16 units are the same numbers and nothing is converted.
//!
//! A rope (ropey 1.6) took about five times as many instructions for the same edits, which was a third of all that a
//! submit cost; jumprope takes 5.8 times the text and moves positions beyond the end silently; crop does not count
//! code points. benches/README.md has the figures.

mod chunks;

use chunks::{CHUNK_BYTES_MAX, Chunk, GROUP_CHUNKS_MAX, Group, grouped, pieces};
use std::fmt;
use str_indices::{chars, utf16};

/// Neighbours become one chunk when both fit into so many bytes.
const CHUNK_BYTES_MERGED: usize = 640;

/// A position between two characters, counted both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// UTF-16 code units before it.
    pub utf16: u32,
    /// Code points before it.
    pub chars: u32,
}

impl Place {
    // Texts are far shorter than what would overflow here, see [`TEXT_BYTES_MAX`].
    fn plus(self, other: Place) -> Place {
        Place { utf16: self.utf16 + other.utf16, chars: self.chars + other.chars }
    }

    fn minus(self, other: Place) -> Place {
        Place { utf16: self.utf16 - other.utf16, chars: self.chars - other.chars }
    }
}

/// The longest text that any bound may allow, in bytes: every length fits the 30 bits that the history has for it,
/// and the whole document the largest record that is read back.
pub const TEXT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A position beyond the text or inside a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfText;

impl fmt::Display for OutOfText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is beyond the text or inside a character")
    }
}
impl std::error::Error for OutOfText {}

/// A place in the list: the group, the chunk in it, the code points before it in the chunk.
#[derive(Debug, Clone, Copy)]
struct Spot {
    group: usize,
    chunk: usize,
    at: u32,
}

/// A text of at most [`TEXT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Default)]
pub struct Text {
    groups: Vec<Group>,
    bytes: usize,
    end: Place,
}

impl Text {
    /// A text; `None` if it is too long.
    pub fn new(content: &str) -> Option<Self> {
        if content.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut text = Text::default();
        text.insert(0, content, measure(content)).ok()?;
        Some(text)
    }

    /// Its length in bytes of UTF-8.
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Its length in both units.
    pub fn len(&self) -> Place {
        self.end
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The place after so many UTF-16 units.
    pub fn at_utf16(&self, utf16: u32) -> Result<Place, OutOfText> {
        if utf16 > self.end.utf16 {
            return Err(OutOfText);
        }
        if !self.has_astral() {
            return Ok(Place { utf16, chars: utf16 });
        }
        let mut before = Place::default();
        let Some(chunk) = self.chunk_at(utf16, |len| len.utf16, &mut before) else { return Ok(before) };
        let within = (utf16 - before.utf16) as usize;
        let (head, _) = chunk.text.split_at(utf16::to_byte_idx(&chunk.text, within));
        let place = before.plus(measure(head));
        // Inside a surrogate pair the head ends before the character.
        if place.utf16 == utf16 { Ok(place) } else { Err(OutOfText) }
    }

    /// The place after so many code points.
    pub fn at_char(&self, chars: u32) -> Result<Place, OutOfText> {
        if chars > self.end.chars {
            return Err(OutOfText);
        }
        if !self.has_astral() {
            return Ok(Place { utf16: chars, chars });
        }
        let mut before = Place::default();
        let Some(chunk) = self.chunk_at(chars, |len| len.chars, &mut before) else { return Ok(before) };
        let within = chars - before.chars;
        Ok(before.plus(chunk.measure_part(0, chunk.byte(within), within)))
    }

    /// Inserts at a code point position. `added` is the length of `insert`.
    pub fn insert(&mut self, at_char: u32, insert: &str, added: Place) -> Result<(), OutOfText> {
        if insert.len() > TEXT_BYTES_MAX - self.bytes || at_char > self.end.chars {
            return Err(OutOfText);
        }
        if insert.is_empty() {
            return Ok(());
        }
        self.bytes += insert.len();
        self.end = self.end.plus(added);
        // Behind a chunk rather than before the next one: what is typed goes where the last letter went.
        let Some(spot) = self.find(at_char, |at, len| at <= len) else {
            self.groups = grouped(pieces(insert));
            return Ok(());
        };
        let group = &mut self.groups[spot.group];
        let chunk = &mut group.chunks[spot.chunk];
        group.len = group.len.plus(added);
        let at = chunk.byte(spot.at);
        if chunk.text.len() + insert.len() <= CHUNK_BYTES_MAX {
            chunk.reserve(insert.len());
            chunk.text.insert_str(at, insert);
            chunk.len = chunk.len.plus(added);
            return Ok(());
        }
        self.insert_pieces(spot, at, insert);
        Ok(())
    }

    /// Inserts what does not fit the chunk, at a byte of it.
    fn insert_pieces(&mut self, spot: Spot, at: usize, insert: &str) {
        let chunks = &mut self.groups[spot.group].chunks;
        let chunk = &mut chunks[spot.chunk];
        let new = if at == chunk.text.len() {
            pieces(insert)
        } else {
            // Both sides are short of the bound by as much as the other is long, so a tail that is its own chunk
            // leaves room on both.
            let tail = Chunk::new(&chunk.text[at..]);
            chunk.text.truncate(at);
            chunk.len = chunk.len.minus(tail.len);
            let mut new = if at > 0 && at + insert.len() <= CHUNK_BYTES_MAX {
                chunk.reserve(insert.len());
                chunk.text.push_str(insert);
                chunk.len = measure(&chunk.text);
                Vec::with_capacity(1)
            } else {
                pieces(insert)
            };
            new.push(tail);
            new
        };
        let from = spot.chunk + 1;
        chunks.splice(from..from, new);
        if chunks[spot.chunk].text.is_empty() {
            chunks.remove(spot.chunk);
        }
        if chunks.len() > GROUP_CHUNKS_MAX {
            let chunks = std::mem::take(chunks);
            self.groups.splice(spot.group..=spot.group, grouped(chunks));
        }
    }

    /// Deletes so many code points from a code point position on.
    pub fn delete(&mut self, at_char: u32, count: u32) -> Result<(), OutOfText> {
        if at_char.checked_add(count).is_none_or(|end| end > self.end.chars) {
            return Err(OutOfText);
        }
        let mut left = count;
        while left > 0 {
            let Some(spot) = self.find(at_char, |at, len| at < len) else { return Err(OutOfText) };
            left -= self.delete_in(spot, left);
        }
        Ok(())
    }

    /// Deletes up to `count` code points of one chunk; answers how many.
    fn delete_in(&mut self, spot: Spot, count: u32) -> u32 {
        let group = &mut self.groups[spot.group];
        let chunk = &mut group.chunks[spot.chunk];
        let count = count.min(chunk.len.chars - spot.at);
        let (from, to) = (chunk.byte(spot.at), chunk.byte(spot.at + count));
        let removed = chunk.measure_part(from, to, count);
        chunk.text.drain(from..to);
        chunk.len = chunk.len.minus(removed);
        group.len = group.len.minus(removed);
        self.bytes -= to - from;
        self.end = self.end.minus(removed);
        if to - from > 0 {
            self.merge(spot);
        }
        count
    }

    /// Makes one of neighbours that became short, and drops what became empty.
    fn merge(&mut self, spot: Spot) {
        let chunks = &mut self.groups[spot.group].chunks;
        if chunks[spot.chunk].text.is_empty() {
            chunks.remove(spot.chunk);
        } else {
            let len = |at: usize| chunks.get(at).map_or(CHUNK_BYTES_MAX, |chunk| chunk.text.len());
            let own = len(spot.chunk);
            let first = match spot.chunk.checked_sub(1) {
                Some(before) if len(before) + own <= CHUNK_BYTES_MERGED => before,
                _ if own + len(spot.chunk + 1) <= CHUNK_BYTES_MERGED => spot.chunk,
                _ => return,
            };
            let second = chunks.remove(first + 1);
            let first = &mut chunks[first];
            first.reserve(second.text.len());
            first.text.push_str(&second.text);
            first.len = first.len.plus(second.len);
        }
        let len = |at: usize| self.groups.get(at).map_or(GROUP_CHUNKS_MAX, |group| group.chunks.len());
        if len(spot.group) == 0 {
            self.groups.remove(spot.group);
        } else if len(spot.group) + len(spot.group + 1) <= GROUP_CHUNKS_MAX / 2 {
            let second = self.groups.remove(spot.group + 1);
            let first = &mut self.groups[spot.group];
            first.chunks.extend(second.chunks);
            first.len = first.len.plus(second.len);
        }
    }

    /// Appends what stands between two code point positions to `out`.
    pub fn push_slice(&self, from_char: u32, to_char: u32, out: &mut String) -> Result<(), OutOfText> {
        if from_char > to_char || to_char > self.end.chars {
            return Err(OutOfText);
        }
        let Some(spot) = self.find(from_char, |at, len| at < len) else { return Ok(()) };
        let (mut left, mut from) = (to_char - from_char, spot.at);
        let first = self.groups[spot.group].chunks[spot.chunk..].iter();
        for chunk in first.chain(self.groups[spot.group + 1..].iter().flat_map(|group| &group.chunks)) {
            if left == 0 {
                break;
            }
            let count = left.min(chunk.len.chars - from);
            out.push_str(&chunk.text[chunk.byte(from)..chunk.byte(from + count)]);
            (left, from) = (left - count, 0);
        }
        Ok(())
    }

    /// Its pieces in order.
    pub fn chunks(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| &group.chunks).map(|chunk| chunk.text.as_str())
    }

    /// 64-bit FNV-1a over its UTF-8 bytes: offset basis `cbf29ce484222325`, prime `100000001b3`.
    ///
    /// Chosen because a few lines write it in any language; it finds divergence, not malice.
    pub fn hash(&self) -> u64 {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        self.chunks().flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325, step)
    }

    /// Bytes held on the heap, within a few per cent.
    pub fn heap_bytes(&self) -> usize {
        let chunks = |group: &Group| {
            let texts: usize = group.chunks.iter().map(|chunk| chunk.text.capacity()).sum();
            group.chunks.capacity() * size_of::<Chunk>() + texts
        };
        self.groups.capacity() * size_of::<Group>() + self.groups.iter().map(chunks).sum::<usize>()
    }

    /// How many allocations it holds, roughly.
    pub fn allocations(&self) -> usize {
        1 + self.bytes / 512
    }

    fn has_astral(&self) -> bool {
        self.end.utf16 != self.end.chars
    }

    /// The chunk that a code point position lies in, as `within` says of the position and the chunk's length.
    fn find(&self, at_char: u32, within: fn(u32, u32) -> bool) -> Option<Spot> {
        let mut at = at_char;
        for (group, of) in self.groups.iter().enumerate() {
            if !within(at, of.len.chars) {
                at -= of.len.chars;
                continue;
            }
            for (chunk, of) in of.chunks.iter().enumerate() {
                if within(at, of.len.chars) {
                    return Some(Spot { group, chunk, at });
                }
                at -= of.len.chars;
            }
        }
        None
    }

    /// The chunk that a position lies in, counted as `unit` says, and the length of all before it.
    fn chunk_at(&self, at: u32, unit: fn(Place) -> u32, before: &mut Place) -> Option<&Chunk> {
        for group in &self.groups {
            if unit(*before) + unit(group.len) < at {
                *before = before.plus(group.len);
                continue;
            }
            for chunk in &group.chunks {
                if unit(*before) + unit(chunk.len) >= at {
                    return Some(chunk);
                }
                *before = before.plus(chunk.len);
            }
        }
        None
    }
}

/// The length of a text in both units.
pub(crate) fn measure(text: &str) -> Place {
    let chars = chars::count(text);
    if chars == text.len() {
        return Place { utf16: chars as u32, chars: chars as u32 };
    }
    Place { utf16: (chars + utf16::count_surrogates(text)) as u32, chars: chars as u32 }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chunks().try_for_each(|chunk| f.write_str(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_never_inside_a_character() {
        let text = Text::new("a😀b").unwrap();
        assert_eq!(text.len(), Place { utf16: 4, chars: 3 });
        assert_eq!(text.at_utf16(3), Ok(Place { utf16: 3, chars: 2 }));
        assert_eq!(text.at_utf16(2), Err(OutOfText));
        assert_eq!(text.at_utf16(5), Err(OutOfText));
        assert_eq!(text.at_char(2), Ok(Place { utf16: 3, chars: 2 }));
        assert_eq!(text.at_char(4), Err(OutOfText));
    }

    #[test]
    fn edits_beyond_the_text_change_nothing() {
        let mut text = Text::new("abc").unwrap();
        let one = Place { utf16: 1, chars: 1 };
        assert_eq!(text.insert(4, "x", one), Err(OutOfText));
        assert_eq!(text.delete(3, 1), Err(OutOfText));
        assert_eq!(text.delete(u32::MAX, 1), Err(OutOfText));
        assert_eq!(text.push_slice(2, 4, &mut String::new()), Err(OutOfText));
        assert_eq!((text.to_string().as_str(), text.len_bytes()), ("abc", 3));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // The test vectors of the FNV reference for "" and "foobar".
        assert_eq!(Text::default().hash(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Text::new("foobar").unwrap().hash(), 0x8594_4171_f739_67e8);
    }
}
