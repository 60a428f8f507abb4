//! People talk through two fronts: what is edited, deleted, streamed, reacted to and read is seen by all, once.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};

const LOG: &str = "stoa:{lobby}:log";

/// A Redis, two fronts, and somebody at each.
async fn two() -> (Redis, [Front; 2], Client, Client) {
    let redis = Redis::start();
    let fronts = [Front::start(&redis).await, Front::start(&redis).await];
    let (ada, bo) = (arrive(&fronts[0], "ada").await, arrive(&fronts[1], "bo").await);
    (redis, fronts, ada, bo)
}

async fn arrive(front: &Front, user: &str) -> Client {
    let client = Client::connect(front.port, &front::token(user)).await;
    client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    client
}

/// A command in the lobby.
fn lobby(mut command: Value) -> Value {
    command["room"] = json!("lobby");
    command
}

async fn says(client: &Client, text: &str) -> u64 {
    client.ok(lobby(json!({"do": "msg.post", "body": {"text": text}}))).await["n"].as_u64().unwrap()
}

/// Comes back with a position, and gives the log's part of the answer.
async fn resumes(front: &Front, user: &str, position: &str) -> (Client, Value) {
    let client = Client::open(front.port).await;
    let resume = json!({"lobby": {"positions": {"log": position}}});
    let connected = client.ok(json!({"do": "connect", "token": front::token(user), "resume": resume})).await;
    let log = connected["rooms"]["lobby"]["streams"]["log"].clone();
    (client, log)
}

