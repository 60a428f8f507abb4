//! What becomes of messages: edits, deletions, reactions, threads, streamed answers, watermarks, and what a log keeps.
#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::time::Duration;
use stoa_core::event::{Header, Kind};
use stoa_harness::redis::Ending;
use stoa_harness::resp::Subscriber;
use stoa_harness::{Redis, RedisOptions, Reply, assert_eventually};

const LOG: &str = "stoa:{lobby}:log";
const SOON: Duration = Duration::from_secs(5);

/// The next durable event, without the announcements of heads.
#[track_caller]
fn next(listener: &mut Subscriber) -> (Header, Value) {
    loop {
        let (header, frame) = listener.next(SOON).expect("an event");
        if header.kind == Kind::Durable {
            return (header, frame);
        }
    }
}

fn post(redis: &Redis, user: &str, text: &str) -> i64 {
    redis.ok(&["MSG.POST", LOG, user, &json!(text).to_string()]).field("n").int()
}

fn message(redis: &Redis, n: i64) -> Value {
    redis.ok(&["MSG.GET", LOG, &n.to_string()]).items()[0].json()
}

fn unread(redis: &Redis, user: &str) -> [i64; 3] {
    let reply = redis.ok(&["MSG.UNREAD", LOG, user]);
    ["read", "unread", "mentions"].map(|field| reply.field(field).int())
}

/// What kind of write an answer says it was: (duplicate, changed).
fn came(reply: &Reply) -> (i64, i64) {
    (reply.field("duplicate").int(), reply.field("changed").int())
}

// --- Changes ------------------------------------------------------------------------------------------------------

#[test]
fn an_edit_replaces_the_body_and_keeps_what_was_there() {
    let redis = Redis::start();
    post(&redis, "ada", "helo");
    let mut listener = redis.listen("lobby");
    let edit = ["MSG.EDIT", LOG, "1", "ada", "\"hello\"", "MENTION", "bo", "ID", "c1", "1", "CONN", "k1"];
    let edited = redis.ok(&edit);
    assert_eq!((edited.field("n").int(), edited.field("rev").int(), came(&edited)), (1, 2, (0, 1)));
    let again = redis.ok(&edit);
    assert_eq!((again.field("rev").int(), came(&again)), (2, (1, 1)));
    let same = redis.ok(&["MSG.EDIT", LOG, "1", "ada", "\" hello \"", "MENTION", "bo"]);
    assert_eq!((same.field("rev").int(), came(&same)), (2, (0, 0)));
    let moderated = redis.ok(&["MSG.EDIT", LOG, "1", "mod", "\"[removed]\"", "ANY"]);
    assert_eq!(came(&moderated), (0, 1));

    let (header, frame) = next(&mut listener);
    assert_eq!((header.from, header.rev, header.origin.as_str()), (1, 2, "k1"));
    assert_eq!((&frame["event"], &frame["message"]["body"]), (&json!("msg.changed"), &json!("hello")));
    assert_eq!(frame["message"]["mentions"], json!(["bo"]));
    let (header, frame) = next(&mut listener);
    assert_eq!((header.from, header.rev, &frame["message"]["body"]), (2, 3, &json!("[removed]")));
    assert_eq!(frame["message"], message(&redis, 1), "what was told is what is there");
    assert!(frame["message"].get("mentions").is_none() && frame["message"]["edited_at_ms"].is_u64());
    let versions = redis.ok(&["MSG.HISTORY", LOG, "1"]).field("versions").jsons();
    let told: Vec<_> = versions.iter().map(|v| (v["user"].as_str().unwrap(), v["body"].as_str().unwrap())).collect();
    assert_eq!(told, [("ada", "helo"), ("ada", "hello"), ("mod", "[removed]")]);
}

