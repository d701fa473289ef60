//! What blobs there are.

use std::fs::{self, ReadDir};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use oci_spec::image::Digest;

use super::Store;
use crate::error::{IoContext as _, Result};

const OPERATION: &str = "list blobs";

/// A blob that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When its last byte came.
    pub modified: SystemTime,
}

impl Store {
    /// The blobs on disk, in no order. Files whose names are no digests are somebody else's. Blocking.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn list(&self) -> Result<Vec<Stored>> {
        let blobs = self.layout.root().join("blobs");
        let mut found = Vec::new();
        for algorithm in read_dir(&blobs).during(OPERATION, blobs.display(), &blobs)?.into_iter().flatten() {
            let dir = algorithm.during(OPERATION, blobs.display(), &blobs)?.path();
            let list = list(&dir, &mut found);
            list.during(OPERATION, blobs.display(), &dir)?;
        }
        Ok(found)
    }
}

fn list(dir: &Path, found: &mut Vec<Stored>) -> io::Result<()> {
    let algorithm = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for entry in read_dir(dir)?.into_iter().flatten() {
        let entry = entry?;
        let digest = entry.file_name().to_str().and_then(|hex| format!("{algorithm}:{hex}").parse().ok());
        let Some(digest) = digest else { continue };
        match entry.metadata() {
            Ok(file) if file.is_file() => {
                found.push(Stored { digest, size: file.len(), modified: file.modified()? });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The entries of a directory; nothing where there is none.
fn read_dir(dir: &Path) -> io::Result<Option<ReadDir>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if super::is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
