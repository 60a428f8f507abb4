//! The loads.

use crate::crowd::crowd;
use crate::fleet::fleet;
use crate::flood::flood;
use crate::server::Server;
use crate::typing::typing;
use crate::wire::{Client, Seen, Wire};
use crate::{Figure, less, more};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use stoa_harness::front;
use tokio::task::{JoinHandle, JoinSet, LocalSet, spawn_local};

type Scenario = fn(&Server) -> Pin<Box<dyn Future<Output = Vec<Figure>> + '_>>;

/// Every scenario with its name.
pub(crate) const ALL: [(&str, Scenario); 11] = [
    ("one room of 1,000, 60 messages/s", |server| Box::pin(steady(server))),
    ("one room of 1,000, as fast as it goes", |server| Box::pin(saturation(server))),
    ("1,000 rooms of 10, a message/s each", |server| Box::pin(many_rooms(server))),
    ("100 people wait for each answer", |server| Box::pin(acknowledgements(server))),
    ("typing, from one front to another", |server| Box::pin(typing(server))),
    ("10,000 arrive at once", |server| Box::pin(storm(server))),
    ("10,000 idle, here with presence", |server| Box::pin(idle(server))),
    ("50,000 idle on three fronts", |server| Box::pin(fleet(server))),
    ("1,000 come to one room", |server| Box::pin(crowd(server, 1_000))),
    ("5,000 come to one room", |server| Box::pin(big_crowd(server))),
    ("100 talk beside a flood of 1,000", |server| Box::pin(flood(server))),
];

/// Those that a front serves to clients of Socket.IO as well.
pub(crate) const OF_GATEWAY: [(&str, Scenario); 5] = [
    ("Socket.IO: one room of 1,000, 60 messages/s", |server| Box::pin(steady(server))),
    ("Socket.IO: one room of 1,000, as fast as it goes", |server| Box::pin(saturation(server))),
    ("Socket.IO: 1,000 rooms of 10, a message/s each", |server| Box::pin(many_rooms(server))),
    ("Socket.IO: 100 people wait for each answer", |server| Box::pin(acknowledgements(server))),
    ("Socket.IO: 10,000 idle", |server| Box::pin(idle(server))),
];

/// Longest wait for what was sent to arrive.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A rate is too high when messages are later than this.
const LATE: Duration = Duration::from_millis(100);
/// So often a rate is tried before it is the limit: one late moment of the machine is not.
const TRIES: usize = 3;
/// One member in so many notes how late each message is; the others only count.
const SAMPLE: usize = 20;
/// Connections that are opened at the same time where the arrival is not what is measured.
pub(crate) const CONNECTING: usize = 200;
/// Content of a message, in bytes.
const CONTENT_BYTES: usize = 100;

/// What the members of a run saw.
#[derive(Default)]
struct Tally {
    received: Cell<u64>,
    ended: Cell<u64>,
    delays_us: RefCell<Vec<u64>>,
}

/// The delay that so large a share stays within.
pub(crate) fn percentile_ms(delays_us: &mut [u64], share: f64) -> f64 {
    delays_us.sort_unstable();
    let at = (delays_us.len().saturating_sub(1) as f64 * share) as usize;
    delays_us.get(at).map_or(f64::INFINITY, |&us| us as f64 / 1000.0)
}

impl Tally {
    fn percentile_ms(&self, share: f64) -> f64 {
        percentile_ms(&mut self.delays_us.borrow_mut(), share)
    }

    fn clear(&self) {
        self.received.set(0);
        self.delays_us.borrow_mut().clear();
    }
}

/// The command that says something now.
fn post(wire: Wire, start: Instant, number: u64, room: &str) -> String {
    wire.post(number, room, start.elapsed().as_micros(), CONTENT_BYTES)
}

async fn connect(server: &Server, name: String, room: String, presence: bool) -> Client {
    Client::join(server.wire, server.port, &front::token(&name), &room, presence).await.unwrap()
}

