use super::*;
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn settings() -> Settings {
    Settings::for_tests("redis://127.0.0.1:1", SECRET)
}

fn auth() -> Auth {
    Auth::new(&settings()).unwrap()
}

impl Auth {
    /// Nothing here has to be waited for.
    fn take(&self, token: &str) -> Result<Identity, FrameError> {
        self.verify(token).now_or_never().unwrap()
    }
}

fn now() -> u64 {
    now_s() as u64
}

fn sign(header: Value, claims: &Value) -> String {
    signed(&header.to_string(), &claims.to_string())
}

fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let signature =
        super::sign(message.as_bytes(), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}

fn token(claims: Value) -> String {
    sign(json!({"alg": "HS256", "typ": "JWT"}), &claims)
}

fn refused(token: &str) -> Code {
    auth().take(token).unwrap_err().code
}

#[test]
fn a_good_token_is_believed() {
    let identity = auth().take(&token(json!({"sub": "ada", "exp": now() + 60, "name": "Ada"}))).unwrap();
    assert_eq!((&*identity.user, identity.name.as_deref()), ("ada", Some("Ada")));
    let named = auth().take(&token(json!({"sub": "ada", "exp": now() + 60, "jti": "AT.x/9+_-="}))).unwrap();
    assert_eq!((identity.token_id.as_deref(), named.token_id.as_deref()), (None, Some("AT.x/9+_-=")));
    for typ in [json!({"alg": "HS256"}), json!({"alg": "HS256", "typ": "at+jwt"})] {
        assert!(auth().take(&sign(typ, &json!({"sub": "ada", "exp": now() + 60}))).is_ok());
    }
}

#[test]
fn headers_that_are_not_understood_are_refused() {
    let claims = json!({"sub": "ada", "exp": now() + 60});
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "NoNe"}),
        json!({"alg": "HS512"}),
        json!({"alg": "HS256", "crit": ["exp"]}),
        json!({"alg": "HS256", "crit": ["b64"], "b64": false}),
        json!({"alg": "HS256", "b64": false}),
        json!({"alg": "HS256", "crit": []}),
        json!({"alg": "HS256", "typ": "JOSE+JSON"}),
        json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}, "typ": 7}),
        json!({"alg": ["HS256"]}),
        json!({"typ": "JWT"}),
        json!({"alg": "HS256", "typ": "secevent+jwt"}),
    ] {
        assert_eq!(refused(&sign(header.clone(), &claims)), Code::AuthInvalid, "{header}");
    }
}

#[test]
fn claims_that_are_missing_or_not_of_their_form_are_refused() {
    let exp = now() + 60;
    for claims in [
        json!({"sub": "ada"}),
        json!({"exp": exp}),
        json!({"sub": "", "exp": exp}),
        json!({"sub": 7, "exp": exp}),
        json!({"sub": "a b", "exp": exp}),
        json!({"sub": "a\u{0}", "exp": exp}),
        json!({"sub": "x".repeat(129), "exp": exp}),
        json!({"sub": "ada", "exp": "soon"}),
        json!({"sub": "ada", "exp": null}),
        json!({"sub": "ada|\u{e9}", "exp": exp}),
        json!({"sub": ["ada"], "exp": exp}),
        json!({"sub": "ada", "exp": exp, "nbf": "later"}),
        json!({"sub": "ada", "exp": exp, "iss": ["me"]}),
        json!({"sub": "ada", "exp": exp, "name": "x".repeat(129)}),
        json!({"sub": "ada", "exp": exp, "jti": ""}),
        json!({"sub": "ada", "exp": exp, "jti": 7}),
        json!({"sub": "ada", "exp": exp, "jti": "a}b{c"}),
        json!({"sub": "ada", "exp": exp, "jti": "a b"}),
        json!({"sub": "ada", "exp": exp, "jti": "x".repeat(257)}),
        json!({"sub": "ada", "exp": u64::MAX}),
        json!({"sub": "ada", "exp": 1e300}),
        json!({"sub": "ada", "exp": now() + 25 * 3600}),
        json!({"sub": "ada", "exp": exp, "nbf": now() + 60}),
        json!({"sub": "ada", "exp": exp, "iat": now() + 60}),
        json!({"sub": "ada", "exp": exp, "rooms": {"lobby": "rwx"}}),
        json!({"sub": "ada", "exp": exp, "rooms": ["lobby"]}),
        json!(["ada", exp]),
    ] {
        assert_eq!(refused(&token(claims.clone())), Code::AuthInvalid, "{claims}");
    }
}

