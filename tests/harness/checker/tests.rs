//! The checker against histories whose faults are known.

use super::*;
use crate::damage::{ALL, Damage, OF_FAILOVERS};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::time::Duration;
use stoa_core::bounds::EPOCHS_KEPT;

const LOG: &str = "room/log";

fn position(rev: u64) -> Position {
    Position { epoch: Epoch { number: if rev < 20 { 1 } else { 2 }, id: 7 }, rev }
}

fn identity(seq: u64) -> Identity {
    Identity { client: "ada".into(), seq }
}

fn posted(seq: u64) -> Event {
    Event {
        name: "msg.posted".into(),
        from: seq - 1,
        to: position(seq),
        item: Some(seq),
        identity: Some(identity(seq)),
        body: Some(seq * 1_000 + 1),
        frame: Some(seq * 1_000 + 2),
    }
}

/// An earlier message as it is after a change.
fn changed(item: u64, rev: u64) -> Event {
    Event { name: "msg.changed".into(), item: Some(item), identity: Some(identity(item)), body: None, ..posted(rev) }
}

struct Story {
    history: History,
    head: u64,
}

impl Story {
    fn new() -> Story {
        Story { history: History { page: 10, ..History::default() }, head: 0 }
    }

    fn tell(&mut self, client: &str, fact: Fact) {
        let at = Duration::from_millis(self.history.records.len() as u64);
        self.history.records.push(Record { at, client: client.into(), stream: LOG.into(), fact });
    }

    fn begin(&mut self, client: &str) {
        let at = position(self.head);
        self.tell(client, Fact::Snapshot { because: "first".into(), at });
    }

    /// Ada posts, the readers get it, and she sends every third one again.
    fn post(&mut self, readers: &[&str]) {
        self.head += 1;
        let seq = self.head;
        let event = posted(seq);
        self.tell("ada", Fact::Sent { identity: identity(seq), body: event.body });
        for reader in readers {
            self.tell(reader, Fact::Delivered(event.clone()));
        }
        self.answer(seq, false);
        if seq.is_multiple_of(3) {
            self.tell("ada", Fact::Sent { identity: identity(seq), body: event.body });
            self.answer(seq, true);
        }
    }

    fn answer(&mut self, seq: u64, duplicate: bool) {
        let (identity, at) = (identity(seq), position(seq));
        self.tell("ada", Fact::Accepted { identity, at, item: Some(seq), touched: None, duplicate });
    }

    /// Ada changes what she posted last: everybody gets it as it is now.
    fn edit(&mut self, readers: &[&str]) {
        let item = self.head;
        self.head += 1;
        let seq = self.head;
        let changed = changed(item, seq);
        self.tell("ada", Fact::Sent { identity: identity(seq), body: None });
        for reader in readers {
            self.tell(reader, Fact::Delivered(changed.clone()));
        }
        let (identity, at) = (identity(seq), position(seq));
        let accepted = Fact::Accepted { identity, at, item: None, touched: Some(item), duplicate: false };
        self.tell("ada", accepted);
    }

    fn end(mut self) -> History {
        for client in ["ada", "bo"] {
            self.tell(client, Fact::Stands(position(self.head)));
            self.tell(client, Fact::Shows("this".into()));
            self.tell(client, Fact::Knows(BTreeMap::from([(2, "two".into())])));
        }
        let events = (1..=self.head).map(posted).collect();
        let knows = BTreeMap::from([(1, "one".into()), (2, "two".into())]);
        let end = End {
            head: position(self.head),
            events: Some(events),
            shows: Some("this".into()),
            knows,
            ..End::default()
        };
        self.history.ends.insert(LOG.into(), end);
        self.history
    }
}

