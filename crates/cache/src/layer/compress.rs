//! A layer compressed and hashed on both sides in one pass, to the same bytes every time.
//!
//! The bytes depend on the tar, the compression and its level, and on the versions of the libraries: not on the pieces
//! the tar comes in (they are made even), the time, the machine's name for itself, or the number of threads. Zstandard
//! always works in jobs of one size, one thread or many: it would give other bytes without jobs.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use lazyblob_remote::digest::Hasher;
use oci_spec::image::{Descriptor, Digest, DigestAlgorithm, MediaType};
use zstd::zstd_safe::CParameter;

use super::compression::{Compression, LayerType};
use crate::error::{Error, Result, What};

/// Pieces that the compressors get.
const PIECE: usize = 128 * 1024;
/// What one thread of Zstandard takes at once. Smaller ones compress less, larger ones leave small layers to one thread.
const JOB: u32 = 8 * 1024 * 1024;
/// "Unknown": which of them made it must not show (RFC 1952, OS).
const UNKNOWN_SYSTEM: u8 = 255;

const OPERATION: &str = "compress layer as";

/// A layer that has been compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// Media type, digest and size of the compressed blob.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Compresses the tar that is written to it. What comes out is worth nothing until [`Compressor::finish`] said so.
pub struct Compressor<W: Write> {
    layer: LayerType,
    encoder: Encoder<Counting<W>>,
    /// Less than one piece.
    waiting: Vec<u8>,
    hasher: Hasher,
    size: u64,
}

enum Encoder<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Begins a layer that goes to `out`. `layer` says which media type it gets, but for the compression, which is as
    /// `compression` says. `threads` work beside the caller with Zstandard, at least one; gzip has none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a level that there is not, [`Error::Io`] if `out` fails.
    pub fn new(out: W, layer: LayerType, compression: Compression, threads: u32) -> Result<Self> {
        compression.check()?;
        let layer = layer.with(compression.algorithm());
        let out = Counting { out, hasher: hasher(layer, &DigestAlgorithm::Sha256)?, size: 0 };
        let encoder = encoder(out, compression, threads).map_err(|source| failed(layer, source))?;
        let waiting = Vec::with_capacity(PIECE);
        Ok(Self { layer, encoder, waiting, hasher: hasher(layer, &DigestAlgorithm::Sha256)?, size: 0 })
    }

    /// Takes another algorithm for the diffID than sha256.
    pub(super) fn hashing(mut self, algorithm: &DigestAlgorithm) -> Result<Self> {
        if self.size != 0 {
            return Err(Error::invalid(OPERATION, self.layer.media_type(), "it has been begun already"));
        }
        self.hasher = hasher(self.layer, algorithm)?;
        Ok(self)
    }

    /// Ends the layer. Returns what it is and where it went.
    ///
    /// # Errors
    /// [`Error::Io`] if the rest cannot be written.
    pub fn finish(mut self) -> Result<(Compressed, W)> {
        let waiting = std::mem::take(&mut self.waiting);
        let layer = self.layer;
        let ended = self.encoder.write_all(&waiting).and_then(|()| match self.encoder {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        });
        let mut out = ended.map_err(|source| failed(layer, source))?;
        out.out.flush().map_err(|source| failed(layer, source))?;
        let media_type = MediaType::from(layer.media_type());
        let descriptor = Descriptor::new(media_type, out.size, digest(out.hasher, layer)?);
        Ok((Compressed { descriptor, diff_id: digest(self.hasher, layer)?, size: self.size }, out.out))
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.waiting.len());
        let taken = &bytes[..count];
        if count == PIECE {
            self.encoder.write_all(taken)?;
        } else {
            self.waiting.extend_from_slice(taken);
            if self.waiting.len() == PIECE {
                self.encoder.write_all(&self.waiting)?;
                self.waiting.clear();
            }
        }
        self.hasher.update(taken);
        self.size += count as u64;
        Ok(count)
    }

    /// Does nothing: where a compressor is flushed shows in the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("layer", &self.layer)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Encoder<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::None(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
            Self::Zstd(out) => out.write_all(bytes),
        }
    }
}

fn encoder<W: Write>(out: W, compression: Compression, threads: u32) -> io::Result<Encoder<W>> {
    match compression {
        Compression::None => Ok(Encoder::None(out)),
        Compression::Gzip { level } => {
            let header = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
            Ok(Encoder::Gzip(header.write(out, flate2::Compression::new(level))))
        }
        Compression::Zstd { level } => {
            let mut encoder = zstd::Encoder::new(out, i32::try_from(level).unwrap_or_default())?;
            encoder.multithread(threads.max(1))?;
            encoder.set_parameter(CParameter::JobSize(JOB))?;
            // The digest is check enough.
            encoder.include_checksum(false)?;
            Ok(Encoder::Zstd(encoder))
        }
    }
}

/// Counts and hashes what passes.
struct Counting<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn hasher(layer: LayerType, algorithm: &DigestAlgorithm) -> Result<Hasher> {
    let reason = format_args!("cannot compute {algorithm}");
    Hasher::new(algorithm).ok_or_else(|| Error::invalid(OPERATION, layer.media_type(), reason))
}

fn digest(hasher: Hasher, layer: LayerType) -> Result<Digest> {
    let text = hasher.finish();
    text.parse().map_err(|error| Error::invalid(OPERATION, layer.media_type(), error))
}

fn failed(layer: LayerType, source: io::Error) -> Error {
    Error::Io { what: What::new(OPERATION, layer.media_type()), path: PathBuf::from("output"), source }
}
