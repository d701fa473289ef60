//! Where the command begins.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Uid, chownat, mkdirat, statat};

use super::resolve::Place;
use super::stubs::Stubs;
use super::{Root, is_absent, split};

impl Root {
    /// Makes a working directory that is not there, and those above it, all of them the user's. They stay: a command that
    /// says where it runs says that there is such a place, and it is so with BuildKit. In something that is mounted it is
    /// left to the runtime.
    pub(in super::super) fn make_workdir(
        &self,
        path: &str,
        (uid, gid): (u32, u32),
        stubs: &Stubs,
    ) -> io::Result<()> {
        let Place::InRoot(path) = self.resolve(Path::new(path), stubs.covers())? else { return Ok(()) };
        let mut missing = Vec::new();
        for at in path.ancestors().filter(|at| !at.as_os_str().is_empty()) {
            match statat(&self.dir, at, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => break,
                Err(error) if is_absent(&error.into()) => missing.push(at),
                Err(error) => return Err(error.into()),
            }
        }
        for at in missing.into_iter().rev() {
            let Some((parent, name)) = split(at) else { continue };
            let dir = self.dir(parent)?;
            mkdirat(&dir, name, Mode::from_raw_mode(0o755))?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}