/// Two who follow; bo is away for five, and later for so many that a snapshot is due. An epoch ends between.
fn good() -> History {
    let mut story = Story::new();
    story.begin("ada");
    story.begin("bo");
    (0..8).for_each(|_| story.post(&["ada", "bo"]));
    (0..5).for_each(|_| story.post(&["ada"]));
    (9..=13).for_each(|seq| story.tell("bo", Fact::Delivered(posted(seq))));
    story.tell("bo", Fact::Stands(position(13)));
    (0..11).for_each(|_| story.post(&["ada"]));
    story.tell("bo", Fact::Snapshot { because: "far".into(), at: position(24) });
    (0..8).for_each(|_| story.post(&["bo", "ada"]));
    story.edit(&["bo", "ada"]);
    (0..3).for_each(|_| story.post(&["bo", "ada"]));
    let mut history = story.end();
    // The history tells each message once, at its last change: 32 went, and what is at 33 is 32.
    let events = history.ends.get_mut(LOG).unwrap().events.as_mut().unwrap();
    let edited = Event { name: "msg.posted".into(), from: 31, ..changed(32, 33) };
    events.splice(31..33, [edited]);
    history
}

fn broken(history: &History) -> Vec<Promise> {
    let mut promises: Vec<Promise> = check(history).into_iter().map(|violation| violation.promise).collect();
    promises.sort();
    promises.dedup();
    promises
}

#[test]
fn a_good_history_breaks_no_promise() {
    let violations = check(&good());
    assert!(violations.is_empty(), "{}", violations[0]);
}

#[test]
fn every_damage_is_noticed() {
    for damage in ALL {
        for seed in 0..50 {
            let damaged = damage.inflict(&good(), &mut SmallRng::seed_from_u64(seed)).unwrap();
            let found = broken(&damaged);
            assert!(found.contains(&damage.breaks()), "{damage:?} with seed {seed} was taken for {found:?}");
        }
    }
}

#[test]
fn a_loss_that_leaves_no_hole_is_noticed_by_its_answer_alone() {
    let damaged = Damage::LoseAnAcceptedWrite.inflict(&good(), &mut SmallRng::seed_from_u64(1)).unwrap();
    assert_eq!(broken(&damaged), [Promise::Kept]);
}

#[test]
fn an_event_may_span_several_revisions_if_nothing_in_them_is_missing() {
    let mut story = Story::new();
    story.begin("ada");
    story.begin("bo");
    (0..3).for_each(|_| story.post(&["ada", "bo"]));
    let edited = Event { name: "msg.edited".into(), item: Some(2), identity: None, body: None, ..posted(4) };
    story.head = 4;
    story.tell("ada", Fact::Delivered(edited.clone()));
    // Bo catches up: what was changed comes once, as it is now.
    story.tell("bo", Fact::Delivered(edited.clone()));
    let mut history = story.end();
    let events = history.ends.get_mut(LOG).unwrap().events.as_mut().unwrap();
    events[3] = edited;
    assert_eq!(broken(&history), []);
}

#[test]
fn a_rollback_breaks_what_was_promised_of_a_server_that_loses_nothing() {
    let mut story = Story::new();
    story.begin("ada");
    story.post(&["ada"]);
    story.tell("ada", Fact::Snapshot { because: "rollback".into(), at: position(0) });
    let mut history = story.end();
    history.records.retain(|record| &*record.client == "ada");
    assert!(broken(&history).contains(&Promise::Kept));
}

/// After eight posts a primary opens an epoch and dies with it: its two posts, which Bo saw too, are lost, and Ada writes
/// both again.
fn failed_over(terms: Terms) -> History {
    let old = Epoch { number: 2, id: 9 };
    let phantom = |seq: u64| Event { to: Position { epoch: old, rev: seq }, ..posted(seq) };
    let mut story = Story::new();
    story.begin("ada");
    story.begin("bo");
    (0..8).for_each(|_| story.post(&["ada", "bo"]));
    for seq in [9, 10] {
        story.tell("ada", Fact::Sent { identity: identity(seq), body: phantom(seq).body });
        ["ada", "bo"].iter().for_each(|reader| story.tell(reader, Fact::Delivered(phantom(seq))));
        if terms == Terms::Memory {
            let at = phantom(seq).to;
            let identity = identity(seq);
            story.tell("ada", Fact::Accepted { identity, at, item: Some(seq), touched: None, duplicate: false });
        }
    }
    for client in ["ada", "bo"] {
        story.tell(client, Fact::Snapshot { because: "rollback".into(), at: position(8) });
    }
    (0..8).for_each(|_| story.post(&["ada", "bo"]));
    story.history.terms = terms;
    let mut history = story.end();
    let epoch = position(1).epoch;
    history.ends.get_mut(LOG).unwrap().epochs.insert(epoch, 16);
    history
}

