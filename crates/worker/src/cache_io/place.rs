//! Where a cache is read from.

use std::path::PathBuf;
use std::sync::Arc;

use lazyblob_cache::record;
use lazyblob_cache::{DescHandler, Remotes as _};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::registry::RegistrySource;
use lazyblob_remote::{Access, Reference, Registry, Scopes, Source};

use super::spec::ImportSpec;
use crate::error::Result;

/// A place that a cache is in, and what it is called there.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Registry { client: Registry, reference: Reference },
    Layout { dir: PathBuf, name: Name },
}

impl Place {
    pub(super) fn of(spec: &ImportSpec, client: &Registry) -> Self {
        match spec.clone() {
            ImportSpec::Registry { reference } => Self::Registry { client: client.clone(), reference },
            ImportSpec::Local { src: dir, tag, digest } => {
                let name = digest.map_or(Name::Tag(tag), Name::Digest);
                Self::Layout { dir, name }
            }
        }
    }

    /// What people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Registry { reference, .. } => reference.to_string(),
            Self::Layout { dir, name } => format!("oci:{}:{name}", dir.display()),
        }
    }

    /// Reads from there on behalf of `access`, and what the cache is called there.
    pub(super) async fn open(&self, access: &Access) -> Result<(Arc<dyn Source>, Name)> {
        Ok(match self {
            Self::Registry { client, reference } => {
                let repository = reference.repository();
                let name = match reference.digest() {
                    Some(digest) => Name::Digest(digest.clone()),
                    None => Name::Tag(reference.identifier()),
                };
                let repository = client.repository(repository, Scopes::pull(repository), access)?;
                (Arc::new(RegistrySource::new(repository)), name)
            }
            Self::Layout { dir, name } => (Arc::new(Layout::open(dir.clone()).await?), name.clone()),
        })
    }

    /// The way to blobs of `source`, which was opened here: with the credentials of whoever reads them, where there are
    /// any.
    pub(super) fn handler(&self, source: &dyn Source) -> DescHandler {
        let opened = source.blobs();
        match self {
            Self::Registry { client, .. } => {
                let (client, origin) = (client.clone(), source.origin());
                let asked = origin.clone();
                let rebind = move |access: &Access| {
                    client.provider(&asked, access).unwrap_or_else(|| Arc::clone(&opened))
                };
                DescHandler::new(rebind).at(origin)
            }
            Self::Layout { .. } => DescHandler::of(opened),
        }
    }

    /// What is remembered of where a blob was: a place that can be reached without the handler.
    pub(super) fn hints(&self, source: &dyn Source) -> Vec<record::Source> {
        match self {
            Self::Registry { .. } => vec![source.origin().into()],
            Self::Layout { .. } => Vec::new(),
        }
    }
}
