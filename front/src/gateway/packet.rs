//! Packets of Socket.IO (protocol 5) inside those of Engine.IO (protocol 4).
//!
//! <https://socket.io/docs/v4/socket-io-protocol/>, <https://socket.io/docs/v4/engine-io-protocol/>

use crate::conn::codec::{self, Opcode};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::fmt::Write;
use stoa_core::json::push_quoted;

/// Attachments of one event, in number: an emitted event has one payload.
pub(super) const ATTACHMENTS_MAX: usize = 4;
/// Namespaces, all of which know all events.
const NAMESPACES: [&str; 6] = ["/", "/collaboration", "/chat", "/presence", "/notifications", "/learning"];
/// How many there are.
pub(super) const NAMESPACES_COUNT: usize = NAMESPACES.len();
/// What stands between packets in one body of HTTP.
pub(super) const SEPARATOR: char = '\x1e';

/// A namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Namespace(usize);

impl Namespace {
    /// The namespace of that name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        NAMESPACES.iter().position(|known| *known == name).map(Namespace)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        NAMESPACES[self.0]
    }

    /// Its place among all.
    pub(super) fn index(self) -> usize {
        self.0
    }

    /// What stands behind the type of a packet.
    fn prefix(self) -> String {
        prefix(NAMESPACES[self.0])
    }
}

fn prefix(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}

/// A packet of Engine.IO as a finished frame of a WebSocket. Over HTTP its content goes alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet(Bytes);

impl Packet {
    /// A packet that is text.
    pub(super) fn text(text: &str) -> Self {
        Packet(codec::frame(Opcode::Text, text.as_bytes()))
    }

    /// An attachment.
    pub(super) fn binary(bytes: &[u8]) -> Self {
        Packet(codec::frame(Opcode::Binary, bytes))
    }

    /// An event; `args` is a JSON array that begins with its name. The attachments are told and follow on their own.
    pub(super) fn event(namespace: Namespace, args: &str, attachments: usize) -> Self {
        let head = if attachments == 0 { "42".to_owned() } else { format!("45{attachments}-") };
        Packet::text(&[&head, &*namespace.prefix(), args].concat())
    }

    /// The answer to an event; `args` is a JSON array.
    pub(super) fn ack(namespace: Namespace, id: u64, args: &str) -> Self {
        Packet::text(&format!("43{}{id}{args}", namespace.prefix()))
    }

    /// The namespace is entered.
    pub(super) fn connected(namespace: Namespace, sid: &str) -> Self {
        Packet::text(&format!("40{}{{\"sid\":\"{sid}\"}}", namespace.prefix()))
    }

    /// The namespace is not entered. `error` is a JSON object.
    pub(super) fn connect_error(namespace: &str, message: &str, error: &str) -> Self {
        let mut text = format!("44{}{{\"message\":", prefix(namespace));
        push_quoted(&mut text, message);
        if !error.is_empty() {
            let _ = write!(text, ",\"data\":{error}");
        }
        text.push('}');
        Packet::text(&text)
    }

    /// The namespace is left.
    pub(super) fn disconnected(namespace: Namespace) -> Self {
        Packet::text(&format!("41{}", namespace.prefix()))
    }

    /// As a frame.
    pub(super) fn frame(&self) -> &Bytes {
        &self.0
    }

    /// What is in the frame.
    pub(super) fn content(&self) -> &[u8] {
        let head = match self.0.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        self.0.get(head..).unwrap_or_default()
    }

