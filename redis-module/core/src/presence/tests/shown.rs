//! What others see of a person, what they do not, and who is thrown out.

use super::*;

fn status(status: &str) -> Says<'_> {
    Says { status: Some(status), ..Says::default() }
}

#[test]
fn the_status_comes_from_all_connections() {
    let mut room = Room::new();
    room.joins_as("ada", "tab1", "f", status("busy"));
    room.joins("ada", "tab2", "f");
    let shown = |room: &Room| room.sees("ada").map(|ada| ada["status"].as_str().unwrap().to_owned());
    assert_eq!(shown(&room).as_deref(), Some("online"));
    room.says("tab2", "away");
    assert_eq!(shown(&room).as_deref(), Some("busy"));
    room.says("tab1", "away");
    assert_eq!(shown(&room).as_deref(), Some("away"));
    room.says("tab2", "gone.fishing-2");
    assert_eq!(shown(&room).as_deref(), Some("gone.fishing-2"));
    room.says("tab1", "invisible");
    assert_eq!(shown(&room), None);
    room.leaves("tab1", 0);
    assert_eq!(shown(&room).as_deref(), Some("gone.fishing-2"));
    room.leaves("tab2", 1_000);
    assert_eq!(shown(&room).as_deref(), Some("gone.fishing-2"), "what was said last outlives the connection");
}

#[test]
fn hiding_and_showing_oneself_is_told_once_each_and_nothing_in_between() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "f");
    room.hears();
    room.says("tab1", "invisible");
    assert_eq!(room.hears(), (vec![], vec![], people(&["ada"])));
    let rev = room.primary.rev();
    room.joins_as("ada", "tab2", "f", status("busy"));
    room.sets("tab1", Says { data: Some(b"{}"), ..Says::default() });
    assert_eq!(room.primary.type_for("tab1", 1_000, room.now_ms), Ok(0));
    assert_eq!(room.primary.point("tab1", b"1", room.now_ms, &room.bounds), Ok(0));
    room.leaves("tab2", 0);
    assert_eq!((room.primary.rev(), room.primary.has_news()), (rev, false));
    assert_eq!(room.primary.counts(), Counts { people: 0, connections: 1, invisible: 1 });
    room.now_ms += 500;
    room.says("tab1", "online");
    assert_eq!(room.hears(), (people(&["ada"]), vec![], vec![]));
    assert_eq!(room.sees("ada").unwrap()["since_ms"], room.now_ms, "nobody learns since when they were there");
}

#[test]
fn a_front_that_dies_brings_nobody_to_light() {
    let mut room = Room::new();
    // More than one step ends; the connection that hides ada would come first by its name.
    room.joins_as("ada", "a", "front1", status("invisible"));
    for n in 0..ENDED_PER_STEP_MAX + 10 {
        room.joins(&format!("user{n}"), &format!("conn{n}"), "front1");
    }
    room.joins("ada", "z", "front1");
    room.hears();
    room.now_ms += 10_000;
    while room.primary.next_deadline().is_some_and(|at| at <= room.now_ms) {
        let records = room.primary.due(room.now_ms, HERE, &room.bounds);
        room.follow(records);
        assert_eq!(room.sees("ada"), None);
    }
    assert_eq!((room.primary.count(), room.primary.counts().invisible), (0, 0));
}

#[test]
fn who_is_kicked_is_gone_at_once_and_refused() {
    let mut room = Room::new();
    for connection in ["tab1", "tab2", "tab3"] {
        room.joins("ada", connection, "f");
    }
    room.joins("bo", "tab4", "f");
    room.hears();
    room.leaves("tab3", 60_000);
    assert_eq!(room.kicks(Whom::Connection("tab1")), 1);
    assert_eq!(room.sees("ada").unwrap()["connections"], 1);
    assert_eq!(room.kicks(Whom::User("ada")), 1);
    assert_eq!(room.hears().2, people(&["ada"]));
    assert_eq!(room.kicks(Whom::User("ada")), 0);
    let again = Join { user: "ada", connection: "tab1", node: "f", ttl_ms: 1, says: Says::default() };
    let refused = room.primary.join(again, HERE, room.now_ms, &room.bounds).unwrap_err();
    assert_eq!(refused.code, Code::Kicked);
    for n in 0..KICKED_MAX {
        room.kicks(Whom::Connection(&format!("other{n}")));
    }
    assert!(room.primary.join(again, HERE, room.now_ms, &room.bounds).is_ok(), "forgotten after so many others");
}

