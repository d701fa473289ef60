//! Unfinished blobs are owned, listed, and removed when nobody goes on with them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci_spec::image::Digest;
use tokio::sync::Notify;

use super::lock::{self, Attempt, Claim};
use super::state::{self, State, Unusable};
use super::{Ingests, partial};
use crate::error::{Error, Result, What};
use crate::layout::flock::{self, Holder};
use crate::layout::temp;

/// So often a partial that is to be removed is found locked before it is said to be written: a look at it locks it as
/// well, for a moment.
const LOOKS: u32 = 3;

/// An unfinished blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// So many bytes are durable: a later run asks only for those after them.
    pub offset: u64,
    /// When its first byte came.
    pub started: SystemTime,
    /// When it was saved last, or begun where it never was.
    pub updated: SystemTime,
    /// Whether somebody writes it now, in whichever process.
    pub in_use: bool,
}

/// An unfinished blob that was removed: nobody can go on with it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The blob's digest.
    pub digest: Digest,
    /// So many bytes were there.
    pub bytes: u64,
    /// Why it was removed.
    pub reason: &'static str,
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { digest, bytes, reason } = self;
        write!(f, "what there was of {} ({bytes} bytes) is removed: {reason}", crate::digest::short(digest))
    }
}

impl Ingests {
    /// Unfinished blobs in the order of their digests: those that can be gone on with, and those being written.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read, [`Error::Refused`] if it is a link; what cannot be looked at in it
    /// is passed over.
    pub async fn list(&self) -> Result<Vec<Partial>> {
        self.with_dir("list unfinished blobs", list).await
    }

    /// Removes what there is of a blob.
    ///
    /// # Errors
    /// [`Error::Refused`] while somebody writes it or if the directory is a link, [`Error::NotFound`] where nothing of it
    /// is here, [`Error::Io`].
    pub async fn abort(&self, digest: &Digest) -> Result<()> {
        const OPERATION: &str = "remove unfinished blob";
        let (object, digest) = (format!("{digest} of {}", self.root.display()), digest.clone());
        let released = self.waiters.of(&digest);
        let mut looks = LOOKS;
        loop {
            let (digest, released) = (digest.clone(), Arc::clone(&released));
            let busy = match self.with_dir(OPERATION, move |dir| abort(dir, &digest, &released)).await? {
                Aborted::Yes => return Ok(()),
                Aborted::Missing => return Err(Error::not_found(OPERATION, object, "nothing of it is here")),
                Aborted::Busy(holder) => holder,
            };
            looks -= 1;
            if looks == 0 {
                let holder = busy.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
                return Err(Error::refused(OPERATION, object, format!("it is being written by {holder}")));
            }
            tokio::time::sleep(self.settings.poll).await;
        }
    }

    /// Removes what nobody has written for `age`, and at once what nobody will or could go on with: the blob is there,
    /// or the partial is of no use. Returns how many. What is being written stays, whatever its age.
    ///
    /// Ages are counted from the last save point. One that is said to be in the future was written before the clock was
    /// set back, so its age is not known: it is counted from now on, so that the partial expires one day.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read, [`Error::Refused`] if it is a link; what cannot be looked at in it
    /// is passed over.
    pub async fn expire(&self, age: Duration) -> Result<Vec<Removed>> {
        let ingests = self.clone();
        self.with_dir("remove unfinished blobs", move |_| expire(&ingests, age)).await
    }

    /// Removes what nobody has gone on with for longer than [`IngestSettings::keep`](super::IngestSettings), and what
    /// killed processes left; what living ones write stays.
    ///
    /// # Errors
    /// [`Error::Refused`] if the directory is a link, [`Error::Cancelled`] if the runtime is shutting down.
    pub async fn sweep(&self) -> Result<Vec<Removed>> {
        let ingests = self.clone();
        self.with_dir("clean up", move |dir| {
            temp::sweep(dir, "");
            let removed = expire(&ingests, ingests.settings.keep).inspect_err(|error| {
                tracing::warn!(%error, path = %dir.display(), "unfinished blobs were not looked through");
            });
            Ok(removed.unwrap_or_default())
        })
        .await
    }

    /// Removes the directory of unfinished blobs if it is empty.
    ///
    /// # Errors
    /// [`Error::Refused`] if the directory is a link, [`Error::Cancelled`] if the runtime is shutting down.
    pub async fn tidy(&self) -> Result<()> {
        // It is not empty while another process writes or one has left something to go on with, and need not exist.
        let remove = |dir: &Path| {
            drop(fs::remove_dir(dir));
            Ok(())
        };
        self.with_dir("clean up", remove).await
    }

    async fn with_dir<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let dir = self.dir.clone();
        self.on_disk(What::new(operation, self.dir.display()), &self.dir, move || work(&dir)).await
    }
}

/// What became of an attempt to remove a partial.
enum Aborted {
    Yes,
    Missing,
    /// Somebody else has it.
    Busy(Option<Holder>),
}

