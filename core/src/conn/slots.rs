//! Things by slot and generation: a stale id finds nothing. Pure.

use super::id::ConnId;
use slab::Slab;

/// A slab whose ids are never used twice.
pub(crate) struct Slots<T> {
    slab: Slab<(ConnId, T)>,
    /// Highest slot ever used, plus one.
    high: usize,
    stamp: u64,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots { slab: Slab::new(), high: 0, stamp: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Slots to look at when going through all.
    pub(crate) fn slots(&self) -> usize {
        self.high
    }

    pub(crate) fn insert(&mut self, item: T) -> ConnId {
        let entry = self.slab.vacant_entry();
        self.stamp += 1;
        let id = ConnId::new(entry.key(), self.stamp);
        self.high = self.high.max(entry.key() + 1);
        entry.insert((id, item));
        id
    }

    pub(crate) fn id_at(&self, slot: usize) -> Option<ConnId> {
        self.slab.get(slot).map(|(id, _)| *id)
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&T> {
        self.slab.get(id.slot()).filter(|(own, _)| *own == id).map(|(_, item)| item)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        self.slab.get_mut(id.slot()).filter(|(own, _)| *own == id).map(|(_, item)| item)
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<T> {
        self.get(id)?;
        Some(self.slab.remove(id.slot()).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots = Slots::new();
        let old = slots.insert('a');
        assert_eq!(slots.remove(old), Some('a'));
        let new = slots.insert('b');
        assert_eq!(old.slot(), new.slot());
        assert_eq!((slots.get(old), slots.get(new)), (None, Some(&'b')));
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.id_at(new.slot()), Some(new));
        assert_eq!(ConnId::from_u64(new.to_u64()), new);
        assert!(new.to_u64() < 1 << ConnId::BITS);
    }
}
