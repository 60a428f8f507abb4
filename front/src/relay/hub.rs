//! The rooms that are live on this front.

use super::access::Claim;
use super::actor::{Actor, Control};
use super::inbox::Inbox;
use super::room::{Ask, Input, MemberId};
use crate::access::{Action, Actions, Grant, Roles};
use crate::conn::Conn;
use crate::frame::{Code, FrameError};
use crate::metrics::Metrics;
use crate::module_api::{Change, Here, ModuleApi, Opened};
use crate::names::Room;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stoa_core::epoch::Position;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio_util::task::TaskTracker;

/// Time for a join from question to answer; longer than the subscription and two commands take at their worst.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Joins that Redis is asked about at once, in number: it answers so many in some ten milliseconds. When ten thousand
/// arrive they stand in line here, in their order, and not on the connection to Redis, where every other command and the
/// signs of life would wait behind them.
const JOINS_AT_ONCE: usize = 256;
/// Time in that line: who waits longer is better off coming back.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// The live rooms.
pub struct Hub {
    api: ModuleApi,
    presence_ttl: Duration,
    metrics: Arc<Metrics>,
    roles: Roles,
    rooms: Mutex<HashMap<Room, Arc<Inbox>>>,
    tasks: TaskTracker,
    line: Semaphore,
    members: AtomicU64,
    /// Set when the front dies without goodbyes: nothing may be said for it any more.
    silenced: AtomicBool,
}

/// Who joins.
pub struct Joiner {
    /// The connection.
    pub conn: Arc<Conn>,
    /// Its number within the front.
    pub member: MemberId,
    /// Its user.
    pub user: Arc<str>,
    /// What it may do.
    pub claim: Claim,
    /// It is in the room, and only opens more of it.
    pub is_member: bool,
}

/// What somebody finds who has joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The streams that were asked for.
    pub parts: Vec<Arc<Opened>>,
    /// What they may do there.
    pub grant: Grant,
}

