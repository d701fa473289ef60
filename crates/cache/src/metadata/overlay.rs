//! Changes that are not in the store yet, over a store.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Entry;
use super::store::MetadataStore;
use crate::error::Result;

/// For each changed key its new value, or that it is gone.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Changes of two batches, the earlier one first.
pub(super) type Earlier<'a> = [&'a Changes; 2];

/// A store as it would be with changes made, the later ones over the earlier ones.
#[derive(Clone, Copy)]
pub(super) struct Overlay<'a> {
    pub(super) store: &'a dyn MetadataStore,
    pub(super) earlier: Earlier<'a>,
    pub(super) later: &'a Changes,
}

impl Overlay<'_> {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let [first, second] = self.earlier;
        match self.later.get(key).or_else(|| second.get(key)).or_else(|| first.get(key)) {
            Some(changed) => Ok(changed.clone()),
            None => self.store.get(key),
        }
    }

    pub(super) fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let changes = self.changes(from, to);
        if changes.is_empty() {
            return self.store.scan(from, to, limit);
        }
        let mut entries = Vec::new();
        let mut changes = changes.into_iter().peekable();
        let mut from = from.to_vec();
        // What is gone makes a page of the store shorter, so one page may not do.
        while entries.len() < limit {
            let wanted = limit - entries.len();
            let page = self.store.scan(&from, to, wanted)?;
            let is_last = page.len() < wanted;
            if let Some((key, _)) = page.last() {
                from.clone_from(key);
                from.push(0);
            }
            for (key, value) in page {
                while let Some((changed, new)) = changes.next_if(|(changed, _)| **changed < key) {
                    entries.extend(new.clone().map(|value| (changed.clone(), value)));
                }
                match changes.next_if(|(changed, _)| **changed == key) {
                    Some((_, new)) => entries.extend(new.clone().map(|value| (key, value))),
                    None => entries.push((key, value)),
                }
            }
            if is_last {
                let rest = changes.filter_map(|(key, new)| Some((key.clone(), new.clone()?)));
                entries.extend(rest);
                break;
            }
        }
        entries.truncate(limit);
        Ok(entries)
    }

    pub(super) fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>> {
        let changes = self.changes(from, to);
        let changed = changes.iter().rev().find_map(|(key, new)| Some(((*key).clone(), (*new).clone()?)));
        let mut to = to.to_vec();
        let stored = loop {
            match self.store.last(from, &to)? {
                Some((key, _)) if changes.contains_key(&key) => to = key,
                stored => break stored,
            }
        };
        Ok(match (changed, stored) {
            (Some(changed), Some(stored)) if changed.0 < stored.0 => Some(stored),
            (Some(changed), _) => Some(changed),
            (None, stored) => stored,
        })
    }

    fn changes(&self, from: &[u8], to: &[u8]) -> BTreeMap<&Vec<u8>, &Option<Vec<u8>>> {
        let bounds = (Bound::Included(from), Bound::Excluded(to.max(from)));
        let [first, second] = self.earlier.map(|changes| changes.range::<[u8], _>(bounds));
        first.chain(second).chain(self.later.range::<[u8], _>(bounds)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::{Batch, Engine as _, Memory};

    fn changes() -> impl Strategy<Value = Changes> {
        proptest::collection::btree_map(
            proptest::collection::vec(0_u8..4, 1..3),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 1)),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn an_overlay_reads_as_if_its_changes_were_made(
            stored in changes(), first in changes(), second in changes(), later in changes(),
            from in proptest::collection::vec(0_u8..4, 0..3), to in proptest::collection::vec(0_u8..5, 0..3),
            limit in 0_usize..8,
        ) {
            let (engine, dir) = (Memory::default(), std::path::Path::new("a"));
            let (store, made) = (engine.open(dir).unwrap(), engine.open(std::path::Path::new("b")).unwrap());
            let mut all = Batch::default();
            for (key, value) in stored.iter().chain(&first).chain(&second).chain(&later) {
                match value {
                    Some(value) => all.put(key.clone(), value.clone()),
                    None => all.delete(key.clone()),
                }
            }
            made.apply(&all).unwrap();
            let mut base = Batch::default();
            for (key, value) in stored.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
                base.put(key.clone(), value.clone());
            }
            store.apply(&base).unwrap();
            let overlay = Overlay { store: &*store, earlier: [&first, &second], later: &later };
            prop_assert_eq!(overlay.scan(&from, &to, limit).unwrap(), made.scan(&from, &to, limit).unwrap());
            prop_assert_eq!(overlay.last(&from, &to).unwrap(), made.last(&from, &to).unwrap());
            prop_assert_eq!(overlay.get(&from).unwrap(), made.get(&from).unwrap());
        }
    }
}
