//! A client that costs the load generator next to nothing: it knows where frames end and what the first bytes of each mean.

use std::cell::RefCell;
use std::io;
use tokio::net::TcpStream;

/// Read at once by one connection, in bytes: what a busy socket holds.
const SCRATCH_BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// Which server it is, and which protocol it speaks. What is sent to the two that speak Socket.IO is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A front, by Stoa's own protocol.
    Stoa,
    /// A front, by Socket.IO.
    Gateway,
    /// Node.
    SocketIo,
}

/// What a text frame is to the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A message of the room.
    Message,
    /// The answer to the command with this number.
    Answer(u64),
    /// The server wants a sign of life.
    Ping,
    /// Part of the handshake, presence, and so on.
    Other,
}

impl Wire {
    fn path(self) -> &'static str {
        match self {
            Wire::Stoa => "/ws",
            Wire::Gateway | Wire::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    fn connect(self, token: &str) -> String {
        match self {
            Wire::Stoa => format!("{{\"id\":0,\"do\":\"connect\",\"token\":\"{token}\"}}"),
            Wire::Gateway | Wire::SocketIo => format!("40{{\"token\":\"{token}\"}}"),
        }
    }

    fn join(self, room: &str, presence: bool) -> String {
        let here = if presence { ",\"presence\":{\"data\":{\"color\":\"#3b82f6\"}}" } else { "" };
        match self {
            Wire::Stoa => format!("{{\"id\":1,\"do\":\"room.join\",\"room\":\"{room}\"{here}}}"),
            Wire::SocketIo if presence => format!("421[\"be here\",\"{room}\"]"),
            Wire::Gateway | Wire::SocketIo => format!("421[\"join-room\",\"{room}\"]"),
        }
    }

    /// The command that says something of `bytes` bytes in a room: when it was said, and which one it is.
    pub(crate) fn post(self, number: u64, room: &str, at_us: u128, bytes: usize) -> String {
        let filled = |head: String, foot: &str| format!("{head}{:x<1$}{foot}", "", bytes - head.len() - foot.len());
        match self {
            Wire::Stoa => post(number, room, &filled(format!("{{\"t\":{at_us},\"s\":{number},\"text\":\""), "\"}")),
            Wire::Gateway | Wire::SocketIo => {
                let content = filled(format!("t:{at_us};s:{number};"), "");
                format!("42{number}[\"send-message\",{{\"roomId\":\"{room}\",\"content\":\"{content}\"}}]")
            }
        }
    }

    /// Which message it is, and when it was said, in microseconds.
    pub(crate) fn said(self, frame: &[u8]) -> (u64, u64) {
        let (number, at_us): (&[u8], &[u8]) = match self {
            Wire::Stoa => (b"\"s\":", b"\"t\":"),
            Wire::Gateway | Wire::SocketIo => (b";s:", b"\"t:"),
        };
        (number_after(frame, number), number_after(frame, at_us))
    }

    pub(crate) fn see(self, frame: &[u8]) -> Seen {
        let number = |at: usize| {
            let digits = frame[at..].iter().take_while(|b| b.is_ascii_digit());
            Seen::Answer(digits.fold(0, |n, b| n * 10 + u64::from(b - b'0')))
        };
        match self {
            Wire::Stoa if frame.starts_with(b"{\"event\":\"msg.posted\"") => Seen::Message,
            Wire::Stoa if frame.starts_with(b"{\"id\":") => {
                assert!(!contains(frame, b"\"error\""), "refused: {}", String::from_utf8_lossy(frame));
                number(6)
            }
            Wire::Stoa => Seen::Other,
            Wire::Gateway | Wire::SocketIo => match frame {
                [b'2'] => Seen::Ping,
                [b'4', b'0', ..] => Seen::Answer(0),
                [b'4', b'2', ..] if frame.starts_with(b"42[\"new-message\"") => Seen::Message,
                [b'4', b'3', ..] => {
                    assert!(!contains(frame, b"\"error\""), "refused: {}", String::from_utf8_lossy(frame));
                    number(2)
                }
                _ => {
                    assert!(!frame.starts_with(b"44"), "refused: {}", String::from_utf8_lossy(frame));
                    Seen::Other
                }
            },
        }
    }
}

/// Stoa's command that says `body` in a room.
pub(crate) fn post(number: u64, room: &str, body: &str) -> String {
    format!(
        "{{\"id\":{number},\"do\":\"msg.post\",\"room\":\"{room}\",\"type\":\"bench\",\"client\":\"c\",\"seq\":{number},\"body\":{body}}}"
    )
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The number that follows `name` in a frame.
pub(crate) fn number_after(frame: &[u8], name: &[u8]) -> u64 {
    let at = frame.windows(name.len()).position(|window| window == name).expect("a frame without its number");
    let digits = frame[at + name.len()..].iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0, |n, b| n * 10 + u64::from(b - b'0'))
}

/// A connection that is in a room.
pub(crate) struct Client {
    /// Where it is.
    pub(crate) room: String,
    wire: Wire,
    stream: TcpStream,
    partial: Vec<u8>,
}

impl Client {
    /// Connects with a token and returns once the room is joined.
    pub(crate) async fn join(wire: Wire, port: u16, token: &str, room: &str, presence: bool) -> io::Result<Client> {
        Client::join_seeing(wire, port, token, room, presence, |_| {}).await
    }

