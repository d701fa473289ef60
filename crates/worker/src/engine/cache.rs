//! What a build knows, given away.

use lazyblob_remote::Access;
use lazyblob_solver::{DropReason, ExportOptions, Exported};

use super::Build;
use crate::cache_io::{self, CacheExport, ExportSpec, ExportTarget};
use crate::error::{Error, Result};
use crate::result::WorkerRef;

impl Build {
    /// Exports the cache of what was built to where `spec` says, on behalf of `access`: also of a build that failed, as far
    /// as it came. Nothing is run for it. With `ignore_error` a failure is a warning in what is returned.
    ///
    /// An inline cache is no export of its own: it goes along with an [image](Build::export).
    ///
    /// # Errors
    /// Those of [`cache_io::export`].
    pub async fn export_cache(&self, spec: &ExportSpec, access: &Access) -> Result<CacheExport> {
        match Box::pin(self.give_away(spec, access)).await {
            Err(error) if spec.ignore_error && !matches!(error, Error::Cancelled { .. }) => {
                let mut report = CacheExport::default();
                report.warnings.push(format!("cache export: {error}"));
                Ok(report)
            }
            given => given,
        }
    }

    async fn give_away(&self, spec: &ExportSpec, access: &Access) -> Result<CacheExport> {
        if spec.target == ExportTarget::Inline {
            return Ok(CacheExport::default());
        }
        if spec.compression.is_some()
            && let Ok(results) = self.results().await
        {
            // Whoever gives results away as they come makes blobs as is usual.
            for tree in results.iter().filter_map(|built| built.result.tree()) {
                tree.make_blobs(&cache_io::blobs_as(spec), access).await?;
            }
        }
        let options = ExportOptions { mode: spec.mode, ..ExportOptions::default() };
        let mut all: Option<Exported<WorkerRef>> = None;
        for output in self.outputs() {
            let exported = self.job.export_learned(&output.edge, options).await?;
            match &mut all {
                Some(all) => all.join(exported),
                None => all = Some(exported),
            }
        }
        let Some(exported) = all else { return Ok(CacheExport::default()) };
        let mut report = Box::pin(cache_io::export(self.engine().worker(), &exported, spec, access)).await?;
        // What cannot be recognised elsewhere never is; what was lost might surprise.
        let gone = |reason: &DropReason| matches!(reason, DropReason::Result { .. });
        report.warnings.extend(
            exported
                .dropped
                .iter()
                .filter(|dropped| gone(&dropped.reason))
                .map(|dropped| format!("cache export: {dropped}")),
        );
        Ok(report)
    }
}