#[test]
fn what_a_failover_loses_may_be_lost_where_it_is_told() {
    for terms in [Terms::Acknowledged, Terms::Memory] {
        let violations = check(&failed_over(terms));
        assert!(violations.is_empty(), "{terms:?}: {}", violations[0]);
        assert_eq!(count_lost(&failed_over(terms)), if terms == Terms::Memory { 2 } else { 0 });
    }
    let strict = History { terms: Terms::Acknowledged, ..failed_over(Terms::Memory) };
    assert_eq!(broken(&strict), [Promise::Kept], "what was acknowledged is lost");
}

#[test]
fn what_was_followed_in_an_epoch_that_nobody_remembers_was_not_passed_over() {
    let mut history = good();
    history.terms = Terms::Acknowledged;
    // The first of its two epochs is older than as many as are remembered.
    let remembered = (2..).take(EPOCHS_KEPT).map(|number| (Epoch { number, id: 7 }, 1_000));
    history.ends.get_mut(LOG).unwrap().epochs = remembered.collect();
    assert_eq!(broken(&history), []);
    let is_missed = |record: &Record| {
        &*record.client == "ada" && matches!(&record.fact, Fact::Delivered(event) if event.to.rev == 30)
    };
    history.records.retain(|record| !is_missed(record));
    assert!(!broken(&history).is_empty(), "what is missed later is");
}

#[test]
fn what_was_lost_in_an_epoch_that_nobody_remembers_says_nothing_about_what_came_in_its_place() {
    let mut history = good();
    history.terms = Terms::Memory;
    let remembered = (2..).take(EPOCHS_KEPT).map(|number| (Epoch { number, id: 7 }, 1_000));
    history.ends.get_mut(LOG).unwrap().epochs = remembered.collect();
    // Ada follows a history that ends at 16, and other things than hers stand at 17 to 19 of what remained.
    let other = Epoch { number: 1, id: 9 };
    for record in history.records.iter_mut().filter(|record| &*record.client == "ada") {
        match &mut record.fact {
            Fact::Delivered(event) if event.to.rev < 20 => {
                event.to.epoch = other;
                if event.to.rev >= 17 {
                    (event.item, event.identity, event.body) = (None, None, None);
                }
            }
            Fact::Snapshot { at, .. } if at.rev < 20 => at.epoch = other,
            _ => {}
        }
    }
    let goes_on = |record: &Record| {
        &*record.client == "ada" && matches!(&record.fact, Fact::Delivered(event) if event.to.rev == 20)
    };
    let at = history.records.iter().position(goes_on).unwrap();
    let told = Fact::Snapshot { because: "rollback".into(), at: position(19) };
    history.records.insert(at, Record { fact: told, ..history.records[at].clone() });
    assert_eq!(broken(&history), []);
}

#[test]
fn who_is_not_told_of_a_loss_is_noticed() {
    let mut history = failed_over(Terms::Memory);
    let told = |record: &Record| {
        &*record.client == "bo" && matches!(&record.fact, Fact::Snapshot { because, .. } if because == "rollback")
    };
    history.records.retain(|record| !told(record));
    assert!(broken(&history).contains(&Promise::Agreement));
}

#[test]
fn every_damage_to_a_history_with_a_failover_is_noticed() {
    for damage in OF_FAILOVERS {
        for seed in 0..50 {
            let good = failed_over(Terms::Acknowledged);
            let damaged = damage.inflict(&good, &mut SmallRng::seed_from_u64(seed)).unwrap();
            let found = broken(&damaged);
            assert!(found.contains(&damage.breaks()), "{damage:?} with seed {seed} was taken for {found:?}");
        }
    }
}

#[test]
fn a_large_history_is_judged_in_little_time() {
    let mut story = Story::new();
    story.begin("ada");
    story.begin("bo");
    (0..20_000).for_each(|_| story.post(&["ada", "bo"]));
    let history = story.end();
    let started = std::time::Instant::now();
    assert_eq!(broken(&history), []);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
