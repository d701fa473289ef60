//! How a root is worked on.

use std::time::Duration;

use lazyblob_remote::layout::IngestSettings;
use lazyblob_remote::layout::flock::Pauses;

/// How a root is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSettings {
    /// How this process is called where others are told whom they wait for; the base name of its program if not set. It
    /// is written to files: arguments are not, which may have secrets in them.
    pub holder: Option<&'static str>,
    /// How unfinished blobs are treated; its `holder` is not looked at.
    pub ingest: IngestSettings,
    /// How often it is looked whether another process has made something. Within a process waiters are woken.
    pub poll: Pauses,
    /// How fast the trash is emptied in the background.
    pub trash: Pace,
}

/// How fast the trash is emptied in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Files and directories deleted in one go.
    pub step: usize,
    /// The pause after each step.
    pub pause: Duration,
}

impl RootSettings {
    /// How unfinished blobs are treated, by a process of this name.
    pub(super) fn ingest(&self) -> IngestSettings {
        IngestSettings { holder: self.holder, ..self.ingest }
    }
}

impl Default for RootSettings {
    /// Waiters look after 2 ms and then less and less often, every 50 ms in the end; the trash loses some 10 000 files
    /// a second at most.
    fn default() -> Self {
        Self {
            holder: None,
            ingest: IngestSettings::default(),
            poll: Pauses { first: Duration::from_millis(2), limit: Duration::from_millis(50) },
            trash: Pace { step: 256, pause: Duration::from_millis(25) },
        }
    }
}
