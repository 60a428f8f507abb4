//! Sets of keys (RFC 7517) that the issuer changes while we run.
//!
//! A set is read again at an interval, and once more when a token names a key that is not in it, but that at most once
//! in a while: else anybody could make us ask the issuer as often as they like. What was read last stays if nothing
//! better comes.

use super::fetch::Address;
use super::keys::{Key, RSA_BYTES_MIN, Wanted};
use crate::settings::{AuthSettings, KeySet};
use crate::tls;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;

/// Largest set, in bytes: several hundred keys.
pub(super) const SET_BYTES_MAX: usize = 64 * 1024;
/// Keys of one set that are used, in number: issuers have two or three, also while they change them.
const KEYS_MAX: usize = 100;
/// The longest RSA key that is used, in bytes of its modulus: longer ones take long.
const RSA_BYTES_MAX: usize = 512;
/// Longest name of a key, in bytes.
const KID_BYTES_MAX: usize = 256;
/// Time to read a set. Whoever comes with a new key waits so long.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause after a set could not be read: short while there is none at all.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(10);

type Loaded = Arc<[Arc<Key>]>;

enum Source {
    File(PathBuf),
    Web(Address, Option<Arc<ClientConfig>>),
}

/// A set of keys of one issuer.
pub(super) struct Jwks {
    issuer: Option<Arc<str>>,
    source: Source,
    algorithms: Vec<Algorithm>,
    interval: Duration,
    /// Time between two readings for the sake of a key that is not known.
    unknown_pause: Duration,
    keys: RwLock<Option<Loaded>>,
    asking: Mutex<Asking>,
    asked: Notify,
    rounds: watch::Sender<u64>,
    /// How often the source was asked, and how often in vain.
    pub(super) fetches: AtomicU64,
    pub(super) failures: AtomicU64,
}

#[derive(Default)]
struct Asking {
    is_under_way: bool,
    last: Option<Instant>,
}

