//! Long random streams of commands on a primary with a replica, while both are reloaded, rewrite their files, lose one another,
//! are killed and change places: at every stop all that is stored is the same on both.
//!
//! `STOA_STREAM_COMMANDS` says how many commands (20,000), `STOA_SEED` which.
#![allow(clippy::unwrap_used)]

use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use stoa_harness::chance::setting;
use stoa_harness::redis::Ending;
use stoa_harness::{Connection, Redis, chance, waiting};

/// Commands that are sent before their answers are read.
const BATCH: usize = 250;
/// Commands between two stops, about: at least and at most, a hundredth of a stream in between.
const BETWEEN_STOPS: [usize; 2] = [2_000, 8_000];
/// Longest lease, grant or streamed message, in milliseconds: limits alone last longer.
const END_MS_MAX: u64 = 500;
/// Rooms in use.
const ROOMS: usize = 3;
/// How long the two may take to agree: a loaded machine is not a fault.
const AGREEMENT: Duration = Duration::from_secs(60);

/// What the stream knows of a room, so that most of what it sends is taken.
#[derive(Default)]
struct Room {
    /// Revisions of the document and its length there, the newest last.
    bases: VecDeque<(i64, i64)>,
    /// Revisions of the document from which on it is kept.
    first_rev: i64,
    messages: i64,
}

struct Stream {
    chance: StdRng,
    rooms: [Room; ROOMS],
    seq: u64,
    refused: usize,
}

