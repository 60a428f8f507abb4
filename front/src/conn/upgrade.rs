//! From an HTTP request to a WebSocket (RFC 6455, 4.2), and its life until the socket is gone.
//!
//! What HTTP needed is dropped at the change: the bare TCP stream goes on in a fresh, small task.

use super::codec::{Decoder, Limits, Role};
use super::reader::Reader;
use super::socket::Ending;
use super::{Conn, Form, Outlet, deflate};
use crate::chance;
use crate::close::CloseReason;
use crate::serve::App;
use crate::session::{self, Source, Visitor};
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use sha1::{Digest, Sha1};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// What the key is hashed with (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Time for the last bytes and the close frame to be written: who was slow gets a chance to read why.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same when the front stops, and everybody waits for whoever is slow.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// Time in which the other side may read the close frame before the socket goes: data that it still sends would
/// otherwise make the system throw the frame away.
const LINGER: Duration = Duration::from_millis(500);

/// The subprotocol (RFC 6455, 1.9): the only one that is ever answered. Browsers that offered a token as one need it.
const PROTOCOL: &str = "stoa.v1";

/// What is spoken over a WebSocket.
pub(crate) trait Speaker: Send + 'static {
    /// Serves it until it should end, and says why; `None` if the other side ended it.
    fn speak(
        self,
        app: Arc<App>,
        conn: Arc<Conn>,
        source: &mut (impl Source + 'static),
    ) -> impl Future<Output = Option<CloseReason>> + Send;
}

/// The frames of docs/protocol.md.
impl Speaker for Box<Visitor> {
    async fn speak(self, app: Arc<App>, conn: Arc<Conn>, source: &mut (impl Source + 'static)) -> Option<CloseReason> {
        session::run(app, conn, source, self).await
    }
}

/// A request that may become a WebSocket.
pub(crate) struct Handshake {
    accept: HeaderValue,
    extensions: Option<&'static str>,
    offers_protocol: bool,
}

impl Handshake {
    /// Checks what the request has to say.
    pub(crate) fn check(request: &Request) -> Result<Self, Refusal> {
        let headers = request.headers();
        if request.method() != Method::GET || request.version() != Version::HTTP_11 {
            return Err(Refusal("a WebSocket begins with GET and HTTP/1.1"));
        }
        if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
            return Err(Refusal::VERSION);
        }
        if only(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Refusal::VERSION);
        }
        let key = only(headers, &SEC_WEBSOCKET_KEY).ok_or(Refusal::KEY)?;
        if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
            return Err(Refusal::KEY);
        }
        let accept = STANDARD.encode(Sha1::new_with_prefix(key).chain_update(GUID).finalize());
        let accept = HeaderValue::try_from(accept).map_err(|_| Refusal::KEY)?;
        let offers = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
        let offers_protocol = has_token(headers, &SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
        Ok(Handshake { accept, extensions: deflate::negotiate(offers), offers_protocol })
    }

    /// Answers with 101 and serves the WebSocket.
    pub(crate) fn accept(self, app: Arc<App>, request: Request, speaker: impl Speaker) -> Response {
        let mut request = request;
        let upgrade = hyper::upgrade::on(&mut request);
        let form = if self.extensions.is_some() { Form::Deflated } else { Form::Plain };
        let sessions = app.sessions.clone();
        // The session counts from here on: a front that stops waits for it.
        tokio::spawn(sessions.track_future(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let Ok(parts) = downcast::<TokioIo<TcpStream>>(upgraded) else {
                tracing::error!("the stream under a WebSocket is not TCP");
                return;
            };
            let serving = serve(app.clone(), parts.io.into_inner(), &parts.read_buf, form, speaker);
            app.sessions.spawn(serving);
        }));
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if self.offers_protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        }
        if let Some(extensions) = self.extensions {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(extensions));
        }
        response
    }
}

/// Why a request does not become a WebSocket.
#[derive(Debug)]
pub(crate) struct Refusal(&'static str);

impl Refusal {
    const KEY: Refusal = Refusal("Sec-WebSocket-Key has to be 16 bytes in base64");
    const VERSION: Refusal =
        Refusal("this is a WebSocket of version 13: Connection, Upgrade and Sec-WebSocket-Version");
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = format!("{}\n", self.0);
        // 426 says which version would do (RFC 6455, 4.4); 400 that the request is not well made.
        match self {
            Refusal(why) if why == Refusal::VERSION.0 => {
                let headers = [(UPGRADE, "websocket"), (CONNECTION, "Upgrade"), (SEC_WEBSOCKET_VERSION, "13")];
                (StatusCode::UPGRADE_REQUIRED, headers, body).into_response()
            }
            Refusal(_) => (StatusCode::BAD_REQUEST, body).into_response(),
        }
    }
}

/// Whether a list in a header has this word.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// The value of a header that stands there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim())
}

/// Serves a WebSocket until it is gone. Copies `ahead` before the first await, so that HTTP's buffer can go.
fn serve<S: Speaker>(
    app: Arc<App>,
    stream: TcpStream,
    ahead: &Bytes,
    form: Form,
    speaker: S,
) -> impl Future<Output = ()> + use<S> {
    let settings = &app.settings;
    let conn = Conn::socket(&format!("k{}", chance::id()), settings.queue_bytes_max, stream, form, &app.queued);
    let limits = Limits { message_bytes_max: settings.frame_bytes_max };
    let decoder = Decoder::new(Role::Server, form == Form::Deflated, limits);
    // In boxes, since a future keeps its arguments twice.
    let reader = Box::new(Reader::new(conn.clone(), decoder, ahead, &app.partial));
    run(app, conn, reader, speaker)
}

async fn run(app: Arc<App>, conn: Arc<Conn>, mut reader: Box<Reader>, speaker: impl Speaker) {
    let Outlet::Socket(socket) = &conn.outlet else { return };
    let ending = tokio::select! {
        // First the reader: a goodbye that was read says more than a socket that can no longer be written.
        biased;
        reason = speaker.speak(app, conn.clone(), &mut *reader) => reason.map(Ending::Reason).or(reader.ending()),
        // One that has come to its end leaves the last word to the session.
        Err(_) = socket.flush(&conn.changed) => None,
    };
    // Without one the other side is gone.
    let Some(ending) = ending else { return };
    socket.end(ending);
    let stops = ending == Ending::Reason(CloseReason::Shutdown);
    let patience = if stops { SHUTDOWN_TIMEOUT } else { CLOSE_TIMEOUT };
    // In a box: this state is short, and the task has the size of its largest.
    Box::pin(async {
        if let Ok(Ok(())) = tokio::time::timeout(patience, socket.flush(&conn.changed)).await {
            let _ = socket2::SockRef::from(&socket.stream).shutdown(std::net::Shutdown::Write);
            let _ = tokio::time::timeout(LINGER, reader.drain()).await;
        }
    })
    .await;
}
