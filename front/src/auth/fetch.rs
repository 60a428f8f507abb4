//! Gets one small file over HTTP. The address comes from the settings and never from a token.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where a file is.
pub(super) struct Address {
    uri: Uri,
    host: String,
    port: u16,
}

impl Address {
    /// Reads an address; `None` if it is none. Without TLS only this machine is asked: whoever can change the keys on
    /// their way can make tokens.
    pub(super) fn parse(text: &str) -> Option<Result<Self, String>> {
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return None;
        }
        Some(Address::read(text))
    }

    fn read(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "not an address")?;
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("a password in it would be logged: leave it out".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_secure = uri.scheme_str() == Some("https");
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !is_secure && !is_here {
            return Err("only https, or http on this machine".into());
        }
        let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Address { uri, host, port })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// The file. Where else it may be is not asked for: redirects are refused.
    pub(super) async fn get(&self, tls: Option<Arc<ClientConfig>>, bytes_max: usize) -> Result<Vec<u8>, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| e.to_string())?;
        let Some(tls) = tls else { return self.ask(stream, bytes_max).await };
        let name = ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|e| e.to_string())?;
        self.ask(stream, bytes_max).await
    }

    async fn ask<S>(&self, stream: S, bytes_max: usize) -> Result<Vec<u8>, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let say = |e: hyper::Error| e.to_string();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(say)?;
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(target).header(HOST, host).header(ACCEPT, "application/json");
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
        let answered = async {
            let answer = sender.send_request(request).await.map_err(say)?;
            if answer.status() != StatusCode::OK {
                return Err(format!("the answer is {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), bytes_max).collect().await;
            body.map(|body| body.to_bytes().to_vec()).map_err(|_| format!("broken off, or more than {bytes_max} bytes"))
        };
        // Whoever closes after the answer has still answered.
        let broken = async {
            match connection.await {
                Ok(()) => pending().await,
                Err(error) => say(error),
            }
        };
        // The connection goes with the answer.
        tokio::select! {
            answer = answered => answer,
            error = broken => Err(error),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What follows a question mark may be a key.
        write!(f, "{}://{}:{}{}", self.uri.scheme_str().unwrap_or_default(), self.host, self.port, self.uri.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_this_machine_is_asked() {
        for good in ["https://idp.example/keys?a=b", "http://127.0.0.1:7/", "http://[::1]:7/x", "http://localhost/x"] {
            assert!(Address::parse(good).is_some_and(|address| address.is_ok()), "{good}");
        }
        for bad in
            ["http://idp.example/keys", "http://127.0.0.1.evil.example/", "https://", "https://me:pw@idp.example/"]
        {
            assert!(Address::parse(bad).is_some_and(|address| address.is_err()), "{bad}");
        }
        assert!(Address::parse("/etc/stoa/keys.json").is_none());
        let address = Address::parse("https://idp.example/keys?secret=x").unwrap().unwrap();
        assert_eq!(address.to_string(), "https://idp.example:443/keys");
    }
}
