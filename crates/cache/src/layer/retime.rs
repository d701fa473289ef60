//! A tar whose times are no later than one time, otherwise to the byte what it was.
//!
//! Two builds of the same files at two times differ in nothing but mtimes. With these clamped they are the same layer.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use lazyblob_remote::{What, digest};
use oci_spec::image::Digest;
use rustix::fs::Timespec;
use tokio_util::sync::CancellationToken;

use super::compress::{Compressed, Compressor};
use super::stream::Source as _;
use super::tarball::{Header, is_zero, record, time};
use super::uncompressed;
use super::write_tar::{octal, record as written};
use crate::error::{Error, Mismatch, Result};

const BLOCK: usize = 512;
/// An extended header longer than this is no honest one.
const MOST_EXTENDED: u64 = 1 << 20;
/// Where the header has the size, the mtime, and in GNU's form access and change time.
const SIZE: usize = 124;
const MTIME: usize = 136;
const GNU_TIMES: [usize; 2] = [345, 357];
/// What the fields of times hold, with the NUL behind.
const TIME: usize = 12;

/// Passes a tar on with all later times set to `latest`; access and change times that are later are left out. Sizes,
/// names, contents and their order stay as they are.
///
/// Blocks of zeros end the tar; what follows them passes as it is. Flushing does nothing of its own.
#[derive(Debug)]
pub struct Retimer<W> {
    out: W,
    latest: i64,
    /// Directories called `./` are dropped: what they say is of no tree but the one this was made in.
    rootless: bool,
    state: State,
    /// An extended header of the entry that is to come.
    extended: Option<Extended>,
    block: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Header,
    /// The data of an extended header are being collected.
    Collecting {
        header: Box<[u8; BLOCK]>,
        size: usize,
    },
    /// So many bytes of an entry, with what fills its last block.
    Data(u64),
    /// More of a sparse file's map, and then so many bytes of its data.
    Map(u64),
    Over,
}

#[derive(Debug)]
struct Extended {
    header: Box<[u8; BLOCK]>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    changed: bool,
}

impl<W: Write> Retimer<W> {
    /// Times later than `latest`, seconds since 1970, become it.
    #[must_use]
    pub fn new(out: W, latest: u64) -> Self {
        let latest = i64::try_from(latest).unwrap_or(i64::MAX);
        Self { out, latest, rootless: false, state: State::Header, extended: None, block: Vec::new() }
    }

    /// Entries of the root directory itself are left out.
    #[must_use]
    pub fn without_root(mut self) -> Self {
        self.rootless = true;
        self
    }

    /// Ends the tar and gives back where it went.
    ///
    /// # Errors
    /// One that ends in the middle of an entry is cut off.
    pub fn finish(self) -> io::Result<W> {
        let is_whole = match self.state {
            State::Over => true,
            State::Header => self.block.is_empty() && self.extended.is_none(),
            _ => false,
        };
        if is_whole { Ok(self.out) } else { Err(broken("the tar is cut off")) }
    }

    fn header(&mut self) -> io::Result<()> {
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.block);
        self.block.clear();
        if is_zero(&block) {
            if self.extended.is_some() {
                return Err(broken("the tar is cut off"));
            }
            self.state = State::Over;
            return self.out.write_all(&block);
        }
        let header = Header::parse(&block)
            .ok_or_else(|| broken("there is something that is not a header where one must be"))?;
        let size = header.number(SIZE, 12).and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| broken("a size is not a number"))?;
        match header.kind() {
            b'x' | b'X' | b'g' => {
                let size = usize::try_from(size).ok().filter(|_| size <= MOST_EXTENDED);
                let size = size.ok_or_else(|| broken("an extended header is longer than 1 MiB"))?;
                self.state = State::Collecting { header: Box::new(block), size };
                if size == 0 { self.collected() } else { Ok(()) }
            }
            // They belong to the entry behind them, and have no times of their own.
            b'L' | b'K' | b'V' => {
                clamp(&mut block, self.latest, true);
                self.state = State::data(size);
                self.out.write_all(&block)
            }
            kind => self.entry(block, kind, size),
        }
    }

    /// An entry, with its extended header if it has one.
    fn entry(&mut self, mut block: [u8; BLOCK], kind: u8, size: u64) -> io::Result<()> {
        let mut extended = self.extended.take();
        let is_root = self.rootless
            && extended.as_ref().is_none_or(|extended| extended.value(b"path").is_none())
            && matches!(&*Header(&block).path(), b"./" | b".");
        let has_data = matches!(kind, 0 | b'0' | b'7' | b'S' | b'D');
        let said = extended.as_ref().and_then(|extended| extended.value(b"size"));
        let size = match said.filter(|value| !value.is_empty()) {
            Some(value) => std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()),
            None => Some(size),
        };
        let size = size.ok_or_else(|| broken("a size is not a number"))?;
        let size = if has_data { size } else { 0 };
        let maps_on = kind == b'S' && block[482] != 0;
        self.state = if maps_on { State::Map(size) } else { State::data(size) };
        if is_root && !has_data {
            return Ok(());
        }
        let exact = extended.as_ref().and_then(|extended| extended.value(b"mtime")).and_then(time);
        let said_later = exact.map(|exact| later(exact, self.latest));
        clamp(&mut block, self.latest, said_later != Some(true));
        if said_later == Some(true) {
            octal(&mut block, MTIME, TIME, self.latest.unsigned_abs());
            sum(&mut block);
        }
        if let Some(extended) = &mut extended {
            extended.clamp(self.latest);
            extended.write(&mut self.out)?;
        }
        self.out.write_all(&block)
    }

    /// All data of an extended header are there.
    fn collected(&mut self) -> io::Result<()> {
        let State::Collecting { header, size } = std::mem::replace(&mut self.state, State::Header) else {
            return Ok(());
        };
        let mut data = &self.block[..size];
        let mut records = Vec::new();
        while !data.is_empty() && data.iter().any(|byte| *byte != 0) {
            let (key, value, rest) =
                record(data).ok_or_else(|| broken("an extended header has a record of the wrong length"))?;
            records.push((key.to_vec(), value.to_vec()));
            data = rest;
        }
        let mut extended = Extended { header, records, changed: false };
        self.block.clear();
        if extended.header[156] == b'g' {
            // What it says is of all entries that follow.
            extended.clamp(self.latest);
            return extended.write(&mut self.out);
        }
        self.extended = Some(extended);
        Ok(())
    }

    /// Takes bytes until `size` of them wait. Says how many it took.
    fn collect(&mut self, bytes: &[u8], size: usize) -> (usize, bool) {
        let taken = bytes.len().min(size - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        (taken, self.block.len() == size)
    }
}

