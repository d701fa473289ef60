//! A store whose panics are errors, since sled answers some damage with one, and whose values are checked: redb hands out
//! what it finds in a damaged page.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lazyblob_remote::What;

use super::{Batch, Engine, Entry, MetadataStore, disk};
use crate::error::{Error, Result};

/// After each value comes a CRC-32 of its key and itself, in bytes.
const CHECKSUM: usize = 4;

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

    /// The value without its checksum.
    fn checked(&self, key: &[u8], mut value: Vec<u8>) -> Result<Vec<u8>> {
        let split = value.len().checked_sub(CHECKSUM);
        match split.filter(|split| value[*split..] == checksum(key, &value[..*split])) {
            Some(split) => value.truncate(split),
            None => {
                let what = What::new("read", self.dir.display());
                return Err(Error::Metadata { what, reason: "a value is not what was stored".to_owned() });
            }
        }
        Ok(value)
    }
}

impl MetadataStore for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.call("read", |store| store.get(key)?.map(|value| self.checked(key, value)).transpose())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>> {
        let checked = |(key, value): Entry| self.checked(&key, value).map(|value| (key, value));
        self.call("read", |store| store.scan(from, to, limit)?.into_iter().map(checked).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Entry>> {
        let checked = |(key, value): Entry| self.checked(&key, value).map(|value| (key, value));
        self.call("read", |store| store.last(from, to)?.map(checked).transpose())
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        let mut sealed = Batch::default();
        for (key, value) in batch.iter() {
            match value {
                Some(value) => sealed.put(key, [value, &checksum(key, value)].concat()),
                None => sealed.delete(key),
            }
        }
        self.call("write", |store| store.apply(&sealed))
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

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = flate2::Crc::new();
    sum.update(key);
    sum.update(value);
    sum.sum().to_le_bytes()
}

/// A panic over a refusal of the system is that; any other one is damage.
fn panicked(operation: &'static str, dir: &Path, panic: &(dyn Any + Send)) -> Error {
    let said = said(panic);
    match disk::quoted_error(said) {
        Some(source) => {
            Error::Io { what: What::new(operation, "the database"), path: dir.to_owned(), source }
        }
        None => {
            let reason = format!("it panicked: {said}");
            Error::Metadata { what: What::new(operation, dir.display()), reason }
        }
    }
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing said")
}
