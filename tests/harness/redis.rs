//! A Redis of one's own: a server in a directory of its own, on a port of its own, gone when the test is gone.

use crate::module;
use crate::resp::{Connection, Reply, Subscriber};
use crate::waiting::{self, SOON};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tempfile::TempDir;

/// How a server is started.
#[derive(Clone)]
pub struct RedisOptions {
    server: PathBuf,
    lines: Vec<String>,
    module: bool,
    module_arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
    is_sentinel: bool,
    is_bare: bool,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `SIGKILL`: it has no time to do anything.
    Killed,
    /// `SHUTDOWN`: it saves what it is told to save.
    Stopped,
}

impl RedisOptions {
    /// A line of its configuration, after those that every test has.
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// An append-only file that is written and synced with each command, so that a killed server has lost nothing.
    pub fn aof(self) -> Self {
        self.line("appendonly yes").line("appendfsync always")
    }

    /// An argument of the module.
    pub fn module_argument(mut self, argument: &str) -> Self {
        self.module_arguments.push(argument.to_owned());
        self
    }

    /// A variable of its environment.
    pub fn environment(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Another server than the one under test, for stories of old ones.
    pub fn server(mut self, binary: impl Into<PathBuf>) -> Self {
        self.server = binary.into();
        self
    }

    /// Without the lines that every test has and old servers do not know.
    pub fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// A server without the module.
    pub fn without_module(mut self) -> Self {
        self.module = false;
        self
    }

    /// No server of data but one that watches such servers; its lines say which.
    pub fn sentinel(mut self) -> Self {
        (self.is_sentinel, self.module) = (true, false);
        self
    }

    /// A replica of another server; [`Redis::in_sync_with`] waits until it has caught up.
    pub fn replica_of(self, primary: &Redis) -> Self {
        self.line(format!("replicaof 127.0.0.1 {}", primary.port))
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Redis {
        let directory = tempfile::Builder::new().prefix("stoa-redis-").tempdir().unwrap();
        // Somebody may take the port between the look and the start: then the next one.
        for _ in 0..5 {
            let port = free_port();
            let mut redis = Redis {
                process: None,
                port,
                directory: directory.path().to_owned(),
                options: self.clone(),
                control: Mutex::new(None),
                is_paused: AtomicBool::new(false),
                _owned: None,
            };
            // Once: sentinels have a server write into it whom it follows, and that holds when it starts again.
            std::fs::write(redis.directory.join("redis.conf"), redis.configuration()).unwrap();
            if redis.launch() {
                redis._owned = Some(directory);
                return redis;
            }
        }
        panic!("no port on which {} starts", self.server.display());
    }
}

/// A running server. The connection that its own methods use is opened again when it was lost.
pub struct Redis {
    process: Option<Child>,
    /// The port on 127.0.0.1; stays the same across a restart.
    pub port: u16,
    directory: PathBuf,
    options: RedisOptions,
    control: Mutex<Option<Connection>>,
    is_paused: AtomicBool,
    _owned: Option<TempDir>,
}

impl Redis {
    /// A server with the module, without persistence.
    pub fn start() -> Redis {
        Redis::options().start()
    }

    /// The choices for a server. Its binary is what `STOA_REDIS_SERVER` names, else `redis-server`.
    pub fn options() -> RedisOptions {
        RedisOptions {
            server: std::env::var_os("STOA_REDIS_SERVER").unwrap_or("redis-server".into()).into(),
            lines: Vec::new(),
            module: true,
            module_arguments: Vec::new(),
            environment: Vec::new(),
            is_sentinel: false,
            is_bare: false,
        }
    }

    /// The address as fronts take it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// One command on the server's own connection; errors are replies.
    #[track_caller]
    pub fn call(&self, words: &[&str]) -> Reply {
        let mut control = self.control();
        let was_open = control.is_some();
        let connection = control.get_or_insert_with(|| Connection::to(self.port).unwrap());
        match connection.try_call(words) {
            Ok(reply) => reply,
            // Sentinels end everybody's connections when a server becomes a replica.
            Err(e) if was_open && is_cut(&e) => {
                *control = None;
                drop(control);
                self.call(words)
            }
            Err(e) => {
                *control = None;
                drop(control);
                panic!("{}: {e}", words.join(" "))
            }
        }
    }

    /// As [`call`](Self::call), and fails the story when the server refuses.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> Reply {
        match self.call(words) {
            Reply::Error(error) => panic!("{}: {error}", words.join(" ")),
            reply => reply,
        }
    }

    /// As [`call`](Self::call), for arguments that are not text.
    #[track_caller]
    pub fn call_bytes(&self, words: &[&[u8]]) -> Reply {
        self.control().get_or_insert_with(|| Connection::to(self.port).unwrap()).call_bytes(words)
    }

    /// Another connection, speaking RESP2.
    pub fn connect(&self) -> Connection {
        Connection::to(self.port).unwrap()
    }

    /// Another connection, speaking RESP3.
    pub fn connect_resp3(&self) -> Connection {
        Connection::resp3(self.port).unwrap()
    }

    /// A plain Redis client that listens to a room.
    pub fn listen(&self, room: &str) -> Subscriber {
        Subscriber::to(self.port, &format!("stoa:{{{room}}}"))
    }

    /// A digest of everything that is stored.
    #[track_caller]
    pub fn digest(&self) -> String {
        self.ok(&["DEBUG", "DIGEST"]).text()
    }

    /// The digest of one key's value.
    #[track_caller]
    pub fn digest_of(&self, key: &str) -> String {
        self.ok(&["DEBUG", "DIGEST-VALUE", key]).items()[0].text()
    }

    /// A field of `INFO`.
    #[track_caller]
    pub fn info(&self, field: &str) -> Option<String> {
        let info = self.ok(&["INFO", "everything"]).text();
        info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
    }

    /// Writes what there is into the append-only file anew: what comes later follows in a file of its own.
    #[track_caller]
    pub fn rewrite_file(&self) {
        self.ok(&["BGREWRITEAOF"]);
        let is_over = |field| self.info(field).as_deref() == Some("0");
        crate::assert_eventually!(is_over("aof_rewrite_in_progress") && is_over("aof_rewrite_scheduled"));
        assert_eq!(self.info("aof_last_bgrewrite_status").as_deref(), Some("ok"), "{}", self.log());
    }

    /// Waits until this replica has applied everything that `primary` has written by now.
    #[track_caller]
    pub fn in_sync_with(&self, primary: &Redis) {
        let caught_up = waiting::poll(SOON * 2, || {
            let linked = self.info("master_link_status").as_deref() == Some("up");
            (linked && self.info("slave_repl_offset") == primary.info("master_repl_offset")).then_some(())
        });
        assert!(caught_up.is_some(), "the replica did not catch up\n{}", self.log());
    }

    /// Ends the server and starts it again on the same port with the same directory.
    pub fn restart(&mut self, ending: Ending) {
        match ending {
            Ending::Killed => self.kill(),
            Ending::Stopped => self.stop(),
        }
        assert!(self.launch(), "port {} was taken during the restart", self.port);
    }

    /// Starts the server again after [`kill`](Self::kill) or [`stop`](Self::stop).
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        assert!(self.launch(), "port {} was taken meanwhile", self.port);
    }

