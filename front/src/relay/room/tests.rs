//! The rules against a world that loses, doubles and delays, in random orders; and the corners one by one.

use super::*;
use crate::frame::Code;
use crate::module_api::{Outcome, SnapshotBody};
use proptest::prelude::*;
use std::collections::HashMap;
use stoa_core::epoch::Epoch;
use stoa_core::event::Header;

const LOG: &str = "log";

fn position(epoch: u32, rev: u64) -> Position {
    Position { epoch: Epoch { number: epoch, id: epoch }, rev }
}

fn event(epoch: u32, rev: u64) -> Arc<Event> {
    Arc::new(Event::for_tests(Header::durable(LOG, position(epoch, 0).epoch, rev - 1, rev), &format!("{epoch}:{rev}")))
}

fn changes(at: Position, events: &[(u32, u64)]) -> Arc<Opened> {
    let events = events.iter().map(|(epoch, rev)| (*rev, format!("{epoch}:{rev}").into())).collect();
    Arc::new(Opened {
        stream: LOG.into(),
        position: at,
        outcome: Outcome::Changes { events },
        typing: None,
        unread: None,
        cursors: None,
    })
}

fn snapshot(at: Position) -> Arc<Opened> {
    let body = SnapshotBody::Log { messages: Vec::new(), more: false, reads: None };
    let outcome = Outcome::Snapshot { because: "first".into(), history_end: None, body };
    Arc::new(Opened { stream: LOG.into(), position: at, outcome, typing: None, unread: None, cursors: None })
}

/// A room, its open questions, and what each member has received.
#[derive(Default)]
struct Bench {
    room: RoomState,
    opens: Vec<(Ticket, MemberId, Ask)>,
    fetches: Vec<(Ticket, Arc<str>, Option<Position>)>,
    answered: Vec<(MemberId, Option<Arc<Opened>>)>,
    got: HashMap<MemberId, Vec<String>>,
}

impl Bench {
    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.room.step(input, &mut out);
        for output in out {
            match output {
                Output::Open { ticket, member, ask, .. } => self.opens.push((ticket, member, ask)),
                Output::Fetch { ticket, stream, position, .. } => self.fetches.push((ticket, stream, position)),
                Output::Answer { member, answer } => {
                    self.answered.push((member, answer.ok().and_then(|parts| parts.first().cloned())));
                }
                Output::Deliver { to, event } => self.note(&to, &event.text),
                Output::Resync { to, opened } => self.note(&to, &format!("resync {}", opened.position)),
                Output::Reset { to, .. } => self.note(&to, "reset"),
                Output::Evict { member, event } => self.note(&[member], &event.text),
                Output::Resume { member } => self.note(&[member], "come back"),
            }
        }
    }
    fn note(&mut self, to: &[MemberId], what: &str) {
        for member in to {
            self.got.entry(*member).or_default().push(what.to_owned());
        }
    }
    fn join(&mut self, member: MemberId, held: Option<Position>) {
        let streams = vec![(LOG.into(), held)];
        self.step(Input::Join { member, connection: format!("k{member}").into(), user: "ada".into(), streams });
    }
    fn answer_open(&mut self, part: Arc<Opened>) -> MemberId {
        let (ticket, member, _) = self.opens.remove(0);
        self.step(Input::Opened { ticket, member, answer: Ok(vec![part]) });
        member
    }
    fn answer_fetch(&mut self, part: Arc<Opened>) {
        let (ticket, stream, _) = self.fetches.remove(0);
        self.step(Input::Fetched { ticket, stream, answer: Ok(part) });
    }
    /// A room with one live member at revision `rev`.
    fn live(rev: u64) -> Bench {
        let mut bench = Bench::default();
        bench.step(Input::Subscribed);
        bench.enter(1, rev);
        bench
    }
    fn enter(&mut self, member: MemberId, rev: u64) {
        self.join(member, None);
        self.answer_open(snapshot(position(1, rev)));
        self.step(Input::Live { member });
    }
    fn events(&mut self, revs: &[u64]) {
        revs.iter().for_each(|rev| self.step(Input::Event(event(1, *rev))));
    }
    fn got(&self, member: MemberId) -> Vec<&str> {
        self.got.get(&member).map(|got| got.iter().map(String::as_str).collect()).unwrap_or_default()
    }
}