#[test]
fn a_token_that_ended_says_so() {
    assert_eq!(refused(&token(json!({"sub": "ada", "exp": now() - 1}))), Code::AuthExpired);
    assert_eq!(refused(&token(json!({"sub": "ada", "exp": now() - 3600}))), Code::AuthExpired);
}

#[test]
fn broken_tokens_are_refused() {
    let good = token(json!({"sub": "ada", "exp": now() + 60}));
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let other = Auth::new(&Settings::for_tests("redis://x", "another secret of thirty-two bytes!")).unwrap();
    assert_eq!(other.take(&good).unwrap_err().code, Code::AuthInvalid);
    for bad in ["", "a.b.c", unsigned, &format!("{unsigned}."), &format!("{good}."), &format!(" {good}")] {
        assert_eq!(refused(bad), Code::AuthInvalid, "{bad}");
    }
    let huge = token(json!({"sub": "ada", "exp": now() + 60, "name": "x".repeat(TOKEN_BYTES_MAX)}));
    assert_eq!(refused(&huge), Code::AuthInvalid);
}

#[test]
fn claims_that_stand_there_twice_are_refused() {
    let exp = now() + 60;
    let header = json!({"alg": "HS256"}).to_string();
    for claims in [
        format!("{{\"sub\":\"ada\",\"sub\":\"bo\",\"exp\":{exp}}}"),
        format!("{{\"sub\":\"ada\",\"exp\":1,\"exp\":{exp}}}"),
        format!("{{\"sub\":\"ada\",\"exp\":{exp},\"iss\":\"a\",\"iss\":\"b\"}}"),
        format!("{{\"sub\":\"ada\",\"exp\":{exp},\"x\":{}}}", "[".repeat(4_000)),
        format!("{{\"sub\":\"ada\",\"exp\":{exp}}} {{}}"),
    ] {
        assert_eq!(refused(&signed(&header, &claims)), Code::AuthInvalid, "{claims}");
    }
}

#[test]
fn the_types_of_tokens_can_be_chosen() {
    let mut chosen = settings();
    chosen.auth.jwt_types = vec!["stoa+jwt".into()];
    let auth = Auth::new(&chosen).unwrap();
    let typed = |typ: &str| sign(json!({"alg": "HS256", "typ": typ}), &json!({"sub": "ada", "exp": now() + 60}));
    assert!(auth.take(&typed("stoa+jwt")).is_ok() && auth.take(&typed("application/STOA+JWT")).is_ok());
    assert!(auth.take(&typed("JWT")).is_err());
    assert!(auth.take(&sign(json!({"alg": "HS256"}), &json!({"sub": "ada", "exp": now() + 60}))).is_err());
}

#[test]
fn audience_and_issuer_are_required_once_configured() {
    let mut strict = settings();
    (strict.auth.jwt_audience, strict.auth.jwt_issuer) = (Some("stoa".into()), Some("me".into()));
    let auth = Auth::new(&strict).unwrap();
    let exp = now() + 60;
    assert!(auth.take(&token(json!({"sub": "ada", "exp": exp, "aud": "stoa", "iss": "me"}))).is_ok());
    for claims in [
        json!({"sub": "ada", "exp": exp}),
        json!({"sub": "ada", "exp": exp, "aud": "stoa"}),
        json!({"sub": "ada", "exp": exp, "iss": "me"}),
        json!({"sub": "ada", "exp": exp, "aud": "other", "iss": "me"}),
        json!({"sub": "ada", "exp": exp, "aud": 7, "iss": "me"}),
        json!({"sub": "ada", "exp": exp, "aud": "stoa", "iss": ["evil", "me"]}),
    ] {
        assert_eq!(auth.take(&token(claims.clone())).unwrap_err().code, Code::AuthInvalid, "{claims}");
    }
}

#[test]
fn the_rooms_claim_decides_and_personal_rooms_stay_personal() {
    let claims =
        json!({"sub": "ada", "exp": now() + 60, "rooms": {"lobby": "r", "course:*": "rw", "*x": "rw", "user:*": "rw"}});
    let ada = auth().take(&token(claims)).unwrap();
    let may = |room: &str, action| ada.check(&Room::parse(room).unwrap(), action).is_ok();
    assert!(may("lobby", Action::Read) && !may("lobby", Action::Talk));
    assert!(may("course:7", Action::Edit) && !may("course:7", Action::Manage) && !may("course", Action::Read));
    assert!(!may("lobby2", Action::Read) && !may("zx", Action::Read));
    assert!(may("user:ada", Action::Edit) && !may("user:ada2", Action::Read) && !may("user:bo", Action::Read));
}

