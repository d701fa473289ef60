//! A directory copied with what is chosen of what is in it, however deep that is.
//!
//! | a directory of the target | gets |
//! |---|---|
//! | made, or chosen and not the topmost | all that is said of its source, when all in it is done |
//! | the topmost, there before | its source's time |
//! | there before, and only on the way to something chosen | its source's mode |
//!
//! One that is not chosen itself is made when something in it is.

use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, Mode};
use rustix::io::Errno;

use super::Copier;
use super::chosen::Said;
use super::meta::Named;
use super::target::Target;
use crate::ops::file::fault::{At as _, Done, Fault};
use crate::ops::file::tree::{Facts, Id, KEPT, LIST, list, remove, up};

/// A directory that is being copied.
struct Open {
    name: Vec<u8>,
    /// What is open of it; not, where the way has become long.
    source: Option<OwnedFd>,
    facts: Facts,
    id: Id,
    said: Said,
    is_chosen: bool,
    /// Names that are left to copy.
    left: std::vec::IntoIter<Vec<u8>>,
    target: Option<Made>,
}

/// A directory of the target.
struct Made {
    dir: Option<OwnedFd>,
    id: Id,
    end: End,
}

/// What is to be said of a directory of the target when all in it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    All,
    Time,
    Mode,
}

/// The way to where work goes on.
struct Way<'t> {
    open: Vec<Open>,
    /// Of the last directory, below the topmost one.
    path: Vec<u8>,
    source: &'t [u8],
    target: &'t Target,
    /// The topmost directory of the target.
    base: OwnedFd,
}

impl Copier<'_> {
    /// Copies what is at `source` to `target`, and all below it.
    pub(super) fn whole(&mut self, source: &[u8], target: &Target) -> Done<()> {
        let from = self.from;
        let place = from.find(source, self.action.follow_symlink).at(source)?;
        let facts = place.facts().at(source)?.ok_or(Errno::NOENT).at(source)?;
        let name = place.name().unwrap_or(b".");
        let dir = place.dir();
        let from = Named { dir, name };
        if !facts.is_dir() {
            let to = Named::new(&target.dir, &target.name);
            let called = || (source.to_vec(), target.path.clone());
            return self.node(from, &facts, to, None, &called, &[]);
        }
        let (made, is_new) = self.directory(Named::new(&target.dir, &target.name), &target.path)?;
        let end = if is_new { End::All } else { End::Time };
        let base = made.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let base = base.at(&target.path)?;
        let target_id = Facts::open(&made).at(&target.path)?.id();
        let opened = fs::openat(dir, name, LIST, Mode::empty()).at(source)?;
        let mut top = Open::new(Vec::new(), opened, Said::default(), true).at(source)?;
        top.target = Some(Made { dir: Some(made), id: target_id, end });
        let mut way = Way { open: vec![top], path: Vec::new(), source, target, base };
        while let Some(top) = way.open.last_mut() {
            if self.cancel.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            match top.left.next() {
                Some(name) => self.entry(&mut way, &name)?,
                None => self.done(&mut way)?,
            }
        }
        Ok(())
    }

    /// Copies what is called `name` in the last directory of the way, or goes into it.
    fn entry(&mut self, way: &mut Way<'_>, name: &[u8]) -> Done<()> {
        let Some(top) = way.open.last() else { return Ok(()) };
        let dir = top.source.as_ref().ok_or(Errno::BADF).at(way.source)?;
        let facts = Facts::of(dir, name).at(way.called(name).0)?;
        let (mut is_chosen, mut is_over, mut said) = (true, false, Said::default());
        if self.chosen.chooses() {
            let verdict = self.chosen.ask(way.source, &way.below(name), &top.said)?;
            (is_chosen, is_over, said) = (verdict.is_chosen, verdict.is_over, verdict.said);
        }
        if facts.is_dir() {
            if is_over {
                return Ok(());
            }
            let opened = fs::openat(dir, name, LIST, Mode::empty());
            let open = opened.and_then(|opened| Open::new(name.to_vec(), opened, said, is_chosen));
            let open = open.at(way.called(name).0)?;
            way.push(open);
            return if is_chosen { self.make(way) } else { Ok(()) };
        }
        if !is_chosen {
            return Ok(());
        }
        self.make(way)?;
        let below = way.below(name);
        let Some(top) = way.open.last() else { return Ok(()) };
        let made = top.target.as_ref().and_then(|made| made.dir.as_ref());
        let (Some(from), Some(to)) = (&top.source, made) else { return Err(Errno::BADF).at(way.source) };
        let called = || way.called(name);
        self.node(Named::new(from, name), &facts, Named::new(to, name), Some(&way.base), &called, &below)
    }

    /// Makes the directories of the way that are not there yet.
    fn make(&mut self, way: &mut Way<'_>) -> Done<()> {
        let first = way.open.iter().rposition(|open| open.target.is_some()).map_or(0, |last| last + 1);
        for at in first..way.open.len() {
            let (above, below) = way.open.split_at_mut(at);
            let (Some(above), Some(open)) = (above.last(), below.first_mut()) else { continue };
            // What it is called is long to say where it is deep, and only said if something is wrong.
            let made = self.step(above, open);
            made.map_err(|fault| fault.of(|| way.target_at(at)))?;
            way.trim();
        }
        Ok(())
    }

    /// Makes one of them.
    fn step(&self, above: &Open, open: &mut Open) -> Done<()> {
        let dir = above.target.as_ref().and_then(|made| made.dir.as_ref()).ok_or(Errno::BADF).at(b"")?;
        let (made, is_new) = self.directory(Named::new(dir, &open.name), b"")?;
        let end = if is_new || open.is_chosen { End::All } else { End::Mode };
        let id = Facts::open(&made).at(b"")?.id();
        open.target = Some(Made { dir: Some(made), id, end });
        Ok(())
    }

    /// Makes a directory, or takes the one that is there. Says whether it is new.
    fn directory(&self, at: Named<'_>, path: &[u8]) -> Done<(OwnedFd, bool)> {
        let mut is_new = at.name != b"." && make_one(at).at(path)?;
        if !is_new && at.name != b"." && !Facts::of(at.dir, at.name).at(path)?.is_dir() {
            if !self.action.always_replace_existing_dest_paths {
                return Err(Fault::wrong(path, "what is there is not a directory"));
            }
            remove(at.dir, at.name, path, self.cancel)?;
            is_new = make_one(at).at(path)?;
        }
        Ok((fs::openat(at.dir, at.name, LIST, Mode::empty()).at(path)?, is_new))
    }

    /// Leaves the last directory of the way.
    fn done(&mut self, way: &mut Way<'_>) -> Done<()> {
        let called = way.called(b"");
        let Some(mut open) = way.open.pop() else { return Ok(()) };
        let end = way.path.len().saturating_sub(open.name.len() + 1);
        way.path.truncate(end);
        let source = open.source.take().ok_or(Errno::BADF).at(&called.0)?;
        let target = open.target.as_ref().and_then(|made| made.dir.as_ref());
        if let (Some(made), Some(dir)) = (&open.target, target) {
            let (from, to) = (Named::new(&source, b"."), Named::new(dir, b"."));
            match made.end {
                End::All => self.dress(from, &open.facts, to),
                End::Time => self.date(&open.facts, to),
                End::Mode => fs::chmodat(dir, ".", Mode::from_raw_mode(open.facts.mode()), AtFlags::empty()),
            }
            .at(&called.1)?;
        }
        let Some(above) = way.open.last_mut() else { return Ok(()) };
        if above.source.is_none() {
            above.source = Some(up(&source, above.id).at(&called.0)?);
        }
        if let (Some(made), Some(dir)) = (above.target.as_mut().filter(|made| made.dir.is_none()), target) {
            made.dir = Some(up(dir, made.id).at(&called.1)?);
        }
        Ok(())
    }
}

