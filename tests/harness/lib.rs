//! What the stories stand on: a Redis of their own, fronts, people at sockets, and ways to wait for them.
//!
//! Read in this order: [`redis`] starts and stops servers, [`cluster`] several that belong together, [`resp`] talks to
//! them as any Redis client does, [`furnished`] is a room in use and [`payload`] what is stored of it, damaged, [`chance`](mod@chance) is seeded, [`front`] starts fronts, [`issuer`] makes tokens and [`openssl`] keys for them,
//! [`socket`] is one client at the protocol's door, [`bare`] one that sends any bytes,
//! [`editor`] the client's side of a document, [`room`] the language that the stories are told in, [`trace`] replays
//! how people really typed.
//!
//! What proves that nothing is lost, doubled or reordered: [`process`] runs fronts that can be killed and stopped,
//! [`network`] cuts servers off from each other, [`proxy`] loses single events, [`nemesis`] draws and inflicts faults,
//! [`reader`] and [`resuming`] are a client that always comes back, [`history`] is what it writes down, [`ends`] what
//! remains, [`checker`] judges that, and [`damage`] judges the checker.
//!
//! *Invariant*: whatever a test started ends with it, also when it panics or is killed; no port is fixed; nothing
//! waits by sleeping and hoping, everything polls with a deadline (see [`assert_eventually!`]).
#![allow(clippy::unwrap_used)] // A test says what went wrong by failing.

pub mod chance;
pub mod cluster;
pub mod front;
pub mod furnished;
pub mod http;
pub mod issuer;
pub mod module;
pub mod network;
pub mod openssl;
pub mod payload;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod resp;

pub mod bare;
pub mod editor;
pub mod room;
pub mod socket;
pub mod talk;
pub mod trace;
pub mod waiting;

pub mod checker;
pub mod damage;
pub mod ends;
pub mod history;
pub mod nemesis;
pub mod reader;
pub mod resuming;

pub use chance::chance;
pub use cluster::{Cluster, Sentinels};
pub use front::Front;
pub use redis::{Redis, RedisOptions};
pub use resp::{Connection, Reply};
pub use room::{Person, Room};
