//! Towards Redis: which server a room lives on, one connection for commands and one for events per server, and what
//! keeps them alive. [`topology`] routes by a layout, which is fixed, or what sentinels or the nodes of a cluster
//! are found to agree on.
//!
//! The client library is used as a plain connection (`client`). It never repeats a command (a repetition without the
//! writer's identity could happen twice), never restores subscriptions (it loses some), and its own check for dead
//! connections is not relied on (traffic defeats it): [`shard`], [`subscriptions`] and [`watchdog`] do that here.
//! [`barrier`] waits for replicas and disks, `breaker` stops asking a server that answers nothing in time, `line`
//! keeps what is tried again in order.

pub mod barrier;
mod breaker;
mod client;
mod cluster;
mod control;
pub mod deployment;
mod layout;
mod line;
mod sentinel;
pub mod shard;
pub mod subscriptions;
pub mod topology;
pub mod watchdog;
