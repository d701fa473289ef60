//! The whole tree of a stack, made by copying what each layer shows of it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, Mode};
use tokio_util::sync::CancellationToken;

use super::copy::{self, Keep, dress};
use super::file;
use super::layers::{Layers, Merged};
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::Skipped;

/// More threads than this wait for each other in the file system.
const MAX_THREADS: usize = 4;
const OPERATION: &str = "assemble snapshots";

/// What a tree was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assembled {
    /// Files and directories in it, by names; the root is not counted.
    pub entries: u64,
    /// What was left out.
    pub skipped: Skipped,
}

/// A directory to be filled.
#[derive(Debug)]
struct Task {
    path: PathBuf,
    /// The layers that have it, the top one first.
    of: Vec<usize>,
}

/// A file of several names: its layer and inode.
type Group = (usize, u64);

#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    busy: usize,
    is_over: bool,
}

struct Work<'a> {
    layers: Layers<'a>,
    to: &'a Path,
    keep: Keep,
    cancel: &'a CancellationToken,
    queue: Mutex<Queue>,
    news: Condvar,
    /// The first name of each group: whoever enters it copies the file.
    groups: Mutex<HashMap<Group, PathBuf>>,
}

/// What one thread has done and what is left for the end.
#[derive(Default)]
struct Done {
    assembled: Assembled,
    directories: Vec<Task>,
    links: Vec<(Group, PathBuf)>,
    left_out: HashSet<Group>,
}

/// Fills the empty directory `to`. What is hidden by a layer above is not read.
pub(super) fn assemble(
    layers: Layers<'_>,
    to: &Path,
    keep: Keep,
    cancel: &CancellationToken,
) -> Result<Assembled> {
    if !file::open_dir(to, Path::new(""))
        .and_then(|dir| file::list(&dir))
        .during(OPERATION, to.display(), to)?
        .is_empty()
    {
        return Err(Error::refused(OPERATION, to.display(), "the directory is not empty"));
    }
    let first = Task { path: PathBuf::new(), of: layers.all() };
    let work = Work {
        layers,
        to,
        keep,
        cancel,
        queue: Mutex::new(Queue { tasks: vec![first], ..Queue::default() }),
        news: Condvar::new(),
        groups: Mutex::default(),
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let results: Vec<Result<Done>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| work.run())).collect();
        let own = work.run();
        let others = others.into_iter().map(|other| match other.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(others).collect()
    });
    let mut all = Done::default();
    for result in results {
        all.add(result?);
    }
    work.finish(all)
}

impl Done {
    fn add(&mut self, other: Self) {
        self.assembled.entries += other.assembled.entries;
        add(&mut self.assembled.skipped, other.assembled.skipped);
        self.directories.extend(other.directories);
        self.links.extend(other.links);
        self.left_out.extend(other.left_out);
    }
}

fn add(sum: &mut Skipped, other: Skipped) {
    sum.devices += other.devices;
    sum.setuid += other.setuid;
    sum.xattrs += other.xattrs;
}