#[test]
fn a_deleted_message_keeps_its_place_and_nothing_else() {
    let redis = Redis::start();
    redis.ok(&["MSG.POST", LOG, "ada", "\"oops\"", "MENTION", "*", "META", "{\"a\":1}", "ID", "c1", "1"]);
    post(&redis, "bo", "what?");
    redis.ok(&["MSG.REACT", LOG, "1", "bo", "👀"]);
    redis.ok(&["MSG.EDIT", LOG, "1", "ada", "\"secret\""]);
    let mut listener = redis.listen("lobby");
    assert_eq!(redis.call(&["MSG.DELETE", LOG, "1", "bo"]).refused(), "PERMISSION_DENIED");
    assert_eq!(came(&redis.ok(&["MSG.DELETE", LOG, "1", "bo", "ANY"])), (0, 1));
    assert_eq!(came(&redis.ok(&["MSG.DELETE", LOG, "1", "ada"])), (0, 0));
    let (_, frame) = next(&mut listener);
    let mut left: Vec<&str> = frame["message"].as_object().unwrap().keys().map(String::as_str).collect();
    left.sort_unstable();
    let kept = ["at_ms", "body", "client", "deleted_at_ms", "deleted_by", "edited_at_ms", "n", "seq", "type", "user"];
    assert_eq!(left, kept);
    assert_eq!((&frame["message"]["body"], &frame["message"]["deleted_by"]), (&Value::Null, &json!("bo")));
    let dump = String::from_utf8_lossy(redis.ok(&["DUMP", LOG]).bytes()).into_owned();
    assert!(!dump.contains("secret") && !dump.contains("oops"), "nothing of it is stored any more");
    for call in [
        vec!["MSG.EDIT", LOG, "1", "ada", "\"x\""],
        vec!["MSG.REACT", LOG, "1", "ada", "+"],
        vec!["MSG.HISTORY", LOG, "1"],
    ] {
        assert_eq!(redis.call(&call).refused(), "NOT_FOUND", "{call:?}");
    }
}

#[test]
fn reactions_are_counted_and_told_one_by_one() {
    let redis = Redis::start();
    post(&redis, "ada", "ship it?");
    let mut listener = redis.listen("lobby");
    let react = |verb: &str, user: &str| redis.ok(&[verb, LOG, "1", user, "🚀"]);
    assert_eq!(react("MSG.REACT", "bo").field("count").int(), 1);
    assert_eq!(react("MSG.REACT", "cy").field("count").int(), 2);
    let again = react("MSG.REACT", "cy");
    assert_eq!((came(&again), again.field("count").int(), again.field("rev").int()), ((0, 0), 2, 3));
    assert_eq!(react("MSG.UNREACT", "bo").field("count").int(), 1);
    let id = ["MSG.REACT", LOG, "1", "dan", "🚀", "ID", "c1", "7"];
    assert_eq!(redis.ok(&id).field("count").int(), 2);
    react("MSG.UNREACT", "cy");
    let resent = redis.ok(&id);
    assert_eq!((came(&resent), resent.field("count").int()), ((1, 1), 2), "the first answer");

    let told: Vec<Value> = (0..5).map(|_| next(&mut listener).1).collect();
    let short = |f: &Value| (f["user"].as_str().unwrap().to_owned(), f["added"] == true, f["count"].as_u64().unwrap());
    assert!(told.iter().all(|f| f["event"] == "msg.reacted" && f["n"] == 1 && f["reaction"] == "🚀"));
    let expected = [("bo", true, 1), ("cy", true, 2), ("bo", false, 1), ("dan", true, 2), ("cy", false, 1)];
    assert_eq!(told.iter().map(short).collect::<Vec<_>>(), expected.map(|(u, a, c)| (u.to_owned(), a, c)));
    let chain: Vec<_> = told.iter().map(|f| (f["from"].as_u64().unwrap(), f["rev"].as_u64().unwrap())).collect();
    assert_eq!(chain, [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]);
    assert_eq!(message(&redis, 1)["reactions"], json!({"🚀": {"count": 1, "users": ["dan"]}}));
}