impl Stream {
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.chance.random_range(0..of.len())]
    }

    /// An operation that fits a text of so many characters, which it keeps short.
    fn operation(&mut self, length: i64) -> String {
        let at = self.chance.random_range(0..=length);
        let most = if length > 2_000 { 200 } else { 6 };
        let removed = self.chance.random_range(0..=(length - at).min(most));
        let text = self.pick(&["a", "😀", "\\n", "longer text", "ß", "\\u0000"]);
        match (at, removed) {
            (0, 0) => format!("[\"{text}\"]"),
            (0, _) => format!("[-{removed},\"{text}\"]"),
            (_, 0) => format!("[{at},\"{text}\"]"),
            _ => format!("[{at},\"{text}\",-{removed}]"),
        }
    }

    /// The next command.
    fn command(&mut self) -> String {
        self.seq += 1;
        let (seq, room) = (self.seq, self.chance.random_range(0..ROOMS));
        let key = |stream: &str| format!("stoa:{{room{room}}}:{stream}");
        let (log, here, doc, access) = (key("log"), key("presence"), key("doc:main"), key("access"));
        let user = format!("u{}", self.chance.random_range(0..12));
        let connection = format!("k{}", self.chance.random_range(0..30));
        let ttl = self.chance.random_range(20..END_MS_MAX);
        let newest = self.rooms[room].messages;
        let n = self.chance.random_range((newest - 30).max(1)..=newest.max(1));
        match self.chance.random_range(0..100) {
            0..28 => {
                let known = self.rooms[room].bases.len();
                let (rev, length) = self.rooms[room].bases[self.chance.random_range(0..known)];
                let op = self.operation(length);
                // Some are sent again: with a sequence that was used.
                let seq = if self.chance.random_bool(0.1) { seq.saturating_sub(40).max(1) } else { seq };
                format!("DOC.SUBMIT {doc} {rev} {op} UNIT char ID {user} {seq} BY {user} {connection}")
                    .replace("longer text", "longer\u{1}text")
            }
            28..30 => format!("DOC.UNDO {doc} {user} ID {user} {seq} BY {user} {connection}"),
            30 => format!("DOC.TAG {doc} t{}", self.chance.random_range(0..40)),
            31 => format!("DOC.RESTORE {doc} t{}", self.chance.random_range(0..40)),
            32 => format!("DOC.TRIM {doc} {}", self.chance.random_range(2_000..4_000)),
            33 => format!("DOC.CURSOR {doc} {connection} {} {{\"anchor\":0,\"head\":0}}", self.rooms[room].first_rev),
            34..46 => {
                let seq = if self.chance.random_bool(0.1) { seq.saturating_sub(40).max(1) } else { seq };
                let more = self.pick(&[
                    "",
                    "",
                    " REPLY 1",
                    " MENTION bo MENTION cy",
                    " TYPE note META {\"a\":1}",
                    " STREAMING",
                ]);
                format!("MSG.POST {log} {user} \"message\" ID {user} {seq}{more}")
            }
            46..48 => format!("MSG.EDIT {log} {n} {user} \"edited{seq}\" ANY"),
            48..50 => format!("MSG.DELETE {log} {n} {user} ANY"),
            50..54 => format!("MSG.REACT {log} {n} {user} {}", self.pick(&["+1", "👍", "🎉"])),
            54..56 => format!("MSG.UNREACT {log} {n} {user} +1"),
            56..59 => format!("MSG.READ {log} {user} {n}"),
            59..61 => format!("MSG.APPEND {log} {n} {user} more"),
            61 => format!("MSG.{} {log} {n} {user}", self.pick(&["FINISH", "CANCEL"])),
            62 => format!("MSG.TRIM {log} {}", self.chance.random_range(100..500)),
            63 => format!("MSG.CONFIG {log} MESSAGES {}", self.chance.random_range(200..800)),
            64..70 => format!("PRESENCE.JOIN {here} {user} {connection} n{} {ttl} DATA {{\"r\":{seq}}}", ttl % 3),
            70..73 => format!("PRESENCE.BEAT {here} n{} {ttl}", ttl % 3),
            73..76 => format!(
                "PRESENCE.SET {here} {connection} {{\"s\":{seq}}} STATUS {}",
                self.pick(&["busy", "away", "invisible", "online"])
            ),
            76..79 => format!("PRESENCE.LEAVE {here} {connection} GRACE {}", ttl / 4),
            79 => format!("PRESENCE.TYPING {here} {connection} {ttl}"),
            80 => format!("ROOM.KICK {here} USER {user}"),
            81..84 => format!("ROOM.GRANT {access} {user} {} TTL {ttl}", self.pick(&["editor", "viewer"])),
            84 => format!("ROOM.REVOKE {access} {user}{}", self.pick(&["", " FORGET"])),
            85..90 => format!("RATE.TAKE ip:{user} LIMIT 50 20 60000 LIMIT 9 3 1000 BLOCK 5 300"),
            90..92 => format!("RATE.HOLD seats:{room} {connection} 20 {ttl}"),
            92 => format!("RATE.DROP seats:{room} {connection}"),
            93 => format!("RATE.REFUND ip:{user} LIMIT 50 20 60000"),
            94 => format!("MSG.POST {log} {user} \"limited\" LIMITS 1 {} 30 10 1000", key("rate")),
            95 => format!("COPY {log} stoa:{{room{room}}}:log:copy REPLACE"),
            96 => format!("COPY {doc} stoa:{{room{room}}}:doc:copy REPLACE"),
            97 => format!("RENAME stoa:{{room{room}}}:doc:copy stoa:{{room{room}}}:doc:renamed"),
            98 => format!("MSG.POST stoa:{{room{room}}}:log:copy {user} \"copied\""),
            _ => format!(
                "{} stoa:{{room{room}}}:{}",
                self.pick(&["DEL", "UNLINK"]),
                self.pick(&["log:copy", "presence", "access"])
            ),
        }
    }

    /// Sends so many commands in batches.
    fn send_all(&mut self, connection: &mut Connection, mut count: usize) {
        while count > 0 {
            let batch = count.min(BATCH);
            self.send(connection, batch);
            count -= batch;
        }
    }

    /// Sends a batch and reads its answers; what is refused for a reason of its own is part of the stream.
    fn send(&mut self, connection: &mut Connection, count: usize) {
        for room in 0..ROOMS {
            let doc = format!("stoa:{{room{room}}}:doc:main");
            let mut info = connection.call(&["DOC.INFO", &doc]);
            if info.is_error() {
                fenced_not(connection, &["DOC.CREATE", &doc, "text", "hello"]);
                info = connection.ok(&["DOC.INFO", &doc]);
            }
            let known = &mut self.rooms[room];
            known.first_rev = info.field("first_rev").int();
            known.bases.push_back((info.field("rev").int(), info.field("chars").int()));
            let first = known.first_rev;
            known.bases.retain(|(rev, _)| *rev >= first);
            while known.bases.len() > 4 {
                known.bases.pop_front();
            }
            let log = connection.call(&["MSG.INFO", &format!("stoa:{{room{room}}}:log")]);
            known.messages = if log.is_error() { 0 } else { log.field("n").int() };
        }
        for _ in 0..count {
            let command = self.command();
            let words: Vec<String> = command.split(' ').map(|word| word.replace('\u{1}', " ")).collect();
            connection.send(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()).unwrap();
        }
        for _ in 0..count {
            let answer = connection.read().unwrap();
            assert!(!answer.is_error() || answer.refused() != "INTERNAL", "{answer:?}");
            self.refused += usize::from(answer.is_error());
        }
    }
}

