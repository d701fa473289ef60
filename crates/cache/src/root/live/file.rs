//! The file of this process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::layout::flock::Holder;

/// Files that have no name of their own yet begin with this.
pub(super) const NEW: &str = ".new-";
/// So few lines are not worth writing anew.
const FEW: usize = 128;

/// Whose files they are.
#[derive(Debug)]
pub(super) struct Owner {
    /// What the names of all of them begin with.
    prefix: String,
    holder: Option<&'static str>,
}

impl Owner {
    pub(super) fn new(holder: Option<&'static str>) -> Self {
        Self { prefix: format!("{}-{:016x}-", std::process::id(), fastrand::u64(..)), holder }
    }

    /// Whether a file of this name is one of them, named or not yet.
    pub(super) fn has(&self, name: &str) -> bool {
        name.strip_prefix(NEW).unwrap_or(name).starts_with(&self.prefix)
    }
}

/// A file that says what this process pins, and that it lives.
#[derive(Debug)]
pub(super) struct LiveFile {
    path: PathBuf,
    file: File,
    number: u64,
    /// Where the last line ends that was written whole.
    end: u64,
    lines: usize,
}

impl LiveFile {
    /// Makes a file of this process in `dir`, so that nobody ever sees it unlocked, or without all of `lines`, under its
    /// name.
    pub(super) fn create(dir: &Path, owner: &Owner, number: u64, lines: &[String]) -> io::Result<Self> {
        let name = format!("{}{number}", owner.prefix);
        let holder = Holder::this_process(owner.holder);
        let text = format!("{}\n{}", serde_json::to_string(&holder)?, lines.concat());
        let (path, new, end) = (dir.join(&name), dir.join(format!("{NEW}{name}")), text.len() as u64);
        loop {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).mode(0o600).open(&new)?;
            let put = || {
                file.lock()?;
                file.write_all_at(text.as_bytes(), 0)?;
                fs::rename(&new, &path)
            };
            match put() {
                Ok(()) => return Ok(Self { path, file, number, end, lines: lines.len() }),
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

    /// Has these lines instead of those it has, in another file. Not one of the same name: who lists a directory while a
    /// file of it is exchanged for another sees neither of them on some file systems. This way a reader sees that the old
    /// one has gone.
    pub(super) fn replace(&mut self, dir: &Path, owner: &Owner, lines: &[String]) -> io::Result<()> {
        *self = Self::create(dir, owner, self.number + 1, lines)?;
        Ok(())
    }
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
        // A child that is between fork and exec has it open as well.
        drop(self.file.unlock());
    }
}
