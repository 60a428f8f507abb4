//! How fast the document engine is, without Redis: `STOA_DATA=… cargo bench -p stoa-core --bench engine`.
//!
//! Every run also checks that the final text is the recorded one, so that a fast wrong answer is a failure. Times
//! are the best of several rounds, in processor time of the thread, so that neighbours disturb less.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/data/mod.rs"]
mod data;

use cpu_time::ThreadTime;
use data::heap::{Counting, held};
use std::time::Duration;
use stoa_core::bounds::Bounds;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::Writer;
use stoa_core::identity::Identity;
use stoa_core::op::{Operation, Unit};
use stoa_core::text::{Place, Text};

#[global_allocator]
static HEAP: Counting = Counting;

const WRITER: Writer = Writer { replication_id: 7, chance: 1 };
const ROUNDS: usize = 7;

fn main() {
    if data::folder("the benchmark of the engine").is_none() {
        return;
    }
    // `cargo bench --bench engine -- s10 engine 100` repeats one column of one stream, for a profiler.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let [name, work, rounds] = arguments.as_slice() {
        let stream = data::stream(name).unwrap();
        let work = if work == "engine" { Work::Engine } else { Work::Everything };
        for _ in 0..rounds.parse().unwrap() {
            println!("{:.1?}", replay(&stream, work).0);
        }
        return;
    }
    println!("submits/s             engine   with JSON   with reply and frame   bar");
    for (name, bar) in [("s2", 0.0), ("s10", 2.0), ("s50", 0.8), ("s200", 0.3), ("s10big", 1.5), ("s10emoji", 0.0)] {
        stream(name, bar);
    }
    peer();
    println!();
    buffer();
    for (name, bar) in [("automerge-paper", 30.0), ("rustcode", 60.0)] {
        history(name, bar);
    }
    println!();
    large();
}

/// The shortest of several rounds.
fn best<T>(mut round: impl FnMut() -> (Duration, T)) -> (Duration, T) {
    (0..ROUNDS).map(|_| round()).min_by_key(|(time, _)| *time).unwrap()
}

fn create(content: &str) -> Document {
    Document::create(DocumentType::Text, content, LineEnds::Lf, WRITER, &Bounds::default()).unwrap()
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    /// Parsed before, with the effect for replicas.
    Engine,
    /// JSON in.
    Json,
    /// JSON in, the reply's and the event's JSON out.
    Everything,
}

fn replay(stream: &data::Stream, work: Work) -> (Duration, String) {
    let bounds = Bounds::default();
    let mut document = create(&stream.init);
    let mut parsed: Vec<Operation> = Vec::new();
    let mut submits: Vec<Submit<'_>> = Vec::new();
    let mut sequences = vec![0u64; 256];
    for (client, rev, op) in &stream.submits {
        let seq = &mut sequences[*client as usize];
        *seq += 1;
        let identity = Some(Identity::new("ada", &format!("client-{client}"), *seq).unwrap());
        let op = op.as_bytes();
        submits.push(Submit {
            rev: *rev,
            op,
            epoch: None,
            identity,
            user: "ada",
            len: None,
            hash: None,
            unit: Unit::Utf16,
        });
        parsed.push(Operation::parse(op, Unit::Utf16, &bounds).unwrap());
    }
    // The recording counts a revision for what had nothing left to do, too.
    let mut revs = Vec::with_capacity(submits.len() + 1);
    revs.push(0);
    let mut out = 0;
    let start = ThreadTime::now();
    for (at, (submit, operation)) in submits.iter_mut().zip(&parsed).enumerate() {
        submit.rev = revs[submit.rev as usize];
        let now_ms = 1_700_000_000_000 + at as u64 * 3;
        if work == Work::Engine {
            revs.push(document.submit_operation(operation, submit, WRITER, now_ms, &bounds).unwrap().rev);
            continue;
        }
        let submitted = document.submit(submit, WRITER, now_ms, &bounds).unwrap();
        revs.push(submitted.rev);
        if work == Work::Everything {
            out += document.frame("lobby", "doc:main", submitted.rev).map_or(0, |frame| frame.len());
            out += document.applied_json(&submitted, Unit::Utf16).map_or(0, |json| json.len());
            out += document.concurrent_json(&submitted, Unit::Utf16).map(|json| json.len()).sum::<usize>();
        }
    }
    let time = start.elapsed();
    std::hint::black_box(out);
    (time, document.content())
}

fn stream(name: &str, bar: f64) {
    let stream = data::stream(name).unwrap();
    let rate = |work| {
        let (time, text) = best(|| replay(&stream, work));
        assert_eq!(data::sha256(&text), stream.final_sha256, "{name} ends with another text");
        stream.submits.len() as f64 / time.as_secs_f64() / 1e6
    };
    let (engine, json, everything) = (rate(Work::Engine), rate(Work::Json), rate(Work::Everything));
    println!("{name:18} {engine:7.2} M {json:9.2} M {everything:20.2} M {bar:7.1} M");
}

