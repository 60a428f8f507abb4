//! Stored values that are damaged, or made by somebody who means harm: refused with a line in the log, or taken as something
//! that makes sense; never the end of the server. And values that earlier builds stored, which load for ever.
//!
//! `STOA_DAMAGED_PAYLOADS` says how many are tried (10,000), `STOA_SEED` which.
#![allow(clippy::unwrap_used)]

use rand::RngExt;
use stoa_harness::chance::setting;
use stoa_harness::furnished::{ACCESS, DOC, HERE, LOG, furnish};
use stoa_harness::payload::{HEAD, damaged, seal};
use stoa_harness::{Redis, chance};

/// How many are sent before their answers are read.
const BATCH: usize = 200;
/// What a server may have used at most, in bytes: a length that lies must not reserve what it says for every value.
const MEMORY_BYTES_MAX: i64 = 1024 * 1024 * 1024;

/// What is asked of a value that was taken although it was damaged: everything that reads, changes or copies it.
const USES: [&[&str]; 4] = [
    &[
        "DOC.GET {}",
        "DOC.INFO {}",
        "DOC.OPS {} 0",
        "DOC.SUBMIT {} 2 [\"x\"] ID c9 1",
        "DOC.UNDO {} c1 BY ada k1",
        "DOC.TAG {} t",
        "DOC.RESTORE {} v1",
        "DOC.TRIM {} 1",
    ],
    &[
        "MSG.RANGE {}",
        "MSG.SINCE {} 0",
        "MSG.INFO {}",
        "MSG.POST {} ada \"x\" ID c9 1",
        "MSG.EDIT {} 1 ada \"y\"",
        "MSG.REACT {} 2 bo +1",
        "MSG.READ {} ada 2",
        "MSG.DELETE {} 1 ada",
        "MSG.TRIM {} 1",
    ],
    &[
        "PRESENCE.LIST {}",
        "PRESENCE.GET {} ada bo",
        "PRESENCE.BEAT {} n1 600000",
        "PRESENCE.SET {} k1 {}",
        "PRESENCE.JOIN {} cy k3 n2 600000",
        "PRESENCE.LEAVE {} k1",
        "ROOM.KICK {} USER bo",
    ],
    &["ROOM.ACCESS {}", "ROOM.GRANT {} cy editor", "ROOM.REVOKE {} ada", "ROOM.REVOKE {} bo FORGET"],
];
const USES_OF_ALL: [&str; 5] =
    ["DEBUG DIGEST-VALUE {}", "MEMORY USAGE {}", "COPY {} stoa:{other}:copy REPLACE", "DUMP {}", "OBJECT ENCODING {}"];

#[test]
fn a_damaged_payload_never_stops_the_server() {
    let mut chance = chance();
    let payloads = setting("STOA_DAMAGED_PAYLOADS", 10_000);
    // What is short is stored as it is, what is long as it is or packed: damage reaches both.
    let redis = Redis::start();
    furnish(&redis);
    let keys = [DOC, LOG, HERE, ACCESS];
    let mut dumps = Vec::new();
    for compression in ["yes", "no"] {
        redis.ok(&["CONFIG", "SET", "rdbcompression", compression]);
        dumps.extend(keys.map(|key| redis.ok(&["DUMP", key]).bytes().to_vec()));
    }
    let mut connection = redis.connect();
    let (mut tried, mut taken) = (0, 0);
    while tried < payloads {
        let mut sent = Vec::new();
        for n in 0..BATCH.min(payloads - tried) {
            let which = chance.random_range(0..dumps.len());
            let other = &dumps[chance.random_range(0..dumps.len())];
            let payload = damaged(&mut chance, &dumps[which], other);
            // Some stay and are met by what comes later.
            let key = format!("stoa:{{damaged{}}}:{}", n % 50, keys[which % 4].rsplit("}:").next().unwrap());
            connection.send(&[b"RESTORE", key.as_bytes(), b"0", &payload, b"REPLACE"]).unwrap();
            sent.push(true);
            let uses = USES[which % 4].iter().chain(&USES_OF_ALL);
            for use_it in uses.filter(|_| chance.random_bool(0.4)).collect::<Vec<_>>() {
                let words: Vec<String> =
                    use_it.split(' ').map(|word| if word == "{}" { key.clone() } else { word.into() }).collect();
                let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
                connection.send(&words).unwrap();
                sent.push(false);
            }
            tried += 1;
        }
        for is_restore in sent {
            let reply = connection.read().unwrap_or_else(|e| panic!("{e} after {tried}\n{}", redis.log()));
            taken += usize::from(is_restore && !reply.is_error());
            assert!(!reply.is_error() || reply.refused() != "INTERNAL", "a panic was caught\n{}", redis.log());
        }
    }
    println!(
        "{tried} payloads, {taken} of which still made sense; memory at most {}",
        redis.info("used_memory_peak").unwrap()
    );
    assert_eq!(redis.ok(&["PING"]).text(), "PONG");
    assert_eq!(redis.info("stoa_panics_caught").as_deref(), Some("0"), "{}", redis.log());
    assert!(taken < tried, "nothing was refused: the damage did not reach the module");
    assert!(redis.log().contains("refused to load a"), "a refusal is a line in the log");
    let peak: i64 = redis.info("used_memory_peak").unwrap().parse().unwrap();
    assert!(peak < MEMORY_BYTES_MAX, "{peak} bytes");
    // What was taken is saved and loaded like everything else; in one step, so that nothing ends meanwhile.
    connection.ok(&["MULTI"]);
    let looks: [&[&str]; 3] = [&["DEBUG", "DIGEST"], &["DEBUG", "RELOAD"], &["DEBUG", "DIGEST"]];
    looks.iter().for_each(|words| drop(connection.ok(words)));
    let answers = connection.ok(&["EXEC"]);
    assert_eq!(answers.items()[2], answers.items()[0], "{answers:?}");
}

