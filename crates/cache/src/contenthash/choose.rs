//! Which of many files are meant by a selector with wildcards or patterns.
//!
//! What is taken is hashed file by file, so that what is left out of a directory does not count: directories as
//! themselves, each before what is in it, taken also for the sake of what is.

use super::checksum::lacking;
use super::glob::{Glob, has_wildcards};
use super::path::{absolute, base, behind, key, of_key};
use super::patterns::{Matched, Patterns};
use super::reading::Reading;
use super::selector::Selector;
use super::sum::Sum;
use super::table::{Known, OPERATION};
use crate::error::{Error, Result};

/// Something that a selector means.
#[derive(Debug)]
struct Chosen {
    /// As the selector would name it: its own links are not followed in it.
    path: Vec<u8>,
    key: Vec<u8>,
    what: Taken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Header,
    File,
    /// A link that is followed.
    Followed,
}

/// A directory around what is looked at.
#[derive(Debug)]
struct Around {
    path: Vec<u8>,
    key: Vec<u8>,
    is_taken: bool,
    included: Matched,
    excluded: Matched,
}

/// Where a selector begins.
struct Start {
    /// As the selector names it; empty for the root.
    given: Vec<u8>,
    /// Where that leads.
    key: Vec<u8>,
    is_there: bool,
    /// Whether files that are not below it may match, too.
    is_open: bool,
}

impl Reading<'_> {
    /// The digest of what a selector with wildcards or patterns means.
    pub(super) fn chosen(&mut self, selector: &Selector) -> Result<Sum> {
        let path = absolute(selector.path.as_bytes());
        let start = self.start(selector, &path)?;
        let chosen = if start.is_there { self.choose(selector, &path, &start)? } else { Vec::new() };
        if let Some(required) =
            selector.required.iter().find(|required| !has(&chosen, &start.given, required))
        {
            return Err(lacking(selector, required));
        }
        let mut entries = Vec::with_capacity(chosen.len());
        for taken in &chosen {
            let sum = match taken.what {
                Taken::Header => self.header(&taken.key)?,
                Taken::File => self.sum(&taken.key)?,
                Taken::Followed => {
                    let key = self.resolve(&key(&taken.path), true)?;
                    self.sum(&key)?
                }
            };
            entries.push((taken, sum));
        }
        let last = if path.is_empty() { b"/" } else { base(&path) };
        if let [(only, sum)] = entries.as_slice()
            && base(&only.path) == last
        {
            return Ok(*sum);
        }
        let mut text = Vec::with_capacity(entries.len() * 128);
        for (taken, sum) in entries {
            match taken.path.strip_prefix(start.given.as_slice()).unwrap_or(&taken.path) {
                b"" => text.push(0),
                rest => text.extend(key(rest)),
            }
            text.extend_from_slice(&sum.text());
        }
        Ok(Sum::of(&text))
    }

    /// Finds where a selector begins: at its path, or at what of it comes before the first wildcard.
    fn start(&mut self, selector: &Selector, path: &[u8]) -> Result<Start> {
        let (mut given, mut follow) = (path.to_vec(), false);
        if selector.wildcard {
            let end = parts(path).find(|(from, to)| has_wildcards(path.get(*from..*to).unwrap_or_default()));
            if let Some((from, _)) = end {
                // Without the slash before it.
                given.truncate(from.saturating_sub(1));
                follow = true;
            }
        }
        if given.is_empty() {
            return Ok(Start { given, key: Vec::new(), is_there: true, is_open: false });
        }
        let key = self.resolve(&key(&given), follow)?;
        let is_there = self.look(&key)?.is_some();
        let is_open = selector.wildcard && given.contains(&b'\\');
        Ok(Start { given, key, is_there, is_open })
    }

    fn choose(&mut self, selector: &Selector, path: &[u8], start: &Start) -> Result<Vec<Chosen>> {
        let wrong = |pattern: &str| {
            Error::invalid(OPERATION, &selector.path, format_args!("not a well-formed pattern: {pattern}"))
        };
        let patterns = |list: &[String]| match list {
            [] => Ok(None),
            list => Patterns::new(list).map(Some).map_err(|pattern| wrong(&pattern)),
        };
        let (include, exclude) = (patterns(&selector.include)?, patterns(&selector.exclude)?);
        let mut glob = None;
        if selector.wildcard && !path.is_empty() {
            glob = Some(Glob::new(path).map_err(|_| wrong(&selector.path))?);
        }
        // A backslash has two meanings: names are taken as they are in the beginning of a path, and without it when the
        // whole is matched. Then what matches may be anywhere behind.
        if start.is_open {
            self.list_all(b"")?;
        } else {
            self.list_all(&start.key)?;
        }
        let resolved = of_key(&start.key);
        let mut choice = Choice { selector, include, exclude, around: Vec::new(), chosen: Vec::new() };
        let mut matched: Vec<u8> = Vec::new();
        let end = behind(&start.key);
        for (key, known) in self.table.known.range(start.key.clone()..) {
            if !start.is_open && !start.key.is_empty() && *key >= end {
                break;
            }
            let found = of_key(key);
            let named = match found.strip_prefix(resolved.as_slice()) {
                Some(rest) => [start.given.as_slice(), rest].concat(),
                None => found,
            };
            choice.leave(&named);
            if path.is_empty() && key.is_empty() {
                continue;
            }
            let within = match &glob {
                Some(_)
                    if !matched.is_empty()
                        && below(&named, &matched).is_some_and(|rest| !rest.is_empty()) =>
                {
                    &matched
                }
                Some(glob) if glob.matches(&named) => {
                    matched.clone_from(&named);
                    &matched
                }
                Some(_) => continue,
                None => path,
            };
            let candidate = below(&named, within).unwrap_or(&named).to_vec();
            choice.look(named, key, known, &candidate)?;
        }
        Ok(choice.chosen)
    }
}

