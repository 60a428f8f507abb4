//! What the benchmarks of commands share: a server, the load for it, and its processor time.
//!
//! Processor time of the server's main thread is what a command takes away from all others, and busy neighbours
//! stretch it far less than they stretch the clock. Ratios are taken within one round, where both sides had the same
//! neighbours.

#![allow(dead_code, clippy::unwrap_used)] // Not every benchmark uses all of it.

pub(crate) mod cases;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use stoa_harness::Redis;

/// Connections that the load comes from.
pub(crate) const CONNECTIONS: usize = 8;
/// Commands that one connection sends before it reads.
pub(crate) const PIPELINE: usize = 16;

pub(crate) type Words = Vec<String>;

pub(crate) fn words(line: &str) -> Words {
    line.split(' ').map(str::to_owned).collect()
}

/// A Redis with the module, and connections to load it by.
pub(crate) struct Server {
    pub(crate) redis: Redis,
    pid: String,
    connections: Vec<BufReader<TcpStream>>,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::on(Redis::start())
    }

    /// On a server that runs.
    pub(crate) fn on(redis: Redis) -> Server {
        let info = redis.call(&["INFO", "server"]).text();
        let pid = info.lines().find_map(|l| l.strip_prefix("process_id:")).unwrap().trim().to_owned();
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        };
        let connections = (0..CONNECTIONS).map(|_| connect()).collect();
        Server { redis, pid, connections }
    }

    pub(crate) fn call(&mut self, words: &[&str]) {
        self.redis.call(words);
    }

    /// Nanoseconds that the server's main thread has run.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{0}/task/{0}/schedstat", self.pid)).unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    }

    /// Sends `count` commands: nanoseconds per command, and how many were answered with an error.
    ///
    /// In order means that a batch is answered before the next connection's is sent: revisions count up.
    pub(crate) fn load(&mut self, count: usize, in_order: bool, command: impl Fn(usize) -> Words) -> (f64, usize) {
        let batch = |from: usize| (from..count.min(from + PIPELINE)).flat_map(|n| encoded(&command(n))).collect();
        let batches: Vec<(usize, Vec<u8>)> =
            (0..count).step_by(PIPELINE).map(|from| (PIPELINE.min(count - from), batch(from))).collect();
        let before = self.cpu_ns();
        let mut errors = 0;
        for group in batches.chunks(CONNECTIONS) {
            for (connection, (replies, bytes)) in self.connections.iter_mut().zip(group) {
                connection.get_mut().write_all(bytes).unwrap();
                if in_order {
                    errors += (0..*replies).filter(|_| skip_reply(connection)).count();
                }
            }
            if !in_order {
                for (connection, (replies, _)) in self.connections.iter_mut().zip(group) {
                    errors += (0..*replies).filter(|_| skip_reply(connection)).count();
                }
            }
        }
        ((self.cpu_ns() - before) as f64 / count as f64, errors)
    }
}

fn encoded(words: &[String]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        write!(out, "${}\r\n{word}\r\n", word.len()).unwrap();
    }
    out.into_bytes()
}

/// Reads over one reply and says whether it is an error.
fn skip_reply(connection: &mut BufReader<TcpStream>) -> bool {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    let count = || line[1..].trim_end().parse::<i64>().unwrap();
    match line.as_bytes()[0] {
        b'$' if count() >= 0 => {
            let mut body = vec![0; count() as usize + 2];
            connection.read_exact(&mut body).unwrap();
            false
        }
        b'*' => (0..count()).filter(|_| skip_reply(connection)).count() > 0,
        first => first == b'-',
    }
}

/// The middle one.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
