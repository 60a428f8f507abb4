//! Which server holds which rooms, as somebody who asked the servers has found.

use fred::types::config::Server;

/// Slots that rooms are spread over: CRC16 of the part of a key between braces, as Redis Cluster specifies.
pub(super) const SLOTS: u16 = 16_384;

/// One server that takes writes, and its slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) server: Server,
    /// First and last of each range.
    pub(super) slots: Vec<(u16, u16)>,
}

/// All servers that take writes. What no place holds cannot be served now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layout(pub(super) Vec<Place>);

impl Layout {
    /// One server for all rooms.
    pub(super) fn one(server: Server) -> Self {
        Layout(vec![Place { server, slots: vec![(0, SLOTS - 1)] }])
    }

    /// The place of each slot, by its number in the list.
    pub(super) fn by_slot(&self) -> Vec<Option<u16>> {
        let mut places = vec![None; usize::from(SLOTS)];
        for (number, place) in self.0.iter().enumerate() {
            for slot in place.slots.iter().flat_map(|&(first, last)| first..=last) {
                if let Some(entry) = places.get_mut(usize::from(slot)) {
                    *entry = u16::try_from(number).ok();
                }
            }
        }
        places
    }
}

/// The slot of a channel or key.
pub(super) fn slot(key: &str) -> u16 {
    fred::util::redis_keyslot(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_and_its_keys_are_in_one_slot() {
        assert_eq!(slot("stoa:{lobby}"), slot("stoa:{lobby}:doc:main"));
        assert_eq!(slot("stoa:{lobby}"), slot("lobby"));
        assert_eq!(slot("123456789"), 12739, "the check value of the specification");
    }

    #[test]
    fn what_no_server_holds_has_no_place() {
        let place = |port, slots| Place { server: Server::new("h", port), slots };
        let layout = Layout(vec![place(1, vec![(0, 9), (20, 20)]), place(2, vec![(10, 19)])]);
        let by_slot = layout.by_slot();
        assert_eq!([by_slot[0], by_slot[10], by_slot[20], by_slot[21]], [Some(0), Some(1), Some(0), None]);
    }
}
