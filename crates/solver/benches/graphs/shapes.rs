//! Graphs of ops that do nothing.

use std::sync::Arc;

use async_trait::async_trait;
use lazyblob_solver::testing::digest;
use lazyblob_solver::{CacheMap, CacheOpts, Dep, Edge, Graph, Op, OpCx, OpError, Vertex};
use oci_spec::image::Digest;

/// An op that costs nothing: what is measured is what is around it.
struct Nothing {
    key: Digest,
    inputs: usize,
    opts: CacheOpts,
}

#[async_trait]
impl Op<i64> for Nothing {
    async fn cache_map(&self, _: &OpCx<i64>, _: usize) -> Result<CacheMap<i64>, OpError> {
        let deps = std::iter::repeat_with(Dep::default).take(self.inputs).collect();
        Ok(CacheMap { digest: self.key.clone(), deps, opts: self.opts.clone(), more: false })
    }

    async fn exec(&self, _: &OpCx<i64>, _: Vec<i64>) -> Result<Vec<i64>, OpError> {
        Ok(vec![0])
    }
}

/// Vertices, inputs before those that have them. The last is the one asked for, and all others are below it.
#[derive(Clone, Default)]
pub(crate) struct Shape {
    pub(crate) vertices: Vec<Vertex<i64>>,
}

impl Shape {
    fn with_capacity(size: usize) -> Self {
        Self { vertices: Vec::with_capacity(size) }
    }

    /// Adds a vertex. Its digest is made of the salt and its number, its cache key of `key` alone.
    pub(crate) fn add(&mut self, salt: &str, key: &str, inputs: &[usize]) {
        let edges: Vec<_> = inputs.iter().map(|at| self.edge(*at)).collect();
        let op = Nothing { key: digest(key), inputs: inputs.len(), opts: CacheOpts::default() };
        let vertex = digest(&format!("{salt} {}", self.len()));
        self.vertices.push(Vertex::new(vertex, "nothing", Arc::new(op), edges));
    }

    /// Adds a vertex that is like no other of its graph.
    fn push(&mut self, salt: &str, inputs: &[usize]) {
        let key = format!("key {}", self.len());
        self.add(salt, &key, inputs);
    }

    /// Has the first vertex, which has no inputs, carry these options.
    pub(crate) fn carry(&mut self, opts: CacheOpts) {
        self.vertices[0].op = Arc::new(Nothing { key: digest("key 0"), inputs: 0, opts });
    }

    pub(crate) fn edge(&self, at: usize) -> Edge {
        Edge::first(self.vertices[at].name.digest.clone())
    }

    pub(crate) fn top(&self) -> Edge {
        self.edge(self.vertices.len() - 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.vertices.len()
    }

    pub(crate) fn arrows(&self) -> usize {
        self.vertices.iter().map(|vertex| vertex.inputs.len()).sum()
    }

    pub(crate) fn graph(&self) -> Graph<i64> {
        Graph::new(self.vertices.iter().cloned()).unwrap()
    }
}

/// Draws a graph of so many vertices whose digests are made with a salt.
pub(crate) type Draw = fn(usize, &str) -> Shape;

pub(crate) const SHAPES: [(&str, Draw); 3] = [("chain", chain), ("fan", fan), ("random", random)];

/// Each on the one before.
pub(crate) fn chain(size: usize, salt: &str) -> Shape {
    let mut shape = Shape::with_capacity(size);
    for at in 0..size {
        let below = at.checked_sub(1);
        shape.push(salt, below.as_slice());
    }
    shape
}

/// One that all have as input, and one that has all as inputs.
pub(crate) fn fan(size: usize, salt: &str) -> Shape {
    let mut shape = Shape::with_capacity(size);
    shape.push(salt, &[]);
    for _ in 2..size {
        shape.push(salt, &[0]);
    }
    let all: Vec<_> = (1..size - 1).collect();
    shape.push(salt, &all);
    shape
}

/// Each on none to four of those before it, two on average; the last on all that nothing else is on.
pub(crate) fn random(size: usize, salt: &str) -> Shape {
    let mut random = fastrand::Rng::with_seed(5);
    let mut shape = Shape::with_capacity(size);
    let mut used = vec![false; size];
    for at in 0..size - 1 {
        let mut inputs: Vec<usize> = (0..random.usize(0..=4).min(at)).map(|_| random.usize(0..at)).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs.iter().for_each(|input| used[*input] = true);
        shape.push(salt, &inputs);
    }
    let rest: Vec<_> = (0..size - 1).filter(|at| !used[*at]).collect();
    shape.push(salt, &rest);
    shape
}
