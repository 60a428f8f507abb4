//! An event on its way through a front: the module's header, and the bytes for clients, shared by all of them.

use crate::conn::Class;
use crate::module_api::{Opened, Outcome};
use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use std::sync::Arc;
use stoa_core::epoch::Position;
use stoa_core::event::{self, Header, Kind};

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What a front needs to know.
    pub header: Header,
    /// What clients receive.
    pub frame: Utf8Bytes,
    /// Room, stream and slot in one, for ephemeral events that replace each other.
    slot: Option<Arc<str>>,
}

impl Event {
    /// Reads what came over a channel; the frame shares its memory.
    pub fn decode(channel: &str, bytes: &Bytes) -> Result<Self, String> {
        let (header, frame) = event::decode(bytes).map_err(|e| e.to_string())?;
        let frame = Utf8Bytes::try_from(bytes.slice_ref(frame)).map_err(|e| e.to_string())?;
        let slot = (header.kind == Kind::Ephemeral && !header.slot.is_empty())
            .then(|| format!("{channel}\n{}\n{}", header.stream, header.slot).into());
        Ok(Event { header, frame, slot })
    }

    /// The events of a catch-up, as if they had come over the channel, for somebody who had revision `from`.
    pub fn missed(opened: &Opened, from: u64) -> impl Iterator<Item = Event> + '_ {
        let events = if let Outcome::Changes { events } = &opened.outcome { events.as_slice() } else { &[] };
        events.iter().scan(from, |from, (rev, frame)| {
            let header = Header::durable(&opened.stream, opened.position.epoch, *from, *rev);
            *from = *rev;
            Some(Event { header, frame: frame.clone(), slot: None })
        })
    }

    /// How it may be treated in a queue.
    pub fn class(&self) -> Class {
        match self.header.kind {
            Kind::Ephemeral => Class::Ephemeral(self.slot.clone()),
            Kind::Durable | Kind::Heads | Kind::Reset => Class::Durable,
        }
    }

    /// The positions in an announcement of heads.
    pub fn heads(&self) -> Vec<(String, Position)> {
        #[derive(serde::Deserialize)]
        struct Heads {
            heads: std::collections::BTreeMap<String, String>,
        }
        let heads = serde_json::from_str::<Heads>(&self.frame).map(|frame| frame.heads).unwrap_or_default();
        heads.into_iter().filter_map(|(stream, position)| Some((stream, position.parse().ok()?))).collect()
    }

    #[cfg(test)]
    pub(super) fn for_tests(header: Header, frame: &str) -> Self {
        Event { header, frame: frame.into(), slot: None }
    }
}