impl Jwks {
    /// A set that is a file is read at once; any other when [`keep`](Self::keep) runs.
    pub(super) fn new(set: &KeySet, settings: &AuthSettings) -> Result<Self, String> {
        let source = match Address::parse(&set.source) {
            Some(address) => {
                let address = address.map_err(|why| format!("--jwks {}: {why}", set.source))?;
                let tls = address.is_secure().then(|| tls::client(settings.jwks_ca.as_deref())).transpose()?;
                Source::Web(address, tls)
            }
            None => Source::File(set.source.clone().into()),
        };
        let jwks = Jwks {
            issuer: set.issuer.as_deref().map(Arc::from),
            source,
            algorithms: settings.jwks_algorithms.iter().map(|one| one.0).collect(),
            interval: Duration::from_secs(settings.jwks_interval_s),
            unknown_pause: Duration::from_secs(settings.jwks_unknown_pause_s),
            keys: RwLock::default(),
            asking: Mutex::default(),
            asked: Notify::new(),
            rounds: watch::channel(0).0,
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        if let Source::File(path) = &jwks.source {
            let bytes = read_file(path)?;
            jwks.take(&bytes).map_err(|why| format!("--jwks {}: {why}", set.source))?;
        }
        Ok(jwks)
    }

    /// Whether its keys are for this token.
    pub(super) fn serves(&self, wanted: &Wanted) -> bool {
        let is_issuer = self.issuer.is_none() || self.issuer.as_deref() == wanted.issuer.as_deref();
        is_issuer && self.algorithms.contains(&wanted.algorithm)
    }

    /// What was read last.
    pub(super) fn keys(&self) -> Option<Loaded> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the set up to date as long as the runtime lasts.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut pause = if self.keys().is_some() { self.interval } else { Duration::ZERO };
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked.notified() => {}
            }
            self.lock().is_under_way = true;
            self.fetches.fetch_add(1, Ordering::Relaxed);
            pause = match self.read().await {
                Ok(()) => self.interval,
                Err(why) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(set = %self.source, why, "the keys of tokens could not be read");
                    if self.keys().is_some() { RETRY.min(self.interval) } else { RETRY_FIRST }
                }
            };
            self.lock().is_under_way = false;
            self.rounds.send_modify(|round| *round += 1);
        }
    }

    /// Has the set read because of a key that is not in it, and waits for that. False if that was done just now.
    pub(super) async fn learn(&self) -> bool {
        // Before the look: a round that ends in between is seen.
        let mut rounds = self.rounds.subscribe();
        {
            let mut asking = self.lock();
            if !asking.is_under_way {
                if asking.last.is_some_and(|last| last.elapsed() < self.unknown_pause) {
                    return false;
                }
                (asking.is_under_way, asking.last) = (true, Some(Instant::now()));
                self.asked.notify_one();
            }
        }
        matches!(tokio::time::timeout(2 * FETCH_TIMEOUT, rounds.changed()).await, Ok(Ok(())))
    }

    async fn read(&self) -> Result<(), String> {
        let bytes = match &self.source {
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path));
                read.await.unwrap_or_else(|_| Err("the reader ended".into()))?
            }
            Source::Web(address, tls) => {
                let fetch = address.get(tls.clone(), SET_BYTES_MAX);
                let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
                fetched.unwrap_or_else(|_| Err(format!("no answer within {FETCH_TIMEOUT:?}")))?
            }
        };
        self.take(&bytes)
    }

    /// Takes in a set, if anything in it can be used.
    fn take(&self, bytes: &[u8]) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let set: Set<'_> = serde_json::from_slice(bytes).map_err(|_| "this is no set of keys in JSON")?;
        let mut keys = Vec::new();
        for text in set.keys.into_iter().take(KEYS_MAX) {
            match self.key(text.get()) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => tracing::debug!(set = %self.source, why, "a key is left out"),
            }
        }
        if keys.is_empty() {
            return Err("no key in it can be used: see --jwks-algorithms".into());
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys.into());
        Ok(())
    }

    /// A key of the set. Its algorithm is one of ours in any case: what the set says can only choose among them.
    fn key(&self, text: &str) -> Result<Key, &'static str> {
        let jwk: Jwk = serde_json::from_str(text).map_err(|_| "it cannot be read")?;
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|what| *what != PublicKeyUse::Signature) {
            return Err("it is not for signatures");
        }
        if common.key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
            return Err("it is not for verifying");
        }
        if common.key_id.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err("its name is too long");
        }
        let fits = |algorithm: &&Algorithm| is_for(&jwk.algorithm, **algorithm);
        let mut fitting = self.algorithms.iter().filter(fits);
        let algorithm = match common.key_algorithm {
            Some(named) => fitting.find(|algorithm| Algorithm::try_from(named).is_ok_and(|named| named == **algorithm)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        let algorithm = *algorithm.ok_or("its algorithm is none of ours, or could be several")?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "it is broken")?;
        let key = Key { issuer: self.issuer.clone(), kid: jwk.common.key_id.clone(), algorithm, key };
        if key.is_usable() { Ok(key) } else { Err("it is broken") }
    }

    fn lock(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a key of this kind can be used for an algorithm. One that is shared is none: a set is public.
fn is_for(key: &AlgorithmParameters, algorithm: Algorithm) -> bool {
    match (key, algorithm.family()) {
        (AlgorithmParameters::RSA(rsa), AlgorithmFamily::Rsa) => {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).unwrap_or_default();
            let bytes = modulus.len() - modulus.iter().take_while(|byte| **byte == 0).count();
            (RSA_BYTES_MIN..=RSA_BYTES_MAX).contains(&bytes)
        }
        (AlgorithmParameters::EllipticCurve(key), AlgorithmFamily::Ec) => key.curve == EllipticCurve::P256,
        (AlgorithmParameters::OctetKeyPair(key), AlgorithmFamily::Ed) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let say = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(SET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)).map_err(say)?;
    if bytes.len() > SET_BYTES_MAX {
        return Err(format!("{} has more than {SET_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Web(address, _) => address.fmt(f),
        }
    }
}
