//! Who may do what in a room, at a plain Redis client: what is granted, told, kept, and ends by itself.
//! That the list survives restarts and is the same on replicas stands in `durability.rs`.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};
use stoa_core::event::{Kind, To};
use stoa_harness::redis::assert_on_time;
use stoa_harness::{Redis, Reply, assert_eventually};

const ACCESS: &str = "stoa:{lobby}:access";
const SOON: Duration = Duration::from_secs(5);

fn role(redis: &Redis, user: &str) -> Option<String> {
    let answer = redis.ok(&["ROOM.ACCESS", ACCESS, "USER", user]);
    let entry = answer.field("entries").items()[0].clone();
    (entry != Reply::Null).then(|| entry.field("role").text())
}

#[test]
fn a_grant_is_kept_and_told_to_whom_it_is_about() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    let granted = redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "BY", "bo"]);
    assert_eq!((granted.field("changed").int(), granted.field("rev").int()), (1, 1));
    let (header, frame) = listener.next(SOON).unwrap();
    assert_eq!((header.kind, header.stream.as_str(), header.from, header.rev), (Kind::Durable, "access", 0, 1));
    assert_eq!(header.to, To::User("ada".into()));
    let epoch = granted.field("epoch").text();
    let expected = format!(
        r#"{{"event":"room.access","room":"lobby","stream":"access","epoch":"{epoch}","from":0,"rev":1,"user":"ada","role":"editor","by":"bo"}}"#
    );
    assert_eq!(frame, serde_json::from_str::<serde_json::Value>(&expected).unwrap());
    let entries = redis.ok(&["ROOM.ACCESS", ACCESS]).field("entries").items().to_vec();
    assert_eq!((entries[0].field("user").text(), entries[0].field("by").text()), ("ada".into(), "bo".into()));
    assert_eq!(entries[0].field("ends_ms").int(), 0);
    assert!(entries[0].field("at_ms").int() > 0);

    redis.ok(&["ROOM.GRANT", ACCESS, "*", "viewer"]);
    let (header, frame) = listener.next(SOON).unwrap();
    assert_eq!((header.to, frame["user"].as_str()), (To::Room, Some("*")), "what is said of all is told to all");
}

#[test]
fn what_changes_nothing_is_told_to_nobody() {
    let redis = Redis::start();
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor"]);
    let digest = redis.digest();
    let mut listener = redis.listen("lobby");
    while listener.next(Duration::from_millis(700)).is_some() {}
    let again = redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor"]);
    assert_eq!((again.field("changed").int(), again.field("rev").int()), (0, 1));
    let nobody = redis.ok(&["ROOM.REVOKE", ACCESS, "bo", "FORGET"]);
    assert_eq!(nobody.field("changed").int(), 0);
    assert!(listener.next(Duration::from_millis(300)).is_none_or(|(header, _)| header.kind == Kind::Heads));
    assert_eq!(redis.digest(), digest);
    redis.ok(&["ROOM.REVOKE", "stoa:{nowhere}:access", "bo", "FORGET"]);
    assert_eq!(redis.ok(&["EXISTS", "stoa:{nowhere}:access"]).int(), 0, "looking makes no list");
}

#[test]
fn a_revocation_stays_until_it_is_forgotten() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor"]);
    redis.ok(&["ROOM.REVOKE", ACCESS, "ada"]);
    assert_eq!(role(&redis, "ada").as_deref(), Some("none"));
    redis.ok(&["ROOM.REVOKE", ACCESS, "ada", "FORGET"]);
    assert_eq!(role(&redis, "ada"), None);
    let roles: Vec<_> = (0..3).map(|_| listener.expect("room.access", SOON)["role"].clone()).collect();
    assert_eq!(roles, ["editor".into(), "none".into(), serde_json::Value::Null]);
}

#[test]
fn a_grant_for_a_time_ends_by_itself_and_says_so() {
    let redis = Redis::start();
    let mut listener = redis.listen("lobby");
    let ttl = Duration::from_millis(1_000);
    let granted = Instant::now();
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "1000"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "bo", "viewer", "TTL", "600000"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "cy", "viewer", "TTL", "1000"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "cy", "viewer"]);
    loop {
        let told = listener.expect("room.access", SOON);
        if told["role"].is_null() {
            assert_eq!((told["user"].as_str(), told["rev"].as_u64()), (Some("ada"), Some(5)));
            break;
        }
    }
    let lasted = granted.elapsed();
    assert_on_time(lasted, ttl);
    assert_eq!(["ada", "bo", "cy"].map(|user| role(&redis, user).is_some()), [false, true, true]);
}

#[test]
fn an_end_that_is_moved_is_moved() {
    let redis = Redis::start();
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "600000"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "100"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "bo", "editor", "TTL", "100"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "bo", "editor", "TTL", "600000"]);
    assert_eventually!(role(&redis, "ada").is_none());
    assert_eq!(role(&redis, "bo").as_deref(), Some("editor"));
}

#[test]
fn ends_are_met_after_a_restart_a_copy_and_a_promotion() {
    let mut redis = Redis::options().aof().start();
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "1500"]);
    redis.restart(stoa_harness::redis::Ending::Killed);
    redis.ok(&["COPY", ACCESS, "stoa:{copy}:access"]);
    let replica = Redis::options().replica_of(&redis).start();
    replica.in_sync_with(&redis);
    redis.kill();
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    for key in [ACCESS, "stoa:{copy}:access"] {
        assert_eventually!(replica.ok(&["ROOM.ACCESS", key]).field("entries").items().is_empty());
    }
}

