//! What a closure that writes works on.

use super::overlay::{Changes, Earlier, Overlay};
use super::space::after_prefix;
use super::{Entry, MetadataStore, Read, Space};
use crate::error::{Error, Result};

/// Longer than any key of ours, in bytes, without the name of its space.
const KEY: usize = 4096;
/// A value is far from what sled keeps outside its log, in bytes.
const VALUE: usize = 64 << 10;

/// Changes of one closure: they are made together with those of others, or not at all. It sees its own, and those of the
/// writers before it.
pub struct Transaction<'a> {
    store: &'a dyn MetadataStore,
    earlier: Earlier<'a>,
    own: Changes,
    generation: u64,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(store: &'a dyn MetadataStore, earlier: Earlier<'a>, generation: u64) -> Self {
        Self { store, earlier, own: Changes::new(), generation }
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`Error::Refused`] for a key beyond 4 KiB or a value beyond 64 KiB: such things are files.
    pub fn put(&mut self, space: &Space, key: &[u8], value: impl Into<Vec<u8>>) -> Result<()> {
        let value = value.into();
        if key.len() > KEY || value.len() > VALUE {
            let reason = format!(
                "a key of {} and a value of {} bytes are more than {KEY} and {VALUE}",
                key.len(),
                value.len()
            );
            return Err(Error::refused("write", format_args!("to the space {:?}", space.name()), reason));
        }
        self.own.insert(space.key(key), Some(value));
        Ok(())
    }

    /// Removes a key; nothing happens where there is none.
    pub fn delete(&mut self, space: &Space, key: &[u8]) {
        self.own.insert(space.key(key), None);
    }

    pub(super) fn into_changes(self) -> Changes {
        self.own
    }

    fn overlay(&self) -> Overlay<'_> {
        Overlay { store: self.store, earlier: self.earlier, later: &self.own }
    }
}

impl Read for Transaction<'_> {
    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.overlay().get(&space.key(key))
    }

    fn scan(&self, space: &Space, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>> {
        let (from, to) = full_range(space, from, to);
        Ok(shortened(space, self.overlay().scan(&from, &to, limit)?))
    }

    fn last(&self, space: &Space, prefix: &[u8]) -> Result<Option<Entry>> {
        let (from, to) = full_range(space, prefix, after_prefix(prefix).as_deref());
        Ok(shortened(space, self.overlay().last(&from, &to)?.into_iter().collect()).pop())
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

fn full_range(space: &Space, from: &[u8], to: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
    let end = || after_prefix(&space.prefix()).unwrap_or_default();
    (space.key(from), to.map_or_else(end, |to| space.key(to)))
}

/// The entries with the name of their space taken off the keys.
fn shortened(space: &Space, mut entries: Vec<Entry>) -> Vec<Entry> {
    let name = space.prefix().len();
    for (key, _) in &mut entries {
        key.drain(..name);
    }
    entries
}
