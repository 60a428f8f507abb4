//! Damages a good history in every way that [`crate::checker`] has to notice: a checker that misses one proves nothing.

use crate::checker::Promise;
use crate::history::{Event, Fact, History, Identity, Record};
use rand::RngExt;
use rand::rngs::SmallRng;
use std::sync::Arc;

/// A way to damage a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names say what they do; `Damage::breaks` says what that breaks.
pub enum Damage {
    DropADelivery,
    /// The next event pretends to follow on the one before.
    DropADeliveryAndCloseTheHole,
    SwapTwoDeliveries,
    DuplicateADelivery,
    ReuseARevision,
    ReuseAnIdentity,
    /// From the stored history and from everybody's deliveries, so that nobody sees a hole.
    LoseAnAcceptedWrite,
    ChangeABody,
    GiveAResendAnotherAnswer,
    TakeAResendForANewWrite,
    EndBehindTheHead,
    ShowSomethingElse,
    KnowSomethingElse,
    ForgetAChange,
    ResetWithoutNeed,
    RefuseForGood,
    LieAboutAPosition,
    LoseWhatWasAcknowledged,
    ForgetALostWrite,
    KeepWhatWasLost,
    RollBackWithoutNeed,
}

/// All ways.
pub const ALL: [Damage; 17] = [
    Damage::DropADelivery,
    Damage::DropADeliveryAndCloseTheHole,
    Damage::SwapTwoDeliveries,
    Damage::DuplicateADelivery,
    Damage::ReuseARevision,
    Damage::ReuseAnIdentity,
    Damage::LoseAnAcceptedWrite,
    Damage::ChangeABody,
    Damage::GiveAResendAnotherAnswer,
    Damage::TakeAResendForANewWrite,
    Damage::EndBehindTheHead,
    Damage::ShowSomethingElse,
    Damage::KnowSomethingElse,
    Damage::ForgetAChange,
    Damage::ResetWithoutNeed,
    Damage::RefuseForGood,
    Damage::LieAboutAPosition,
];

/// Those that only a history with failovers can suffer; the first is none where writes are acknowledged from memory.
pub const OF_FAILOVERS: [Damage; 4] =
    [Damage::LoseWhatWasAcknowledged, Damage::ForgetALostWrite, Damage::KeepWhatWasLost, Damage::RollBackWithoutNeed];

impl Damage {
    /// The promise that it breaks for certain.
    pub fn breaks(self) -> Promise {
        match self {
            Damage::DropADelivery | Damage::SwapTwoDeliveries => Promise::Order,
            Damage::ResetWithoutNeed | Damage::LieAboutAPosition => Promise::Order,
            Damage::RollBackWithoutNeed => Promise::Order,
            Damage::LoseWhatWasAcknowledged | Damage::ForgetALostWrite => Promise::Kept,
            Damage::KeepWhatWasLost => Promise::Agreement,
            Damage::DuplicateADelivery | Damage::ReuseAnIdentity => Promise::Once,
            Damage::DropADeliveryAndCloseTheHole | Damage::LoseAnAcceptedWrite => Promise::Kept,
            Damage::ForgetAChange => Promise::Kept,
            Damage::ChangeABody | Damage::RefuseForGood => Promise::Kept,
            Damage::GiveAResendAnotherAnswer | Damage::TakeAResendForANewWrite => Promise::SameAnswer,
            Damage::EndBehindTheHead => Promise::Arrival,
            Damage::ReuseARevision | Damage::ShowSomethingElse | Damage::KnowSomethingElse => Promise::Agreement,
        }
    }