    /// As [`join`](Client::join), and shows what came from the connection's first frame to the answer.
    pub(crate) async fn join_seeing(
        wire: Wire,
        port: u16,
        token: &str,
        room: &str,
        presence: bool,
        mut seen: impl FnMut(&[u8]),
    ) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut client = Client { room: room.into(), wire, stream, partial: Vec::new() };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            wire.path()
        );
        client.write(request.as_bytes()).await?;
        client.upgraded().await?;
        for (number, text) in [(0, wire.connect(token)), (1, wire.join(room, presence))] {
            client.send(&text).await?;
            let mut answered = false;
            while !answered {
                let see = |frame: &[u8]| {
                    answered |= wire.see(frame) == Seen::Answer(number);
                    seen(frame);
                };
                client.read(see).await?;
            }
        }
        // What is held from here on is what the server makes the client hold.
        client.partial.shrink_to_fit();
        Ok(client)
    }

    async fn upgraded(&mut self) -> io::Result<()> {
        loop {
            let count = self.fill().await?;
            SCRATCH.with_borrow(|scratch| self.partial.extend_from_slice(&scratch[..count]));
            if let Some(end) = self.partial.windows(4).position(|window| window == b"\r\n\r\n") {
                assert!(self.partial.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&self.partial));
                self.partial.drain(..end + 4);
                return Ok(());
            }
        }
    }

    /// Waits for bytes: so many stand in `SCRATCH` until this task waits for something else.
    async fn fill(&mut self) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match SCRATCH.with_borrow_mut(|scratch| self.stream.try_read(scratch)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Waits for bytes and shows every text frame that is complete.
    pub(crate) async fn read(&mut self, mut seen: impl FnMut(&[u8])) -> io::Result<()> {
        let (wire, mut pongs) = (self.wire, Vec::new());
        let shown = show(wire, &self.partial, &mut seen, &mut pongs)?;
        self.partial.drain(..shown);
        if shown == 0 {
            let count = self.fill().await?;
            SCRATCH.with_borrow(|scratch| {
                let new = &scratch[..count];
                // Not copied where it need not be: what the generator takes, the server's Redis lacks.
                if self.partial.is_empty() {
                    let shown = show(wire, new, &mut seen, &mut pongs)?;
                    self.partial.extend_from_slice(&new[shown..]);
                } else {
                    self.partial.extend_from_slice(new);
                    let shown = show(wire, &self.partial, &mut seen, &mut pongs)?;
                    self.partial.drain(..shown);
                }
                Ok::<_, io::Error>(())
            })?;
        }
        for pong in pongs {
            self.write(&pong).await?;
        }
        Ok(())
    }

    /// Sends a text frame.
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        self.write(&masked(1, text.as_bytes())).await
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Shows the text frames that are complete, and adds what has to be answered; returns how many bytes were taken.
fn show(wire: Wire, bytes: &[u8], seen: &mut impl FnMut(&[u8]), pongs: &mut Vec<Vec<u8>>) -> io::Result<usize> {
    let mut at = 0;
    while let Some((opcode, start, end)) = frame(&bytes[at..]) {
        let body = &bytes[at + start..at + end];
        match opcode {
            1 => {
                let mut show = |text: &[u8]| match wire.see(text) {
                    Seen::Ping => pongs.push(masked(1, b"3")),
                    _ => seen(text),
                };
                // Looking for a byte is much cheaper than splitting, and nearly no frame has several texts.
                if body.contains(&b'\n') { body.split(|&b| b == b'\n').for_each(show) } else { show(body) }
            }
            8 => return Err(io::Error::other(format!("closed: {}", String::from_utf8_lossy(body)))),
            9 => pongs.push(masked(10, body)),
            _ => {}
        }
        at += end;
    }
    Ok(at)
}

/// Opcode, start and end of the content of the first frame, if it is complete.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (start, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?) as usize),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= start + length).then_some((first & 15, start, start + length))
}

/// A frame with a mask of zeros: correct, and nothing to compute.
pub(crate) fn masked(opcode: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match content.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65536 => out.extend([0x80 | 126, (length >> 8) as u8, length as u8]),
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend_from_slice(content);
    out
}
