//! What an attacker tries, and what they get: one file per door.
#![allow(clippy::unwrap_used)]

#[path = "security/access.rs"]
mod access;
#[path = "security/limits.rs"]
mod limits;
