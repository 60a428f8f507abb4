//! Who is here, at a plain Redis client: what people do, where they point, where somebody is, who is thrown out.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::Duration;
use stoa_core::event::{Kind, To};
use stoa_core::presence::color;
use stoa_harness::resp::Subscriber;
use stoa_harness::{Redis, Reply, assert_eventually};

const HERE: &str = "stoa:{lobby}:presence";
/// A lease that outlasts every story here.
const LONG: &str = "600000";
const SOON: Duration = Duration::from_secs(5);

fn join(redis: &Redis, user: &str, connection: &str, more: &[&str]) -> Reply {
    redis.ok(&[&["PRESENCE.JOIN", HERE, user, connection, "n1", LONG], more].concat())
}

/// Reads announcements until one has somebody in a list, and gives that entry.
fn told(listener: &mut Subscriber, list: &str, user: &str) -> Value {
    loop {
        let changed = listener.expect("presence.changed", SOON);
        let entries = changed[list].as_array().unwrap();
        if let Some(entry) = entries.iter().find(|entry| entry["user"] == user) {
            return entry.clone();
        }
    }
}

/// The member as a list shows it.
fn member(redis: &Redis, user: &str) -> Option<Value> {
    let members = redis.ok(&["PRESENCE.LIST", HERE]).field("members").json();
    members.as_array().unwrap().iter().find(|member| member["user"] == user).cloned()
}

fn status(redis: &Redis, user: &str) -> Option<String> {
    member(redis, user).map(|member| member["status"].as_str().unwrap().to_owned())
}

fn look(redis: &Redis, user: &str) -> Reply {
    redis.ok(&["PRESENCE.GET", HERE, user]).items()[0].clone()
}

