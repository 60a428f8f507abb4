//! Who somebody is and what they may do: tokens in, rights out.
//!
//! `claims` says what a token has to be like, `keys` which keys there are, `jwks` and `fetch` get those that change,
//! `guests` makes tokens. What rights mean is in `access`.

mod claims;
mod fetch;
mod guests;
mod jwks;
mod keys;

pub use claims::{DISPLAY_NAME_BYTES_MAX, TOKEN_BYTES_MAX};

use crate::access::{Action, Actions, Rights};
use crate::chance;
use crate::frame::{Code, FrameError};
use crate::names::Room;
use crate::settings::{Secret, Settings};
use claims::{Doubt, Policy};
use guests::Guests;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};
use keys::{Found, Keys};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Characters that tie the id of a connection to its user: 96 bits, which nobody guesses over a network.
const MARK_LEN: usize = 16;
/// What the key of guests is called, where it is not the tokens' own.
const GUESTS: &str = "stoa-guests";

/// What a token says, once it is believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The user.
    pub user: Arc<str>,
    /// The display name.
    pub name: Option<String>,
    /// The id of the token, by which it can be withdrawn.
    pub token_id: Option<String>,
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

/// Verifies tokens, and makes those of guests where they are welcome.
pub struct Auth {
    keys: Keys,
    policy: Policy,
    /// What fronts know and nobody else.
    own: EncodingKey,
    guests: Option<Guests>,
}

impl Auth {
    /// Refuses to start without a way to tell people apart.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let auth = &settings.auth;
        let secret = auth.jwt_secret()?;
        let mut keys = Keys::new(auth, secret.as_ref())?;
        if keys.is_empty() && !auth.takes_guests() {
            return Err("no key for tokens: set --jwt-secret (STOA_JWT_SECRET) or --jwt-secret-file to at least 32 random \
                        bytes, or name public keys with --jwt-key or --jwks, or start with --demo to let everybody in as \
                        a guest"
                .into());
        }
        let (own, kid) = match (auth.front_secret()?, secret) {
            (Some(own), _) => (own, Some(GUESTS.to_owned())),
            (None, Some(secret)) => (secret, None),
            (None, None) => (Secret::new(chance::id() + &chance::id()), Some(GUESTS.to_owned())),
        };
        if kid.is_some() {
            let own = keys::shared_secret(kid.clone(), &own, "--front-secret")?;
            if auth.takes_guests() {
                keys.add(own);
            }
        }
        let own = EncodingKey::from_secret(own.reveal().as_bytes());
        let guests = Guests::new(settings, own.clone(), kid)?;
        let auth = Auth { keys, policy: Policy::new(auth, settings.access.roles()), own, guests };
        // Whatever is wrong with what guests are given is told now and not to the first of them.
        if let Some((_, token)) = auth.guest("guest") {
            auth.believe(&token).map_err(|why| format!("--guest-rooms: {why:?}"))?;
        }
        Ok(auth)
    }

    /// Keeps the keys up to date as long as the runtime lasts.
    pub(crate) fn keep_keys(&self) {
        for set in self.keys.sets() {
            tokio::spawn(set.clone().keep());
        }
    }

    /// Whether all keys have been loaded.
    pub(crate) fn is_ready(&self) -> bool {
        self.keys.sets().iter().all(|set| set.keys().is_some())
    }

    /// How often sets of keys were read from their source, and how often in vain.
    pub(crate) fn readings(&self) -> (u64, u64) {
        let sum = |of: fn(&jwks::Jwks) -> u64| self.keys.sets().iter().map(|set| of(set)).sum();
        (sum(|set| set.fetches.load(Ordering::Relaxed)), sum(|set| set.failures.load(Ordering::Relaxed)))
    }

    /// Believes a token, or says `AUTH_INVALID` or `AUTH_EXPIRED`; `UNAVAILABLE` before there are keys. Why exactly is for
    /// the log, not for the sender. Waits only for a key that may be new.
    pub async fn verify(&self, token: &str) -> Result<Identity, FrameError> {
        let mut believed = self.believe(token);
        if believed == Err(Doubt::UnknownKey) && self.learn(token).await {
            believed = self.believe(token);
        }
        believed.map_err(|why| {
            tracing::debug!(?why, "token refused");
            match why {
                Doubt::Expired => FrameError::new(Code::AuthExpired, "the token has ended: connect with a new one"),
                Doubt::NoKeysYet => FrameError::new(Code::Unavailable, "the keys of tokens have not been loaded yet"),
                Doubt::Refused(_) | Doubt::UnknownKey => FrameError::new(Code::AuthInvalid, "the token was refused"),
            }
        })
    }

    fn believe(&self, token: &str) -> Result<Identity, Doubt> {
        match self.keys.find(&self.policy.wanted(token)?) {
            Found::Key(key) => self.policy.verify(token, &key),
            Found::Unknown(_) => Err(Doubt::UnknownKey),
            Found::NotLoaded => Err(Doubt::NoKeysYet),
        }
    }

    /// Looks for the key of a token where it may be by now.
    async fn learn(&self, token: &str) -> bool {
        let Ok(wanted) = self.policy.wanted(token) else { return false };
        let Found::Unknown(sets) = self.keys.find(&wanted) else { return true };
        let mut learnt = false;
        for set in sets {
            learnt |= set.learn().await;
        }
        learnt
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
        let mut mark = sign(text.as_bytes(), &self.own, Algorithm::HS256).unwrap_or_else(|_| chance::id());
        mark.truncate(MARK_LEN);
        mark
    }

    /// Makes a token for a guest: the user and the token. `None` where guests are not welcome.
    pub fn guest(&self, name: &str) -> Option<(String, String)> {
        self.guests.as_ref()?.invite(name)
    }
}

/// Seconds of Unix time.
pub fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