#[test]
fn a_thread_is_read_apart_from_the_rest() {
    let redis = Redis::start();
    post(&redis, "ada", "a question");
    post(&redis, "bo", "something else");
    let mut listener = redis.listen("lobby");
    for (reply, text) in [("1", "an answer"), ("3", "a doubt"), ("2", "yes")] {
        redis.ok(&["MSG.POST", LOG, "cy", &json!(text).to_string(), "REPLY", reply]);
    }
    let told: Vec<Value> = (0..3).map(|_| next(&mut listener).1).collect();
    let replies: Vec<_> = told.iter().map(|f| (f["message"]["thread"].as_u64(), f["replies"].as_u64())).collect();
    assert_eq!(replies, [(Some(1), Some(1)), (Some(1), Some(2)), (Some(2), Some(1))]);
    let page = redis.ok(&["MSG.RANGE", LOG, "THREAD", "1"]);
    let numbers: Vec<_> = page.field("messages").jsons().iter().map(|m| m["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 4]);
    let page = redis.ok(&["MSG.RANGE", LOG, "THREAD", "1", "AFTER", "3", "COUNT", "1"]);
    assert_eq!(page.field("messages").jsons()[0]["n"], 4);
    assert_eq!(["more", "more_before", "more_after"].map(|f| page.field(f).int()), [0, 1, 0]);
    assert_eq!((&message(&redis, 1)["replies"], &message(&redis, 2)["replies"]), (&json!(2), &json!(1)));
}

#[test]
fn messages_are_read_around_a_place_and_by_number() {
    let redis = Redis::start();
    for n in 1..=20 {
        post(&redis, "ada", &format!("{n}"));
    }
    let around = |n: &str, count: &str| {
        let page = redis.ok(&["MSG.RANGE", LOG, "AROUND", n, "COUNT", count]);
        let numbers: Vec<_> = page.field("messages").jsons().iter().map(|m| m["n"].as_u64().unwrap()).collect();
        (numbers, page.field("more_before").int(), page.field("more_after").int())
    };
    assert_eq!(around("10", "5"), (vec![8, 9, 10, 11, 12], 1, 1));
    assert_eq!(around("1", "3"), (vec![1, 2, 3], 0, 1));
    assert_eq!(around("20", "3"), (vec![18, 19, 20], 1, 0));
    let got = redis.ok(&["MSG.GET", LOG, "7", "99", "3"]);
    assert_eq!((&got.items()[0].json()["body"], &got.items()[2].json()["body"]), (&json!("7"), &json!("3")));
    assert_eq!(got.items()[1], Reply::Null);
    assert_eq!(redis.ok(&["MSG.GET", "stoa:{new}:log", "1"]).items(), [Reply::Null]);
}

// --- Streamed messages --------------------------------------------------------------------------------------------

#[test]
fn an_answer_is_read_while_it_is_written() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["MSG.POST", LOG, "bot", "\"\"", "STREAMING", "META", "{\"model\":\"m\"}", "ID", "w1", "1"]);
    let append =
        |at: &str, chunk: &str, seq: &str| redis.ok(&["MSG.APPEND", LOG, "1", "bot", chunk, "AT", at, "ID", "w1", seq]);
    assert_eq!(append("0", "Hello 😀", "2").field("length").int(), 8);
    assert_eq!(append("8", ", \"you\"\n", "3").field("length").int(), 16);
    let again = append("0", "Hello 😀", "2");
    assert_eq!((again.field("length").int(), again.field("duplicate").int()), (8, 1));
    assert_eq!(redis.call(&["MSG.APPEND", LOG, "1", "bot", "x", "AT", "8"]).refused(), "DESYNC");
    assert_eq!(redis.call(&["MSG.APPEND", LOG, "1", "ada", "x"]).refused(), "PERMISSION_DENIED");
    assert_eq!(message(&redis, 1)["body"], "Hello 😀, \"you\"\n");
    assert_eq!(redis.ok(&["MSG.INFO", LOG]).field("streaming").int(), 1);

    assert_eq!(came(&redis.ok(&["MSG.CANCEL", LOG, "1", "ada"])), (0, 1));
    assert_eq!(came(&redis.ok(&["MSG.CANCEL", LOG, "1", "bo"])), (0, 0));
    let told = append("16", "…", "4");
    assert_eq!((told.field("cancelled").int(), told.field("length").int()), (1, 17));
    let finish = ["MSG.FINISH", LOG, "1", "bot", "{\"text\":\"Hello\",\"tokens\":3}", "ID", "w1", "5"];
    assert_eq!(came(&redis.ok(&finish)), (0, 1));
    assert_eq!(came(&redis.ok(&finish)), (1, 1));
    for call in ["MSG.APPEND", "MSG.FINISH", "MSG.CANCEL"] {
        let words = [vec![call, LOG, "1", "bot"], if call == "MSG.APPEND" { vec!["x"] } else { vec![] }].concat();
        assert_eq!(redis.call(&words).refused(), "CLOSED", "{call}");
    }

    let told: Vec<Value> = (0..6).map(|_| next(&mut listener).1).collect();
    let events: Vec<&str> = told.iter().map(|f| f["event"].as_str().unwrap()).collect();
    let expected = ["msg.posted", "msg.appended", "msg.appended", "msg.changed", "msg.appended", "msg.changed"];
    assert_eq!(events, expected);
    assert_eq!((&told[0]["message"]["streaming"], &told[0]["message"]["body"]), (&json!(true), &json!("")));
    assert_eq!((&told[2]["n"], &told[2]["at"], &told[2]["chunk"]), (&json!(1), &json!(8), &json!(", \"you\"\n")));
    assert_eq!(told[3]["message"]["cancelled"], true);
    assert_eq!(told[5]["message"]["body"], json!({"text": "Hello", "tokens": 3}));
    assert!(told[5]["message"].get("streaming").is_none());
    assert_eq!(told[5]["message"], message(&redis, 1));
}

