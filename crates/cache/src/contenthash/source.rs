//! Where a table gets what it does not know.

use super::header::Meta;
use crate::error::Result;

/// What something in a tree is, as far as the way through the tree depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// Anything else.
    File,
}

/// A tree that is read as far as it must be. Paths are relative to its root, which is the empty one, without `.` and
/// `..`; each part but the last is a directory that the source itself has named, and none is to be followed if it has
/// become a link meanwhile. All calls block. A source owns what keeps its tree there, such as a mount: it is dropped when
/// the work has ended, which may be after the one who asked is gone.
pub trait Source: Send {
    /// What is at a path; nothing where nothing is.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn node(&mut self, path: &[u8]) -> Result<Option<Node>>;

    /// What is in a directory, in any order.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn list(&mut self, directory: &[u8]) -> Result<Vec<(Vec<u8>, Node)>>;

    /// What is said of something.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::NotFound`](crate::Error::NotFound) where it has gone.
    fn meta(&mut self, path: &[u8]) -> Result<Meta>;

    /// Hands over the content of a regular file piece by piece, as long as `each` wants more.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), and what `each` returns.
    fn read(&mut self, path: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}