#[test]
fn a_value_of_a_later_version_is_refused_by_its_number() {
    let redis = Redis::start();
    furnish(&redis);
    redis.ok(&["CONFIG", "SET", "rdbcompression", "no"]);
    for (key, what) in [(DOC, "document"), (LOG, "log"), (HERE, "presence"), (ACCESS, "access")] {
        let mut payload = redis.ok(&["DUMP", key]).bytes().to_vec();
        // After the mark of a string come its length, in one, two or five bytes, and then our version.
        let length = match payload[HEAD + 1] >> 6 {
            0 => 1,
            1 => 2,
            _ => 5,
        };
        payload[HEAD + 1 + length] = 99;
        seal(&mut payload);
        let answer = redis.call_bytes(&[b"RESTORE", b"stoa:{later}:x", b"0", &payload]);
        assert!(answer.is_error(), "{key}: {answer:?}");
        let told = format!("{what} version Some(99), this build reads");
        assert!(redis.log().contains(&told), "{key}: no line with `{told}`\n{}", redis.log());
    }
}

/// Where payloads stand that earlier builds stored: `<key>.<version>`, each beside what it shows.
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stored");

/// What a key shows to whoever reads it, restored from a payload. All of it in one step: what was stored long ago is over by
/// now, and goes as soon as the server has time for it.
fn shown(redis: &Redis, key: &str, payload: &[u8]) -> String {
    let reads: &[&[&str]] = match key.rsplit("}:").next().unwrap() {
        "log" => &[&["MSG.RANGE"], &["MSG.SINCE", "0"], &["MSG.INFO"]],
        "presence" => &[&["PRESENCE.LIST"], &["PRESENCE.GET", "ada", "bo"]],
        "access" => &[&["ROOM.ACCESS"]],
        _ => &[&["DOC.GET"], &["DOC.GET", "REV", "1"], &["DOC.OPS", "0"], &["DOC.INFO"]],
    };
    let mut connection = redis.connect();
    connection.ok(&["MULTI"]);
    connection.call_bytes(&[b"RESTORE", key.as_bytes(), b"0", payload, b"REPLACE"]);
    for read in reads {
        let words: Vec<&str> = [read[0], key].into_iter().chain(read[1..].iter().copied()).collect();
        connection.ok(&words);
    }
    let answers = connection.ok(&["EXEC"]);
    let lines =
        reads.iter().zip(&answers.items()[1..]).map(|(read, answer)| format!("{}: {answer:?}\n", read.join(" ")));
    lines.collect()
}

#[test]
fn what_earlier_builds_stored_is_read_for_ever() {
    let redis = Redis::start();
    if std::env::var_os("STOA_WRITE_STORED").is_some() {
        write_stored();
    }
    let mut read = 0;
    for entry in std::fs::read_dir(STORED).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            continue;
        }
        let hex = std::fs::read_to_string(&path).unwrap();
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let payload: Vec<u8> =
            digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        let kind = path.file_stem().unwrap().to_str().unwrap();
        let key = format!("stoa:{{lobby}}:{}", if kind == "document" { "doc:main" } else { kind });
        let expected = std::fs::read_to_string(format!("{}.txt", path.display())).unwrap();
        assert_eq!(shown(&redis, &key, &payload), expected, "{}\n{}", path.display(), redis.log());
        read += 1;
    }
    assert!(read >= 4, "one of each type");
}

/// Stores a payload of each type as this build writes it: once for each version of the format.
fn write_stored() {
    let redis = Redis::start();
    furnish(&redis);
    redis.ok(&["CONFIG", "SET", "rdbcompression", "no"]);
    for (key, kind) in [(DOC, "document"), (LOG, "log"), (HERE, "presence"), (ACCESS, "access")] {
        let payload = redis.ok(&["DUMP", key]).bytes().to_vec();
        let version = payload[HEAD + 1 + if payload[HEAD + 1] >> 6 == 0 { 1 } else { 2 }];
        let path = format!("{STORED}/{kind}.{version}");
        let hex: Vec<String> =
            payload.chunks(60).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        std::fs::create_dir_all(STORED).unwrap();
        std::fs::write(&path, hex.join("\n") + "\n").unwrap();
        std::fs::write(format!("{path}.txt"), shown(&redis, key, &payload)).unwrap();
    }
}
