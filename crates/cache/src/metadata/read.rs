//! How closures read: by space, in one consistent state.

use super::Space;
use super::space::after_prefix;
use crate::error::Result;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Is shown entries, key and value, until it says an error.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// So many entries are read at a time where all are wanted.
const PAGE: usize = 512;

/// One state of the database. Keys are those of the space, without its name.
pub trait Read {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata) or [`Error::Io`](crate::Error::Io) where the store fails.
    fn get(&self, space: &Space, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// At most `limit` entries in the order of their keys, from `from` to before `to`, or to the end of the space.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn scan(&self, space: &Space, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>>;

    /// The last entry whose key begins with `prefix`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn last(&self, space: &Space, prefix: &[u8]) -> Result<Option<Entry>>;

    /// How many batches have changed something, in whichever process, before what is seen here.
    fn generation(&self) -> u64;

    /// The first entry whose key begins with `prefix`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn first(&self, space: &Space, prefix: &[u8]) -> Result<Option<Entry>> {
        Ok(self.scan_prefix(space, prefix, 1)?.pop())
    }

    /// At most `limit` entries whose keys begin with `prefix`, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn scan_prefix(&self, space: &Space, prefix: &[u8], limit: usize) -> Result<Vec<Entry>> {
        self.scan(space, prefix, after_prefix(prefix).as_deref(), limit)
    }

    /// Shows `each` all entries whose keys begin with `prefix`, in their order, until it says an error. They are read in
    /// pages, so little memory is taken; but nobody else is served meanwhile.
    ///
    /// # Errors
    /// As [`get`](Self::get), and what `each` says.
    fn for_each(&self, space: &Space, prefix: &[u8], each: &mut Visitor<'_>) -> Result<()> {
        let to = after_prefix(prefix);
        let mut from = prefix.to_vec();
        loop {
            let page = self.scan(space, &from, to.as_deref(), PAGE)?;
            for (key, value) in &page {
                each(key, value)?;
            }
            let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else { return Ok(()) };
            from.clone_from(last);
            from.push(0);
        }
    }
}
