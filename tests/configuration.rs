//! What operators set: redis.conf, the users in it, the module's settings, a front's door.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::time::Duration;
use stoa_front::settings::{LimitsKind, Secret};
use stoa_harness::front::http_status;
use stoa_harness::socket::Client;
use stoa_harness::{Cluster, Connection, Front, Redis, assert_eventually, front};

const LOG: &str = "stoa:{lobby}:log";

/// The lines of redis.conf that say something; with `marked` those that are examples, without their mark.
fn redis_conf(marked: &str) -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix(marked)).map(str::to_owned).collect()
}

/// A Redis with a user of redis.conf, and its address for that user.
fn redis_with_user(name: &str) -> (Redis, String) {
    let user = redis_conf("# user ").into_iter().find(|user| user.starts_with(&format!("{name} "))).unwrap();
    let redis = Redis::options().line(format!("user {user}")).start();
    let url = format!("redis://{name}:change-me@127.0.0.1:{}", redis.port);
    (redis, url)
}

#[test]
fn the_redis_conf_is_one_that_redis_takes_and_the_module_works_under() {
    let mut options = Redis::options();
    for line in redis_conf("").iter().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        options = options.line(line);
    }
    let redis = options.start();
    redis.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
    assert_eq!(redis.ok(&["CONFIG", "GET", "appendonly"]).items()[1].text(), "yes");
    assert!(redis.call(&["DEBUG", "DIGEST"]).is_error(), "DEBUG is off");
    assert!(redis.call(&["MODULE", "LOAD", "/nowhere.so"]).is_error(), "MODULE is off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_front_needs_no_more_than_the_user_that_redis_conf_gives_it() {
    let (redis, url) = redis_with_user("front");
    let front = Front::start_with(&redis, |settings| {
        settings.redis_url = Secret::new(&url);
        settings.presence_ttl_ms = 600;
        settings.presence_grace_ms = 100;
        settings.limits.limits = LimitsKind::Standard;
        settings.limits.connection_lease_ms = 600;
    })
    .await;
    let ada = Client::connect(front.port, &front::token_with(json!({"sub": "ada", "rooms": {"*": "owner"}}))).await;
    let in_lobby = |mut command: serde_json::Value| {
        command["room"] = json!("lobby");
        command
    };
    ada.ok(in_lobby(json!({"do": "room.join", "presence": {"data": {}}}))).await;
    let posted = ada.ok(in_lobby(json!({"do": "msg.post", "body": "hi"}))).await;
    assert_eq!(posted["n"], 1);
    ada.expect("msg.posted").await;
    let create = json!({"type": "text", "content": ""});
    let opened = ada.ok(in_lobby(json!({"do": "doc.open", "doc": "main", "create": create}))).await;
    let submit = json!({"do": "doc.submit", "doc": "main", "rev": 0, "epoch": opened["epoch"], "op": ["x"], "client": "c", "seq": 1});
    ada.ok(in_lobby(submit)).await;
    ada.expect("doc.applied").await;
    ada.ok(in_lobby(json!({"do": "doc.get", "doc": "main"}))).await;
    ada.ok(in_lobby(json!({"do": "doc.ops", "doc": "main", "from": 0, "epoch": opened["epoch"]}))).await;
    ada.ok(in_lobby(json!({"do": "msg.range"}))).await;
    ada.ok(in_lobby(json!({"do": "presence.set", "data": {"mood": "ok"}}))).await;
    ada.ok(in_lobby(json!({"do": "presence.list"}))).await;
    ada.ok(in_lobby(json!({"do": "presence.typing", "typing": true}))).await;
    ada.ok(in_lobby(json!({"do": "room.emit", "name": "wave", "data": 1}))).await;
    ada.ok(json!({"do": "room.join", "room": "lobby", "positions": {"log": null, "doc:main": null}})).await;
    for command in [
        json!({"do": "msg.edit", "n": 1, "body": "ho"}),
        json!({"do": "msg.history", "n": 1}),
        json!({"do": "msg.react", "n": 1, "reaction": "+1"}),
        json!({"do": "msg.unreact", "n": 1, "reaction": "+1"}),
        json!({"do": "msg.read", "n": 1}),
        json!({"do": "msg.unread"}),
        json!({"do": "msg.post", "body": "so", "streaming": true}),
        json!({"do": "msg.append", "n": 2, "chunk": "on"}),
        json!({"do": "msg.cancel", "n": 2}),
        json!({"do": "msg.finish", "n": 2}),
        json!({"do": "msg.delete", "n": 2}),
        json!({"do": "doc.info", "doc": "main"}),
        json!({"do": "doc.tag", "doc": "main", "name": "one"}),
        json!({"do": "doc.undo", "doc": "main", "client": "c"}),
        json!({"do": "doc.restore", "doc": "main", "name": "one"}),
        json!({"do": "doc.cursor", "doc": "main", "rev": 1, "cursor": {"anchor": 0, "head": 0}}),
        json!({"do": "doc.close", "doc": "main"}),
        json!({"do": "presence.get", "users": ["ada"]}),
        json!({"do": "presence.cursor", "cursor": 1}),
        json!({"do": "room.grant", "user": "bo", "role": "viewer"}),
        json!({"do": "room.revoke", "user": "bo"}),
        json!({"do": "room.kick", "who": {"user": "bo"}}),
    ] {
        ada.ok(in_lobby(command)).await;
    }
    assert_eq!(ada.expect("msg.posted").await["message"]["n"], 2);
    redis.ok(&["ROOM.GRANT", "stoa:{lobby}:access", "ada", "owner"]);
    ada.expect("room.access").await;
    ada.ok(in_lobby(json!({"do": "room.grant", "user": "bo", "role": "viewer"}))).await;
    ada.ok(in_lobby(json!({"do": "room.revoke", "user": "bo"}))).await;
    ada.ok(in_lobby(json!({"do": "room.kick", "who": {"user": "bo"}}))).await;
    // Longer than a lease: heartbeats are allowed, too.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(redis.ok(&["PRESENCE.COUNT", "stoa:{lobby}:presence"]).int(), 1);
    // A lost subscription comes back.
    redis.ok(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    ada.ok(in_lobby(json!({"do": "msg.post", "body": "again"}))).await;
    assert_eq!(ada.expect("msg.posted").await["message"]["body"], "again");
    front.shutdown().await;
    assert_eventually!(redis.ok(&["PRESENCE.COUNT", "stoa:{lobby}:presence"]).int() == 0);
    let denied: Vec<String> =
        redis.ok(&["ACL", "LOG"]).items().iter().map(|entry| entry.field("object").text()).collect();
    assert!(denied.is_empty(), "the front asked for {denied:?}");
}

/// What somebody would try who has taken over a front.
const FRONTS_MAY_NOT: [&str; 40] = [
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "DBSIZE",
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "CONFIG GET *",
    "CONFIG SET dir /tmp",
    "CONFIG REWRITE",
    "EVAL x 0",
    "EVALSHA x 0",
    "SCRIPT FLUSH",
    "FUNCTION LIST",
    "FUNCTION LOAD x",
    "PUBLISH a b",
    "SPUBLISH stoa:{a} b",
    "PSUBSCRIBE *",
    "SSUBSCRIBE other:{a}",
    "SUBSCRIBE __keyspace@0__:a",
    "GET stoa:{a}:log",
    "SET stoa:{a}:log x",
    "DEL stoa:{a}:log",
    "RENAME stoa:{a}:log stoa:{a}:x",
    "COPY stoa:{a}:log stoa:{a}:x",
    "DUMP stoa:{a}:log",
    "RESTORE stoa:{a}:x 0 x",
    "MIGRATE h 1 k 0 1",
    "DEBUG SLEEP 1",
    "MODULE LIST",
    "MONITOR",
    "SLOWLOG GET",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "ACL LIST",
    "ACL WHOAMI",
    "REPLICAOF NO ONE",
    "SHUTDOWN NOSAVE",
    "MSG.TRIM stoa:{a}:log 1",
    "MSG.POST other:{a}:log eve \"hi\"",
];

/// What redis.conf says to append to the front's user in a cluster.
fn in_a_cluster() -> String {
    let text = redis_conf("# ").join(" ");
    let after = text.split("In a cluster append `").nth(1).expect("redis.conf says what a cluster takes");
    after.split('`').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_a_cluster_a_front_needs_what_redis_conf_appends_and_no_more() {
    let user = redis_conf("# user ").into_iter().find(|user| user.starts_with("front ")).unwrap();
    let more = in_a_cluster();
    let options = || Redis::options().line(format!("user {user} {more}"));
    let cluster = Cluster::start(2, 1, options);
    let address = cluster.url(0).replace("redis-cluster://", "redis-cluster://front:change-me@");
    let front = Front::start_on(&address, |_| {}).await;
    let ada = Client::connect(front.port, &front::token_with(json!({"sub": "ada", "rooms": {"*": "owner"}}))).await;
    let rooms = [0, 1].map(|shard| cluster.room_on(shard, "hall"));
    for room in &rooms {
        ada.ok(json!({"do": "room.join", "room": room, "presence": {"data": {}}})).await;
        ada.ok(json!({"do": "msg.post", "room": room, "body": "hi"})).await;
        assert_eq!(ada.expect("msg.posted").await["message"]["body"], "hi");
    }
    // A slot moves while it is written to (ASK), and a shard is handed over: the same few commands are enough to follow.
    let [room, other] = &rooms;
    let moves = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let moving = scope.spawn(|| cluster.migrate(room, 1, Duration::from_millis(50)));
            let runtime = tokio::runtime::Handle::current();
            let mut said = 0;
            while !moving.is_finished() || said < 3 {
                runtime.block_on(ada.ok(json!({"do": "msg.post", "room": room, "body": "on the way"})));
                said += 1;
            }
            moving.join().unwrap();
            said
        })
    });
    assert!(moves >= 3);
    let replica = cluster.replica_of(1);
    tokio::task::block_in_place(|| cluster.hand_over(replica));
    for room in [room, other] {
        let post = json!({"do": "msg.post", "room": room, "body": "afterwards", "client": "c1", "seq": 1});
        // A loaded machine may take longer than a front is patient: then the same is sent again, as every client does.
        while let Err(error) = ada.ask(post.clone()).await {
            assert_eq!(error["retry"], true, "{error}");
        }
    }
    for node in &cluster.nodes {
        assert!(node.ok(&["ACL", "LOG"]).items().is_empty(), "nothing was refused to the front");
    }
    for node in &cluster.nodes {
        let mut front = node.connect();
        front.ok(&["AUTH", "front", "change-me"]);
        for refused in [
            ["CLUSTER", "NODES"].as_slice(),
            &["CLUSTER", "RESET"],
            &["CLUSTER", "FAILOVER"],
            &["CLUSTER", "FORGET", "x"],
            &["CLUSTER", "MEET", "127.0.0.1", "1"],
            &["CLUSTER", "SETSLOT", "1", "STABLE"],
            &["READONLY"],
            &["MIGRATE", "127.0.0.1", "1", "k", "0", "1"],
            &["RESTORE", "k", "0", "x"],
            &["DEBUG", "SLEEP", "0"],
            &["CONFIG", "GET", "*"],
            &["SPUBLISH", "stoa:{hall}", "x"],
        ] {
            assert_eq!(front.call(refused).refused(), "NOPERM", "{refused:?}");
        }
    }
}

