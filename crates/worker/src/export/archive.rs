//! An image in a layout or an archive. All of it is read.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazyblob_remote::archive::{DockerArchiveTarget, OciArchiveTarget};
use lazyblob_remote::copy::Copy;
use lazyblob_remote::endpoint::{Name, Target};
use lazyblob_remote::layout::Layout;
use lazyblob_remote::{Access, Reference};
use tokio_util::sync::CancellationToken;

use super::files::nonce;
use super::image::ImageExport;
use super::source::ExportSource;
use crate::error::{Error, Result};
use crate::worker::Worker;

impl ImageExport {
    /// Puts the image into the OCI layout `dir`, which is made if it does not exist, beside what is there.
    ///
    /// # Errors
    /// Those of the layout, and those of blobs that cannot be had.
    pub async fn to_layout(
        &self,
        worker: &Worker,
        dir: &Path,
        names: &[Reference],
        access: &Access,
    ) -> Result<()> {
        let target = Arc::new(Layout::create_or_open(dir).await?);
        self.copy_to(worker, target, tags(names), access).await
    }

    /// Writes the image as an OCI layout to the tar file `file`, which is whole when it appears.
    ///
    /// # Errors
    /// Those of the archive, and those of blobs that cannot be had.
    pub async fn to_oci_archive(
        &self,
        worker: &Worker,
        file: &Path,
        names: &[Reference],
        access: &Access,
    ) -> Result<()> {
        let target = Arc::new(OciArchiveTarget::create(file).await?);
        self.copy_to(worker, target, tags(names), access).await
    }

    /// Writes the image to the tar file `file`, as `docker load` reads it; `file` is whole when it appears.
    ///
    /// # Errors
    /// As [`ImageExport::to_oci_archive`]; [`lazyblob_remote::Error::Invalid`] for several platforms and layers that must
    /// not be distributed.
    pub async fn to_docker_archive(
        &self,
        worker: &Worker,
        file: &Path,
        names: &[Reference],
        access: &Access,
    ) -> Result<()> {
        let target = Arc::new(DockerArchiveTarget::create(file).await?);
        let full = |name: &Reference| Name::Tag(name.to_string());
        let names = if names.is_empty() { vec![Name::Only] } else { names.iter().map(full).collect() };
        self.copy_to(worker, target, names, access).await
    }

    async fn copy_to(
        &self,
        worker: &Worker,
        target: Arc<dyn Target>,
        names: Vec<Name>,
        access: &Access,
    ) -> Result<()> {
        let source = Arc::new(ExportSource::new(self, target.origin()));
        let transfers = worker.manager().transfers().clone();
        let copy = Copy::new(source, Name::Only, target, names, access.clone(), transfers);
        copy.of(self.root().clone()).run().await?;
        Ok(())
    }
}

/// What a layout calls an image: the tags alone, each once.
fn tags(names: &[Reference]) -> Vec<Name> {
    let mut tags: Vec<Name> = Vec::new();
    for name in names.iter().map(|name| Name::Tag(name.identifier())) {
        if !tags.contains(&name) {
            tags.push(name);
        }
    }
    if tags.is_empty() { vec![Name::Only] } else { tags }
}

/// So much is sent before a look whether anybody wants it, in bytes.
const PIECE: u64 = 1 << 20;

/// A file that is written to be read once. It is gone with this.
pub(super) struct Scratch {
    dir: PathBuf,
    _claim: lazyblob_cache::root::Claim,
}

impl Scratch {
    /// A place for it in the cache's own staging directory.
    pub(super) async fn new(worker: &Worker, access: &Access) -> Result<Self> {
        let root = worker.manager().root();
        let name = format!("export-{}", nonce());
        let cancel = CancellationToken::new();
        let claim = root.staging_locks().claim(&name, access.progress.as_ref(), &cancel).await?;
        let dir = root.staging().join(name);
        std::fs::create_dir(&dir).map_err(|error| Error::io("export to", &dir, error))?;
        Ok(Self { dir, _claim: claim })
    }

    /// Where it goes.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.join("file")
    }

    /// Writes all of it to `out`. Dropping this ends it after the piece that is being written; the engine waits for that.
    pub(super) async fn send(self, worker: &Worker, mut out: Box<dyn Write + Send>) -> Result<()> {
        let (file, cancel) = (self.file(), CancellationToken::new());
        let _given_up = cancel.clone().drop_guard();
        let work = move || {
            let sent = File::open(&file).and_then(|from| {
                while io::copy(&mut (&from).take(PIECE), &mut out)? > 0 {
                    if cancel.is_cancelled() {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                }
                out.flush()
            });
            drop(self);
            sent.map_err(|error| Error::io("export to", Path::new("standard output"), error))
        };
        match worker.exports().spawn_blocking(work).await {
            Ok(sent) => sent,
            Err(error) => Err(Error::failed("export to", "standard output", error)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // One file at most. What stays, the next one who opens the root finds.
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, path = %self.dir.display(), "a file stays behind");
        }
    }
}
