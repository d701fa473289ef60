//! Layers as lists of entries, put where a snapshotter wants them, without tars.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use lazyblob_remote::digest;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev};

use crate::layer::{Applied, Form, Link, Pending, Skipped, Usage};

/// An entry of a layer. Paths are relative to the root; the empty one is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory that the layer names, with its mode.
    Dir(String, u32),
    /// A file and what is in it.
    File(String, String),
    /// A symbolic link and where it leads.
    Symlink(String, String),
    /// A hard link and the name of the file.
    Link(String, String),
    /// A name that is gone.
    Whiteout(String),
    /// A directory in which nothing of below is seen.
    Opaque(String),
}

impl Entry {
    /// A directory that the layer names, with its mode.
    #[must_use]
    pub fn dir(path: &str, mode: u32) -> Self {
        Self::Dir(path.to_owned(), mode)
    }

    /// A file and what is in it.
    #[must_use]
    pub fn file(path: &str, data: &str) -> Self {
        Self::File(path.to_owned(), data.to_owned())
    }

    /// A symbolic link and where it leads.
    #[must_use]
    pub fn symlink(path: &str, target: &str) -> Self {
        Self::Symlink(path.to_owned(), target.to_owned())
    }

    /// A hard link and the name of the file.
    #[must_use]
    pub fn link(path: &str, target: &str) -> Self {
        Self::Link(path.to_owned(), target.to_owned())
    }

    /// A name that is gone.
    #[must_use]
    pub fn whiteout(path: &str) -> Self {
        Self::Whiteout(path.to_owned())
    }

    /// A directory in which nothing of below is seen.
    #[must_use]
    pub fn opaque(path: &str) -> Self {
        Self::Opaque(path.to_owned())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Dir(path, _)
            | Self::File(path, _)
            | Self::Symlink(path, _)
            | Self::Link(path, _)
            | Self::Whiteout(path)
            | Self::Opaque(path) => Path::new(path),
        }
    }
}

/// Times that no clock says: those of the layer `number`.
fn stamp(path: &Path, number: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: 1_000 * (number + 1), tv_nsec: 7 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The diffID that tests give the layer: any that differs.
#[must_use]
pub fn diff_id(entries: &[Entry]) -> oci_spec::image::Digest {
    digest::sha256(format!("{entries:?}").as_bytes())
}

/// Puts the entries of the layer `number` alone into `root`, as a tar would be applied there: whiteouts come first,
/// directories before what is in them, and no entry goes through a link of the same layer.
///
/// # Panics
/// Where the file system says no.
#[must_use]
pub fn put(form: Form, root: &Path, number: i64, entries: &[Entry]) -> Applied {
    let mut pending = Pending { implied: vec![PathBuf::new()], links: Vec::new() };
    let mut times = Vec::new();
    let mut hidden = Hidden::default();
    for entry in entries {
        let at = root.join(entry.path());
        if let Some(parent) = entry.path().parent() {
            imply(form, root, parent, &hidden, &mut pending);
        }
        match entry {
            Entry::Dir(path, mode) => {
                pending.implied.retain(|implied| implied != Path::new(path));
                if !at.is_dir() {
                    fresh(form, &at, hidden.whiteouts.contains(&Path::new(path)));
                }
                rustix::fs::chmod(&at, Mode::from_raw_mode(*mode)).expect("a mode");
            }
            Entry::File(_, data) => {
                uncover(&at);
                fs::write(&at, data).expect("a file");
            }
            Entry::Symlink(_, target) => {
                uncover(&at);
                std::os::unix::fs::symlink(target, &at).expect("a link");
            }
            Entry::Link(path, target) => {
                let is_here = fs::symlink_metadata(root.join(target))
                    .is_ok_and(|found| !found.is_dir() && !is_whiteout(&found));
                if is_here {
                    uncover(&at);
                    fs::hard_link(root.join(target), &at).expect("a hard link");
                } else {
                    pending.links.push(Link { name: path.into(), target: target.into() });
                }
                continue;
            }
            Entry::Whiteout(path) => {
                hidden.whiteouts.push(Path::new(path));
                hide(form, &at);
                continue;
            }
            Entry::Opaque(path) => {
                imply(form, root, Path::new(path), &hidden, &mut pending);
                hidden.opaque.push(Path::new(path));
                opaque(form, &at);
                continue;
            }
        }
        times.push(at);
    }
    for path in times.iter().rev() {
        stamp(path, number).expect("times");
    }
    pending.implied.sort();
    Applied {
        diff_id: diff_id(entries),
        size: 0,
        usage: Usage::default(),
        skipped: Skipped::default(),
        pending,
    }
}

/// What a layer hides of those below, so far.
#[derive(Default)]
struct Hidden<'a> {
    whiteouts: Vec<&'a Path>,
    opaque: Vec<&'a Path>,
}

impl Hidden<'_> {
    fn is_hidden(&self, path: &Path) -> bool {
        self.whiteouts.iter().any(|gone| path.starts_with(gone))
            || self.opaque.iter().any(|above| path != *above && path.starts_with(above))
    }
}

fn imply(form: Form, root: &Path, path: &Path, hidden: &Hidden<'_>, pending: &mut Pending) {
    let mut at = PathBuf::new();
    for part in path.components() {
        at.push(part);
        if root.join(&at).is_dir() {
            continue;
        }
        fresh(form, &root.join(&at), hidden.whiteouts.contains(&at.as_path()));
        if !hidden.is_hidden(&at) {
            pending.implied.push(at.clone());
        }
    }
}

