//! What should not come through the socket below the frames: handshakes, WebSocket frames and deflated messages that are
//! wrong, too large or too many. Each ends with its code, and nobody else notices.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use stoa_front::conn::codec::{Message, Opcode};
use stoa_front::conn::deflate::deflate;
use stoa_harness::bare::{Bare, DEFLATED, FIN, good_lines, handshake};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const TEXT: u8 = Opcode::Text as u8;
const CONTINUATION: u8 = Opcode::Continuation as u8;

/// A front whose frames have at most 64 KiB, and a socket to it that has connected.
async fn somebody(lines: &str) -> (Redis, Front, Bare) {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.frame_bytes_max = 64 * 1024).await;
    let bare = connected(&front, lines).await;
    (redis, front, bare)
}

async fn connected(front: &Front, lines: &str) -> Bare {
    let (mut bare, _) = Bare::open(front.port, lines).await;
    bare.send_text(&json!({"id": 1, "do": "connect", "token": front::token("ada")}).to_string()).await;
    assert!(bare.next_frame().await["ok"].is_object());
    bare
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_wrong_are_refused_with_their_status() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let good = good_lines();
    let cases = [
        ("101", good.clone()),
        ("426", String::new()),
        ("426", good.replace("Version: 13", "Version: 12")),
        ("426", good.replace("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 8")),
        ("426", good.replace("keep-alive, Upgrade", "keep-alive")),
        ("426", good.replace("Upgrade: WebSocket", "Upgrade: h2c")),
        ("400", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==")),
        ("400", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "not base64")),
        ("400", good.replace("Sec-WebSocket-Key", "Sec-WebSocket-Kex")),
        ("101", format!("{good}Sec-WebSocket-Protocol: \u{e9}\u{ff}\r\n")),
        ("101", format!("{good}Sec-WebSocket-Extensions: \u{ff}, x; y=\"\r\n")),
    ];
    for (status, lines) in cases {
        let head = handshake(front.port, &lines).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{lines:?} is answered {head:?}");
        assert!(status != "426" || head.to_ascii_lowercase().contains("sec-websocket-version: 13"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("sec-websocket-protocol"), "{head}");
    }
    let head = handshake(front.port, &good).await;
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the accept key of the RFC's example: {head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_listed_origins_are_welcome() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.auth.origins = vec!["https://app.example".into()]).await;
    let origins = [
        ("101", "https://app.example"),
        ("403", "https://evil"),
        ("403", "null"),
        ("403", "https://app.example.evil.com"),
        ("403", "http://app.example"),
    ];
    for (status, origin) in origins {
        let head = handshake(front.port, &format!("{}Origin: {origin}\r\n", good_lines())).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_against_the_protocol_end_the_connection_with_1002() {
    let (_redis, front, _) = somebody("").await;
    let witness = Client::connect(front.port, &front::token("bo")).await;
    let unmasked: &[u8] = &[FIN | TEXT, 2, b'{', b'}'];
    let reserved_bit: &[u8] = &[FIN | DEFLATED | TEXT, 0x80, 0, 0, 0, 0];
    let cases: [&[u8]; 8] = [
        unmasked,
        reserved_bit,
        &[FIN | 3, 0x80, 0, 0, 0, 0],
        &[0x09, 0x80, 0, 0, 0, 0],
        &[FIN | 9, 0xfe, 0, 126, 0, 0, 0, 0],
        &[FIN | CONTINUATION, 0x80, 0, 0, 0, 0],
        &[FIN | 8, 0x81, 0, 0, 0, 0, 3],
        // A close code that only stands for none.
        &[FIN | 8, 0x82, 0, 0, 0, 0, 0x03, 0xed],
    ];
    for bytes in cases {
        let mut bare = connected(&front, "").await;
        bare.send_bytes(bytes).await;
        assert_eq!(bare.closed().await.0, 1002, "{bytes:x?}");
        assert!(bare.next().await.is_none(), "and the socket goes");
    }
    witness.ok(json!({"do": "ping"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_are_not_utf8_end_the_connection_with_1007() {
    let (_redis, front, mut bare) = somebody(OFFER).await;
    bare.send(TEXT, b"\xe6\xbc").await;
    bare.send(FIN | CONTINUATION, b"a").await;
    assert_eq!(bare.closed().await.0, 1007);
    let mut bare = connected(&front, OFFER).await;
    bare.send(FIN | DEFLATED | TEXT, &deflate(b"\xff\xfe").unwrap()).await;
    assert_eq!(bare.closed().await.0, 1007);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_too_large_ends_the_connection_with_its_code() {
    let (_redis, front, mut bare) = somebody(OFFER).await;
    bare.send_bytes(&[&[FIN | TEXT, 0xff][..], &((1_u64 << 63) - 1).to_be_bytes(), &[0; 4]].concat()).await;
    assert_eq!(bare.closed().await, (4503, "TOO_LARGE".into()));
    let mut bare = connected(&front, "").await;
    bare.send(FIN | TEXT, &vec![b' '; 64 * 1024 + 1]).await;
    assert_eq!(bare.closed().await, (4503, "TOO_LARGE".into()));
    let mut bare = connected(&front, "").await;
    bare.send(TEXT, b" ").await;
    for _ in 0..40 {
        bare.send(CONTINUATION, &[b' '; 2 * 1024]).await;
    }
    assert_eq!(bare.closed().await, (4503, "TOO_LARGE".into()));
    let mut bare = connected(&front, OFFER).await;
    let bomb = deflate(&vec![b' '; 32 * 1024 * 1024]).unwrap();
    bare.send(FIN | DEFLATED | TEXT, &bomb[..32 * 1024]).await;
    assert_eq!(bare.closed().await, (4503, "TOO_LARGE".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_just_fits_is_taken() {
    let (_redis, _front, mut bare) = somebody(OFFER).await;
    let ping = json!({"id": 2, "do": "ping"}).to_string();
    bare.send_text(&(ping.clone() + &" ".repeat(64 * 1024 - ping.len()))).await;
    assert_eq!(bare.next_frame().await["id"], 2);
    bare.send(TEXT, &ping.as_bytes()[..5]).await;
    bare.send(FIN | Opcode::Ping as u8, b"between").await;
    bare.send(FIN | CONTINUATION, &ping.as_bytes()[5..]).await;
    assert_eq!(bare.next().await, Some(Message::Pong(b"between".to_vec())));
    assert_eq!(bare.next_frame().await["id"], 2);
    bare.send(FIN | DEFLATED | TEXT, &deflate(ping.as_bytes()).unwrap()).await;
    assert_eq!(bare.next_frame().await["id"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_fragments_without_content_end_the_connection() {
    let (_redis, _front, mut bare) = somebody("").await;
    bare.send(TEXT, b"").await;
    for _ in 0..1000 {
        bare.send(CONTINUATION, b"").await;
    }
    assert_eq!(bare.closed().await.0, 1002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ping_is_answered_and_a_goodbye_is_returned() {
    let (_redis, _front, mut bare) = somebody("").await;
    for n in 0..2000_u16 {
        bare.send(FIN | Opcode::Ping as u8, &n.to_be_bytes()).await;
    }
    for n in 0..2000_u16 {
        assert_eq!(bare.next().await, Some(Message::Pong(n.to_be_bytes().to_vec())));
    }
    bare.send(FIN | Opcode::Close as u8, &4321_u16.to_be_bytes()).await;
    assert_eq!(bare.closed().await, (4321, String::new()));
    assert!(bare.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_offers_it_gets_large_events_deflated_and_small_ones_plain() {
    let (_redis, front, mut plain) = somebody("").await;
    let (mut deflated, head) = Bare::open(front.port, OFFER).await;
    let answer = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert!(head.to_ascii_lowercase().contains(answer), "{head}");
    deflated.send_text(&json!({"id": 1, "do": "connect", "token": front::token("bo")}).to_string()).await;
    deflated.next_frame().await;
    for bare in [&mut plain, &mut deflated] {
        bare.send_text(&json!({"id": 2, "do": "room.join", "room": "lobby"}).to_string()).await;
        let joined = bare.next_frame().await;
        assert!(joined["ok"].is_object(), "{joined}");
    }
    for body in ["short".to_owned(), "la".repeat(1500)] {
        plain.send_text(&json!({"id": 3, "do": "msg.post", "room": "lobby", "body": body}).to_string()).await;
        let told = deflated.next_frame().await;
        assert_eq!(told["message"]["body"], body);
        let mut heard = 0;
        while heard < 2 {
            let frame = plain.next_frame().await;
            assert!(frame["id"] == 3 || frame == told, "both hear the same: {frame}");
            heard += 1;
        }
        // Three thousand bytes of refrain become less than a tenth.
        let wire = deflated.bytes_read();
        assert!(wire < 2048, "{wire} bytes came");
    }
}
