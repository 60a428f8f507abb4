//! `/socket.io/`: requests of Engine.IO, over HTTP and for a WebSocket.

use super::Gateway;
use super::engine::{End, Engine, Polled};
use super::packet::{Packet, SEPARATOR};
use crate::close::CloseReason;
use crate::conn::Conn;
use crate::conn::upgrade::{Handshake, Speaker};
use crate::http::{self, access, body};
use crate::serve::{App, PeerAddress};
use crate::session::{Incoming, Source, Visitor};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::sync::Arc;

/// Why a request is refused, with the numbers of Engine.IO.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Transport,
    Session,
    Method,
    Request,
    Version,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, message) = match self {
            Refusal::Transport => (0, "Transport unknown"),
            Refusal::Session => (1, "Session ID unknown"),
            Refusal::Method => (2, "Bad handshake method"),
            Refusal::Request => (3, "Bad request"),
            Refusal::Version => (5, "Unsupported protocol version"),
        };
        let body = format!("{{\"code\":{code},\"message\":\"{message}\"}}");
        (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body)
            .into_response()
    }
}

/// Serves one request.
pub(crate) async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let asked = |name: &str| -> Option<Cow<'_, str>> {
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
    };
    if asked("EIO").as_deref() != Some("4") {
        return Refusal::Version.into_response();
    }
    let is_websocket = match asked("transport").as_deref() {
        Some("websocket") => true,
        Some("polling") => false,
        _ => return Refusal::Transport.into_response(),
    };
    let engine = match asked("sid") {
        Some(id) => match gateway.find(&id) {
            Some(engine) => Some(engine),
            None => return Refusal::Session.into_response(),
        },
        None => None,
    };
    match (engine, is_websocket) {
        (Some(engine), false) if *request.method() == Method::GET => poll(&engine).await,
        (Some(engine), false) if *request.method() == Method::POST => post(&engine, request).await,
        (None, false) if *request.method() != Method::GET => Refusal::Method.into_response(),
        (Some(_), false) => Refusal::Request.into_response(),
        (engine, _) => begin(gateway, engine, request, &query, is_websocket).await,
    }
}

/// A connection begins, or one over HTTP goes on over a WebSocket.
async fn begin(
    gateway: Arc<Gateway>,
    engine: Option<Arc<Engine>>,
    request: Request,
    query: &str,
    is_websocket: bool,
) -> Response {
    let app = gateway.app.clone();
    let handshake = match is_websocket.then(|| Handshake::check(&request)).transpose() {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal.into_response(),
    };
    let is_upgrade = engine.is_some();
    let engine = match engine {
        Some(engine) => engine,
        None => match welcome(&gateway, request.headers(), request.extensions().get().copied(), query).await {
            Ok(engine) => engine,
            Err(response) => return response,
        },
    };
    let Some(handshake) = handshake else { return text(&engine.open_packet(&["websocket"])) };
    if is_upgrade && !engine.begins_upgrade() {
        return Refusal::Request.into_response();
    }
    handshake.accept(app, request, Carrier { engine, is_upgrade })
}

/// Lets somebody in who comes for the first time.
async fn welcome(
    gateway: &Arc<Gateway>,
    headers: &HeaderMap,
    peer: Option<PeerAddress>,
    query: &str,
) -> Result<Arc<Engine>, Response> {
    let app = &gateway.app;
    // Pages join their rooms when they are connected and do not ask twice: so whoever could not join now waits outside. The
    // client comes back by itself.
    if let Some(why) = http::unready(app) {
        return Err((StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], why).into_response());
    }
    if let Some(refusal) = http::full(app) {
        return Err(refusal);
    }
    let bearer = access::token(&app.settings.auth, query, headers).map_err(|e| access::refusal(&e))?;
    let device = access::device(&app.settings, headers, peer.as_ref());
    let address = access::address(&app.settings, headers, peer.as_ref());
    let lease = app.limits.enter(&address).await.map_err(|error| access::refusal(&error))?;
    let engine = gateway.open(Visitor { bearer, device, address, lease });
    tokio::spawn(engine.clone().beat());
    gateway.expect_entry(&engine);
    Ok(engine)
}

fn text(packet: &Packet) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=UTF-8"), (CACHE_CONTROL, "no-store")];
    (StatusCode::OK, headers, packet.content().to_vec()).into_response()
}

