//! One client at the protocol's door: sends frames, keeps all that comes back, hides nothing.

use crate::front::token;
use crate::waiting::SOON;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// All that came.
#[derive(Default)]
struct Inbox {
    /// Frames with `event`, in order.
    events: Vec<Value>,
    /// Frames with an id.
    replies: HashMap<u64, Value>,
    /// Their ids, in the order of their coming.
    answered: Vec<u64>,
    /// Frames with neither: errors of frames whose id could not be read.
    others: Vec<Value>,
    /// The close code and its reason; 1006 when the connection broke without one.
    closed: Option<(u16, String)>,
}

/// A WebSocket to a front. Dropping it cuts the connection, as a train in a tunnel does: no goodbye.
pub struct Client {
    outgoing: mpsc::UnboundedSender<Message>,
    inbox: Arc<Mutex<Inbox>>,
    changed: watch::Receiver<()>,
    id: AtomicU64,
    expected: Mutex<usize>,
    task: JoinHandle<()>,
}

/// A message with its identity, which says the same whenever it is sent again.
pub fn post(room: &str, seq: u64) -> Value {
    json!({"do": "msg.post", "room": room, "body": format!("m{seq}"), "client": "tab", "seq": seq})
}

impl Client {
    /// Opens a WebSocket and says nothing yet.
    pub async fn open(port: u16) -> Client {
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{port}/ws"))
            .await
            .expect("the front takes sockets");
        let (mut write, mut read) = socket.split();
        let (outgoing, mut to_send) = mpsc::unbounded_channel();
        let (change, changed) = watch::channel(());
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let filled = Arc::clone(&inbox);
        let task = tokio::spawn(async move {
            let mut sending = true;
            loop {
                let message = tokio::select! {
                    message = read.next() => message,
                    message = to_send.recv(), if sending => {
                        match message {
                            // A front that closed no longer takes frames; why it closed is still to be read.
                            Some(message) => sending = write.send(message).await.is_ok(),
                            None => sending = false,
                        }
                        continue;
                    }
                };
                let mut inbox = filled.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match message {
                    Some(Ok(Message::Text(frames))) => frames.split('\n').for_each(|frame| inbox.take(frame)),
                    Some(Ok(Message::Close(frame))) => {
                        let (code, reason) = frame.map_or((1005, String::new()), |CloseFrame { code, reason }| {
                            (code.into(), reason.to_string())
                        });
                        inbox.closed.get_or_insert((code, reason));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        inbox.closed.get_or_insert((1006, String::new()));
                        let _ = change.send(());
                        break;
                    }
                }
                let _ = change.send(());
            }
        });
        Client { outgoing, inbox, changed, id: AtomicU64::new(1), expected: Mutex::new(0), task }
    }

    /// Opens a WebSocket and connects with a token.
    pub async fn connect(port: u16, token: &str) -> Client {
        let client = Client::open(port).await;
        client.ok(json!({"do": "connect", "token": token})).await;
        client
    }

    /// As [`connect`](Self::connect), by this user, who is in this room.
    pub async fn joined(port: u16, user: &str, room: &str) -> Client {
        let client = Client::connect(port, &token(user)).await;
        client.ok(json!({"do": "room.join", "room": room})).await;
        client
    }

    /// Sends a command and waits for its answer: `ok`, or `error`.
    pub async fn ask(&self, command: Value) -> Result<Value, Value> {
        let id = self.send(command.clone());
        let within = tokio::time::timeout(
            SOON,
            self.until(|inbox| match inbox.replies.remove(&id) {
                Some(reply) => Some(Ok(reply)),
                None => inbox.closed.clone().map(Err),
            }),
        );
        match within.await {
            Ok(Ok(mut reply)) => match reply.get_mut("error") {
                Some(error) => Err(error.take()),
                None => Ok(reply["ok"].take()),
            },
            Ok(Err(closed)) => panic!("the connection closed {closed:?} before the answer to {command}"),
            Err(_) => panic!("no answer within {SOON:?} to {command}"),
        }
    }

    /// Sends a command that has to be accepted.
    pub async fn ok(&self, command: Value) -> Value {
        self.ask(command.clone()).await.unwrap_or_else(|error| panic!("{command} was refused: {error}"))
    }