    /// `SIGKILL`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.is_paused.store(false, Ordering::Relaxed);
        *self.control() = None;
    }

    /// `SHUTDOWN`, and waits until it is gone.
    pub fn stop(&mut self) {
        let _ = self.connect().try_call(&["SHUTDOWN"]);
        if let Some(mut process) = self.process.take() {
            let ended = waiting::poll(SOON, || process.try_wait().unwrap());
            assert!(ended.is_some(), "it does not stop\n{}", self.log());
        }
        *self.control() = None;
    }

    /// Whether its process is there; it may be stopped all the same.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Stops its process where it stands, or lets it go on.
    pub fn pause(&self, is_paused: bool) {
        let signal = if is_paused { "-STOP" } else { "-CONT" };
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Gives up the connection that its own methods use: the next one of them makes another.
    pub fn hang_up(&self) {
        *self.control() = None;
    }

    /// Whether it can answer.
    pub fn is_awake(&self) -> bool {
        self.is_running() && !self.is_paused.load(Ordering::Relaxed)
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its log since the first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("redis.log")).unwrap_or_default()
    }

    fn control(&self) -> MutexGuard<'_, Option<Connection>> {
        self.control.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// False when the port was taken; panics when it does not start for another reason.
    fn launch(&mut self) -> bool {
        // The kernel kills the server when the test's process dies in whatever way; Drop cannot see a SIGKILL.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&self.options.server);
        let process = command
            .arg(self.directory.join("redis.conf"))
            .args(self.options.is_sentinel.then_some("--sentinel"))
            .envs(self.options.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("setpriv (of util-linux) does not start: {e}"));
        self.process = Some(process);
        // A long file takes its time on a loaded machine, and says so.
        let answers = waiting::poll(SOON * 6, || {
            if let Ok(Some(status)) = self.process.as_mut().unwrap().try_wait() {
                return Some(Err(status));
            }
            let reply = Connection::to(self.port).ok()?.try_call(&["PING"]).ok()?;
            (reply == Reply::Status("PONG".into())).then_some(Ok(()))
        });
        match answers {
            Some(Ok(())) => true,
            Some(Err(_)) if self.log().contains("Address already in use") => false,
            Some(Err(status)) => {
                panic!("{} ended at its start ({status})\n{}", self.options.server.display(), self.log())
            }
            None => panic!("{} does not answer\n{}", self.options.server.display(), self.log()),
        }
    }

    fn configuration(&self) -> String {
        let directory = self.directory.display();
        let mut lines = vec![
            format!("port {}", self.port),
            "bind 127.0.0.1".into(),
            format!("dir {directory}"),
            format!("logfile {directory}/redis.log"),
        ];
        if self.options.is_sentinel || self.options.is_bare {
            lines.extend(self.options.lines.iter().cloned());
            return lines.join("\n") + "\n";
        }
        lines.extend([
            // What is not asked for must not write: a story that needs a file says so.
            "save \"\"".into(),
            "enable-debug-command yes".into(),
            // A replica is there at once instead of after the five seconds that gather others.
            "repl-diskless-sync-delay 0".into(),
        ]);
        if self.options.module {
            let arguments = self.options.module_arguments.join(" ");
            lines.push(format!("loadmodule {} {arguments}", module::path().display()));
        }
        lines.extend(self.options.lines.iter().cloned());
        lines.join("\n") + "\n"
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What it says at every start, of itself and of the machine's memory, helps nobody.
            let log = self.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("vm.overcommit")).collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("--- log of the Redis on port {} ---", self.port);
            lines[last..].iter().for_each(|line| eprintln!("{line}"));
            eprintln!("--- end of log ---");
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Whether the other side ended the connection.
fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// A port that is free now. Outside the range from which the kernel takes the ports of outgoing connections, so that
/// a restarted server finds its port free; starting somewhere else in each process, so that tests seldom collide.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 18_000;
    const COUNT: u16 = 14_000;
    let start = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Ends are kept in whole milliseconds, and the one that is running when an end is set counts as passed.
const CLOCK_UNIT: Duration = Duration::from_millis(1);

/// An end that was asked for in `due` came when it was due: not before it, and within [`SLACK`] after it.
pub fn assert_on_time(after: Duration, due: Duration) {
    assert!(after + CLOCK_UNIT >= due, "too early: {after:?} instead of {due:?}");
    assert!(after < due + SLACK, "too late: {after:?} instead of {due:?}");
}

/// How long a story that needs a lease or a timer waits beyond it: what the module promises is 100 ms, the rest is
/// for a loaded machine.
pub const SLACK: Duration = Duration::from_millis(1_500);
