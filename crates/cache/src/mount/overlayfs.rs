//! Mounts of overlayfs.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

/// The kernel's own limit (`OVL_MAX_STACK`).
pub(crate) const MAX_LAYERS: usize = 500;
/// A parameter of `fsconfig` is a string of fewer bytes than this.
const MAX_PARAMETER: usize = 256;
/// All options of `mount` fit in a page.
const MAX_OPTIONS: usize = 4096;

/// A mount to be made.
#[derive(Debug)]
pub(crate) struct Overlayfs<'a> {
    /// Shown in mountinfo, by which it is known again.
    pub(crate) source: &'a str,
    /// The top one first; two, or one and an upper one, at least.
    pub(crate) lower: &'a [PathBuf],
    /// Where changes go, and the work directory.
    pub(crate) upper: Option<(&'a Path, &'a Path)>,
    /// Set-user-ID programs and devices work.
    pub(crate) trusts: Trusts,
    /// What is written is not made durable by unmounting, nor by `fsync` (kernels from 5.10 on): somebody else sees to that.
    pub(crate) volatile: bool,
}

/// What of an image works once it is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trusts {
    /// Set-user-ID and set-group-ID programs, and capabilities of files.
    pub setuid: bool,
    /// Device nodes.
    pub devices: bool,
}

/// A path the kernel takes: short, and without what it gives a meaning to.
struct Reachable {
    path: PathBuf,
    /// Kept open until the mount is made.
    _open: Option<OwnedFd>,
}

impl Reachable {
    /// The path itself where it is harmless.
    fn new(path: &Path) -> io::Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() < MAX_PARAMETER && !bytes.iter().any(|byte| b"\\:,".contains(byte)) {
            return Ok(Self { path: path.to_owned(), _open: None });
        }
        Self::short(path)
    }

    fn short(path: &Path) -> io::Result<Self> {
        let open =
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: format!("/proc/self/fd/{}", open.as_raw_fd()).into(), _open: Some(open) })
    }
}

/// Two layers mounted nowhere, read-only: by parameters that all kernels with `fsopen` know.
pub(crate) fn probe(above: &Path, below: &Path) -> io::Result<OwnedFd> {
    let (above, below) = (Reachable::short(above)?, Reachable::short(below)?);
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "lowerdir", joined(&[above, below]))?;
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?)
}

fn joined(paths: &[Reachable]) -> OsString {
    let paths: Vec<_> = paths.iter().map(|reachable| reachable.path.as_os_str()).collect();
    paths.join(std::ffi::OsStr::new(":"))
}

impl Overlayfs<'_> {
    /// Mounts it on `target`.
    pub(crate) fn attach(&self, target: &Path) -> io::Result<()> {
        if let Some((_, work)) = self.upper {
            forget_volatile(work)?;
        }
        match self.detached() {
            // Since Linux 6.5 layers are named one by one.
            Ok(None) => self.attach_by_options(target),
            Ok(Some(tree)) => super::attach::move_to(&tree, target),
            Err(error) => Err(error),
        }
    }

    /// A mount that is attached nowhere yet; nothing where the kernel is too old to be told layers one by one.
    fn detached(&self) -> io::Result<Option<OwnedFd>> {
        let lower = self.lower.iter().map(|path| Reachable::new(path)).collect::<io::Result<Vec<_>>>()?;
        let upper = match self.upper {
            Some((upper, work)) => Some((Reachable::new(upper)?, Reachable::new(work)?)),
            None => None,
        };
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "source", self.source)?;
        for layer in &lower {
            match fsconfig_set_string(context.as_fd(), "lowerdir+", &layer.path) {
                Ok(()) => {}
                Err(Errno::INVAL) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some((upper, work)) = &upper {
            fsconfig_set_string(context.as_fd(), "upperdir", &upper.path)?;
            fsconfig_set_string(context.as_fd(), "workdir", &work.path)?;
        }
        if self.volatile && upper.is_some() {
            match fsconfig_set_flag(context.as_fd(), "volatile") {
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (name, value) in PARAMETERS {
            // A kernel built without it has nothing to switch off.
            match fsconfig_set_string(context.as_fd(), *name, *value) {
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        fsconfig_create(context.as_fd())?;
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.upper.is_none());
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, !self.trusts.setuid);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, !self.trusts.devices);
        Ok(Some(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?))
    }

    /// As kernels before 6.5 want it: one page for everything, so that each layer is named by a descriptor. Some 200 fit.
    pub(super) fn attach_by_options(&self, target: &Path) -> io::Result<()> {
        let lower = self.lower.iter().map(|path| Reachable::short(path)).collect::<io::Result<Vec<_>>>()?;
        let mut options = OsString::from("lowerdir=");
        options.push(joined(&lower));
        let upper = match self.upper {
            Some((upper, work)) => Some((Reachable::short(upper)?, Reachable::short(work)?)),
            None => None,
        };
        if let Some((upper, work)) = &upper {
            options.push(",upperdir=");
            options.push(&upper.path);
            options.push(",workdir=");
            options.push(&work.path);
        }
        for (name, value) in PARAMETERS {
            let known = Path::new("/sys/module/overlay/parameters").join(name);
            if known.exists() {
                options.push(format!(",{name}={value}"));
            }
        }
        if options.len() >= MAX_OPTIONS {
            return Err(Errno::TOOBIG.into());
        }
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.upper.is_none());
        flags.set(MountFlags::NOSUID, !self.trusts.setuid);
        flags.set(MountFlags::NODEV, !self.trusts.devices);
        let options = std::ffi::CString::new(options.as_bytes())?;
        Ok(rustix::mount::mount(self.source, target, "overlay", flags, Some(options.as_c_str()))?)
    }
}

