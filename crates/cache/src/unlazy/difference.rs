//! The tree of a diff that is no layer of anything: made by comparing two trees.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::apply::Made;
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer;
use crate::manager::Manager;
use crate::snapshot::{Keep, SnapshotKey};

/// What is compared: two stacks of snapshots, which are here.
pub(super) struct Comparing {
    pub(super) manager: Manager,
    pub(super) key: SnapshotKey,
    pub(super) lower: Vec<SnapshotKey>,
    pub(super) upper: Vec<SnapshotKey>,
}

impl Comparing {
    /// Puts both trees together beside the staging directory, and applies to it what makes the one of the other.
    pub(super) async fn run(self, cancel: &CancellationToken) -> Result<Made> {
        let cancel = cancel.clone();
        let what = What::new("compare trees", &self.key);
        blocking(|| what, move || self.compare(&cancel)).await
    }

    fn compare(&self, cancel: &CancellationToken) -> Result<Made> {
        let snapshots = Arc::clone(self.manager.snapshots());
        snapshots.clear_staging(&self.key)?;
        let staged = snapshots.stage(&self.key)?;
        // They go with the lock of this key if this process is killed, and to the trash in any case.
        let (below, above) = (snapshots.stage(&self.key)?, snapshots.stage(&self.key)?);
        snapshots.assemble(&self.lower, below.directory(), Keep::as_able(), cancel)?;
        snapshots.assemble(&self.upper, above.directory(), Keep::as_able(), cancel)?;
        let path: PathBuf = below.directory().to_owned();
        let (reader, writer) = io::pipe().during("compare trees", &self.key, &path)?;
        let options = self.manager.layer_options();
        let (compared, applied) = std::thread::scope(|scope| {
            let compare =
                scope.spawn(|| layer::diff(Some(below.directory()), above.directory(), writer, cancel));
            let applied = layer::apply(reader, staged.directory(), &options, cancel);
            (compare.join(), applied)
        });
        match (compared, applied) {
            (Err(panic), _) => std::panic::resume_unwind(panic),
            (Ok(Ok(_)), applied) => Ok((staged, applied?)),
            // Nobody reads what is written any more.
            (Ok(Err(Error::Io { source, .. })), Err(error)) if source.kind() == io::ErrorKind::BrokenPipe => {
                Err(error)
            }
            (Ok(Err(error)), _) => Err(error),
        }
    }
}
