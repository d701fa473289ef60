//! Where a database is, and how long it waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::error::Result;

/// Where a [`Database`](super::Database) is, which engine it is on, and when it lets others have it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `<root>/meta`: locks, and a directory for each engine.
    pub meta: PathBuf,
    /// `<root>/hints`: the journal.
    pub hints: PathBuf,
    /// What it is stored with.
    pub engine: Arc<dyn Engine>,
    /// It is closed when it was not asked for so long.
    pub idle: Duration,
    /// While nobody here asks for it, it is looked at least so often whether another process does.
    pub look: Duration,
    /// Where both this process and another ask for it without a pause, each has it so long in turn: opening it takes
    /// time too.
    pub turn: Duration,
    /// What is to be durable [soon](super::Database::write_soon) is made so when it is this old.
    pub soon: Duration,
    /// The journal is written anew when it has more than this many lines, and more than half of them are of no use.
    pub dead_lines: u64,
    /// What is done before a commit of what was to be durable [soon](super::Database::write_soon).
    pub barrier: Option<Arc<dyn Barrier>>,
}

/// Makes durable what rows speak of, before they are.
pub trait Barrier: Send + Sync + std::fmt::Debug {
    /// Makes durable all that was there when it was called. Runs on a thread of its own: whoever reads, or writes what is to
    /// be durable soon, does not wait for it.
    ///
    /// # Errors
    /// Its own, and then nothing of what waits for it is committed.
    fn sync(&self) -> Result<()>;
}

impl Settings {
    /// The database below `root`.
    pub fn new(root: &Path, engine: Arc<dyn Engine>) -> Self {
        Self {
            meta: root.join("meta"),
            hints: root.join("hints"),
            engine,
            idle: Duration::from_secs(1),
            look: Duration::from_millis(20),
            turn: Duration::from_millis(20),
            soon: Duration::from_secs(5),
            dead_lines: 10_000,
            barrier: None,
        }
    }
}
