//! The PROXY protocol (HAProxy, versions 1 and 2): a load balancer that passes on bytes says first whose they are.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Time for the first words.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest line of version 1, in bytes, with its end.
const LINE_BYTES_MAX: usize = 107;
/// Most that follows the head of version 2, in bytes: addresses and some notes.
const REST_BYTES_MAX: usize = 1024;
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Reads whose connection this is; `None` if the load balancer speaks for itself (a health check). Reads nothing beyond.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let late = |_| io::Error::from(ErrorKind::TimedOut);
    tokio::time::timeout(TIMEOUT, read_head(stream)).await.map_err(late)?
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    // Both versions have at least so many bytes.
    let mut head = [0; SIGNATURE.len()];
    stream.read_exact(&mut head).await?;
    if head == SIGNATURE {
        return version_2(stream).await;
    }
    let mut line = head.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX || !line.starts_with(b"PROXY ") {
            return Err(bad());
        }
        line.push(stream.read_u8().await?);
    }
    version_1(&line).ok_or_else(bad)
}

fn version_1(line: &[u8]) -> Option<Option<IpAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", family, from, to, from_port, to_port] => {
            let (from, to): (IpAddr, IpAddr) = (from.parse().ok()?, to.parse().ok()?);
            let (_, _): (u16, u16) = (from_port.parse().ok()?, to_port.parse().ok()?);
            let is_right = match family {
                "TCP4" => from.is_ipv4() && to.is_ipv4(),
                "TCP6" => from.is_ipv6() && to.is_ipv6(),
                _ => false,
            };
            is_right.then_some(Some(from))
        }
        _ => None,
    }
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (command, family, len) = (stream.read_u8().await?, stream.read_u8().await?, stream.read_u16().await?);
    if usize::from(len) > REST_BYTES_MAX {
        return Err(bad());
    }
    let mut rest = vec![0; usize::from(len)];
    stream.read_exact(&mut rest).await?;
    match (command, family) {
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let address: [u8; 4] = start(&rest, 12).ok_or_else(bad)?;
            Ok(Some(Ipv4Addr::from(address).into()))
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = start(&rest, 36).ok_or_else(bad)?;
            Ok(Some(Ipv6Addr::from(address).into()))
        }
        // Of a kind that has no such address.
        (0x21, _) => Ok(None),
        _ => Err(bad()),
    }
}

/// The source address of a block that has to have `len` bytes.
fn start<const N: usize>(block: &[u8], len: usize) -> Option<[u8; N]> {
    block.get(..len)?.first_chunk().copied()
}

fn bad() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(mut bytes: &[u8]) -> io::Result<(Option<IpAddr>, Vec<u8>)> {
        let address = read(&mut bytes).await?;
        Ok((address, bytes.to_vec()))
    }

    fn second(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &(block.len() as u16).to_be_bytes(), block, b"GET"].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let four = [203, 0, 113, 9, 10, 0, 0, 1, 1, 2, 3, 4];
        let six = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0; 16]].concat();
        for (expected, bytes) in [
            (Some("203.0.113.9"), b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\nGET".to_vec()),
            (Some("2001:db8::1"), b"PROXY TCP6 2001:db8::1 ::1 1 2\r\nGET".to_vec()),
            (None, b"PROXY UNKNOWN\r\nGET".to_vec()),
            (None, b"PROXY UNKNOWN some thing\r\nGET".to_vec()),
            (Some("203.0.113.9"), second(0x21, 0x11, &four)),
            (Some("203.0.113.9"), second(0x21, 0x11, &[&four[..], &[4, 0, 1, 0]].concat())),
            (Some("2001:db8::1"), second(0x21, 0x21, &[&six[..], &[0; 4]].concat())),
            (None, second(0x20, 0, &[])),
        ] {
            let (address, rest) = told(&bytes).await.unwrap();
            assert_eq!(address.map(|address| address.to_string()).as_deref(), expected);
            assert_eq!(rest, b"GET");
        }
    }

    #[tokio::test]
    async fn whatever_else_comes_is_refused() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        for bad in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PROXY TCP4 1.2.3.4\r\n      ",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY",
            long.as_bytes(),
            &second(0x31, 0x11, &[0; 12]),
            &second(0x21, 0x11, &[0; 11]),
            &second(0x22, 0x11, &[0; 12]),
            &second(0x21, 0x11, &[0; 2000]),
            &SIGNATURE,
        ] {
            assert!(told(bad).await.is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
