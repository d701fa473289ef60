//! The cache that an image has of its own, in its config.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lazyblob_cache::record::LayerBlob;
use lazyblob_remote::Digest;
use lazyblob_solver::Exported;

use super::records::{self, Layers, Stacked};
use crate::error::Result;
use crate::result::WorkerRef;

/// The field of an image's config that its cache is in.
pub const INLINE_FIELD: &str = "moby.buildkit.cache.v0";

/// The value of [`INLINE_FIELD`] for an image of these layers, the bottom one first: the records with those results that
/// are made of layers of the image, recognised by their blobs or by what they uncompress to. Nothing where no result is.
///
/// # Errors
/// [`Error::Remote`](crate::Error::Remote) for what cannot be written.
pub fn inline(exported: &Exported<WorkerRef>, image: &[LayerBlob]) -> Result<Option<String>> {
    let mut by_digest: HashMap<&Digest, usize> = HashMap::new();
    for (at, layer) in image.iter().enumerate() {
        by_digest.entry(layer.descriptor.digest()).or_insert(at);
    }
    for (at, layer) in image.iter().enumerate() {
        by_digest.entry(&layer.diff_id).or_insert(at);
    }
    let results: Vec<Option<Stacked>> = exported
        .records
        .iter()
        .map(|record| {
            let (created_at, tree) = records::newest(record)?;
            let places = tree.layers().into_iter().enumerate().map(|(height, layer)| {
                let blob = layer.blob()?;
                let is = |layer: &&LayerBlob| {
                    layer.descriptor.digest() == blob.descriptor.digest() || layer.diff_id == blob.diff_id
                };
                // A layer may be in the image twice: where the result is the image's own beginning, it is in its place.
                if image.get(height).filter(is).is_some() {
                    return Some(height);
                }
                let known = by_digest.get(blob.descriptor.digest());
                known.or_else(|| by_digest.get(&blob.diff_id)).copied()
            });
            let places = places.collect::<Option<Vec<usize>>>().filter(|places| !places.is_empty())?;
            Some(Stacked { created_at: *created_at, layers: Layers::Places(places) })
        })
        .collect();
    if results.iter().all(Option::is_none) {
        return Ok(None);
    }
    let config = records::config(exported, &results)?;
    Ok(Some(STANDARD.encode(config.records_to_json()?)))
}
