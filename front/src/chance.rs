//! Chance: ids that nobody can guess, and jitter.

use std::time::Duration;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Characters of an id.
pub(crate) const ID_LEN: usize = 20;

/// An id of 20 characters with 100 bits of chance.
pub(crate) fn id() -> String {
    bytes::<ID_LEN>().iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

/// Bytes from the system's source of chance.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Ids that can be guessed would let one user act as another, so there is no way on.
        panic!("the system has no source of chance: {error}");
    }
    bytes
}

/// A duration between zero and `max`.
pub(crate) fn jitter(max: Duration) -> Duration {
    max.mul_f64(f64::from(u32::from_le_bytes(bytes())) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_fit_where_ids_go() {
        let (a, b) = (id(), id());
        assert_ne!(a, b);
        assert_eq!(a.len(), 20);
        assert!(a.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
