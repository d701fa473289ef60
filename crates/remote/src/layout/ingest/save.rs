//! Save points: first the data is durable, then a state that says so.
//!
//! Those that are due by time and bytes are made beside the transfer, one at a time: it goes on while the disk works,
//! and the disk is given work it would have anyway before the blob is committed.

use std::fs::File;
use std::sync::Arc;

use oci_spec::image::Descriptor;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lock::Claim;
use super::state::State;
use super::{IngestSettings, partial, state};
use crate::error::{Error, Result, What};
use crate::layout::disk;
use crate::verify::Verifier;

/// Makes the save points of one partial.
#[derive(Debug)]
pub(super) struct Saver {
    files: Arc<Files>,
    settings: IngestSettings,
    /// The offset of the last save point, and when it was made.
    last: (u64, Instant),
    running: Option<Running>,
    /// A save point failed. The system tells once that bytes did not reach the disk, and a later attempt would succeed
    /// without them: none is made.
    failed: bool,
}

/// A save point being made. Its thread holds the claim: nobody else writes before it has ended.
#[derive(Debug)]
struct Running {
    offset: u64,
    done: JoinHandle<Result<()>>,
}

#[derive(Debug)]
struct Files {
    what: What,
    blob: Descriptor,
    started: u64,
    data: Arc<File>,
    claim: Arc<Claim>,
}

impl Saver {
    /// A saver of `blob`, begun at `started`, of which `saved` bytes are saved already.
    pub(super) fn new(
        what: What,
        blob: Descriptor,
        data: Arc<File>,
        claim: Arc<Claim>,
        (started, saved): (u64, u64),
        settings: IngestSettings,
    ) -> Self {
        let files = Arc::new(Files { what, blob, started, data, claim });
        Self { files, settings, last: (saved, Instant::now()), running: None, failed: false }
    }

    /// Begins a save point if one is due. `point` has seen exactly what is in the file.
    pub(super) async fn pass(&mut self, point: &Verifier) -> Result<()> {
        if self.running.as_ref().is_some_and(|running| !running.done.is_finished()) {
            return Ok(());
        }
        self.check().await?;
        let (saved, at) = self.last;
        let due = point.position() - saved >= self.settings.save_bytes
            && at.elapsed() >= self.settings.save_interval
            // The commit comes next and makes it durable.
            && point.position() < self.files.blob.size();
        if due {
            self.begin(point);
        }
        Ok(())
    }

    /// Makes a save point at `point` and waits for it.
    pub(super) async fn save(&mut self, point: &Verifier) -> Result<()> {
        self.check().await?;
        if point.position() == self.last.0 {
            return Ok(());
        }
        self.begin(point);
        self.settle().await
    }

    /// Waits for the save point being made.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let Some(running) = self.running.as_mut() else { return Ok(()) };
        let joined = disk::outcome(|| self.files.what.clone(), (&mut running.done).await);
        let offset = running.offset;
        self.running = None;
        self.failed = !matches!(joined, Ok(Ok(())));
        joined??;
        self.last.0 = offset;
        Ok(())
    }

    /// Waits for the save point being made, and says whether the file can be made durable at all.
    pub(super) async fn check(&mut self) -> Result<()> {
        self.settle().await?;
        if self.failed {
            let source = std::io::Error::other("bytes written before were lost on their way to the disk");
            return Err(self.files.failed(partial::data_path(self.files.claim.dir()), source));
        }
        Ok(())
    }

    /// Begins anew with an empty file.
    pub(super) fn forget(&mut self) {
        self.last = (0, Instant::now());
        self.failed = false;
    }

    /// Bytes that a next run can count on.
    pub(super) fn saved(&self) -> u64 {
        self.last.0
    }

    fn begin(&mut self, point: &Verifier) {
        let (files, point) = (Arc::clone(&self.files), point.clone());
        let offset = point.position();
        self.last.1 = Instant::now();
        self.running =
            Some(Running { offset, done: tokio::task::spawn_blocking(move || files.save(&point)) });
    }
}

impl Files {
    fn save(&self, point: &Verifier) -> Result<()> {
        let dir = self.claim.dir();
        let data = |error| self.failed(partial::data_path(dir), error);
        self.data.sync_data().map_err(data)?;
        let offset = point.position();
        let tail = partial::tail(&self.data, offset).map_err(data)?;
        let blob = (self.blob.digest(), self.blob.size());
        let state = State::new(blob, offset, point.hasher(), &tail, self.started);
        let store = || {
            let first = !state::path(dir).try_exists()?;
            state.store(dir)?;
            // The directory's own name was not made durable when it was created.
            if first { disk::sync_dir(disk::parent_of(dir)) } else { Ok(()) }
        };
        store().map_err(|error| self.failed(state::path(dir), error))
    }

    fn failed(&self, path: std::path::PathBuf, source: std::io::Error) -> Error {
        Error::Io { what: self.what.clone(), path, source }
    }
}
