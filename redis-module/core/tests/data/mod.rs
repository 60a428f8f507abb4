//! Recorded editing sessions and cases made by other implementations.
//!
//! They are not part of this repository: the environment variable `STOA_DATA` names the folder that holds
//! `ot-vectors/` and `traces/`. Where it is unset, what needs them says so and does not run.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod heap;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;
use std::path::PathBuf;
use stoa_core::bounds::Bounds;
use stoa_core::op::{Operation, Unit};

/// The folder, if there is one; says loudly what does not run otherwise.
pub(crate) fn folder(what: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("STOA_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("STOA_DATA is not set: {what} did not run");
    }
    folder
}

/// The text of a file that may be compressed.
pub(crate) fn read(path: &str, what: &str) -> Option<String> {
    let path = folder(what)?.join(path);
    let packed = path.with_file_name(format!("{}.gz", path.file_name()?.to_str()?));
    let mut text = String::new();
    if packed.exists() {
        GzDecoder::new(std::fs::File::open(packed).unwrap()).read_to_string(&mut text).unwrap();
    } else {
        text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    Some(text)
}

/// The values of a file with one JSON value a line.
pub(crate) fn lines(path: &str, what: &str) -> Option<Vec<Value>> {
    Some(read(path, what)?.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// An operation as the data writes it, `{"d":n}` for a deletion, in our own form.
pub(crate) fn to_json(op: &Value) -> String {
    let component = |component: &Value| match component.get("d") {
        Some(Value::String(deleted)) => format!("-{}", deleted.chars().count()),
        Some(n) => format!("-{n}"),
        None => component.to_string(),
    };
    format!("[{}]", op.as_array().unwrap().iter().map(component).collect::<Vec<_>>().join(","))
}

/// An operation as the data writes it.
pub(crate) fn operation(op: &Value, unit: Unit) -> Operation {
    let bounds = Bounds { operation_components_max: usize::MAX, operation_bytes_max: usize::MAX, ..Bounds::default() };
    Operation::parse(to_json(op).as_bytes(), unit, &bounds).unwrap()
}

/// One edit: position, deleted length, inserted text.
pub(crate) type Patch = (u32, u32, String);

/// The wire form of an edit.
pub(crate) fn patch_json((at, deleted, inserted): &Patch) -> String {
    let deleted = if *deleted > 0 { format!(",-{deleted}") } else { String::new() };
    format!("[{at},{}{deleted}]", Value::from(inserted.as_str()))
}

/// One author's history.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sequential {
    pub(crate) start_content: String,
    pub(crate) end_content: String,
    pub(crate) txns: Vec<SequentialTxn>,
}

#[derive(Deserialize)]
pub(crate) struct SequentialTxn {
    pub(crate) patches: Vec<Patch>,
}

pub(crate) fn sequential(name: &str) -> Option<Sequential> {
    let text = read(&format!("traces/sequential/{name}.json"), name)?;
    Some(serde_json::from_str(&text).unwrap())
}

/// What a server received, and the text it has to end with.
pub(crate) struct Stream {
    pub(crate) init: String,
    pub(crate) final_sha256: String,
    /// Client, base revision, operation as JSON.
    pub(crate) submits: Vec<(u64, u64, String)>,
}

pub(crate) fn stream(name: &str) -> Option<Stream> {
    let mut lines = lines(&format!("traces/submit-streams/{name}.jsonl"), name)?.into_iter();
    let head = lines.next()?;
    let submits =
        lines.map(|line| (line["c"].as_u64().unwrap(), line["rev"].as_u64().unwrap(), to_json(&line["op"]))).collect();
    let text = |field: &str| head[field].as_str().unwrap().to_owned();
    Some(Stream { init: text("init"), final_sha256: text("final_sha256"), submits })
}

/// The SHA-256 of a text, in hexadecimal.
pub(crate) fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
