//! Where images come from and go to: what registries, layouts and archives have in common.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::image::{Descriptor, Digest};

use crate::error::Result;
use crate::keychain::Identity;
use crate::manifest::Manifest;
use crate::provider::{Origin, Provider};
use crate::transfer::Blob;

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A tag; in a layout, the `org.opencontainers.image.ref.name` annotation.
    Tag(String),
    /// A digest.
    Digest(Digest),
    /// The only image there is; an error where there are several. Registries do not have it.
    Only,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "{tag}"),
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::Only => f.write_str("(the only image)"),
        }
    }
}

/// A place manifests and blobs are read from.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// The manifest called `name`, verified against its digest where `name` is one. One request at a registry.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where there is none.
    async fn manifest(&self, name: &Name) -> Result<Manifest>;

    /// The digest of the manifest called `name`, without the manifest itself. One HEAD at a registry.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] where there is none.
    async fn resolve(&self, name: &Name) -> Result<Digest>;

    /// The blobs of this place.
    fn blobs(&self) -> Arc<dyn Provider>;

    /// Manifests that refer to `subject`: signatures, attestations and the like. Empty where there are none.
    ///
    /// # Errors
    /// Whatever the way to the list brings.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>>;

    /// Whether reading a manifest here is metered while resolving one is not, so that resolving first saves something.
    fn meters_gets(&self) -> bool {
        false
    }

    /// Where this is.
    fn origin(&self) -> Origin;
}

/// The outcome of asking a target to take a blob from another of its repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// Done: no byte moves.
    Yes,
    /// Refused. The target has opened an upload session instead where `session` names one.
    No {
        /// Address of the session that the refusal opened.
        session: Option<String>,
    },
}

/// What came of asking a target to take a blob from several of its other repositories in turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounting {
    /// Where the blob was taken from; nothing where nobody's was.
    pub from: Option<Origin>,
    /// Places it could not be taken from, in the order of asking: what is known of them is out of date. A place that was
    /// asked for without credentials and wants some is none of them.
    pub stale: Vec<Origin>,
    /// Address of the session that the last refusal opened, if nothing was taken. Those before it are closed.
    pub session: Option<String>,
}

/// A place manifests and blobs are written to. Nothing is visible under its name before it is whole.
#[async_trait]
pub trait Target: Send + Sync + fmt::Debug {
    /// The digest of the manifest called `name`, if there is one. One HEAD at a registry.
    ///
    /// # Errors
    /// Whatever the way to it brings, but not [`crate::Error::NotFound`].
    async fn resolve(&self, name: &Name) -> Result<Option<Digest>>;

    /// Says before anything moves whether this place can hold `root` at all.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a kind of manifest that the format has no room for.
    fn accepts(&self, root: &Manifest) -> Result<()> {
        let _ = root;
        Ok(())
    }

    /// Whether the target has the blob. One HEAD at a registry.
    ///
    /// # Errors
    /// Whatever the way to it brings.
    async fn has_blob(&self, blob: &Descriptor) -> Result<bool>;

    /// Whether this target has other repositories that blobs can be mounted from.
    fn mounts(&self) -> bool {
        false
    }

    /// Asks the target to take `blob` from its own repository `from`. One POST at a registry; elsewhere always refused.
    ///
    /// # Errors
    /// Whatever the way to it brings; a refusal is not an error.
    async fn mount(&self, blob: &Descriptor, from: &Origin) -> Result<Mounted>;

    /// Asks the target to take `blob` from one of `places`, in their order, until it takes it from one. They are only
    /// believed to have it. One POST each at a registry, and one DELETE for each session that is not used.
    ///
    /// # Errors
    /// Whatever the way to it brings; a refusal is not an error.
    async fn mount_from(&self, blob: &Descriptor, places: &[Origin]) -> Result<Mounting> {
        let _ = (blob, places);
        Ok(Mounting::default())
    }

    /// Reads `blob` and stores it, in the session that a refused mount opened if there is one. Returns soon after
    /// [`Blob::cancelled`] is signalled, with everything cleaned up.
    ///
    /// # Errors
    /// Those of the source, [`crate::Error::Integrity`] before anything becomes visible, and the target's own.
    async fn put_blob(&self, blob: &Blob, session: Option<String>) -> Result<()>;

    /// Stores a manifest's bytes as they are, by digest alone or also under `name`.
    ///
    /// # Errors
    /// The target's own: a blob or child it misses, a name it does not allow.
    async fn put_manifest(&self, manifest: &Manifest, name: &Name) -> Result<()>;

    /// Makes everything durable and visible. Archives appear under their final name here and not before.
    ///
    /// # Errors
    /// The target's own.
    async fn finish(&self) -> Result<()>;

    /// Whether a manifest here implies that its blobs are here. True of registries, not of layouts, which may be sparse.
    fn vouches_for_blobs(&self) -> bool {
        false
    }

    /// Whose credentials are shown here, without the credentials; nothing where there are none to show or they cannot be
    /// found out. Sends no request.
    async fn identity(&self) -> Option<Identity> {
        None
    }

    /// Where this is.
    fn origin(&self) -> Origin;

    /// The host whose slots writing takes; nothing where the bytes stay here.
    fn host(&self) -> Option<&str> {
        None
    }

    /// Keeps a blob that is here readable for as long as the provider lives, whatever is pruned meanwhile. Nothing where
    /// there is no such hold.
    ///
    /// # Errors
    /// The target's own.
    async fn hold(&self, blob: &Descriptor) -> Result<Option<Arc<dyn Provider>>> {
        let _ = blob;
        Ok(None)
    }
}