/// The same stream through the published crate, as Rustpad uses it: every operation retains the whole text.
fn peer() {
    use operational_transform::OperationSeq;
    let stream = data::stream("s10").unwrap();
    let submits = 2_000;
    let (time, ()) = best(|| {
        let mut text = stream.init.clone();
        let mut history: Vec<OperationSeq> = Vec::new();
        let mut elapsed = Duration::ZERO;
        for (_, rev, op) in &stream.submits[..submits] {
            let base = history.get(*rev as usize).map_or(text.chars().count(), |next| next.base_len());
            let mut operation = OperationSeq::default();
            let parts: Vec<serde_json::Value> = serde_json::from_str(op).unwrap();
            for part in parts {
                match part.as_i64() {
                    Some(n) if n > 0 => operation.retain(n as u64),
                    Some(n) => operation.delete(n.unsigned_abs()),
                    None => operation.insert(part.as_str().unwrap()),
                }
            }
            operation.retain((base - operation.base_len()) as u64);
            let start = ThreadTime::now();
            for other in &history[*rev as usize..] {
                operation = operation.transform(other).unwrap().0;
            }
            text = operation.apply(&text).unwrap();
            history.push(operation);
            elapsed += start.elapsed();
        }
        (elapsed, ())
    });
    let rate = submits as f64 / time.as_secs_f64() / 1e6;
    println!("s10, crate operational-transform 0.6.1 over the first {submits}: {rate:.3} M");
}

fn buffer() {
    let trace = data::sequential("automerge-paper").unwrap();
    let (time, held) = best(|| {
        let before = held();
        let start = ThreadTime::now();
        let mut text = Text::new(&trace.start_content).unwrap();
        let mut gone = String::new();
        for (at, deleted, inserted) in trace.txns.iter().flat_map(|txn| &txn.patches) {
            let (from, to) = (text.at_utf16(*at).unwrap(), text.at_utf16(at + deleted).unwrap());
            if *deleted > 0 {
                gone.clear();
                text.push_slice(from.chars, to.chars, &mut gone).unwrap();
                text.delete(from.chars, *deleted).unwrap();
            }
            if !inserted.is_empty() {
                let len = inserted.len() as u32;
                text.insert(from.chars, inserted, Place { utf16: len, chars: len }).unwrap();
            }
        }
        let time = start.elapsed();
        assert!(text.to_string() == trace.end_content, "automerge-paper ends with another text");
        (time, (held() - before) as f64)
    });
    let share = held / trace.end_content.len() as f64;
    println!("automerge-paper through the buffer: {time:.1?} (bar 60 ms), {share:.2} bytes held per byte (bar 2)");
}

fn history(name: &str, bar: f64) {
    let trace = data::sequential(name).unwrap();
    let bounds =
        Bounds { document_operations_max: usize::MAX, document_log_bytes_max: usize::MAX, ..Bounds::default() };
    let ops: Vec<String> = trace.txns.iter().flat_map(|txn| &txn.patches).map(data::patch_json).collect();
    let before = held();
    let mut document = create(&trace.start_content);
    let start = ThreadTime::now();
    for (at, op) in ops.iter().enumerate() {
        let identity = Some(Identity::new("ada", "0a1b2c3d", at as u64 + 1).unwrap());
        let (rev, op) = (document.rev(), op.as_bytes());
        let submit = Submit { rev, op, epoch: None, identity, user: "ada", len: None, hash: None, unit: Unit::Utf16 };
        document.submit(&submit, WRITER, 1_700_000_000_000 + at as u64 * 150, &bounds).unwrap();
    }
    let time = start.elapsed();
    assert!(document.content() == trace.end_content, "{name} ends with another text");
    let all = (held() - before) as f64;
    let text = Text::new(&document.content()).unwrap().heap_bytes() as f64;
    let per_operation = (all - text) / ops.len() as f64;
    let told = document.heap_bytes() as f64 / all;
    let rate = ops.len() as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{name}: {rate:.2} M submits/s, history {per_operation:.1} bytes/operation (bar {bar}), \
         heap_bytes() / held = {told:.3}, encoded {:.1} bytes/operation",
        (document.encode().len() as f64 - trace.end_content.len() as f64) / ops.len() as f64
    );
}

/// An operation of 10,000 components over 10,000 others.
fn large() {
    let bounds = Bounds::default();
    let mut document = create(&"some text ".repeat(20_000));
    for rev in 0..10_000u64 {
        let op = format!("[{},\"x\"]", (rev * 7919) % 190_000);
        let (op, identity) = (op.as_bytes(), None);
        let submit = Submit { rev, op, epoch: None, identity, user: "", len: None, hash: None, unit: Unit::Utf16 };
        document.submit(&submit, WRITER, rev, &bounds).unwrap();
    }
    let op = format!("[{}]", vec!["39,\"y\""; 5_000].join(","));
    let small = "[1,\"y\",190000,-1]";
    for (what, op, bar) in [("10,000 components", op.as_str(), "10 ms"), ("4 components", small, "-")] {
        let op = op.as_bytes();
        let submit =
            Submit { rev: 0, op, epoch: None, identity: None, user: "", len: None, hash: None, unit: Unit::Utf16 };
        let (time, _) = best(|| {
            let mut document = document.clone();
            let start = ThreadTime::now();
            document.submit(&submit, WRITER, 0, &bounds).unwrap();
            (start.elapsed(), document)
        });
        println!("{what} over 10,000 operations: {time:.2?} (bar {bar})");
    }
}
