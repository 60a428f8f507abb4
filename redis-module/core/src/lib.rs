//! The rules of Stoa: who is here, what was said, what a document becomes, who may do how much.
//!
//! *Architecture invariant*: nothing here knows Redis, reads a clock, draws chance or does I/O. `now_ms` and chance
//! come in as arguments, decisions go out.
//!
//! Read in this order: [`bounds`] and [`refusal`] say what is never exceeded and how that is told; [`epoch`],
//! [`identity`] and [`event`] are what all streams share, and [`failover`] says when a server does not decide; then the
//! families.

pub mod bounds;
pub mod codec;
pub mod json;
pub mod refusal;

pub mod changes;
pub mod epoch;
pub mod event;
pub mod failover;
pub mod identity;
pub mod names;

pub mod access;
pub mod log;
pub mod presence;
pub mod rate;
pub mod reference;

pub mod op;

pub mod compose;
pub mod cursor;
pub mod document;
pub mod text;
pub mod transform;
