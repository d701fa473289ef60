//! What of a directory is copied.

use lazyblob_cache::contenthash::{Matched, Patterns};

use crate::llb::paths;
use crate::llb::pb::FileActionCopy;
use crate::ops::file::fault::{Done, Fault};

/// What of a directory is copied, by paths relative to it: all that the patterns include, or everything where there are
/// none, without what others exclude. What they say of a directory they say of all below it, but for patterns that take
/// back.
pub(super) struct Chosen {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    /// What must be among it, and has not been seen yet.
    required: Vec<Vec<u8>>,
}

/// What patterns said of a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    included: Matched,
    excluded: Matched,
}

/// What becomes of a path.
pub(super) struct Verdict {
    pub(super) is_chosen: bool,
    /// Whether nothing below can be chosen either.
    pub(super) is_over: bool,
    pub(super) said: Said,
}

impl Chosen {
    pub(super) fn new(action: &FileActionCopy) -> Done<Self> {
        let read = |list: &[String]| match list {
            [] => Ok(None),
            list => Patterns::new(list).map(Some).map_err(|pattern| malformed(&action.src, &pattern)),
        };
        let required = action.required_paths.iter().map(|path| paths::rooted(path).into_bytes());
        Ok(Self {
            include: read(&action.include_patterns)?,
            exclude: read(&action.exclude_patterns)?,
            required: required.collect(),
        })
    }

    /// Whether a choice is to be made at all.
    pub(super) fn chooses(&self) -> bool {
        self.include.is_some() || self.exclude.is_some() || !self.required.is_empty()
    }

    /// What becomes of `path`, which is in a directory of which `above` was said.
    pub(super) fn ask(&mut self, source: &[u8], path: &[u8], above: &Said) -> Done<Verdict> {
        let ask = |patterns: &Option<Patterns>, above: &Matched, otherwise: bool| match patterns {
            None => Ok((otherwise, Matched::new())),
            Some(patterns) => patterns.matches(path, above).map_err(|pattern| malformed(source, &pattern)),
        };
        let (is_included, included) = ask(&self.include, &above.included, true)?;
        let (is_excluded, excluded) = ask(&self.exclude, &above.excluded, false)?;
        let is_chosen = is_included && !is_excluded;
        if is_chosen && !self.required.is_empty() {
            let inside = [b"/", path].concat();
            let whole = [source.strip_suffix(b"/").unwrap_or(source), &inside].concat();
            self.required.retain(|required| !inside.starts_with(required) && !whole.starts_with(required));
        }
        let is_over = is_excluded && self.exclude.as_ref().is_some_and(|patterns| !patterns.takes_back());
        Ok(Verdict { is_chosen, is_over, said: Said { included, excluded } })
    }

    /// Whether all that must be was there.
    pub(super) fn check(&self, source: &str) -> Done<()> {
        match self.required.first() {
            None => Ok(()),
            Some(missing) => {
                let missing = String::from_utf8_lossy(missing);
                Err(Fault::wrong(source, format_args!("{missing} is required and not there")))
            }
        }
    }
}

fn malformed(source: impl AsRef<[u8]>, pattern: &str) -> Fault {
    Fault::wrong(source, format_args!("the pattern {pattern:?} is not well formed"))
}
