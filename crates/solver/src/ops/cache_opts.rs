//! What ops can do for whoever loads a result above them: a typed open map.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use oci_spec::image::Digest;

type Values = HashMap<(TypeId, Digest), Arc<dyn Any + Send + Sync>>;

/// Values by type and digest, carried by a cache map. They never influence a key.
///
/// A descriptor handler by the digest of its blob is what it is for: whoever loads a result that lacks the blob finds it
/// with [`LoadCx::find`](crate::LoadCx::find).
#[derive(Clone, Default)]
pub struct CacheOpts(Option<Arc<Values>>);

impl CacheOpts {
    /// Adds a value; one of the same type and digest is replaced.
    pub fn insert<T: Send + Sync + 'static>(&mut self, digest: Digest, value: Arc<T>) {
        let values = Arc::make_mut(self.0.get_or_insert_default());
        values.insert((TypeId::of::<T>(), digest), value);
    }

    /// The value of this type and digest.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self, digest: &Digest) -> Option<Arc<T>> {
        let values = self.0.as_ref()?;
        // The key owns its digest: a clone for each look-up, which only the values found in a walk pay for.
        let value = values.get(&(TypeId::of::<T>(), digest.clone()))?;
        Arc::clone(value).downcast().ok()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes out of `wanted` what is here.
    pub(crate) fn answer(&self, wanted: &mut Wanted) {
        let Some(values) = &self.0 else { return };
        let (missing, found) = (&mut wanted.missing, &mut wanted.found);
        missing.retain(|key| match values.get(key) {
            Some(value) => {
                found.push((key.1.clone(), Arc::clone(value)));
                false
            }
            None => true,
        });
    }
}

impl std::fmt::Debug for CacheOpts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digests = self.0.iter().flat_map(|values| values.keys()).map(|(_, digest)| digest.as_ref());
        f.debug_set().entries(digests).finish()
    }
}

/// What a walk over ancestors looks for, and what it has found.
pub(crate) struct Wanted {
    missing: Vec<(TypeId, Digest)>,
    found: Vec<(Digest, Arc<dyn Any + Send + Sync>)>,
}

impl Wanted {
    pub(crate) fn of<T: 'static>(digests: &[Digest]) -> Self {
        let mut missing: Vec<_> = Vec::with_capacity(digests.len());
        let mut seen = std::collections::HashSet::new();
        missing.extend(
            digests
                .iter()
                .filter(|digest| seen.insert(*digest))
                .map(|digest| (TypeId::of::<T>(), digest.clone())),
        );
        Self { missing, found: Vec::new() }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.missing.is_empty()
    }

    pub(crate) fn into_found(self) -> Vec<(Digest, Arc<dyn Any + Send + Sync>)> {
        self.found
    }
}
