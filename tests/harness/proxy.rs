//! A line between a front and Redis that loses single events, as no real network does: what Redis answers passes, what
//! it announces passes or is swallowed as the story says.
//!
//! It understands as much of RESP3 as that takes: where a value ends, and what an announcement on a channel is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use stoa_core::event::{self, Header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Says whether an event on a channel is swallowed.
type Judge = Box<dyn FnMut(&[u8], &Header) -> bool + Send>;

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The line. Dropping it cuts all connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    judge: Mutex<Option<Judge>>,
    lost: AtomicUsize,
}

impl Proxy {
    /// A line to a server on this machine that loses nothing yet.
    pub async fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(accept(listener, server, shared.clone()));
        Proxy { port, shared, task }
    }

    /// The address as fronts take it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on events for which `judge` answers true are swallowed.
    pub fn lose(&self, judge: impl FnMut(&[u8], &Header) -> bool + Send + 'static) {
        *self.judge() = Some(Box::new(judge));
    }

    /// From now on everything passes.
    pub fn lose_nothing(&self) {
        *self.judge() = None;
    }

    /// How many events were swallowed so far.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Relaxed)
    }

    fn judge(&self) -> std::sync::MutexGuard<'_, Option<Judge>> {
        self.shared.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: u16, shared: Arc<Shared>) {
    let mut lines = JoinSet::new();
    while let Ok((front, _)) = listener.accept().await {
        // A server that is down refuses the front, too: the connection drops.
        if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
            lines.spawn(carry(front, server, shared.clone()));
        }
        while lines.try_join_next().is_some() {}
    }
}

/// Carries both ways until one side ends.
async fn carry(front: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let _ = (front.set_nodelay(true), server.set_nodelay(true));
    let (mut front_read, mut front_write) = front.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let commands = tokio::io::copy(&mut front_read, &mut server_write);
    let answers = async {
        let mut arrived = Vec::with_capacity(CHUNK_BYTES);
        while server_read.read_buf(&mut arrived).await? > 0 {
            let mut passed = Vec::with_capacity(arrived.len());
            let mut used = 0;
            while let Some(length) = value_length(&arrived[used..])? {
                let value = &arrived[used..used + length];
                used += length;
                if !shared.swallows(value) {
                    passed.extend_from_slice(value);
                }
            }
            arrived.drain(..used);
            front_write.write_all(&passed).await?;
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        _ = commands => {}
        ended = answers => if let Err(e) = ended
            && e.kind() == std::io::ErrorKind::InvalidData
        {
            panic!("{e}");
        }
    }
}

impl Shared {
    fn swallows(&self, value: &[u8]) -> bool {
        let Some((channel, payload)) = announced(value) else { return false };
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(judge), Ok((header, _))) = (judge.as_mut(), event::decode(payload)) else { return false };
        let swallows = judge(channel, &header);
        self.lost.fetch_add(usize::from(swallows), Ordering::Relaxed);
        swallows
    }
}

/// The channel and the payload of an announcement on a channel; `None` for any other value.
fn announced(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = value.strip_prefix(b">3\r\n")?;
    let mut parts = [&[][..]; 3];
    for part in &mut parts {
        let length = value_length(rest).ok()??;
        let (whole, after) = rest.split_at(length);
        let head = whole.windows(2).position(|two| two == b"\r\n")? + 2;
        *part = whole.get(head..length - 2)?;
        rest = after;
    }
    matches!(parts[0], b"smessage" | b"message").then_some((parts[1], parts[2]))
}

/// How many bytes the first value takes; `None` while a part of it is missing.
fn value_length(bytes: &[u8]) -> std::io::Result<Option<usize>> {
    let mut at = 0;
    let mut values = 1;
    while values > 0 {
        let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let (kind, number) = (bytes[at], &bytes[at + 1..at + line]);
        at += line + 2;
        values -= 1;
        let count = || -> std::io::Result<i64> {
            let text = std::str::from_utf8(number).unwrap_or_default();
            text.parse().map_err(|_| invalid(&format!("no length in {text:?}")))
        };
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {}
            b'$' | b'=' | b'!' => at += usize::try_from(count()?).map_or(0, |length| length + 2),
            b'*' | b'~' | b'>' => values += count()?.max(0),
            // An attribute stands before the value that it belongs to.
            b'|' => values += count()? * 2 + 1,
            b'%' => values += count()? * 2,
            _ => return Err(invalid(&format!("a value begins with {:?}", char::from(kind)))),
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

fn invalid(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("this is not RESP3: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [&str; 9] = [
        "+OK\r\n",
        "-ERR no\r\n",
        ":1\r\n",
        "_\r\n",
        "$-1\r\n",
        "$4\r\na\r\nb\r\n",
        "*2\r\n$1\r\na\r\n*0\r\n",
        "%1\r\n+field\r\n~2\r\n:1\r\n#t\r\n",
        ">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$2\r\n\r\n\r\n",
    ];

    #[test]
    fn a_value_ends_where_it_ends_and_not_before() {
        for value in VALUES {
            let both = format!("{value}+next\r\n");
            assert_eq!(value_length(both.as_bytes()).unwrap(), Some(value.len()), "{value:?}");
            for part in 0..value.len() {
                assert_eq!(value_length(&value.as_bytes()[..part]).unwrap(), None, "{part} bytes of {value:?}");
            }
        }
        assert!(value_length(b"GET / HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn only_announcements_on_channels_have_a_payload() {
        let payloads: Vec<_> = VALUES.iter().filter_map(|value| announced(value.as_bytes())).collect();
        assert_eq!(payloads, [(&b"c"[..], &b"\r\n"[..])]);
        assert_eq!(announced(b">3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n"), None);
    }
}
