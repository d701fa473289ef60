//! What an op says about under which keys its results are remembered.

use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::image::Digest;

use crate::error::OpError;
use crate::ops::{CacheOpts, LoadCx};
use crate::value::Value;

/// Under which keys the results of an op are remembered.
#[derive(Clone)]
pub struct CacheMap<R: Value> {
    /// Everything about the op that its result depends on, but not its inputs. A digest of the algorithm `random` holds for
    /// this session only: keys made of it are never exported.
    pub digest: Digest,
    /// One for each input, in order.
    pub deps: Vec<Dep<R>>,
    /// What the op can do for those that load results; never part of a key.
    pub opts: CacheOpts,
    /// Whether there is a map of the next index. Only an op without inputs may have one.
    pub more: bool,
}

impl<R: Value> CacheMap<R> {
    /// The only map of an op, with `inputs` inputs that are used as they are and as a whole.
    #[must_use]
    pub fn new(digest: Digest, inputs: usize) -> Self {
        let deps = std::iter::repeat_with(Dep::default).take(inputs).collect();
        Self { digest, deps, opts: CacheOpts::default(), more: false }
    }
}

/// How an op uses an input.
#[derive(Clone)]
pub struct Dep<R: Value> {
    /// What part of the input the op reads: a digest, joined with the keys of the input.
    pub selector: Option<Digest>,
    /// Computes a key of the input's content, tried when its other keys lead to nothing.
    pub slow_digest: Option<Arc<dyn SlowDigest<R>>>,
    /// Prepares the input before its content is looked at and before the op runs.
    pub preprocess: Option<Arc<dyn Preprocess<R>>>,
}

impl<R: Value> Default for Dep<R> {
    fn default() -> Self {
        Self { selector: None, slow_digest: None, preprocess: None }
    }
}

/// Computes a key of what an input contains: it is slow, since it needs the input.
#[async_trait]
pub trait SlowDigest<R: Value>: Send + Sync {
    /// The digest of what the op reads of `input`. The selector must not be mixed into it. `cx` is the context of the
    /// vertex that has the input.
    ///
    /// # Errors
    /// [`OpError::InputLost`] has the input made again; whatever else fails the vertex, at stage
    /// [`SlowDigest`](crate::Stage::SlowDigest).
    async fn slow_digest(&self, cx: &LoadCx, input: &R) -> Result<Digest, OpError>;

    /// What is looked at, in words: paths, say. It is what `why` names when this key is the one that missed.
    fn looks_at(&self) -> String;
}

/// Prepares an input for use: pulls and unpacks it, say.
#[async_trait]
pub trait Preprocess<R: Value>: Send + Sync {
    /// Prepares `input`. It counts as work of the input's own vertex: `cx` is that vertex's, with the sessions of all who
    /// share it, and progress is shown there. The consumer is not running meanwhile.
    ///
    /// It runs once for each input of each vertex that has one: two vertices over one input have it prepared each, and maybe
    /// both at once. Where the same work would be done twice, let the second wait for the first.
    ///
    /// # Errors
    /// [`OpError::InputLost`] has the input made again; whatever else fails the consumer, at stage
    /// [`Preprocess`](crate::Stage::Preprocess).
    async fn preprocess(&self, cx: &LoadCx, input: &R) -> Result<(), OpError>;
}
