//! Towards Redis: which server a room lives on, one connection for commands and one for events per server, and what
//! keeps them alive.
//!
//! The client library is used as a plain connection. It never repeats a command (a repetition without the writer's
//! identity could happen twice), never restores subscriptions (it loses some), and its own check for dead
//! connections is not relied on (traffic defeats it): [`shard`], [`subscriptions`] and [`watchdog`] do that here. [`barrier`] waits for replicas and disks.

pub mod barrier;
pub mod shard;
pub mod subscriptions;
pub mod topology;
pub mod watchdog;
