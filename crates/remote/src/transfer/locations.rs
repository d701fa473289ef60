//! What is known of where blobs are, so that a push can have them mounted instead of sending them.
//!
//! Nothing here is the truth: a repository may have lost a blob since. Whoever asks for a mount that is refused says so
//! with [`Locations::refused`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci_spec::image::{Descriptor, Digest};

use crate::keychain::Identity;
use crate::provider::Origin;

/// No more places are kept of one blob: the newest ones.
const PLACES: usize = 50;

/// No more places are kept of all blobs together. With names of usual length that is about 10 MB.
const ALL_PLACES: usize = 1 << 16;

/// Blobs up to this size cost less to send than to ask about a second time.
const SMALL: u64 = 100 * 1024;
/// Blobs past this size are worth every question.
const LARGE: u64 = 10 * 1024 * 1024;

/// How many requests a blob of some size is worth before its bytes are sent.
///
/// The steps are those that docker has used for years. It caps existence checks by size, too, since it looks for a layer
/// by its diffID (the digest of its uncompressed bytes), of which several compressed forms may be known. We look for a
/// blob by the one digest that its manifest names: one HEAD in the target repository is all there is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Repositories that are tried as sources of a mount: one POST each.
    pub mounts: usize,
}

impl Caps {
    /// The caps of a blob of `size` bytes.
    #[must_use]
    pub fn of(size: u64) -> Self {
        let mounts = if size <= SMALL {
            1
        } else if size <= LARGE {
            3
        } else {
            4
        };
        Self { mounts }
    }
}

/// Where blobs were seen, by digest. Synchronous, in memory, lost with the process. Cheap to clone; clones share
/// everything.
///
/// At most 50 places of a blob and 65,536 of all blobs together are kept. Past the first bound the blob's oldest place
/// goes; past the second, all places of the blob of which nothing was recorded for the longest time.
#[derive(Clone, Debug, Default)]
pub struct Locations(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    blobs: HashMap<Digest, Places>,
    /// Blobs by the time of their newest place.
    by_age: BTreeMap<u64, Digest>,
    /// Places of all blobs.
    count: usize,
    /// Counts records: later is newer.
    clock: u64,
}

#[derive(Debug, Default)]
struct Places {
    /// The newest last.
    places: Vec<Place>,
    /// When the newest was recorded: its key in `by_age`.
    touched: u64,
}

#[derive(Debug)]
struct Place {
    origin: Origin,
    /// Who could read or write it there.
    identity: Option<Identity>,
}

impl Locations {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note that the blob is in `origin`, as seen by `identity` where that is known. The place is the newest of
    /// the blob from now on, whether or not it was known before.
    pub fn record(&self, digest: &Digest, origin: Origin, identity: Option<Identity>) {
        self.table().record(digest, Place { origin, identity });
    }

    /// Takes note that the blob is not in `origin` (any more), or cannot be mounted from there.
    pub fn forget(&self, digest: &Digest, origin: &Origin) {
        self.table().forget(digest, origin);
    }

    /// Takes note that `identity` could not have the blob mounted from `origin`. Forgets the place, except where another
    /// identity has seen the blob there: whom it is hidden from says nothing about that.
    pub fn refused(&self, digest: &Digest, origin: &Origin, identity: Option<&Identity>) {
        let mut table = self.table();
        let seen_by = table.seen_by(digest, origin);
        if seen_by.is_none() || seen_by.as_ref() == identity {
            table.forget(digest, origin);
        }
    }

    /// Whether the blob was seen in `origin`: then looking there comes before mounts.
    #[must_use]
    pub fn knows(&self, digest: &Digest, origin: &Origin) -> bool {
        let table = self.table();
        table.blobs.get(digest).is_some_and(|blob| blob.places.iter().any(|place| place.origin == *origin))
    }

