use super::*;
use crate::bounds::{Bounds, REACTIONS_DIFFERENT_MAX, REACTIONS_PER_MESSAGE_MAX};
use crate::changes::Changes;
use crate::epoch::{Epoch, Writer};
use crate::identity::Identity;
use crate::refusal::{Code, Refusal};
use serde_json::{Value, json};

const ADA: Writer = Writer { replication_id: 1, chance: 0xabc };

fn at(now_ms: u64, bounds: &Bounds) -> Call<'_> {
    Call { room: "lobby", stream: "log", writer: ADA, now_ms, bounds }
}
fn by(user: &str) -> Actor<'_> {
    Actor::user(user)
}
fn with_id(user: &'static str, seq: u64) -> Actor<'static> {
    Actor { identity: Some(Identity::new(user, "tab", seq).unwrap()), ..Actor::user(user) }
}
fn moderator(user: &str) -> Actor<'_> {
    Actor { any: true, ..Actor::user(user) }
}
fn log_of(count: u64, bounds: &Bounds) -> Log {
    let mut log = Log::default();
    for n in 1..=count {
        say(&mut log, "ada", &format!("message {n}"), &at(1000 + n, bounds));
    }
    log
}
/// Posts a text and answers its number.
fn say(log: &mut Log, user: &str, text: &str, call: &Call<'_>) -> u64 {
    log.post(&Post::text(json!(text).to_string().as_bytes()), by(user), call).unwrap().answer.number
}
fn accepted(written: Result<Written, Refusal>) -> Accepted {
    match written.unwrap().outcome {
        Outcome::Accepted(accepted) => accepted,
        other => panic!("{other:?}"),
    }
}
/// The frame of an accepted write.
fn frame(written: Result<Written, Refusal>) -> Value {
    serde_json::from_str(&accepted(written).event.unwrap().frame).unwrap()
}
fn unchanged(written: Result<Written, Refusal>) -> bool {
    written.unwrap().outcome == Outcome::Unchanged
}
fn code(written: Result<Written, Refusal>) -> Code {
    written.unwrap_err().code
}
fn message(log: &Log, n: u64) -> Value {
    serde_json::from_str(&log.get(n).unwrap()).unwrap()
}
fn revs(changes: Changes) -> Vec<u64> {
    match changes {
        Changes::Page { events, .. } => events.iter().map(|(rev, _)| *rev).collect(),
        other => panic!("{other:?}"),
    }
}
fn frames(changes: Changes) -> Vec<Value> {
    match changes {
        Changes::Page { events, .. } => events.iter().map(|(_, frame)| serde_json::from_str(frame).unwrap()).collect(),
        other => panic!("{other:?}"),
    }
}
fn since(log: &Log, rev: u64, bounds: &Bounds) -> Vec<Value> {
    frames(log.since(rev, None, usize::MAX, ("lobby", "log"), bounds))
}

// --- Posts --------------------------------------------------------------------------------------------------------

#[test]
fn a_resent_message_is_posted_once() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    let first = log.post(&Post::text(b"\"hi\""), with_id("ada", 1), &at(1, &bounds)).unwrap();
    let second = log.post(&Post::text(b"\"hi\""), with_id("ada", 1), &at(2, &bounds)).unwrap();
    assert_eq!(first.answer, second.answer);
    assert_eq!(second.outcome, Outcome::Duplicate);
    assert_eq!(log.len(), 1);
}

#[test]
fn a_replica_that_follows_the_records_holds_the_same_bytes() {
    let bounds = Bounds { log_messages_max: 20, ..Bounds::default() };
    let (mut primary, mut replica) = (Log::default(), Log::default());
    for n in 1..=100u64 {
        let actor = if n % 3 == 0 { with_id("ada", n) } else { by("ada") };
        let body = format!("\"{}\"", "x".repeat(n as usize));
        let writer = Writer { replication_id: 1 + n / 50, chance: n as u32 };
        let posted = primary.post(&Post::text(body.as_bytes()), actor, &Call { writer, ..at(n, &bounds) });
        replica.apply(&accepted(posted).record, &bounds).unwrap();
    }
    assert_eq!(primary.encode(), replica.encode());
    assert_eq!(Log::decode(&primary.encode()).unwrap(), primary);
    assert_eq!(primary.epochs().current().number, 3);
}

#[test]
fn a_replica_refuses_a_record_that_leaves_a_hole_and_stays_as_it_is() {
    let bounds = Bounds::default();
    let mut primary = log_of(1, &bounds);
    let post = accepted(primary.post(&Post::text(b"\"x\""), by("ada"), &at(1, &bounds)));
    let react = accepted(primary.react(1, "+", true, by("bo"), &at(1, &bounds)));
    for record in [post.record, react.record] {
        let mut replica = Log::default();
        assert!(replica.apply(&record, &bounds).is_err());
        assert_eq!(replica, Log::default());
    }
}

