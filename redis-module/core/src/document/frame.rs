//! What people receive, byte for byte the same whether it is announced or asked for later.

use super::{Accepted, Document};
use crate::bounds::Bounds;
use crate::changes::{self, Changes};
use crate::epoch::{Epoch, Position, Standing};
use crate::json::{push_number, push_quoted};
use crate::op::Unit;
use std::ops::Range;

impl Document {
    /// The event that announced a revision, as one line of JSON; `None` if it is not kept.
    pub fn frame(&self, room: &str, stream: &str, rev: u64) -> Option<String> {
        let mut out = String::new();
        self.push_frame(&mut out, room, stream, rev)?;
        Some(out)
    }

    /// As [`Document::frame`], appended to `out`. Answers where in `out` the operation stands, in UTF-16 units.
    pub fn push_frame(&self, out: &mut String, room: &str, stream: &str, rev: u64) -> Option<Range<usize>> {
        Some(self.push_applied(out, room, stream, &self.history.get(rev)?))
    }

    /// The event that announces a new document.
    pub fn created_frame(&self, room: &str, stream: &str) -> String {
        let mut out = String::with_capacity(128);
        self.push_start(&mut out, "doc.created", room, stream, 0, 0);
        out.push_str(",\"type\":");
        push_quoted(&mut out, self.kind.as_str());
        out.push('}');
        out
    }

    /// What came after a position, one page of it. `to` is the last revision that is wanted.
    pub fn changes(
        &self,
        room: &str,
        stream: &str,
        since: (u64, Option<Epoch>),
        to: Option<u64>,
        count: usize,
        bounds: &Bounds,
    ) -> Changes {
        let (rev, epoch) = since;
        let standing = match epoch {
            Some(epoch) => self.epochs.standing(Position { epoch, rev }, self.rev),
            None => Standing::Valid,
        };
        match standing {
            Standing::Unknown => return Changes::Unknown,
            Standing::RolledBack { end } => return Changes::RolledBack { end },
            Standing::Valid if rev > self.rev => return Changes::RolledBack { end: self.rev },
            Standing::Valid if self.check_kept(rev).is_err() => return Changes::Trimmed,
            Standing::Valid => {}
        }
        let last = to.unwrap_or(self.rev).min(self.rev);
        let frames = (rev + 1..=last).filter_map(|rev| Some((rev, self.frame(room, stream, rev)?)));
        changes::page(rev, frames, count, bounds)
    }

    fn push_applied(&self, out: &mut String, room: &str, stream: &str, accepted: &Accepted<'_>) -> Range<usize> {
        out.reserve(accepted.inserted().len() + room.len() + stream.len() + 256);
        self.push_start(out, "doc.applied", room, stream, accepted.rev.saturating_sub(1), accepted.rev);
        out.push_str(",\"op\":");
        let start = out.len();
        accepted.push_json(Unit::Utf16, out);
        let operation = start..out.len();
        out.push_str(",\"at_ms\":");
        push_number(out, accepted.at_ms());
        if !accepted.user().is_empty() {
            out.push_str(",\"user\":");
            push_quoted(out, accepted.user());
        }
        if let Some((client, seq)) = accepted.identity() {
            out.push_str(",\"client\":");
            push_quoted(out, client);
            out.push_str(",\"seq\":");
            push_number(out, seq);
        }
        out.push('}');
        operation
    }

    fn push_start(&self, out: &mut String, event: &str, room: &str, stream: &str, from: u64, rev: u64) {
        out.push_str("{\"event\":\"");
        out.push_str(event);
        out.push_str("\",\"room\":");
        push_quoted(out, room);
        out.push_str(",\"stream\":");
        push_quoted(out, stream);
        out.push_str(",\"epoch\":\"");
        self.epochs.of(rev).push(out);
        out.push_str("\",\"from\":");
        push_number(out, from);
        out.push_str(",\"rev\":");
        push_number(out, rev);
    }
}
