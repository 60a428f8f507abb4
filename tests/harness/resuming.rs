//! The connection of a client that always comes back: to any front, after a pause that grows, with its positions and
//! its unanswered writes. It may be cut off, and it may stop reading.

use crate::front;
use crate::history::Recorder;
use crate::reader::{Reader, Role};
use futures_util::{SinkExt, StreamExt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stoa_core::epoch::Position;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// First and longest pause between two attempts to connect.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_millis(800);
/// Time for a connection to come about, with the answer to `connect`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which the front is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_millis(700);
/// Silence after which it is given up.
const DEAD_AFTER: Duration = Duration::from_millis(2_500);
/// Receive buffer of the socket, in bytes: who stops reading is noticed after little.
const RECEIVE_BYTES: u32 = 8 * 1024;

/// What the story does to a client.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// Cut it off, and keep it away so long.
    Cut(Duration),
    /// Stop reading for so long.
    Stall(Duration),
}

/// What all clients of a story share.
#[derive(Clone)]
pub struct Surroundings {
    /// The ports of the fronts.
    pub fronts: Arc<[u16]>,
    /// The history.
    pub recorder: Recorder,
    /// Whether new things are written.
    pub writing: Arc<AtomicBool>,
}

/// A client that always comes back.
pub struct Resuming {
    /// Its user.
    pub name: Arc<str>,
    reader: Arc<Mutex<Reader>>,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

type Socket = WebSocketStream<TcpStream>;

struct Line {
    reader: Arc<Mutex<Reader>>,
    name: Arc<str>,
    around: Surroundings,
    orders: mpsc::UnboundedReceiver<Order>,
    rng: SmallRng,
}

impl Resuming {
    /// Starts a client in the present runtime.
    pub fn start(name: &str, roles: &[Role], around: &Surroundings, seed: u64) -> Resuming {
        let reader = Reader::new(name, roles, around.recorder.clone(), seed);
        let name = reader.name.clone();
        let reader = Arc::new(Mutex::new(reader));
        let (orders, received) = mpsc::unbounded_channel();
        let line = Line {
            reader: reader.clone(),
            name: name.clone(),
            around: around.clone(),
            orders: received,
            rng: SmallRng::seed_from_u64(seed ^ 1),
        };
        Resuming { name, reader, orders, task: tokio::spawn(line.run()) }
    }

    /// Cuts it off without a goodbye and keeps it away for a time.
    pub fn cut(&self, away: Duration) {
        let _ = self.orders.send(Order::Cut(away));
    }

    /// It reads nothing for a time.
    pub fn stall(&self, time: Duration) {
        let _ = self.orders.send(Order::Stall(time));
    }

    /// Whether all that it wrote is known to the server.
    pub fn is_settled(&self) -> bool {
        lock(&self.reader).is_settled()
    }

    /// The positions it holds, by room and stream.
    pub fn positions(&self) -> BTreeMap<Arc<str>, Position> {
        lock(&self.reader).positions()
    }

    /// Writes down what it shows.
    pub fn record_what_is_shown(&self) {
        lock(&self.reader).record_what_is_shown();
    }
}

impl Drop for Resuming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    async fn run(mut self) {
        let mut back_off = BACK_OFF_MIN;
        loop {
            let front = self.around.fronts[self.rng.random_range(0..self.around.fronts.len())];
            let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.open(front)).await;
            let away = match opened.unwrap_or_else(|_| Err("no answer".into())) {
                Ok(socket) => {
                    back_off = BACK_OFF_MIN;
                    let (why, away) = self.live(socket).await;
                    self.note(format!("lost front {front}: {why}"));
                    away
                }
                Err(why) => {
                    self.note(format!("did not get into front {front}: {why}"));
                    Duration::ZERO
                }
            };
            tokio::time::sleep(away + back_off.mul_f64(self.rng.random())).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// Connects and resumes. What comes before the answer has no business here.
    async fn open(&mut self, port: u16) -> Result<Socket, String> {
        let told = |e: &dyn std::fmt::Display| e.to_string();
        let socket = TcpSocket::new_v4().map_err(|e| told(&e))?;
        socket.set_recv_buffer_size(RECEIVE_BYTES).map_err(|e| told(&e))?;
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.map_err(|e| told(&e))?;
        stream.set_nodelay(true).map_err(|e| told(&e))?;
        let url = format!("ws://127.0.0.1:{port}/ws");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.map_err(|e| told(&e))?;
        let connect = lock(&self.reader).connect(&front::token(&self.name));
        socket.send(Message::text(connect.to_string())).await.map_err(|e| told(&e))?;
        loop {
            let Some(message) = socket.next().await else { return Err("it ended".into()) };
            let text = match message.map_err(|e| told(&e))? {
                Message::Text(text) => text,
                Message::Close(frame) => return Err(format!("closed {frame:?}")),
                _ => continue,
            };
            let mut frames = text.split('\n').map(read);
            let answer = frames.next().filter(|frame| frame["id"] == 0);
            let answer = answer.ok_or_else(|| format!("this came before the answer to connect: {text}"))?;
            self.note(format!("in front {port}"));
            let mut reader = lock(&self.reader);
            reader.connected(&answer)?;
            frames.for_each(|frame| reader.take(&frame));
            drop(reader);
            return Ok(socket);
        }
    }