fn position(part: &Value) -> String {
    format!("{}:{}", part["epoch"].as_str().unwrap(), part["rev"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn edits_and_deletions_are_seen_by_both_and_only_authors_may() {
    let (_redis, _fronts, ada, bo) = two().await;
    let n = says(&ada, "helo").await;
    let edit = lobby(
        json!({"do": "msg.edit", "n": n, "body": {"text": "hello"}, "mentions": ["bo"], "client": "t", "seq": 1}),
    );
    let edited = ada.ok(edit.clone()).await;
    assert_eq!((&edited["n"], &edited["changed"], &edited["duplicate"]), (&json!(n), &json!(true), &json!(false)));
    let again = ada.ok(edit).await;
    assert_eq!((&again["rev"], &again["duplicate"]), (&edited["rev"], &json!(true)));
    for client in [&ada, &bo] {
        let changed = client.expect("msg.changed").await;
        assert_eq!(changed["message"]["body"], json!({"text": "hello"}));
        assert_eq!(changed["message"]["mentions"], json!(["bo"]));
        assert!(changed["message"]["edited_at_ms"].is_u64());
    }
    let history = bo.ok(lobby(json!({"do": "msg.history", "n": n}))).await;
    let bodies: Vec<&Value> = history["versions"].as_array().unwrap().iter().map(|version| &version["body"]).collect();
    assert_eq!(bodies, [&json!({"text": "helo"}), &json!({"text": "hello"})]);

    for refused in [json!({"do": "msg.edit", "n": n, "body": "mine"}), json!({"do": "msg.delete", "n": n})] {
        assert_eq!(bo.refused(lobby(refused)).await, "PERMISSION_DENIED");
    }
    ada.ok(lobby(json!({"do": "msg.delete", "n": n}))).await;
    let gone = bo.expect("msg.changed").await;
    assert_eq!((&gone["message"]["body"], &gone["message"]["deleted_by"]), (&Value::Null, &json!("ada")));
    assert_eq!(ada.refused(lobby(json!({"do": "msg.edit", "n": n, "body": "x"}))).await, "NOT_FOUND");
    assert_eq!(ada.refused(lobby(json!({"do": "msg.delete", "n": 99}))).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reactions_are_counted_and_a_second_one_changes_nothing() {
    let (_redis, _fronts, ada, bo) = two().await;
    let n = says(&ada, "lunch?").await;
    let react = |what: &str| lobby(json!({"do": what, "n": n, "reaction": "👍"}));
    ada.ok(react("msg.react")).await;
    let second = bo.ok(react("msg.react")).await;
    assert_eq!((&second["count"], &second["changed"]), (&json!(2), &json!(true)));
    let same = bo.ok(react("msg.react")).await;
    assert_eq!((&same["count"], &same["changed"], &same["rev"]), (&json!(2), &json!(false), &second["rev"]));
    for client in [&ada, &bo] {
        client.expect("msg.reacted").await;
        let reacted = client.expect("msg.reacted").await;
        assert_eq!((&reacted["user"], &reacted["added"], &reacted["count"]), (&json!("bo"), &json!(true), &json!(2)));
    }
    let back = ada.ok(react("msg.unreact")).await;
    assert_eq!(back["count"], 1);
    let reacted = bo.expect("msg.reacted").await;
    assert_eq!((&reacted["user"], &reacted["added"], &reacted["count"]), (&json!("ada"), &json!(false), &json!(1)));
    let page = bo.ok(lobby(json!({"do": "msg.range"}))).await;
    assert_eq!(page["messages"][0]["reactions"], json!({"👍": {"count": 1, "users": ["bo"]}}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_streamed_answer_grows_in_front_of_everybody_until_somebody_stops_it() {
    let (_redis, _fronts, ada, bo) = two().await;
    let post = json!({"do": "msg.post", "body": "", "streaming": true, "meta": {"model": "m1"}});
    let n = ada.ok(lobby(post)).await["n"].clone();
    assert_eq!(bo.expect("msg.posted").await["message"]["streaming"], true);
    let append = |chunk: &str, at: u64| lobby(json!({"do": "msg.append", "n": n, "chunk": chunk, "at": at}));
    let grown = ada.ok(append("he 😀", 0)).await;
    assert_eq!((&grown["length"], &grown["cancelled"]), (&json!(5), &json!(false)));
    assert_eq!(ada.refused(append("lost before", 9)).await, "DESYNC");
    assert_eq!(bo.refused(append("not mine", 5)).await, "PERMISSION_DENIED");
    ada.ok(append(" llo", 5)).await;
    let mut text = String::new();
    for _ in 0..2 {
        let appended = bo.expect("msg.appended").await;
        assert_eq!(appended["at"].as_u64(), Some(text.encode_utf16().count() as u64));
        text.push_str(appended["chunk"].as_str().unwrap());
    }
    assert_eq!(text, "he 😀 llo");

    bo.ok(lobby(json!({"do": "msg.cancel", "n": n}))).await;
    assert_eq!(ada.expect("msg.changed").await["message"]["cancelled"], true);
    assert_eq!(ada.ok(append("!", 9)).await["cancelled"], true);
    ada.ok(lobby(json!({"do": "msg.finish", "n": n}))).await;
    bo.expect("msg.changed").await;
    let finished = bo.expect("msg.changed").await["message"].clone();
    assert_eq!((&finished["body"], finished.get("streaming")), (&json!("he 😀 llo!"), None));
    assert_eq!(finished["meta"], json!({"model": "m1"}));
    assert_eq!(ada.refused(append("more", 10)).await, "CLOSED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn marks_move_up_for_all_to_see_and_count_what_is_unread() {
    let (_redis, fronts, ada, bo) = two().await;
    for text in ["one", "two"] {
        says(&ada, text).await;
    }
    ada.ok(lobby(json!({"do": "msg.post", "body": "bo?", "mentions": ["bo"]}))).await;
    let unread = bo.ok(lobby(json!({"do": "msg.unread"}))).await;
    assert_eq!(
        (&unread["read"], &unread["unread"], &unread["mentions"], &unread["n"]),
        (&json!(0), &json!(3), &json!(1), &json!(3))
    );
    let own = ada.ok(lobby(json!({"do": "msg.unread"}))).await;
    assert_eq!(own["unread"], 0, "one's own messages are not unread");

    assert_eq!(bo.ok(lobby(json!({"do": "msg.read", "n": 2}))).await["changed"], true);
    assert_eq!(bo.ok(lobby(json!({"do": "msg.read", "n": 1}))).await["changed"], false);
    assert_eq!(ada.expect("msg.read").await["reads"], json!([{"user": "bo", "n": 2}]));

    let tablet = Client::connect(fronts[0].port, &front::token("bo")).await;
    let log = tablet.ok(json!({"do": "room.join", "room": "lobby"})).await["streams"]["log"].clone();
    assert_eq!((&log["read"], &log["unread"], &log["mentions"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(log["reads"], json!([{"user": "bo", "n": 2}]));

    let reader =
        Client::connect(fronts[1].port, &front::token_with(json!({"sub": "cy", "rooms": {"lobby": "r"}}))).await;
    reader.ok(json!({"do": "room.join", "room": "lobby"})).await;
    reader.ok(lobby(json!({"do": "msg.read", "n": 3}))).await;
    for refused in [
        json!({"do": "msg.react", "n": 1, "reaction": "x"}),
        json!({"do": "msg.edit", "n": 1, "body": "x"}),
        json!({"do": "msg.delete", "n": 1}),
        json!({"do": "msg.append", "n": 1, "chunk": "x"}),
        json!({"do": "msg.finish", "n": 1}),
        json!({"do": "msg.cancel", "n": 1}),
    ] {
        assert_eq!(reader.refused(lobby(refused)).await, "PERMISSION_DENIED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_away_gets_the_state_once_for_each_thing_that_changed() {
    let (_redis, fronts, ada, bo) = two().await;
    let (first, second) = (says(&ada, "first").await, says(&ada, "second").await);
    let left_at = position(&bo.ok(lobby(json!({"do": "msg.range"}))).await);
    drop(bo);
    for text in ["a", "ab", "abc"] {
        ada.ok(lobby(json!({"do": "msg.edit", "n": first, "body": text}))).await;
    }
    ada.ok(lobby(json!({"do": "msg.react", "n": first, "reaction": "👍"}))).await;
    ada.ok(lobby(json!({"do": "msg.delete", "n": second}))).await;
    let third = says(&ada, "third").await;
    ada.ok(lobby(json!({"do": "msg.edit", "n": third, "body": "third, better"}))).await;
    ada.ok(lobby(json!({"do": "msg.read", "n": third}))).await;
    ada.expect("msg.read").await;

    let (bo, log) = resumes(&fronts[0], "bo", &left_at).await;
    assert_eq!(log["outcome"], "changes", "{log}");
    let mut at: u64 = left_at.rsplit(':').next().unwrap().parse().unwrap();
    let mut seen = Vec::new();
    for event in log["events"].as_array().unwrap() {
        assert_eq!(event["from"].as_u64(), Some(at), "a hole before {event}");
        at = event["rev"].as_u64().unwrap();
        seen.push((event["event"].as_str().unwrap().to_owned(), event["message"]["n"].as_u64()));
    }
    assert_eq!(at, log["rev"].as_u64().unwrap());
    let expected =
        [("msg.changed", Some(first)), ("msg.changed", Some(second)), ("msg.posted", Some(third)), ("msg.read", None)];
    assert_eq!(seen, expected.map(|(event, n)| (event.to_owned(), n)));
    let events = log["events"].as_array().unwrap();
    assert_eq!(events[0]["message"]["body"], "abc");
    assert_eq!(events[0]["message"]["reactions"]["👍"]["count"], 1);
    assert_eq!(events[1]["message"]["body"], Value::Null);
    assert_eq!(events[2]["message"]["body"], "third, better");

    // What comes then follows on.
    says(&ada, "fourth").await;
    assert_eq!(bo.expect("msg.posted").await["from"].as_u64(), Some(at));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_service_does_with_a_plain_redis_client_is_seen_by_everybody() {
    let (redis, _fronts, ada, bo) = two().await;
    redis.ok(&["MSG.POST", LOG, "bot", "\"\"", "STREAMING"]);
    redis.ok(&["MSG.APPEND", LOG, "1", "bot", "deploying"]);
    redis.ok(&["MSG.FINISH", LOG, "1", "bot", r#"{"text":"deployed"}"#]);
    redis.ok(&["MSG.REACT", LOG, "1", "bot", "🚀"]);
    redis.ok(&["MSG.EDIT", LOG, "1", "admin", r#""moderated""#, "ANY"]);
    redis.ok(&["MSG.DELETE", LOG, "1", "admin", "ANY"]);
    redis.ok(&["MSG.READ", LOG, "cy", "1"]);
    for client in [&ada, &bo] {
        for name in ["msg.posted", "msg.appended", "msg.changed", "msg.reacted", "msg.changed"] {
            client.expect(name).await;
        }
        assert_eq!(client.expect("msg.changed").await["message"]["deleted_by"], "admin");
        assert_eq!(client.expect("msg.read").await["reads"], json!([{"user": "cy", "n": 1}]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_and_places_can_be_read_alone() {
    let (_redis, _fronts, ada, bo) = two().await;
    let root = says(&ada, "root").await;
    let reply = lobby(json!({"do": "msg.post", "body": "under it", "reply": root}));
    let answer = bo.ok(reply).await["n"].clone();
    for n in 0..20 {
        says(&ada, &n.to_string()).await;
    }
    ada.ok(lobby(json!({"do": "msg.post", "body": "deeper", "reply": answer}))).await;
    let thread = bo.ok(lobby(json!({"do": "msg.range", "thread": root}))).await;
    let bodies: Vec<&Value> = thread["messages"].as_array().unwrap().iter().map(|message| &message["body"]).collect();
    assert_eq!(bodies, ["under it", "deeper"]);
    let around = bo.ok(lobby(json!({"do": "msg.range", "around": 10, "count": 5}))).await;
    assert_eq!((&around["more_before"], &around["more_after"]), (&json!(true), &json!(true)));
    assert!(around["messages"].as_array().unwrap().iter().any(|message| message["n"] == 10));
    let both = lobby(json!({"do": "msg.range", "around": 10, "before": 3}));
    assert_eq!(bo.refused(both).await, "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn texts_are_kept_under_names_and_restored() {
    let (_redis, fronts, ada, bo) = two().await;
    let doc = |mut command: Value| {
        command["doc"] = json!("main");
        lobby(command)
    };
    ada.ok(doc(json!({"do": "doc.open", "create": {"type": "text", "content": "first"}}))).await;
    bo.ok(doc(json!({"do": "doc.open"}))).await;
    let tagged = ada.ok(doc(json!({"do": "doc.tag", "name": "v1"}))).await;
    assert_eq!(tagged["rev"], 0);
    ada.ok(doc(json!({"do": "doc.submit", "rev": 0, "op": [5, " and more"]}))).await;
    let info = bo.ok(doc(json!({"do": "doc.info"}))).await;
    assert_eq!((&info["rev"], &info["utf16"], &info["tags"][0]["name"]), (&json!(1), &json!(14), &json!("v1")));
    let restore = doc(json!({"do": "doc.restore", "name": "v1", "client": "t", "seq": 1}));
    let restored = bo.ok(restore.clone()).await;
    assert_eq!(bo.ok(restore).await["duplicate"], true);
    assert_eq!(ada.ok(doc(json!({"do": "doc.get"}))).await["content"], "first");
    ada.expect("doc.applied").await;
    assert_eq!(ada.expect("doc.applied").await["rev"], restored["rev"]);
    ada.ok(doc(json!({"do": "doc.tag", "name": "v1", "drop": true}))).await;
    assert_eq!(ada.refused(doc(json!({"do": "doc.restore", "name": "v1"}))).await, "NOT_FOUND");
    let reader =
        Client::connect(fronts[0].port, &front::token_with(json!({"sub": "cy", "rooms": {"lobby": "r"}}))).await;
    reader.ok(json!({"do": "room.join", "room": "lobby"})).await;
    reader.ok(doc(json!({"do": "doc.info"}))).await;
    assert_eq!(reader.refused(doc(json!({"do": "doc.tag", "name": "v2"}))).await, "PERMISSION_DENIED");
    assert_eq!(reader.refused(doc(json!({"do": "doc.restore", "name": "v2"}))).await, "PERMISSION_DENIED");
}
