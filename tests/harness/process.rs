//! Fronts as processes of their own, for stories in which one is killed by the kernel or stands still.

use crate::front::{SECRET, http_status};
use crate::module;
use crate::redis::free_port;
use crate::waiting::{self, SOON};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A front in a process. Its port stays the same when it is started again.
///
/// The kernel kills the process when the *thread* that started it ends, so start it on one that lives as long as the
/// story.
pub struct FrontProcess {
    process: Option<Child>,
    redis_url: String,
    arguments: Vec<String>,
    log: PathBuf,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl FrontProcess {
    /// Starts a front that finds Redis at `redis_url` and waits until it is ready. Its log goes into `directory`.
    pub fn start(redis_url: &str, arguments: &[&str], directory: &std::path::Path) -> FrontProcess {
        let port = free_port();
        let mut front = FrontProcess {
            process: None,
            redis_url: redis_url.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            log: directory.join(format!("front-{port}.log")),
            port,
        };
        front.launch();
        front.is_ready_soon();
        front
    }

    /// Starts it again after [`kill`](Self::kill), and does not wait for it.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(module::front_binary());
        command.args(["--listen", &format!("127.0.0.1:{}", self.port), "--threads", "1"]);
        command.env("STOA_LOG", "warn,fred=off");
        command.args(&self.arguments).env("REDIS_URL", &self.redis_url).env("STOA_JWT_SECRET", SECRET);
        // Stories write faster than people; those about limits say so among their arguments.
        command.env("STOA_LIMITS", "off");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap_or_else(|e| panic!("setpriv (of util-linux) does not start: {e}"));
        self.process = Some(process);
    }

    /// Waits until it serves rooms.
    #[track_caller]
    pub fn is_ready_soon(&self) {
        let ready = waiting::poll(SOON * 2, || (http_status(self.port, "/readyz") == Some(200)).then_some(()));
        assert!(ready.is_some(), "the front on port {} is not ready\n{}", self.port, self.log());
    }

    /// `SIGKILL`, also while it stands still, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// `SIGSTOP`: its sockets stay open and nobody reads them.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// `SIGCONT`.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// What it logged since its first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        // setpriv has become the front: the process is the same.
        if let Some(process) = &self.process {
            let sent = Command::new("kill").arg(format!("-{signal}")).arg(process.id().to_string()).status();
            assert!(sent.is_ok_and(|status| status.success()), "the front on port {} is gone", self.port);
        }
    }
}

impl Drop for FrontProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
