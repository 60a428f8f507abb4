//! Judges a history: does it keep the promise of delivery? Plain code without a network, linear in the history.
//!
//! The promise, per stream:
//! * [`Promise::Order`]: every client gets the events in the one order, without a hole, from where it stood; a break is
//!   announced by a snapshot, and only where one is due.
//! * [`Promise::Once`]: one identity becomes one thing, and no client gets anything twice.
//! * [`Promise::Kept`]: what was accepted stays, as it was sent, and reaches everybody who was following.
//! * [`Promise::SameAnswer`]: a write that is sent again is answered as it was the first time.
//! * [`Promise::Arrival`]: once everything is quiet, everybody stands at the head.
//! * [`Promise::Agreement`]: and shows what the server holds; at one revision everybody got the same.
//!
//! Where servers fail ([`Terms`]), history may end before what somebody saw. Then nobody keeps what is no part of what
//! remained: whoever saw it is told, by a snapshot that says so and only then; and what was accepted there is either not
//! lost at all or sent again. That is in `lost`.
//!
//! A kind of event is never looked at: what counts is from which revision it leads to which. [`crate::damage`] proves
//! that each promise is really watched.

mod lost;

use lost::Standing;
pub use lost::count_lost;

use crate::history::{End, Event, Fact, History, Identity, Record, Terms, is_later_name};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use stoa_core::epoch::{Epoch, Position};

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The page above says what they are.
pub enum Promise {
    Order,
    Once,
    Kept,
    SameAnswer,
    Arrival,
    Agreement,
}

/// A broken promise, with what proves it.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// In which stream.
    pub stream: Arc<str>,
    /// Who saw it; empty if the server's history alone shows it.
    pub client: Arc<str>,
    /// What is wrong.
    pub what: String,
    /// The records that show it.
    pub evidence: Vec<Record>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} broken in {} for {:?}: {}", self.promise, self.stream, self.client, self.what)?;
        self.evidence.iter().try_for_each(|record| write!(f, "\n    {}", record.to_json()))
    }
}

/// Finds every broken promise of a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut streams: BTreeMap<&Arc<str>, Stream<'_>> = BTreeMap::new();
    for record in history.records.iter().filter(|record| !record.stream.is_empty()) {
        streams.entry(&record.stream).or_insert_with(|| Stream::new(&record.stream, history)).take(record);
    }
    for name in history.ends.keys() {
        streams.entry(name).or_insert_with(|| Stream::new(name, history));
    }
    streams.into_values().flat_map(Stream::end).collect()
}

/// Name, epoch, and the revisions between which it leads.
type Step<'h> = (&'h str, Epoch, u64, u64);

/// What is known of one stream while the history is read.
struct Stream<'h> {
    name: &'h Arc<str>,
    page: u64,
    terms: Terms,
    end: Option<&'h End>,
    walks: BTreeMap<&'h Arc<str>, Walk<'h>>,
    fates: HashMap<&'h Identity, Fate<'h>>,
    /// What came under a name at a step from one revision to another.
    steps: HashMap<Step<'h>, (&'h Event, Option<&'h Record>)>,
    /// Changes that were accepted: of what, and where.
    touched: Vec<(u64, Position, &'h Record)>,
    /// Writes that were accepted and are no part of what remained.
    lost: Vec<(&'h Identity, Position, &'h Record)>,
    violations: Vec<Violation>,
}

/// How far one client has come.
#[derive(Default)]
struct Walk<'h> {
    at: Option<Position>,
    last: Option<&'h Record>,
    /// Stretches of revisions in which nothing may be missing: after the first, up to and with the second.
    followed: Vec<(u64, u64)>,
    items: HashSet<u64>,
    shows: Option<(&'h str, &'h Record)>,
    knows: Option<(&'h BTreeMap<u64, String>, &'h Record)>,
    /// What it was told first, since the last snapshot, that is no part of what remained.
    phantom: Option<&'h Record>,
    /// When it was told that history ended.
    told: Vec<Duration>,
}

