//! `POST /rpc`: commands without a connection, for whoever listens over `/sse` or not at all. The token alone says who
//! asks, so any front will do.

use super::access::{address, bearer, refusal};
use super::body;
use crate::access::Actions;
use crate::audit::Who;
use crate::auth::Identity;
use crate::frame::{Code, Command, Envelope, FrameError, reply};
use crate::limits;
use crate::names::Room;
use crate::serve::{App, PeerAddress};
use crate::session::calls::{self, Caller};
use crate::session::room_of;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesOrdered, StreamExt};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Frames of one request, in number: as many commands as a WebSocket has under way at once.
const FRAMES_MAX: usize = 32;
/// Names the connection of `/sse` that a command is for.
pub(super) const CONNECTION: &str = "stoa-connection";

pub(super) async fn rpc(
    State(app): State<Arc<App>>,
    peer: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let address = address(&app.settings, &headers, peer.as_deref());
    // First who asks: nobody else's bytes are taken in.
    let asked: Result<_, FrameError> = async {
        app.limits.unless_blocked(&address).await?;
        let asker = asker(&app, &headers, &address).await?;
        Ok((asker, body::read(body, "frame_bytes_max", app.settings.frame_bytes_max).await?))
    }
    .await;
    let (asker, body) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            if error.code == Code::AuthInvalid {
                app.limits.auth_failed(&address).await;
            }
            return refusal(&error);
        }
    };
    match frames(&body) {
        Ok(frames) => answer(app, asker, frames).await,
        Err(error) => refusal(&error),
    }
}

/// Who asks.
struct Asker {
    identity: Identity,
    caller: Caller,
    address: Arc<str>,
    /// The connection that was named is not this user's.
    is_mistaken: bool,
}

impl Asker {
    fn who(&self) -> Who {
        let Caller { user, connection } = self.caller.clone();
        Who { user, connection, address: self.address.clone() }
    }
}

async fn asker(app: &App, headers: &HeaderMap, address: &Arc<str>) -> Result<Asker, FrameError> {
    let missing = || FrameError::new(Code::AuthRequired, "Authorization: a bearer token is missing");
    let identity = app.believe(&bearer(headers).ok_or_else(missing)?).await?;
    let named = headers.get(CONNECTION).map(|value| value.to_str().unwrap_or_default());
    let is_mistaken = named.is_some_and(|id| !app.auth.owns_connection(&identity.user, id));
    let connection = named.filter(|_| !is_mistaken).unwrap_or_default().into();
    let caller = Caller { user: identity.user.clone(), connection };
    Ok(Asker { identity, caller, address: address.clone(), is_mistaken })
}

fn frames(text: &str) -> Result<Vec<&str>, FrameError> {
    let frames: Vec<&str> = text.split('\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    match frames.len() {
        0 => Err(FrameError::new(Code::InvalidFrame, "the body is one frame, or several with a newline between")),
        1..=FRAMES_MAX => Ok(frames),
        _ => Err(FrameError::new(Code::TooLarge, format!("at most {FRAMES_MAX} frames in one request"))),
    }
}

/// The commands go out one after the other and are answered in their order, as over a WebSocket. What the asker may do in
/// their rooms is asked before: that must not change their order.
async fn answer(app: Arc<App>, asker: Asker, frames: Vec<&str>) -> Response {
    app.metrics.commands.add(frames.len());
    let one = frames.len() == 1;
    let commands: Vec<_> = frames.into_iter().map(read).collect();
    // Asked one after the other, so that what is allowed is what came first.
    let mut permits = Vec::with_capacity(commands.len());
    for (_, command) in &commands {
        permits.push(permit(&app, &asker, command.as_ref().ok()).await);
    }
    let rights = rights(&app, &asker, &commands).await;
    let permitted = commands.into_iter().zip(permits);
    let answers: FuturesOrdered<_> =
        permitted.map(|((id, command), permit)| run(&app, &asker, &rights, id, (command, permit))).collect();
    let answers: Vec<String> = answers.collect().await;
    let kind = if one { "application/json" } else { "application/x-ndjson" };
    let body = answers.join("\n") + "\n";
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], body).into_response()
}

type Read = (Option<u64>, Result<Command, FrameError>);

fn read(frame: &str) -> Read {
    match Envelope::read(frame) {
        Ok(envelope) => (envelope.id, envelope.command()),
        Err(error) => (None, Err(error)),
    }
}

