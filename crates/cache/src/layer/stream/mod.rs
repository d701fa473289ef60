//! The bytes of a tar on their way: hashed and counted as they come, lent as slices so that nothing is copied.

mod decoder;
mod pipe;

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use lazyblob_remote::What;
use lazyblob_remote::digest::Hasher;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

pub(super) use decoder::Decoder;
pub(super) use pipe::Pipe;

/// How many bytes travel at once.
const CHUNK: usize = 256 << 10;

/// Where bytes come from.
pub(super) trait Source {
    /// The bytes at hand; fetches more where there are none. Empty at the end.
    fn chunk(&mut self) -> Result<&[u8]>;

    /// Takes the first `count` bytes of the chunk as read.
    fn consume(&mut self, count: usize);
}

/// The bytes of one tar.
pub(super) struct Bytes<'a> {
    source: Box<dyn Source + 'a>,
    hasher: Hasher,
    /// How many bytes of the chunk at hand have been hashed already.
    ahead: usize,
    size: u64,
    limit: u64,
    what: What,
    cancel: &'a CancellationToken,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(
        source: impl Source + 'a,
        hasher: Hasher,
        limit: u64,
        what: What,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self { source: Box::new(source), hasher, ahead: 0, size: 0, limit, what, cancel }
    }

    /// The bytes at hand, empty at the end.
    pub(super) fn chunk(&mut self) -> Result<&[u8]> {
        if self.ahead > 0 {
            return self.source.chunk();
        }
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled { what: self.what.clone() });
        }
        let chunk = self.source.chunk()?;
        self.size = self.size.saturating_add(chunk.len().try_into().unwrap_or(u64::MAX));
        if self.size > self.limit {
            let reason = format!("more than {} bytes uncompressed, the limit of a layer's size", self.limit);
            return Err(Error::Refused { what: self.what.clone(), reason });
        }
        self.hasher.update(chunk);
        self.ahead = chunk.len();
        Ok(chunk)
    }

    /// Takes the first `count` bytes of the chunk as read.
    pub(super) fn consume(&mut self, count: usize) {
        self.ahead = self.ahead.saturating_sub(count);
        self.source.consume(count);
    }

    /// Fills `buffer` as far as there are bytes; says how far.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let chunk = self.chunk()?;
            let count = chunk.len().min(rest.len());
            if count == 0 {
                break;
            }
            if let (Some(to), Some(from)) = (rest.get_mut(..count), chunk.get(..count)) {
                to.copy_from_slice(from);
            }
            self.consume(count);
            filled += count;
        }
        Ok(filled)
    }

    /// Goes on by `count` bytes; says how many there were.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64> {
        let mut left = count;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk()?.len());
            if length == 0 {
                break;
            }
            self.consume(length);
            left -= u64::try_from(length).unwrap_or(left);
        }
        Ok(count - left)
    }

    /// Reads what is left, since the digest is over all of it; gives digest and size.
    pub(super) fn finish(mut self) -> Result<(String, u64)> {
        self.skip(u64::MAX)?;
        Ok((self.hasher.finish(), self.size))
    }
}

/// A tar that is not compressed, read where it is applied.
pub(super) struct Plain<R> {
    reader: BufReader<R>,
    what: What,
}

impl<R: Read> Plain<R> {
    pub(super) fn new(reader: R, what: What) -> Self {
        Self { reader: BufReader::with_capacity(CHUNK, reader), what }
    }
}

impl<R: Read> Source for Plain<R> {
    fn chunk(&mut self) -> Result<&[u8]> {
        while let Err(source) = self.reader.fill_buf() {
            if source.kind() != std::io::ErrorKind::Interrupted {
                return Err(unreadable(&self.what, source));
            }
        }
        // Filled above, so this reads nothing.
        self.reader.fill_buf().map_err(|source| unreadable(&self.what, source))
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }
}

/// The reader that was given failed: its error is handed on as it is, since it may be one that the caller knows.
fn unreadable(what: &What, source: std::io::Error) -> Error {
    Error::Io { what: what.clone(), path: Path::new("blob").to_owned(), source }
}
