//! Limits through fronts: they hold for everybody together, and nobody gets around them or meets them who should not.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stoa_front::Settings;
use stoa_front::settings::LimitsKind;
use stoa_harness::http::{Answer, request};
use stoa_harness::process::FrontProcess;
use stoa_harness::socket::Client;
use stoa_harness::waiting::{SOON, poll_async};
use stoa_harness::{Front, Redis, assert_eventually, front};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOG: &str = "stoa:{lobby}:log";

/// Nothing but these limits.
fn only(lines: &'static [&'static str]) -> impl Fn(&mut Settings) {
    move |settings| settings.limits.limit = lines.iter().map(|line| line.parse().unwrap()).collect()
}

/// The standard limits, and what else is said.
fn standard(change: impl Fn(&mut Settings)) -> impl Fn(&mut Settings) {
    move |settings| {
        settings.limits.limits = LimitsKind::Standard;
        change(settings);
    }
}

async fn member(port: u16, user: &str) -> Client {
    let client = Client::connect(port, &front::token(user)).await;
    client.ok(json!({"do": "room.join", "room": "lobby", "presence": {}})).await;
    client
}

fn post(text: &str) -> Value {
    json!({"do": "msg.post", "room": "lobby", "body": text})
}

/// Fails unless this is the refusal of a limit; when to come back, in milliseconds.
#[track_caller]
fn retry_after_ms(answer: Result<Value, Value>) -> u64 {
    let error = answer.expect_err("it was allowed");
    assert_eq!((&error["code"], &error["retry"]), (&json!("RATE_LIMITED"), &json!(true)), "{error}");
    error["retry_after_ms"].as_u64().filter(|ms| *ms > 0).unwrap_or_else(|| panic!("no retry_after_ms in {error}"))
}

/// Knocks as a WebSocket does: the status, and the seconds of `Retry-After`.
async fn knock(port: u16) -> (u16, Option<u64>) {
    let (_stream, status, retry) = knock_with(port, "").await;
    (status, retry)
}

/// As [`knock`] with another header, and keeps the connection.
async fn knock_with(port: u16, header: &str) -> (TcpStream, u16, Option<u64>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{header}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = String::new();
    while !head.contains("\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = tokio::time::timeout(SOON, stream.read(&mut bytes)).await.expect("an answer").unwrap();
        assert!(read > 0, "no whole answer: {head}");
        head.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let retry =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("retry-after: ")?.trim().parse().ok());
    (stream, status, retry)
}

async fn rpc(port: u16, user: &str, frames: &[Value]) -> Answer {
    let body: Vec<String> = frames.iter().map(Value::to_string).collect();
    let token = format!("Bearer {}", front::token(user));
    request(port, "POST /rpc", &[("Authorization", &token)], &body.join("\n")).await
}

