//! What puts trees in the mount table and takes them out of it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags};

use super::overlayfs::Trusts;

/// Puts a mount that is nowhere yet on a directory.
pub(super) fn move_to(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(CWD, target, flags, Mode::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree.as_fd(), "", target.as_fd(), "", flags)?)
}

/// Shows a directory at another place.
pub(crate) fn bind(from: &Path, target: &Path, is_read_only: bool, trusts: Trusts) -> io::Result<()> {
    rustix::mount::mount_bind(from, target)?;
    let mut flags = MountFlags::BIND;
    flags.set(MountFlags::RDONLY, is_read_only);
    flags.set(MountFlags::NOSUID, !trusts.setuid);
    flags.set(MountFlags::NODEV, !trusts.devices);
    if let Err(error) = rustix::mount::mount_remount(target, flags, c"") {
        // It must not stay there with more rights than were asked for.
        detach(target, false)?;
        return Err(error.into());
    }
    Ok(())
}

/// Takes the top mount off a directory: at once, or, if `lazy`, as soon as nobody uses it.
pub(crate) fn detach(target: &Path, lazy: bool) -> io::Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazy);
    Ok(rustix::mount::unmount(target, flags)?)
}
