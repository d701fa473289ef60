//! Results that can only be had with somebody's help.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use oci_spec::image::Digest;

use crate::testing::{Shelf, digest};
use crate::{CacheOpts, LoadCx, LoadError, ResultId, ResultStore, StoreError, StoredResult};

/// Somebody who can bring the bytes of a value: carried as a cache option by [`Supplier::opts`].
#[derive(Debug, PartialEq, Eq)]
pub struct Supplier(pub String);

impl Supplier {
    /// What the bytes of a value go by.
    #[must_use]
    pub fn blob(value: i64) -> Digest {
        digest(&format!("blob {value}"))
    }

    /// Cache options that say who brings these values.
    #[must_use]
    pub fn opts(name: &str, values: &[i64]) -> CacheOpts {
        let mut opts = CacheOpts::default();
        let supplier = Arc::new(Self(name.to_owned()));
        values.iter().for_each(|value| opts.insert(Self::blob(*value), Arc::clone(&supplier)));
        opts
    }
}

/// A shelf whose results are lazy: each is loaded only if a [`Supplier`] of it is found.
pub struct LazyShelf {
    shelf: Arc<Shelf>,
    lacking: AtomicUsize,
    suppliers: Mutex<Vec<String>>,
}

impl LazyShelf {
    /// Makes all results of a shelf lazy.
    #[must_use]
    pub fn over(shelf: &Arc<Shelf>) -> Self {
        Self { shelf: Arc::clone(shelf), lacking: AtomicUsize::new(0), suppliers: Mutex::default() }
    }

    /// How many loads found nobody to bring the result.
    pub fn lacking(&self) -> usize {
        self.lacking.load(Ordering::SeqCst)
    }

    /// Who brought what was loaded, in order.
    pub fn suppliers(&self) -> Vec<String> {
        self.suppliers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl ResultStore<i64> for LazyShelf {
    async fn save(&self, result: &i64, created_at: Option<SystemTime>) -> Result<StoredResult, StoreError> {
        self.shelf.save(result, created_at).await
    }

    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<i64, LoadError> {
        let value = self.shelf.load(cx, id).await?;
        let blob = Supplier::blob(value);
        let found = cx.find::<Supplier>(std::slice::from_ref(&blob)).await;
        let Some(supplier) = found.get(&blob) else {
            self.lacking.fetch_add(1, Ordering::SeqCst);
            return Err(LoadError::failed(format!("nobody brings {value}")));
        };
        self.suppliers.lock().unwrap_or_else(PoisonError::into_inner).push(supplier.0.clone());
        Ok(value)
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        self.shelf.exists(id).await
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<i64>, LoadError> {
        self.shelf.remotes(cx, id, make).await
    }
}
