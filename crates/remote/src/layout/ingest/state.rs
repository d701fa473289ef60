//! The file `state`: what a partial is of, how much of it is durable, and how to go on.
//!
//! Two lines: a JSON document, and the sha256 of the first line with its end. It is replaced by rename, so that there
//! is always an old one or a new one; what is damaged all the same is found out by the checksum and never trusted.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::hash_state;
use crate::digest::{self, Hasher};
use crate::layout::disk;
use crate::layout::flock::now;

/// The form of the file and of the hash state in it.
pub(super) const VERSION: u64 = 1;
/// How many bytes before the offset are held against the file when it is opened again.
pub(super) const TAIL: u64 = 64 * 1024;
/// Larger than any state of ours.
const LIMIT: u64 = 64 * 1024;

/// A save point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u64,
    /// The blob's.
    pub(super) digest: String,
    /// The blob's size in bytes.
    pub(super) size: u64,
    /// So many bytes are durable.
    pub(super) offset: u64,
    /// The hasher after `offset` bytes.
    hash: String,
    /// Digest of the last bytes before `offset`, [`TAIL`] at most.
    pub(super) tail: String,
    /// When the first byte came, in milliseconds since 1970.
    pub(super) started: u64,
    /// When this was written, in the same unit.
    pub(super) updated: u64,
}

/// Why there is no state to go on from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    Missing,
    Broken,
    /// Written by a later version of this program.
    Newer(u64),
}

impl State {
    /// A save point of now.
    pub(super) fn new(blob: (&Digest, u64), offset: u64, hasher: &Hasher, tail: &[u8], started: u64) -> Self {
        Self {
            version: VERSION,
            digest: blob.0.to_string(),
            size: blob.1,
            offset,
            hash: STANDARD.encode(hash_state::save(hasher)),
            tail: tail_sum(tail),
            started,
            updated: now(),
        }
    }

    /// The hasher as it was; nothing where `digest` is of another algorithm.
    pub(super) fn hasher(&self, digest: &Digest) -> Option<Hasher> {
        hash_state::restore(digest.algorithm(), &STANDARD.decode(&self.hash).ok()?)
    }

    /// The same save point, as if it were of now.
    pub(super) fn renewed(self) -> Self {
        Self { updated: now(), ..self }
    }

    /// Reads the state in `dir`.
    pub(super) fn load(dir: &Path) -> io::Result<Result<Self, Unusable>> {
        let mut bytes = Vec::new();
        match File::open(path(dir)) {
            Ok(file) => file.take(LIMIT).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(Unusable::Missing)),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&bytes))
    }

    /// Replaces the state in `dir`; the new one is durable on return.
    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join("state.new");
        let mut file = File::create(&new)?;
        file.write_all(&self.encode()?)?;
        file.sync_data()?;
        fs::rename(&new, path(dir))?;
        disk::sync_dir(dir)
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        let sum = digest::sha256(&bytes);
        writeln!(bytes, "{sum}")?;
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Unusable::Broken)? + 1;
        let (document, sum) = bytes.split_at(end);
        if sum != format!("{}\n", digest::sha256(document)).as_bytes() {
            return Err(Unusable::Broken);
        }
        match serde_json::from_slice(document) {
            Ok(Versioned { version: VERSION }) => {
                serde_json::from_slice(document).map_err(|_| Unusable::Broken)
            }
            Ok(Versioned { version }) if version > VERSION => Err(Unusable::Newer(version)),
            _ => Err(Unusable::Broken),
        }
    }
}

/// Where the state of the partial in `dir` is.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("state")
}

/// What [`State::tail`] is for these bytes.
pub(super) fn tail_sum(tail: &[u8]) -> String {
    digest::sha256(tail).to_string()
}

#[cfg(test)]
mod tests {
    use oci_spec::image::DigestAlgorithm;

    use super::*;

    fn state() -> State {
        let hasher = Hasher::new(&DigestAlgorithm::Sha256).unwrap();
        State::new((&digest::sha256(b"blob"), 100), 40, &hasher, b"tail", 7)
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), Err(Unusable::Missing));
        state().store(dir.path()).unwrap();
        let (mut second, first) = (state(), State::load(dir.path()).unwrap().unwrap());
        assert_eq!(first, State { updated: first.updated, ..state() });
        second.offset = 41;
        second.store(dir.path()).unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), Ok(second));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary name is gone");
    }

    #[test]
    fn what_is_cut_short_at_any_length_is_broken() {
        let whole = state().encode().unwrap();
        for length in 0..whole.len() {
            assert_eq!(State::parse(&whole[..length]), Err(Unusable::Broken), "cut at {length}");
        }
        assert!(State::parse(&whole).is_ok());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let whole = state().encode().unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(State::parse(&flipped), Err(Unusable::Broken), "bit {bit} of byte {at}");
            }
        }
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(State::parse(&longer), Err(Unusable::Broken));
    }

    #[test]
    fn versions_that_are_not_ours_are_told_apart() {
        let with = |version| State { version, ..state() }.encode().unwrap();
        assert_eq!(State::parse(&with(2)), Err(Unusable::Newer(2)));
        assert_eq!(State::parse(&with(0)), Err(Unusable::Broken));
        assert!(State::parse(&with(1)).is_ok());
    }
}
