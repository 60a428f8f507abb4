//! Rooms inside Redis.