    /// The damaged history; `None` if there is nothing in it that could be damaged in this way.
    pub fn inflict(self, good: &History, rng: &mut SmallRng) -> Option<History> {
        let mut history = good.clone();
        let records = &mut history.records;
        match self {
            Damage::DropADelivery => {
                let (at, _) = pick_pair(records, rng)?;
                records.remove(at);
            }
            Damage::DropADeliveryAndCloseTheHole => {
                let (at, next) = pick_pair_told_once(records, rng)?;
                let from = event(&records[at])?.from;
                event_mut(&mut records[next])?.from = from;
                records.remove(at);
            }
            Damage::SwapTwoDeliveries => {
                let (at, next) = pick_pair(records, rng)?;
                let fact = records[at].fact.clone();
                records[at].fact = std::mem::replace(&mut records[next].fact, fact);
            }
            Damage::DuplicateADelivery => {
                let (at, _) = pick_pair(records, rng)?;
                let again = records[at].clone();
                records.insert(at + 1, again);
            }
            Damage::ReuseARevision => {
                let (at, _) = pick_pair(records, rng)?;
                event_mut(&mut records[at])?.frame = Some(0);
            }
            Damage::ReuseAnIdentity => {
                let (at, next) = pick_pair_told_once(records, rng)?;
                let identity = event(&records[at])?.identity.clone();
                event_mut(&mut records[next])?.identity = identity;
            }
            Damage::LoseAnAcceptedWrite => lose_everywhere(&mut history, rng)?,
            Damage::ChangeABody => {
                let with_body = |record: &Record| event(record).is_some_and(|event| event.body.is_some());
                let at = pick(records, rng, with_body)?;
                event_mut(&mut records[at])?.body = Some(0);
            }
            Damage::GiveAResendAnotherAnswer | Damage::TakeAResendForANewWrite => {
                let resend = |record: &Record| matches!(record.fact, Fact::Accepted { item: Some(_), .. });
                let at = pick(records, rng, resend)?;
                let mut again = records[at].clone();
                let Fact::Accepted { item, duplicate, .. } = &mut again.fact else { return None };
                if self == Damage::TakeAResendForANewWrite {
                    *duplicate = false;
                    records[at] = again.clone();
                } else {
                    *duplicate = true;
                    *item = item.map(|item| item + 1);
                }
                records.insert(at + 1, again);
            }
            Damage::EndBehindTheHead => {
                let heads = |record: &Record| history.ends.get(&record.stream).map(|end| end.head);
                let last = |record: &Record| event(record).is_some_and(|event| Some(event.to) == heads(record));
                let at = pick(records, rng, last)?;
                let (client, stream) = (records[at].client.clone(), records[at].stream.clone());
                let last = records.iter().rposition(|r| of(r, &client, &stream) && event(r).is_some())?;
                records.remove(last);
                // What the front claimed of it afterwards goes, too: only the head may tell.
                let mut index = 0;
                records.retain(|record| {
                    index += 1;
                    index <= last || !of(record, &client, &stream) || !matches!(record.fact, Fact::Stands(_))
                });
            }
            Damage::ShowSomethingElse => {
                let ends = &history.ends;
                let shown = |record: &Record| {
                    let holds = ends.get(&record.stream).and_then(|end| end.shows.as_ref());
                    holds.is_some() && matches!(record.fact, Fact::Shows(_))
                };
                // Clients may show something more than once: the last counts.
                let at = records.iter().rposition(shown)?;
                records[at].fact = Fact::Shows("something else".into());
            }
            Damage::KnowSomethingElse => {
                let knows = |record: &Record| matches!(&record.fact, Fact::Knows(items) if !items.is_empty());
                let at = records.iter().rposition(knows)?;
                let Fact::Knows(items) = &mut records[at].fact else { return None };
                items.values_mut().next()?.push('!');
            }
            Damage::ForgetAChange => {
                let changes = |record: &Record| matches!(record.fact, Fact::Accepted { touched: Some(_), .. });
                let at = pick(records, rng, changes)?;
                let head = history.ends.get(&records[at].stream)?.head;
                let Fact::Accepted { at, .. } = &mut records[at].fact else { return None };
                at.rev = head.rev + 1;
            }
            Damage::LoseWhatWasAcknowledged | Damage::ForgetALostWrite => {
                let ends = &history.ends;
                let known = |record: &Record| match &record.fact {
                    Fact::Accepted { at, item: Some(_), .. } => {
                        record.stream.ends_with("/log") && ends[&record.stream].epochs.contains_key(&at.epoch)
                    }
                    _ => false,
                };
                let at = pick(records, rng, known)?;
                let stream = records[at].stream.clone();
                let Fact::Accepted { at, identity, .. } = &mut records[at].fact else { return None };
                at.rev = ends[&stream].epochs[&at.epoch] + 1;
                if self == Damage::ForgetALostWrite {
                    let identity = identity.clone();
                    let events = history.ends.get_mut(&stream)?.events.as_mut()?;
                    let other = Identity { client: "nobody".into(), ..identity.clone() };
                    events.iter_mut().filter(|event| event.identity.as_ref() == Some(&identity)).for_each(|event| {
                        event.identity = Some(other.clone());
                    });
                }
            }
            Damage::KeepWhatWasLost => {
                let ends = &history.ends;
                let last = |(at, record): &(usize, &Record)| {
                    let told =
                        |r: &Record| of(r, &record.client, &record.stream) && matches!(r.fact, Fact::Snapshot { .. });
                    event(record).is_some()
                        && ends.get(&record.stream).is_some_and(|end| !end.epochs.is_empty())
                        && !records[at + 1..].iter().any(told)
                };
                let at = records.iter().enumerate().rev().find(last)?.0;
                event_mut(&mut records[at])?.to.epoch.id ^= 1;
            }
            Damage::RollBackWithoutNeed => {
                let ends = &history.ends;
                let remained = |record: &Record| {
                    let end = ends.get(&record.stream);
                    event(record).zip(end).is_some_and(|(event, end)| {
                        end.epochs.get(&event.to.epoch).is_some_and(|last| event.to.rev <= *last)
                    })
                };
                let at = pick(records, rng, remained)?;
                let mut needless = records[at].clone();
                needless.fact = Fact::Snapshot { because: "rollback".into(), at: event(&records[at])?.to };
                records.insert(at + 1, needless);
            }
            Damage::ResetWithoutNeed => {
                let (at, _) = pick_pair(records, rng)?;
                let at_position = event(&records[at])?.to;
                let mut needless = records[at].clone();
                needless.fact = Fact::Snapshot { because: "far".into(), at: at_position };
                records.insert(at + 1, needless);
            }
            Damage::RefuseForGood => {
                let at = pick(records, rng, |record| matches!(record.fact, Fact::Sent { .. }))?;
                let Fact::Sent { identity, .. } = records[at].fact.clone() else { return None };
                let mut refused = records[at].clone();
                refused.fact = Fact::Refused { identity, code: "FORGOTTEN".into(), retry: false };
                records.insert(at + 1, refused);
            }
            Damage::LieAboutAPosition => {
                let (at, _) = pick_pair(records, rng)?;
                let mut claim = records[at].clone();
                let mut claimed = event(&records[at])?.to;
                claimed.rev += 1;
                claim.fact = Fact::Stands(claimed);
                records.insert(at + 1, claim);
            }
        }
        Some(history)
    }
}

