//! What opens a store.

use std::fmt;
use std::path::Path;

use super::MetadataStore;
use crate::error::Result;

/// A kind of store. Its files are in a directory of their own, and it need not look after locks: whoever opens it is alone.
pub trait Engine: Send + Sync + fmt::Debug {
    /// The name of its directory: `sled`.
    fn name(&self) -> &'static str;

    /// Whether what is stored outlives the process. Where it does not, nobody is told that it is gone.
    fn is_persistent(&self) -> bool {
        true
    }

    /// Opens what is in `dir`, or begins there; the directory exists, and may be empty. It is closed when it is dropped,
    /// and `drop` returns only when it can be opened again.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata) where what is there is damaged: it is set aside then.
    /// [`Error::Io`](crate::Error::Io), or another, where it may be opened some other time.
    fn open(&self, dir: &Path) -> Result<Box<dyn MetadataStore>>;
}
