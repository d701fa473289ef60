//! The content of files: whether two have the same, which parts of one are zeros, and copying it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::node::Node;

const CHUNK: usize = 128 * 1024;
/// What holes are counted in, whatever the file system's blocks are: the same content gives the same tar.
const UNIT: usize = 4096;

/// A part of a file: offset and length.
pub(super) type Extent = (u64, u64);

/// Opens the file that `node` is, or says that it is another by now.
pub(super) fn open(node: &Node) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(&node.path)?;
    check(node, &file)?;
    Ok(file)
}

/// Says so if the file is not what it was when it was looked at: a tar of half of the old and half of the new content
/// would be of a tree that never was.
pub(super) fn check(node: &Node, file: &File) -> io::Result<()> {
    let (then, now) = (&node.meta, file.metadata()?);
    let same = (then.dev(), then.ino(), then.len(), then.mtime(), then.mtime_nsec())
        == (now.dev(), now.ino(), now.len(), now.mtime(), now.mtime_nsec());
    if same { Ok(()) } else { Err(changed()) }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it changed while it was read")
}

/// Whether two files of one size have the same content, byte by byte. Where both have a hole nothing is read.
pub(super) fn same(one: &Node, two: &Node, cancel: &CancellationToken) -> io::Result<bool> {
    let (first, second) = (open(one)?, open(two)?);
    let size = one.meta.len();
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < size {
        stop_if(cancel)?;
        let start = data_from(&first, at, size)?.min(data_from(&second, at, size)?);
        let len = (size - start).min(CHUNK as u64);
        let len = usize::try_from(len).unwrap_or(CHUNK);
        read_at(&first, &mut left[..len], start)?;
        read_at(&second, &mut right[..len], start)?;
        if left[..len] != right[..len] {
            return Ok(false);
        }
        at = start + len as u64;
    }
    check(one, &first)?;
    check(two, &second)?;
    Ok(true)
}

/// The parts of a file that are not zeros, if it has holes and leaving them out saves anything. Zeros that are written
/// out count as holes then: where exactly a file system has holes is its own affair, and must not show in a digest.
pub(super) fn extents(file: &File, size: u64, cancel: &CancellationToken) -> io::Result<Option<Vec<Extent>>> {
    if first_hole(file, size)? >= size {
        return Ok(None);
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let unit = UNIT as u64;
    let mut at = 0;
    while at < size {
        stop_if(cancel)?;
        let start = data_from(file, at, size)? / unit * unit;
        let len = usize::try_from((size - start).min(CHUNK as u64)).unwrap_or(CHUNK);
        read_at(file, &mut buffer[..len], start)?;
        let mut here = start;
        for block in buffer[..len].chunks(UNIT) {
            let len = block.len() as u64;
            if block.iter().any(|byte| *byte != 0) {
                match extents.last_mut() {
                    Some(last) if last.0 + last.1 == here => last.1 += len,
                    _ => extents.push((here, len)),
                }
            }
            here += len;
        }
        at = start + len as u64;
    }
    let data: u64 = extents.iter().map(|extent| extent.1).sum();
    let saved = size - data >= unit;
    Ok(saved.then_some(extents))
}

/// The map that precedes the data of a sparse file in the tar, in whole blocks (GNU tar manual, "PAX Format, Version 1.0").
pub(super) fn map(extents: &[Extent], size: u64) -> Vec<u8> {
    // A hole at the end is shown by an empty part behind it.
    let end = match extents.last() {
        Some((offset, len)) if offset + len == size => None,
        _ => Some((size, 0)),
    };
    let all = || extents.iter().copied().chain(end);
    let mut text = format!("{}\n", all().count());
    for (offset, len) in all() {
        text.push_str(&format!("{offset}\n{len}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Copies one part of a file.
pub(super) fn copy(
    file: &File,
    (mut at, mut left): Extent,
    out: &mut impl Write,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let mut buffer = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
    while left > 0 {
        stop_if(cancel).map_err(Failure::In)?;
        let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        read_at(file, &mut buffer[..len], at).map_err(Failure::In)?;
        out.write_all(&buffer[..len]).map_err(Failure::Out)?;
        at += len as u64;
        left -= len as u64;
    }
    Ok(())
}

/// Which side of a copy failed.
pub(super) enum Failure {
    /// The file that is read.
    In(io::Error),
    /// What is written.
    Out(io::Error),
}

/// An error that is shown as a cancellation further up.
fn stop_if(cancel: &CancellationToken) -> io::Result<()> {
    if cancel.is_cancelled() { Err(io::Error::other("cancelled")) } else { Ok(()) }
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(buffer, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(),
        _ => error,
    })
}

/// Where the next data begin, `size` if there are none.
fn data_from(file: &File, at: u64, size: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(found) => Ok(found.clamp(at, size)),
        Err(Errno::NXIO) => Ok(size),
        // A file system that knows of no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
        Err(error) => Err(error.into()),
    }
}

/// Where the first hole begins; there is always one at the end.
fn first_hole(file: &File, size: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Hole(0)) {
        Ok(found) => Ok(found.min(size)),
        Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => Ok(size),
        Err(error) => Err(error.into()),
    }
}
