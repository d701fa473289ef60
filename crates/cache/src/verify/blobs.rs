//! Every blob is read, and is what its name says. The digest decides: what a record or a manifest says of its size is a
//! matter of theirs.

use futures::{StreamExt as _, stream};
use oci_spec::image::{Descriptor, Digest, MediaType};

use super::{Check, Object, Repair};
use crate::blocking::blocking;
use crate::content::Stored;
use crate::error::{Error, Mismatch, Result, What};

/// More at once make a disk seek, and take memory of others.
const AT_ONCE: usize = 2;

impl Check<'_> {
    pub(super) async fn blobs(&mut self) -> Result<()> {
        let (store, cancel) = (self.manager.store().clone(), self.cancel.clone());
        let stored = self.facts.stored.clone();
        let mut outcomes = stream::iter(stored)
            .map(|Stored { digest, size, .. }| {
                let (store, cancel) = (store.clone(), cancel.clone());
                async move {
                    let name = digest.clone();
                    let work = move || {
                        let blob = Descriptor::new(MediaType::Other(String::new()), size, name);
                        store.verify_blob(&blob, &cancel)
                    };
                    let outcome = blocking(|| What::new("verify blob", &digest), work).await;
                    (digest, size, outcome)
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut wrong = Vec::new();
        while let Some((digest, size, outcome)) = outcomes.next().await {
            self.found.blobs += 1;
            self.found.bytes += size;
            match outcome {
                Ok(()) => drop(self.facts.good.insert(digest, size)),
                // Pruned since it was listed.
                Err(error) if error.is_not_found() => {}
                Err(error @ Error::Cancelled { .. }) => return Err(error),
                Err(error) => wrong.push((digest, reason(&error, size))),
            }
        }
        drop(outcomes);
        // Of bytes that are not the digest's it says more that some are missing, or too many.
        for (digest, reason) in &mut wrong {
            let Some(size) =
                self.facts.stored.iter().find(|stored| stored.digest == *digest).map(|stored| stored.size)
            else {
                continue;
            };
            let said = self.facts.of_blob(digest).filter_map(|record| record.blob.as_ref());
            if let Some(other) = said.map(|blob| blob.descriptor.size()).find(|said| *said != size) {
                *reason = format!("it has {size} bytes, and a record says {other}");
            }
        }
        wrong.sort_by(|one, other| one.0.as_ref().cmp(other.0.as_ref()));
        for (digest, reason) in wrong {
            let repair = self.repair_blob(&digest).await?;
            if !matches!(repair, Repair::Done(_)) {
                self.facts.bad.insert(digest.clone());
            }
            self.problem(Object::Blob(digest), reason, repair);
        }
        Ok(())
    }

    /// Takes a wrong blob away if it can be had again, or if nobody needs it.
    async fn repair_blob(&self, digest: &Digest) -> Result<Repair> {
        if !self.repairs() {
            return Ok(Repair::NotAsked);
        }
        let places = self.manager.seen_at(digest).await?;
        let how = match places.first() {
            Some(place) => format!("it is removed, and fetched from {place} when it is read"),
            None if self.is_needed(digest).await? => {
                return Ok(Repair::Impossible("nothing is known of where else it is".to_owned()));
            }
            None => "it is removed: nobody refers to it".to_owned(),
        };
        let (store, live) = (self.manager.store().clone(), std::sync::Arc::clone(self.manager.root().live()));
        let (digest, pins) = (digest.clone(), self.facts.pins_of_blob(digest));
        // In a turn: who uses a record pins it in one.
        let removed = self.manager.write(move |_| {
            if !live.pinned()?.is_disjoint(&pins.iter().cloned().collect()) {
                return Ok(false);
            }
            let Some(trashed) = store.remove(&digest)? else { return Ok(true) };
            // Who pins a blob outside of turns pins first and looks then.
            if live.pinned()?.is_disjoint(&pins.into_iter().collect()) {
                return Ok(true);
            }
            trashed.restore()?;
            Ok(false)
        });
        Ok(if removed.await? { Repair::Done(how) } else { Repair::InUse })
    }

    /// Whether a record or a name refers to it.
    async fn is_needed(&self, digest: &Digest) -> Result<bool> {
        Ok(self.facts.of_blob(digest).next().is_some() || self.named().await?.contains(digest))
    }
}

/// What differs, without the words for what was done. Of a blob that no record tells the size of, whoever knows it sees
/// by what is there that it was cut.
fn reason(error: &Error, size: u64) -> String {
    match error.root() {
        Error::Integrity { mismatch: mismatch @ Mismatch::Digest { .. }, .. } => {
            format!("{mismatch} (over the {size} bytes there are)")
        }
        Error::Integrity { mismatch, .. } => mismatch.to_string(),
        other => other.to_string(),
    }
}
