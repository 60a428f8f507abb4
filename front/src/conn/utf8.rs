//! UTF-8 that comes in pieces.

/// Checks a text piece by piece, and says no at the first piece that cannot be part of one.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose rest has not come.
    begun: [u8; 4],
    begun_len: u8,
}

impl Utf8 {
    /// Takes the next piece in. That the text does not end within a character is for the caller to check.
    pub(super) fn goes_on(&mut self, mut piece: &[u8]) -> bool {
        while self.begun_len > 0 {
            let Some((&next, rest)) = piece.split_first() else { return true };
            let len = usize::from(self.begun_len);
            self.begun[len] = next;
            piece = rest;
            match std::str::from_utf8(&self.begun[..=len]) {
                Ok(_) => self.begun_len = 0,
                // At most four bytes make a character, so this ends before `begun` does.
                Err(error) if error.error_len().is_none() => self.begun_len += 1,
                Err(_) => return false,
            }
        }
        let Err(error) = std::str::from_utf8(piece) else { return true };
        let begun = &piece[error.valid_up_to()..];
        if error.error_len().is_some() {
            return false;
        }
        self.begun[..begun.len()].copy_from_slice(begun);
        self.begun_len = begun.len() as u8;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether all pieces of `bytes` are taken, however it is cut.
    fn takes(bytes: &[u8]) -> bool {
        let cut = |size: usize| {
            let mut utf8 = Utf8::default();
            bytes.chunks(size).all(|piece| utf8.goes_on(piece)) && utf8.begun_len == 0
        };
        let by_one = cut(1);
        assert!((2..9).all(|size| cut(size) == by_one), "{bytes:?}");
        by_one
    }

    #[test]
    fn characters_may_be_cut_anywhere() {
        assert!(takes("aé漢😀\u{0}\u{10ffff}𝄞z".as_bytes()));
        assert!(takes(b""));
    }

    #[test]
    fn what_is_not_utf8_is_refused_however_it_is_cut() {
        for bytes in [
            &b"a\x80"[..],
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf8",
            b"\xe6\xbc",
            b"\xff",
            b"\xe6a\xa2",
        ] {
            assert!(!takes(bytes), "{bytes:?}");
        }
    }
}
