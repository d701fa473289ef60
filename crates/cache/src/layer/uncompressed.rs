//! The uncompressed side of a layer, whatever it is compressed with, for those who do not apply it.

use std::io::Read;

use lazyblob_remote::What;
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::stream::Pipe;
use crate::error::Result;

/// Decompresses `blob` in a thread of its own and has `work` read what comes out. The first bytes say how it is
/// compressed; what follows the compressed stream is an error, and so are more uncompressed bytes for each compressed one
/// than a layer may have.
pub(super) fn read<T>(
    blob: impl Read + Send,
    what: &What,
    cancel: &CancellationToken,
    work: impl FnOnce(Pipe) -> Result<T>,
) -> Result<T> {
    std::thread::scope(|scope| {
        let (feed, pipe) = Pipe::new(what.clone());
        let feeder = scope.spawn(|| feed.run(blob, "", &Limits::default(), cancel));
        // It takes the pipe with it: the other end hears that nobody listens any more.
        let done = work(pipe);
        match feeder.join() {
            Ok(()) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
