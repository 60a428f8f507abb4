//! What holds of a list, and random calls against a slow, obvious twin.

use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_795_000_000_000;
const FIRST: Writer = Writer { replication_id: 7, chance: 0x9f3a_12c0 };

fn bounds() -> Bounds {
    Bounds { access_entries_max: 4, ..Bounds::default() }
}

fn grant(access: &mut Access, user: &str, role: &str, ttl_ms: Option<u64>) -> Result<Option<Change>, Refusal> {
    access.grant((user, role), ttl_ms, None, (FIRST, NOW), &bounds())
}

#[test]
fn what_is_granted_can_be_read_and_is_told() {
    let mut access = Access::default();
    let change = access.grant(("ada", "editor"), None, Some("bo"), (FIRST, NOW), &bounds()).unwrap().unwrap();
    assert_eq!(access.role("ada"), Some("editor"));
    assert_eq!(
        access.frame(&change, "lobby"),
        "{\"event\":\"room.access\",\"room\":\"lobby\",\"stream\":\"access\",\"epoch\":\"1.9f3a12c0\",\
         \"from\":0,\"rev\":1,\"user\":\"ada\",\"role\":\"editor\",\"by\":\"bo\"}"
    );
    let change = access.forget("ada", None, FIRST).unwrap().unwrap();
    assert!(access.frame(&change, "lobby").ends_with("\"from\":1,\"rev\":2,\"user\":\"ada\",\"role\":null}"));
    assert_eq!((access.role("ada"), access.is_empty()), (None, true));
}

#[test]
fn what_changes_nothing_is_no_change() {
    let mut access = Access::default();
    assert!(grant(&mut access, "ada", "editor", None).unwrap().is_some());
    assert_eq!(grant(&mut access, "ada", "editor", None), Ok(None));
    assert_eq!(access.forget("bo", None, FIRST), Ok(None));
    assert_eq!(access.position().rev, 1);
    assert!(grant(&mut access, "ada", "editor", Some(5)).unwrap().is_some(), "now it ends");
}

#[test]
fn refusals_change_nothing() {
    let mut access = Access::default();
    for user in ["a", "b", "c", "d"] {
        grant(&mut access, user, "viewer", None).unwrap();
    }
    let before = access.encode();
    assert_eq!(grant(&mut access, "e", "viewer", None).unwrap_err().code, Code::Full);
    let long = "x".repeat(65);
    for (user, role, ttl_ms) in [
        ("", "viewer", None),
        ("a\n", "viewer", None),
        ("a", "", None),
        ("a", "a b", None),
        ("a", "é", None),
        ("a", long.as_str(), None),
        ("a", "viewer", Some(0)),
        ("a", "viewer", Some(TTL_MS_MAX + 1)),
    ] {
        let refused = grant(&mut access, user, role, ttl_ms).unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument, "{user:?} {role:?} {ttl_ms:?}");
    }
    assert_eq!(access.encode(), before);
    assert!(grant(&mut access, "a", "editor", None).unwrap().is_some(), "who is listed can change in a full list");
}

#[test]
fn pages_follow_the_order_of_names() {
    let mut access = Access::default();
    for user in ["bo", "*", "ada"] {
        grant(&mut access, user, "viewer", None).unwrap();
    }
    let names = |user| access.after(user).map(|(user, _)| user).collect::<Vec<_>>();
    assert_eq!((names(None), names(Some("ada"))), (vec!["*", "ada", "bo"], vec!["bo"]));
    assert!(names(Some("zoe")).is_empty());
}

#[test]
fn stored_bytes_are_the_same_for_ever() {
    let mut access = Access::default();
    grant(&mut access, "ada", "editor", None).unwrap();
    let golden = [
        1, 1, 1, 252, 0xc0, 0x12, 0x3a, 0x9f, 0, 7, 1, 1, 3, b'a', b'd', b'a', 6, b'e', b'd', b'i', b't', b'o', b'r',
        0, 0, 253,
    ];
    assert_eq!(access.encode()[..golden.len()], golden);
    assert_eq!(access.encode()[golden.len()..], NOW.to_le_bytes());
}

#[test]
fn stored_bytes_that_nobody_wrote_are_refused() {
    let mut access = Access::default();
    grant(&mut access, "ada", "editor", None).unwrap();
    let good = access.encode();
    for at in 0..good.len() {
        assert!(Access::decode(&good[..at]).is_err(), "cut at {at}");
    }
    let entry = |role: &str| Entry { role: role.into(), ends_ms: 0, by: "".into(), at_ms: 0 };
    let stored = |rev: u64, entries: &[(&str, &str)]| {
        let entries: Vec<(&str, Entry)> = entries.iter().map(|(user, role)| (*user, entry(role))).collect();
        codec::encode_versioned(VERSION, &(Epochs::default(), rev, entries))
    };
    assert!(Access::decode(&stored(2, &[("ada", "viewer"), ("bo", "viewer")])).is_ok());
    for bad in [
        stored(2, &[("bo", "viewer"), ("ada", "viewer")]),
        stored(2, &[("bo", "viewer"), ("bo", "viewer")]),
        stored(0, &[("bo", "viewer")]),
        stored(1, &[("bo", "")]),
        stored(1, &[("", "viewer")]),
        stored(u64::MAX, &[]),
    ] {
        assert!(Access::decode(&bad).is_err());
    }
}