#[test]
fn a_cursor_ends_with_the_connection_or_a_minute_after_it_was_told() {
    let mut room = Room::new();
    room.joins("ada", "tab1", "f");
    room.joins("ada", "tab2", "f");
    let bounds = room.bounds.clone();
    assert_eq!(room.primary.point("tab1", b"[1,\n2]", room.now_ms, &bounds), Ok(1));
    assert_eq!(room.primary.point("tab2", b"{\"x\":1}", room.now_ms, &bounds), Ok(2));
    assert_eq!(
        room.primary.announce_cursors("lobby").unwrap(),
        "{\"event\":\"presence.cursors\",\"room\":\"lobby\",\"cursors\":[\
         {\"connection\":\"tab1\",\"user\":\"ada\",\"cursor\":[1,2]},\
         {\"connection\":\"tab2\",\"user\":\"ada\",\"cursor\":{\"x\":1}}],\"gone\":[]}"
    );
    assert_eq!(room.primary.announce_cursors("lobby"), None);
    room.leaves("tab1", 0);
    assert!(room.primary.announce_cursors("lobby").unwrap().ends_with("\"cursors\":[],\"gone\":[\"tab1\"]}"));
    for _ in 0..7 {
        room.now_ms += 9_000;
        room.beats("f");
        let records = room.primary.due(room.now_ms, HERE, &bounds);
        room.follow(records);
    }
    assert!(room.primary.announce_cursors("lobby").unwrap().ends_with("\"cursors\":[],\"gone\":[\"tab2\"]}"));
    assert!(room.primary.snapshot().cursors.is_empty());
}

#[test]
fn cursors_are_told_in_turn_so_that_nobody_waits_for_ever() {
    let mut room = Room::new();
    for n in 0..CURSORS_MAX {
        room.joins(&format!("user{n}"), &format!("conn{n:04}"), "f");
    }
    let bounds = room.bounds.clone();
    let mut told = std::collections::BTreeSet::new();
    for round in 0..4 {
        // All of them move in every tick; one announcement holds half.
        for n in 0..CURSORS_MAX {
            room.primary.point(&format!("conn{n:04}"), format!("{round}").as_bytes(), room.now_ms, &bounds).unwrap();
        }
        let frame: Value = serde_json::from_str(&room.primary.announce_cursors("lobby").unwrap()).unwrap();
        let cursors = frame["cursors"].as_array().unwrap();
        assert_eq!(cursors.len(), CURSORS_TOLD_MAX);
        told.extend(cursors.iter().map(|cursor| cursor["connection"].as_str().unwrap().to_owned()));
    }
    assert_eq!(told.len(), CURSORS_MAX);
}

#[test]
fn the_bytes_of_a_record_and_of_a_list_never_change() {
    let mut presence = Presence::default();
    let says = Says { data: Some(b"{\"a\":1}"), status: Some("away"), ..Says::default() };
    let join = Join { user: "ada", connection: "c1", node: "n", ttl_ms: 9, says };
    let record = presence.join(join, HERE, 100, &Bounds::default()).unwrap().record.unwrap();
    assert_eq!(record, GOLDEN_RECORD);
    presence.join(Join { user: "bo", connection: "c2", ..join }, HERE, 101, &Bounds::default()).unwrap();
    presence.kick(Whom::Connection("c2"), HERE, 102, &Bounds::default()).unwrap();
    assert_eq!(presence.encode(), GOLDEN_LIST);
}

const GOLDEN_RECORD: &[u8] = b"\x01\x01\x07\x01\x00\x00\x00\x02c1\x03ada\x01ndm\x01\x04away\x01\x07{\"a\":1}\x00";
const GOLDEN_LIST: &[u8] =
    b"\x01\x01\x01\x07\x00\x01H\x03\x03\x01\x02c1\x03ada\x01n\x04away\x07{\"a\":1}\x00dd\x01\x01\x03adad\x01\x01\x00\x00\x04away\x07{\"a\":1}\x01\x01nn\x01\x03\x02\x02bo\x00\x01\x02bof\x01\x02c2";
