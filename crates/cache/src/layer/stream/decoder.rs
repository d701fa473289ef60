//! Decompression. What a blob is compressed with is told by its first bytes; its media type may be wrong.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;
use lazyblob_remote::What;

use super::unreadable;
use crate::error::{Error, Result};
use crate::layer::tarball::looks_like_tar;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Compressions that no media type of a layer names.
const UNKNOWN: [(&str, &[u8]); 4] =
    [("xz", b"\xfd7zXZ\0"), ("bzip2", b"BZh"), ("lz4", b"\x04\x22\x4d\x18"), ("compress", b"\x1f\x9d")];

/// The uncompressed bytes of a blob.
pub(in crate::layer) struct Decoder<R: Read> {
    form: Form<Watched<R>>,
    name: &'static str,
    seen: Rc<Seen>,
    what: What,
}

enum Form<R: Read> {
    Plain(R),
    Gzip(Box<Gzip<BufReader<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
}

/// The reader of the blob, watched: a decoder wraps its errors, and the caller wants them as they were.
struct Watched<R> {
    inner: Chain<Cursor<Vec<u8>>, R>,
    seen: Rc<Seen>,
}

#[derive(Default)]
struct Seen {
    bytes: Cell<u64>,
    error: RefCell<Option<io::Error>>,
}

impl<R: Read> Decoder<R> {
    /// Reads the first bytes of `blob` and decides.
    pub(in crate::layer) fn new(mut blob: R, media_type: &str, what: What) -> Result<Self> {
        let mut head = Vec::new();
        blob.by_ref().take(512).read_to_end(&mut head).map_err(|error| unreadable(&what, error))?;
        let is_gzip = head.starts_with(GZIP);
        let is_zstd = head.starts_with(ZSTD) || is_skippable(&head);
        let is_bare = !is_gzip && !is_zstd;
        let unknown = UNKNOWN.iter().find(|(_, magic)| is_bare && head.starts_with(magic));
        if let Some((name, _)) = unknown.filter(|_| !looks_like_tar(&head)) {
            let reason = format!("compressed with {name}, which is not a compression of layers");
            return Err(Error::Invalid { what, reason });
        }
        if let Some(named) = compression(media_type).filter(|_| is_bare && !looks_like_tar(&head)) {
            let reason = format!("the media type says {named}, and the bytes are neither that nor a tar");
            return Err(Error::Invalid { what, reason });
        }
        let seen = Rc::new(Seen::default());
        let watched = Watched { inner: Cursor::new(head).chain(blob), seen: Rc::clone(&seen) };
        let (form, name) = if is_gzip {
            (Form::Gzip(Box::new(Gzip::new(BufReader::with_capacity(BUFFER, watched)))), "gzip")
        } else if is_zstd {
            let reader = BufReader::with_capacity(BUFFER, watched);
            let decoder = zstd::stream::read::Decoder::with_buffer(reader)
                .map_err(|error| Error::Invalid { what: what.clone(), reason: format!("zstd: {error}") })?;
            (Form::Zstd(decoder), "zstd")
        } else {
            (Form::Plain(watched), "tar")
        };
        Ok(Self { form, name, seen, what })
    }

    /// Bytes of the blob that have been read.
    pub(super) fn consumed(&self) -> u64 {
        self.seen.bytes.get()
    }

    /// Reads some uncompressed bytes; none at the end.
    pub(in crate::layer) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = match &mut self.form {
            Form::Plain(reader) => reader.read(buffer),
            Form::Gzip(reader) => reader.read(buffer),
            Form::Zstd(reader) => reader.read(buffer),
        };
        read.map_err(|error| match self.seen.error.take() {
            Some(source) => unreadable(&self.what, source),
            None => {
                let reason = match error.kind() {
                    io::ErrorKind::UnexpectedEof => format!("the {} stream is cut off", self.name),
                    _ => format!("the {} stream is broken: {error}", self.name),
                };
                Error::Invalid { what: self.what.clone(), reason }
            }
        })
    }
}

/// How much of a compressed blob is read at once.
const BUFFER: usize = 128 << 10;

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Ok(read) => {
                    self.seen.bytes.set(self.seen.bytes.get() + u64::try_from(read).unwrap_or(0));
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.seen.error.replace(Some(error));
                    return Err(io::Error::other("the blob cannot be read"));
                }
            }
        }
    }
}

/// A gzip file: members one after the other, zeros behind them (RFC 1952 §2.2; the zeros as gzip itself has it).
struct Gzip<R: BufRead> {
    /// Nothing at the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gzip<R> {
    fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(reader)) }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.member.take() {
            let read = member.read(buffer)?;
            if read > 0 {
                self.member = Some(member);
                return Ok(read);
            }
            let mut rest = member.into_inner();
            if has_member(&mut rest)? {
                self.member = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

fn has_member(rest: &mut impl BufRead) -> io::Result<bool> {
    if rest.fill_buf()?.first() == GZIP.first() {
        return Ok(true);
    }
    loop {
        let padding = rest.fill_buf()?;
        if padding.iter().any(|byte| *byte != 0) {
            let reason = "behind its end is something that is neither a member nor padding";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let length = padding.len();
        if length == 0 {
            return Ok(false);
        }
        rest.consume(length);
    }
}

/// A zstd file may begin with a frame that is to be skipped (RFC 8878 §3.1.2).
fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// What the media type says the blob is compressed with.
fn compression(media_type: &str) -> Option<&'static str> {
    let media_type = lazyblob_remote::media::bare(media_type);
    ["gzip", "zstd"].into_iter().find(|name| media_type.ends_with(name))
}
