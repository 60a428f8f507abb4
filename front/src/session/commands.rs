//! Commands that change what the connection is part of, and the way of the others to `calls`.

use super::calls::{self, Caller};
use super::{Done, Effect, Membership, Session};
use crate::access::{Action, Actions, Allowance};
use crate::auth::Identity;
use crate::close::CloseReason;
use crate::frame::{
    AuthRefresh, Code, Command, Connect, DocClose, DocOpen, FrameError, JoinOptions, Presence, PresenceSet, reply,
};
use crate::module_api::{Here, Opened};
use crate::names::{self, LOG, PRESENCE, Room};
use crate::relay::access::Claim;
use crate::relay::hub::{Hub, Joined, Joiner};
use crate::relay::room::Ask;
use futures_util::future::{BoxFuture, join_all};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Streams that one join may name, and documents of a room with a cursor of one connection: what the module answers
/// at once.
const STREAMS_MAX: usize = 32;
/// Time for the personal room to be subscribed before `connect` is answered without it. It comes later then.
const PERSONAL_TIMEOUT: Duration = Duration::from_secs(1);

type Running = Result<BoxFuture<'static, Done>, FrameError>;

/// A room, where to look up what is allowed there, and what the join came to.
type Entered = (Room, Arc<Allowance>, Result<Joined, FrameError>);

/// A join that is checked and ready.
struct Plan {
    room: Room,
    ask: Ask,
    here: Option<Here>,
    /// It only opens more of a room that it is in.
    is_member: bool,
}

impl Session {
    pub(super) fn dispatch(&mut self, id: Option<u64>, command: Command) -> Running {
        let Some(identity) = self.identity.clone() else {
            return match command {
                Command::Connect(connect) => Ok(self.connect(id, connect)),
                _ => Err(FrameError::new(Code::AuthRequired, "the first command has to be connect")),
            };
        };
        if let Some((room, action)) = calls::access(&command) {
            let room = self.joined(room, &identity, action)?;
            calls::check_gift(self.app.hub.roles(), self.allowed(&room, &identity), &command)?;
            return self.call(id, &identity, room, command);
        }
        match command {
            Command::Connect(_) => Err(FrameError::new(Code::InvalidArgument, "this connection is connected already")),
            Command::AuthRefresh(refresh) => Ok(self.refresh(id, identity, refresh)),
            Command::RoomJoin(join) => {
                let options = JoinOptions { positions: join.positions, presence: join.presence };
                self.join(id, &identity, &join.room, options)
            }
            Command::RoomLeave(leave) => self.leave(id, identity, &leave.room),
            Command::DocOpen(open) => self.doc_open(id, &identity, open),
            Command::DocClose(close) => self.doc_close(id, identity, close),
            Command::DevicesList | Command::DevicesKick(_) => {
                calls::check_devices(&self.app.settings)?;
                self.call(id, &identity, identity.personal_room(), command)
            }
            _ => Ok(done(id, async { Ok("{}".into()) })),
        }
    }

    /// A command that needs no more than the room.
    fn call(&mut self, id: Option<u64>, identity: &Identity, room: Room, command: Command) -> Running {
        match &command {
            Command::PresenceSet(set) => return self.presence_set(id, identity, room, set),
            Command::DocCursor(told) => self.note_cursor(&room, &names::document(&told.doc)?)?,
            _ => {}
        }
        let caller = Caller { user: identity.user.clone(), connection: self.conn.id.clone() };
        Ok(done(id, calls::call(self.app.api.clone(), caller, room, command)))
    }

