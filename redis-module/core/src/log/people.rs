//! Who wrote what, who is named where, and how far everybody has read: what counts of the unread are made of.
//!
//! Numbers stand in order, so a count above a watermark is one binary search. All of it but the watermarks follows
//! from the messages and is made again when a log is loaded.

use super::message::{EVERYBODY, Message};
use super::names::{Name, Names};
use foldhash::HashMap;
use std::collections::{BTreeMap, VecDeque};

/// Numbers of messages in ascending order.
type Numbers = VecDeque<u64>;

/// One user as the log knows them.
#[derive(Debug, PartialEq)]
struct Person {
    name: Name,
    /// Messages of theirs that are kept and not deleted.
    own: Numbers,
    /// Those of them that name everybody.
    calls: Numbers,
    /// Messages of others that name them and not everybody, kept and not deleted.
    mentioned: Numbers,
    /// The newest message that they have read; 0 if they never said.
    read: u64,
    /// The revision that this watermark was moved at.
    read_rev: u64,
}

/// How much of a log somebody has not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unread {
    /// The watermark: the newest message that they said they have read.
    pub read: u64,
    /// Messages of others after it that are not deleted.
    pub unread: u64,
    /// How many of those name them, or everybody.
    pub mentions: u64,
}

/// Everybody who wrote, is named, or has read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct People {
    pub(super) names: Names,
    known: HashMap<Name, Person>,
    /// Messages that name everybody.
    calls: Numbers,
    /// Deleted messages whose place is kept.
    deleted: Numbers,
    /// Who moved their watermark at which revision, newest last.
    reads: BTreeMap<u64, Name>,
}

impl People {
    fn person(&mut self, name: &str) -> &mut Person {
        let name = self.names.share(name);
        self.known.entry(name.clone()).or_insert_with(|| {
            let (own, calls, mentioned) = Default::default();
            Person { name, own, calls, mentioned, read: 0, read_rev: 0 }
        })
    }

    /// Counts a new message of a user; answers the name to keep in it.
    pub(super) fn wrote(&mut self, user: &str, n: u64) -> Name {
        // Nearly always they are known: one look.
        if let Some(person) = self.known.get_mut(user) {
            person.own.push_back(n);
            return person.name.clone();
        }
        let person = self.person(user);
        person.own.push_back(n);
        person.name.clone()
    }

    /// Counts whom a message names.
    pub(super) fn names_in(&mut self, n: u64, author: &str, mentions: &[Name]) {
        if mentions.iter().any(|name| &**name == EVERYBODY) {
            insert(&mut self.calls, n);
            insert(&mut self.person(author).calls, n);
            return;
        }
        for name in mentions.iter().filter(|name| &***name != author) {
            insert(&mut self.person(name).mentioned, n);
        }
    }

    /// Takes back what [`People::names_in`] counted.
    pub(super) fn names_no_more(&mut self, n: u64, author: &str, mentions: &[Name]) {
        if mentions.is_empty() {
            return;
        }
        remove(&mut self.calls, n);
        if let Some(person) = self.known.get_mut(author) {
            remove(&mut person.calls, n);
        }
        for name in mentions {
            if let Some(person) = self.known.get_mut(name) {
                remove(&mut person.mentioned, n);
            }
            self.forget_if_idle(name);
        }
    }

    /// A message was deleted: it is nobody's any more, and names nobody.
    pub(super) fn deleted(&mut self, n: u64, author: &str, mentions: &[Name]) {
        self.names_no_more(n, author, mentions);
        if let Some(person) = self.known.get_mut(author) {
            remove(&mut person.own, n);
        }
        self.forget_if_idle(author);
        insert(&mut self.deleted, n);
    }

    /// The oldest message left the log.
    pub(super) fn dropped(&mut self, message: Message) {
        let Message { n, user, client, more, .. } = message;
        let more = more.map(|more| *more).unwrap_or_default();
        self.names_no_more(n, &user, &more.mentions);
        remove(&mut self.deleted, n);
        let mut is_idle = false;
        if let Some(person) = self.known.get_mut(&user) {
            remove(&mut person.own, n);
            is_idle = person.own.is_empty();
        }
        if is_idle {
            self.forget_if_idle(&user);
        }
        self.names.release(user);
        if let Some(client) = client {
            self.names.release(client);
        }
        more.into_names().for_each(|name| self.names.release(name));
    }