#[test]
fn nobody_asks_before_the_subscription_stands() {
    let mut bench = Bench::default();
    bench.join(1, None);
    assert!(bench.opens.is_empty());
    bench.step(Input::Subscribed);
    assert_eq!(bench.opens.len(), 1);
}

#[test]
fn events_during_a_join_come_after_the_answer_and_only_what_it_lacks() {
    let mut bench = Bench::default();
    bench.step(Input::Subscribed);
    bench.join(1, None);
    bench.events(&[4, 5]);
    bench.answer_open(snapshot(position(1, 5)));
    bench.events(&[6]);
    assert!(bench.got(1).is_empty(), "the answer is not queued yet");
    bench.step(Input::Live { member: 1 });
    bench.events(&[7]);
    assert_eq!(bench.got(1), ["1:6", "1:7"]);
}

fn kick(to: To) -> Input {
    Input::Event(Arc::new(Event::for_tests(Header::kick(to), "kicked")))
}

#[test]
fn who_is_kicked_is_told_so_and_nothing_more() {
    let mut bench = Bench::live(5);
    bench.enter(2, 5);
    bench.step(kick(To::Connection("k2".into())));
    bench.events(&[6]);
    assert_eq!((bench.got(1), bench.got(2)), (vec!["1:6"], vec!["kicked"]));
    bench.enter(2, 6);
    bench.step(kick(To::User("bo".into())));
    bench.step(kick(To::User("ada".into())));
    assert!(bench.room.is_empty(), "both are hers");
    bench.enter(1, 6);
    bench.events(&[7]);
    assert_eq!(bench.got(1), ["1:6", "kicked", "1:7"], "a kick is no ban");
}

type Then = Box<dyn FnOnce(&mut Bench)>;

#[test]
fn who_is_kicked_while_joining_hears_first_that_they_are_in() {
    for when in 0..3 {
        let mut bench = Bench::live(5);
        bench.join(2, None);
        let mut steps: Vec<Then> = vec![
            Box::new(|bench| {
                bench.answer_open(snapshot(position(1, 5)));
            }),
            Box::new(|bench| bench.step(Input::Live { member: 2 })),
        ];
        steps.insert(when, Box::new(|bench| bench.step(kick(To::Connection("k2".into())))));
        for step in steps {
            assert!(bench.got(2).is_empty());
            step(&mut bench);
        }
        bench.events(&[6]);
        assert_eq!((bench.answered.last().unwrap().0, bench.got(2)), (2, vec!["kicked"]), "after step {when}");
        assert_eq!(bench.room.len(), 1);
    }
}

#[test]
fn who_is_kicked_while_being_brought_in_step_goes_at_once() {
    let mut bench = Bench::live(5);
    bench.join(2, None);
    bench.step(Input::Lagged);
    bench.answer_open(snapshot(position(1, 5)));
    bench.step(Input::Live { member: 2 });
    assert_eq!(bench.opens.len(), 1, "it is asked again");
    bench.step(kick(To::Connection("k2".into())));
    assert_eq!(bench.got(2), ["kicked"]);
    bench.answer_open(snapshot(position(1, 7)));
    assert_eq!((bench.got(2), bench.room.len()), (vec!["kicked"], 1));
}

#[test]
fn a_join_does_not_hold_up_the_others() {
    let mut bench = Bench::live(5);
    bench.join(2, None);
    bench.events(&[6]);
    assert_eq!(bench.got(1), ["1:6"]);
}

#[test]
fn an_answer_ahead_of_the_channel_is_a_floor() {
    let mut bench = Bench::live(5);
    bench.enter(2, 7);
    bench.events(&[6, 7, 8]);
    assert_eq!(bench.got(1), ["1:6", "1:7", "1:8"]);
    assert_eq!(bench.got(2), ["1:8"]);
}

