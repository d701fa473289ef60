//! What a process sees besides its root.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::executor::{MountSource, Mounted, Process, Security};

/// A file of the host that every process finds in its root, and cannot change.
#[derive(Clone, Debug)]
pub(in super::super) struct Given {
    pub(in super::super) dest: &'static str,
    pub(in super::super) source: PathBuf,
}

#[derive(Debug, Serialize)]
pub(super) struct Mount {
    pub(super) destination: String,
    r#type: &'static str,
    source: PathBuf,
    pub(super) options: Vec<String>,
}

/// What every container has, then what this one is given, then what it asks for: the last one at a place is seen there.
pub(super) fn of(process: &Process, given: &[Given], has_cgroup: bool) -> Vec<Mount> {
    let mut all = kernel(process.security, has_cgroup);
    all.extend(given.iter().map(|given| bind(given.dest, &given.source, true)));
    all.extend(process.mounts.iter().map(mounted));
    all
}

fn kernel(security: Security, has_cgroup: bool) -> Vec<Mount> {
    let change = if security == Security::Insecure { "rw" } else { "ro" };
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", change]),
    ];
    if has_cgroup {
        let options = ["nosuid", "noexec", "nodev", "relatime", change];
        all.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &options));
    }
    all
}

fn mounted(mounted: &Mounted) -> Mount {
    match &mounted.source {
        MountSource::Bind(source) => bind(&mounted.dest, source, mounted.read_only),
        MountSource::Tmpfs { size } => {
            let mut tmpfs = mount(&mounted.dest, "tmpfs", "tmpfs", &["nosuid", change(mounted.read_only)]);
            tmpfs.options.extend(size.map(|size| format!("size={size}")));
            tmpfs
        }
    }
}

/// With what is mounted within it. What is mounted there later on the host is not seen.
fn bind(dest: &str, source: &Path, read_only: bool) -> Mount {
    let options = ["rbind", "rprivate", change(read_only)];
    Mount { source: source.to_owned(), ..mount(dest, "bind", "", &options) }
}

fn change(read_only: bool) -> &'static str {
    if read_only { "ro" } else { "rw" }
}

fn mount(destination: &str, r#type: &'static str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        r#type,
        source: source.into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}
