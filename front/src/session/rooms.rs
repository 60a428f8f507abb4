//! The rooms of one connection.

use crate::names::Room;

/// How far the connection has got in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Joining,
    Joined,
}

/// A handful of rooms in most connections, and never more than [`Settings::rooms_max`](crate::Settings::rooms_max): looking
/// through them costs less than a table would keep.
#[derive(Debug, Default)]
pub(super) struct Rooms(Vec<(Room, Membership)>);

impl Rooms {
    pub(super) fn get(&self, room: &Room) -> Option<Membership> {
        self.0.iter().find(|(known, _)| known == room).map(|(_, membership)| *membership)
    }

    pub(super) fn insert(&mut self, room: Room, membership: Membership) {
        match self.0.iter_mut().find(|(known, _)| *known == room) {
            Some(known) => known.1 = membership,
            None => {
                self.0.reserve_exact(1);
                self.0.push((room, membership));
            }
        }
    }

    pub(super) fn remove(&mut self, room: &Room) {
        self.0.retain(|(known, _)| known != room);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.0.iter().map(|(room, _)| room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_stands_there_once_and_can_be_left() {
        let (lobby, hall) = (Room::parse("lobby").unwrap(), Room::parse("hall").unwrap());
        let mut rooms = Rooms::default();
        rooms.insert(lobby.clone(), Membership::Joining);
        rooms.insert(hall.clone(), Membership::Joined);
        rooms.insert(lobby.clone(), Membership::Joined);
        assert_eq!((rooms.len(), rooms.get(&lobby)), (2, Some(Membership::Joined)));
        rooms.remove(&lobby);
        assert_eq!((rooms.get(&lobby), rooms.iter().collect::<Vec<_>>()), (None, vec![&hall]));
    }
}
