//! What people are told: the frames of events.

use super::message::{Message, utf16_len};
use super::names::Name;
use super::record::{Change, Record};
use super::{Event, Log};
use crate::bounds::READS_PER_FRAME_MAX;
use crate::json;

/// The event of a frame with its room and stream.
type Names<'a> = (&'a str, &'a str);

impl Log {
    /// The frame of a change that was just followed.
    pub(super) fn frame_of(&self, record: &Record<'_>, names: Names<'_>) -> String {
        let (from, rev) = (record.rev - record.change.revisions(), record.rev);
        match &record.change {
            Change::Post(new) => self.told("msg.posted", names, from, rev, new.n),
            Change::Edit { n, .. } | Change::Delete { n } | Change::Finish { n, .. } | Change::Cancel { n } => {
                self.told("msg.changed", names, from, rev, *n)
            }
            Change::React { n, reaction } | Change::Unreact { n, reaction } => {
                let mut out = self.head("msg.reacted", names, from, rev, reaction.len() + record.user.len());
                push_number(&mut out, ",\"n\":", *n);
                out.push_str(",\"user\":");
                json::push_quoted(&mut out, record.user);
                out.push_str(",\"reaction\":");
                json::push_quoted(&mut out, reaction);
                let added = matches!(record.change, Change::React { .. });
                out.push_str(if added { ",\"added\":true" } else { ",\"added\":false" });
                push_number(&mut out, ",\"count\":", record.number);
                out.push('}');
                out
            }
            Change::Append { n, chunk } => {
                let mut out = self.head("msg.appended", names, from, rev, chunk.len());
                push_number(&mut out, ",\"n\":", *n);
                push_number(&mut out, ",\"at\":", record.number - utf16_len(chunk));
                out.push_str(",\"chunk\":");
                json::push_quoted(&mut out, chunk);
                out.push('}');
                out
            }
            Change::Read { .. } | Change::Trim | Change::Configure(_) => String::new(),
        }
    }

    /// The frame that carries a message as it is now. A reply says how many its thread has, so that whoever holds the
    /// message that it began with can keep its `replies` without being told of it.
    pub(super) fn told(&self, event: &str, names: Names<'_>, from: u64, rev: u64, n: u64) -> String {
        let Some(message) = self.message(n) else { return String::new() };
        let mut out = self.head(event, names, from, rev, message.body.len() + 160);
        out.push_str(",\"message\":");
        message.push_json(&mut out);
        if message.thread > 0
            && let Some(replies) = self.message(message.thread).map(replies)
        {
            push_number(&mut out, ",\"replies\":", replies);
        }
        out.push('}');
        out
    }

    /// The frame that carries watermarks.
    pub(super) fn reads_frame<'a>(
        &self,
        names: Names<'_>,
        from: u64,
        rev: u64,
        reads: impl Iterator<Item = (&'a Name, u64)>,
    ) -> String {
        let mut out = self.head("msg.read", names, from, rev, 0);
        out.push_str(",\"reads\":");
        push_reads(&mut out, reads);
        out.push('}');
        out
    }

    /// The watermarks that moved last, as JSON, oldest move first.
    pub fn reads_json(&self) -> String {
        let mut newest: Vec<_> = self.people.reads_after(0).rev().take(READS_PER_FRAME_MAX).collect();
        newest.reverse();
        let mut out = String::new();
        push_reads(&mut out, newest.into_iter().map(|(_, name, n)| (name, n)));
        out
    }

    /// How many moves of watermarks wait to be told.
    pub fn reads_waiting(&self) -> u64 {
        self.rev - self.announced
    }

    /// Tells the watermarks that moved since something was announced last.
    pub fn announce_reads(&mut self, room: &str, stream: &str) -> Option<Event> {
        let (from, rev) = (self.announced, self.rev);
        if from == rev {
            return None;
        }
        let reads = self.people.reads_after(from).map(|(_, name, n)| (name, n));
        let frame = self.reads_frame((room, stream), from, rev, reads);
        self.announced = rev;
        Some(Event { from, rev, frame })
    }

    fn head(&self, event: &str, (room, stream): Names<'_>, from: u64, rev: u64, more: usize) -> String {
        let mut out = String::with_capacity(room.len() + stream.len() + more + 160);
        out.push_str("{\"event\":\"");
        out.push_str(event);
        out.push_str("\",\"room\":");
        json::push_quoted(&mut out, room);
        out.push_str(",\"stream\":");
        json::push_quoted(&mut out, stream);
        out.push_str(",\"epoch\":\"");
        self.epochs.current().push(&mut out);
        push_number(&mut out, "\",\"from\":", from);
        push_number(&mut out, ",\"rev\":", rev);
        out
    }
}

fn replies(message: &Message) -> u64 {
    message.more.as_ref().map_or(0, |more| more.replies.len() as u64)
}

fn push_number(out: &mut String, name: &str, value: u64) {
    out.push_str(name);
    json::push_number(out, value);
}

fn push_reads<'a>(out: &mut String, reads: impl Iterator<Item = (&'a Name, u64)>) {
    out.push('[');
    for (at, (name, n)) in reads.enumerate() {
        out.push_str(if at == 0 { "{\"user\":" } else { ",{\"user\":" });
        json::push_quoted(out, name);
        push_number(out, ",\"n\":", n);
        out.push('}');
    }
    out.push(']');
}
