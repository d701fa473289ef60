//! How often something has changed, where everybody can read it without a lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{IoContext, Result};

/// The file `generation`: a number of eight bytes, the lowest first. It is written after the commit that it counts and
/// before that is acknowledged. It is not synced: after a power cut the database's own number counts.
#[derive(Debug)]
pub(super) struct GenerationFile {
    path: PathBuf,
    reading: OnceLock<File>,
}

impl GenerationFile {
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.join("generation"), reading: OnceLock::new() }
    }

    /// What it says; 0 where there is none.
    pub(super) fn read(&self) -> Result<u64> {
        let file = match self.reading.get() {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.reading.get_or_init(|| file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                outcome => return outcome.map(|_| 0).during("read", "the generation", &self.path),
            },
        };
        self.read_from(file)
    }

    /// Opens it for writing, and makes it where there is none; what it says. Only for who has the database.
    pub(super) fn open(&self) -> Result<(File, u64)> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.path).during("write", "the generation", &self.path)?;
        let generation = self.read_from(&file)?;
        Ok((file, generation))
    }

    fn read_from(&self, file: &File) -> Result<u64> {
        let mut bytes = [0; 8];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error).during("read", "the generation", &self.path),
        }
    }

    pub(super) fn write(&self, file: &File, generation: u64) -> Result<()> {
        file.write_all_at(&generation.to_le_bytes(), 0).during("write", "the generation", &self.path)
    }
}