#[test]
fn a_replica_ends_nothing_by_itself() {
    let mut primary = Redis::start();
    let replica = Redis::options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    primary.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "2000"]);
    replica.in_sync_with(&primary);
    primary.kill();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(role(&replica, "ada").as_deref(), Some("editor"), "it is not the one to decide");
    replica.ok(&["REPLICAOF", "NO", "ONE"]);
    assert_eventually!(role(&replica, "ada").is_none());
}

#[test]
fn a_full_list_takes_nobody_new() {
    let redis = Redis::options().module_argument("access-entries-max").module_argument("3").start();
    for user in ["a", "b", "c"] {
        redis.ok(&["ROOM.GRANT", ACCESS, user, "viewer"]);
    }
    let digest = redis.digest();
    assert_eq!(redis.call(&["ROOM.GRANT", ACCESS, "d", "viewer"]).refused(), "FULL");
    assert_eq!(redis.call(&["ROOM.REVOKE", ACCESS, "d"]).refused(), "FULL");
    assert_eq!(redis.digest(), digest);
    redis.ok(&["ROOM.REVOKE", ACCESS, "a"]);
    redis.ok(&["ROOM.REVOKE", ACCESS, "a", "FORGET"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "d", "viewer"]);
    redis.ok(&["CONFIG", "SET", "stoa.access-entries-max", "4"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "e", "viewer"]);
}

#[test]
fn a_list_is_read_in_pages_or_by_name() {
    let redis = Redis::start();
    let mut names: Vec<String> = (0..250).map(|n| format!("user{n:03}")).collect();
    for name in &names {
        redis.ok(&["ROOM.GRANT", ACCESS, name, "viewer"]);
    }
    names.sort();
    let (mut read, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = match &after {
            Some(user) => redis.ok(&["ROOM.ACCESS", ACCESS, "AFTER", user]),
            None => redis.ok(&["ROOM.ACCESS", ACCESS]),
        };
        let users: Vec<String> = page.field("entries").items().iter().map(|entry| entry.field("user").text()).collect();
        assert!(users.len() <= 100);
        after = users.last().cloned();
        read.extend(users);
        if page.field("more").int() == 0 {
            break;
        }
    }
    assert_eq!(read, names);
    assert_eq!(redis.ok(&["ROOM.ACCESS", ACCESS, "COUNT", "7"]).field("entries").items().len(), 7);
    let named = redis.ok(&["ROOM.ACCESS", ACCESS, "USER", "user007", "USER", "nobody", "USER", "user001"]);
    let named = named.field("entries").items().to_vec();
    assert_eq!((named[0].field("user").text(), &named[1]), ("user007".into(), &Reply::Null));
    assert_eq!(named[2].field("user").text(), "user001");
    assert!(redis.ok(&["MEMORY", "USAGE", ACCESS]).int() > 250 * 40);
}

#[test]
fn whoever_opens_a_room_learns_what_it_says_of_them_and_nothing_of_others() {
    let redis = Redis::start();
    let open = |user: &str| {
        let parts = redis.ok(&["ROOM.OPEN", "stoa:{lobby}", user, "stoa:{lobby}:log", "-", ACCESS, "-"]);
        parts.items()[1].clone()
    };
    let empty = open("ada");
    assert_eq!((empty.field("kind").text(), empty.field("rev").int()), ("access".into(), 0));
    assert!(empty.field_if_any("role").is_none() && empty.field_if_any("everybody").is_none());
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "secret-user", "owner"]);
    redis.ok(&["ROOM.GRANT", ACCESS, "*", "viewer"]);
    let part = open("ada");
    assert_eq!((part.field("role").text(), part.field("everybody").text()), ("editor".into(), "viewer".into()));
    assert_eq!(part.field("rev").int(), 3);
    assert!(open("bo").field_if_any("role").is_none());
    assert!(!format!("{part:?}").contains("secret-user"));
}

#[test]
fn a_list_that_is_deleted_is_told_as_gone() {
    let redis = Redis::start();
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor"]);
    let mut listener = redis.listen("lobby");
    redis.ok(&["DEL", ACCESS]);
    let (header, frame) = std::iter::from_fn(|| listener.next(SOON)).find(|(h, _)| h.kind != Kind::Heads).unwrap();
    assert_eq!(
        (header.kind, header.stream.as_str(), frame["stream"].as_str()),
        (Kind::Reset, "access", Some("access"))
    );
}

#[test]
fn changes_are_told_to_those_who_watch_keys() {
    let redis = Redis::start();
    redis.ok(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    let mut connection = redis.connect_resp3();
    connection.ok(&["SUBSCRIBE", &format!("__keyspace@0__:{ACCESS}")]);
    redis.ok(&["ROOM.GRANT", ACCESS, "ada", "editor", "TTL", "100"]);
    redis.ok(&["ROOM.REVOKE", ACCESS, "bo"]);
    let mut told = Vec::new();
    while told.len() < 3 {
        let event = connection.read().unwrap().items()[2].text();
        // Redis itself says when a key is new.
        if event != "new" {
            told.push(event);
        }
    }
    assert_eq!(told, ["room.grant", "room.revoke", "room.ended"]);
}
