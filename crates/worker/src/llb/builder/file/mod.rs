//! File operations.

mod copy;
mod owner;

use super::node::Output;
use crate::llb::paths;
use crate::llb::pb::{Action, FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink};

pub use copy::Copy;
pub use owner::{Owner, Who};

/// What is done to a tree, one step after another.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<Step>);

/// One step. Inputs of owners are filled in when it is written.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    from: Option<Output>,
    /// The directory of the tree that is copied from.
    from_cwd: String,
}

impl Files {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And then this.
    #[must_use]
    pub fn then(mut self, step: impl Into<Self>) -> Self {
        self.0.append(&mut step.into().0);
        self
    }

    /// The steps with paths from the root, where relative ones are in `cwd`.
    pub(super) fn resolved(self, cwd: &str) -> Vec<Step> {
        let mut steps = self.0;
        for Step { action, from_cwd, .. } in &mut steps {
            match action {
                Action::Copy(copy) => {
                    copy.src = resolve(from_cwd, &copy.src);
                    copy.dest = with_slash(resolve(cwd, &copy.dest), &copy.dest);
                }
                Action::MkFile(file) => file.path = resolve(cwd, &file.path),
                Action::MkDir(dir) => dir.path = resolve(cwd, &dir.path),
                Action::Rm(rm) => rm.path = resolve(cwd, &rm.path),
                Action::Symlink(link) => link.newpath = resolve(cwd, &link.newpath),
            }
        }
        steps
    }
}

fn resolve(cwd: &str, path: &str) -> String {
    if path.starts_with('/') { paths::clean(path) } else { paths::rooted(&format!("{cwd}/{path}")) }
}

/// A slash at the end means into a directory, and so does a dot.
fn with_slash(mut path: String, given: &str) -> String {
    if given.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    } else if given.ends_with("/.") {
        if path != "/" {
            path.push('/');
        }
        path.push('.');
    }
    path
}

impl Step {
    fn new(action: Action) -> Self {
        Self { action, from: None, from_cwd: "/".to_owned() }
    }

    pub(super) fn from(&self) -> Option<&Output> {
        self.from.as_ref()
    }

    pub(super) fn into_from(self) -> Option<Output> {
        self.from
    }
}

/// Makes a directory.
#[derive(Clone, Debug)]
pub struct Mkdir(FileActionMkDir);

impl Mkdir {
    /// A directory with these permission bits.
    #[must_use]
    pub fn new(path: impl Into<String>, mode: u16) -> Self {
        let path = path.into();
        Self(FileActionMkDir { path, mode: mode.into(), timestamp: -1, ..FileActionMkDir::default() })
    }

    /// With those above it.
    #[must_use]
    pub fn parents(mut self) -> Self {
        self.0.make_parents = true;
        self
    }

    /// Gives it an owner.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.0.owner = Some(owner.0);
        self
    }

    /// Gives it a modification time, in nanoseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, nanoseconds: i64) -> Self {
        self.0.timestamp = nanoseconds;
        self
    }
}

/// Makes a file.
#[derive(Clone, Debug)]
pub struct Mkfile(FileActionMkFile);

impl Mkfile {
    /// A file with these permission bits and this in it.
    #[must_use]
    pub fn new(path: impl Into<String>, mode: u16, data: impl Into<Vec<u8>>) -> Self {
        let (path, data) = (path.into(), data.into());
        Self(FileActionMkFile { path, mode: mode.into(), data, timestamp: -1, ..FileActionMkFile::default() })
    }

    /// Gives it an owner.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.0.owner = Some(owner.0);
        self
    }

    /// Gives it a modification time, in nanoseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, nanoseconds: i64) -> Self {
        self.0.timestamp = nanoseconds;
        self
    }
}

/// Removes.
#[derive(Clone, Debug)]
pub struct Rm(FileActionRm);

impl Rm {
    /// Removes what is there, a directory with all in it.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self(FileActionRm { path: path.into(), ..FileActionRm::default() })
    }

    /// It may be absent.
    #[must_use]
    pub fn allow_not_found(mut self) -> Self {
        self.0.allow_not_found = true;
        self
    }

    /// Takes the path for a pattern.
    #[must_use]
    pub fn wildcard(mut self) -> Self {
        self.0.allow_wildcard = true;
        self
    }
}

/// Makes a symbolic link.
#[derive(Clone, Debug)]
pub struct Symlink(FileActionSymlink);

impl Symlink {
    /// A link at `path` to `target`, which is left as it is.
    #[must_use]
    pub fn new(target: impl Into<String>, path: impl Into<String>) -> Self {
        let (oldpath, newpath) = (target.into(), path.into());
        Self(FileActionSymlink { oldpath, newpath, owner: None, timestamp: -1 })
    }

    /// Gives it an owner.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.0.owner = Some(owner.0);
        self
    }

    /// Gives it a modification time, in nanoseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, nanoseconds: i64) -> Self {
        self.0.timestamp = nanoseconds;
        self
    }
}

impl From<Mkdir> for Files {
    fn from(dir: Mkdir) -> Self {
        Self(vec![Step::new(Action::MkDir(dir.0))])
    }
}

impl From<Mkfile> for Files {
    fn from(file: Mkfile) -> Self {
        Self(vec![Step::new(Action::MkFile(file.0))])
    }
}

impl From<Rm> for Files {
    fn from(rm: Rm) -> Self {
        Self(vec![Step::new(Action::Rm(rm.0))])
    }
}

impl From<Symlink> for Files {
    fn from(link: Symlink) -> Self {
        Self(vec![Step::new(Action::Symlink(link.0))])
    }
}
