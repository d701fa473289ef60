//! The end: directories get their metadata, the innermost first.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{self, Mode, Timespec};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::directories::{Directories, Last};
use super::meta::Target;
use super::name::{last, parent};
use super::parents::Found;
use super::remove::LIST;
use super::{Applier, as_path};
use crate::error::{Error, Result};
use crate::layer::{Link, Pending, Skipped, Usage};

impl Applier<'_> {
    /// Settles the directories; says what the layer takes, what was left out and what is open.
    pub(super) fn finish(mut self, cancel: &CancellationToken) -> Result<(Usage, Skipped, Pending)> {
        let mut pending = Pending::default();
        if !self.is_tree() {
            if !self.directories.knows(b"") {
                self.directories.set(Vec::new(), Last::Implied { is_fresh: false });
            }
            pending.implied = self.directories.implied().map(as_path).collect();
            let links = std::mem::take(&mut self.links).into_iter();
            pending.links =
                links.map(|(name, target)| Link { name: as_path(&name), target: as_path(&target) }).collect();
        }
        // From here on no directory needs to be made writable: what is in it is done before it.
        self.parents.rules.opens_up = false;
        for (path, last) in std::mem::take(&mut self.directories).into_last_first() {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: self.what.clone() });
            }
            self.settle(&path, last)?;
        }
        Ok((self.usage, self.skipped, pending))
    }

    fn settle(&mut self, path: &[u8], last: Last) -> Result<()> {
        let dir = self.open_directory(path)?;
        let target = Target::Open(dir.as_fd());
        let failed = |error| self.io(path, error);
        match last {
            Last::Named { meta, is_old } => {
                if is_old {
                    self.clear_xattrs(dir.as_fd(), path)?;
                }
                self.set_all(&target, &meta, meta.mode, path)?;
                if is_old {
                    return Ok(());
                }
            }
            Last::Implied { .. } => {
                fs::fchmod(&dir, Mode::from_raw_mode(0o755)).map_err(failed)?;
                self.set_time(&target, Timespec { tv_sec: 0, tv_nsec: 0 }, path)?;
            }
            Last::Restored { mtime, mode } => {
                if let Some(mode) = mode {
                    fs::fchmod(&dir, Mode::from_raw_mode(mode)).map_err(failed)?;
                }
                return self.set_time(&target, mtime, path);
            }
        }
        let stat = fs::fstat(&dir).map_err(|error| self.io(path, error))?;
        self.usage.count(&stat);
        Ok(())
    }

    fn open_directory(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let failed = |error| self.io(path, error);
        let Some(above) = parent(path) else {
            return fs::openat(&self.parents.root().fd, ".", LIST, Mode::empty()).map_err(failed);
        };
        let above = match self.parents.find(above, &mut Directories::default()) {
            Ok(Found::Here(above)) => above,
            Ok(Found::Absent(path)) => return Err(self.io(&path, Errno::NOENT)),
            Err(cause) => return Err(self.cause(path, cause)),
        };
        fs::openat(&above.fd, last(path), LIST, Mode::empty()).map_err(|error| self.io(path, error))
    }
}
