//! A process, ready to be run: its bundle, and its root with all that must be there.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::home::Home;
use super::purge::CGROUP;
use super::root::{Kind, Root, Stubs};
use super::spec::{Given, Input, spec};
use super::user::User;
use super::{check, files, purge, user};
use crate::error::{Error, Result};
use crate::executor::{MountSource, Network, Process};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// Where something of the kernel is mounted in every root.
const KERNEL: [&str; 3] = ["/proc", "/dev", "/sys"];

/// What was made for a process. [`Bundle::clear`] takes it away.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) home: Arc<Home>,
    /// The name that the runtime knows it by.
    pub(super) container: String,
    pub(super) dir: PathBuf,
    cgroup: Option<String>,
    root: Root,
    stubs: Stubs,
}

impl Bundle {
    /// Makes everything, or leaves nothing.
    pub(super) fn make(home: Arc<Home>, process: &Process) -> Result<Self> {
        check::check(process).map_err(|reason| Error::failed("run", &process.id, reason))?;
        let root = Root::open(&process.root).map_err(|e| Error::io("open root", &process.root, e))?;
        let user = user::find(&root, &process.user)
            .map_err(|unknown| Error::failed("find user", format_args!("{:?}", process.user), unknown))?;
        let container = home.name(&process.id);
        let dir = home.bundle(&container);
        let cgroup = home.cgroups.path(process.cgroup_parent.as_deref(), &container);
        DirBuilder::new().mode(0o700).create(&dir).map_err(|e| Error::io("make bundle", &dir, e))?;
        let mut bundle = Self { home, container, dir, cgroup, root, stubs: Stubs::default() };
        match bundle.fill(process, &user) {
            Ok(()) => Ok(bundle),
            Err(error) => {
                if let Err(other) = bundle.clear() {
                    tracing::warn!(%other, "after another error");
                }
                Err(error)
            }
        }
    }

    fn fill(&mut self, process: &Process, user: &User) -> Result<()> {
        let given = self.given(process).map_err(|e| Error::io("make bundle", &self.dir, e))?;
        self.make_mount_points(process)?;
        let cwd = clean(&process.cwd);
        self.root
            .make_workdir(&cwd, (user.uid, user.gid), &self.stubs)
            .map_err(|e| Error::failed("make working directory", &cwd, e))?;
        let input = Input {
            process,
            root: self.root.path(),
            user,
            cwd: &cwd,
            given: &given,
            machine: &self.home.machine,
            cgroup: self.cgroup.as_deref(),
        };
        let config = self.dir.join("config.json");
        let written = serde_json::to_vec(&spec(&input)).map_err(io::Error::other);
        written.and_then(|bytes| write(&config, &bytes)).map_err(|e| Error::io("make bundle", &config, e))
    }

    /// The files that it sees in `/etc`.
    fn given(&self, process: &Process) -> io::Result<[Given; 2]> {
        if let Some(cgroup) = &self.cgroup {
            write(&self.dir.join(CGROUP), cgroup.as_bytes())?;
        }
        let hosts = self.dir.join("hosts");
        write_public(&hosts, &files::hosts(process))?;
        let host = Path::new(RESOLV_CONF);
        let resolv_conf = if process.network == Network::Host && host.is_file() {
            host.to_owned()
        } else {
            let own = self.dir.join("resolv.conf");
            write_public(&own, &files::resolv_conf(&fs::read_to_string(host).unwrap_or_default()))?;
            own
        };
        Ok([Given { dest: RESOLV_CONF, source: resolv_conf }, Given { dest: HOSTS, source: hosts }])
    }

    /// All but what is within something that others use as well, or that cannot be changed: that is up to the runtime.
    fn make_mount_points(&mut self, process: &Process) -> Result<()> {
        let Self { root, stubs, .. } = self;
        let mut make = |dest: &str, kind, recursively, tree| {
            stubs
                .add(root, dest, kind, recursively, tree)
                .map_err(|e| Error::failed("make mount point", dest, e))
        };
        for dest in KERNEL {
            make(dest, Kind::Dir, true, None)?;
        }
        for dest in [RESOLV_CONF, HOSTS] {
            make(dest, Kind::File, true, None)?;
        }
        for mount in &process.mounts {
            let kind = match &mount.source {
                MountSource::Tmpfs { .. } => Kind::Dir,
                MountSource::Bind(source) => match fs::metadata(source) {
                    Ok(metadata) if metadata.is_dir() => Kind::Dir,
                    Ok(_) => Kind::File,
                    Err(error) => return Err(Error::io("mount", source, error)),
                },
            };
            let tree = match &mount.source {
                MountSource::Bind(source) if kind == Kind::Dir && mount.is_own && !mount.read_only => {
                    Some(Root::open(source).map_err(|e| Error::io("mount", source, e))?)
                }
                _ => None,
            };
            make(&mount.dest, kind, process.remove_stubs_recursively, tree)?;
        }
        Ok(())
    }

    /// Takes away whatever there is about it: processes, cgroup, mount points, bundle. All is tried; the first error is
    /// told.
    pub(super) fn clear(self) -> Result<()> {
        let Self { home, container, dir, root, stubs, .. } = self;
        let what = || lazyblob_remote::What::new("clean up after", &container);
        let purged = purge::purge(&home.runtime, &home.states(), &dir, &home.cgroups);
        let purged = purged.map_err(|e| Error::Executor { what: what(), reason: format!("{e}") });
        let unstubbed = stubs.remove(&root).map_err(|e| Error::Io {
            what: what(),
            path: root.path().to_owned(),
            source: e,
        });
        // What it must be known by for the next process's sweep stays if something still runs.
        let removed = match &purged {
            Ok(()) => fs::remove_dir_all(&dir),
            Err(_) => fs::remove_file(dir.join("config.json")),
        };
        let removed = removed.map_err(|e| Error::Io { what: what(), path: dir, source: e });
        purged.and(unstubbed).and(removed)
    }
}

/// A path without `.` and `..`, as it is written: where a link leads that is not there, each runtime knows differently.
fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => _ = names.pop(),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Any user may read it in the container.
fn write_public(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    write(path, text.as_bytes())?;
    // Whatever the mask is.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}
