//! The identity of a write: who remembers which sequences, so that a resend is answered and not applied twice.

use crate::bounds::{Bounds, ID_BYTES_MAX, SEQUENCES_PER_WRITER};
use crate::refusal::{Code, Refusal};
use bincode::{Decode, Encode};
use foldhash::{HashMap, HashMapExt};
use std::borrow::Borrow;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// (client id, sequence), chosen by whoever writes. Sequences of one client grow; gaps are fine, and a write that was
/// overtaken by a later one of its client, or lost with a primary, may come after it.
///
/// The user is part of the identity: nobody can use up the sequences of somebody else's client.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Identity {
    /// The user that writes; empty where the caller names none.
    pub user: String,
    /// Names one client (a tab, a worker); unique for as long as its sequences are remembered.
    pub client: String,
    /// Counts the client's writes to this stream, from 1.
    pub seq: u64,
}

impl Identity {
    /// An identity, if its parts are within their bounds.
    pub fn new(user: &str, client: &str, seq: u64) -> Result<Self, Refusal> {
        check_id("user", user, true)?;
        check_id("client", client, false)?;
        if seq == 0 {
            return Err(Refusal::argument("seq counts from 1"));
        }
        Ok(Identity { user: user.to_owned(), client: client.to_owned(), seq })
    }
}

/// Checks a user, connection, node or client id: 1 to 128 bytes, no control characters.
pub fn check_id(what: &str, id: &str, may_be_empty: bool) -> Result<(), Refusal> {
    if id.is_empty() && !may_be_empty {
        return Err(Refusal::argument(format!("{what} is empty")));
    }
    if id.len() > ID_BYTES_MAX {
        return Err(Refusal::argument(format!("{what} has {} bytes, at most {ID_BYTES_MAX} are allowed", id.len())));
    }
    let is_plain = id.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte));
    if !is_plain && id.chars().any(char::is_control) {
        return Err(Refusal::argument(format!("{what} contains a control character")));
    }
    Ok(())
}

/// What a write was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The revision that the write created.
    pub rev: u64,
    /// The number that it was given, where the stream numbers things apart from revisions.
    pub number: u64,
}

/// What is known of an identity that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Never seen: go on.
    New,
    /// Accepted before, with this answer.
    Accepted(Answer),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
struct Sequences {
    last: u64,
    at_ms: u64,
    /// By sequence. Only the lowest are ever dropped, so whatever is above the lowest and not here was never accepted.
    recent: VecDeque<(u64, Answer)>,
}

impl Sequences {
    fn push(&mut self, seq: u64, answer: Answer, at_ms: u64) {
        self.last = self.last.max(seq);
        self.at_ms = at_ms;
        if self.recent.len() == SEQUENCES_PER_WRITER {
            self.recent.pop_front();
        }
        // Nearly always at the end.
        let at = self.recent.partition_point(|(known, _)| *known < seq);
        self.recent.insert(at, (seq, answer));
    }
}

/// The writers of one stream and the answers to their last sequences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writers {
    known: HashMap<(String, String), Sequences>,
}

/// A writer's name, owned or borrowed, so that looking one up copies no text.
trait Name {
    fn parts(&self) -> (&str, &str);
}

impl Name for (String, String) {
    fn parts(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
}

impl Name for Identity {
    fn parts(&self) -> (&str, &str) {
        (&self.user, &self.client)
    }
}

impl<'a> Borrow<dyn Name + 'a> for (String, String) {
    fn borrow(&self) -> &(dyn Name + 'a) {
        self
    }
}

// Both as the tuple of strings has them, as `Borrow` asks.
impl Hash for dyn Name + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}
impl PartialEq for dyn Name + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}
impl Eq for dyn Name + '_ {}