/// What has been taken, on the way through the files.
struct Choice<'a> {
    selector: &'a Selector,
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    /// The directories we are in, the outermost first.
    around: Vec<Around>,
    chosen: Vec<Chosen>,
}

impl Choice<'_> {
    /// Leaves the directories that a path is not in.
    fn leave(&mut self, path: &[u8]) {
        while self.around.last().is_some_and(|around| below(path, &around.path).is_none()) {
            self.around.pop();
        }
    }

    /// Takes a file, or leaves it.
    fn look(&mut self, path: Vec<u8>, key: &[u8], known: &Known, candidate: &[u8]) -> Result<()> {
        let (mut included, mut excluded) = (Matched::new(), Matched::new());
        let wrong = |pattern| {
            Error::invalid(
                OPERATION,
                &self.selector.path,
                format_args!("not a pattern that can be matched: {pattern}"),
            )
        };
        let (none, around) = (Matched::new(), self.around.last());
        let mut is_taken = true;
        if let Some(include) = &self.include {
            let parent = around.map_or(&none, |around| &around.included);
            (is_taken, included) = include.matches(candidate, parent).map_err(wrong)?;
        }
        if let Some(exclude) = self.exclude.as_ref().filter(|_| is_taken) {
            let parent = around.map_or(&none, |around| &around.excluded);
            let is_excluded;
            (is_excluded, excluded) = exclude.matches(candidate, parent).map_err(wrong)?;
            is_taken = !is_excluded;
        }
        if is_taken {
            let what = match known {
                Known::Directory { .. } => Taken::Header,
                Known::Symlink { .. } if self.selector.follow && self.around.is_empty() => Taken::Followed,
                Known::Symlink { .. } | Known::File { .. } => Taken::File,
            };
            for around in self.around.iter_mut().filter(|around| !around.is_taken) {
                let (path, key) = (around.path.clone(), around.key.clone());
                self.chosen.push(Chosen { path, key, what: Taken::Header });
                around.is_taken = true;
            }
            self.chosen.push(Chosen { path: path.clone(), key: key.to_vec(), what });
        }
        if known.is_directory() {
            self.around.push(Around { path, key: key.to_vec(), is_taken, included, excluded });
        }
        Ok(())
    }
}

/// What a path is called in a directory, by their words; nothing for the directory itself.
fn below<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(directory)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// Whether one of the paths begins so, as it is or without what the selector says itself. A part of a name is enough.
fn has(chosen: &[Chosen], given: &[u8], required: &str) -> bool {
    let required = absolute(required.as_bytes());
    chosen.iter().any(|chosen| {
        chosen.path.starts_with(&required)
            || chosen.path.strip_prefix(given).is_some_and(|path| path.starts_with(&required))
    })
}

/// The parts of a path, from where to where.
fn parts(path: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    path.split(|byte| *byte == b'/').map(move |part| {
        let at = (from, from + part.len());
        from = at.1 + 1;
        at
    })
}
