//! What `DUMP` answers and `RESTORE` takes, damaged where the module reads it and with a checksum that is right all the same.

use rand::RngExt;
use rand::rngs::StdRng;

/// Bytes before those of the module: the kind of value, and the name of the module's type.
pub const HEAD: usize = 10;
/// Bytes after it: the version of the format, and the checksum.
pub const FOOT: usize = 10;

/// Writes the checksum that belongs to a payload into its last eight bytes.
pub fn seal(payload: &mut [u8]) {
    let at = payload.len() - 8;
    let checksum = crc64(&payload[..at]).to_le_bytes();
    payload[at..].copy_from_slice(&checksum);
}

/// A payload that is damaged somewhere within the module's bytes, or made of the parts of two, and sealed.
pub fn damaged(chance: &mut StdRng, payload: &[u8], other: &[u8]) -> Vec<u8> {
    let foot = payload.len() - FOOT;
    let mut body = payload[HEAD..foot].to_vec();
    match chance.random_range(0..10) {
        0 => body.truncate(chance.random_range(0..body.len())),
        1 => {
            let from = chance.random_range(0..body.len());
            body.extend_from_within(from..);
        }
        2 => {
            let rest = &other[HEAD..other.len() - FOOT];
            body.truncate(chance.random_range(0..body.len()));
            body.extend_from_slice(&rest[chance.random_range(0..rest.len())..]);
        }
        3 => {
            // A number as long as there are, where a short one is likely to stand.
            let at = chance.random_range(0..body.len());
            let wide = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, chance.random()];
            body.splice(at..=at, wide);
        }
        4 => {
            let (at, count) = (chance.random_range(0..body.len()), chance.random_range(1..16));
            body.drain(at..(at + count).min(body.len()));
        }
        _ => {
            for _ in 0..chance.random_range(1..4) {
                let at = chance.random_range(0..body.len());
                body[at] =
                    if chance.random_bool(0.5) { chance.random() } else { body[at] ^ (1 << chance.random_range(0..8)) };
            }
        }
    }
    let mut all = payload[..HEAD].to_vec();
    all.extend(body);
    all.extend_from_slice(&payload[foot..]);
    seal(&mut all);
    all
}

/// CRC-64 of Jones, as Redis reckons it: reflected, from 0.
fn crc64(bytes: &[u8]) -> u64 {
    const REFLECTED: u64 = 0x95ac_9329_ac4b_c9b5;
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u64, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ REFLECTED } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| TABLE[((crc ^ u64::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

#[test]
fn the_checksum_is_that_of_redis() {
    assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
}
