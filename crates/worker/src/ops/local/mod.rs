//! A directory of the client's: what is sent of it, as a tree of its own.
//!
//! ```text
//! Filter ─ scan: what there is, no file read ─┬─ all as it was ── the tree of the last time
//!                                             └─ Make: as it was → linked from that tree; the rest → copied and hashed
//!                                                 └─ commit, finalize ─ Index and table of digests beside the snapshot
//! ```
//! A tree that was made is never changed: the next one shares with it the files that are as they were. So builds of one
//! directory at the same time need not wait for each other, and what a killed one leaves is nobody's.
//!
//! A file is as it was if its inode, mode, size and both of its times are. Nothing is read that changed less than a tick of
//! the kernel's clock ago, so that a later change shows in the times; what changes while it is read is read once more, and
//! then an error.

mod copy;
mod file;
mod filter;
mod follow;
mod index;
mod kept;
mod make;
mod scan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lazyblob_cache::record::RecordType;
use lazyblob_cache::{GetOptions, ImmutableRef};
use lazyblob_remote::What;
use lazyblob_solver::{CacheMap, LoadCx, Op, OpCx, OpError, Progress, SessionId};
use tokio_util::sync::CancellationToken;

use self::copy::Reader;
use self::filter::Filter;
use self::index::Index;
use self::kept::{keep, last};
use self::make::Make;
use self::scan::{Item, scan};
use crate::error::{Error, Result};
use crate::keys::local_key;
use crate::llb::LocalSource;
use crate::result::WorkerRef;
use crate::session::Session;
use crate::worker::Worker;

/// Between two words on how far it is.
const PACE: Duration = Duration::from_millis(100);

/// Brings in a directory of the client's.
#[derive(Debug)]
pub(crate) struct Local {
    worker: Worker,
    local: LocalSource,
}

/// A directory that a session has.
struct Place {
    session: Arc<Session>,
    id: SessionId,
    path: PathBuf,
}

/// What was found in a directory.
struct Scanned {
    name: String,
    items: Vec<Item>,
}

impl Local {
    pub(crate) fn new(worker: &Worker, local: &LocalSource) -> Self {
        Self { worker: worker.clone(), local: local.clone() }
    }

    /// Who has the directory, of those who want it: the session that the source names, if it is one of them, else the first
    /// that has one of that name. A definition may name any session; what others have is none of its business.
    async fn place(&self, cx: &LoadCx) -> Result<Place> {
        let wanting = cx.sessions().current().await;
        let named = self.local.session.as_ref().map(|id| SessionId::new(id.clone()));
        let named = named.filter(|id| wanting.contains(id));
        for id in named.into_iter().chain(wanting) {
            let Some(session) = self.worker.sessions().get(&id) else { continue };
            if let Some(path) = session.locals.get(&self.local.name).cloned() {
                return Ok(Place { session, id, path });
            }
        }
        Err(self.failed(format_args!("nobody has it who builds this: add `--local {}=DIR`", self.local.name)))
    }

    fn failed(&self, reason: impl std::fmt::Display) -> Error {
        Error::failed("read local directory", &self.local.name, reason)
    }