#[test]
fn old_messages_go_by_count_bytes_and_age() {
    let by_bytes = Bounds { log_bytes_max: 4_000, ..Bounds::default() };
    let log = log_of(1000, &by_bytes);
    assert!(log.message_bytes <= 4_000 && log.len() > 10, "{} bytes", log.message_bytes);
    let by_age = Bounds { log_age_ms_max: 7, ..Bounds::default() };
    assert_eq!(log_of(100, &by_age).len(), 8);
    let by_count = Bounds { log_messages_max: 5, ..Bounds::default() };
    assert_eq!(log_of(100, &by_count).figures().first_n, 96);
}

#[test]
fn edits_reactions_and_histories_count_for_the_bound_on_bytes() {
    let bounds = Bounds { log_bytes_max: 25_000, ..Bounds::default() };
    let mut log = log_of(50, &bounds);
    for round in 0..40 {
        let body = format!("\"{round}{}\"", "x".repeat(2_000));
        log.edit(50, body.as_bytes(), &[], by("ada"), &at(2000, &bounds)).unwrap();
    }
    // What changes last stays, whatever it takes: each message has bounds of its own.
    assert!(log.len() < 50 && log.message(50).is_some(), "{}", log.len());
    let exact: u64 = log.messages.iter().map(|m| m.bytes() as u64).sum();
    assert_eq!(log.message_bytes, exact);
}

#[test]
fn a_clock_that_steps_back_does_not_reorder_messages() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    say(&mut log, "ada", "a", &at(5000, &bounds));
    say(&mut log, "ada", "b", &at(4000, &bounds));
    assert_eq!(log.messages[1].at_ms, 5000);
}

#[test]
fn a_message_without_content_is_refused_and_changes_nothing() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    for (kind, body) in [
        ("text", "\"  \""),
        ("text", "\"\\n \\u00a0\""),
        ("text", "{}"),
        ("text", "{\"text\":\"\\n\"}"),
        ("text", "{\"text\":3}"),
        ("Text", "\"x\""),
        ("", "\"x\""),
        ("text", "17"),
        ("text", "{"),
    ] {
        let post = Post { kind, ..Post::text(body.as_bytes()) };
        assert!(log.post(&post, by("ada"), &at(1, &bounds)).is_err(), "{kind} {body}");
    }
    let names: Vec<String> = (0..33).map(|n| format!("u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(4096));
    let hi = || Post::text(b"\"hi\"");
    for (post, expected) in [
        (Post { reply: Some(1), ..hi() }, Code::NotFound),
        (Post { reply: Some(0), ..hi() }, Code::NotFound),
        (Post { mentions: &names, ..hi() }, Code::TooLarge),
        (Post { mentions: &[""], ..hi() }, Code::InvalidArgument),
        (Post { meta: Some(b"[]"), ..hi() }, Code::InvalidJson),
        (Post { meta: Some(large.as_bytes()), ..hi() }, Code::TooLarge),
        (Post { streaming: true, ..Post::text(b"{\"text\":\"x\"}") }, Code::InvalidJson),
        (Post::text(format!("\"{}\"", "x".repeat(33 * 1024)).as_bytes()), Code::TooLarge),
    ] {
        assert_eq!(code(log.post(&post, by("ada"), &at(1, &bounds))), expected, "{post:?}");
    }
    assert!(log.post(&hi(), by(""), &at(1, &bounds)).is_err());
    assert_eq!(log, Log::default());
}

#[test]
fn blanks_around_a_text_are_dropped_and_all_else_stays_as_it_was_written() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    for (kind, body, stored) in [
        ("text", "\"  a b \"", "a b"),
        ("text", "\"\\n\\u0061\\\"\\n\"", "a\""),
        ("text", "\"\\u0061\"", "a"),
        ("note", "\" a \"", " a "),
    ] {
        let post = Post { kind, ..Post::text(body.as_bytes()) };
        let posted = frame(log.post(&post, by("ada"), &at(1, &bounds)));
        assert_eq!(posted["message"]["body"], stored, "{kind} {body}");
    }
    log.post(&Post::text(b"{\"text\":\" a \"}"), by("ada"), &at(1, &bounds)).unwrap();
    assert_eq!(message(&log, 5)["body"]["text"], " a ");
    assert!(log.get(3).unwrap().contains("\\u0061"), "what needs no trimming is not written anew");
}

#[test]
fn a_message_shows_what_applies_and_nothing_else() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    let call = at(7, &bounds);
    say(&mut log, "ada", "first", &call);
    let post = Post {
        kind: "note",
        reply: Some(1),
        mentions: &["bo", "cy", "bo"],
        meta: Some(b"{ \"a\": 1 }"),
        ..Post::text(b"{\"text\":\"hi\"}")
    };
    let posted = frame(log.post(&post, with_id("ada", 3), &call));
    assert_eq!(
        posted,
        json!({"event": "msg.posted", "room": "lobby", "stream": "log", "epoch": log.epochs().current().text(), "from": 1,
            "rev": 2, "replies": 1, "message": {"n": 2, "user": "ada", "type": "note", "at_ms": 7, "body": {"text": "hi"},
            "reply": 1, "thread": 1, "mentions": ["bo", "cy"], "meta": {"a": 1}, "client": "tab", "seq": 3}})
    );
    assert_eq!(
        message(&log, 1),
        json!({"n": 1, "user": "ada", "type": "text", "at_ms": 7, "body": "first", "replies": 1})
    );
}

