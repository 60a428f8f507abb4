//! The WebSocket codec against another implementation, in both roles and in random cases; and the rules one by one.
//! A failing case shrinks and prints its seed.
#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use std::io::{self, Cursor, Read, Write};
use stoa_front::conn::codec::{Decoder, EMPTY_FRAGMENTS_MAX, Fault, Limits, Message, Opcode, Role, append_frame};
use stoa_front::conn::deflate::deflate;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role as TheirRole, WebSocket};
use tokio_tungstenite::tungstenite::{Error, Message as Theirs};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const BYTES_MAX: usize = 1024 * 1024;
const MASK: [u8; 4] = [0xa1, 0x02, 0x00, 0xff];

/// A socket whose other end is this test.
struct Pipe {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.input.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peer(role: TheirRole, input: Vec<u8>) -> WebSocket<Pipe> {
    WebSocket::from_raw_socket(Pipe { input: Cursor::new(input), output: Vec::new() }, role, None)
}

/// What the other implementation reads, up to the first error or the end; and whether there was an error.
fn theirs(role: TheirRole, bytes: &[u8]) -> (Vec<Message>, bool) {
    let mut peer = peer(role, bytes.to_vec());
    let mut got = Vec::new();
    loop {
        got.push(match peer.read() {
            Ok(Theirs::Text(text)) => Message::Text(text.to_string()),
            Ok(Theirs::Binary(bytes)) => Message::Binary(bytes.to_vec()),
            Ok(Theirs::Ping(bytes)) => Message::Ping(bytes.to_vec()),
            Ok(Theirs::Pong(bytes)) => Message::Pong(bytes.to_vec()),
            Ok(Theirs::Close(close)) => {
                got.push(Message::Close(close.map(|close| (close.code.into(), close.reason.to_string()))));
                return (got, false);
            }
            Ok(Theirs::Frame(_)) => panic!("a bare frame"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (got, false),
            Err(_) => return (got, true),
        });
    }
}

/// What we read from bytes that come in pieces of these sizes, up to the first fault, a close, or the end.
fn ours(role: Role, inflates: bool, bytes: &[u8], sizes: &[usize]) -> (Vec<Message>, Option<Fault>) {
    let mut decoder = Decoder::new(role, inflates, Limits { message_bytes_max: BYTES_MAX });
    let mut got = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    let mut rest = bytes.to_vec();
    let mut rest = rest.as_mut_slice();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        let (mut piece, later) = rest.split_at_mut(size);
        rest = later;
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(message)) => {
                    let ended = matches!(message, Message::Close(_));
                    got.push(message);
                    if ended {
                        return (got, None);
                    }
                }
                Ok(None) => break,
                Err(fault) => return (got, Some(fault)),
            }
        }
        assert!(piece.is_empty(), "what was given is read");
    }
    (got, None)
}

/// One message with the sizes of its fragments, and the control frames between them.
#[derive(Debug, Clone)]
struct Sent {
    message: Message,
    cuts: Vec<usize>,
    between: Vec<Message>,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..300_usize,
        2 => prop::sample::select(vec![0, 1, 125, 126, 127, 65_535, 65_536, 65_537]),
        1 => 0..200_000_usize,
    ]
}

fn text() -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!["a", "\"", "\n", "é", "漢", "😀", "\u{0}", "\u{10ffff}", "z"]);
    (size(), vec(letters, 1..20)).prop_map(|(size, letters)| {
        letters
            .iter()
            .cycle()
            .scan(0, |len, letter| {
                *len += letter.len();
                (*len <= size).then_some(*letter)
            })
            .collect()
    })
}

fn control() -> impl Strategy<Value = Message> {
    (any::<bool>(), vec(any::<u8>(), 0..=125))
        .prop_map(|(ping, payload)| if ping { Message::Ping(payload) } else { Message::Pong(payload) })
}

fn sent() -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        text().prop_map(Message::Text),
        (size(), any::<u8>())
            .prop_map(|(size, first)| Message::Binary((0..size).map(|n| first.wrapping_add(n as u8)).collect())),
    ];
    (message, vec(size(), 0..5), vec(control(), 0..3)).prop_map(|(message, cuts, between)| Sent {
        message,
        cuts,
        between,
    })
}