#[test]
fn an_answer_whose_writer_is_gone_is_finished_by_the_module() {
    let redis = Redis::options().module_argument("message-stream-ms").module_argument("300").aof().start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["MSG.POST", LOG, "bot", "\"so far\"", "STREAMING"]);
    redis.ok(&["MSG.APPEND", LOG, "1", "bot", " so good"]);
    let ended = loop {
        let (_, frame) = next(&mut listener);
        if frame["event"] == "msg.changed" {
            break frame;
        }
    };
    assert_eq!((&ended["from"], &ended["rev"]), (&json!(2), &json!(3)));
    assert_eq!((&ended["message"]["interrupted"], &ended["message"]["body"]), (&json!(true), &json!("so far so good")));
    assert_eq!(redis.call(&["MSG.APPEND", LOG, "1", "bot", "x"]).refused(), "CLOSED");
}

#[test]
fn a_streamed_answer_ends_on_a_server_that_was_restarted_too() {
    let mut redis = Redis::options().module_argument("message-stream-ms").module_argument("800").aof().start();
    redis.ok(&["MSG.POST", LOG, "bot", "\"so far\"", "STREAMING"]);
    redis.restart(Ending::Killed);
    assert_eq!(message(&redis, 1)["streaming"], true);
    assert_eventually!(message(&redis, 1)["interrupted"] == true);
}

// --- Watermarks ---------------------------------------------------------------------------------------------------

#[test]
fn what_somebody_has_not_read_is_counted() {
    let redis = Redis::start();
    assert_eq!(unread(&redis, "ada"), [0, 0, 0]);
    assert_eq!(redis.ok(&["MSG.READ", LOG, "ada", "5"]).field("changed").int(), 0);
    assert_eq!(redis.ok(&["EXISTS", LOG]).int(), 0, "nothing was said, so nothing is stored");
    redis.ok(&["MSG.POST", LOG, "ada", "\"hi\"", "MENTION", "bo"]);
    redis.ok(&["MSG.POST", LOG, "cy", "\"all\"", "MENTION", "*"]);
    post(&redis, "bo", "mine");
    post(&redis, "ada", "more");
    assert_eq!((unread(&redis, "bo"), unread(&redis, "cy")), ([0, 3, 2], [0, 3, 0]));
    let moved = redis.ok(&["MSG.READ", LOG, "bo", "1", "cy", "99", "bo", "2"]);
    assert_eq!((moved.field("changed").int(), moved.field("rev").int()), (3, 7));
    assert_eq!((unread(&redis, "bo"), unread(&redis, "cy")), ([2, 1, 0], [4, 0, 0]));
    let back = redis.ok(&["MSG.READ", LOG, "bo", "1"]);
    assert_eq!((back.field("changed").int(), back.field("rev").int()), (0, 7));
    redis.ok(&["MSG.DELETE", LOG, "4", "ada"]);
    assert_eq!(unread(&redis, "bo"), [2, 0, 0]);
}

