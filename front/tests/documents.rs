//! Documents beyond their operations: cursors and taking back.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};

const KEY: &str = "stoa:{lobby}:doc:main";

async fn open(client: &Client) -> Value {
    client.ok(json!({"do": "room.join", "room": "lobby"})).await;
    let create = json!({"type": "text", "content": "one two"});
    client.ok(json!({"do": "doc.open", "room": "lobby", "doc": "main", "create": create})).await
}

async fn tell(client: &Client, rev: u64, cursor: Value) {
    client.ok(json!({"do": "doc.cursor", "room": "lobby", "doc": "main", "rev": rev, "cursor": cursor})).await;
}

fn submit(client: &str, seq: u64, rev: u64, op: Value) -> Value {
    json!({"do": "doc.submit", "room": "lobby", "doc": "main", "rev": rev, "op": op, "client": client, "seq": seq})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_are_told_and_are_part_of_what_is_opened() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    let bo = Client::connect(front.port, &front::token("bo")).await;
    assert_eq!(open(&ada).await["cursors"], json!([]));
    open(&bo).await;
    tell(&ada, 0, json!({"anchor": 4, "head": 7, "data": {"n": 1}})).await;
    let told = bo.expect("doc.cursors").await;
    let cursor = &told["cursors"][0];
    assert_eq!((&cursor["user"], &cursor["anchor"], &cursor["head"]), (&json!("ada"), &json!(4), &json!(7)));
    assert_eq!((&told["rev"], &told["gone"], &cursor["data"]), (&json!(0), &json!([]), &json!({"n": 1})));

    bo.ok(submit("b", 1, 0, json!(["> "]))).await;
    let cy = Client::connect(front.port, &front::token("cy")).await;
    let opened = open(&cy).await;
    assert_eq!((&opened["rev"], &opened["cursors"][0]["anchor"]), (&json!(1), &json!(6)));
    let joined =
        cy.ok(json!({"do": "room.join", "room": "lobby", "positions": {"doc:main": opened["epoch"].as_str().unwrap().to_owned() + ":0"}}));
    let part = joined.await["streams"]["doc:main"].take();
    assert_eq!((&part["outcome"], &part["cursors"][0]["head"]), (&json!("changes"), &json!(9)));

    tell(&ada, 0, json!(null)).await;
    let gone = bo.expect("doc.cursors").await;
    assert_eq!((&gone["cursors"], &gone["gone"]), (&json!([]), &json!([cursor["connection"]])));
    let refused = ada.refused(
        json!({"do": "doc.cursor", "room": "lobby", "doc": "main", "rev": 1, "cursor": {"anchor": 99, "head": 0}}),
    );
    assert_eq!(refused.await, "DESYNC");
    let missing = ada.refused(json!({"do": "doc.cursor", "room": "lobby", "doc": "main", "rev": 1}));
    assert_eq!(missing.await, "INVALID_ARGUMENT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_with_its_document_its_room_or_its_connection() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let watcher = Client::connect(front.port, &front::token("watcher")).await;
    open(&watcher).await;
    for how in ["doc.close", "room.leave", "cut"] {
        let ada = Client::connect(front.port, &front::token("ada")).await;
        open(&ada).await;
        // In one breath with what ends it, the cursor must not come after its end.
        ada.send(
            json!({"do": "doc.cursor", "room": "lobby", "doc": "main", "rev": 0, "cursor": {"anchor": 1, "head": 1}}),
        );
        if how == "cut" {
            let told = watcher.expect("doc.cursors").await;
            assert_eq!(told["cursors"][0]["user"], "ada");
            drop(ada);
        } else {
            ada.ok(json!({"do": how, "room": "lobby", "doc": "main"})).await;
        }
        // It may have been announced, or both are gathered into one event.
        while watcher.expect("doc.cursors").await["gone"].as_array().unwrap().is_empty() {}
        let opened = redis.ok(&["ROOM.OPEN", KEY, "-"]).items()[0].field("cursors").items().len();
        assert_eq!(opened, 0, "after {how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_takes_back_the_clients_own_edits_one_by_one() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    let bo = Client::connect(front.port, &front::token("bo")).await;
    open(&ada).await;
    open(&bo).await;
    ada.ok(submit("a", 1, 0, json!([7, " three"]))).await;
    bo.ok(submit("b", 1, 1, json!(["zero "]))).await;
    let undo = json!({"do": "doc.undo", "room": "lobby", "doc": "main", "client": "a"});
    let undone = ada.ok(undo.clone()).await;
    assert_eq!((&undone["rev"], &undone["op"]), (&json!(3), &json!([12, -6])));
    while ada.expect("doc.applied").await["rev"] != 3 {}
    let event = ada.events_named("doc.applied").pop().unwrap();
    assert_eq!((&event["user"], event.get("client")), (&json!("ada"), None));
    assert_eq!(ada.refused(undo).await, "NOT_FOUND");
    // Nobody takes back what another user wrote.
    let others = json!({"do": "doc.undo", "room": "lobby", "doc": "main", "client": "b"});
    assert_eq!(ada.refused(others).await, "NOT_FOUND");
    let content = ada.ok(json!({"do": "doc.get", "room": "lobby", "doc": "main"})).await;
    assert_eq!(content["content"], "zero one two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_that_is_sent_again_takes_back_nothing_more() {
    let redis = Redis::start();
    // No replica will ever acknowledge, so the client has to resend.
    let front = Front::start_with(&redis, |settings| {
        settings.ack_rooms = vec!["unsafe=replica:1".parse().unwrap()];
        settings.ack_timeout_ms = 100;
    })
    .await;
    let ada = Client::connect(front.port, &front::token("ada")).await;
    for room in ["lobby", "unsafe"] {
        redis.ok(&["DOC.CREATE", &format!("stoa:{{{room}}}:doc:main"), "text", ""]);
        ada.ok(json!({"do": "room.join", "room": room})).await;
    }
    let asked = async |room: &str, mut command: Value| {
        (command["room"], command["doc"]) = (json!(room), json!("main"));
        ada.ask(command).await
    };
    let text = |room: &str| redis.ok(&["DOC.GET", &format!("stoa:{{{room}}}:doc:main")]).field("content").text();
    let edit =
        |seq: u64| json!({"do": "doc.submit", "rev": seq - 1, "op": [3 * (seq - 1), "abc"], "client": "a", "seq": seq});
    let undo = |seq: u64| json!({"do": "doc.undo", "client": "a", "seq": seq});
    for room in ["lobby", "unsafe"] {
        for seq in 1..=3 {
            let _ = asked(room, edit(seq)).await;
        }
        assert_eq!(text(room), "abcabcabc");
    }
    let first = asked("lobby", undo(1)).await.unwrap();
    let again = asked("lobby", undo(1)).await.unwrap();
    assert_eq!((&first["rev"], &again["rev"], &again["duplicate"]), (&json!(4), &json!(4), &json!(true)));
    assert_eq!(text("lobby"), "abcabc");
    for _ in 0..3 {
        assert_eq!(asked("unsafe", undo(1)).await.unwrap_err()["code"], "UNACKNOWLEDGED");
    }
    assert_eq!(text("unsafe"), "abcabc");

    // An edit that was sent before it and arrives after it is not taken for forgotten, nor for an own event.
    asked("lobby", undo(9)).await.unwrap();
    asked("lobby", json!({"do": "doc.submit", "rev": 5, "op": ["x"], "client": "a", "seq": 4})).await.unwrap();
    assert_eq!(text("lobby"), "xabc");
    let events = ada.ok(json!({"do": "doc.ops", "room": "lobby", "doc": "main", "from": 3})).await;
    let writers: Vec<_> = events["events"].as_array().unwrap().iter().map(|event| &event["client"]).collect();
    assert_eq!(writers, ["a:undo", "a:undo", "a"]);
}
