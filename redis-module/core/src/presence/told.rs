//! What people are told: lists, announcements gathered per tick, and who is typing. Nothing of who is invisible.

use super::person::Person;
use super::{Presence, TYPING_NAMED_MAX, color};
use crate::bounds::Bounds;
use crate::changes::Changes;
use crate::epoch::{Epoch, Position, Standing};
use crate::json;

/// People to whom an announcement goes after the shortest tick; in larger rooms the tick grows with them.
const TICK_PEOPLE: usize = 250;
/// Longest tick, in milliseconds: half a second late is still now for a crowd.
const TICK_MS_MAX: u64 = 500;

/// What goes on in a room now, beside the list of its people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where later announcements go on from.
    pub position: Position,
    /// How many people are here.
    pub count: usize,
    /// Who types.
    pub typing: Vec<String>,
    /// Where people point, as JSON, by connection.
    pub cursors: Vec<String>,
}

impl Presence {
    /// What goes on now. Whoever asks may be shown [`members`](Self::members) as well.
    pub fn snapshot(&self) -> Snapshot {
        self.shown_rev.set(self.people.rev);
        if !self.is_typing_announced() {
            self.shown_typing.set(true);
        }
        let typing = self.typing.keys().take(TYPING_NAMED_MAX).map(|user| user.to_string()).collect();
        Snapshot { position: self.position(), count: self.count(), typing, cursors: self.cursors.to_json() }
    }

    /// Everybody as one JSON list, by user; an empty one in a room above the bound on listed people. One text, because
    /// whoever passes it on to a crowd should not have to look at each of a crowd.
    pub fn members(&self, bounds: &Bounds) -> String {
        let mut list = String::with_capacity(self.count().min(bounds.people_listed_max) * 128);
        let listed = self.people.everybody().filter(|_| self.count() <= bounds.people_listed_max);
        push_list(&mut list, listed, push_member);
        list
    }

    /// One person as JSON, if they are here and not invisible.
    pub fn member(&self, user: &str) -> Option<String> {
        self.people.person(user).filter(|person| !person.is_invisible()).map(|person| member((user, person)))
    }

    /// What changed after a position, as at most one frame. The frame may tell a little more than its revision
    /// says, when changes wait for the next tick, and of people who left that whoever asks never heard of: those may
    /// have been in a list that told more than its revision. All are told by name, so that is harmless.
    pub fn since(&self, position: Position, names: (&str, &str), bounds: &Bounds) -> Changes {
        match self.epochs.standing(position, self.announced) {
            Standing::Valid => {}
            Standing::RolledBack { end } => return Changes::RolledBack { end },
            // Who saw the room before anybody came saw revision 0 of no epoch.
            Standing::Unknown if position == Position::START => {}
            Standing::Unknown => return Changes::Unknown,
        }
        if position.rev < self.people.forgotten_rev {
            return Changes::Trimmed;
        }
        let events = if position.rev == self.announced {
            Vec::new()
        } else {
            self.shown_rev.set(self.people.rev);
            vec![(self.announced, self.changed_frame(names, (position.rev, u64::MAX), self.announced, bounds))]
        };
        Changes::Page { events, through: self.announced }
    }

    /// How long news are gathered, at least `least_ms`. Each announcement is written to everybody, and while a crowd comes
    /// there is one in every tick: a tick that grows with the room keeps the writes per second as they are.
    pub fn tick_ms(&self, least_ms: u64) -> u64 {
        let times = (self.count() / TICK_PEOPLE).max(1) as u64;
        least_ms.saturating_mul(times).min(TICK_MS_MAX.max(least_ms))
    }

    /// Whether there is something to announce.
    pub fn has_news(&self) -> bool {
        self.announced != self.people.rev
            || self.cursors.has_news()
            || self.shown_typing.get()
            || !self.is_typing_announced()
    }

    fn is_typing_announced(&self) -> bool {
        self.typing.keys().eq(self.typing_announced.iter())
    }

    /// The announcement of everything since the last one: (epoch, from, rev, frame). `None` if nothing changed.
    pub fn announce(&mut self, room: &str, stream: &str, bounds: &Bounds) -> Option<(Epoch, u64, u64, String)> {
        if self.announced == self.people.rev {
            return None;
        }
        // More departures in one tick than are remembered: starting later leaves a hole on purpose, so that
        // fronts notice and take the list.
        let (from, rev) = (self.announced.max(self.people.forgotten_rev), self.people.rev);
        let frame = self.changed_frame((room, stream), (from, self.shown_rev.get().max(from)), rev, bounds);
        self.announced = rev;
        Some((self.epochs.current(), from, rev, frame))
    }

    /// The announcement of who types now, if that changed, or if a list showed somebody in between.
    pub fn announce_typing(&mut self, room: &str) -> Option<String> {
        if !self.shown_typing.take() && self.is_typing_announced() {
            return None;
        }
        self.typing_announced = self.typing.keys().cloned().collect();
        let mut frame = format!("{{\"event\":\"presence.typing\",\"room\":{},\"users\":", json::quoted(room));
        push_list(&mut frame, self.typing.keys().take(TYPING_NAMED_MAX), |out, user| json::push_quoted(out, user));
        frame.push('}');
        Some(frame)
    }

    /// What changed after `from`; that somebody left only if somebody may know of their join, up to `known`.
    fn changed_frame(
        &self,
        (room, stream): (&str, &str),
        (from, known): (u64, u64),
        rev: u64,
        bounds: &Bounds,
    ) -> String {
        let mut frame = format!(
            "{{\"event\":\"presence.changed\",\"room\":{},\"stream\":{},\"epoch\":\"{}\",\"from\":{from},\"rev\":{rev},\"count\":{}",
            json::quoted(room),
            json::quoted(stream),
            self.epochs.current(),
            self.count()
        );
        let is_listed = self.count() <= bounds.people_listed_max;
        let changed = || self.people.changed_after(from).filter(|_| is_listed);
        frame.push_str(",\"joined\":");
        push_list(&mut frame, changed().filter(|(_, p)| p.shown.joined_rev > from), push_member);
        frame.push_str(",\"updated\":");
        push_list(&mut frame, changed().filter(|(_, p)| p.shown.joined_rev <= from), push_member);
        frame.push_str(",\"left\":");
        push_list(&mut frame, self.people.departed_after(from, known).filter(|_| is_listed), |out, user| {
            out.push_str("{\"user\":");
            json::push_quoted(out, user);
            out.push('}');
        });
        frame.push('}');
        frame
    }
}

fn member((user, person): (&str, &Person)) -> String {
    let mut out = String::with_capacity(user.len() + person.shown.data.len() + 128);
    push_member(&mut out, (user, person));
    out
}

fn push_member(out: &mut String, (user, person): (&str, &Person)) {
    out.push_str("{\"user\":");
    json::push_quoted(out, user);
    out.push_str(",\"connections\":");
    json::push_number(out, person.connections() as u64);
    out.push_str(",\"since_ms\":");
    json::push_number(out, person.shown.since_ms);
    // Neither of these has a character that JSON would escape.
    out.push_str(",\"status\":\"");
    out.push_str(person.shown.status.as_str());
    out.push_str("\",\"color\":\"");
    out.push_str(&color(user));
    out.push_str("\",\"data\":");
    out.push_str(&person.shown.data);
    out.push('}');
}

fn push_list<T>(out: &mut String, items: impl Iterator<Item = T>, push: impl Fn(&mut String, T)) {
    out.push('[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}
