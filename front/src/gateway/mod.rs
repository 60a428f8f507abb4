//! Clients of Socket.IO: an unmodified `socket.io-client` 4 in the same rooms as those of docs/protocol.md.
//!
//! Each namespace that a client enters is one connection of a native session, whose commands are made out of events
//! (`hear`) and whose answers (`answer`) and events (`out`) become events again. So tokens, access, limits, presence,
//! audit, drain and back-pressure are the same code, and nothing here speaks to Redis.
//!
//! Read in this order: `packet` is the wire, `engine` a connection whatever carries it, `door` what carries it, `link` a
//! client in a namespace; `shapes`, `operation` and `known` serve the translation. docs/socketio.md is the whole in prose.

mod ack;
mod answer;
mod door;
mod early;
mod engine;
mod hear;
mod known;
mod link;
mod operation;
mod out;
mod packet;
mod shapes;

pub(crate) use door::serve;
pub(crate) use out::Told;

use crate::chance;
use crate::serve::App;
use crate::session::Visitor;
use engine::{End, Engine};
use known::Known;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Characters of a front's part in the ids of its connections: enough that two fronts do not share one.
const FRONT_LEN: usize = 8;

/// What all clients of Socket.IO share.
pub(crate) struct Gateway {
    app: Arc<App>,
    /// Begins the ids of this front's connections: requests that a balancer sent elsewhere are known at once.
    front: String,
    engines: Mutex<HashMap<String, Arc<Engine>>>,
    known: Known,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("front", &self.front).finish_non_exhaustive()
    }
}

impl Gateway {
    pub(crate) fn new(app: Arc<App>) -> Arc<Self> {
        let front = chance::id()[..FRONT_LEN].to_owned();
        Arc::new(Gateway { app, front, engines: Mutex::default(), known: Known::default() })
    }

    /// A new connection.
    fn open(self: &Arc<Self>, visitor: Visitor) -> Arc<Engine> {
        let id = format!("{}.{}", self.front, chance::id());
        let engine = Engine::new(id.clone(), self.clone(), visitor);
        self.lock().insert(id, engine.clone());
        engine
    }

    fn find(&self, id: &str) -> Option<Arc<Engine>> {
        self.lock().get(id).cloned()
    }

    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Ends a connection whose client enters no namespace in time.
    fn expect_entry(&self, engine: &Arc<Engine>) {
        let (engine, patience) = (engine.clone(), Duration::from_millis(self.app.settings.connect_timeout_ms));
        tokio::spawn(async move {
            tokio::select! {
                () = engine.gone.cancelled() => {}
                () = engine.entered() => {}
                () = tokio::time::sleep(patience) => engine.end(End::Front(crate::close::CloseReason::AuthRequired)),
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Engine>>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
