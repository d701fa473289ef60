//! Archives unpacked instead of copied, as `ADD` does.
//!
//! What an archive is is told by its bytes: a tar, as it is or compressed with gzip or zstd; what is compressed with xz or
//! bzip2 goes through the programs of these names. Whiteouts in it are files like any other.

use std::fs::File;
use std::io::{Read, Seek as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lazyblob_cache::layer::{self, Form, Options};
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::fault::{At as _, Done, Fault};
use super::tree::{Look, Root, make_all};

/// Compressions that programs are asked for, and what such a file begins with.
const PROGRAMS: [(&str, &[u8]); 2] = [("xz", b"\xfd7zXZ\0"), ("bzip2", b"BZh")];

/// Unpacks what is at `source` into the directory `dest`, which is made, if it is an archive; says whether it was. What is
/// unpacked has the owner that is said, and everything else from the archive.
pub(super) fn unpack(
    from: &Root,
    source: &[u8],
    to: &Root,
    dest: &[u8],
    look: &Look,
    cancel: &CancellationToken,
) -> Done<bool> {
    let Some(mut file) = open(from, source)? else { return Ok(false) };
    let mut head = [0; 8];
    let length = file.read(&mut head).map_err(|error| errno(&error)).at(source)?;
    let head = head.get(..length).unwrap_or_default();
    let program = PROGRAMS.iter().find(|(_, magic)| head.starts_with(magic)).map(|(name, _)| *name);
    if !is_archive(&mut file, program, source)? {
        return Ok(false);
    }
    let dir = to.find(dest, true).and_then(|place| make_all(&place, 0o755, look)).at(dest)?;
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let is_root = rustix::process::geteuid().is_root();
    let options = if is_root { Options::privileged(Form::Tree) } else { Options::unprivileged(Form::Tree) };
    let options = Options { whiteouts: false, owner: look.owner, ..options };
    file.rewind().map_err(|error| errno(&error)).at(source)?;
    let wrong = |error: lazyblob_cache::Error| match error {
        lazyblob_cache::Error::Cancelled { .. } => Fault::Cancelled,
        // It knows the directory by our name for it.
        error => Fault::wrong(source, error.to_string().replace(&path, &String::from_utf8_lossy(dest))),
    };
    let Some(program) = program else {
        layer::unpack_archive(&file, Path::new(&path), &options, cancel).map_err(wrong)?;
        return Ok(true);
    };
    let mut running = Running::new(program, &file, source)?;
    let out = running.out(source)?;
    layer::unpack_archive(out, Path::new(&path), &options, cancel).map_err(wrong)?;
    running.finish(program, source)?;
    Ok(true)
}

/// Opens what is there, if it is a regular file. A link is followed.
fn open(from: &Root, source: &[u8]) -> Done<Option<File>> {
    let place = from.find(source, true).at(source)?;
    let is_file = place.facts().at(source)?.is_some_and(|facts| facts.kind() == FileType::RegularFile);
    let Some(name) = place.name().filter(|_| is_file) else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(Some(File::from(fs::openat(place.dir(), name, flags, Mode::empty()).at(source)?)))
}

fn is_archive(file: &mut File, program: Option<&str>, source: &[u8]) -> Done<bool> {
    file.rewind().map_err(|error| errno(&error)).at(source)?;
    match program {
        None => Ok(layer::is_archive(&*file)),
        Some(program) => Ok(layer::is_archive(Running::new(program, file, source)?.out(source)?)),
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// A program that decompresses; it ends with this.
struct Running(Child);

impl Running {
    /// Decompresses from where the file is.
    fn new(program: &str, file: &File, source: &[u8]) -> Done<Self> {
        let input = file.try_clone().map_err(|error| errno(&error)).at(source)?;
        let mut command = Command::new(program);
        command.args(["-d", "-c", "-q"]).stdin(input).stdout(Stdio::piped()).stderr(Stdio::null());
        let missing = |error| {
            Fault::wrong(
                source,
                format_args!("it is compressed with {program}, a program that cannot be run: {error}"),
            )
        };
        command.spawn().map(Self).map_err(missing)
    }

    fn out(&mut self, source: &[u8]) -> Done<impl Read + Send + use<>> {
        self.0.stdout.take().ok_or(Errno::BADF).at(source)
    }

    /// Whether all of it could be decompressed.
    fn finish(mut self, program: &str, source: &[u8]) -> Done<()> {
        let status = self.0.wait().map_err(|error| errno(&error)).at(source)?;
        let broken = || Fault::wrong(source, format_args!("{program} cannot decompress all of it"));
        if status.success() { Ok(()) } else { Err(broken()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