/// `count` people, some at a time; `room` names the room of each.
async fn people(
    server: &Server,
    count: usize,
    at_once: usize,
    presence: bool,
    room: impl Fn(usize) -> String,
) -> Vec<Client> {
    people_at(server.wire, server.port, 0..count, at_once, presence, room).await
}

/// As [`people`], by the numbers of the people.
pub(crate) async fn people_at(
    wire: Wire,
    port: u16,
    numbers: Range<usize>,
    at_once: usize,
    presence: bool,
    room: impl Fn(usize) -> String,
) -> Vec<Client> {
    let mut clients = Vec::with_capacity(numbers.len());
    let mut waiting = numbers.map(|n| (front::token(&format!("user{n}")), room(n)));
    let mut joining = JoinSet::new();
    loop {
        while joining.len() < at_once
            && let Some((token, room)) = waiting.next()
        {
            joining.spawn_local(async move { Client::join(wire, port, &token, &room, presence).await });
        }
        let Some(joined) = joining.join_next().await else { return clients };
        clients.push(joined.unwrap().expect("somebody was refused"));
    }
}

/// Reads for ever; counts, and checks the order.
fn listen(mut client: Client, start: Instant, tally: Rc<Tally>, sampled: bool, wire: Wire) -> JoinHandle<()> {
    spawn_local(async move {
        let mut last = None;
        let read = loop {
            let (tally, last) = (&tally, &mut last);
            let read = client
                .read(|frame| {
                    if wire.see(frame) != Seen::Message {
                        return;
                    }
                    tally.received.set(tally.received.get() + 1);
                    if sampled {
                        let (number, at_us) = wire.said(frame);
                        assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
                        *last = Some(number);
                        tally.delays_us.borrow_mut().push(start.elapsed().as_micros() as u64 - at_us);
                    }
                })
                .await;
            if read.is_err() {
                break read;
            }
        };
        tally.ended.set(tally.ended.get() + 1);
        drop(read);
    })
}

/// Waits until `expected` messages were received; false if they do not come.
async fn all_received(tally: &Tally, expected: u64, patience: Duration) -> bool {
    let began = Instant::now();
    while tally.received.get() < expected && tally.ended.get() == 0 && began.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tally.received.get() == expected && tally.ended.get() == 0
}

/// A room of 1,000, its publisher, and what the members see. They leave when it is dropped.
struct Hall {
    publisher: Client,
    members: Vec<JoinHandle<()>>,
    tally: Rc<Tally>,
    start: Instant,
    next: u64,
}

const MEMBERS: u64 = 1_000;

impl Hall {
    async fn new(server: &Server) -> Hall {
        let (start, tally) = (Instant::now(), Rc::new(Tally::default()));
        let members = people(server, MEMBERS as usize, CONNECTING, false, |_| "hall".into()).await;
        let listening = members.into_iter().enumerate();
        let members =
            listening.map(|(n, member)| listen(member, start, tally.clone(), n % SAMPLE == 0, server.wire)).collect();
        let publisher = connect(server, "publisher".into(), "hall".into(), false).await;
        Hall { publisher, members, tally, start, next: 2 }
    }

    /// Whether everything that was sent arrived.
    async fn run(&mut self, server: &Server, rate: u64, seconds: u64) -> bool {
        self.tally.clear();
        let count = rate * seconds;
        self.publish(server.wire, rate, count).await == count
            && all_received(&self.tally, count * MEMBERS, PATIENCE).await
    }

