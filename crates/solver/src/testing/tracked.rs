//! Results that are counted while they live.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use oci_spec::image::Digest;

use crate::testing::{Script, Shelf};
use crate::{
    CacheMap, Dep, LoadCx, LoadError, Op, OpCx, OpError, Preprocess, ResultId, ResultStore, SlowDigest,
    StoreError, StoredResult, Value, Vertex,
};

/// How many results are alive, clones included.
#[derive(Clone, Debug, Default)]
pub struct Census(Arc<AtomicUsize>);

impl Census {
    /// How many there are now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// One more result.
    #[must_use]
    pub fn count(&self, value: i64) -> Tracked {
        self.0.fetch_add(1, Ordering::SeqCst);
        Tracked { value, census: self.clone() }
    }

    /// The vertex of a script, whose results are counted here. The op has no context: it is not cancelled, and builds
    /// nothing of its own.
    #[must_use]
    pub fn vertex(&self, script: &Script) -> Vertex<Tracked> {
        let plain = script.vertex();
        let op = Counted { script: script.clone(), census: self.clone() };
        let name = plain.name.name.as_ref();
        let mut vertex = Vertex::new(plain.name.digest.clone(), name, Arc::new(op), plain.inputs);
        vertex.options = plain.options;
        vertex
    }

    /// A shelf whose results are counted when they are loaded; what lies there is not.
    #[must_use]
    pub fn shelf(&self, shelf: &Arc<Shelf>) -> Arc<dyn ResultStore<Tracked>> {
        Arc::new(Counter { shelf: Arc::clone(shelf), census: self.clone() })
    }
}

/// An integer that is counted until it is dropped.
#[derive(Debug)]
pub struct Tracked {
    /// The integer.
    pub value: i64,
    census: Census,
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        self.census.count(self.value)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.census.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Value for Tracked {
    type Remote = i64;
}

struct Counted {
    script: Script,
    census: Census,
}

#[async_trait]
impl Op<Tracked> for Counted {
    fn kind(&self) -> &str {
        self.script.kind()
    }

    async fn cache_map(&self, _: &OpCx<Tracked>, index: usize) -> Result<CacheMap<Tracked>, OpError> {
        let CacheMap { digest, deps, opts, more } = self.script.cache_map(&OpCx::detached(), index).await?;
        let deps = deps.into_iter().map(|Dep { selector, slow_digest, preprocess }| Dep {
            selector,
            slow_digest: slow_digest.map(|plain| Arc::new(Plain(plain)) as _),
            preprocess: preprocess.map(|plain| Arc::new(Plain(plain)) as _),
        });
        Ok(CacheMap { digest, deps: deps.collect(), opts, more })
    }

    async fn exec(&self, _: &OpCx<Tracked>, inputs: Vec<Tracked>) -> Result<Vec<Tracked>, OpError> {
        let values = inputs.iter().map(|input| input.value).collect();
        let outputs = self.script.exec(&OpCx::detached(), values).await?;
        Ok(outputs.into_iter().map(|output| self.census.count(output)).collect())
    }
}

/// What is done with the integer of a counted input.
struct Plain<T: ?Sized>(Arc<T>);

#[async_trait]
impl SlowDigest<Tracked> for Plain<dyn SlowDigest<i64>> {
    async fn slow_digest(&self, cx: &LoadCx, input: &Tracked) -> Result<Digest, OpError> {
        self.0.slow_digest(cx, &input.value).await
    }

    fn looks_at(&self) -> String {
        self.0.looks_at()
    }
}

#[async_trait]
impl Preprocess<Tracked> for Plain<dyn Preprocess<i64>> {
    async fn preprocess(&self, cx: &LoadCx, input: &Tracked) -> Result<(), OpError> {
        self.0.preprocess(cx, &input.value).await
    }
}

struct Counter {
    shelf: Arc<Shelf>,
    census: Census,
}

#[async_trait]
impl ResultStore<Tracked> for Counter {
    async fn save(
        &self,
        result: &Tracked,
        created_at: Option<SystemTime>,
    ) -> Result<StoredResult, StoreError> {
        self.shelf.save(&result.value, created_at).await
    }

    async fn load(&self, cx: &LoadCx, id: &ResultId) -> Result<Tracked, LoadError> {
        Ok(self.census.count(self.shelf.load(cx, id).await?))
    }

    async fn exists(&self, id: &ResultId) -> Result<bool, StoreError> {
        self.shelf.exists(id).await
    }

    async fn remotes(&self, cx: &LoadCx, id: &ResultId, make: bool) -> Result<Vec<i64>, LoadError> {
        self.shelf.remotes(cx, id, make).await
    }
}
