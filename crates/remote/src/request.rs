//! Kinds of requests, and their count: a byte that moves and a request that is sent are never unseen.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a request is for. The names are those of `--stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// GET of a manifest.
    ManifestGet,
    /// HEAD of a manifest.
    ManifestHead,
    /// PUT of a manifest.
    ManifestPut,
    /// GET of a blob.
    BlobGet,
    /// HEAD of a blob.
    BlobHead,
    /// POST that asks for a mount.
    Mount,
    /// POST, PATCH, PUT, GET or DELETE of an upload session.
    Upload,
    /// GET of a page of tags.
    Tags,
    /// GET of a page of referrers.
    Referrers,
    /// DELETE of a manifest, tag or blob.
    Delete,
    /// A token server's GET or POST.
    Token,
    /// The same request again at the address a redirect named.
    Redirect,
    /// Anything else.
    Other,
}

impl Kind {
    /// All kinds, in the order of `--stats`.
    pub const ALL: [Self; 13] = [
        Self::ManifestGet,
        Self::ManifestHead,
        Self::ManifestPut,
        Self::BlobGet,
        Self::BlobHead,
        Self::Mount,
        Self::Upload,
        Self::Tags,
        Self::Referrers,
        Self::Delete,
        Self::Token,
        Self::Redirect,
        Self::Other,
    ];

    /// The name of this kind in `--stats`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ManifestGet => "manifest_get",
            Self::ManifestHead => "manifest_head",
            Self::ManifestPut => "manifest_put",
            Self::BlobGet => "blob_get",
            Self::BlobHead => "blob_head",
            Self::Mount => "mount",
            Self::Upload => "upload",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Delete => "delete",
            Self::Token => "token",
            Self::Redirect => "redirect",
            Self::Other => "other",
        }
    }
}

/// Counts requests by kind. The kinds add up to the total; a retry is counted in its kind as well.
#[derive(Debug, Default)]
pub struct Counter {
    kinds: [AtomicU64; Kind::ALL.len()],
}

impl Counter {
    /// Counts one request.
    pub fn count(&self, kind: Kind) {
        self.kinds[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one back that has turned out never to leave.
    pub(crate) fn retract(&self, kind: Kind) {
        self.kinds[kind as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests of one kind so far.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize].load(Ordering::Relaxed)
    }

    /// All requests so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.of(*kind)).sum()
    }

    /// Every kind with its count, zeroes included.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Kind, u64)> {
        Kind::ALL.iter().map(|kind| (*kind, self.of(*kind))).collect()
    }

    /// Starts again from zero.
    pub fn reset(&self) {
        for kind in &self.kinds {
            kind.store(0, Ordering::Relaxed);
        }
    }
}
