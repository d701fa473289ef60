//! What a command writes, told to its vertex.

use bytes::Bytes;
use lazyblob_solver::LoadCx;

use crate::executor::Output;

/// Hands on what is written as it is written.
pub(super) struct Logs<'a>(pub(super) &'a LoadCx);

impl Output for Logs<'_> {
    fn write(&self, stream: u8, data: Bytes) {
        self.0.log(stream, data);
    }
}