impl Hub {
    /// No rooms yet.
    pub fn new(api: ModuleApi, presence_ttl: Duration, roles: Roles, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Hub {
            api,
            metrics,
            roles,
            presence_ttl,
            rooms: Mutex::default(),
            tasks: TaskTracker::new(),
            line: Semaphore::new(JOINS_AT_ONCE),
            members: AtomicU64::new(1),
            silenced: AtomicBool::new(false),
        })
    }

    /// A number for a new connection.
    pub fn next_member(&self) -> MemberId {
        self.members.fetch_add(1, Ordering::Relaxed)
    }

    /// Joins a room or opens further streams of it. Events are held back until [`Hub::live`].
    pub async fn join(
        self: &Arc<Self>,
        room: &Room,
        joiner: Joiner,
        streams: Ask,
        here: Option<Here>,
    ) -> Result<Joined, FrameError> {
        // Who asks for nothing keeps Redis from nothing.
        let _turn = if streams.is_empty() { None } else { Some(self.turn(room).await?) };
        self.check_entry(room, &joiner, here.is_some()).await?;
        let (answer, answered) = oneshot::channel();
        self.with_room(room, |inbox| inbox.ask(Control::Join { joiner, streams, here, answer }))?;
        match tokio::time::timeout(JOIN_TIMEOUT, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(FrameError::unavailable()),
        }
    }

    /// Refuses who may not come in, where that has to be known before: a room that the token does not open is not listened
    /// to, and nobody is listed who is shut out. For all others the list is read with the room.
    async fn check_entry(&self, room: &Room, joiner: &Joiner, is_listed: bool) -> Result<(), FrameError> {
        let Claim { token, allowance } = &joiner.claim;
        let is_inside = allowance.get().allow(Action::Read);
        if room.is_personal() || is_inside || (token.allow(Action::Read) && !is_listed) {
            return Ok(());
        }
        let listed = self.api.listed(room, &joiner.user).await?;
        self.roles.decide(*token, &listed).actions.check(Action::Read)
    }

    /// A member has another token, which allows this in a room.
    pub fn renew(&self, room: &Room, member: MemberId, token: Actions) {
        self.tell(room, Control::Renew { member, token });
    }

    /// What the words mean that name roles.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Waits in line for Redis.
    async fn turn(&self, room: &Room) -> Result<SemaphorePermit<'_>, FrameError> {
        let check = || match self.api.router().is_up(&self.api.channel(room)) {
            true => Ok(()),
            false => Err(FrameError::unavailable()),
        };
        check()?;
        let Ok(Ok(turn)) = tokio::time::timeout(LINE_TIMEOUT, self.line.acquire()).await else {
            return Err(FrameError::new(Code::Busy, "too many join at once; send the same again"));
        };
        // It may have gone in the meantime.
        check().map(|()| turn)
    }

    /// The answer to the join is queued: events may follow.
    pub fn live(&self, room: &Room, member: MemberId) {
        self.tell(room, Control::Input(Input::Live { member }));
    }

    /// A member no longer wants a stream.
    pub fn close_stream(&self, room: &Room, member: MemberId, stream: String) -> Result<(), FrameError> {
        self.ask(room, Control::Input(Input::Close { member, stream }))
    }

    /// A member is gone; if it was listed as here, it stays so for `grace`.
    pub fn part(&self, room: &Room, member: MemberId, grace: Duration) {
        self.tell(room, Control::Part { member, grace });
    }

    /// Ends the cursors of a connection that has ended.
    pub fn end_cursors(&self, room: Room, (user, connection): (&str, &str), streams: BTreeSet<String>) {
        if self.silenced.load(Ordering::Relaxed) || streams.is_empty() {
            return;
        }
        let (api, user, connection) = (self.api.clone(), user.to_owned(), connection.to_owned());
        self.tasks.spawn(async move { api.doc_cursors_end(&room, (&user, &connection), streams).await });
    }

    /// A member that is listed is away, or back.
    pub fn presence_away(&self, room: &Room, member: MemberId, is_away: bool) {
        self.tell(room, Control::Away { member, is_away });
    }

    /// Changes what others see of a member. It is on its way when this returns, so that no later command of the member
    /// overtakes it.
    pub fn presence_set(
        &self,
        room: &Room,
        member: MemberId,
        change: Change,
    ) -> impl Future<Output = Result<Position, FrameError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(room, Control::PresenceSet { member, change, answer });
        async move {
            asked?;
            answered.await.unwrap_or_else(|_| Err(FrameError::unavailable()))
        }
    }

    pub(super) fn api(&self) -> &ModuleApi {
        &self.api
    }

    pub(super) fn presence_ttl(&self) -> Duration {
        self.presence_ttl
    }

    /// The counters of the front.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Ends all rooms after their last words to Redis.
    pub async fn finish(&self) {
        let inboxes: Vec<_> = self.lock().drain().map(|(_, inbox)| inbox).collect();
        for inbox in inboxes {
            inbox.tell(Control::Finish);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// From here on nothing is said to Redis for those who are gone: the front dies.
    pub fn silence(&self) {
        self.silenced.store(true, Ordering::Relaxed);
    }

    /// Forgets a room in which nobody is left, unless somebody is about to join.
    pub(super) fn forget_if_idle(&self, room: &Room, inbox: &Inbox) -> bool {
        let mut rooms = self.lock();
        // Joins are told to the room under this lock, so an empty queue cannot fill now.
        if !inbox.has_control() {
            rooms.remove(room);
            self.metrics.rooms.subtract(1);
            self.api.router().unsubscribe(&self.api.channel(room));
            return true;
        }
        false
    }

    fn with_room(
        self: &Arc<Self>,
        room: &Room,
        ask: impl FnOnce(&Inbox) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        let mut rooms = self.lock();
        ask(rooms.entry(room.clone()).or_insert_with(|| self.start(room)))
    }

    fn start(self: &Arc<Self>, room: &Room) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        let mut actor = Actor::new(room.clone(), self.clone(), inbox.clone());
        self.metrics.rooms.add(1);
        self.tasks.spawn(async move { actor.run().await });
        self.api.router().subscribe(&self.api.channel(room), inbox.clone());
        inbox
    }

    fn ask(&self, room: &Room, request: Control) -> Result<(), FrameError> {
        if self.silenced.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.lock().get(room).map_or(Ok(()), |inbox| inbox.ask(request))
    }

    fn tell(&self, room: &Room, control: Control) {
        if self.silenced.load(Ordering::Relaxed) {
            return;
        }
        if let Some(inbox) = self.lock().get(room) {
            inbox.tell(control);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Room, Arc<Inbox>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
