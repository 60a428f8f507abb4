//! What `DOC.SUBMIT` costs Redis: beside `INCR`, beside the same work as a script inside Redis, and over a stream
//! of fifty people who type at once.
//!
//! `cargo bench --bench documents`; `STOA_DATA` names the folder of the recorded streams. Method and results:
//! benches/README.md. Module and script have to end with the same text, and the streams with the recorded one.
#![allow(clippy::unwrap_used)] // A benchmark that cannot run says so by stopping.

mod load;

use load::{CONNECTIONS, PIPELINE, Server, Words, median};
use sha2::{Digest, Sha256};
use std::io::Read;
use stoa_core::bounds::Bounds;
use stoa_core::document::{Document, DocumentType, LineEnds, Submit};
use stoa_core::epoch::Writer;
use stoa_core::op::Unit;

/// Rounds; all cases take turns, medians are shown.
const ROUNDS: usize = 5;
/// Commands of `INCR` and of the module per round.
const COMMANDS: usize = 20_000;
const MODULE_KEY: &str = "stoa:{bench}:doc:main";
const TEXT_KEY: &str = "lua:{bench}:text";
const HISTORY_KEY: &str = "lua:{bench}:history";

/// The same work as a script, written as one would: the text is a string, the history a list, operations are JSON.
/// It counts bytes, so it is right for ASCII alone; it knows no identities and no epochs and trims nothing.
const LUA: &str = r#"
local function push(out, c)
  local last = out[#out]
  if type(c) == 'number' and type(last) == 'number' and (c > 0) == (last > 0) then out[#out] = last + c
  elseif type(c) == 'string' and type(last) == 'string' then out[#out] = last .. c
  else out[#out + 1] = c end
end
local function transform(x, over)
  local out, at, own = {}, 1, x[1]
  local function take(n)
    if math.abs(own) > n then own = own > 0 and own - n or own + n else at = at + 1 own = x[at] end
  end
  for _, c in ipairs(over) do
    if type(c) == 'string' then
      while type(own) == 'string' do push(out, own) at = at + 1 own = x[at] end
      if own then push(out, #c) end
    else
      local n = math.abs(c)
      while n > 0 and own do
        if type(own) == 'string' then push(out, own) at = at + 1 own = x[at]
        else
          local step = math.min(n, math.abs(own))
          if c > 0 then push(out, own > 0 and step or -step) end
          take(step)
          n = n - step
        end
      end
    end
    if not own then break end
  end
  while own do push(out, own) at = at + 1 own = x[at] end
  return out
end
local op = cjson.decode(ARGV[2])
local behind = redis.call('LRANGE', KEYS[2], ARGV[1], -1)
for _, other in ipairs(behind) do op = transform(op, cjson.decode(other)) end
local text = redis.call('GET', KEYS[1])
local parts, at = {}, 1
for _, c in ipairs(op) do
  if type(c) == 'string' then parts[#parts + 1] = c
  elseif c > 0 then parts[#parts + 1] = string.sub(text, at, at + c - 1) at = at + c
  else at = at - c end
end
if at > #text + 1 then return redis.error_reply('DESYNC') end
parts[#parts + 1] = string.sub(text, at)
local applied = cjson.encode(op)
redis.call('SET', KEYS[1], table.concat(parts))
local rev = redis.call('RPUSH', KEYS[2], applied)
redis.call('SPUBLISH', 'lua:{bench}', applied)
return {rev, applied, behind}
"#;

/// One document size and one distance to the head.
struct Case {
    name: &'static str,
    bytes: usize,
    behind: usize,
    /// Runs of the script per round: it takes milliseconds where the text is long.
    scripts: usize,
}

const CASES: &[Case] = &[
    Case { name: "1 KB, at the head", bytes: 1_000, behind: 0, scripts: 4_000 },
    Case { name: "1 KB, 10 behind", bytes: 1_000, behind: 10, scripts: 4_000 },
    Case { name: "10 KB, at the head", bytes: 10_000, behind: 0, scripts: 4_000 },
    Case { name: "10 KB, 10 behind", bytes: 10_000, behind: 10, scripts: 4_000 },
    Case { name: "100 KB, at the head", bytes: 100_000, behind: 0, scripts: 800 },
    Case { name: "100 KB, 10 behind", bytes: 100_000, behind: 10, scripts: 800 },
    Case { name: "4 MB, at the head", bytes: 4_000_000, behind: 0, scripts: 48 },
    Case { name: "4 MB, 10 behind", bytes: 4_000_000, behind: 10, scripts: 48 },
];

impl Case {
    fn text(&self) -> String {
        "lorem ipsum dolor sit amet. ".chars().cycle().take(self.bytes).collect()
    }

    fn rev(&self, n: usize) -> String {
        n.saturating_sub(self.behind).to_string()
    }

    /// Replaces one letter: the text keeps its length, however long the round is.
    fn op(&self, n: usize) -> String {
        format!("[{},\"x\",-1]", 7919 * n % (self.bytes * 9 / 10) + 1)
    }

    fn submit(&self, n: usize) -> Words {
        vec!["DOC.SUBMIT".into(), MODULE_KEY.into(), self.rev(n), self.op(n)]
    }

    fn script(&self, sha: &str, n: usize) -> Words {
        vec!["EVALSHA".into(), sha.into(), "2".into(), TEXT_KEY.into(), HISTORY_KEY.into(), self.rev(n), self.op(n)]
    }
}

fn start(server: &mut Server, text: &str) {
    server.call(&["DEL", MODULE_KEY, TEXT_KEY, HISTORY_KEY]);
    server.call(&["DOC.CREATE", MODULE_KEY, "text", text]);
    server.call(&["SET", TEXT_KEY, text]);
}

fn content(server: &Server) -> String {
    server.redis.call(&["DOC.GET", MODULE_KEY]).field("content").text()
}

/// Both do the same operations and have to end with the same text.
fn check(server: &mut Server, case: &Case, sha: &str) {
    start(server, &case.text());
    let count = case.scripts.min(200);
    let errors = server.load(count, true, |n| case.submit(n)).1 + server.load(count, true, |n| case.script(sha, n)).1;
    assert_eq!(errors, 0, "{}: errors", case.name);
    let text = server.redis.call(&["GET", TEXT_KEY]).text();
    assert!(content(server) == text && text != case.text(), "{}: module and script differ", case.name);
}

fn beside_peers(server: &mut Server) {
    let sha = server.redis.call(&["SCRIPT", "LOAD", LUA]).text();
    CASES.iter().for_each(|case| check(server, case, &sha));
    // Per case and round: INCR, module, script, in nanoseconds.
    let mut rounds: Vec<Vec<[f64; 3]>> = vec![Vec::new(); CASES.len()];
    for round in 0..=ROUNDS {
        for (case, rounds) in CASES.iter().zip(&mut rounds) {
            start(server, &case.text());
            let incr = server.load(COMMANDS, true, |n| vec!["INCR".into(), format!("count:{}", n % 1000)]);
            let module = server.load(COMMANDS, true, |n| case.submit(n));
            let script = server.load(case.scripts, true, |n| case.script(&sha, n));
            assert_eq!(incr.1 + module.1 + script.1, 0, "{}: errors", case.name);
            // The first round warms up.
            if round > 0 {
                rounds.push([incr.0, module.0, script.0]);
            }
        }
    }
    println!("{CONNECTIONS} connections, pipeline {PIPELINE}, median of {ROUNDS} rounds, server CPU in µs\n");
    println!(
        "| document | INCR | DOC.SUBMIT | Lua | DOC.SUBMIT ÷ INCR | Lua ÷ DOC.SUBMIT |\n|---|---|---|---|---|---|"
    );
    for (case, rounds) in CASES.iter().zip(&rounds) {
        let of = |value: fn(&[f64; 3]) -> f64| median(&mut rounds.iter().map(value).collect::<Vec<_>>());
        println!(
            "| {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} |",
            case.name,
            of(|r| r[0] / 1000.0),
            of(|r| r[1] / 1000.0),
            of(|r| r[2] / 1000.0),
            of(|r| r[1] / r[0]),
            of(|r| r[2] / r[1]),
        );
    }
}

/// A recorded stream: what a server received from people who typed at once.
struct Stream {
    init: String,
    final_sha256: String,
    /// Client, revision, operation.
    submits: Vec<(u64, u64, String)>,
}

fn stream(name: &str) -> Option<Stream> {
    let Some(folder) = std::env::var_os("STOA_DATA") else {
        eprintln!("\nSTOA_DATA is not set: THE STREAM {name} DID NOT RUN\n");
        return None;
    };
    let path = std::path::PathBuf::from(folder).join(format!("traces/submit-streams/{name}.jsonl.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let head = lines.next().unwrap();
    // The recording writes a deletion as {"d":n}.
    let component = |c: &serde_json::Value| c.get("d").map_or_else(|| c.to_string(), |n| format!("-{n}"));
    let op = |op: &serde_json::Value| op.as_array().unwrap().iter().map(component).collect::<Vec<_>>().join(",");
    let submits = lines
        .map(|line| (line["c"].as_u64().unwrap(), line["rev"].as_u64().unwrap(), format!("[{}]", op(&line["op"]))))
        .collect();
    let field = |name: &str| head[name].as_str().unwrap().to_owned();
    Some(Stream { init: field("init"), final_sha256: field("final_sha256"), submits })
}

impl Stream {
    /// The revision that each submit names here. The recording counts one for what had nothing left to do, too; a
    /// pipelined load has to know them before it is answered, so the engine works them out.
    fn revisions(&self) -> Vec<u64> {
        let (bounds, writer) = (Bounds::default(), Writer { replication_id: 1, chance: 1 });
        let mut document = Document::create(DocumentType::Text, &self.init, LineEnds::Lf, writer, &bounds).unwrap();
        let mut created = vec![0];
        let mut revisions = Vec::with_capacity(self.submits.len());
        for (_, rev, op) in &self.submits {
            let (rev, op) = (created[*rev as usize], op.as_bytes());
            let (unit, identity) = (Unit::Utf16, None);
            let submit = Submit { rev, op, epoch: None, identity, user: "", len: None, hash: None, unit };
            created.push(document.submit(&submit, writer, 0, &bounds).unwrap().rev);
            revisions.push(rev);
        }
        revisions
    }
}

fn replay(server: &mut Server, name: &str) {
    let Some(stream) = stream(name) else { return };
    let revisions = stream.revisions();
    let mut sequences = vec![0u64; 256];
    let submits: Vec<Words> = stream
        .submits
        .iter()
        .zip(&revisions)
        .map(|((client, _, op), rev)| {
            let seq = &mut sequences[*client as usize];
            *seq += 1;
            let identity =
                ["ID".into(), format!("client-{client}"), seq.to_string(), "BY".into(), "ada".into(), "c".into()];
            let mut words = vec!["DOC.SUBMIT".into(), MODULE_KEY.into(), rev.to_string(), op.clone()];
            words.extend(identity);
            words
        })
        .collect();
    let (mut per_call, mut cpu, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        start(server, &stream.init);
        let incr = server.load(COMMANDS, true, |n| vec!["INCR".into(), format!("count:{}", n % 1000)]);
        server.call(&["CONFIG", "RESETSTAT"]);
        let (ns, errors) = server.load(submits.len(), true, |n| submits[n].clone());
        assert_eq!(errors, 0, "{name}: errors");
        let stats = server.redis.call(&["INFO", "commandstats"]).text();
        let line = stats.lines().find(|line| line.to_lowercase().starts_with("cmdstat_doc.submit:")).unwrap();
        let usec = line.split(',').find_map(|part| part.strip_prefix("usec_per_call=")).unwrap();
        let hash: String = Sha256::digest(content(server)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, stream.final_sha256, "{name} ends with another text");
        if round > 0 {
            per_call.push(usec.parse::<f64>().unwrap());
            cpu.push(ns / 1000.0);
            ratios.push(ns / incr.0);
        }
    }
    println!(
        "| {name} | {} | {:.2} | {:.2} | {:.1} |",
        submits.len(),
        median(&mut per_call),
        median(&mut cpu),
        median(&mut ratios)
    );
}

fn main() {
    let mut server = Server::start();
    beside_peers(&mut server);
    println!("\n| stream | submits | usec_per_call | server CPU, µs | ÷ INCR |\n|---|---|---|---|---|");
    for name in ["s2", "s10", "s50", "s200"] {
        replay(&mut server, name);
    }
}