    fn forget_if_idle(&mut self, name: &str) {
        let is_idle = |p: &Person| p.own.is_empty() && p.mentioned.is_empty() && p.read_rev == 0;
        if self.known.get(name).is_some_and(is_idle)
            && let Some((key, person)) = self.known.remove_entry(name)
        {
            drop(key);
            self.names.release(person.name);
        }
    }

    /// The watermark of a user.
    pub(super) fn read_by(&self, user: &str) -> u64 {
        self.known.get(user).map_or(0, |person| person.read)
    }

    /// Moves the watermark of a user.
    pub(super) fn read(&mut self, user: &str, n: u64, rev: u64) {
        let person = self.person(user);
        person.read = n;
        let (before, name) = (std::mem::replace(&mut person.read_rev, rev), person.name.clone());
        self.reads.remove(&before);
        self.reads.insert(rev, name);
    }

    /// Forgets the watermarks that were moved longest ago.
    pub(super) fn forget_reads(&mut self, count: u64) {
        for _ in 0..count {
            let Some((_, name)) = self.reads.pop_first() else { return };
            if let Some(person) = self.known.get_mut(&name) {
                (person.read, person.read_rev) = (0, 0);
            }
            self.forget_if_idle(&name);
            self.names.release(name);
        }
    }

    /// How many watermarks are known.
    pub(super) fn readers(&self) -> usize {
        self.reads.len()
    }

    /// Watermarks moved after a revision, oldest move first: (revision, user, number).
    pub(super) fn reads_after(&self, rev: u64) -> impl DoubleEndedIterator<Item = (u64, &Name, u64)> {
        self.reads.range(rev.saturating_add(1)..).map(|(rev, name)| (*rev, name, self.read_by(name)))
    }

    /// What a user has not read of the messages from `first` to `newest`.
    pub(super) fn unread(&self, user: &str, first: u64, newest: u64) -> Unread {
        let person = self.known.get(user);
        let read = person.map_or(0, |person| person.read);
        let after = read.max(first.saturating_sub(1)).min(newest);
        let of = |numbers: fn(&Person) -> &Numbers| person.map_or(0, |person| count_after(numbers(person), after));
        let unread = (newest - after).saturating_sub(of(|p| &p.own) + count_after(&self.deleted, after));
        let called = count_after(&self.calls, after).saturating_sub(of(|p| &p.calls));
        Unread { read, unread, mentions: called + of(|p| &p.mentioned) }
    }

    /// How many messages are deleted and keep their place.
    pub(super) fn deleted_count(&self) -> usize {
        self.deleted.len()
    }

    /// Bytes on the heap, within a few per cent.
    pub(super) fn heap_bytes(&self) -> usize {
        let numbers = |deque: &Numbers| deque.capacity() * size_of::<u64>();
        let of_people: usize =
            self.known.values().map(|p| numbers(&p.own) + numbers(&p.calls) + numbers(&p.mentioned)).sum();
        // A B-tree's nodes are about two thirds full.
        let reads = self.reads.len() * size_of::<(u64, Name)>() * 3 / 2;
        self.names.heap_bytes()
            + self.known.capacity() * (size_of::<(Name, Person)>() + 1)
            + of_people
            + reads
            + numbers(&self.calls)
            + numbers(&self.deleted)
    }
}

fn count_after(numbers: &Numbers, n: u64) -> u64 {
    (numbers.len() - numbers.partition_point(|at| *at <= n)) as u64
}

fn insert(numbers: &mut Numbers, n: u64) {
    let at = numbers.partition_point(|at| *at < n);
    if numbers.get(at) != Some(&n) {
        numbers.insert(at, n);
    }
}

fn remove(numbers: &mut Numbers, n: u64) {
    // Nearly always the oldest is looked for.
    if numbers.front() == Some(&n) {
        numbers.pop_front();
    } else if let Ok(at) = numbers.binary_search(&n) {
        numbers.remove(at);
    }
}