#[test]
fn the_sentinel_conf_is_one_that_sentinels_take_and_their_user_is_enough() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/sentinel.conf")).unwrap();
    let user = redis_conf("# user ").into_iter().find(|user| user.starts_with("sentinel ")).unwrap();
    let options = || Redis::options().line(format!("user {user}"));
    let mut primary = options().start();
    let replica = options().replica_of(&primary).start();
    replica.in_sync_with(&primary);
    let watching: Vec<Redis> = (0..3)
        .map(|_| {
            let said =
                text.lines().map(|line| line.strip_prefix("# ").filter(|l| l.contains(" auth-")).unwrap_or(line));
            let lines = said.filter(|line| !line.starts_with('#') && !line.is_empty());
            // Ports and addresses are the test's own.
            let lines = lines.filter(|line| !line.starts_with("port ") && !line.starts_with("bind "));
            let own = |line: &str| line.replace("127.0.0.1 6379", &format!("127.0.0.1 {}", primary.port));
            lines.fold(Redis::options().sentinel(), |options, line| options.line(own(line))).start()
        })
        .collect();
    let knows = |field: &str, value: &str| {
        watching.iter().all(|sentinel| sentinel.ok(&["SENTINEL", "MASTER", "rooms"]).field(field).text() == value)
    };
    assert_eventually!(within Duration::from_secs(60), knows("num-slaves", "1") && knows("num-other-sentinels", "2"));
    primary.kill();
    let port = replica.port.to_string();
    assert_eventually!(within Duration::from_secs(60), knows("port", &port));
    // Sentinels close the connections of everybody when they make it the primary.
    let post = || replica.connect().try_call(&["MSG.POST", LOG, "ada", "\"hi\"", "ID", "c1", "1"]);
    assert_eventually!(post().is_ok_and(|answer| !answer.is_error()), "{}", replica.log());
}

