//! The front of Stoa: WebSocket outside, one module command inside.
//!
//! A front decides nothing and keeps nothing that it could not lose. A client's frame becomes one command of the
//! module; an event of the module becomes the same bytes to every member of the room.
//!
//! Read in this order: [`serve`] starts and stops a front; [`frame`] is the whole protocol; [`conn`] is one connection as
//! bytes, [`session`] what a client says over it; [`module_api`] is the only file that names commands; [`relay`] is the way
//! back, with the rules of delivery in [`relay::room`]; [`redis`] keeps the connections to Redis alive. `http` is all that is
//! no WebSocket, `gateway` what clients of Socket.IO speak, `drain` how a front leaves, [`acks`] how safe a write has to
//! be, [`limits`] how much is allowed, `audit` what is written down of it.

// A test that unwraps says where it failed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod serve;
pub mod settings;

pub mod close;
pub mod frame;
pub mod names;

pub mod access;
pub mod acks;
pub mod auth;
pub mod conn;
pub mod limits;
pub mod session;

pub mod module_api;
pub mod redis;
pub mod relay;

mod audit;
mod chance;
mod drain;
mod gateway;
mod http;
pub mod metrics;
mod proxy_protocol;
pub mod telemetry;
mod tls;

pub use serve::Front;
pub use settings::Settings;
