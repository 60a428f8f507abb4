//! The HTTP side: the WebSocket's door, `/sse` and `/rpc` for those who have none, health, the demo's guest tokens, and
//! the pages.

pub(crate) mod access;
pub(crate) mod address;
pub(crate) mod body;
mod rpc;
mod sse;

use crate::auth::DISPLAY_NAME_BYTES_MAX;
use crate::conn::upgrade::Handshake;
use crate::gateway::{self, Gateway};
use crate::serve::{App, PeerAddress};
use crate::session::Visitor;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN, REFERRER_POLICY, RETRY_AFTER};
use axum::http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// Largest body of a plain request, in bytes: a display name.
const BODY_BYTES_MAX: usize = 4096;
/// What pages may load: their own files and their own WebSocket. Styles may be inline because editors need it.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// When somebody for whom there is no room may try again, in seconds.
const FULL_RETRY_S: &str = "10";

/// All routes.
pub(crate) fn routes(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route(
            "/ws",
            get(upgrade)
                .layer(middleware::from_fn_with_state(app.clone(), room_for_one))
                .layer(middleware::from_fn_with_state(app.clone(), door)),
        )
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz));
    let listening = Router::new()
        .route("/sse", get(sse::sse).layer(middleware::from_fn_with_state(app.clone(), room_for_one)))
        .route("/rpc", post(rpc::rpc))
        .layer(middleware::from_fn_with_state(app.clone(), door))
        .layer(access::cors(&app.settings));
    router = router.merge(listening);
    if app.settings.socketio {
        let socketio = Router::new()
            .route("/socket.io/", any(gateway::serve))
            .route("/socket.io", any(gateway::serve))
            .with_state(Gateway::new(app.clone()))
            .layer(middleware::from_fn_with_state(app.clone(), welcome))
            .layer(access::cors(&app.settings).allow_credentials(true));
        router = router.merge(socketio);
    }
    if app.settings.auth.takes_guests() {
        router = router.route("/guest/token", post(guest_token));
    }
    if app.settings.auth.demo {
        router = router.route("/demo/token", post(guest_token));
    }
    router = match &app.settings.pages {
        Some(pages) => router.fallback_service(ServeDir::new(pages)),
        None => router.route("/", get(async || "This is a front of Stoa. The WebSocket is at /ws.\n")),
    };
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
    ] {
        router = router.layer(header(name, value));
    }
    router.with_state(app)
}

/// What is served to the operator alone.
pub(crate) fn metrics_routes(app: Arc<App>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = app.metrics.render();
    let (readings, failures) = app.auth.readings();
    for (name, help, value) in [
        ("key_readings", "Times that a set of keys was read again.", readings),
        ("key_reading_failures", "Times that this was in vain.", failures),
    ] {
        text.push_str(&format!("# HELP stoa_front_{name}_total {help}\n# TYPE stoa_front_{name}_total counter\n"));
        text.push_str(&format!("stoa_front_{name}_total {value}\n"));
    }
    for (name, help, value) in [
        ("ready", "Whether rooms can be served.", usize::from(app.api.router().is_ready())),
        ("queued_bytes", "Bytes that wait for connections.", app.queued.bytes()),
        ("partial_bytes", "Bytes of messages that are not complete.", app.partial.bytes()),
    ] {
        text.push_str(&format!("# HELP stoa_front_{name} {help}\n# TYPE stoa_front_{name} gauge\n"));
        text.push_str(&format!("stoa_front_{name} {value}\n"));
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// Nobody comes in while the front stops, or from an origin that is not welcome.
async fn door(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.drain.has_begun() {
        return (StatusCode::SERVICE_UNAVAILABLE, "this front is stopping\n").into_response();
    }
    welcome(State(app), request, next).await
}

/// Nobody comes from an origin that is not welcome.
async fn welcome(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !origin_is_welcome(&app.settings.auth.origins, request.headers()) {
        return (StatusCode::FORBIDDEN, "this origin is not among --origins\n").into_response();
    }
    next.run(request).await
}

/// Nobody comes in while there are as many as there may be.
async fn room_for_one(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match full(&app) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

/// What somebody for whom there is no room is answered.
pub(crate) fn full(app: &App) -> Option<Response> {
    let is_full = app.sessions.len() as u64 >= app.settings.auth.connections_max;
    let message = "this front has as many connections as it may: come back later\n";
    is_full.then(|| (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, FULL_RETRY_S)], message).into_response())
}

async fn upgrade(State(app): State<Arc<App>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let bearer = match access::token(&app.settings.auth, query, request.headers()) {
        Ok(bearer) => bearer,
        Err(error) => return access::refusal(&error),
    };
    let device = access::device(&app.settings, request.headers(), request.extensions().get());
    let handshake = match Handshake::check(&request) {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal.into_response(),
    };
    let address = access::address(&app.settings, request.headers(), request.extensions().get());
    match app.limits.enter(&address).await {
        Ok(lease) => handshake.accept(app, request, Box::new(Visitor { bearer, device, address, lease })),
        Err(error) => access::refusal(&error),
    }
}

/// Browsers always name their origin; other clients need not.
fn origin_is_welcome(welcome: &[String], headers: &HeaderMap) -> bool {
    let is_listed = |origin: &HeaderValue| welcome.iter().any(|one| one.as_bytes() == origin.as_bytes());
    // Nobody comes from two places: of several all have to be listed.
    welcome.is_empty() || headers.get_all(ORIGIN).iter().all(is_listed)
}

async fn readyz(State(app): State<Arc<App>>) -> Response {
    match unready(&app) {
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
        None => "ready\n".into_response(),
    }
}

/// Why nobody should come to this front now.
pub(crate) fn unready(app: &App) -> Option<&'static str> {
    if app.drain.is_announced() {
        return Some("stopping\n");
    }
    if !app.api.router().is_ready() {
        return Some("waiting for redis with the Stoa module\n");
    }
    (!app.auth.is_ready()).then_some("waiting for the keys of tokens\n")
}

#[derive(Deserialize)]
struct Guest {
    name: String,
}

async fn guest_token(
    State(app): State<Arc<App>>,
    peer: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(error) = app.limits.knock(&access::address(&app.settings, &headers, peer.as_deref())).await {
        return access::refusal(&error);
    }
    let guest: Guest = match body::read(body, "guest", BODY_BYTES_MAX).await.map(|body| serde_json::from_str(&body)) {
        Ok(Ok(guest)) => guest,
        Ok(Err(_)) => return (StatusCode::BAD_REQUEST, "{\"name\":\"…\"} is asked for\n").into_response(),
        Err(error) => return access::refusal(&error),
    };
    let name = guest.name.trim();
    if name.is_empty() || name.len() > DISPLAY_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!("name: 1 to {DISPLAY_NAME_BYTES_MAX} bytes without control characters\n");
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    match app.auth.guest(name) {
        Some((user, token)) => Json(serde_json::json!({"token": token, "user": user, "name": name})).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
