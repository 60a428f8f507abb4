use super::*;
use crate::changes::Changes;
use serde_json::{Value, json};

mod shown;

const HERE: Writer = Writer { replication_id: 1, chance: 7 };

/// A room whose replica follows every record; a test that ends compares the two.
struct Room {
    primary: Presence,
    replica: Presence,
    bounds: Bounds,
    now_ms: u64,
}

impl Room {
    fn new() -> Self {
        Room {
            primary: Presence::default(),
            replica: Presence::default(),
            bounds: Bounds::default(),
            now_ms: 1_000_000,
        }
    }
    fn follow(&mut self, records: impl IntoIterator<Item = Vec<u8>>) {
        for record in records {
            self.replica.apply(&record, &self.bounds).unwrap();
        }
        assert_eq!(self.primary.encode(), self.replica.encode(), "the replica differs");
    }
    fn joins(&mut self, user: &str, connection: &str, node: &str) -> Changed {
        let says = Says { data: Some(b"{\"name\":\"x\"}"), ..Says::default() };
        self.joins_as(user, connection, node, says)
    }
    fn joins_as(&mut self, user: &str, connection: &str, node: &str, says: Says<'_>) -> Changed {
        let join = Join { user, connection, node, ttl_ms: 10_000, says };
        let changed = self.primary.join(join, HERE, self.now_ms, &self.bounds).unwrap();
        self.follow(changed.record.clone());
        changed
    }
    fn sets(&mut self, connection: &str, says: Says<'_>) {
        let changed = self.primary.set(connection, says, HERE, self.now_ms, &self.bounds).unwrap();
        self.follow(changed.record);
    }
    fn says(&mut self, connection: &str, status: &str) {
        self.sets(connection, Says { status: Some(status), ..Says::default() });
    }
    fn kicks(&mut self, whom: Whom<'_>) -> u64 {
        let changed = self.primary.kick(whom, HERE, self.now_ms, &self.bounds).unwrap();
        self.follow(changed.record);
        changed.connections
    }
    /// The member as others see it.
    fn sees(&self, user: &str) -> Option<Value> {
        self.primary.member(user).map(|json| serde_json::from_str(&json).unwrap())
    }
    fn leaves(&mut self, connection: &str, grace_ms: u64) {
        let changed = self.primary.leave(connection, grace_ms, HERE, self.now_ms, &self.bounds).unwrap();
        self.follow(changed.record);
    }
    fn beats(&mut self, node: &str) -> u64 {
        let changed = self.primary.beat(node, 10_000, HERE, self.now_ms, &self.bounds).unwrap();
        self.follow(changed.record);
        changed.connections
    }
    /// Lets time pass and ends what is due, as the module's timer does.
    fn waits(&mut self, ms: u64) {
        self.now_ms += ms;
        while self.primary.next_deadline().is_some_and(|at| at <= self.now_ms) {
            let records = self.primary.due(self.now_ms, HERE, &self.bounds);
            self.follow(records);
        }
    }
    /// (joined, updated, left) of the next announcement.
    fn hears(&mut self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let Some((_, from, rev, frame)) = self.primary.announce("lobby", "presence", &self.bounds) else {
            return Default::default();
        };
        let frame: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!((frame["from"].as_u64(), frame["rev"].as_u64()), (Some(from), Some(rev)));
        let users = |list: &str| {
            let list = frame[list].as_array().unwrap();
            list.iter().map(|m| m["user"].as_str().unwrap().to_owned()).collect()
        };
        (users("joined"), users("updated"), users("left"))
    }
}

fn people(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| n.to_string()).collect()
}

#[test]
fn a_person_joins_with_the_first_connection_and_leaves_after_the_last() {
    let mut room = Room::new();
    assert!(room.joins("ada", "tab1", "front1").first);
    assert_eq!(room.hears(), (people(&["ada"]), vec![], vec![]));
    assert!(!room.joins("ada", "tab2", "front2").first);
    assert_eq!(room.hears(), (vec![], people(&["ada"]), vec![]));
    room.leaves("tab1", 0);
    assert_eq!(room.hears(), (vec![], people(&["ada"]), vec![]));
    room.leaves("tab2", 0);
    assert_eq!(room.hears(), (vec![], vec![], people(&["ada"])));
    assert_eq!(room.primary.count(), 0);
}

#[test]
fn a_return_within_the_grace_is_no_departure() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "front1");
    room.hears();
    room.leaves("tab1", 30_000);
    room.waits(29_999);
    assert_eq!(room.primary.count(), 1);
    room.joins("ada", "tab2", "front1");
    assert_eq!(room.hears().2, people(&[]));
    room.beats("front1");
    room.waits(5_000);
    assert_eq!(room.primary.count(), 1);
    room.leaves("tab2", 30_000);
    room.waits(30_000);
    assert_eq!(room.hears().2, people(&["ada"]));
}

