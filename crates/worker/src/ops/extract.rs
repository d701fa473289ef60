//! Makes the tree of an input before an op reads it.

use async_trait::async_trait;
use lazyblob_solver::{LoadCx, OpError, Preprocess};

use crate::error::gone;
use crate::result::WorkerRef;
use crate::worker::Worker;

/// Pulls and unpacks what of an input is not here, on behalf of the input's vertex.
pub(crate) struct Extract(Worker);

impl Extract {
    pub(crate) fn new(worker: &Worker) -> Self {
        Self(worker.clone())
    }
}

#[async_trait]
impl Preprocess<WorkerRef> for Extract {
    async fn preprocess(&self, cx: &LoadCx, input: &WorkerRef) -> Result<(), OpError> {
        let Some(tree) = input.tree() else { return Ok(()) };
        let access = self.0.access(cx);
        let extract = tree.extract(&access);
        let extracted = cx.cancellation().run_until_cancelled(extract).await.ok_or(OpError::Cancelled)?;
        extracted.map_err(|error| gone(0, error))
    }
}
