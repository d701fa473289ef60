//! Where manifests, configs and other blobs that are no layers were seen: what makes them fetchable again.
//!
//! `origin/<digest>` has the repositories as JSON; in the journal, too.

use lazyblob_remote::provider::Origin;
use oci_spec::image::Digest;

use crate::error::Result;
use crate::metadata::{Read, Space, Transaction};
use crate::record::Source;

pub(crate) const ORIGINS: Space = Space::recoverable("origin");

/// A list longer than this is of no more use than one of this length.
const MOST: usize = 16;

/// Rows of blobs that are no layers.
pub(crate) struct Origins;

impl Origins {
    /// Where `digest` was seen, the last place first.
    pub(crate) fn of(view: &dyn Read, digest: &Digest) -> Result<Vec<Source>> {
        let row = view.get(&ORIGINS, digest.as_ref().as_bytes())?;
        // A row that cannot be read is a hint that is lost, and no more.
        Ok(row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default())
    }

    /// `digest` was seen at `origin`.
    pub(crate) fn add(rows: &mut Transaction<'_>, digest: &Digest, origin: &Origin) -> Result<()> {
        let source = Source::from(origin.clone());
        let mut sources = Self::of(rows, digest)?;
        if sources.first() == Some(&source) {
            return Ok(());
        }
        sources.retain(|known| *known != source);
        sources.insert(0, source);
        sources.truncate(MOST);
        let row = serde_json::to_vec(&sources).unwrap_or_default();
        rows.put(&ORIGINS, digest.as_ref().as_bytes(), row)
    }

    /// Nobody needs to know where `digest` was any more.
    pub(crate) fn forget(rows: &mut Transaction<'_>, digest: &Digest) {
        rows.delete(&ORIGINS, digest.as_ref().as_bytes());
    }
}
