//! How much is allowed, and what is written down of it.

use crate::limits::{Line, Table};
use clap::{Args, ValueEnum};
use std::time::Duration;
use stoa_core::rate::HOLDERS_MAX;

/// Which limits hold before `--limit` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LimitsKind {
    /// Those that people do not meet and programs that do not stop do.
    Standard,
    /// None.
    Off,
}

// No doc comment: it would take the place of the program's own in --help.
#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct LimitSettings {
    /// Limits before --limit: `standard`, or `off`: none, no leases of connections, no blocks.
    #[arg(long, env = "STOA_LIMITS", value_enum, default_value = "standard")]
    pub limits: LimitsKind,
    /// One limit, as `user:message=30/30/1m`: a burst of 30, and 30 more each minute; or `off`. Scopes are connection, user,
    /// address, room, user-in-room; classes connect, join, message, edit, signal, read, manage, all, or a command's name.
    /// Replaces the line of that scope and class. Several times, or separated by commas.
    #[arg(long, env = "STOA_LIMIT", value_delimiter = ',')]
    pub limit: Vec<Line>,
    /// Connections that a user may have at the same time, at all fronts; 0: any number.
    #[arg(long, env = "STOA_CONNECTIONS_PER_USER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=HOLDERS_MAX))]
    pub connections_per_user: u64,
    /// Connections that may come from an address at the same time, at all fronts; 0: any number. Behind one address there
    /// may be a school.
    #[arg(long, env = "STOA_CONNECTIONS_PER_ADDRESS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=HOLDERS_MAX))]
    pub connections_per_address: u64,
    /// How long the connections of a front that died count on, in milliseconds. They are counted again every third of it.
    #[arg(long, env = "STOA_CONNECTION_LEASE_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(300..=3_600_000))]
    pub connection_lease_ms: u64,
    /// Refused tokens from an address that block it; 0: never.
    #[arg(long, env = "STOA_FAILED_AUTH_MAX", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub failed_auth_max: u64,
    /// How long it is blocked, and within which time they count, in milliseconds.
    #[arg(long, env = "STOA_FAILED_AUTH_BLOCK_MS", default_value_t = 15 * 60_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub failed_auth_block_ms: u64,
    /// Refusals for a limit, less what was allowed since, that block a user; 0: never. Who waits as long as told has none.
    #[arg(long, env = "STOA_STRIKES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub strikes: u64,
    /// How long a user is blocked then, in milliseconds.
    #[arg(long, env = "STOA_STRIKES_BLOCK_MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub strikes_block_ms: u64,

    /// Key of a Redis stream to which every write and every connection is added, as `stoa:audit`: who, what, where, and what
    /// came of it; never the content. Its user in Redis needs +xadd.
    #[arg(long, env = "STOA_AUDIT")]
    pub audit: Option<String>,
    /// Entries that the stream keeps, about.
    #[arg(long, env = "STOA_AUDIT_ENTRIES_MAX", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub audit_entries_max: u64,
}

impl LimitSettings {
    /// The limits that hold.
    pub fn table(&self) -> Table {
        let table = if self.limits == LimitsKind::Off { Table::off() } else { Table::standard() };
        table.with(self.limit.iter().cloned())
    }

    /// [`LimitSettings::connections_per_user`], if there is such a limit.
    pub fn user_connections_max(&self) -> Option<u64> {
        self.unless_off(self.connections_per_user)
    }

    /// [`LimitSettings::connections_per_address`], if there is such a limit.
    pub fn address_connections_max(&self) -> Option<u64> {
        self.unless_off(self.connections_per_address)
    }

    /// [`LimitSettings::failed_auth_max`], if there is such a limit.
    pub fn failed_auth_max(&self) -> Option<u64> {
        self.unless_off(self.failed_auth_max)
    }

    /// [`LimitSettings::strikes`], if they are counted.
    pub fn strikes(&self) -> Option<u64> {
        self.unless_off(self.strikes)
    }

    /// [`LimitSettings::connection_lease_ms`] as a duration.
    pub fn connection_lease(&self) -> Duration {
        Duration::from_millis(self.connection_lease_ms)
    }

    /// Whether connections, refused tokens and refusals are counted, and blocks looked for.
    pub fn is_on(&self) -> bool {
        self.limits != LimitsKind::Off
    }

    fn unless_off(&self, value: u64) -> Option<u64> {
        (self.is_on() && value > 0).then_some(value)
    }
}
