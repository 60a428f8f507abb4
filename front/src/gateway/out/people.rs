//! Who is here, and where, as it is told.

use super::{Emission, Teller, To};
use crate::gateway::known::Known;
use crate::gateway::link::way;
use crate::gateway::shapes;
use serde_json::{Value, json};

impl Teller<'_> {
    pub(super) fn cursors(&mut self, frame: &Value) {
        for cursor in frame["cursors"].as_array().into_iter().flatten() {
            let (Some(connection), Some(user)) = (cursor["connection"].as_str(), cursor["user"].as_str()) else {
                continue;
            };
            self.known.note_connection(connection, user);
            let data = cursor_at(self.room, cursor, self.known);
            let to = To::OtherConnections(connection.into());
            self.emissions.push(Emission::new(to, way::DOCUMENT, "cursor-position", &data));
        }
        for connection in frame["gone"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(user) = self.known.user_of(connection) else { continue };
            let username = self.known.name(&user);
            let data = json!({"documentId": self.room, "userId": &*user, "username": &*username, "position": null});
            let to = To::OtherConnections(connection.into());
            self.emissions.push(Emission::new(to, way::DOCUMENT, "cursor-position", &data));
        }
    }

    pub(super) fn pointers(&mut self, frame: &Value) {
        for pointer in frame["cursors"].as_array().into_iter().flatten() {
            let (Some(connection), Some(user)) = (pointer["connection"].as_str(), pointer["user"].as_str()) else {
                continue;
            };
            self.known.note_connection(connection, user);
            let data = json!({"documentId": self.room, "userId": user, "cursor": pointer["cursor"]});
            self.others(user, way::PRESENCE, "presence:update", &data);
        }
        for connection in frame["gone"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(user) = self.known.user_of(connection) else { continue };
            let data = json!({"documentId": self.room, "userId": &*user, "cursor": null});
            self.others(&user, way::PRESENCE, "presence:update", &data);
        }
    }

    pub(super) fn presence(&mut self, frame: &Value) {
        let each = |name: &str| frame[name].as_array().into_iter().flatten();
        let room = self.room;
        // Who went and came back stands in both.
        for user in each("left").filter_map(|left| left["user"].as_str()) {
            let last_seen = shapes::now();
            let person = shapes::absent(user, &last_seen, self.known);
            let name = person["username"].clone();
            let left = json!({"roomId": room, "documentId": room, "userId": user, "username": name});
            self.others(user, way::ROOM | way::DOCUMENT, "user-left", &left);
            self.others(user, way::PRESENCE, "presence:user-left", &json!({"documentId": room, "userId": user}));
            let update = json!({"userId": user, "roomId": room, "status": "offline", "lastSeen": last_seen,
                "presence": person});
            self.all("presence-update", &update);
        }
        for (member, has_joined) in
            each("joined").map(|member| (member, true)).chain(each("updated").map(|member| (member, false)))
        {
            let user = member["user"].as_str().unwrap_or_default();
            let person = shapes::person(member, self.known);
            if has_joined {
                let joined =
                    json!({"roomId": room, "documentId": room, "userId": user, "username": person["username"]});
                self.others(user, way::ROOM | way::DOCUMENT, "user-joined", &joined);
                let mut joined =
                    json!({"documentId": room, "userId": user, "name": person["name"], "color": person["color"]});
                if let Some(avatar) = person.get("avatar") {
                    joined["avatar"] = avatar.clone();
                }
                self.others(user, way::PRESENCE, "presence:user-joined", &joined);
            } else {
                let mut data = member["data"].clone();
                if data.is_object() {
                    data["documentId"] = json!(room);
                    data["userId"] = json!(user);
                    data["status"] = member["status"].clone();
                    self.others(user, way::PRESENCE, "presence:update", &data);
                }
            }
            let update = json!({"userId": user, "roomId": room, "status": member["status"], "presence": person});
            self.all("presence-update", &update);
        }
    }
}

/// Where somebody is in a document.
fn cursor_at(room: &str, cursor: &Value, known: &Known) -> Value {
    let user = cursor["user"].as_str().unwrap_or_default();
    let (anchor, head) = (cursor["anchor"].as_u64().unwrap_or_default(), cursor["head"].as_u64().unwrap_or_default());
    let username = known.name(user);
    let mut data = json!({"documentId": room, "userId": user, "username": &*username, "position": head});
    if anchor != head {
        data["selection"] = json!({"start": anchor.min(head), "end": anchor.max(head)});
    }
    data
}