fn close() -> impl Strategy<Value = Message> {
    let code = prop::sample::select(vec![1000, 1001, 1003, 1007, 1009, 1011, 3000, 4000, 4999]);
    prop_oneof![
        Just(Message::Close(None)),
        (code, "[a-zé]{0,40}").prop_map(|(code, reason)| Message::Close(Some((code, reason)))),
    ]
}

impl Sent {
    fn payload(&self) -> (Opcode, &[u8]) {
        match &self.message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, bytes),
            other => panic!("{other:?} is not cut"),
        }
    }

    /// The fragments of `payload`: opcode, whether it is the last, content.
    fn fragments<'a>(&self, opcode: Opcode, mut payload: &'a [u8]) -> Vec<(Opcode, bool, &'a [u8])> {
        let mut fragments = Vec::new();
        let mut opcode = opcode;
        for cut in &self.cuts {
            let (now, later) = payload.split_at((*cut).min(payload.len()));
            fragments.push((opcode, false, now));
            (opcode, payload) = (Opcode::Continuation, later);
        }
        fragments.push((opcode, true, payload));
        fragments
    }

    /// What arrives: the control frames come before the message in which they stand.
    fn expected(&self) -> Vec<Message> {
        let between = if self.cuts.is_empty() { &[][..] } else { &self.between };
        between.iter().cloned().chain([self.message.clone()]).collect()
    }
}

/// The messages as bytes, written by us.
fn written_by_us(sent: &[Sent], close: Option<&Message>, mask: Option<[u8; 4]>, deflated: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for one in sent {
        let (opcode, payload) = one.payload();
        let packed = if deflated { deflate(payload).unwrap() } else { payload.to_vec() };
        for (n, (opcode, fin, payload)) in one.fragments(opcode, &packed).into_iter().enumerate() {
            if n == 1 {
                one.between.iter().for_each(|control| append_control(&mut out, control, mask));
            }
            let first = opcode as u8 | if fin { FIN } else { 0 } | if deflated && n == 0 { RSV1 } else { 0 };
            append_frame(&mut out, first, payload, mask);
        }
    }
    if let Some(close) = close {
        append_control(&mut out, close, mask);
    }
    out
}

fn append_control(out: &mut Vec<u8>, control: &Message, mask: Option<[u8; 4]>) {
    let (opcode, payload) = match control {
        Message::Ping(payload) => (Opcode::Ping, payload.clone()),
        Message::Pong(payload) => (Opcode::Pong, payload.clone()),
        Message::Close(None) => (Opcode::Close, Vec::new()),
        Message::Close(Some((code, reason))) => (Opcode::Close, [&code.to_be_bytes(), reason.as_bytes()].concat()),
        other => panic!("{other:?} is no control frame"),
    };
    append_frame(out, FIN | opcode as u8, &payload, mask);
}

/// The messages as bytes, written by the other implementation.
fn written_by_them(sent: &[Sent], close: Option<&Message>, role: TheirRole) -> Vec<u8> {
    let mut peer = peer(role, Vec::new());
    for one in sent {
        let (opcode, payload) = one.payload();
        for (n, (opcode, fin, payload)) in one.fragments(opcode, payload).into_iter().enumerate() {
            if n == 1 {
                for control in &one.between {
                    let frame = match control {
                        Message::Ping(payload) => Frame::ping(payload.clone()),
                        Message::Pong(payload) => Frame::pong(payload.clone()),
                        other => panic!("{other:?}"),
                    };
                    peer.write(Theirs::Frame(frame)).unwrap();
                }
            }
            let opcode = match opcode {
                Opcode::Text => Data::Text,
                Opcode::Binary => Data::Binary,
                _ => Data::Continue,
            };
            let frame = Frame::message(payload.to_vec(), OpCode::Data(opcode), fin);
            peer.write(Theirs::Frame(frame)).unwrap();
        }
    }
    if let Some(Message::Close(close)) = close {
        let close =
            close.as_ref().map(|(code, reason)| CloseFrame { code: CloseCode::from(*code), reason: reason.into() });
        let _ = peer.close(close);
    }
    let _ = peer.flush();
    std::mem::take(&mut peer.get_mut().output)
}

