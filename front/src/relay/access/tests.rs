use super::*;

const EPOCH: Epoch = Epoch { number: 1, id: 7 };

fn at(rev: u64) -> Position {
    Position { epoch: EPOCH, rev }
}

fn actions(role: &str) -> Actions {
    Roles::default().actions(role).unwrap()
}

/// A list, and what a room makes of it.
struct Bench {
    access: Access,
    list: HashMap<String, String>,
    rev: u64,
    asked: Vec<Vec<String>>,
    allowances: HashMap<MemberId, Arc<Allowance>>,
}

impl Bench {
    fn new() -> Self {
        let access = Access::new(Roles::default());
        Bench { access, list: HashMap::new(), rev: 0, asked: Vec::new(), allowances: HashMap::new() }
    }

    fn role(&self, user: &str) -> Option<Arc<str>> {
        self.list.get(user).map(|role| role.as_str().into())
    }

    fn position(&self) -> Position {
        if self.rev == 0 { Position { epoch: Epoch::default(), rev: 0 } } else { at(self.rev) }
    }

    fn join(&mut self, member: MemberId, user: &str, token: &str) -> Result<Vec<MemberId>, FrameError> {
        let claim = Claim { token: actions(token), allowance: Arc::default() };
        self.allowances.insert(member, claim.allowance.clone());
        let listed = Listed { own: self.role(user), everybody: self.role(EVERYBODY) };
        self.access.admit(member, (user.into(), claim), (self.position(), listed))
    }

    /// Changes the list, and answers the event that says so.
    fn write(&mut self, user: &str, role: &str) -> Header {
        self.list.insert(user.to_owned(), role.to_owned());
        self.rev += 1;
        let to = if user == EVERYBODY { To::Room } else { To::User(user.to_owned()) };
        Header { to, ..Header::durable("access", EPOCH, self.rev - 1, self.rev) }
    }

    fn ask(&mut self) -> Option<Vec<Arc<str>>> {
        let users = self.access.question()?;
        self.asked.push(users.iter().map(|user| user.to_string()).collect());
        Some(users)
    }

    fn answer(&mut self, users: &[Arc<str>]) -> Vec<MemberId> {
        let roles = users.iter().map(|user| self.role(user)).collect();
        let answer = AccessList { position: self.position(), roles, everybody: self.role(EVERYBODY) };
        self.access.answered(users, answer)
    }

    /// Asks and answers until nobody is left to ask for; who was told something.
    fn settle(&mut self) -> Vec<MemberId> {
        let mut news = Vec::new();
        while let Some(users) = self.ask() {
            news.extend(self.answer(&users));
        }
        news.sort_unstable();
        news
    }

    fn allowed(&self, member: MemberId) -> String {
        self.allowances[&member].get().to_string()
    }
}

#[test]
fn who_is_shut_out_is_not_admitted() {
    let mut bench = Bench::new();
    bench.write("ada", "none");
    assert!(bench.join(1, "ada", "owner").is_err());
    assert!(!bench.access.knows(1));
    bench.write("bo", "viewer");
    assert_eq!(bench.join(2, "bo", "none"), Ok(Vec::new()));
    assert_eq!(bench.allowed(2), "read");
}

#[test]
fn a_change_is_asked_for_and_told_to_whom_it_is_about() {
    let mut bench = Bench::new();
    bench.join(1, "ada", "editor").unwrap();
    bench.join(2, "bo", "editor").unwrap();
    bench.join(3, "ada", "viewer").unwrap();
    assert!(bench.settle().is_empty());
    let event = bench.write("ada", "commenter");
    bench.access.changed(&event);
    assert_eq!(bench.settle(), [1, 3]);
    assert_eq!(bench.asked, [["ada"]]);
    assert_eq!([1, 2, 3].map(|member| bench.allowed(member)), ["read+talk", "read+talk+edit", "read+talk"]);
    bench.access.changed(&event);
    assert!(bench.settle().is_empty(), "an event that comes twice says nothing new");
}

#[test]
fn what_is_said_of_everybody_reaches_those_without_an_entry() {
    let mut bench = Bench::new();
    bench.write("bo", "viewer");
    bench.join(1, "ada", "viewer").unwrap();
    bench.join(2, "bo", "viewer").unwrap();
    let event = bench.write(EVERYBODY, "editor");
    bench.access.changed(&event);
    assert_eq!(bench.settle(), [1]);
    assert_eq!([1, 2].map(|member| bench.allowed(member)), ["read+talk+edit", "read"]);
}