fn fresh(form: Form, at: &Path, is_new: bool) {
    uncover(at);
    fs::create_dir(at).expect("a directory");
    if is_new && form == Form::Overlay {
        opaque(form, at);
    }
}

fn is_whiteout(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    found.file_type().is_char_device() && found.rdev() == 0
}

/// A whiteout makes room for what the same layer puts there.
fn uncover(at: &Path) {
    if fs::symlink_metadata(at).is_ok_and(|found| is_whiteout(&found)) {
        fs::remove_file(at).expect("a whiteout");
    }
}

fn hide(form: Form, at: &Path) {
    if form == Form::Overlay {
        rustix::fs::mknodat(CWD, at, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
            .expect("a whiteout");
        let parent = at.parent().expect("a directory");
        rustix::fs::setxattr(parent, "trusted.overlay.origin", b"", XattrFlags::empty())
            .expect("an attribute");
    } else {
        let name = at.file_name().and_then(OsStr::to_str).expect("a name");
        fs::write(at.with_file_name(format!(".wh.{name}")), "").expect("a marker");
    }
}

fn opaque(form: Form, at: &Path) {
    if form == Form::Overlay {
        rustix::fs::setxattr(at, "trusted.overlay.opaque", b"y", XattrFlags::empty()).expect("an attribute");
    } else {
        fs::write(at.join(".wh..wh..opq"), "").expect("a marker");
    }
}

/// Applies the layer `number` to a tree, one entry after the other, as tools do that know no snapshots: paths lead through
/// links inside the root; a directory that no entry names keeps the times it had.
///
/// # Errors
/// What such a tool cannot do; the tree is then as the entries before have left it.
pub fn apply(root: &Path, number: i64, entries: &[Entry]) -> io::Result<()> {
    let mut before = Vec::new();
    directories(root, &mut before)?;
    let mut own: Vec<PathBuf> = Vec::new();
    let result = entries.iter().try_for_each(|entry| one(root, entry, &mut own));
    let mut named: Vec<&PathBuf> = own.iter().collect();
    named.sort();
    for path in named.iter().rev() {
        stamp(path, number)?;
    }
    for (path, inode, times) in before {
        use std::os::unix::fs::MetadataExt as _;
        let is_it = fs::symlink_metadata(&path).is_ok_and(|now| now.is_dir() && now.ino() == inode);
        if is_it && !own.contains(&path) {
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    result
}

fn directories(path: &Path, found: &mut Vec<(PathBuf, u64, Timestamps)>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let own = fs::symlink_metadata(path)?;
    if !own.is_dir() {
        return Ok(());
    }
    let last_modification = Timespec { tv_sec: own.mtime(), tv_nsec: own.mtime_nsec() };
    let times = Timestamps { last_access: last_modification, last_modification };
    found.push((path.to_owned(), own.ino(), times));
    fs::read_dir(path)?.try_for_each(|entry| directories(&entry?.path(), found))
}

fn one(root: &Path, entry: &Entry, own: &mut Vec<PathBuf>) -> io::Result<()> {
    let at = match (entry.path().parent(), entry.path().file_name()) {
        (Some(parent), Some(name)) => walk(root, parent, true)?.join(name),
        _ => root.to_owned(),
    };
    match entry {
        Entry::Dir(_, mode) => {
            if !fs::symlink_metadata(&at).is_ok_and(|found| found.is_dir()) {
                clear(&at)?;
                fs::create_dir(&at)?;
            }
            rustix::fs::chmod(&at, Mode::from_raw_mode(*mode))?;
        }
        Entry::File(_, data) => {
            clear(&at)?;
            fs::write(&at, data)?;
        }
        Entry::Symlink(_, target) => {
            clear(&at)?;
            std::os::unix::fs::symlink(target, &at)?;
        }
        Entry::Link(_, target) => {
            let target = Path::new(target);
            let parent = walk(root, target.parent().unwrap_or(Path::new("")), false)?;
            let file = parent.join(target.file_name().unwrap_or_default());
            if fs::symlink_metadata(&file)?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if file != at {
                clear(&at)?;
                fs::hard_link(file, &at)?;
            }
            return Ok(());
        }
        Entry::Whiteout(_) => return clear(&at),
        Entry::Opaque(_) => {
            for inside in fs::read_dir(walk(root, entry.path(), true)?)? {
                clear(&inside?.path())?;
            }
            return Ok(());
        }
    }
    own.push(at);
    Ok(())
}

fn clear(at: &Path) -> io::Result<()> {
    match fs::symlink_metadata(at) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(at),
        Ok(_) => fs::remove_file(at),
        Err(_) => Ok(()),
    }
}

/// The directory `path` leads to, links followed inside the root.
fn walk(root: &Path, path: &Path, makes: bool) -> io::Result<PathBuf> {
    let mut at = PathBuf::new();
    let mut todo: Vec<PathBuf> = path.components().rev().map(|part| part.as_os_str().into()).collect();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        let whole = root.join(&at).join(&part);
        match fs::symlink_metadata(&whole) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if links > 40 {
                    return Err(io::Error::other("a loop"));
                }
                let target = fs::read_link(&whole)?;
                if target.is_absolute() {
                    at = PathBuf::new();
                }
                todo.extend(
                    target
                        .components()
                        .rev()
                        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
                        .map(|part| PathBuf::from(part.as_os_str())),
                );
            }
            Ok(found) if found.is_dir() => at.push(part),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && makes => {
                fs::create_dir(&whole)?;
                rustix::fs::chmod(&whole, Mode::from_raw_mode(0o755))?;
                at.push(part);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(root.join(at))
}
