//! All that hangs from a manifest: the manifests below it and their blobs, each once.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::{Descriptor, Digest};

use crate::endpoint::{Name, Source};
use crate::error::{Error, Mismatch, Result, What};
use crate::manifest::Manifest;

/// An index within an index within an index: nobody needs more.
const MAX_DEPTH: usize = 8;
/// More manifests than this in one image are absurd.
const MAX_MANIFESTS: usize = 10_000;
/// All manifests of one image together, in bytes: they are kept in memory until they are put.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The manifests and blobs of one image.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    /// Manifests below the root, children before those that name them.
    pub(super) children: Vec<Manifest>,
    /// Blobs of all manifests, those of the first manifest first.
    pub(super) blobs: Vec<Part>,
}

/// A blob of an image, or of several.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) blob: Descriptor,
    /// Its lowest place in a manifest: the config and the bottom layer are at zero.
    pub(super) height: u32,
    /// Manifests that name it.
    pub(super) shared: u32,
}

impl Graph {
    /// Reads everything below `root`: one GET for each distinct manifest.
    ///
    /// # Errors
    /// [`Error::Refused`] for an image past the limits; those of the source.
    pub(super) async fn below(source: &dyn Source, root: &Manifest) -> Result<Self> {
        let mut levels: Vec<Vec<Manifest>> = Vec::new();
        let mut seen: HashSet<Digest> = HashSet::from([root.digest().clone()]);
        let mut bytes: u64 = 0;
        let mut below = vec![root.clone()];
        loop {
            let wanted = below.iter().flat_map(Manifest::child_manifests);
            let wanted: Vec<Descriptor> =
                wanted.filter(|child| seen.insert(child.digest().clone())).cloned().collect();
            if wanted.is_empty() {
                break;
            }
            let refused = |reason: String| Error::refused("read index", root.digest(), reason);
            if levels.len() >= MAX_DEPTH {
                return Err(refused(format!("indexes are nested deeper than {MAX_DEPTH}")));
            }
            if seen.len() > MAX_MANIFESTS {
                return Err(refused(format!("it names more than {MAX_MANIFESTS} manifests")));
            }
            let announced = wanted.iter().fold(bytes, |sum: u64, child| sum.saturating_add(child.size()));
            if announced > MAX_BYTES {
                return Err(refused(format!("its manifests are longer than {MAX_BYTES} bytes together")));
            }
            let level: Vec<Manifest> = stream::iter(wanted)
                .map(|child| fetch(source, child))
                .buffered(super::MANIFESTS)
                .try_collect()
                .await?;
            // Each was as long as announced.
            bytes = announced;
            below.clone_from(&level);
            levels.push(level);
        }
        let blobs = distinct_blobs(std::iter::once(root).chain(levels.iter().flatten()));
        let children = levels.into_iter().rev().flatten().collect();
        Ok(Self { children, blobs })
    }
}

async fn fetch(source: &dyn Source, child: Descriptor) -> Result<Manifest> {
    let manifest = source.manifest(&Name::Digest(child.digest().clone())).await?;
    let (expected, actual) = (child.size(), manifest.bytes().len() as u64);
    if expected != actual {
        let what = What::new("read manifest", format_args!("{} from {}", child.digest(), source.origin()));
        return Err(Error::Integrity { what, mismatch: Mismatch::Size { expected, actual } });
    }
    Ok(manifest)
}

fn distinct_blobs<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<Part> {
    let mut places: HashMap<&Digest, usize> = HashMap::new();
    let mut parts: Vec<Part> = Vec::new();
    for manifest in manifests {
        let config = usize::from(manifest.config().is_some());
        for (at, blob) in manifest.child_blobs().into_iter().enumerate() {
            let height = u32::try_from(at.saturating_sub(config)).unwrap_or(u32::MAX);
            match places.get(blob.digest()) {
                Some(known) => {
                    let part = &mut parts[*known];
                    part.height = part.height.min(height);
                    part.shared += 1;
                }
                None => {
                    places.insert(blob.digest(), parts.len());
                    parts.push(Part { blob: blob.clone(), height, shared: 1 });
                }
            }
        }
    }
    parts
}
