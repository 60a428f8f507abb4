//! Rights that change while somebody is inside: at once, on every front, and when the word of it is lost.

use super::{connects, grant, is_listed, joins, list_of, listens, matrix, rpc, token};
use serde_json::json;
use std::time::{Duration, Instant};
use stoa_core::event::{Header, Kind};
use stoa_front::settings::Secret;
use stoa_harness::proxy::Proxy;
use stoa_harness::redis::{Ending, SLACK};
use stoa_harness::socket::Client;
use stoa_harness::waiting::{PAUSE, SOON};
use stoa_harness::{Front, Redis, assert_eventually};

/// What the contract says: who loses the right to read is out by then, even if the event is lost.
const OUT_WITHIN: Duration = Duration::from_secs(1);

async fn through(proxy: &Proxy, redis: &Redis) -> Front {
    let url = proxy.url();
    Front::start_with(redis, |settings| settings.redis_url = Secret::new(&url)).await
}

/// Everything is refused, nothing arrives any more, nobody sees them.
async fn is_out(client: &Client, redis: &Redis, room: &str, user: &str) {
    for (_, command) in matrix::commands(room) {
        let code = client.refused(command.clone()).await;
        assert!(["NOT_JOINED", "PERMISSION_DENIED"].contains(&code.as_str()), "{code}: {command}");
    }
    assert_eq!(client.refused(json!({"do": "room.join", "room": room})).await, "PERMISSION_DENIED");
    let join = json!({"do": "room.join", "room": room, "presence": {"data": {}}});
    assert_eq!(client.refused(join).await, "PERMISSION_DENIED");
    assert_eventually!(!is_listed(redis, room, user));
    let heard = client.events().len();
    redis.ok(&["MSG.POST", &format!("stoa:{{{room}}}:log"), "bo", "\"after\""]);
    redis.ok(&["ROOM.EMIT", &format!("stoa:{{{room}}}:room"), "after", "1"]);
    // What is for the personal room comes over the same connection, and after it.
    redis.ok(&["ROOM.EMIT", &format!("stoa:{{user:{user}}}:room"), "after-that", "1"]);
    let own = client.expect("room.emitted").await;
    assert_eq!(own["name"], "after-that");
    let since = client.events().split_off(heard);
    assert!(since.iter().all(|event| event["room"] != room), "{since:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_revoked_while_inside_is_out_on_every_front_and_over_every_line() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let rooms = json!({"lobby": "owner"});
    let (first, _) = joins(&one, "ada", rooms.clone(), "lobby").await;
    let (second, _) = joins(&two, "ada", rooms.clone(), "lobby").await;
    let (stream, _) = listens(&two, &token("ada", rooms.clone()), "lobby").await;
    let (bo, _) = joins(&one, "bo", rooms.clone(), "lobby").await;
    second
        .ok(json!({"do": "doc.open", "room": "lobby", "doc": "main", "create": {"type": "text", "content": "x"}}))
        .await;
    second
        .ok(json!({"do": "doc.cursor", "room": "lobby", "doc": "main", "rev": 0, "cursor": {"anchor": 0, "head": 0}}))
        .await;
    let asked = Instant::now();
    bo.ok(json!({"do": "room.revoke", "room": "lobby", "user": "ada"})).await;
    for client in [&first, &second] {
        let told = client.expect("room.access").await;
        assert_eq!(told, json!({"event": "room.access", "room": "lobby", "role": "none", "actions": []}));
    }
    assert_eq!(stream.frame("room.access").await["role"], "none");
    println!("everybody was out after {:?}", asked.elapsed());
    assert!(asked.elapsed() < OUT_WITHIN + SLACK);
    for client in [&first, &second] {
        is_out(client, &redis, "lobby", "ada").await;
    }
    let frame = rpc(&one, &token("ada", rooms), json!({"do": "msg.range", "room": "lobby"})).await;
    assert_eq!(frame["error"]["code"], "PERMISSION_DENIED");
    assert_eventually!(
        redis.ok(&["DOC.INFO", "stoa:{lobby}:doc:main"]).field("cursors").int() == 0,
        "the caret goes, too"
    );
    assert!(bo.events_named("room.access").is_empty(), "nobody else is told");
    bo.ok(json!({"do": "room.revoke", "room": "lobby", "user": "ada", "forget": true})).await;
    assert_eq!(first.ok(json!({"do": "room.join", "room": "lobby"})).await["role"], "owner", "and may come again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_right_less_is_a_right_less_at_once() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let (ada, _) = joins(&front, "ada", json!({"lobby": "editor"}), "lobby").await;
    let post = json!({"do": "msg.post", "room": "lobby", "body": "hi"});
    ada.ok(post.clone()).await;
    grant(&redis, "lobby", "ada", "viewer");
    let told = ada.expect("room.access").await;
    assert_eq!((&told["role"], &told["actions"]), (&json!("viewer"), &json!(["read"])));
    assert_eq!(ada.refused(post.clone()).await, "PERMISSION_DENIED");
    ada.ok(json!({"do": "msg.range", "room": "lobby"})).await;
    grant(&redis, "lobby", "ada", "commenter");
    ada.expect("room.access").await;
    ada.ok(post).await;
    assert!(is_listed(&redis, "lobby", "ada"));
    // Joining again says how it stands.
    assert_eq!(ada.ok(json!({"do": "room.join", "room": "lobby"})).await["role"], "commenter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_renewed_token_counts_at_once_in_all_rooms() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let (ada, _) = joins(&front, "ada", json!({"lobby": "editor", "hall": "editor"}), "lobby").await;
    ada.ok(json!({"do": "room.join", "room": "hall"})).await;
    grant(&redis, "hall", "ada", "commenter");
    ada.expect("room.access").await;
    let less = token("ada", json!({"hall": "owner", "attic": "viewer"}));
    ada.ok(json!({"do": "auth.refresh", "token": less})).await;
    let told = ada.expect("room.access").await;
    assert_eq!((&told["room"], &told["role"]), (&json!("lobby"), &json!("none")));
    is_out(&ada, &redis, "lobby", "ada").await;
    assert_eq!(ada.ok(json!({"do": "room.join", "room": "attic"})).await["role"], "viewer");
    assert_eq!(ada.ok(json!({"do": "room.join", "room": "hall"})).await["role"], "commenter", "the list decides alone");
    assert_eq!(ada.events_named("room.access").len(), 2);
}

/// Swallows the word of a change itself; what follows it passes.
fn of_access(_: &[u8], header: &Header) -> bool {
    header.kind == Kind::Durable && header.stream == "access"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_whose_event_is_lost_acts_within_a_second_all_the_same() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let front = through(&proxy, &redis).await;
    let rooms = json!({"lobby": "editor", "hall": "editor"});
    let (ada, _) = joins(&front, "ada", rooms.clone(), "lobby").await;
    let (bo, _) = joins(&front, "bo", rooms, "lobby").await;
    proxy.lose(of_access);
    let asked = Instant::now();
    redis.ok(&["ROOM.REVOKE", &list_of("lobby"), "ada"]);
    assert_eq!(ada.expect("room.access").await["role"], "none");
    println!("out after {:?} without the event", asked.elapsed());
    assert!(asked.elapsed() < OUT_WITHIN + SLACK, "{:?}", asked.elapsed());
    assert_eq!(proxy.lost(), 1);
    is_out(&ada, &redis, "lobby", "ada").await;
    bo.ok(json!({"do": "msg.range", "room": "lobby"})).await;
    // A later change shows the hole as well.
    proxy.lose_nothing();
    ada.ok(json!({"do": "room.join", "room": "hall"})).await;
    proxy.lose(|_, header| header.stream == "access" && header.rev == 1 || header.kind == Kind::Heads);
    redis.ok(&["ROOM.REVOKE", &list_of("hall"), "ada"]);
    redis.ok(&["ROOM.REVOKE", &list_of("hall"), "somebody-else"]);
    assert_eq!(ada.expect("room.access").await["room"], "hall");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_that_nobody_tells_is_found_when_the_subscription_comes_back() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let front = through(&proxy, &redis).await;
    let (ada, _) = joins(&front, "ada", json!({"lobby": "editor"}), "lobby").await;
    proxy.lose(|_, _| true);
    redis.ok(&["ROOM.REVOKE", &list_of("lobby"), "ada"]);
    // Both the change and the heads after it.
    assert_eventually!(proxy.lost() >= 2);
    assert!(ada.events_named("room.access").is_empty(), "nothing was told yet");
    redis.ok(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(ada.expect("room.access").await["role"], "none");
    is_out_after(&proxy, &ada, &redis).await;
}

async fn is_out_after(proxy: &Proxy, ada: &Client, redis: &Redis) {
    proxy.lose_nothing();
    is_out(ada, redis, "lobby", "ada").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_grant_for_a_time_lets_in_and_takes_out() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let given = Instant::now();
    redis.ok(&["ROOM.GRANT", &list_of("lobby"), "ada", "commenter", "TTL", "3000"]);
    let (ada, joined) = joins(&front, "ada", json!({}), "lobby").await;
    assert_eq!(joined["role"], "commenter");
    ada.ok(json!({"do": "msg.post", "room": "lobby", "body": "in time"})).await;
    assert_eq!(ada.expect("room.access").await["role"], "none");
    let lasted = given.elapsed();
    assert!(lasted >= Duration::from_secs(3) && lasted < Duration::from_secs(3) + OUT_WITHIN + SLACK, "{lasted:?}");
    is_out(&ada, &redis, "lobby", "ada").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_that_is_gone_says_nothing_any_more() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    grant(&redis, "lobby", "ada", "owner");
    grant(&redis, "lobby", "bo", "viewer");
    let (ada, _) = joins(&front, "ada", json!({}), "lobby").await;
    let (bo, _) = joins(&front, "bo", json!({"lobby": "editor"}), "lobby").await;
    redis.ok(&["DEL", &list_of("lobby")]);
    assert_eq!(ada.expect("room.access").await["role"], "none", "the token opens nothing");
    assert_eq!(bo.expect("room.access").await["role"], "editor", "the token decides again");
    is_out(&ada, &redis, "lobby", "ada").await;
    grant(&redis, "lobby", "bo", "owner");
    assert_eq!(bo.expect("room.access").await["role"], "owner", "a new list is followed from its beginning");
    redis.ok(&["FLUSHALL"]);
    assert_eq!(bo.expect("room.access").await["role"], "editor");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_shut_out_while_redis_or_the_front_was_away_stays_out() {
    let mut redis = Redis::options().aof().start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let rooms = json!({"lobby": "editor"});
    let (ada, _) = joins(&one, "ada", rooms.clone(), "lobby").await;
    redis.ok(&["ROOM.REVOKE", &list_of("lobby"), "ada"]);
    redis.restart(Ending::Killed);
    assert_eq!(ada.expect("room.access").await["role"], "none");
    // A front that dies earlier leaves its people to their lease.
    is_out(&ada, &redis, "lobby", "ada").await;
    one.kill();
    let again = connects(&two, "ada", rooms).await;
    let join =
        json!({"do": "room.join", "room": "lobby", "positions": {"log": "1.00000001:1"}, "presence": {"data": {}}});
    // The other front may be looking for Redis still.
    let deadline = Instant::now() + SOON;
    let refused = loop {
        let refused = again.ask(join.clone()).await.unwrap_err();
        if refused["retry"] == false || Instant::now() > deadline {
            break refused;
        }
        tokio::time::sleep(PAUSE).await;
    };
    assert_eq!(refused["code"], "PERMISSION_DENIED");
    assert!(!is_listed(&redis, "lobby", "ada"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_changes_leave_everybody_with_what_the_list_says() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let fronts = [Front::start(&redis).await, through(&proxy, &redis).await];
    let mut people = Vec::new();
    for n in 0..12 {
        let user = format!("u{}", n % 6);
        people.push((user.clone(), joins(&fronts[n % 2], &user, json!({"lobby": "viewer"}), "lobby").await.0));
    }
    // One in three of the changes is not told to the second front.
    let mut count = 0;
    proxy.lose(move |channel, header| {
        count += 1;
        count % 3 == 0 && of_access(channel, header)
    });
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut chance = seed;
    let mut draw = |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    for _ in 0..1_000 {
        let user = ["u0", "u1", "u2", "u3", "u4", "u5", "*"][draw(7) as usize];
        match draw(4) {
            0 => redis.ok(&["ROOM.REVOKE", &list_of("lobby"), user, "FORGET"]),
            n => redis.ok(&["ROOM.GRANT", &list_of("lobby"), user, ["viewer", "commenter", "editor"][n as usize - 1]]),
        };
    }
    let role = |user: &str| {
        let entries =
            redis.ok(&["ROOM.ACCESS", &list_of("lobby"), "USER", user, "USER", "*"]).field("entries").items().to_vec();
        let role = |at: usize| entries[at].field_if_any("role").map(|role| role.text());
        let rank = |role: &str| ["viewer", "commenter", "editor"].iter().position(|known| *known == role).unwrap();
        role(0).unwrap_or_else(|| role(1).filter(|all| rank(all) > 0).unwrap_or_else(|| "viewer".into()))
    };
    for (user, client) in &people {
        let right = role(user);
        assert_eventually!(
            client.events_named("room.access").last().map_or("viewer", |told| told["role"].as_str().unwrap()) == right,
            "{user} is {right}, and was told {:?}",
            client.events_named("room.access").last()
        );
    }
    println!("{} words of a change were lost", proxy.lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_thrown_out_and_let_in_at_every_moment_leaves_nothing_behind() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.presence_grace_ms = 100).await;
    let ada = connects(&front, "ada", json!({"lobby": "editor"})).await;
    redis.ok(&["DOC.CREATE", "stoa:{lobby}:doc:main", "text", "x"]);
    let join = json!({"do": "room.join", "room": "lobby", "presence": {"data": {}}});
    let open = json!({"do": "doc.open", "room": "lobby", "doc": "main"});
    let post = json!({"do": "msg.post", "room": "lobby", "body": "hi"});
    for round in 0..150 {
        let mut last = 0;
        for at in 0..6 {
            if at == round % 6 {
                redis.ok(&["ROOM.REVOKE", &list_of("lobby"), "ada"]);
            }
            if at == (round / 6) % 6 {
                redis.ok(&["ROOM.REVOKE", &list_of("lobby"), "ada", "FORGET"]);
            }
            last = ada.send([&join, &open, &post][at % 3].clone());
        }
        assert_eventually!(ada.answered().contains(&last), "round {round} is answered");
    }
    // What one is told in the end is how it is.
    redis.ok(&["ROOM.REVOKE", &list_of("lobby"), "ada", "FORGET"]);
    assert_eq!(ada.ok(join.clone()).await["role"], "editor");
    ada.ok(post).await;
    grant(&redis, "lobby", "ada", "viewer");
    assert_eventually!(ada.events_named("room.access").last().is_some_and(|told| told["role"] == "viewer"));
    drop(ada);
    assert_eventually!(!is_listed(&redis, "lobby", "ada"));
    let channels = || redis.ok(&["PUBSUB", "SHARDCHANNELS"]).texts();
    assert_eventually!(!channels().contains(&"stoa:{lobby}".to_owned()), "the room lives on: {:?}", channels());
}