#[test]
fn a_front_that_dies_takes_its_people_with_it_and_no_others() {
    let mut room = Room::new();
    room.bounds.departures_max = 2_000;
    for n in 0..1_500 {
        room.joins(&format!("user{n}"), &format!("conn{n}"), "front1");
    }
    room.joins("user7", "conn7b", "front2");
    room.hears();
    room.waits(6_000);
    assert_eq!(room.beats("front2"), 1);
    room.waits(4_000);
    assert_eq!(room.primary.count(), 1);
    assert_eq!(room.hears().2.len(), 1_499);
    assert_eq!(room.beats("front1"), 0, "a front whose lease ended is told to join its people again");
}

#[test]
fn who_comes_and_goes_between_two_ticks_is_not_mentioned() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "front1");
    room.leaves("tab1", 0);
    assert_eq!(room.hears(), (vec![], vec![], vec![]));
    room.joins("bo", "tab2", "front1");
    room.hears();
    room.leaves("tab2", 0);
    room.joins("bo", "tab3", "front1");
    assert_eq!(room.hears(), (people(&["bo"]), vec![], people(&["bo"])));
}

#[test]
fn more_departures_than_are_remembered_leave_a_hole_that_fronts_notice() {
    let mut room = Room::new();
    room.bounds.departures_max = 5;
    for n in 0..20 {
        room.joins(&format!("user{n}"), &format!("conn{n}"), "front1");
    }
    room.hears();
    let known = room.primary.position();
    for n in 0..10 {
        room.leaves(&format!("conn{n}"), 0);
    }
    let (_, from, _, _) = room.primary.announce("lobby", "presence", &room.bounds).unwrap();
    assert!(from > known.rev);
    assert_eq!(room.primary.since(known, ("lobby", "presence"), &room.bounds), Changes::Trimmed);
}

#[test]
fn changes_since_a_position_lead_to_the_same_list() {
    let mut room = Room::new();
    room.bounds.departures_max = 10;
    for n in 0..8 {
        room.joins(&format!("user{n}"), &format!("conn{n}"), "front1");
    }
    room.hears();
    let then = room.primary.position();
    for n in 0..4 {
        room.leaves(&format!("conn{n}"), 0);
    }
    room.joins("late", "conn9", "front1");
    room.hears();
    let Changes::Page { events, .. } = room.primary.since(then, ("lobby", "presence"), &room.bounds) else { panic!() };
    let frame: Value = serde_json::from_str(&events[0].1).unwrap();
    assert_eq!(frame["left"].as_array().unwrap().len(), 4);
    assert_eq!(frame["joined"][0]["user"], "late");
    for n in 0..20 {
        room.joins("flap", &format!("flap{n}"), "front1");
        room.leaves(&format!("flap{n}"), 0);
    }
    assert_eq!(room.primary.since(then, ("lobby", "presence"), &room.bounds), Changes::Trimmed);
}

#[test]
fn typing_ends_by_itself_and_with_the_person() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "front1");
    room.joins("bo", "tab2", "front1");
    assert_eq!(room.primary.type_for("tab1", 5_000, room.now_ms), Ok(1));
    assert_eq!(room.primary.type_for("tab2", 5_000, room.now_ms), Ok(2));
    assert_eq!(
        room.primary.announce_typing("lobby").unwrap(),
        "{\"event\":\"presence.typing\",\"room\":\"lobby\",\"users\":[\"ada\",\"bo\"]}"
    );
    assert_eq!(room.primary.announce_typing("lobby"), None);
    room.leaves("tab2", 0);
    assert!(room.primary.has_news());
    room.waits(5_000);
    assert!(room.primary.announce_typing("lobby").unwrap().ends_with("\"users\":[]}"));
}

#[test]
fn private_data_is_stored_and_never_told() {
    let mut room = Room::new();
    room.joins_as("ada", "tab1", "f", Says { private: Some(b"{\"ip\":\"secret\"}"), ..Says::default() });
    assert!(!room.primary.announce("l", "presence", &room.bounds).unwrap().3.contains("secret"));
    assert!(!room.primary.members(&room.bounds).contains("secret"));
    assert_eq!(&*room.primary.people.connection("tab1").unwrap().private, "{\"ip\":\"secret\"}");
}