    /// Sends a command that has to be refused, and gives the code.
    pub async fn refused(&self, command: Value) -> String {
        match self.ask(command.clone()).await {
            Ok(ok) => panic!("{command} was accepted: {ok}"),
            Err(error) => error["code"].as_str().unwrap_or_else(|| panic!("no code in {error}")).to_owned(),
        }
    }

    /// Sends a command with the next id and does not wait.
    pub fn send(&self, mut command: Value) -> u64 {
        let id = self.id.fetch_add(1, Ordering::Relaxed);
        command["id"] = json!(id);
        self.send_message(Message::text(command.to_string()));
        id
    }

    /// Sends text as it is.
    pub fn send_text(&self, text: &str) {
        self.send_message(Message::text(text.to_owned()));
    }

    /// Sends a binary frame.
    pub fn send_binary(&self, bytes: &[u8]) {
        self.send_message(Message::binary(bytes.to_vec()));
    }

    /// The next frame that is neither an event nor an answer to a readable id.
    pub async fn next_other(&self) -> Value {
        let next = self.until(|inbox| (!inbox.others.is_empty()).then(|| inbox.others.remove(0)));
        tokio::time::timeout(SOON, next).await.unwrap_or_else(|_| panic!("no frame without an id within {SOON:?}"))
    }

    /// The next event with this name; those before it are passed over, those after it stay.
    pub async fn expect(&self, name: &str) -> Value {
        self.expect_within(name, SOON).await.unwrap_or_else(|seen| panic!("no {name} within {SOON:?}, but {seen:?}"))
    }

    /// As [`expect`](Self::expect) with another deadline; in vain it gives what came instead.
    pub async fn expect_within(&self, name: &str, within: Duration) -> Result<Value, Vec<Value>> {
        let first = *self.expected.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = self.until(|inbox| {
            let at = inbox.events[first..].iter().position(|event| event["event"] == name)?;
            Some((first + at, inbox.events[first + at].clone()))
        });
        match tokio::time::timeout(within, found).await {
            Ok((at, event)) => {
                *self.expected.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = at + 1;
                Ok(event)
            }
            Err(_) => Err(self.events().split_off(first)),
        }
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Value> {
        self.lock().events.clone()
    }

    /// The events with this name so far.
    pub fn events_named(&self, name: &str) -> Vec<Value> {
        self.lock().events.iter().filter(|event| event["event"] == name).cloned().collect()
    }

    /// The event at an index, once it is there; `None` when the connection ended without it.
    pub async fn event_at(&self, index: usize) -> Option<Value> {
        self.until(|inbox| match inbox.events.get(index) {
            Some(event) => Some(Some(event.clone())),
            None => inbox.closed.is_some().then_some(None),
        })
        .await
    }

    /// Takes the answers that nobody waited for and that are errors.
    pub fn errors(&self) -> Vec<Value> {
        self.lock().replies.extract_if(|_, reply| reply.get("error").is_some()).map(|(_, reply)| reply).collect()
    }

    /// The ids that were answered, in the order of the answers.
    pub fn answered(&self) -> Vec<u64> {
        self.lock().answered.clone()
    }

    /// The close code and its reason, once it is closed.
    pub async fn closed(&self) -> (u16, String) {
        tokio::time::timeout(SOON, self.until(|inbox| inbox.closed.clone())).await.expect("a close")
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    async fn until<T>(&self, mut look: impl FnMut(&mut Inbox) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            if changed.changed().await.is_err() {
                // The reader has ended; what it left is all there is.
                if let Some(found) = look(&mut self.lock()) {
                    return found;
                }
                std::future::pending::<()>().await;
            }
        }
    }

    fn send_message(&self, message: Message) {
        let _ = self.outgoing.send(message);
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inbox {
    fn take(&mut self, frame: &str) {
        let frame: Value =
            serde_json::from_str(frame).unwrap_or_else(|e| json!({"not_json": frame, "why": e.to_string()}));
        if frame.get("event").is_some() {
            self.events.push(frame);
        } else if let Some(id) = frame["id"].as_u64() {
            self.answered.push(id);
            self.replies.insert(id, frame);
        } else {
            self.others.push(frame);
        }
    }
}