// --- Changes ------------------------------------------------------------------------------------------------------

#[test]
fn only_the_author_or_a_moderator_edits_and_deletes() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(2, &bounds), at(2000, &bounds));
    assert_eq!(code(log.edit(1, b"\"x\"", &[], by("bo"), &call)), Code::PermissionDenied);
    assert_eq!(code(log.delete(1, by("bo"), &call)), Code::PermissionDenied);
    let edited = frame(log.edit(1, b"\"better\"", &[], by("ada"), &call));
    assert_eq!((&edited["event"], &edited["from"], &edited["rev"]), (&json!("msg.changed"), &json!(2), &json!(3)));
    assert_eq!((&edited["message"]["body"], &edited["message"]["edited_at_ms"]), (&json!("better"), &json!(2000)));
    log.edit(1, b"\"moderated\"", &[], moderator("bo"), &call).unwrap();
    let deleted = frame(log.delete(2, moderator("bo"), &call));
    assert_eq!(
        deleted["message"],
        json!({"n": 2, "user": "ada", "type": "text", "at_ms": 1002, "body": null, "deleted_at_ms": 2000, "deleted_by": "bo"})
    );
    for refused in [
        log.edit(2, b"\"x\"", &[], by("ada"), &call),
        log.edit(3, b"\"x\"", &[], by("ada"), &call),
        log.delete(3, by("ada"), &call),
        log.react(2, "+", true, by("ada"), &call),
        log.append(2, "x", None, by("ada"), &call),
    ] {
        assert_eq!(code(refused), Code::NotFound);
    }
    assert_eq!(code(log.edit(1, b"\" \"", &[], by("ada"), &call)), Code::InvalidArgument);
    let history: Vec<Value> = log.history(1).unwrap().iter().map(|v| serde_json::from_str(v).unwrap()).collect();
    assert_eq!(
        history,
        [
            json!({"at_ms": 1001, "user": "ada", "body": "message 1"}),
            json!({"at_ms": 2000, "user": "ada", "body": "better"}),
            json!({"at_ms": 2000, "user": "bo", "body": "moderated"})
        ]
    );
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(2, &bounds), at(2000, &bounds));
    log.react(1, "+", true, by("bo"), &call).unwrap();
    log.read(&[("bo", 2)], &call).unwrap();
    log.announce_reads("lobby", "log");
    log.delete(2, by("ada"), &call).unwrap();
    let before = log.encode();
    assert!(unchanged(log.edit(1, b"\"message 1\"", &[], by("ada"), &call)));
    assert!(unchanged(log.edit(1, b" \" message 1 \"", &[], by("ada"), &call)));
    assert!(unchanged(log.react(1, "+", true, by("bo"), &call)));
    assert!(unchanged(log.react(1, "+", false, by("cy"), &call)));
    assert!(unchanged(log.delete(2, by("ada"), &call)));
    assert_eq!(log.read(&[("bo", 1), ("bo", 2), ("bo", 99)], &call).unwrap(), (0, None));
    assert_eq!(log.encode(), before);
}

#[test]
fn a_resent_change_is_answered_with_the_first_answer() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(1, &bounds), at(2000, &bounds));
    let first = log.react(1, "+", true, with_id("ada", 1), &call).unwrap();
    log.react(1, "+", true, by("bo"), &call).unwrap();
    let again = log.react(1, "+", true, with_id("ada", 1), &call).unwrap();
    assert_eq!((again.answer, again.outcome), (first.answer, Outcome::Duplicate));
    log.delete(1, with_id("ada", 2), &call).unwrap();
    assert_eq!(log.delete(1, with_id("ada", 2), &call).unwrap().outcome, Outcome::Duplicate);
    assert_eq!(log.edit(1, b"\"x\"", &[], with_id("ada", 2), &call).unwrap().outcome, Outcome::Duplicate);
}

#[test]
fn reactions_stand_together_in_the_order_in_which_they_came() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(1, &bounds), at(2000, &bounds));
    for (reaction, user) in [("+", "ada"), ("-", "bo"), ("+", "cy"), ("-", "ada")] {
        log.react(1, reaction, true, by(user), &call).unwrap();
    }
    let taken_back = frame(log.react(1, "-", false, by("bo"), &call));
    assert_eq!(
        (&taken_back["event"], &taken_back["added"], &taken_back["count"], &taken_back["n"]),
        (&json!("msg.reacted"), &json!(false), &json!(1), &json!(1))
    );
    assert_eq!(
        message(&log, 1)["reactions"],
        json!({"+": {"count": 2, "users": ["ada", "cy"]}, "-": {"count": 1, "users": ["ada"]}})
    );
    for bad in ["", "a\nb", &"x".repeat(65)] {
        assert_eq!(code(log.react(1, bad, true, by("ada"), &call)), Code::InvalidArgument, "{bad}");
    }
}

