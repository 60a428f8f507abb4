//! What a client shows: messages as they are now, and who is here.

use super::Room;
use crate::history::digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A message as it is shown.
#[derive(Default)]
pub(super) struct Message {
    body: u64,
    reactions: BTreeMap<String, u64>,
}

impl Message {
    pub(super) fn read(message: &Value) -> Option<(u64, Message)> {
        let reactions = message["reactions"].as_object().into_iter().flatten();
        let reactions = reactions.filter_map(|(name, reaction)| Some((name.clone(), reaction["count"].as_u64()?)));
        Some((message["n"].as_u64()?, Message { body: digest(&message["body"]), reactions: reactions.collect() }))
    }

    pub(super) fn shown(&self) -> String {
        format!("{:x} {:?}", self.body, self.reactions)
    }
}

impl Room {
    /// Takes in an event of the log.
    pub(super) fn take_message(&mut self, event: &Value) {
        if let Some((n, message)) = Message::read(&event["message"]) {
            // What is older than all that is shown stays out of sight.
            if event["event"] == "msg.posted" || self.messages.contains_key(&n) {
                self.messages.insert(n, message);
            }
        } else if let (Some(reaction), Some(count)) = (event["reaction"].as_str(), event["count"].as_u64())
            && let Some(message) = event["n"].as_u64().and_then(|n| self.messages.get_mut(&n))
        {
            match count {
                0 => _ = message.reactions.remove(reaction),
                count => _ = message.reactions.insert(reaction.to_owned(), count),
            }
        }
    }

    /// Takes in somebody who is here.
    pub(super) fn take_member(&mut self, member: &Value) {
        if let (Some(user), Some(connections)) = (member["user"].as_str(), member["connections"].as_u64()) {
            self.people.insert(user.to_owned(), connections);
        }
    }
}

/// What is true of every message of a log, by its events.
pub fn known_messages<'a>(events: impl Iterator<Item = &'a Value>) -> BTreeMap<u64, String> {
    events.filter_map(|event| Message::read(&event["message"])).map(|(n, message)| (n, message.shown())).collect()
}

/// Who is here, with how many connections.
pub fn shown_people<'a>(people: impl Iterator<Item = (&'a str, u64)>) -> String {
    let people: BTreeMap<&str, u64> = people.collect();
    json!(people).to_string()
}