#[test]
fn a_lost_event_is_noticed_by_the_next_one_or_by_the_heads() {
    let mut bench = Bench::new();
    bench.join(1, "ada", "editor").unwrap();
    bench.join(2, "bo", "editor").unwrap();
    bench.write("ada", "none");
    let event = bench.write("zoe", "viewer");
    bench.access.changed(&event);
    assert_eq!(bench.settle(), [1]);
    bench.write("bo", "none");
    bench.access.is_at(at(3));
    assert_eq!(bench.settle(), [2]);
    bench.access.is_at(at(3));
    assert_eq!(bench.ask(), None, "heads that are known ask for nobody");
}

#[test]
fn what_happens_while_the_list_is_asked_is_asked_for_again() {
    let mut bench = Bench::new();
    bench.join(1, "ada", "editor").unwrap();
    let event = bench.write("ada", "viewer");
    bench.access.changed(&event);
    let users = bench.ask().unwrap();
    let early = AccessList { position: at(1), roles: vec![bench.role("ada")], everybody: None };
    let event = bench.write("ada", "none");
    bench.access.changed(&event);
    assert_eq!(bench.ask(), None, "one question at a time");
    assert_eq!(bench.access.answered(&users, early), [1]);
    assert_eq!(bench.settle(), [1]);
    assert_eq!(bench.allowed(1), "none");
}

#[test]
fn an_answer_to_a_join_that_is_older_than_what_others_know_is_asked_for_again() {
    let mut bench = Bench::new();
    bench.join(1, "bo", "viewer").unwrap();
    let event = bench.write("ada", "none");
    bench.access.changed(&event);
    bench.settle();
    // Ada was asked for before she was shut out, and the answer comes only now.
    let claim = Claim { token: actions("editor"), allowance: Arc::default() };
    bench.allowances.insert(2, claim.allowance.clone());
    let old = (Position { epoch: Epoch::default(), rev: 0 }, Listed::default());
    bench.access.admit(2, ("ada".into(), claim), old).unwrap();
    assert_eq!(bench.settle(), [2]);
    assert_eq!(bench.allowed(2), "none");
}

/// The list changes and is read at any moments; events come late, twice or never, but heads come in the end.
#[test]
fn in_the_end_everybody_may_do_what_the_list_says() {
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    for round in 0..3_000 {
        let mut bench = Bench::new();
        let (mut events, mut joins, mut asks) = (Vec::new(), Vec::new(), Vec::new());
        let mut members: HashMap<MemberId, (&str, &str)> = HashMap::new();
        for step in 0..draw(60) {
            let user = ["ada", "bo", "cy", EVERYBODY][draw(4) as usize];
            match draw(8) {
                0 | 1 => events.push(bench.write(user, ["none", "viewer", "editor"][draw(3) as usize])),
                2 if user != EVERYBODY => {
                    let listed = Listed { own: bench.role(user), everybody: bench.role(EVERYBODY) };
                    joins.push((step, user, ["none", "viewer"][draw(2) as usize], bench.position(), listed));
                }
                3 if !joins.is_empty() => {
                    let (member, user, token, position, listed) = joins.remove(draw(joins.len() as u64) as usize);
                    let claim = Claim { token: actions(token), allowance: Arc::default() };
                    bench.allowances.insert(member, claim.allowance.clone());
                    if bench.access.admit(member, (user.into(), claim), (position, listed)).is_ok() {
                        members.insert(member, (user, token));
                    }
                }
                4 if !events.is_empty() => {
                    let event = events.remove(0);
                    // One in four is lost, one in four comes twice.
                    let times = [0, 1, 1, 2][draw(4) as usize];
                    (0..times).for_each(|_| bench.access.changed(&event));
                }
                5 => bench.access.may_have_changed(),
                6 => {
                    if let Some(users) = bench.ask() {
                        let roles = users.iter().map(|user| bench.role(user)).collect();
                        let (position, everybody) = (bench.position(), bench.role(EVERYBODY));
                        asks.push((users, AccessList { position, roles, everybody }));
                    }
                }
                7 => {
                    if let Some((users, answer)) = asks.pop() {
                        bench.access.answered(&users, answer);
                    }
                }
                _ => {}
            }
        }
        for (users, answer) in asks {
            bench.access.answered(&users, answer);
        }
        for event in events {
            bench.access.changed(&event);
        }
        if bench.rev > 0 {
            bench.access.is_at(bench.position());
        }
        bench.settle();
        for (member, (user, token)) in members {
            let (own, everybody) = (bench.role(user), bench.role(EVERYBODY));
            let right = Roles::default().allowed(actions(token), own.as_deref(), everybody.as_deref());
            assert_eq!(bench.allowed(member), right.to_string(), "round {round}: {user} with {token}");
        }
    }
}
