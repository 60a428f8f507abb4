//! How a room finds out that it missed something, and makes up for it.

use super::{At, Fit, HELD_BYTES_MAX, HELD_EVENTS_MAX, Output, RoomState, Stage, Ticket};
use crate::conn::Event;
use crate::frame::FrameError;
use crate::module_api::{Opened, Outcome};
use std::sync::Arc;
use stoa_core::epoch::Position;

impl RoomState {
    /// Something may be missing in every stream.
    pub(super) fn repair_everything(&mut self, out: &mut Vec<Output>) {
        let known = self.streams.iter().filter(|(_, stream)| stream.at != At::Unknown);
        let names: Vec<Arc<str>> = known.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.fetch(&name, true, out);
        }
        for joining in self.members.iter_mut().filter_map(|(_, member)| member.joining.as_mut()) {
            joining.torn |= joining.stage != Stage::Subscribing;
        }
    }

    pub(super) fn heads(&mut self, heads: Vec<(String, Position)>, out: &mut Vec<Output>) {
        for (name, head) in heads {
            let Some((name, stream)) = self.streams.get_key_value(name.as_str()) else { continue };
            let behind = match stream.at {
                At::Unknown => false,
                At::Missing => true,
                At::Position(at) => at.epoch != head.epoch || at.rev < head.rev,
            };
            if behind && stream.fetching.is_none() {
                let name = name.clone();
                self.fetch(&name, false, out);
            }
        }
    }

    /// Asks for what the room misses of a stream. One question at a time: a second one waits for the first.
    pub(super) fn fetch(&mut self, name: &Arc<str>, calm: bool, out: &mut Vec<Output>) {
        let ticket = self.ticket();
        let Some(stream) = self.streams.get_mut(name) else { return };
        if stream.fetching.is_some() {
            stream.again = true;
            return;
        }
        stream.fetching = Some((ticket, stream.held.len()));
        stream.again = false;
        out.push(Output::Fetch { ticket, stream: name.clone(), position: stream.at.position(), calm });
    }

    pub(super) fn hold(&mut self, name: &Arc<str>, event: Arc<Event>, out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        stream.held_bytes += event.text.len();
        stream.held.push_back(event);
        if stream.held.len() > HELD_EVENTS_MAX || stream.held_bytes > HELD_BYTES_MAX {
            stream.held.clear();
            stream.held_bytes = 0;
            stream.again = true;
            stream.fetching = stream.fetching.map(|(ticket, _)| (ticket, 0));
        }
        if stream.fetching.is_none() {
            self.fetch(name, false, out);
        }
    }

    pub(super) fn fetched(
        &mut self,
        ticket: Ticket,
        name: &Arc<str>,
        answer: Result<Arc<Opened>, FrameError>,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some((_, covered)) = stream.fetching.filter(|(under_way, _)| *under_way == ticket) else { return };
        stream.fetching = None;
        // What was held when Redis was asked is part of the answer, or of a history that is no more.
        stream.held.drain(..covered.min(stream.held.len()));
        stream.held_bytes = stream.held.iter().map(|event| event.text.len()).sum();
        let again = std::mem::take(&mut stream.again);
        let at = stream.at;
        match answer {
            Ok(opened) => match &opened.outcome {
                Outcome::Changes { .. } => self.catch_up(name, at, &opened, out),
                Outcome::Snapshot { .. } => self.resync(name, &opened, out),
                // Announcements of before it was deleted may come late: nothing is new to those who know.
                Outcome::Missing if at == At::Missing => {}
                Outcome::Missing => return self.gone(name, out),
            },
            Err(_) => return self.gone(name, out),
        }
        self.release(name, again, out);
    }

    fn catch_up(&mut self, name: &Arc<str>, at: At, opened: &Opened, out: &mut Vec<Output>) {
        for event in Event::missed(opened, at.position().map_or(0, |position| position.rev)) {
            self.advance(name, Arc::new(event), out);
        }
        if let Some(stream) = self.streams.get_mut(name) {
            stream.at = At::Position(opened.position);
        }
    }

    fn resync(&mut self, name: &Arc<str>, opened: &Arc<Opened>, out: &mut Vec<Output>) {
        let new = At::Position(opened.position);
        let mut to = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.open.contains(name)) {
            if let Some(joining) = &mut member.joining {
                joining.torn = true;
                continue;
            }
            let floor = member.floors.remove(name);
            match floor {
                Some(floor) if floor == new => {}
                Some(floor) if new.is_behind(floor) => {
                    member.floors.insert(name.clone(), floor);
                }
                _ => to.push(id),
            }
        }
        if let Some(stream) = self.streams.get_mut(name) {
            stream.at = new;
        }
        if !to.is_empty() {
            out.push(Output::Resync { to, opened: opened.clone() });
        }
    }

    /// Delivers what was held back, as far as it is contiguous, and asks again for the rest.
    fn release(&mut self, name: &Arc<str>, mut again: bool, out: &mut Vec<Output>) {
        while let Some(stream) = self.streams.get_mut(name) {
            let Some(event) = stream.held.front().cloned() else { break };
            let fit = stream.at.fit(&event);
            if fit == Fit::Gap {
                again = true;
                break;
            }
            stream.held.pop_front();
            stream.held_bytes -= event.text.len();
            if fit == Fit::Next {
                self.advance(name, event, out);
            }
        }
        if again {
            self.fetch(name, false, out);
        }
    }

    /// A stream that is no more.
    fn gone(&mut self, name: &Arc<str>, out: &mut Vec<Output>) {
        self.streams.remove(name);
        let mut to = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.open.contains(name)) {
            match &mut member.joining {
                Some(joining) => joining.torn = true,
                None => {
                    member.forget(name);
                    to.push(id);
                }
            }
        }
        if !to.is_empty() {
            out.push(Output::Reset { to, stream: name.clone() });
        }
    }
}