#[test]
fn an_answer_behind_the_room_is_asked_again() {
    let mut bench = Bench::live(5);
    bench.join(2, None);
    bench.answer_open(snapshot(position(1, 4)));
    bench.step(Input::Live { member: 2 });
    assert_eq!(bench.opens[0].2, vec![(LOG.into(), Some(position(1, 4)))]);
    bench.answer_open(changes(position(1, 5), &[(1, 5)]));
    bench.events(&[6]);
    assert_eq!(bench.got(2), ["1:5", "1:6"]);
}

#[test]
fn duplicates_are_dropped() {
    let mut bench = Bench::live(5);
    bench.events(&[5, 6, 6, 4, 7]);
    assert_eq!(bench.got(1), ["1:6", "1:7"]);
}

fn flushed() -> Input {
    Input::Event(Arc::new(Event::for_tests(Header::reset(""), "flushed")))
}

#[test]
fn a_reset_without_a_name_ends_all_streams_of_the_room() {
    let mut bench = Bench::live(5);
    bench.join(2, None);
    bench.answer_open(snapshot(position(1, 5)));
    bench.step(flushed());
    bench.step(Input::Event(event(2, 1)));
    bench.step(Input::Live { member: 2 });
    assert_eq!((bench.got(1), bench.got(2)), (vec!["flushed"], vec!["flushed"]));
    assert!(bench.fetches.is_empty() && bench.opens.is_empty(), "what is gone is not asked for");
    bench.join(2, Some(position(1, 5)));
    bench.answer_open(snapshot(position(2, 1)));
    bench.step(Input::Live { member: 2 });
    bench.step(Input::Event(event(2, 2)));
    assert_eq!(bench.got(2).last(), Some(&"2:2"));
}

#[test]
fn a_hole_that_a_flush_ends_is_not_asked_for() {
    let mut bench = Bench::live(5);
    bench.join(2, None);
    bench.events(&[7]);
    bench.answer_open(snapshot(position(1, 5)));
    bench.step(flushed());
    bench.fetches.clear();
    bench.step(Input::Live { member: 2 });
    assert_eq!(bench.got(2), ["flushed"]);
    assert!(bench.opens.is_empty());
}

#[test]
fn a_gap_is_read_once_before_anything_later_is_delivered() {
    let mut bench = Bench::live(5);
    bench.events(&[7, 8]);
    assert!(bench.got(1).is_empty());
    assert_eq!(bench.fetches.len(), 1);
    assert_eq!(bench.fetches[0].2, Some(position(1, 5)));
    bench.answer_fetch(changes(position(1, 7), &[(1, 6), (1, 7)]));
    assert_eq!(bench.got(1), ["1:6", "1:7", "1:8"]);
    assert!(bench.fetches.is_empty());
}

#[test]
fn a_gap_while_a_gap_is_read_is_read_too() {
    let mut bench = Bench::live(5);
    bench.events(&[7, 10]);
    bench.answer_fetch(changes(position(1, 8), &[(1, 6), (1, 7), (1, 8)]));
    assert_eq!(bench.fetches[0].2, Some(position(1, 8)));
    bench.answer_fetch(changes(position(1, 10), &[(1, 9), (1, 10)]));
    assert_eq!(bench.got(1), ["1:6", "1:7", "1:8", "1:9", "1:10"]);
}

#[test]
fn a_burst_beyond_the_bound_is_forgotten_and_read_again() {
    let mut bench = Bench::live(5);
    let burst: Vec<u64> = (7..7 + HELD_EVENTS_MAX as u64 + 10).collect();
    bench.events(&burst);
    bench.answer_fetch(changes(position(1, 7), &[(1, 6), (1, 7)]));
    assert_eq!(bench.fetches[0].2, Some(position(1, 7)));
    let stream = &bench.room.streams[LOG];
    assert!(stream.held.len() <= HELD_EVENTS_MAX);
}

#[test]
fn another_epoch_is_repaired_and_events_of_a_lost_history_vanish() {
    let mut bench = Bench::live(5);
    bench.events(&[7]);
    bench.answer_fetch(snapshot(position(2, 6)));
    assert_eq!(bench.got(1), [format!("resync {}", position(2, 6))]);
    assert!(bench.fetches.is_empty(), "what was held before is of the lost history");
    bench.step(Input::Event(event(2, 7)));
    assert_eq!(bench.got(1).last(), Some(&"2:7"));
}

