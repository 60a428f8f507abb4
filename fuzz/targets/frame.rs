//! What a client says: frames of any kind, alone or with a payload behind them. Each is refused with a code and a short
//! sentence, or is a command; the values that are passed on are those that came.
#![no_main]

#[path = "../../front/src/frame"]
#[allow(dead_code, unused_imports)] // What the front alone needs.
mod frame {
    pub mod command;
    pub mod error;
    pub mod events;
    pub use events::{Body, Component};
}

use arbitrary::Arbitrary;
use frame::command::{Command, Envelope, split_binary};
use frame::error::FrameError;
use libfuzzer_sys::fuzz_target;

/// An error is no longer than this however long the frame is, beside what it repeats of a field's name.
const MESSAGE_BYTES_MAX: usize = 4096;

const COMMANDS: [&str; 16] = [
    "connect", "auth.refresh", "room.join", "room.emit", "msg.post", "msg.append", "msg.range", "doc.open", "doc.submit",
    "doc.cursor", "presence.set", "presence.cursor", "presence.get", "devices.kick", "room.grant", "ping",
];
const FIELDS: [&str; 16] = [
    "room", "token", "resume", "positions", "presence", "body", "meta", "data", "op", "cursor", "payload", "to", "client",
    "seq", "users", "__proto__",
];

#[derive(Debug, Arbitrary)]
enum Input {
    Text(String),
    /// A frame that is nearly right.
    Made { id: Value, what: u8, fields: Vec<(u8, Value)>, twice: bool },
    Binary(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum Value {
    Null,
    Number(i64),
    Text(String),
    Raw(String),
    Deep(u16),
    Object(Vec<(u8, String)>),
}

impl Value {
    fn json(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Number(n) => n.to_string(),
            Value::Text(text) => serde_json::to_string(text).expect("texts are JSON"),
            Value::Raw(text) => text.clone(),
            Value::Deep(depth) => "[".repeat(usize::from(*depth)) + &"]".repeat(usize::from(*depth)),
            Value::Object(fields) => {
                let field = |(name, value): &(u8, String)| format!("{:?}:{value:?}", FIELDS[usize::from(name % 16)]);
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
            }
        }
    }
}

fuzz_target!(|input: Input| {
    match input {
        Input::Text(text) => _ = take(&text),
        Input::Made { id, what, fields, twice } => {
            let what = COMMANDS[usize::from(what % 16)];
            let mut text = format!("{{\"id\":{},\"do\":\"{what}\"", id.json());
            for (name, value) in fields.iter().chain(fields.first().filter(|_| twice)) {
                text.push_str(&format!(",\"{}\":{}", FIELDS[usize::from(name % 16)], value.json()));
            }
            text.push('}');
            if let Some(command) = take(&text) {
                assert_eq!(command.name(), what);
            }
        }
        Input::Binary(bytes) => match split_binary(bytes.clone()) {
            Ok((frame, payload)) => {
                assert_eq!(4 + frame.len() + payload.len(), bytes.len(), "every byte is in one of them");
                if let Some(mut command) = take(&frame) {
                    let _ = command.attach(payload).map_err(|error| check(&error));
                }
            }
            Err(error) => check(&error),
        },
    }
});

/// Reads a frame as a session does.
fn take(text: &str) -> Option<Command> {
    match Envelope::read(text).and_then(|envelope| envelope.command()) {
        Ok(command) => {
            let shown = format!("{command:?}");
            assert!(!shown.contains("eyJ") || !text.contains("\"token\":\"eyJ"), "a token is printed");
            Some(command)
        }
        Err(error) => {
            check(&error);
            None
        }
    }
}

fn check(error: &FrameError) {
    assert!(!error.message.is_empty());
    assert!(!error.message.contains('\n') || error.message.len() < MESSAGE_BYTES_MAX);
}
