//! Somebody who posts without a pause and somebody who reads, while servers come and go: what was acknowledged has to arrive
//! once, in order, on a connection that nobody breaks.

use crate::front;
use crate::socket::Client;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Pause between a refusal and the next attempt.
const AGAIN: Duration = Duration::from_millis(10);

/// Talks so far: each counts its writes from one, so none may pass for another.
static TALKS: AtomicU64 = AtomicU64::new(0);

/// A conversation that goes on until it is ended.
pub struct Talk {
    room: String,
    reader: Client,
    ends: Arc<AtomicBool>,
    writer: JoinHandle<Written>,
}

/// What the writer can tell afterwards.
#[derive(Debug, Default)]
pub struct Written {
    /// The bodies that were acknowledged, in order.
    pub acknowledged: Vec<String>,
    /// When each of them was.
    pub times: Vec<Instant>,
    /// The longest time between two acknowledgements.
    pub longest_gap: Duration,
    /// How often a write was refused for the moment.
    pub refused: usize,
}

impl Talk {
    /// Ada posts through the front at `ports.0`, Bo reads through the one at `ports.1`.
    pub async fn start(room: &str, ports: (u16, u16)) -> Talk {
        let reader = Client::connect(ports.1, &front::token("bo")).await;
        reader.ok(json!({"do": "room.join", "room": room})).await;
        let writer = Client::connect(ports.0, &front::token("ada")).await;
        writer.ok(json!({"do": "room.join", "room": room})).await;
        let ends = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write(writer, room.to_owned(), ends.clone()));
        Talk { room: room.to_owned(), reader, ends, writer }
    }

    /// Ends it, and fails unless Bo has read exactly what was acknowledged to Ada, in order.
    pub async fn end(self) -> Written {
        self.ends.store(true, Ordering::Relaxed);
        let written = self.writer.await.unwrap();
        let room = json!(self.room);
        let read = || -> Vec<String> {
            let posted = self.reader.events_named("msg.posted").into_iter().filter(|event| event["room"] == room);
            posted.map(|event| event["message"]["body"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let all = || (read().len() >= written.acknowledged.len()).then_some(());
        let arrived = crate::waiting::poll_async(crate::waiting::SOON * 2, all).await;
        let others: Vec<Value> =
            self.reader.events().into_iter().filter(|event| event["event"] != "msg.posted").collect();
        let (read, acknowledged) = (read(), &written.acknowledged);
        assert!(arrived.is_some(), "{} of {} messages came; beside them {others:?}", read.len(), acknowledged.len());
        assert_eq!(read, *acknowledged);
        written
    }
}

async fn write(client: Client, room: String, ends: Arc<AtomicBool>) -> Written {
    let (mut written, mut last) = (Written::default(), Instant::now());
    let me = format!("talk{}", TALKS.fetch_add(1, Ordering::Relaxed));
    for seq in 1.. {
        let body = format!("message {seq}");
        let command = json!({"do": "msg.post", "room": room, "body": body, "client": me, "seq": seq});
        loop {
            match client.ask(command.clone()).await {
                Ok(_) => break,
                Err(error) => {
                    assert_eq!(error["retry"], Value::Bool(true), "{error}");
                    written.refused += 1;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        written.longest_gap = written.longest_gap.max(last.elapsed());
        last = Instant::now();
        written.acknowledged.push(body);
        written.times.push(last);
        if ends.load(Ordering::Relaxed) {
            return written;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    written
}
