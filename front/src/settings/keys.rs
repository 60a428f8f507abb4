//! How keys of tokens are named in settings.

use jsonwebtoken::Algorithm;
use std::path::PathBuf;
use std::str::FromStr;

/// A key in a file: `kid=RS256:/etc/stoa/key.pem`, after the issuer whose tokens it is for, if it is for one only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The issuer that tokens have to name.
    pub issuer: Option<String>,
    /// What tokens call the key.
    pub kid: String,
    /// What it is used for, and nothing else.
    pub algorithm: Algorithm,
    /// A public key in PEM; for HS256 the secret.
    pub path: PathBuf,
}

impl FromStr for KeyFile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (issuer, key) = issued(text);
        let form = "give kid=RS256:file, or PS256, ES256, EdDSA, HS256";
        let (kid, key) = key.split_once('=').ok_or(form)?;
        let (algorithm, path) = key.split_once(':').ok_or(form)?;
        if kid.is_empty() || path.is_empty() {
            return Err(form.into());
        }
        let algorithm = match algorithm {
            "HS256" => Algorithm::HS256,
            other => JwksAlgorithm::from_str(other).map_err(|_| form)?.0,
        };
        Ok(KeyFile { issuer, kid: kid.to_owned(), algorithm, path: path.into() })
    }
}

/// A set of keys: a file or an address, after the issuer whose tokens it is for, if it is for one only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    /// The issuer that tokens have to name.
    pub issuer: Option<String>,
    /// Where the set is.
    pub source: String,
}

impl FromStr for KeySet {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (issuer, source) = issued(text);
        if source.is_empty() {
            return Err("give a file or an address".into());
        }
        Ok(KeySet { issuer, source: source.to_owned() })
    }
}

/// An algorithm whose keys may be public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JwksAlgorithm(pub Algorithm);

impl FromStr for JwksAlgorithm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "RS256" => Ok(JwksAlgorithm(Algorithm::RS256)),
            "PS256" => Ok(JwksAlgorithm(Algorithm::PS256)),
            "ES256" => Ok(JwksAlgorithm(Algorithm::ES256)),
            "EdDSA" => Ok(JwksAlgorithm(Algorithm::EdDSA)),
            _ => Err("one of RS256, PS256, ES256, EdDSA".into()),
        }
    }
}

/// An issuer stands before its keys, with a space between, which neither can contain.
fn issued(text: &str) -> (Option<String>, &str) {
    match text.trim().split_once(' ') {
        Some((issuer, rest)) => (Some(issuer.to_owned()), rest.trim_start()),
        None => (None, text.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_an_algorithm_and_a_file() {
        let key: KeyFile = "a=ES256:/x".parse().unwrap();
        assert_eq!((key.kid.as_str(), key.algorithm, key.issuer), ("a", Algorithm::ES256, None));
        let key: KeyFile = "https://idp.example/ a=RS256:/x:y".parse().unwrap();
        assert_eq!((key.issuer.as_deref(), key.path), (Some("https://idp.example/"), "/x:y".into()));
        for bad in ["", "a", "a=", "a=RS256", "=RS256:/x", "a=RS256:", "a=none:/x", "a=RS512:/x", "RS256:/x"] {
            assert!(bad.parse::<KeyFile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_set_may_belong_to_an_issuer() {
        let set: KeySet = "https://idp.example/ https://idp.example/keys?a=b".parse().unwrap();
        assert_eq!(
            (set.issuer.as_deref(), &*set.source),
            (Some("https://idp.example/"), "https://idp.example/keys?a=b")
        );
        assert!("".parse::<KeySet>().is_err());
    }
}
