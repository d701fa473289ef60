//! Several layers as one: what the stack of them shows, and what it hides of those below.
//!
//! Files are hard links, so that it costs directories and nothing else. For overlayfs alone, which takes a limited number
//! of layers, and takes longer the more there are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::copy::{Keep, copy, dress};
use super::layers::Layers;
use super::{file, usage, xattrs};
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::{Form, Skipped, Usage};

const OPERATION: &str = "squash snapshots";

/// A directory to be filled.
struct Task {
    path: PathBuf,
    /// The layers that have it, the top one first.
    of: Vec<usize>,
    /// Something in between hides what the layers below all of them have there.
    is_closed: bool,
}

/// What is at a name.
enum Found {
    /// The layers that have the directory, and whether something below them hides what is further down.
    Directory(Vec<usize>, bool),
    /// It is linked.
    Other,
}

/// Fills the empty directory `to` with what the directories `roots`, the bottom one first, are together, each in the form
/// overlayfs stacks them in. Returns what it takes on disk: files are the layers' own and take no bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Cancelled`].
pub(crate) fn squash(roots: &[PathBuf], to: &Path, cancel: &CancellationToken) -> Result<Usage> {
    let layers = Layers { form: Form::Overlay, roots };
    let mut bytes = 0;
    let mut waiting = vec![Task { path: PathBuf::new(), of: layers.all(), is_closed: false }];
    while let Some(task) = waiting.pop() {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled { what: What::new(OPERATION, to.display()) });
        }
        let at = to.join(&task.path);
        bytes += fill(layers, &task, to, &mut waiting, cancel).during(OPERATION, to.display(), &at)?;
    }
    let Usage { inodes, .. } = usage::measure(to).during(OPERATION, to.display(), to)?;
    Ok(Usage { bytes, inodes })
}

/// Returns what the directory itself takes.
fn fill(
    layers: Layers<'_>,
    task: &Task,
    to: &Path,
    waiting: &mut Vec<Task>,
    cancel: &CancellationToken,
) -> io::Result<u64> {
    let target = file::open_dir(to, &task.path)?;
    let mut found: HashMap<OsString, Found> = HashMap::new();
    let (mut is_opaque, mut has_whiteouts) = (task.is_closed, false);
    for &layer in &task.of {
        let parent = layers.open(layer, &task.path)?;
        for (name, listed) in file::list(&parent)? {
            // Nothing is a whiteout.
            let kind = layers.kind(&parent, &name, listed)?;
            match found.entry(name) {
                Entry::Vacant(free) if kind == Some(FileType::Directory) => {
                    rustix::fs::mkdirat(&target, free.key(), Mode::RWXU)?;
                    free.insert(Found::Directory(vec![layer], false));
                }
                Entry::Vacant(free) => {
                    has_whiteouts |= kind.is_none();
                    link(&parent, free.key(), &target, cancel)?;
                    free.insert(Found::Other);
                }
                Entry::Occupied(mut taken) => {
                    if let Found::Directory(of, is_closed) = taken.get_mut()
                        && !*is_closed
                    {
                        match kind {
                            Some(FileType::Directory) => of.push(layer),
                            _ => *is_closed = true,
                        }
                    }
                }
            }
        }
        // What the layers below have there is hidden.
        if xattrs::is_opaque(&parent)? {
            is_opaque = true;
            break;
        }
    }
    for (name, found) in found {
        if let Found::Directory(of, is_closed) = found {
            waiting.push(Task { path: task.path.join(name), of, is_closed });
        }
    }
    if let Some(&top) = task.of.first() {
        let (from, here) = (layers.open(top, &task.path)?, OsStr::new("."));
        let facts = file::facts_of(&from)?;
        dress((&from, here), &facts, (&target, here), Keep::privileged(), &mut Skipped::default())?;
    }
    if is_opaque {
        xattrs::set(&target, xattrs::OPAQUE, b"y")?;
    }
    if has_whiteouts {
        xattrs::set(&target, xattrs::ORIGIN, b"")?;
    }
    Ok(file::facts_of(&target)?.allocated())
}

fn link(from: &OwnedFd, name: &OsStr, to: &OwnedFd, cancel: &CancellationToken) -> io::Result<()> {
    match rustix::fs::linkat(from, name, to, name, AtFlags::empty()) {
        // It has as many names as the file system allows.
        Err(Errno::MLINK) => {
            let facts = file::facts(from, name)?.ok_or(io::ErrorKind::NotFound)?;
            let (keep, mut skipped) = (Keep::privileged(), Skipped::default());
            copy((from, name), &facts, (to, name), keep, &mut skipped, cancel).map(drop)
        }
        linked => Ok(linked?),
    }
}
