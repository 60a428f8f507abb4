//! Who may come in, and from where: tokens, guests, origins, proxies.

use super::{JwksAlgorithm, KeyFile, KeySet, Secret};
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;

/// Who names the address of a client, where a proxy stands before the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

// No doc comment: it would take the place of the program's own in --help.
#[allow(missing_docs)]
#[derive(Debug, Clone, Args)]
pub struct AuthSettings {
    /// Shared secret of the tokens (HS256), at least 32 bytes.
    #[arg(long, env = "STOA_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<Secret>,
    /// File that holds the shared secret; wins over --jwt-secret.
    #[arg(long, env = "STOA_JWT_SECRET_FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// Key of tokens, as `kid=RS256:file` with a public key in PEM, or PS256, ES256, EdDSA; HS256 with a secret. After the
    /// issuer and a space it is for that issuer's tokens only. Several times, or separated by commas.
    #[arg(long, env = "STOA_JWT_KEYS", value_delimiter = ',')]
    pub jwt_key: Vec<KeyFile>,
    /// Set of keys (JWKS): a file or an https address. After the issuer and a space it is for that issuer's tokens only.
    /// Several times, or separated by commas.
    #[arg(long, env = "STOA_JWKS", value_delimiter = ',')]
    pub jwks: Vec<KeySet>,
    /// What keys of sets are used for, whatever they say of themselves: of RS256, PS256, ES256, EdDSA.
    #[arg(long, env = "STOA_JWKS_ALGORITHMS", value_delimiter = ',', default_value = "RS256,ES256,EdDSA")]
    pub jwks_algorithms: Vec<JwksAlgorithm>,
    /// Certificates (PEM) of the authorities that vouch for the addresses of --jwks; without it those of the system.
    #[arg(long, env = "STOA_JWKS_CA")]
    pub jwks_ca: Option<PathBuf>,
    /// Time after which a set is read again, in seconds: so long a key works that its issuer took back.
    #[arg(long, env = "STOA_JWKS_INTERVAL_S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub jwks_interval_s: u64,
    /// A key that is not known has its set read again, at most once in this time, in seconds.
    #[arg(long, env = "STOA_JWKS_UNKNOWN_PAUSE_S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub jwks_unknown_pause_s: u64,
    /// Audience that every token must name.
    #[arg(long, env = "STOA_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Issuer that every token must name, unless its key belongs to another.
    #[arg(long, env = "STOA_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// Types of tokens (`typ`) that are taken, separated by commas. Without it JWT, at+jwt and none.
    #[arg(long, env = "STOA_JWT_TYPES", value_delimiter = ',')]
    pub jwt_types: Vec<String>,
    /// Longest remaining life of a token that is accepted, in seconds.
    #[arg(long, env = "STOA_JWT_LIFETIME_MAX_S", default_value_t = 24 * 3600)]
    pub jwt_lifetime_max_s: u64,
    /// How long before its token ends a connection is told so, in milliseconds; 0: never.
    #[arg(long, env = "STOA_AUTH_EXPIRING_MS", default_value_t = 60_000)]
    pub auth_expiring_ms: u64,
    /// Refuse tokens without a `rooms` claim instead of opening all rooms to them.
    #[arg(long, env = "STOA_REQUIRE_ROOMS_CLAIM", value_parser = FalseyValueParser::new())]
    pub require_rooms_claim: bool,
    /// Take the token from `?token=` too. Addresses are logged by many: only for clients that cannot set headers.
    #[arg(long, env = "STOA_TOKEN_IN_QUERY", value_parser = FalseyValueParser::new())]
    pub token_in_query: bool,
    /// Secret that all fronts share and nobody else knows, at least 32 bytes: for the ids of connections and for guests.
    /// Without it --jwt-secret; without that one that is drawn at the start, and counts on this front only.
    #[arg(long, env = "STOA_FRONT_SECRET", hide_env_values = true)]
    pub front_secret: Option<Secret>,
    /// File that holds the secret of the fronts; wins over --front-secret.
    #[arg(long, env = "STOA_FRONT_SECRET_FILE")]
    pub front_secret_file: Option<PathBuf>,

    /// Hand out guest tokens to everybody, for all rooms. Several demo fronts need the same secret.
    #[arg(long, env = "STOA_DEMO", value_parser = FalseyValueParser::new())]
    pub demo: bool,
    /// Hand out guest tokens to everybody, for the rooms of --guest-rooms.
    #[arg(long, env = "STOA_GUESTS", value_parser = FalseyValueParser::new())]
    pub guests: bool,
    /// What guests may do, as in the `rooms` claim: `lobby=r,demo:*=rw`.
    #[arg(long, env = "STOA_GUEST_ROOMS", value_delimiter = ',')]
    pub guest_rooms: Vec<String>,

    /// Origins that browsers may connect from, separated by commas; empty: any (the token is never a cookie).
    #[arg(long, env = "STOA_ORIGINS", value_delimiter = ',')]
    pub origins: Vec<String>,
    /// Origins whose pages may read the answers of `/sse` and `/rpc`, separated by commas; empty: none but the own.
    #[arg(long, env = "STOA_ALLOW_ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<String>,

    /// Networks of the proxies in front, as `10.0.0.0/8,::1`: only what these say of a client's address is believed.
    #[arg(long, env = "STOA_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they say it. The other one they pass on as the client wrote it, so it is never read.
    #[arg(long, env = "STOA_FORWARDED_HEADER", value_enum, default_value = "x-forwarded-for")]
    pub forwarded_header: ForwardedHeader,
    /// Every connection begins with the PROXY protocol (version 1 or 2), as some load balancers speak it; whatever does not
    /// is closed.
    #[arg(long, env = "STOA_PROXY_PROTOCOL", value_parser = FalseyValueParser::new())]
    pub proxy_protocol: bool,
    /// Connections of this front, in number: beyond it 503 with Retry-After.
    #[arg(long, env = "STOA_CONNECTIONS_MAX", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub connections_max: u64,
}

impl AuthSettings {
    /// The secret of the tokens, from its file if there is one.
    pub fn jwt_secret(&self) -> Result<Option<Secret>, String> {
        Secret::of(self.jwt_secret.as_ref(), self.jwt_secret_file.as_deref())
    }
    /// The secret of the fronts, from its file if there is one.
    pub fn front_secret(&self) -> Result<Option<Secret>, String> {
        Secret::of(self.front_secret.as_ref(), self.front_secret_file.as_deref())
    }
    /// Whether guests get tokens.
    pub fn takes_guests(&self) -> bool {
        self.demo || self.guests
    }
    /// [`AuthSettings::auth_expiring_ms`] as a duration; `None` for never.
    pub fn auth_expiring(&self) -> Option<Duration> {
        (self.auth_expiring_ms > 0).then(|| Duration::from_millis(self.auth_expiring_ms))
    }
}

/// A network, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| single()).map_err(|_| "a network as 10.0.0.0/8 or fd00::/8, or an address".to_owned())
}
