//! A tar file in the making: regions are handed out under a short lock and filled by positioned writes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tar::{EntryType, Header};

use crate::error::{Error, Result, What};
use crate::layout::disk::{self, parent_of};
use crate::layout::temp::{self, TempFile};

const BLOCK: u64 = 512;
const OPERATION: &str = "write archive";

/// An archive that has not got its name yet.
#[derive(Debug)]
pub(crate) struct Writer {
    target: PathBuf,
    place: String,
    file: Arc<File>,
    temp_path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where the next entry begins.
    end: u64,
    /// Taken when the archive is to get its name.
    temp: Option<TempFile>,
    /// Whether it has it.
    named: bool,
}

impl Writer {
    /// Begins an archive that will be called `target`; `place` is named in errors.
    pub(crate) async fn create(target: PathBuf, place: String) -> Result<Arc<Self>> {
        let named = place.clone();
        let what = || What::new(OPERATION, named);
        let created = move || {
            let dir = parent_of(&target);
            if !dir.is_dir() {
                return Err(Error::not_found(
                    OPERATION,
                    place,
                    format_args!("no directory {}", dir.display()),
                ));
            }
            let Some(name) = target.file_name().filter(|_| !target.is_dir()) else {
                return Err(Error::invalid(OPERATION, place, "it is a directory"));
            };
            // The archive takes the place of what is there: that must not be a device or a pipe.
            if fs::metadata(&target).is_ok_and(|there| !there.is_file()) {
                return Err(Error::invalid(OPERATION, place, "what is there is not a regular file"));
            }
            let prefix = format!(".{}.", name.to_string_lossy());
            temp::sweep(dir, &prefix);
            let temp =
                TempFile::create(dir, &prefix).map_err(|error| Error::io(OPERATION, &place, dir, error))?;
            let (file, temp_path) = (Arc::clone(temp.file()), temp.path().to_owned());
            let state = Mutex::new(State { end: 0, temp: Some(temp), named: false });
            Ok(Arc::new(Self { target, place, file, temp_path, state }))
        };
        disk::blocking(what, created).await?
    }

    /// The file all is written to.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Its name for now.
    pub(crate) fn temp_path(&self) -> &Path {
        &self.temp_path
    }

    /// The name it will have.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The location, to be named in errors.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Whether the archive has its name.
    pub(crate) fn is_finished(&self) -> bool {
        self.state().named
    }

