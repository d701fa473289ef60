//! An op that does what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use oci_spec::image::Digest;

use crate::testing::hurdle::Hurdle;
use crate::testing::{Gate, digest};
use crate::{CacheMap, CacheOpts, Dep, Edge, LoadCx, Op, OpCx, OpError, Preprocess, SlowDigest, Vertex};

/// How often an op was asked for what.
#[derive(Debug, Default)]
pub struct Counts {
    maps: AtomicUsize,
    execs: AtomicUsize,
    digests: AtomicUsize,
    preprocesses: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Counts {
    /// Cache maps.
    pub fn maps(&self) -> usize {
        self.maps.load(Ordering::SeqCst)
    }

    /// Runs of the op.
    pub fn execs(&self) -> usize {
        self.execs.load(Ordering::SeqCst)
    }

    /// Slow digests of inputs.
    pub fn digests(&self) -> usize {
        self.digests.load(Ordering::SeqCst)
    }

    /// Preparations of inputs.
    pub fn preprocesses(&self) -> usize {
        self.preprocesses.load(Ordering::SeqCst)
    }

    /// Parts of its work that were cancelled while they waited at a gate.
    pub fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn noted(&self, outcome: Result<(), OpError>) -> Result<(), OpError> {
        if matches!(outcome, Err(OpError::Cancelled)) {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
        outcome
    }
}

type Run = dyn Fn(&OpCx<i64>, Vec<i64>, usize) -> futures::future::BoxFuture<'static, Result<Vec<i64>, OpError>>
    + Send
    + Sync;

/// An op over integers: its result is its own value plus the sum of its inputs, if it is told nothing else.
#[derive(Clone)]
pub struct Script {
    name: String,
    keys: Vec<Digest>,
    value: i64,
    outputs: usize,
    kind: String,
    inputs: Vec<Edge>,
    selectors: Vec<Option<Digest>>,
    slow: Vec<bool>,
    prepared: Vec<bool>,
    opts: CacheOpts,
    ignore_cache: bool,
    run: Option<Arc<Run>>,
    map_hurdle: Hurdle,
    run_hurdle: Hurdle,
    digest_hurdle: Hurdle,
    counts: Arc<Counts>,
}

impl Script {
    /// An op of this name, which is also what its vertex digest and its cache key are made of.
    #[must_use]
    pub fn new(name: &str, value: i64) -> Self {
        Self {
            name: name.to_owned(),
            keys: vec![digest(&format!("key of {name}"))],
            value,
            outputs: 1,
            kind: "script".to_owned(),
            inputs: Vec::new(),
            selectors: Vec::new(),
            slow: Vec::new(),
            prepared: Vec::new(),
            opts: CacheOpts::default(),
            ignore_cache: false,
            run: None,
            map_hurdle: Hurdle::default(),
            run_hurdle: Hurdle::default(),
            digest_hurdle: Hurdle::default(),
            counts: Arc::default(),
        }
    }

    /// Its cache key, where that is not made of its name.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.keys = vec![digest(key)];
        self
    }

    /// Its map digests, one for each cache map.
    #[must_use]
    pub fn keys(mut self, keys: Vec<Digest>) -> Self {
        self.keys = keys;
        self
    }

    /// One more input.
    #[must_use]
    pub fn input(mut self, input: &Script) -> Self {
        self.inputs.push(Edge::first(input.digest()));
        self.selectors.push(None);
        self.slow.push(false);
        self.prepared.push(false);
        self
    }

    /// One more input: this output of another op.
    #[must_use]
    pub fn input_at(mut self, input: &Script, output: u32) -> Self {
        self = self.input(input);
        if let Some(last) = self.inputs.last_mut() {
            last.output = output;
        }
        self
    }

    /// Reads only this part of its last input.
    #[must_use]
    pub fn selecting(mut self, part: &str) -> Self {
        if let Some(last) = self.selectors.last_mut() {
            *last = Some(digest(part));
        }
        self
    }

    /// Has a key of the content of its last input, which is the integer itself.
    #[must_use]
    pub fn by_content(mut self) -> Self {
        if let Some(last) = self.slow.last_mut() {
            *last = true;
        }
        self
    }

    /// Prepares its last input.
    #[must_use]
    pub fn preparing(mut self) -> Self {
        if let Some(last) = self.prepared.last_mut() {
            *last = true;
        }
        self
    }

    /// Has this many outputs: its value plus the sum of its inputs, and from there on one more each.
    #[must_use]
    pub fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }

    /// Is of this kind.
    #[must_use]
    pub fn of_kind(mut self, kind: &str) -> Self {
        self.kind = kind.to_owned();
        self
    }

    /// Carries these cache options.
    #[must_use]
    pub fn opts(mut self, opts: CacheOpts) -> Self {
        self.opts = opts;
        self
    }