/// What the asker may do in each room, or why that is not known.
type Rights = HashMap<Room, Result<Actions, FrameError>>;

async fn rights(app: &App, asker: &Asker, commands: &[Read]) -> Rights {
    let named = commands.iter().filter_map(|(_, command)| calls::access_alone(command.as_ref().ok()?));
    let rooms: HashSet<Room> = named.filter_map(|(room, _)| Room::parse(room).ok()).collect();
    let asked = rooms.into_iter().map(async |room| {
        let token = asker.identity.actions(&room);
        if room.is_personal() {
            return (room, Ok(token));
        }
        let listed = app.api.listed(&room, &asker.identity.user).await;
        (room, listed.map(|listed| app.hub.roles().decide(token, &listed).actions))
    });
    join_all(asked).await.into_iter().collect()
}

/// Whether the limits allow a command; what is wrong with a frame that is none is said later.
async fn permit(app: &App, asker: &Asker, command: Option<&Command>) -> Result<(), FrameError> {
    let Some(command) = command.filter(|_| !app.limits.is_off()) else { return Ok(()) };
    let who = limits::Asker { user: asker.caller.user.clone(), address: asker.address.clone(), has_connection: false };
    match app.limits.permit(&who, room_of(command), command.name()) {
        Some(permit) => permit.await.inspect_err(|_| app.metrics.limited.add(1)),
        None => Ok(()),
    }
}

async fn run(
    app: &App,
    asker: &Asker,
    rights: &Rights,
    id: Option<u64>,
    (command, permit): (Result<Command, FrameError>, Result<(), FrameError>),
) -> String {
    let note = command.as_ref().ok().and_then(|command| app.audit.note(|| asker.who(), command, room_of(command)));
    let started = permit.and(command).and_then(|command| start(app, asker, rights, command));
    let answer = match started {
        Ok(running) => running.await,
        Err(error) => Err(error),
    };
    if let Some(note) = note {
        note.end(&answer);
    }
    match (answer, id) {
        (Ok(ok), id) => reply::reply_frame(id.unwrap_or_default(), &ok),
        (Err(error), id) => refused(app, id, &error),
    }
}

fn refused(app: &App, id: Option<u64>, error: &FrameError) -> String {
    app.metrics.refusals.add(1);
    reply::error_frame(id, error)
}

fn start(
    app: &App,
    asker: &Asker,
    rights: &Rights,
    command: Command,
) -> Result<BoxFuture<'static, Result<String, FrameError>>, FrameError> {
    if asker.is_mistaken {
        return Err(FrameError::new(Code::NotFound, "Stoa-Connection: there is no such connection of this user"));
    }
    if matches!(command, Command::Ping) {
        return Ok(Box::pin(async { Ok("{}".into()) }));
    }
    if matches!(command, Command::DevicesList | Command::DevicesKick(_)) {
        calls::check_devices(&app.settings)?;
        let room = asker.identity.personal_room();
        return Ok(Box::pin(calls::call(app.api.clone(), asker.caller.clone(), room, command)));
    }
    let Some((room, action)) = calls::access_alone(&command) else {
        let message = format!("{}: this belongs to a stream: open /sse with another `resume`", command.name());
        return Err(FrameError::new(Code::InvalidArgument, message));
    };
    let room = Room::parse(room)?;
    let own = rights.get(&room).cloned().unwrap_or(Ok(Actions::NONE))?;
    own.check(action)?;
    calls::check_gift(app.hub.roles(), own, &command)?;
    let needs_connection = matches!(
        command,
        Command::PresenceSet(_) | Command::PresenceTyping(_) | Command::PresenceCursor(_) | Command::DocCursor(_)
    );
    if needs_connection && asker.caller.connection.is_empty() {
        let message = "Stoa-Connection: this command needs the connection of your /sse, as its first event names it";
        return Err(FrameError::new(Code::InvalidArgument, message));
    }
    let (api, caller) = (app.api.clone(), asker.caller.clone());
    if let Command::PresenceSet(set) = &command {
        let change = calls::change(&asker.identity, set)?;
        return Ok(Box::pin(async move {
            let set = api.presence_set(&room, &caller.connection, Some(&caller.user), &change).await;
            set.map(reply::position)
        }));
    }
    Ok(Box::pin(calls::call(api, caller, room, command)))
}
