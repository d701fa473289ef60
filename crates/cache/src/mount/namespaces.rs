//! Mount namespaces other than ours: which are still somebody's, and what is mounted in them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::mountinfo::{self, Mount};
use super::record::Mark;
use crate::error::Result;

/// The PID namespace that has all processes of the machine in it (Linux: `PROC_PID_INIT_INO`).
const ALL_PROCESSES: &str = "pid:[4026531836]";

/// What the processes of this machine are in.
#[derive(Debug)]
pub(super) struct Namespaces {
    alive: BTreeSet<String>,
    mounts: Vec<Mount>,
}

impl Namespaces {
    /// Looks at all processes. Nothing where this one cannot see all of them, or not all of one: then nobody can say that
    /// a namespace is gone. That takes root, outside of containers.
    pub(super) fn look() -> Result<Option<Self>> {
        let sees_all = fs::read_link("/proc/self/ns/pid").is_ok_and(|own| own == Path::new(ALL_PROCESSES));
        if !sees_all {
            return Ok(None);
        }
        let mut found = Self { alive: BTreeSet::new(), mounts: mountinfo::read()? };
        // Twice: a process that forks and ends while it is looked for is seen one of the times.
        for _ in 0..2 {
            match found.take_all() {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(%error, "mount namespaces cannot be told");
                    return Ok(None);
                }
            }
        }
        // A namespace may be kept by a mount of itself.
        let kept = found.mounts.iter().filter(|mount| mount.kind == "nsfs");
        let kept: Vec<String> = kept.map(|mount| mount.root.to_string_lossy().into_owned()).collect();
        found.alive.extend(kept);
        Ok(Some(found))
    }

    /// Whether nothing is left of a namespace, and what was mounted in it is mounted in no other either, where a mount may
    /// have come by propagation.
    pub(super) fn has_lost(&self, namespace: &str, mark: &Mark) -> bool {
        !self.alive.contains(namespace) && !self.mounts.iter().any(|mount| mount.has(mark))
    }

    fn take_all(&mut self) -> io::Result<()> {
        for process in names(Path::new("/proc"))?.iter().filter(|name| name.parse::<u32>().is_ok()) {
            match self.take_process(&Path::new("/proc").join(process)) {
                // The first process may be shielded from everybody. It is where the threads of the kernel are.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && process == "1" => {}
                taken => taken?,
            }
        }
        Ok(())
    }

    /// Where its threads are, and what it keeps open.
    fn take_process(&mut self, process: &Path) -> io::Result<()> {
        for thread in names(&process.join("task"))? {
            self.take(&process.join("task").join(thread))?;
        }
        for file in names(&process.join("fd"))? {
            let link = still(fs::read_link(process.join("fd").join(file)))?;
            let link = link.map(|link| link.to_string_lossy().into_owned());
            self.alive.extend(link.filter(|link| link.starts_with("mnt:[")));
        }
        Ok(())
    }

    /// The namespace a thread is in, and its mounts.
    fn take(&mut self, thread: &Path) -> io::Result<()> {
        let Some(link) = still(fs::read_link(thread.join("ns/mnt")))? else { return Ok(()) };
        if self.alive.insert(link.to_string_lossy().into_owned())
            && let Some(table) = still(fs::read(thread.join("mountinfo")))?
        {
            self.mounts.extend(mountinfo::parse_all(&table));
        }
        Ok(())
    }
}

/// The names in a directory; none where its process has ended.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let Some(entries) = still(fs::read_dir(directory))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        match still(entry)? {
            Some(entry) => names.push(entry.file_name().to_string_lossy().into_owned()),
            None => break,
        }
    }
    Ok(names)
}

/// What is read of a process; nothing where it has ended.
fn still<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::SRCH) => Ok(None),
            // The table of who has just ended.
            Some(Errno::INVAL) => Ok(None),
            _ => Err(error),
        },
    }
}
