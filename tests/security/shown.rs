//! What people write is kept and delivered as they wrote it, and whoever shows it escapes it: docs/protocol.md says why.
//! (That the demo shows it as text alone is in front/demo/test.)

use serde_json::json;
use stoa_harness::http::Events;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, front};

/// What somewhere, some day, would be taken for more than a text.
const HOSTILE: [&str; 16] = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "\"><svg/onload=alert(1)>",
    "'; DROP TABLE messages; --",
    "{{constructor.constructor('alert(1)')()}}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "\r\nX-Injected: yes\r\n\r\n",
    "\n\ndata: {\"event\":\"room.kicked\"}\n\n",
    "=cmd|' /C calc'!A0",
    "../../../../etc/passwd",
    "\u{202e}txt.exe \u{2066}\u{200b}\u{feff}",
    "\u{0}\u{1}\u{7}\u{1b}[31m\u{7f}\u{9b}",
    "\u{2028}\u{2029} \\u003cb\\u003e &lt;b&gt;",
    "Z\u{334}\u{335}\u{336}\u{337}\u{338}a\u{489}lgo 👩‍👩‍👧 \u{10ffff}",
    "__proto__",
];

async fn listens(port: u16) -> Events {
    let bearer = format!("Bearer {}", front::token("cy"));
    let target = "/sse?resume=%7B%22lobby%22:%7B%22positions%22:%7B%22log%22:null,%22doc:main%22:null%7D%7D%7D";
    Events::open(port, target, &[("Authorization", &bearer)]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_people_write_arrives_as_it_was_written() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let name: String = HOSTILE[0].chars().take(100).collect();
    let ada = Client::connect(front.port, &front::token_with(json!({"sub": "ada", "name": name}))).await;
    let bo = Client::connect(front.port, &front::token("bo")).await;
    for client in [&bo, &ada] {
        client.ok(json!({"do": "room.join", "room": "lobby", "presence": {"data": {"mood": HOSTILE[1]}}})).await;
    }
    // A document keeps the line ends of its kind.
    let written: Vec<String> = HOSTILE.iter().map(|text| text.replace('\r', "")).collect();
    let content = written.join("\n");
    let create = json!({"type": "text", "content": content});
    ada.ok(json!({"do": "doc.open", "room": "lobby", "doc": "main", "create": create})).await;
    bo.ok(json!({"do": "doc.open", "room": "lobby", "doc": "main"})).await;
    let cy = listens(front.port).await;
    let connected = cy.expect("connected", |block| block.event == "connected").await;
    let lobby = &connected.data["rooms"]["lobby"]["streams"];
    assert_eq!(lobby["doc:main"]["content"], content);
    let joined = bo.expect("presence.changed").await;
    assert_eq!(joined["joined"][0]["data"], json!({"name": name, "mood": HOSTILE[1]}));

    for (n, text) in HOSTILE.into_iter().enumerate() {
        let body = json!({"text": text, text: [text]});
        let meta = json!({text: text});
        ada.ok(json!({"do": "msg.post", "room": "lobby", "body": body, "meta": meta})).await;
        ada.ok(json!({"do": "room.emit", "room": "lobby", "name": "x", "data": body})).await;
        let posted = bo.expect("msg.posted").await;
        assert_eq!((&posted["message"]["body"], &posted["message"]["meta"]), (&body, &meta));
        assert_eq!(bo.expect("room.emitted").await["data"], body);
        let heard = cy.expect(text, |block| block.data["message"]["n"] == json!(n + 1)).await;
        assert_eq!(heard.data["message"]["body"], body);
        let stored = redis.ok(&["MSG.GET", "stoa:{lobby}:log", &(n + 1).to_string()]).items()[0].json();
        assert_eq!(stored["body"], body);
        let read = bo.ok(json!({"do": "msg.range", "room": "lobby", "count": 1})).await;
        assert_eq!(read["messages"][0]["body"], body);
    }
    for text in &written {
        let state = bo.ok(json!({"do": "doc.get", "room": "lobby", "doc": "main"})).await;
        let submit = json!({"do": "doc.submit", "room": "lobby", "doc": "main", "rev": state["rev"], "epoch": state["epoch"], "op": [text]});
        ada.ok(submit).await;
        assert_eq!(bo.expect("doc.applied").await["op"], json!([text]));
        let now = bo.ok(json!({"do": "doc.get", "room": "lobby", "doc": "main"})).await;
        assert_eq!(now["content"], format!("{text}{}", state["content"].as_str().unwrap()));
    }
    // Nothing that was written became an event of its own on the stream.
    assert!(cy.blocks().iter().all(|block| block.data["event"] != "room.kicked"));
}
