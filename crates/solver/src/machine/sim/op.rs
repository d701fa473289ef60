//! Ops that are ready at once: the driver asks them when work is to have ended.

use std::sync::Arc;

use async_trait::async_trait;
use oci_spec::image::Digest;

use super::world::{Spec, content, digest};
use crate::error::OpError;
use crate::ops::{CacheMap, CacheOpts, Dep, LoadCx, Op, OpCx, Preprocess, SlowDigest};

/// The op of a vertex.
pub(super) struct SimOp(pub(super) Arc<Spec>);

/// What it does with its inputs.
struct Input;

#[async_trait]
impl Op<i64> for SimOp {
    fn kind(&self) -> &str {
        if self.0.class % 2 == 0 { "even" } else { "odd" }
    }

    async fn cache_map(&self, _: &OpCx<i64>, index: usize) -> Result<CacheMap<i64>, OpError> {
        let digests = self.0.map_digests();
        let deps = self.0.inputs.iter().map(|used| Dep {
            selector: used.part.map(|part| digest(&format!("part {part}"))),
            slow_digest: used.by_content.then(|| Arc::new(Input) as _),
            preprocess: used.prepared.then(|| Arc::new(Input) as _),
        });
        let (deps, more) = (deps.collect(), index + 1 < digests.len());
        Ok(CacheMap { digest: digests[index].clone(), deps, opts: CacheOpts::default(), more })
    }

    async fn exec(&self, _: &OpCx<i64>, inputs: Vec<i64>) -> Result<Vec<i64>, OpError> {
        Ok(self.0.compute(&inputs))
    }
}

#[async_trait]
impl SlowDigest<i64> for Input {
    async fn slow_digest(&self, _: &LoadCx, input: &i64) -> Result<Digest, OpError> {
        Ok(digest(&format!("content {}", content(*input))))
    }

    fn looks_at(&self) -> String {
        "a third".to_owned()
    }
}

#[async_trait]
impl Preprocess<i64> for Input {
    async fn preprocess(&self, _: &LoadCx, _: &i64) -> Result<(), OpError> {
        Ok(())
    }
}
