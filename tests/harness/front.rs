//! Fronts inside the story's own process, and the tokens that they take.

use crate::redis::Redis;
use crate::waiting::{self, SOON};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use stoa_front::settings::Settings;

/// The secret of all stories' tokens.
pub const SECRET: &str = "a secret for stories, long enough to be taken";

/// A running front. Dropping it ends it without a goodbye.
pub struct Front {
    front: Option<stoa_front::Front>,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl Front {
    /// A front on a Redis, ready to serve.
    pub async fn start(redis: &Redis) -> Front {
        Front::start_with(redis, |_| {}).await
    }

    /// A front with other settings.
    pub async fn start_with(redis: &Redis, change: impl FnOnce(&mut Settings)) -> Front {
        let front = Front::launch(redis, change).await;
        front.is_ready().await;
        front
    }

    /// A front that nobody waits for.
    pub async fn start_unready(redis: &Redis) -> Front {
        Front::launch(redis, |_| {}).await
    }

    /// As [`start_unready`](Self::start_unready) with other settings.
    pub async fn start_unready_with(redis: &Redis, change: impl FnOnce(&mut Settings)) -> Front {
        Front::launch(redis, change).await
    }

    /// A front on what a URL names, ready to serve.
    pub async fn start_on(url: &str, change: impl FnOnce(&mut Settings)) -> Front {
        let front = Front::launch_on(url, change).await;
        front.is_ready().await;
        front
    }

    async fn is_ready(&self) {
        let look = || (http_status(self.port, "/readyz") == Some(200)).then_some(());
        assert!(waiting::poll_async(SOON, look).await.is_some(), "the front is not ready within {SOON:?}");
    }

    async fn launch(redis: &Redis, change: impl FnOnce(&mut Settings)) -> Front {
        Front::launch_on(&redis.url(), change).await
    }

    async fn launch_on(url: &str, change: impl FnOnce(&mut Settings)) -> Front {
        let mut settings = Settings::for_tests(url, SECRET);
        change(&mut settings);
        let front = stoa_front::Front::start(settings).await.expect("the front starts");
        let port = front.address().port();
        Front { front: Some(front), port }
    }

    /// What it has counted, as `/metrics` tells it.
    pub fn metrics(&self) -> String {
        self.front.as_ref().map_or_else(String::new, |front| front.metrics().render())
    }

    /// Stops it as a deployment does: people are told where to go, Redis is told who left.
    pub async fn shutdown(mut self) {
        if let Some(front) = self.front.take() {
            front.shutdown().await;
        }
    }

    /// Ends it as a power cut does: nobody is told anything.
    pub fn kill(mut self) {
        if let Some(front) = self.front.take() {
            front.kill();
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(front) = self.front.take() {
            front.kill();
        }
    }
}

/// A token that opens every room to `user` for an hour.
pub fn token(user: &str) -> String {
    token_with(json!({"sub": user, "name": user}))
}

/// A token with these claims; `exp` is added if it is missing.
pub fn token_with(mut claims: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    if claims.get("exp").is_none() {
        claims["exp"] = json!(now + 3600);
    }
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// The status of a `GET`, if there is an answer.
pub fn http_status(port: u16, path: &str) -> Option<u16> {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.split(' ').nth(1)?.parse().ok()
}
