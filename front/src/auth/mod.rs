//! Who somebody is and what they may do: tokens in, rights out.
//!
//! The library that verifies tokens accepts more than is safe (unknown `crit`, any `typ`, empty `sub`, no end in
//! sight); every such case is refused here, by name.

use crate::access::{Action, Actions, Rights, Roles};
use crate::chance;
use crate::frame::{Code, FrameError};
use crate::names::Room;
use crate::settings::{Secret, Settings};
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest token, in bytes: hundreds of room patterns fit, and verifying it stays cheap.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far the clocks of issuer and front may differ for `nbf` and `iat`, in seconds. `exp` is exact, because
/// connections end at it.
const LEEWAY_S: u64 = 5;
/// Longest display name that is passed on, in bytes: it has to fit into presence data with room to spare.
pub const DISPLAY_NAME_BYTES_MAX: usize = 128;
/// How long a guest token lasts, in seconds: a day at a fair.
const GUEST_LIFETIME_S: u64 = 12 * 3600;

/// Characters that tie the id of a connection to its user: 96 bits, which nobody guesses over a network.
const MARK_LEN: usize = 16;

/// What a token says, once it is believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The user.
    pub user: Arc<str>,
    /// The display name.
    pub name: Option<String>,
    /// When the token ends, in seconds of Unix time.
    pub expires_s: f64,
    rights: Rights,
}

impl Identity {
    /// The personal room of this user.
    pub fn personal_room(&self) -> Room {
        Room::personal(&self.user)
    }

    /// What the token allows in a room. A personal room is open to its user alone, whatever the token says.
    pub fn actions(&self, room: &Room) -> Actions {
        if room.is_personal() {
            return if *room == self.personal_room() { Rights::open().of(room) } else { Actions::NONE };
        }
        self.rights.of(room)
    }

    /// Refuses what the token does not allow. The answer is the same whether the room exists or not.
    pub fn check(&self, room: &Room, action: Action) -> Result<(), FrameError> {
        self.actions(room).check(action)
    }

