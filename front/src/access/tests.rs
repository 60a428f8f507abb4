use super::*;

fn rights(claim: &[(&str, &str)]) -> Rights {
    let claim = claim.iter().map(|(pattern, role)| ((*pattern).to_owned(), (*role).to_owned())).collect();
    Rights::read(claim, &roles()).unwrap()
}

fn roles() -> Roles {
    Roles::new(&["reviewer=read+talk", "moderator=read+manage"].map(|text| text.parse().unwrap()))
}

fn room(name: &str) -> Room {
    Room::parse(name).unwrap()
}

#[test]
fn roles_are_names_for_actions() {
    let roles = roles();
    for (role, actions) in [
        ("none", "none"),
        ("viewer", "read"),
        ("commenter", "read+talk"),
        ("editor", "read+talk+edit"),
        ("owner", "read+talk+edit+manage"),
        ("reviewer", "read+talk"),
        ("edit+read", "read+edit"),
        ("read", "read"),
    ] {
        assert_eq!(roles.actions(role).map(|actions| actions.to_string()).as_deref(), Some(actions), "{role}");
    }
    for unknown in ["", "Owner", "read+", "+", "read+fly", "viewer+talk", "r", "rw"] {
        assert_eq!(roles.actions(unknown), None, "{unknown}");
    }
}

#[test]
fn a_set_of_actions_has_one_name() {
    let roles = roles();
    let name = |text: &str| roles.name(Actions::parse(text).unwrap());
    assert_eq!([name("talk+read"), name("manage+read"), name("edit")], ["commenter", "moderator", "edit"]);
    assert_eq!(roles.name(Actions::NONE), "none");
}

#[test]
fn a_role_of_the_operator_takes_no_word_that_means_something() {
    let long = format!("{}=read", "x".repeat(65));
    for bad in ["", "x", "x=", "=read", "x=fly", "viewer=read", "none=read", "read=talk", "rw=read", "a b=read", &long]
    {
        assert!(bad.parse::<Role>().is_err(), "{bad}");
    }
}

#[test]
fn patterns_that_match_add_up() {
    let rights = rights(&[("*", "viewer"), ("course:*", "talk"), ("course:7", "rw"), ("desk", "reviewer")]);
    let of = |name: &str| rights.of(&room(name)).to_string();
    assert_eq!([of("any"), of("course:8"), of("course:7")], ["read", "read+talk", "read+talk+edit"]);
    assert_eq!(of("desk"), "read+talk");
    assert_eq!(Rights::open().of(&room("any")).to_string(), "read+talk+edit");
    assert!(Rights::read(BTreeMap::from([("*".into(), "boss".into())]), &roles()).is_err());
}

#[test]
fn what_is_refused_is_named() {
    let error = READ.check(Action::Edit).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (Code::PermissionDenied, "you may not edit in this room"));
    assert!(READ.check(Action::Read).is_ok());
    assert_eq!(Actions::from_bits(ALL.bits()), ALL);
}

fn listed(own: &str, everybody: &str) -> Listed {
    let role = |role: &str| (!role.is_empty()).then(|| role.into());
    Listed { own: role(own), everybody: role(everybody) }
}

#[test]
fn an_own_entry_decides_alone_and_everybodys_adds_to_the_token() {
    for (token, own, everybody, role, actions) in [
        (READ, "", "", "viewer", "read"),
        (READ, "", "commenter", "commenter", "read+talk"),
        (EDIT, "", "viewer", "editor", "read+talk+edit"),
        (EDIT, "", "none", "editor", "read+talk+edit"),
        (ALL, "none", "owner", "none", "none"),
        (Actions::NONE, "reviewer", "", "reviewer", "read+talk"),
        (ALL, "viewer", "editor", "viewer", "read"),
        (ALL, "nobody-knows-it", "owner", "nobody-knows-it", "none"),
        (Actions::NONE, "", "", "none", "none"),
    ] {
        let grant = roles().decide(token, &listed(own, everybody));
        let told = (grant.role.as_str(), grant.actions.to_string());
        assert_eq!(told, (role, actions.to_owned()), "{token} {own:?} {everybody:?}");
    }
}

#[test]
fn nobody_gives_what_they_do_not_have() {
    let roles = roles();
    let code = |role: &str, own: &str| roles.check_gift(role, Actions::parse(own).unwrap()).map_err(|error| error.code);
    assert_eq!(code("viewer", "read+manage"), Ok(()));
    assert_eq!(code("none", "manage"), Ok(()));
    assert_eq!(code("editor", "read+manage"), Err(Code::PermissionDenied));
    assert_eq!(code("boss", "read+manage"), Err(Code::InvalidArgument));
}