#[test]
fn records_that_nobody_decided_are_refused_and_change_nothing() {
    let mut access = Access::default();
    grant(&mut access, "ada", "editor", None).unwrap();
    let before = access.encode();
    let record = |from: u64, effect: Effect<'_>| {
        let epoch = Epoch { number: 1, id: FIRST.chance };
        codec::encode_versioned(VERSION, &Record { epoch, writer: 7, from, effect })
    };
    let set = |user, role| Effect::Set { user, role, ends_ms: 0, by: "", at_ms: 0 };
    let good = record(1, set("bo", "viewer"));
    for bad in [
        Vec::new(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[0]].concat(),
        record(0, set("bo", "viewer")),
        record(2, set("bo", "viewer")),
        record(1, set("", "viewer")),
        record(1, set("bo", "")),
        record(1, Effect::Drop { user: "" }),
    ] {
        assert!(access.apply(&bad).is_err());
        assert_eq!(access.encode(), before);
    }
    access.apply(&good).unwrap();
    assert_eq!(access.role("bo"), Some("viewer"));
}

/// What may happen to a list.
#[derive(Debug, Clone)]
enum Step {
    Grant(u8, u8, Option<u64>),
    Revoke(u8),
    Forget(u8),
    Pass(u64),
    Restart,
    Promote,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8, 0..3u8, proptest::option::of(1..50u64)).prop_map(|(user, role, ttl)| Step::Grant(user, role, ttl)),
        2 => (0..6u8).prop_map(Step::Revoke),
        2 => (0..6u8).prop_map(Step::Forget),
        3 => (0..60u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
        1 => Just(Step::Promote),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Against a plain table: the same entries at every moment, a replica that follows the records is the same to the
    /// byte, and the revisions of what is told have no hole.
    #[test]
    fn a_list_is_a_table_whose_changes_are_told(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut access, mut replica, mut twin) = (Access::default(), Access::default(), BTreeMap::<String, (String, u64)>::new());
        let (mut now, mut writer, mut told) = (NOW, FIRST, 0);
        for step in steps {
            let name = |user: u8| ["*", "ada", "bo", "cy", "di", "ed"][usize::from(user)].to_owned();
            let changes = match step {
                Step::Grant(user, role, ttl_ms) => {
                    let (user, role) = (name(user), ["viewer", "editor", "read+talk"][usize::from(role)]);
                    let is_new = !twin.contains_key(&user);
                    let granted = access.grant((&user, role), ttl_ms, None, (writer, now), &bounds());
                    if is_new && twin.len() >= 4 {
                        prop_assert_eq!(granted.unwrap_err().code, Code::Full);
                        continue;
                    }
                    let entry = (role.to_owned(), ttl_ms.map_or(0, |ms| now + ms));
                    let is_same = twin.get(&user) == Some(&entry) && entry.1 == 0;
                    twin.insert(user, entry);
                    let change = granted.unwrap();
                    prop_assert_eq!(change.is_none(), is_same);
                    change.into_iter().collect()
                }
                Step::Revoke(user) => {
                    let user = name(user);
                    let revoked = access.revoke(&user, Some("bo"), (writer, now), &bounds());
                    if !twin.contains_key(&user) && twin.len() >= 4 {
                        prop_assert!(revoked.is_err());
                        continue;
                    }
                    twin.insert(user, (NONE.to_owned(), 0));
                    revoked.unwrap().into_iter().collect()
                }
                Step::Forget(user) => {
                    let user = name(user);
                    let is_known = twin.remove(&user).is_some();
                    let change = access.forget(&user, None, writer).unwrap();
                    prop_assert_eq!(change.is_some(), is_known);
                    change.into_iter().collect::<Vec<_>>()
                }
                Step::Pass(ms) => {
                    now += ms;
                    let next = twin.values().map(|(_, ends_ms)| *ends_ms).filter(|ends_ms| *ends_ms > 0).min();
                    prop_assert_eq!(access.next_deadline(), next);
                    twin.retain(|_, (_, ends_ms)| *ends_ms == 0 || *ends_ms > now);
                    access.due(now, writer)
                }
                Step::Restart => {
                    access = Access::decode(&access.encode()).unwrap();
                    Vec::new()
                }
                Step::Promote => {
                    access = replica.clone();
                    writer = Writer { replication_id: writer.replication_id + 1, chance: writer.chance.rotate_left(3) };
                    Vec::new()
                }
            };
            for change in changes {
                prop_assert_eq!(change.rev, told + 1);
                told = change.rev;
                replica.apply(&change.record).unwrap();
                prop_assert!(replica.apply(&change.record).is_err(), "nothing is followed twice");
            }
            prop_assert_eq!(access.position().rev, told);
            prop_assert_eq!(&access, &replica);
            let roles: BTreeMap<_, _> =
                access.after(None).map(|(user, e)| (user.to_owned(), (e.role.to_string(), e.ends_ms))).collect();
            prop_assert_eq!(&roles, &twin);
            for user in ["*", "ada", "zoe"] {
                prop_assert_eq!(access.role(user), twin.get(user).map(|(role, _)| role.as_str()));
            }
        }
    }
}
