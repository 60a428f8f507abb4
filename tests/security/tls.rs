//! The way to Redis and to issuers over TLS: whoever is not vouched for is not talked to, and nothing goes out in the clear.

use jsonwebtoken::Algorithm;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stoa_front::settings::Secret;
use stoa_harness::front::{SECRET, http_status};
use stoa_harness::issuer::{Issuer, SigningKey};
use stoa_harness::openssl::{Authority, Certificate};
use stoa_harness::redis::free_port;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, assert_eventually, front};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const HERE: &str = "DNS:localhost,IP:127.0.0.1";

/// A Redis that also listens with this certificate, for a user with a password; gives that port.
fn redis_behind(certificate: &Certificate) -> (Redis, u16) {
    let port = free_port();
    let Certificate { certificate, key } = certificate;
    let redis = Redis::options()
        .line(format!("tls-port {port}"))
        .line(format!("tls-cert-file {}", certificate.display()))
        .line(format!("tls-key-file {}", key.display()))
        .line("tls-auth-clients no")
        .line("user front on >tell-nobody allkeys allchannels +@all")
        .start();
    (redis, port)
}

/// A front that reaches Redis at `url` and believes in these authorities.
async fn front_to(redis: &Redis, url: String, authorities: Option<PathBuf>) -> Front {
    Front::start_unready_with(redis, |settings| {
        settings.redis_url = Secret::new(url);
        settings.redis_ca = authorities;
    })
    .await
}

/// Nothing is to happen, and that for a while.
async fn stays_unready(front: &Front, why: &str) {
    for _ in 0..30 {
        assert_eq!(http_status(front.port, "/readyz"), Some(503), "{why}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_a_redis_that_is_vouched_for_is_talked_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (redis, port) = redis_behind(&authority.vouch(HERE, 2));
    let url = |host: &str, port: u16| format!("rediss://front:tell-nobody@{host}:{port}");
    for host in ["127.0.0.1", "localhost"] {
        let good = front_to(&redis, url(host, port), Some(authority.certificate())).await;
        assert_eventually!(http_status(good.port, "/readyz") == Some(200));
        let ada = Client::connect(good.port, &front::token("ada")).await;
        ada.ok(json!({"do": "room.join", "room": "lobby"})).await;
        ada.ok(json!({"do": "msg.post", "room": "lobby", "body": "hi"})).await;
        assert_eq!(ada.expect("msg.posted").await["message"]["body"], "hi");
    }
    let (other, elsewhere) = redis_behind(&authority.vouch("DNS:other.example", 2));
    let (late, ended) = redis_behind(&authority.vouch(HERE, 0));
    for (why, redis, port, authorities) in [
        ("another authority", &redis, port, Some(stranger.certificate())),
        ("the authorities of the system", &redis, port, None),
        ("another name", &other, elsewhere, Some(authority.certificate())),
        ("a certificate that has ended", &late, ended, Some(authority.certificate())),
        ("no TLS on the other side", &redis, redis.port, Some(authority.certificate())),
    ] {
        let front = front_to(redis, url("127.0.0.1", port), authorities).await;
        stays_unready(&front, why).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_said_in_the_clear_to_whoever_does_not_speak_tls() {
    let (authority, redis) = (Authority::new(), Redis::start());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("rediss://front:tell-nobody@127.0.0.1:{port}");
    let _front = front_to(&redis, url, Some(authority.certificate())).await;
    let mut heard = Vec::new();
    // Each of its connections, and what it says when it comes back after nobody understood it.
    for _ in 0..6 {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = vec![0; 4096];
        let count = stream.read(&mut first).await.unwrap();
        heard.push(first[..count].to_vec());
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"-ERR unknown command\r\n").await;
    }
    for bytes in heard {
        assert_eq!(bytes.first(), Some(&0x16), "no handshake of TLS: {:?}", String::from_utf8_lossy(&bytes));
        let said = String::from_utf8_lossy(&bytes);
        assert!(!said.contains("tell-nobody") && !said.contains("AUTH") && !said.contains("HELLO"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_of_redis_that_promises_less_than_it_says_is_refused_at_the_start() {
    let authority = Authority::new();
    for (why, url, authorities) in [
        ("authorities without TLS", "redis://127.0.0.1:1", Some(authority.certificate())),
        ("no certificates", "rediss://127.0.0.1:1", Some("/nowhere/ca.pem".into())),
        ("another scheme", "http://127.0.0.1:1", None),
        ("nothing", "", None),
    ] {
        let mut settings = stoa_front::Settings::for_tests(url, SECRET);
        settings.redis_ca = authorities;
        assert!(stoa_front::Front::start(settings).await.is_err(), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_password_of_redis_may_lie_in_a_file() {
    let redis = Redis::options().line("user front on >tell-nobody allkeys allchannels +@all").start();
    let file = redis.directory().join("password");
    for (password, is_ready) in [("tell-nobody\n", true), ("something else\n", false)] {
        std::fs::write(&file, password).unwrap();
        let front = Front::start_unready_with(&redis, |settings| {
            settings.redis_url = Secret::new(format!("redis://front@127.0.0.1:{}", redis.port));
            settings.redis_password_file = Some(file.clone());
        })
        .await;
        if is_ready {
            assert_eventually!(http_status(front.port, "/readyz") == Some(200));
        } else {
            stays_unready(&front, "another password").await;
        }
    }
}

/// Speaks TLS with a certificate in front of an issuer; gives the address of its keys.
async fn behind_tls(issuer: &Issuer, certificate: &Certificate) -> String {
    let plain: u16 = issuer.url().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    let chain =
        CertificateDer::pem_file_iter(&certificate.certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(("127.0.0.1", plain)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
            });
        }
    });
    format!("https://127.0.0.1:{port}/keys.json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_are_taken_only_from_an_issuer_that_is_vouched_for() {
    let (authority, stranger, redis) = (Authority::new(), Authority::new(), Redis::start());
    let key = SigningKey::make("k", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let right = behind_tls(&issuer, &authority.vouch(HERE, 2)).await;
    let front = async |url: &str, ca: PathBuf| {
        let url = url.to_owned();
        Front::start_unready_with(&redis, |settings| {
            settings.auth.jwt_secret = None;
            settings.auth.jwks = vec![url.parse().unwrap()];
            settings.auth.jwks_ca = Some(ca);
        })
        .await
    };
    let good = front(&right, authority.certificate()).await;
    assert_eventually!(http_status(good.port, "/readyz") == Some(200));
    Client::connect(good.port, &key.token(json!({"sub": "ada"}))).await;
    let elsewhere = behind_tls(&issuer, &authority.vouch("DNS:other.example", 2)).await;
    let plain = issuer.url().replace("http:", "https:");
    for (why, url, ca) in [
        ("another authority", &right, stranger.certificate()),
        ("another name", &elsewhere, authority.certificate()),
        ("no TLS on the other side", &plain, authority.certificate()),
    ] {
        stays_unready(&front(url, ca).await, why).await;
    }
    let mut settings = stoa_front::Settings::for_tests(&redis.url(), SECRET);
    settings.auth.jwks = vec!["http://idp.example/keys.json".parse().unwrap()];
    assert!(stoa_front::Front::start(settings).await.err().unwrap().contains("https"));
}