    async fn bring(&self, cx: &LoadCx) -> Result<ImmutableRef> {
        let Place { session, path, .. } = self.place(cx).await?;
        let cancel = cx.cancellation().child_token();
        // Whoever is dropped tells the threads that work for it.
        let _cancelled_when_dropped = cancel.clone().drop_guard();
        let manager = self.worker.manager();
        let (local, place, token) = (self.local.clone(), path.clone(), cancel.clone());
        let scanned = blocking(move || look(&local, &place, &token)).await?;
        let (before, at) = match last(manager, &scanned.name).await? {
            Some((tree, before)) if before.index.is_of(&scanned.items) => return Ok(tree),
            Some((tree, before)) => (Some(before), Some(tree)),
            None => (None, None),
        };
        let options = GetOptions {
            description: Some(format!("local source for {}", self.local.name)),
            record_type: RecordType::SourceLocal,
            ..GetOptions::default()
        };
        let mutable = manager.new_mutable(None, &self.worker.access(cx), options).await?;
        let (directory, form) = (mutable.directory().await?, manager.snapshots().form());
        let (cx, name, told) = (cx.clone(), scanned.name.clone(), self.local.name.clone());
        let (mutable, index) = blocking(move || {
            // Its files are linked.
            let _at = at;
            let source =
                file::open_root(&path).map_err(|error| Error::io("read local directory", &path, error))?;
            let tree = file::open_root(&directory)
                .map_err(|error| Error::io("keep local directory", &directory, error))?;
            let telling = Telling::new(&cx, &told);
            let (before, tell) = (before.as_ref(), |bytes| telling.tell(bytes));
            let reader = Reader::new(&source, &path, session.local_reads.clone(), &cancel, &tell);
            let mut make = Make { reader, before, tree: &tree, form };
            let index = make.all(scanned.items)?;
            telling.end(make.reader.bytes);
            // It goes back where it is let go: not while a thread still writes to its tree.
            Ok((mutable, index))
        })
        .await?;
        let tree = mutable.commit().await?;
        tree.finalize().await?;
        self.remember(&name, &tree, &index).await?;
        Ok(tree)
    }

    async fn remember(&self, name: &str, tree: &ImmutableRef, index: &Index) -> Result<()> {
        self.worker.tables().tell(tree, index.table()?).await;
        keep(self.worker.manager(), name, tree, index.encode()).await
    }
}

#[async_trait]
impl Op<WorkerRef> for Local {
    fn kind(&self) -> &str {
        "local"
    }

    async fn cache_map(&self, cx: &OpCx<WorkerRef>, _: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        let place = self.place(cx).await.map_err(OpError::failed)?;
        // By the session that has it, whatever the definition calls it: another one may be given that name later.
        let local = LocalSource { session: None, ..self.local.clone() };
        Ok(CacheMap::new(local_key(&local, &place.id), 0))
    }

    async fn exec(&self, cx: &OpCx<WorkerRef>, _: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        match self.bring(cx).await {
            Ok(tree) => Ok(vec![WorkerRef::new(tree)]),
            Err(error) if is_cancelled(&error) => Err(OpError::Cancelled),
            Err(error) => Err(OpError::failed(error)),
        }
    }
}

fn is_cancelled(error: &Error) -> bool {
    match error {
        Error::Cancelled { .. } => true,
        Error::Cache(error) => matches!(error.root(), lazyblob_cache::Error::Cancelled { .. }),
        _ => false,
    }
}

/// What is sent of the directory, and under which name it is remembered.
fn look(local: &LocalSource, path: &Path, cancel: &CancellationToken) -> Result<Scanned> {
    let failed = |error: std::io::Error| {
        Error::failed("read local directory", &local.name, format_args!("{}: {error}", path.display()))
    };
    let whole = std::fs::canonicalize(path).map_err(failed)?;
    let root = file::open_root(&whole).map_err(failed)?;
    let facts = file::facts_of(&root).map_err(failed)?;
    let items = scan(&root, path, &Filter::new(&root, local)?, cancel)?;
    Ok(Scanned { name: kept::name(local, &whole, &facts), items })
}

/// Tells a vertex how many bytes were read.
struct Telling<'a> {
    cx: &'a LoadCx,
    id: Arc<str>,
    since: std::cell::Cell<Option<Instant>>,
}

impl<'a> Telling<'a> {
    fn new(cx: &'a LoadCx, name: &str) -> Self {
        let telling = Self { cx, id: name.into(), since: std::cell::Cell::new(None) };
        telling.say(0, "transferring", false);
        telling
    }

    fn tell(&self, bytes: u64) {
        if self.since.get().is_none_or(|since| since.elapsed() >= PACE) {
            self.since.set(Some(Instant::now()));
            self.say(bytes, "transferring", false);
        }
    }

    fn end(&self, bytes: u64) {
        self.say(bytes, "transferred", true);
    }

    fn say(&self, current: u64, action: &str, done: bool) {
        let (id, action) = (Arc::clone(&self.id), action.into());
        self.cx.progress(Progress { id, action, current, total: None, done });
    }
}

/// Runs work that blocks to its end.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled { what: What::new("read", "a local directory") }),
        },
    }
}
