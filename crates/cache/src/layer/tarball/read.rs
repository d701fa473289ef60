//! From blocks to entries.

use lazyblob_remote::What;
use rustix::fs::Timespec;

use super::header::{Header, is_zero};
use super::pax::{Pax, decimal};
use super::sparse::{self, is_sound, take_fields};
use super::{BLOCK, Entry, Extent, Kind};
use crate::error::{Error, Result};
use crate::layer::stream::Bytes;

/// An extended header, a long name or a map longer than this is no honest one.
const MOST_EXTENDED: u64 = 1 << 20;

/// The entries of a tar, one after the other.
pub(in crate::layer) struct Reader<'a> {
    bytes: Bytes<'a>,
    /// Data of the entry at hand that nobody has read yet, and what fills their last block.
    left: u64,
    padding: u64,
    what: What,
}

/// What stands in front of an entry and belongs to it.
#[derive(Default)]
struct Extended {
    pax: Pax,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    is_any: bool,
}

impl<'a> Reader<'a> {
    pub(in crate::layer) fn new(bytes: Bytes<'a>, what: What) -> Self {
        Self { bytes, left: 0, padding: 0, what }
    }

    /// The next entry, where the one before has been read or not; nothing at the end.
    pub(in crate::layer) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        let mut block = [0; BLOCK];
        loop {
            self.skip_data()?;
            if !self.block(&mut block, !extended.is_any)? {
                return Ok(None);
            }
            let header = Header::parse(&block)
                .ok_or_else(|| self.invalid("there is something that is not a header where one must be"))?;
            let size = header
                .number(124, 12)
                .and_then(|size| u64::try_from(size).ok())
                .ok_or_else(|| self.broken(&header.path(), "its size is not a number"))?;
            match header.kind() {
                b'x' | b'X' => {
                    let data = self.special(size)?;
                    extended.pax = Pax::parse(&data).map_err(|reason| self.invalid(&reason))?;
                }
                b'L' => extended.path = Some(name(&self.special(size)?)),
                b'K' => extended.link = Some(name(&self.special(size)?)),
                b'g' | b'V' => {
                    self.expect(size);
                    continue;
                }
                kind => return self.entry(&header, kind, size, extended).map(Some),
            }
            extended.is_any = true;
        }
    }

    /// Bytes of the entry's data, none when all have been read.
    pub(in crate::layer) fn data(&mut self) -> Result<&[u8]> {
        let left = self.left;
        if left == 0 {
            return Ok(&[]);
        }
        if self.bytes.chunk()?.is_empty() {
            return Err(self.cut_off());
        }
        let chunk = self.bytes.chunk()?;
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        Ok(chunk.get(..length).unwrap_or_default())
    }

    /// Takes the first `count` bytes of the data as read.
    pub(in crate::layer) fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count.try_into().unwrap_or(u64::MAX));
        self.bytes.consume(count);
    }

    /// What follows the end of the tar belongs to its digest.
    pub(in crate::layer) fn finish(self) -> Result<(String, u64)> {
        self.bytes.finish()
    }

    /// Reads a block; says whether it is a header, rather than the end.
    fn block(&mut self, block: &mut [u8; BLOCK], may_end: bool) -> Result<bool> {
        for zeros in 0..2 {
            match self.bytes.fill(block)? {
                BLOCK if is_zero(block) => {}
                BLOCK if zeros == 0 => return Ok(true),
                BLOCK => return Err(self.invalid("a block of zeros is followed by something else")),
                0 if may_end => return Ok(false),
                _ => return Err(self.cut_off()),
            }
        }
        Ok(false)
    }

    fn skip_data(&mut self) -> Result<()> {
        let count = self.left.saturating_add(self.padding);
        (self.left, self.padding) = (0, 0);
        if self.bytes.skip(count)? < count { Err(self.cut_off()) } else { Ok(()) }
    }

    /// There are `size` bytes of data now.
    fn expect(&mut self, size: u64) {
        let block = 512;
        (self.left, self.padding) = (size, (block - size % block) % block);
    }

    /// The data of a header that belongs to the entry behind it.
    fn special(&mut self, size: u64) -> Result<Vec<u8>> {
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MOST_EXTENDED {
            return Err(self.invalid("an extended header is longer than 1 MiB"));
        }
        let mut data = vec![0; length];
        if self.bytes.fill(&mut data)? < length {
            return Err(self.cut_off());
        }
        self.expect(size);
        self.left = 0;
        Ok(data)
    }

    fn entry(&mut self, header: &Header<'_>, flag: u8, size: u64, extended: Extended) -> Result<Entry> {
        let Extended { pax, path, link, .. } = extended;
        let path = path.or(pax.sparse.name.clone()).or(pax.path.clone()).unwrap_or_else(|| header.path());
        let link = link.or(pax.link.clone()).unwrap_or_else(|| header.text(157, 100).to_vec());
        let kind = match flag {
            // Before there was a type for them, directories were told by their names.
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => {
                let reason = format!("it is of the unknown type {:?}", char::from(flag));
                return Err(self.broken(&path, &reason));
            }
        };
        let has_data = kind == Kind::File || flag == b'D';
        let stored = if has_data { pax.size.unwrap_or(size) } else { 0 };
        let number = |at, length, what: &str| {
            let number = header.number(at, length).and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| self.broken(&path, &format!("its {what} is not a number that can be one")))
        };
        // To the system all bits mean that the owner stays: in a file system there is nobody of that number.
        let owner = |extended: Option<u32>, at, what: &str| {
            let owner = extended.map_or_else(|| number(at, 8, what), Ok)?;
            let reason = || self.broken(&path, &format!("{owner} can be no {what}'s number"));
            if owner == u32::MAX { Err(reason()) } else { Ok(owner) }
        };
        let is_device = matches!(kind, Kind::Character | Kind::Block);
        let mut entry = Entry {
            mode: number(100, 8, "mode")? & 0o7777,
            uid: owner(pax.uid, 108, "owner")?,
            gid: owner(pax.gid, 116, "group")?,
            device: if is_device { (number(329, 8, "device")?, number(337, 8, "device")?) } else { (0, 0) },
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => {
                    let seconds = header.number(136, 12);
                    let tv_sec = seconds.ok_or_else(|| self.broken(&path, "its time is not a number"))?;
                    Timespec { tv_sec, tv_nsec: 0 }
                }
            },
            path,
            link,
            kind,
            size: if kind == Kind::File { stored } else { 0 },
            xattrs: pax.xattrs,
            extents: None,
        };
        if flag == b'S' {
            entry.size = self.old_sparse(header, &mut entry)?;
            self.expect(stored);
        } else if kind == Kind::File && pax.sparse.is_map_in_data {
            self.expect(stored);
            entry.extents = Some(self.map(&entry.path)?);
            entry.size = pax.sparse.size.unwrap_or(entry.size);
        } else {
            self.expect(stored);
            entry.extents = pax.sparse.extents().filter(|_| kind == Kind::File);
            entry.size = pax.sparse.size.filter(|_| entry.extents.is_some()).unwrap_or(entry.size);
        }
        if entry.extents.as_ref().is_some_and(|extents| !is_sound(extents, entry.size, self.left)) {
            return Err(self.broken(&entry.path, "the map of its holes does not fit its size"));
        }
        Ok(entry)
    }

    /// The map in the header and in the blocks behind it; gives the size of the file.
    fn old_sparse(&mut self, header: &Header<'_>, entry: &mut Entry) -> Result<u64> {
        let mut extents = Vec::new();
        let mut is_sound = header.is_gnu() && take_fields(header.field(386, 96), &mut extents);
        let mut has_more = header.field(482, 1) != [0];
        let mut block = [0; BLOCK];
        while has_more && is_sound {
            if self.bytes.fill(&mut block)? < BLOCK {
                return Err(self.cut_off());
            }
            let before = extents.len();
            is_sound = take_fields(block.get(..504).unwrap_or_default(), &mut extents);
            has_more = block.get(504).is_some_and(|byte| *byte != 0);
            // A block that says nothing and promises more: a loop without end.
            is_sound &= !has_more || extents.len() > before;
        }
        let size = header.number(483, 12).and_then(|size| u64::try_from(size).ok());
        entry.extents = Some(extents);
        size.filter(|_| is_sound).ok_or_else(|| self.broken(&entry.path, "the map of its holes is broken"))
    }

    /// The map in front of the data: numbers, one a line, in whole blocks.
    fn map(&mut self, path: &[u8]) -> Result<Vec<Extent>> {
        let mut numbers: Vec<u64> = Vec::new();
        let mut line = Vec::new();
        let mut wanted = 1;
        let mut block = [0; BLOCK];
        let block_size = 512;
        while numbers.len() < wanted {
            if self.left < block_size {
                return Err(self.broken(path, "the map of its holes is broken"));
            }
            if self.bytes.fill(&mut block)? < BLOCK {
                return Err(self.cut_off());
            }
            self.left -= block_size;
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let number = decimal(&line).filter(|_| line.len() < 20);
                numbers.push(number.ok_or_else(|| self.broken(path, "the map of its holes is broken"))?);
                line.clear();
                if let [count] = numbers[..] {
                    let count = usize::try_from(count).ok().filter(|count| *count <= sparse::MOST);
                    let count = count.ok_or_else(|| self.broken(path, "it has too many holes"))?;
                    wanted = 1 + 2 * count;
                }
                if numbers.len() == wanted {
                    break;
                }
            }
            if line.len() > BLOCK {
                return Err(self.broken(path, "the map of its holes is broken"));
            }
        }
        let pair = |pair: &[u64]| match pair {
            [offset, length] => Some(Extent { offset: *offset, length: *length }),
            _ => None,
        };
        Ok(numbers.get(1..).unwrap_or_default().chunks(2).filter_map(pair).collect())
    }

    fn cut_off(&self) -> Error {
        self.invalid("the tar is cut off")
    }

    fn invalid(&self, reason: &str) -> Error {
        Error::Invalid { what: self.what.clone(), reason: reason.to_owned() }
    }

    fn broken(&self, path: &[u8], reason: &str) -> Error {
        self.invalid(&format!("{}: {reason}", path.escape_ascii()))
    }
}

/// A long name ends at its first NUL.
fn name(data: &[u8]) -> Vec<u8> {
    data.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}
