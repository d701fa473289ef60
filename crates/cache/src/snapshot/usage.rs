//! What a tree takes on disk.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::file;
use crate::layer::Usage;

/// Blocks and inodes below `root` and of itself; a file of several names counts once.
pub(crate) fn measure(root: &Path) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let open = file::open_dir(root, &directory)?;
        let own = file::facts_of(&open)?;
        usage.bytes += own.allocated();
        usage.inodes += 1;
        for (name, _) in file::list(&open)? {
            let Some(facts) = file::facts(&open, OsStr::new(&name))? else { continue };
            if facts.is_dir() {
                waiting.push(directory.join(&name));
            } else if facts.names() == 1 || seen.insert(facts.inode()) {
                usage.bytes += facts.allocated();
                usage.inodes += 1;
            }
        }
    }
    Ok(usage)
}

/// The same of a tree that somebody changes or deletes meanwhile: what cannot be looked at is not counted, nor what is
/// mounted in it.
pub(crate) fn measure_changing(root: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut waiting = vec![PathBuf::new()];
    let mut file_system = None;
    while let Some(directory) = waiting.pop() {
        let Ok(open) = file::open_dir(root, &directory) else { continue };
        if let Ok(own) = file::facts_of(&open) {
            if own.file_system() != *file_system.get_or_insert(own.file_system()) {
                continue;
            }
            usage.bytes += own.allocated();
            usage.inodes += 1;
        }
        for (name, _) in file::list(&open).unwrap_or_default() {
            let Ok(Some(facts)) = file::facts(&open, OsStr::new(&name)) else { continue };
            if facts.is_dir() {
                waiting.push(directory.join(&name));
            } else if facts.names() == 1 || seen.insert(facts.inode()) {
                usage.bytes += facts.allocated();
                usage.inodes += 1;
            }
        }
    }
    usage
}

/// Bytes of all that is in a directory, without the directory itself.
pub(crate) fn measure_in(directory: &Path) -> u64 {
    let own = file::open_dir(directory, Path::new("")).and_then(file::facts_of);
    measure_changing(directory).bytes.saturating_sub(own.map_or(0, |own| own.allocated()))
}

/// Bytes of a file or a tree that somebody may remove meanwhile.
pub(crate) fn measure_any(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => measure_changing(path).bytes,
        Ok(found) => found.blocks().saturating_mul(512),
        Err(_) => 0,
    }
}
