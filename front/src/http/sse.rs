//! `GET /sse`: a connection that only listens, as a stream of events (HTML, 9.2).
//!
//! The session behind it is the one of a WebSocket. It hears `connect` at the start and nothing more; what it sends is
//! pulled by the body of the response, so a reader that is slow is bounded by the same queue.

use super::access::{address, device, refusal, token};
use crate::close::CloseReason;
use crate::conn::{Conn, Parcel};
use crate::frame::listening::{Positions, Resume, answer_of, block};
use crate::frame::{Code, FrameError};
use crate::serve::{App, PeerAddress};
use crate::session::{self, Incoming, Source, Visitor};
use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Rooms of one stream, in number: their positions travel in a header when it is resumed.
pub(super) const ROOMS_MAX: usize = 20;
/// Positions of one stream, in bytes: proxies take headers of 8 KiB.
const ID_BYTES_MAX: usize = 6 * 1024;
/// When a browser comes back after the stream has ended, in milliseconds.
const RETRY_MS: u64 = 2_000;
/// Time for the last bytes once the connection has ended.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// What tells proxies to pass on what they get at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn sse(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let asked = |name| form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value);
    let address = address(&app.settings, &headers, peer.as_deref());
    let lease = match app.limits.enter(&address).await {
        Ok(lease) => lease,
        Err(error) => return refusal(&error),
    };
    let resume = asked("resume");
    let opened = match token(&app.settings.auth, &query, &headers) {
        Ok(token) => open(&app, token.as_ref().map(|token| token.0.as_str()), resume.as_deref(), &headers).await,
        Err(error) => Err(error),
    };
    let (conn, frame, positions) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            if error.code == Code::AuthInvalid {
                app.limits.auth_failed(&address).await;
            }
            return refusal(&error);
        }
    };
    let (alive, gone) = (Arc::new(Notify::new()), CancellationToken::new());
    let listener = Listener { connect: Some(frame), alive: alive.clone(), gone: gone.clone() };
    let device = device(&app.settings, &headers, peer.as_deref());
    app.sessions.spawn(serve(
        app.clone(),
        conn.clone(),
        listener,
        Box::new(Visitor { bearer: None, device, address, lease }),
    ));
    let outlet = Outlet {
        conn,
        positions,
        alive,
        heartbeat: Duration::from_millis(app.settings.sse_heartbeat_ms),
        stage: Stage::Begins,
        _gone: gone.drop_guard(),
    };
    let blocks = stream::unfold(outlet, |mut outlet| async {
        let block = outlet.next().await?;
        Some((Ok::<_, Infallible>(block), outlet))
    });
    let mut response = (StatusCode::OK, Body::from_stream(blocks)).into_response();
    for (name, value) in [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (X_ACCEL_BUFFERING, "no")] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

type Opened = (Arc<Conn>, String, Positions);

/// Checks all that can be checked before the stream begins.
async fn open(app: &App, token: Option<&str>, resume: Option<&str>, headers: &HeaderMap) -> Result<Opened, FrameError> {
    let missing = || FrameError::new(Code::AuthRequired, "Authorization: a bearer token is missing");
    let token = token.ok_or_else(missing)?;
    let identity = app.believe(token).await?;
    let mut resume = resume.map_or_else(|| Ok(Resume::default()), Resume::parse)?;
    if resume.len() > ROOMS_MAX {
        return Err(FrameError::new(Code::TooLarge, format!("resume: at most {ROOMS_MAX} rooms in one stream")));
    }
    if let Some(id) = headers.get(LAST_EVENT_ID) {
        resume.go_on_from(Positions::parse(id.to_str().unwrap_or_default())?);
    }
    let positions = resume.positions();
    if positions.id().len() > ID_BYTES_MAX {
        let message = format!("resume: the positions of one stream have at most {ID_BYTES_MAX} bytes");
        return Err(FrameError::new(Code::TooLarge, message));
    }
    let id = app.auth.connection_id(&identity.user);
    Ok((Conn::pulled(&id, app.settings.queue_bytes_max, &app.queued), resume.connect_frame(token), positions))
}

async fn serve(app: Arc<App>, conn: Arc<Conn>, mut listener: Listener, visitor: Box<Visitor>) {
    let reason = session::run(app, conn.clone(), &mut listener, visitor).await;
    if let Some(reason) = reason {
        conn.close(reason);
        // Whoever does not read is left to the system, which gives the socket up.
        let _ = tokio::time::timeout(END_TIMEOUT, listener.gone.cancelled()).await;
    }
}

/// What the session hears: `connect`, and then that somebody still reads, or has gone.
struct Listener {
    connect: Option<String>,
    alive: Arc<Notify>,
    gone: CancellationToken,
}

impl Source for Listener {
    async fn next(&mut self) -> Incoming {
        if let Some(connect) = self.connect.take() {
            return Incoming::Text(connect);
        }
        tokio::select! {
            () = self.gone.cancelled() => Incoming::Ended { goodbye: false },
            () = self.alive.notified() => Incoming::Alive,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Begins,
    Runs,
    Over,
}

/// Writes what the connection sends as blocks of the stream.
struct Outlet {
    conn: Arc<Conn>,
    positions: Positions,
    alive: Arc<Notify>,
    heartbeat: Duration,
    stage: Stage,
    /// Tells the session when the body is gone.
    _gone: DropGuard,
}

impl Outlet {
    /// The next block. It is asked for when the one before is on its way, so whoever comes for a ping reads.
    async fn next(&mut self) -> Option<String> {
        if self.stage == Stage::Over {
            return None;
        }
        loop {
            let parcel = tokio::select! {
                parcel = self.conn.pull() => parcel,
                () = tokio::time::sleep(self.heartbeat) => return Some(":\n\n".to_owned()),
            };
            match parcel {
                Some(Parcel::Event(room, event)) => {
                    let moved = self.positions.note(&room, &event.header);
                    if event.header.kind == stoa_core::event::Kind::Reset {
                        // Whoever only listens cannot open a stream again: the next request does.
                        self.conn.close(CloseReason::Resync);
                    }
                    return Some(block(None, moved.then(|| self.positions.id()).as_deref(), event.as_text()));
                }
                Some(Parcel::Reply(text)) if self.stage == Stage::Begins => return Some(self.begins(&text)),
                Some(Parcel::Reply(text)) => return Some(block(None, None, &text)),
                Some(Parcel::Ping) => self.alive.notify_one(),
                None => return Some(self.ends()),
            }
        }
    }

    fn begins(&mut self, reply: &str) -> String {
        self.stage = Stage::Runs;
        let ok = match answer_of(reply) {
            Ok(ok) => ok,
            Err(error) => return block(None, None, error),
        };
        if self.positions.note_answer(ok) {
            // A room that could not be joined now: the next request tries again.
            self.conn.close(CloseReason::Resync);
        }
        format!("retry: {RETRY_MS}\n{}", block(Some("connected"), Some(&self.positions.id()), ok))
    }

    fn ends(&mut self) -> String {
        self.stage = Stage::Over;
        let reason = self.conn.closing().unwrap_or(CloseReason::Resync);
        let data = format!("{{\"code\":{},\"reason\":\"{}\"}}", reason.code(), reason.as_str());
        block(Some("closed"), None, &data)
    }
}