#[test]
fn moved_watermarks_are_gathered_and_told_before_the_next_change() {
    let redis = Redis::options().module_argument("presence-tick-ms").module_argument("500").start();
    for n in 1..=3 {
        post(&redis, "ada", &format!("{n}"));
    }
    let mut listener = redis.listen("lobby");
    redis.ok(&["MSG.READ", LOG, "ada", "1"]);
    let (header, frame) = next(&mut listener);
    assert_eq!((header.from, header.rev, &frame["reads"]), (3, 4, &json!([{"user": "ada", "n": 1}])), "at once");
    redis.ok(&["MSG.READ", LOG, "ada", "2", "bo", "1"]);
    redis.ok(&["MSG.READ", LOG, "ada", "3"]);
    post(&redis, "bo", "news");
    let (header, frame) = next(&mut listener);
    let expected = json!([{"user": "bo", "n": 1}, {"user": "ada", "n": 3}]);
    assert_eq!((header.from, header.rev, &frame["reads"]), (4, 7, &expected), "each once");
    let (header, frame) = next(&mut listener);
    assert_eq!((header.from, header.rev, &frame["event"]), (7, 8, &json!("msg.posted")));
    redis.ok(&["MSG.READ", LOG, "bo", "4"]);
    let (header, frame) = next(&mut listener);
    assert_eq!((header.from, header.rev, &frame["event"]), (8, 9, &json!("msg.read")), "at the end of the tick");
}

#[test]
fn a_crowd_that_reads_is_told_in_bounded_frames() {
    let redis = Redis::options().module_argument("presence-tick-ms").module_argument("1000").start();
    post(&redis, "ada", "read this");
    let mut listener = redis.listen("lobby");
    let users: Vec<String> = (0..2_000).map(|n| format!("user{n}")).collect();
    for chunk in users.chunks(100) {
        let pairs = chunk.iter().flat_map(|user| [user.as_str(), "1"]);
        redis.ok(&["MSG.READ", LOG].into_iter().chain(pairs).collect::<Vec<_>>());
    }
    let (mut rev, mut seen) = (1, 0);
    while rev < 2_001 {
        let (header, frame) = next(&mut listener);
        assert_eq!(header.from, rev);
        let reads = frame["reads"].as_array().unwrap().len();
        assert!(reads <= 600, "{reads}");
        (rev, seen) = (header.rev, seen + reads);
    }
    assert_eq!(seen, 2_000);
    assert_eq!(redis.ok(&["MSG.INFO", LOG]).field("readers").int(), 2_000);
}

#[test]
fn whoever_enters_learns_what_they_have_not_read() {
    let redis = Redis::start();
    redis.ok(&["MSG.POST", LOG, "ada", "\"hi\"", "MENTION", "bo"]);
    post(&redis, "ada", "ho");
    redis.ok(&["MSG.READ", LOG, "bo", "1", "cy", "2"]);
    let opened = redis.ok(&["ROOM.OPEN", "stoa:{lobby}", "bo", LOG, "-", "stoa:{lobby}:presence", "-"]);
    let part = &opened.items()[0];
    assert_eq!(["read", "unread", "mentions"].map(|field| part.field(field).int()), [1, 1, 0]);
    assert_eq!(part.field("reads").json(), json!([{"user": "bo", "n": 1}, {"user": "cy", "n": 2}]));
    assert_eq!(opened.items()[1].field("kind").text(), "presence");
    let position = format!("{}:{}", part.field("epoch").text(), part.field("rev").int());
    redis.ok(&["MSG.REACT", LOG, "1", "cy", "+"]);
    let opened = redis.ok(&["ROOM.OPEN", "stoa:{lobby}", "new", LOG, &position]);
    let part = &opened.items()[0];
    assert_eq!((part.field("outcome").text(), part.field("unread").int()), ("changes".into(), 2));
    assert_eq!(part.field("events").items()[1].json()["event"], "msg.changed");
    assert!(part.field_if_any("reads").is_none());
    let keys = redis.ok(&["COMMAND", "GETKEYS", "ROOM.OPEN", "stoa:{lobby}", "bo", LOG, "-"]);
    assert_eq!(keys.texts(), ["stoa:{lobby}", LOG], "Redis sees keys alone");
}

