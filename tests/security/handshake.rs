//! Before a connection is one: origins, addresses, transports of the token, and who only wants to hold a socket.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stoa_front::settings::ForwardedHeader;
use stoa_harness::bare::{Bare, good_lines, handshake};
use stoa_harness::front::http_status;
use stoa_harness::http::{Events, request};
use stoa_harness::socket::Client;
use stoa_harness::waiting::SOON;
use stoa_harness::{Front, Redis, front};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Time in which a front gives up a head that does not come (five seconds), on a machine that has much to do.
const HEADER_BOUND: Duration = Duration::from_secs(15);

fn status_of(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// Sends bytes and reads until the front ends the connection.
async fn exchange(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ =
        tokio::time::timeout(HEADER_BOUND, stream.read_to_end(&mut answer)).await.expect("the front ends it in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_origins_that_are_listed_exactly_come_in() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| {
        settings.auth.origins = vec!["https://app.example".into(), "http://localhost:3000".into()];
    })
    .await;
    let bearer = format!("Bearer {}", front::token("ada"));
    for (allowed, origin) in [
        (true, "https://app.example"),
        (true, "http://localhost:3000"),
        (false, "https://evil"),
        (false, "null"),
        (false, ""),
        (false, "*"),
        (false, "https://app.example.evil.com"),
        (false, "https://evil.app.example"),
        (false, "https://evil-app.example"),
        (false, "https://app.example:8443"),
        (false, "https://app.example/"),
        (false, "https://app.example@evil"),
        (false, "http://app.example"),
        (false, "HTTPS://APP.EXAMPLE"),
        (false, "http://localhost:30000"),
        (false, "https://app.example, https://evil"),
        (false, "https://app.ex\u{e4}mple"),
    ] {
        let head = handshake(front.port, &format!("{}Origin: {origin}\r\n", good_lines())).await;
        assert_eq!(status_of(&head), if allowed { "101" } else { "403" }, "{origin}: {head}");
        let headers = [("Authorization", bearer.as_str()), ("Origin", origin)];
        let answer = request(front.port, "POST /rpc", &headers, "{\"id\":1,\"do\":\"ping\"}").await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{origin}");
        let stream = Events::open(front.port, "/sse", &headers).await.map_err(|answer| answer.status);
        assert_eq!(stream.err(), (!allowed).then_some(403), "{origin}");
    }
    // Two of them are none.
    let two = format!("{}Origin: https://app.example\r\nOrigin: https://evil\r\n", good_lines());
    assert_eq!(status_of(&handshake(front.port, &two).await), "403");
    // Programs name none; they have to have a token, as everybody.
    assert_eq!(status_of(&handshake(front.port, &good_lines()).await), "101");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pages_of_origins_that_are_not_listed_read_no_answer() {
    let redis = Redis::start();
    let front =
        Front::start_with(&redis, |settings| settings.auth.allow_origin = vec!["https://app.example".into()]).await;
    for origin in ["https://evil", "null", "https://app.example.evil.com", "http://app.example", "*"] {
        let asks = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        for line in ["OPTIONS /rpc", "OPTIONS /sse", "POST /rpc", "GET /sse", "GET /readyz"] {
            let answer = request(front.port, line, &asks, "").await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{line} {origin}");
            assert_eq!(answer.header("access-control-allow-credentials"), None, "{line} {origin}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_comes_in_four_ways_and_never_as_a_cookie() {
    let redis = Redis::start();
    let strict = Front::start(&redis).await;
    let lax = Front::start_with(&redis, |settings| settings.auth.token_in_query = true).await;
    let token = front::token("ada");
    let header = format!("Authorization: Bearer {token}\r\n");
    let protocol = format!("Sec-WebSocket-Protocol: stoa.v1, bearer.{token}\r\n");
    let cookie = format!("Cookie: token={token}; Authorization=Bearer {token}\r\n");
    for (lines, expected, echoed) in [
        (header.as_str(), Ok("ada"), None),
        (&protocol, Ok("ada"), Some("stoa.v1")),
        (
            &format!("Sec-WebSocket-Protocol: bearer.{token}\r\nSec-WebSocket-Protocol: x, stoa.v1\r\n"),
            Ok("ada"),
            Some("stoa.v1"),
        ),
        ("Sec-WebSocket-Protocol: stoa.v1, bearer.nonsense\r\n", Err("AUTH_INVALID"), Some("stoa.v1")),
        ("Sec-WebSocket-Protocol: chat\r\n", Err("AUTH_REQUIRED"), None),
        ("Authorization: Basic YTpi\r\n", Err("AUTH_REQUIRED"), None),
        (&cookie, Err("AUTH_REQUIRED"), None),
    ] {
        let (mut bare, head) = Bare::open(strict.port, lines).await;
        let told = head.to_ascii_lowercase();
        let named = told.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(named, echoed, "{head}");
        assert!(!head.contains("eyJ"), "the token comes back: {head}");
        bare.send_text(&json!({"id": 1, "do": "connect"}).to_string()).await;
        let answer = bare.next_frame().await;
        let got = answer["ok"]["user"].as_str().ok_or_else(|| answer["error"]["code"].as_str().unwrap());
        assert_eq!(got, expected, "{lines}");
    }
    // The answer to what is not ASCII is the same as without, and no header is split by it.
    let head =
        handshake(strict.port, &format!("{}Sec-WebSocket-Protocol: stoa.v1\u{ff}, \u{e9}\r\n", good_lines())).await;
    assert!(
        head.starts_with("HTTP/1.1 101 ") && !head.to_ascii_lowercase().contains("sec-websocket-protocol"),
        "{head}"
    );

    let in_query = |port: u16| {
        let line = format!("GET /ws?token={token} HTTP/1.1\r\nHost: h\r\n{}\r\n", good_lines());
        async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            String::from_utf8(head.to_vec()).unwrap()
        }
    };
    assert_eq!(in_query(strict.port).await, "HTTP/1.1 401");
    assert_eq!(in_query(lax.port).await, "HTTP/1.1 101");
    let refused = Events::open(strict.port, &format!("/sse?token={token}"), &[]).await.err().unwrap();
    assert_eq!((refused.status, &refused.frames()[0]["error"]["code"]), (401, &json!("AUTH_INVALID")));
    let cookie = [("Cookie", format!("token={token}"))];
    let cookie = [(cookie[0].0, cookie[0].1.as_str())];
    assert_eq!(request(lax.port, "POST /rpc", &cookie, "{\"id\":1,\"do\":\"ping\"}").await.status, 401);
    assert_eq!(Events::open(lax.port, "/sse", &cookie).await.err().unwrap().status, 401);
}

/// The address that a connection with these headers is listed with.
async fn address(front: &Front, user: &str, headers: &[(&str, &str)]) -> String {
    let bearer = format!("Bearer {}", front::token(user));
    let headers = [headers, &[("Authorization", bearer.as_str())]].concat();
    let listener = Events::open(front.port, "/sse", &headers).await.unwrap();
    listener.expect("connected", |block| block.event == "connected").await;
    let listed = request(front.port, "POST /rpc", &headers, "{\"id\":1,\"do\":\"devices.list\"}").await;
    let devices: Value = listed.frames()[0]["ok"]["devices"].clone();
    assert_eq!(devices.as_array().map(Vec::len), Some(1), "{devices}");
    devices[0]["address"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_trusted_proxies_say_where_somebody_comes_from() {
    let redis = Redis::start();
    let named = [("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=5.6.7.8")];
    let bare = Front::start_with(&redis, |settings| settings.devices = true).await;
    assert_eq!(address(&bare, "a", &named).await, "127.0.0.1");
    let elsewhere = Front::start_with(&redis, |settings| {
        settings.devices = true;
        settings.auth.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    assert_eq!(address(&elsewhere, "b", &named).await, "127.0.0.1");
    let behind = Front::start_with(&redis, |settings| {
        settings.devices = true;
        settings.auth.trusted_proxies =
            vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into(), "10.0.0.0/8".parse().unwrap()];
    })
    .await;
    assert_eq!(address(&behind, "c", &named).await, "1.2.3.4");
    assert_eq!(address(&behind, "d", &[("X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.9.8.7")]).await, "1.2.3.4");
    assert_eq!(address(&behind, "e", &[("X-Forwarded-For", "6.6.6.6, <script>")]).await, "127.0.0.1");
    let standard = Front::start_with(&redis, |settings| {
        settings.devices = true;
        settings.auth.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.auth.forwarded_header = ForwardedHeader::Forwarded;
    })
    .await;
    assert_eq!(address(&standard, "f", &named).await, "5.6.7.8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_the_proxy_protocol_is_spoken_nothing_else_is() {
    let redis = Redis::start();
    let front = Front::start_unready_with(&redis, |settings| settings.auth.proxy_protocol = true).await;
    let get = "GET /livez HTTP/1.0\r\n\r\n";
    for (first, answered) in [
        ("PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n", true),
        ("PROXY UNKNOWN\r\n", true),
        ("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", true),
        ("", false),
        ("PROXY TCP4 nonsense 10.0.0.1 1 2\r\n", false),
        ("PROXY TCP4 203.0.113.9\r\n", false),
        ("proxy TCP4 203.0.113.9 10.0.0.1 1 2\r\n", false),
        ("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab", false),
    ] {
        let answer = exchange(front.port, format!("{first}{get}").as_bytes()).await;
        assert_eq!(answer.contains(" 200 "), answered, "{first:?}: {answer}");
    }
    // Who says nothing is not waited for.
    assert_eq!(exchange(front.port, b"PROXY ").await, "");
    let picky = Front::start_unready_with(&redis, |settings| {
        settings.auth.proxy_protocol = true;
        settings.auth.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    assert_eq!(exchange(picky.port, format!("PROXY UNKNOWN\r\n{get}").as_bytes()).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_one_too_many_is_told_to_come_later() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.auth.connections_max = 3).await;
    let mut people = Vec::new();
    for user in ["a", "b", "c"] {
        people.push(Client::connect(front.port, &front::token(user)).await);
    }
    let head = handshake(front.port, &good_lines()).await;
    assert_eq!(status_of(&head), "503");
    assert!(head.to_ascii_lowercase().contains("retry-after: 10"), "{head}");
    let bearer = format!("Bearer {}", front::token("d"));
    let refused = Events::open(front.port, "/sse", &[("Authorization", &bearer)]).await.err().unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    // Whoever is in does not notice, and there is a place again when somebody goes.
    people[0].ok(json!({"do": "ping"})).await;
    people.remove(1);
    let began = Instant::now();
    while status_of(&handshake(front.port, &good_lines()).await) != "101" {
        assert!(began.elapsed() < SOON, "nobody comes in after somebody went");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_only_holds_sockets_loses_them_and_others_come_in_meanwhile() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let began = Instant::now();
    let mut held = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(("127.0.0.1", front.port)).await.unwrap();
        let beginning: &[u8] = match n % 3 {
            0 => b"",
            1 => b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            _ => b"G",
        };
        stream.write_all(beginning).await.unwrap();
        held.push(stream);
    }
    Client::connect(front.port, &front::token("ada")).await.ok(json!({"do": "ping"})).await;
    // A byte now and then does not help.
    let mut slow = TcpStream::connect(("127.0.0.1", front.port)).await.unwrap();
    let dripping = async {
        while slow.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(HEADER_BOUND, dripping).await.expect("a slow head is ended");
    for mut stream in held {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(HEADER_BOUND, stream.read_to_end(&mut rest)).await.expect("it is ended");
    }
    assert!(began.elapsed() < 2 * HEADER_BOUND);
    Client::connect(front.port, &front::token("ada")).await.ok(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.auth.demo = true).await;
    let bearer = format!("Authorization: Bearer {}\r\n", front::token("ada"));
    for (path, authorization) in [("/rpc", bearer.as_str()), ("/demo/token", "")] {
        let head = format!("POST {path} HTTP/1.0\r\nHost: x\r\n{authorization}Content-Length: 100\r\n\r\n{{");
        let answer = tokio::time::timeout(2 * HEADER_BOUND, exchange_slowly(front.port, head.as_bytes())).await;
        assert_eq!(status_of(&answer.expect("an answer in time")), "400", "{path}");
    }
    // Nobody's bytes are taken in before it is known whose they are.
    let head = "POST /rpc HTTP/1.0\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    assert_eq!(status_of(&exchange(front.port, head.as_bytes()).await), "401");
}

async fn exchange_slowly(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_are_none_are_refused_and_harm_nobody() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = "x".repeat(100 * 1024);
    for (status, request) in [
        ("431", format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n")),
        ("431", format!("GET /livez HTTP/1.1\r\nHost: x\r\n{many}\r\n")),
        ("431", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("400", "GET /livez HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n".into()),
        ("400", "GET /livez HTTP/1.1\r\nHo\0st: x\r\n\r\n".into()),
        ("400", "GET /livez HTTP/9.9\r\n\r\n".into()),
        ("400", "\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n".into()),
        ("400", "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!".into()),
        ("400", "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".into()),
        ("405", "DELETE /rpc HTTP/1.0\r\n\r\n".into()),
        ("404", "GET /../../etc/passwd HTTP/1.0\r\n\r\n".into()),
        ("404", "GET /metrics HTTP/1.0\r\n\r\n".into()),
    ] {
        let answer = exchange(front.port, request.as_bytes()).await;
        assert_eq!(status_of(&answer), status, "{}: {answer}", &request[..request.len().min(60)]);
        assert_eq!(http_status(front.port, "/livez"), Some(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_does_not_say_who_they_are_is_sent_away_whatever_else_they_say() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.connect_timeout_ms = 1_000).await;
    let (mut pinging, _) = Bare::open(front.port, "").await;
    let chatty = Client::open(front.port).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_500) {
        pinging.send(0x89, b"x").await;
        chatty.send(json!({"do": "ping"}));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(pinging.closed().await, (4500, "AUTH_REQUIRED".into()));
    assert_eq!(chatty.closed().await, (4500, "AUTH_REQUIRED".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_forbids_what_no_answer_needs() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.auth.demo = true).await;
    let bearer = format!("Bearer {}", front::token("ada"));
    for (line, body) in [
        ("GET /", ""),
        ("GET /livez", ""),
        ("GET /nowhere", ""),
        ("POST /rpc", "{\"id\":1,\"do\":\"ping\"}"),
        ("POST /rpc", "nonsense"),
        ("POST /demo/token", "{\"name\":\"Ada\"}"),
        ("GET /sse", ""),
    ] {
        let headers: &[(&str, &str)] = if line == "GET /sse" { &[] } else { &[("Authorization", &bearer)] };
        let answer = request(front.port, line, headers, body).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{line}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{line}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe-eval"), "{policy}");
        assert!(!policy.contains("script-src"), "scripts come from this origin alone: {policy}");
        if answer.body.starts_with('{') {
            assert_eq!(answer.header("content-type"), Some("application/json"), "{line}");
        }
    }
}
