//! A copy out of the cache: where the target is known to have all of it, that is believed, and looked at only if it proves
//! wrong.

use std::sync::Arc;

use lazyblob::remote::copy::{Copy, Options, Report};
use lazyblob::remote::endpoint::Name;
use lazyblob::remote::provider::Origin;
use lazyblob::remote::{Error, Location, Reference, Source, Target};

use crate::cli::context::{Context, origin_of};
use crate::cli::exit::Failure;

/// Codes of distribution-spec "Error Codes" by which a registry says that a manifest names what is not there.
const UNKNOWN: [&str; 3] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];

/// A copy of an image in the cache.
pub(super) struct FromStore<'a> {
    pub(super) context: &'a Context,
    /// What it is called in the cache.
    pub(super) reference: &'a Reference,
    pub(super) to: &'a Location,
    pub(super) target: Arc<dyn Target>,
    /// What it is to be called there.
    pub(super) name: Name,
    pub(super) options: Options,
}

impl FromStore<'_> {
    /// Copies. `copy` believes the image to be at `believed`, where it was seen.
    pub(super) async fn run(
        &self,
        copy: Copy,
        believed: &Origin,
        concurrency: usize,
    ) -> Result<Report, Failure> {
        let copied = match self.is_there(believed) {
            true => self.name_it().await,
            false => copy.run().await.map_err(Failure::from),
        };
        let report = match copied {
            Err(Failure::Remote(error)) if lacks_something(&error) => {
                let said = format!("{error}; it is tried once more, and every blob looked for");
                self.context.watch().say(&said);
                self.look_for_all(concurrency).await?
            }
            copied => copied?,
        };
        if let Location::Registry(reference) = self.to {
            // The push is done: that it is not remembered costs the next one requests, and no more.
            let place = origin_of(reference.repository());
            if let Err(error) = self.context.manager().await?.pushed_to(&report.root, &place).await {
                self.context.watch().say(&format!("where it is now could not be written down: {error}"));
            }
        }
        Ok(report)
    }

    /// Whether the target's repository has had this very image, or the target is the cache itself.
    fn is_there(&self, believed: &Origin) -> bool {
        let Options { platforms, referrers, cache_form, .. } = &self.options;
        let is_verbatim = platforms.is_empty() && !referrers && cache_form.is_none();
        is_verbatim && self.target.vouches_for_blobs() && self.target.origin() == *believed
    }

    /// One HEAD, and one PUT of the manifest: what it names stays where it is, and is read by nobody.
    async fn name_it(&self) -> Result<Report, Failure> {
        let source = self.context.stored(self.reference, Some(self.to)).await?;
        let root = source.manifest(&Name::Only).await?;
        let digest = root.digest().clone();
        let unchanged = self.target.resolve(&self.name).await?.as_ref() == Some(&digest);
        if !unchanged {
            self.target.put_manifest(&root, &self.name).await?;
            self.target.finish().await?;
        }
        let manifests = usize::from(!unchanged);
        Ok(Report { root: digest, unchanged, blobs: Vec::new(), manifests, referrers: 0 })
    }

    /// Copies as if the image had never been seen at the target.
    async fn look_for_all(&self, concurrency: usize) -> Result<Report, Failure> {
        let source = self.context.stored(self.reference, Some(self.to)).await?.from_here();
        let copy = Copy::new(
            Arc::new(source),
            Name::Only,
            Arc::clone(&self.target),
            vec![self.name.clone()],
            self.context.access().clone(),
            self.context.transfers(concurrency),
        );
        Ok(copy.with_options(self.options.clone()).run().await?)
    }
}

/// Whether a target refused a manifest because of what it names.
fn lacks_something(error: &Error) -> bool {
    match error.root() {
        Error::Rejected { codes, .. } => codes.iter().any(|code| UNKNOWN.contains(&code.as_str())),
        // Some say it by the status alone.
        Error::NotFound { what, .. } => what.operation == "put manifest",
        _ => false,
    }
}