    /// Learns who this is. `connect` is answered when the rooms are joined.
    fn connect(&mut self, id: Option<u64>, connect: Connect) -> BoxFuture<'static, Done> {
        self.barrier = true;
        let bearer = || self.visitor.as_ref().and_then(|visitor| visitor.bearer.clone());
        let (app, token, address) = (self.app.clone(), connect.token.or_else(bearer), self.address.clone());
        Box::pin(async move {
            let missing = || FrameError::new(Code::AuthRequired, "token: connect needs one");
            let verified = match token {
                Some(token) => app.believe(&token.0).await,
                None => Err(missing()),
            };
            match verified {
                Ok(identity) => {
                    let effect = Effect::Connected(Box::new((identity, connect.resume)));
                    Done { id, result: Ok(String::new()), effect }
                }
                Err(error) => {
                    // It counts before its sender hears of it, and so before they can come again.
                    if error.code == Code::AuthInvalid {
                        app.limits.auth_failed(&address).await;
                    }
                    let effect = match error.code {
                        Code::AuthExpired => Effect::Close(CloseReason::AuthExpired),
                        Code::AuthInvalid => Effect::Close(CloseReason::AuthInvalid),
                        // Without a token, or while there are no keys: there may be another attempt.
                        _ => Effect::Live(Vec::new()),
                    };
                    Done { id, result: Err(error), effect }
                }
            }
        })
    }

    /// Goes on with another token of the same user.
    fn refresh(&mut self, id: Option<u64>, identity: Arc<Identity>, refresh: AuthRefresh) -> BoxFuture<'static, Done> {
        self.barrier = true;
        let (app, address) = (self.app.clone(), self.address.clone());
        Box::pin(async move {
            let verified = app.believe(&refresh.token.0).await.and_then(|new| {
                if new.user == identity.user {
                    return Ok(new);
                }
                let message = "token: of another user; a connection stays its user's";
                Err(FrameError::new(Code::AuthInvalid, message))
            });
            match verified {
                Ok(new) => {
                    let result = Ok(reply::refreshed(new.remaining()));
                    Done { id, result, effect: Effect::Refreshed(Box::new(new)) }
                }
                // The token that it has is still good.
                Err(error) => {
                    if error.code == Code::AuthInvalid {
                        app.limits.auth_failed(&address).await;
                    }
                    Done { id, result: Err(error), effect: Effect::Live(Vec::new()) }
                }
            }
        })
    }

    /// Takes on what the new token says. The rooms say what comes of it, and take out who may not read any more.
    pub(super) fn go_on_as(&mut self, identity: Identity) {
        for room in self.rooms.iter() {
            self.app.hub.renew(room, self.member, identity.actions(room));
        }
        // Who sends one that ends soon, too, knows it from the answer: telling them would go on without an end.
        self.is_expiring = self.app.settings.auth.auth_expiring().is_some_and(|before| identity.remaining() <= before);
        self.identity = Some(Arc::new(identity));
    }

    /// Joins the personal room and those that the client was in before, and answers `connect`.
    pub(super) fn resume(
        &mut self,
        id: Option<u64>,
        identity: Arc<Identity>,
        rooms: BTreeMap<String, JoinOptions>,
    ) -> BoxFuture<'static, Done> {
        self.identity = Some(identity.clone());
        let device = self.visitor.take().and_then(|visitor| visitor.device);
        let personal = identity.personal_room();
        let own = Arc::new(Allowance::new(identity.actions(&personal)));
        self.rooms.enter(personal.clone(), Membership::Joined, own.clone());
        let plans: Vec<(String, Result<Plan, FrameError>)> = rooms
            .into_iter()
            .map(|(name, options)| {
                let plan = self.plan(&identity, &name, options);
                (name, plan)
            })
            .collect();
        let here = device.map(|device| {
            let note = reply::device_note(&device.address, &device.agent);
            let here = Here::new(identity.user.clone(), self.conn.id.clone(), "{}".to_owned());
            Here { private: Some(note), ..here }
        });
        let subscribed = self.call_join(Plan { room: personal.clone(), ask: Vec::new(), here, is_member: false });
        let joins: Vec<_> =
            plans.into_iter().map(|(name, plan)| (name, plan.map(|plan| self.call_join(plan)))).collect();
        let (connection, ping_interval_ms) = (self.conn.id.clone(), self.app.settings.ping_interval_ms);
        Box::pin(async move {
            let personal_joined = tokio::time::timeout(PERSONAL_TIMEOUT, subscribed);
            let joins = join_all(joins.into_iter().map(|(name, join)| async move {
                match join {
                    Ok(join) => {
                        let (room, allowance, answer) = join.await;
                        (name, Some((room, answer.is_ok().then_some(allowance))), answer)
                    }
                    Err(error) => (name, None, Err(error)),
                }
            }));
            let (_, joins) = tokio::join!(personal_joined, joins);
            let (mut rooms, mut effects) = (Vec::new(), vec![(personal, Some(own))]);
            for (name, effect, answer) in joins {
                effects.extend(effect);
                rooms.push(match answer {
                    Ok(Joined { parts, grant }) => {
                        let joined = reply::joined(&name, &grant, &parts);
                        (name, joined)
                    }
                    Err(error) => (name, reply::refused(&error)),
                });
            }
            let ok = reply::connected(&connection, &identity, ping_interval_ms, rooms);
            Done { id, result: Ok(ok), effect: Effect::Joined(effects) }
        })
    }

    fn join(&mut self, id: Option<u64>, identity: &Identity, name: &str, options: JoinOptions) -> Running {
        let plan = self.plan(identity, name, options)?;
        let name = name.to_owned();
        self.barrier = true;
        let join = self.call_join(plan);
        Ok(Box::pin(async move {
            let (room, allowance, answer) = join.await;
            let effect = Effect::Joined(vec![(room, answer.is_ok().then_some(allowance))]);
            Done { id, result: answer.map(|it| reply::joined(&name, &it.grant, &it.parts)), effect }
        }))
    }

    /// Checks a join and remembers that it is under way.
    fn plan(&mut self, identity: &Identity, name: &str, options: JoinOptions) -> Result<Plan, FrameError> {
        let room = Room::parse(name)?;
        if room.is_personal() {
            identity.check(&room, Action::Read)?;
        }
        let ask = ask(options.positions)?;
        let here = options.presence.map(|presence| self.here(identity, presence)).transpose()?;
        if self.rooms.get(&room).is_none() {
            // The personal room does not count.
            if self.rooms.len() > self.app.settings.rooms_max {
                let message = format!("rooms_max: a connection joins at most {} rooms", self.app.settings.rooms_max);
                return Err(FrameError::new(Code::TooLarge, message));
            }
            // Nothing is allowed until the room has said so; one's own is asked nothing.
            let allowance = if room.is_personal() { identity.actions(&room) } else { Actions::NONE };
            self.rooms.enter(room.clone(), Membership::Joining, Arc::new(Allowance::new(allowance)));
        }
        Ok(Plan { room, ask, here, is_member: false })
    }

    fn here(&self, identity: &Identity, presence: Presence) -> Result<Here, FrameError> {
        let data = presence.data.as_deref().map_or("{}", RawValue::get);
        let data = calls::named(identity, data)?;
        let here = Here::new(identity.user.clone(), self.conn.id.clone(), data);
        Ok(Here { chosen: presence.status, ..here })
    }

    fn call_join(&self, plan: Plan) -> impl Future<Output = Entered> + Send + 'static {
        let identity = self.identity.as_ref();
        let user = identity.map_or_else(|| "".into(), |identity| identity.user.clone());
        let token = identity.map_or(Actions::NONE, |identity| identity.actions(&plan.room));
        let allowance = self.rooms.allowance(&plan.room).cloned().unwrap_or_default();
        let claim = Claim { token, allowance: allowance.clone() };
        let joiner = Joiner { conn: self.conn.clone(), member: self.member, user, claim, is_member: plan.is_member };
        let hub: Arc<Hub> = self.app.hub.clone();
        async move {
            let answer = hub.join(&plan.room, joiner, plan.ask, plan.here).await;
            (plan.room, allowance, answer)
        }
    }

    fn leave(&mut self, id: Option<u64>, identity: Arc<Identity>, name: &str) -> Running {
        let room = self.member_of(name)?;
        if room.is_personal() {
            return Err(FrameError::new(Code::InvalidArgument, "room: nobody leaves the personal room"));
        }
        self.rooms.remove(&room);
        self.app.hub.part(&room, self.member, Duration::ZERO);
        let (api, me, told) = (self.app.api.clone(), self.conn.id.clone(), self.cursors.remove(&room));
        Ok(done(id, async move {
            api.doc_cursors_end(&room, (&identity.user, &me), told.into_iter().flatten()).await;
            Ok("{}".into())
        }))
    }

    fn doc_open(&mut self, id: Option<u64>, identity: &Identity, open: DocOpen) -> Running {
        let action = if open.create.is_some() { Action::Edit } else { Action::Read };
        let room = self.joined(&open.room, identity, action)?;
        let stream = names::document(&open.doc)?;
        let ask = ask_one(stream.clone(), open.position)?;
        self.barrier = true;
        let join = self.call_join(Plan { room: room.clone(), ask: vec![ask], here: None, is_member: true });
        let api = self.app.api.clone();
        Ok(Box::pin(async move {
            let opened = async {
                if let Some(create) = &open.create {
                    api.doc_create(&room, &stream, create).await?;
                }
                join.await.2
            };
            let result = opened.await.and_then(|joined| first(joined.parts.first().map(|part| &**part)));
            Done { id, result, effect: Effect::Live(vec![room]) }
        }))
    }

    fn doc_close(&mut self, id: Option<u64>, identity: Arc<Identity>, close: DocClose) -> Running {
        let room = self.joined(&close.room, &identity, Action::Read)?;
        let stream = names::document(&close.doc)?;
        self.app.hub.close_stream(&room, self.member, stream.clone())?;
        let told = self.cursors.get_mut(&room).and_then(|streams| streams.take(&stream));
        let (api, me) = (self.app.api.clone(), self.conn.id.clone());
        Ok(done(id, async move {
            api.doc_cursors_end(&room, (&identity.user, &me), told).await;
            Ok("{}".into())
        }))
    }

    fn presence_set(&mut self, id: Option<u64>, identity: &Identity, room: Room, set: &PresenceSet) -> Running {
        let change = calls::change(identity, set)?;
        let set = self.app.hub.presence_set(&room, self.member, change);
        Ok(done(id, async move { set.await.map(reply::position) }))
    }

    /// Remembers a cursor, to end it. Before it is known to have worked: ending one that is not there does no harm.
    fn note_cursor(&mut self, room: &Room, stream: &str) -> Result<(), FrameError> {
        let streams = self.cursors.entry(room.clone()).or_default();
        if streams.len() >= STREAMS_MAX && !streams.contains(stream) {
            let message = format!("doc: a connection has cursors in at most {STREAMS_MAX} documents of a room");
            return Err(FrameError::new(Code::TooLarge, message));
        }
        streams.insert(stream.to_owned());
        Ok(())
    }

    /// The room, if this is allowed there and the connection is in it.
    fn joined(&self, name: &str, identity: &Identity, action: Action) -> Result<Room, FrameError> {
        let room = Room::parse(name)?;
        self.allowed(&room, identity).check(action)?;
        self.member_of(name)
    }

    /// What the room last said that this connection may do there. Of a room that it is not in, what the token says.
    fn allowed(&self, room: &Room, identity: &Identity) -> Actions {
        self.rooms.allowance(room).map_or_else(|| identity.actions(room), |allowance| allowance.get())
    }

    fn member_of(&self, name: &str) -> Result<Room, FrameError> {
        let room = Room::parse(name)?;
        if self.rooms.get(&room) != Some(Membership::Joined) {
            return Err(FrameError::new(Code::NotJoined, "join the room first"));
        }
        Ok(room)
    }
}