#[test]
fn reactions_are_bounded_in_kinds_and_in_number() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(2, &bounds), at(2000, &bounds));
    for kind in 0..REACTIONS_DIFFERENT_MAX {
        log.react(1, &format!("r{kind}"), true, by("ada"), &call).unwrap();
    }
    assert_eq!(code(log.react(1, "new", true, by("ada"), &call)), Code::Full);
    log.react(1, "r0", true, by("bo"), &call).unwrap();
    for user in 0..REACTIONS_PER_MESSAGE_MAX {
        log.react(2, "+", true, by(&format!("u{user}")), &call).unwrap();
    }
    assert_eq!(code(log.react(2, "+", true, by("one more"), &call)), Code::Full);
    let shown = message(&log, 2)["reactions"]["+"].clone();
    assert_eq!((&shown["count"], shown["users"].as_array().unwrap().len()), (&json!(1000), 100));
}

#[test]
fn the_newest_versions_are_kept_within_their_bounds() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(1, &bounds), at(2000, &bounds));
    for round in 0..30 {
        log.edit(1, json!(format!("v{round}")).to_string().as_bytes(), &[], by("ada"), &call).unwrap();
    }
    let history = log.history(1).unwrap();
    assert_eq!(history.len(), 11);
    assert!(history[0].contains("v19") && history[10].contains("v29"), "{history:?}");
    for letter in ["a", "b", "c", "d"] {
        log.edit(1, json!(letter.repeat(30_000)).to_string().as_bytes(), &[], by("ada"), &call).unwrap();
    }
    assert_eq!(log.history(1).unwrap().len(), 3, "two of 30,000 bytes, and the current one");
}

#[test]
fn a_reply_belongs_to_the_thread_of_what_it_answers() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(2, &bounds), at(2000, &bounds));
    for reply in [1, 3, 2, 4] {
        log.post(&Post { reply: Some(reply), ..Post::text(b"\"re\"") }, by("bo"), &call).unwrap();
    }
    let numbers = |thread| {
        let page = log.range(Range::Before(u64::MAX), Some(thread), 10, &bounds).unwrap();
        page.messages.iter().map(|m| serde_json::from_str::<Value>(m).unwrap()["n"].as_u64().unwrap()).collect()
    };
    let (one, two): (Vec<u64>, Vec<u64>) = (numbers(1), numbers(2));
    assert_eq!((one, two), (vec![3, 4, 6], vec![5]));
    assert_eq!((&message(&log, 1)["replies"], &message(&log, 6)["thread"]), (&json!(3), &json!(1)));
    assert_eq!(log.range(Range::After(0), Some(99), 10, &bounds).unwrap_err().code, Code::NotFound);
}

// --- Streamed messages --------------------------------------------------------------------------------------------

fn streamed(log: &mut Log, call: &Call<'_>) -> u64 {
    let post = Post { streaming: true, ..Post::text(b"\"\"") };
    log.post(&post, by("bot"), call).unwrap().answer.number
}

#[test]
fn a_streamed_message_grows_until_it_is_finished() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    let call = at(1000, &bounds);
    let n = streamed(&mut log, &call);
    let first = frame(log.append(n, "Hi \"😀\n", Some(0), by("bot"), &call));
    assert_eq!(
        (&first["event"], &first["at"], &first["chunk"]),
        (&json!("msg.appended"), &json!(0), &json!("Hi \"😀\n"))
    );
    let second = log.append(n, " ok", Some(7), by("bot"), &call).unwrap();
    assert_eq!(second.answer.number, 10);
    assert_eq!((&message(&log, n)["body"], &message(&log, n)["streaming"]), (&json!("Hi \"😀\n ok"), &json!(true)));

    assert_eq!(code(log.append(n, "x", Some(7), by("bot"), &call)), Code::Desync);
    assert_eq!(code(log.append(n, "x", None, by("ada"), &call)), Code::PermissionDenied);
    assert_eq!(code(log.finish(n, None, by("ada"), &call)), Code::PermissionDenied);
    assert_eq!(code(log.edit(n, b"\"x\"", &[], by("bot"), &call)), Code::InvalidArgument);
    assert_eq!(code(log.append(n, &"x".repeat(32 * 1024), None, by("bot"), &call)), Code::TooLarge);
    assert!(unchanged(log.append(n, "", None, by("bot"), &call)));

    let finished = frame(log.finish(n, None, by("bot"), &call));
    assert_eq!((&finished["event"], &finished["message"]["body"]), (&json!("msg.changed"), &json!("Hi \"😀\n ok")));
    assert!(finished["message"].get("streaming").is_none());
    assert_eq!(code(log.append(n, "x", None, by("bot"), &call)), Code::Closed);
    assert_eq!(code(log.finish(n, None, by("bot"), &call)), Code::Closed);
    assert_eq!(code(log.cancel(n, by("ada"), &call)), Code::Closed);
}

#[test]
fn a_resent_append_is_answered_with_the_length_of_then() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    let call = at(1000, &bounds);
    let n = streamed(&mut log, &call);
    log.append(n, "one", Some(0), with_id("bot", 1), &call).unwrap();
    log.append(n, "two", Some(3), with_id("bot", 2), &call).unwrap();
    let again = log.append(n, "one", Some(0), with_id("bot", 1), &call).unwrap();
    assert_eq!((again.answer.number, again.outcome), (3, Outcome::Duplicate));
    log.finish(n, Some(b"{\"text\":\"onetwo\",\"tokens\":2}"), by("bot"), &call).unwrap();
    assert_eq!(log.append(n, "two", Some(3), with_id("bot", 2), &call).unwrap().answer.number, 6);
    assert_eq!(message(&log, n)["body"]["tokens"], 2);
    assert_eq!(log.history(n).unwrap().len(), 1, "what grew is no version of its own");
}

