//! What a client writes, and when.

use super::{ACCEPTED_MAX, Accepted, Asked, DOCUMENT, Reader, Room, UNSEEN_MAX, Write};
use crate::editor::{apply, replace};
use crate::history::{Fact, Identity, digest};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stoa_core::epoch::Position;

/// A text beyond this many characters shrinks rather than grows.
const TEXT_CHARS: usize = 300;

impl Reader {
    /// A time around a mean, never more than twice as long.
    fn after(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(self.rng.random_range(0.0..2.0))
    }

    /// Writes to the log that are due.
    pub(super) fn due_writes(&mut self, at: usize, now: Instant, writing: bool, frames: &mut Vec<Value>) {
        self.rooms[at].send_lost_again(now);
        if let Some((every, bytes)) = self.rooms[at].posts
            && writing
            && self.rooms[at].unanswered.is_none()
            && self.rooms[at].next_at <= now
        {
            let pause = self.after(every);
            let room = &mut self.rooms[at];
            (room.next_at, room.seq) = (now + pause, room.seq + 1);
            let identity = Identity { client: self.name.clone(), seq: room.seq };
            let fields = any_write(room, &identity, bytes, &mut self.rng);
            self.rooms[at].unanswered = Some((Write { identity, fields }, Some(now)));
            if let Some((newest, _)) = self.rooms[at].messages.last_key_value().filter(|_| self.rng.random_ratio(1, 4))
            {
                let read = json!({"do": "msg.read", "room": self.rooms[at].name, "n": newest});
                frames.push(self.ask(Asked::Nothing, read));
            }
        }
        let due = self.rooms[at].unanswered.as_mut().filter(|(_, send_at)| send_at.is_some_and(|at| at <= now));
        if let Some((write, send_at)) = due {
            *send_at = None;
            let (identity, fields) = (write.identity.clone(), write.fields.clone());
            frames.push(self.write_frame(at, identity, fields, false));
        }
        let again: Vec<(Instant, Write)> = self.rooms[at].again.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, write) in again {
            frames.push(self.write_frame(at, write.identity, write.fields, true));
        }
    }

    fn write_frame(&mut self, room: usize, identity: Identity, mut frame: Value, again: bool) -> Value {
        let body = (frame["do"] == "msg.post").then(|| digest(&frame["body"]));
        self.record(room, "log", Fact::Sent { identity: identity.clone(), body });
        (frame["client"], frame["seq"]) = (json!(*identity.client), json!(identity.seq));
        frame["room"] = json!(self.rooms[room].name);
        self.ask(Asked::Write { room, identity, again }, frame)
    }

    /// Edits of the document that are due.
    pub(super) fn due_edits(&mut self, at: usize, now: Instant, writing: bool, frames: &mut Vec<Value>) {
        let Some(every) = self.rooms[at].document.as_ref().filter(|d| writing && d.next_at <= now).map(|d| d.every)
        else {
            return self.submit(at, now, frames);
        };
        let pause = self.after(every);
        let opened = self.rooms[at].held.keys().any(|stream| stream.starts_with("doc:"));
        if let Some(document) = self.rooms[at].document.as_mut() {
            document.next_at = now + pause;
            if opened {
                document.editor.edit(any_edit(document.editor.text(), &mut self.rng));
            }
        }
        self.submit(at, now, frames);
    }

    fn submit(&mut self, at: usize, now: Instant, frames: &mut Vec<Value>) {
        let Some(document) = &mut self.rooms[at].document else { return };
        let submit = match document.editor.submit() {
            Some(submit) => Some(submit),
            None if document.send_at.is_some_and(|at| at <= now) => document.editor.resubmit(),
            None => return,
        };
        document.send_at = None;
        let Some(mut frame) = submit else { return };
        let client: Arc<str> = document.editor.client().into();
        let identity = Identity { client, seq: frame["seq"].as_u64().unwrap_or_default() };
        (frame["do"], frame["doc"]) = (json!("doc.submit"), json!(DOCUMENT));
        frame["room"] = json!(self.rooms[at].name);
        let sent = Fact::Sent { identity: identity.clone(), body: None };
        self.record(at, &format!("doc:{DOCUMENT}"), sent);
        frames.push(self.ask(Asked::Submit { room: at, identity }, frame));
    }
}

impl Room {
    /// A message was accepted; `is_kept` if it was before, so that it is not lost.
    pub(super) fn remember(&mut self, write: Write, at: Position, is_kept: bool) {
        let seq = write.identity.seq;
        self.accepted.retain(|accepted| accepted.write.identity != write.identity);
        let is_seen = is_kept || self.seen.get(&seq) == Some(&at.rev);
        // By sequence: what is sent again is accepted later than what is newer, and must not push it out.
        let place = self.accepted.partition_point(|accepted| accepted.write.identity.seq < seq);
        self.accepted.insert(place, Accepted { write, at, unseen_since: (!is_seen).then(Instant::now) });
        if self.accepted.len() > ACCEPTED_MAX {
            self.accepted.pop_front();
        }
    }