/// A command without effect on the connection itself.
fn done(
    id: Option<u64>,
    work: impl Future<Output = Result<String, FrameError>> + Send + 'static,
) -> BoxFuture<'static, Done> {
    Box::pin(async move { Done { id, result: work.await, effect: Effect::Nothing } })
}

fn first(part: Option<&Opened>) -> Result<String, FrameError> {
    part.map(reply::stream_part).ok_or_else(FrameError::internal)
}

/// What a join asks for: log and presence always, documents if they are named.
fn ask(mut positions: BTreeMap<String, Option<String>>) -> Result<Ask, FrameError> {
    for always in [LOG, PRESENCE] {
        positions.entry(always.to_owned()).or_default();
    }
    if positions.len() > STREAMS_MAX {
        return Err(FrameError::new(Code::TooLarge, format!("positions: at most {STREAMS_MAX} streams at once")));
    }
    positions.into_iter().map(|(stream, position)| ask_one(names::stream(&stream)?, position)).collect()
}

fn ask_one(
    stream: String,
    position: Option<String>,
) -> Result<(Arc<str>, Option<stoa_core::epoch::Position>), FrameError> {
    let position = position.map(|text| text.parse()).transpose().map_err(|()| {
        FrameError::new(Code::InvalidArgument, format!("the position of {stream} does not look like 7.9f3a12c0:1042"))
    })?;
    Ok((stream.into(), position))
}
