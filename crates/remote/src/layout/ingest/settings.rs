//! How often an unfinished blob is saved, and for how long it is kept.

use std::time::Duration;

use crate::layout::flock::Pauses;

/// How unfinished blobs are treated. A save point is due when both `save_bytes` and `save_interval` have passed since
/// the last one, so that small and fast transfers pay for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestSettings {
    /// Bytes between two save points at least.
    pub save_bytes: u64,
    /// Time between two save points at least.
    pub save_interval: Duration,
    /// How long an unfinished blob that nobody writes is kept after its last save point.
    pub keep: Duration,
    /// After how long a waiter looks whether another process has let go of a blob. Within a process it is woken.
    pub poll: Duration,
    /// Each pause between two such looks is twice the one before, up to this.
    pub poll_limit: Duration,
    /// How this process is called where others are told whom they wait for; the base name of its program if not set.
    /// It is written to a file beside the blob: its arguments are not, which may have secrets in them.
    pub holder: Option<&'static str>,
}

impl Default for IngestSettings {
    /// 1 MiB and a second between save points; unfinished blobs are kept for a day; waiters look after
    /// 10 ms and then less and less often, every 100 ms in the end.
    fn default() -> Self {
        Self {
            save_bytes: 1024 * 1024,
            save_interval: Duration::from_secs(1),
            keep: Duration::from_secs(24 * 60 * 60),
            poll: Duration::from_millis(10),
            poll_limit: Duration::from_millis(100),
            holder: None,
        }
    }
}

impl IngestSettings {
    /// How often waiters look.
    pub(super) fn pauses(&self) -> Pauses {
        Pauses { first: self.poll, limit: self.poll_limit }
    }
}
