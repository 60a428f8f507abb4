//! The relay: what comes over a room's channel goes to the room's members.
//!
//! Read in this order: [`room`] holds the rules of delivery and does no I/O; `actor` carries out what they say, one
//! task per live room, `inbox` what waits for it; `presence` keeps the leases of those who are here through this front,
//! [`access`] what each of them may do; [`hub`] finds the rooms.

mod event;
mod inbox;
mod members;
pub mod room;

pub mod access;
mod actor;
mod presence;

pub mod hub;
