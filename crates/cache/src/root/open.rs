//! Whether a directory is a root of ours, and making one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::What;
use rustix::fs::Access;

use super::Dir;
use crate::error::{Error, IoContext as _, Result};

/// The schema of everything in a root, as it is written in `version`.
pub const VERSION: u32 = 1;

const OPERATION: &str = "open root";
const MARKER: &str = "version";
/// The marker while it is written.
const NEW_MARKER: &str = "version.new";
/// No version of ours is longer, in bytes.
const LONGEST: u64 = 64;

/// What is moved from one into another of these must stay the same file.
const ONE_FILE_SYSTEM: [Dir; 5] = [Dir::Store, Dir::Ingest, Dir::Staging, Dir::Snapshots, Dir::Trash];

/// Opens or makes the root at `path`; returns where it really is.
pub(super) fn writable(path: &Path) -> Result<PathBuf> {
    let io = |error| unwritable(path, path, error);
    if let Err(error) = fs::symlink_metadata(path) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(io(error));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
    }
    let root = ours(path)?;
    rustix::fs::access(&root, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| io(error.into()))?;
    if version(&root)?.is_none() {
        begin(&root)?;
    }
    make_dirs(&root)?;
    check_file_system(&root)?;
    Ok(root)
}

/// Whether `path` is a directory of this user; returns where it really is.
fn ours(path: &Path) -> Result<PathBuf> {
    let root = match fs::canonicalize(path) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::not_found(OPERATION, path.display(), "no such directory"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(no_directory(path)),
        Err(error) => return Err(error).during(OPERATION, path.display(), path),
    };
    let found = fs::metadata(&root).during(OPERATION, path.display(), &root)?;
    if !found.is_dir() {
        return Err(no_directory(path));
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        let reason = format!("it belongs to user {}, and this process runs as user {user}", found.uid());
        return Err(Error::refused(OPERATION, path.display(), reason));
    }
    Ok(root)
}

/// Reads the version and says no to one that is not ours; nothing where there is none.
fn version(root: &Path) -> Result<Option<u32>> {
    let path = root.join(MARKER);
    let io = |source| Error::Io { what: What::new(OPERATION, root.display()), path: path.clone(), source };
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let text = if found.is_file() && found.len() <= LONGEST {
        fs::read_to_string(&path).map_err(io)?
    } else {
        String::new()
    };
    let Ok(version) = text.trim_end().parse::<u32>() else {
        let reason = "its file version does not have the version of a root";
        return Err(Error::invalid(OPERATION, root.display(), reason));
    };
    if version > VERSION {
        let reason =
            format!("it is of version {version}, and this program knows up to {VERSION}: use a newer one");
        return Err(Error::refused(OPERATION, root.display(), reason));
    }
    Ok(Some(version))
}

/// Makes an empty directory a root. Others may do so at the same time.
fn begin(root: &Path) -> Result<()> {
    let io = |error| unwritable(root, root, error);
    let lock = File::open(root).map_err(io)?;
    lock.lock().map_err(io)?;
    if version(root)?.is_some() {
        return Ok(());
    }
    if !vacant(root)? {
        return Err(foreign(root));
    }
    let (new, marker) = (root.join(NEW_MARKER), root.join(MARKER));
    let write = || {
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{VERSION}")?;
        file.sync_all()?;
        fs::rename(&new, &marker)?;
        lock.sync_all()
    };
    write().map_err(|error| unwritable(root, &marker, error))
}

/// Whether there is nothing in a directory but what was begun of a root.
fn vacant(root: &Path) -> Result<bool> {
    let look = || {
        for entry in fs::read_dir(root)? {
            let name = entry?.file_name();
            if name != NEW_MARKER && name != "lost+found" {
                return Ok(false);
            }
        }
        Ok(true)
    };
    look().during(OPERATION, root.display(), root)
}

fn make_dirs(root: &Path) -> Result<()> {
    let mut made = false;
    for dir in Dir::ALL {
        let path = dir.of(root);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => made = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unwritable(root, &path, error)),
        }
    }
    if made {
        File::open(root).and_then(|dir| dir.sync_all()).during(OPERATION, root.display(), root)
    } else {
        Ok(())
    }
}

/// What is there of a root must be on one file system, and no link.
fn check_file_system(root: &Path) -> Result<()> {
    let look = |path: &Path| fs::symlink_metadata(path).during(OPERATION, root.display(), path);
    let device = look(root)?.dev();
    for dir in Dir::ALL {
        let path = dir.of(root);
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.during(OPERATION, root.display(), &path)?,
        };
        if !found.is_dir() {
            let reason = format!("{} is not a directory", path.display());
            return Err(Error::refused(OPERATION, root.display(), reason));
        }
        if found.dev() != device && ONE_FILE_SYSTEM.contains(&dir) {
            let reason = format!("{} is on another file system, and a root has to be on one", path.display());
            return Err(Error::refused(OPERATION, root.display(), reason));
        }
    }
    Ok(())
}

fn no_directory(path: &Path) -> Error {
    Error::invalid(OPERATION, path.display(), "it is not a directory")
}

fn foreign(root: &Path) -> Error {
    let reason = "it is not empty and not a root: it has no file version";
    Error::invalid(OPERATION, root.display(), reason)
}

/// What the system says to who may not write is a rule; everything else is a failure.
fn unwritable(root: &Path, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            let reason = "it is on a read-only file system, and also who only looks at a root writes there: locks and \
                          pins. Make it writable, or use a copy";
            Error::refused(OPERATION, root.display(), reason)
        }
        io::ErrorKind::PermissionDenied => {
            let reason = format!("{} may not be written: {error}", path.display());
            Error::refused(OPERATION, root.display(), reason)
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => no_directory(path),
        _ => Error::Io { what: What::new(OPERATION, root.display()), path: path.to_owned(), source: error },
    }
}
