//! What is said in rooms.

use super::{Job, Made, ask, command, invalid, message, room, with};
use crate::frame::FrameError;
use crate::gateway::{out, shapes};
use serde_json::{Value, json};

/// What a message says, in the form in which rooms keep it.
fn body(content: &Value, attachments: &Value) -> Result<Value, FrameError> {
    let content = content.as_str().ok_or_else(|| invalid("content: a text is missing"))?;
    if content.trim().is_empty() {
        return Err(invalid("content: a message says something"));
    }
    let mut body = json!({"text": content});
    match attachments {
        Value::Null => {}
        Value::Array(_) => body["attachments"] = attachments.clone(),
        _ => return Err(invalid("attachments: an array")),
    }
    Ok(body)
}

pub(super) fn send_message(arg: &Value) -> Made {
    let room = arg["roomId"].as_str().ok_or_else(|| invalid("roomId: a text is missing"))?;
    let mut post = with(
        command("msg.post", room),
        &[
            ("body", body(&arg["content"], &arg["attachments"])?),
            ("type", arg["type"].clone()),
            ("meta", arg["metadata"].clone()),
            ("mentions", arg["mentions"].clone()),
            ("client", arg["clientId"].clone()),
            ("seq", arg["seq"].clone()),
        ],
    );
    if !arg["replyTo"].is_null() {
        let (of, n) = message(&arg["replyTo"]).map_err(|_| invalid("replyTo: the id of a message"))?;
        if of != room {
            return Err(invalid("replyTo: a message of the same room"));
        }
        post["reply"] = json!(n);
    }
    let room = room.to_owned();
    Ok(ask(post, move |_, ok| {
        let id = shapes::message_id(&room, ok["n"].as_u64().unwrap_or_default());
        json!({"messageId": id, "version": ok["rev"], "duplicate": ok["duplicate"]})
    }))
}

pub(super) fn edit_message(arg: &Value) -> Made {
    let (room, n) = message(&arg["messageId"])?;
    let content = if arg["content"].is_null() { &arg["newContent"] } else { &arg["content"] };
    let body = body(content, &arg["attachments"])?;
    let shown = json!({"messageId": arg["messageId"]});
    let edit =
        with(command("msg.edit", room), &[("n", json!(n)), ("body", body), ("mentions", arg["mentions"].clone())]);
    Ok(ask(edit, move |_, _| shown))
}

pub(super) fn react(what: &str, arg: &Value) -> Made {
    let (room, n) = message(&arg["messageId"])?;
    let emoji = arg["emoji"].as_str().ok_or_else(|| invalid("emoji: a text is missing"))?;
    let id = arg["messageId"].clone();
    let react = with(command(what, room), &[("n", json!(n)), ("reaction", json!(emoji))]);
    Ok(ask(react, move |_, ok| json!({"messageId": id, "count": ok["count"]})))
}

pub(super) fn mark_as_read(arg: &Value) -> Made {
    let ids = arg["messageIds"].as_array().ok_or_else(|| invalid("messageIds: an array of ids is missing"))?;
    let room = match &arg["roomId"] {
        Value::Null => ids.first().map(message).transpose()?.map(|(room, _)| room),
        room => room.as_str(),
    };
    let room = room.ok_or_else(|| invalid("roomId: a text is missing"))?;
    let mut newest = None;
    for id in ids {
        let (of, n) = message(id)?;
        if of != room {
            return Err(invalid("messageIds: of the room alone"));
        }
        newest = newest.max(Some(n));
    }
    match newest {
        Some(n) => Ok(ask(with(command("msg.read", room), &[("n", json!(n))]), |_, _| json!({}))),
        None => Err(invalid("messageIds: at least one")),
    }
}

pub(super) fn get_messages(arg: &Value) -> Made {
    let Job { room, .. } = room(arg, "roomId")?;
    let mut range = with(command("msg.range", &room), &[("count", arg["count"].clone())]);
    for side in ["before", "after"] {
        if !arg[side].is_null() {
            let (of, n) = message(&arg[side]).map_err(|_| invalid(format!("{side}: the id of a message")))?;
            if of != room {
                return Err(invalid(format!("{side}: a message of the same room")));
            }
            range[side] = json!(n);
        }
    }
    Ok(ask(range, move |link, ok| {
        let known = &link.gateway().known;
        out::note_messages(&room, ok["rev"].as_u64().unwrap_or_default(), &ok["messages"], known);
        json!({"messages": shapes::messages(&room, &ok["messages"], known), "more": ok["more"]})
    }))
}
