//! Reading what a backend has when a registry opens over it.

use std::collections::{HashSet, VecDeque};

use bytes::BytesMut;
use futures::StreamExt;
use oci_spec::image::Descriptor;

use super::backend::{Backend, Change, Named};
use super::catalogue::{Catalogue, Entry, may_be_elsewhere};
use crate::error::Result;
use crate::manifest::{MAX_MANIFEST, Manifest};

/// Builds the catalogue from names and manifests. A manifest that cannot be read stays out of it, with a warning: one
/// broken image must not take the others along. Children of an index belong to its repository even if nothing else
/// names them, as in layouts written by others.
pub(super) async fn catalogue(backend: &dyn Backend) -> Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    let named = backend.names().await?.into_iter();
    let mut waiting: VecDeque<_> = named.map(|named| (named, Origin::Name)).collect();
    let mut seen = HashSet::new();
    while let Some((named, origin)) = waiting.pop_front() {
        let Named { repository, tag, manifest: descriptor, mut absent } = named;
        let first = seen.insert((repository.clone(), descriptor.digest().clone()));
        let entry = if first {
            let manifest = match read(backend, &descriptor).await {
                Ok(manifest) => manifest,
                Err(error) => {
                    tracing::warn!(%repository, %error, "not served");
                    continue;
                }
            };
            let children = manifest.child_manifests().into_iter().cloned();
            waiting.extend(children.map(|manifest| {
                let (repository, tag, absent) = (repository.clone(), None, Vec::new());
                (Named { repository, tag, manifest, absent }, Origin::Index)
            }));
            if origin == Origin::Index {
                // Nobody noted what was absent when it was put, so whatever could have been counts as absent.
                let blobs = manifest.child_blobs().into_iter();
                absent.extend(blobs.filter(|blob| may_be_elsewhere(blob)).map(|blob| blob.digest().clone()));
            }
            for blob in manifest.child_blobs().into_iter().filter(|blob| !absent.contains(blob.digest())) {
                catalogue.add_blob(&repository, blob.digest());
            }
            Some(Entry::of(&manifest))
        } else {
            None
        };
        let put = Change::Put { manifest: Box::new(descriptor), absent, tag };
        catalogue.follow(&repository, &put, entry);
    }
    Ok(catalogue)
}

/// What led to a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Name,
    Index,
}

async fn read(backend: &dyn Backend, descriptor: &Descriptor) -> Result<Manifest> {
    let digest = descriptor.digest();
    let size = descriptor.size().min(MAX_MANIFEST + 1);
    let mut stream = backend.read(digest, 0..size).await?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    let media_type = descriptor.media_type().to_string();
    Manifest::parse(bytes.freeze(), Some(&media_type), Some(digest), digest.as_ref())
}
