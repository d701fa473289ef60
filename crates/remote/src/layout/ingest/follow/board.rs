//! Where it is told how far a blob is.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::watch;

/// One blob, in this process.
#[derive(Debug)]
pub(in super::super) struct Board {
    stage: watch::Sender<Stage>,
}

/// What there is to read of a blob.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Nobody writes it.
    Idle,
    /// Somebody does.
    Writing(Run),
    /// It is in its place.
    Here,
}

/// One way of a blob from its first byte on. Its `reached` is closed when nothing comes of it any more.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) data: Arc<File>,
    pub(super) reached: watch::Receiver<Reached>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// So many bytes are in the file.
    pub(super) written: u64,
    pub(super) end: Option<End>,
}

/// How a run has ended, other than by being given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The blob is verified and in its place; the file is the blob's from now on.
    Published,
    /// The file is cut, and another run begins.
    Restarted,
}

impl Default for Board {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Idle) }
    }
}

impl Board {
    pub(super) fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Somebody has stored it: whom we waited for, or who had all of it in memory.
    pub(super) fn is_here(&self) {
        // Who writes it here and now tells more.
        self.stage.send_if_modified(|stage| {
            let idle = matches!(stage, Stage::Idle);
            if idle {
                *stage = Stage::Here;
            }
            idle
        });
    }
}

/// Tells how far an ingest is. It is dropped before the claim is: until then nobody else has a hand on the file.
#[derive(Debug)]
pub(in super::super) struct Writer {
    board: Arc<Board>,
    data: Arc<File>,
    /// Nothing while an ingest returns to its first byte, and once it is published.
    reached: Option<watch::Sender<Reached>>,
}

impl Writer {
    /// An ingest begins that has `written` bytes of an earlier one in `data`.
    pub(in super::super) fn new(board: Arc<Board>, data: Arc<File>, written: u64) -> Self {
        let mut writer = Self { board, data, reached: None };
        writer.begin(written);
        writer
    }

    /// So many bytes are in the file.
    pub(in super::super) fn advanced(&self, written: u64) {
        self.tell(|reached| reached.written = written);
    }

    /// The file is about to be cut: from now on nobody believes what is read from it.
    pub(in super::super) fn restarting(&mut self) {
        self.board.stage.send_replace(Stage::Idle);
        self.tell(|reached| reached.end = Some(End::Restarted));
        self.reached = None;
    }

    /// The file is empty.
    pub(in super::super) fn restarted(&mut self) {
        self.begin(0);
    }

    /// The blob is in its place.
    pub(in super::super) fn published(&mut self) {
        self.board.stage.send_replace(Stage::Here);
        self.tell(|reached| reached.end = Some(End::Published));
        self.reached = None;
    }

    fn begin(&mut self, written: u64) {
        let (reached, watched) = watch::channel(Reached { written, end: None });
        self.reached = Some(reached);
        let run = Run { data: Arc::clone(&self.data), reached: watched };
        self.board.stage.send_replace(Stage::Writing(run));
    }

    fn tell(&self, change: impl FnOnce(&mut Reached)) {
        if let Some(reached) = &self.reached {
            reached.send_modify(change);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.reached.is_some() {
            self.board.stage.send_replace(Stage::Idle);
        }
    }
}
