use super::*;
use crate::conn::Event;
use stoa_core::epoch::Epoch;
use stoa_core::event::Header;

fn event(frame: &Value) -> Event {
    Event::new("lobby", Header::durable("log", Epoch::default(), 0, 1), frame.to_string().into())
}

fn told(known: &Known, frame: &Value) -> Told {
    tell("lobby", &event(frame), known)
}

/// Names and data of what is emitted.
fn emitted(told: &Told) -> Vec<(String, Value)> {
    let read = |emission: &Emission| serde_json::from_str(&emission.args).unwrap();
    told.emissions.iter().map(read).collect()
}

fn posted(rev: u64, message: &Value) -> Value {
    json!({"event": "msg.posted", "room": "lobby", "stream": "log", "from": rev - 1, "rev": rev, "message": message})
}

#[test]
fn a_message_is_told_to_all_with_the_name_of_its_author() {
    let known = Known::default();
    known.note_name("ada", "Ada");
    let told =
        told(&known, &posted(1, &json!({"n": 1, "user": "ada", "type": "text", "at_ms": 0, "body": {"text": "hi"}})));
    let [(name, data)] = &emitted(&told)[..] else { panic!("{told:?}") };
    assert_eq!((&**name, &data["id"], &data["username"]), ("new-message", &json!("lobby#1"), &json!("Ada")));
    assert_eq!((&told.emissions[0].to, told.emissions[0].ways), (&To::All, way::ANY));
    let chat = Namespace::parse("/chat").unwrap();
    let packet = told.emissions[0].packet(chat);
    assert!(packet.content().starts_with(b"42/chat,[\"new-message\",{"));
    assert_eq!(packet.frame().as_ptr(), told.emissions[0].packet(chat).frame().as_ptr(), "written once");
}

#[test]
fn reactions_and_growing_texts_are_told_as_whole_messages() {
    let known = Known::default();
    told(
        &known,
        &posted(1, &json!({"n": 1, "user": "ada", "type": "text", "at_ms": 0, "body": "a", "streaming": true})),
    );
    let reacted =
        json!({"event": "msg.reacted", "rev": 2, "n": 1, "user": "bo", "reaction": "👍", "added": true, "count": 1});
    let appended = json!({"event": "msg.appended", "rev": 3, "n": 1, "at": 1, "chunk": "b"});
    let back =
        json!({"event": "msg.reacted", "rev": 4, "n": 1, "user": "bo", "reaction": "👍", "added": false, "count": 0});
    let updated = |frame| emitted(&told(&known, frame)).remove(0);
    let (name, data) = updated(&reacted);
    assert_eq!(name, "message-updated");
    assert_eq!(data["reactions"], json!([{"emoji": "👍", "users": ["bo"], "count": 1}]));
    assert_eq!(updated(&appended).1["content"], "ab");
    let (_, data) = updated(&back);
    assert_eq!((&data["reactions"], &data["content"]), (&json!([]), &json!("ab")));
    // What nobody here has seen, and what does not fit what was seen, has to be read.
    let unseen =
        json!({"event": "msg.reacted", "rev": 5, "n": 9, "user": "bo", "reaction": "👍", "added": true, "count": 1});
    assert_eq!(told(&known, &unseen).effect, Effect::Fetch(9));
    let hole = json!({"event": "msg.appended", "rev": 6, "n": 1, "at": 7, "chunk": "x"});
    assert_eq!(told(&known, &hole).effect, Effect::Fetch(1));
}

#[test]
fn edits_and_deletions_have_names_of_their_own() {
    let known = Known::default();
    let changed = |message| json!({"event": "msg.changed", "rev": 2, "message": message});
    let edited = changed(json!({"n": 1, "user": "ada", "type": "text", "at_ms": 0, "body": "b", "edited_at_ms": 1}));
    let names: Vec<String> = emitted(&told(&known, &edited)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["message-edited", "message-updated"]);
    let deleted = changed(json!({"n": 1, "user": "ada", "type": "text", "at_ms": 0, "body": null, "deleted_at_ms": 1}));
    assert_eq!(emitted(&told(&known, &deleted)), [("message-deleted".to_owned(), json!("lobby#1"))]);
}

#[test]
fn an_operation_is_told_part_by_part_and_not_to_its_writer() {
    let frame =
        json!({"event": "doc.applied", "rev": 8, "op": [1, "x", -2], "user": "ada", "client": "k1", "at_ms": 5});
    let told = told(&Known::default(), &frame);
    assert_eq!(told.effect, Effect::Document(8));
    let parts = emitted(&told);
    assert_eq!(parts.len(), 2);
    assert_eq!(
        parts[1].1["operation"],
        json!({"type": "delete", "position": 2, "length": 2, "author": "ada", "timestamp": 5})
    );
    assert_eq!((&parts[1].1["part"], &parts[1].1["parts"], &parts[1].1["version"]), (&json!(2), &json!(2), &json!(8)));
    assert!(told.emissions.iter().all(|it| it.to == To::OtherConnections("k1".into()) && it.ways == way::DOCUMENT));
}

