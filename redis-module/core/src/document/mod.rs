//! Documents that many people edit: a text, its revisions, and who wrote what.
//!
//! The primary decides ([`Document::submit`]): it takes the operation over the history that its author did not know,
//! applies it and hands out an effect. Replicas and replays only follow effects ([`Document::apply`]); they never
//! transform, and end with the same bytes.
//!
//! Revision 0 is the initial content; each operation that changes something creates the next one. An operation is
//! kept as it was applied, with both unit lengths and the text it deleted, so any kept revision can be read, sent
//! again or taken back.

mod authors;
mod cursors;
mod edit;
mod effect;
mod frame;
mod history;
mod rebase;
mod stored;
mod submit;
mod undo;
mod varint;
mod words;

pub use crate::cursor::CURSOR_MS;
pub use effect::Diverged;
pub use history::Accepted;
pub use submit::{Submit, Submitted};

use crate::bounds::Bounds;
use crate::compose;
use crate::epoch::{Epoch, Epochs, Writer};
use crate::identity::Writers;
use crate::op::{Operation, Unit};
use crate::refusal::{Code, Refusal};
use crate::text::{Place, TEXT_BYTES_MAX, Text};
use history::History;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The newest revision that a document may reach: beyond 2^53 JavaScript cannot count.
const REVISION_MAX: u64 = 1 << 53;

/// What a document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DocumentType {
    /// Plain text.
    #[default]
    Text,
}

impl DocumentType {
    /// Its name in commands and frames.
    pub fn as_str(self) -> &'static str {
        match self {
            DocumentType::Text => "text",
        }
    }
}

impl std::str::FromStr for DocumentType {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "text" { Ok(DocumentType::Text) } else { Err(()) }
    }
}

/// How lines end.
///
/// Editors disagree about CRLF: CodeMirror counts it as one unit, Monaco as two, and both rewrite it. So a text has
/// LF alone, unless it was created to keep whatever it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEnds {
    /// LF: the initial content is converted, an insert with CR is refused.
    #[default]
    Lf,
    /// Nothing is converted or refused.
    Any,
}

impl LineEnds {
    /// Its name in commands.
    pub fn as_str(self) -> &'static str {
        match self {
            LineEnds::Lf => "lf",
            LineEnds::Any => "any",
        }
    }
}

impl std::str::FromStr for LineEnds {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "lf" => Ok(LineEnds::Lf),
            "any" => Ok(LineEnds::Any),
            _ => Err(()),
        }
    }
}

/// A document.
#[derive(Debug, Clone)]
pub struct Document {
    kind: DocumentType,
    line_ends: LineEnds,
    text: Text,
    rev: u64,
    epochs: Epochs,
    writers: Writers,
    history: History,
    /// Kept operations that take back an earlier one, and which.
    undoes: BTreeMap<u64, u64>,
    tags: BTreeMap<Box<str>, Tag>,
    cursors: cursors::Cursors,
}

/// A text that is kept under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    rev: u64,
    at_ms: u64,
    content: Box<str>,
}

impl Document {
    /// A document at revision 0.
    ///
    /// What it is created with is replicated as [`Document::encode`]. Refuses with `TOO_LARGE` content beyond
    /// the bounds.
    pub fn create(
        kind: DocumentType,
        content: &str,
        line_ends: LineEnds,
        writer: Writer,
        bounds: &Bounds,
    ) -> Result<Self, Refusal> {
        let bytes_max = bounds.document_bytes_max.min(TEXT_BYTES_MAX);
        let too_large = || {
            let message = format!("the content has {} bytes, at most {bytes_max} are allowed", content.len());
            Refusal::new(Code::TooLarge, message)
        };
        if content.len() > bytes_max {
            return Err(too_large());
        }
        let content = match line_ends {
            LineEnds::Lf => with_lf(content),
            LineEnds::Any => Cow::Borrowed(content),
        };
        let text = Text::new(&content).ok_or_else(too_large)?;
        let mut epochs = Epochs::default();
        epochs.enter(0, writer);
        let (writers, history) = (Writers::default(), History::new(1));
        let (undoes, tags, cursors) = Default::default();
        Ok(Document { kind, line_ends, text, rev: 0, epochs, writers, history, undoes, tags, cursors })
    }

    /// What it holds.
    pub fn kind(&self) -> DocumentType {
        self.kind
    }

    /// How its lines end.
    pub fn line_ends(&self) -> LineEnds {
        self.line_ends
    }

    /// The newest revision.
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// The current epoch.
    pub fn epoch(&self) -> Epoch {
        self.epochs.current()
    }

    /// The epochs of its history.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The length of the text in both units.
    pub fn len(&self) -> Place {
        self.text.len()
    }

