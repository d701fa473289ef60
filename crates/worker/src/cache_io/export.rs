//! Giving away what a build learned.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use lazyblob_remote::buildcache::{self, Config, Form};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::RegistryTarget;
use lazyblob_remote::{Access, Descriptor, Digest, Manifest, RepositoryName, Scopes, Target, digest, media};
use lazyblob_solver::{Exported, KeyId};

use super::push::{self, Layer};
use super::records::{self, Layers, Stacked};
use super::reset::reset;
use super::spec::{ExportSpec, ExportTarget};
use super::stacks::Stacks;
use crate::error::{Error, Result};
use crate::result::WorkerRef;
use crate::worker::Worker;

const OPERATION: &str = "export build cache";
/// Repositories of the target's registry that its token is asked for: those that blobs may be mounted from.
const MOST_REPOSITORIES: usize = 8;

/// What became of an export.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CacheExport {
    /// The manifest that has the name now; nothing where there was nothing to export.
    pub manifest: Option<Descriptor>,
    /// The target had all of it under the name, and nothing was sent to it.
    pub unchanged: bool,
    /// Results that could not be given away. Their records are there, without them.
    pub dropped: Vec<DroppedResult>,
    /// What people should hear of.
    pub warnings: Vec<String>,
}

/// A result that could not be given away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedResult {
    /// What its record is named by.
    pub record: KeyId,
    /// Why.
    pub reason: String,
}

/// Exports what `exported` has to where `spec` says. Blobs first, the manifest last: a target has the whole cache under its
/// name, or what it had before. Layers that the target has, or can mount, are not read.
///
/// Results whose blobs cannot be had any more are left out and reported; a cache that has no layers then is not written.
/// Equal caches have equal digests.
///
/// # Errors
/// Those of the target; [`Error::Failed`] for an inline cache, which is [an image's own](super::inline).
pub async fn export(
    worker: &Worker,
    exported: &Exported<WorkerRef>,
    spec: &ExportSpec,
    access: &Access,
) -> Result<CacheExport> {
    let begun = SystemTime::now();
    let mut report = CacheExport { warnings: exported.warnings.clone(), ..CacheExport::default() };
    let stacks = Box::pin(Stacks::of(exported, spec, access, &mut report.dropped)).await?;
    let Some(to) = To::open(worker, spec, &stacks, access).await? else {
        return Err(Error::failed(OPERATION, "inline", "it goes into the config of an image"));
    };
    let run = Run { worker, exported, spec, access, to: &to, stacks: &stacks };
    let mut gone = HashMap::new();
    // First what is known to be there is taken to be there. A target that says otherwise is asked for everything.
    let written = match Box::pin(run.write(true, &mut gone)).await {
        Err(Error::Remote(error)) if to.denies(&error) => Box::pin(run.write(false, &mut gone)).await?,
        written => written?,
    };
    for (at, stack) in stacks.results.iter().enumerate() {
        let lost = stack.iter().flat_map(|stack| &stack.blobs).find_map(|blob| gone.get(blob));
        if let Some(reason) = lost {
            let record = exported.records[at].digest;
            report.dropped.push(DroppedResult { record, reason: reason.clone() });
        }
    }
    match written {
        Some(written) => {
            report.manifest = Some(written.manifest.descriptor().clone());
            report.unchanged = written.unchanged;
            if let ExportTarget::Local { reset: true, .. } = spec.target
                && let Some(layout) = &to.layout
            {
                let removed = reset(layout, begun).await?;
                tracing::debug!(removed, "blobs that nothing names are gone");
            }
        }
        None => report.warnings.push("cache export: nothing to export".to_owned()),
    }
    if !report.dropped.is_empty() {
        let (count, first) = (report.dropped.len(), &report.dropped[0].reason);
        report.warnings.push(format!("cache export: {count} results are left out: {first}"));
    }
    Ok(report)
}

/// The place a cache goes to.
struct To {
    target: Arc<dyn Target>,
    name: Name,
    layout: Option<Layout>,
}

impl To {
    /// Nothing where the cache goes into an image.
    async fn open(
        worker: &Worker,
        spec: &ExportSpec,
        stacks: &Stacks,
        access: &Access,
    ) -> Result<Option<Self>> {
        Ok(match &spec.target {
            ExportTarget::Registry { reference } => {
                let repository = reference.repository();
                let mut scopes = Scopes::push(repository);
                for place in stacks.places(repository.host()).into_iter().take(MOST_REPOSITORIES) {
                    if let Ok(other) = RepositoryName::new(&place.host, &place.repository) {
                        scopes = scopes.union(&Scopes::pull(&other));
                    }
                }
                let name = Name::Tag(reference.identifier());
                let target = RegistryTarget::new(worker.registry().repository(repository, scopes, access)?);
                Some(Self { target: Arc::new(target), name, layout: None })
            }
            ExportTarget::Local { dest, tag, .. } => {
                let layout = Layout::create_or_open(dest.clone()).await?;
                let (target, name) = (Arc::new(layout.clone()), Name::Tag(tag.clone()));
                Some(Self { target, name, layout: Some(layout) })
            }
            ExportTarget::Inline => None,
        })
    }

