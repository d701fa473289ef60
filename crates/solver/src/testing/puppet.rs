//! A scripted op of which any part may be done by the test itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use oci_spec::image::Digest;

use crate::testing::Script;
use crate::{CacheMap, Dep, LoadCx, Op, OpCx, OpError, Preprocess, SlowDigest, Vertex};

/// Given a context, what is asked about, and how often that was asked before.
type Hook<C, I, O> = dyn Fn(C, I, usize) -> BoxFuture<'static, Result<O, OpError>> + Send + Sync;
type MapHook = Hook<OpCx<i64>, CacheMap<i64>, CacheMap<i64>>;

/// A [`Script`] whose cache maps, slow digests and preparations are given away. What was asked is counted by the script.
#[derive(Clone)]
pub struct Puppet {
    script: Script,
    map: Option<Arc<MapHook>>,
    digest: Option<Arc<Hook<LoadCx, i64, Digest>>>,
    prepare: Option<Arc<Hook<LoadCx, i64, ()>>>,
}

impl Puppet {
    /// One that does what the script does.
    #[must_use]
    pub fn of(script: &Script) -> Self {
        Self { script: script.clone(), map: None, digest: None, prepare: None }
    }

    /// Answers this instead of what the script answers as cache map, which it is given.
    #[must_use]
    pub fn mapping<F, W>(mut self, map: F) -> Self
    where
        F: Fn(OpCx<i64>, CacheMap<i64>, usize) -> W + Send + Sync + 'static,
        W: Future<Output = Result<CacheMap<i64>, OpError>> + Send + 'static,
    {
        self.map = Some(Arc::new(move |cx, said, before| Box::pin(map(cx, said, before))));
        self
    }

    /// Answers this as slow digest of those inputs that the script looks at, given the input.
    #[must_use]
    pub fn digesting<F, W>(mut self, digest: F) -> Self
    where
        F: Fn(LoadCx, i64, usize) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Digest, OpError>> + Send + 'static,
    {
        self.digest = Some(Arc::new(move |cx, input, before| Box::pin(digest(cx, input, before))));
        self
    }

    /// Prepares those inputs like this that the script prepares.
    #[must_use]
    pub fn preparing<F, W>(mut self, prepare: F) -> Self
    where
        F: Fn(LoadCx, i64, usize) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), OpError>> + Send + 'static,
    {
        self.prepare = Some(Arc::new(move |cx, input, before| Box::pin(prepare(cx, input, before))));
        self
    }

    /// Its vertex: that of the script, with this op.
    #[must_use]
    pub fn vertex(&self) -> Vertex<i64> {
        let mut vertex = self.script.vertex();
        vertex.op = Arc::new(self.clone());
        vertex
    }
}

#[async_trait]
impl Op<i64> for Puppet {
    fn kind(&self) -> &str {
        self.script.kind()
    }

    async fn cache_map(&self, cx: &OpCx<i64>, index: usize) -> Result<CacheMap<i64>, OpError> {
        let before = self.script.counts().maps();
        let mut said = self.script.cache_map(cx, index).await?;
        for dep in &mut said.deps {
            let Dep { slow_digest, preprocess, .. } = dep;
            if let (Some(_), Some(hook)) = (&slow_digest, &self.digest) {
                let hook = Arc::clone(hook);
                *slow_digest = slow_digest
                    .take()
                    .map(|plain| Arc::new(Part { plain, hook, asked: AtomicUsize::new(0) }) as _);
            }
            if let (Some(_), Some(hook)) = (&preprocess, &self.prepare) {
                let hook = Arc::clone(hook);
                *preprocess = preprocess
                    .take()
                    .map(|plain| Arc::new(Part { plain, hook, asked: AtomicUsize::new(0) }) as _);
            }
        }
        match &self.map {
            Some(map) => map(cx.clone(), said, before).await,
            None => Ok(said),
        }
    }

    async fn exec(&self, cx: &OpCx<i64>, inputs: Vec<i64>) -> Result<Vec<i64>, OpError> {
        self.script.exec(cx, inputs).await
    }
}

/// What is done with an input: by the script, to be counted, and then by the test.
struct Part<T: ?Sized, O> {
    plain: Arc<T>,
    hook: Arc<Hook<LoadCx, i64, O>>,
    asked: AtomicUsize,
}

#[async_trait]
impl SlowDigest<i64> for Part<dyn SlowDigest<i64>, Digest> {
    async fn slow_digest(&self, cx: &LoadCx, input: &i64) -> Result<Digest, OpError> {
        self.plain.slow_digest(cx, input).await?;
        (self.hook)(cx.clone(), *input, self.asked.fetch_add(1, Ordering::SeqCst)).await
    }

    fn looks_at(&self) -> String {
        self.plain.looks_at()
    }
}

#[async_trait]
impl Preprocess<i64> for Part<dyn Preprocess<i64>, ()> {
    async fn preprocess(&self, cx: &LoadCx, input: &i64) -> Result<(), OpError> {
        self.plain.preprocess(cx, input).await?;
        (self.hook)(cx.clone(), *input, self.asked.fetch_add(1, Ordering::SeqCst)).await
    }
}
