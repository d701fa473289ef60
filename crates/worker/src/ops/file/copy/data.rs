//! What is in a file, copied: by sharing blocks or within the kernel where that can be, holes left as they are.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::super::tree::Facts;

/// Between two looks at the token.
const PIECE: u64 = 1 << 20;
/// What is shorter is sooner copied than shared.
const WORTH_SHARING: u64 = 64 << 10;

/// Why data were not copied.
pub(super) enum Stopped {
    Cancelled,
    /// The source ends before it should.
    Short,
    From(Errno),
    To(Errno),
}

/// How data are copied here, as it has turned out so far.
#[derive(Debug, Default)]
pub(super) struct Data {
    /// The file systems do not share blocks.
    shares_not: bool,
    /// The kernel does not copy between them.
    ranges_not: bool,
    buffer: Vec<u8>,
}

impl Data {
    /// Copies all of a file to one that is empty.
    pub(super) fn copy(
        &mut self,
        from: impl AsFd,
        facts: &Facts,
        to: impl AsFd,
        cancel: &CancellationToken,
    ) -> Result<(), Stopped> {
        let (from, to, size) = (from.as_fd(), to.as_fd(), facts.size());
        if size >= WORTH_SHARING && !self.shares_not {
            match fs::ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(_) => self.shares_not = true,
            }
        }
        if !facts.has_holes() {
            return self.range(from, to, 0, size, cancel);
        }
        let mut at = 0;
        while at < size {
            let start = match fs::seek(from, SeekFrom::Data(at)) {
                Ok(start) => start.min(size),
                Err(Errno::NXIO) => break,
                Err(error) => return Err(Stopped::From(error)),
            };
            let end = fs::seek(from, SeekFrom::Hole(start)).map_err(Stopped::From)?.min(size);
            self.range(from, to, start, end, cancel)?;
            at = end.max(start + 1);
        }
        fs::ftruncate(to, size).map_err(Stopped::To)
    }

    /// Copies from `at` to `end`.
    fn range(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        mut at: u64,
        end: u64,
        cancel: &CancellationToken,
    ) -> Result<(), Stopped> {
        while at < end {
            if cancel.is_cancelled() {
                return Err(Stopped::Cancelled);
            }
            let most = usize::try_from((end - at).min(PIECE)).unwrap_or(1 << 20);
            let copied = match self.piece(from, to, at, most)? {
                0 => return Err(Stopped::Short),
                copied => copied,
            };
            at += u64::try_from(copied).unwrap_or(PIECE);
        }
        Ok(())
    }

    fn piece(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        at: u64,
        most: usize,
    ) -> Result<usize, Stopped> {
        if !self.ranges_not {
            let (mut source, mut target) = (at, at);
            match fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), most) {
                // Some file systems say so of what they cannot copy.
                Ok(0) => {}
                Ok(copied) => return Ok(copied),
                Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                    self.ranges_not = true;
                }
                Err(error) => return Err(Stopped::To(error)),
            }
        }
        self.buffer.resize(1 << 18, 0);
        let length = most.min(self.buffer.len());
        let buffer = self.buffer.get_mut(..length).unwrap_or_default();
        let read =
            rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut *buffer, at)).map_err(Stopped::From)?;
        let mut data = self.buffer.get(..read).unwrap_or_default();
        let mut offset = at;
        while !data.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(to, data, offset)).map_err(Stopped::To)?;
            if written == 0 {
                return Err(Stopped::To(Errno::IO));
            }
            data = data.get(written..).unwrap_or_default();
            offset += u64::try_from(written).unwrap_or(0);
        }
        Ok(read)
    }
}