impl Writers {
    /// Was this write accepted before?
    ///
    /// Refuses with `FORGOTTEN` a sequence that is older than all that are remembered of a known client, where some
    /// are not any more: it may have been accepted, so applying it could double it.
    pub fn look_up(&self, identity: &Identity) -> Result<Known, Refusal> {
        let Some(sequences) = self.known.get(identity as &dyn Name) else {
            return Ok(Known::New);
        };
        if identity.seq > sequences.last {
            return Ok(Known::New);
        }
        let at = match sequences.recent.binary_search_by_key(&identity.seq, |(seq, _)| *seq) {
            Ok(at) => return Ok(Known::Accepted(sequences.recent[at].1)),
            Err(at) => at,
        };
        if at > 0 || sequences.recent.len() < SEQUENCES_PER_WRITER {
            return Ok(Known::New);
        }
        Err(Refusal::new(
            Code::Forgotten,
            format!(
                "sequence {} of this client is far before its last one, {}, and its answer is not remembered",
                identity.seq, sequences.last
            ),
        ))
    }

    /// Whether a write with this identity does nothing: it was accepted before, or too long ago to be told apart.
    pub fn knows(&self, identity: &Identity) -> bool {
        !matches!(self.look_up(identity), Ok(Known::New))
    }

    /// Remembers an accepted write.
    pub fn remember(&mut self, identity: &Identity, answer: Answer, at_ms: u64, bounds: &Bounds) {
        if let Some(sequences) = self.known.get_mut(identity as &dyn Name) {
            sequences.push(identity.seq, answer, at_ms);
            return;
        }
        if self.known.len() >= bounds.writers_max {
            self.forget_oldest(at_ms, bounds);
        }
        let sequences = self.known.entry((identity.user.clone(), identity.client.clone())).or_default();
        sequences.push(identity.seq, answer, at_ms);
    }

    /// How many writers are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody has written yet.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Bytes held on the heap, within a few per cent.
    pub fn heap_bytes(&self) -> usize {
        let table = self.known.capacity() * (size_of::<((String, String), Sequences)>() + 1);
        let owned: usize = self
            .known
            .iter()
            .map(|((user, client), s)| {
                user.capacity() + client.capacity() + s.recent.capacity() * size_of::<(u64, Answer)>()
            })
            .sum();
        table + owned
    }

    /// Makes room for a tenth of the bound at once, so that the cost is spread over as many writers. First goes
    /// what is past its age, then what wrote longest ago. The choice depends on the stored state alone, so a
    /// replica makes the same.
    fn forget_oldest(&mut self, now_ms: u64, bounds: &Bounds) {
        let horizon = now_ms.saturating_sub(bounds.writer_age_ms_max);
        self.known.retain(|_, s| s.at_ms >= horizon);
        let keep = bounds.writers_max - bounds.writers_max / 10 - 1;
        if self.known.len() <= keep {
            return;
        }
        let mut ages: Vec<(u64, (String, String))> = self.known.iter().map(|(key, s)| (s.at_ms, key.clone())).collect();
        ages.sort_unstable();
        for (_, key) in ages.iter().take(self.known.len() - keep) {
            self.known.remove(key);
        }
    }
}

// Written in key order, so that equal states give equal bytes and digests.
impl Encode for Writers {
    fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        let mut sorted: Vec<_> = self.known.iter().collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
        Encode::encode(&(sorted.len() as u64), encoder)?;
        for entry in sorted {
            Encode::encode(&entry, encoder)?;
        }
        Ok(())
    }
}

impl<C> Decode<C> for Writers {
    fn decode<D: bincode::de::Decoder<Context = C>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        let count = u64::decode(decoder)?;
        let mut known = HashMap::new();
        for _ in 0..count {
            let (key, sequences) = <((String, String), Sequences)>::decode(decoder)?;
            known.insert(key, sequences);
        }
        Ok(Writers { known })
    }
}