impl Work<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes directories until there are none, or something fails.
    fn run(&self) -> Result<Done> {
        let mut done = Done::default();
        while let Some(task) = self.next() {
            let found = self.fill(&task, &mut done);
            let mut queue = self.queue();
            queue.busy -= 1;
            match found {
                Ok(tasks) => queue.tasks.extend(tasks),
                Err(error) => {
                    queue.is_over = true;
                    self.news.notify_all();
                    return Err(error);
                }
            }
            done.directories.push(task);
            self.news.notify_all();
        }
        Ok(done)
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            if queue.is_over {
                return None;
            }
            if let Some(task) = queue.tasks.pop() {
                queue.busy += 1;
                return Some(task);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Copies the files of a directory and makes the directories in it, which are returned.
    fn fill(&self, task: &Task, done: &mut Done) -> Result<Vec<Task>> {
        let to = self.to.join(&task.path);
        let target = file::open_dir(self.to, &task.path).during(OPERATION, to.display(), &to)?;
        let mut tasks = Vec::new();
        let mut files: Vec<(usize, OsString)> = Vec::new();
        for (name, shown) in self.layers.merge(&task.of, &task.path).during(OPERATION, to.display(), &to)? {
            done.assembled.entries += 1;
            match shown {
                Merged::Hidden => {}
                Merged::File(layer) => files.push((layer, name)),
                Merged::Directory(of) => {
                    let made = rustix::fs::mkdirat(&target, &name, Mode::RWXU);
                    made.map_err(io::Error::from).during(
                        OPERATION,
                        to.join(&name).display(),
                        &to.join(&name),
                    )?;
                    tasks.push(Task { path: task.path.join(name), of });
                }
            }
        }
        files.sort();
        let mut source: Option<(usize, OwnedFd)> = None;
        for (layer, name) in &files {
            let whole = to.join(name);
            if source.as_ref().is_none_or(|(open, _)| open != layer) {
                source = Some((
                    *layer,
                    self.layers.open(*layer, &task.path).during(OPERATION, to.display(), &to)?,
                ));
            }
            if let Some((_, from)) = &source {
                self.file(*layer, (from, name), &target, &task.path, done)
                    .map_err(|error| self.failed(error, &whole))?;
            }
        }
        Ok(tasks)
    }

    fn file(
        &self,
        layer: usize,
        from: copy::At<'_>,
        target: &OwnedFd,
        directory: &Path,
        done: &mut Done,
    ) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let facts = file::facts(from.0, from.1)?.ok_or(io::ErrorKind::NotFound)?;
        let group = (layer, facts.inode());
        if facts.names() > 1 && !self.is_first(group, directory, from.1) {
            done.links.push((group, directory.join(from.1)));
            return Ok(());
        }
        let skipped = &mut done.assembled.skipped;
        if !copy::copy(from, &facts, (target, from.1), self.keep, skipped, self.cancel)? {
            done.assembled.entries -= 1;
            done.left_out.insert(group);
        }
        Ok(())
    }

    fn is_first(&self, group: Group, directory: &Path, name: &OsStr) -> bool {
        use std::collections::hash_map::Entry;
        match self.groups.lock().unwrap_or_else(PoisonError::into_inner).entry(group) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(directory.join(name));
                true
            }
        }
    }

    fn failed(&self, error: io::Error, path: &Path) -> Error {
        let what = What::new(OPERATION, self.to.display());
        if error.kind() == io::ErrorKind::Interrupted && self.cancel.is_cancelled() {
            return Error::Cancelled { what };
        }
        Error::Io { what, path: path.to_owned(), source: error }
    }

    /// Further names of files, then the directories, the deepest first: filling one changes its times.
    fn finish(self, mut done: Done) -> Result<Assembled> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, path) in &done.links {
            if done.left_out.contains(group) {
                done.assembled.entries -= 1;
                done.assembled.skipped.devices += 1;
                continue;
            }
            if let Some(first) = groups.get(group) {
                self.link(first, path).map_err(|error| self.failed(error, &self.to.join(path)))?;
            }
        }
        done.directories.sort_by_key(|task| std::cmp::Reverse(task.path.components().count()));
        for task in &done.directories {
            let Some(top) = task.of.first() else { continue };
            let mut dress = || -> io::Result<()> {
                let (from, to) = (self.layers.open(*top, &task.path)?, file::open_dir(self.to, &task.path)?);
                let (facts, here) = (file::facts_of(&from)?, OsStr::new("."));
                dress((&from, here), &facts, (&to, here), self.keep, &mut done.assembled.skipped)
            };
            dress().map_err(|error| self.failed(error, &self.to.join(&task.path)))?;
        }
        Ok(done.assembled)
    }

    fn link(&self, first: &Path, path: &Path) -> io::Result<()> {
        let (Some((from, old)), Some((to, new))) = (file::split(first), file::split(path)) else {
            return Ok(());
        };
        let (from, to) = (file::open_dir(self.to, from)?, file::open_dir(self.to, to)?);
        Ok(rustix::fs::linkat(&from, old, &to, new, AtFlags::empty())?)
    }
}
