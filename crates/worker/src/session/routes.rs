//! Whose work a blob is: what is pulled and unpacked of an image is shown at that image, whoever needs it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lazyblob_remote::Digest;
use lazyblob_solver::LoadCx;

/// The vertices that blobs belong to. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Routes(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    entered: u64,
    of: HashMap<Digest, Vec<(u64, LoadCx)>>,
}

impl Routes {
    /// Says that these blobs belong to the vertex of `cx`, until what is returned is dropped.
    pub(crate) fn enter(&self, blobs: Vec<Digest>, cx: &LoadCx) -> Routed {
        let mut table = self.lock();
        table.entered += 1;
        let ticket = table.entered;
        for blob in &blobs {
            table.of.entry(blob.clone()).or_default().push((ticket, cx.clone()));
        }
        Routed { ticket, blobs, of: self.clone() }
    }

    /// The vertices that a blob belongs to: two images may share it.
    pub(super) fn of(&self, blob: &Digest) -> Vec<LoadCx> {
        self.lock().of.get(blob).into_iter().flatten().map(|(_, cx)| cx.clone()).collect()
    }

    fn leave(&self, ticket: u64, blobs: &[Digest]) {
        let mut left = Vec::new();
        let mut table = self.lock();
        for blob in blobs {
            let Some(known) = table.of.get_mut(blob) else { continue };
            left.extend(known.extract_if(.., |(entered, _)| *entered == ticket));
            if known.is_empty() {
                table.of.remove(blob);
            }
        }
        drop(table);
        // Not under the lock: a context may hold anything.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().of.keys()).finish()
    }
}

/// Blobs that belong to a vertex, as long as this lives.
#[derive(Debug)]
pub(crate) struct Routed {
    ticket: u64,
    blobs: Vec<Digest>,
    of: Routes,
}

impl Drop for Routed {
    fn drop(&mut self) {
        self.of.leave(self.ticket, &self.blobs);
    }
}
