//! Short locks. Their guards never live across an await.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. What it guards is changed in one step each time, so a panicking holder leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
