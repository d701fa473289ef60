//! What becomes of the results of a build.

use std::io::Write;
use std::sync::Arc;

use lazyblob_cache::ImmutableRef;
use lazyblob_remote::{Access, Descriptor, Digest, digest};
use lazyblob_solver::{Built, Cause, ExportMode, ExportOptions};

use super::Build;
use crate::error::{Error, Result};
use crate::export::{self, Exported, Part};
use crate::image::BaseImage;
use crate::result::WorkerRef;
use crate::spec::OutputSpec;

/// Opens what goes to standard output.
pub type Stdout = Arc<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

impl Build {
    /// Makes the blobs of what was built as `spec` wants them; nothing where it asks for files. A layer keeps the blob that it
    /// gets first: to be called before [caches](Self::export_cache) are exported side by side with [outputs](Self::export),
    /// which then find the same blobs.
    ///
    /// # Errors
    /// Those of [`results`](Self::results) and of [`export::make_blobs`]. What keeps it from being done keeps the export from
    /// being done, or is mended there.
    pub async fn make_blobs(&self, spec: &OutputSpec, access: &Access) -> Result<()> {
        let results = self.results().await?;
        let parts: Vec<Part> = self
            .outputs()
            .iter()
            .zip(&results)
            .map(|(output, built)| Part::new(output.platform.clone(), built.result.clone()))
            .collect();
        Box::pin(export::make_blobs(self.engine().worker(), spec, &parts, access)).await
    }

    /// Builds what was asked for and makes of it what `spec` says, on behalf of `access`. With `inline` an image has the
    /// cache of this build in its config. A result whose blobs turn out to be gone is made again.
    ///
    /// # Errors
    /// Those of [`results`](Self::results) and of [`export::export`].
    pub async fn export(
        &self,
        spec: &OutputSpec,
        inline: bool,
        stdout: Option<Stdout>,
        access: &Access,
    ) -> Result<Exported> {
        loop {
            let results = self.results().await?;
            let mut parts = Vec::new();
            for (output, built) in self.outputs().iter().zip(&results) {
                let mut part = Part::new(output.platform.clone(), built.result.clone());
                part.base = base(built).await;
                parts.push(part);
            }
            let exporting = async {
                let worker = self.engine().worker();
                export::make_blobs(worker, spec, &parts, access).await?;
                for (part, output) in parts.iter_mut().zip(self.outputs()).filter(|_| inline) {
                    // Of an image's own cache only what its layers are made of is of use. It is asked for when these
                    // have their blobs: it would have others made.
                    let options = ExportOptions { mode: ExportMode::Min, ..ExportOptions::default() };
                    part.inline_cache = Some(Arc::new(self.job.export_learned(&output.edge, options).await?));
                }
                let out = stdout.as_ref().map(|open| open());
                export::export(worker, spec, parts, out, access).await
            };
            let error = match Box::pin(exporting).await {
                Err(error) => error,
                done => return done,
            };
            let lost = lost(&results, &error, access).await;
            if lost.is_empty() {
                return Err(error);
            }
            tracing::debug!(%error, results = lost.len(), "results are gone, and are made again");
            let cause: Cause = Arc::new(error);
            for built in lost {
                self.job.lost(built, Arc::clone(&cause)).await?;
            }
        }
    }
}

/// The image that a result begins with: the one with the most layers of those that its ancestors know.
async fn base(built: &Built<WorkerRef>) -> Option<BaseImage> {
    let mut chains: Vec<Digest> = Vec::new();
    for layer in built.result.tree()?.layers() {
        let Some(blob) = layer.blob() else { break };
        chains.push(match chains.last() {
            Some(below) => digest::sha256(format!("{below} {}", blob.diff_id).as_bytes()),
            None => blob.diff_id,
        });
    }
    let mut found = built.cx().find::<BaseImage>(&chains).await;
    let base = chains.iter().rev().find_map(|chain| found.remove(chain))?;
    Some(Arc::unwrap_or_clone(base))
}

/// The results that are gone, where `error` is one that says that something is: those of which a tree or a blob is not here
/// and nobody has it any more. Places are asked, and nothing is fetched.
async fn lost<'a>(
    results: &'a [Built<WorkerRef>],
    error: &Error,
    access: &Access,
) -> Vec<&'a Built<WorkerRef>> {
    use lazyblob_cache::Error as Cache;
    let something_is = match error {
        Error::Cache(error) => {
            error.is_not_found()
                || matches!(error.root(), Cache::NeedsRemoteProviders { .. } | Cache::Lost { .. })
        }
        // On the way through a copy.
        Error::Remote(error) => error.is_not_found(),
        _ => false,
    };
    let mut lost = Vec::new();
    if something_is {
        for built in results {
            if let Some(tree) = built.result.tree()
                && is_gone(tree, access).await
            {
                lost.push(built);
            }
        }
    }
    lost
}

/// Whether some layer of `tree` can be had no more. What cannot be found out is not gone.
async fn is_gone(tree: &ImmutableRef, access: &Access) -> bool {
    let mut gone = false;
    for layer in tree.layers() {
        gone |= match layer.blob() {
            Some(blob) => match tree.manager().store().holds(&blob.descriptor).await {
                Ok(is_here) => !is_here && is_nowhere(tree, &blob.descriptor, access).await,
                Err(_) => false,
            },
            None => tree.lacks_tree(&layer).await.unwrap_or(false),
        };
    }
    gone
}

/// Whether nobody has a blob that `tree` could bring.
async fn is_nowhere(tree: &ImmutableRef, blob: &Descriptor, access: &Access) -> bool {
    let handler = match tree.handlers().get(blob.digest()) {
        Some(handler) => Some(Arc::clone(handler)),
        None => {
            let hinted =
                tree.manager().handlers_from_hints(std::slice::from_ref(blob.digest()), access).await;
            hinted.ok().and_then(|handlers| handlers.get(blob.digest()).cloned())
        }
    };
    match handler {
        Some(handler) => handler.provider(access).info(blob).await.is_err_and(|error| error.is_not_found()),
        None => true,
    }
}
