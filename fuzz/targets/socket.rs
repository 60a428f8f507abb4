//! What comes through a socket: bytes of any kind, and frames that are nearly right. Whatever pieces they come in, the
//! same is read; nothing is larger than allowed; and what is read can be written and read again.
#![no_main]

#[path = "../../front/src/conn/codec.rs"]
#[allow(dead_code)] // What the front alone needs.
mod codec;
#[path = "../../front/src/conn/deflate.rs"]
#[allow(dead_code)]
mod deflate;
#[path = "../../front/src/conn/utf8.rs"]
mod utf8;

use arbitrary::Arbitrary;
use codec::{CONTROL_BYTES_MAX, Decoder, Fault, Limits, Message, Opcode, Role, append_frame};
use libfuzzer_sys::fuzz_target;

/// Small, so that the bounds are met often.
const BYTES_MAX: usize = 4096;
const MASK: [u8; 4] = [1, 2, 0x80, 0];

#[derive(Debug, Arbitrary)]
struct Input {
    client: bool,
    inflates: bool,
    /// Sizes of the pieces that the bytes come in.
    pieces: Vec<u8>,
    bytes: Bytes,
}

#[derive(Debug, Arbitrary)]
enum Bytes {
    Raw(Vec<u8>),
    Frames(Vec<Frame>),
}

/// A frame whose head may say anything but whose length and mask fit.
#[derive(Debug, Arbitrary)]
struct Frame {
    first: u8,
    payload: Payload,
    mask: [u8; 4],
}

#[derive(Debug, Arbitrary)]
enum Payload {
    Raw(Vec<u8>),
    Deflated(Vec<u8>),
    /// Deflates to almost nothing.
    Bomb(u16),
}

impl Payload {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Payload::Raw(bytes) => bytes.clone(),
            Payload::Deflated(bytes) => deflate::deflate(bytes).expect("bytes deflate"),
            Payload::Bomb(size) => deflate::deflate(&vec![b'a'; usize::from(*size)]).expect("bytes deflate"),
        }
    }
}

fuzz_target!(|input: Input| {
    let role = if input.client { Role::Client } else { Role::Server };
    let bytes = match &input.bytes {
        Bytes::Raw(bytes) => bytes.clone(),
        Bytes::Frames(frames) => {
            let mut out = Vec::new();
            for frame in frames {
                let mask = (role == Role::Server).then_some(frame.mask);
                append_frame(&mut out, frame.first, &frame.payload.bytes(), mask);
            }
            out
        }
    };
    let (messages, fault) = read(role, input.inflates, &bytes, &[]);
    assert_eq!(read(role, input.inflates, &bytes, &input.pieces), (messages.clone(), fault), "in other pieces");
    let mut again = Vec::new();
    for message in &messages {
        assert!(size(message) <= BYTES_MAX);
        write(&mut again, role, message);
    }
    assert_eq!(read(role, false, &again, &input.pieces), (messages, None), "what was read is written");
    if let Ok(inflated) = deflate::inflate(&bytes, BYTES_MAX) {
        assert!(inflated.len() <= BYTES_MAX);
    }
    let offers = String::from_utf8_lossy(&bytes);
    let _ = deflate::negotiate([&*offers].into_iter());
});

fn read(role: Role, inflates: bool, bytes: &[u8], pieces: &[u8]) -> (Vec<Message>, Option<Fault>) {
    let mut decoder = Decoder::new(role, inflates, Limits { message_bytes_max: BYTES_MAX });
    let (mut messages, mut bytes) = (Vec::new(), bytes.to_vec());
    let mut rest = bytes.as_mut_slice();
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size).clamp(1, rest.len()));
        let (mut piece, later) = rest.split_at_mut(size);
        rest = later;
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
        }
        assert!(piece.is_empty(), "what was given is read");
    }
    (messages, None)
}

fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
        Message::Ping(payload) | Message::Pong(payload) => {
            assert!(payload.len() <= CONTROL_BYTES_MAX);
            payload.len()
        }
        Message::Close(close) => close.as_ref().map_or(0, |(_, reason)| reason.len()),
    }
}

fn write(out: &mut Vec<u8>, role: Role, message: &Message) {
    let (opcode, payload) = match message {
        Message::Text(text) => (Opcode::Text, text.as_bytes().to_vec()),
        Message::Binary(bytes) => (Opcode::Binary, bytes.clone()),
        Message::Ping(payload) => (Opcode::Ping, payload.clone()),
        Message::Pong(payload) => (Opcode::Pong, payload.clone()),
        Message::Close(None) => (Opcode::Close, Vec::new()),
        Message::Close(Some((code, reason))) => (Opcode::Close, [&code.to_be_bytes(), reason.as_bytes()].concat()),
    };
    append_frame(out, 0x80 | opcode as u8, &payload, (role == Role::Server).then_some(MASK));
}
