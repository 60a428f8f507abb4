//! How long it takes until somebody at one front sees that somebody at another one types.

use crate::scenarios::percentile_ms;
use crate::server::Server;
use crate::wire::{Client, Seen, Wire};
use crate::{Figure, less};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use stoa_harness::front;

/// Changes that are timed.
const CHANGES: u64 = 500;
/// Pause between two changes: nobody starts and stops more often.
const PAUSE: Duration = Duration::from_millis(60);

/// Keeps a core from falling asleep, and gets out of the way of everything else: a virtual machine's sleeping core takes
/// up to a tenth of a second to wake, which is its host's doing and not ours.
pub(crate) struct Awake(Child);

impl Awake {
    pub(crate) fn keep(core: usize) -> Awake {
        let words = ["-i", "0", "taskset", "-c", &core.to_string(), "sh", "-c", "while :; do :; done"];
        Awake(Command::new("chrt").args(words).spawn().expect("chrt keeps cores awake; it is part of util-linux"))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts and stops to type, with nothing else going on.
pub(crate) async fn typing(server: &Server) -> Vec<Figure> {
    if server.wire == Wire::SocketIo {
        return Vec::new();
    }
    let other = server.another_front();
    let _awake = [0, 1].map(Awake::keep);
    let join = async |port, user| Client::join(Wire::Stoa, port, &front::token(user), "lobby", true).await.unwrap();
    let (mut typist, mut reader) = (join(server.port, "ada").await, join(other.port, "bo").await);
    let mut delays_us = Vec::new();
    for number in 2..2 + CHANGES {
        tokio::time::sleep(PAUSE).await;
        let types = number % 2 == 0;
        let told = if types { "\"users\":[\"ada\"]" } else { "\"users\":[]" };
        let sent = Instant::now();
        let command = format!("{{\"id\":{number},\"do\":\"presence.typing\",\"room\":\"lobby\",\"typing\":{types}}}");
        typist.send(&command).await.unwrap();
        let mut seen = false;
        while !seen {
            reader.read(|frame| seen |= String::from_utf8_lossy(frame).contains(told)).await.unwrap();
        }
        delays_us.push(sent.elapsed().as_micros() as u64);
        let mut answered = false;
        while !answered {
            typist.read(|frame| answered |= Wire::Stoa.see(frame) == Seen::Answer(number)).await.unwrap();
        }
    }
    [("p50 ms", 0.5), ("p95 ms", 0.95), ("p99 ms", 0.99)]
        .map(|(name, share)| less(name, percentile_ms(&mut delays_us, share)))
        .into()
}
