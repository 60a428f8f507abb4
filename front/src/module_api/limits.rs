//! `RATE.`, and the option `LIMITS` of commands that write.

use super::answer::{integer, list, unexpected};
use super::{Args, ModuleApi};
use crate::frame::FrameError;
use crate::limits::Figures;
use crate::names::Room;
use fred::types::Value;

const TAKE: &str = "RATE.TAKE";
/// The stream part of the keys of leases.
const CONNECTIONS: &str = "connections";
/// What asks for a block and for nothing else: any limit would do.
const LOOK: [u64; 3] = [1, 1, 1];

/// What `RATE.TAKE` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it was allowed; else when it will be, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// Whether somebody blocked the key: then nothing is allowed.
    pub is_blocked: bool,
    /// Calls that would be allowed right now.
    pub remaining: u64,
}

impl Verdict {
    /// Nothing, or the refusal.
    pub fn permit(self) -> Result<(), FrameError> {
        self.retry_after_ms.map_or(Ok(()), |ms| Err(FrameError::rate_limited(ms)))
    }
}

/// Refusals in a row that block a key: so many, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strikes {
    /// So many.
    pub after: u64,
    /// In milliseconds.
    pub block_ms: u64,
}

impl ModuleApi {
    /// `RATE.TAKE` of the limit `name` of whatever `home` stands for.
    pub async fn rate_take(
        &self,
        home: &Room,
        name: &str,
        figures: &Figures,
        strikes: Option<Strikes>,
    ) -> Result<Verdict, FrameError> {
        verdict(self.call(home, TAKE, self.take(home, name, figures, strikes)).await?)
    }

    /// As [`ModuleApi::rate_take`], and `UNAVAILABLE` at once while Redis is away.
    pub async fn rate_take_if_up(
        &self,
        home: &Room,
        name: &str,
        figures: &Figures,
        strikes: Option<Strikes>,
    ) -> Result<Verdict, FrameError> {
        verdict(self.ask_about(home, TAKE, self.take(home, name, figures, strikes)).await?)
    }

    /// For how long the key of a limit is blocked, in milliseconds.
    pub async fn rate_blocked(&self, home: &Room, name: &str) -> Result<Option<u64>, FrameError> {
        let args = self.rate(home, name).add("LIMIT").numbers(LOOK);
        let verdict = verdict(self.ask_about(home, "RATE.PEEK", args).await?)?;
        Ok(verdict.retry_after_ms.filter(|_| verdict.is_blocked))
    }

    /// `RATE.BLOCK`
    pub async fn rate_block(&self, home: &Room, name: &str, ms: u64) -> Result<(), FrameError> {
        self.ask_about(home, "RATE.BLOCK", self.rate(home, name).add(ms)).await.map(drop)
    }

    /// `RATE.HOLD` of a connection: when there will be room for it, in milliseconds, if there is none.
    pub async fn rate_hold(&self, home: &Room, holder: &str, max: u64, ttl_ms: u64) -> Result<Option<u64>, FrameError> {
        let args = Args::key(self.keys.key(home, CONNECTIONS)).add(holder).add(max).add(ttl_ms);
        let answer = list(self.ask_about(home, "RATE.HOLD", args).await?)?;
        let [_allowed, _held, _max, retry] = answer.as_slice() else { return Err(unexpected("four numbers")) };
        Ok(wait_ms(retry))
    }

    /// `RATE.DROP` of a connection.
    pub async fn rate_drop(&self, home: &Room, holder: &str) -> Result<(), FrameError> {
        let args = Args::key(self.keys.key(home, CONNECTIONS)).add(holder);
        self.ask_about(home, "RATE.DROP", args).await.map(drop)
    }

    /// What nobody is to wait for.
    async fn ask_about(&self, home: &Room, command: &'static str, args: Args) -> Result<Value, FrameError> {
        self.call_if_up(&self.keys.channel(home), command, args).await
    }

    fn take(&self, home: &Room, name: &str, figures: &Figures, strikes: Option<Strikes>) -> Args {
        let args = self.rate(home, name).add("LIMIT").numbers(figures.numbers());
        match strikes {
            Some(Strikes { after, block_ms }) => args.add("BLOCK").add(after).add(block_ms),
            None => args,
        }
    }

    fn rate(&self, home: &Room, name: &str) -> Args {
        Args::key(self.keys.key(home, name))
    }

    /// Ends the arguments of a command of the module with the limits that go with it.
    pub(super) fn limited(&self, args: Args, room: &Room, user: &str, command: &str) -> Args {
        if !self.limits.has_rooms() {
            return args;
        }
        let command = command.to_ascii_lowercase();
        let rules = self.limits.of_rooms(&command);
        let count = rules.clone().count();
        if count == 0 {
            return args;
        }
        let args = args.add("LIMITS").add(count);
        rules.fold(args, |args, rule| args.add(self.keys.key(room, &rule.stream(user))).numbers(rule.figures.numbers()))
    }
}

/// Whether the module decides about the limits of a room together with this command.
pub fn takes_limits(command: &str) -> bool {
    matches!(
        command,
        "msg.post"
            | "msg.edit"
            | "msg.delete"
            | "msg.react"
            | "msg.unreact"
            | "msg.append"
            | "msg.finish"
            | "msg.cancel"
            | "doc.submit"
            | "doc.undo"
            | "doc.restore"
            | "room.emit"
    )
}

/// Allowed, limit (0 while it is blocked), what is left, when to try again, when all is as before.
fn verdict(reply: Value) -> Result<Verdict, FrameError> {
    let answer = list(reply)?;
    let [_allowed, limit, remaining, retry, _reset] = answer.as_slice() else { return Err(unexpected("five numbers")) };
    Ok(Verdict { retry_after_ms: wait_ms(retry), is_blocked: integer(limit)? == 0, remaining: integer(remaining)? })
}

/// -1 says that there is no need to wait.
fn wait_ms(value: &Value) -> Option<u64> {
    value.as_i64().and_then(|ms| u64::try_from(ms).ok())
}

impl Args {
    fn numbers(self, numbers: [u64; 3]) -> Self {
        numbers.into_iter().fold(self, Args::add)
    }
}
