//! How records are written for storage, replication and events: bincode 2 standard (little endian, varint),
//! behind this one file so that the format has one owner.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;

/// Largest record that is decoded, in bytes: a hostile length prefix must not reserve memory.
pub const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<RECORD_BYTES_MAX>> =
    bincode::config::standard().with_limit::<RECORD_BYTES_MAX>();

/// A record that could not be read; the text says where it broke.
#[derive(Debug)]
pub struct Damaged(pub String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "damaged record: {}", self.0)
    }
}
impl std::error::Error for Damaged {}

/// The library's own writer to a `Vec` goes through `io::Write`, at twice the cost.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Writer for Bytes<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Writes a record.
pub fn encode<T: bincode::Encode>(record: &T) -> Vec<u8> {
    // Most records are small; `encode_to_vec` would walk over each of them twice to find its length.
    let mut bytes = Vec::with_capacity(128);
    append(&mut bytes, record);
    bytes
}

/// Writes a record after its version byte.
pub fn encode_versioned<T: bincode::Encode>(version: u8, record: &T) -> Vec<u8> {
    // Most records are small: one allocation for nearly all of them.
    let mut bytes = Vec::with_capacity(192);
    bytes.push(version);
    append(&mut bytes, record);
    bytes
}

/// Appends a record.
pub fn append<T: bincode::Encode>(bytes: &mut Vec<u8>, record: &T) {
    // Writing to a Vec fails only for types that refuse to be encoded, which ours never do.
    let _ = bincode::encode_into_writer(record, Bytes(bytes), CONFIG);
}

/// Appends a whole number as [`append`] would, whatever its width: for records that are written at every keystroke.
#[inline]
pub(crate) fn push_number(bytes: &mut Vec<u8>, value: u64) {
    match value {
        0..=250 => bytes.push(value as u8),
        251..=0xffff => {
            bytes.push(251);
            bytes.extend_from_slice(&(value as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            bytes.push(252);
            bytes.extend_from_slice(&(value as u32).to_le_bytes());
        }
        _ => {
            bytes.push(253);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends a text as [`append`] would.
#[inline]
pub(crate) fn push_text(bytes: &mut Vec<u8>, text: &str) {
    push_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Reads a record and says how many bytes it took.
pub fn decode<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<(T, usize), Damaged> {
    bincode::decode_from_slice(bytes, CONFIG).map_err(|e| Damaged(e.to_string()))
}

/// Reads a record whose texts stay where they are; it must take all the bytes.
pub fn decode_in_place<'a, T: bincode::BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Damaged> {
    let (record, used) = bincode::borrow_decode_from_slice(bytes, CONFIG).map_err(|e| Damaged(e.to_string()))?;
    if used == bytes.len() { Ok(record) } else { Err(Damaged(format!("{} bytes left over", bytes.len() - used))) }
}

/// Reads a record that must take all the bytes.
pub fn decode_all<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, Damaged> {
    let (record, used) = decode(bytes)?;
    if used == bytes.len() { Ok(record) } else { Err(Damaged(format!("{} bytes left over", bytes.len() - used))) }
}