#[test]
fn a_patch_changes_the_data_of_the_own_connection() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "front1");
    let patch = Says { data: Some(b"{\"name\":null,\"page\":7}"), ..Says::default() };
    room.sets("tab1", patch);
    assert_eq!(room.sees("ada").unwrap()["data"], json!({"page": 7}));
    assert_eq!(room.primary.set("nobody", patch, HERE, 0, &room.bounds).unwrap_err().code, Code::NotFound);
}

#[test]
fn bad_arguments_change_nothing() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "front1");
    let before = room.primary.encode();
    let good = Join { user: "bo", connection: "tab2", node: "front1", ttl_ms: 1000, says: Says::default() };
    let long = "x".repeat(129);
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    for bad in [
        Join { user: "", ..good },
        Join { user: &long, ..good },
        Join { connection: "", ..good },
        Join { connection: "tab1", ..good },
        Join { node: "a\nb", ..good },
        Join { ttl_ms: 0, ..good },
        Join { ttl_ms: u64::MAX, ..good },
    ] {
        assert!(room.primary.join(bad, HERE, room.now_ms, &room.bounds).is_err(), "{bad:?}");
    }
    let data = |data| Says { data: Some(data), ..Says::default() };
    let private = |private| Says { private: Some(private), ..Says::default() };
    let status = |status| Says { status: Some(status), ..Says::default() };
    let long = "x".repeat(33);
    for says in [
        data(b"[]"),
        data(b"{"),
        data(big.as_bytes()),
        private(b"7"),
        private(big.as_bytes()),
        status(""),
        status("so so"),
        status("n\u{e4}chstens"),
        status(&long),
    ] {
        let joined = room.primary.join(Join { says, ..good }, HERE, room.now_ms, &room.bounds);
        assert!(joined.is_err(), "{says:?}");
        assert!(room.primary.set("tab1", says, HERE, room.now_ms, &room.bounds).is_err(), "{says:?}");
    }
    assert!(room.primary.set("tab1", Says::default(), HERE, room.now_ms, &room.bounds).is_err());
    for whom in [Whom::User(""), Whom::Connection(""), Whom::User("a\nb")] {
        assert!(room.primary.kick(whom, HERE, room.now_ms, &room.bounds).is_err());
    }
    assert!(room.primary.point("nobody", b"1", 0, &room.bounds).is_err());
    assert!(room.primary.point("tab1", b"{", 0, &room.bounds).is_err());
    assert!(room.primary.leave("nobody", 0, HERE, 0, &room.bounds).is_err());
    assert!(room.primary.type_for("nobody", 1, 0).is_err());
    room.bounds.connections_max = 1;
    assert_eq!(room.primary.join(good, HERE, 0, &room.bounds).unwrap_err().code, Code::Full);
    assert_eq!(room.primary.encode(), before);
}

#[test]
fn a_connection_belongs_to_the_user_that_joined_with_it() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "front1");
    assert_eq!(room.primary.check_owner("tab1", "ada"), Ok(()));
    for (connection, user) in [("tab1", "ad"), ("tab1", "adaa"), ("tab1", ""), ("tab2", "ada")] {
        assert_eq!(room.primary.check_owner(connection, user).unwrap_err().code, Code::NotFound, "{connection} {user}");
    }
}

#[test]
fn damaged_bytes_are_refused_without_a_panic() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "front1");
    room.joins("bo", "tab2", "front2");
    room.leaves("tab2", 1000);
    room.joins_as("cy", "tab3", "front2", Says { status: Some("invisible"), ..Says::default() });
    room.joins("dee", "tab4", "front2");
    room.kicks(Whom::User("dee"));
    let bytes = room.primary.encode();
    assert_eq!(Presence::decode(&bytes).unwrap().encode(), bytes);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(mut presence) = Presence::decode(&damaged) {
                presence.due(u64::MAX / 2, HERE, &room.bounds);
                let _ = (presence.look("ada"), presence.counts());
                let _ = presence.kick(Whom::User("cy"), HERE, 0, &room.bounds);
                presence.announce("l", "presence", &room.bounds);
                presence.snapshot();
            }
        }
    }
}

#[test]
fn a_crowd_hears_less_often_so_that_it_costs_no_more_writes() {
    let mut room = Room::new();
    assert_eq!(room.primary.tick_ms(40), 40);
    for n in 0..1_000 {
        room.joins(&format!("user{n}"), &format!("c{n}"), "f");
    }
    assert_eq!(room.primary.tick_ms(40), 160);
    assert_eq!(room.primary.tick_ms(400), 500, "the longest");
    assert_eq!(room.primary.tick_ms(1_000), 1_000, "who wants it rarer has it so");
}