#[test]
fn a_member_ahead_by_another_history_is_asked_for_alone() {
    let mut bench = Bench::live(5);
    bench.join(2, None);
    bench.answer_open(snapshot(position(2, 6)));
    bench.step(Input::Live { member: 2 });
    bench.events(&[6]);
    assert_eq!(bench.got(1), ["1:6"]);
    assert_eq!(bench.opens[0].2, vec![(LOG.into(), Some(position(2, 6)))]);
}

#[test]
fn heads_that_are_ahead_are_a_gap() {
    let mut bench = Bench::live(5);
    bench.step(Input::Heads(vec![(LOG.into(), position(1, 5)), ("doc:other".into(), position(1, 9))]));
    assert!(bench.fetches.is_empty());
    bench.step(Input::Heads(vec![(LOG.into(), position(1, 6))]));
    bench.answer_fetch(changes(position(1, 6), &[(1, 6)]));
    assert_eq!(bench.got(1), ["1:6"]);
}

#[test]
fn a_new_subscription_or_a_lag_reads_everything_again() {
    let mut bench = Bench::live(5);
    bench.step(Input::Unsubscribed);
    bench.step(Input::Subscribed);
    bench.step(Input::Lagged);
    assert_eq!(bench.fetches.len(), 1, "one question at a time");
    bench.answer_fetch(changes(position(1, 6), &[(1, 6)]));
    assert_eq!(bench.fetches.len(), 1, "the lag came after the question");
    bench.answer_fetch(changes(position(1, 6), &[]));
    assert_eq!(bench.got(1), ["1:6"]);
}

#[test]
fn a_lag_during_a_join_asks_again() {
    let mut bench = Bench::default();
    bench.step(Input::Subscribed);
    bench.join(1, None);
    bench.step(Input::Lagged);
    bench.answer_open(snapshot(position(1, 5)));
    bench.step(Input::Live { member: 1 });
    bench.answer_open(changes(position(1, 6), &[(1, 6)]));
    assert_eq!(bench.got(1), ["1:6"]);
}

#[test]
fn the_first_message_of_a_fresh_room_is_no_gap() {
    let mut bench = Bench::default();
    bench.step(Input::Subscribed);
    bench.join(1, None);
    bench.answer_open(snapshot(Position { epoch: Epoch::default(), rev: 0 }));
    bench.step(Input::Live { member: 1 });
    bench.events(&[1, 2]);
    assert_eq!(bench.got(1), ["1:1", "1:2"]);
}

#[test]
fn a_reset_is_passed_on_and_ends_the_stream() {
    let mut bench = Bench::live(5);
    bench.step(Input::Event(Arc::new(Event::for_tests(Header::reset(LOG), "gone"))));
    bench.events(&[6, 9]);
    assert_eq!(bench.got(1), ["gone"]);
    bench.enter(1, 9);
    bench.events(&[10]);
    assert_eq!(bench.got(1), ["gone", "1:10"]);
}

#[test]
fn a_missing_document_begins_with_its_creation() {
    let mut bench = Bench::default();
    bench.step(Input::Subscribed);
    let streams = vec![("doc:a".into(), None)];
    bench.step(Input::Join { member: 1, connection: "k1".into(), user: "ada".into(), streams });
    let nowhere = position(0, 0);
    let missing = || Opened {
        stream: "doc:a".into(),
        position: nowhere,
        outcome: Outcome::Missing,
        typing: None,
        unread: None,
        cursors: None,
    };
    bench.answer_open(Arc::new(missing()));
    bench.step(Input::Live { member: 1 });
    // The heads of a document of that name that was deleted a moment ago: it is missing still.
    bench.step(Input::Heads(vec![("doc:a".into(), position(9, 3))]));
    let (ticket, stream, _) = bench.fetches.pop().unwrap();
    let answer = Ok(Arc::new(missing()));
    bench.step(Input::Fetched { ticket, stream, answer });
    let doc =
        |from, rev, text| Arc::new(Event::for_tests(Header::durable("doc:a", position(1, 0).epoch, from, rev), text));
    bench.step(Input::Event(doc(0, 0, "created")));
    bench.step(Input::Event(doc(0, 1, "applied")));
    assert_eq!(bench.got(1), ["created", "applied"]);
}

