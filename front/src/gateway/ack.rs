//! The answer to an event of a client.

use super::link::{Link, Then};
use super::packet::Packet;
use crate::frame::{Code, FrameError, reply};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// An error as clients get it.
pub(super) fn error_value(error: &FrameError) -> Value {
    let frame = reply::error_frame(None, error);
    serde_json::from_str::<Value>(&frame).map_or(Value::Null, |mut frame| frame["error"].take())
}

/// Where the answer to an event goes. Dropped without an answer, none is given.
pub(super) struct Ack {
    id: Option<u64>,
    event: String,
    /// The operation that was sent, for those who want to see it again.
    operation: Option<Value>,
    _permit: OwnedSemaphorePermit,
}

impl Ack {
    pub(super) fn new(id: Option<u64>, permit: OwnedSemaphorePermit) -> Self {
        Ack { id, event: String::new(), operation: None, _permit: permit }
    }

    /// The name of the event that it answers.
    pub(super) fn answers(&mut self, event: &str) {
        self.event = event.to_owned();
    }

    /// What the event said.
    pub(super) fn shows(&mut self, arg: &Value) {
        self.operation = (self.event == "operation").then(|| arg["operation"].clone());
    }

    pub(super) fn ok(self, link: &Link, ok: &Value, out: &mut Vec<Packet>) {
        if let Some(id) = self.id {
            out.push(Packet::ack(link.namespace, id, &json!([{"ok": ok}]).to_string()));
        }
    }

    pub(super) fn refuse(self, link: &Link, error: &FrameError, out: &mut Vec<Packet>) {
        self.fail(link, &error_value(error), out);
    }

    pub(super) fn fail(self, link: &Link, error: &Value, out: &mut Vec<Packet>) {
        let (code, message) = (&error["code"], &error["message"]);
        match self.id {
            Some(id) => out.push(Packet::ack(link.namespace, id, &json!([{"error": error}]).to_string())),
            None => link.emit("error", error, out),
        }
        if *code == json!(Code::RateLimited.as_str()) {
            let data = json!({"message": message, "code": code, "retry_after_ms": error["retry_after_ms"]});
            link.emit("rate-limited", &data, out);
        }
        match &*self.event {
            "send-message" | "edit-message" | "delete-message" | "add-reaction" | "remove-reaction" => {
                link.emit("message-error", &json!({"message": message, "code": code}), out);
            }
            "operation" => {
                let data = json!({"message": message, "code": code, "operation": self.operation});
                link.emit("operation-error", &data, out);
            }
            _ => {}
        }
    }

    /// Hands the answer on, as `shape` makes it.
    pub(super) fn answer(self, shape: impl FnOnce(&Arc<Link>, Value) -> Value + Send + 'static) -> Then {
        Box::new(move |link, answer, out| match answer {
            Ok(ok) => {
                let ok = shape(link, ok);
                self.ok(link, &ok, out);
            }
            Err(error) => self.fail(link, &error, out),
        })
    }
}
