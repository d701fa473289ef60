//! The files of an unfinished blob, and what of them can be gone on from.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, Digest};

use super::state::{self, State, TAIL, Unusable};
use crate::layout::disk;
use crate::verify::Verifier;

/// What is in a partial's directory, in the order it is removed.
const FILES: [&str; 4] = ["state", "state.new", "data", "lock"];

/// What was found in a partial's directory.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing was begun.
    Nothing,
    /// Everything up to here is durable, and the file ends there.
    Resumable(Box<Start>),
    /// There is something, and this is why it is of no use.
    Useless(String),
}

/// Where an ingest begins.
#[derive(Debug)]
pub(super) struct Start {
    /// The bytes so far, and none behind them.
    pub(super) data: File,
    /// Has seen what is in `data`.
    pub(super) verifier: Verifier,
    /// When the first byte came, in milliseconds since 1970.
    pub(super) started: u64,
}

/// The directory of the partial of `digest` in `ingests`.
pub(super) fn dir(ingests: &Path, digest: &Digest) -> PathBuf {
    ingests.join(format!("{}-{}", digest.algorithm(), digest.digest()))
}

/// The digest that a directory is the partial of; nothing for names of other things.
pub(super) fn digest_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('-')?;
    let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
    super::blob_path(Path::new(""), &digest).ok().map(|_| digest)
}

/// Where the bytes of the partial in `dir` are.
pub(super) fn data_path(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// Looks whether `blob` can be gone on with. What lies after the last save point is cut off.
pub(super) fn look(dir: &Path, blob: &Descriptor) -> io::Result<Found> {
    let data = match File::options().read(true).write(true).open(data_path(dir)) {
        Ok(data) => Some(data),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let saved = State::load(dir)?;
    let (state, data) = match (saved, data) {
        (Err(Unusable::Missing), None) => return Ok(Found::Nothing),
        (Err(Unusable::Missing), Some(data)) if data.metadata()?.len() == 0 => return Ok(Found::Nothing),
        (Err(Unusable::Missing), Some(_)) => return useless("it was never saved"),
        (Err(Unusable::Broken), _) => return useless("its state is damaged"),
        (Err(Unusable::Newer(version)), _) => {
            return useless(format!("its state is of version {version}, {} is known", state::VERSION));
        }
        (Ok(_), None) => return useless("its data is missing"),
        (Ok(state), Some(data)) => (state, data),
    };
    if state.digest != blob.digest().as_ref() {
        return useless(format!("it is of {}", state.digest));
    }
    if state.size != blob.size() || state.offset > state.size {
        return useless(format!("it is of a blob of {} bytes, not {}", state.size, blob.size()));
    }
    let length = data.metadata()?.len();
    if length < state.offset {
        return useless(format!("it has {length} bytes and should have {}", state.offset));
    }
    if state::tail_sum(&tail(&data, state.offset)?) != state.tail {
        return useless("its last bytes are not those that were saved");
    }
    let Some(hasher) = state.hasher(blob.digest()) else { return useless("its hash state is damaged") };
    let verifier = Verifier::resume(blob, hasher, state.offset);
    if length > state.offset {
        data.set_len(state.offset)?;
    }
    Ok(Found::Resumable(Box::new(Start { data, verifier, started: state.started })))
}

fn useless(reason: impl Into<String>) -> io::Result<Found> {
    Ok(Found::Useless(reason.into()))
}

/// The last bytes before `offset` that a state tells by their checksum.
pub(super) fn tail(data: &File, offset: u64) -> io::Result<Vec<u8>> {
    let length = offset.min(TAIL);
    let mut tail = vec![0; usize::try_from(length).unwrap_or_default()];
    let filled = disk::read_at_most(data, &mut tail, offset - length)?;
    tail.truncate(filled);
    Ok(tail)
}

/// Forgets what was saved. It is durable on return, so that no state outlives the bytes it speaks of.
pub(super) fn forget(dir: &Path) -> io::Result<()> {
    match fs::remove_file(state::path(dir)) {
        Ok(()) => disk::sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// An empty file for the bytes.
pub(super) fn create(dir: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = data_path(dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().read(true).write(true).create_new(true).mode(0o644).open(path)
}

/// Whether the data that a state in `dir` speaks of is there.
pub(super) fn has(dir: &Path, offset: u64) -> bool {
    fs::metadata(data_path(dir)).is_ok_and(|data| data.len() >= offset)
}

/// How much there is of a blob, in bytes, saved or not.
pub(super) fn length(dir: &Path) -> u64 {
    fs::metadata(data_path(dir)).map_or(0, |data| data.len())
}

/// Says no to links, pipes and devices in the place of a partial's own files.
pub(super) fn refuse_links(dir: &Path) -> io::Result<()> {
    let check = |path: &Path, is_ours: fn(&fs::Metadata) -> bool| match fs::symlink_metadata(path) {
        Ok(found) if !is_ours(&found) => {
            let reason = format!("{} is neither a file nor a directory of ours", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    check(dir, fs::Metadata::is_dir)?;
    FILES.iter().try_for_each(|name| check(&dir.join(name), fs::Metadata::is_file))
}

/// Removes the partial in `dir`, which the caller has a claim on. The state goes first and the lock last; where others
/// have put files of their own, the directory stays.
pub(super) fn remove(dir: &Path) {
    for name in FILES {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %dir.join(name).display(), "left behind");
                return;
            }
            _ => {}
        }
    }
    // It fails where the next writer has come already.
    let _ = fs::remove_dir(dir);
}
