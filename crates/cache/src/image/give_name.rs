//! Another name for what has one.

use lazyblob_remote::endpoint::{Name, Source, Target};
use lazyblob_remote::{Manifest, Reference};
use oci_spec::image::Digest;

use crate::error::Result;
use crate::manager::Manager;

impl Manager {
    /// Gives what is called `reference` the name `name`, too; what had that name before loses it. No request is sent, and
    /// nothing becomes local by it. Returns the digest.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for a name that is not here;
    /// [`Error::Remote`](crate::Error::Remote) for one whose manifest is gone, or an index that cannot be written.
    pub async fn give_name(&self, reference: &Reference, name: &Reference) -> Result<Digest> {
        let digest = self.named(reference).await?;
        // The other name may be taken away at this moment, and pruned what it stood for.
        let _pins = self.pin_all_below(&digest).await?;
        let root = self.root_manifest(reference).await?;
        let name = Name::Tag(name.to_string());
        self.store().layout().put_manifest(&root, &name).await?;
        Ok(root.digest().clone())
    }

    /// The manifest that has the name `reference` here.
    pub(super) async fn root_manifest(&self, reference: &Reference) -> Result<Manifest> {
        let digest = self.named(reference).await?;
        Ok(Source::manifest(self.store().layout(), &Name::Digest(digest)).await?)
    }
}