    /// Lives with a connection until it is lost; says why, and how long to stay away.
    async fn live(&mut self, mut socket: Socket) -> (String, Duration) {
        let lost = |why: String| (why, Duration::ZERO);
        let (mut last_heard, mut pinged) = (Instant::now(), false);
        let mut stalled_until: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if stalled_until.is_some_and(|until| until <= now) {
                stalled_until = None;
                last_heard = now;
            }
            if stalled_until.is_none() && now >= last_heard + DEAD_AFTER {
                return lost("no sign of life".into());
            }
            let (frames, wake_at) = {
                let mut reader = lock(&self.reader);
                let (mut frames, wake_at) = reader.due(now, self.around.writing.load(Ordering::Relaxed));
                if !pinged && now >= last_heard + PING_AFTER {
                    pinged = true;
                    frames.push(reader.ping());
                }
                (frames, wake_at)
            };
            if !frames.is_empty() {
                let lines: Vec<String> = frames.iter().map(Value::to_string).collect();
                let sent = tokio::time::timeout(DEAD_AFTER, socket.send(Message::text(lines.join("\n")))).await;
                match sent {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => return lost(self.last_words(&mut socket).await.unwrap_or(e.to_string())),
                    Err(_) => return lost("it takes nothing".into()),
                }
            }
            let wake_at = stalled_until.map_or(wake_at, |until| wake_at.min(until));
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Cut(away)) => return ("cut".into(), away),
                    Some(Order::Stall(time)) => {
                        self.note(format!("reads nothing for {time:?}"));
                        stalled_until = Some(Instant::now() + time);
                    }
                    None => return lost("the story is over".into()),
                },
                message = socket.next(), if stalled_until.is_none() => match message {
                    Some(Ok(Message::Text(text))) => {
                        (last_heard, pinged) = (Instant::now(), false);
                        let mut reader = lock(&self.reader);
                        text.split('\n').for_each(|frame| reader.take(&read(frame)));
                    }
                    Some(Ok(Message::Close(frame))) => return lost(format!("closed {frame:?}")),
                    Some(Ok(_)) => last_heard = Instant::now(),
                    Some(Err(e)) => return lost(e.to_string()),
                    None => return lost("it ended".into()),
                },
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
        }
    }

    /// Why the front closed a connection that it no longer reads from. What still came before that is not taken in: the
    /// client asks for it again.
    async fn last_words(&self, socket: &mut Socket) -> Option<String> {
        let closed = async {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(frame) = message {
                    return Some(format!("closed {frame:?}"));
                }
            }
            None
        };
        tokio::time::timeout(DEAD_AFTER, closed).await.ok().flatten()
    }

    fn note(&self, what: String) {
        self.around.recorder.note(&self.name, what);
    }
}

fn read(frame: &str) -> Value {
    serde_json::from_str(frame).unwrap_or_else(|e| panic!("not JSON ({e}): {frame}"))
}

fn lock(reader: &Mutex<Reader>) -> MutexGuard<'_, Reader> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}
