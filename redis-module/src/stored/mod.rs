//! The native types: how a Rust value lives in a key, in the RDB, in the AOF, in a digest.
//!
//! Each type implements [`Stored`], which is safe; the callbacks that Redis wants are generic over it and stand in
//! `callbacks.rs`.

mod callbacks;
mod types;

pub(crate) use callbacks::{Slot, register};

use std::ffi::CStr;
use stoa_core::codec::Damaged;

/// A value that lives in a key.
pub(crate) trait Stored: Sized + 'static {
    /// Nine characters, for ever: every RDB file carries them.
    const TYPE_NAME: &'static CStr;
    /// The command that replicas and AOF receive.
    const EFFECT: &'static CStr;
    /// Whether anything in it ends by itself.
    const ENDS: bool = false;

    /// Where the server's handle of the type is kept.
    fn slot() -> &'static Slot;
    /// Everything, for RDB and AOF. Leads with its own version byte.
    fn encode(&self) -> Vec<u8>;
    /// Reads what `encode` wrote, and refuses anything else without a panic.
    fn decode(bytes: &[u8]) -> Result<Self, Damaged>;
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;
    /// Roughly how many allocations freeing takes; large ones are freed on another thread.
    fn free_effort(&self) -> usize;
    /// The value was copied or restored: its next write opens a new epoch.
    fn detach(&mut self);
    /// Called when the value arrived by loading, so that its deadlines are known.
    fn loaded(&self, key: &[u8]) {
        let _ = key;
    }
}
