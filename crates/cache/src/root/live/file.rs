//! The file of this process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::layout::flock::Holder;

/// Files that have no name of their own yet begin with this.
pub(super) const NEW: &str = ".new-";
/// So many digits the edition has at the beginning of the file.
pub(super) const EDITION: usize = 20;
/// So few lines are not worth writing anew.
const FEW: usize = 128;

/// A file that says what this process pins, and that it lives.
#[derive(Debug)]
pub(super) struct LiveFile {
    path: PathBuf,
    file: File,
    edition: u64,
    /// Where the first line about a pin begins.
    begin: u64,
    /// Where the last line ends that was written whole.
    end: u64,
    lines: usize,
}

impl LiveFile {
    /// Makes the file of this process in `dir`, so that nobody ever sees it unlocked under its name.
    pub(super) fn create(dir: &Path, holder: Option<&str>) -> io::Result<Self> {
        let name = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let header = format!("{} {}\n", digits(0), serde_json::to_string(&Holder::this_process(holder))?);
        let (path, new, begin) = (dir.join(&name), dir.join(format!("{NEW}{name}")), header.len() as u64);
        loop {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).mode(0o600).open(&new)?;
            let put = || {
                file.lock()?;
                file.write_all_at(header.as_bytes(), 0)?;
                fs::rename(&new, &path)
            };
            match put() {
                Ok(()) => return Ok(Self { path, file, edition: 0, begin, end: begin, lines: 0 }),
                // Somebody took it for a dead process's before it was locked.
                Err(error) if error.kind() == io::ErrorKind::NotFound && file.metadata()?.nlink() == 0 => {}
                Err(error) => {
                    drop(fs::remove_file(&new));
                    return Err(error);
                }
            }
        }
    }

    /// Adds lines: all of them or none.
    pub(super) fn append(&mut self, lines: &[String]) -> io::Result<()> {
        let text = lines.concat();
        // What a write has left that failed in the middle is cut off, or else written over.
        self.file.write_all_at(text.as_bytes(), self.end).inspect_err(|_| {
            drop(self.file.set_len(self.end));
        })?;
        self.end += text.len() as u64;
        self.lines += lines.len();
        Ok(())
    }

    /// Whether most of the lines say nothing any more, where `live` of them would do.
    pub(super) fn is_worth_compacting(&self, live: usize) -> bool {
        self.lines > FEW && self.lines / 4 > live
    }

    /// Has these lines instead of those it has. In its place: who lists a directory while a file of it is exchanged for
    /// another of the same name sees neither of them on some file systems.
    pub(super) fn replace(&mut self, lines: &[String]) -> io::Result<()> {
        let text = lines.concat();
        let odd = self.edition + 1;
        self.file.write_all_at(digits(odd).as_bytes(), 0)?;
        // Longer than what it had it is never: what a failure leaves is a beginning of what is to be there, and after
        // it what was. Of that the next attempt makes a whole again, and until then readers wait.
        self.file.write_all_at(text.as_bytes(), self.begin)?;
        self.end = self.begin + text.len() as u64;
        self.file.set_len(self.end)?;
        self.file.write_all_at(digits(odd + 1).as_bytes(), 0)?;
        (self.edition, self.lines) = (odd + 1, lines.len());
        Ok(())
    }
}

/// An edition as it is written: an odd one is being written.
fn digits(edition: u64) -> String {
    format!("{edition:0EDITION$}")
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
        // A child that is between fork and exec has it open as well.
        drop(self.file.unlock());
    }
}