/// A command that has to be taken; a server that stood still says to send it again.
fn fenced_not(connection: &mut Connection, words: &[&str]) {
    let taken = waiting::poll(AGREEMENT, || {
        let answer = connection.call(words);
        assert!(!answer.is_error() || answer.refused() == "FENCED", "{words:?}: {answer:?}");
        (!answer.is_error()).then_some(())
    });
    assert!(taken.is_some(), "{words:?} is still refused");
}

/// Waits until both hold the same, which they do between two ends of leases, and never again once they have parted.
fn agree(primary: &Redis, replica: &Redis, after: usize) {
    let agreed = waiting::poll(AGREEMENT, || {
        replica.in_sync_with(primary);
        // A primary that reloads drops the strings whose time is over without a word to its replica, which keeps them, and
        // shows them to nobody.
        (replica.digest() == primary.digest() || everything(replica) == everything(primary)).then_some(())
    });
    if agreed.is_none() {
        let mut keys = primary.ok(&["KEYS", "*"]).texts();
        keys.retain(|key| primary.digest_of(key) != replica.digest_of(key));
        panic!("after {after} commands they differ in {keys:?}\n{}\n{}", primary.log(), replica.log());
    }
    for server in [primary, replica] {
        for figure in ["stoa_records_refused", "stoa_panics_caught"] {
            assert_eq!(server.info(figure).as_deref(), Some("0"), "{figure}\n{}", server.log());
        }
    }
}

/// Every key that shows itself, with its digest and its end.
fn everything(server: &Redis) -> Vec<(String, String, i64)> {
    let mut keys = server.ok(&["KEYS", "*"]).texts();
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        let (digest, ends_ms) = (server.digest_of(&key), server.ok(&["PEXPIRETIME", &key]).int());
        // It may end between two looks.
        if ends_ms != -2 {
            all.push((key, digest, ends_ms));
        }
    }
    all
}

fn rewritten(server: &Redis) {
    let is_over =
        || ["aof_rewrite_in_progress", "aof_rewrite_scheduled"].iter().all(|f| server.info(f).as_deref() == Some("0"));
    assert!(waiting::poll(AGREEMENT, || is_over().then_some(())).is_some(), "{}", server.log());
}

/// Waits until nothing ends by itself for a while, and says what every key holds then, but for limits, which end by themselves.
fn at_rest(server: &Redis) -> Vec<(String, String)> {
    let rested = waiting::poll(AGREEMENT, || {
        let before = server.digest();
        std::thread::sleep(Duration::from_millis(2 * END_MS_MAX)); // Longer than anything waits for its end.
        (server.digest() == before).then_some(())
    });
    assert!(rested.is_some(), "it does not come to rest");
    held(server)
}

