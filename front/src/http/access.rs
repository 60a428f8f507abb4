//! Who may ask, for requests that are not WebSockets.

use super::address::{bucket, client_address};
use crate::frame::{Code, FrameError, Token, reply};
use crate::serve::PeerAddress;
use crate::session::Device;
use crate::settings::{AuthSettings, Settings};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser remembers what it was told of origins.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Kept of what a client calls itself, in bytes: browsers take some 150.
const AGENT_BYTES_MAX: usize = 256;
/// What a token among the subprotocols begins with: browsers can set no other header of a WebSocket.
const BEARER_PROTOCOL: &str = "bearer.";

/// Where a request comes from and what sent it, where connections are listed with their user.
pub(crate) fn device(settings: &Settings, headers: &HeaderMap, peer: Option<&PeerAddress>) -> Option<Device> {
    if !settings.devices {
        return None;
    }
    let address = peer.map(|peer| client_address(&settings.auth, headers, peer.0).to_string()).unwrap_or_default();
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some(Device { address, agent: start(agent, AGENT_BYTES_MAX) })
}

/// Where a request comes from, as limits count it.
pub(crate) fn address(settings: &Settings, headers: &HeaderMap, peer: Option<&PeerAddress>) -> Arc<str> {
    peer.map_or_else(|| "unknown".into(), |peer| bucket(client_address(&settings.auth, headers, peer.0)).into())
}

/// The first bytes of a header, which is ASCII once it is a text.
fn start(text: &str, bytes_max: usize) -> String {
    text.get(..bytes_max).unwrap_or(text).to_owned()
}

/// The token of a request, wherever it stands. Cookies are never looked at: browsers send them without being asked to.
pub(crate) fn token(settings: &AuthSettings, query: &str, headers: &HeaderMap) -> Result<Option<Token>, FrameError> {
    let in_query = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "token");
    if in_query.is_some() && !settings.token_in_query {
        // Not passed over: whoever sends it there would never learn that others may read it.
        let message = "token: not in the address, which many log (this front runs without --token-in-query)";
        return Err(FrameError::new(Code::AuthInvalid, message));
    }
    let in_query = || in_query.map(|(_, token)| token.into_owned());
    Ok(bearer(headers).or_else(|| bearer_protocol(headers)).or_else(in_query).map(Token))
}

/// The token in `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ")?.trim().to_owned())
}

fn bearer_protocol(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offers = values.flat_map(|value| value.split(','));
    offers.find_map(|offer| Some(offer.trim().strip_prefix(BEARER_PROTOCOL)?.to_owned()))
}

/// An answer to a request that is refused as a whole: an error frame without an id.
pub(crate) fn refusal(error: &FrameError) -> Response {
    let status = match error.code {
        Code::AuthRequired | Code::AuthInvalid | Code::AuthExpired => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        code if code.retry() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = reply::error_frame(None, error) + "\n";
    let mut response =
        (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response();
    if let Some(ms) = error.retry_after_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
    }
    response
}

/// Lets pages of the origins of `--allow-origin` read the answers.
pub(crate) fn cors(settings: &Settings) -> CorsLayer {
    let origins = settings.auth.allow_origin.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let headers = ["last-event-id", super::rpc::CONNECTION].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, CACHE_CONTROL].into_iter().chain(headers).collect::<Vec<_>>())
        .max_age(PREFLIGHT_AGE)
}