#[test]
fn the_users_of_redis_conf_can_do_no_more_than_their_part() {
    for (name, allowed, denied) in [
        ("front", vec!["PING"], FRONTS_MAY_NOT.to_vec()),
        (
            "service",
            vec!["MSG.POST stoa:{lobby}:log bot \"hi\"", "ROOM.GRANT stoa:{lobby}:access ada editor"],
            vec!["MSG.POST other:{lobby}:log bot \"hi\"", "PRESENCE.BEAT stoa:{a}:presence n 1000"],
        ),
        ("replica", vec!["PING"], vec!["GET a", "MSG.RANGE stoa:{lobby}:log"]),
    ] {
        let (redis, _) = redis_with_user(name);
        let mut connection = Connection::to(redis.port).unwrap();
        connection.ok(&["AUTH", name, "change-me"]);
        for command in allowed {
            connection.ok(&command.split(' ').collect::<Vec<_>>());
        }
        for command in denied {
            let reply = connection.call(&command.split(' ').collect::<Vec<_>>());
            assert_eq!(reply.refused(), "NOPERM", "{name}: {command}");
        }
    }
}

#[test]
fn a_replica_follows_with_the_user_that_redis_conf_gives_it() {
    let (primary, _) = redis_with_user("replica");
    primary.ok(&["MSG.POST", LOG, "ada", "\"hi\""]);
    let replica = Redis::options().replica_of(&primary).line("masteruser replica").line("masterauth change-me").start();
    replica.in_sync_with(&primary);
    primary.ok(&["MSG.POST", LOG, "ada", "\"ho\""]);
    replica.in_sync_with(&primary);
    assert_eq!(replica.digest(), primary.digest());
}

