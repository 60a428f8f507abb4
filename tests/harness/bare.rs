//! A WebSocket by hand: whatever bytes the story says, and all that comes back.

use crate::waiting::SOON;
use serde_json::Value;
use stoa_front::conn::codec::{Decoder, Limits, Message, Opcode, Role, append_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The end of a message.
pub const FIN: u8 = 0x80;
/// The message is deflated.
pub const DEFLATED: u8 = 0x40;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A WebSocket after its handshake.
pub struct Bare {
    stream: TcpStream,
    decoder: Decoder,
    ahead: Vec<u8>,
    bytes_read: usize,
}

/// Sends `request` and gives the head of the answer.
async fn asked(port: u16, request: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the front takes connections");
    stream.write_all(request).await.expect("the front reads");
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(SOON, read).await.expect("an answer in time");
    (stream, String::from_utf8(head).expect("heads are ASCII"))
}

/// The head of the answer to a handshake with these lines in place of the usual ones.
pub async fn handshake(port: u16, lines: &str) -> String {
    asked(port, format!("GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").as_bytes()).await.1
}

/// The lines of a good handshake.
pub fn good_lines() -> String {
    format!("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n{KEY}")
}

impl Bare {
    /// Opens a WebSocket with further lines in its request; gives the head of the answer, too.
    pub async fn open(port: u16, lines: &str) -> (Bare, String) {
        let request = format!("GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n{}{lines}\r\n", good_lines());
        let (stream, head) = asked(port, request.as_bytes()).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let deflates = head.to_ascii_lowercase().contains("sec-websocket-extensions: permessage-deflate");
        let decoder = Decoder::new(Role::Client, deflates, Limits { message_bytes_max: 16 * 1024 * 1024 });
        (Bare { stream, decoder, ahead: Vec::new(), bytes_read: 0 }, head)
    }

    /// Sends bytes as they are. A front that has closed takes none.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends a frame with this first byte.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = Vec::new();
        append_frame(&mut frame, first, payload, Some(MASK));
        self.send_bytes(&frame).await;
    }

    /// Sends a text.
    pub async fn send_text(&mut self, text: &str) {
        self.send(FIN | Opcode::Text as u8, text.as_bytes()).await;
    }

    /// The next message; `None` when the connection is gone.
    pub async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(SOON, async {
            loop {
                let mut rest = self.ahead.as_mut_slice();
                let next = self.decoder.next(&mut rest).expect("the front writes frames");
                let left = rest.len();
                self.ahead.drain(..self.ahead.len() - left);
                if next.is_some() {
                    return next;
                }
                match self.stream.read_buf(&mut self.ahead).await {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => self.bytes_read += count,
                }
            }
        })
        .await
        .expect("a message in time")
    }

    /// How many bytes came since the handshake.
    pub fn bytes_read(&self) -> usize {
        self.bytes_read
    }

    /// The next frame of the protocol.
    pub async fn next_frame(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).expect("frames are JSON"),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("{other:?} instead of a frame"),
            }
        }
    }

    /// The close code and its reason; 1006 when the connection went without.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Message::Close(close)) => return close.unwrap_or((1005, String::new())),
                Some(_) => {}
                None => return (1006, String::new()),
            }
        }
    }
}
