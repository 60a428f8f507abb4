//! What people notice of a flood: a hundred who talk, without and beside a thousand connections that do not stop. Front and
//! flood are as the standard limits have it, but that all come from one address.

use crate::scenarios::{people_at, percentile_ms};
use crate::server::Server;
use crate::typing::Awake;
use crate::wire::{Client, Seen, Wire, masked, post};
use crate::{Figure, less, more};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use stoa_harness::front;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

const PEOPLE: usize = 100;
/// People of a room.
const EACH: usize = 10;
const FLOODS: usize = 1_000;
/// A flood sends so many messages at once,
const BURST: usize = 5;
/// so often: fifty thousand a second in all.
const EVERY: Duration = Duration::from_millis(100);
/// After it was thrown out it comes again.
const AGAIN: Duration = Duration::from_secs(1);
/// Until then each of the flood has used up what anybody may say at once, thirty messages to ten people: those are no
/// flood yet, and cost what they cost.
const BURSTS_OVER: Duration = Duration::from_secs(6);
/// Between two messages of somebody who talks: within what a user may write.
const TALKS_EVERY: Duration = Duration::from_secs(2);
const SECONDS: u64 = 15;
/// What holds beside the standard limits: all of the load comes from this machine.
const ARGUMENTS: [&str; 4] = ["--limit", "address:connect=off", "--connections-per-address", "0"];

/// What was measured while people talked.
struct Talk {
    p50_ms: f64,
    p95_ms: f64,
}

pub(crate) async fn flood(server: &Server) -> Vec<Figure> {
    if server.wire == Wire::SocketIo {
        return Vec::new();
    }
    let front = server.front_with_limits(&ARGUMENTS);
    let _awake = [0, 1].map(Awake::keep);
    let port = front.port;
    LocalSet::new()
        .run_until(async move {
            let room = |n: usize| format!("room{}", n / EACH);
            let clients = people_at(Wire::Stoa, port, 0..PEOPLE, PEOPLE, true, room).await;
            let numbers = Rc::new(Cell::new(2));
            let (clients, calm) = talk(clients, numbers.clone()).await;
            let sent = Rc::new(Cell::new(0u64));
            for n in 0..FLOODS {
                let sent = sent.clone();
                spawn_local(async move {
                    tokio::time::sleep(EVERY * (n % 100) as u32 / 100).await;
                    loop {
                        let _ = rage(port, n, &sent).await;
                        tokio::time::sleep(AGAIN).await;
                    }
                });
            }
            tokio::time::sleep(BURSTS_OVER).await;
            let before = sent.get();
            let (_clients, flooded) = talk(clients, numbers).await;
            vec![
                less("p50 ms of an answer, calm", calm.p50_ms),
                less("p95 ms of an answer, calm", calm.p95_ms),
                less("p50 ms beside the flood", flooded.p50_ms),
                less("p95 ms beside the flood", flooded.p95_ms),
                less("p95, times that of calm", flooded.p95_ms / calm.p95_ms),
                more("frames of the flood per s", (sent.get() - before) as f64 / SECONDS as f64),
            ]
        })
        .await
}

/// Everybody writes now and then and waits for the answer. Whoever is refused fails the run.
async fn talk(clients: Vec<Client>, numbers: Rc<Cell<u64>>) -> (Vec<Client>, Talk) {
    let (began, delays_us) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
    let first = numbers.get();
    numbers.set(first + SECONDS);
    let talking = clients.into_iter().enumerate().map(|(n, mut client)| {
        let delays_us = delays_us.clone();
        spawn_local(async move {
            let room = client.room.clone();
            let mut due = tokio::time::Instant::now() + TALKS_EVERY * n as u32 / PEOPLE as u32;
            let mut number = first;
            while began.elapsed() < Duration::from_secs(SECONDS) {
                // What others say is read meanwhile, as people's programs do.
                while tokio::time::timeout_at(due, client.read(|_| {})).await.is_ok() {}
                due += TALKS_EVERY;
                let sent = Instant::now();
                client.send(&post(number, &room, "\"hello\"")).await.unwrap();
                let mut answered = false;
                while !answered {
                    client.read(|frame| answered |= Wire::Stoa.see(frame) == Seen::Answer(number)).await.unwrap();
                }
                delays_us.borrow_mut().push(sent.elapsed().as_micros() as u64);
                number += 1;
            }
            client
        })
    });
    let talking: Vec<_> = talking.collect();
    let mut clients = Vec::new();
    for talker in talking {
        clients.push(talker.await.unwrap());
    }
    let mut delays_us = delays_us.borrow_mut();
    (clients, Talk { p50_ms: percentile_ms(&mut delays_us, 0.5), p95_ms: percentile_ms(&mut delays_us, 0.95) })
}

/// Sends without waiting for anything, until it is thrown out.
async fn rage(port: u16, n: usize, sent: &Cell<u64>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // The front speaks first, or it would take what follows for a part of the request.
    stream.readable().await?;
    let (room, token) = (format!("flood{}", n / EACH), front::token(&format!("flood{n}")));
    let connect = format!("{{\"id\":0,\"do\":\"connect\",\"token\":\"{token}\",\"resume\":{{\"{room}\":{{}}}}}}");
    stream.write_all(&masked(1, connect.as_bytes())).await?;
    let flooding = masked(1, post(1, &room, "\"flood\"").replace("\"client\":\"c\",\"seq\":1,", "").as_bytes());
    let burst = flooding.repeat(BURST);
    let mut ticks = tokio::time::interval(EVERY);
    let mut scratch = [0; 16 * 1024];
    loop {
        ticks.tick().await;
        stream.write_all(&burst).await?;
        sent.set(sent.get() + BURST as u64);
        loop {
            match stream.try_read(&mut scratch) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
