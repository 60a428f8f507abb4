//! The table of limits: how much of what, for whom.

use crate::names::Room;
use std::fmt;
use std::str::FromStr;
use stoa_core::rate::Limit;

/// What the streams of limits are called.
pub(crate) const RATE: &str = "rate";

/// Whom a limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One connection, in the memory of its front.
    Connection,
    /// All connections and requests of a user, at all fronts.
    User,
    /// All that comes from an address, at all fronts.
    Address,
    /// All people of a room together.
    Room,
    /// One user in one room.
    UserInRoom,
}

/// Commands that are much alike in what they cost and how often people need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Coming in: the connection itself, and `connect`.
    Connect,
    /// Changing what a connection is part of.
    Join,
    /// Writing messages, a whole one at a time.
    Message,
    /// Writing as one types: documents, and streaming messages that grow.
    Edit,
    /// What nobody keeps: typing, pointing, presence, events of the application.
    Signal,
    /// Asking for what is kept.
    Read,
    /// Deciding who may be where.
    Manage,
}

/// What a limit counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Every frame, also one that is no command.
    All,
    /// The commands of a class.
    Class(Class),
    /// One command, by its name.
    Command(String),
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it counts together.
    pub scope: Scope,
    /// What it counts.
    pub what: What,
    /// How much is allowed.
    pub figures: Figures,
}

/// A bucket of `burst` tokens that gets `count` tokens back every `period_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Tokens in a full bucket.
    pub burst: u64,
    /// Tokens that come back.
    pub count: u64,
    /// In this time, in milliseconds.
    pub period_ms: u64,
    /// The same for the core's own code.
    pub limit: Limit,
}

impl Rule {
    /// The stream part of its key: `rate:message`, and with the user where it counts each user of a room.
    pub fn stream(&self, user: &str) -> String {
        match self.scope {
            Scope::UserInRoom => format!("{RATE}:{}:{}", self.what, Room::personal(user)),
            _ => format!("{RATE}:{}", self.what),
        }
    }
}

impl Figures {
    /// Figures that make sense.
    pub fn new(burst: u64, count: u64, period_ms: u64) -> Result<Self, String> {
        let limit = Limit::new(burst, count, period_ms).map_err(|refusal| refusal.message)?;
        Ok(Figures { burst, count, period_ms, limit })
    }

    /// As commands take them.
    pub fn numbers(&self) -> [u64; 3] {
        [self.burst, self.count, self.period_ms]
    }
}

/// What one `--limit` says: a rule, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    scope: Scope,
    what: What,
    figures: Option<Figures>,
}

/// Standard limits: people who type, point and talk as fast as they can do not meet them, programs that do not stop do.
///
/// * `connection:all`: a page that opens a hundred rooms and reads them; then more than any pointer sends.
/// * `connection:edit`: every key of a fast typist, of a macro for some seconds; a client sends one edit at a time.
/// * `connection:signal`: pointers move 25 times a second in each of some windows.
/// * `user:message`: what people write in a minute; a burst of as much.
/// * `address:connect`: a school whose router starts again comes back within seconds.
/// * `room:*`: more than people in a room can follow; keeps one room from taking the whole Redis.
const STANDARD: &[&str] = &[
    "connection:all=1000/500/1s",
    "connection:join=200/20/1s",
    "connection:message=60/20/1s",
    "connection:edit=200/100/1s",
    "connection:signal=300/150/1s",
    "connection:read=200/50/1s",
    "connection:manage=50/10/1s",
    "user:connect=60/60/1m",
    "user:message=30/30/1m",
    "user-in-room:edit=400/200/1s",
    "room:message=1000/500/1s",
    "room:edit=4000/2000/1s",
    "address:connect=200/50/1s",
];

/// The limits that hold in a front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table(Vec<Rule>);

impl Table {
    /// No limits.
    pub fn off() -> Self {
        Table::default()
    }

    /// The standard limits.
    pub fn standard() -> Self {
        Table::off().with(STANDARD.iter().filter_map(|line| line.parse().ok()))
    }

    /// The same with other lines; each replaces the one of its scope and class.
    pub fn with(mut self, lines: impl IntoIterator<Item = Line>) -> Self {
        for Line { scope, what, figures } in lines {
            self.0.retain(|rule| rule.scope != scope || rule.what != what);
            self.0.extend(figures.map(|figures| Rule { scope, what, figures }));
        }
        self
    }

    /// Whether there is no limit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anything is limited in rooms.
    pub fn has_rooms(&self) -> bool {
        self.0.iter().any(|rule| matches!(rule.scope, Scope::Room | Scope::UserInRoom))
    }

    /// The limits of a scope, in the order of the table.
    pub fn of(&self, scope: Scope) -> impl Iterator<Item = &Rule> + Clone {
        self.0.iter().filter(move |rule| rule.scope == scope)
    }

    /// The limits of a scope that a command has to pass.
    pub fn of_command<'a>(&'a self, scope: Scope, command: &'a str) -> impl Iterator<Item = &'a Rule> + Clone {
        self.of(scope).filter(move |rule| rule.what.counts(command))
    }

    /// The limits of a room, and of people in it, that a command has to pass.
    pub fn of_rooms<'a>(&'a self, command: &'a str) -> impl Iterator<Item = &'a Rule> + Clone {
        [Scope::Room, Scope::UserInRoom].into_iter().flat_map(move |scope| self.of_command(scope, command))
    }
}

impl What {
    /// Whether a command counts.
    pub fn counts(&self, command: &str) -> bool {
        match self {
            What::All => true,
            What::Class(class) => Class::of(command) == Some(*class),
            What::Command(name) => name == command,
        }
    }
}

