//! How a blob that is not here can be had: live, and therefore of a handle, never of a record.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Access, Provider};
use oci_spec::image::Digest;

/// Makes a provider for whoever asks now: whose credentials, how urgently, who watches.
pub type Opener = dyn Fn(&Access) -> Arc<dyn Provider> + Send + Sync;

/// A way to obtain one blob. Belongs to a handle and is handed on to its children; what of it outlives the process is in
/// the record, as a hint.
#[derive(Clone)]
pub struct DescHandler {
    source: Arc<Opener>,
    /// Annotations of the descriptor it was made of.
    pub annotations: HashMap<String, String>,
    /// Where it leads, as far as that is known without asking.
    pub origin: Option<Origin>,
}

impl DescHandler {
    /// A handler that asks `source` for a provider each time the blob is read.
    pub fn new(source: impl Fn(&Access) -> Arc<dyn Provider> + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source), annotations: HashMap::new(), origin: None }
    }

    /// A handler for a provider that is the same for all who ask.
    #[must_use]
    pub fn of(provider: Arc<dyn Provider>) -> Self {
        let origin = provider.origin();
        Self::new(move |_| Arc::clone(&provider)).at(origin)
    }

    /// The same handler, known to lead to `origin`.
    #[must_use]
    pub fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// The provider for `access`.
    #[must_use]
    pub fn provider(&self, access: &Access) -> Arc<dyn Provider> {
        (self.source)(access)
    }
}

impl fmt::Debug for DescHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DescHandler").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Handlers by the digest of the blob they bring. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DescHandlers(Arc<HashMap<Digest, Arc<DescHandler>>>);

impl DescHandlers {
    /// No handlers.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The handler for `digest`.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&Arc<DescHandler>> {
        self.0.get(digest)
    }

    /// Whether there is one for `digest`.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and those of `other`; where both have one for a blob, these win.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() || Arc::ptr_eq(&self.0, &other.0) {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let mut all = (*other.0).clone();
        all.extend(self.0.iter().map(|(digest, handler)| (digest.clone(), Arc::clone(handler))));
        Self(Arc::new(all))
    }
}

impl FromIterator<(Digest, Arc<DescHandler>)> for DescHandlers {
    fn from_iter<T: IntoIterator<Item = (Digest, Arc<DescHandler>)>>(handlers: T) -> Self {
        Self(Arc::new(handlers.into_iter().collect()))
    }
}
