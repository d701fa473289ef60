//! Whether what was saved of unfinished blobs is still what it was.

use std::io;
use std::path::Path;

use oci_spec::image::Digest;
use tokio_util::sync::CancellationToken;

use super::list::digests;
use super::lock::{Attempt, Claim};
use super::state::{State, Unusable};
use super::{Ingests, hash_state, partial};
use crate::digest::Hasher;
use crate::error::{Error, Result, What};
use crate::layout::disk;

/// An unfinished blob that would not come to a good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The blob's digest.
    pub digest: Digest,
    /// What is wrong with what there is of it.
    pub reason: String,
    /// It was removed.
    pub removed: bool,
}

impl Ingests {
    /// Reads what was saved of all unfinished blobs and holds it against the hash states that were saved with it; removes
    /// those that differ, if so told. What is being written is passed over. Returns how many were read, and the wrong ones.
    ///
    /// Nobody goes on with a blob while it is read.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Refused`] if the directory is a link, [`Error::Cancelled`] when `cancel` is.
    pub async fn check(&self, remove: bool, cancel: &CancellationToken) -> Result<(usize, Vec<Damaged>)> {
        let what = || What::new("check unfinished blobs", self.dir.display());
        let dir = self.dir.clone();
        let found = self.on_disk(what(), &self.dir, move || digests(&dir)).await?;
        let (mut read, mut damaged) = (0, Vec::new());
        for digest in found {
            let (path, released) = (partial::dir(&self.dir, &digest), self.waiters.of(&digest));
            let (place, token) = (path.clone(), cancel.clone());
            let name = digest.clone();
            let outcome = self.on_disk(what(), &path, move || {
                let Attempt::Held(claim) = Claim::attempt(&place, false, &released)? else { return Ok(None) };
                let wrong = wrong(claim.dir(), &name, &token)?;
                if wrong.is_some() && remove {
                    partial::remove(claim.dir());
                }
                Ok(Some(wrong))
            });
            let outcome = outcome.await;
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: what() });
            }
            match outcome? {
                None => {}
                Some(None) => read += 1,
                Some(Some(reason)) => {
                    read += 1;
                    damaged.push(Damaged { digest, reason, removed: remove });
                }
            }
        }
        Ok((read, damaged))
    }
}

/// What is wrong with the partial in `dir`, which the caller has a claim on. One that was never saved is nothing yet.
fn wrong(dir: &Path, digest: &Digest, cancel: &CancellationToken) -> io::Result<Option<String>> {
    let state = match State::load(dir)? {
        Ok(state) => state,
        Err(Unusable::Broken) => return Ok(Some("its state is damaged".to_owned())),
        // Another version's is for that one to judge.
        Err(Unusable::Missing | Unusable::Newer(_)) => return Ok(None),
    };
    if state.digest != digest.as_ref() {
        return Ok(Some(format!("its state is that of {}", state.digest)));
    }
    let saved = state.hasher(digest).map(|hasher| hash_state::save(&hasher));
    let (Some(saved), Some(mut hasher)) = (saved, Hasher::new(digest.algorithm())) else {
        return Ok(Some("its hash state is damaged".to_owned()));
    };
    let data = match std::fs::File::open(partial::data_path(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("its data is missing".to_owned()));
        }
        data => data?,
    };
    let mut buffer = vec![0; disk::CHUNK];
    let mut at = 0;
    while at < state.offset && !cancel.is_cancelled() {
        let most = usize::try_from(state.offset - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let part = buffer.get_mut(..most).unwrap_or_default();
        let filled = disk::read_at_most(&data, part, at)?;
        if filled == 0 {
            return Ok(Some(format!("it has {at} bytes and should have {}", state.offset)));
        }
        hasher.update(part.get(..filled).unwrap_or_default());
        at += filled as u64;
    }
    let differs = hash_state::save(&hasher) != saved && !cancel.is_cancelled();
    Ok(differs.then(|| format!("its first {} bytes are not those that were received", state.offset)))
}
