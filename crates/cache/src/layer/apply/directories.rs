//! What directories are to be in the end. Their metadata come last: what is written into them changes their times, and some
//! may not be written into at all.

use std::collections::BTreeMap;

use rustix::fs::{Stat, Timespec};

use super::name::is_below;
use crate::layer::tarball::Xattr;

/// By resolved path, so a directory comes before what is in it.
#[derive(Default)]
pub(super) struct Directories(BTreeMap<Vec<u8>, Last>);

/// What a directory gets in the end.
pub(super) enum Last {
    /// What its entry says.
    Named {
        meta: Meta,
        /// It was there before this layer.
        is_old: bool,
    },
    /// Made for what is in it.
    Implied {
        /// The layers below cannot have it: this layer hides it there.
        is_fresh: bool,
    },
    /// What it had before this layer came, which does not name it.
    Restored {
        mtime: Timespec,
        /// Where it had to be made writable.
        mode: Option<u32>,
    },
}

/// Owner, mode, time and xattrs of an entry.
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timespec,
    pub(super) xattrs: Vec<Xattr>,
}

impl Directories {
    pub(super) fn knows(&self, path: &[u8]) -> bool {
        self.0.contains_key(path)
    }

    /// Whether the directory was there before this layer came.
    pub(super) fn is_old(&self, path: &[u8]) -> bool {
        match self.0.get(path) {
            None | Some(Last::Restored { .. }) => true,
            Some(Last::Named { is_old, .. }) => *is_old,
            Some(Last::Implied { .. }) => false,
        }
    }

    pub(super) fn set(&mut self, path: Vec<u8>, last: Last) {
        self.0.insert(path, last);
    }

    /// Remembers how a directory was before this layer changes it, unless it is known what it is to be.
    pub(super) fn remember(&mut self, path: &[u8], before: &Stat, mode: Option<u32>) {
        if !self.knows(path) {
            let mtime = mtime(before);
            self.0.insert(path.to_vec(), Last::Restored { mtime, mode });
        }
    }

    /// Forgets a directory that is gone, and all in it.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.0.remove(path);
        forget_below(&mut self.0, path);
    }

    /// Those that are implied and may be in the layers below, parents first.
    pub(super) fn implied(&self) -> impl Iterator<Item = &[u8]> {
        let is_pending = |last: &Last| matches!(last, Last::Implied { is_fresh: false });
        self.0.iter().filter(move |(_, last)| is_pending(last)).map(|(path, _)| path.as_slice())
    }

    /// Whether a directory is implied, and may be in the layers below.
    pub(super) fn is_implied(&self, path: &[u8]) -> bool {
        matches!(self.0.get(path), Some(Last::Implied { is_fresh: false }))
    }

    /// All of them, children first.
    pub(super) fn into_last_first(self) -> impl Iterator<Item = (Vec<u8>, Last)> {
        self.0.into_iter().rev()
    }
}

/// Takes all out of the map that is in the directory `dir`.
pub(super) fn forget_below<T>(map: &mut BTreeMap<Vec<u8>, T>, dir: &[u8]) {
    let start = [dir, b"/"].concat();
    let doomed: Vec<_> =
        map.range(start..).map(|(path, _)| path).take_while(|path| is_below(path, dir)).cloned().collect();
    for path in doomed {
        map.remove(&path);
    }
}

#[allow(clippy::useless_conversion, reason = "what a time is made of differs between architectures")]
pub(super) fn mtime(stat: &Stat) -> Timespec {
    Timespec { tv_sec: stat.st_mtime.into(), tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_goes_with_a_directory() {
        let names: [&[u8]; 6] = [b"a", b"a-b", b"a/b", b"a/b/c", b"a0", b"b"];
        let mut map: BTreeMap<Vec<u8>, ()> = names.iter().map(|name| (name.to_vec(), ())).collect();
        forget_below(&mut map, b"a");
        assert_eq!(map.into_keys().collect::<Vec<_>>(), [&b"a"[..], b"a-b", b"a0", b"b"]);
    }
}
