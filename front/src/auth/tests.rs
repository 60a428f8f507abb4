use super::*;
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn settings() -> Settings {
    Settings::for_tests("redis://127.0.0.1:1", SECRET)
}

fn auth() -> Auth {
    Auth::new(&settings()).unwrap()
}

fn now() -> u64 {
    now_s() as u64
}

fn sign(header: Value, claims: &Value) -> String {
    use jsonwebtoken::crypto::sign;
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = sign(message.as_bytes(), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256).unwrap();
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
    auth().verify(token).unwrap_err().code
}

#[test]
fn a_good_token_is_believed() {
    let identity = auth().verify(&token(json!({"sub": "ada", "exp": now() + 60, "name": "Ada"}))).unwrap();
    assert_eq!((&*identity.user, identity.name.as_deref()), ("ada", Some("Ada")));
    for typ in [json!({"alg": "HS256"}), json!({"alg": "HS256", "typ": "at+jwt"})] {
        assert!(auth().verify(&sign(typ, &json!({"sub": "ada", "exp": now() + 60}))).is_ok());
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
    assert_eq!(other.verify(&good).unwrap_err().code, Code::AuthInvalid);
    for bad in ["", "a.b.c", unsigned, &format!("{unsigned}."), &format!("{good}."), &format!(" {good}")] {
        assert_eq!(refused(bad), Code::AuthInvalid, "{bad}");
    }
    let huge = token(json!({"sub": "ada", "exp": now() + 60, "name": "x".repeat(TOKEN_BYTES_MAX)}));
    assert_eq!(refused(&huge), Code::AuthInvalid);
}

#[test]
fn audience_and_issuer_are_required_once_configured() {
    let strict = Settings { jwt_audience: Some("stoa".into()), jwt_issuer: Some("me".into()), ..settings() };
    let auth = Auth::new(&strict).unwrap();
    let exp = now() + 60;
    assert!(auth.verify(&token(json!({"sub": "ada", "exp": exp, "aud": "stoa", "iss": "me"}))).is_ok());
    for claims in [
        json!({"sub": "ada", "exp": exp}),
        json!({"sub": "ada", "exp": exp, "aud": "stoa"}),
        json!({"sub": "ada", "exp": exp, "iss": "me"}),
        json!({"sub": "ada", "exp": exp, "aud": "other", "iss": "me"}),
        json!({"sub": "ada", "exp": exp, "aud": 7, "iss": "me"}),
        json!({"sub": "ada", "exp": exp, "aud": "stoa", "iss": ["evil", "me"]}),
    ] {
        assert_eq!(auth.verify(&token(claims.clone())).unwrap_err().code, Code::AuthInvalid, "{claims}");
    }
}

#[test]
fn the_rooms_claim_decides_and_personal_rooms_stay_personal() {
    let claims =
        json!({"sub": "ada", "exp": now() + 60, "rooms": {"lobby": "r", "course:*": "rw", "*x": "rw", "user:*": "rw"}});
    let ada = auth().verify(&token(claims)).unwrap();
    let may = |room: &str, action| ada.check(&Room::parse(room).unwrap(), action).is_ok();
    assert!(may("lobby", Action::Read) && !may("lobby", Action::Talk));
    assert!(may("course:7", Action::Edit) && !may("course:7", Action::Manage) && !may("course", Action::Read));
    assert!(!may("lobby2", Action::Read) && !may("zx", Action::Read));
    assert!(may("user:ada", Action::Edit) && !may("user:ada2", Action::Read) && !may("user:bo", Action::Read));
}

#[test]
fn without_the_claim_all_rooms_are_open_unless_it_is_required() {
    let open = token(json!({"sub": "ada", "exp": now() + 60}));
    let (ada, any) = (auth().verify(&open).unwrap(), Room::parse("any").unwrap());
    assert!(ada.check(&any, Action::Edit).is_ok() && ada.check(&any, Action::Manage).is_err());
    let strict = Auth::new(&Settings { require_rooms_claim: true, ..settings() }).unwrap();
    assert_eq!(strict.verify(&open).unwrap_err().code, Code::AuthInvalid);
}

#[test]
fn there_is_no_way_in_without_a_secret_or_demo_mode() {
    let bare = Settings { jwt_secret: None, ..settings() };
    assert!(Auth::new(&bare).err().unwrap().contains("--jwt-secret"));
    let demo = Auth::new(&Settings { demo: true, ..bare }).unwrap();
    let (user, token) = demo.guest("Ada").unwrap();
    assert_eq!(demo.verify(&token).unwrap().user.as_ref(), user);
    assert!(auth().guest("Ada").is_none());
}

#[test]
fn demo_fronts_with_one_secret_share_their_guests() {
    let demo = || Auth::new(&Settings { demo: true, ..settings() }).unwrap();
    let (_, token) = demo().guest("Ada").unwrap();
    assert!(demo().verify(&token).is_ok());
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
