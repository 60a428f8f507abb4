//! What many people write at once.

use super::{DOCUMENT, Job, Made, ask, ask_all, ask_then, invalid, room};
use crate::gateway::link::{Link, State};
use crate::gateway::operation::{self, Sent};
use crate::gateway::packet::Packet;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn operation(arg: &Value, state: &mut State) -> Made {
    let Job { room, .. } = room(arg, "documentId")?;
    // Without an open document the session says what is missing.
    let open = state.places.get(&room).and_then(|place| place.document.clone());
    let (epoch, rev) = open.map_or((Value::Null, 0), |(epoch, rev)| (json!(epoch), rev));
    let base = match &arg["version"] {
        Value::Null => rev,
        version => version.as_u64().ok_or_else(|| invalid("version: a non-negative integer"))?,
    };
    let sent = operation::read(&arg["operation"]).map_err(invalid)?;
    let id = arg["operation"]["timestamp"].clone();
    let shown = move |link: &Arc<Link>, room: &str, rev: &Value, op: Value, out: &mut Vec<Packet>| {
        let id = if id.is_null() { rev.clone() } else { id };
        link.emit("operation-ack", &json!({"documentId": room, "version": rev, "operationId": id}), out);
        json!({"version": rev, "operationId": id, "operations": op})
    };
    let Sent::Edit(op) = sent else {
        return Ok(ask_all(Vec::new(), move |link, _, ack, out| {
            let ok = shown(link, &room, &json!(base), json!([]), out);
            ack.ok(link, &ok, out);
        }));
    };
    state.operations += 1;
    let submit = json!({"do": "doc.submit", "room": room, "doc": DOCUMENT, "rev": base, "epoch": epoch, "op": op,
        "client": &*state.connection, "seq": state.operations});
    Ok(ask_then(submit, move |link, mut ok, ack, out| {
        let op = ok["op"].take();
        let ok = shown(link, &room, &ok["rev"], op, out);
        ack.ok(link, &ok, out);
    }))
}

pub(super) fn cursor(arg: &Value, state: &State) -> Made {
    let Job { room, .. } = room(arg, "documentId")?;
    let known = state.places.get(&room).and_then(|place| place.document.as_ref()).map(|(_, rev)| *rev);
    let rev = match &arg["version"] {
        Value::Null => known.unwrap_or_default(),
        version => version.as_u64().ok_or_else(|| invalid("version: a non-negative integer"))?,
    };
    let selection = &arg["selection"];
    let cursor = match &arg["position"] {
        Value::Null => Value::Null,
        position => {
            let head = position.as_u64().ok_or_else(|| invalid("position: a non-negative integer"))?;
            let ends = match selection {
                Value::Null => (head, head),
                _ => selection["start"]
                    .as_u64()
                    .zip(selection["end"].as_u64())
                    .ok_or_else(|| invalid("selection: {start, end}"))?,
            };
            // The end of the selection at which the caret is not.
            let anchor = if ends.0 == head { ends.1 } else { ends.0 };
            json!({"anchor": anchor, "head": head})
        }
    };
    let told = json!({"do": "doc.cursor", "room": room, "doc": DOCUMENT, "rev": rev, "cursor": cursor});
    Ok(ask(told, |_, _| json!({})))
}
