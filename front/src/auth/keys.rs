//! The keys that tokens are verified with. Each is pinned to one algorithm and, where that is configured, to one issuer:
//! what a token says of itself only chooses among them.

use super::jwks::Jwks;
use crate::settings::{AuthSettings, KeyFile, Secret};
use jsonwebtoken::crypto::verify;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use std::sync::Arc;

/// A shared secret that is shorter could be guessed, in bytes (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// The shortest RSA key that is taken, in bytes of its modulus (RFC 7518, 3.3).
pub(super) const RSA_BYTES_MIN: usize = 256;

/// A key, and what it is good for.
pub(super) struct Key {
    pub(super) issuer: Option<Arc<str>>,
    /// `None` for the shared secret: it also serves tokens that name a key nobody knows.
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl Key {
    /// Whether the key can be used as what it is said to be.
    pub(super) fn is_usable(&self) -> bool {
        // The signature is none, so only a key that cannot be read makes an error.
        verify("AA", b"", &self.key, self.algorithm).is_ok()
    }

    fn serves_issuer(&self, wanted: &Wanted) -> bool {
        self.issuer.is_none() || self.issuer.as_deref() == wanted.issuer.as_deref()
    }
}

/// The key that a token asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) issuer: Option<String>,
}

/// What was found for a token.
pub(super) enum Found {
    Key(Arc<Key>),
    /// These sets may have it by now.
    Unknown(Vec<Arc<Jwks>>),
    /// A set that may have it was never loaded.
    NotLoaded,
}

/// All keys.
pub(super) struct Keys {
    fixed: Vec<Arc<Key>>,
    sets: Vec<Arc<Jwks>>,
}

impl Keys {
    /// Reads the keys that are files.
    pub(super) fn new(settings: &AuthSettings, secret: Option<&Secret>) -> Result<Self, String> {
        let mut fixed = Vec::new();
        for file in &settings.jwt_key {
            fixed.push(Arc::new(read(file)?));
        }
        if let Some(secret) = secret {
            fixed.push(Arc::new(shared_secret(None, secret, "the token secret")?));
        }
        let sets = settings.jwks.iter().map(|set| Jwks::new(set, settings).map(Arc::new));
        Ok(Keys { fixed, sets: sets.collect::<Result<_, _>>()? })
    }

    pub(super) fn add(&mut self, key: Key) {
        self.fixed.push(Arc::new(key));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.sets.is_empty()
    }

    pub(super) fn sets(&self) -> &[Arc<Jwks>] {
        &self.sets
    }

    /// The key for a token.
    pub(super) fn find(&self, wanted: &Wanted) -> Found {
        let sets: Vec<&Arc<Jwks>> = self.sets.iter().filter(|set| set.serves(wanted)).collect();
        let loaded: Vec<_> = sets.iter().filter_map(|set| set.keys()).collect();
        let all = || {
            let keys = self.fixed.iter().chain(loaded.iter().flat_map(|keys| keys.iter()));
            keys.filter(|key| key.algorithm == wanted.algorithm && key.serves_issuer(wanted))
        };
        if let Some(kid) = &wanted.kid {
            if let Some(key) = all().find(|key| key.kid.as_ref() == Some(kid)) {
                return Found::Key(key.clone());
            }
        } else {
            // A token need not name its key. Then there must be no choice.
            let mut keys = all();
            if let (Some(key), None) = (keys.next(), keys.next()) {
                return Found::Key(key.clone());
            }
        }
        if let Some(key) = all().find(|key| key.kid.is_none()) {
            return Found::Key(key.clone());
        }
        if loaded.len() < sets.len() {
            return Found::NotLoaded;
        }
        // Without a name no set can be asked for it.
        Found::Unknown(if wanted.kid.is_some() { sets.into_iter().cloned().collect() } else { Vec::new() })
    }
}

fn read(file: &KeyFile) -> Result<Key, String> {
    let what = format!("--jwt-key {}", file.kid);
    let text = Secret::read(&file.path).map_err(|e| format!("{what}: {e}"))?;
    let issuer = file.issuer.as_deref().map(Arc::from);
    if file.algorithm == Algorithm::HS256 {
        return Ok(Key { issuer, kid: Some(file.kid.clone()), ..shared_secret(None, &text, &what)? });
    }
    if text.reveal().contains("PRIVATE KEY") {
        return Err(format!("{what}: this is a private key, which only the issuer needs: give the public one"));
    }
    let pem = text.reveal().as_bytes();
    let key = match file.algorithm.family() {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        _ => DecodingKey::from_ed_pem(pem),
    };
    let refused = || format!("{what}: {} is not a public key in PEM for {:?}", file.path.display(), file.algorithm);
    let key = Key { issuer, kid: Some(file.kid.clone()), algorithm: file.algorithm, key: key.map_err(|_| refused())? };
    if !key.is_usable() {
        return Err(refused());
    }
    // The modulus is nearly all of what is encoded.
    let is_rsa = key.key.family() == AlgorithmFamily::Rsa;
    if is_rsa && key.key.try_get_as_bytes().is_ok_and(|der| der.len() < RSA_BYTES_MIN) {
        return Err(format!("{what}: an RSA key has at least {} bits", 8 * RSA_BYTES_MIN));
    }
    Ok(key)
}

/// The key of a secret that issuer and front share.
pub(super) fn shared_secret(kid: Option<String>, secret: &Secret, what: &str) -> Result<Key, String> {
    let bytes = secret.reveal().as_bytes();
    if bytes.is_empty() {
        return Err(format!("{what} is empty: it has at least {SECRET_BYTES_MIN} random bytes"));
    }
    if secret.reveal().contains("-----BEGIN") {
        // Whoever knows the public key could sign with it.
        return Err(format!("{what} is a PEM: give public keys as --jwt-key kid=RS256:file"));
    }
    if bytes.len() < SECRET_BYTES_MIN {
        tracing::warn!("{what} has fewer than {SECRET_BYTES_MIN} bytes and could be guessed");
    }
    Ok(Key { issuer: None, kid, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(bytes) })
}
