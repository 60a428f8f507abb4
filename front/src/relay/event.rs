//! Events on their way in: read from a channel, or from the answer to a catch-up.

use crate::conn::{Event, Text};
use crate::module_api::{Opened, Outcome};
use bytes::Bytes;
use stoa_core::epoch::Position;
use stoa_core::event::{self, Header};

impl Event {
    /// Reads what came over a channel; text and payload share its memory.
    pub fn decode(room: &str, bytes: &Bytes) -> Result<Self, String> {
        let (header, body) = event::decode(bytes).map_err(|e| e.to_string())?;
        let (text, payload) = event::parts(&header, body).map_err(|e| e.to_string())?;
        let text = Text::try_from(bytes.slice_ref(text)).map_err(|e| e.to_string())?;
        let payload = payload.map(|payload| bytes.slice_ref(payload));
        let event = Event::new(room, header, text);
        Ok(match payload {
            Some(payload) => event.with_payload(payload),
            None => event,
        })
    }

    /// The events of a catch-up, as if they had come over the channel, for somebody who had revision `from`.
    pub fn missed(opened: &Opened, from: u64) -> impl Iterator<Item = Event> + '_ {
        let events = if let Outcome::Changes { events } = &opened.outcome { events.as_slice() } else { &[] };
        events.iter().scan(from, |from, (rev, text)| {
            let header = Header::durable(&opened.stream, opened.position.epoch, *from, *rev);
            *from = *rev;
            // Durable events have no slot that a channel would have to keep apart.
            Some(Event::new("", header, text.clone()))
        })
    }

    /// The positions in an announcement of heads.
    pub fn heads(&self) -> Vec<(String, Position)> {
        #[derive(serde::Deserialize)]
        struct Heads {
            heads: std::collections::BTreeMap<String, String>,
        }
        let heads = serde_json::from_str::<Heads>(&self.text).map(|frame| frame.heads).unwrap_or_default();
        heads.into_iter().filter_map(|(stream, position)| Some((stream, position.parse().ok()?))).collect()
    }

    #[cfg(test)]
    pub(super) fn for_tests(header: Header, text: &str) -> Self {
        Event::new("", header, text.into())
    }
}