fn held(server: &Redis) -> Vec<(String, String)> {
    let mut keys = server.ok(&["KEYS", "stoa:*"]).texts();
    keys.retain(|key| !key.ends_with(":rate"));
    keys.sort();
    keys.into_iter().map(|key| (server.digest_of(&key), key)).collect()
}

fn follow(replica: &Redis, primary: &Redis) {
    replica.ok(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
}

/// What happens to a primary and its replica.
const EVENTS: [&str; 7] =
    ["reloads", "rewrites", "rewrites of the replica", "lines cut", "replicas killed", "promotions", "restarts"];

#[test]
fn a_primary_and_its_replica_agree_whatever_happens_to_them() {
    let count = setting("STOA_STREAM_COMMANDS", 20_000);
    let mut stream = Stream { chance: chance(), rooms: Default::default(), seq: 0, refused: 0 };
    let start = |preamble| {
        let files =
            Redis::options().line("appendonly yes").line("appendfsync no").line("auto-aof-rewrite-percentage 0");
        let files = files.line(format!("aof-use-rdb-preamble {preamble}")).line("repl-backlog-size 64mb");
        let settings = ["takeover-grace-ms", "2000", "message-stream-ms", "500"];
        settings.iter().fold(files, |options, word| options.module_argument(word)).start()
    };
    let (mut primary, mut replica) = (start("yes"), start("no"));
    follow(&replica, &primary);
    replica.in_sync_with(&primary);
    let (began, mut sent, mut happened) = (Instant::now(), 0, [0; EVENTS.len()]);
    let mut connection = primary.connect();
    while sent < count {
        let about = (count / 100).clamp(BETWEEN_STOPS[0], BETWEEN_STOPS[1]);
        let part = (sent + stream.chance.random_range(about / 2..about * 2)).min(count) - sent;
        let event = stream.chance.random_range(0..EVENTS.len());
        stream.send_all(&mut connection, part / 2);
        // The stream goes on while this lasts.
        match EVENTS[event] {
            "reloads" => drop(primary.ok(&["DEBUG", "RELOAD"])),
            "rewrites" => drop(primary.call(&["BGREWRITEAOF"])),
            "rewrites of the replica" => drop(replica.call(&["BGREWRITEAOF"])),
            "lines cut" => drop(primary.ok(&["CLIENT", "KILL", "TYPE", "replica"])),
            "replicas killed" => {
                replica.restart(Ending::Killed);
                follow(&replica, &primary);
            }
            _ => {}
        }
        stream.send_all(&mut connection, part - part / 2);
        sent += part;
        agree(&primary, &replica, sent);
        match EVENTS[event] {
            "rewrites" => rewritten(&primary),
            "rewrites of the replica" => rewritten(&replica),
            "promotions" => {
                replica.ok(&["REPLICAOF", "NO", "ONE"]);
                follow(&primary, &replica);
                std::mem::swap(&mut primary, &mut replica);
                agree(&primary, &replica, sent);
            }
            "restarts" => {
                let before = at_rest(&primary);
                primary.restart(Ending::Stopped);
                assert_eq!(
                    held(&primary),
                    before,
                    "after {sent} commands, of the primary from its file\n{}",
                    primary.log()
                );
                agree(&primary, &replica, sent);
            }
            _ => {}
        }
        connection = primary.connect();
        happened[event] += 1;
    }
    let events: Vec<String> = EVENTS.iter().zip(happened).map(|(event, times)| format!("{times} {event}")).collect();
    let keys = primary.ok(&["DBSIZE"]).int();
    println!("{sent} commands in {:.1?}, {}; {keys} keys", began.elapsed(), events.join(", "));
    println!("{} of the commands were refused", stream.refused);
    assert!(stream.refused < sent / 3, "most of the stream has to be taken");
}
