//! The names in the store.

use lazyblob_remote::Reference;
use oci_spec::image::Descriptor;

use crate::error::Result;
use crate::manager::Manager;

/// One name in the store.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub reference: Reference,
    /// What has it.
    pub root: Descriptor,
}

impl Manager {
    /// All names, in their alphabetical order.
    ///
    /// # Errors
    /// [`Error::Remote`](crate::Error::Remote) for a store whose index cannot be read.
    pub async fn names(&self) -> Result<Vec<Named>> {
        let mut names = Vec::new();
        for (tag, root) in self.store().layout().roots().await? {
            // Names that are no references were put there by somebody else.
            if let Some(Ok(reference)) = tag.map(|tag| tag.parse::<Reference>()) {
                names.push(Named { reference, root });
            }
        }
        names.sort_by_cached_key(|named| named.reference.to_string());
        Ok(names)
    }
}