#[test]
fn a_member_says_what_they_do_and_has_the_color_of_their_id() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    join(&redis, "ada", "c1", &["STATUS", "lunch", "DATA", r#"{"name":"Ada"}"#]);
    let ada = told(&mut listener, "joined", "ada");
    assert_eq!(
        (&ada["status"], &ada["color"], &ada["connections"]),
        (&json!("lunch"), &json!(color("ada")), &json!(1))
    );
    assert_eq!(member(&redis, "ada").unwrap(), ada);
    join(&redis, "bo", "c2", &[]);
    assert_eq!(told(&mut listener, "joined", "bo")["status"], "online", "when nothing is said");
}

#[test]
fn the_status_of_a_person_comes_from_all_connections() {
    let redis = Redis::start();
    join(&redis, "ada", "c1", &["STATUS", "busy"]);
    join(&redis, "ada", "c2", &[]);
    assert_eq!(status(&redis, "ada").as_deref(), Some("online"), "the one that changed last");
    redis.ok(&["PRESENCE.SET", HERE, "c2", "STATUS", "away"]);
    assert_eq!(status(&redis, "ada").as_deref(), Some("busy"), "who is there with one is not away");
    redis.ok(&["PRESENCE.SET", HERE, "c1", "STATUS", "away"]);
    assert_eq!(status(&redis, "ada").as_deref(), Some("away"));
    redis.ok(&["PRESENCE.SET", HERE, "c1", "STATUS", "invisible"]);
    assert_eq!(status(&redis, "ada"), None, "who hides with one hides with all");
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1"]);
    assert_eq!(status(&redis, "ada").as_deref(), Some("away"), "what is left");
    redis.ok(&["PRESENCE.JOIN", HERE, "ada", "c2", "n1", LONG]);
    assert_eq!(status(&redis, "ada").as_deref(), Some("away"), "joining again without a status keeps it");
}

#[test]
fn the_data_is_that_of_the_tab_that_changed_last_and_a_second_tab_overwrites_nothing() {
    let redis = Redis::start();
    join(&redis, "ada", "c1", &["DATA", r#"{"page":1}"#]);
    join(&redis, "ada", "c2", &["DATA", r#"{"page":2}"#]);
    let page = || member(&redis, "ada").unwrap()["data"]["page"].clone();
    assert_eq!(page(), 2);
    redis.ok(&["PRESENCE.SET", HERE, "c1", "STATUS", "away"]);
    assert_eq!(page(), 2, "a tab that goes to sleep does not come to the front");
    redis.ok(&["PRESENCE.SET", HERE, "c1", r#"{"zoom":3}"#]);
    assert_eq!(member(&redis, "ada").unwrap()["data"], json!({"page": 1, "zoom": 3}));
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1"]);
    assert_eq!(page(), 2, "what the other tab said was never lost");
}

#[test]
fn hiding_is_told_as_leaving_and_showing_oneself_as_joining() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    join(&redis, "bo", "c0", &[]);
    told(&mut listener, "joined", "bo");
    join(&redis, "ada", "c1", &["STATUS", "invisible"]);
    for (connection, more) in [("c1", [r#"{"a":1}"#, "STATUS", "invisible"]), ("c1", ["{}", "PRIVATE", r#"{"b":1}"#])] {
        redis.ok(&[&["PRESENCE.SET", HERE, connection][..], &more].concat());
    }
    assert_eq!(redis.ok(&["PRESENCE.TYPING", HERE, "c1", "5000"]).int(), 0);
    assert_eq!(redis.ok(&["PRESENCE.CURSOR", HERE, "c1", "[1,2]"]).int(), 0);
    assert!(listener.next(Duration::from_millis(700)).is_none_or(|(header, _)| header.kind == Kind::Heads), "silence");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
    let detail = redis.ok(&["PRESENCE.COUNT", HERE, "DETAIL"]);
    let counts = ["people", "connections", "invisible"].map(|field| detail.field(field).int());
    assert_eq!(counts, [1, 2, 1]);

    redis.ok(&["PRESENCE.SET", HERE, "c1", "STATUS", "online"]);
    told(&mut listener, "joined", "ada");
    assert_eq!(redis.ok(&["PRESENCE.CURSOR", HERE, "c1", "[1,2]"]).int(), 1);
    listener.expect("presence.cursors", SOON);
    redis.ok(&["PRESENCE.TYPING", HERE, "c1", "5000"]);
    listener.expect("presence.typing", SOON);
    redis.ok(&["PRESENCE.SET", HERE, "c1", "STATUS", "invisible"]);
    let (mut left, mut gone, mut quiet) = (0, 0, false);
    while (left, gone, quiet) != (1, 1, true) {
        let (_, frame) = listener.next(SOON).expect("the end of what others saw");
        left += frame["left"].as_array().map_or(0, Vec::len);
        gone += frame["gone"].as_array().map_or(0, Vec::len);
        quiet |= frame["users"] == json!([]);
    }
    assert_eq!(redis.ok(&["PRESENCE.LIST", HERE]).field("cursors").items().len(), 0);
}

#[test]
fn who_was_invisible_leaves_without_a_word() {
    let redis = Redis::start();
    join(&redis, "bo", "c0", &[]);
    let mut listener = redis.listen("lobby");
    while listener.next(Duration::from_millis(700)).is_some() {}
    join(&redis, "ada", "c1", &["STATUS", "invisible"]);
    let hidden_since = look(&redis, "ada").field("since_ms").int();
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1", "GRACE", "50"]);
    assert_eventually!(look(&redis, "ada").field("here").int() == 0);
    assert_eq!(look(&redis, "ada").field("last_seen_ms").int(), hidden_since, "others know no more afterwards");
    assert!(listener.next(Duration::from_millis(300)).is_none());
}

#[test]
fn private_things_are_patched_and_told_to_services_alone() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    join(&redis, "ada", "c1", &["PRIVATE", r#"{"ip":"hidden","agent":"x"}"#]);
    told(&mut listener, "joined", "ada");
    let rev = redis.ok(&["PRESENCE.SET", HERE, "c1", "PRIVATE", r#"{"agent":null,"os":"hidden"}"#]).field("rev").int();
    assert_eq!(redis.ok(&["PRESENCE.SET", HERE, "c1", "PRIVATE", "{}", "USER", "ada"]).field("rev").int(), rev);
    let person = look(&redis, "ada");
    assert_eq!(person.field("connections").items()[0].field("private").json(), json!({"ip": "hidden", "os": "hidden"}));
    assert!(!format!("{:?}", redis.ok(&["PRESENCE.LIST", HERE])).contains("hidden"));
    assert!(listener.next(Duration::from_millis(300)).is_none(), "nobody hears of what nobody sees");
}

#[test]
fn services_look_up_who_is_here_who_was_and_who_never_came() {
    let redis = Redis::start();
    join(&redis, "ada", "c1", &["STATUS", "away", "DATA", r#"{"a":1}"#]);
    join(&redis, "ada", "c2", &["STATUS", "invisible", "DATA", r#"{"a":2}"#]);
    join(&redis, "bo", "c3", &[]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c3"]);
    let found = redis.ok(&["PRESENCE.GET", HERE, "cy", "bo", "ada", "ada"]);
    let [nobody, bo, ada, again] = found.items() else { panic!("{found:?}") };
    assert_eq!((nobody, ada), (&Reply::Null, again));
    assert_eq!((bo.field("user").text(), bo.field("here").int()), ("bo".into(), 0));
    assert!(bo.field("last_seen_ms").int() > 1_700_000_000_000 && bo.field_if_any("data").is_none());
    assert_eq!((ada.field("here").int(), ada.field("status").text()), (1, "invisible".into()), "the truth");
    assert_eq!((ada.field("data").json(), ada.field("color").text()), (json!({"a": 2}), color("ada")));
    let connections = ada.field("connections").items();
    let names: Vec<String> = connections.iter().map(|connection| connection.field("conn").text()).collect();
    assert_eq!(names, ["c2", "c1"], "the last change first");
    for (connection, status) in connections.iter().zip(["invisible", "away"]) {
        assert_eq!((connection.field("status").text(), connection.field("node").text()), (status.into(), "n1".into()));
        assert!(connection.field("active_ms").int() >= connection.field("since_ms").int());
        assert_eq!(connection.field("private").text(), "{}");
    }
    assert_eq!(redis.ok(&["PRESENCE.GET", "stoa:{empty}:presence", "ada"]).items(), [Reply::Null]);
}

#[test]
fn who_left_first_is_forgotten_first() {
    let redis = Redis::start();
    redis.ok(&["CONFIG", "SET", "stoa.presence-seen-max", "3"]);
    for n in 0..5 {
        join(&redis, &format!("u{n}"), &format!("c{n}"), &[]);
        redis.ok(&["PRESENCE.LEAVE", HERE, &format!("c{n}")]);
    }
    let found = redis.ok(&["PRESENCE.GET", HERE, "u0", "u1", "u2", "u3", "u4"]);
    let known: Vec<bool> = found.items().iter().map(|item| *item != Reply::Null).collect();
    assert_eq!(known, [false, false, true, true, true]);
}

#[test]
fn cursors_are_gathered_and_the_newest_of_each_is_told() {
    let redis = Redis::start();
    redis.ok(&["CONFIG", "SET", "stoa.presence-tick-ms", "300"]);
    for n in 0..3 {
        join(&redis, "ada", &format!("c{n}"), &[]);
    }
    let mut listener = redis.listen("lobby");
    for at in 0..50 {
        for connection in ["c0", "c1"] {
            redis.ok(&["PRESENCE.CURSOR", HERE, connection, &format!("[{at},0]")]);
        }
    }
    assert_eq!(redis.ok(&["PRESENCE.CURSOR", HERE, "c2", r#"{"x":1}"#]).int(), 3);
    assert_eq!(redis.ok(&["PRESENCE.LIST", HERE]).field("cursors").items().len(), 3);
    let (mut shown, mut told) = (std::collections::BTreeMap::new(), 0);
    while shown.len() < 3 || shown["c0"] != json!([49, 0]) || shown["c1"] != json!([49, 0]) {
        let frame = listener.expect("presence.cursors", SOON);
        told += 1;
        for cursor in frame["cursors"].as_array().unwrap() {
            assert_eq!(cursor["user"], "ada");
            shown.insert(cursor["connection"].as_str().unwrap().to_owned(), cursor["cursor"].clone());
        }
    }
    assert!(told <= 4, "{told} announcements for a hundred changes");
    assert_eq!(shown["c2"], json!({"x": 1}));

    assert_eq!(redis.ok(&["PRESENCE.CURSOR", HERE, "c0", "null"]).int(), 2);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1"]);
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let frame = listener.expect("presence.cursors", SOON);
        assert_eq!(frame["cursors"], json!([]));
        gone.extend(frame["gone"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    assert_eq!(gone, ["c0", "c1"]);
    let opened = redis.ok(&["ROOM.OPEN", HERE, "-"]);
    assert_eq!(opened.items()[0].field("cursors").jsons()[0]["connection"], "c2");
}

#[test]
fn many_cursors_are_told_in_several_frames() {
    let redis = Redis::start();
    let mut connection = redis.connect();
    let data = format!("\"{}\"", "x".repeat(1000));
    for n in 0..1_000 {
        connection.ok(&["PRESENCE.JOIN", HERE, &format!("u{n}"), &format!("c{n}"), "n1", LONG]);
    }
    connection.ok(&["PRESENCE.JOIN", HERE, "late", "c1000", "n1", LONG]);
    redis.ok(&["CONFIG", "SET", "stoa.presence-tick-ms", "500"]);
    let mut listener = redis.listen("lobby");
    for n in 0..1_000 {
        connection.ok(&["PRESENCE.CURSOR", HERE, &format!("c{n}"), &data]);
    }
    assert_eq!(connection.call(&["PRESENCE.CURSOR", HERE, "c1000", "1"]).refused(), "FULL");
    let mut told = Vec::new();
    while told.len() < 1_000 {
        let frame = listener.expect("presence.cursors", SOON);
        let cursors = frame["cursors"].as_array().unwrap();
        assert!(cursors.len() <= 500 && frame.to_string().len() < 1024 * 1024);
        told.extend(cursors.iter().map(|cursor| cursor["connection"].as_str().unwrap().to_owned()));
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 1_000, "each once");
}

#[test]
fn who_is_kicked_leaves_at_once_hears_why_and_cannot_come_back_that_way() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    join(&redis, "ada", "c1", &[]);
    join(&redis, "ada", "c2", &[]);
    join(&redis, "ada", "c3", &[]);
    join(&redis, "bo", "c4", &[]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c3", "GRACE", "60000"]);
    let kick = ["ROOM.KICK", HERE, "USER", "ada", "REASON", "sp\"am", "BY", "mod"];
    assert_eq!(redis.ok(&kick).int(), 2);
    let (header, frame) = loop {
        let (header, frame) = listener.next(SOON).expect("the kick");
        if header.kind == Kind::Kick {
            break (header, frame);
        }
    };
    assert_eq!(header.to, To::User("ada".into()));
    assert_eq!(frame, json!({"event": "room.kicked", "room": "lobby", "reason": "sp\"am", "by": "mod"}));
    told(&mut listener, "left", "ada");
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
    for connection in ["c1", "c2"] {
        let again = redis.call(&["PRESENCE.JOIN", HERE, "ada", connection, "n1", LONG]);
        assert_eq!(again.refused(), "KICKED", "{connection}");
    }
    assert_eq!(join(&redis, "ada", "c9", &[]).field("first").int(), 1, "another connection may come");
    assert_eq!(redis.ok(&["ROOM.KICK", HERE, "CONN", "c9"]).int(), 1);
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
}

#[test]
fn who_is_in_a_grace_is_kicked_out_of_it() {
    let redis = Redis::start();
    join(&redis, "ada", "c1", &[]);
    redis.ok(&["PRESENCE.LEAVE", HERE, "c1", "GRACE", "60000"]);
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 1);
    assert_eq!(redis.ok(&["ROOM.KICK", HERE, "USER", "ada"]).int(), 0);
    assert_eq!(redis.ok(&["PRESENCE.COUNT", HERE]).int(), 0);
}

#[test]
fn a_kick_is_announced_even_if_nobody_is_listed() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    assert_eq!(redis.ok(&["ROOM.KICK", HERE, "USER", "ada"]).int(), 0);
    let (header, frame) = listener.next(SOON).unwrap();
    assert_eq!((header.kind, header.to), (Kind::Kick, To::User("ada".into())));
    assert_eq!(frame, json!({"event": "room.kicked", "room": "lobby"}));
    assert_eq!(redis.ok(&["DBSIZE"]).int(), 0, "nothing to remember");
    assert_eq!(redis.ok(&["ROOM.KICK", HERE, "CONN", "c1"]).int(), 0);
    assert_eq!(listener.next(SOON).unwrap().0.to, To::Connection("c1".into()));
    assert_eq!(redis.call(&["PRESENCE.JOIN", HERE, "ada", "c1", "n1", LONG]).refused(), "KICKED", "it came too late");
}

#[test]
fn what_was_said_seen_and_kicked_survives_a_restart_and_is_on_every_replica() {
    let mut primary = Redis::options().aof().start();
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    join(&primary, "ada", "c1", &["STATUS", "lunch", "PRIVATE", r#"{"ip":"x"}"#]);
    join(&primary, "bo", "c2", &["STATUS", "invisible"]);
    join(&primary, "cy", "c3", &[]);
    primary.ok(&["PRESENCE.LEAVE", HERE, "c3"]);
    primary.ok(&["ROOM.KICK", HERE, "CONN", "c4"]);
    let seen = |redis: &Redis| {
        let who = redis.ok(&["PRESENCE.GET", HERE, "ada", "bo", "cy"]);
        format!("{who:?} {:?}", redis.ok(&["PRESENCE.LIST", HERE]).field("members"))
    };
    let (before, digest) = (seen(&primary), primary.digest());
    replica.in_sync_with(&primary);
    assert_eq!((seen(&replica), replica.digest()), (before.clone(), digest.clone()));
    primary.restart(stoa_harness::redis::Ending::Killed);
    assert_eq!((seen(&primary), primary.digest()), (before, digest));
    assert_eq!(primary.call(&["PRESENCE.JOIN", HERE, "dee", "c4", "n1", LONG]).refused(), "KICKED");
}

#[test]
fn what_a_room_is_told_stays_in_the_room() {
    let redis = Redis::start();
    let mut elsewhere = redis.listen("elsewhere");
    join(&redis, "ada", "c1", &[]);
    redis.ok(&["PRESENCE.SET", HERE, "c1", r#"{"a":1}"#, "STATUS", "busy"]);
    redis.ok(&["PRESENCE.TYPING", HERE, "c1", "1000"]);
    redis.ok(&["PRESENCE.CURSOR", HERE, "c1", "1"]);
    redis.ok(&["ROOM.KICK", HERE, "USER", "ada"]);
    assert!(elsewhere.next(Duration::from_millis(800)).is_none());
}