#[test]
fn whoever_reads_may_ask_the_writer_to_stop() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    let call = at(1000, &bounds);
    let n = streamed(&mut log, &call);
    assert!(!log.is_cancelled(n));
    assert_eq!(frame(log.cancel(n, by("ada"), &call))["message"]["cancelled"], true);
    assert!(log.is_cancelled(n) && unchanged(log.cancel(n, by("bo"), &call)));
    log.append(n, "…", None, by("bot"), &call).unwrap();
    log.finish(n, None, by("bot"), &call).unwrap();
    assert_eq!(message(&log, n)["cancelled"], true);
}

#[test]
fn a_writer_that_falls_silent_is_ended_by_the_log() {
    let (mut log, bounds) = (Log::default(), Bounds { message_stream_ms: 50, ..Bounds::default() });
    let n = streamed(&mut log, &at(1000, &bounds));
    let other = streamed(&mut log, &at(1000, &bounds));
    log.append(n, "thinking", None, by("bot"), &at(1040, &bounds)).unwrap();
    assert_eq!(log.next_deadline(&bounds), Some(1050));
    let mut replica = Log::decode(&log.encode()).unwrap();
    let done = log.due(&at(1050, &bounds));
    assert_eq!(done.len(), 1);
    replica.apply(&done[0].record, &bounds).unwrap();
    assert_eq!(replica, log);
    assert_eq!(message(&log, other)["interrupted"], true);
    assert_eq!((message(&log, n)["streaming"].as_bool(), log.next_deadline(&bounds)), (Some(true), Some(1090)));
    log.delete(n, by("bot"), &at(1060, &bounds)).unwrap();
    assert!(log.due(&at(9999, &bounds)).is_empty() && !log.is_streaming());
}

#[test]
fn no_more_than_a_hundred_messages_are_streamed_at_once() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    let call = at(1000, &bounds);
    for _ in 0..100 {
        streamed(&mut log, &call);
    }
    let post = Post { streaming: true, ..Post::text(b"\"\"") };
    assert_eq!(code(log.post(&post, by("bot"), &call)), Code::Full);
    log.finish(1, None, by("bot"), &call).unwrap();
    assert!(log.post(&post, by("bot"), &call).is_ok());
}

// --- Watermarks ---------------------------------------------------------------------------------------------------

#[test]
fn unread_counts_leave_out_what_is_read_own_or_deleted() {
    let (mut log, bounds) = (Log::default(), Bounds::default());
    let call = at(1000, &bounds);
    let named = |log: &mut Log, user: &'static str, names: &[&str]| {
        log.post(&Post { mentions: names, ..Post::text(b"\"hi\"") }, by(user), &call).unwrap().answer.number
    };
    named(&mut log, "ada", &["bo"]);
    named(&mut log, "bo", &["*"]);
    named(&mut log, "ada", &["*", "bo"]);
    named(&mut log, "cy", &["bo", "cy"]);
    named(&mut log, "cy", &[]);
    let counts = |log: &Log, user| (log.unread(user).read, log.unread(user).unread, log.unread(user).mentions);
    assert_eq!(counts(&log, "bo"), (0, 4, 3));
    assert_eq!(counts(&log, "cy"), (0, 3, 2), "one does not name oneself");
    assert_eq!(counts(&log, "new"), (0, 5, 2), "who never came is named with everybody");
    log.read(&[("bo", 1)], &call).unwrap();
    assert_eq!(counts(&log, "bo"), (1, 3, 2));
    log.delete(3, by("ada"), &call).unwrap();
    assert_eq!(counts(&log, "bo"), (1, 2, 1));
    log.edit(4, b"\"hi\"", &[], by("cy"), &call).unwrap();
    assert_eq!(counts(&log, "bo"), (1, 2, 0));
    log.read(&[("bo", 99)], &call).unwrap();
    assert_eq!(counts(&log, "bo"), (5, 0, 0));
    let (_, record) = log.trim(0, &call);
    assert!(record.is_some());
    assert_eq!((counts(&log, "bo"), counts(&log, "new")), ((5, 0, 0), (0, 0, 0)));
}

#[test]
fn moved_watermarks_are_told_together_and_before_the_next_change() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(3, &bounds), at(2000, &bounds));
    assert_eq!(log.read(&[("ada", 1), ("bo", 2), ("ada", 3)], &call).unwrap().0, 3);
    assert_eq!((log.rev(), log.position().rev, log.reads_waiting()), (6, 3, 3));
    // Until it is told, the position stays behind it.
    assert!(since(&log, 3, &bounds).is_empty());
    let next = accepted(log.post(&Post::text(b"\"x\""), by("ada"), &call));
    let reads = next.reads.unwrap();
    let told: Value = serde_json::from_str(&reads.frame).unwrap();
    assert_eq!((reads.from, reads.rev, next.event.unwrap().from), (3, 6, 6));
    assert_eq!(
        (&told["event"], &told["reads"]),
        (&json!("msg.read"), &json!([{"user": "bo", "n": 2}, {"user": "ada", "n": 3}]))
    );
    assert_eq!(log.announce_reads("lobby", "log"), None);
    assert_eq!(log.reads_json(), "[{\"user\":\"bo\",\"n\":2},{\"user\":\"ada\",\"n\":3}]");
}

