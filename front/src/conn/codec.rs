//! WebSocket frames (RFC 6455), without I/O: finished frames out, messages in.
//!
//! [`Decoder`] takes bytes as they come and keeps no more of them than the message that is not complete yet. What a
//! frame claims is checked before anything is kept, so a header that promises 2^63 bytes costs nothing.

use super::deflate::{self, InflateError};
use super::utf8::Utf8;
use bytes::Bytes;

/// Frames without content in one message, in number: nobody needs more, and each costs time and no budget.
pub const EMPTY_FRAGMENTS_MAX: u32 = 64;
/// Largest payload of a control frame, in bytes (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
/// RSV1: the message is deflated (RFC 7692, 6).
const DEFLATED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;
/// Two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // RFC 6455, 5.2.
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(first: u8) -> Option<Self> {
        Some(match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// Which end of the connection this is: clients mask what they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Role {
    Server,
    Client,
}

/// What came, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // RFC 6455, 5.5 and 5.6.
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// Why what came cannot be read. Nothing after it can be read either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Against the protocol.
    Protocol(&'static str),
    /// A text that is not UTF-8.
    NotUtf8,
    /// More than [`Limits::message_bytes_max`], as it came or inflated.
    TooLarge,
}

/// What is read at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes, both deflated and inflated.
    pub message_bytes_max: usize,
}

/// Writes a frame. `mask` is what a client masks with.
pub fn append_frame(out: &mut Vec<u8>, first: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.reserve(payload.len() + HEAD_BYTES_MAX);
    out.push(first);
    match payload.len() {
        len @ 0..126 => out.push(masked | len as u8),
        len @ 126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let Some(mask) = mask else { return out.extend_from_slice(payload) };
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
}

/// A whole message as one frame of a server.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    finished(FIN | opcode as u8, payload)
}

/// A whole deflated message as one frame of a server.
pub fn deflated_frame(opcode: Opcode, deflated: &[u8]) -> Bytes {
    finished(FIN | DEFLATED | opcode as u8, deflated)
}

/// A close frame of a server. A reason that does not fit is left out.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let reason = if reason.len() > CONTROL_BYTES_MAX - 2 { "" } else { reason };
    frame(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn finished(first: u8, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 10);
    append_frame(&mut out, first, payload, None);
    out.into()
}

/// Masks and unmasks.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    // Eight bytes at once, which the compiler makes more of.
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(word) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
        }
    }
    chunks.into_remainder().iter_mut().enumerate().for_each(|(n, byte)| *byte ^= mask[n % 4]);
}

/// The frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    rest: usize,
    mask: Option<[u8; 4]>,
}

/// The message whose frames are being read.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    deflated: bool,
    bytes: Vec<u8>,
    utf8: Utf8,
    empty_fragments: u32,
}

/// Reads frames.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    inflates: bool,
    limits: Limits,
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Box<Partial>>,
}

impl Decoder {
    /// Reads what the other side of `role` sends. `inflates`: permessage-deflate was agreed on.
    pub fn new(role: Role, inflates: bool, limits: Limits) -> Self {
        let head = [0; HEAD_BYTES_MAX];
        Decoder { role, inflates, limits, head, head_len: 0, frame: None, control: Vec::new(), message: None }
    }

    /// Bytes that are kept of an unfinished message.
    pub fn kept_bytes(&self) -> usize {
        self.control.len() + self.message.as_ref().map_or(0, |message| message.bytes.capacity())
    }

    /// Frees what is kept of an unfinished message, after which nothing can be read any more.
    pub fn give_up(&mut self) {
        (self.message, self.control) = (None, Vec::new());
    }

