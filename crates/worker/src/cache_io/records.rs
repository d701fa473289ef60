//! What a solver knows, as the config of a cache.

use std::collections::HashMap;
use std::time::SystemTime;

use lazyblob_cache::ImmutableRef;
use lazyblob_remote::Digest;
use lazyblob_remote::buildcache::{Chain, Config, Input, Layer, Record, Top};
use lazyblob_solver::{ExportRecord, Exported, KeyId};

use crate::error::{Error, Result};
use crate::result::WorkerRef;

/// The layers of a record's result.
#[derive(Clone, Debug)]
pub(super) struct Stacked {
    pub(super) created_at: SystemTime,
    pub(super) layers: Layers,
}

/// Layers, the bottom one first.
#[derive(Clone, Debug)]
pub(super) enum Layers {
    /// Blobs, one on top of the other.
    Blobs(Vec<Digest>),
    /// Places in an image.
    Places(Vec<usize>),
}

/// The newest result of a record; of equally new ones the best.
pub(super) fn newest(record: &ExportRecord<WorkerRef>) -> Option<&(SystemTime, ImmutableRef)> {
    record.results.iter().reduce(|best, result| if result.0 > best.0 { result } else { best })
}

/// The records of `exported`, each with the result it is given, in the order in which a cache has them.
pub(super) fn config(exported: &Exported<WorkerRef>, results: &[Option<Stacked>]) -> Result<Config> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut found: HashMap<(Option<usize>, Digest), usize> = HashMap::new();
    let mut records = Vec::with_capacity(exported.records.len());
    for (record, result) in exported.records.iter().zip(results) {
        let (mut tops, mut chains) = (Vec::new(), Vec::new());
        match result {
            Some(Stacked { created_at, layers: Layers::Blobs(blobs) }) => {
                let top = blobs.iter().fold(None, |parent, blob| {
                    let layer = *found.entry((parent, blob.clone())).or_insert(layers.len());
                    if layer == layers.len() {
                        layers.push(Layer { blob: blob.clone(), parent });
                    }
                    Some(layer)
                });
                tops.extend(top.map(|layer| Top { layer, created_at: *created_at }));
            }
            Some(Stacked { created_at, layers: Layers::Places(places) }) => {
                // A result that is the image up to some layer is named by that layer.
                if places.iter().copied().eq(0..places.len()) {
                    let top = places.last();
                    tops.extend(top.map(|layer| Top { layer: *layer, created_at: *created_at }));
                } else {
                    chains.push(Chain { layers: places.clone(), created_at: *created_at });
                }
            }
            None => {}
        }
        let input = |(selector, link): &(Option<lazyblob_solver::Selector>, usize)| Input {
            selector: selector.as_ref().map(|selector| selector.0.clone()),
            link: *link,
        };
        let inputs = record.inputs.iter().map(|ways| ways.iter().map(input).collect());
        let (digest, inputs) = (digest(&record.digest)?, inputs.collect());
        records.push(Record { digest, results: tops, chains, inputs });
    }
    Ok(Config { layers, records }.sorted())
}

fn digest(key: &KeyId) -> Result<Digest> {
    let text = key.to_string();
    text.parse().map_err(|error| Error::failed("export build cache", text, error))
}
