//! Tokens for people whom nobody knows, where that is wanted.

use super::now_s;
use crate::chance;
use crate::settings::Settings;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use std::collections::BTreeMap;

/// How long a guest token lasts, in seconds: a day at a fair.
const LIFETIME_S: u64 = 12 * 3600;
/// What guests may do in a demo.
const DEMO_ROOMS: (&str, &str) = ("*", "rw");

/// Makes guest tokens.
pub(super) struct Guests {
    signing: EncodingKey,
    kid: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
    typ: Option<String>,
    lifetime_s: u64,
    rooms: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    name: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    rooms: &'a BTreeMap<String, String>,
}

impl Guests {
    /// `None` where guests are not wanted.
    pub(super) fn new(settings: &Settings, signing: EncodingKey, kid: Option<String>) -> Result<Option<Self>, String> {
        let auth = &settings.auth;
        if !auth.takes_guests() {
            return Ok(None);
        }
        let mut rooms = BTreeMap::new();
        for entry in &auth.guest_rooms {
            let (pattern, role) = entry.split_once('=').filter(|(pattern, _)| !pattern.is_empty()).ok_or_else(|| {
                format!("--guest-rooms {entry}: give a room, or the beginning of one and *, and what is allowed: lobby=r")
            })?;
            rooms.insert(pattern.to_owned(), role.to_owned());
        }
        if rooms.is_empty() {
            if !auth.demo {
                return Err("--guests needs --guest-rooms: what guests may do, as in lobby=r,demo:*=rw".into());
            }
            rooms.insert(DEMO_ROOMS.0.to_owned(), DEMO_ROOMS.1.to_owned());
        }
        Ok(Some(Guests {
            signing,
            kid,
            issuer: auth.jwt_issuer.clone(),
            audience: auth.jwt_audience.clone(),
            typ: auth.jwt_types.first().cloned().or(Some("JWT".to_owned())),
            lifetime_s: LIFETIME_S.min(auth.jwt_lifetime_max_s),
            rooms,
        }))
    }

    /// A new guest: the user and the token.
    pub(super) fn invite(&self, name: &str) -> Option<(String, String)> {
        let user = format!("guest-{}", &chance::id()[..12]);
        let iat = now_s() as u64;
        let claims = Claims {
            sub: &user,
            name,
            iat,
            exp: iat + self.lifetime_s,
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
            rooms: &self.rooms,
        };
        let header = Header { kid: self.kid.clone(), typ: self.typ.clone(), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &claims, &self.signing).ok()?;
        Some((user, token))
    }
}
