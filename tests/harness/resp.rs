//! A Redis client small enough to read: it shows replies as they came, in RESP2 or RESP3, and hides nothing.
//!
//! It blocks. Stories that run fronts in the same process use a runtime with several threads.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What a server answered, or announced.
#[derive(Clone, PartialEq)]
pub enum Reply {
    /// No value.
    Null,
    /// A boolean of RESP3.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float of RESP3, as its text.
    Double(String),
    /// A simple string: `OK`.
    Status(String),
    /// Bytes.
    Bulk(Vec<u8>),
    /// An error reply; its first word is the code.
    Error(String),
    /// An array or a set.
    Array(Vec<Reply>),
    /// A map of RESP3.
    Map(Vec<(Reply, Reply)>),
    /// An announcement of RESP3.
    Push(Vec<Reply>),
}

impl Reply {
    /// The text of a string reply; anything else is a failure of the story.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Reply::Status(text) | Reply::Double(text) => text.clone(),
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Int(number) => number.to_string(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// The number of an integer reply.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The bytes of a string reply.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Bulk(bytes) => bytes,
            other => panic!("expected bytes, got {other:?}"),
        }
    }

    /// The items of an array.
    #[track_caller]
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(items) | Reply::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The texts of an array's items.
    #[track_caller]
    pub fn texts(&self) -> Vec<String> {
        self.items().iter().map(Reply::text).collect()
    }

    /// The items of an array as JSON.
    #[track_caller]
    pub fn jsons(&self) -> Vec<serde_json::Value> {
        self.items().iter().map(Reply::json).collect()
    }

    /// A string reply read as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// A field of a map, whether it came as a RESP3 map or as RESP2's flat array of field and value.
    #[track_caller]
    pub fn field(&self, name: &str) -> &Reply {
        self.field_if_any(name).unwrap_or_else(|| panic!("no field {name:?} in {self:?}"))
    }

    /// A field of a map that need not be there.
    pub fn field_if_any(&self, name: &str) -> Option<&Reply> {
        let is_name = |reply: &Reply| match reply {
            Reply::Status(text) => text == name,
            Reply::Bulk(bytes) => bytes == name.as_bytes(),
            _ => false,
        };
        match self {
            Reply::Map(pairs) => pairs.iter().find(|(field, _)| is_name(field)).map(|(_, value)| value),
            Reply::Array(items) => items.chunks_exact(2).find(|pair| is_name(&pair[0])).map(|pair| &pair[1]),
            _ => None,
        }
    }

    /// The names of a map's fields, in order.
    #[track_caller]
    pub fn field_names(&self) -> Vec<String> {
        match self {
            Reply::Map(pairs) => pairs.iter().map(|(field, _)| field.text()).collect(),
            Reply::Array(items) => items.chunks(2).map(|pair| pair[0].text()).collect(),
            other => panic!("expected a map, got {other:?}"),
        }
    }

    /// The code of an error reply: its first word.
    #[track_caller]
    pub fn refused(&self) -> &str {
        match self {
            Reply::Error(text) => text.split(' ').next().unwrap_or_default(),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// Whether this is an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Null => f.write_str("null"),
            Reply::Bool(value) => write!(f, "{value}"),
            Reply::Int(number) => write!(f, "{number}"),
            Reply::Double(text) => f.write_str(text),
            Reply::Status(text) => write!(f, "+{text}"),
            Reply::Error(text) => write!(f, "-{text}"),
            Reply::Bulk(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Reply::Array(items) => f.debug_list().entries(items).finish(),
            Reply::Push(items) => f.write_str(">").and_then(|()| f.debug_list().entries(items).finish()),
            Reply::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
        }
    }
}

/// One connection to a server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// Longest wait for one reply. A server that does not answer within it is a failure.
const REPLY_WITHIN: Duration = Duration::from_secs(60);

