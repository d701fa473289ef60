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
