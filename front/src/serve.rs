//! Starts and stops a front.

use crate::audit::Audit;
use crate::auth::{Auth, Identity};
use crate::chance;
use crate::conn::Wheel;
use crate::conn::budget::Budget;
use crate::drain::Drain;
use crate::frame::FrameError;
use crate::http;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::module_api::ModuleApi;
use crate::names::Keys;
use crate::proxy_protocol;
use crate::redis::topology::ShardRouter;
use crate::relay::hub::Hub;
use crate::settings::{AuthSettings, Settings};
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use socket2::SockRef;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Time for the head of an HTTP request: who sends a byte a minute only wants to hold a socket.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of HTTP that are buffered per connection, in each direction: a head with a long `resume`, or the part of a
/// stream that the socket has not taken yet.
const HTTP_BUFFER_BYTES: usize = 64 * 1024;
/// Connections that wait to be accepted, in number: everybody comes back at once after a restart.
const BACKLOG: u32 = 4096;
/// Time for the leaves at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Pause after a failed accept: the system is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every part of a front shares.
pub struct App {
    pub(crate) settings: Settings,
    pub(crate) auth: Auth,
    pub(crate) api: ModuleApi,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    /// How much is allowed.
    pub(crate) limits: Arc<Limits>,
    /// What is written down.
    pub(crate) audit: Arc<Audit>,
    /// Since when this front counts.
    pub(crate) began: Instant,
    pub(crate) wheel: Arc<Wheel>,
    /// What waits for all connections together.
    pub(crate) queued: Arc<Budget>,
    /// What is kept of all messages that are not complete.
    pub(crate) partial: Arc<Budget>,
    /// How far the front has come with stopping.
    pub(crate) drain: Drain,
    /// The connections.
    pub(crate) sessions: TaskTracker,
}

impl App {
    /// Believes a token that nobody withdrew. What is said otherwise: see [`Auth::verify`].
    pub(crate) async fn believe(&self, token: &str) -> Result<Identity, FrameError> {
        let identity = self.auth.verify(token).await?;
        if let Some(id) = &identity.token_id {
            self.limits.unless_withdrawn(id).await?;
        }
        Ok(identity)
    }
}

/// Where a request comes from, as the socket says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

/// A running front. It has a runtime of its own, so that several run in one process and one can die alone.
pub struct Front {
    address: SocketAddr,
    app: Arc<App>,
    runtime: Option<Runtime>,
}