/// The kernel marks the work directory of a volatile mount for good, and mounts it never again: for whoever does not know
/// what may be missing after a crash. Ours do: what is not finalized is not durable.
fn forget_volatile(work: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(work.join("work/incompat")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is in an upper directory is to be a layer like any other: no references from one to another.
const PARAMETERS: &[(&str, &str)] = &[("index", "off"), ("redirect_dir", "off"), ("metacopy", "off")];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::mount::attach::detach;

    fn layers(dir: &Path, count: usize) -> Vec<PathBuf> {
        let make = |number: usize| {
            // What options are made of, and longer than a parameter may be.
            let layer = dir.join(format!("{number}:,\\{}", "x".repeat(240)));
            fs::create_dir(&layer).unwrap();
            fs::write(layer.join("f"), number.to_string()).unwrap();
            fs::write(layer.join(number.to_string()), "").unwrap();
            layer
        };
        (0..count).map(make).collect()
    }

    #[test]
    fn kernels_old_and_new_are_told_the_same() {
        let dir = tempfile::tempdir().unwrap();
        if !rustix::process::geteuid().is_root() {
            return lazyblob_remote::testing::not_run("mounting overlayfs by options", "mounting needs root");
        }
        let lower = layers(dir.path(), 3);
        let [at, upper, work] = ["at", "upper,:", "work\\"].map(|name| dir.path().join(name));
        for path in [&at, &upper, &work] {
            fs::create_dir(path).unwrap();
        }
        for upper in [None, Some((upper.as_path(), work.as_path()))] {
            let mount = Overlayfs {
                source: "lazyblob-test",
                lower: &lower,
                upper,
                trusts: Trusts::default(),
                volatile: false,
            };
            for attach in [Overlayfs::attach, Overlayfs::attach_by_options] {
                attach(&mount, &at).unwrap();
                let seen = fs::read_to_string(at.join("f"));
                let names = fs::read_dir(&at).unwrap().count();
                let written = fs::write(at.join("new"), "");
                let line =
                    super::super::mountinfo::read().unwrap().into_iter().rfind(|mount| mount.point == at);
                detach(&at, false).unwrap();
                assert_eq!((seen.unwrap().as_str(), names), ("0", 4), "the first layer is the top one");
                assert_eq!(written.is_ok(), upper.is_some());
                assert_eq!(line.unwrap().source, "lazyblob-test");
                if let Some((upper, _)) = upper {
                    fs::remove_file(upper.join("new")).unwrap();
                }
            }
        }
        let many = vec![lower[0].clone(); 300];
        let mount =
            Overlayfs { source: "x", lower: &many, upper: None, trusts: Trusts::default(), volatile: false };
        let error = mount.attach_by_options(&at).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::TOOBIG.raw_os_error()));
    }
}
