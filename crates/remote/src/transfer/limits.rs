//! What a slot is taken for, and how many there are.

use std::collections::HashMap;
use std::sync::Arc;

/// What is done while a slot is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A manifest is read or written: a few kilobytes on which everything else waits.
    Manifest,
    /// A question that moves no blob: is it there, may it be mounted.
    Probe,
    /// The bytes of a blob come from a host.
    Download,
    /// The bytes of a blob go to a host.
    Upload,
}

impl Operation {
    /// Whether the bytes of a blob move, which may take minutes.
    pub(super) fn moves_blobs(self) -> bool {
        matches!(self, Self::Download | Self::Upload)
    }
}

/// The most that may be under way at once. Zero means no limit (moby has it so).
///
/// Blobs and requests are counted apart, so that a manifest never waits for the end of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blobs on their way, in all. A copy from one registry to another is one.
    pub total: usize,
    /// Blobs on their way from or to one host. A copy counts once at either end, and once where both are one host.
    pub per_host: usize,
    /// The same for particular hosts, by `HOST[:PORT]`.
    pub hosts: HashMap<String, usize>,
    /// Blobs on their way from registries.
    pub downloads: usize,
    /// Blobs on their way to registries.
    pub uploads: usize,
    /// Manifests and questions under way at one host.
    pub requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 16, per_host: 6, hosts: HashMap::new(), downloads: 0, uploads: 0, requests: 6 }
    }
}

impl Limits {
    /// At most `limit` blobs on their way, and as many manifests and questions at one host.
    #[must_use]
    pub fn at_once(limit: usize) -> Self {
        Self { total: limit, per_host: limit, requests: limit, ..Self::default() }
    }

    /// The most blobs at `host`.
    pub(super) fn at(&self, host: &str) -> usize {
        self.hosts.get(host).copied().unwrap_or(self.per_host)
    }
}

/// What must be free before something begins: a seat at each host it involves. All are taken in one step, so that two
/// copies between the same hosts never hold what the other one waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Need {
    /// At most two, each host once.
    seats: Vec<(Arc<str>, Operation)>,
}

impl Need {
    /// A manifest of `host`.
    #[must_use]
    pub fn manifest(host: &str) -> Self {
        Self { seats: vec![(host.into(), Operation::Manifest)] }
    }

    /// A question to `host`.
    #[must_use]
    pub fn probe(host: &str) -> Self {
        Self { seats: vec![(host.into(), Operation::Probe)] }
    }

    /// A blob's way from one host to another. An end without a host is here: it takes no seat.
    #[must_use]
    pub fn blob(from: Option<&str>, to: Option<&str>) -> Self {
        let mut seats = Vec::with_capacity(2);
        seats.extend(from.map(|host| (Arc::from(host), Operation::Download)));
        // One host must not wait for itself: a copy within it takes one seat, that of the heavier operation.
        match to {
            Some(host) if from == Some(host) => seats = vec![(host.into(), Operation::Upload)],
            Some(host) => seats.push((host.into(), Operation::Upload)),
            None => {}
        }
        Self { seats }
    }

    /// The hosts and what is done there.
    pub(super) fn seats(&self) -> impl Iterator<Item = (&Arc<str>, Operation)> {
        self.seats.iter().map(|(host, operation)| (host, *operation))
    }

    /// Whether a blob moves; a need without a seat is one that moves from here to here.
    pub(super) fn moves_blobs(&self) -> bool {
        self.seats.iter().all(|(_, operation)| operation.moves_blobs())
    }

    /// The rank of what is done: manifests go before questions, and both before blobs.
    pub(super) fn class(&self) -> Operation {
        self.seats
            .iter()
            .map(|(_, operation)| *operation)
            .min()
            .unwrap_or(Operation::Download)
            .min(Operation::Download)
    }
}
