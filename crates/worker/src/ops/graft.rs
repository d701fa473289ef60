//! Merge and diff: trees made of trees, without looking into them.

use async_trait::async_trait;
use lazyblob_cache::{GetOptions, ImmutableRef};
use lazyblob_solver::{CacheMap, Op, OpCx, OpError};

use super::Made;
use crate::error::gone;
use crate::llb::pb::DiffOp;
use crate::result::WorkerRef;

/// Lays its inputs over one another.
#[derive(Debug)]
pub(crate) struct Merge(pub(crate) Made);

#[async_trait]
impl Op<WorkerRef> for Merge {
    fn kind(&self) -> &str {
        "merge"
    }

    async fn cache_map(&self, _: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        Ok(self.0.cache_map(false))
    }

    async fn exec(&self, _: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        let trees: Vec<ImmutableRef> = inputs.iter().filter_map(|input| input.tree().cloned()).collect();
        let options =
            GetOptions { description: Some(self.0.vertex.name.name.to_string()), ..GetOptions::default() };
        let numbered = inputs.iter().enumerate();
        settle(numbered.filter_map(|(number, input)| Some((number, input.tree()?)))).await?;
        let merged = self.0.worker.manager().merge(&trees, options).await;
        let merged = merged.map_err(failed)?;
        Ok(vec![merged.into()])
    }
}

/// What one input has over another.
#[derive(Debug)]
pub(crate) struct Diff {
    made: Made,
    lower: Option<usize>,
    upper: Option<usize>,
}

impl Diff {
    pub(crate) fn new(made: Made, op: &DiffOp) -> Self {
        let side = |input: Option<i64>| input.and_then(|input| usize::try_from(input).ok());
        let lower = side(op.lower.as_ref().map(|lower| lower.input));
        let upper = side(op.upper.as_ref().map(|upper| upper.input));
        Self { made, lower, upper }
    }
}

#[async_trait]
impl Op<WorkerRef> for Diff {
    fn kind(&self) -> &str {
        "diff"
    }

    async fn cache_map(&self, _: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        Ok(self.made.cache_map(false))
    }

    async fn exec(&self, _: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        let side = |side: Option<usize>| side.and_then(|side| inputs.get(side)).and_then(WorkerRef::tree);
        let (lower, upper) = (side(self.lower), side(self.upper));
        if lower.is_none() && upper.is_none() {
            return Ok(vec![WorkerRef::scratch()]);
        }
        let options =
            GetOptions { description: Some(self.made.vertex.name.name.to_string()), ..GetOptions::default() };
        let sides = [(self.lower, lower), (self.upper, upper)];
        settle(sides.into_iter().filter_map(|(number, tree)| number.zip(tree))).await?;
        let diff = self.made.worker.manager().diff(lower, upper, options).await;
        Ok(vec![WorkerRef::new(diff.map_err(failed)?)])
    }
}

/// Has each input, by its number, be a snapshot that others can stand on: what is wrong with one is said of that one.
async fn settle(inputs: impl Iterator<Item = (usize, &ImmutableRef)>) -> Result<(), OpError> {
    for (number, tree) in inputs {
        tree.finalize_soon().await.map_err(|error| gone(number, error))?;
    }
    Ok(())
}

/// What is wrong otherwise is no input's.
fn failed(error: lazyblob_cache::Error) -> OpError {
    match error.root() {
        lazyblob_cache::Error::Cancelled { .. } => OpError::Cancelled,
        _ => OpError::failed(error),
    }
}