    /// Is run whatever the cache has.
    #[must_use]
    pub fn ignoring_cache(mut self) -> Self {
        self.ignore_cache = true;
        self
    }

    /// Does this when it runs: given its context, its inputs, and how often it ran before.
    #[must_use]
    pub fn running<F, W>(mut self, run: F) -> Self
    where
        F: Fn(OpCx<i64>, Vec<i64>, usize) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<i64>, OpError>> + Send + 'static,
    {
        self.run = Some(Arc::new(move |cx, inputs, before| Box::pin(run(cx.clone(), inputs, before))));
        self
    }

    /// Waits here before each cache map.
    #[must_use]
    pub fn mapping_at(mut self, gate: &Gate) -> Self {
        self.map_hurdle.gate = Some(gate.clone());
        self
    }

    /// Waits here whenever it runs.
    #[must_use]
    pub fn running_at(mut self, gate: &Gate) -> Self {
        self.run_hurdle.gate = Some(gate.clone());
        self
    }

    /// Waits here before each slow digest of an input.
    #[must_use]
    pub fn digesting_at(mut self, gate: &Gate) -> Self {
        self.digest_hurdle.gate = Some(gate.clone());
        self
    }

    /// Fails the first so many times that it is asked for a cache map.
    #[must_use]
    pub fn failing_maps(mut self, failures: usize) -> Self {
        self.map_hurdle.failures = failures;
        self
    }

    /// Fails the first so many times that it runs.
    #[must_use]
    pub fn failing_runs(mut self, failures: usize) -> Self {
        self.run_hurdle.failures = failures;
        self
    }

    /// Fails the first so many times that it is asked for a slow digest of an input.
    #[must_use]
    pub fn failing_digests(mut self, failures: usize) -> Self {
        self.digest_hurdle.failures = failures;
        self
    }

    /// What it was asked so far: shared by all clones.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The digest of its vertex.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest(&format!("vertex {}", self.name))
    }

    /// Its first output.
    #[must_use]
    pub fn edge(&self) -> Edge {
        Edge::first(self.digest())
    }

    /// Its vertex.
    #[must_use]
    pub fn vertex(&self) -> Vertex<i64> {
        let vertex =
            Vertex::new(self.digest(), self.name.as_str(), Arc::new(self.clone()), self.inputs.clone());
        if self.ignore_cache { vertex.ignoring_cache() } else { vertex }
    }
}

#[async_trait]
impl Op<i64> for Script {
    fn kind(&self) -> &str {
        &self.kind
    }

    async fn cache_map(&self, cx: &OpCx<i64>, index: usize) -> Result<CacheMap<i64>, OpError> {
        let before = self.counts.maps.fetch_add(1, Ordering::SeqCst);
        self.counts.noted(self.map_hurdle.take(cx, before).await)?;
        let deps = (0..self.inputs.len()).map(|input| {
            let part = Arc::new(Input(Arc::clone(&self.counts), self.digest_hurdle.clone()));
            Dep {
                selector: self.selectors[input].clone(),
                slow_digest: self.slow[input].then(|| Arc::clone(&part) as _),
                preprocess: self.prepared[input].then(|| part as _),
            }
        });
        let digest = self.keys.get(index).ok_or_else(|| OpError::failed("no such map"))?.clone();
        Ok(CacheMap {
            digest,
            deps: deps.collect(),
            opts: self.opts.clone(),
            more: index + 1 < self.keys.len(),
        })
    }

    async fn exec(&self, cx: &OpCx<i64>, inputs: Vec<i64>) -> Result<Vec<i64>, OpError> {
        let before = self.counts.execs.fetch_add(1, Ordering::SeqCst);
        self.counts.noted(self.run_hurdle.take(cx, before).await)?;
        if let Some(run) = &self.run {
            return run(cx, inputs, before).await;
        }
        let first = self.value + inputs.iter().sum::<i64>();
        Ok((first..).take(self.outputs).collect())
    }
}

/// What an op does with an input.
struct Input(Arc<Counts>, Hurdle);

#[async_trait]
impl SlowDigest<i64> for Input {
    async fn slow_digest(&self, cx: &LoadCx, input: &i64) -> Result<Digest, OpError> {
        let before = self.0.digests.fetch_add(1, Ordering::SeqCst);
        self.0.noted(self.1.take(cx, before).await)?;
        Ok(digest(&format!("content {input}")))
    }

    fn looks_at(&self) -> String {
        "the integer".to_owned()
    }
}

#[async_trait]
impl Preprocess<i64> for Input {
    async fn preprocess(&self, _: &LoadCx, _: &i64) -> Result<(), OpError> {
        self.0.preprocesses.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