    /// Refuses to go on with an archive that was finished, with or without success.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.state().temp.is_none() {
            return Err(Error::invalid(OPERATION, &self.place, "it is finished already"));
        }
        Ok(())
    }

    /// An error that names what could not be written.
    pub(crate) fn failed(&self, source: io::Error) -> Error {
        Error::io(OPERATION, &self.place, &self.temp_path, source)
    }

    /// Reserves room for an entry: its header and `size` bytes of content. Returns where the header goes; the content
    /// follows it. The gap up to the next entry is zeros by itself.
    pub(crate) fn reserve(&self, header: &[u8], size: u64) -> u64 {
        let mut state = self.state();
        let start = state.end;
        state.end = start + header.len() as u64 + size.next_multiple_of(BLOCK);
        start
    }

    /// Adds an entry that is in memory.
    pub(crate) fn append(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let header = header(name, content.len() as u64)?;
        let start = self.reserve(&header, content.len() as u64);
        self.file.write_all_at(&header, start)?;
        self.file.write_all_at(content, start + header.len() as u64)
    }

    /// Adds a directory.
    pub(crate) fn append_dir(&self, name: &str) -> io::Result<()> {
        let mut header = plain_header(EntryType::Directory, 0, 0o755);
        header.set_path(name)?;
        header.set_cksum();
        let start = self.reserve(header.as_bytes(), 0);
        self.file.write_all_at(header.as_bytes(), start)
    }

    /// Where an entry of unknown size may begin, and where its content goes. Nothing is reserved: only one may be
    /// written at a time, and nothing else until [`Writer::close_open_ended`].
    pub(crate) fn open_ended(&self) -> (u64, u64) {
        let start = self.state().end;
        (start, start + BLOCK)
    }

    /// Makes an entry of what [`Writer::open_ended`] began.
    pub(crate) fn close_open_ended(&self, start: u64, name: &str, size: u64) -> io::Result<()> {
        let header = header(name, size)?;
        if header.len() as u64 != BLOCK {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "name too long for one header"));
        }
        // An attempt that failed may have left bytes where the padding goes.
        let content_end = start + BLOCK + size;
        let end = content_end.next_multiple_of(BLOCK);
        let padding = usize::try_from(end - content_end).unwrap_or_default();
        self.file.write_all_at(&[0; 512][..padding], content_end)?;
        self.file.write_all_at(&header, start)?;
        self.state().end = end;
        Ok(())
    }

    /// Ends the archive, makes it durable and gives it its name. If that fails nothing is left of it.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let (end, temp) = {
            let mut state = self.state();
            (state.end, state.temp.take())
        };
        let Some(temp) = temp else { return Err(io::Error::other("it could not be finished before")) };
        // What a failed attempt left beyond the end goes; the two blocks that end a tar file are zeros.
        self.file.set_len(end)?;
        self.file.set_len(end + 2 * BLOCK)?;
        temp.persist(&self.target)?;
        self.state().named = true;
        Ok(())
    }

    /// Runs `work` on this archive in a blocking thread.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let writer = Arc::clone(self);
        disk::blocking(|| What::new(OPERATION, &self.place), move || work(&writer))
            .await?
            .map_err(|error| self.failed(error))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The header of a file, with an extended one before it where the name needs it.
pub(crate) fn header(name: &str, size: u64) -> io::Result<Vec<u8>> {
    let mut header = plain_header(EntryType::Regular, size, 0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, io::empty())?;
    Ok(builder.get_ref().clone())
}

/// The same bytes for the same content: no time, no owner.
fn plain_header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn tar_reads_what_was_reserved_filled_and_patched() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.tar");
        let writer = Writer::create(target.clone(), "test".into()).await.unwrap();
        let long = format!("blobs/sha512/{}", "a".repeat(128));
        let (first, second) = (header("one", 5).unwrap(), header(&long, 600).unwrap());
        assert_eq!(first.len(), 512);
        let first_start = writer.reserve(&first, 5);
        let second_start = writer.reserve(&second, 600);
        writer.file().write_all_at(&[&second[..], &[2; 600]].concat(), second_start).unwrap();
        writer.file().write_all_at(&[&first[..], b"hello"].concat(), first_start).unwrap();
        let (start, content) = writer.open_ended();
        // A failed attempt that was longer than the good one.
        writer.file().write_all_at(&[9; 5000], content).unwrap();
        let (again, content) = writer.open_ended();
        assert_eq!(start, again);
        writer.file().write_all_at(b"patched", content).unwrap();
        writer.close_open_ended(start, "three", 7).unwrap();
        assert!(!target.exists());
        writer.finish().unwrap();

        let mut archive = tar::Archive::new(File::open(&target).unwrap());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            found.push((entry.path().unwrap().display().to_string(), bytes));
        }
        let expected = [
            ("one".to_owned(), b"hello".to_vec()),
            (long, vec![2; 600]),
            ("three".to_owned(), b"patched".to_vec()),
        ];
        assert_eq!(found, expected);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_dropped_archive_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.tar");
        fs::write(&target, "old").unwrap();
        let writer = Writer::create(target.clone(), "test".into()).await.unwrap();
        writer.append("one", b"new").unwrap();
        drop(writer);
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Writer::create(dir.path().join("no/a.tar"), "test".into()).await.unwrap_err().is_not_found());
        assert!(matches!(
            Writer::create(dir.path().to_owned(), "test".into()).await,
            Err(Error::Invalid { .. })
        ));
    }
}
