//! The root on disk, and what several processes on it tell each other.
//!
//! ```text
//! <root>/            0700, ours, one file system
//!   version          schema of everything below; the first file there is
//!   store/           a valid, sparse OCI image layout and nothing else
//!   ingest/          unfinished blobs: see lazyblob_remote::layout::ingest
//!   staging/         what is being made, and <name>.lock, flocked by its maker: see StagingLocks
//!   snapshots/       what was made
//!   trash/<nonce>    what was removed and is not deleted yet: see Trash
//!   live/<pid>-<n>   one file per process that pins something, flocked for its life: see Live
//!   hints/ meta/ mounts/ jobs/
//! ```
//!
//! Between processes the file system is the truth. Nothing here waits for another process, but who makes something that
//! another one is making.

mod dirs;
mod live;
mod open;
mod pin;
mod settings;
mod staging;
pub(crate) mod trash;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazyblob_remote::What;
use lazyblob_remote::layout::{Layout, Removed};

pub use dirs::Dir;
pub use lazyblob_remote::layout::flock::Pauses;
pub use live::{Live, Pinned};
pub use open::VERSION;
pub use pin::Pin;
pub use settings::{Pace, RootSettings};
pub use staging::{Claim, StagingLocks};
pub(crate) use trash::delete;
pub use trash::{Left, Swept, Trash, Trashed};

use crate::blocking::blocking;
use crate::error::Result;

/// A directory with everything that is kept. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Root {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    settings: RootSettings,
    store: Layout,
    live: Arc<Live>,
    staging: StagingLocks,
    trash: Trash,
    removed: Vec<Removed>,
}

impl Root {
    /// Opens the root at `path`; also who only looks at it writes: locks, pins, and what the database does when it changes
    /// hands. Creates what is missing of it, readable by its owner alone. An
    /// empty directory becomes a root, one with other things in it does not. Removes unfinished blobs that nobody has
    /// gone on with for [`IngestSettings::keep`](lazyblob_remote::layout::IngestSettings::keep).
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) for a root that is another user's, of a newer version, read-only, or spread over several file
    /// systems; [`Error::Invalid`](crate::Error::Invalid) for what is neither a root nor an empty directory; [`Error::Io`](crate::Error::Io).
    pub async fn open(path: impl Into<PathBuf>, settings: RootSettings) -> Result<Self> {
        let path = path.into();
        let what = What::new("open root", path.display());
        let path = blocking(|| what, move || open::writable(&path)).await?;
        let ingest = settings.ingest();
        let store = Layout::create_or_open_with(Dir::Store.of(&path), ingest).await?;
        let store = store.with_ingest_dir(Dir::Ingest.of(&path));
        // Names that are lost are told by whoever needs them: an empty index would be taken for a wish to have none.
        if !has_lost_its_names(store.root()) {
            store.create().await?;
        }
        let removed = store.ingests().sweep().await?;
        let live = Arc::new(Live::new(Dir::Live.of(&path), settings.holder));
        let staging = StagingLocks::new(Dir::Staging.of(&path), settings);
        let trash = Trash::new(Dir::Trash.of(&path), settings.trash);
        let inner = Inner { path, settings, store, live, staging, trash, removed };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The directory, without links in its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn settings(&self) -> RootSettings {
        self.inner.settings
    }

    /// One of its directories.
    #[must_use]
    pub fn dir(&self, dir: Dir) -> PathBuf {
        dir.of(&self.inner.path)
    }

    /// The blobs. All of this process write them through this one layout, so that they see each other.
    #[must_use]
    pub fn store(&self) -> &Layout {
        &self.inner.store
    }

    /// What this process holds on to.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        &self.inner.live
    }

    /// One maker per thing that is made in `staging/`.
    #[must_use]
    pub fn staging_locks(&self) -> &StagingLocks {
        &self.inner.staging
    }

    /// What was removed and is deleted later.
    #[must_use]
    pub fn trash(&self) -> &Trash {
        &self.inner.trash
    }

    /// Unfinished blobs that were removed when it was opened, for whoever is to be told.
    #[must_use]
    pub fn removed(&self) -> &[Removed] {
        &self.inner.removed
    }

    /// `snapshots/`: trees that are whole.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.dir(Dir::Snapshots)
    }

    /// `staging/`: trees that are being made.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.dir(Dir::Staging)
    }

    /// `mounts/`: what is mounted where.
    #[must_use]
    pub fn mounts(&self) -> PathBuf {
        self.dir(Dir::Mounts)
    }

    /// `hints/`: what makes blobs fetchable again.
    #[must_use]
    pub fn hints(&self) -> PathBuf {
        self.dir(Dir::Hints)
    }

    /// `meta/`: the databases.
    #[must_use]
    pub fn meta(&self) -> PathBuf {
        self.dir(Dir::Meta)
    }
}

/// Whether there are blobs and no index that says what they are.
fn has_lost_its_names(store: &Path) -> bool {
    let holds = |directory: &str| {
        std::fs::read_dir(store.join(directory)).is_ok_and(|mut list| list.next().is_some())
    };
    !store.join("index.json").exists() && (holds("blobs/sha256") || holds("blobs/sha512"))
}