impl Class {
    const ALL: [(Class, &'static str); 7] = [
        (Class::Connect, "connect"),
        (Class::Join, "join"),
        (Class::Message, "message"),
        (Class::Edit, "edit"),
        (Class::Signal, "signal"),
        (Class::Read, "read"),
        (Class::Manage, "manage"),
    ];

    /// The class of a command; `None` for one that costs nothing but its frame.
    pub fn of(command: &str) -> Option<Class> {
        Some(match command {
            "connect" | "auth.refresh" => Class::Connect,
            "room.join" | "room.leave" | "doc.open" | "doc.close" => Class::Join,
            "msg.append" => Class::Edit,
            "msg.read" | "room.emit" | "doc.cursor" => Class::Signal,
            "msg.unread" | "msg.range" | "msg.history" => Class::Read,
            "doc.get" | "doc.ops" | "doc.info" | "presence.list" | "presence.get" | "devices.list" => Class::Read,
            "room.access" => Class::Read,
            "ping" => return None,
            _ => match command.split_once('.').map(|(family, _)| family) {
                Some("msg") => Class::Message,
                Some("doc") => Class::Edit,
                Some("presence") => Class::Signal,
                _ => Class::Manage,
            },
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::All => f.write_str("all"),
            What::Command(name) => f.write_str(name),
            What::Class(class) => {
                f.write_str(Class::ALL.iter().find(|(known, _)| known == class).map_or("", |(_, word)| word))
            }
        }
    }
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(What::All);
        }
        // A class and a command may have the same name; they then count the same.
        if let Some((class, _)) = Class::ALL.iter().find(|(_, word)| *word == text) {
            return Ok(What::Class(*class));
        }
        let is_name = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.') && text.contains('.');
        let classes = Class::ALL.map(|(_, word)| word).join(", ");
        if is_name {
            Ok(What::Command(text.into()))
        } else {
            Err(format!("`{text}` is none of all, {classes}, a command"))
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "connection" => Ok(Scope::Connection),
            "user" => Ok(Scope::User),
            "address" => Ok(Scope::Address),
            "room" => Ok(Scope::Room),
            "user-in-room" => Ok(Scope::UserInRoom),
            _ => Err(format!("`{text}` is none of connection, user, address, room, user-in-room")),
        }
    }
}

impl FromStr for Figures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form burst/count/period, as 30/30/1m");
        let mut parts = text.split('/');
        let (Some(burst), Some(count), Some(period), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let at = period.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (length, unit) = period.split_at(at);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(format!("`{period}`: a period is a number and ms, s, m or h")),
        };
        let period_ms = number(length)?.checked_mul(unit_ms).ok_or_else(wrong)?;
        Figures::new(number(burst)?, number(count)?, period_ms)
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(left, figures)| Some((left.split_once(':')?, figures)));
        let ((scope, what), figures) =
            parts.ok_or_else(|| format!("`{text}` is not of the form scope:class=burst/count/period"))?;
        let figures = if figures == "off" { None } else { Some(figures.parse()?) };
        Ok(Line { scope: scope.parse()?, what: what.parse()?, figures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(table: &Table, scope: Scope, command: &str) -> Vec<(u64, u64, u64)> {
        table
            .of_command(scope, command)
            .map(|rule| (rule.figures.burst, rule.figures.count, rule.figures.period_ms))
            .collect()
    }

    #[test]
    fn every_line_of_the_standard_table_counts() {
        assert_eq!(Table::standard().0.len(), STANDARD.len());
        for line in STANDARD {
            assert!(line.parse::<Line>().is_ok(), "{line}");
        }
    }

    #[test]
    fn a_line_replaces_takes_away_or_adds_one() {
        let lines = ["user:message=5/10/500ms", "connection:all=off", "user:msg.post=2/1/1h", "address:all=9/9/2m"];
        let table = Table::standard().with(lines.map(|line| line.parse().unwrap()));
        assert_eq!(figures(&table, Scope::User, "msg.edit"), [(5, 10, 500)]);
        assert_eq!(figures(&table, Scope::User, "msg.post"), [(5, 10, 500), (2, 1, 3_600_000)]);
        assert_eq!(figures(&table, Scope::Connection, "ping"), []);
        assert_eq!(figures(&table, Scope::Address, "ping"), [(9, 9, 120_000)]);
    }

    #[test]
    fn what_is_no_limit_is_refused_with_a_reason() {
        for bad in [
            "",
            "user:message",
            "user=1/1/1s",
            "users:message=1/1/1s",
            "user:messages=1/1/1s",
            "user:message=1/1",
            "user:message=1/1/1",
            "user:message=1/1/s",
            "user:message=1/1/1d",
            "user:message=1/1/1s/1",
            "user:message=0/1/1s",
            "user:message=1/0/1s",
            "user:message=1/1/0s",
            "user:message=-1/1/1s",
            "user:message=1/1/99999999999999999999s",
            "user:message=1000000000/1/1h",
        ] {
            assert!(bad.parse::<Line>().is_err_and(|why| !why.is_empty()), "{bad}");
        }
    }

    #[test]
    fn commands_are_in_the_class_of_what_they_cost() {
        for (command, class) in [
            ("connect", Some(Class::Connect)),
            ("room.join", Some(Class::Join)),
            ("msg.post", Some(Class::Message)),
            ("msg.append", Some(Class::Edit)),
            ("msg.read", Some(Class::Signal)),
            ("doc.submit", Some(Class::Edit)),
            ("doc.cursor", Some(Class::Signal)),
            ("presence.typing", Some(Class::Signal)),
            ("doc.ops", Some(Class::Read)),
            ("devices.kick", Some(Class::Manage)),
            ("room.grant", Some(Class::Manage)),
            ("ping", None),
        ] {
            assert_eq!(Class::of(command), class, "{command}");
        }
    }
}
