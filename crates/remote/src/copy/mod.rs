//! Copying images and build caches between any two places, moving no byte that need not move.
//!
//! [`Copy::plan`] looks and changes nothing; [`Copy::run`] does it. The order is: manifests are read, blobs are placed,
//! child manifests are put before those that name them, and the name comes last, so that a target is either untouched or
//! complete.

mod execute;
mod graph;
mod place;
mod plan;
mod platform;
mod referrers;

use std::sync::Arc;

use oci_spec::image::{Descriptor, Digest};

pub use plan::Plan;
pub use platform::Platform;

pub use crate::transfer::Action;

use crate::access::Access;
use crate::buildcache::{self, Form};
use crate::endpoint::{Name, Source, Target};
use crate::error::{Error, Mismatch, Result, What};
use crate::manifest::Manifest;
use crate::transfer::{Blob, Transfers};

/// How to copy.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The platforms to keep; all where empty.
    pub platforms: Vec<Platform>,
    /// Whether signatures, attestations and other referrers go along.
    pub referrers: bool,
    /// The form a build cache gets at the target.
    pub cache_form: Option<Form>,
}

/// Manifests read, put or looked for at once; how many requests a host gets at once is the scheduler's to say.
const MANIFESTS: usize = 16;

/// What a copy has done.
#[derive(Clone, Debug)]
pub struct Report {
    /// The digest of the manifest that has the name at the target.
    pub root: Digest,
    /// Nothing was to do: the name was there and complete, and so was every referrer asked for.
    pub unchanged: bool,
    /// Every blob and what became of it.
    pub blobs: Vec<(Descriptor, Action)>,
    /// Manifests put, the root among them.
    pub manifests: usize,
    /// Referrers that came along.
    pub referrers: usize,
}

/// A copy of one image from one place to another, under one name or several.
#[derive(Clone, Debug)]
pub struct Copy {
    source: Arc<dyn Source>,
    target: Arc<dyn Target>,
    name: Name,
    names: Vec<Name>,
    options: Options,
    access: Access,
    transfers: Transfers,
    root: Option<Manifest>,
}

impl Copy {
    /// A copy of `name` in `source` to `target` under each of `names`. Nothing happens before [`Copy::plan`] or
    /// [`Copy::run`]; `transfers` moves the blobs.
    #[must_use]
    pub fn new(
        source: Arc<dyn Source>,
        name: Name,
        target: Arc<dyn Target>,
        names: Vec<Name>,
        access: Access,
        transfers: Transfers,
    ) -> Self {
        Self { source, target, name, names, options: Options::default(), access, transfers, root: None }
    }

    /// The same copy with `options`.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The same copy of a manifest that has been read already.
    #[must_use]
    pub fn of(mut self, root: Manifest) -> Self {
        self.root = Some(root);
        self
    }

    /// Whether what arrives is what the source has under the name.
    fn is_verbatim(&self) -> bool {
        self.options.platforms.is_empty() && self.options.cache_form.is_none()
    }

    /// A blob of the source to look into.
    fn blob(&self, descriptor: &Descriptor) -> Blob {
        let settings = self.transfers.settings().clone();
        Blob::new(descriptor.clone(), &[self.source.blobs()], settings, self.access.clone())
    }

    /// The manifest to arrive at the target.
    async fn read_root(&self) -> Result<Manifest> {
        let root = match &self.root {
            Some(root) => root.clone(),
            None => self.source.manifest(&self.name).await?,
        };
        let read = |descriptor: Descriptor| self.blob(&descriptor);
        let root = platform::choose(self.source.as_ref(), root, &self.options.platforms, read).await?;
        let root = match self.options.cache_form {
            Some(form) => buildcache::convert(&root, form)?,
            None => root,
        };
        self.target.accepts(&root)?;
        for name in &self.names {
            if let Name::Digest(digest) = name
                && digest != root.digest()
            {
                let what = What::new("copy to", format_args!("{}@{digest}", self.target.origin()));
                let mismatch =
                    Mismatch::Digest { expected: digest.to_string(), actual: root.digest().to_string() };
                return Err(Error::Integrity { what, mismatch });
            }
        }
        Ok(root)
    }
}