impl State {
    fn data(size: u64) -> Self {
        match size.checked_next_multiple_of(512).unwrap_or(size) {
            0 => Self::Header,
            size => Self::Data(size),
        }
    }
}

impl Extended {
    /// The last word on `key`.
    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }

    fn clamp(&mut self, latest: i64) {
        let before = self.records.len();
        self.records.retain(|(key, value)| {
            !matches!(&**key, b"mtime" | b"atime" | b"ctime")
                || !time(value).is_some_and(|exact| later(exact, latest))
        });
        self.changed |= self.records.len() != before;
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.changed && self.records.is_empty() {
            return Ok(());
        }
        let data: Vec<u8> = self.records.iter().flat_map(|(key, value)| written(key, value)).collect();
        let mut header = *self.header;
        octal(&mut header, SIZE, 12, data.len() as u64);
        octal(&mut header, MTIME, TIME, 0);
        sum(&mut header);
        out.write_all(&header)?;
        out.write_all(&data)?;
        out.write_all(&[0; BLOCK][..data.len().next_multiple_of(BLOCK) - data.len()])
    }
}

impl<W: Write> Write for Retimer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.state {
            _ if bytes.is_empty() => Ok(0),
            State::Over => self.out.write(bytes),
            State::Header => {
                let (taken, is_full) = self.collect(bytes, BLOCK);
                if is_full {
                    self.header()?;
                }
                Ok(taken)
            }
            State::Collecting { size, .. } => {
                let (taken, is_full) = self.collect(bytes, size.next_multiple_of(BLOCK));
                if is_full {
                    self.collected()?;
                }
                Ok(taken)
            }
            State::Data(left) => {
                let left = *left;
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let taken = self.out.write(&bytes[..most])?;
                self.state = match left - taken as u64 {
                    0 => State::Header,
                    left => State::Data(left),
                };
                Ok(taken)
            }
            State::Map(size) => {
                let size = *size;
                let (taken, is_full) = self.collect(bytes, BLOCK);
                if is_full {
                    let block = std::mem::take(&mut self.block);
                    self.state = if block[504] != 0 { State::Map(size) } else { State::data(size) };
                    self.out.write_all(&block)?;
                }
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Later than `latest`, be it by a fraction.
fn later(exact: Timespec, latest: i64) -> bool {
    (exact.tv_sec, exact.tv_nsec) > (latest, 0)
}

/// Clamps the times of a header, that of the change of the content if `mtime`.
fn clamp(block: &mut [u8; BLOCK], latest: i64, mtime: bool) {
    let header = Header(&*block);
    let is_later = |at| header.number(at, TIME).is_some_and(|seconds| seconds > latest);
    let times = GNU_TIMES.into_iter().filter(|_| header.is_gnu()).chain(mtime.then_some(MTIME));
    let later: Vec<usize> = times.filter(|at| is_later(*at)).collect();
    if later.is_empty() {
        return;
    }
    for at in later {
        octal(block, at, TIME, latest.unsigned_abs());
    }
    sum(block);
}

/// Writes the checksum.
fn sum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(block, 148, 7, sum);
}

fn broken(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Compresses a layer anew with all times later than `latest`, seconds since 1970, set to it. `blob` is compressed in any
/// way; `diff_id` is what it must be uncompressed. Returns what the new blob is, which is another layer unless no time
/// was later, and where it went.
///
/// Blocks, and streams, as [`convert`](super::convert()).
///
/// # Errors
/// Those of [`convert`](super::convert()).
pub fn retimed<W: Write>(
    blob: impl Read + Send,
    diff_id: &Digest,
    latest: u64,
    out: Compressor<W>,
    cancel: &CancellationToken,
) -> Result<(Compressed, W)> {
    let what = What::new("clamp times of layer", digest::short(diff_id));
    let hasher = digest::Hasher::new(diff_id.algorithm());
    let mut hasher = hasher.ok_or_else(|| Error::invalid("clamp times of", diff_id, "unknown digest"))?;
    let mut out = Retimer::new(out, latest);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => Error::Invalid { what: what.clone(), reason: source.to_string() },
        _ => Error::Io { what: what.clone(), path: PathBuf::from("output"), source },
    };
    uncompressed::read(blob, &what, cancel, |mut pipe| {
        loop {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: what.clone() });
            }
            let piece = pipe.chunk()?;
            if piece.is_empty() {
                break;
            }
            let count = piece.len();
            hasher.update(piece);
            out.write_all(piece).map_err(&failed)?;
            pipe.consume(count);
        }
        let actual = hasher.finish();
        if actual != diff_id.as_ref() {
            let mismatch = Mismatch::DiffId { expected: diff_id.to_string(), actual };
            return Err(Error::Integrity { what: what.clone(), mismatch });
        }
        out.finish().map_err(&failed)?.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, name: &str, size: u64, mtime: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        octal(&mut block, 100, 8, 0o644);
        octal(&mut block, 108, 8, 0);
        octal(&mut block, 116, 8, 0);
        octal(&mut block, SIZE, 12, size);
        octal(&mut block, MTIME, TIME, mtime);
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        sum(&mut block);
        block
    }

    fn padded(data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        data
    }

    fn through(tar: &[u8], latest: u64, piece: usize) -> io::Result<Vec<u8>> {
        let mut retimer = Retimer::new(Vec::new(), latest);
        for piece in tar.chunks(piece) {
            retimer.write_all(piece)?;
        }
        retimer.finish()
    }

    #[test]
    fn later_times_are_clamped_and_nothing_else_is_touched() {
        let end = [0; 2 * BLOCK];
        let records = [written(b"mtime", b"200.25"), written(b"path", b"long")].concat();
        let tar = [
            &header(b'0', "early", 3, 50)[..],
            &padded(b"one"),
            &header(b'5', "late/", 0, 200),
            &header(b'x', "x", records.len() as u64, 0),
            &padded(&records),
            &header(b'0', "short", 0, 200),
            &header(b'1', "link", 77, 300),
            &end,
            b"what follows",
        ]
        .concat();
        let path = written(b"path", b"long");
        let expected = [
            &header(b'0', "early", 3, 50)[..],
            &padded(b"one"),
            &header(b'5', "late/", 0, 100),
            &header(b'x', "x", path.len() as u64, 0),
            &padded(&path),
            &header(b'0', "short", 0, 100),
            &header(b'1', "link", 77, 100),
            &end,
            b"what follows",
        ]
        .concat();
        for piece in [1, 511, 512, 4096] {
            assert!(through(&tar, 100, piece).unwrap() == expected, "in pieces of {piece}");
            assert!(through(&tar, 1000, piece).unwrap() == tar, "nothing is later");
        }
        assert!(through(&expected, 100, 512).unwrap() == expected, "once is enough");
    }

    #[test]
    fn an_extended_header_that_says_only_the_time_goes_with_it() {
        let records = written(b"mtime", b"100.000000001");
        let tar = [
            &header(b'x', "x", records.len() as u64, 0)[..],
            &padded(&records),
            &header(b'0', "a", 0, 100),
            &[0; 1024],
        ]
        .concat();
        let expected = [&header(b'0', "a", 0, 100)[..], &[0; 1024]].concat();
        assert!(through(&tar, 100, 512).unwrap() == expected);
    }

    #[test]
    fn what_is_cut_off_or_no_tar_is_an_error() {
        let whole = [&header(b'0', "a", 600, 1)[..], &padded(&[1; 600])].concat();
        assert!(through(&whole, 0, 512).is_ok());
        for cut in [1, 512, 1024, 1535] {
            assert!(through(&whole[..cut], 0, 512).is_err(), "{cut}");
        }
        assert!(through(&[7; 512], 0, 512).is_err());
    }

    #[test]
    fn the_root_may_be_left_out() {
        let tar = [&header(b'5', "./", 0, 9)[..], &header(b'0', "a", 0, 1), &[0; 1024]].concat();
        let mut retimer = Retimer::new(Vec::new(), u64::MAX).without_root();
        retimer.write_all(&tar).unwrap();
        assert!(retimer.finish().unwrap() == tar[512..]);
    }
}
