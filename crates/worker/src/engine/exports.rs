//! What becomes of the results of a build.

use std::io::Write;
use std::sync::Arc;

use lazyblob_cache::ImmutableRef;
use lazyblob_remote::{Access, Digest, digest};
use lazyblob_solver::{Built, Cause, ExportMode, ExportOptions};

use super::Build;
use crate::error::{Error, Result};
use crate::export::{self, Exported, Part};
use crate::image::BaseImage;
use crate::result::WorkerRef;
use crate::spec::OutputSpec;

/// Opens what goes to standard output.
pub type Stdout = fn() -> Box<dyn Write + Send>;

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
                let out = stdout.map(|open| open());
                export::export(worker, spec, parts, out, access).await
            };
            let error = match Box::pin(exporting).await {
                Err(error) => error,
                done => return done,
            };
            let lost = lost(&results, &error).await?;
            if lost.is_empty() {
                return Err(error);
            }
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

/// The results whose blobs `error` says are gone.
async fn lost<'a>(results: &'a [Built<WorkerRef>], error: &Error) -> Result<Vec<&'a Built<WorkerRef>>> {
    let missing = match error {
        Error::Cache(error) => {
            matches!(
                error.root(),
                lazyblob_cache::Error::NeedsRemoteProviders { .. } | lazyblob_cache::Error::Lost { .. }
            ) || error.is_not_found()
        }
        Error::Remote(error) => error.is_not_found(),
        _ => false,
    };
    let mut lost = Vec::new();
    if missing {
        let said = error.to_string();
        for built in results {
            if let Some(tree) = built.result.tree()
                && lacks(tree, &said).await?
            {
                lost.push(built);
            }
        }
    }
    Ok(lost)
}

/// Whether `said` names a blob of `tree` that is not here.
async fn lacks(tree: &ImmutableRef, said: &str) -> Result<bool> {
    for layer in tree.layers() {
        let Some(blob) = layer.blob() else { continue };
        let is_here = tree.manager().store().holds(&blob.descriptor).await?;
        if !is_here && said.contains(blob.descriptor.digest().as_ref()) {
            return Ok(true);
        }
    }
    Ok(false)
}