impl Connection {
    /// Connects to a port of this machine, speaking RESP2.
    pub fn to(port: u16) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_WITHIN))?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Connects and switches to RESP3.
    pub fn resp3(port: u16) -> std::io::Result<Connection> {
        let mut connection = Connection::to(port)?;
        connection.call(&["HELLO", "3"]);
        Ok(connection)
    }

    /// Sends a command and gives its reply, errors included. A lost connection fails the story.
    #[track_caller]
    pub fn call(&mut self, words: &[&str]) -> Reply {
        self.try_call(words).unwrap_or_else(|e| panic!("{}: {e}", words.join(" ")))
    }

    /// As [`call`](Self::call), and fails the story when the server refuses.
    #[track_caller]
    pub fn ok(&mut self, words: &[&str]) -> Reply {
        match self.call(words) {
            Reply::Error(error) => panic!("{}: {error}", words.join(" ")),
            reply => reply,
        }
    }

    /// Sends a command; a lost connection is an error.
    pub fn try_call(&mut self, words: &[&str]) -> std::io::Result<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.send(&words)?;
        self.read()
    }

    /// As [`call`](Self::call), for arguments that are not text.
    #[track_caller]
    pub fn call_bytes(&mut self, words: &[&[u8]]) -> Reply {
        self.send(words).and_then(|()| self.read()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Sends a command and does not wait.
    pub fn send(&mut self, words: &[&[u8]]) -> std::io::Result<()> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes)
    }

    /// Reads the next reply or announcement.
    pub fn read(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let length = || rest.parse::<i64>().map_err(|_| std::io::Error::other(format!("malformed reply {line:?}")));
        Ok(match kind {
            "+" => Reply::Status(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(length()?),
            "_" => Reply::Null,
            "#" => Reply::Bool(rest == "t"),
            "," | "(" => Reply::Double(rest.to_owned()),
            "$" | "=" => match length()? {
                -1 => Reply::Null,
                length => {
                    let mut bytes = vec![0; length as usize + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(length as usize);
                    // A verbatim string starts with its format: `txt:`.
                    Reply::Bulk(if kind == "=" { bytes.split_off(4) } else { bytes })
                }
            },
            "*" | "~" => match length()? {
                -1 => Reply::Null,
                length => Reply::Array(self.read_many(length)?),
            },
            ">" => {
                let length = length()?;
                Reply::Push(self.read_many(length)?)
            }
            "%" => {
                let mut both = self.read_many(length()? * 2)?.into_iter();
                let mut pairs = Vec::new();
                while let (Some(field), Some(value)) = (both.next(), both.next()) {
                    pairs.push((field, value));
                }
                Reply::Map(pairs)
            }
            _ => return Err(std::io::Error::other(format!("malformed reply {line:?}"))),
        })
    }

    fn read_many(&mut self, count: i64) -> std::io::Result<Vec<Reply>> {
        (0..count).map(|_| self.read()).collect()
    }
}

/// Somebody who listens to a room's channel with a plain Redis client.
pub struct Subscriber {
    connection: Connection,
}

impl Subscriber {
    /// Subscribes to a channel and waits until the server has confirmed.
    pub fn to(port: u16, channel: &str) -> Subscriber {
        let mut connection = Connection::to(port).unwrap();
        let confirmed = connection.call(&["SSUBSCRIBE", channel]);
        assert_eq!(confirmed.items()[0].text(), "ssubscribe");
        Subscriber { connection }
    }

    /// The next event within a time, decoded as a front would: its header and its frame.
    pub fn next(&mut self, within: Duration) -> Option<(stoa_core::event::Header, serde_json::Value)> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            self.connection.stream.get_ref().set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            // Looks before it reads, so that a time-out can never fall into the middle of a reply.
            match self.connection.stream.fill_buf() {
                Ok([]) => return None,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(_) => return None,
            }
            self.connection.stream.get_ref().set_read_timeout(Some(REPLY_WITHIN)).unwrap();
            let reply = self.connection.read().ok()?;
            if reply.items()[0].text() == "smessage" {
                let (header, frame) = stoa_core::event::decode(reply.items()[2].bytes()).unwrap();
                return Some((header, serde_json::from_slice(frame).unwrap()));
            }
        }
    }

    /// The next event of a kind, passing over the others; fails the story when there is none within the time.
    #[track_caller]
    pub fn expect(&mut self, event: &str, within: Duration) -> serde_json::Value {
        let deadline = Instant::now() + within;
        let mut passed = Vec::new();
        while let Some((_, frame)) = self.next(deadline.saturating_duration_since(Instant::now())) {
            if frame["event"] == event {
                return frame;
            }
            passed.push(frame);
        }
        panic!("no {event} within {within:?}; there were {passed:?}")
    }
}