#[test]
fn who_comes_and_goes_is_told_by_the_way_of_being_there() {
    let known = Known::default();
    let member = json!({"user": "bo", "connections": 1, "since_ms": 1, "status": "online", "color": "#123456",
        "data": {"name": "Bo", "avatar": "b.png"}});
    let frame =
        json!({"event": "presence.changed", "rev": 1, "joined": [member], "updated": [], "left": [{"user": "bo"}]});
    let told = told(&known, &frame);
    let names: Vec<String> = emitted(&told).into_iter().map(|(name, _)| name).collect();
    let left = ["user-left", "presence:user-left", "presence-update"];
    let joined = ["user-joined", "presence:user-joined", "presence-update"];
    assert_eq!(names, [left, joined].concat(), "first who left");
    for emission in &told.emissions {
        let everybody = emission.args.starts_with("[\"presence-update\"");
        assert_eq!(emission.to == To::All, everybody, "{}", emission.args);
    }
    assert_eq!(emitted(&told)[4].1["avatar"], "b.png");
}

#[test]
fn cursors_that_go_are_told_with_the_name_of_whose_they_were() {
    let known = Known::default();
    let here = json!({"event": "doc.cursors", "cursors": [{"connection": "k2", "user": "bo", "anchor": 4, "head": 2}], "gone": []});
    let [(name, data)] = &emitted(&told(&known, &here))[..] else { panic!() };
    assert_eq!((&**name, &data["position"]), ("cursor-position", &json!(2)));
    assert_eq!(data["selection"], json!({"start": 2, "end": 4}));
    let gone = json!({"event": "doc.cursors", "cursors": [], "gone": ["k2", "k9"]});
    let [(_, data)] = &emitted(&told(&known, &gone))[..] else { panic!() };
    assert_eq!((&data["userId"], &data["position"]), (&json!("bo"), &Value::Null));
}

#[test]
fn emitted_events_keep_their_data_and_reserved_names_are_never_told() {
    let known = Known::default();
    let text = "{\"event\":\"room.emitted\",\"room\":\"lobby\",\"name\":\"wave\",\"data\":{\"n\":1.50}}";
    let header = || Header::durable("log", Epoch::default(), 0, 1);
    let told_wave = tell("lobby", &Event::new("lobby", header(), text.into()), &known);
    assert_eq!(told_wave.emissions[0].args, "[\"wave\",{\"n\":1.50}]");
    let with = Event::new("lobby", header(), text.into()).with_payload(Bytes::from_static(&[7]));
    let told_bytes = tell("lobby", &with, &known);
    let root = Namespace::parse("/").unwrap();
    assert!(told_bytes.emissions[0].packet(root).content().starts_with(b"451-[\"wave\""));
    assert_eq!(told_bytes.emissions[0].attachment().unwrap().content(), [7]);
    for name in RESERVED {
        let frame = json!({"event": "room.emitted", "name": name, "data": 1});
        assert!(told(&known, &frame).emissions.is_empty(), "{name}");
    }
}

#[test]
fn the_state_of_a_job_is_filled_in() {
    let known = Known::default();
    let frame = json!({"event": "room.emitted", "name": "job:update", "data": {"status": "running"}});
    let told_job = tell("jobs.42", &event(&frame), &known);
    let [(name, data)] = &emitted(&told_job)[..] else { panic!() };
    assert_eq!((&**name, &data["jobId"], &data["type"]), ("job:update", &json!("42"), &json!("job.update")));
    assert!(data["timestamp"].is_string());
    let message =
        json!({"n": 1, "user": "w", "type": "job.update", "at_ms": 0, "body": {"jobId": 7, "status": "done"}});
    let told_late = tell("jobs.42", &event(&posted(1, &message)), &known);
    assert_eq!(emitted(&told_late)[0].1["jobId"], 7);
    assert_eq!(told_late.emissions[1].ways & way::JOB, 0, "who only follows the job hears of it once");
}

#[test]
fn whoever_loses_the_room_is_out_and_a_resync_is_the_whole() {
    let known = Known::default();
    let access = |actions: Value| json!({"event": "room.access", "role": "none", "actions": actions});
    assert_eq!(told(&known, &access(json!([]))).effect, Effect::Out);
    assert_eq!(told(&known, &access(json!(["read"]))).effect, Effect::Nothing);
    let kicked = told(&known, &json!({"event": "room.kicked", "reason": "noise"}));
    assert_eq!(emitted(&kicked)[0].1, json!({"roomId": "lobby", "reason": "noise"}));
    assert_eq!(told(&known, &json!({"event": "room.reset", "stream": "log"})).effect, Effect::Reset);
    let resync = json!({"event": "room.resync", "stream": "doc:main", "because": "rollback", "epoch": "2.00000001", "rev": 3,
        "content": "text"});
    let told_resync = told(&known, &resync);
    assert_eq!(told_resync.effect, Effect::Replaced("2.00000001".into(), 3));
    let (name, data) = emitted(&told_resync).remove(0);
    assert_eq!((&*name, &data["content"], &data["version"]), ("room-resync", &json!("text"), &json!(3)));
}

#[test]
fn what_nobody_knows_is_told_to_nobody() {
    for text in ["", "[]", "7", "{}", "{\"event\":\"new.one\"}", "{\"event\":\"msg.posted\"}", "\"room.emitted\""] {
        let header = Header::durable("log", Epoch::default(), 0, 1);
        let _ = tell("lobby", &Event::new("lobby", header, text.into()), &Known::default());
    }
}
