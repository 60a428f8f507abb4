//! Towards Redis: which server a room lives on, one connection for commands and one for events per server, and what
//! keeps them alive. [`topology`] routes by a layout, which is fixed, or what sentinels or the nodes of a cluster
//! are found to agree on.
//!
//! The client library is used as a plain connection. It never repeats a command (a repetition without the writer's
//! identity could happen twice), never restores subscriptions (it loses some), and its own check for dead
//! connections is not relied on (traffic defeats it): [`shard`], [`subscriptions`] and [`watchdog`] do that here. [`barrier`] waits for replicas and disks.

pub mod barrier;
mod cluster;
mod control;
pub mod deployment;
mod layout;
mod sentinel;
pub mod shard;
pub mod subscriptions;
pub mod topology;
pub mod watchdog;
