//! People who type at once, with delays, lost messages, resends and a change of server, end with the same text.
//!
//! A failing case prints its seed, which brings it back.

#![allow(clippy::unwrap_used)]

mod chance;

use chance::{Chance, after, over};
use proptest::prelude::*;
use stoa_core::bounds::Bounds;
use stoa_core::compose::{Bias, compose};
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::{Epoch, Writer};
use stoa_core::identity::Identity;
use stoa_core::op::{Operation, Unit};
use stoa_core::transform::Side;

/// A server and its replica, which may take over.
struct Servers {
    primary: Document,
    replica: Document,
    writer: Writer,
}

impl Servers {
    fn start(content: &str) -> Self {
        let writer = Writer { replication_id: 1, chance: 1 };
        let primary = Document::create(DocumentType::Text, content, LineEnds::Any, writer, &Bounds::default()).unwrap();
        Servers { replica: Document::decode(&primary.encode()).unwrap(), primary, writer }
    }

    /// Returns the revision of the answer, and whether the operation created it.
    fn receives(&mut self, submit: &Submit<'_>) -> (u64, bool) {
        let submitted = self.primary.submit(submit, self.writer, 0, &Bounds::default()).unwrap();
        if let Some(effect) = &submitted.effect {
            self.replica.apply(effect).unwrap();
        }
        (submitted.rev, submitted.created)
    }

    /// The primary dies, the replica is promoted.
    fn fail_over(&mut self) {
        assert!(self.primary.encode() == self.replica.encode());
        self.primary = self.replica.clone();
        self.writer = Writer { replication_id: self.writer.replication_id + 1, chance: 9 };
    }
}

/// The classic three states: nothing pending, one operation in flight, one in flight and one buffered.
struct Client {
    name: String,
    unit: Unit,
    text: String,
    rev: u64,
    epoch: Epoch,
    seq: u64,
    in_flight: Option<Operation>,
    buffer: Option<Operation>,
}

impl Client {
    fn new(name: &str, unit: Unit, text: &str, document: &Document) -> Self {
        let (name, text, epoch) = (name.to_owned(), text.to_owned(), document.epoch());
        Client { name, unit, text, rev: 0, epoch, seq: 0, in_flight: None, buffer: None }
    }

    fn writes(&mut self, op: Operation) {
        self.text = after(&self.text, &op);
        if self.in_flight.is_none() {
            self.seq += 1;
            self.in_flight = Some(op);
            return;
        }
        self.buffer = Some(match self.buffer.take() {
            Some(earlier) => compose(&earlier, &op, Bias::Early).unwrap(),
            None => op,
        });
    }

    /// Sends what is in flight, perhaps again. The message or its answer may be lost.
    fn sends(&mut self, servers: &mut Servers, chance: &mut Chance) {
        let Some(op) = self.in_flight.as_ref().filter(|_| chance.below(5) > 0) else { return };
        let (json, len) = (op.to_json(), None);
        let identity = Some(Identity::new("", &self.name, self.seq).unwrap());
        let epoch = Some(self.epoch);
        let submit =
            Submit { rev: self.rev, op: json.as_bytes(), epoch, identity, user: "", len, hash: None, unit: self.unit };
        let (rev, created) = servers.receives(&submit);
        if chance.below(5) > 0 && !created {
            // No event will tell; what came before the answer does away with the rest of the operation.
            self.reads(&servers.primary, rev);
            assert!(self.in_flight.as_ref().unwrap().is_empty());
            self.is_acknowledged();
        }
    }

    /// Reads the events up to a revision.
    fn reads(&mut self, document: &Document, through: u64) {
        for rev in self.rev + 1..=through.min(document.rev()) {
            self.rev = rev;
            self.epoch = document.epochs().of(rev);
            if document.accepted(rev).unwrap().identity() == Some((&self.name, self.seq)) {
                self.is_acknowledged();
                continue;
            }
            let json = document.operation_json(rev, self.unit).unwrap();
            let mut incoming = Operation::parse(json.as_bytes(), self.unit, &Bounds::default()).unwrap();
            for pending in [&mut self.in_flight, &mut self.buffer].into_iter().flatten() {
                let own = over(pending, &incoming, Side::Left);
                incoming = over(&incoming, pending, Side::Right);
                *pending = own;
            }
            self.text = after(&self.text, &incoming);
        }
    }

    fn is_acknowledged(&mut self) {
        self.in_flight = self.buffer.take();
        self.seq += u64::from(self.in_flight.is_some());
    }
}

/// Nobody writes any more, and in the end every message gets through.
fn settle(servers: &mut Servers, clients: &mut [Client], chance: &mut Chance) {
    while clients.iter().any(|client| client.in_flight.is_some()) {
        for client in clients.iter_mut() {
            client.sends(servers, chance);
            client.reads(&servers.primary, u64::MAX);
        }
    }
    clients.iter_mut().for_each(|client| client.reads(&servers.primary, u64::MAX));
}

fn session(seed: u64, people: usize, steps: usize) -> (Document, Vec<Client>) {
    let mut chance = Chance(seed);
    let content = chance.text(12);
    let mut servers = Servers::start(&content);
    let mut clients: Vec<Client> = (0..people)
        .map(|at| {
            let unit = if chance.below(3) == 0 { Unit::Char } else { Unit::Utf16 };
            Client::new(&format!("tab-{at}"), unit, &content, &servers.primary)
        })
        .collect();
    for _ in 0..steps {
        let client = &mut clients[chance.below(people)];
        match chance.below(10) {
            0..4 => {
                let op = chance.operation(&client.text, 3, client.unit);
                client.writes(op);
            }
            4..7 => client.sends(&mut servers, &mut chance),
            7..9 => {
                let through = client.rev + chance.below(6) as u64;
                client.reads(&servers.primary, through);
            }
            _ if chance.below(10) == 0 => servers.fail_over(),
            _ => {}
        }
    }
    settle(&mut servers, &mut clients, &mut chance);
    (servers.primary, clients)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everyone_ends_with_the_text_of_the_server(seed: u64, people in 2..6usize, steps in 1..200usize) {
        let (document, clients) = session(seed, people, steps);
        for client in clients {
            prop_assert_eq!(client.text, document.content());
        }
    }
}

/// Two people who start at one place and type on where their caret is, with every kind of delay between them.
#[test]
fn two_who_type_at_one_place_never_mix_their_letters() {
    for seed in 0..300 {
        let mut chance = Chance(seed);
        let mut servers = Servers::start("");
        let mut clients = ["a", "b"].map(|name| Client::new(name, Unit::Utf16, "", &servers.primary));
        for _ in 0..200 {
            let client = &mut clients[chance.below(2)];
            match chance.below(3) {
                0 => {
                    // A caret stays before what others type at it, so it is right behind the own last letter.
                    let caret = client.text.rfind(&client.name).map_or(0, |at| at + 1);
                    let op = format!("[{caret},\"{}\"]", client.name);
                    client.writes(Operation::parse(op.as_bytes(), Unit::Utf16, &Bounds::default()).unwrap());
                }
                1 => client.sends(&mut servers, &mut chance),
                _ => {
                    let through = client.rev + chance.below(6) as u64;
                    client.reads(&servers.primary, through);
                }
            }
        }
        settle(&mut servers, &mut clients, &mut chance);
        let text = servers.primary.content();
        let changes = text.as_bytes().windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(text.len() > 20 && changes <= 1, "seed {seed}: {text}");
    }
}
