//! How much there is of a tree.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Extracted;

/// A block of `st_blocks`, in bytes.
const BLOCK: u64 = 512;

/// Counts what is below `tree`, which nobody else can write to. A directory that may not be read counts as one entry.
pub(super) fn count(tree: &Path) -> io::Result<Extracted> {
    let mut counted = Extracted::default();
    let mut seen = HashSet::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            counted.entries += 1;
            let found = match entry.metadata() {
                // It may be listed and not searched.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                found => found?,
            };
            if found.is_dir() {
                waiting.push(entry.path());
            }
            if found.is_dir() || found.nlink() == 1 || seen.insert(found.ino()) {
                counted.bytes += found.blocks() * BLOCK;
            }
        }
    }
    Ok(counted)
}
