//! What a tree has that the stack it was copied from has not, as one more layer with markers.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use tokio_util::sync::CancellationToken;

use super::copy::{Keep, dress};
use super::file::{self, Facts};
use super::layers::{Layers, Merged, marker};
use super::xattrs;
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::Skipped;

const OPERATION: &str = "compare trees";

/// What is to be in the layer.
#[derive(Default)]
struct Found {
    changed: Vec<PathBuf>,
    /// Directories that are in the layer whatever else.
    directories: Vec<PathBuf>,
    removed: Vec<PathBuf>,
    changed_inodes: HashSet<u64>,
    /// Files of several names that are as they were.
    same: Vec<(u64, PathBuf)>,
}

/// Writes the difference to `to`, an empty directory of the same file system. Files are linked, not copied: what they
/// are linked from is given up afterwards.
pub(super) fn write(layers: Layers<'_>, tree: &Path, to: &Path, cancel: &CancellationToken) -> Result<()> {
    let mut found = compare(layers, tree, cancel)?;
    // All names of a changed file belong to it, those that were there before too.
    let changed = &found.changed_inodes;
    let others = found.same.iter().filter(|(inode, _)| changed.contains(inode)).map(|(_, path)| path.clone());
    let others: Vec<PathBuf> = others.collect();
    found.changed.extend(others);
    put(tree, to, &found).during(OPERATION, tree.display(), to)
}

fn compare(layers: Layers<'_>, tree: &Path, cancel: &CancellationToken) -> Result<Found> {
    let mut found = Found::default();
    let mut waiting = vec![(PathBuf::new(), layers.all())];
    while let Some((path, of)) = waiting.pop() {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled { what: What::new(OPERATION, tree.display()) });
        }
        waiting.extend(directory(layers, tree, &path, &of, &mut found).during(
            OPERATION,
            path.display(),
            tree,
        )?);
    }
    Ok(found)
}

type Waiting = Vec<(PathBuf, Vec<usize>)>;

/// Compares one directory; returns those in it.
fn directory(
    layers: Layers<'_>,
    tree: &Path,
    path: &Path,
    of: &[usize],
    found: &mut Found,
) -> io::Result<Waiting> {
    let mut inside = Waiting::new();
    let open = file::open_dir(tree, path)?;
    let mut before: HashMap<OsString, Merged> = layers.merge(of, path)?.into_iter().collect();
    for (name, _) in file::list(&open)? {
        let Some(now) = file::facts(&open, &name)? else { continue };
        let whole = path.join(&name);
        match (before.remove(&name), now.is_dir()) {
            (Some(Merged::Directory(of)), true) => {
                let then = layers.open(of.first().copied().unwrap_or_default(), &whole)?;
                let facts = file::facts_of(&then)?;
                if !is_same((&then, OsStr::new(".")), &facts, (&open, &name), &now)? {
                    found.directories.push(whole.clone());
                }
                inside.push((whole, of));
            }
            (_, true) => {
                // New, or in the place of a file: nothing of below shows in it.
                found.directories.push(whole.clone());
                inside.push((whole, Vec::new()));
            }
            (Some(Merged::File(layer)), false) => {
                let then = layers.open(layer, path)?;
                let facts = file::facts(&then, &name)?.ok_or(io::ErrorKind::NotFound)?;
                if !is_same_file((&then, &name), &facts, (&open, &name), &now)? {
                    found.changed_inodes.insert(now.inode());
                    found.changed.push(whole);
                } else if now.names() > 1 {
                    found.same.push((now.inode(), whole));
                }
            }
            (_, false) => {
                found.changed_inodes.insert(now.inode());
                found.changed.push(whole);
            }
        }
    }
    found.removed.extend(before.into_keys().map(|name| path.join(name)));
    Ok(inside)
}

/// As [`is_same`]; a file that nobody may read is taken for another.
fn is_same_file(
    then: (&OwnedFd, &OsStr),
    before: &Facts,
    now: (&OwnedFd, &OsStr),
    after: &Facts,
) -> io::Result<bool> {
    match is_same(then, before, now, after) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        same => same,
    }
}

/// Whether an image says the same of two files.
fn is_same(
    then: (&OwnedFd, &OsStr),
    before: &Facts,
    now: (&OwnedFd, &OsStr),
    after: &Facts,
) -> io::Result<bool> {
    let is_regular = after.kind() == FileType::RegularFile;
    Ok(before.kind() == after.kind()
        && xattrs::mode(then, before)? == xattrs::mode(now, after)?
        && before.owner() == after.owner()
        && before.device() == after.device()
        && before.mtime() == after.mtime()
        && (!is_regular || before.size() == after.size())
        && xattrs::all(then.0, then.1)? == xattrs::all(now.0, now.1)?
        && match after.kind() {
            FileType::Symlink => file::read_link(then.0, then.1)? == file::read_link(now.0, now.1)?,
            FileType::RegularFile => has_same_content(then, now)?,
            _ => true,
        })
}

fn has_same_content(one: (&OwnedFd, &OsStr), other: (&OwnedFd, &OsStr)) -> io::Result<bool> {
    let open = |at: (&OwnedFd, &OsStr)| -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(at.0, at.1, flags, Mode::empty())?))
    };
    let (one, other) = (open(one)?, open(other)?);
    let (mut left, mut right) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 16));
    loop {
        left.clear();
        right.clear();
        (&one).take(1 << 16).read_to_end(&mut left)?;
        (&other).take(1 << 16).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

/// Links what changed, marks what is gone; directories look like those of the tree.
fn put(tree: &Path, to: &Path, found: &Found) -> io::Result<()> {
    let mut made: HashSet<PathBuf> = HashSet::from([PathBuf::new()]);
    for path in &found.directories {
        make(to, path, &mut made)?;
    }
    for path in &found.changed {
        let Some((parent, name)) = file::split(path) else { continue };
        make(to, parent, &mut made)?;
        let (from, target) = (file::open_dir(tree, parent)?, file::open_dir(to, parent)?);
        rustix::fs::linkat(&from, name, &target, name, AtFlags::empty())?;
        xattrs::keep_readable(&target, name)?;
    }
    for path in &found.removed {
        let Some((parent, name)) = file::split(path) else { continue };
        make(to, parent, &mut made)?;
        let target = file::open_dir(to, parent)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&target, marker(name), flags, Mode::RUSR | Mode::WUSR)?);
    }
    let mut made: Vec<PathBuf> = made.into_iter().collect();
    made.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for path in made {
        let (from, target) = (file::open_dir(tree, &path)?, file::open_dir(to, &path)?);
        let (facts, here) = (file::facts_of(&from)?, OsStr::new("."));
        let keep = Keep { setuid: true, ..Keep::as_able() };
        dress((&from, here), &facts, (&target, here), keep, &mut Skipped::default())?;
        xattrs::keep_readable(&target, here)?;
    }
    Ok(())
}

fn make(to: &Path, path: &Path, made: &mut HashSet<PathBuf>) -> io::Result<()> {
    let mut at = PathBuf::new();
    for name in file::names(path) {
        let parent = file::open_dir(to, &at)?;
        at.push(name);
        if made.insert(at.clone()) {
            rustix::fs::mkdirat(&parent, name, Mode::RWXU)?;
        }
    }
    Ok(())
}
