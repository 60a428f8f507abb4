//! How much is allowed, to whom.
//!
//! [`Table`] says it. What one connection may do is counted in this front's memory (`session::limits`); what people in a
//! room may do, by the module together with the command; everything else here, by keys of users and addresses, so that it
//! holds for all fronts together. Who holds connections is counted in leases (`leases`), which a front that dies cannot
//! keep.

mod leases;
mod table;

pub(crate) use leases::{Lease, Leases};
pub(crate) use table::RATE;
pub use table::{Class, Figures, Line, Rule, Scope, Table, What};

use crate::frame::{Code, FrameError};
use crate::metrics::Metrics;
use crate::module_api::{ModuleApi, Strikes, Verdict, takes_limits};
use crate::names::Room;
use crate::settings::LimitSettings;
use std::sync::Arc;

/// What the limit of commands that came without a connection is called: all of a user's count as one connection.
const WITHOUT_CONNECTION: &str = "rpc";

/// The limits of a front.
pub(crate) struct Limits {
    table: Arc<Table>,
    settings: LimitSettings,
    api: ModuleApi,
    leases: Arc<Leases>,
    metrics: Arc<Metrics>,
}

/// Who wants to do something.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) user: Arc<str>,
    pub(crate) address: Arc<str>,
    /// Whether a connection counts what it sends.
    pub(crate) has_connection: bool,
}

/// A limit that Redis has to be asked about.
struct Ask {
    home: Room,
    stream: String,
    figures: Figures,
    /// Refusals of it may end in a block.
    strikes: Option<Strikes>,
}

impl Limits {
    pub(crate) fn new(table: Arc<Table>, settings: LimitSettings, api: ModuleApi, metrics: Arc<Metrics>) -> Self {
        let leases = Leases::start(api.clone(), settings.connection_lease());
        Limits { table, settings, api, leases, metrics }
    }

    /// Whether there are no limits at all.
    pub(crate) fn is_off(&self) -> bool {
        self.table.is_empty()
    }

    /// The limits of one connection.
    pub(crate) fn of_connections(&self) -> impl Iterator<Item = &Rule> {
        self.table.of(Scope::Connection)
    }

    pub(crate) fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// Before a connection from an address is taken: its lease, if connections are counted.
    ///
    /// While Redis cannot be asked everybody is let in: nobody can do anything then, and their leases follow.
    pub(crate) async fn enter(&self, address: &str) -> Result<Option<Arc<Lease>>, FrameError> {
        self.knock(address).await?;
        let Some(max) = self.settings.address_connections_max() else { return Ok(None) };
        let held = self.hold(self.leases.lease(Room::of_address(address), None, Some(max))).await;
        self.at_the_door(held).map(Some)
    }

    /// Before an address gets in, or gets what lets it in.
    pub(crate) async fn knock(&self, address: &str) -> Result<(), FrameError> {
        let home = Room::of_address(address);
        let mut rules = self.table.of_command(Scope::Address, "connect").peekable();
        if rules.peek().is_none() {
            return self.unless_blocked(address).await;
        }
        for rule in rules {
            let verdict = self.api.rate_take_if_up(&home, &rule.stream(""), &rule.figures, None).await;
            self.at_the_door(judge(verdict))?;
        }
        Ok(())
    }

    /// Refuses an address that is blocked.
    pub(crate) async fn unless_blocked(&self, address: &str) -> Result<(), FrameError> {
        if self.settings.failed_auth_max().is_none() && self.table.of(Scope::Address).next().is_none() {
            return Ok(());
        }
        let blocked = self.refuse_blocked(&Room::of_address(address), &stream_of("connect")).await;
        self.at_the_door(blocked)
    }

    /// Refuses a token that somebody withdrew. While Redis cannot be asked none gets in that might be: it would stay.
    pub(crate) async fn unless_withdrawn(&self, token_id: &str) -> Result<(), FrameError> {
        match self.api.rate_blocked(&Room::of_token(token_id), &stream_of("all")).await? {
            Some(_) => Err(FrameError::new(Code::AuthExpired, "the token was withdrawn: connect with a new one")),
            None => Ok(()),
        }
    }

    /// Whether anybody asks when a user is connected.
    pub(crate) fn asks_users(&self) -> bool {
        self.settings.is_on() || self.table.of_command(Scope::User, "connect").next().is_some()
    }

    /// A lease for a connection of a user, which has to be [held](Limits::hold), if they are counted.
    pub(crate) fn lease_of_user(&self, user: &str) -> Option<Arc<Lease>> {
        let max = self.settings.user_connections_max();
        self.settings.is_on().then(|| self.leases.lease(Room::personal(user), Some(stream_of("all")), max))
    }

    /// Before a user is connected.
    pub(crate) async fn enter_as(&self, user: &str, lease: Option<Arc<Lease>>) -> Result<(), FrameError> {
        let home = Room::personal(user);
        for rule in self.table.of_command(Scope::User, "connect") {
            let verdict = self.api.rate_take_if_up(&home, &rule.stream(""), &rule.figures, self.strikes()).await;
            judge(verdict)?;
        }
        let Some(lease) = lease else { return Ok(()) };
        self.refuse_blocked(&home, &stream_of("all")).await?;
        self.hold(lease).await.map(drop)
    }

