//! Arguments: bytes become types here, once, and what is left over is refused.

use crate::ffi::Word;
use crate::reply::Trouble;
use stoa_core::epoch::Epoch;
use stoa_core::refusal::Refusal;

/// Longest keyword, in bytes.
const KEYWORD_BYTES_MAX: usize = 12;

/// A cursor over the arguments after the command's name.
pub(crate) struct Args<'a> {
    items: &'a [Word<'a>],
}

impl<'a> Args<'a> {
    pub(crate) fn new(items: &'a [Word<'a>]) -> Self {
        Args { items }
    }

    /// The next argument as the server holds it: for keys.
    pub(crate) fn word(&mut self, what: &str) -> Result<Word<'a>, Trouble> {
        let (first, rest) = self.items.split_first().ok_or_else(|| Refusal::argument(format!("{what} is missing")))?;
        self.items = rest;
        Ok(*first)
    }

    /// The next argument as it is.
    pub(crate) fn bytes(&mut self, what: &str) -> Result<&'a [u8], Trouble> {
        Ok(self.word(what)?.bytes())
    }

    /// The next argument as UTF-8.
    pub(crate) fn text(&mut self, what: &str) -> Result<&'a str, Trouble> {
        let bytes = self.bytes(what)?;
        std::str::from_utf8(bytes).map_err(|_| Refusal::argument(format!("{what} is not UTF-8")).into())
    }

    /// The next argument as an unsigned integer: digits alone, no sign.
    pub(crate) fn integer(&mut self, what: &str) -> Result<u64, Trouble> {
        let bytes = self.bytes(what)?;
        parse_integer(bytes).ok_or_else(|| Refusal::argument(format!("{what} has to be an integer from 0 on")).into())
    }

    /// The next argument as an epoch, `7.9f3a12c0`.
    pub(crate) fn epoch(&mut self) -> Result<Epoch, Trouble> {
        let text = self.text("epoch")?;
        text.parse().map_err(|()| Refusal::argument("an epoch looks like 7.9f3a12c0").into())
    }

    /// The next keyword, or `None` at the end.
    pub(crate) fn keyword(&mut self) -> Option<Keyword> {
        let (first, rest) = self.items.split_first()?;
        self.items = rest;
        Some(Keyword::of(first.bytes()))
    }

    /// Whether another argument is there that is no keyword among `keywords`.
    pub(crate) fn has_value(&self, keywords: &[&str]) -> bool {
        let is_keyword = |item: &[u8]| keywords.iter().any(|k| item.eq_ignore_ascii_case(k.as_bytes()));
        self.items.first().is_some_and(|item| !is_keyword(item.bytes()))
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [Word<'a>] {
        self.items
    }

    /// What is left without the first ones.
    pub(crate) fn after(self, count: usize) -> Args<'a> {
        Args { items: self.items.get(count..).unwrap_or_default() }
    }

    /// Cuts off what stands from a place on, and answers it.
    pub(crate) fn split_off(&mut self, at: usize) -> Args<'a> {
        let (items, cut) = self.items.split_at_checked(at).unwrap_or((self.items, &[]));
        self.items = items;
        Args { items: cut }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Refuses what is left over.
    pub(crate) fn end(&self) -> Result<(), Trouble> {
        match self.items.first() {
            None => Ok(()),
            Some(extra) => Err(unknown(&Keyword::of(extra.bytes()))),
        }
    }
}

/// A word in upper case, on the stack: reading options allocates nothing.
#[derive(Default)]
pub(crate) struct Keyword {
    upper: [u8; KEYWORD_BYTES_MAX],
    len: usize,
}

impl Keyword {
    fn of(bytes: &[u8]) -> Self {
        let mut upper = [0; KEYWORD_BYTES_MAX];
        // What is too long, or not ASCII, is no keyword; a mark at its end keeps it from looking like one.
        let len = bytes.len().min(KEYWORD_BYTES_MAX);
        for (to, from) in upper.iter_mut().zip(bytes) {
            *to = if from.is_ascii_graphic() { from.to_ascii_uppercase() } else { b'?' };
        }
        if bytes.len() > KEYWORD_BYTES_MAX {
            upper[KEYWORD_BYTES_MAX - 1] = b'~';
        }
        Keyword { upper, len }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.upper[..self.len]).unwrap_or("")
    }
}

/// The refusal of a word that is no option of the command.
pub(crate) fn unknown(word: &Keyword) -> Trouble {
    if word.as_str() == "LIMITS" {
        let message = "LIMITS, in commands that take it, ends the command: LIMITS n, and n times key burst count period_ms, \
                       the keys of the room, n from 1 to 8";
        return Refusal::argument(message).into();
    }
    Refusal::argument(format!("`{}` is not an option of this command", word.as_str())).into()
}

/// Sets an option, once.
pub(crate) fn once<T>(option: &mut Option<T>, what: &str, value: T) -> Result<(), Trouble> {
    if option.replace(value).is_some() {
        return Err(Refusal::argument(format!("{what} is given twice")).into());
    }
    Ok(())
}

fn parse_integer(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}
