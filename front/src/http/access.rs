//! Who may ask, for requests that are not WebSockets.

use crate::frame::{Code, FrameError, reply};
use crate::settings::Settings;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser remembers what it was told of origins.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

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
