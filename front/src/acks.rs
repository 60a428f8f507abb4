//! How safe a write has to be before it is answered.

use crate::names::Room;
use std::fmt;
use std::str::FromStr;

/// Replicas that may be asked for, in number: more than anybody runs is a slip of the finger.
const REPLICAS_MAX: u32 = 16;

/// Where a write has to be before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// In the memory of the primary.
    Memory,
    /// In the memory of so many replicas, too.
    Replicas(u32),
    /// On the primary's disk.
    Disk,
}

impl FromStr for Ack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let replicas = |count: &str| count.parse().ok().filter(|count| (1..=REPLICAS_MAX).contains(count));
        match text {
            "memory" => Ok(Ack::Memory),
            "disk" => Ok(Ack::Disk),
            text => {
                text.strip_prefix("replica:").and_then(replicas).map(Ack::Replicas).ok_or_else(|| {
                    format!("`{text}` is none of memory, disk, replica:N with N from 1 to {REPLICAS_MAX}")
                })
            }
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ack::Memory => f.write_str("memory"),
            Ack::Replicas(count) => write!(f, "replica:{count}"),
            Ack::Disk => f.write_str("disk"),
        }
    }
}

/// What holds for the rooms of a pattern: a room's name, or a prefix that ends in `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomAck {
    pattern: String,
    ack: Ack,
}

impl RoomAck {
    fn matches(&self, room: &Room) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(start) => room.as_str().starts_with(start),
            None => room.as_str() == self.pattern,
        }
    }
}

impl FromStr for RoomAck {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A room's name may hold `=`, what it needs does not.
        let (pattern, ack) = text.rsplit_once('=').ok_or_else(|| format!("`{text}` is not of the form pattern=ack"))?;
        Ok(RoomAck { pattern: pattern.into(), ack: ack.parse()? })
    }
}

/// What holds for which rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acks {
    rooms: Vec<RoomAck>,
    others: Ack,
}

impl Acks {
    /// The first of `rooms` that matches decides, `others` if none does.
    pub fn new(rooms: Vec<RoomAck>, others: Ack) -> Self {
        Acks { rooms, others }
    }

    /// What a write in a room waits for.
    pub fn of(&self, room: &Room) -> Ack {
        self.rooms.iter().find(|one| one.matches(room)).map_or(self.others, |one| one.ack)
    }

    /// What any room may wait for, each once, without [`Ack::Memory`], which takes no waiting.
    pub fn waits(&self) -> Vec<Ack> {
        let mut waits: Vec<Ack> = Vec::new();
        for ack in self.rooms.iter().map(|one| one.ack).chain([self.others]) {
            if ack != Ack::Memory && !waits.contains(&ack) {
                waits.push(ack);
            }
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Room {
        Room::parse(name).unwrap()
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let rooms = ["orders:*=replica:2", "orders:7=memory", "a=b=disk"].map(|text| text.parse().unwrap()).to_vec();
        let acks = Acks::new(rooms, Ack::Replicas(1));
        assert_eq!(acks.of(&room("orders:7")), Ack::Replicas(2));
        assert_eq!(acks.of(&room("a=b")), Ack::Disk);
        assert_eq!(acks.of(&room("lobby")), Ack::Replicas(1));
        assert_eq!(acks.waits(), [Ack::Replicas(2), Ack::Disk, Ack::Replicas(1)]);
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for bad in ["", "replica", "replica:0", "replica:17", "replica:-1", "replica:+1x", "Disk"] {
            assert!(bad.parse::<Ack>().is_err(), "{bad}");
        }
        for good in ["memory", "disk", "replica:3"] {
            assert_eq!(good.parse::<Ack>().unwrap().to_string(), good);
        }
        assert!("orders".parse::<RoomAck>().is_err());
    }
}
