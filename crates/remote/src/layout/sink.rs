//! A file as the end of a stream: chunks are gathered and written in blocking threads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::{self, CHUNK};
use crate::error::{Error, Result, What};

/// Writes chunks one after the other from an offset on. `H` is whatever must not be let go while a write is under way,
/// even if the future that asked for it is dropped.
#[derive(Debug)]
pub(crate) struct Sink<H = ()> {
    file: Arc<File>,
    path: PathBuf,
    what: What,
    offset: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    hold: Option<H>,
}

impl<H: Send + 'static> Sink<H> {
    /// Writes to `file`, which errors call `path`, from `offset` on.
    pub(crate) fn new(file: Arc<File>, path: PathBuf, what: What, offset: u64, hold: H) -> Self {
        Self { file, path, what, offset, gathered: Vec::new(), gathered_bytes: 0, hold: Some(hold) }
    }

    /// Takes the next chunk; it is in the file after [`Sink::flush`] at the latest.
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.gathered_bytes += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_bytes >= CHUNK { self.flush().await } else { Ok(()) }
    }

    /// Writes what was gathered. It is not durable yet. What could not be written is dropped: the offset is where the
    /// last flush that succeeded has ended.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        if self.gathered_bytes == 0 {
            return Ok(());
        }
        let (chunks, bytes) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.gathered_bytes));
        let (file, mut offset, hold) = (Arc::clone(&self.file), self.offset, self.hold.take());
        let what = self.what.clone();
        let (hold, written) = disk::blocking(
            || what,
            move || {
                let written = chunks.iter().try_for_each(|chunk| {
                    file.write_all_at(chunk, offset)?;
                    offset += chunk.len() as u64;
                    Ok(())
                });
                (hold, written)
            },
        )
        .await?;
        self.hold = hold;
        written.map_err(|source| self.failed(source))?;
        self.offset += bytes as u64;
        Ok(())
    }

    /// Whether everything taken is in the file.
    pub(crate) fn is_flushed(&self) -> bool {
        self.gathered.is_empty()
    }

    /// Whether the future of a write was dropped in the middle, so that nobody knows what is in the file.
    pub(crate) fn is_torn(&self) -> bool {
        self.hold.is_none()
    }

    /// Drops what was gathered and goes on at `offset`.
    pub(crate) fn rewind(&mut self, offset: u64) {
        self.gathered.clear();
        (self.gathered_bytes, self.offset) = (0, offset);
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io { what: self.what.clone(), path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_an_error_that_names_the_file() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let what = What::new("write blob", "sha256:0");
        let mut sink = Sink::new(Arc::new(file), "/dev/full".into(), what, 0, ());
        sink.write(Bytes::from_static(b"small")).await.unwrap();
        let error = sink.flush().await.unwrap_err();
        assert!(
            matches!(&error, Error::Io { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull),
            "{error:?}"
        );
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }

    #[tokio::test]
    async fn chunks_land_in_order_from_the_offset_on() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let file = File::create(&path).unwrap();
        let mut sink = Sink::new(Arc::new(file), path.clone(), What::new("write", "file"), 3, ());
        for chunk in [vec![1; 10], vec![2; CHUNK], vec![3; 7]] {
            sink.write(chunk.into()).await.unwrap();
        }
        sink.flush().await.unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(bytes.len(), 3 + 10 + CHUNK + 7);
        assert_eq!(bytes[..3], [0; 3]);
        assert_eq!(bytes[13], 2);
        assert!(bytes[13 + CHUNK..].iter().all(|byte| *byte == 3));
    }
}
