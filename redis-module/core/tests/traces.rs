//! Recorded editing sessions end with the recorded text. Needs `STOA_DATA`.

#![allow(clippy::unwrap_used)]

mod data;

use data::{Patch, patch_json};
use serde::Deserialize;
use std::collections::VecDeque;
use stoa_core::bounds::Bounds;
use stoa_core::compose::{Bias, compose};
use stoa_core::document::{Document, DocumentType, LineEnds, Submit, Submitted};
use stoa_core::epoch::Writer;
use stoa_core::op::{Operation, Unit};
use stoa_core::transform::{Side, transform};

const WRITER: Writer = Writer { replication_id: 7, chance: 1 };

fn create(content: &str) -> Document {
    Document::create(DocumentType::Text, content, LineEnds::Any, WRITER, &Bounds::default()).unwrap()
}

fn submit(document: &mut Document, rev: u64, op: &str) -> Submitted {
    let unit = Unit::Utf16;
    let submit = Submit { rev, op: op.as_bytes(), epoch: None, identity: None, user: "", len: None, hash: None, unit };
    document.submit(&submit, WRITER, 0, &Bounds::default()).unwrap()
}

fn parse(json: &str) -> Operation {
    Operation::parse(json.as_bytes(), Unit::Utf16, &Bounds::default()).unwrap()
}

fn sequential(name: &str) {
    let Some(trace) = data::sequential(name) else { return };
    let mut document = create(&trace.start_content);
    let mut replica = Document::decode(&document.encode()).unwrap();
    for patch in trace.txns.iter().flat_map(|txn| &txn.patches) {
        let head = document.rev();
        let submitted = submit(&mut document, head, &patch_json(patch));
        if let Some(effect) = submitted.effect {
            replica.apply(&effect).unwrap();
        }
    }
    assert!(document.content() == trace.end_content, "{name} ends with another text");
    assert!(replica.encode() == document.encode(), "{name}: the replica differs");
    // Walking back over all that is kept and forth again ends where it began.
    let first = document.first_kept() - 1;
    let mut again = create(&document.content_at(first).unwrap());
    for rev in first + 1..=document.rev() {
        let head = again.rev();
        submit(&mut again, head, &document.operation_json(rev, Unit::Utf16).unwrap());
    }
    assert!(again.content() == trace.end_content, "{name} is another text when its history is replayed");
}

#[test]
fn automerge_paper_ends_with_its_text() {
    sequential("automerge-paper");
}
#[test]
fn rustcode_ends_with_its_text() {
    sequential("rustcode");
}
#[test]
fn sveltecomponent_ends_with_its_text() {
    sequential("sveltecomponent");
}
#[test]
fn json_crdt_patch_ends_with_its_text() {
    sequential("json-crdt-patch");
}
#[test]
fn friendsforever_flat_ends_with_its_text() {
    sequential("friendsforever_flat");
}

