//! Writing blobs: the one way bytes become visible in a layout, and what stays of those that are not whole yet.
//!
//! ```text
//! <ingest dir>/<alg>-<hex>/data       bytes from the blob's first one on
//!                          state      how many of them are durable, the hash state after those, checksums
//!                          lock       flocked by who writes; says who that is
//!              blob-….partial         a small blob out of memory; flocked, gone with its owner
//! ```
//!
//! **Order of writes.** A save point: data → fdatasync → `state.new` → fdatasync → rename to `state` → fsync of the
//! directories. The commit: size and digest verified → fdatasync → rename of `data` to `blobs/<alg>/<hex>` → fsync of
//! `blobs/<alg>` → the rest removed, the state first. Starting over: the state is removed for good before the data is cut.
//! So a state never speaks of bytes that are not on disk, and a blob is whole or absent, wherever a kill or a power cut
//! comes between.
//!
//! **Going on.** A partial is taken up if its state is intact, of a known version and of the same digest and size, and if
//! the data before the offset ends with the bytes it ended with. What lies behind the offset is cut off; what lies before
//! is not read again, its hash state is in the state. Anything else is started over, which is said and never done
//! silently.
//!
//! A known limit: who is told another size for a digest starts over, too, and what there was is lost even if that size
//! proves wrong. Which of the two is right is known only when one of them is whole, and what an earlier run was told is no
//! more to be trusted than what this one is. It costs bytes to be read again, and nothing else.
//!
//! **Locking.** Who writes a blob holds the flock from before the first byte until after the commit, and so does every
//! thread that still works on its files. Others wait: those of the same process are woken, those of other processes look
//! again and again, in pauses that grow. Then they look whether the blob is there, and else take over. The lock file goes with its
//! partial; who locked a file that has no name any more begins again.
//!
//! **Life.** After a failure or a cancellation the partial stays; [`Ingests::list`] shows it, [`Ingests::abort`] removes
//! it, [`Ingests::sweep`] does so when nobody has gone on with it for [`IngestSettings::keep`]. Nothing that is locked is
//! ever removed by others.
//!
//! **Following.** What is written can be read meanwhile, in the process that writes it: see [`Ingests::follow`].
//!
//! **Links.** A layout may come from anywhere, with links in it. Nothing is read, written or removed through one in the
//! place of the directory or of a partial's files; [`Ingests::through_links`] is for a directory the caller has chosen.

mod check;
mod follow;
mod hash_state;
mod list;
mod lock;
mod partial;
mod receive;
mod save;
mod settings;
mod state;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest};
use tokio::sync::Notify;

pub use check::Damaged;
pub use follow::{Begun, Cut, Follower, Tail, Waiting};
pub use list::{Partial, Removed};
pub use receive::Received;
pub use settings::IngestSettings;
pub use write::Ingest;

use self::follow::Board;
use self::lock::{Attempt, Claim};
use self::partial::{Found, Start};
use super::disk;
use super::flock::{self, PerKey};
use super::sink::Sink;
use super::temp::TempFile;
use crate::error::{Error, Result, What};
use crate::progress::Progress;
use crate::transfer::Blob;
use crate::verify::Verifier;

/// Where blobs are written, and where they are while they are not whole.
#[derive(Clone, Debug)]
pub struct Ingests {
    root: PathBuf,
    dir: PathBuf,
    /// Whether `dir` may be a link.
    through_links: bool,
    settings: IngestSettings,
    /// What those are woken with who wait for a blob that somebody else writes.
    waiters: Arc<PerKey<Digest, Notify>>,
    /// Where it is told how far a blob is.
    boards: Arc<PerKey<Digest, Board>>,
}

