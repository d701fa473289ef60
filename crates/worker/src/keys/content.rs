//! Which part of a tree makes a key of its content.

/// A part of a tree, as a content hash takes it. The digest of an input's content is the sha256 of the digests of its parts,
/// joined by NUL, in the order of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ContentSelector {
    /// A path, or a pattern if `wildcard` is set, as the op has it: it need not be clean.
    pub path: String,
    /// Whether `path` has `*`, `?` or `[` that mean something.
    pub wildcard: bool,
    /// Whether a symbolic link at the path itself is followed.
    pub follow_links: bool,
    /// Patterns of what is looked at; none is everything.
    pub include_patterns: Vec<String>,
    /// Patterns of what is left out.
    pub exclude_patterns: Vec<String>,
    /// What must be there, or the build fails.
    pub required_paths: Vec<String>,
}

impl ContentSelector {
    /// The whole tree.
    #[must_use]
    pub fn whole() -> Self {
        Self { path: "/".to_owned(), ..Self::default() }
    }

    /// One path.
    #[must_use]
    pub fn path(path: impl Into<String>, follow_links: bool) -> Self {
        Self { path: path.into(), follow_links, ..Self::default() }
    }

    /// Whether it is more than a path.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        self.wildcard || !self.include_patterns.is_empty() || !self.exclude_patterns.is_empty()
    }
}
