//! More connections than one process may open files for: fifty thousand over three fronts, each with a load generator of
//! its own.

use crate::scenarios::{CONNECTING, people_at};
use crate::server::{Front, Server};
use crate::wire::Wire;
use crate::{Figure, less, more};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tokio::task::LocalSet;

/// Connections of each front.
const EACH: usize = 16_700;
const FRONTS: usize = 3;
/// Says to this program that it is to hold connections: port and first user.
const HOLD: &str = "STOA_BENCH_HOLD";

/// Holds connections until standard input ends, if that is what this process was started for.
pub(crate) async fn hold_if_asked() -> bool {
    let Ok(words) = std::env::var(HOLD) else { return false };
    let numbers: Vec<usize> = words.split(' ').map(|word| word.parse().unwrap()).collect();
    let (port, first) = (numbers[0] as u16, numbers[1]);
    LocalSet::new()
        .run_until(async {
            let room = |n: usize| format!("room{}", n / 10);
            let held = people_at(Wire::Stoa, port, first..first + EACH, CONNECTING, true, room).await;
            println!("held");
            // Nothing has to be read: what comes fits the sockets.
            let _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
            drop(held);
        })
        .await;
    true
}

struct Holder(Child);

impl Holder {
    fn start(port: u16, first: usize) -> Holder {
        let child = Command::new(std::env::current_exe().unwrap())
            .env(HOLD, format!("{port} {first}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Holder(child.unwrap())
    }

    fn wait_until_held(&mut self) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "held", "a load generator did not get all of its connections");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Each person is in a room of ten, here with presence.
pub(crate) async fn fleet(server: &Server) -> Vec<Figure> {
    if server.wire == Wire::SocketIo {
        return Vec::new();
    }
    let fronts: Vec<Front> = (0..FRONTS).map(|_| server.another_front()).collect();
    let resident = || fronts.iter().map(Front::resident_bytes).sum::<u64>() as f64;
    let (before, began) = (resident(), Instant::now());
    let start = |(n, front): (usize, &Front)| Holder::start(front.port, n * EACH);
    let mut holders: Vec<Holder> = fronts.iter().enumerate().map(start).collect();
    holders.iter_mut().for_each(Holder::wait_until_held);
    let seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let connections = (FRONTS * EACH) as f64;
    vec![
        more("connections", connections),
        less("s until all are in", seconds),
        less("resident KiB per connection", (resident() - before) / 1024.0 / connections),
    ]
}
