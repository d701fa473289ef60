//! The cgroups of containers: one of its own for each, `/lazyblob-<container>` in every hierarchy there is, or below the
//! parent that a process names. There is no directory above them that stays.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process};

/// So long processes that were killed may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// The hierarchies of this machine: one with version 2, several with version 1, none where nobody may write to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroups {
    roots: Vec<PathBuf>,
}

impl Cgroups {
    pub(super) fn detect() -> Self {
        Self::of(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Those of a text like `/proc/self/mountinfo`.
    fn of(mounts: &str) -> Self {
        let root = |line: &str| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let is_cgroup = filesystem.starts_with("cgroup ") || filesystem.starts_with("cgroup2 ");
            is_cgroup.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
        };
        let roots: Vec<PathBuf> = mounts.lines().filter_map(root).collect();
        // The runtime needs all of them.
        let is_writable = roots.iter().all(|root| access(root, Access::WRITE_OK).is_ok());
        Self { roots: if is_writable { roots } else { Vec::new() } }
    }

    /// The path of a container's cgroup below each root; none where there are no cgroups.
    pub(super) fn path(&self, parent: Option<&str>, container: &str) -> Option<String> {
        if self.roots.is_empty() {
            return None;
        }
        let mut path = PathBuf::from("/");
        for component in Path::new(parent.unwrap_or_default()).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => drop(path.pop()),
                _ => {}
            }
        }
        path.push(format!("lazyblob-{container}"));
        Some(path.to_string_lossy().into_owned())
    }

    /// Kills everything in a cgroup and removes it from all hierarchies. Returns when it is gone.
    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        for root in &self.roots {
            let dir = root.join(path.trim_start_matches('/'));
            // A runtime that ended as it should has removed it.
            if dir.exists() {
                empty(&dir)?;
            }
        }
        Ok(())
    }
}

/// Kills what is in a cgroup until it can be removed.
fn empty(dir: &Path) -> io::Result<()> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let last = match removed(dir) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if begun.elapsed() > DEATH {
            return Err(last);
        }
        // Nobody tells when the kernel has let go of the last process.
        thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn removed(dir: &Path) -> io::Result<()> {
    // Inner ones first.
    for dir in within(dir)?.into_iter().rev() {
        // All at once, with version 2.
        let killed = fs::write(dir.join("cgroup.kill"), "1");
        if killed.is_err() {
            thaw(&dir);
            for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    // It may be gone already.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
        match fs::remove_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What is frozen does not die with version 1.
fn thaw(dir: &Path) {
    drop(fs::write(dir.join("freezer.state"), "THAWED"));
}

/// A directory and all within it, outer ones first.
fn within(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while next < all.len() {
        match fs::read_dir(&all[next]) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        all.push(entry.path());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        next += 1;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_those_that_are_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let text = format!(
            "25 1 0:2 / / rw - ext4 /dev/sda rw\n31 25 0:27 / {at} rw shared:4 - cgroup2 cgroup2 rw\n"
        );
        let cgroups = Cgroups::of(&text);
        assert_eq!(cgroups.roots, [dir.path()]);
        assert_eq!(cgroups.path(None, "a-1").unwrap(), "/lazyblob-a-1");
        assert_eq!(
            cgroups.path(Some("../x/./y/.."), "a-1").unwrap(),
            "/x/lazyblob-a-1",
            "nothing is above the root"
        );
    }

    #[test]
    fn what_cannot_be_written_to_is_none() {
        let cgroups = Cgroups::of("31 25 0:27 / /nonexistent/cgroup ro - cgroup2 cgroup2 ro\n");
        assert_eq!(cgroups.path(None, "a-1"), None);
        assert_eq!(Cgroups::of("").path(Some("/x"), "a-1"), None);
    }
}
