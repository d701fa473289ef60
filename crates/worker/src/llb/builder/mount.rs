//! What a command sees besides its root.

use super::node::Output;
use super::state::State;
use crate::llb::pb::{CacheSharingOpt, MountContentCache};

/// Something a command sees at a path.
#[derive(Clone, Debug)]
pub struct Mount {
    pub(super) source: Option<Output>,
    pub(super) what: What,
    pub(super) selector: String,
    pub(super) read_only: bool,
    pub(super) no_output: bool,
    pub(super) content: MountContentCache,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Tree,
    Cache { id: String, sharing: CacheSharingOpt },
    Tmpfs { size: i64 },
}

/// Who may have a cache at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheSharing {
    /// Everybody.
    #[default]
    Shared,
    /// Whoever comes second gets a new one.
    Private,
    /// Whoever comes second waits.
    Locked,
}

impl Mount {
    fn new(source: Option<Output>, what: What) -> Self {
        let content = MountContentCache::Default;
        Self { source, what, selector: String::new(), read_only: false, no_output: false, content }
    }

    /// A tree. What the command writes into it is an output of its own ([`Ran::mounted`](super::Ran::mounted)).
    #[must_use]
    pub fn bind(tree: &State) -> Self {
        Self::new(tree.output.clone(), What::Tree)
    }

    /// A tree that outlives the build, by its name.
    #[must_use]
    pub fn cache(id: impl Into<String>) -> Self {
        Self::new(None, What::Cache { id: id.into(), sharing: CacheSharingOpt::Shared })
    }

    /// Memory, of so many bytes; 0 is the system's default.
    #[must_use]
    pub fn tmpfs(size: u32) -> Self {
        Self::new(None, What::Tmpfs { size: size.into() })
    }

    /// What a cache has in it when it is new. Memory is always empty.
    #[must_use]
    pub fn seeded(mut self, tree: &State) -> Self {
        if !matches!(self.what, What::Tmpfs { .. }) {
            self.source.clone_from(&tree.output);
        }
        self
    }

    /// Who may have the cache at once.
    #[must_use]
    pub fn sharing(mut self, mode: CacheSharing) -> Self {
        if let What::Cache { sharing, .. } = &mut self.what {
            *sharing = match mode {
                CacheSharing::Shared => CacheSharingOpt::Shared,
                CacheSharing::Private => CacheSharingOpt::Private,
                CacheSharing::Locked => CacheSharingOpt::Locked,
            };
        }
        self
    }

    /// Shows one path of the tree instead of all of it.
    #[must_use]
    pub fn select(mut self, path: impl Into<String>) -> Self {
        self.selector = path.into();
        self
    }

    /// Cannot be written to.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// May be written to, but what is written is thrown away.
    #[must_use]
    pub fn no_output(mut self) -> Self {
        self.no_output = true;
        self
    }

    /// Whether what the tree contains makes a key. What is not said is so where it is safe, except at the root.
    #[must_use]
    pub fn content_keys(mut self, on: bool) -> Self {
        self.content = if on { MountContentCache::On } else { MountContentCache::Off };
        self
    }

    /// Whether what is written becomes an output.
    pub(super) fn is_output(&self) -> bool {
        !self.read_only && !self.no_output && matches!(self.what, What::Tree)
    }
}

/// A file with a secret in it.
#[derive(Clone, Debug)]
pub struct Secret {
    pub(super) id: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) optional: bool,
}

/// The socket of an agent.
#[derive(Clone, Debug)]
pub struct Ssh {
    pub(super) id: String,
    pub(super) dest: Option<String>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) optional: bool,
}

impl Secret {
    /// A secret by its name, for root alone to read.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), uid: 0, gid: 0, mode: 0o400, optional: false }
    }

    /// Whose the file is, and its permission bits.
    #[must_use]
    pub fn file(mut self, uid: u32, gid: u32, mode: u32) -> Self {
        (self.uid, self.gid, self.mode) = (uid, gid, mode);
        self
    }

    /// May be absent.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

impl Ssh {
    /// An agent by its name, for root alone; the usual one is `default`.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), dest: None, uid: 0, gid: 0, mode: 0o600, optional: false }
    }

    /// Where the socket is. What is not said is a place of its own, and `SSH_AUTH_SOCK` names it.
    #[must_use]
    pub fn at(mut self, dest: impl Into<String>) -> Self {
        self.dest = Some(dest.into());
        self
    }

    /// Whose the socket is, and its permission bits.
    #[must_use]
    pub fn file(mut self, uid: u32, gid: u32, mode: u32) -> Self {
        (self.uid, self.gid, self.mode) = (uid, gid, mode);
        self
    }

    /// May be absent.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}
