//! Close codes: why a front ends a connection, and whether the client should come back.

use schemars::JsonSchema;
use serde::Serialize;

/// Why a front closes. 4000 to 4499: come back and resume. 4500 to 4999: stay away until something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CloseReason {
    /// This front stops.
    Shutdown,
    /// The connection could not keep up with durable events.
    Slow,
    /// No sign of life.
    PingTimeout,
    /// This connection could not be brought up to date: come back and resume.
    Resync,
    /// Too many connections, or too many refusals: come back later.
    RateLimited,
    /// No valid `connect` frame in time.
    AuthRequired,
    /// The token was refused.
    AuthInvalid,
    /// The token ended.
    AuthExpired,
    /// A frame beyond the bound: what follows it cannot be read safely.
    TooLarge,
    /// Somebody ended this connection.
    Kicked,
}

impl CloseReason {
    /// The number in the close frame.
    pub fn code(self) -> u16 {
        match self {
            CloseReason::Shutdown => 4000,
            CloseReason::Slow => 4001,
            CloseReason::PingTimeout => 4002,
            CloseReason::Resync => 4003,
            CloseReason::RateLimited => 4004,
            CloseReason::AuthRequired => 4500,
            CloseReason::AuthInvalid => 4501,
            CloseReason::AuthExpired => 4502,
            CloseReason::TooLarge => 4503,
            CloseReason::Kicked => 4504,
        }
    }

    /// The word in the close frame.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Shutdown => "SHUTDOWN",
            CloseReason::Slow => "SLOW",
            CloseReason::PingTimeout => "PING_TIMEOUT",
            CloseReason::Resync => "RESYNC",
            CloseReason::RateLimited => "RATE_LIMITED",
            CloseReason::AuthRequired => "AUTH_REQUIRED",
            CloseReason::AuthInvalid => "AUTH_INVALID",
            CloseReason::AuthExpired => "AUTH_EXPIRED",
            CloseReason::TooLarge => "TOO_LARGE",
            CloseReason::Kicked => "KICKED",
        }
    }

    /// Whether the client should come back.
    pub fn returns(self) -> bool {
        self.code() < 4500
    }

    /// Whether what is queued is still sent first. A connection that is too slow, silent or no longer allowed gets
    /// nothing more.
    pub fn drains(self) -> bool {
        !matches!(self, CloseReason::Slow | CloseReason::PingTimeout)
    }
}
