//! What a run learns about a host, so that it asks no question twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashmap::DashMap;
use oci_spec::image::Digest;
use tokio::sync::OnceCell;

/// Facts about one host, good for one run.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Whether the host mounts blobs. Settled by the first mount, which goes alone.
    mounts: OnceCell<bool>,
    /// It answered 202 to a mount after all.
    mount_refused: AtomicBool,
    /// It does not let us close an upload session without finishing it.
    keeps_sessions: AtomicBool,
    /// It has no referrers API.
    no_referrers: AtomicBool,
    /// The largest upload chunk it takes; 0 where one request may carry everything.
    chunk: AtomicU64,
    /// The smallest upload chunk it takes, the last one apart.
    chunk_minimum: AtomicU64,
    /// The mirror that served a blob last.
    served: DashMap<Digest, String>,
    /// Mirrors that brought something else than the blob.
    distrusted: DashMap<Digest, HashSet<String>>,
    /// Mirrors that broke off again and again in the middle of the blob.
    avoided: DashMap<Digest, HashSet<String>>,
    /// Whose turn it is to read and write a fallback tag: two at once would lose an entry.
    referrers_turn: tokio::sync::Mutex<()>,
}

impl Facts {
    /// Whether it is known that mounts are refused.
    pub(crate) fn refuses_mounts(&self) -> bool {
        self.mount_refused.load(Ordering::Relaxed) || self.mounts.get() == Some(&false)
    }

    pub(crate) fn set_mount_refused(&self) {
        self.mount_refused.store(true, Ordering::Relaxed);
    }

    /// The cell that the first mount settles while others wait.
    pub(crate) fn mounts(&self) -> &OnceCell<bool> {
        &self.mounts
    }

    /// Whether it is known that sessions cannot be closed.
    pub(crate) fn keeps_sessions(&self) -> bool {
        self.keeps_sessions.load(Ordering::Relaxed)
    }

    pub(crate) fn set_keeps_sessions(&self) {
        self.keeps_sessions.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lacks_referrers(&self) -> bool {
        self.no_referrers.load(Ordering::Relaxed)
    }

    pub(crate) fn set_lacks_referrers(&self) {
        self.no_referrers.store(true, Ordering::Relaxed);
    }

    /// The chunk size to upload with, where the host cannot take a blob in one request.
    pub(crate) fn chunk(&self) -> Option<u64> {
        Some(self.chunk.load(Ordering::Relaxed)).filter(|chunk| *chunk > 0)
    }

    pub(crate) fn set_chunk(&self, chunk: u64) {
        self.chunk.store(chunk, Ordering::Relaxed);
    }

    /// The least the host takes in a chunk, in bytes (`OCI-Chunk-Min-Length`), as far as it has said.
    pub(crate) fn chunk_minimum(&self) -> u64 {
        self.chunk_minimum.load(Ordering::Relaxed)
    }

    pub(crate) fn set_chunk_minimum(&self, minimum: u64) {
        self.chunk_minimum.fetch_max(minimum, Ordering::Relaxed);
    }

    /// Held while a fallback tag is read and written anew.
    pub(crate) fn referrers_turn(&self) -> &tokio::sync::Mutex<()> {
        &self.referrers_turn
    }

    /// Takes note of the mirror that serves a blob now, or that it is none.
    pub(crate) fn set_served(&self, blob: &Digest, mirror: Option<&str>) {
        match mirror {
            Some(base) => drop(self.served.insert(blob.clone(), base.to_owned())),
            None => drop(self.served.remove(blob)),
        }
    }

    /// The mirror that served a blob last, if it was one.
    pub(crate) fn served(&self, blob: &Digest) -> Option<String> {
        self.served.get(blob).map(|base| base.clone())
    }

    /// The mirror at `base` is not asked for a blob again.
    pub(crate) fn distrust(&self, blob: &Digest, base: String) {
        self.distrusted.entry(blob.clone()).or_default().insert(base);
    }

    /// The mirror at `base` is asked for a blob after all others. False where it was already.
    pub(crate) fn avoid(&self, blob: &Digest, base: String) -> bool {
        self.avoided.entry(blob.clone()).or_default().insert(base)
    }

    /// Whether the mirror at `base` is asked for a blob after all others.
    pub(crate) fn avoids(&self, blob: &Digest, base: &str) -> bool {
        self.avoided.get(blob).is_some_and(|bases| bases.contains(base))
    }

    /// Whether the mirror at `base` is not asked for a blob.
    pub(crate) fn distrusts(&self, blob: &Digest, base: &str) -> bool {
        self.distrusted.get(blob).is_some_and(|bases| bases.contains(base))
    }
}