fn expected(sent: &[Sent], close: Option<&Message>) -> Vec<Message> {
    sent.iter().flat_map(Sent::expected).chain(close.cloned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn we_read_what_they_write(
        sent in vec(sent(), 0..6), close in prop::option::of(close()), sizes in vec(size(), 1..6), server: bool,
    ) {
        let (us, them) = if server { (Role::Server, TheirRole::Client) } else { (Role::Client, TheirRole::Server) };
        let bytes = written_by_them(&sent, close.as_ref(), them);
        prop_assert_eq!(ours(us, false, &bytes, &sizes), (expected(&sent, close.as_ref()), None));
    }

    #[test]
    fn they_read_what_we_write(sent in vec(sent(), 0..6), close in prop::option::of(close()), mask: [u8; 4], server: bool) {
        let (mask, them) = if server { (None, TheirRole::Client) } else { (Some(mask), TheirRole::Server) };
        let bytes = written_by_us(&sent, close.as_ref(), mask, false);
        prop_assert_eq!(theirs(them, &bytes), (expected(&sent, close.as_ref()), false));
    }

    #[test]
    fn deflated_messages_are_read_however_they_are_cut(
        sent in vec(sent(), 0..6), mask: [u8; 4], sizes in vec(size(), 1..6),
    ) {
        let bytes = written_by_us(&sent, None, Some(mask), true);
        prop_assert_eq!(ours(Role::Server, true, &bytes, &sizes), (expected(&sent, None), None));
    }

    /// One changed byte, or an end too early: we never take what they refuse, and never take it for something else.
    #[test]
    fn damaged_streams_are_refused_where_they_refuse_them(
        sent in vec(sent(), 1..4), at: prop::sample::Index, to: u8, cut: Option<prop::sample::Index>,
    ) {
        let mut bytes = written_by_us(&sent, None, Some(MASK), false);
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let (got, fault) = ours(Role::Server, false, &bytes, &[usize::MAX]);
        let (their, refused) = theirs(TheirRole::Server, &bytes);
        prop_assert_eq!(&their[..got.len().min(their.len())], &got[..got.len().min(their.len())]);
        prop_assert!(fault.is_some() || (!refused && their == got), "{:?} instead of {} messages", fault, their.len());
    }

    /// Any bytes: no panic, and the same whatever pieces they come in.
    #[test]
    fn garbage_reads_the_same_in_all_pieces(
        bytes in vec(any::<u8>(), 0..400), sizes in vec(1..9_usize, 1..5), inflates: bool, server: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        prop_assert_eq!(ours(role, inflates, &bytes, &sizes), ours(role, inflates, &bytes, &[usize::MAX]));
    }
}

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append_frame(&mut out, first, payload, Some(MASK));
    out
}

fn fault(bytes: &[u8]) -> Option<Fault> {
    let whole = ours(Role::Server, false, bytes, &[usize::MAX]).1;
    assert_eq!(ours(Role::Server, false, bytes, &[1]).1, whole, "byte by byte");
    whole
}

fn is_protocol(bytes: &[u8]) -> bool {
    matches!(fault(bytes), Some(Fault::Protocol(_)))
}

#[test]
fn frames_against_the_protocol_are_refused_at_their_second_byte() {
    for first in [0x83, 0x87, 0x8b, 0x8f, 0xc1, 0xa1, 0x91, 0xc8, 0x80, 0x08, 0x09, 0x0a] {
        assert!(is_protocol(&[first, 0x80]), "{first:x}");
    }
    assert!(is_protocol(&[0x81, 0x05]), "not masked");
    assert!(is_protocol(&[0x89, 0x80 | 126]), "a long ping");
    assert!(is_protocol(&[frame(0x01, b"a"), vec![0x81, 0x80]].concat()), "a message within a message");
}

