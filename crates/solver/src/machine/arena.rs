//! Things by their place, in chunks: nothing moves when there is more, and no more than a chunk is there in vain.

use std::ops::{Index, IndexMut};

/// How many things a chunk has.
const CHUNK: usize = 64;

enum Slot<T> {
    /// With the free place that was there before.
    Free(Option<usize>),
    Taken(T),
}

/// Things by their place. Places are used again, the last that became free first.
pub(super) struct Arena<T> {
    chunks: Vec<Vec<Slot<T>>>,
    /// The place that is taken next, if it is not a new one.
    free: Option<usize>,
    len: usize,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: None, len: 0 }
    }
}

impl<T> Arena<T> {
    /// Adds something and says where it is.
    pub(super) fn insert(&mut self, item: T) -> usize {
        self.len += 1;
        if let Some(at) = self.free {
            let slot = &mut self.chunks[at / CHUNK][at % CHUNK];
            if let Slot::Free(next) = std::mem::replace(slot, Slot::Taken(item)) {
                self.free = next;
            }
            return at;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunks = self.chunks.len();
        let chunk = &mut self.chunks[chunks - 1];
        chunk.push(Slot::Taken(item));
        (chunks - 1) * CHUNK + chunk.len() - 1
    }

    /// Takes out what is at a place. When nothing is left, neither is the memory.
    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        let slot = self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)?;
        if matches!(slot, Slot::Free(_)) {
            return None;
        }
        let taken = std::mem::replace(slot, Slot::Free(self.free));
        self.free = Some(at);
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
        match taken {
            Slot::Taken(item) => Some(item),
            Slot::Free(_) => None,
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        match self.chunks.get(at / CHUNK)?.get(at % CHUNK)? {
            Slot::Taken(item) => Some(item),
            Slot::Free(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        match self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)? {
            Slot::Taken(item) => Some(item),
            Slot::Free(_) => None,
        }
    }

    /// All that there is, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.chunks.iter().flatten().enumerate().filter_map(|(at, slot)| match slot {
            Slot::Taken(item) => Some((at, item)),
            Slot::Free(_) => None,
        })
    }
}

impl<T> Index<usize> for Arena<T> {
    type Output = T;

    #[allow(clippy::expect_used, reason = "indexing is for places that are known to be taken")]
    fn index(&self, at: usize) -> &T {
        self.get(at).expect("a place that is taken")
    }
}

impl<T> IndexMut<usize> for Arena<T> {
    #[allow(clippy::expect_used, reason = "indexing is for places that are known to be taken")]
    fn index_mut(&mut self, at: usize) -> &mut T {
        self.get_mut(at).expect("a place that is taken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_what_is_there_stays_where_it_is() {
        let mut arena = Arena::default();
        let places: Vec<_> = (0..3 * CHUNK).map(|item| arena.insert(item)).collect();
        assert_eq!(places, (0..3 * CHUNK).collect::<Vec<_>>());
        assert_eq!((arena.remove(5), arena.remove(100), arena.remove(5)), (Some(5), Some(100), None));
        assert_eq!((arena.get(5), arena.get(6), arena.get(3 * CHUNK)), (None, Some(&6), None));
        assert_eq!(arena.iter().count(), 3 * CHUNK - 2);
        assert_eq!((arena.insert(1000), arena.insert(1001), arena.insert(1002)), (100, 5, 3 * CHUNK));
        assert_eq!((arena[100], arena[5], arena[6]), (1000, 1001, 6));
    }

    #[test]
    fn an_empty_one_keeps_nothing() {
        let mut arena = Arena::default();
        (0..2 * CHUNK).for_each(|item| assert_eq!(arena.insert(item), item));
        (0..2 * CHUNK).rev().for_each(|at| assert_eq!(arena.remove(at), Some(at)));
        assert!(arena.chunks.is_empty());
        assert_eq!(arena.insert(7), 0);
    }
}