// --- Catching up --------------------------------------------------------------------------------------------------

#[test]
fn since_tells_each_thing_once_and_its_chain_has_no_hole() {
    let redis = Redis::start();
    for n in 1..=5 {
        post(&redis, "ada", &format!("{n}"));
    }
    let position = redis.ok(&["MSG.SINCE", LOG, "5"]).field("rev").int();
    assert_eq!(position, 5);
    for round in 0..20 {
        redis.ok(&["MSG.EDIT", LOG, "2", "ada", &format!("\"edit {round}\"")]);
        redis.ok(&["MSG.READ", LOG, "bo", &(1 + round / 5).to_string()]);
        redis.ok(&["MSG.REACT", LOG, "4", &format!("u{round}"), "+"]);
    }
    post(&redis, "ada", "new");
    redis.ok(&["MSG.DELETE", LOG, "6", "ada"]);
    for page in ["1", "2", "100"] {
        let (mut at, mut told) = (5, Vec::new());
        loop {
            let since = redis.ok(&["MSG.SINCE", LOG, &at.to_string(), "COUNT", page]);
            let events = since.field("events").items();
            if events.is_empty() {
                assert_eq!(at, since.field("rev").int());
                break;
            }
            for pair in events.chunks(2) {
                let frame = pair[1].json();
                assert_eq!((frame["from"].as_i64().unwrap(), frame["rev"].as_i64().unwrap()), (at, pair[0].int()));
                at = pair[0].int();
                told.push((frame["event"].as_str().unwrap().to_owned(), frame["message"]["n"].as_u64()));
            }
        }
        // A page that ends between the post and the deletion makes the message an older one for the next page.
        let last = if page == "100" { "msg.posted" } else { told.last().unwrap().0.as_str() }.to_owned();
        let expected = [("msg.read", None), ("msg.changed", Some(2)), ("msg.changed", Some(4)), (&last, Some(6))];
        assert_eq!(told, expected.map(|(event, n)| (event.to_owned(), n)), "pages of {page}");
    }
}

#[test]
fn messages_over_the_bounds_of_their_log_leave_it() {
    let redis = Redis::start();
    let bounds = redis.ok(&["MSG.CONFIG", LOG]);
    assert_eq!((bounds.field("messages_max").int(), redis.ok(&["EXISTS", LOG]).int()), (10_000, 0));
    redis.ok(&["MSG.CONFIG", LOG, "MESSAGES", "1000"]);
    for n in 1..=700 {
        post(&redis, "ada", &format!("{n}"));
    }
    let bounds = redis.ok(&["MSG.CONFIG", LOG, "MESSAGES", "10", "BYTES", "999999999999"]);
    assert_eq!((bounds.field("messages_max").int(), bounds.field("bytes_max").int()), (10, 32 * 1024 * 1024));
    assert_eventually!(redis.ok(&["MSG.INFO", LOG]).field("messages").int() == 10);
    let info = redis.ok(&["MSG.INFO", LOG]);
    assert_eq!((info.field("first_n").int(), info.field("n").int(), info.field("rev").int()), (691, 700, 700));
    redis.ok(&["MSG.CONFIG", LOG, "MESSAGES", "0"]);
    assert_eq!(redis.ok(&["MSG.CONFIG", LOG]).field("messages_max").int(), 10_000);
    assert_eq!(redis.ok(&["MSG.TRIM", LOG, "3"]).int(), 7);
    assert_eq!(redis.ok(&["MSG.TRIM", LOG, "3"]).int(), 0);
    assert_eq!(redis.ok(&["MSG.SINCE", LOG, "690"]).field("outcome").text(), "trimmed");
    assert_eq!(redis.ok(&["MSG.SINCE", LOG, "697"]).field("outcome").text(), "changes");
}