async fn poll(engine: &Arc<Engine>) -> Response {
    match engine.poll().await {
        Polled::Packets(packets) => text(&Packet::text(&body_of(&packets))),
        Polled::Elsewhere => Refusal::Request.into_response(),
        Polled::Twice => {
            engine.end(End::Front(CloseReason::Resync));
            Refusal::Request.into_response()
        }
    }
}

/// Packets as the body of an answer.
fn body_of(packets: &[Packet]) -> String {
    let mut body = String::with_capacity(packets.iter().map(Packet::bytes).sum());
    for (n, packet) in packets.iter().enumerate() {
        if n > 0 {
            body.push(SEPARATOR);
        }
        if packet.is_binary() {
            body.push('b');
            STANDARD.encode_string(packet.content(), &mut body);
        } else {
            body.push_str(&String::from_utf8_lossy(packet.content()));
        }
    }
    body
}

async fn post(engine: &Arc<Engine>, request: Request) -> Response {
    if !engine.is_polling() {
        return Refusal::Request.into_response();
    }
    let bytes_max = engine.gateway.app.settings.frame_bytes_max;
    let body = match body::read(request.into_body(), "frame_bytes_max", bytes_max).await {
        Ok(body) => body,
        Err(error) => {
            engine.end(End::Front(CloseReason::TooLarge));
            return access::refusal(&error);
        }
    };
    for packet in body.split(SEPARATOR) {
        match packet.strip_prefix('b') {
            Some(binary) => match STANDARD.decode(binary) {
                Ok(bytes) => engine.hear_binary(bytes.into()).await,
                Err(_) => {
                    engine.end(End::Front(CloseReason::TooLarge));
                    return Refusal::Request.into_response();
                }
            },
            None => engine.hear(packet).await,
        }
    }
    (StatusCode::OK, [(CONTENT_TYPE, "text/html"), (CACHE_CONTROL, "no-store")], "ok").into_response()
}

/// A WebSocket that carries a connection.
struct Carrier {
    engine: Arc<Engine>,
    /// It was begun over HTTP.
    is_upgrade: bool,
}

impl Speaker for Carrier {
    async fn speak(self, _app: Arc<App>, conn: Arc<Conn>, source: &mut (impl Source + 'static)) -> Option<CloseReason> {
        let engine = &self.engine;
        if self.is_upgrade {
            if !upgraded(engine, &conn, source).await {
                engine.gives_up_upgrade();
                return None;
            }
        } else {
            conn.carry(engine.open_packet(&[]).frame().clone());
            engine.goes_over(&conn);
        }
        loop {
            let incoming = tokio::select! {
                () = engine.gone.cancelled() => break,
                incoming = source.next() => incoming,
            };
            match incoming {
                Incoming::Text(text) => engine.hear(&text).await,
                Incoming::Binary(bytes) => engine.hear_binary(bytes.into()).await,
                Incoming::Alive => {}
                Incoming::TooLarge => engine.end(End::Front(CloseReason::TooLarge)),
                Incoming::Ended { goodbye } => engine.end(End::Client(goodbye)),
            }
        }
        match engine.ended() {
            Some(End::Front(reason)) => Some(reason),
            _ => None,
        }
    }
}

/// However a WebSocket ends, its connection ends with it.
impl Drop for Carrier {
    fn drop(&mut self) {
        if !self.is_upgrade || !self.engine.is_polling() {
            self.engine.end(End::Client(false));
        }
    }
}

/// Probes a WebSocket: `2probe`, `3probe`, `5`. Whether it carries the connection from now on.
async fn upgraded(engine: &Arc<Engine>, conn: &Arc<Conn>, source: &mut impl Source) -> bool {
    loop {
        let incoming = tokio::select! {
            () = engine.gone.cancelled() => return false,
            incoming = source.next() => incoming,
        };
        match incoming {
            Incoming::Text(text) if text == "2probe" => conn.carry(Packet::text("3probe").frame().clone()),
            Incoming::Text(text) if text == "5" => {
                engine.goes_over(conn);
                return true;
            }
            Incoming::Alive => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_packets_with_a_separator_and_binary_ones_in_base64() {
        let packets = [Packet::text("42[\"ä\"]"), Packet::binary(&[0, 255]), Packet::text("2")];
        assert_eq!(body_of(&packets), "42[\"ä\"]\u{1e}bAP8=\u{1e}2");
    }
}
