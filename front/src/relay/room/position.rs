//! Where somebody stands in a stream, and what an event is to them.

use crate::conn::Event;
use crate::module_api::{Opened, Outcome};
use stoa_core::epoch::{Epoch, Position};

/// Where somebody stands in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Nobody has said yet: the next event says it.
    Unknown,
    /// There was no such stream.
    Missing,
    /// After this revision.
    Position(Position),
}

/// What an event is to somebody at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Next,
    Known,
    Gap,
}

impl At {
    pub(super) fn of(opened: &Opened) -> At {
        if matches!(opened.outcome, Outcome::Missing) { At::Missing } else { At::Position(opened.position) }
    }

    pub(super) fn position(self) -> Option<Position> {
        if let At::Position(position) = self { Some(position) } else { None }
    }

    pub(super) fn fit(self, event: &Event) -> Fit {
        let header = &event.header;
        match self {
            At::Unknown => Fit::Next,
            // A document begins with revision 0.
            At::Missing if header.rev == 0 => Fit::Next,
            At::Missing => Fit::Gap,
            // A stream that nobody has written to yet has no epoch.
            At::Position(at) if at.epoch == Epoch::default() && at.rev == 0 && header.from == 0 => Fit::Next,
            At::Position(at) if at.epoch == header.epoch && header.rev <= at.rev => Fit::Known,
            At::Position(at) if at.epoch == header.epoch && header.from == at.rev => Fit::Next,
            At::Position(_) => Fit::Gap,
        }
    }

    /// Whether somebody here has certainly seen less than somebody at `other`.
    pub(super) fn is_behind(self, other: At) -> bool {
        match (self, other) {
            (At::Position(a), At::Position(b)) if a.epoch == b.epoch => a.rev < b.rev,
            (At::Position(a), At::Position(b)) => a.epoch.number <= b.epoch.number,
            (At::Missing, At::Position(_)) => true,
            _ => false,
        }
    }
}
