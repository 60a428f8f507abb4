//! Messages, people and times as clients of Socket.IO expect them.

use super::known::Known;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name that a message brings along, in bytes: as long as one in a token.
const NAME_BYTES_MAX: usize = 128;
/// What stands between a room and the number of a message in its id: no room's name contains it.
const NUMBER: char = '#';

/// The id of a message.
pub(super) fn message_id(room: &str, n: u64) -> String {
    format!("{room}{NUMBER}{n}")
}

/// Room and number of a message.
pub(super) fn read_message_id(id: &str) -> Option<(&str, u64)> {
    let (room, n) = id.rsplit_once(NUMBER)?;
    Some((room, n.parse().ok()?))
}

/// A time as `2026-11-22T01:02:03.004Z`.
pub(super) fn iso(at_ms: u64) -> String {
    let (days, ms) = ((at_ms / 86_400_000).min(2_932_896), at_ms % 86_400_000);
    // From days to a date: Hinnant, chrono-compatible low-level date algorithms, civil_from_days.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1_000)
}

/// The time of now.
pub(super) fn now() -> String {
    iso(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// A message of a room's log.
pub(super) fn message(room: &str, message: &Value, known: &Known) -> Value {
    let n = message["n"].as_u64().unwrap_or_default();
    let user = message["user"].as_str().unwrap_or_default();
    let body = &message["body"];
    let content = body.as_str().or_else(|| body["text"].as_str());
    // Of those who are not here only their messages say what they are called.
    let brought =
        || body["name"].as_str().filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX).map(Arc::from);
    let name = known.told_name(user).or_else(brought).unwrap_or_else(|| user.into());
    let mut out = json!({
        "id": message_id(room, n),
        "roomId": room,
        "userId": user,
        "username": &*name,
        "content": content.unwrap_or_default(),
        "type": message["type"],
        "reactions": reactions(&message["reactions"]),
        "timestamp": iso(message["at_ms"].as_u64().unwrap_or_default()),
    });
    let mut put = |name: &str, value: Value| {
        out[name] = value;
    };
    if content.is_none() && body.is_object() {
        put("body", body.clone());
    }
    if let Some(attachments) = body.get("attachments") {
        put("attachments", attachments.clone());
    }
    if let Some(meta) = message.get("meta") {
        put("metadata", meta.clone());
    }
    if let Some(reply) = message["reply"].as_u64() {
        put("replyTo", json!(message_id(room, reply)));
    }
    if let Some(at_ms) = message["edited_at_ms"].as_u64() {
        put("edited", json!(true));
        put("editedAt", json!(iso(at_ms)));
    }
    if message["deleted_at_ms"].is_u64() {
        put("deleted", json!(true));
    }
    if message["streaming"] == json!(true) {
        put("streaming", json!(true));
    }
    if let Some(mentions) = message.get("mentions") {
        put("mentions", mentions.clone());
    }
    out
}

fn reactions(reactions: &Value) -> Value {
    let all = reactions.as_object().into_iter().flatten();
    all.map(|(emoji, by)| json!({"emoji": emoji, "users": by["users"], "count": by["count"]})).collect()
}

/// Several messages.
pub(super) fn messages(room: &str, messages: &Value, known: &Known) -> Vec<Value> {
    messages.as_array().into_iter().flatten().map(|one| message(room, one, known)).collect()
}

/// Somebody who is here, from a member of a presence list. Their name is remembered.
pub(super) fn person(member: &Value, known: &Known) -> Value {
    let user = member["user"].as_str().unwrap_or_default();
    if let Some(name) = member["data"]["name"].as_str() {
        known.note_name(user, name);
    }
    let name = known.name(user);
    let mut out: Map<String, Value> = member["data"].as_object().cloned().unwrap_or_default();
    for (field, value) in [
        ("userId", json!(user)),
        ("username", json!(&*name)),
        ("name", json!(&*name)),
        ("status", member["status"].clone()),
        ("color", member["color"].clone()),
        ("connectionCount", member.get("connections").cloned().unwrap_or_else(|| json!(1))),
        ("lastSeen", json!(now())),
    ] {
        out.insert(field.to_owned(), value);
    }
    Value::Object(out)
}

/// Several people.
pub(super) fn people(members: &Value, known: &Known) -> Vec<Value> {
    members.as_array().into_iter().flatten().map(|member| person(member, known)).collect()
}

/// Somebody who is not here, last seen then.
pub(super) fn absent(user: &str, last_seen: &str, known: &Known) -> Value {
    let name = known.name(user);
    json!({"userId": user, "username": &*name, "name": &*name, "status": "offline", "connectionCount": 0,
           "lastSeen": last_seen})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_javascript() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_795_312_923_004), "2026-11-22T02:02:03.004Z");
        assert_eq!(iso(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert!(iso(u64::MAX).ends_with('Z'));
    }

    #[test]
    fn ids_of_messages_name_room_and_number() {
        assert_eq!(read_message_id(&message_id("course:7/chat", 12)), Some(("course:7/chat", 12)));
        for bad in ["", "lobby", "lobby#", "lobby#x", "lobby#-1", "#"] {
            assert_eq!(read_message_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_message_has_the_fields_of_a_chat() {
        let known = Known::default();
        known.note_name("ada", "Ada");
        let stored = json!({"n": 2, "user": "ada", "type": "code", "at_ms": 0, "body": {"text": "hi", "attachments": [1]},
            "reply": 1, "meta": {"language": "rust"}, "edited_at_ms": 1000,
            "reactions": {"👍": {"count": 2, "users": ["ada", "bo"]}}});
        assert_eq!(
            message("r", &stored, &known),
            json!({"id": "r#2", "roomId": "r", "userId": "ada", "username": "Ada", "content": "hi", "type": "code",
                "attachments": [1], "metadata": {"language": "rust"}, "replyTo": "r#1",
                "reactions": [{"emoji": "👍", "users": ["ada", "bo"], "count": 2}],
                "timestamp": "1970-01-01T00:00:00.000Z", "edited": true, "editedAt": "1970-01-01T00:00:01.000Z"})
        );
        let native = json!({"n": 3, "user": "bo", "type": "text", "at_ms": 0, "body": "plain"});
        let told = message("r", &native, &known);
        assert_eq!(
            (&told["content"], &told["username"], &told["reactions"]),
            (&json!("plain"), &json!("bo"), &json!([]))
        );
        let named = |user: &str| json!({"n": 4, "user": user, "type": "text", "at_ms": 0, "body": {"text": "x", "name": "Bo B."}});
        assert_eq!(message("r", &named("bo"), &known)["username"], "Bo B.");
        assert_eq!(message("r", &named("ada"), &known)["username"], "Ada", "what presence says counts more");
        let deleted = json!({"n": 3, "user": "bo", "type": "text", "at_ms": 0, "body": null, "deleted_at_ms": 5});
        let told = message("r", &deleted, &known);
        assert_eq!((&told["content"], &told["deleted"]), (&json!(""), &json!(true)));
    }

    #[test]
    fn presence_data_never_stands_for_a_fixed_field() {
        let known = Known::default();
        let member = json!({"user": "ada", "connections": 2, "since_ms": 5, "status": "busy", "color": "#123456",
            "data": {"name": "Ada", "userId": "mallory", "status": "king", "activity": {"type": "coding"}}});
        let told = person(&member, &known);
        assert_eq!(told["userId"], "ada");
        assert_eq!((&told["name"], &told["username"]), (&json!("Ada"), &json!("Ada")));
        assert_eq!((&told["status"], &told["connectionCount"]), (&json!("busy"), &json!(2)));
        assert_eq!(told["activity"], json!({"type": "coding"}));
    }
}