#[test]
fn settings_come_with_loadmodule_and_change_while_it_runs() {
    let redis = Redis::options().module_argument("message-bytes-max").module_argument("10").start();
    assert_eq!(redis.call(&["MSG.POST", LOG, "ada", "\"longer than ten bytes\""]).refused(), "TOO_LARGE");
    redis.ok(&["MSG.POST", LOG, "ada", "\"short\""]);
    assert_eq!(redis.ok(&["CONFIG", "GET", "stoa.message-bytes-max"]).items()[1].text(), "10");
    redis.ok(&["CONFIG", "SET", "stoa.message-bytes-max", "100"]);
    redis.ok(&["MSG.POST", LOG, "ada", "\"longer than ten bytes\""]);
    assert!(redis.call(&["CONFIG", "SET", "stoa.message-bytes-max", "0"]).is_error());
    assert!(redis.call(&["CONFIG", "SET", "stoa.message-bytes-max", "x"]).is_error());
}

#[test]
fn the_oldest_messages_go_when_a_log_is_full() {
    let redis = Redis::options().module_argument("log-messages-max").module_argument("5").start();
    for n in 1..=20 {
        redis.ok(&["MSG.POST", LOG, "ada", &format!("\"{n}\"")]);
    }
    let numbers: Vec<u64> =
        redis.ok(&["MSG.RANGE", LOG]).field("messages").jsons().iter().map(|m| m["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [16, 17, 18, 19, 20]);
    assert_eq!(redis.ok(&["MSG.SINCE", LOG, "3"]).field("outcome").text(), "trimmed");
}

#[test]
fn a_document_that_is_too_far_back_is_stale_and_a_snapshot_helps() {
    let redis = Redis::options().module_argument("document-operations-max").module_argument("10").start();
    let doc = "stoa:{lobby}:doc:main";
    redis.ok(&["DOC.CREATE", doc, "text", ""]);
    for rev in 0..30 {
        redis.ok(&["DOC.SUBMIT", doc, &rev.to_string(), "[\"x\"]"]);
    }
    assert_eq!(redis.call(&["DOC.SUBMIT", doc, "3", "[\"y\"]"]).refused(), "STALE");
    assert_eq!(redis.ok(&["DOC.OPS", doc, "3"]).field("outcome").text(), "trimmed");
    let epoch = redis.ok(&["DOC.GET", doc]).field("epoch").text();
    let opened = redis.ok(&["ROOM.OPEN", doc, &format!("{epoch}:3")]);
    let opened = &opened.items()[0];
    assert_eq!((opened.field("outcome").text(), opened.field("because").text()), ("snapshot".into(), "trimmed".into()));
    redis.ok(&["DOC.SUBMIT", doc, "25", "[\"y\"]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_front_is_ready_only_while_it_can_serve() {
    let mut redis = Redis::start();
    let front = Front::start(&redis).await;
    assert_eq!(http_status(front.port, "/livez"), Some(200));
    redis.kill();
    assert_eventually!(http_status(front.port, "/readyz") == Some(503));
    assert_eq!(http_status(front.port, "/livez"), Some(200));
    redis.start_again();
    assert_eventually!(http_status(front.port, "/readyz") == Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_front_on_a_redis_without_the_module_is_never_ready() {
    let redis = Redis::options().without_module().start();
    let front = Front::start_unready(&redis).await;
    for _ in 0..20 {
        assert_eq!(http_status(front.port, "/readyz"), Some(503));
        tokio::time::sleep(Duration::from_millis(50)).await; // Nothing is to happen.
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rooms_of_another_prefix_are_other_rooms() {
    let redis = Redis::start();
    let one = Front::start(&redis).await;
    let other = Front::start_with(&redis, |settings| settings.prefix = "tenant2".into()).await;
    let (ada, bo) =
        (Client::connect(one.port, &front::token("ada")).await, Client::connect(other.port, &front::token("bo")).await);
    for client in [&ada, &bo] {
        client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    }
    ada.ok(json!({"do": "msg.post", "room": "lobby", "body": "mine"})).await;
    bo.ok(json!({"do": "msg.post", "room": "lobby", "body": "yours"})).await;
    assert_eq!(ada.expect("msg.posted").await["message"]["body"], "mine");
    assert_eq!(bo.expect("msg.posted").await["message"]["body"], "yours");
    assert_eq!(redis.ok(&["EXISTS", LOG, "tenant2:{lobby}:log"]).int(), 2);
}
