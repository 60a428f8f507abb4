//! From a token to what it says, once it is believed.
//!
//! The library that verifies tokens accepts more than is safe (unknown `crit`, any `typ`, empty `sub`, no end in
//! sight); every such case is refused here, by name.

use super::keys::{Key, Wanted};
use super::{Identity, now_s};
use crate::access::{Rights, Roles};
use crate::settings::AuthSettings;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest token, in bytes: hundreds of room patterns fit, and verifying it stays cheap.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest display name that is passed on, in bytes: it has to fit into presence data with room to spare.
pub const DISPLAY_NAME_BYTES_MAX: usize = 128;
/// How far the clocks of issuer and front may differ for `nbf` and `iat`, in seconds. `exp` is exact, because
/// connections end at it.
const LEEWAY_S: u64 = 5;
/// Longest id of a token (`jti`), in bytes: it becomes a part of a key. Issuers use some 20 to 80.
const TOKEN_ID_BYTES_MAX: usize = 256;
/// Types of tokens that are taken unless `--jwt-types` says otherwise, beside no type at all. A token that was made for
/// another purpose is not one of ours (RFC 8725, 3.11).
const TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// Why a token is not believed. The reason is for the log, not for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    Expired,
    Refused(&'static str),
    /// No key of this name is known. It may be new.
    UnknownKey,
    /// The keys have not been loaded yet.
    NoKeysYet,
}

impl From<&'static str> for Doubt {
    fn from(why: &'static str) -> Self {
        Doubt::Refused(why)
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    iat: Option<f64>,
    /// A string: a list would be accepted by the library if any of it matched.
    iss: Option<String>,
    jti: Option<String>,
    name: Option<String>,
    rooms: Option<BTreeMap<String, String>>,
}

/// What every token has to be like.
pub(super) struct Policy {
    audience: Option<String>,
    /// What keys without an issuer of their own ask for.
    pub(super) issuer: Option<String>,
    types: Vec<String>,
    lifetime_max_s: f64,
    is_rooms_claim_required: bool,
    roles: Roles,
}

impl Policy {
    pub(super) fn new(settings: &AuthSettings, roles: Roles) -> Self {
        Policy {
            audience: settings.jwt_audience.clone(),
            issuer: settings.jwt_issuer.clone(),
            types: settings.jwt_types.clone(),
            lifetime_max_s: settings.jwt_lifetime_max_s as f64,
            is_rooms_claim_required: settings.require_rooms_claim,
            roles,
        }
    }

    /// What the library has to check with a key.
    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.required_spec_claims = ["exp", "sub"].map(str::to_owned).into();
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".into());
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = key.issuer.as_deref().or(self.issuer.as_deref()) {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        validation
    }

    /// Which key a token asks for. Nothing in it is believed yet: it only chooses among keys that are configured.
    pub(super) fn wanted(&self, token: &str) -> Result<Wanted, Doubt> {
        #[derive(Deserialize)]
        struct Issued {
            iss: Option<String>,
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err("too large".into());
        }
        let header = decode_header(token).map_err(|_| "header unreadable")?;
        if header.crit.is_some() {
            return Err("crit is not supported".into());
        }
        // Unencoded payloads (RFC 7797) would be signed over other bytes than those that are read.
        if header.extras.inner().contains_key("b64") {
            return Err("b64 is not supported".into());
        }
        if !self.takes_type(header.typ.as_deref()) {
            return Err("typ is not one of those that are taken".into());
        }
        let issued: Issued = insecure_decode_claims(token).map_err(|_| "claims unreadable")?;
        Ok(Wanted { algorithm: header.alg, kid: header.kid, issuer: issued.iss })
    }

    fn takes_type(&self, typ: Option<&str>) -> bool {
        // RFC 7515, 4.1.9: the prefix may be left out.
        let typ = typ.map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        match (typ, self.types.is_empty()) {
            (None, is_default) => is_default,
            (Some(typ), true) => TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)),
            (Some(typ), false) => self.types.iter().any(|known| typ.eq_ignore_ascii_case(known)),
        }
    }

    /// Verifies a token with the key that it asked for.
    pub(super) fn verify(&self, token: &str, key: &Key) -> Result<Identity, Doubt> {
        let claims = decode::<Claims>(token, &key.key, &self.validation(key)).map_err(reason)?.claims;
        self.check_times(&claims)?;
        let issuer = key.issuer.as_deref().or(self.issuer.as_deref());
        if issuer.is_some() && claims.iss.as_deref() != issuer {
            return Err("wrong issuer".into());
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@|~-".contains(&byte);
        if claims.sub.is_empty() || claims.sub.len() > 128 || !claims.sub.bytes().all(allowed) {
            return Err("sub is not of its form".into());
        }
        // One that no key can be named after could not be withdrawn.
        let names_a_key = |id: &str| id.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte));
        if claims.jti.as_ref().is_some_and(|id| !(1..=TOKEN_ID_BYTES_MAX).contains(&id.len()) || !names_a_key(id)) {
            return Err("jti is not of its form".into());
        }
        if claims.name.as_ref().is_some_and(|name| name.len() > DISPLAY_NAME_BYTES_MAX) {
            return Err("name is too long".into());
        }
        let rights = match claims.rooms {
            Some(claim) => Rights::read(claim, &self.roles)?,
            None if self.is_rooms_claim_required => return Err("no rooms claim".into()),
            None => Rights::open(),
        };
        let user = claims.sub.into();
        Ok(Identity { user, name: claims.name, token_id: claims.jti, expires_s: claims.exp, rights })
    }

    fn check_times(&self, claims: &Claims) -> Result<(), Doubt> {
        let now = now_s();
        if claims.exp <= now {
            return Err(Doubt::Expired);
        }
        if claims.exp > now + self.lifetime_max_s + LEEWAY_S as f64 {
            return Err("lives longer than --jwt-lifetime-max-s".into());
        }
        if claims.iat.is_some_and(|iat| iat > now + LEEWAY_S as f64) {
            return Err("issued in the future".into());
        }
        Ok(())
    }
}

fn reason(error: jsonwebtoken::errors::Error) -> Doubt {
    use jsonwebtoken::errors::ErrorKind;
    Doubt::Refused(match error.kind() {
        ErrorKind::ExpiredSignature => return Doubt::Expired,
        ErrorKind::InvalidSignature => "wrong signature",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "wrong algorithm",
        ErrorKind::ImmatureSignature => "not valid yet",
        ErrorKind::InvalidAudience => "wrong audience",
        ErrorKind::InvalidIssuer => "wrong issuer",
        _ => "claims unreadable or missing",
    })
}