    /// Repositories to mount `blob` from into `target`, the most promising one first: those of the same host, without
    /// the target itself. What the same identity has seen comes first, then what shares more of the leading components
    /// of its path with the target, then what is newer. As many as [`Caps::of`] the blob's size allows.
    #[must_use]
    pub fn candidates(&self, blob: &Descriptor, target: &Origin, identity: Option<&Identity>) -> Vec<Origin> {
        let table = self.table();
        let Some(known) = table.blobs.get(blob.digest()) else { return Vec::new() };
        let newest_first = known.places.iter().rev();
        let mut places: Vec<_> = newest_first
            .filter(|place| place.origin.host == target.host && place.origin.repository != target.repository)
            .collect();
        // Stable: among equals the order of age stays.
        places.sort_by_cached_key(|place| {
            let own = identity.is_some() && place.identity.as_ref() == identity;
            Reverse((own, common(&place.origin.repository, &target.repository)))
        });
        places.truncate(Caps::of(blob.size()).mounts);
        places.into_iter().map(|place| place.origin.clone()).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn record(&mut self, digest: &Digest, place: Place) {
        self.forget(digest, &place.origin);
        self.clock += 1;
        let blob = self.blobs.entry(digest.clone()).or_default();
        self.by_age.remove(&blob.touched);
        blob.touched = self.clock;
        blob.places.push(place);
        self.count += 1;
        if blob.places.len() > PLACES {
            blob.places.remove(0);
            self.count -= 1;
        }
        self.by_age.insert(self.clock, digest.clone());
        while self.count > ALL_PLACES {
            self.drop_oldest();
        }
    }

    fn seen_by(&self, digest: &Digest, origin: &Origin) -> Option<Identity> {
        let blob = self.blobs.get(digest)?;
        blob.places.iter().find(|place| place.origin == *origin)?.identity
    }

    fn forget(&mut self, digest: &Digest, origin: &Origin) {
        let Some(blob) = self.blobs.get_mut(digest) else { return };
        let Some(at) = blob.places.iter().position(|place| place.origin == *origin) else { return };
        blob.places.remove(at);
        self.count -= 1;
        if blob.places.is_empty() {
            self.by_age.remove(&blob.touched);
            self.blobs.remove(digest);
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, digest)) = self.by_age.pop_first() else { return };
        if let Some(blob) = self.blobs.remove(&digest) {
            self.count -= blob.places.len();
        }
    }
}

