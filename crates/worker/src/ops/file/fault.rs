//! What goes wrong with files, and where.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use lazyblob_remote::What;
use rustix::io::Errno;

use crate::error::Error;

/// What went wrong. Paths are those of the tree, as they were asked for.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nobody wants it any more.
    Cancelled,
    /// What the file system said of a path.
    Os { path: Vec<u8>, error: Errno },
    /// Why something cannot be done to a path.
    Wrong { path: Vec<u8>, reason: String },
}

/// The result of work on files.
pub(super) type Done<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn wrong(path: impl AsRef<[u8]>, reason: impl fmt::Display) -> Self {
        Self::Wrong { path: path.as_ref().to_vec(), reason: reason.to_string() }
    }

    /// Names the path where none was said.
    pub(super) fn of(self, named: impl FnOnce() -> Vec<u8>) -> Self {
        match self {
            Self::Os { path, error } if path.is_empty() => Self::Os { path: named(), error },
            Self::Wrong { path, reason } if path.is_empty() => Self::Wrong { path: named(), reason },
            other => other,
        }
    }

    /// The error of an action: `operation` on `object`.
    pub(super) fn during(self, operation: &'static str, object: &str) -> Error {
        let what = What::new(operation, object);
        match self {
            Self::Cancelled => Error::Cancelled { what },
            Self::Os { path, error } => {
                Error::Io { what, path: PathBuf::from(OsStr::from_bytes(&path)), source: error.into() }
            }
            Self::Wrong { path, reason } => {
                Error::Failed { what, reason: format!("{}: {reason}", String::from_utf8_lossy(&path)) }
            }
        }
    }
}

/// Says at which path the file system said no.
pub(super) trait At<T> {
    fn at(self, path: impl AsRef<[u8]>) -> Done<T>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, path: impl AsRef<[u8]>) -> Done<T> {
        self.map_err(|error| Fault::Os { path: path.as_ref().to_vec(), error })
    }
}
