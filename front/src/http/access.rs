//! Who may ask, for requests that are not WebSockets.

use crate::frame::{Code, FrameError, reply};
use crate::serve::PeerAddress;
use crate::session::Device;
use crate::settings::Settings;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser remembers what it was told of origins.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Kept of what a client calls itself, in bytes: browsers take some 150.
const AGENT_BYTES_MAX: usize = 256;
/// Kept of an address that a proxy names, in bytes: the longest has 45.
const ADDRESS_BYTES_MAX: usize = 64;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request comes from and what sent it, where connections are listed with their user.
pub(super) fn device(settings: &Settings, headers: &HeaderMap, peer: Option<&PeerAddress>) -> Option<Device> {
    if !settings.devices {
        return None;
    }
    let forwarded = || {
        // Only the last entry is from the proxy in front; whoever asks writes the others as they like.
        let value = headers.get_all(X_FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
        value.rsplit(',').next().map(|address| start(address.trim(), ADDRESS_BYTES_MAX))
    };
    let named = if settings.forwarded_for { forwarded() } else { None };
    let address = named.or_else(|| peer.map(|peer| peer.0.to_string())).unwrap_or_default();
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some(Device { address, agent: start(agent, AGENT_BYTES_MAX) })
}

/// The first bytes of a header, which is ASCII once it is a text.
fn start(text: &str, bytes_max: usize) -> String {
    text.get(..bytes_max).unwrap_or(text).to_owned()
}

/// The token in `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ")?.trim().to_owned())
}

/// An answer to a request that is refused as a whole: an error frame without an id.
pub(super) fn refusal(error: &FrameError) -> Response {
    let status = match error.code {
        Code::AuthRequired | Code::AuthInvalid | Code::AuthExpired => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        code if code.retry() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = reply::error_frame(None, error) + "\n";
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// Lets pages of the origins of `--allow-origin` read the answers.
pub(super) fn cors(settings: &Settings) -> CorsLayer {
    let origins = settings.allow_origin.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let headers = ["last-event-id", super::rpc::CONNECTION].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, CACHE_CONTROL].into_iter().chain(headers).collect::<Vec<_>>())
        .max_age(PREFLIGHT_AGE)
}