#[test]
fn documents_that_nobody_opened_are_only_announced() {
    let mut bench = Bench::live(5);
    let doc =
        |from, rev, text| Arc::new(Event::for_tests(Header::durable("doc:a", position(1, 0).epoch, from, rev), text));
    bench.step(Input::Event(doc(0, 0, "created")));
    bench.step(Input::Event(doc(0, 1, "applied")));
    assert_eq!(bench.got(1), ["created"]);
    assert!(bench.fetches.is_empty());
}

#[test]
fn a_failed_join_leaves_no_trace() {
    let mut bench = Bench::default();
    bench.step(Input::Subscribed);
    bench.join(1, None);
    let (ticket, member, _) = bench.opens.remove(0);
    let error = FrameError::new(Code::Internal, "no");
    bench.step(Input::Opened { ticket, member, answer: Err(error) });
    assert!(bench.room.is_empty() && bench.room.streams.is_empty());
}

#[test]
fn events_go_only_to_whom_they_are_for() {
    let mut bench = Bench::live(5);
    bench.enter(2, 5);
    let emit = |change: &dyn Fn(&mut Header)| {
        let mut header = Header::ephemeral("", "");
        change(&mut header);
        Input::Event(Arc::new(Event::for_tests(header, "e")))
    };
    bench.step(emit(&|header| {
        header.origin = "k1".into();
        header.skip_origin = true;
    }));
    assert_eq!((bench.got(1).len(), bench.got(2).len()), (0, 1));
    bench.step(emit(&|header| header.to = To::Connection("k1".into())));
    assert_eq!((bench.got(1).len(), bench.got(2).len()), (1, 1));
    bench.step(emit(&|header| header.to = To::User("ada".into())));
    bench.step(emit(&|header| header.to = To::User("bo".into())));
    assert_eq!((bench.got(1).len(), bench.got(2).len()), (2, 2));
}

/// A stream with its history, and a channel that is not to be trusted.
#[derive(Debug, Clone)]
enum Act {
    Write,
    Deliver,
    Lose,
    Double,
    Join(MemberId),
    AnswerOpen,
    Live(MemberId),
    AnswerFetch,
    Part(MemberId),
    Reconnect,
    Failover,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Write),
        6 => Just(Act::Deliver),
        1 => Just(Act::Lose),
        1 => Just(Act::Double),
        2 => (1..4u64).prop_map(Act::Join),
        3 => Just(Act::AnswerOpen),
        3 => (1..4u64).prop_map(Act::Live),
        3 => Just(Act::AnswerFetch),
        1 => (1..4u64).prop_map(Act::Part),
        1 => Just(Act::Reconnect),
        1 => Just(Act::Failover),
    ]
}

struct World {
    bench: Bench,
    /// (epoch, revision) of every event; the revision is the index plus one.
    history: Vec<u32>,
    epoch: u32,
    channel: VecDeque<(u32, u64)>,
    /// Where each member's client is, by what it was answered and sent.
    clients: HashMap<MemberId, Position>,
    /// The revision at which a history ended: positions beyond it are told to take the snapshot.
    ended: Vec<(u32, u64)>,
}

impl World {
    fn head(&self) -> Position {
        position(self.history.last().copied().unwrap_or(0), self.history.len() as u64)
    }