/// The claim ends with this, in the same thread.
fn abort(ingests: &Path, digest: &Digest, released: &Arc<Notify>) -> io::Result<Aborted> {
    Ok(match Claim::attempt(&partial::dir(ingests, digest), false, released)? {
        Attempt::Held(claim) => {
            partial::remove(claim.dir());
            Aborted::Yes
        }
        Attempt::Missing => Aborted::Missing,
        Attempt::Busy(holder) => Aborted::Busy(holder),
    })
}

fn list(ingests: &Path) -> io::Result<Vec<Partial>> {
    let mut found = Vec::new();
    for digest in digests(ingests)? {
        match look(&partial::dir(ingests, &digest), &digest) {
            Ok(partial) => found.extend(partial),
            Err(error) => tracing::warn!(%digest, %error, "an unfinished blob was not looked at"),
        }
    }
    found.sort_by(|a, b| a.digest.as_ref().cmp(b.digest.as_ref()));
    Ok(found)
}

/// The partial in `dir`; nothing where nobody can go on with it, or where it was removed while we looked.
fn look(dir: &Path, digest: &Digest) -> io::Result<Option<Partial>> {
    partial::refuse_links(dir)?;
    let (in_use, holder) = lock::holder(dir)?;
    let state = State::load(dir)?.ok().filter(|state| state.digest == digest.as_ref());
    let state = state.filter(|state| partial::has(dir, state.offset));
    let (size, offset, started, updated) = match (state, holder.filter(|_| in_use)) {
        (Some(state), _) => (state.size, state.offset, state.started, state.updated),
        (None, Some(holder)) => (holder.size.unwrap_or_default(), 0, holder.started, holder.started),
        (None, None) => return Ok(None),
    };
    let time = |millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    let updated = time(updated).unwrap_or(SystemTime::UNIX_EPOCH);
    // The clock may have been set back between the two.
    let started = time(started).unwrap_or(updated).min(updated);
    Ok(Some(Partial { digest: digest.clone(), size, offset, started, updated, in_use }))
}

fn expire(ingests: &Ingests, age: Duration) -> io::Result<Vec<Removed>> {
    let mut removed = Vec::new();
    for digest in digests(&ingests.dir)? {
        match expire_one(ingests, &digest, age) {
            Ok(gone) => removed.extend(gone),
            // It may be another user's. The others are looked at all the same.
            Err(error) => tracing::warn!(%digest, %error, "an unfinished blob was not looked at"),
        }
    }
    for gone in &removed {
        tracing::info!("{gone}");
    }
    Ok(removed)
}

fn expire_one(ingests: &Ingests, digest: &Digest, age: Duration) -> io::Result<Option<Removed>> {
    let dir = partial::dir(&ingests.dir, digest);
    let Attempt::Held(claim) = Claim::attempt(&dir, false, &ingests.waiters.of(digest))? else {
        return Ok(None);
    };
    // The blob may have come by another way: then nothing is lost.
    if super::blob_path(&ingests.root, digest).is_ok_and(|place| place.is_file()) {
        partial::remove(claim.dir());
        return Ok(None);
    }
    let Some(reason) = of_no_use(claim.dir(), age)? else { return Ok(None) };
    let bytes = partial::length(claim.dir());
    partial::remove(claim.dir());
    Ok(Some(Removed { digest: digest.clone(), bytes, reason }))
}

/// Why nobody is to go on with the partial in `dir`, which the caller has a claim on: it has not been saved for `age`, or
/// nobody could.
fn of_no_use(dir: &Path, age: Duration) -> io::Result<Option<&'static str>> {
    let (updated, now) = match State::load(dir)? {
        // A commit that was killed between its last steps has taken the data away.
        Ok(state) if !partial::has(dir, state.offset) => return Ok(Some("its data is not all there")),
        Ok(state) => (state.updated, flock::now()),
        Err(Unusable::Missing) => return Ok(Some("it was not saved before its writer was killed")),
        Err(Unusable::Broken) => return Ok(Some("its state is damaged")),
        // Ours is not the program that can go on with it. It is left to that one for as long.
        Err(Unusable::Newer(_)) => (flock::millis(fs::metadata(state::path(dir))?.modified()?), flock::now()),
    };
    let expired = u128::from(now.saturating_sub(updated)) >= age.as_millis();
    if updated > now && !expired {
        restamp(dir)?;
    }
    Ok(expired.then_some("nobody has gone on with it in time"))
}

/// The age is counted from now on.
fn restamp(dir: &Path) -> io::Result<()> {
    match State::load(dir)? {
        Ok(state) => state.renewed().store(dir),
        Err(_) => File::options().write(true).open(state::path(dir))?.set_modified(SystemTime::now()),
    }
}

/// What there are partials of. Other files and directories are somebody else's.
pub(super) fn digests(ingests: &Path) -> io::Result<Vec<Digest>> {
    let entries = match fs::read_dir(ingests) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut digests = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            digests.extend(entry.file_name().to_str().and_then(partial::digest_of));
        }
    }
    Ok(digests)
}
