//! Who wrote what is kept: each (user, client) stands once, however many operations it wrote.

use foldhash::HashMap;
use std::sync::Arc;

/// Ids hold no control characters, so this parts user and client.
const SEPARATOR: char = '\0';

#[derive(Debug, Clone, Default)]
pub(super) struct Authors {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_name: HashMap<Arc<str>, u32>,
    /// Where a name is put together to look it up, so that looking up allocates nothing.
    scratch: String,
}

#[derive(Debug, Clone)]
struct Slot {
    name: Arc<str>,
    operations: u32,
}

impl Authors {
    /// The slot of an author, who now has one operation more.
    pub(super) fn hold(&mut self, user: &str, client: &str) -> u32 {
        self.scratch.clear();
        self.scratch.push_str(user);
        self.scratch.push(SEPARATOR);
        self.scratch.push_str(client);
        if let Some(at) = self.by_name.get(self.scratch.as_str()).copied() {
            if let Some(slot) = self.slots.get_mut(at as usize) {
                slot.operations += 1;
            }
            return at;
        }
        let name: Arc<str> = self.scratch.as_str().into();
        let slot = Slot { name: Arc::clone(&name), operations: 1 };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_name.insert(name, at);
        at
    }

    /// One operation of this author is no longer kept.
    pub(super) fn release(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        slot.operations = slot.operations.saturating_sub(1);
        if slot.operations == 0 {
            self.by_name.remove(&slot.name);
            slot.name = Arc::from("");
            self.free.push(at);
        }
    }

    /// User and client of a slot.
    pub(super) fn get(&self, at: u32) -> (&str, &str) {
        self.slots.get(at as usize).and_then(|slot| slot.name.split_once(SEPARATOR)).unwrap_or_default()
    }

    /// Bytes held on the heap, within a few per cent.
    pub(super) fn heap_bytes(&self) -> usize {
        // An Arc's two counters lead its text.
        let names: usize = self.slots.iter().map(|slot| slot.name.len() + 16).sum();
        let table = self.by_name.capacity() * 8 / 7 * (size_of::<(Arc<str>, u32)>() + 1);
        self.slots.capacity() * size_of::<Slot>() + self.free.capacity() * 4 + table + self.scratch.capacity() + names
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }
}
