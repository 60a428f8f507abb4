//! Random streams of writes against a slow, obvious twin: a follower of the records, a reader who catches up from
//! anywhere, and counts that look at every message.

use super::*;
use crate::bounds::Bounds;
use crate::changes::Changes;
use crate::epoch::Writer;
use crate::identity::Identity;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const USERS: [&str; 4] = ["ada", "bo", "cy", "dan"];
const REACTIONS: [&str; 3] = ["+", "👍", "-"];

/// One call. Numbers of messages count back from the newest, so that most of them are there.
#[derive(Debug, Clone)]
struct Act {
    kind: u8,
    user: usize,
    back: u64,
    other: usize,
    seq: Option<u64>,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0..20u8, 0..4usize, 0..9u64, 0..4usize, prop::option::weighted(0.3, 1..40u64));
    prop::collection::vec(act.prop_map(|(kind, user, back, other, seq)| Act { kind, user, back, other, seq }), 1..160)
}

/// What a reader of frames holds: messages and watermarks.
#[derive(Debug, Clone, Default, PartialEq)]
struct Held {
    messages: BTreeMap<u64, Value>,
    reads: BTreeMap<String, u64>,
}

impl Held {
    /// All that is in the log, as a snapshot says it.
    fn of(log: &Log) -> Held {
        let messages = log.messages.iter().map(|m| (m.n, serde_json::from_str(&m.json()).unwrap())).collect();
        let reads = log.people.reads_after(0).map(|(_, name, n)| (name.to_string(), n)).collect();
        Held { messages, reads }
    }

    fn follow(&mut self, frame: &Value) {
        match frame["event"].as_str().unwrap() {
            "msg.posted" | "msg.changed" => {
                let message = frame["message"].clone();
                if let Some(replies) = frame.get("replies")
                    && let Some(root) = self.messages.get_mut(&message["thread"].as_u64().unwrap())
                {
                    root["replies"] = replies.clone();
                }
                self.messages.insert(message["n"].as_u64().unwrap(), message);
            }
            "msg.read" => {
                for read in frame["reads"].as_array().unwrap() {
                    self.reads.insert(read["user"].as_str().unwrap().to_owned(), read["n"].as_u64().unwrap());
                }
            }
            "msg.reacted" => {
                let Some(message) = self.messages.get_mut(&frame["n"].as_u64().unwrap()) else { return };
                let (reaction, user) = (frame["reaction"].as_str().unwrap(), frame["user"].clone());
                let known = message["reactions"].get(reaction);
                let mut users = known.map_or(Vec::new(), |r| r["users"].as_array().unwrap().clone());
                users.retain(|other| *other != user);
                if frame["added"] == true {
                    users.push(user);
                }
                assert_eq!(frame["count"], users.len());
                let all = message.as_object_mut().unwrap();
                let mut reactions =
                    all.remove("reactions").map_or(Default::default(), |r| r.as_object().unwrap().clone());
                reactions.remove(reaction);
                if !users.is_empty() {
                    reactions.insert(reaction.to_owned(), serde_json::json!({"count": users.len(), "users": users}));
                }
                if !reactions.is_empty() {
                    all.insert("reactions".into(), reactions.into());
                }
            }
            "msg.appended" => {
                let Some(message) = self.messages.get_mut(&frame["n"].as_u64().unwrap()) else { return };
                let body = message["body"].as_str().unwrap().to_owned();
                assert_eq!(frame["at"], body.encode_utf16().count());
                message["body"] = (body + frame["chunk"].as_str().unwrap()).into();
            }
            other => panic!("{other}"),
        }
    }

    /// Without what has left the log, and with nobody whom it forgot.
    fn kept_in(&self, log: &Log) -> Held {
        let mut held = self.clone();
        held.messages.retain(|n, _| log.message(*n).is_some());
        held.reads.retain(|user, _| log.people.read_by(user) > 0);
        held
    }
}

/// Unread messages and mentions, by looking at every message.
fn counted(log: &Log, user: &str) -> (u64, u64) {
    let read = log.people.read_by(user);
    let news = log.messages.iter().filter(|m| m.n > read && !m.is_deleted() && *m.user != *user);
    let names = |m: &&Message| {
        let mentions = m.more.as_ref().map_or(&[][..], |more| &more.mentions);
        mentions.iter().any(|name| **name == *user || **name == *"*")
    };
    (news.clone().count() as u64, news.filter(names).count() as u64)
}