    /// Holds a lease for as long as it lives, or says when there is room for it.
    async fn hold(&self, lease: Arc<Lease>) -> Result<Arc<Lease>, FrameError> {
        match lease.hold().await {
            Ok(Some(retry_after_ms)) => Err(FrameError::rate_limited(retry_after_ms)),
            Ok(None) => Ok(lease),
            Err(error) => {
                tracing::debug!(%error, "a connection is not counted yet");
                Ok(lease)
            }
        }
    }

    /// What Redis has to be asked before a command is carried out; `None` if nothing.
    pub(crate) fn permit(
        self: &Arc<Self>,
        asker: &Asker,
        room: Option<&str>,
        command: &'static str,
    ) -> Option<impl Future<Output = Result<(), FrameError>> + Send + use<>> {
        // What connects was asked about when it came in.
        if command == "connect" {
            return None;
        }
        let asks = self.asks(asker, room, command);
        // What a connection may do is looked at when its lease is taken anew.
        let looks = !asker.has_connection && self.settings.is_on();
        if asks.is_empty() && !looks {
            return None;
        }
        let (limits, home) = (self.clone(), Room::personal(&asker.user));
        Some(async move {
            if looks {
                limits.refuse_blocked(&home, &stream_of("all")).await?;
            }
            for Ask { home, stream, figures, strikes } in &asks {
                limits.api.rate_take(home, stream, figures, *strikes).await?.permit()?;
            }
            Ok(())
        })
    }

    fn asks(&self, asker: &Asker, room: Option<&str>, command: &str) -> Vec<Ask> {
        let mut asks = Vec::new();
        let mut add = |home: Room, rule: &Rule, stream: String, strikes| {
            asks.push(Ask { home, stream, figures: rule.figures, strikes });
        };
        let strikes = self.strikes();
        for rule in self.table.of_command(Scope::User, command) {
            add(Room::personal(&asker.user), rule, rule.stream(""), strikes);
        }
        for rule in self.table.of_command(Scope::Connection, command).filter(|_| !asker.has_connection) {
            let stream = format!("{RATE}:{WITHOUT_CONNECTION}:{}", rule.what);
            add(Room::personal(&asker.user), rule, stream, strikes);
        }
        for rule in self.table.of_command(Scope::Address, command) {
            add(Room::of_address(&asker.address), rule, rule.stream(""), None);
        }
        let mut in_rooms = self.table.of_rooms(command).peekable();
        // A room that is not of its form is refused where it is used.
        if let Some(room) = room.filter(|_| !takes_limits(command) && in_rooms.peek().is_some())
            && let Ok(room) = Room::parse(room)
        {
            in_rooms.for_each(|rule| add(room.clone(), rule, rule.stream(&asker.user), None));
        }
        asks
    }

    /// A token from this address was refused.
    pub(crate) async fn auth_failed(&self, address: &str) {
        let Some(max) = self.settings.failed_auth_max() else { return };
        let block_ms = self.settings.failed_auth_block_ms;
        let Ok(figures) = Figures::new(max, max, block_ms) else { return };
        let home = Room::of_address(address);
        let counted = async {
            let verdict = self.api.rate_take_if_up(&home, &stream_of("failed"), &figures, None).await?;
            if verdict.remaining == 0 {
                self.metrics.blocks.add(1);
                tracing::info!(address, block_ms, "too many refused tokens: the address is blocked");
                self.api.rate_block(&home, &stream_of("connect"), block_ms).await?;
            }
            Ok::<_, FrameError>(())
        };
        if let Err(error) = counted.await {
            tracing::debug!(%error, "a refused token was not counted");
        }
    }

    /// A connection of a user was refused too often.
    pub(crate) async fn block_user(&self, user: &str) {
        self.metrics.blocks.add(1);
        let block_ms = self.settings.strikes_block_ms;
        tracing::info!(user, block_ms, "too many refusals: the user is blocked");
        if let Err(error) = self.api.rate_block(&Room::personal(user), &stream_of("all"), block_ms).await {
            tracing::debug!(%error, "a user was not blocked");
        }
    }

    /// Ends the leases that nobody needs any more; the last thing that a front does.
    pub(crate) async fn finish(&self) {
        self.leases.finish().await;
    }

    fn strikes(&self) -> Option<Strikes> {
        self.settings.strikes().map(|after| Strikes { after, block_ms: self.settings.strikes_block_ms })
    }

    async fn refuse_blocked(&self, home: &Room, stream: &str) -> Result<(), FrameError> {
        match self.api.rate_blocked(home, stream).await {
            Ok(Some(retry_after_ms)) => Err(FrameError::rate_limited(retry_after_ms)),
            Ok(None) => Ok(()),
            Err(error) => let_in(error),
        }
    }

    /// Counts whom nobody let in.
    fn at_the_door<T>(&self, entry: Result<T, FrameError>) -> Result<T, FrameError> {
        self.metrics.turned_away.add(usize::from(entry.is_err()));
        entry
    }
}

/// The verdict about somebody who comes in.
fn judge(verdict: Result<Verdict, FrameError>) -> Result<(), FrameError> {
    match verdict {
        Ok(verdict) => verdict.permit(),
        Err(error) => let_in(error),
    }
}

/// Redis cannot be asked about somebody.
fn let_in(error: FrameError) -> Result<(), FrameError> {
    if error.code != Code::Unavailable {
        tracing::warn!(%error, "a limit cannot be asked; may this user of Redis call RATE.?");
    }
    Ok(())
}

/// The stream part of a limit's key.
fn stream_of(what: &str) -> String {
    format!("{RATE}:{what}")
}
