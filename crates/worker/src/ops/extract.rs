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
        // A build waits once for all it has made: a chain of ops would otherwise wait for the disk at each of them.
        let extract = tree.extract_soon(&access);
        let extracted = cx.cancellation().run_until_cancelled(extract).await.ok_or(OpError::Cancelled)?;
        extracted.map_err(|error| gone(0, error))
    }
}
