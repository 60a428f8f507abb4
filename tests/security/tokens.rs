//! Tokens that are wrong, keys that change, tokens that end.

use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stoa_front::settings::Settings;
use stoa_harness::front::{SECRET, http_status};
use stoa_harness::http::{Events, request};
use stoa_harness::issuer::{Issuer, SigningKey, now_s, text};
use stoa_harness::process::FrontProcess;
use stoa_harness::socket::Client;
use stoa_harness::{Front, Redis, assert_eventually, front};

/// How late an answer about a token may be, on a machine that has much to do.
const BOUND: Duration = Duration::from_secs(5);

/// A token whose parts are exactly these, signed with the stories' secret.
fn made(header: &str, claims: &str) -> String {
    signed_with(SECRET.as_bytes(), header, claims)
}

fn signed_with(secret: &[u8], header: &str, claims: &str) -> String {
    let message = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
    let signature = sign(message.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// Connects with a token; gives the code of the refusal and that of the close.
async fn refusal(port: u16, token: &str) -> (String, u16) {
    refusal_of("a token", port, token).await
}

async fn refusal_of(what: &str, port: u16, token: &str) -> (String, u16) {
    let client = Client::open(port).await;
    let began = Instant::now();
    let answer = client.ask(json!({"do": "connect", "token": token})).await;
    let error = answer.err().unwrap_or_else(|| panic!("{what} is taken"));
    let closed = client.closed().await.0;
    assert!(began.elapsed() < BOUND, "answered after {:?}", began.elapsed());
    let said = error.to_string();
    assert!(!said.contains("eyJ") && !said.contains("InvalidSignature"), "it tells too much: {said}");
    (error["code"].as_str().unwrap().to_owned(), closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tokens_that_are_wrong_are_refused_with_their_code() {
    let redis = Redis::start();
    let rsa = SigningKey::make("r", Algorithm::RS256);
    let stranger = SigningKey::make("r", Algorithm::RS256);
    let issuer = Issuer::start(&[&stranger]).await;
    let front = Front::start_with(&redis, |settings| {
        settings.auth.jwt_audience = Some("stoa".into());
        settings.auth.jwt_issuer = Some("good".into());
        settings.auth.jwt_key = vec![format!("r=RS256:{}", rsa.public_file()).parse().unwrap()];
    })
    .await;
    let exp = now_s() + 600;
    let good = format!("{{\"sub\":\"ada\",\"exp\":{exp},\"iss\":\"good\",\"aud\":\"stoa\"}}");
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let with = |from: &str, to: &str| {
        assert!(good.contains(from));
        made(header, &good.replace(from, to))
    };
    let exp_is = |value: &str| with(&exp.to_string(), value);
    let whole = made(header, &good);
    let (unsigned, signature) = whole.rsplit_once('.').unwrap();
    let elsewhere = issuer.url();
    let jku = Header { jku: Some(elsewhere.clone()), x5u: Some(elsewhere.clone()), ..Header::new(Algorithm::RS256) };
    let jku = Header { kid: Some("r".into()), ..jku };
    let own_key = format!(r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}}}}"#, text(b"mine"));
    let invalid = [
        ("alg none", made(r#"{"alg":"none"}"#, &good)),
        ("alg NoNe", made(r#"{"alg":"NoNe"}"#, &good)),
        ("alg none, unsigned", format!("{}.{}.", text(br#"{"alg":"none"}"#), text(good.as_bytes()))),
        ("alg HS512", made(r#"{"alg":"HS512"}"#, &good)),
        ("no alg", made(r#"{"typ":"JWT"}"#, &good)),
        ("another secret", signed_with(b"another secret of thirty-two bytes", header, &good)),
        ("the public key as a secret", signed_with(rsa.public.as_bytes(), r#"{"alg":"HS256","kid":"r"}"#, &good)),
        ("the trimmed public key as a secret", signed_with(rsa.public.trim().as_bytes(), header, &good)),
        ("HS256 under the name of an RSA key", signed_with(b"x", r#"{"alg":"HS256","kid":"r"}"#, &good)),
        ("another key of that name", stranger.token(serde_json::from_str(&good).unwrap())),
        ("keys from an address in it", stranger.token_with(jku, serde_json::from_str(&good).unwrap())),
        ("its own key", signed_with(b"mine", &own_key, &good)),
        ("no signature", format!("{unsigned}.")),
        ("no third part", unsigned.to_owned()),
        ("a fourth part", format!("{whole}.x")),
        ("a point too many", format!("{whole}.")),
        ("padding", format!("{whole}=")),
        ("a space before it", format!(" {whole}")),
        ("nothing", String::new()),
        (
            "a changed payload",
            format!("{}.{}.{signature}", text(header.as_bytes()), text(good.replace("ada", "eve").as_bytes())),
        ),
        ("no exp", with(&format!(",\"exp\":{exp}"), "")),
        ("exp as a text", exp_is("\"soon\"")),
        ("exp below zero", exp_is("-1")),
        ("exp without end", exp_is("18446744073709551615")),
        ("exp beyond all numbers", exp_is("1e300")),
        ("exp in two days", exp_is(&(now_s() + 48 * 3600).to_string())),
        ("nbf to come", with("\"sub\"", &format!("\"nbf\":{},\"sub\"", now_s() + 60))),
        ("nbf as a text", with("\"sub\"", "\"nbf\":\"later\",\"sub\"")),
        ("iat to come", with("\"sub\"", &format!("\"iat\":{},\"sub\"", now_s() + 60))),
        ("no aud", with(",\"aud\":\"stoa\"", "")),
        ("aud as a number", with("\"stoa\"", "7")),
        ("another aud", with("\"stoa\"", "\"other\"")),
        ("no iss", with("\"iss\":\"good\",", "")),
        ("iss as a number", with("\"good\"", "7")),
        ("several iss", with("\"good\"", "[\"evil\",\"good\"]")),
        ("another iss", with("\"good\"", "\"evil\"")),
        ("crit", made(r#"{"alg":"HS256","crit":["exp"]}"#, &good)),
        ("crit with b64", made(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &good)),
        ("b64 without crit", made(r#"{"alg":"HS256","b64":false}"#, &good)),
        ("typ of another purpose", made(r#"{"alg":"HS256","typ":"secevent+jwt"}"#, &good)),
        ("sub empty", with("\"ada\"", "\"\"")),
        ("sub as a number", with("\"ada\"", "7")),
        ("sub with a line end", with("\"ada\"", "\"a\\nb\"")),
        ("sub with a brace", with("\"ada\"", "\"a}{b\"")),
        ("sub too long", with("\"ada\"", &format!("\"{}\"", "x".repeat(129)))),
        ("sub twice", with("\"sub\"", "\"sub\":\"eve\",\"sub\"")),
        ("exp twice", with("\"sub\"", "\"exp\":1,\"sub\"")),
        ("jti as a number", with("\"sub\"", "\"jti\":7,\"sub\"")),
        ("jti that would leave its key", with("\"sub\"", "\"jti\":\"a}:x{b\",\"sub\"")),
        ("rights that nobody knows", with("\"sub\"", "\"rooms\":{\"lobby\":\"everything!\"},\"sub\"")),
        ("rooms as a list", with("\"sub\"", "\"rooms\":[\"lobby\"],\"sub\"")),
        ("a list", made(header, "[1,2]")),
        ("JSON without an end", made(header, &"[".repeat(5_000))),
        ("9 KiB", with("\"sub\"", &format!("\"x\":\"{}\",\"sub\"", "x".repeat(9 * 1024)))),
        ("half a megabyte", format!("{}.{}", "a".repeat(256 * 1024), "b".repeat(256 * 1024))),
        ("NUL and controls", format!("{whole}\0\u{1b}[2J")),
    ];
    for (what, token) in invalid {
        assert_eq!(refusal_of(what, front.port, &token).await, ("AUTH_INVALID".into(), 4501), "{what}");
    }
    let ended = exp_is(&(now_s() - 59).to_string());
    assert_eq!(refusal(front.port, &ended).await, ("AUTH_EXPIRED".into(), 4502));
    assert_eq!(issuer.asked(), 0, "an address in a token was asked");
    // The good ones are good, and the front has taken no harm.
    for token in [whole.clone(), rsa.token(serde_json::from_str(&good).unwrap())] {
        Client::connect(front.port, &token).await.ok(json!({"do": "ping"})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_of_four_megabytes_ends_the_connection() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::open(front.port).await;
    client.send(json!({"do": "connect", "token": "x".repeat(4 * 1024 * 1024)}));
    assert_eq!(client.closed().await, (4503, "TOO_LARGE".into()));
}

/// A front that takes the tokens of an issuer and no others.
async fn front_of(redis: &Redis, issuer: &Issuer, change: impl FnOnce(&mut Settings)) -> Front {
    Front::start_with(redis, |settings| {
        settings.auth.jwt_secret = None;
        settings.auth.jwks = vec![issuer.url().parse().unwrap()];
        change(settings);
    })
    .await
}

fn ada() -> Value {
    json!({"sub": "ada", "name": "Ada"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_issuer_changes_its_keys_while_people_are_connected() {
    let redis = Redis::start();
    let (old, new) = (SigningKey::make("2024", Algorithm::RS256), SigningKey::make("2025", Algorithm::ES256));
    let issuer = Issuer::start(&[&old]).await;
    let front = front_of(&redis, &issuer, |settings| settings.auth.jwks_interval_s = 2).await;
    let ada = Client::connect(front.port, &old.token(ada())).await;
    ada.ok(json!({"do": "room.join", "room": "lobby"})).await;

    issuer.publish(&[&old, &new]);
    // Whoever comes with the new key is not sent away: the set is read again.
    let bo = Client::connect(front.port, &new.token(json!({"sub": "bo"}))).await;
    bo.ok(json!({"do": "room.join", "room": "lobby"})).await;
    assert!(
        Client::open(front.port)
            .await
            .ask(json!({"do": "connect", "token": old.token(json!({"sub": "cy"}))}))
            .await
            .is_ok()
    );

    issuer.publish(&[&new]);
    // Nobody comes in with the old one any more, and who is in stays until the token ends.
    assert_eventually!(issuer.asked() >= 4);
    assert_eq!(refusal(front.port, &old.token(json!({"sub": "cy"}))).await, ("AUTH_INVALID".into(), 4501));
    bo.ok(json!({"do": "msg.post", "room": "lobby", "body": "hi"})).await;
    assert_eq!(ada.expect("msg.posted").await["message"]["user"], "bo");
    // The connection goes on with a token of the new key.
    ada.ok(json!({"do": "auth.refresh", "token": new.token(json!({"sub": "ada"}))})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_keys_that_nobody_knows_make_at_most_one_question() {
    let redis = Redis::start();
    let key = SigningKey::make("known", Algorithm::ES256);
    let issuer = Issuer::start(&[&key]).await;
    let front = front_of(&redis, &issuer, |_| {}).await;
    assert_eq!(issuer.asked(), 1);
    for batch in 0..20 {
        let attempts = (0..50).map(|n| {
            let token = key.token_named(Some(&format!("unknown-{batch}-{n}")), ada());
            async move { refusal(front.port, &token).await }
        });
        for refused in futures_util::future::join_all(attempts).await {
            assert_eq!(refused, ("AUTH_INVALID".into(), 4501));
        }
    }
    assert!(issuer.asked() <= 2, "the issuer was asked {} times", issuer.asked());
    Client::connect(front.port, &key.token(ada())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_good_keys_stay_whatever_the_issuer_says() {
    let redis = Redis::start();
    let key = SigningKey::make("k", Algorithm::EdDSA);
    let issuer = Issuer::start(&[&key]).await;
    let front = front_of(&redis, &issuer, |settings| settings.auth.jwks_interval_s = 1).await;
    let large = json!({"keys": [key.jwk()], "x": "x".repeat(64 * 1024)}).to_string();
    for (status, body) in [
        ("500 Oops", &b"{}"[..]),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", b""),
        ("200 OK", b"<html>maintenance</html>"),
        ("200 OK", b"{\"keys\":[]}"),
        ("200 OK", b"{\"keys\":7}"),
        ("200 OK", b"{\"keys\":[{\"kty\":\"oct\",\"k\":\"eA\",\"kid\":\"k\",\"alg\":\"HS256\"}]}"),
        ("200 OK", b"\xff\xfe"),
        ("200 OK", large.as_bytes()),
    ] {
        let before = issuer.asked();
        issuer.answer(status, body);
        // The second question is asked when the first answer has been looked at.
        assert_eventually!(within Duration::from_secs(30), issuer.asked() >= before + 2);
        Client::connect(front.port, &key.token(ada())).await;
    }
    issuer.publish(&[&key]);
    issuer.delay(Duration::from_secs(3600));
    let before = issuer.asked();
    assert_eventually!(within Duration::from_secs(30), issuer.asked() > before);
    Client::connect(front.port, &key.token(ada())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn before_there_are_keys_a_front_is_not_ready_and_says_try_again() {
    let redis = Redis::start();
    let key = SigningKey::make("k", Algorithm::PS256);
    let issuer = Issuer::start(&[]).await;
    let front = Front::start_unready_with(&redis, |settings| {
        settings.auth.jwt_secret = None;
        settings.auth.jwks = vec![issuer.url().parse().unwrap()];
        settings.auth.jwks_algorithms = vec!["PS256".parse().unwrap()];
    })
    .await;
    assert_eventually!(issuer.asked() >= 2);
    assert_eq!(http_status(front.port, "/readyz"), Some(503));
    let client = Client::open(front.port).await;
    let error = client.ask(json!({"do": "connect", "token": key.token(ada())})).await.unwrap_err();
    assert_eq!((&error["code"], &error["retry"]), (&json!("UNAVAILABLE"), &json!(true)));
    issuer.publish(&[&key]);
    assert_eventually!(http_status(front.port, "/readyz") == Some(200));
    Client::connect(front.port, &key.token(ada())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_issuer_is_believed_with_its_own_keys_alone() {
    let redis = Redis::start();
    // Both call their key the same.
    let (one, two) = (SigningKey::make("1", Algorithm::RS256), SigningKey::make("1", Algorithm::RS256));
    let (first, second) = (Issuer::start(&[&one]).await, Issuer::start(&[&two]).await);
    let front = Front::start_with(&redis, |settings| {
        settings.auth.jwt_secret = None;
        settings.auth.jwks = vec![
            format!("https://one.example/ {}", first.url()).parse().unwrap(),
            format!("https://two.example/ {}", second.url()).parse().unwrap(),
        ];
    })
    .await;
    let claims = |issuer: &str| json!({"sub": "ada", "iss": issuer});
    Client::connect(front.port, &one.token(claims("https://one.example/"))).await;
    Client::connect(front.port, &two.token(claims("https://two.example/"))).await;
    for token in [
        one.token(claims("https://two.example/")),
        two.token(claims("https://one.example/")),
        one.token(claims("https://one.example")),
        one.token(ada()),
        one.token(json!({"sub": "ada", "iss": first.url()})),
    ] {
        assert_eq!(refusal(front.port, &token).await, ("AUTH_INVALID".into(), 4501));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_of_a_set_that_are_not_what_they_should_be_are_left_out() {
    let redis = Redis::start();
    let good = SigningKey::make("good", Algorithm::RS256);
    let short = SigningKey::make_of("short", Algorithm::RS256, 1024);
    let other = SigningKey::make("other", Algorithm::PS256);
    let curve = SigningKey::make("curve", Algorithm::ES256);
    let sealing = SigningKey::make("sealing", Algorithm::RS256);
    let silent = SigningKey::make("silent", Algorithm::RS256);
    let changed = |key: &SigningKey, change: fn(&mut Value)| {
        let mut jwk = key.jwk();
        change(&mut jwk);
        jwk
    };
    let keys = [
        json!(7),
        json!({}),
        json!({"kty": "oct", "k": text(SECRET.as_bytes()), "kid": "secret", "alg": "HS256"}),
        short.jwk(),
        other.jwk(),
        changed(&sealing, |jwk| jwk["use"] = json!("enc")),
        // Says that it is for something else than we use it for.
        changed(&curve, |jwk| jwk["alg"] = json!("ES384")),
        // Says nothing of its algorithm: there is one of ours for it.
        changed(&silent, |jwk| drop(jwk.as_object_mut().unwrap().remove("alg"))),
        good.jwk(),
    ];
    let issuer = Issuer::start(&[]).await;
    issuer.answer("200 OK", json!({"keys": keys}).to_string().as_bytes());
    let front = front_of(&redis, &issuer, |_| {}).await;
    for key in [&good, &silent] {
        Client::connect(front.port, &key.token(ada())).await;
    }
    let secret = Header { kid: Some("secret".into()), ..Header::default() };
    let claims = json!({"sub": "ada", "exp": now_s() + 60});
    let shared = jsonwebtoken::encode(&secret, &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    let tokens = [&short, &other, &sealing, &curve].map(|key| key.token(ada()));
    for token in tokens.iter().chain([&shared]) {
        assert_eq!(refusal(front.port, token).await, ("AUTH_INVALID".into(), 4501));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_set_in_a_file_is_read_again_when_it_changes() {
    let redis = Redis::start();
    let (old, new) = (SigningKey::make("old", Algorithm::EdDSA), SigningKey::make("new", Algorithm::EdDSA));
    let file = redis.directory().join("keys.json");
    let publish = |key: &SigningKey| std::fs::write(&file, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    publish(&old);
    let front = Front::start_with(&redis, |settings| {
        settings.auth.jwt_secret = None;
        settings.auth.jwks = vec![file.display().to_string().parse().unwrap()];
    })
    .await;
    Client::connect(front.port, &old.token(ada())).await;
    publish(&new);
    Client::connect(front.port, &new.token(ada())).await;
    assert_eq!(refusal(front.port, &old.token(ada())).await, ("AUTH_INVALID".into(), 4501));
    let mut broken = Settings::for_tests(&redis.url(), SECRET);
    std::fs::write(&file, "not a set").unwrap();
    broken.auth.jwks = vec![file.display().to_string().parse().unwrap()];
    assert!(stoa_front::Front::start(broken).await.err().unwrap().contains("no set of keys"));
}

/// A token of the stories that lasts so many seconds.
fn lasting(user: &str, seconds: f64, rooms: Value) -> String {
    let exp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() + seconds;
    let mut claims = json!({"sub": user, "exp": exp});
    if !rooms.is_null() {
        claims["rooms"] = rooms;
    }
    front::token_with(claims)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_goes_on_with_another_token() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let began = Instant::now();
    let ada = Client::connect(front.port, &lasting("ada", 4.0, json!({"*": "rw"}))).await;
    for room in ["lobby", "secret"] {
        ada.ok(json!({"do": "room.join", "room": room})).await;
    }
    let expiring = ada.expect("auth.expiring").await;
    assert!(expiring["in_ms"].as_u64().is_some_and(|ms| ms <= 4_000), "{expiring}");
    for (code, token) in [
        ("AUTH_INVALID", "nonsense".to_owned()),
        ("AUTH_INVALID", lasting("bo", 600.0, Value::Null)),
        ("AUTH_EXPIRED", lasting("ada", -1.0, Value::Null)),
    ] {
        assert_eq!(ada.refused(json!({"do": "auth.refresh", "token": token})).await, code);
    }
    assert_eq!(ada.refused(json!({"do": "auth.refresh"})).await, "INVALID_ARGUMENT");
    let fresh = lasting("ada", 600.0, json!({"lobby": "r"}));
    let answer = ada.ok(json!({"do": "auth.refresh", "token": fresh})).await;
    assert!(answer["expires_in_ms"].as_u64().is_some_and(|ms| (500_000..=600_000).contains(&ms)), "{answer}");

    // It is out of the room that the new token does not open, and may only read in the other.
    let told = [ada.expect("room.access").await, ada.expect("room.access").await];
    let role = |room: &str| told.iter().find(|event| event["room"] == room).map(|event| event["role"].clone());
    assert_eq!((role("secret"), role("lobby")), (Some(json!("none")), Some(json!("viewer"))), "{told:?}");
    let posts = |room: &str| json!({"do": "msg.post", "room": room, "body": "hi"});
    for room in ["lobby", "secret"] {
        assert_eq!(ada.refused(posts(room)).await, "PERMISSION_DENIED");
    }
    assert_eq!(ada.refused(json!({"do": "room.join", "room": "secret"})).await, "PERMISSION_DENIED");
    let bo = Client::connect(front.port, &front::token("bo")).await;
    for room in ["secret", "lobby"] {
        bo.ok(json!({"do": "room.join", "room": room})).await;
        bo.ok(posts(room)).await;
    }
    assert_eq!(ada.expect("msg.posted").await["room"], "lobby");

    // Nothing happens when the first token ends.
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(began.elapsed())).await;
    ada.ok(json!({"do": "ping"})).await;
    assert_eq!(ada.events_named("auth.expiring").len(), 1);
    assert_eq!(ada.events_named("msg.posted").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_goes_on_with_a_token_that_ends_as_soon_is_told_so_once() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let ada = Client::connect(front.port, &lasting("ada", 30.0, Value::Null)).await;
    ada.expect("auth.expiring").await;
    for _ in 0..20 {
        ada.ok(json!({"do": "auth.refresh", "token": lasting("ada", 30.0, Value::Null)})).await;
    }
    ada.ok(json!({"do": "ping"})).await;
    assert_eq!(ada.events_named("auth.expiring").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_another_token_the_connection_ends_when_its_own_does() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| settings.auth.auth_expiring_ms = 1_000).await;
    let began = Instant::now();
    let ada = Client::connect(front.port, &lasting("ada", 3.0, Value::Null)).await;
    let token = format!("Bearer {}", lasting("ada", 3.0, Value::Null));
    let listener = Events::open(front.port, "/sse", &[("Authorization", &token)]).await.unwrap();
    let expiring = ada.expect("auth.expiring").await;
    assert!(began.elapsed() >= Duration::from_millis(1_900), "told after {:?}", began.elapsed());
    assert!(expiring["in_ms"].as_u64().is_some_and(|ms| ms <= 1_000), "{expiring}");
    assert_eq!(ada.closed().await, (4502, "AUTH_EXPIRED".into()));
    let lived = began.elapsed();
    assert!((Duration::from_millis(2_800)..Duration::from_millis(5_500)).contains(&lived), "it lived {lived:?}");
    // The same for who only listens.
    assert!(listener.frame("auth.expiring").await["in_ms"].as_u64().is_some());
    let closed = listener.expect("closed", |block| block.event == "closed").await;
    assert_eq!(closed.data["code"], 4502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_refreshed_before_connect() {
    let redis = Redis::start();
    let front = Front::start(&redis).await;
    let client = Client::open(front.port).await;
    assert_eq!(client.refused(json!({"do": "auth.refresh", "token": front::token("ada")})).await, "AUTH_REQUIRED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guests_come_where_they_are_welcome_and_do_what_they_may() {
    let redis = Redis::start();
    let front = Front::start_with(&redis, |settings| {
        settings.auth.guests = true;
        settings.auth.guest_rooms = vec!["lobby=r".into(), "demo:*=rw".into()];
    })
    .await;
    let closed = Front::start(&redis).await;
    let ask = |port, body: &'static str| async move { request(port, "POST /guest/token", &[], body).await };
    assert_eq!(ask(closed.port, "{\"name\":\"Ada\"}").await.status, 404);
    assert_eq!(request(front.port, "POST /demo/token", &[], "{\"name\":\"Ada\"}").await.status, 404, "no demo");
    for bad in ["", "{}", "[]", "{\"name\":7}", "{\"name\":\"\"}", "{\"name\":\"a\\u0000b\"}", "{\"name\":\"\\ud800\"}"]
    {
        assert_eq!(ask(front.port, bad).await.status, 400, "{bad}");
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(8192));
    assert_eq!(request(front.port, "POST /guest/token", &[], &large).await.status, 413);
    let invited: Value = serde_json::from_str(&ask(front.port, "{\"name\":\"Ada\"}").await.body).unwrap();
    let guest = Client::connect(front.port, invited["token"].as_str().unwrap()).await;
    for (room, may) in [("lobby", false), ("demo:1", true)] {
        guest.ok(json!({"do": "room.join", "room": room})).await;
        let posted = guest.ask(json!({"do": "msg.post", "room": room, "body": "hi"})).await;
        assert_eq!(posted.is_ok(), may, "{room}");
    }
    assert_eq!(guest.refused(json!({"do": "room.join", "room": "other"})).await, "PERMISSION_DENIED");
}

#[test]
fn no_token_stands_in_any_line_of_the_log() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let redis = Redis::start();
    let metrics = format!("127.0.0.1:{}", stoa_harness::redis::free_port());
    let arguments =
        ["--log", "trace", "--token-in-query", "--trusted-proxies", "127.0.0.1", "--metrics-listen", &metrics];
    let front = FrontProcess::start(&redis.url(), &arguments, redis.directory());
    runtime.block_on(async {
        let good = front::token("ada");
        let bad = format!("{good}x");
        for token in [&good, &bad] {
            let bearer = format!("Bearer {token}");
            let protocol = format!("stoa.v1, bearer.{token}");
            for (target, headers) in [
                ("/ws".to_owned(), vec![("Authorization", bearer.as_str())]),
                ("/ws".to_owned(), vec![("Sec-WebSocket-Protocol", protocol.as_str())]),
                (format!("/ws?token={token}"), vec![]),
                (format!("/sse?token={token}"), vec![("Cookie", bearer.as_str())]),
                ("/sse".to_owned(), vec![("Authorization", bearer.as_str()), ("X-Forwarded-For", token.as_str())]),
            ] {
                let _ = Events::open(front.port, &target, &headers).await;
            }
            request(
                front.port,
                "POST /rpc",
                &[("Authorization", &bearer)],
                &json!({"id": 1, "do": "x", "token": token}).to_string(),
            )
            .await;
            let client = Client::open(front.port).await;
            let _ = client.ask(json!({"do": "connect", "token": token})).await;
            if token == &good {
                let _ = client.ask(json!({"do": "auth.refresh", "token": bad})).await;
                client.ok(json!({"do": "auth.refresh", "token": good})).await;
                // Frames that are wrong, with a token in them.
                let _ = client.ask(json!({"do": "connect", "token": {"nested": token}})).await;
                client.send_text(&format!("{{\"do\":\"connect\",\"token\":\"{token}\""));
                client.next_other().await;
            }
        }
    });
    let log = front.log();
    assert!(log.contains("token refused"), "the log says much: {log}");
    let leak = log.lines().find(|line| line.contains("eyJ"));
    assert!(leak.is_none(), "{leak:?}");
    assert!(!log.contains(SECRET));
}

/// A token is withdrawn by its id, for all fronts, wherever it is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_was_withdrawn_opens_nothing_more() {
    let redis = Redis::start();
    let (one, two) = (Front::start(&redis).await, Front::start(&redis).await);
    let named = |id: &str| front::token_with(json!({"sub": "ada", "jti": id}));
    let (stolen, good) = (named("6f1c"), named("77e0"));
    let thief = Client::connect(one.port, &stolen).await;
    let ada = Client::connect(two.port, &good).await;

    redis.ok(&["RATE.BLOCK", "stoa:{token:6f1c}:rate:all", "3600000"]);
    for front in [&one, &two] {
        assert_eq!(refusal(front.port, &stolen).await, ("AUTH_EXPIRED".into(), 4502));
        let bearer = format!("Bearer {stolen}");
        let rpc = request(front.port, "POST /rpc", &[("authorization", &bearer)], r#"{"do":"ping"}"#).await;
        assert_eq!(rpc.status, 401, "{}", rpc.body);
        let sse = Events::open(front.port, "/sse", &[("authorization", &bearer)]).await;
        assert_eq!(sse.err().map(|answer| answer.status), Some(401));
    }
    // Nobody goes on with it either.
    assert_eq!(ada.refused(json!({"do": "auth.refresh", "token": stolen})).await, "AUTH_EXPIRED");
    ada.ok(json!({"do": "ping"})).await;

    // Who is in with it is not asked again, and is ended with the user's other connections.
    thief.ok(json!({"do": "ping"})).await;
    redis.ok(&["ROOM.KICK", "stoa:{user:ada}:presence", "USER", "ada"]);
    assert_eq!(thief.closed().await.0, 4504);
    assert_eq!(refusal(one.port, &stolen).await, ("AUTH_EXPIRED".into(), 4502));
    Client::connect(one.port, &good).await.ok(json!({"do": "ping"})).await;

    redis.ok(&["RATE.BLOCK", "stoa:{token:6f1c}:rate:all", "0"]);
    Client::connect(two.port, &stolen).await.ok(json!({"do": "ping"})).await;
}