fn event(record: &Record) -> Option<&Event> {
    if let Fact::Delivered(event) = &record.fact { Some(event) } else { None }
}

fn event_mut(record: &mut Record) -> Option<&mut Event> {
    if let Fact::Delivered(event) = &mut record.fact { Some(event) } else { None }
}

fn of(record: &Record, client: &Arc<str>, stream: &Arc<str>) -> bool {
    record.client == *client && record.stream == *stream
}

/// Any record that fits.
fn pick(records: &[Record], rng: &mut SmallRng, fits: impl Fn(&Record) -> bool) -> Option<usize> {
    let count = records.len();
    let start = rng.random_range(0..count.max(1));
    (0..count).map(|n| (start + n) % count).find(|at| fits(&records[*at]))
}

/// Any two events that one client got from one stream without anything between, both with an identity.
fn pick_pair(records: &[Record], rng: &mut SmallRng) -> Option<(usize, usize)> {
    let named = |record: &Record| event(record).is_some_and(|event| event.identity.is_some() && event.frame.is_some());
    let count = records.len();
    let start = rng.random_range(0..count.max(1));
    (0..count).map(|n| (start + n) % count).find_map(|at| {
        let first = &records[at];
        if !named(first) {
            return None;
        }
        let tells = |r: &Record| {
            of(r, &first.client, &first.stream)
                && matches!(r.fact, Fact::Delivered(_) | Fact::Snapshot { .. } | Fact::Reset | Fact::Stands(_))
        };
        let next = at + 1 + records[at + 1..].iter().take(20_000).position(tells)?;
        (named(&records[next]) && event(&records[next])?.from == event(first)?.to.rev).then_some((at, next))
    })
}

/// As [`pick_pair`], where the client hears of what the first is about by no other event.
fn pick_pair_told_once(records: &[Record], rng: &mut SmallRng) -> Option<(usize, usize)> {
    let is_told_once = |(at, _): &(usize, usize)| {
        let first = &records[*at];
        let item = |record: &Record| event(record).and_then(|event| event.item);
        let tells = |r: &&Record| of(r, &first.client, &first.stream) && item(r) == item(first);
        records.iter().filter(tells).count() == 1
    };
    (0..1_000).filter_map(|_| pick_pair(records, rng)).find(is_told_once)
}

/// Takes an accepted write out of the stored history and out of everybody's deliveries, and closes every hole.
fn lose_everywhere(history: &mut History, rng: &mut SmallRng) -> Option<()> {
    let ends = history.ends.clone();
    let inner = |stream: &Arc<str>, identity: &Identity| {
        let events = ends.get(stream)?.events.as_ref()?;
        let at = events.iter().position(|event| event.identity.as_ref() == Some(identity))?;
        (at + 1 < events.len()).then_some(at)
    };
    let accepted = |record: &Record| match &record.fact {
        Fact::Accepted { identity, item: Some(_), .. } => inner(&record.stream, identity).is_some(),
        _ => false,
    };
    let at = pick(&history.records, rng, accepted)?;
    let stream = history.records[at].stream.clone();
    let Fact::Accepted { identity, .. } = history.records[at].fact.clone() else { return None };
    let events = history.ends.get_mut(&stream)?.events.as_mut()?;
    let lost = events.remove(inner(&stream, &identity)?);
    let close = |event: &mut Event| {
        if event.from == lost.to.rev {
            event.from = lost.from;
        }
    };
    events.iter_mut().for_each(close);
    history.records.retain(|record| record.stream != stream || event(record) != Some(&lost));
    history.records.iter_mut().filter(|record| record.stream == stream).filter_map(event_mut).for_each(close);
    Some(())
}
