//! Which files of a directory are sent.

use std::os::fd::OwnedFd;

use lazyblob_cache::contenthash::{Matched, Patterns};

use super::follow::follow;
use crate::error::{Error, Result};
use crate::llb::LocalSource;

/// What is sent of a directory: what matches what is to be sent, and not what is to be left out. Both go by the rules of
/// `.dockerignore`: what a directory matches all below it does.
pub(super) struct Filter {
    /// Empty for everything.
    include: Patterns,
    exclude: Patterns,
}

/// What was found out of a directory, for what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Above {
    include: Matched,
    exclude: Matched,
}

/// What becomes of something.
pub(super) struct Choice {
    /// It is sent.
    pub(super) sends: bool,
    /// Something below it may be.
    pub(super) descends: bool,
    pub(super) above: Above,
}

impl Filter {
    /// That of a source whose directory this is.
    pub(super) fn new(root: &OwnedFd, local: &LocalSource) -> Result<Self> {
        let read = |list: &[String]| {
            Patterns::new(list).map_err(|pattern| {
                Error::failed(
                    "choose files of local directory",
                    &local.name,
                    format!("pattern {pattern:?}: {BAD}"),
                )
            })
        };
        let mut include = local.include_patterns.clone();
        if !local.follow_paths.is_empty() {
            let followed = follow(root, &local.follow_paths)
                .map_err(|error| Error::failed("follow links of local directory", &local.name, error))?;
            include.extend(followed.unwrap_or_default());
        }
        Ok(Self { include: read(&include)?, exclude: read(&local.exclude_patterns)? })
    }

    /// What becomes of what is at a relative path.
    pub(super) fn choose(&self, path: &[u8], is_directory: bool, above: &Above) -> Result<Choice, String> {
        let (mut sends, mut descends, mut now) = (true, is_directory, Above::default());
        if !self.include.is_empty() {
            (sends, now.include) = self.include.matches(path, &above.include)?;
            descends = descends && (sends || self.include.may_match_below(path));
        }
        if !self.exclude.is_empty() {
            let is_excluded;
            (is_excluded, now.exclude) = self.exclude.matches(path, &above.exclude)?;
            sends = sends && !is_excluded;
            descends = descends && (!is_excluded || self.exclude.may_take_back_below(path));
        }
        Ok(Choice { sends, descends, above: now })
    }
}

/// What is wrong with a pattern that cannot be read.
pub(super) const BAD: &str = "it is not well formed";