#[test]
fn who_read_longest_ago_is_forgotten_when_there_are_too_many() {
    let bounds = Bounds { readers_max: 5, ..Bounds::default() };
    let (mut log, call) = (log_of(3, &bounds), at(2000, &bounds));
    let mut replica = Log::decode(&log.encode()).unwrap();
    // A replica with another bound follows the primary's decision.
    let other = Bounds::default();
    for user in 0..9 {
        let (_, record) = log.read(&[(&format!("u{user}"), 2)], &call).unwrap();
        replica.apply(&record.unwrap(), &other).unwrap();
    }
    assert_eq!((log.figures().readers, log.unread("u3").read, log.unread("u4").read), (5, 0, 2));
    assert_eq!(replica, log);
}

// --- Catching up --------------------------------------------------------------------------------------------------

#[test]
fn since_gives_every_message_after_a_position_once_in_bounded_pages() {
    let bounds = Bounds { page_entries_max: 4, ..Bounds::default() };
    let log = log_of(10, &bounds);
    let mut seen = Vec::new();
    let mut at = 2;
    while let Changes::Page { events, through } = log.since(at, None, 100, ("lobby", "log"), &bounds) {
        if events.is_empty() {
            break;
        }
        assert!(events.len() <= 4);
        seen.extend(events.iter().map(|(rev, _)| *rev));
        at = through;
    }
    assert_eq!(seen, (3..=10).collect::<Vec<_>>());
}

#[test]
fn since_gives_each_thing_once_however_often_it_changed() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(3, &bounds), at(2000, &bounds));
    for round in 0..50 {
        log.react(2, "+", round % 2 == 0, by("bo"), &call).unwrap();
        log.read(&[("bo", 1 + round / 20)], &call).unwrap();
    }
    say(&mut log, "ada", "new", &call);
    log.edit(4, b"\"newer\"", &[], by("ada"), &call).unwrap();
    let told = since(&log, 3, &bounds);
    let short: Vec<_> = told.iter().map(|f| (f["event"].as_str().unwrap(), f["message"]["n"].as_u64())).collect();
    assert_eq!(short, [("msg.read", None), ("msg.changed", Some(2)), ("msg.posted", Some(4))]);
    assert_eq!(told[2]["message"]["body"], "newer");
    let chain: Vec<_> = told.iter().map(|f| (f["from"].as_u64().unwrap(), f["rev"].as_u64().unwrap())).collect();
    assert_eq!((chain[0].0, chain[0].1, chain[1].1, chain[2].1), (3, chain[1].0, chain[2].0, log.rev()));
    assert_eq!(since(&log, log.rev() - 1, &bounds)[0]["event"], "msg.changed", "it was there already");
}

#[test]
fn the_chain_reaches_the_head_even_when_what_changed_last_is_gone() {
    let bounds = Bounds::default();
    let (mut log, call) = (log_of(3, &bounds), at(2000, &bounds));
    log.react(1, "+", true, by("bo"), &call).unwrap();
    log.trim(2, &call);
    let told = since(&log, 3, &bounds);
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["event"], &told[0]["reads"], &told[0]["rev"]), (&json!("msg.read"), &json!([]), &json!(4)));
    assert_eq!(log.since(0, None, 9, ("l", "log"), &bounds), Changes::Trimmed);
}

#[test]
fn what_is_trimmed_or_rolled_back_or_replaced_is_told() {
    let bounds = Bounds { log_messages_max: 5, ..Bounds::default() };
    let mut log = log_of(10, &bounds);
    assert_eq!(log.since(4, None, 9, ("l", "log"), &bounds), Changes::Trimmed);
    assert_eq!(revs(log.since(5, None, 9, ("l", "log"), &bounds)), [6, 7, 8, 9, 10]);
    let old = log.epochs().current();
    let writer = Writer { replication_id: 2, chance: 5 };
    log.post(&Post::text(b"\"x\""), by("bo"), &Call { writer, ..at(99, &bounds) }).unwrap();
    assert_eq!(log.since(12, Some(old), 9, ("l", "log"), &bounds), Changes::RolledBack { end: 10 });
    let foreign = Epoch { number: 1, id: 77 };
    assert_eq!(log.since(9, Some(foreign), 9, ("l", "log"), &bounds), Changes::Unknown);
}

