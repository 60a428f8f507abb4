//! The network between servers that belong together, so that it can be cut: a line in front of each server's port, which
//! others are told of as its own. What is sent over a cut line waits, as on a real one, and goes on when it is mended.
//!
//! Who sends is known by the address: each server calls from one of its own (`bind-source-addr`), everybody else from
//! 127.0.0.1.
//!
//! Lines and not namespaces of the kernel: those take rights that a test should not need.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes that are carried at once, and that may be under way when a line is cut.
const CHUNK_BYTES: usize = 16 * 1024;

/// Which lines are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    /// None.
    #[default]
    Nothing,
    /// Those between this server and the other servers, those who watch it among them; fronts and people reach it.
    FromServers(usize),
    /// Those to this server from who watches it: whoever has a number from `watchers` on.
    FromWatchers {
        /// The server.
        server: usize,
        /// The first who is no server but watches them.
        watchers: usize,
    },
    /// All to and from this server.
    FromEverybody(usize),
}

impl Cut {
    fn cuts(self, from: IpAddr, to: usize) -> bool {
        let caller = number_of(from);
        match self {
            Cut::Nothing => false,
            Cut::FromServers(server) => (to == server && caller.is_some()) || caller == Some(server),
            Cut::FromWatchers { server, watchers } => to == server && caller.is_some_and(|caller| caller >= watchers),
            Cut::FromEverybody(server) => to == server || caller == Some(server),
        }
    }
}

/// The network. Dropping it ends all lines.
pub struct Network {
    cut: watch::Sender<Cut>,
    lines: Vec<JoinHandle<()>>,
    runtime: Handle,
}

/// The port by which others know a server.
pub struct Line {
    /// The port on 127.0.0.1.
    pub port: u16,
    target: Arc<AtomicU16>,
}

impl Line {
    /// Where it leads to from now on.
    pub fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }
}

impl Network {
    /// A network without servers, in the present runtime.
    #[allow(clippy::new_without_default)] // It needs a runtime.
    pub fn new() -> Network {
        Network { cut: watch::Sender::new(Cut::Nothing), lines: Vec::new(), runtime: Handle::current() }
    }

    /// A line to the server with this number.
    pub fn line(&mut self, server: usize) -> Line {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(0));
        let accepting = accept(listener, server, target.clone(), self.cut.subscribe());
        self.lines.push(self.runtime.spawn(accepting));
        Line { port, target }
    }

    /// Cuts these lines and mends all others.
    pub fn cut(&self, cut: Cut) {
        self.cut.send_replace(cut);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.lines.iter().for_each(JoinHandle::abort);
    }
}

/// The address that a server, or one who watches, calls others from.
pub fn address(server: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, u8::try_from(server + 1).unwrap()))
}

fn number_of(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [127, 0, 1, number] => Some(usize::from(number) - 1),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

async fn accept(listener: std::net::TcpListener, server: usize, target: Arc<AtomicU16>, cut: watch::Receiver<Cut>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut lines = JoinSet::new();
    while let Ok((near, caller)) = listener.accept().await {
        lines.spawn(carry(near, caller, server, target.clone(), cut.clone()));
        while lines.try_join_next().is_some() {}
    }
}

/// Carries both ways until one side ends.
async fn carry(
    near: TcpStream,
    caller: SocketAddr,
    server: usize,
    target: Arc<AtomicU16>,
    mut cut: watch::Receiver<Cut>,
) {
    let is_open = move |cut: &Cut| !cut.cuts(caller.ip(), server);
    let _ = cut.wait_for(is_open).await;
    // Who is refused by a server that is down hears of it by the end of the connection.
    let Ok(far) = TcpStream::connect(("127.0.0.1", target.load(Ordering::Relaxed))).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = carry_one_way(near_read, far_write, cut.clone(), is_open) => {}
        () = carry_one_way(far_read, near_write, cut, is_open) => {}
    }
}

async fn carry_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut cut: watch::Receiver<Cut>,
    is_open: impl Fn(&Cut) -> bool,
) {
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        // An end, too, is heard only over a line that is whole.
        let is_over = cut.wait_for(&is_open).await.is_err();
        if is_over || read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_parts_whom_it_names() {
        let people = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (from_servers, from_everybody) = (Cut::FromServers(1), Cut::FromEverybody(1));
        assert!(from_servers.cuts(address(0), 1) && from_servers.cuts(address(1), 0));
        assert!(!from_servers.cuts(people, 1) && !from_servers.cuts(address(0), 2));
        assert!(from_everybody.cuts(people, 1) && from_everybody.cuts(address(1), 2));
        assert!(!from_everybody.cuts(people, 0) && !Cut::Nothing.cuts(address(1), 1));
    }
}
