//! What an attacker tries, and what they get: one file per door. Each line of a table is one bad input with the answer it
//! has to get; none stops a front or Redis, and none is answered late.
//!
//! What is wrong below the frames is in tests/bad_socket.rs, wrong fields of commands are in tests/bad_input.rs.
#![allow(clippy::unwrap_used)]

#[path = "security/access.rs"]
mod access;
#[path = "security/frames.rs"]
mod frames;
#[path = "security/handshake.rs"]
mod handshake;
#[path = "security/limits.rs"]
mod limits;
#[path = "security/shown.rs"]
mod shown;
#[path = "security/tls.rs"]
mod tls;
#[path = "security/tokens.rs"]
mod tokens;
