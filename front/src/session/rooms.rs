//! The rooms of one connection.

use crate::access::Allowance;
use crate::names::Room;
use std::sync::Arc;

/// How far the connection has got in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Joining,
    Joined,
}

#[derive(Debug)]
struct Known {
    room: Room,
    membership: Membership,
    allowance: Arc<Allowance>,
}

/// A handful of rooms in most connections, and never more than [`Settings::rooms_max`](crate::Settings::rooms_max): looking
/// through them costs less than a table would keep.
#[derive(Debug, Default)]
pub(super) struct Rooms(Vec<Known>);

impl Rooms {
    pub(super) fn get(&self, room: &Room) -> Option<Membership> {
        self.find(room).map(|known| known.membership)
    }

    /// What the room last said that this connection may do there.
    pub(super) fn allowance(&self, room: &Room) -> Option<&Arc<Allowance>> {
        self.find(room).map(|known| &known.allowance)
    }

    fn find(&self, room: &Room) -> Option<&Known> {
        self.0.iter().find(|known| known.room == *room)
    }

    /// Enters a room, or says anew how it stands with one.
    pub(super) fn enter(&mut self, room: Room, membership: Membership, allowance: Arc<Allowance>) {
        self.remove(&room);
        self.0.reserve_exact(1);
        self.0.push(Known { room, membership, allowance });
    }

    pub(super) fn remove(&mut self, room: &Room) {
        self.0.retain(|known| known.room != *room);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.0.iter().map(|known| &known.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_stands_there_once_and_can_be_left() {
        let (lobby, hall) = (Room::parse("lobby").unwrap(), Room::parse("hall").unwrap());
        let mut rooms = Rooms::default();
        rooms.enter(lobby.clone(), Membership::Joining, Arc::default());
        rooms.enter(hall.clone(), Membership::Joined, Arc::default());
        rooms.enter(lobby.clone(), Membership::Joined, Arc::default());
        assert_eq!((rooms.len(), rooms.get(&lobby)), (2, Some(Membership::Joined)));
        rooms.remove(&lobby);
        assert_eq!((rooms.get(&lobby), rooms.iter().collect::<Vec<_>>()), (None, vec![&hall]));
    }
}