#[test]
fn submit_streams_end_with_their_text() {
    for name in ["s2", "s10", "s10emoji", "s50", "s200", "s10big"] {
        let Some(stream) = data::stream(name) else { return };
        let mut document = create(&stream.init);
        // The recording counts a revision for what had nothing left to do, too.
        let mut revs = vec![0];
        for (_, rev, op) in &stream.submits {
            revs.push(submit(&mut document, revs[*rev as usize], op).rev);
        }
        assert_eq!(data::sha256(&document.content()), stream.final_sha256, "{name} ends with another text");
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Concurrent {
    end_content: String,
    num_agents: usize,
    txns: Vec<ConcurrentTxn>,
}

#[derive(Deserialize)]
struct ConcurrentTxn {
    parents: Vec<usize>,
    agent: usize,
    patches: Vec<Patch>,
}

/// One author with a connection of their own: what they wrote and the server has not received, as the server
/// counts it, is never more than one operation, as in a browser.
struct Client {
    text: Document,
    /// The revision of the server that the client has seen.
    rev: u64,
    /// What it sent and was not answered.
    in_flight: Option<Operation>,
    /// What it wrote since, as one operation.
    buffer: Option<Operation>,
}

impl Client {
    fn new() -> Self {
        Client { text: create(""), rev: 0, in_flight: None, buffer: None }
    }

    fn writes(&mut self, op: &str) {
        let head = self.text.rev();
        submit(&mut self.text, head, op);
        let op = parse(op);
        let waiting = if self.in_flight.is_none() { &mut self.in_flight } else { &mut self.buffer };
        *waiting = Some(match waiting.take() {
            Some(earlier) => compose(&earlier, &op, Bias::Early).unwrap(),
            None => op,
        });
    }

    fn receives(&mut self, incoming: &Operation) {
        let mut incoming = incoming.clone();
        for pending in [&mut self.in_flight, &mut self.buffer].into_iter().flatten() {
            let (left, right) = (over(pending, &incoming, Side::Left), over(&incoming, pending, Side::Right));
            (*pending, incoming) = (left, right);
        }
        let head = self.text.rev();
        submit(&mut self.text, head, &incoming.to_json());
        self.rev += 1;
    }

    fn is_acknowledged(&mut self, submitted: &Submitted) {
        self.in_flight = self.buffer.take();
        self.rev = submitted.rev;
    }
}

fn over(x: &Operation, h: &Operation, side: Side) -> Operation {
    let mut out = Vec::new();
    transform(x.components(), h.components().iter().copied(), side, &mut out);
    Operation::from_parts(x.unit(), &out, x.text().to_owned()).unwrap()
}

/// Two people type at once. Each sees of the other what the recording says, and the server takes what arrives late
/// to its head. Every transaction is a submit of its own, so several may be under way: Jupiter's state space, walked
/// along its edges.
#[test]
fn friendsforever_ends_with_its_text_through_a_server() {
    let Some(text) = data::read("traces/concurrent/friendsforever.json", "friendsforever") else { return };
    let trace: Concurrent = serde_json::from_str(&text).unwrap();
    let mut document = create("");
    let mut authors: Vec<Author> = (0..trace.num_agents).map(|_| Author::default()).collect();
    let mut seen_by: Vec<Vec<usize>> = Vec::new();
    for txn in &trace.txns {
        // How many of each author's transactions this one rests on.
        let mut seen = vec![0; trace.num_agents];
        for parent in &txn.parents {
            for (own, theirs) in seen.iter_mut().zip(&seen_by[*parent]) {
                *own = (*own).max(*theirs);
            }
        }
        let patches: Vec<Operation> = txn.patches.iter().map(|patch| parse(&patch_json(patch))).collect();
        let mut op = patches.into_iter().reduce(|a, b| compose(&a, &b, Bias::Early).unwrap()).unwrap();
        for (other, count) in seen.iter().enumerate().filter(|(other, _)| *other != txn.agent) {
            authors[txn.agent].sees(other, *count);
        }
        // To the head, over what the author had not seen; and that over this one, for the author's next.
        for (_, _, unseen) in &mut authors[txn.agent].unseen {
            let (left, right) = (over(&op, unseen, Side::Left), over(unseen, &op, Side::Right));
            (op, *unseen) = (left, right);
        }
        let head = document.rev();
        submit(&mut document, head, &op.to_json());
        seen[txn.agent] += 1;
        for (_, author) in authors.iter_mut().enumerate().filter(|(other, _)| *other != txn.agent) {
            author.unseen.push_back((txn.agent, seen[txn.agent], op.clone()));
        }
        seen_by.push(seen);
    }
    assert!(document.content() == trace.end_content, "friendsforever ends with another text");
}

/// What the server has accepted from others and this author has not seen yet, as it applies to their text.
#[derive(Default)]
struct Author {
    unseen: VecDeque<(usize, usize, Operation)>,
}

impl Author {
    /// The author sees the first `count` transactions of another.
    fn sees(&mut self, other: usize, count: usize) {
        while self.unseen.front().is_some_and(|(agent, at, _)| *agent == other && *at <= count) {
            self.unseen.pop_front();
        }
    }
}

/// The same two people, as a browser would connect them: one operation in flight, a composed buffer behind it, and
/// a server that answers after some of the other's typing.
#[test]
fn friendsforever_converges_with_one_operation_in_flight() {
    let Some(text) = data::read("traces/concurrent/friendsforever.json", "friendsforever, in flight") else { return };
    let trace: Concurrent = serde_json::from_str(&text).unwrap();
    let mut server = create("");
    let mut clients = [Client::new(), Client::new()];
    let mut sequences = 0;
    for (at, txn) in trace.txns.iter().take(8_000).enumerate() {
        let client = &mut clients[txn.agent];
        for (position, deleted, inserted) in &txn.patches {
            // Where the clients stand depends on the delays made here, so the recorded places are bent to fit.
            let len = client.text.len().utf16;
            let position = (*position).min(len);
            let patch = (position, (*deleted).min(len - position), inserted.clone());
            client.writes(&patch_json(&patch));
        }
        if at % 7 < 3 {
            sequences += 1;
            exchange(&mut server, &mut clients[at % 2]);
        }
    }
    for _ in 0..4 {
        clients.iter_mut().for_each(|client| exchange(&mut server, client));
    }
    for client in &clients {
        assert!(client.in_flight.is_none() && client.buffer.is_none());
        assert_eq!(client.text.content(), server.content());
    }
    assert!(sequences > 1_000);
}

/// The client's operation travels to the server, and what came before it travels back with the answer.
fn exchange(server: &mut Document, client: &mut Client) {
    if let Some(op) = client.in_flight.clone() {
        let submitted = submit(server, client.rev, &op.to_json());
        let concurrent: Vec<String> = server.concurrent_json(&submitted, Unit::Utf16).collect();
        concurrent.iter().for_each(|op| client.receives(&parse(op)));
        client.is_acknowledged(&submitted);
    }
    for rev in client.rev + 1..=server.rev() {
        client.receives(&parse(&server.operation_json(rev, Unit::Utf16).unwrap()));
    }
}
