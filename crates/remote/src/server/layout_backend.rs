//! A backend over an OCI image layout (image-spec "Image Layout").
//!
//! ```text
//! <dir>/oci-layout
//!      /index.json            names, replaced by rename under a flock of <dir>
//!      /blobs/<alg>/<hex>     complete and verified, nothing else
//!      /.ingest/<random>      on their way in, each flocked by its process; leftovers go when a backend opens, except
//!                             directories: those are [`crate::layout::ingest`]'s
//! ```
//!
//! A manifest's name is the annotation `org.opencontainers.image.ref.name` of its entry: `repository:tag`, or
//! `repository@digest` where it has no tag. Entries with other names belong to others and stay as they are.
//!
//! Order of writes: data, fdatasync, rename, fsync of the directory, name. Blobs pass in pieces and are never whole in
//! memory.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use oci_spec::image::Digest;
use tokio::task::JoinError;

use super::backend::{Applied, Backend, Change, Ingest, Named};
use super::layout_index;
use super::layout_ingest::FileIngest;
use crate::body::ByteStream;
use crate::error::{Error, Result};

/// Bytes read at a time.
const PIECE: u64 = 512 * 1024;
const LAYOUT_FILE: &str = "oci-layout";
const INGEST: &str = ".ingest";

/// Blobs and names in a directory. Several processes may share it.
#[derive(Clone, Debug)]
pub struct LayoutBackend {
    directory: Arc<PathBuf>,
}

impl LayoutBackend {
    /// Opens a layout, or makes one where there is none; parents are made too.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Invalid`] for a directory with something else in it or another layout version.
    pub async fn open(directory: &Path) -> Result<Self> {
        let directory = Arc::new(directory.to_owned());
        let opened = Arc::clone(&directory);
        blocking(move || prepare(&opened)).await?;
        Ok(Self { directory })
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        blob_path(&self.directory, digest)
    }
}

#[async_trait]
impl Backend for LayoutBackend {
    async fn names(&self) -> Result<Vec<Named>> {
        let directory = Arc::clone(&self.directory);
        blocking(move || layout_index::names(&directory)).await
    }

    async fn change(&self, repository: &str, change: Change, applied: Applied) -> Result<()> {
        let directory = Arc::clone(&self.directory);
        let repository = repository.to_owned();
        blocking(move || {
            let _lock = lock_directory(&directory)?;
            layout_index::change(&directory, &repository, &change)?;
            // Still under the lock, so that calls come in the order of the changes.
            applied();
            Ok(())
        })
        .await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob(digest);
        let digest = digest.clone();
        blocking(move || match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look for blob", digest, path, error)),
        })
        .await
    }

    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<ByteStream> {
        let path = self.blob(digest);
        let digest = digest.clone();
        let opened = {
            let (path, digest) = (path.clone(), digest.clone());
            blocking(move || open_at(&path, &digest, range.start)).await?
        };
        let left = range.end.saturating_sub(range.start);
        let stream = futures::stream::try_unfold((opened, left), move |(file, left)| {
            let (path, digest) = (path.clone(), digest.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                blocking(move || {
                    let want = left.min(PIECE);
                    let mut piece = Vec::with_capacity(usize::try_from(want).unwrap_or(0));
                    let read = (&file).take(want).read_to_end(&mut piece);
                    match read.map(|read| read as u64) {
                        Ok(read) if read == want => Ok(Some((Bytes::from(piece), (file, left - want)))),
                        Ok(_) => {
                            let short = std::io::Error::from(ErrorKind::UnexpectedEof);
                            Err(Error::io("read blob", digest, path, short))
                        }
                        Err(error) => Err(Error::io("read blob", digest, path, error)),
                    }
                })
                .await
            }
        });
        Ok(stream.into_stream().boxed())
    }

    async fn ingest(&self) -> Result<Box<dyn Ingest>> {
        let directory = Arc::clone(&self.directory);
        blocking(move || {
            let ingest = FileIngest::create(Arc::clone(&directory), &directory.join(INGEST))?;
            Ok(Box::new(ingest) as Box<dyn Ingest>)
        })
        .await
    }
}

/// Where a blob is. A digest that came through [`Digest`]'s parser has no `/` and no `..` of its own.
pub(super) fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join("blobs").join(digest.algorithm().as_ref()).join(digest.digest())
}

/// Runs file operations where they may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    outcome(tokio::task::spawn_blocking(work).await)
}

/// What blocking work came to; its panic goes on here.
pub(super) fn outcome<T>(joined: Result<Result<T>, JoinError>) -> Result<T> {
    match joined {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled { what: crate::error::What::new("use", "a layout") }),
        },
    }
}

fn open_at(path: &Path, digest: &Digest, start: u64) -> Result<File> {
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    };
    open().map_err(|error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::not_found("read blob", digest, "not stored"),
        _ => Error::io("read blob", digest, path, error),
    })
}

/// Locks a directory against the other writers of names, in this process and in others.
fn lock_directory(directory: &Path) -> Result<File> {
    let lock = || {
        let file = File::open(directory)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|error| Error::io("lock layout", directory.display(), directory, error))
}

fn prepare(directory: &Path) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::io("open layout", directory.display(), path, error)
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    let _lock = lock_directory(directory)?;
    let marker = directory.join(LAYOUT_FILE);
    match std::fs::read(&marker) {
        Ok(bytes) => check_version(directory, &bytes)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut entries = std::fs::read_dir(directory).map_err(failed(directory))?;
            if entries.next().is_some() {
                let reason = "neither empty nor an OCI layout (it has no oci-layout)";
                return Err(Error::invalid("open layout", directory.display(), reason));
            }
            layout_index::create(directory)?;
            write_durably(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed(&marker))?;
            sync_directory(directory).map_err(failed(directory))?;
        }
        Err(error) => return Err(failed(&marker)(error)),
    }
    let ingest = directory.join(INGEST);
    std::fs::create_dir_all(&ingest).map_err(failed(&ingest))?;
    remove_leftovers(&ingest).map_err(failed(&ingest))
}

fn check_version(directory: &Path, marker: &[u8]) -> Result<()> {
    let version = serde_json::from_slice::<serde_json::Value>(marker).ok();
    let version = version.as_ref().and_then(|marker| marker.get("imageLayoutVersion")?.as_str());
    if version.is_some_and(|version| version.starts_with("1.")) {
        return Ok(());
    }
    let reason = format!("layout version {} is not supported", version.unwrap_or("(none)"));
    Err(Error::invalid("open layout", directory.display(), reason))
}

/// Removes what processes that no longer run were taking in: their locks are gone. New files are made under a shared
/// lock of their directory, so that none is taken for a leftover before it has its own.
fn remove_leftovers(ingest: &Path) -> std::io::Result<()> {
    let directory = File::open(ingest)?;
    directory.lock()?;
    for entry in std::fs::read_dir(ingest)? {
        let entry = entry?;
        // Unfinished blobs of copies into this layout; they have owners and ages of their own.
        if entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => std::fs::remove_file(&path)?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a small file and waits until it is on disk.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}
