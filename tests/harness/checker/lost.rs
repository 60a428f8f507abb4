//! What may be lost when servers fail, and what follows for those who saw it.

use super::{Promise, Stream};
use crate::history::{Event, Fact, History, Identity, Record, Terms};
use std::collections::HashSet;
use stoa_core::bounds::EPOCHS_KEPT;
use stoa_core::epoch::Position;

/// What became of something, as far as servers know in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is part of what remained.
    Kept,
    /// It is not.
    Lost,
    /// It is so old that nobody can tell.
    Forgotten,
}

/// How many accepted writes are no part of what remained.
pub fn count_lost(history: &History) -> usize {
    let mut count = 0;
    for record in &history.records {
        let stream = Stream::new(&record.stream, history);
        if let Fact::Accepted { at, .. } = &record.fact {
            count += usize::from(stream.standing(*at) == Standing::Lost);
        }
    }
    count
}

impl<'h> Stream<'h> {
    /// What became of what stands at a position.
    pub(super) fn standing(&self, at: Position) -> Standing {
        let epochs = self.end.map(|end| &end.epochs).filter(|epochs| !epochs.is_empty());
        let Some(epochs) = epochs.filter(|_| self.terms != Terms::Steady) else { return Standing::Kept };
        let oldest = epochs.keys().map(|epoch| epoch.number).min().unwrap_or_default();
        match epochs.get(&at.epoch) {
            Some(end) if at.rev <= *end => Standing::Kept,
            // Servers remember so many.
            None if epochs.len() >= EPOCHS_KEPT && at.epoch.number < oldest => Standing::Forgotten,
            _ => Standing::Lost,
        }
    }

    /// A write was accepted and is no part of what remained.
    pub(super) fn lose(&mut self, record: &'h Record, identity: &'h Identity, at: Position) {
        self.lost.push((identity, at, record));
        if self.terms != Terms::Memory {
            let what = format!("{}:{} was acknowledged at {at}, and lost", identity.client, identity.seq);
            self.broken(Promise::Kept, &record.client, what, &[Some(record)]);
        }
    }

    /// A client is told that history ended before what it saw: whether that was needed. `None` if it is told something
    /// else, or could not be told this.
    pub(super) fn history_ended(&mut self, record: &'h Record, because: &str) -> Option<bool> {
        let (at, says_so) = (self.walk(record).at, matches!(because, "rollback" | "reset"));
        let has_end = self.end.is_some_and(|end| !end.epochs.is_empty());
        let is_kept = |at: Position| has_end && at != Position::START && self.standing(at) == Standing::Kept;
        let is_needed = !at.is_some_and(is_kept);
        let walk = self.walk(record);
        walk.phantom = None;
        if says_so {
            walk.told.push(record.at);
        }
        (says_so && self.terms != Terms::Steady).then_some(is_needed)
    }

    /// Of what was accepted and lost its writer was told, and wrote it again where it could.
    pub(super) fn lost_is_told_or_sent_again(&mut self, events: &'h [Event]) {
        let remained: HashSet<&Identity> = events.iter().filter_map(|event| event.identity.as_ref()).collect();
        let is_log = self.name.ends_with("/log");
        for (identity, at, record) in std::mem::take(&mut self.lost) {
            let is_told =
                || self.walks.get(&&record.client).is_some_and(|walk| walk.told.iter().any(|t| *t >= record.at));
            if !remained.contains(identity) && (is_log || !is_told()) {
                let what =
                    format!("{}:{}, accepted at {at}, is gone and nobody was told", identity.client, identity.seq);
                self.broken(Promise::Kept, &record.client, what, &[Some(record)]);
            }
        }
    }

    /// In the end nobody holds anything that is no part of what remained.
    pub(super) fn nobody_keeps_what_was_lost(&mut self) {
        let phantoms: Vec<_> = self.walks.iter().filter_map(|(client, walk)| Some((*client, walk.phantom?))).collect();
        for (client, record) in phantoms {
            let what = "it holds what was lost, and was not told".to_owned();
            self.broken(Promise::Agreement, client, what, &[Some(record)]);
        }
    }
}