/// What became of one write.
#[derive(Default)]
struct Fate<'h> {
    sent: Option<&'h Record>,
    body: Option<u64>,
    /// What it is, by the first who told.
    item: Option<(u64, Option<&'h Record>)>,
    /// The first answer.
    answer: Option<(Position, Option<u64>, &'h Record)>,
    /// The answer that says that it was new.
    fresh: Option<&'h Record>,
}

impl<'h> Stream<'h> {
    fn new(name: &'h Arc<str>, history: &'h History) -> Self {
        Stream {
            name,
            page: history.page,
            terms: history.terms,
            end: history.ends.get(name),
            walks: BTreeMap::new(),
            fates: HashMap::new(),
            steps: HashMap::new(),
            touched: Vec::new(),
            lost: Vec::new(),
            violations: Vec::new(),
        }
    }

    fn broken(&mut self, promise: Promise, client: &Arc<str>, what: String, evidence: &[Option<&Record>]) {
        let evidence = evidence.iter().flatten().map(|record| (*record).clone()).collect();
        self.violations.push(Violation { promise, stream: self.name.clone(), client: client.clone(), what, evidence });
    }

    fn take(&mut self, record: &'h Record) {
        match &record.fact {
            Fact::Sent { identity, body } => self.sent(record, identity, *body),
            Fact::Accepted { identity, at, item, touched, duplicate } => {
                match self.standing(*at) {
                    Standing::Kept => {}
                    Standing::Lost => return self.lose(record, identity, *at),
                    Standing::Forgotten => return,
                }
                self.touched.extend(touched.map(|item| (item, *at, record)));
                self.accepted(record, identity, *at, *item, *duplicate);
            }
            Fact::Refused { identity, code, retry } => {
                // Who bases an edit on what was lost is told so, and gets the snapshot.
                let is_told = self.terms != Terms::Steady && matches!(code.as_str(), "ROLLBACK" | "RESET");
                if !retry && !is_told {
                    let what = format!("{}:{} was refused for good: {code}", identity.client, identity.seq);
                    self.broken(Promise::Kept, &record.client, what, &[Some(record)]);
                }
            }
            Fact::Delivered(event) => self.delivered(record, event),
            Fact::Snapshot { because, at } => self.snapshot(record, because, *at),
            Fact::Reset => {
                let last = self.walk(record).last.replace(record);
                self.walk(record).at = None;
                self.broken(Promise::Kept, &record.client, "the stream was lost".into(), &[last, Some(record)]);
            }
            Fact::Stands(at) => self.stands(record, *at),
            Fact::Shows(what) => self.walk(record).shows = Some((what, record)),
            Fact::Knows(items) => self.walk(record).knows = Some((items, record)),
            Fact::Broken(why) => {
                let last = self.walk(record).last;
                self.broken(Promise::Agreement, &record.client, why.clone(), &[last, Some(record)]);
            }
            Fact::Note(_) => {}
        }
    }

    fn walk(&mut self, record: &'h Record) -> &mut Walk<'h> {
        self.walks.entry(&record.client).or_default()
    }

    fn sent(&mut self, record: &'h Record, identity: &'h Identity, body: Option<u64>) {
        let fate = self.fates.entry(identity).or_default();
        fate.sent.get_or_insert(record);
        fate.body = fate.body.or(body);
    }

    fn accepted(
        &mut self,
        record: &'h Record,
        identity: &'h Identity,
        at: Position,
        item: Option<u64>,
        duplicate: bool,
    ) {
        let fate = self.fates.entry(identity).or_default();
        let (sent, first, fresh) = (fate.sent, fate.answer, fate.fresh);
        fate.answer.get_or_insert((at, item, record));
        if !duplicate {
            fate.fresh.get_or_insert(record);
        }
        if sent.is_none() {
            self.broken(Promise::SameAnswer, &record.client, "accepted and never sent".into(), &[Some(record)]);
        }
        if let Some((first_at, first_item, before)) = first
            && (first_at, first_item) != (at, item)
        {
            let what = "a resend got another answer".to_owned();
            self.broken(Promise::SameAnswer, &record.client, what, &[Some(before), Some(record)]);
        }
        if let (false, Some(before)) = (duplicate, fresh) {
            let what = "a resend was taken for a new write".to_owned();
            self.broken(Promise::SameAnswer, &record.client, what, &[Some(before), Some(record)]);
        }
        if let Some(item) = item {
            self.became(identity, item, Some(record), &record.client);
        }
    }

    /// Somebody says what an identity is; everybody has to say the same.
    fn became(&mut self, identity: &'h Identity, item: u64, record: Option<&'h Record>, client: &Arc<str>) {
        let fate = self.fates.entry(identity).or_default();
        let (first, before) = *fate.item.get_or_insert((item, record));
        if first != item {
            let what = format!("{}:{} is {first} and {item}", identity.client, identity.seq);
            self.broken(Promise::Once, client, what, &[before, record]);
        }
    }

    fn delivered(&mut self, record: &'h Record, event: &'h Event) {
        let standing = self.standing(event.to);
        let walk = self.walk(record);
        let (before, last) = (walk.at.replace(event.to), walk.last.replace(record));
        let fits = before.is_some_and(|at| at.rev == event.from && follows(event.to.epoch, at.epoch));
        if standing == Standing::Lost {
            walk.phantom.get_or_insert(record);
        }
        // What nobody remembers may be part of what remained, or of what was lost: it counts as seen, and nothing follows for
        // what else there was at its revisions.
        if standing != Standing::Lost {
            walk.items.extend(event.item);
        }
        if standing == Standing::Kept {
            match walk.followed.last_mut() {
                Some((_, to)) if fits && *to == event.from => *to = event.to.rev,
                _ => walk.followed.push((event.from, event.to.rev)),
            }
        }
        let evidence = &[last, Some(record)];
        let wrong = match before {
            _ if event.to.rev <= event.from => Some((Promise::Order, "an event that leads nowhere".to_owned())),
            None => Some((Promise::Order, "an event of a stream that nobody opened".to_owned())),
            Some(_) if fits => None,
            Some(at) if event.to.rev <= at.rev => {
                Some((Promise::Once, format!("revision {} came again after {at}", event.to.rev)))
            }
            Some(at) => Some((Promise::Order, format!("from {} to {} came after {at}", event.from, event.to))),
        };
        if let Some((promise, what)) = wrong {
            self.broken(promise, &record.client, what, evidence);
        }
        self.same_step(event, Some(record), &record.client);
        if let (Some(identity), Some(item)) = (&event.identity, event.item.filter(|_| standing == Standing::Kept)) {
            self.became(identity, item, Some(record), &record.client);
            self.same_body(identity, event, Some(record), &record.client);
        }
    }

    /// Under one name a step of the stream is one event, whoever gets it by whatever way.
    fn same_step(&mut self, event: &'h Event, record: Option<&'h Record>, client: &Arc<str>) {
        let key = (&*event.name, event.to.epoch, event.from, event.to.rev);
        let (first, before) = *self.steps.entry(key).or_insert((event, record));
        if event.frame.is_some() && first != event {
            let what = format!("two events lead from {} to {}: {first:?} and {event:?}", event.from, event.to);
            self.broken(Promise::Agreement, client, what, &[before, record]);
        }
    }

    fn same_body(&mut self, identity: &'h Identity, event: &Event, record: Option<&'h Record>, client: &Arc<str>) {
        let Some(fate) = self.fates.get(identity) else { return };
        let (sent, body) = (fate.sent, fate.body);
        if body.zip(event.body).is_some_and(|(sent, arrived)| sent != arrived) {
            self.broken(Promise::Kept, client, "it arrived otherwise than it was sent".into(), &[sent, record]);
        }
    }

    fn snapshot(&mut self, record: &'h Record, because: &str, at: Position) {
        let page = self.page;
        let needed = self.history_ended(record, because);
        let walk = self.walk(record);
        let (before, last) = (walk.at.replace(at), walk.last.replace(record));
        walk.followed.push((at.rev, at.rev));
        let evidence = &[last, Some(record)];
        let wrong = match (because, before) {
            ("first", None) => None,
            ("far", Some(held)) if at.rev > held.rev.saturating_add(page) => None,
            ("first" | "far", held) => {
                let held = held.map_or("nothing".to_owned(), |held| held.to_string());
                Some((Promise::Order, format!("a snapshot ({because}) that was not due: held {held}, got {at}")))
            }
            _ if needed == Some(true) => None,
            (_, held) if needed == Some(false) => {
                Some((Promise::Order, format!("a snapshot ({because}) although nothing of {held:?} was lost")))
            }
            (_, held) => Some((Promise::Kept, format!("history was lost ({because}): held {held:?}, got {at}"))),
        };
        if let Some((promise, what)) = wrong {
            self.broken(promise, &record.client, what, evidence);
        }
    }

    fn stands(&mut self, record: &'h Record, at: Position) {
        let walk = self.walk(record);
        let (held, last) = (walk.at, walk.last);
        if held.is_some_and(|held| is_later_name(at, held)) {
            walk.at = Some(at);
        } else if held != Some(at) {
            let what = format!("the front says {at}, what it sent leads to {held:?}");
            self.broken(Promise::Order, &record.client, what, &[last, Some(record)]);
        }
    }

    /// Compares everything with what remained.
    fn end(mut self) -> Vec<Violation> {
        let Some(end) = self.end else {
            self.broken(Promise::Kept, &"".into(), "nothing remained of the stream".into(), &[]);
            return self.violations;
        };
        if let Some(events) = &end.events {
            self.remained(events, end.head);
            self.accepted_remains(events);
            self.nobody_missed(events);
            self.lost_is_told_or_sent_again(events);
            self.nobody_keeps_what_was_lost();
        }
        for (client, walk) in std::mem::take(&mut self.walks) {
            if !walk.at.is_some_and(|at| end.is_reached(at)) {
                let what = format!("the head is {}, the client stands at {:?}", end.head, walk.at);
                self.broken(Promise::Arrival, client, what, &[walk.last]);
            }
            if let (Some((shows, record)), Some(holds)) = (walk.shows, &end.shows)
                && shows != holds
            {
                let what = format!("the server holds {holds:?}, the client shows {shows:?}");
                self.broken(Promise::Agreement, client, what, &[Some(record)]);
            }
            self.knows_what_is_true(client, &walk, end);
        }
        self.violations
    }

    fn knows_what_is_true(&mut self, client: &Arc<str>, walk: &Walk<'h>, end: &End) {
        let Some((items, record)) = walk.knows else { return };
        // One is enough: the record of all is long.
        let wrong = items.keys().find(|item| end.knows.get(item) != items.get(item));
        // Whoever knows of one thing knows of all that came after it.
        let oldest = items.keys().next().copied().unwrap_or(u64::MAX);
        let unknown = end.knows.range(oldest..).map(|(item, _)| item).find(|item| !items.contains_key(item));
        if let Some(item) = wrong.or(unknown) {
            let (holds, knows) = (end.knows.get(item), items.get(item));
            let what = format!("at {:?} the server holds of {item} {holds:?}, the client knows {knows:?}", record.at);
            self.broken(Promise::Agreement, client, what, &[walk.last]);
        }
    }

    /// The server's own history: without holes, each identity once, nothing that nobody sent.
    fn remained(&mut self, events: &'h [Event], head: Position) {
        let server: Arc<str> = "".into();
        let mut at: Option<Position> = None;
        let mut seen: HashSet<&Identity> = HashSet::new();
        for event in events {
            let fits = at.map_or(event.from == 0, |at| at.rev == event.from && follows(event.to.epoch, at.epoch));
            if !fits {
                let what = format!("the stored history has from {} to {} after {at:?}", event.from, event.to);
                self.broken(Promise::Order, &server, what, &[]);
            }
            at = Some(event.to);
            self.same_step(event, None, &server);
            let (Some(identity), Some(item)) = (&event.identity, event.item) else { continue };
            if !seen.insert(identity) {
                let what = format!("{}:{} was stored twice", identity.client, identity.seq);
                self.broken(Promise::Once, &server, what, &[]);
            }
            if !self.fates.contains_key(identity) {
                let what = format!("{}:{} was stored and never sent", identity.client, identity.seq);
                self.broken(Promise::Once, &server, what, &[]);
            }
            self.became(identity, item, None, &server);
            self.same_body(identity, event, None, &server);
        }
        if at.is_some_and(|at| at != head) {
            self.broken(Promise::Order, &server, format!("the head is {head}, the history ends at {at:?}"), &[]);
        }
    }

    fn accepted_remains(&mut self, events: &'h [Event]) {
        let remained: HashMap<&Identity, u64> =
            events.iter().filter_map(|event| Some((event.identity.as_ref()?, event.to.rev))).collect();
        let mut lost = Vec::new();
        for (identity, fate) in &self.fates {
            let Some((at, Some(item), record)) = fate.answer else { continue };
            match remained.get(identity) {
                // What was changed later stands at a later revision.
                Some(rev) if *rev >= at.rev => {}
                Some(rev) => lost.push((format!("{item} was accepted at {at} and stands at {rev}"), record)),
                None => lost.push((format!("{item} was accepted at {at} and is not there"), record)),
            }
        }
        let newest: HashMap<u64, u64> = events.iter().filter_map(|event| Some((event.item?, event.to.rev))).collect();
        for (item, at, record) in &self.touched {
            if newest.get(item).is_none_or(|rev| *rev < at.rev) {
                lost.push((format!("{item} was changed at {at} and stands at {:?}", newest.get(item)), *record));
            }
        }
        for (what, record) in lost {
            self.broken(Promise::Kept, &record.client, what, &[Some(record)]);
        }
    }

    /// Who followed a stretch of the stream has got everything in it.
    fn nobody_missed(&mut self, events: &'h [Event]) {
        let mut missed = Vec::new();
        for (client, walk) in &self.walks {
            for (after, to) in &walk.followed {
                let start = events.partition_point(|event| event.to.rev <= *after);
                let stretch = events[start..].iter().take_while(|event| event.to.rev <= *to);
                for item in stretch.filter_map(|event| event.item).filter(|item| !walk.items.contains(item)) {
                    missed.push((*client, format!("{item} was passed over between {after} and {to}"), walk.last));
                }
            }
        }
        for (client, what, last) in missed {
            self.broken(Promise::Kept, client, what, &[last]);
        }
    }
}

/// Whether an event of one epoch may follow something of another.
fn follows(epoch: Epoch, before: Epoch) -> bool {
    epoch == before || epoch.number > before.number
}

#[cfg(test)]
mod tests;