/// Carries out an act; answers what left the server.
fn perform(log: &mut Log, act: &Act, call: &Call<'_>) -> Vec<Accepted> {
    let user = USERS[act.user];
    let identity = act.seq.map(|seq| Identity::new(user, "tab", seq).unwrap());
    let actor = Actor { user, identity, any: act.other == 0 };
    let n = log.newest().saturating_sub(act.back);
    let text = format!("\"{} {}\"", act.kind, act.other);
    let mentions: &[&str] = [&[][..], &["bo"], &["*", "cy"], &["cy", "dan"]][act.other];
    let post = Post { mentions, ..Post::text(text.as_bytes()) };
    let written = match act.kind {
        0..3 => log.post(&post, actor, call),
        3 => log.post(&Post { reply: (n > 0).then_some(n), ..post }, actor, call),
        4 => log.post(&Post { streaming: true, ..Post::text(b"\"\"") }, actor, call),
        5 | 6 => log.edit(n, text.as_bytes(), mentions, actor, call),
        7 => log.delete(n, actor, call),
        8..11 => log.react(n, REACTIONS[act.back as usize % 3], act.other > 0, actor, call),
        11..13 => {
            let n = log.streams.last().copied().unwrap_or(n);
            let user = log.message(n).map_or(user.to_owned(), |m| m.user.to_string());
            log.append(n, ["é", "😀\"", "\n", "long text"][act.other], None, Actor::user(&user), call)
        }
        13 => {
            let n = log.streams.first().copied().unwrap_or(n);
            let user = log.message(n).map_or(user.to_owned(), |m| m.user.to_string());
            log.finish(n, (act.other == 1).then_some(text.as_bytes()), Actor::user(&user), call)
        }
        14 => log.cancel(n, actor, call),
        15 | 16 => {
            let read = log.read(&[(user, n), (USERS[act.other], n + 1)], call).unwrap();
            let Some(record) = read.1 else { return Vec::new() };
            let event = if act.back.is_multiple_of(2) { log.announce_reads(call.room, call.stream) } else { None };
            return vec![Accepted { record, reads: None, event }];
        }
        17 => {
            let record = log.trim(act.back * 4, call).1;
            return record.map(|record| Accepted { record, reads: None, event: None }).into_iter().collect();
        }
        18 => {
            let record = log.configure(Some(10 + act.back), None, Some(10_000 * act.other as u64), call);
            return record.map(|record| Accepted { record, reads: None, event: None }).into_iter().collect();
        }
        _ => return log.due(call),
    };
    match written.map(|written| written.outcome) {
        Ok(Outcome::Accepted(accepted)) => vec![accepted],
        Ok(Outcome::Duplicate | Outcome::Unchanged) | Err(_) => Vec::new(),
    }
}

/// Reads everything after a position, in pages.
fn catch_up(log: &Log, held: &Held, position: Position, page: usize, bounds: &Bounds) -> Option<Held> {
    let mut held = held.clone();
    let (mut at, mut epoch) = (position.rev, position.epoch);
    loop {
        match log.since(at, Some(epoch), page, ("lobby", "log"), bounds) {
            Changes::Page { events, through } if events.is_empty() => {
                assert_eq!((through, at), (at, log.position().rev), "a chain ends at the head");
                return Some(held);
            }
            Changes::Page { events, through } => {
                for (rev, frame) in events {
                    let frame: Value = serde_json::from_str(&frame).unwrap();
                    assert_eq!((&frame["from"], &frame["rev"]), (&Value::from(at), &Value::from(rev)), "no hole");
                    assert!(rev > at);
                    at = rev;
                    held.follow(&frame);
                }
                assert_eq!(through, at);
                epoch = log.epochs().current();
            }
            Changes::Trimmed => return None,
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whoever_follows_holds_what_the_primary_holds(acts in acts(), page in 1..9usize) {
        let bounds = Bounds { log_messages_max: 30, readers_max: 3, message_stream_ms: 15, writers_max: 100,
            log_age_ms_max: 120, ..Bounds::default() };
        let elsewhere = Bounds { writers_max: 100, ..Bounds::default() };
        let (mut log, mut replica) = (Log::default(), Log::default());
        let mut listener = (Position::START, Held::default());
        let mut known = vec![listener.clone()];
        for (round, act) in acts.iter().enumerate() {
            let writer = Writer { replication_id: 1 + round as u64 / 60, chance: round as u32 };
            let call = Call { room: "lobby", stream: "log", writer, now_ms: 1000 + round as u64, bounds: &bounds };
            for accepted in perform(&mut log, act, &call) {
                replica.apply(&accepted.record, &elsewhere).unwrap();
                for event in [accepted.reads, accepted.event].into_iter().flatten() {
                    prop_assert_eq!(event.from, listener.0.rev);
                    let frame: Value = serde_json::from_str(&event.frame).unwrap();
                    prop_assert_eq!((&frame["from"], &frame["rev"]), (&Value::from(event.from), &Value::from(event.rev)));
                    listener.1.follow(&frame);
                    listener.0 = Position { rev: event.rev, epoch: log.epochs().current() };
                }
            }
            prop_assert_eq!(replica.encode(), log.encode());
            prop_assert_eq!(listener.0.rev, log.position().rev);
            known.push(listener.clone());
        }
        // A follower that was loaded in the middle has the same inside.
        let read = Log::decode(&log.encode()).unwrap();
        prop_assert_eq!(&read.people, &log.people);
        prop_assert_eq!((&read.changes, &read.streams), (&log.changes, &log.streams));
        prop_assert_eq!(read.message_bytes, log.message_bytes);
        prop_assert_eq!(read.figures(), log.figures());
        for user in USERS {
            let unread = log.unread(user);
            prop_assert_eq!((unread.unread, unread.mentions), counted(&log, user), "{}", user);
        }
        // Everybody who ever listened catches up to what is there now.
        let now = Held::of(&log);
        prop_assert_eq!(listener.1.kept_in(&log).messages, now.messages.clone());
        let event = log.announce_reads("lobby", "log");
        if let Some(event) = event {
            listener.1.follow(&serde_json::from_str(&event.frame).unwrap());
        }
        for (position, held) in known {
            let Some(held) = catch_up(&log, &held, position, page, &bounds) else { continue };
            prop_assert_eq!(held.kept_in(&log), now.clone(), "from {}", position);
        }
    }
}
