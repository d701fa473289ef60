//! A store whose panics are errors: sled answers some damage with one.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lazyblob_remote::What;

use super::{Batch, Engine, Entry, MetadataStore};
use crate::error::{Error, Result};

/// Passes everything on to a store until that fails; then nothing any more.
#[derive(Debug)]
pub(super) struct Guarded {
    /// There until it is dropped.
    store: Option<Box<dyn MetadataStore>>,
    dir: PathBuf,
    failed: AtomicBool,
    damaged: AtomicBool,
}

impl Guarded {
    pub(super) fn open(engine: &dyn Engine, dir: &Path) -> Result<Self> {
        let store = catch_unwind(AssertUnwindSafe(|| engine.open(dir)))
            .unwrap_or_else(|panic| Err(panicked("open", dir, &*panic)))?;
        let (failed, damaged) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { store: Some(store), dir: dir.to_owned(), failed, damaged })
    }

    /// Whether it has failed, so that it is to be closed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether it failed in a way that damage explains, so that it is to be looked through before it is used again.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    fn call<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&dyn MetadataStore) -> Result<T>,
    ) -> Result<T> {
        let Some(store) = self.store.as_deref().filter(|_| !self.has_failed()) else {
            let what = What::new(operation, self.dir.display());
            return Err(Error::Metadata { what, reason: "it is closed after a failure".to_owned() });
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| call(store)))
            .unwrap_or_else(|panic| Err(panicked(operation, &self.dir, &*panic)));
        if let Err(error) = &outcome {
            self.failed.store(true, Ordering::Relaxed);
            self.damaged.fetch_or(matches!(error.root(), Error::Metadata { .. }), Ordering::Relaxed);
        }
        outcome
    }
}

impl MetadataStore for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.call("read", |store| store.get(key))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>> {
        self.call("read", |store| store.scan(from, to, limit))
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>> {
        self.call("read", |store| store.last(from, to))
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        self.call("write", |store| store.apply(batch))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let store = self.store.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(store))) {
            tracing::warn!(reason = said(&*panic), "the database panicked when it was closed");
        }
    }
}

fn panicked(operation: &'static str, dir: &Path, panic: &(dyn Any + Send)) -> Error {
    let reason = format!("it panicked: {}", said(panic));
    Error::Metadata { what: What::new(operation, dir.display()), reason }
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing said")
}