#[test]
fn a_deflated_continuation_or_control_frame_is_refused_even_where_deflating_was_agreed_on() {
    let begun = frame(0x41, &deflate(b"hello").unwrap());
    for second in [&[0xc0_u8, 0x80][..], &[0xc9, 0x80]] {
        let bytes = [&begun, second].concat();
        assert!(matches!(ours(Role::Server, true, &bytes, &[usize::MAX]).1, Some(Fault::Protocol(_))));
    }
}

#[test]
fn lengths_are_checked_before_anything_is_kept() {
    let claims = |length: u64| [&[0x81, 0xff][..], &length.to_be_bytes(), &MASK].concat();
    assert_eq!(fault(&claims((1 << 63) - 1)), Some(Fault::TooLarge));
    assert_eq!(fault(&claims(BYTES_MAX as u64 + 1)), Some(Fault::TooLarge));
    assert_eq!(fault(&claims(BYTES_MAX as u64)), None);
    assert!(is_protocol(&claims(1 << 63)), "the highest bit is not part of a length");
    assert!(is_protocol(&claims(0xffff)), "not as short as it can be");
    assert!(is_protocol(&[&[0x81, 0xfe, 0, 125][..], &MASK].concat()));
}

#[test]
fn fragments_count_together() {
    let begun = frame(0x01, &vec![b'a'; BYTES_MAX - 1]);
    assert_eq!(fault(&[begun.clone(), frame(0x80, b"b")].concat()), None);
    assert_eq!(fault(&[begun.clone(), frame(0x80, b"bc")].concat()), Some(Fault::TooLarge));
    assert_eq!(fault(&[begun, frame(0x00, b"b"), frame(0x80, b"c")].concat()), Some(Fault::TooLarge));
}

#[test]
fn endless_fragments_without_content_end() {
    let mut bytes = frame(0x01, b"");
    for _ in 1..EMPTY_FRAGMENTS_MAX {
        bytes.extend(frame(0x00, b""));
    }
    assert_eq!(fault(&bytes), None);
    bytes.extend(frame(0x00, b""));
    assert!(is_protocol(&bytes));
}

#[test]
fn close_codes_are_checked() {
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
        assert_eq!(fault(&frame(0x88, &code.to_be_bytes())), None, "{code}");
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert!(is_protocol(&frame(0x88, &code.to_be_bytes())), "{code}");
    }
    assert!(is_protocol(&frame(0x88, &[3])), "half a code");
    assert_eq!(fault(&frame(0x88, b"\x03\xe8\xff")), Some(Fault::NotUtf8));
}

#[test]
fn texts_are_utf8_across_fragments_and_refused_as_soon_as_they_are_not() {
    let text = "é漢😀".as_bytes();
    for cut in 0..text.len() {
        let bytes = [frame(0x01, &text[..cut]), frame(0x89, b"!"), frame(0x80, &text[cut..])].concat();
        let (got, fault) = ours(Role::Server, false, &bytes, &[usize::MAX]);
        assert_eq!((&got[1], fault), (&Message::Text("é漢😀".into()), None));
    }
    assert_eq!(fault(&frame(0x01, b"ab\xff")), Some(Fault::NotUtf8), "before the message is complete");
    assert_eq!(fault(&[frame(0x01, b"\xe6\xbc"), frame(0x80, b"a")].concat()), Some(Fault::NotUtf8));
    assert_eq!(fault(&frame(0x81, b"\xe6\xbc")), Some(Fault::NotUtf8), "ends within a character");
    assert_eq!(fault(&frame(0x82, b"\xe6\xbc")), None, "bytes are bytes");
}

#[test]
fn deflated_texts_are_bounded_and_checked_when_they_are_inflated() {
    let read = |payload: &[u8]| ours(Role::Server, true, &frame(0xc1, payload), &[usize::MAX]).1;
    assert_eq!(read(&deflate(&vec![b'a'; BYTES_MAX]).unwrap()), None);
    assert_eq!(read(&deflate(&vec![b'a'; BYTES_MAX + 1]).unwrap()), Some(Fault::TooLarge));
    assert_eq!(read(&deflate(b"ab\xff").unwrap()), Some(Fault::NotUtf8));
    assert!(matches!(read(&[0xff; 20]), Some(Fault::Protocol(_))));
}