    /// An own message came.
    pub(super) fn saw(&mut self, seq: u64, rev: u64) {
        if self.seen.len() == ACCEPTED_MAX {
            self.seen.pop_first();
        }
        self.seen.insert(seq, rev);
        let accepted = self.accepted.iter_mut().find(|accepted| accepted.write.identity.seq == seq);
        accepted.into_iter().for_each(|accepted| accepted.unseen_since = None);
    }

    /// History ended at this revision: what was accepted after it may be no part of it.
    pub(super) fn lose_after(&mut self, end: u64) {
        let (lost, kept) = self.accepted.drain(..).partition(|accepted| accepted.at.rev > end);
        self.accepted = kept;
        self.seen.retain(|_, rev| *rev <= end);
        let lost: VecDeque<Accepted> = lost;
        self.lost.extend(lost.into_iter().map(|accepted| accepted.write));
    }

    /// Sends what was lost again, one after the other, before anything new.
    fn send_lost_again(&mut self, now: Instant) {
        let is_due = |accepted: &Accepted| accepted.unseen_since.is_some_and(|since| since + UNSEEN_MAX <= now);
        while let Some(at) = self.accepted.iter().position(is_due) {
            self.lost.extend(self.accepted.remove(at).map(|accepted| accepted.write));
        }
        if self.unanswered.is_none() {
            self.unanswered = self.lost.pop_front().map(|write| (write, Some(now)));
        }
    }
}

/// Somebody says something, mostly, or changes what was said.
fn any_write(room: &Room, identity: &Identity, bytes: usize, rng: &mut SmallRng) -> Value {
    let text = format!("{}-{} {}", identity.client, identity.seq, "x".repeat(bytes));
    let what = if room.only_posts { 9 } else { rng.random_range(0..10) };
    match what {
        0 | 1 if !room.own.is_empty() => {
            let at = rng.random_range(0..room.own.len());
            json!({"do": "msg.edit", "n": room.own[at], "body": {"text": text}})
        }
        2 | 3 if !room.messages.is_empty() => {
            let at = rng.random_range(0..room.messages.len());
            let n = room.messages.keys().nth(at);
            let what = if rng.random_ratio(2, 3) { "msg.react" } else { "msg.unreact" };
            let reaction = if rng.random() { "+1" } else { "-1" };
            json!({"do": what, "n": n, "reaction": reaction})
        }
        _ => json!({"do": "msg.post", "body": {"text": text}}),
    }
}

/// Somebody types or deletes a little somewhere.
fn any_edit(text: &str, rng: &mut SmallRng) -> stoa_core::op::Operation {
    let chars: Vec<char> = text.chars().collect();
    let units = |chars: &[char]| chars.iter().map(|c| c.len_utf16()).sum::<usize>();
    let at = rng.random_range(0..=chars.len());
    let shrinks = chars.len() > TEXT_CHARS || rng.random_ratio(1, 3);
    let removed = if shrinks { rng.random_range(0..=5.min(chars.len() - at)) } else { 0 };
    let inserted: String = if shrinks && removed > 0 {
        String::new()
    } else {
        let letters = ['a', 'b', 'é', '\n', '😀'];
        (0..rng.random_range(1..4)).map(|_| letters[rng.random_range(0..letters.len())]).collect()
    };
    let operation = replace(units(&chars[..at]), units(&chars[at..at + removed]), &inserted);
    debug_assert!(apply(text, &operation).is_some());
    operation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Recorder;
    use crate::reader::Role;

    #[test]
    fn what_is_sent_again_pushes_out_nothing_that_is_newer() {
        let role = Role { room: "lobby".into(), posts_every: None, body_bytes: 0, only_posts: true, edits_every: None };
        let mut reader = Reader::new("ada", &[role], Recorder::new(), 1);
        let room = &mut reader.rooms[0];
        let (newest, at) = (ACCEPTED_MAX as u64 + 1, Position { rev: 1, ..Position::START });
        for seq in [newest].into_iter().chain(1..newest) {
            let identity = Identity { client: "ada".into(), seq };
            room.remember(Write { identity, fields: Value::Null }, at, true);
        }
        room.lose_after(0);
        let again: Vec<u64> = room.lost.iter().map(|write| write.identity.seq).collect();
        assert_eq!(again, (2..=newest).collect::<Vec<u64>>());
    }
}