#[test]
fn pages_run_both_ways_and_around() {
    let bounds = Bounds::default();
    let log = log_of(10, &bounds);
    let page = |which, count| {
        let page = log.range(which, None, count, &bounds).unwrap();
        let n = |json: &String| serde_json::from_str::<Value>(json).unwrap()["n"].as_u64().unwrap();
        (page.messages.iter().map(n).collect::<Vec<_>>(), page.more_before, page.more_after)
    };
    assert_eq!(page(Range::Before(u64::MAX), 3), (vec![8, 9, 10], true, false));
    assert_eq!(page(Range::Before(3), 9), (vec![1, 2], false, true));
    assert_eq!(page(Range::After(8), 9), (vec![9, 10], true, false));
    assert_eq!(page(Range::After(0), 2), (vec![1, 2], false, true));
    assert_eq!(page(Range::Around(5), 4), (vec![3, 4, 5, 6], true, true));
    assert_eq!(page(Range::Around(5), 1), (vec![5], true, true));
    assert_eq!(page(Range::Around(1), 4), (vec![1, 2, 3, 4], false, true));
    assert_eq!(page(Range::Around(10), 4), (vec![7, 8, 9, 10], true, false));
    assert_eq!(page(Range::Around(99), 2), (vec![9, 10], true, false));
    let small = Bounds { page_bytes_max: 200, ..Bounds::default() };
    let around = log.range(Range::Around(5), None, 9, &small).unwrap();
    assert!(around.messages.len() < 5 && around.messages.iter().any(|m| m.contains("message 5")), "{around:?}");
}

// --- Bounds of one log, and time ----------------------------------------------------------------------------------

#[test]
fn a_log_may_keep_less_than_the_server_and_never_more() {
    let bounds = Bounds { log_messages_max: 100, ..Bounds::default() };
    let mut log = log_of(50, &bounds);
    assert!(log.configure(Some(10), None, Some(u64::MAX), &at(2000, &bounds)).is_some());
    assert!(log.configure(Some(10), None, None, &at(2000, &bounds)).is_none());
    assert_eq!(log.limits(&bounds).messages, 10);
    assert_eq!(log.limits(&bounds).bytes, bounds.log_bytes_max as u64);
    assert_eq!(log.next_deadline(&bounds), Some(0));
    let mut replica = Log::decode(&log.encode()).unwrap();
    for done in log.due(&at(2000, &bounds)) {
        replica.apply(&done.record, &bounds).unwrap();
    }
    assert_eq!((log.len(), &replica), (10, &log));
    log.configure(Some(0), Some(5), None, &at(2000, &bounds));
    assert_eq!(log.limits(&bounds).messages, 100);
    assert_eq!(log.next_deadline(&bounds), Some(1041 + 5 + 1));
}

#[test]
fn messages_end_by_age_when_nobody_writes() {
    let bounds = Bounds { log_age_ms_max: 100, ..Bounds::default() };
    let mut log = log_of(50, &bounds);
    assert!(log.due(&at(1101, &bounds)).is_empty());
    assert_eq!(log.next_deadline(&bounds), Some(1102));
    assert_eq!(log.due(&at(1102, &bounds)).len(), 1);
    assert_eq!((log.len(), log.rev()), (49, 50), "what ends by age is no change that people are told of");
    log.due(&at(u64::MAX / 4, &bounds));
    assert_eq!((log.len(), log.next_deadline(&bounds), log.figures().first_n), (0, None, 51));
    assert_eq!(say(&mut log, "ada", "again", &at(u64::MAX / 4, &bounds)), 51);
}

#[test]
fn trimming_by_hand_keeps_the_newest() {
    let bounds = Bounds { log_messages_max: 100_000, ..Bounds::default() };
    let mut log = log_of(12_000, &bounds);
    assert_eq!(log.trim(12_000, &at(2, &bounds)), (0, None));
    assert_eq!(log.trim(500, &at(2, &bounds)).0, 10_000, "a bounded step");
    assert_eq!(log.trim(500, &at(2, &bounds)).0, 1_500);
    assert_eq!((log.len(), log.figures().first_n), (500, 11_501));
}

// --- Storage ------------------------------------------------------------------------------------------------------

/// A log with everything that there is.
fn furnished(bounds: &Bounds) -> Log {
    let (mut log, call) = (log_of(5, bounds), at(2000, bounds));
    let post = Post { reply: Some(2), mentions: &["bo", "*"], meta: Some(b"{\"a\":1}"), ..Post::text(b"\"re\"") };
    log.post(&post, with_id("cy", 4), &call).unwrap();
    streamed(&mut log, &call);
    log.append(7, "hé", None, with_id("bot", 1), &call).unwrap();
    log.cancel(7, by("ada"), &call).unwrap();
    log.edit(1, b"\"edited\"", &["cy"], by("ada"), &call).unwrap();
    log.react(1, "+", true, by("bo"), &call).unwrap();
    log.react(6, "+", true, by("ada"), &call).unwrap();
    log.delete(3, moderator("bo"), &call).unwrap();
    log.read(&[("bo", 3), ("ada", 6)], &call).unwrap();
    log.configure(None, Some(99_999), None, &call);
    log.announce_reads("lobby", "log");
    log
}

#[test]
fn a_stored_log_comes_back_whole() {
    let bounds = Bounds::default();
    let log = furnished(&bounds);
    let read = Log::decode(&log.encode()).unwrap();
    assert_eq!(read, log);
    assert_eq!((&read.people, &read.changes, &read.streams), (&log.people, &log.changes, &log.streams));
    assert_eq!((read.message_bytes, read.figures()), (log.message_bytes, log.figures()));
    assert_eq!(since(&read, 0, &bounds), since(&log, 0, &bounds));
}