/// How many leading components two paths share.
fn common(one: &str, other: &str) -> usize {
    one.split('/').zip(other.split('/')).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;
    use crate::digest;
    use crate::keychain::Credential;

    const LARGER: u64 = LARGE + 1;

    fn blob(name: &str, size: u64) -> Descriptor {
        Descriptor::new(MediaType::ImageLayerGzip, size, digest::sha256(name.as_bytes()))
    }

    fn at(repository: &str) -> Origin {
        Origin { host: "h.io:5000".into(), repository: repository.into() }
    }

    fn names(origins: &[Origin]) -> Vec<&str> {
        origins.iter().map(|origin| origin.repository.as_str()).collect()
    }

    /// Row 38: how many mounts a size is worth, to the byte.
    #[test]
    fn caps_go_by_size() {
        for (mounts, sizes) in [(1, &[0, 1, SMALL][..]), (3, &[SMALL + 1, LARGE]), (4, &[LARGER, u64::MAX])] {
            for size in sizes {
                assert_eq!(Caps::of(*size).mounts, mounts, "{size}");
            }
        }

        let locations = Locations::new();
        for (size, expected) in [(SMALL, 1), (SMALL + 1, 3), (LARGE, 3), (LARGER, 4)] {
            let blob = blob("x", size);
            for nth in 0..9 {
                locations.record(blob.digest(), at(&format!("r{nth}")), None);
            }
            assert_eq!(locations.candidates(&blob, &at("t"), None).len(), expected, "{size}");
        }
    }

    /// Row 39: the same credential, then the longer common path, then the newer.
    #[test]
    fn the_most_promising_candidate_comes_first() {
        let (jo, ann) = (Credential::basic("jo", "p").identity(), Credential::basic("ann", "p").identity());
        let locations = Locations::new();
        let blob = blob("x", LARGER);
        for (repository, identity) in [
            ("org/team/old", Some(ann)),
            ("org/other", Some(jo)),
            ("elsewhere/older", Some(jo)),
            ("elsewhere/newer", Some(jo)),
            ("org/team/app/base", None),
        ] {
            locations.record(blob.digest(), at(repository), identity);
        }
        let target = at("org/team/app");
        let candidates = locations.candidates(&blob, &target, Some(&jo));
        assert_eq!(
            names(&candidates),
            ["org/other", "elsewhere/newer", "elsewhere/older", "org/team/app/base"]
        );
        // Who is nobody known is nobody's equal.
        let candidates = locations.candidates(&blob, &target, None);
        assert_eq!(names(&candidates), ["org/team/app/base", "org/team/old", "org/other", "elsewhere/newer"]);
        let anonymous = Credential::Anonymous.identity();
        assert_eq!(locations.candidates(&blob, &target, Some(&anonymous)), candidates);
        locations.record(blob.digest(), at("public/x"), Some(anonymous));
        assert_eq!(names(&locations.candidates(&blob, &target, Some(&anonymous)))[0], "public/x");
        // Components and not letters.
        assert_eq!(
            (common("org/team", "org/teams"), common("a/b/c", "a/x/c"), common("a", "a/b")),
            (1, 1, 1)
        );
    }

    /// Row 39: neither the target itself nor another host (a port makes another host) is a candidate.
    #[test]
    fn the_target_and_other_hosts_are_none() {
        let locations = Locations::new();
        let blob = blob("x", LARGER);
        for host in ["h.io", "h.io:5001", "other.io"] {
            let origin = Origin { host: host.into(), repository: "a".into() };
            locations.record(blob.digest(), origin, None);
        }
        locations.record(blob.digest(), at("target"), None);
        assert!(locations.candidates(&blob, &at("target"), None).is_empty());
        assert!(locations.knows(blob.digest(), &at("target")) && !locations.knows(blob.digest(), &at("a")));
        locations.record(blob.digest(), at("a"), None);
        assert_eq!(locations.candidates(&blob, &at("target"), None), [at("a")]);
        assert!(locations.candidates(&self::blob("y", LARGER), &at("target"), None).is_empty());
    }

    /// Row 39: what is recorded again is the newest, with the identity it was recorded with last.
    #[test]
    fn recording_again_makes_it_the_newest() {
        let jo = Credential::basic("jo", "p").identity();
        let locations = Locations::new();
        let blob = blob("x", LARGER);
        for repository in ["a", "b", "a"] {
            locations.record(blob.digest(), at(repository), Some(jo));
        }
        assert_eq!(names(&locations.candidates(&blob, &at("t"), Some(&jo))), ["a", "b"]);
        locations.clone().record(blob.digest(), at("a"), None);
        assert_eq!(names(&locations.candidates(&blob, &at("t"), Some(&jo))), ["b", "a"]);
        assert_eq!(locations.table().count, 2);
    }

    /// Row 42: a place that is forgotten is gone, it alone, and for all who share the table.
    #[test]
    fn a_stale_place_is_forgotten() {
        let locations = Locations::new();
        let (one, two) = (blob("x", LARGER), blob("y", LARGER));
        for repository in ["a", "b"] {
            locations.record(one.digest(), at(repository), None);
            locations.record(two.digest(), at(repository), None);
        }
        locations.clone().forget(one.digest(), &at("a"));
        locations.forget(one.digest(), &at("never"));
        locations.forget(blob("z", 1).digest(), &at("a"));
        assert_eq!(names(&locations.candidates(&one, &at("t"), None)), ["b"]);
        assert_eq!(names(&locations.candidates(&two, &at("t"), None)), ["b", "a"]);
        locations.forget(one.digest(), &at("b"));
        let table = locations.table();
        assert_eq!((table.blobs.len(), table.by_age.len(), table.count), (1, 1, 2));
    }

    /// Row 42: a refused mount makes a place stale for whom it was seen by, or where nobody knows by whom.
    #[test]
    fn a_refusal_counts_for_the_one_who_was_refused() {
        let (jo, ann) = (Credential::basic("jo", "p").identity(), Credential::basic("ann", "p").identity());
        let blob = blob("x", LARGER);
        for (seen_by, refused, kept) in [
            (Some(jo), Some(jo), false),
            (None, Some(jo), false),
            (None, None, false),
            (Some(jo), Some(ann), true),
            (Some(jo), None, true),
            (Some(Credential::Anonymous.identity()), Some(ann), true),
        ] {
            let locations = Locations::new();
            locations.record(blob.digest(), at("a"), seen_by);
            locations.refused(blob.digest(), &at("b"), refused.as_ref());
            locations.refused(blob.digest(), &at("a"), refused.as_ref());
            assert_eq!(locations.knows(blob.digest(), &at("a")), kept, "{seen_by:?} {refused:?}");
        }
    }

    /// Row 42: fifty places of a blob and no more, the oldest gone.
    #[test]
    fn of_one_blob_the_newest_fifty_are_kept() {
        let locations = Locations::new();
        let blob = blob("x", LARGER);
        for nth in 0..=PLACES {
            locations.record(blob.digest(), at(&format!("r{nth}")), None);
        }
        let known = |nth: usize| locations.knows(blob.digest(), &at(&format!("r{nth}")));
        assert_eq!((0..=PLACES).filter(|nth| known(*nth)).count(), 50);
        assert!(!known(0) && known(1) && known(PLACES));
        assert_eq!(locations.table().count, 50);
    }

    #[test]
    fn of_all_blobs_the_one_not_heard_of_for_longest_goes() {
        let locations = Locations::new();
        let blob = |nth: usize| blob(&nth.to_string(), LARGER);
        locations.record(blob(0).digest(), at("a"), None);
        for nth in 1..ALL_PLACES {
            locations.record(blob(nth).digest(), at("a"), None);
        }
        locations.record(blob(0).digest(), at("b"), None);
        // One too many: the second blob goes, and the first, which was touched, stays whole.
        assert!(locations.knows(blob(0).digest(), &at("a")) && locations.knows(blob(0).digest(), &at("b")));
        assert!(!locations.knows(blob(1).digest(), &at("a")) && locations.knows(blob(2).digest(), &at("a")));
        let table = locations.table();
        assert_eq!((table.count, table.by_age.len()), (ALL_PLACES, table.blobs.len()));
    }
}
