//! How people really typed: editing traces with the state that each edit was made in.

use serde_json::Value;
use std::io::Read;
use std::path::PathBuf;

/// A concurrent trace of two people.
pub struct Trace {
    /// What both end with.
    pub end: String,
    /// Every edit in an order that respects what each depends on.
    pub edits: Vec<Edit>,
    /// Of each person: the counts of own edits after which the other's view of them stands still at least once. What is
    /// sent must not mix edits from before and after such a count.
    pub boundaries: [std::collections::HashSet<usize>; 2],
}

/// One keystroke.
pub struct Edit {
    /// Who made it: 0 or 1.
    pub person: usize,
    /// How many of the other's edits were seen when it was made.
    pub seen: usize,
    /// Where, in characters, all of which are one UTF-16 unit in the trace.
    pub at: usize,
    /// How many characters it removes.
    pub removed: usize,
    /// What it inserts.
    pub inserted: String,
}

/// Where the traces are; says loudly that a story does not run without them.
pub fn data(story: &str) -> Option<PathBuf> {
    let data = std::env::var_os("STOA_DATA").map(PathBuf::from).filter(|data| data.join("traces").is_dir());
    if data.is_none() {
        // Straight to the terminal: the test runner hides what passing tests print.
        let line = format!("\n!!! {story} DID NOT RUN: STOA_DATA does not name a directory with traces/ in it\n\n");
        let _ = std::fs::write("/dev/stderr", line);
    }
    data
}

impl Trace {
    /// Two people who wrote one text at the same time, with a second of delay between them.
    pub fn friends_forever(data: &std::path::Path) -> Trace {
        let file = data.join("traces/concurrent/friendsforever.json.gz");
        let file = std::fs::File::open(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut json = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut json).unwrap();
        let trace: Value = serde_json::from_str(&json).unwrap();
        let transactions = trace["txns"].as_array().unwrap();

        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        // What each edit's state holds of both people's edits, itself included.
        let mut clocks: Vec<[usize; 2]> = Vec::new();
        let mut made = [0, 0];
        let mut edits = Vec::new();
        let mut boundaries: [std::collections::HashSet<usize>; 2] = Default::default();
        for transaction in transactions {
            let person = number(&transaction["agent"]);
            let other = 1 - person;
            let mut clock = [0, 0];
            for parent in transaction["parents"].as_array().unwrap() {
                let parent = clocks[number(parent)];
                clock = [clock[0].max(parent[0]), clock[1].max(parent[1])];
            }
            assert_eq!(clock[person], made[person], "each person's own edits follow each other");
            boundaries[other].insert(clock[other]);
            let [patch] = transaction["patches"].as_array().unwrap().as_slice() else { panic!("one keystroke each") };
            edits.push(Edit {
                person,
                seen: clock[other],
                at: number(&patch[0]),
                removed: number(&patch[1]),
                inserted: patch[2].as_str().unwrap().to_owned(),
            });
            made[person] += 1;
            clock[person] += 1;
            clocks.push(clock);
        }
        Trace { end: trace["endContent"].as_str().unwrap().to_owned(), edits, boundaries }
    }
}