#[test]
fn messages_end_by_age_when_nobody_posts() {
    let redis = Redis::start();
    redis.ok(&["MSG.CONFIG", LOG, "AGE_MS", "400"]);
    post(&redis, "ada", "soon gone");
    assert_eq!(redis.ok(&["MSG.INFO", LOG]).field("messages").int(), 1);
    assert_eventually!(redis.ok(&["MSG.INFO", LOG]).field("messages").int() == 0);
    assert_eq!(post(&redis, "ada", "again"), 2);
    assert_eq!(unread(&redis, "bo"), [0, 1, 0]);
}

// --- Copies -------------------------------------------------------------------------------------------------------

/// A stream of writes of every kind by several users, some refused, some resent.
fn use_the_log(redis: &Redis, rng: &mut StdRng, rounds: usize) {
    let mut connection = redis.connect();
    for round in 0..rounds {
        let user = format!("u{}", rng.random_range(0..5));
        let other = format!("u{}", rng.random_range(0..9));
        let newest = redis.ok(&["MSG.UNREAD", LOG, &user]).field("n").int();
        let n = (newest - rng.random_range(0..12)).max(1).to_string();
        let seq = format!("{}", 1_000_000 + rng.random_range(0..1_000_000));
        let body = json!(format!("message {round} {}", "x".repeat(rng.random_range(0..40)))).to_string();
        let reaction = ["👍", "+1", "🎉"][rng.random_range(0..3)];
        let mut words: Vec<&str> = match rng.random_range(0..14) {
            0..4 => vec!["MSG.POST", LOG, &user, &body, "MENTION", if round % 7 == 0 { "*" } else { &other }],
            4 => vec!["MSG.POST", LOG, &user, &body, "REPLY", &n, "META", "{\"a\":1}"],
            5 => vec!["MSG.POST", LOG, &user, "\"\"", "STREAMING"],
            6 => vec!["MSG.EDIT", LOG, &n, &user, &body, "ANY"],
            7 => vec!["MSG.DELETE", LOG, &n, &user],
            8 => vec!["MSG.REACT", LOG, &n, &user, reaction],
            9 => vec!["MSG.UNREACT", LOG, &n, &user, reaction],
            10 => vec!["MSG.APPEND", LOG, &n, &user, "…and \"more\" 😀"],
            11 => vec!["MSG.FINISH", LOG, &n, &user],
            12 => vec!["MSG.CANCEL", LOG, &n, &user],
            _ => {
                connection.call(&["MSG.READ", LOG, &user, &n, &other, &n]);
                if rng.random_bool(0.1) {
                    connection.call(&["MSG.TRIM", LOG, "40"]);
                    connection.ok(&["MSG.CONFIG", LOG, "MESSAGES", &rng.random_range(30..60).to_string()]);
                }
                continue;
            }
        };
        if rng.random_bool(0.5) {
            words.extend(["ID", &user, &seq]);
        }
        let first = connection.call(&words);
        if !first.is_error() && words.contains(&"ID") && rng.random_bool(0.3) {
            let again = connection.ok(&words);
            let was_change = first.field_if_any("changed").is_none_or(|changed| changed.int() == 1);
            assert_eq!(again.field("duplicate").int() == 1, was_change, "{words:?}");
        }
    }
}

/// What people see of the log.
fn seen(redis: &Redis) -> Vec<String> {
    let info = redis.ok(&["MSG.INFO", LOG]);
    let counts = |user: usize| format!("{:?}", unread(redis, &format!("u{user}")));
    vec![
        ["rev", "first_n", "n", "deleted", "streaming", "bytes", "readers", "messages_max"]
            .map(|field| info.field(field).int().to_string())
            .join(" "),
        format!("{:?}", redis.ok(&["MSG.RANGE", LOG, "COUNT", "100"]).field("messages")),
        format!("{:?}", redis.ok(&["ROOM.OPEN", LOG, "-"]).items()[0].field("reads")),
        (0..9).map(counts).collect(),
    ]
}

/// Waits until the timer has nothing left to trim.
fn settle(redis: &Redis) {
    assert_eventually!({
        let info = redis.ok(&["MSG.INFO", LOG]);
        info.field("messages").int() <= info.field("messages_max").int()
    });
}

