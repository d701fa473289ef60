//! Whether everything in a root is what it should be.
//!
//! ```text
//! rows      records readable ▸ found by what they should be found by ▸ what they stand on is there ▸ chains recomputed
//! store     every blob's size and digest, two at a time
//! names     manifest ▸ children ▸ config: here, or known where ▸ layers: blob, tree, or known where
//! snapshots whole, with as many files as were made, each as its layer says where the layer's blob is here
//! ingest    the beginning of every unfinished blob against its saved hash state
//! staging   what killed makers left        mounts   what they show is here
//! ```
//!
//! What is lazy is no damage, and neither is what a killed process has left: the former comes when it is read, the latter
//! is told and goes. A repair takes away what can be had again, and nothing else; what a living process pins, a mount
//! shows, or somebody has locked stays as it is.

mod blobs;
mod facts;
mod mounts;
mod names;
mod partials;
mod problem;
mod records;
mod snapshots;
mod staging;

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

pub use problem::{Object, Problem, Repair};

use self::facts::Facts;
use crate::error::Result;
use crate::manager::Manager;

/// What is done about problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Mends what can be mended.
    pub repair: bool,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs that were read.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Names.
    pub names: usize,
    /// Records.
    pub records: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// So many of those were held against the blob of their layer: of the others it is not here, or links lead where it
    /// cannot be told, and their files were counted.
    pub compared: usize,
    /// Unfinished blobs that were read.
    pub partials: usize,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

/// A root that is being looked through.
struct Check<'a> {
    manager: &'a Manager,
    options: VerifyOptions,
    /// On whose behalf manifests and configs are fetched again.
    access: &'a Access,
    cancel: &'a CancellationToken,
    facts: Facts,
    found: Verified,
}

impl Manager {
    /// Looks through the whole root. With [`VerifyOptions::repair`], manifests and configs of names are fetched again on
    /// behalf of `access`, and layers are not; without it nothing is changed and no request is sent.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) where something is to be mended in a root that is open for reading;
    /// [`Error::Metadata`](crate::Error::Metadata), [`Error::Io`](crate::Error::Io) where it cannot be looked at all.
    pub async fn verify(&self, options: VerifyOptions, access: &Access) -> Result<Verified> {
        let (manager, access) = (self.clone(), access.clone());
        let work = move |cancel: CancellationToken| async move {
            let facts = Facts::of(&manager).await?;
            let found = Verified::default();
            let mut check =
                Check { manager: &manager, options, access: &access, cancel: &cancel, facts, found };
            check.rows().await?;
            check.blobs().await?;
            check.names().await?;
            check.records().await?;
            check.snapshots().await?;
            check.partials().await?;
            check.staging().await?;
            check.mounts().await?;
            Ok(check.found)
        };
        self.see_through(|cancel| Box::pin(work(cancel))).await
    }
}

impl Check<'_> {
    fn problem(&mut self, object: Object, reason: impl Into<String>, repair: Repair) {
        self.found.problems.push(Problem::new(object, reason, repair));
    }

    fn leftover(&mut self, object: Object, reason: impl Into<String>, repair: Repair) {
        self.found.problems.push(Problem::leftover(object, reason, repair));
    }

    fn repairs(&self) -> bool {
        self.options.repair
    }
}