#[test]
fn without_the_claim_all_rooms_are_open_unless_it_is_required() {
    let open = token(json!({"sub": "ada", "exp": now() + 60}));
    let (ada, any) = (auth().take(&open).unwrap(), Room::parse("any").unwrap());
    assert!(ada.check(&any, Action::Edit).is_ok() && ada.check(&any, Action::Manage).is_err());
    let mut strict = settings();
    strict.auth.require_rooms_claim = true;
    let strict = Auth::new(&strict).unwrap();
    assert_eq!(strict.take(&open).unwrap_err().code, Code::AuthInvalid);
}

#[test]
fn there_is_no_way_in_without_a_secret_or_demo_mode() {
    let mut bare = settings();
    bare.auth.jwt_secret = None;
    assert!(Auth::new(&bare).err().unwrap().contains("--jwt-secret"));
    bare.auth.demo = true;
    let demo = Auth::new(&bare).unwrap();
    let (user, token) = demo.guest("Ada").unwrap();
    assert_eq!(demo.take(&token).unwrap().user.as_ref(), user);
    assert!(auth().guest("Ada").is_none());
}

#[test]
fn guests_may_do_what_is_configured_and_no_more() {
    let mut guests = settings();
    guests.auth.guests = true;
    assert!(Auth::new(&guests).err().unwrap().contains("--guest-rooms"));
    for bad in ["lobby", "=r", "lobby=sing"] {
        guests.auth.guest_rooms = vec![bad.into()];
        assert!(Auth::new(&guests).err().unwrap().contains("--guest-rooms"), "{bad}");
    }
    guests.auth.guest_rooms = vec!["lobby=viewer".into(), "demo:*=rw".into()];
    for secret in [Some(Secret::new(SECRET)), None] {
        guests.auth.jwt_secret = secret;
        let auth = Auth::new(&guests).unwrap();
        let (_, token) = auth.guest("Ada").unwrap();
        let guest = auth.take(&token).unwrap();
        let may = |room: &str, action| guest.check(&Room::parse(room).unwrap(), action).is_ok();
        assert!(may("lobby", Action::Read) && !may("lobby", Action::Talk));
        assert!(may("demo:1", Action::Edit) && !may("other", Action::Read));
    }
}

#[test]
fn fronts_that_share_a_secret_share_guests_and_ids() {
    let mut fronts = settings();
    (fronts.auth.jwt_secret, fronts.auth.demo) = (None, true);
    fronts.auth.front_secret = Some(Secret::new("a secret that all fronts share and others not"));
    let (one, two) = (Auth::new(&fronts).unwrap(), Auth::new(&fronts).unwrap());
    assert!(two.take(&one.guest("Ada").unwrap().1).is_ok());
    assert!(two.owns_connection("ada", &one.connection_id("ada")));
    fronts.auth.front_secret = None;
    let alone = Auth::new(&fronts).unwrap();
    assert!(alone.take(&one.guest("Ada").unwrap().1).is_err());
    assert!(!alone.owns_connection("ada", &one.connection_id("ada")));
}

#[test]
fn demo_fronts_with_one_secret_share_their_guests() {
    let mut demo = settings();
    demo.auth.demo = true;
    let demo = || Auth::new(&demo).unwrap();
    let (_, token) = demo().guest("Ada").unwrap();
    assert!(demo().take(&token).is_ok());
}

#[test]
fn the_id_of_a_connection_belongs_to_its_user_on_every_front_with_the_secret() {
    let id = auth().connection_id("12");
    assert!(auth().owns_connection("12", &id));
    assert_ne!(auth().connection_id("12"), id);
    for user in ["1", "2", "123", "", "12\n"] {
        assert!(!auth().owns_connection(user, &id), "{user:?}");
    }
    let other = Settings::for_tests("redis://127.0.0.1:1", "another secret of thirty-two bytes");
    assert!(!Auth::new(&other).unwrap().owns_connection("12", &id));
    for bad in ["", "k", &id[1..], &id[..id.len() - 1], &format!("{id}x"), "kä", &"ä".repeat(20)] {
        assert!(!auth().owns_connection("12", bad), "{bad}");
    }
    assert!(stoa_core::identity::check_id("conn", &id, false).is_ok(), "{id}");
}

/// Keys as an issuer makes them.
struct Issuer {
    directory: TempDir,
}

