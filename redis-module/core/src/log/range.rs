//! Reading messages by their numbers: pages, single ones, and what one was before.

use super::Log;
use super::message::{Message, version_json};
use super::write::missing;
use crate::bounds::Bounds;
use crate::refusal::Refusal;

/// Which messages [`Log::range`] reads.
#[derive(Debug, Clone, Copy)]
pub enum Range {
    /// The newest ones before this number.
    Before(u64),
    /// The oldest ones after this number.
    After(u64),
    /// Those around this number, and the message itself.
    Around(u64),
}

/// Messages in order, and whether there are more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Messages as JSON, oldest first.
    pub messages: Vec<String>,
    /// Whether there are older ones.
    pub more_before: bool,
    /// Whether there are newer ones.
    pub more_after: bool,
}

impl Log {
    /// A page of all messages, or of the replies in a thread.
    ///
    /// Refuses with `NOT_FOUND` a thread whose first message is not kept.
    pub fn range(&self, which: Range, thread: Option<u64>, count: usize, bounds: &Bounds) -> Result<Page, Refusal> {
        let Some(n) = thread else {
            let first_n = self.first_n();
            let find = |n: u64| (n.saturating_sub(first_n) as usize).min(self.messages.len());
            return Ok(page(self.messages.len(), find, |at| self.messages.get(at), which, count, bounds));
        };
        let root = self.message(n).ok_or_else(|| missing(n))?;
        let replies = root.more.as_ref().map_or(&[][..], |more| &more.replies);
        let find = |n: u64| replies.partition_point(|reply| *reply < n);
        Ok(page(replies.len(), find, |at| self.message(*replies.get(at)?), which, count, bounds))
    }

    /// One message as JSON, if it is kept.
    pub fn get(&self, n: u64) -> Option<String> {
        self.message(n).map(Message::json)
    }

    /// The bodies that a message had, oldest first, the current one last, as JSON.
    pub fn history(&self, n: u64) -> Result<Vec<String>, Refusal> {
        let message = self.standing(n)?;
        let edits = message.more.as_ref().and_then(|more| more.edits.as_ref());
        let mut versions: Vec<String> =
            edits.map_or(Vec::new(), |edits| edits.versions.iter().map(|version| version.json()).collect());
        let (at_ms, user) = edits.map_or((message.at_ms, &message.user), |edits| (edits.at_ms, &edits.by));
        let mut body = String::new();
        message.push_body(&mut body);
        versions.push(version_json(at_ms, user, &body));
        Ok(versions)
    }
}

/// Reads a page of a list in ascending order. `find` is the place of the first entry that is not below a number.
fn page<'a>(
    len: usize,
    find: impl Fn(u64) -> usize,
    nth: impl Fn(usize) -> Option<&'a Message>,
    which: Range,
    count: usize,
    bounds: &Bounds,
) -> Page {
    let count = count.min(bounds.page_entries_max);
    let json = |at: usize| nth(at).map_or_else(String::new, Message::json);
    // What is read, from the place that was asked for outwards.
    let (mut older, mut newer) = (Vec::new(), Vec::new());
    let (mut start, mut end) = match which {
        Range::Before(n) => (find(n), find(n)),
        Range::After(n) => (find(n.saturating_add(1)), find(n.saturating_add(1))),
        Range::Around(n) => (find(n), find(n)),
    };
    let (goes_back, goes_on) = match which {
        Range::Before(_) => (true, false),
        Range::After(_) => (false, true),
        Range::Around(_) => (true, true),
    };
    let mut bytes = 0;
    let mut take = |list: &mut Vec<String>, at: usize, read: usize| {
        let message = json(at);
        bytes += message.len();
        let fits = bytes <= bounds.page_bytes_max || read == 0;
        if fits {
            list.push(message);
        }
        fits
    };
    while older.len() + newer.len() < count {
        let read = older.len() + newer.len();
        let can_go_on = goes_on && end < len;
        let can_go_back = goes_back && start > 0;
        // In turn while both ways are open; the message that was asked for comes first.
        let forward = can_go_on && (!can_go_back || newer.len() <= older.len());
        if forward {
            if !take(&mut newer, end, read) {
                break;
            }
            end += 1;
        } else if can_go_back {
            if !take(&mut older, start - 1, read) {
                break;
            }
            start -= 1;
        } else {
            break;
        }
    }
    older.reverse();
    older.append(&mut newer);
    Page { messages: older, more_before: start > 0, more_after: end < len }
}
