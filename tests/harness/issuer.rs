//! Somebody who issues tokens: keys, and a place where their public halves can be fetched.

use crate::openssl::{openssl, path};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A key of an issuer.
pub struct SigningKey {
    /// Its name.
    pub kid: String,
    algorithm: Algorithm,
    private: EncodingKey,
    jwk: Value,
    /// The public half, PEM.
    pub public: String,
    directory: TempDir,
}

impl SigningKey {
    /// Makes a key of 2,048 bits if it is for RSA.
    pub fn make(kid: &str, algorithm: Algorithm) -> SigningKey {
        SigningKey::make_of(kid, algorithm, 2048)
    }

    /// Makes a key; `rsa_bits` counts for RSA only.
    pub fn make_of(kid: &str, algorithm: Algorithm, rsa_bits: u32) -> SigningKey {
        let directory = tempfile::tempdir().unwrap();
        let private = path(directory.path(), "private.pem");
        let bits = format!("rsa_keygen_bits:{rsa_bits}");
        let kind = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => vec!["RSA", "-pkeyopt", &bits],
            Algorithm::ES256 => vec!["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Algorithm::EdDSA => vec!["ED25519"],
            other => panic!("no keys are made for {other:?}"),
        };
        openssl(&[&["genpkey", "-out", &private, "-algorithm"][..], &kind].concat());
        let public = String::from_utf8(openssl(&["pkey", "-in", &private, "-pubout"])).unwrap();
        let pem = std::fs::read(&private).unwrap();
        let (signing, mut jwk) = match algorithm {
            Algorithm::ES256 => {
                // The two coordinates are what the encoding ends with.
                let der = openssl(&["pkey", "-in", &private, "-pubout", "-outform", "DER"]);
                let (x, y) = der[der.len() - 64..].split_at(32);
                let jwk = json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)});
                (EncodingKey::from_ec_pem(&pem), jwk)
            }
            Algorithm::EdDSA => {
                let der = openssl(&["pkey", "-in", &private, "-pubout", "-outform", "DER"]);
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": text(&der[der.len() - 32..])});
                (EncodingKey::from_ed_pem(&pem), jwk)
            }
            _ => {
                let printed = String::from_utf8(openssl(&["rsa", "-in", &private, "-noout", "-modulus"])).unwrap();
                let digits = printed.trim().strip_prefix("Modulus=").unwrap();
                let modulus: Vec<u8> = (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                    .collect();
                (EncodingKey::from_rsa_pem(&pem), json!({"kty": "RSA", "n": text(&modulus), "e": "AQAB"}))
            }
        };
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(format!("{algorithm:?}"));
        SigningKey { kid: kid.into(), algorithm, private: signing.unwrap(), jwk, public, directory }
    }

    /// The public half as a set of keys has it.
    pub fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    /// The public half as a file, PEM.
    pub fn public_file(&self) -> String {
        let file = path(self.directory.path(), "public.pem");
        std::fs::write(&file, &self.public).unwrap();
        file
    }

    /// A token with these claims and an hour to live.
    pub fn token(&self, claims: Value) -> String {
        self.token_named(Some(&self.kid), claims)
    }

    /// A token that says it was signed with another key.
    pub fn token_named(&self, kid: Option<&str>, claims: Value) -> String {
        self.token_with(Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) }, claims)
    }

    /// A token with another header.
    pub fn token_with(&self, header: Header, mut claims: Value) -> String {
        if claims.get("exp").is_none() {
            claims["exp"] = json!(now_s() + 3600);
        }
        jsonwebtoken::encode(&header, &claims, &self.private).unwrap()
    }
}

/// Bytes in base64url.
pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds of Unix time.
pub fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

struct Answer {
    head: String,
    body: Vec<u8>,
    /// Time before it is sent.
    delay: Duration,
    asked: usize,
}

/// A place on this machine where a set of keys can be fetched.
pub struct Issuer {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    task: JoinHandle<()>,
}

impl Issuer {
    /// Serves these keys.
    pub async fn start(keys: &[&SigningKey]) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Answer { head: String::new(), body: Vec::new(), delay: Duration::ZERO, asked: 0 };
        let answer = Arc::new(Mutex::new(answer));
        let task = tokio::spawn(serve(listener, answer.clone()));
        let issuer = Issuer { port, answer, task };
        issuer.publish(keys);
        issuer
    }

    /// Where the set is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys.json", self.port)
    }

    /// Serves these keys from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answer("200 OK", json!({"keys": keys}).to_string().as_bytes());
    }

    /// Serves this from now on.
    pub fn answer(&self, status: &str, body: &[u8]) {
        let mut answer = self.lock();
        let length = body.len();
        answer.head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        answer.body = body.to_vec();
    }

    /// Answers so much later from now on.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// How often somebody came.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, answer: Arc<Mutex<Answer>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (bytes, delay) = {
            let mut answer = answer.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            answer.asked += 1;
            ([answer.head.as_bytes(), &answer.body].concat(), answer.delay)
        };
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            tokio::time::sleep(delay).await;
            let _ = stream.write_all(&bytes).await;
        });
    }
}