impl Ingests {
    /// Blobs of the layout at `root`; unfinished ones are in `dir`, which must be on the same file system and no link.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        let settings = IngestSettings::default();
        Self {
            root: root.into(),
            dir: dir.into(),
            through_links: false,
            settings,
            waiters: Arc::default(),
            boards: Arc::default(),
        }
    }

    /// The same with other settings.
    #[must_use]
    pub fn with_settings(self, settings: IngestSettings) -> Self {
        Self { settings, ..self }
    }

    /// The same with a directory of unfinished blobs that may be a link.
    #[must_use]
    pub fn through_links(self) -> Self {
        Self { through_links: true, ..self }
    }

    /// The directory of unfinished blobs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How unfinished blobs are treated.
    #[must_use]
    pub fn settings(&self) -> IngestSettings {
        self.settings
    }

    /// Begins writing `blob`, or goes on with an unfinished one: see [`Ingest::position`]. Waits while somebody else
    /// writes it, of which `progress` is told once. Nothing is returned where the blob is there by then.
    ///
    /// Who has an [`Ingest`] of a blob and begins another of the same waits for itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest that cannot be verified, [`Error::Refused`] for a directory that is a link,
    /// [`Error::Io`].
    pub async fn begin(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<Option<Ingest>> {
        let (place, verifier) = (blob_path(&self.root, blob.digest())?, Verifier::new(blob)?);
        let claim = self.claim(blob, progress).await?;
        self.open(blob, place, verifier, claim, progress).await
    }

    /// The same for a blob that has its place in the queue: it waits with nothing open until its turn comes, and while it
    /// is somebody else's it holds no slot.
    async fn begin_in_turn(&self, blob: &Blob) -> Result<Option<Ingest>> {
        let (descriptor, progress) = (blob.descriptor(), &*blob.access().progress);
        let place = blob_path(&self.root, descriptor.digest())?;
        let verifier = Verifier::new(descriptor)?;
        blob.take_seats().await;
        let claim = match self.attempt(descriptor, &self.waiters.of(descriptor.digest())).await? {
            Attempt::Held(claim) => claim,
            Attempt::Busy(_) | Attempt::Missing => blob.aside(self.claim(descriptor, progress)).await?,
        };
        self.open(descriptor, place, verifier, claim, progress).await
    }

    /// Stores bytes that are in memory. They are written anew whatever there is of the blob, and nobody is waited for.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest that cannot be verified, [`Error::Integrity`] for other bytes than promised,
    /// [`Error::Refused`] for a directory that is a link, [`Error::Io`]; nothing is left of the blob then.
    pub async fn store(&self, blob: &Descriptor, bytes: Bytes) -> Result<()> {
        let (what, place) = (self.what(blob), blob_path(&self.root, blob.digest())?);
        let mut verifier = Verifier::new(blob)?;
        let verified = verifier.update(&bytes).and_then(|()| verifier.finish());
        verified.map_err(|mismatch| Error::Integrity { what: what.clone(), mismatch })?;
        let ingests = self.clone();
        let temp = self.blocking(blob, &self.dir, move || ingests.temporary("blob-")).await?;
        let mut sink = Sink::new(Arc::clone(temp.file()), temp.path().to_owned(), what, 0, ());
        sink.write(bytes).await?;
        sink.flush().await?;
        let path = place.clone();
        self.blocking(blob, &path, move || {
            disk::create_dirs(disk::parent_of(&place))?;
            temp.persist(&place)
        })
        .await?;
        self.is_here(blob.digest());
        Ok(())
    }

    /// A new temporary file in the directory of unfinished blobs.
    pub(crate) fn temporary(&self, prefix: &str) -> io::Result<TempFile> {
        if self.leads_elsewhere()? {
            let reason = format!("{} is not a directory of ours", self.dir.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        TempFile::create(&self.dir, prefix)
    }

    /// Tries once to get hold of `blob`'s partial, a new one if need be.
    async fn attempt(&self, blob: &Descriptor, released: &Arc<Notify>) -> Result<Attempt> {
        let (dir, released) = (partial::dir(&self.dir, blob.digest()), Arc::clone(released));
        let path = lock::lock_path(&dir);
        self.blocking(blob, &path, move || Claim::attempt(&dir, true, &released)).await
    }

    /// Gets hold of `blob`'s partial, a new one if need be, waiting for whoever has it.
    async fn claim(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<Claim> {
        let released = self.waiters.of(blob.digest());
        let tell = |holder: &str| {
            let said = format!("{}: waiting for {holder}", crate::digest::short(blob.digest()));
            tracing::info!(digest = %blob.digest(), "{said}");
            progress.note(&said);
        };
        flock::wait(&released, self.settings.pauses(), || self.attempt(blob, &released), tell).await
    }

    /// Opens the partial that `claim` is on; nothing where the blob is in its `place`.
    async fn open(
        &self,
        blob: &Descriptor,
        place: PathBuf,
        verifier: Verifier,
        claim: Claim,
        progress: &dyn Progress,
    ) -> Result<Option<Ingest>> {
        let path = claim.dir().to_owned();
        let opened = {
            let (blob, place, name) = (blob.clone(), place.clone(), self.settings.holder);
            self.blocking(&blob.clone(), &path, move || open(&blob, verifier, &place, claim, name)).await?
        };
        let Some((claim, start, useless)) = opened else {
            self.is_here(blob.digest());
            return Ok(None);
        };
        if let Some(reason) = useless {
            let said = format!("what there is of {} is not of use: {reason}; starting over", blob.digest());
            tracing::warn!("{said}");
            progress.note(&said);
        }
        let board = self.boards.of(blob.digest());
        Ok(Some(Ingest::new(self.what(blob), blob.clone(), place, claim, start, self.settings, board)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        blob: &Descriptor,
        path: &Path,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.on_disk(self.what(blob), path, work).await
    }

    /// Runs `work`, whose errors name `path`, in a blocking thread, unless the directory leads elsewhere.
    async fn on_disk<T: Send + 'static>(
        &self,
        what: What,
        path: &Path,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let ingests = self.clone();
        let work = move || if ingests.leads_elsewhere()? { Ok(None) } else { work().map(Some) };
        match disk::blocking(|| what.clone(), work).await? {
            Ok(Some(done)) => Ok(done),
            Ok(None) => {
                let reason = format!("{} is not a directory of ours", self.dir.display());
                Err(Error::Refused { what, reason })
            }
            Err(source) => Err(Error::Io { what, path: path.to_owned(), source }),
        }
    }

    /// Whether there is something else in the place of the directory.
    fn leads_elsewhere(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.dir) {
            Ok(found) => Ok(!self.through_links && !found.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn what(&self, blob: &Descriptor) -> What {
        What::new("write blob", format_args!("{} to {}", blob.digest(), self.root.display()))
    }
}

type Opened = (Claim, Start, Option<String>);

fn open(
    blob: &Descriptor,
    verifier: Verifier,
    place: &Path,
    claim: Claim,
    name: Option<&str>,
) -> io::Result<Option<Opened>> {
    // Not through links: what they lead to is for readers to judge.
    if fs::symlink_metadata(place).is_ok_and(|found| found.is_file() && found.len() == blob.size()) {
        partial::remove(claim.dir());
        return Ok(None);
    }
    claim.sign(blob.size(), name)?;
    let useless = match partial::look(claim.dir(), blob)? {
        Found::Resumable(start) => return Ok(Some((claim, *start, None))),
        Found::Useless(reason) => Some(reason),
        Found::Nothing => None,
    };
    partial::forget(claim.dir())?;
    let data = partial::create(claim.dir())?;
    Ok(Some((claim, Start { data, verifier, started: flock::now() }, useless)))
}

/// Where a blob is in the layout at `root` (image-spec "Image Layout", "Blobs").
///
/// # Errors
/// [`Error::Invalid`] for a digest whose algorithm we do not know: neither its form nor its content can be checked.
pub fn blob_path(root: &Path, digest: &Digest) -> Result<PathBuf> {
    let (algorithm, hex) = (digest.algorithm(), digest.digest());
    let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match algorithm.digest_hexlen() {
        Some(length) if is_hex && hex.len() == length as usize => {
            Ok(root.join("blobs").join(algorithm.as_ref()).join(hex))
        }
        Some(_) => Err(Error::invalid("find blob", digest, "malformed digest")),
        None => {
            let reason = format!("digest algorithm {algorithm} is not supported");
            Err(Error::invalid("find blob", digest, reason))
        }
    }
}