impl Issuer {
    fn new() -> Self {
        Issuer { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A pair of keys in PEM; gives the signing one.
    fn make(&self, name: &str, kind: &[&str]) -> Vec<u8> {
        let (private, public) = (self.path(name), self.path(&format!("{name}.pub")));
        let run = |arguments: &[&str]| {
            let ran = Command::new("openssl").args(arguments).output().expect("openssl starts");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        };
        run(&[&["genpkey", "-out", &private, "-algorithm"], kind].concat());
        run(&["pkey", "-in", &private, "-pubout", "-out", &public]);
        fs::read(private).unwrap()
    }

    fn key(&self, kid: &str, algorithm: &str, name: &str) -> crate::settings::KeyFile {
        format!("{kid}={algorithm}:{}", self.path(name)).parse().unwrap()
    }
}

fn made(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
    let header = jsonwebtoken::Header { kid: kid.map(str::to_owned), ..jsonwebtoken::Header::new(algorithm) };
    jsonwebtoken::encode(&header, &json!({"sub": "ada", "exp": now() + 60}), key).unwrap()
}

#[test]
fn each_key_serves_its_algorithm_and_no_other() {
    let issuer = Issuer::new();
    let rsa = EncodingKey::from_rsa_pem(&issuer.make("rsa", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"])).unwrap();
    let ec = EncodingKey::from_ec_pem(&issuer.make("ec", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"])).unwrap();
    let ed = EncodingKey::from_ed_pem(&issuer.make("ed", &["ED25519"])).unwrap();
    let mut keys = settings();
    keys.auth.jwt_secret = None;
    keys.auth.jwt_key = vec![
        issuer.key("r", "RS256", "rsa.pub"),
        issuer.key("p", "PS256", "rsa.pub"),
        issuer.key("e", "ES256", "ec.pub"),
        issuer.key("d", "EdDSA", "ed.pub"),
    ];
    let auth = Auth::new(&keys).unwrap();
    let all = [
        (Algorithm::RS256, "r", &rsa),
        (Algorithm::PS256, "p", &rsa),
        (Algorithm::ES256, "e", &ec),
        (Algorithm::EdDSA, "d", &ed),
    ];
    for (algorithm, kid, key) in all {
        assert_eq!(auth.take(&made(algorithm, Some(kid), key)).unwrap().user.as_ref(), "ada", "{algorithm:?}");
        assert!(auth.take(&made(algorithm, None, key)).is_ok(), "only one key is for {algorithm:?}");
        for (_, other, _) in all.iter().filter(|(_, other, _)| *other != kid) {
            assert!(auth.take(&made(algorithm, Some(other), key)).is_err(), "{algorithm:?} with the key {other}");
        }
    }
    assert!(auth.take(&made(Algorithm::RS512, Some("r"), &rsa)).is_err());
    // The public key as a shared secret (CVE-2015-9235 and its kin).
    let public = fs::read(issuer.path("rsa.pub")).unwrap();
    for kid in [None, Some("r"), Some("p")] {
        assert!(auth.take(&made(Algorithm::HS256, kid, &EncodingKey::from_secret(&public))).is_err());
    }
    let mut mixed = settings();
    mixed.auth.jwt_secret = Some(Secret::new(String::from_utf8(public).unwrap()));
    assert!(Auth::new(&mixed).err().unwrap().contains("PEM"));
}

#[test]
fn keys_that_cannot_be_what_they_are_called_are_refused_at_the_start() {
    let issuer = Issuer::new();
    issuer.make("rsa", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    issuer.make("short", &["RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    issuer.make("p384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
    fs::write(issuer.path("text"), "no key").unwrap();
    for (algorithm, name, why) in [
        ("RS256", "short.pub", "2048 bits"),
        ("RS256", "rsa", "private"),
        ("RS256", "p384.pub", "not a public key"),
        ("ES256", "rsa.pub", "not a public key"),
        ("ES256", "p384.pub", "not a public key"),
        ("EdDSA", "p384.pub", "not a public key"),
        ("HS256", "rsa.pub", "PEM"),
        ("RS256", "text", "not a public key"),
        ("RS256", "none", "cannot read"),
    ] {
        let mut keys = settings();
        keys.auth.jwt_key = vec![issuer.key("k", algorithm, name)];
        let refused = Auth::new(&keys).err().unwrap_or_else(|| panic!("{algorithm} {name} was taken"));
        assert!(refused.contains(why), "{algorithm} {name}: {refused}");
    }
}
