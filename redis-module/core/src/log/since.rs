//! What came after a position: state, once for each thing that changed, in the order of the last changes.
//!
//! A message that was edited a hundred times is one frame, because only what it is now matters to whoever catches
//! up. Three indexes in the order of revisions are merged: messages that are as they were posted, messages that
//! changed later, and watermarks.

use super::Log;
use super::message::Message;
use super::names::Name;
use crate::bounds::{Bounds, READS_PER_FRAME_MAX};
use crate::changes::{self, Changes};
use crate::epoch::{Epoch, Position, Standing};
use std::collections::btree_map;
use std::collections::vec_deque;
use std::iter::Peekable;

impl Log {
    /// What came after `rev`, at most `count` frames. Without an epoch the current one is meant.
    pub fn since(&self, rev: u64, epoch: Option<Epoch>, count: usize, names: (&str, &str), bounds: &Bounds) -> Changes {
        let position = Position { epoch: epoch.unwrap_or(self.epochs.current()), rev };
        match self.epochs.standing(position, self.rev) {
            Standing::Valid => {}
            Standing::RolledBack { end } => return Changes::RolledBack { end },
            // Who saw the log before its first message saw revision 0 of no epoch.
            Standing::Unknown if position == Position::START => {}
            Standing::Unknown => return Changes::Unknown,
        }
        if rev < self.trimmed_rev {
            return Changes::Trimmed;
        }
        let mut from = rev;
        let frames = self.steps(rev).map(|step| {
            let before = std::mem::replace(&mut from, step.rev());
            let frame = match &step {
                Step::Message(n, at) => {
                    let is_new = self.message(*n).is_some_and(|message| message.rev > rev);
                    self.told(if is_new { "msg.posted" } else { "msg.changed" }, names, before, *at, *n)
                }
                Step::Reads(reads, at) => {
                    self.reads_frame(names, before, *at, reads.iter().map(|(name, n)| (*name, *n)))
                }
            };
            (step.rev(), frame)
        });
        changes::page(rev, frames, count, bounds)
    }

    fn steps(&self, rev: u64) -> Steps<'_, impl Iterator<Item = (u64, &Name, u64)>> {
        let head = self.announced;
        let first = self.messages.partition_point(|message| message.rev <= rev);
        Steps {
            posts: self.messages.range(first..).peekable(),
            changes: self.changes.range(rev.saturating_add(1)..).peekable(),
            reads: self.people.reads_after(rev).take_while(move |(rev, ..)| *rev <= head).peekable(),
            at: rev,
            head,
        }
    }
}

/// One thing that changed, with the revision of its last change.
enum Step<'a> {
    Message(u64, u64),
    /// Watermarks between two messages; none if the newest revisions belong to what is gone.
    Reads(Vec<(&'a Name, u64)>, u64),
}

impl Step<'_> {
    fn rev(&self) -> u64 {
        match self {
            Step::Message(_, rev) | Step::Reads(_, rev) => *rev,
        }
    }
}

struct Steps<'a, R: Iterator<Item = (u64, &'a Name, u64)>> {
    posts: Peekable<vec_deque::Iter<'a, Message>>,
    changes: Peekable<btree_map::Range<'a, u64, u64>>,
    reads: Peekable<R>,
    /// Where the last step led.
    at: u64,
    head: u64,
}

impl<'a, R: Iterator<Item = (u64, &'a Name, u64)>> Iterator for Steps<'a, R> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let change = self.changes.peek().map_or(u64::MAX, |(rev, _)| **rev);
        let read = self.reads.peek().map_or(u64::MAX, |(rev, ..)| *rev);
        // Who changed after being posted is told then. A page ends behind what is passed over here, so it is passed
        // over once.
        while self.posts.next_if(|post| post.rev < change.min(read) && post.changed_rev() > 0).is_some() {}
        let post = self.posts.peek().map_or(u64::MAX, |post| post.rev);
        let step = if post < change.min(read) {
            let post = self.posts.next()?;
            Step::Message(post.n, post.rev)
        } else if change < read {
            let (rev, n) = self.changes.next()?;
            Step::Message(*n, *rev)
        } else if read < u64::MAX {
            let mut reads = Vec::new();
            let mut last = read;
            let next = change.min(post);
            while reads.len() < READS_PER_FRAME_MAX
                && let Some((rev, name, n)) = self.reads.next_if(|(rev, ..)| *rev < next)
            {
                reads.push((name, n));
                last = rev;
            }
            Step::Reads(reads, last)
        } else if self.at < self.head {
            Step::Reads(Vec::new(), self.head)
        } else {
            return None;
        };
        self.at = step.rev();
        Some(step)
    }
}
