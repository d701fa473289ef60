//! What stands in the way of a part of an op's work.

use crate::testing::Gate;
use crate::{LoadCx, OpError};

/// A gate to wait at, and a number of failures before the first success.
#[derive(Clone, Default)]
pub(super) struct Hurdle {
    pub(super) gate: Option<Gate>,
    pub(super) failures: usize,
}

impl Hurdle {
    /// Waits at the gate, unless the work is cancelled there, and fails if it has not failed often enough `before`.
    pub(super) async fn take(&self, cx: &LoadCx, before: usize) -> Result<(), OpError> {
        if let Some(gate) = &self.gate {
            tokio::select! {
                biased;
                () = cx.cancelled() => return Err(OpError::Cancelled),
                () = gate.pass() => {}
            }
        }
        if before < self.failures {
            return Err(OpError::failed(format!("failure {before}")));
        }
        Ok(())
    }
}
