//! What is said in rooms, as it is told.

use super::{Effect, Emission, JOB_EVENT, JOB_MESSAGE, Teller, To, job};
use crate::gateway::link::way;
use crate::gateway::shapes;
use serde_json::{Value, json};

impl Teller<'_> {
    pub(super) fn posted(&mut self, message: &Value, rev: u64) {
        self.known.note_message(self.room, rev, message);
        let mut ways = way::ANY;
        if message["type"] == json!(JOB_MESSAGE) {
            self.all(JOB_EVENT, &job(self.room, message["body"].clone()));
            // Who only follows the job has heard it.
            ways = way::ROOM | way::DOCUMENT | way::PRESENCE;
        }
        let message = shapes::message(self.room, message, self.known);
        self.emissions.push(Emission::new(To::All, ways, "new-message", &message));
    }

    pub(super) fn changed(&mut self, message: &Value, rev: u64) {
        self.known.note_message(self.room, rev, message);
        let told = shapes::message(self.room, message, self.known);
        if message["deleted_at_ms"].is_u64() {
            return self.all("message-deleted", &told["id"]);
        }
        if told["edited"] == json!(true) {
            let data = json!({"messageId": told["id"], "content": told["content"], "editedAt": told["editedAt"]});
            self.all("message-edited", &data);
        }
        self.all("message-updated", &told);
    }

    /// Tells a message as it stands, or asks for it.
    pub(super) fn updated(&mut self, n: u64, rev: u64, change: impl FnOnce(&mut Value) -> Option<()>) {
        match self.known.change_message(self.room, n, rev, change) {
            Some(message) => {
                let told = shapes::message(self.room, &message, self.known);
                self.all("message-updated", &told);
            }
            None => self.effect = Effect::Fetch(n),
        }
    }

    pub(super) fn reacted(&mut self, frame: &Value, rev: u64) {
        let (Some(n), Some(emoji), Some(user)) =
            (frame["n"].as_u64(), frame["reaction"].as_str(), frame["user"].as_str())
        else {
            return;
        };
        let (added, count) = (frame["added"] == json!(true), frame["count"].as_u64().unwrap_or_default());
        self.updated(n, rev, |message| {
            if !message["reactions"].is_object() {
                message["reactions"] = json!({});
            }
            let all = message["reactions"].as_object_mut()?;
            if count == 0 {
                all.remove(emoji);
                return Some(());
            }
            let one = all.entry(emoji).or_insert_with(|| json!({"count": 0, "users": []}));
            one["count"] = json!(count);
            let users = one["users"].as_array_mut()?;
            users.retain(|known| known.as_str() != Some(user));
            if added {
                users.push(json!(user));
            }
            Some(())
        });
    }

    pub(super) fn appended(&mut self, frame: &Value, rev: u64) {
        let (Some(n), Some(at), Some(chunk)) = (frame["n"].as_u64(), frame["at"].as_u64(), frame["chunk"].as_str())
        else {
            return;
        };
        self.updated(n, rev, |message| {
            let text = message["body"].as_str()?;
            if text.encode_utf16().count() as u64 != at {
                return None;
            }
            message["body"] = json!([text, chunk].concat());
            Some(())
        });
    }

    pub(super) fn read(&mut self, reads: &Value) {
        for read in reads.as_array().into_iter().flatten() {
            let n = read["n"].as_u64().unwrap_or_default();
            let ids = [shapes::message_id(self.room, n)];
            let data = json!({"roomId": self.room, "messageIds": ids, "userId": read["user"], "readAt": shapes::now()});
            self.all("messages-read", &data);
        }
    }
}
