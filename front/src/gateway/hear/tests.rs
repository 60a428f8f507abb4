use super::*;
use crate::gateway::link::Place;

/// Somebody in `lobby`, with the document of `paper` open.
fn inside() -> State {
    let mut state = State::of("k1");
    let lobby = Place { ways: way::ROOM, is_listed: true, ..Place::default() };
    let document = Some(("1.00000001".to_owned(), 7));
    let paper = Place { ways: way::ROOM | way::DOCUMENT, is_listed: true, document, ..Place::default() };
    state.places.insert("lobby".into(), lobby);
    state.places.insert("paper".into(), paper);
    state
}

fn commands(name: &str, arg: Value) -> Vec<Value> {
    task(name, arg, &mut inside()).map(|task| task.commands).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn one(name: &str, arg: Value) -> Value {
    let mut commands = commands(name, arg);
    assert_eq!(commands.len(), 1, "{commands:?}");
    commands.remove(0)
}

fn refusal(name: &str, arg: Value) -> Code {
    match task(name, arg.clone(), &mut inside()) {
        Ok(task) => panic!("{name} {arg} was taken: {:?}", task.commands),
        Err(error) => error.code,
    }
}

#[test]
fn events_become_commands_of_the_session() {
    let lobby = json!({"roomId": "lobby"});
    for (name, arg, command) in [
        ("leave-room", json!("lobby"), json!({"do": "room.leave", "room": "lobby"})),
        ("typing-start", lobby.clone(), json!({"do": "presence.typing", "room": "lobby", "typing": true})),
        ("typing-stop", json!("lobby"), json!({"do": "presence.typing", "room": "lobby", "typing": false})),
        (
            "send-message",
            json!({"roomId": "lobby", "content": " hi ", "type": "code", "metadata": {"a": 1}, "replyTo": "lobby#3",
                "attachments": [1], "mentions": ["bo"], "clientId": "c", "seq": 2}),
            json!({"do": "msg.post", "room": "lobby", "body": {"text": " hi ", "attachments": [1]}, "type": "code",
                "meta": {"a": 1}, "reply": 3, "mentions": ["bo"], "client": "c", "seq": 2}),
        ),
        (
            "edit-message",
            json!({"messageId": "lobby#3", "newContent": "x"}),
            json!({"do": "msg.edit", "room": "lobby", "n": 3, "body": {"text": "x"}}),
        ),
        ("delete-message", json!("lobby#3"), json!({"do": "msg.delete", "room": "lobby", "n": 3})),
        (
            "add-reaction",
            json!({"messageId": "lobby#3", "emoji": "👍"}),
            json!({"do": "msg.react", "room": "lobby", "n": 3, "reaction": "👍"}),
        ),
        (
            "mark-as-read",
            json!({"roomId": "lobby", "messageIds": ["lobby#3", "lobby#9", "lobby#4"]}),
            json!({"do": "msg.read", "room": "lobby", "n": 9}),
        ),
        (
            "get-messages",
            json!({"roomId": "lobby", "before": "lobby#9", "count": 5}),
            json!({"do": "msg.range", "room": "lobby", "before": 9, "count": 5}),
        ),
        ("get-room-presence", json!("lobby"), json!({"do": "presence.list", "room": "lobby"})),
        (
            "operation",
            json!({"documentId": "paper", "operation": {"type": "insert", "position": 2, "content": "x"}}),
            json!({"do": "doc.submit", "room": "paper", "doc": "main", "rev": 7, "epoch": "1.00000001", "op": [2, "x"],
                "client": "k1", "seq": 1}),
        ),
        (
            "cursor-position",
            json!({"documentId": "paper", "position": 3, "selection": {"start": 1, "end": 3}, "version": 6}),
            json!({"do": "doc.cursor", "room": "paper", "doc": "main", "rev": 6, "cursor": {"anchor": 1, "head": 3}}),
        ),
        ("refresh-token", json!("a.b.c"), json!({"do": "auth.refresh", "token": "a.b.c"})),
        ("subscribe:job", json!({"jobId": 7}), json!({"do": "room.join", "room": "jobs.7"})),
    ] {
        assert_eq!(one(name, arg), command, "{name}");
    }
}

#[test]
fn a_join_lists_the_client_once_with_what_it_last_said_of_itself() {
    let mut state = inside();
    let set = task("update-presence", json!({"status": "busy", "activity": {"type": "coding"}}), &mut state).unwrap();
    assert_eq!(set.commands.len(), 2, "in each of its rooms");
    let join = task("join-document", json!({"documentId": "new"}), &mut state).unwrap().commands.remove(0);
    let presence = json!({"data": {"activity": {"type": "coding"}}, "status": "busy"});
    assert_eq!(join, json!({"do": "room.join", "room": "new", "presence": presence, "positions": {"doc:main": null}}));
    assert_eq!(one("join-room", json!("lobby")), json!({"do": "room.join", "room": "lobby"}));
}

#[test]
fn a_room_is_left_with_the_last_way_of_being_in_it() {
    let mut state = inside();
    let close = task("leave-document", json!("paper"), &mut state).unwrap().commands;
    assert_eq!(close, [json!({"do": "doc.close", "room": "paper", "doc": "main"})]);
    let leave = task("leave-room", json!("paper"), &mut state).unwrap().commands;
    assert_eq!(leave, [json!({"do": "room.leave", "room": "paper"})]);
    assert!(!state.places.contains_key("paper"));
    assert_eq!(commands("leave-room", json!("paper")), Vec::<Value>::new(), "the document is open still");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_code() {
    for name in [
        "join-room",
        "leave-room",
        "send-message",
        "edit-message",
        "delete-message",
        "add-reaction",
        "mark-as-read",
        "get-messages",
        "typing-start",
        "update-presence",
        "get-room-presence",
        "join-document",
        "operation",
        "cursor-position",
        "subscribe:job",
        "subscribe:presence",
        "presence:update",
        "refresh-token",
    ] {
        for arg in
            [json!(null), json!(7), json!(true), json!([]), json!([["x"]]), json!({}), json!({"roomId": {"a": 1}})]
        {
            let code = refusal(name, arg);
            assert!(matches!(code, Code::InvalidArgument | Code::NotJoined), "{name}: {code:?}");
        }
    }
    assert_eq!(refusal("nope", json!(null)), Code::UnknownCommand);
    for (name, arg) in [
        ("send-message", json!({"roomId": "lobby", "content": " \n"})),
        ("send-message", json!({"roomId": "lobby", "content": "x", "replyTo": "hall#1"})),
        ("send-message", json!({"roomId": "lobby", "content": "x", "attachments": {}})),
        ("edit-message", json!({"messageId": "lobby", "content": "x"})),
        ("mark-as-read", json!({"roomId": "lobby", "messageIds": ["hall#1"]})),
        ("mark-as-read", json!({"roomId": "lobby", "messageIds": []})),
        ("operation", json!({"documentId": "paper", "operation": {"type": "insert", "position": 0}})),
        ("cursor-position", json!({"documentId": "paper", "position": -1})),
        ("get-presence", json!({"userIds": [1]})),
    ] {
        assert_eq!(refusal(name, arg.clone()), Code::InvalidArgument, "{name} {arg}");
    }
    let large = json!({"activity": "x".repeat(2_000)});
    assert_eq!(refusal("update-presence", large), Code::TooLarge);
}

#[test]
fn emitted_data_pass_through_with_one_piece_of_binary_data_at_most() {
    let read = |args: &str, attachments: usize| {
        let (_, args) = read(args).unwrap();
        emit(&args, vec![Bytes::from_static(&[1]); attachments])
    };
    let (fields, payload) =
        read("[\"emit\",{\"roomId\":\"r\",\"event\":\"e\",\"data\":{\"n\":1.50},\"to\":{\"userId\":\"bo\"}}]", 0)
            .unwrap();
    assert_eq!(
        fields,
        "\"do\":\"room.emit\",\"room\":\"r\",\"name\":\"e\",\"data\":{\"n\":1.50},\"to\":{\"user\":\"bo\"}"
    );
    assert!(payload.is_none());
    let hole = "{\"_placeholder\":true,\"num\":0}";
    let as_data = format!("[\"emit\",{{\"roomId\":\"r\",\"event\":\"e\",\"data\":{hole}}}]");
    let behind = format!("[\"emit\",{{\"roomId\":\"r\",\"event\":\"e\",\"data\":1}},{hole}]");
    let nested = format!("[\"emit\",{{\"roomId\":\"r\",\"event\":\"e\",\"data\":[{hole}]}}]");
    assert!(read(&as_data, 1).unwrap().1.is_some());
    assert!(read(&behind, 1).unwrap().0.ends_with("\"data\":1"));
    for (args, count) in [(&nested, 1), (&as_data, 2), (&as_data, 0), (&"[\"emit\",5]".to_owned(), 0)] {
        assert_eq!(read(args, count).unwrap_err().code, Code::InvalidArgument, "{args}");
    }
}

#[test]
fn an_event_needs_a_name() {
    for bad in ["[]", "[1]", "[null]", "[[\"a\"]]"] {
        assert_eq!(read(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
    }
}
