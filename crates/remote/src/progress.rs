//! What a transfer tells those who watch it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oci_spec::image::Descriptor;

/// The state a blob is in, in the words of the peers' own displays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Queued behind others. A blob that gets its slot at once is never in this state.
    Waiting,
    /// Bytes come in, to stay here.
    Downloading,
    /// Bytes go to a registry, straight from where they are.
    Uploading,
    /// Something went wrong; it is tried again after this many seconds.
    Retrying {
        /// Seconds left, rounded up.
        seconds: u64,
    },
    /// All bytes are there and are checked against the digest.
    Verifying,
    /// The blob is whole, verified and durable; it is still to be unpacked.
    Complete,
    /// The blob is being unpacked.
    Extracting,
    /// The target had it; no byte moved.
    Present,
    /// The target took it from another of its repositories; no byte moved.
    Mounted,
    /// All that was to happen to it has happened.
    Done,
    /// It ended without success; the error is the caller's.
    Failed,
}

/// Takes the events of blobs. Implementations must return at once: they are called on the way of the bytes.
pub trait Progress: Send + Sync + fmt::Debug {
    /// A blob enters `state`, one of those it does not stay in.
    fn start(&self, blob: &Descriptor, state: State);
    /// `position` bytes of the blob are through. It may fall back once, when a source starts over.
    fn advance(&self, blob: &Descriptor, position: u64);
    /// The blob has ended: [`State::Present`], [`State::Mounted`], [`State::Done`] or
    /// [`State::Failed`].
    fn finish(&self, blob: &Descriptor, state: State);
    /// Something worth a line: a source dropped, a server's warning.
    fn note(&self, message: &str);
    /// `failed` went wrong and is tried again after `wait`. Called once for each retry.
    fn retry(&self, failed: &str, wait: Duration) {
        self.note(&format!("{failed}; trying again in {:.1} s", wait.as_secs_f64()));
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, _: &str) {}
}

/// A [`Silent`] watcher to hand on.
#[must_use]
pub fn silent() -> Arc<dyn Progress> {
    Arc::new(Silent)
}

/// Temporary.
#[derive(Debug)]
pub struct Pulse;
impl Pulse {
    /// x
    #[must_use]
    pub fn new(_: Duration) -> Self {
        Self
    }
    /// x
    pub fn beat(&mut self, _: u64, _: tokio::time::Instant) -> bool {
        true
    }
}
