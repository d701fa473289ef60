//! A blob on its way into a layout: a file of `.ingest/`, hashed as it grows.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use oci_spec::image::{Digest, DigestAlgorithm};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;

use super::backend::Ingest;
use super::layout_backend::{blob_path, blocking, outcome, sync_directory};
use super::memory::{check, hasher};
use super::sync::lock;
use crate::digest::Hasher;
use crate::error::{Error, Result};

/// Bytes read at a time where the blob must be hashed again.
const PIECE: usize = 512 * 1024;

/// A file that takes in a blob. Its state belongs to the blocking thread that works on it; a caller that goes away in
/// the middle leaves whole pieces.
#[derive(Debug)]
pub(super) struct FileIngest {
    layout: Arc<PathBuf>,
    /// Follows the file; readable while a thread has the state.
    position: Arc<AtomicU64>,
    state: Arc<Mutex<Option<State>>>,
    /// The append under way, also after its caller has gone.
    busy: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct State {
    file: NamedTempFile,
    /// sha256, what nearly every digest is; others are computed from the file at the end.
    hasher: Option<Hasher>,
}

impl FileIngest {
    /// Begins a file in `directory` and locks it.
    pub(super) fn create(layout: Arc<PathBuf>, directory: &Path) -> Result<Self> {
        let create = || {
            let shared = File::open(directory)?;
            shared.lock_shared()?;
            let file = NamedTempFile::new_in(directory)?;
            file.as_file().lock()?;
            Ok(file)
        };
        let file = create().map_err(|error| failed(directory, error))?;
        let state = State { file, hasher: Hasher::new(&DigestAlgorithm::Sha256) };
        Ok(Self { layout, position: Arc::default(), state: Arc::new(Mutex::new(Some(state))), busy: None })
    }
}

impl FileIngest {
    /// The outcome of the append under way.
    async fn finished(&mut self) -> Result<()> {
        let Some(busy) = self.busy.as_mut() else { return Ok(()) };
        let joined = busy.await;
        self.busy = None;
        outcome(joined)
    }
}

#[async_trait]
impl Ingest for FileIngest {
    fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    async fn settle(&mut self) {
        let _ = self.finished().await;
    }

    async fn append(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        self.settle().await;
        let (state, position) = (Arc::clone(&self.state), Arc::clone(&self.position));
        self.busy = Some(tokio::task::spawn_blocking(move || {
            let mut state = lock(&state);
            let Some(state) = state.as_mut() else { return Err(gone()) };
            let before = position.load(Ordering::Acquire);
            let written = pieces.iter().try_for_each(|piece| state.file.write_all(piece));
            if let Err(error) = written {
                // What was written of these pieces is not counted and will be written over.
                let _ = state.file.as_file().set_len(before);
                let _ = state.file.seek(SeekFrom::Start(before));
                return Err(failed(state.file.path(), error));
            }
            if let Some(hasher) = &mut state.hasher {
                pieces.iter().for_each(|piece| hasher.update(piece));
            }
            let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
            position.store(before + length, Ordering::Release);
            Ok(())
        }));
        self.finished().await
    }

    async fn commit(mut self: Box<Self>, expected: &Digest) -> Result<u64> {
        self.settle().await;
        let expected = expected.clone();
        blocking(move || {
            let Some(mut state) = lock(&self.state).take() else { return Err(gone()) };
            let hasher = match (expected.algorithm(), state.hasher.take()) {
                (DigestAlgorithm::Sha256, Some(hasher)) => hasher,
                _ => hash_again(&mut state.file, hasher(&expected)?)?,
            };
            check(&expected, hasher)?;
            store(&self.layout, state.file, &expected)?;
            Ok(self.position.load(Ordering::Acquire))
        })
        .await
    }

    async fn discard(mut self: Box<Self>) {
        self.settle().await;
        let removed = blocking(move || {
            let state = lock(&self.state).take();
            let Some(State { file, .. }) = state else { return Ok(()) };
            let path = file.path().to_owned();
            file.close().map_err(|error| failed(&path, error))
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "left behind");
        }
    }
}

fn hash_again(file: &mut NamedTempFile, mut hasher: Hasher) -> Result<Hasher> {
    let path = file.path().to_owned();
    let mut piece = vec![0; PIECE];
    let mut hash = || {
        file.seek(SeekFrom::Start(0))?;
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => hasher.update(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    hash().map_err(|error| failed(&path, error))?;
    Ok(hasher)
}

/// Data, then the name, then the name's durability. A blob that is there already is the same one.
fn store(layout: &Path, file: NamedTempFile, digest: &Digest) -> Result<()> {
    let path = blob_path(layout, digest);
    let store = || {
        if path.is_file() {
            return file.close();
        }
        file.as_file().sync_data()?;
        let directory = path.parent().unwrap_or(layout);
        if !directory.is_dir() {
            std::fs::create_dir_all(directory)?;
            sync_directory(&layout.join("blobs"))?;
            sync_directory(layout)?;
        }
        readable(&file)?;
        file.persist(&path).map_err(|error| error.error)?;
        sync_directory(directory)
    };
    store().map_err(|error| Error::io("store blob", digest, &path, error))
}

/// Temporary files are for their owner alone; blobs are for whoever may read the layout.
#[cfg(unix)]
fn readable(file: &NamedTempFile) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &NamedTempFile) -> std::io::Result<()> {
    Ok(())
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::io("take in blob", "into the layout", path, error)
}

fn gone() -> Error {
    Error::not_found("take in blob", "into the layout", "it has ended already")
}