    /// Whether nothing of an unfinished frame or message is kept.
    pub fn is_idle(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Reads up to the end of the next message; `None` once `input` is used up. `input` is unmasked where it stands
    /// and moves on behind what was read.
    pub fn next(&mut self, input: &mut &mut [u8]) -> Result<Option<Message>, Fault> {
        loop {
            if self.frame.is_none() && !self.read_head(input)? {
                return Ok(None);
            }
            let Some(frame) = &mut self.frame else { return Ok(None) };
            let (opcode, fin) = (frame.opcode, frame.fin);
            let payload = take(input, frame.rest);
            frame.rest -= payload.len();
            if let Some(mask) = &mut frame.mask {
                unmask(payload, *mask);
                mask.rotate_left(payload.len() % 4);
            }
            let complete = frame.rest == 0;
            if complete {
                self.frame = None;
            }
            if opcode.is_control() {
                self.control.extend_from_slice(payload);
                if complete {
                    return control(opcode, std::mem::take(&mut self.control)).map(Some);
                }
            } else if let Some(message) = self.add(payload, complete && fin)? {
                return Ok(Some(message));
            }
            if !complete {
                return Ok(None);
            }
        }
    }

    /// Reads the head of a frame and checks all that it claims.
    fn read_head(&mut self, input: &mut &mut [u8]) -> Result<bool, Fault> {
        let need = |head: &[u8]| match head {
            [_, second, ..] => {
                let length = match second & !MASKED {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                };
                2 + length + if second & MASKED != 0 { 4 } else { 0 }
            }
            _ => 2,
        };
        loop {
            let have = usize::from(self.head_len);
            let missing = need(&self.head[..have]) - have;
            if missing == 0 {
                break;
            }
            let bytes = take(input, missing);
            if bytes.is_empty() {
                return Ok(false);
            }
            self.head[have..have + bytes.len()].copy_from_slice(bytes);
            self.head_len += bytes.len() as u8;
            // What the first two bytes say may be against the protocol before the rest has come.
            if have < 2 && self.head_len >= 2 {
                self.check_first_two()?;
            }
        }
        self.head_len = 0;
        self.begin()?;
        Ok(true)
    }

    fn check_first_two(&self) -> Result<(), Fault> {
        let [first, second, ..] = self.head;
        let opcode = Opcode::of(first).ok_or(Fault::Protocol("an opcode that is reserved"))?;
        let deflated = first & DEFLATED != 0;
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RESERVED != 0 || (deflated && !(self.inflates && begins)) {
            return Err(Fault::Protocol("a reserved bit that was not agreed on"));
        }
        if (second & MASKED != 0) != (self.role == Role::Server) {
            return Err(Fault::Protocol("clients mask, servers do not"));
        }
        if opcode.is_control() && (first & FIN == 0 || usize::from(second & !MASKED) > CONTROL_BYTES_MAX) {
            return Err(Fault::Protocol("a control frame is whole and short"));
        }
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => Err(Fault::Protocol("nothing to continue")),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Fault::Protocol("a message within a message")),
            _ => Ok(()),
        }
    }

    /// Starts on the frame whose head is complete.
    fn begin(&mut self) -> Result<(), Fault> {
        let [first, second, rest @ ..] = self.head;
        let Some(opcode) = Opcode::of(first) else { return Ok(()) };
        let (length, mask) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (
                u64::from_be_bytes([rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]]),
                &rest[8..],
            ),
            short => (u64::from(short), &rest[..]),
        };
        let shortest = match second & !MASKED {
            126 => length > 125,
            127 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Fault::Protocol("a length that is not written as shortly as it can be"));
        }
        let so_far = self.message.as_ref().map_or(0, |message| message.bytes.len());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !opcode.is_control() && length > self.limits.message_bytes_max.saturating_sub(so_far) {
            return Err(Fault::TooLarge);
        }
        if matches!(opcode, Opcode::Text | Opcode::Binary) {
            self.message = Some(Box::new(Partial {
                is_text: opcode == Opcode::Text,
                deflated: first & DEFLATED != 0,
                bytes: Vec::new(),
                utf8: Utf8::default(),
                empty_fragments: 0,
            }));
        }
        if let Some(message) = self.message.as_mut().filter(|_| length == 0 && !opcode.is_control()) {
            message.empty_fragments += 1;
            if message.empty_fragments > EMPTY_FRAGMENTS_MAX {
                return Err(Fault::Protocol("too many fragments without content"));
            }
        }
        let mask = (second & MASKED != 0).then(|| [mask[0], mask[1], mask[2], mask[3]]);
        self.frame = Some(Frame { opcode, fin: first & FIN != 0, rest: length, mask });
        Ok(())
    }

    /// Takes payload of the present message in.
    fn add(&mut self, payload: &[u8], complete: bool) -> Result<Option<Message>, Fault> {
        let Some(message) = &mut self.message else { return Ok(None) };
        message.bytes.extend_from_slice(payload);
        if message.is_text && !message.deflated && !message.utf8.goes_on(payload) {
            return Err(Fault::NotUtf8);
        }
        if !complete {
            return Ok(None);
        }
        let Some(message) = self.message.take() else { return Ok(None) };
        let mut bytes = message.bytes;
        if message.deflated {
            bytes = deflate::inflate(&bytes, self.limits.message_bytes_max).map_err(|error| match error {
                InflateError::TooLarge => Fault::TooLarge,
                InflateError::Damaged => Fault::Protocol("a message that does not inflate"),
            })?;
        }
        if !message.is_text {
            return Ok(Some(Message::Binary(bytes)));
        }
        String::from_utf8(bytes).map(|text| Some(Message::Text(text))).map_err(|_| Fault::NotUtf8)
    }
}

/// Takes up to `count` bytes from the front.
fn take<'a>(input: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let count = count.min(input.len());
    let (taken, rest) = std::mem::take(input).split_at_mut(count);
    *input = rest;
    taken
}

fn control(opcode: Opcode, payload: Vec<u8>) -> Result<Message, Fault> {
    match opcode {
        Opcode::Ping => return Ok(Message::Ping(payload)),
        Opcode::Pong => return Ok(Message::Pong(payload)),
        _ => {}
    }
    let (code, reason) = match payload.as_slice() {
        [] => return Ok(Message::Close(None)),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(Fault::Protocol("a close code has two bytes")),
    };
    // RFC 6455, 7.4: what may be sent, with the codes that were registered since.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::Protocol("a close code that may not be sent"));
    }
    let reason = String::from_utf8(reason.to_vec()).map_err(|_| Fault::NotUtf8)?;
    Ok(Message::Close(Some((code, reason))))
}
