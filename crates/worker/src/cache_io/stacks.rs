//! The layers of all results, and the ways to them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lazyblob_cache::ImmutableRef;
use lazyblob_cache::layer::{Compression, Family, LayerType};
use lazyblob_cache::refs::BlobOptions;
use lazyblob_remote::buildcache::{self, Names};
use lazyblob_remote::{Access, Descriptor, Digest, Provider};
use lazyblob_solver::Exported;

use super::export::DroppedResult;
use super::push::Layer;
use super::records;
use super::spec::ExportSpec;
use crate::error::{Error, Result};
use crate::result::WorkerRef;

/// The layers of all results.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    /// One for each record.
    pub(super) results: Vec<Option<Stack>>,
    /// The ways to each blob.
    pub(super) layers: HashMap<Digest, Layer>,
    /// What a manifest says of each blob.
    pub(super) described: HashMap<Digest, Descriptor>,
}

/// The layers of one result.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) created_at: SystemTime,
    /// The bottom one first.
    pub(super) blobs: Vec<Digest>,
}

/// What takes the place of a layer that is compressed in another way.
type Converted = HashMap<Digest, (lazyblob_cache::refs::Layer, Arc<dyn Provider>)>;

impl Stacks {
    /// The layers of the newest result of each record, compressed as `spec` says. Those that cannot be had are `dropped`.
    pub(super) async fn of(
        exported: &Exported<WorkerRef>,
        spec: &ExportSpec,
        access: &Access,
        dropped: &mut Vec<DroppedResult>,
    ) -> Result<Self> {
        let mut stacks = Self::default();
        stacks.results.resize_with(exported.records.len(), || None);
        let mut trees: Vec<(usize, SystemTime, &ImmutableRef)> = Vec::new();
        for (at, record) in exported.records.iter().enumerate() {
            trees.extend(records::newest(record).map(|(created_at, tree)| (at, *created_at, tree)));
        }
        // The highest first: what others are the lower part of is then compressed only once.
        trees.sort_by_cached_key(|(at, _, tree)| (Reverse(tree.layers().len()), *at));
        let mut converted = Converted::new();
        for (at, created_at, tree) in trees {
            match stacks.add(spec, access, (at, created_at, tree), &mut converted).await {
                Ok(()) => {}
                Err(Error::Cache(error)) if is_gone(&error) => {
                    let (record, reason) = (exported.records[at].digest, error.to_string());
                    dropped.push(DroppedResult { record, reason });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(stacks)
    }

    async fn add(
        &mut self,
        spec: &ExportSpec,
        access: &Access,
        (at, created_at, tree): (usize, SystemTime, &ImmutableRef),
        converted: &mut Converted,
    ) -> Result<()> {
        let options = blobs_as(spec);
        let family = options.layer.family;
        tree.make_blobs(&options, access).await?;
        let remote = tree.remote(access)?;
        let provider: Arc<dyn Provider> = Arc::new(remote.provider);
        let layers = tree.layers();
        if spec.force_compression {
            let known = |layer: &lazyblob_cache::refs::Layer| {
                layer.descriptor().is_ok_and(|blob| converted.contains_key(blob.digest()))
            };
            if !layers.iter().all(known) {
                let other = tree.converted(&options, access).await?;
                let provider: Arc<dyn Provider> = Arc::new(other.remote(access)?.provider);
                for (layer, other) in layers.iter().zip(other.layers()) {
                    let blob = layer.descriptor()?;
                    converted.entry(blob.digest().clone()).or_insert((other, Arc::clone(&provider)));
                }
            }
        }
        let mut blobs = Vec::with_capacity(layers.len());
        for (height, layer) in (0..).zip(layers) {
            let made = layer.record().created;
            let from = layer.descriptor()?;
            let (layer, provider) = match converted.get(from.digest()).filter(|_| spec.force_compression) {
                Some((layer, provider)) => (layer.clone(), Arc::clone(provider)),
                None => (layer, Arc::clone(&provider)),
            };
            let blob = layer.descriptor()?;
            let Some(about) = layer.blob() else { continue };
            blobs.push(blob.digest().clone());
            self.describe(describe(&from, &blob, &about.diff_id, family, made));
            let known = self.layers.entry(blob.digest().clone());
            let known = known.or_insert_with(|| Layer { blob, sources: Vec::new(), height });
            known.height = known.height.min(height);
            // Other results know other ways to the same blob. A few are enough.
            if known.sources.len() < 4 {
                known.sources.push(provider);
            }
        }
        if !blobs.is_empty() {
            self.results[at] = Some(Stack { created_at, blobs });
        }
        Ok(())
    }

    /// Takes down what is said of a blob. Of two things that are said, the one that is less.
    fn describe(&mut self, blob: Descriptor) {
        let words = |blob: &Descriptor| {
            let says = |name: &str| blob.annotations().as_ref().and_then(|all| all.get(name)).cloned();
            let at = says(buildcache::CREATED_AT).and_then(|at| buildcache::parse_time(&at));
            (at, says(buildcache::DESCRIPTION), blob.media_type().to_string())
        };
        match self.described.get_mut(blob.digest()) {
            Some(known) if words(known) <= words(&blob) => {}
            Some(known) => *known = blob,
            None => {
                self.described.insert(blob.digest().clone(), blob);
            }
        }
    }
}

/// How `spec` wants blobs that are made for it.
pub(crate) fn blobs_as(spec: &ExportSpec) -> BlobOptions {
    let family = if spec.names == Names::Docker { Family::Docker } else { Family::Oci };
    let compression = spec.compression.unwrap_or(Compression::GZIP);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    BlobOptions {
        layer: LayerType::new(family, compression.algorithm()),
        compression,
        threads: u32::try_from(cores).unwrap_or(1),
    }
}

/// What a manifest says of a layer: `from` is the layer before it was compressed anew.
fn describe(from: &Descriptor, blob: &Descriptor, diff_id: &Digest, family: Family, made: u64) -> Descriptor {
    let media_type = LayerType::parse(blob.media_type().as_ref())
        .map_or(blob.media_type().as_ref(), |kind| LayerType { family, ..kind }.media_type());
    let annotation = |name: &str| from.annotations().as_ref().and_then(|all| all.get(name)).cloned();
    let at = annotation(buildcache::CREATED_AT)
        .unwrap_or_else(|| buildcache::write_time(UNIX_EPOCH + Duration::from_millis(made)));
    let mut annotations = HashMap::from([
        (buildcache::UNCOMPRESSED.to_owned(), diff_id.to_string()),
        (buildcache::CREATED_AT.to_owned(), at),
    ]);
    if let Some(description) = annotation(buildcache::DESCRIPTION) {
        annotations.insert(buildcache::DESCRIPTION.to_owned(), description);
    }
    let mut described = Descriptor::new(media_type.into(), blob.size(), blob.digest().clone());
    described.set_urls(blob.urls().clone());
    described.set_annotations(Some(annotations));
    described
}

/// Whether an error says that bytes cannot be had any more.
fn is_gone(error: &lazyblob_cache::Error) -> bool {
    use lazyblob_cache::Error as Cache;
    let gone = matches!(
        error.root(),
        Cache::NeedsRemoteProviders { .. } | Cache::Lost { .. } | Cache::Integrity { .. }
    );
    gone || error.is_not_found()
}