    /// Sends `rate` messages a second, reads the answers as they come, and says how many came.
    async fn publish(&mut self, wire: Wire, rate: u64, count: u64) -> u64 {
        let began = tokio::time::Instant::now();
        let until = |sent: u64| began + Duration::from_micros(sent * 1_000_000 / rate);
        let (mut sent, mut answered) = (0, 0);
        while answered < count && began.elapsed() < PATIENCE {
            while sent < count && began.elapsed() >= until(sent) - began {
                self.publisher.send(&post(wire, self.start, self.next, "hall")).await.unwrap();
                (sent, self.next) = (sent + 1, self.next + 1);
            }
            let answer = |frame: &[u8]| answered += u64::from(matches!(wire.see(frame), Seen::Answer(_)));
            tokio::select! {
                read = self.publisher.read(answer) => read.unwrap(),
                () = tokio::time::sleep_until(until(sent)), if sent < count => {}
            }
        }
        answered
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.members.iter().for_each(JoinHandle::abort);
    }
}

async fn steady(server: &Server) -> Vec<Figure> {
    LocalSet::new()
        .run_until(async {
            let mut hall = Hall::new(server).await;
            assert!(hall.run(server, 60, 1).await, "messages are missing");
            let before = server.cpu_s();
            assert!(hall.run(server, 60, 10).await, "messages are missing");
            let after = server.cpu_s();
            let millions = (600 * MEMBERS) as f64 / 1e6;
            vec![
                less("server CPU s per million deliveries", (after.0 - before.0) / millions),
                less("Redis CPU s per million deliveries", (after.1 - before.1) / millions),
                less("p50 ms", hall.tally.percentile_ms(0.5)),
                less("p99 ms", hall.tally.percentile_ms(0.99)),
            ]
        })
        .await
}