// --- For everybody together ---------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_user_may_holds_for_all_fronts_and_connections_together_exactly() {
    let redis = Redis::start();
    let settings = only(&["user:message=25/1/24h"]);
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let clients = [member(one.port, "ada").await, member(one.port, "ada").await, member(two.port, "ada").await];
    let bo = member(two.port, "bo").await;
    let sent = clients.iter().map(|client| async {
        let answers = futures_util::future::join_all((0..20).map(|_| client.ask(post("x")))).await;
        answers
            .into_iter()
            .filter(|answer| match answer {
                Ok(_) => true,
                refused => retry_after_ms(refused.clone()) == 0,
            })
            .count()
    });
    let accepted: usize = futures_util::future::join_all(sent).await.into_iter().sum();
    assert_eq!(accepted, 25, "of 60");
    assert_eq!(redis.ok(&["MSG.INFO", LOG]).field("messages").int(), 25);
    bo.ok(post("not my limit")).await;
    // A key without the time in it: one for each user, however long they go on.
    assert_eq!(redis.ok(&["KEYS", "*rate*"]).texts().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_room_and_each_of_its_users_may_is_decided_with_the_command() {
    let redis = Redis::start();
    let settings = only(&["room:message=5/1/24h", "user-in-room:message=3/1/24h", "user-in-room:edit=2/1/24h"]);
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let (ada, bo) = (member(one.port, "ada").await, member(two.port, "bo").await);
    let first = json!({"do": "msg.post", "room": "lobby", "body": "x", "client": "c1", "seq": 1});
    ada.ok(first.clone()).await;
    ada.ok(post("x")).await;
    ada.ok(post("x")).await;
    retry_after_ms(ada.ask(post("x")).await);
    // Whoever sends again what was accepted is answered, also now.
    assert_eq!(ada.ok(first).await["duplicate"], true);
    // What is refused for another reason costs nothing.
    for _ in 0..5 {
        assert_eq!(bo.refused(json!({"do": "msg.post", "room": "lobby", "body": "x", "reply": 99})).await, "NOT_FOUND");
    }
    bo.ok(post("x")).await;
    bo.ok(post("x")).await;
    retry_after_ms(bo.ask(post("x")).await);
    ada.ok(json!({"do": "doc.open", "room": "lobby", "doc": "d", "create": {"type": "text"}})).await;
    for rev in 0..2 {
        ada.ok(json!({"do": "doc.submit", "room": "lobby", "doc": "d", "rev": rev, "op": ["x"]})).await;
    }
    retry_after_ms(ada.ask(json!({"do": "doc.submit", "room": "lobby", "doc": "d", "rev": 2, "op": ["x"]})).await);
    // Another room has limits of its own.
    ada.ok(json!({"do": "room.join", "room": "hall"})).await;
    ada.ok(json!({"do": "msg.post", "room": "hall", "body": "x"})).await;
    assert_eq!(redis.ok(&["MSG.INFO", LOG]).field("messages").int(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_without_a_connection_count_as_one_at_all_fronts() {
    let redis = Redis::start();
    let settings = only(&["connection:message=4/1/24h"]);
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let frames: Vec<Value> =
        (0..3).map(|id| json!({"id": id, "do": "msg.post", "room": "lobby", "body": "x"})).collect();
    let answers = [rpc(one.port, "ada", &frames).await, rpc(two.port, "ada", &frames).await];
    let frames: Vec<Value> = answers.iter().flat_map(Answer::frames).collect();
    let refused: Vec<bool> = frames.iter().map(|frame| frame["error"]["code"] == "RATE_LIMITED").collect();
    assert_eq!(refused, [false, false, false, false, true, true]);
    assert!(frames[5]["error"]["retry_after_ms"].as_u64().unwrap() > 0);
}

// --- Mistakes that limiters are known for -------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_second_holds_twice_the_limit() {
    let redis = Redis::start();
    let settings = only(&["user:message=1/20/1s"]);
    let fronts = [Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await];
    let clients = [member(fronts[0].port, "ada").await, member(fronts[1].port, "ada").await];
    let until = Instant::now() + Duration::from_millis(2_500);
    futures_util::future::join_all(clients.iter().map(|client| async move {
        while Instant::now() < until {
            let _ = client.ask(post("x")).await;
        }
    }))
    .await;
    // By the clock of Redis, which decided.
    let page = redis.ok(&["MSG.RANGE", LOG, "COUNT", "100"]);
    let at: Vec<u64> =
        page.field("messages").jsons().iter().map(|message| message["at_ms"].as_u64().unwrap()).collect();
    let within = |from: u64| at.iter().filter(|at| (from..from + 1_000).contains(at)).count();
    let most = at.iter().map(|from| within(*from)).max().unwrap();
    assert!(most <= 21, "{most} within a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_asks_all_the_time_gets_every_token() {
    let redis = Redis::start();
    // Read slowly in between, and no token is lost that the bucket can hold.
    let front = Front::start_with(&redis, only(&["user:message=3/3/1s"])).await;
    let ada = member(front.port, "ada").await;
    let (began, mut accepted) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(4) {
        accepted += u32::from(ada.ask(post("x")).await.is_ok());
    }
    assert!((10..=16).contains(&accepted), "{accepted} of 15");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_connection_says_is_counted_and_not_that_it_is_there() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, only(&["connection:signal=5/1/24h"])).await;
    let (ada, bo) = (member(front.port, "ada").await, member(front.port, "bo").await);
    let emit = || json!({"do": "room.emit", "room": "lobby", "name": "wave", "data": 1});
    for _ in 0..5 {
        ada.ok(emit()).await;
    }
    retry_after_ms(ada.ask(emit()).await);
    retry_after_ms(ada.ask(json!({"do": "presence.typing", "room": "lobby", "typing": true})).await);
    ada.ok(post("of another class")).await;
    ada.ok(json!({"do": "ping"})).await;
    bo.ok(emit()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_not_said_who_they_are_is_counted_too() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, only(&["connection:all=1/1/24h"])).await;
    let nobody = Client::open(front.port).await;
    assert_eq!(nobody.refused(post("x")).await, "AUTH_REQUIRED");
    retry_after_ms(nobody.ask(post("x")).await);
    // What is no frame counts like one.
    let noise = Client::open(front.port).await;
    noise.send_text("noise");
    assert_eq!(noise.next_other().await["error"]["code"], "INVALID_FRAME");
    noise.send_text("noise");
    assert_eq!(noise.next_other().await["error"]["code"], "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_school_behind_one_address_is_not_locked_out() {
    let redis = Redis::start();
    let fronts = [Front::start_with(&redis, standard(|_| {})).await, Front::start_with(&redis, standard(|_| {})).await];
    let mut pupils = Vec::new();
    for n in 0..80 {
        pupils.push(member(fronts[n % 2].port, &format!("pupil-{n}")).await);
    }
    for (n, pupil) in pupils.iter().enumerate() {
        for _ in 0..5 {
            pupil.ok(post(&format!("{n}"))).await;
            pupil.ok(json!({"do": "presence.typing", "room": "lobby", "typing": true})).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_types_points_and_talks_as_fast_as_they_can_meets_no_limit() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, standard(|_| {})).await;
    let ada = member(front.port, "ada").await;
    ada.ok(json!({"do": "doc.open", "room": "lobby", "doc": "d", "create": {"type": "text"}})).await;
    for rev in 0..100 {
        ada.ok(json!({"do": "doc.submit", "room": "lobby", "doc": "d", "rev": rev, "op": ["x"]})).await;
        let at = json!({"anchor": 1, "head": 1});
        ada.ok(json!({"do": "doc.cursor", "room": "lobby", "doc": "d", "rev": rev + 1, "cursor": at})).await;
        ada.ok(json!({"do": "presence.cursor", "room": "lobby", "cursor": rev})).await;
        if rev % 5 == 0 {
            ada.ok(json!({"do": "presence.typing", "room": "lobby", "typing": true})).await;
            ada.ok(post("hi")).await;
        }
    }
}

// --- Refused tokens -----------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_with_too_many_refused_tokens_is_refused_before_the_upgrade_for_a_while() {
    const BLOCK_MS: u64 = 8_000;
    let redis = Redis::start();
    let settings = standard(|settings| settings.limits.failed_auth_block_ms = BLOCK_MS);
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let (began, mut failed) = (Instant::now(), 0);
    while knock(one.port).await.0 == 101 {
        let nobody = Client::open(two.port).await;
        assert_eq!(nobody.refused(json!({"do": "connect", "token": "no"})).await, "AUTH_INVALID");
        failed += 1;
    }
    // On a slow machine some are forgotten in between, ten in the time of a block.
    let forgotten = began.elapsed().as_millis() as u64 * 10 / BLOCK_MS;
    assert!((10..=10 + forgotten).contains(&failed), "{failed} failed, {forgotten} forgotten");
    for port in [one.port, two.port] {
        let (status, retry_after_s) = knock(port).await;
        assert_eq!(status, 429);
        assert!(retry_after_s.is_some_and(|s| (1..=BLOCK_MS / 1_000).contains(&s)), "{retry_after_s:?}");
        assert_eq!(rpc(port, "ada", &[json!({"id": 1, "do": "ping"})]).await.status, 429);
        assert_eq!(request(port, "GET /sse", &[], "").await.status, 429);
    }
    let again = poll_async(Duration::from_millis(BLOCK_MS) + SOON, || {
        // A look costs nothing, a knock would take a token.
        let look = redis.ok(&["RATE.PEEK", "stoa:{address:127.0.0.1}:rate:connect", "LIMIT", "1", "1", "1"]);
        (look.items()[1].int() > 0).then_some(())
    });
    assert!(again.await.is_some(), "the block does not end");
    Client::connect(one.port, &front::token("ada")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_has_ended_blocks_nobody() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, standard(|settings| settings.limits.failed_auth_max = 2)).await;
    for _ in 0..4 {
        let late = Client::open(front.port).await;
        let token = front::token_with(json!({"sub": "ada", "exp": 1}));
        assert_eq!(late.refused(json!({"do": "connect", "token": token})).await, "AUTH_EXPIRED");
    }
    assert_eq!(knock(front.port).await.0, 101);
}

// --- Connections --------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_has_so_many_connections_at_all_fronts_and_no_more() {
    let redis = Redis::start();
    let settings = standard(|settings| settings.limits.connections_per_user = 3);
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let first = member(one.port, "ada").await;
    let _others = [member(one.port, "ada").await, member(two.port, "ada").await];
    let fourth = Client::open(two.port).await;
    retry_after_ms(fourth.ask(json!({"do": "connect", "token": front::token("ada")})).await);
    assert_eq!(fourth.closed().await.0, 4004);
    member(two.port, "bo").await;
    drop(first);
    let token = front::token("ada");
    let mut back = None;
    for _ in 0..200 {
        let client = Client::open(two.port).await;
        if client.ask(json!({"do": "connect", "token": &token})).await.is_ok() {
            back = Some(client);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(back.is_some(), "whoever leaves makes room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_has_so_many_connections_and_the_next_is_refused_before_the_upgrade() {
    let redis = Redis::start();
    let settings = standard(|settings| settings.limits.connections_per_address = 2);
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let clients = [Client::open(one.port).await, Client::open(two.port).await];
    let (status, retry_after_s) = knock(one.port).await;
    assert_eq!(status, 429);
    assert!(retry_after_s.is_some_and(|s| (1..=30).contains(&s)), "{retry_after_s:?}");
    drop(clients);
    let home = "stoa:{address:127.0.0.1}:connections";
    assert_eventually!(redis.ok(&["EXISTS", home]).int() == 0, "leases are given back");
    assert_eq!(knock(two.port).await.0, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_is_what_the_trusted_proxy_says_and_a_household_is_one() {
    let redis = Redis::start();
    let front = Front::start_with(
        &redis,
        standard(|settings| {
            settings.limits.connections_per_address = 1;
            settings.auth.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        }),
    )
    .await;
    let from = async |address: &str| knock_with(front.port, &format!("X-Forwarded-For: {address}\r\n")).await;
    let mut held = Vec::new();
    for (address, expected) in [
        ("192.0.2.1", 101),
        ("192.0.2.1", 429),
        ("192.0.2.2", 101),
        ("2001:db8:1:2::1", 101),
        ("2001:db8:1:2:ffff::2", 429),
        ("2001:db8:1:3::1", 101),
        // Whoever writes the header before the proxy does is not believed.
        ("203.0.113.9, 192.0.2.2", 429),
    ] {
        let (stream, status, _) = from(address).await;
        assert_eq!(status, expected, "{address}");
        held.push(stream);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_last_as_long_as_their_connections_and_do_not_outlive_a_killed_front() {
    const LEASE_MS: i64 = 1_500;
    let redis = Redis::start();
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--limits", "standard", "--connections-per-user", "3", "--connection-lease-ms", "1500"];
    let mut one = FrontProcess::start(&redis.url(), &arguments, directory.path());
    let two = FrontProcess::start(&redis.url(), &arguments, directory.path());
    let clients = [member(one.port, "ada").await, member(one.port, "ada").await, member(one.port, "ada").await];
    let key = "stoa:{user:ada}:connections";
    let ends = || redis.ok(&["PEXPIRETIME", key]).int();
    let first = ends();
    assert_eventually!(ends() > first + 2 * LEASE_MS, "leases are taken anew");
    let refused = Client::open(two.port).await;
    retry_after_ms(refused.ask(json!({"do": "connect", "token": front::token("ada")})).await);

    one.kill();
    assert_eventually!(redis.ok(&["EXISTS", key]).int() == 0, "nobody gives them back, they end");
    drop(clients);
    let _again = [member(two.port, "ada").await, member(two.port, "ada").await, member(two.port, "ada").await];
}

// --- Blocks -------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_whom_a_service_blocks_is_refused_everywhere_until_it_ends() {
    let redis = Redis::start();
    let settings = standard(|settings| settings.limits.connection_lease_ms = 900);
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let clients = [member(one.port, "ada").await, member(two.port, "ada").await];
    let bo = member(one.port, "bo").await;
    let key = "stoa:{user:ada}:rate:all";
    redis.ok(&["RATE.BLOCK", key, "600000"]);
    let point = || json!({"do": "presence.cursor", "room": "lobby", "cursor": 1});
    for client in &clients {
        let begun = Instant::now();
        while client.ask(point()).await.is_ok() {
            assert!(begun.elapsed() < SOON, "not refused");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for command in [post("x"), point(), json!({"do": "room.join", "room": "hall"})] {
            assert!(retry_after_ms(client.ask(command).await) > 500_000);
        }
    }
    let again = Client::open(two.port).await;
    retry_after_ms(again.ask(json!({"do": "connect", "token": front::token("ada")})).await);
    let answer = rpc(one.port, "ada", &[json!({"id": 1, "do": "msg.range", "room": "lobby"})]).await.frames().remove(0);
    assert_eq!(answer["error"]["code"], "RATE_LIMITED", "{answer}");
    bo.ok(post("x")).await;

    redis.ok(&["RATE.BLOCK", key, "0"]);
    let begun = Instant::now();
    while clients[0].ask(point()).await.is_err() {
        assert!(begun.elapsed() < SOON, "still refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    member(two.port, "ada").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_goes_on_after_so_many_refusals_is_blocked_at_all_fronts() {
    let redis = Redis::start();
    let settings = standard(|settings| {
        settings.limits.strikes = 5;
        settings.limits.limit = vec!["connection:message=1/1/24h".parse().unwrap()];
    });
    let (one, two) = (Front::start_with(&redis, &settings).await, Front::start_with(&redis, &settings).await);
    let ada = member(one.port, "ada").await;
    ada.ok(post("x")).await;
    for _ in 0..4 {
        retry_after_ms(ada.ask(post("x")).await);
    }
    // What is allowed in between makes up for a refusal.
    ada.ok(json!({"do": "ping"})).await;
    retry_after_ms(ada.ask(post("x")).await);
    ada.ok(json!({"do": "ping"})).await;
    for _ in 0..2 {
        ada.send(post("x"));
    }
    assert_eq!(ada.closed().await.0, 4004);
    assert_eventually!(redis.ok(&["EXISTS", "stoa:{user:ada}:rate:all"]).int() == 1);
    let again = Client::open(two.port).await;
    let ms = retry_after_ms(again.ask(json!({"do": "connect", "token": front::token("ada")})).await);
    assert!(ms <= 60_000, "{ms}");
    member(two.port, "bo").await;
}

// --- The audit log ------------------------------------------------------------------------------------------------

/// The entries of the audit log: field and value in turn.
fn audited(redis: &Redis) -> Vec<std::collections::HashMap<String, String>> {
    let entries = redis.ok(&["XRANGE", "stoa:audit", "-", "+"]);
    let fields = |entry: &stoa_harness::Reply| {
        let texts = entry.items()[1].texts();
        texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    };
    entries.items().iter().map(fields).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_audit_log_says_who_did_what_and_never_what_they_said() {
    let redis = Redis::start();
    let settings = |settings: &mut Settings| {
        settings.limits.audit = Some("stoa:audit".into());
        settings.limits.limit = vec!["connection:message=2/1/24h".parse().unwrap()];
    };
    let one = Front::start_with(&redis, settings).await;
    let token = front::token("ada");
    let ada = Client::connect(one.port, &token).await;
    ada.ok(json!({"do": "room.join", "room": "lobby"})).await;
    ada.ok(post("a secret of ours")).await;
    assert_eq!(ada.refused(json!({"do": "msg.edit", "room": "lobby", "n": 9, "body": "a secret"})).await, "NOT_FOUND");
    retry_after_ms(ada.ask(post("a secret of ours")).await);
    ada.ok(json!({"do": "presence.list", "room": "lobby"})).await;
    // To open what there is writes nothing; to make it does.
    let create = json!({"type": "text", "content": "a secret"});
    ada.ok(json!({"do": "doc.open", "room": "lobby", "doc": "d", "create": create})).await;
    ada.ok(json!({"do": "doc.open", "room": "lobby", "doc": "d"})).await;
    let answer = rpc(one.port, "bo", &[json!({"id": 1, "do": "msg.post", "room": "lobby", "body": "a secret"})]).await;
    assert_eq!(answer.status, 200);
    drop(ada);
    let told = || -> Vec<String> {
        let line = |e: &std::collections::HashMap<String, String>| {
            format!("{} {} {} {}", e["user"], e["do"], e["room"], e["result"])
        };
        audited(&redis).iter().map(line).collect()
    };
    assert_eventually!(told().len() >= 7);
    let mut seen = told();
    seen.sort();
    assert_eq!(
        seen,
        [
            "ada connection.begin  OK",
            "ada connection.end  LEFT",
            "ada doc.open lobby OK",
            "ada msg.edit lobby NOT_FOUND",
            "ada msg.post lobby OK",
            "ada msg.post lobby RATE_LIMITED",
            "bo msg.post lobby OK",
        ]
    );
    let all = format!("{:?}", audited(&redis));
    assert!(!all.contains("secret") && !all.contains(&token), "{all}");
    let post = audited(&redis).into_iter().find(|entry| entry["do"] == "msg.post").unwrap();
    assert_eq!((post["address"].as_str(), post["connection"].is_empty()), ("127.0.0.1", false));
    assert!(post["at_ms"].parse::<u64>().unwrap() > 1_700_000_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_audit_log_that_cannot_be_written_is_counted_and_stops_nobody() {
    let redis = Redis::start();
    redis.ok(&["SET", "stoa:audit", "not a stream"]);
    let front = Front::start_with(&redis, |settings| {
        settings.limits.audit = Some("stoa:audit".into());
        settings.metrics_listen = None;
    })
    .await;
    let ada = member(front.port, "ada").await;
    for _ in 0..20 {
        ada.ok(post("x")).await;
    }
    let dropped = || {
        let text = front.metrics();
        let line = text.lines().find(|line| line.starts_with("stoa_front_audit_dropped_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eventually!(dropped() >= 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_redis_is_away_nobody_waits_at_the_door() {
    let mut redis = Redis::start();
    let change = standard(|settings| settings.redis_patience_ms = 60_000);
    let front = Front::start_with(&redis, change).await;
    redis.kill();
    assert_eventually!(front::http_status(front.port, "/readyz") == Some(503));
    // Fails if that takes longer than anybody waits.
    let client = Client::connect(front.port, &front::token("ada")).await;
    client.ok(json!({"do": "ping"})).await;
}