    pub(super) fn is_binary(&self) -> bool {
        self.0.first().is_some_and(|first| first & 0x0f == Opcode::Binary as u8)
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// What a client says in one packet of Socket.IO.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// It wants to enter a namespace, with what it says of itself as JSON.
    Connect(&'a str, &'a str),
    /// It leaves a namespace.
    Disconnect(&'a str),
    Event(Event),
    /// An answer to something that asked for none.
    Ack,
}

/// Something that a client emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) namespace: String,
    /// The number under which an answer is expected.
    pub(super) ack: Option<u64>,
    /// A JSON array.
    pub(super) args: String,
    /// How many binary packets belong to it.
    pub(super) attachments: usize,
}

/// Not a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads what follows the type of the Engine.IO packet.
pub(super) fn read(text: &str) -> Result<Said<'_>, Malformed> {
    let kind = text.bytes().next().ok_or(Malformed)?;
    let mut rest = text.get(1..).ok_or(Malformed)?;
    let mut attachments = 0;
    if matches!(kind, b'5' | b'6') {
        let (count, behind) = rest.split_once('-').ok_or(Malformed)?;
        attachments = count.parse().map_err(|_| Malformed)?;
        rest = behind;
        if attachments > ATTACHMENTS_MAX {
            return Err(Malformed);
        }
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        // Old clients put a query behind it.
        namespace = namespace.split('?').next().unwrap_or(namespace);
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, data) = rest.split_at(digits);
    let ack = if number.is_empty() { None } else { Some(number.parse().map_err(|_| Malformed)?) };
    match kind {
        b'0' => Ok(Said::Connect(namespace, rest)),
        b'1' => Ok(Said::Disconnect(namespace)),
        b'2' | b'5' => {
            let is_array = data.starts_with('[') && serde_json::from_str::<&RawValue>(data).is_ok();
            if !is_array {
                return Err(Malformed);
            }
            Ok(Said::Event(Event { namespace: namespace.to_owned(), ack, args: data.to_owned(), attachments }))
        }
        b'3' | b'6' => Ok(Said::Ack),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        match read(text).unwrap() {
            Said::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn packets_are_read_with_their_namespace_and_number() {
        assert_eq!(read("0").unwrap(), Said::Connect("/", ""));
        assert_eq!(read("0/chat,{\"token\":\"x\"}").unwrap(), Said::Connect("/chat", "{\"token\":\"x\"}"));
        assert_eq!(read("0/chat?a=b,").unwrap(), Said::Connect("/chat", ""));
        assert_eq!(read("1/chat,").unwrap(), Said::Disconnect("/chat"));
        assert_eq!(read("3/chat,1[]").unwrap(), Said::Ack);
        let said = event("2/chat,12[\"a\",1]");
        assert_eq!((&*said.namespace, said.ack, &*said.args, said.attachments), ("/chat", Some(12), "[\"a\",1]", 0));
        let said = event("51-[\"a\",{\"_placeholder\":true,\"num\":0}]");
        assert_eq!((&*said.namespace, said.ack, said.attachments), ("/", None, 1));
    }

    #[test]
    fn what_is_no_packet_is_an_error_and_never_a_panic() {
        for bad in
            ["", "2", "2{}", "2[", "2[1] x", "9[]", "ä", "5[\"a\"]", "5999999999999999999-[]", "59-[\"a\"]", "599[]"]
        {
            assert_eq!(read(bad), Err(Malformed), "{bad}");
        }
        assert_eq!(read("299999999999999999999[\"a\"]"), Err(Malformed));
        // Not an event of anybody, but a packet.
        assert_eq!(event("2[1]").args, "[1]");
    }

    #[test]
    fn packets_are_written_as_clients_read_them() {
        let chat = Namespace::parse("/chat").unwrap();
        let root = Namespace::parse("/").unwrap();
        let text = |packet: Packet| String::from_utf8(packet.content().to_vec()).unwrap();
        assert_eq!(text(Packet::event(chat, "[\"a\"]", 0)), "42/chat,[\"a\"]");
        assert_eq!(text(Packet::event(root, "[\"a\"]", 1)), "451-[\"a\"]");
        assert_eq!(text(Packet::ack(chat, 3, "[{}]")), "43/chat,3[{}]");
        assert_eq!(text(Packet::connected(root, "k1")), "40{\"sid\":\"k1\"}");
        assert_eq!(text(Packet::disconnected(chat)), "41/chat,");
        assert_eq!(
            text(Packet::connect_error("/x", "no \"x\"", "{\"code\":1}")),
            "44/x,{\"message\":\"no \\\"x\\\"\",\"data\":{\"code\":1}}"
        );
        for len in [0, 125, 126, 65_535, 65_536] {
            let packet = Packet::binary(&vec![7; len]);
            assert!(packet.is_binary() && packet.content().len() == len);
        }
        assert_eq!(Namespace::parse("/other"), None);
    }
}