async fn saturation(server: &Server) -> Vec<Figure> {
    LocalSet::new()
        .run_until(async {
            let mut hall = Hall::new(server).await;
            // Where Node gives up is far below where a front begins to work.
            let first = if server.wire == Wire::SocketIo { 5 } else { 40 };
            hall.run(server, first, 1).await;
            let (mut best, mut rate, mut missed) = (0.0, first, 0);
            while rate <= 20_000 && missed < TRIES {
                if hall.tally.ended.get() > 0 {
                    // Who could not keep up was told to come back. The publisher's numbers go on: they are its identity.
                    let next = hall.next;
                    drop(hall);
                    hall = Hall::new(server).await;
                    hall.next = next;
                }
                let is_in_time = |hall: &Hall| hall.tally.percentile_ms(0.99) <= LATE.as_secs_f64() * 1000.0;
                if hall.run(server, rate, 3).await && is_in_time(&hall) {
                    (best, rate, missed) = ((rate * MEMBERS) as f64, rate * 5 / 4, 0);
                } else {
                    missed += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            vec![more("deliveries/s, p99 < 100 ms, none lost", best)]
        })
        .await
}

async fn many_rooms(server: &Server) -> Vec<Figure> {
    const ROOMS: usize = 1_000;
    const EACH: usize = 10;
    const SECONDS: u64 = 10;
    LocalSet::new()
        .run_until(async {
            let (start, tally) = (Instant::now(), Rc::new(Tally::default()));
            let room = |n: usize| format!("room{}", n % ROOMS);
            let members = people(server, ROOMS * EACH, CONNECTING, false, room).await;
            for (n, member) in members.into_iter().enumerate() {
                listen(member, start, tally.clone(), n % SAMPLE == 0, server.wire);
            }
            let publishers = people(server, ROOMS, CONNECTING, false, room).await;
            let before = server.cpu_s();
            let began = tokio::time::Instant::now();
            let mut posting = JoinSet::new();
            for (n, mut publisher) in publishers.into_iter().enumerate() {
                let (wire, room) = (server.wire, publisher.room.clone());
                posting.spawn_local(async move {
                    for second in 0..SECONDS {
                        let due = Duration::from_secs(second) + Duration::from_secs(1) * n as u32 / ROOMS as u32;
                        tokio::time::sleep_until(began + due).await;
                        publisher.send(&post(wire, start, 2 + second, &room)).await.unwrap();
                        let mut answered = false;
                        while !answered {
                            publisher
                                .read(|frame| answered |= matches!(wire.see(frame), Seen::Answer(_)))
                                .await
                                .unwrap();
                        }
                    }
                });
            }
            while let Some(done) = posting.join_next().await {
                done.unwrap();
            }
            let expected = SECONDS * (ROOMS * EACH) as u64;
            assert!(all_received(&tally, expected, PATIENCE).await, "messages are missing");
            let after = server.cpu_s();
            // The publishers are members too.
            let millions = (expected + SECONDS * ROOMS as u64) as f64 / 1e6;
            vec![
                less("server CPU s per million deliveries", (after.0 - before.0) / millions),
                less("Redis CPU s per million deliveries", (after.1 - before.1) / millions),
                less("p50 ms", tally.percentile_ms(0.5)),
                less("p99 ms", tally.percentile_ms(0.99)),
            ]
        })
        .await
}

async fn acknowledgements(server: &Server) -> Vec<Figure> {
    const PEOPLE: usize = 100;
    const SECONDS: u64 = 5;
    LocalSet::new()
        .run_until(async {
            let (start, tally) = (Instant::now(), Rc::new(Tally::default()));
            let clients = people(server, PEOPLE, PEOPLE, false, |n| format!("room{n}")).await;
            let before = server.cpu_s();
            let began = Instant::now();
            let mut posting = JoinSet::new();
            for mut client in clients {
                let (wire, tally) = (server.wire, tally.clone());
                posting.spawn_local(async move {
                    let (room, mut number) = (client.room.clone(), 2);
                    while began.elapsed() < Duration::from_secs(SECONDS) {
                        let sent = Instant::now();
                        client.send(&post(wire, start, number, &room)).await.unwrap();
                        let mut answered = false;
                        while !answered {
                            client.read(|frame| answered |= wire.see(frame) == Seen::Answer(number)).await.unwrap();
                        }
                        number += 1;
                        tally.delays_us.borrow_mut().push(sent.elapsed().as_micros() as u64);
                    }
                });
            }
            while let Some(done) = posting.join_next().await {
                done.unwrap();
            }
            let (seconds, after) = (began.elapsed().as_secs_f64(), server.cpu_s());
            let count = tally.delays_us.borrow().len() as f64;
            vec![
                more("answers/s", count / seconds),
                less("server CPU s per million answers", (after.0 - before.0) / count * 1e6),
                less("Redis CPU s per million answers", (after.1 - before.1) / count * 1e6),
                less("p50 ms", tally.percentile_ms(0.5)),
                less("p99 ms", tally.percentile_ms(0.99)),
            ]
        })
        .await
}

async fn storm(server: &Server) -> Vec<Figure> {
    LocalSet::new()
        .run_until(async {
            let before = server.cpu_s();
            let began = Instant::now();
            let clients = people(server, 10_000, 10_000, false, |n| format!("room{}", n / 10)).await;
            let seconds = began.elapsed().as_secs_f64();
            let after = server.cpu_s();
            vec![
                less("s until all are served", seconds),
                less("server CPU µs per connection", (after.0 - before.0) / clients.len() as f64 * 1e6),
            ]
        })
        .await
}

async fn idle(server: &Server) -> Vec<Figure> {
    const PEOPLE: usize = 10_000;
    LocalSet::new()
        .run_until(async {
            // What a server allocates for its first connections is not what one more costs.
            let first = people(server, 100, 100, true, |n| format!("warm{}", n / 10)).await;
            let before = server.resident_bytes();
            let clients = people(server, PEOPLE, CONNECTING, true, |n| format!("room{}", n / 10)).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = server.resident_bytes();
            drop((first, clients));
            vec![less("resident KiB per connection", (after - before) as f64 / 1024.0 / PEOPLE as f64)]
        })
        .await
}

/// Stoa alone: one event for everybody for each who comes would be 12.5 million.
async fn big_crowd(server: &Server) -> Vec<Figure> {
    if server.wire == Wire::SocketIo { Vec::new() } else { crowd(server, 5_000).await }
}
