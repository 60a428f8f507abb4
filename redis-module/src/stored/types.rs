//! Which types there are.

use super::{Slot, Stored};
use std::ffi::CStr;
use stoa_core::access::Access;
use stoa_core::codec::Damaged;
use stoa_core::document::Document;
use stoa_core::log::Log;
use stoa_core::presence::Presence;

macro_rules! stored {
    ($type:ty, $name:literal, $effect:literal, $free_effort:expr $(, loaded: $loaded:expr)?) => {
        impl Stored for $type {
            const TYPE_NAME: &'static CStr = $name;
            const EFFECT: &'static CStr = $effect;
            fn slot() -> &'static Slot {
                static SLOT: Slot = Slot::empty();
                &SLOT
            }
            fn encode(&self) -> Vec<u8> {
                <$type>::encode(self)
            }
            fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
                <$type>::decode(bytes)
            }
            fn heap_bytes(&self) -> usize {
                <$type>::heap_bytes(self)
            }
            fn free_effort(&self) -> usize {
                $free_effort(self)
            }
            fn detach(&mut self) {
                <$type>::detach(self);
            }
            $(const ENDS: bool = true;
            fn loaded(&self, key: &[u8]) {
                $loaded(self, key);
            })?
        }
    };
}

stored!(Log, c"stoa-logs", c"MSG.APPLY", Log::len, loaded: crate::deadlines::log_loaded);
stored!(Document, c"stoa-docs", c"DOC.APPLY", Document::free_effort);
stored!(Presence, c"stoa-here", c"PRESENCE.APPLY", Presence::free_effort, loaded: crate::deadlines::presence_loaded);
stored!(Access, c"stoa-acls", c"ROOM.APPLY", Access::free_effort, loaded: crate::deadlines::access_loaded);