    /// Whether the target says that it does not have what a manifest names.
    fn denies(&self, error: &lazyblob_remote::Error) -> bool {
        let is_manifest = error.what().to_string().contains("manifest");
        let is_denial =
            matches!(error.root(), lazyblob_remote::Error::Rejected { .. }) || error.is_not_found();
        self.layout.is_none() && is_manifest && is_denial
    }
}

/// One export.
struct Run<'a> {
    worker: &'a Worker,
    exported: &'a Exported<WorkerRef>,
    spec: &'a ExportSpec,
    access: &'a Access,
    to: &'a To,
    stacks: &'a Stacks,
}

/// A cache that is at its place.
struct Written {
    manifest: Manifest,
    unchanged: bool,
}

impl Run<'_> {
    /// Brings layers, config and manifest, in this order. `gone` is what turned out to be gone.
    async fn write(&self, trust: bool, gone: &mut HashMap<Digest, String>) -> Result<Option<Written>> {
        let (target, transfers) = (&self.to.target, self.worker.manager().transfers());
        let Some(whole) = self.assemble(gone)? else { return Ok(None) };
        if target.resolve(&self.to.name).await?.as_ref() == Some(whole.manifest.digest()) {
            return Ok(Some(Written { manifest: whole.manifest, unchanged: true }));
        }
        let wanted: Vec<&Digest> = whole
            .blobs
            .iter()
            .filter(|blob| !(self.is_elsewhere(blob) || trust && self.is_known(blob)))
            .collect();
        gone.extend(push::bring(&self.stacks.layers, &wanted, target, transfers, self.access).await?);
        let Some(left) = self.assemble(gone)? else { return Ok(None) };
        if !(trust && self.is_known(left.config.digest())) {
            push::put(&left.config, left.bytes, target, transfers, self.access).await?;
        }
        target.put_manifest(&left.manifest, &self.to.name).await?;
        target.finish().await?;
        Ok(Some(Written { manifest: left.manifest, unchanged: false }))
    }

    /// Whether the target is known to have a blob, and would say so if it had not: a registry looks whether it has what an
    /// image manifest names.
    fn is_known(&self, blob: &Digest) -> bool {
        let at = self.to.target.origin();
        let layer = self.stacks.layers.get(blob);
        let seen = layer.is_some_and(|Layer { blob, sources, .. }| {
            sources.iter().any(|source| source.seen_at(blob).contains(&at))
        });
        self.to.layout.is_none()
            && self.spec.form == Form::Manifest
            && (seen || self.worker.manager().transfers().locations().knows(blob, &at))
    }

    /// Whether a blob must not be distributed: whoever needs it follows its addresses.
    fn is_elsewhere(&self, blob: &Digest) -> bool {
        self.stacks.described.get(blob).is_some_and(|blob| {
            let has_urls = blob.urls().as_ref().is_some_and(|urls| !urls.is_empty());
            has_urls && media::is_foreign(blob.media_type().as_ref())
        })
    }

    /// The cache without what is gone; nothing where no layer is left.
    fn assemble(&self, gone: &HashMap<Digest, String>) -> Result<Option<Assembled>> {
        let results = self.stacks.results.iter().map(|stack| {
            let stack =
                stack.as_ref().filter(|stack| !stack.blobs.iter().any(|blob| gone.contains_key(blob)))?;
            Some(Stacked { created_at: stack.created_at, layers: Layers::Blobs(stack.blobs.clone()) })
        });
        let config: Config = records::config(self.exported, &results.collect::<Vec<_>>())?;
        if config.layers.is_empty() {
            return Ok(None);
        }
        let blobs: Vec<Digest> = config.layers.iter().map(|layer| layer.blob.clone()).collect();
        let bytes = Bytes::from(config.to_json()?);
        let config =
            Descriptor::new(media::BUILDKIT_CACHE.into(), bytes.len() as u64, digest::sha256(&bytes));
        let layers: Vec<Descriptor> =
            blobs.iter().filter_map(|blob| self.stacks.described.get(blob)).cloned().collect();
        let manifest = buildcache::assemble(self.spec.form, self.spec.names, &config, &layers)?;
        let mut blobs = blobs;
        blobs.dedup();
        Ok(Some(Assembled { manifest, config, bytes, blobs }))
    }
}

/// A cache as it would be written.
struct Assembled {
    manifest: Manifest,
    config: Descriptor,
    bytes: Bytes,
    /// Each blob once.
    blobs: Vec<Digest>,
}

impl Stacks {
    /// Repositories of `host` that layers were seen in.
    fn places(&self, host: &str) -> Vec<Origin> {
        let mut places: Vec<Origin> = Vec::new();
        for layer in self.layers.values() {
            for origin in layer.sources.iter().flat_map(|source| source.seen_at(&layer.blob)) {
                if origin.host == host && !places.contains(&origin) {
                    places.push(origin);
                }
            }
        }
        places.sort_by(|one, other| one.repository.cmp(&other.repository));
        places
    }
}
