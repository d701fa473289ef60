//! A table that several ask at once.

use std::sync::Arc;

use oci_spec::image::Digest;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::selector::Selector;
use super::source::Source;
use super::table::{OPERATION, Table};
use crate::blocking::blocking;
use crate::error::{Error, Result, What};

/// A table of one tree for everybody who asks of that tree; clones are the same one. One computes at a time, so that
/// nothing is read twice. Who is dropped lets go of it once the work has seen that, at the next file or piece of one.
#[derive(Clone, Debug)]
pub struct ContentHash(Arc<Mutex<Table>>);

impl ContentHash {
    /// Shares a table.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self(Arc::new(Mutex::new(table)))
    }

    /// The digest of what `selectors` mean, if it can be told without reading anything: to be asked before a tree is
    /// mounted.
    ///
    /// # Errors
    /// As [`Table::known`]; [`Error::Cancelled`].
    pub async fn known(
        &self,
        selectors: Vec<Selector>,
        cancel: &CancellationToken,
    ) -> Result<Option<Digest>> {
        let mut table = self.lock(cancel).await?;
        blocking(what, move || table.known(&selectors)).await
    }

    /// The digest of what `selectors` mean; what is not known is read from `source`.
    ///
    /// # Errors
    /// As [`Table::checksum`].
    pub async fn checksum(
        &self,
        mut source: Box<dyn Source>,
        selectors: Vec<Selector>,
        cancel: &CancellationToken,
    ) -> Result<Digest> {
        let mut table = self.lock(cancel).await?;
        let cancel = cancel.child_token();
        let _cancelled_when_dropped = cancel.clone().drop_guard();
        blocking(what, move || table.checksum(source.as_mut(), &selectors, &cancel)).await
    }

    /// Does something to the table that does not block: tells it of changes, encodes it.
    pub async fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        work(&mut *self.0.lock().await)
    }

    async fn lock(&self, cancel: &CancellationToken) -> Result<OwnedMutexGuard<Table>> {
        let locked = cancel.run_until_cancelled(Arc::clone(&self.0).lock_owned()).await;
        locked.ok_or_else(|| Error::Cancelled { what: what() })
    }
}

fn what() -> What {
    What::new(OPERATION, "its files")
}