impl Open {
    fn new(name: Vec<u8>, dir: OwnedFd, said: Said, is_chosen: bool) -> Result<Self, Errno> {
        let (facts, left) = (Facts::open(&dir)?, list(&dir)?.into_iter());
        Ok(Self { name, source: Some(dir), id: facts.id(), facts, said, is_chosen, left, target: None })
    }
}

impl Way<'_> {
    fn push(&mut self, open: Open) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&open.name);
        self.open.push(open);
        self.trim();
    }

    /// Closes what is far above. A directory of the target is opened again from the one in it, so that must be there.
    fn trim(&mut self) {
        let Some(far) = self.open.len().checked_sub(KEPT + 1) else { return };
        if let Some(open) = self.open.get_mut(far) {
            open.source = None;
        }
        let last = self.open.iter().rposition(|open| open.target.is_some()).unwrap_or(0);
        if let Some(made) = far.min(last).checked_sub(1).and_then(|at| self.open.get_mut(at)?.target.as_mut())
        {
            made.dir = None;
        }
    }

    /// The path of a name in the last directory, below the topmost one.
    fn below(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { join(&self.path, name) }
    }

    /// What a name in the last directory is called there and here.
    fn called(&self, name: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let below = join(&self.path, name);
        let below = below.strip_suffix(b"/").unwrap_or(&below);
        let whole =
            |of: &[u8]| join(of.strip_suffix(b"/").unwrap_or(of), below.strip_prefix(b"/").unwrap_or(below));
        let whole = |of: &[u8]| if below.is_empty() { of.to_vec() } else { whole(of) };
        (whole(self.source), whole(&self.target.path))
    }

    /// What a directory of the target is called.
    fn target_at(&self, at: usize) -> Vec<u8> {
        let names = self.open.iter().take(at + 1).skip(1).map(|open| open.name.as_slice());
        names
            .fold(self.target.path.clone(), |path, name| join(path.strip_suffix(b"/").unwrap_or(&path), name))
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

/// Makes a directory that is not there yet, for its owner alone until all in it is done.
fn make_one(at: Named<'_>) -> Result<bool, Errno> {
    match fs::mkdirat(at.dir, at.name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}