    /// The length of the text in bytes of UTF-8.
    pub fn len_bytes(&self) -> usize {
        self.text.len_bytes()
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text.
    pub fn content(&self) -> String {
        let mut content = String::with_capacity(self.text.len_bytes());
        content.extend(self.text.chunks());
        content
    }

    /// The text as it was at a revision, found by taking back what came after it.
    ///
    /// Refuses with `NOT_FOUND` beyond the head, with `STALE` what is no longer kept.
    pub fn content_at(&self, rev: u64) -> Result<String, Refusal> {
        if rev > self.rev {
            let message = format!("revision {rev} does not exist, the head is {}", self.rev);
            return Err(Refusal::new(Code::NotFound, message));
        }
        self.check_kept(rev)?;
        let mut text = self.text.clone();
        for at in (rev + 1..=self.rev).rev() {
            let Some(Accepted { record, .. }) = self.history.get(at) else { continue };
            edit::revert(&mut text, record.words, record.deleted)
                .map_err(|e| Refusal::new(Code::NotFound, format!("revision {rev} cannot be read: {e}")))?;
        }
        Ok(text.to_string())
    }

    /// The operation that created a revision, if it is kept.
    pub fn accepted(&self, rev: u64) -> Option<Accepted<'_>> {
        self.history.get(rev)
    }

    /// The revision of the oldest operation that is kept; the next revision if none is.
    pub fn first_kept(&self) -> u64 {
        self.history.first()
    }

    /// How many operations are kept, and what they cost in bytes: what the bounds on history count.
    pub fn kept(&self) -> (usize, usize) {
        (self.history.len(), self.history.bytes())
    }

    /// The operation that takes back what created `rev`, made for the head: what others wrote since stays.
    ///
    /// Its own inverse is transformed over everything after it, as any arriving operation is. A deletion that two
    /// people made is restored once, because the history holds what each of them really removed.
    pub fn inverse_of(&self, rev: u64) -> Result<Operation, Refusal> {
        let Some(accepted) = self.history.get(rev) else {
            let message = format!("revision {rev} is not kept, {} to {} are", self.history.first(), self.rev);
            return Err(Refusal::new(Code::NotFound, message));
        };
        let forward = Operation::from_parts(Unit::Utf16, &accepted.components(Unit::Utf16), accepted.inserted().into());
        let inverse = forward.and_then(|forward| compose::invert(&forward, accepted.deleted())).unwrap_or_default();
        let (mut components, text) = inverse.into_parts();
        rebase::rebase(&mut components, &mut Vec::new(), &self.history, rev, Unit::Utf16);
        Ok(Operation::from_normal(Unit::Utf16, components, text))
    }

    /// Makes the next write open a new epoch; see [`Epochs::detach`].
    pub fn detach(&mut self) {
        self.epochs.detach();
    }

    /// Bytes held on the heap, within a tenth.
    pub fn heap_bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(name, tag)| name.len() + tag.content.len() + 64).sum();
        let parts = [
            self.text.heap_bytes(),
            self.history.heap_bytes(),
            self.writers.heap_bytes(),
            self.epochs.heap_bytes(),
            self.cursors.heap_bytes(),
            self.undoes.len() * 24,
            tags,
        ];
        parts.into_iter().sum()
    }

    /// How much work freeing it is, in allocations.
    pub fn free_effort(&self) -> usize {
        self.text.allocations() + self.history.allocations() + self.writers.len()
    }

    /// Who is remembered by their sequences, in number.
    pub fn writers(&self) -> usize {
        self.writers.len()
    }

    /// Forgets what was known of operations that are no longer kept.
    fn prune(&mut self) {
        let first = self.history.first();
        while self.undoes.first_key_value().is_some_and(|(rev, _)| *rev < first) {
            self.undoes.pop_first();
        }
    }

    /// Refuses with `STALE` a revision that the history does not reach back to.
    fn check_kept(&self, rev: u64) -> Result<(), Refusal> {
        if rev.saturating_add(1) >= self.history.first() {
            return Ok(());
        }
        let message = format!("the history starts at revision {}, not at {rev}", self.history.first() - 1);
        Err(Refusal::new(Code::Stale, message))
    }

    /// The length of the text at a kept revision.
    fn len_at(&self, rev: u64) -> Place {
        self.history.base(rev.saturating_add(1)).unwrap_or(self.text.len())
    }
}

/// CRLF and lone CR become LF.
fn with_lf(content: &str) -> Cow<'_, str> {
    if !content.contains('\r') {
        return Cow::Borrowed(content);
    }
    Cow::Owned(content.replace("\r\n", "\n").replace('\r', "\n"))
}