    /// How long the token still lasts.
    pub fn remaining(&self) -> Duration {
        Duration::try_from_secs_f64(self.expires_s - now_s()).unwrap_or_default()
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    iat: Option<f64>,
    /// A string: a list would be accepted by the library if any of it matched.
    iss: Option<String>,
    name: Option<String>,
    rooms: Option<BTreeMap<String, String>>,
}

/// Verifies tokens, and makes guest tokens in demo mode.
pub struct Auth {
    key: DecodingKey,
    signing: EncodingKey,
    hands_out_guests: bool,
    validation: Validation,
    issuer: Option<String>,
    audience: Option<String>,
    lifetime_max_s: f64,
    require_rooms_claim: bool,
    roles: Roles,
}

impl Auth {
    /// Refuses to start without a way to tell people apart.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let secret = match settings.jwt_secret()? {
            Some(secret) if secret.reveal().is_empty() => {
                return Err("the token secret is empty: set --jwt-secret to at least 32 random bytes".into());
            }
            Some(secret) => secret,
            None if settings.demo => Secret::new(chance::id() + &chance::id()),
            None => {
                return Err("no token secret: set --jwt-secret (STOA_JWT_SECRET) or --jwt-secret-file to at least 32 \
                            random bytes, or start with --demo to let everybody in as a guest"
                    .into());
            }
        };
        if secret.reveal().len() < 32 {
            tracing::warn!("the token secret has fewer than 32 bytes and could be guessed");
        }
        let bytes = secret.reveal().as_bytes();
        Ok(Auth {
            key: DecodingKey::from_secret(bytes),
            signing: EncodingKey::from_secret(bytes),
            hands_out_guests: settings.demo,
            validation: validation(settings),
            issuer: settings.jwt_issuer.clone(),
            audience: settings.jwt_audience.clone(),
            lifetime_max_s: settings.jwt_lifetime_max_s as f64,
            require_rooms_claim: settings.require_rooms_claim,
            roles: settings.access.roles(),
        })
    }

    /// Believes a token, or says `AUTH_INVALID` or `AUTH_EXPIRED`. Why exactly is for the log, not for the sender.
    pub fn verify(&self, token: &str) -> Result<Identity, FrameError> {
        self.believe(token).map_err(|why| {
            tracing::debug!(why, "token refused");
            if why == "expired" {
                return FrameError::new(Code::AuthExpired, "the token has ended: connect with a new one");
            }
            FrameError::new(Code::AuthInvalid, "the token was refused")
        })
    }

    /// An id for a connection that the user may name in other requests, to any front with the same secret.
    pub fn connection_id(&self, user: &str) -> String {
        let chance = chance::id();
        format!("k{chance}{}", self.mark(&chance, user))
    }

    /// Whether [`Auth::connection_id`] made this id for this user.
    pub fn owns_connection(&self, user: &str, id: &str) -> bool {
        let parts = id.strip_prefix('k').and_then(|rest| rest.split_at_checked(chance::ID_LEN));
        parts.is_some_and(|(chance, mark)| {
            let right = self.mark(chance, user);
            // As long for a wrong mark as for a right one.
            mark.len() == right.len() && mark.bytes().zip(right.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
        })
    }

    /// Ties chance to a user. No token is signed over such a text: those have no line feed.
    fn mark(&self, chance: &str, user: &str) -> String {
        let text = format!("connection\n{chance}\n{user}");
        let mut mark = sign(text.as_bytes(), &self.signing, Algorithm::HS256).unwrap_or_else(|_| chance::id());
        mark.truncate(MARK_LEN);
        mark
    }

    fn believe(&self, token: &str) -> Result<Identity, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("too large");
        }
        let header = decode_header(token).map_err(|_| "header unreadable")?;
        if header.crit.is_some() {
            return Err("crit is not supported");
        }
        // RFC 8725 3.11: a token made for another purpose is not one of ours.
        if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT") && !typ.eq_ignore_ascii_case("at+jwt")) {
            return Err("typ is not JWT");
        }
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(reason)?.claims;
        self.check_times(&claims)?;
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err("wrong issuer");
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@|~-".contains(&byte);
        if claims.sub.is_empty() || claims.sub.len() > 128 || !claims.sub.bytes().all(allowed) {
            return Err("sub is not of its form");
        }
        if claims.name.as_ref().is_some_and(|name| name.len() > DISPLAY_NAME_BYTES_MAX) {
            return Err("name is too long");
        }
        let rights = self.rights(claims.rooms)?;
        Ok(Identity { user: claims.sub.into(), name: claims.name, expires_s: claims.exp, rights })
    }

    fn check_times(&self, claims: &Claims) -> Result<(), &'static str> {
        let now = now_s();
        if claims.exp <= now {
            return Err("expired");
        }
        if claims.exp > now + self.lifetime_max_s + LEEWAY_S as f64 {
            return Err("lives longer than --jwt-lifetime-max-s");
        }
        if claims.iat.is_some_and(|iat| iat > now + LEEWAY_S as f64) {
            return Err("issued in the future");
        }
        Ok(())
    }

    fn rights(&self, claim: Option<BTreeMap<String, String>>) -> Result<Rights, &'static str> {
        match claim {
            Some(claim) => Rights::read(claim, &self.roles),
            None if self.require_rooms_claim => Err("no rooms claim"),
            None => Ok(Rights::open()),
        }
    }

    /// Makes a token for a guest: the user and the token. `None` outside demo mode.
    pub fn guest(&self, name: &str) -> Option<(String, String)> {
        #[derive(Serialize)]
        struct Guest<'a> {
            sub: &'a str,
            name: &'a str,
            iat: u64,
            exp: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            iss: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<&'a str>,
            rooms: BTreeMap<&'a str, &'a str>,
        }
        if !self.hands_out_guests {
            return None;
        }
        let user = format!("guest-{}", &chance::id()[..12]);
        let iat = now_s() as u64;
        let lifetime_s = GUEST_LIFETIME_S.min(self.lifetime_max_s as u64);
        let (iss, aud) = (self.issuer.as_deref(), self.audience.as_deref());
        let rooms = BTreeMap::from([("*", "rw")]);
        let guest = Guest { sub: &user, name, iat, exp: iat + lifetime_s, iss, aud, rooms };
        let token = encode(&Header::new(Algorithm::HS256), &guest, &self.signing).ok()?;
        Some((user, token))
    }
}

fn validation(settings: &Settings) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.required_spec_claims = ["exp", "sub"].map(str::to_owned).into();
    match &settings.jwt_audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".into());
        }
        None => validation.validate_aud = false,
    }
    if let Some(issuer) = &settings.jwt_issuer {
        validation.set_issuer(&[issuer]);
        validation.required_spec_claims.insert("iss".into());
    }
    validation
}

fn reason(error: jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "expired",
        ErrorKind::InvalidSignature => "wrong signature",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "wrong algorithm",
        ErrorKind::ImmatureSignature => "not valid yet",
        ErrorKind::InvalidAudience => "wrong audience",
        ErrorKind::InvalidIssuer => "wrong issuer",
        _ => "claims unreadable or missing",
    }
}

/// Seconds of Unix time.
pub fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