    /// What the module would answer now.
    fn read(&self, held: Option<Position>) -> Arc<Opened> {
        let head = self.head();
        let valid = held.is_some_and(|held| {
            let ended = self.ended.iter().find(|(epoch, _)| *epoch == held.epoch.number);
            held.rev <= ended.map_or(self.history.len() as u64, |(_, end)| *end)
        });
        match held.filter(|_| valid) {
            Some(held) => {
                let revs = held.rev + 1..=head.rev;
                let events: Vec<(u32, u64)> = revs.map(|rev| (self.history[rev as usize - 1], rev)).collect();
                changes(head, &events)
            }
            None => snapshot(head),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Write => {
                self.history.push(self.epoch);
                self.channel.push_back((self.epoch, self.history.len() as u64));
            }
            Act::Deliver => {
                if let Some((epoch, rev)) = self.channel.pop_front() {
                    self.bench.step(Input::Event(event(epoch, rev)));
                }
            }
            Act::Lose => drop(self.channel.pop_front()),
            Act::Double => self.channel.extend(self.channel.front().copied()),
            Act::Join(member) => {
                if !self.bench.room.members.contains(member) {
                    let held = self.clients.get(&member).copied();
                    self.bench.join(member, held);
                }
            }
            Act::AnswerOpen => self.answer_open(),
            Act::Live(member) => {
                let stage = self.bench.room.members.get(member).and_then(|m| m.joining.as_ref()).map(|j| j.stage);
                if stage == Some(Stage::Answered) {
                    self.bench.step(Input::Live { member });
                }
            }
            Act::AnswerFetch => {
                if let Some((_, _, held)) = self.bench.fetches.first() {
                    let answer = self.read(*held);
                    self.bench.answer_fetch(answer);
                }
            }
            Act::Part(member) => self.bench.step(Input::Part { member }),
            Act::Reconnect => {
                self.channel.clear();
                self.bench.step(Input::Unsubscribed);
                self.bench.step(Input::Subscribed);
            }
            Act::Failover => self.fail_over(),
        }
        self.take_deliveries();
    }

    /// The last write is lost, and another server goes on under the next epoch.
    fn fail_over(&mut self) {
        self.history.pop();
        self.ended.push((self.epoch, self.history.len() as u64));
        self.epoch += 1;
        self.history.push(self.epoch);
        self.channel.push_back((self.epoch, self.history.len() as u64));
        self.act(Act::Reconnect);
    }

    fn answer_open(&mut self) {
        if self.bench.opens.is_empty() {
            return;
        }
        let answer = self.read(self.bench.opens[0].2[0].1);
        let first = self.bench.answered.len();
        self.bench.answer_open(answer);
        for (member, part) in &self.bench.answered[first..] {
            let part = part.as_ref().expect("no join fails here");
            self.clients.insert(*member, part.position);
        }
    }

    /// What each client received since: the next one, or a snapshot. Anything else breaks the promise.
    fn take_deliveries(&mut self) {
        for (member, frames) in self.bench.got.drain() {
            for frame in frames {
                let at = self.clients.get_mut(&member).expect("nothing comes before the answer");
                if let Some(new) = frame.strip_prefix("resync ") {
                    *at = new.parse().expect("a position");
                    continue;
                }
                let (epoch, rev) = frame.split_once(':').expect("an event");
                let (epoch, rev) = (epoch.parse::<u32>().unwrap(), rev.parse::<u64>().unwrap());
                assert_eq!(rev, at.rev + 1, "member {member} at {at} got {frame}");
                assert!(epoch >= at.epoch.number, "member {member} at {at} got {frame}");
                *at = position(epoch, rev);
            }
        }
    }

    /// The faults end: everything that is asked is answered, everything sent arrives, and a probe follows.
    fn settle(&mut self) {
        for _ in 0..50 {
            while !self.channel.is_empty() {
                self.act(Act::Deliver);
            }
            self.bench.step(Input::Heads(vec![(LOG.into(), self.head())]));
            (1..4).for_each(|member| self.act(Act::Live(member)));
            self.act(Act::AnswerOpen);
            self.act(Act::AnswerFetch);
        }
    }
}

proptest! {
    #[test]
    fn every_member_gets_every_event_once_in_order_or_a_snapshot(acts in prop::collection::vec(act(), 1..80)) {
        let mut world = World {
            bench: Bench::default(),
            history: vec![1; 3],
            epoch: 1,
            channel: VecDeque::new(),
            clients: HashMap::new(),
            ended: Vec::new(),
        };
        world.bench.step(Input::Subscribed);
        for act in acts {
            world.act(act);
        }
        world.settle();
        let head = world.head();
        for (id, member) in world.bench.room.members.iter() {
            prop_assert!(member.joining.is_none(), "member {} is still joining: {:?}", id, member.joining);
            prop_assert_eq!(world.clients[&id], head, "member {} did not reach the head", id);
        }
    }
}
