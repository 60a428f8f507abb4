//! Plain HTTP at a front's door: requests with an answer, and streams of events.

use crate::waiting::{self, SOON};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    head: String,
    /// What it says.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The body's lines, each JSON.
    pub fn frames(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        self.body.lines().map(parse).collect()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The head of a request in HTTP/1.0: what answers it ends with the connection and has no inner form.
fn head(line: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line} HTTP/1.0\r\nHost: 127.0.0.1\r\n{headers}\r\n")
}

/// A request and its whole answer. `line` is method and target.
pub async fn request(port: u16, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len().to_string();
    let headers = [headers, &[("Content-Length", length.as_str())]].concat();
    stream.write_all((head(line, &headers) + body).as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await;
    read.unwrap_or_else(|_| panic!("no end of the answer to {line}")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text}"));
    Answer { status: status(head), head: head.to_owned(), body: body.to_owned() }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"))
}

/// A block of a stream of events.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its `event`, `message` if it has none.
    pub event: String,
    /// Its `id`, if it has one.
    pub id: Option<String>,
    /// Its data.
    pub data: Value,
}

#[derive(Default)]
struct Inbox {
    blocks: Vec<Block>,
    comments: usize,
    has_ended: bool,
}

/// A stream of events that is read as it comes. Dropping it cuts the connection.
pub struct Events {
    /// The head of the response.
    pub head: String,
    inbox: Arc<Mutex<Inbox>>,
    task: JoinHandle<()>,
}

impl Events {
    /// Opens a stream; an answer that is none is given back.
    pub async fn open(port: u16, target: &str, headers: &[(&str, &str)]) -> Result<Events, Answer> {
        let mut stream = Events::ask(port, target, headers).await;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the answer ended in its head");
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        bytes.drain(..end + 4);
        if status(&head) != 200 {
            stream.read_to_end(&mut bytes).await.unwrap();
            return Err(Answer { status: status(&head), head, body: String::from_utf8(bytes).unwrap() });
        }
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let task = tokio::spawn(read(stream, bytes, inbox.clone()));
        Ok(Events { head, inbox, task })
    }

    /// Sends the request and reads nothing: what a slow reader does.
    pub async fn ask(port: u16, target: &str, headers: &[(&str, &str)]) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        // Small, so that a reader that stops is noticed.
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        stream.write_all(head(&format!("GET {target}"), headers).as_bytes()).await.unwrap();
        stream
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// All blocks so far.
    pub fn blocks(&self) -> Vec<Block> {
        self.lock().blocks.clone()
    }

    /// Comments so far.
    pub fn comments(&self) -> usize {
        self.lock().comments
    }

    /// The first block that `is_it` likes, once it is there.
    pub async fn expect(&self, what: &str, is_it: impl Fn(&Block) -> bool) -> Block {
        let found = waiting::poll_async(SOON, || self.lock().blocks.iter().find(|block| is_it(block)).cloned()).await;
        found.unwrap_or_else(|| panic!("no {what} within {SOON:?}, but {:?}", self.blocks()))
    }

    /// The first frame with this `event`.
    pub async fn frame(&self, event: &str) -> Value {
        self.expect(event, |block| block.data["event"] == event).await.data
    }

    /// Waits until the stream has ended.
    pub async fn ended(&self) {
        let ended = waiting::poll_async(SOON, || self.lock().has_ended.then_some(())).await;
        assert!(ended.is_some(), "the stream goes on, its last block is {:?}", self.blocks().last());
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes blocks out of `bytes` and what comes after them. One that is not complete is never taken.
async fn read(mut stream: TcpStream, mut bytes: Vec<u8>, inbox: Arc<Mutex<Inbox>>) {
    let mut seen = 0;
    loop {
        // What was looked at before has no end, but for its last byte.
        while let Some(at) = bytes[seen..].windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = bytes.drain(..seen + at + 2).collect();
            take(std::str::from_utf8(&block).unwrap(), &mut inbox.lock().unwrap());
            seen = 0;
        }
        seen = bytes.len().saturating_sub(1);
        bytes.reserve(64 * 1024);
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            inbox.lock().unwrap().has_ended = true;
            return;
        }
    }
}

fn take(text: &str, inbox: &mut Inbox) {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
    match field("data") {
        Some(data) => inbox.blocks.push(Block {
            event: field("event").unwrap_or("message".into()),
            id: field("id"),
            data: serde_json::from_str(&data).unwrap_or_else(|e| panic!("not JSON ({e}): {data}")),
        }),
        None => inbox.comments += 1,
    }
}