#[test]
fn an_earlier_version_is_refused_by_its_number() {
    let why = Log::decode(&[1, 0, 0, 0]).unwrap_err().to_string();
    assert!(why.contains("version Some(1), this build reads 2"), "{why}");
}

#[test]
fn the_bytes_of_a_stored_log_never_change() {
    let bounds = Bounds::default();
    let mut log = Log::default();
    let call = Call { writer: Writer { replication_id: 9, chance: 7 }, ..at(3, &bounds) };
    log.post(&Post::text(b"\"hi\""), with_id("ada", 1), &call).unwrap();
    let record = accepted(log.react(1, "+", true, by("bo"), &call)).record;
    log.read(&[("bo", 1)], &call).unwrap();
    assert_eq!(record, [2, 1, 7, 9, 2, 3, 2, b'b', b'o', 0, 0, 1, 0, 3, 1, 1, b'+']);
    #[rustfmt::skip]
    let golden = [
        2, 1, 1, 7, 0, 9, 3, 1, 0, 0, 0, 0,
        1, 1, 1, 3, 0, 0, 1, 3, b'a', b'd', b'a', 1, 3, b't', b'a', b'b', 0, 4, b'"', b'h', b'i', b'"',
        1, 2, 1, 1, b'+', 2, b'b', b'o', 0, 0, 0, 0, 0, 0, 0, 0,
        1, 3, 2, b'b', b'o', 1,
    ];
    // What follows is the writers, which have bytes of their own.
    assert_eq!(log.encode()[..golden.len()], golden);
}

#[test]
fn shared_names_are_forgotten_with_the_last_message_that_has_them() {
    let bounds = Bounds::default();
    let mut log = furnished(&bounds);
    log.trim(0, &at(2000, &bounds));
    let read = Log::decode(&log.encode()).unwrap();
    assert_eq!(log.people, read.people);
    // The watermarks of two are left.
    log.people.forget_reads(2);
    assert_eq!(log.people, People::default());
}

#[test]
fn damaged_bytes_are_refused_without_a_panic() {
    let bounds = Bounds::default();
    let log = furnished(&bounds);
    let bytes = log.encode();
    let record = accepted(furnished(&bounds).react(1, "-", true, by("cy"), &at(2000, &bounds))).record;
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            if let Ok(log) = Log::decode(&damaged) {
                exercise(log, &record, &bounds);
            }
        }
        assert!(Log::decode(&bytes[..place]).is_err());
    }
    for place in 0..record.len() {
        for bit in 0..8 {
            let mut damaged = record.clone();
            damaged[place] ^= 1 << bit;
            let mut log = furnished(&bounds);
            if log.apply(&damaged, &bounds).is_err() {
                assert_eq!(log, furnished(&bounds));
            }
            exercise(log, &record, &bounds);
        }
    }
}

/// Every call that a strange log has to bear.
fn exercise(mut log: Log, record: &[u8], bounds: &Bounds) {
    let call = at(u64::MAX / 2, bounds);
    let _ = log.apply(record, bounds);
    let _ = (log.since(1, None, 10, ("l", "log"), bounds), log.heap_bytes(), log.figures(), log.next_deadline(bounds));
    let _ = (log.unread("bo"), log.unread("ada"), log.reads_json(), log.get(1), log.history(1));
    for which in [Range::Before(u64::MAX), Range::After(0), Range::Around(3)] {
        let _ = (log.range(which, None, 3, bounds), log.range(which, Some(2), 3, bounds));
    }
    let _ = log.post(&Post { reply: Some(2), ..Post::text(b"\"x\"") }, by("bo"), &call);
    for n in [1, 3, 6, 7] {
        let _ = log.react(n, "+", true, by("new"), &call);
        let _ = log.append(n, "x", None, by("bot"), &call);
        let _ = log.edit(n, b"\"new\"", &["*"], moderator("bo"), &call);
        let _ = log.delete(n, moderator("bo"), &call);
    }
    let _ = (log.read(&[("bo", 9)], &call), log.announce_reads("l", "log"));
    let _ = (log.due(&call), log.trim(0, &call));
}

#[test]
fn records_are_written_as_the_codec_writes_them() {
    use super::record::{Change, New, Record, encode};
    let post = |mentions, streaming| {
        let (n, reply, thread) = (300, 251, 250);
        Change::Post(New { n, reply, thread, kind: "code", body: "\"ä\"", mentions, meta: "{}", streaming })
    };
    let changes = [
        post(vec![], false),
        post(vec!["bo", "*"], true),
        Change::Edit { n: 7, body: "\"x\"", mentions: vec!["bo"] },
        Change::Read { marks: vec![("bo", 70_000)], forgotten: 1 },
        Change::Trim,
    ];
    for change in changes {
        let epoch = Epoch { number: 70_000, id: u32::MAX };
        let (user, client) = ("ada", "tab");
        let (rev, at_ms, seq, number, trim) = (65_536, 1_795_000_000_000, 1, 300, 64);
        let record = Record { epoch, writer: u64::MAX, rev, at_ms, user, client, seq, number, trim, change };
        assert_eq!(encode(&record), crate::codec::encode_versioned(VERSION, &record), "{record:?}");
    }
}
