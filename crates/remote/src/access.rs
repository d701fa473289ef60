//! What every call that may touch the network takes with it.

use std::sync::Arc;

use crate::keychain::{Anonymous, Keychain};
use crate::progress::{self, Progress};

/// How urgent a transfer is; the order is the order of urgency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// Nobody waits for it yet.
    Speculative,
    /// Somebody will want it.
    #[default]
    Normal,
    /// Somebody waits for it now.
    Urgent,
}

/// Whose credentials, how urgent, and who watches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    /// Asked for credentials at the time they are used, never before.
    pub keychain: Arc<dyn Keychain>,
    /// Urgency of what is asked for.
    pub priority: Priority,
    /// Watches the blobs that move.
    pub progress: Arc<dyn Progress>,
}

impl Access {
    /// Access with the credentials of `keychain`, watched by nobody.
    #[must_use]
    pub fn new(keychain: Arc<dyn Keychain>) -> Self {
        Self { keychain, priority: Priority::default(), progress: progress::silent() }
    }

    /// Access without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(Arc::new(Anonymous))
    }

    /// The same access, watched by `progress`.
    #[must_use]
    pub fn watched_by(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }
}