#[test]
fn replicas_and_files_hold_what_the_primary_holds() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut primary = Redis::options().aof().start();
    post(&primary, "u0", "first");
    use_the_log(&primary, &mut rng, 300);
    // What was there comes as a snapshot, what follows as effects.
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    use_the_log(&primary, &mut rng, 500);
    settle(&primary);
    replica.in_sync_with(&primary);
    assert_eq!(replica.digest_of(LOG), primary.digest_of(LOG));
    assert_eq!(seen(&replica), seen(&primary));
    assert_eq!(replica.info("stoa_records_refused").as_deref(), Some("0"));

    let (digest, before) = (primary.digest_of(LOG), seen(&primary));
    primary.ok(&["DEBUG", "RELOAD"]);
    assert_eq!((primary.digest_of(LOG), seen(&primary)), (digest.clone(), before.clone()));
    primary.restart(Ending::Killed);
    assert_eq!((primary.digest_of(LOG), seen(&primary)), (digest, before));
}

#[test]
fn a_promoted_replica_trims_and_interrupts_by_itself() {
    // Some servers take a second until a new replica has everything.
    let with_stream = |options: RedisOptions| options.module_argument("message-stream-ms").module_argument("4000");
    let mut primary = with_stream(Redis::options()).start();
    primary.ok(&["MSG.POST", LOG, "bot", "\"so far\"", "STREAMING"]);
    let replica = with_stream(Redis::options()).replica_of(&primary).start();
    replica.in_sync_with(&primary);
    primary.ok(&["MSG.APPEND", LOG, "1", "bot", ", so good"]);
    replica.in_sync_with(&primary);
    primary.kill();
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    assert_eventually!(message(&replica, 1)["interrupted"] == true);
    replica.ok(&["MSG.CONFIG", LOG, "AGE_MS", "1"]);
    assert_eventually!(replica.ok(&["MSG.INFO", LOG]).field("messages").int() == 0);
}

#[test]
fn a_server_that_waits_for_something_far_away_rests() {
    let redis = Redis::start();
    post(&redis, "ada", "ends in a month");
    redis.ok(&["PRESENCE.JOIN", "stoa:{lobby}:presence", "ada", "k1", "n1", "7200000"]);
    let mut listener = redis.listen("lobby");
    while listener.next(Duration::from_secs(1)).is_some() {}
    let cpu = || -> f64 {
        let seconds = ["used_cpu_user", "used_cpu_sys"].map(|field| redis.info(field).unwrap().parse::<f64>().unwrap());
        seconds.iter().sum()
    };
    let before = cpu();
    assert_eq!(listener.next(Duration::from_secs(2)), None);
    let spent = cpu() - before;
    // All of it, if it asked again and again; what a machine full of others adds to a server at rest is far less.
    assert!(spent < 0.5, "{spent} s of processor time in 2 s of rest");
}

#[test]
fn memory_is_told_as_it_is() {
    let redis = Redis::start();
    let used = |redis: &Redis| redis.info("used_memory").unwrap().parse::<i64>().unwrap();
    post(&redis, "ada", "first");
    let before = (used(&redis), redis.ok(&["MEMORY", "USAGE", LOG]).int());
    let text = json!("a message of some fifty bytes, as people write them").to_string();
    let mut connection = redis.connect();
    for n in 2..=5_000 {
        connection.ok(&[
            "MSG.POST",
            LOG,
            &format!("user{}", n % 200),
            &text,
            "ID",
            &format!("c{}", n % 200),
            &n.to_string(),
        ]);
        for reaction in 0..n % 4 {
            connection.ok(&[
                "MSG.REACT",
                LOG,
                &n.to_string(),
                &format!("user{reaction}"),
                ["👍", "🎉", "🚀"][reaction],
            ]);
        }
    }
    let grown = used(&redis) - before.0;
    let told = redis.ok(&["MEMORY", "USAGE", LOG]).int() - before.1;
    assert!(told * 5 > grown * 3 && told * 3 < grown * 5, "told {told}, grown {grown}");
}
