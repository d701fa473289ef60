//! The keys of an edge: those that lead somewhere, and the names it has in the solver's own cache. Most are both, and stand
//! here once.

use smallvec::SmallVec;

use crate::key::KeyId;
use crate::machine::edge::Key;
use crate::machine::{ANY, LOCAL, SourceIx};

/// A key that leads somewhere.
struct Known {
    source: SourceIx,
    id: KeyId,
    /// Its number among the names in the solver's own cache, from 1; 0 if it is none.
    name: u16,
}

impl Known {
    fn key(&self) -> Key {
        Key { source: self.source, id: self.id }
    }

    /// Whether it stands for the same key of the solver's own cache.
    fn is_here(&self, id: KeyId) -> bool {
        self.id == id && (self.source == LOCAL || self.source == ANY)
    }
}

/// Names in the solver's own cache, with their numbers.
type Names = SmallVec<[(u16, KeyId); 1]>;

/// The keys of an edge, each kind in the order in which they came.
#[derive(Default)]
pub(super) struct Keys {
    known: SmallVec<[Known; 1]>,
    /// Names that lead nowhere yet: what they name is being saved, or was not to be looked for.
    names: Option<Box<Names>>,
}

impl Keys {
    /// How many lead somewhere.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Those that lead somewhere.
    pub(super) fn iter(&self) -> impl Iterator<Item = Key> + '_ {
        self.since(0)
    }

    /// Those that lead somewhere, but for the first so many.
    pub(super) fn since(&self, seen: usize) -> impl Iterator<Item = Key> + '_ {
        self.known.iter().skip(seen).map(Known::key)
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.known.iter().any(|known| known.key() == key)
    }

    /// Adds one that leads somewhere, and is not there yet.
    pub(super) fn push(&mut self, key: Key) {
        let mut known = Known { source: key.source, id: key.id, name: 0 };
        if let Some(names) = &mut self.names
            && let Some(at) = names.iter().position(|(_, id)| known.is_here(*id))
        {
            (known.name, _) = names.remove(at);
            if names.is_empty() {
                self.names = None;
            }
        }
        self.known.push(known);
    }

    /// Adds a name in the solver's own cache, if it is not there.
    pub(super) fn name(&mut self, id: KeyId) {
        if self.is_name(id) {
            return;
        }
        let number = self.names().map(|(number, _)| number).max().unwrap_or(0).saturating_add(1);
        match self.known.iter_mut().find(|known| known.is_here(id)) {
            Some(known) => known.name = number,
            None => self.names.get_or_insert_default().push((number, id)),
        }
    }

    /// Forgets all names in the solver's own cache; what leads somewhere still does.
    pub(super) fn clear_names(&mut self) {
        self.known.iter_mut().for_each(|known| known.name = 0);
        self.names = None;
    }

    /// Whether it is one of the names in the solver's own cache.
    pub(super) fn is_name(&self, id: KeyId) -> bool {
        self.names().any(|(_, known)| known == id)
    }

    /// The names in the solver's own cache.
    pub(super) fn local(&self) -> SmallVec<[KeyId; 1]> {
        let mut names: Names = self.names().collect();
        names.sort_by_key(|(number, _)| *number);
        names.into_iter().map(|(_, id)| id).collect()
    }

    /// The first of its names in the solver's own cache.
    pub(super) fn first_local(&self) -> Option<KeyId> {
        self.names().min_by_key(|(number, _)| *number).map(|(_, id)| id)
    }

    fn names(&self) -> impl Iterator<Item = (u16, KeyId)> + '_ {
        let both = self.known.iter().filter(|known| known.name > 0).map(|known| (known.name, known.id));
        both.chain(self.names.iter().flat_map(|names| names.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_keep_their_own_order_and_are_there_once() {
        let id = |number: u8| KeyId::from_bytes([number; 32]);
        let key = |source, number| Key { source, id: id(number) };
        let mut keys = Keys::default();
        keys.name(id(1));
        keys.push(key(SourceIx(7), 1));
        assert_eq!((keys.len(), keys.first_local()), (1, Some(id(1))), "another source's is no name");
        keys.push(key(LOCAL, 2));
        assert_eq!(keys.local().as_slice(), [id(1)], "what leads somewhere is no name by that");
        keys.name(id(2));
        keys.name(id(3));
        keys.push(key(LOCAL, 1));
        keys.push(key(ANY, 3));
        keys.name(id(1));
        assert_eq!(keys.local().as_slice(), [id(1), id(2), id(3)]);
        assert!(keys.names.is_none(), "all lead somewhere");
        let found: Vec<_> = keys.since(1).collect();
        assert_eq!(found, [key(LOCAL, 2), key(LOCAL, 1), key(ANY, 3)]);
        keys.clear_names();
        assert_eq!((keys.len(), keys.first_local(), keys.is_name(id(1))), (4, None, false));
        assert!(keys.contains(key(ANY, 3)) && !keys.contains(key(LOCAL, 3)));
    }
}