bincode::impl_borrow_decode!(Writers);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn id(client: &str, seq: u64) -> Identity {
        Identity::new("ada", client, seq).unwrap()
    }
    fn answer(rev: u64) -> Answer {
        Answer { rev, number: 0 }
    }

    #[test]
    fn a_resend_is_answered_with_the_first_answer() {
        let mut writers = Writers::default();
        let bounds = Bounds::default();
        assert_eq!(writers.look_up(&id("tab", 1)), Ok(Known::New));
        writers.remember(&id("tab", 1), answer(7), 0, &bounds);
        assert_eq!(writers.look_up(&id("tab", 1)), Ok(Known::Accepted(answer(7))));
        assert_eq!(writers.look_up(&id("tab", 2)), Ok(Known::New));
    }

    #[test]
    fn a_sequence_from_before_memory_is_refused_and_never_applied() {
        let mut writers = Writers::default();
        let bounds = Bounds::default();
        for seq in 1..=SEQUENCES_PER_WRITER as u64 + 1 {
            writers.remember(&id("tab", seq), answer(seq), 0, &bounds);
        }
        assert_eq!(writers.look_up(&id("tab", 1)).unwrap_err().code, Code::Forgotten);
        assert_eq!(writers.look_up(&id("tab", 2)), Ok(Known::Accepted(answer(2))));
    }

    #[test]
    fn a_write_that_was_overtaken_is_new_once() {
        let mut writers = Writers::default();
        let bounds = Bounds::default();
        writers.remember(&id("tab", 1), answer(1), 0, &bounds);
        writers.remember(&id("tab", 4), answer(2), 0, &bounds);
        for (rev, seq) in [(3, 3), (4, 2)] {
            assert_eq!(writers.look_up(&id("tab", seq)), Ok(Known::New));
            writers.remember(&id("tab", seq), answer(rev), 0, &bounds);
            assert_eq!(writers.look_up(&id("tab", seq)), Ok(Known::Accepted(answer(rev))));
        }
        // However the rest comes, nothing that was accepted is ever taken for new.
        let many = SEQUENCES_PER_WRITER as u64 * 2;
        let mut accepted = vec![1, 2, 3, 4];
        for seq in (6..many).step_by(2).flat_map(|seq| [seq, seq - 1]) {
            if writers.look_up(&id("tab", seq)) == Ok(Known::New) {
                writers.remember(&id("tab", seq), answer(seq), 0, &bounds);
                accepted.push(seq);
            }
            for seq in &accepted {
                assert_ne!(writers.look_up(&id("tab", *seq)), Ok(Known::New), "{seq}");
            }
        }
    }

    #[test]
    fn nobody_uses_up_the_sequences_of_another_user() {
        let mut writers = Writers::default();
        let mallory = Identity::new("mallory", "tab", 99).unwrap();
        writers.remember(&mallory, answer(1), 0, &Bounds::default());
        assert_eq!(writers.look_up(&id("tab", 1)), Ok(Known::New));
    }

    #[test]
    fn memory_of_writers_is_bounded_and_the_oldest_go_first() {
        let bounds = Bounds { writers_max: 100, ..Bounds::default() };
        let mut writers = Writers::default();
        for n in 0..1_000u64 {
            writers.remember(&id(&format!("tab{n}"), 1), answer(n), n, &bounds);
            assert!(writers.len() <= 100);
        }
        assert_eq!(writers.look_up(&id("tab999", 1)), Ok(Known::Accepted(answer(999))));
        assert_eq!(writers.look_up(&id("tab0", 1)), Ok(Known::New));
    }

    #[test]
    fn equal_memories_have_equal_bytes() {
        let bounds = Bounds::default();
        let (mut a, mut b) = (Writers::default(), Writers::default());
        for n in 0..50 {
            a.remember(&id(&format!("c{n}"), 1), answer(n), 0, &bounds);
            b.remember(&id(&format!("c{}", 49 - n), 1), answer(49 - n), 0, &bounds);
        }
        let bytes = codec::encode(&a);
        assert_eq!(bytes, codec::encode(&b));
        assert_eq!(codec::decode_all::<Writers>(&bytes).unwrap(), a);
    }
}
