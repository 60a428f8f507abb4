//! permessage-deflate (RFC 7692), without memory from one message to the next: what is deflated does not depend on the
//! connection, so an event is deflated once for all, and a connection that does not speak keeps no window.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;

/// What every deflated message ends with, and what is therefore left out (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// The extension's name.
const NAME: &str = "permessage-deflate";
/// The window that is deflated with, in bits. The library knows no other.
const WINDOW_BITS: u8 = 15;
/// Bytes that an inflated message grows by at first.
const INFLATE_BYTES_MIN: usize = 1024;

thread_local! {
    static DEFLATER: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Answers the offers of a client (`Sec-WebSocket-Extensions`): the first that can be honoured, or none.
///
/// The answer is the same for all: no context takeover in either direction, which a server may demand whatever was
/// offered (RFC 7692, 7.1.1). An offer that limits the server's window is declined, since events are deflated once for
/// everybody.
pub fn negotiate<'a>(offers: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    offers
        .flat_map(|header| header.split(','))
        .any(can_be_honoured)
        .then_some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
}

fn can_be_honoured(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|part| {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        let bits = value.and_then(window_bits);
        let known = match name {
            "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
            "server_max_window_bits" => bits == Some(WINDOW_BITS),
            // Without a value it only says that the client could.
            "client_max_window_bits" => value.is_none() || bits.is_some(),
            _ => false,
        };
        let first = !seen.contains(&name);
        seen.push(name);
        known && first
    })
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    value.parse().ok().filter(|bits: &u8| (8..=15).contains(bits) && !value.starts_with(['0', '+']))
}

/// Deflates a message; `None` if the library fails.
pub fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    DEFLATER.with_borrow_mut(|deflater| {
        deflater.reset();
        let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
        loop {
            let rest = bytes.get(deflater.total_in() as usize..).unwrap_or_default();
            match deflater.compress_vec(rest, &mut out, FlushCompress::Sync) {
                // Room was left: everything is out.
                Ok(Status::Ok | Status::BufError) if out.len() < out.capacity() => break,
                Ok(_) => out.reserve(bytes.len() / 2 + 64),
                Err(_) => return None,
            }
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        Some(out)
    })
}

/// Why a message cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// It is not deflated, or not whole.
    Damaged,
    /// It becomes larger than allowed.
    TooLarge,
}

/// Inflates a message to at most `bytes_max` bytes. Never holds more than that.
pub fn inflate(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut out = Vec::new();
        let ended = inflate_part(inflater, bytes, &mut out, bytes_max)?;
        // A message that ended with a final block lacks no tail (RFC 7692, 7.2.3.4).
        if !ended {
            inflate_part(inflater, &TAIL, &mut out, bytes_max)?;
        }
        Ok(out)
    })
}

/// Inflates a part of a message; returns whether it ended with a final block.
fn inflate_part(
    inflater: &mut Decompress,
    mut rest: &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, InflateError> {
    loop {
        if out.len() == out.capacity() {
            // One byte more than allowed, to tell a message that just fits from one that does not.
            let room = bytes_max.saturating_add(1) - out.len();
            out.reserve_exact(out.len().max(INFLATE_BYTES_MIN).min(room));
        }
        let before = (inflater.total_in(), out.len());
        let status = inflater.decompress_vec(rest, out, FlushDecompress::None).map_err(|_| InflateError::Damaged)?;
        if out.len() > bytes_max {
            return Err(InflateError::TooLarge);
        }
        let used = (inflater.total_in() - before.0) as usize;
        rest = rest.get(used..).unwrap_or_default();
        let full = out.len() == out.capacity();
        match status {
            // Another stream may follow within the same message.
            Status::StreamEnd => {
                inflater.reset(false);
                if rest.is_empty() {
                    return Ok(true);
                }
                if used == 0 {
                    return Err(InflateError::Damaged);
                }
            }
            _ if rest.is_empty() && !full => return Ok(false),
            _ if used == 0 && out.len() == before.1 && !full => return Err(InflateError::Damaged),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(offer: &str) -> bool {
        negotiate([offer].into_iter()).is_some()
    }

    #[test]
    fn offers_are_taken_if_they_can_be_honoured() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_max_window_bits=\"15\"",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            "x-webkit-deflate-frame, Permessage-Deflate",
        ] {
            assert!(answers(offer), "{offer}");
        }
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; something_else",
        ] {
            assert!(!answers(offer), "{offer}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc_inflate() {
        let hello: [&[u8]; 4] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            // No compression.
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            // A final block.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            // Two blocks.
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        for deflated in hello {
            assert_eq!(inflate(deflated, 5).unwrap(), b"Hello", "{deflated:x?}");
            assert_eq!(inflate(deflated, 4), Err(InflateError::TooLarge));
        }
    }

    #[test]
    fn what_is_deflated_inflates_whatever_its_size() {
        for size in [0, 1, 255, 1023, 1024, 1025, 65_535, 65_536, 1_000_000] {
            let text: Vec<u8> =
                (0..size).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> (n % 25)) as u8 % 40).collect();
            let deflated = deflate(&text).unwrap();
            assert_eq!(inflate(&deflated, size as usize).unwrap(), text, "{size}");
            assert!(size == 0 || inflate(&deflated, size as usize - 1) == Err(InflateError::TooLarge));
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bomb = deflate(&vec![b'a'; 50 * 1024 * 1024]).unwrap();
        assert!(bomb.len() < 300 * 1024);
        assert_eq!(inflate(&bomb, 1024 * 1024), Err(InflateError::TooLarge));
    }

    #[test]
    fn garbage_is_damaged() {
        assert_eq!(inflate(&[0xff; 40], 1000), Err(InflateError::Damaged));
    }
}
