//! Taking a name away.

use lazyblob_remote::Reference;
use oci_spec::image::Digest;

use crate::error::Result;
use crate::manager::Manager;

impl Manager {
    /// Takes a name away. What it stood for stays until it is pruned; another name for it is another name. Returns the
    /// digest that had it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn remove_name(&self, reference: &Reference) -> Result<Digest> {
        let digest = self.named(reference).await?;
        self.store().layout().untag(&reference.to_string()).await?;
        Ok(digest)
    }
}
