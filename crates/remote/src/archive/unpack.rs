//! Layers on their way into a docker-archive: decompressed, hashed and written, whatever form they come in.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::write::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::Decoder;
use zstd::stream::zio;

use crate::digest::Hasher;

/// Takes a layer's bytes chunk by chunk. What they are is seen from the first of them; media types lie.
pub(super) enum Unpacker {
    /// Fewer bytes than it takes to tell.
    Undecided(Vec<u8>, Plain),
    /// A tar file.
    Plain(Plain),
    /// Gzip, of any number of members.
    Gzip(Box<MultiGzDecoder<Plain>>),
    /// Zstd, of any number of frames, skippable ones included.
    Zstd(Box<zio::Writer<Plain, Decoder<'static>>>),
}

/// The uncompressed end: a run of bytes in a file.
pub(super) struct Plain {
    file: Arc<File>,
    offset: u64,
    size: u64,
    hasher: Hasher,
}

impl Unpacker {
    /// Writes what comes out to `file`, from `offset` on.
    pub(super) fn new(file: Arc<File>, offset: u64) -> Self {
        let hasher = Hasher::Sha256(Sha256::new());
        Self::Undecided(Vec::new(), Plain { file, offset, size: 0, hasher })
    }

    /// Takes the next bytes.
    pub(super) fn write(self, chunk: &[u8]) -> io::Result<Self> {
        match self {
            Self::Undecided(mut first, plain) => {
                first.extend_from_slice(chunk);
                if first.len() < 4 {
                    return Ok(Self::Undecided(first, plain));
                }
                Self::decide(&first, plain)?.write(&first)
            }
            Self::Plain(mut plain) => plain.write_all(chunk).map(|()| Self::Plain(plain)),
            Self::Gzip(mut decoder) => decoder.write_all(chunk).map(|()| Self::Gzip(decoder)),
            Self::Zstd(mut decoder) => decoder.write_all(chunk).map(|()| Self::Zstd(decoder)),
        }
    }

    /// Size and diffID of what came out.
    pub(super) fn finish(self) -> io::Result<(u64, String)> {
        let plain = match self {
            Self::Undecided(few, mut plain) => {
                plain.write_all(&few)?;
                plain
            }
            Self::Plain(plain) => plain,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zstd(mut decoder) => {
                decoder.finish()?;
                decoder.into_inner().0
            }
        };
        Ok((plain.size, plain.hasher.finish()))
    }

    fn decide(first: &[u8], plain: Plain) -> io::Result<Self> {
        Ok(match first {
            [0x1f, 0x8b, ..] => Self::Gzip(Box::new(MultiGzDecoder::new(plain))),
            // A frame, or a skippable one before it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Self::Zstd(Box::new(zio::Writer::new(plain, Decoder::new()?)))
            }
            _ => Self::Plain(plain),
        })
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.offset + self.size)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