impl Front {
    /// Starts a front. Returns once it listens; Redis may come later.
    pub async fn start(settings: Settings) -> Result<Front, String> {
        settings.check()?;
        let auth = Auth::new(&settings)?;
        let runtime = runtime(&settings)?;
        let serving = runtime.spawn(serve(settings, auth));
        let started = serving.await.unwrap_or_else(|e| Err(format!("the front did not start: {e}")));
        match started {
            Ok((address, app)) => Ok(Front { address, app, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has counted.
    pub fn metrics(&self) -> &Metrics {
        &self.app.metrics
    }

    /// Whether rooms can be served.
    pub fn is_ready(&self) -> bool {
        !self.app.drain.is_announced() && self.app.api.router().is_ready() && self.app.auth.is_ready()
    }

    /// Stops in order: not ready any more; after [`Settings::drain_delay_ms`] no new connections; everybody is sent away
    /// within [`Settings::drain_ms`], after the answers that are under way; Redis hears who left. Ends after
    /// [`Settings::shutdown_timeout_ms`] in any case, and at once if it is dropped.
    pub async fn shutdown(mut self) {
        let app = self.app.clone();
        let settings = &app.settings;
        let deadline = Instant::now() + Duration::from_millis(settings.shutdown_timeout_ms);
        app.drain.announce();
        let orderly = async {
            tokio::time::sleep(Duration::from_millis(settings.drain_delay_ms)).await;
            app.drain.begin(app.metrics.connections.get() as usize, Duration::from_millis(settings.drain_ms));
            app.wheel.wake_all();
            app.sessions.close();
            // Whoever does not read must not keep Redis from hearing who left.
            let _ = tokio::time::timeout_at(deadline - LAST_WORDS, app.sessions.wait()).await;
            app.hub.finish().await;
            app.limits.finish().await;
            app.audit.finish().await;
        };
        if tokio::time::timeout_at(deadline, orderly).await.is_err() {
            tracing::warn!("not everything ended in time; stopping all the same");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Dies as a process does: sockets drop, nobody is told anything.
    pub fn kill(mut self) {
        self.die();
    }

    fn die(&mut self) {
        self.app.hub.silence();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.die();
    }
}

fn runtime(settings: &Settings) -> Result<Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if settings.threads > 0 {
        builder.worker_threads(settings.threads);
    }
    builder.enable_all().thread_name("stoa-front").build().map_err(|e| format!("no runtime: {e}"))
}

async fn serve(settings: Settings, auth: Auth) -> Result<(SocketAddr, Arc<App>), String> {
    let listener = listen(settings.listen).map_err(|e| format!("cannot listen on {}: {e}", settings.listen))?;
    let addr = listener.local_addr().map_err(|e| format!("the listener has no address: {e}"))?;
    let keys = Keys::new(&settings.prefix);
    // Tasks towards Redis last as long as the runtime.
    let tasks = TaskTracker::new();
    let acks = settings.acks();
    let profile = ModuleApi::profile(&keys, &acks, settings.ack_timeout());
    let router = ShardRouter::start(&settings.redis()?, profile, settings.redis_patience(), &tasks)?;
    let node = chance::id();
    let table = Arc::new(settings.limits.table());
    let api = ModuleApi::new(router, keys, &node, acks, table.clone());
    let metrics = Arc::new(Metrics::default());
    let limits = Arc::new(Limits::new(table, settings.limits.clone(), api.clone(), metrics.clone()));
    let audit = Audit::start(&settings.limits, api.clone(), metrics.clone());
    let ttl = Duration::from_millis(settings.presence_ttl_ms);
    let hub = Hub::new(api.clone(), ttl, settings.access.roles(), metrics.clone());
    let (drain, sessions) = (Drain::default(), TaskTracker::new());
    let (queued, partial) =
        (Budget::new(settings.queued_bytes_total_max), Budget::new(settings.partial_bytes_total_max));
    let wheel = Wheel::start();
    let began = Instant::now();
    let app = Arc::new(App {
        settings,
        auth,
        api,
        hub,
        metrics,
        limits,
        audit,
        began,
        wheel,
        queued,
        partial,
        drain,
        sessions,
    });
    app.auth.keep_keys();
    let relieved = app.clone();
    tokio::spawn(async move { relieved.wheel.relieve(&relieved.queued).await });
    tracing::info!(%addr, node, demo = app.settings.auth.demo, "listening");
    let patience = app.settings.ping_interval() + app.settings.pong_timeout();
    if let Some(address) = app.settings.metrics_listen {
        let listener = listen(address).map_err(|e| format!("cannot listen on {address} for metrics: {e}"))?;
        let until = app.clone();
        let until = async move { until.sessions_ended().await };
        let door = Door { proxies: None, ..Door::new(&app.settings.auth, patience) };
        tokio::spawn(accept(listener, http::metrics_routes(app.clone()), door, until));
    }
    let until = app.clone();
    let until = async move { until.drain.begun().await };
    let door = Door::new(&app.settings.auth, patience);
    tokio::spawn(accept(listener, http::routes(app.clone()), door, until));
    Ok((addr, app))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A front that is started again must not wait for the sockets of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How sockets are taken in.
struct Door {
    /// A socket whose other side takes nothing for so long is given up.
    patience: Duration,
    /// One for each socket that speaks HTTP still.
    places: Arc<Semaphore>,
    /// Every connection begins with the PROXY protocol, from one of these.
    proxies: Option<Arc<[IpNet]>>,
}

impl Door {
    fn new(settings: &AuthSettings, patience: Duration) -> Self {
        let places = usize::try_from(settings.connections_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let proxies = settings.proxy_protocol.then(|| settings.trusted_proxies.clone().into());
        Door { patience, places: Arc::new(Semaphore::new(places)), proxies }
    }
}

/// Serves who comes, until `until`; then the listener is closed.
async fn accept(listener: TcpListener, routes: axum::Router, door: Door, until: impl Future<Output = ()>) {
    let mut until = std::pin::pin!(until);
    let service = TowerToHyperService::new(routes);
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut until => return,
        };
        // Whoever is one too many is told nothing: saying it would take as long as serving.
        let Ok(place) = door.places.clone().try_acquire_owned() else { continue };
        // What HTTP has written is out of our sight; only the system knows that nobody acknowledges it.
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(door.patience));
        let (proxies, service) = (door.proxies.clone(), service.clone());
        tokio::spawn(async move {
            serve_connection(stream, PeerAddress(address.ip()), proxies.as_deref(), service).await;
            drop(place);
        });
    }
}

async fn serve_connection(
    mut stream: TcpStream,
    mut peer: PeerAddress,
    proxies: Option<&[IpNet]>,
    service: TowerToHyperService<axum::Router>,
) {
    let _ = stream.set_nodelay(true);
    if let Some(proxies) = proxies {
        let address = peer.0.to_canonical();
        if !proxies.is_empty() && !proxies.iter().any(|network| network.contains(&address)) {
            return;
        }
        match proxy_protocol::read(&mut stream).await {
            Ok(named) => peer = named.map_or(peer, PeerAddress),
            Err(error) => {
                tracing::debug!(%error, %address, "a connection did not begin with the PROXY protocol");
                return;
            }
        }
    }
    // The library's own time begins with the first byte.
    if !matches!(tokio::time::timeout(HEADER_TIMEOUT, stream.peek(&mut [0])).await, Ok(Ok(1))) {
        return;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HTTP_BUFFER_BYTES);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    // What goes wrong here is the other side's doing: it went away or does not speak HTTP.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

impl App {
    async fn sessions_ended(&self) {
        self.drain.begun().await;
        self.sessions.wait().await;
    }
}
