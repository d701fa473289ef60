//! Copies from one tree to another.

use super::{Files, Owner, Step};
use crate::llb::builder::state::State;
use crate::llb::pb::{Action, FileActionCopy};

/// Copies from one tree to another.
#[derive(Clone, Debug)]
pub struct Copy {
    copy: FileActionCopy,
    from: State,
}

impl Copy {
    /// Copies `src` of a tree to `dest`.
    #[must_use]
    pub fn new(from: &State, src: impl Into<String>, dest: impl Into<String>) -> Self {
        let copy = FileActionCopy {
            src: src.into(),
            dest: dest.into(),
            mode: -1,
            timestamp: -1,
            ..FileActionCopy::default()
        };
        Self { copy, from: from.clone() }
    }

    /// Gives the copies an owner.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.copy.owner = Some(owner.0);
        self
    }

    /// Gives the copies permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u16) -> Self {
        self.copy.mode = mode.into();
        self
    }

    /// Changes permission bits as `chmod` does: `u+x`, say.
    #[must_use]
    pub fn chmod(mut self, mode: impl Into<String>) -> Self {
        self.copy.mode_str = mode.into();
        self
    }

    /// Gives the copies a modification time, in nanoseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, nanoseconds: i64) -> Self {
        self.copy.timestamp = nanoseconds;
        self
    }

    /// Takes `src` for a pattern, which may match nothing if `may_be_empty`.
    #[must_use]
    pub fn wildcard(mut self, may_be_empty: bool) -> Self {
        (self.copy.allow_wildcard, self.copy.allow_empty_wildcard) = (true, may_be_empty);
        self
    }

    /// Follows a symbolic link at `src`.
    #[must_use]
    pub fn follow_symlink(mut self) -> Self {
        self.copy.follow_symlink = true;
        self
    }

    /// Copies what is in a directory, not the directory.
    #[must_use]
    pub fn contents_only(mut self) -> Self {
        self.copy.dir_copy_contents = true;
        self
    }

    /// Unpacks archives, as `ADD` does.
    #[must_use]
    pub fn unpack(mut self) -> Self {
        self.copy.attempt_unpack_docker_compatibility = true;
        self
    }

    /// Makes the directories above `dest`.
    #[must_use]
    pub fn create_dest_path(mut self) -> Self {
        self.copy.create_dest_path = true;
        self
    }

    /// Copies only what matches a pattern.
    #[must_use]
    pub fn include<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.copy.include_patterns.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Leaves out what matches a pattern.
    #[must_use]
    pub fn exclude<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.copy.exclude_patterns.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Replaces what is in the way, whatever it is.
    #[must_use]
    pub fn replace_existing(mut self) -> Self {
        self.copy.always_replace_existing_dest_paths = true;
        self
    }
}

impl From<Copy> for Files {
    fn from(copy: Copy) -> Self {
        let from_cwd = copy.from.around.cwd().to_owned();
        Self(vec![Step { action: Action::Copy(copy.copy), from: copy.from.output.clone(), from_cwd }])
    }
}
