//! A tar stream that says everything a file has, in the same bytes every time: ustar headers, and PAX records only for
//! what these cannot hold (POSIX.1-2024 pax, "ustar Interchange Format" and "pax Extended Header").
//!
//! Names and link targets go as the bytes they are. Names of users and groups are never written: numbers are what counts
//! in an image.

use std::collections::BTreeMap;
use std::io::{self, Write};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// What eleven octal digits hold: sizes and times.
const MAX_LONG: u64 = 0o777_7777_7777;
/// What seven octal digits hold: owners, groups and device numbers.
const MAX_SHORT: u64 = 0o777_7777;

/// What a tar says of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// Where it is, relative to the root; directories end with a slash.
    pub(super) name: &'a [u8],
    pub(super) kind: EntryType,
    /// Permissions, setuid, setgid and sticky bits.
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    /// Seconds since 1970 and nanoseconds after these.
    pub(super) mtime: (i64, u32),
    /// Bytes that follow the header in the tar.
    pub(super) size: u64,
    /// Where a symbolic or hard link leads.
    pub(super) target: &'a [u8],
    /// Major and minor number of a device.
    pub(super) device: (u32, u32),
    /// Extended attributes; no name has `=` in it.
    pub(super) xattrs: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    /// The size of a file whose holes are left out (GNU tar manual, "PAX Format, Version 1.0").
    pub(super) sparse: Option<u64>,
}

/// A tar in the making.
#[derive(Debug)]
pub(super) struct TarWriter<W> {
    out: W,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, written: 0 }
    }

    /// Begins an entry; exactly `entry.size` bytes and [`TarWriter::pad`] are to follow.
    pub(super) fn begin(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let mut pax = BTreeMap::new();
        let header = header(entry, &mut pax);
        if !pax.is_empty() {
            let records: Vec<u8> = pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            let mut extended = Header::new_ustar();
            let bytes = extended.as_mut_bytes();
            put(bytes, 0, 100, b"././@PaxHeader");
            octal(bytes, 100, 8, 0o644);
            octal(bytes, 108, 8, 0);
            octal(bytes, 116, 8, 0);
            octal(bytes, 124, 12, records.len() as u64);
            octal(bytes, 136, 12, 0);
            extended.set_entry_type(EntryType::XHeader);
            extended.set_cksum();
            self.write_all(extended.as_bytes())?;
            self.write_all(&records)?;
            self.pad()?;
        }
        self.write_all(header.as_bytes())
    }

    /// Fills up the last block of an entry.
    pub(super) fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(BLOCK) - self.written;
        self.write_all(&[0; 512][..usize::try_from(missing).unwrap_or_default()])
    }

    /// Ends the tar with two blocks of zeros. Returns its size.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.write_all(&[0; 1024])?;
        self.out.flush()?;
        Ok(self.written)
    }
}

impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The ustar header of an entry; what it cannot hold is added to `pax`.
fn header(entry: &Entry<'_>, pax: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Header {
    let mut header = Header::new_ustar();
    let bytes = header.as_mut_bytes();
    let mut number = |pax: &mut BTreeMap<_, _>, at, len, key: &str, value: u64, max| {
        if value > max {
            pax.insert(key.as_bytes().to_vec(), value.to_string().into_bytes());
        }
        octal(bytes, at, len, if value > max { 0 } else { value });
    };
    number(pax, 108, 8, "uid", u64::from(entry.owner), MAX_SHORT);
    number(pax, 116, 8, "gid", u64::from(entry.group), MAX_SHORT);
    number(pax, 124, 12, "size", entry.size, MAX_LONG);
    octal(bytes, 100, 8, u64::from(entry.mode));
    octal(bytes, 136, 12, seconds(entry.mtime, pax));
    octal(bytes, 329, 8, u64::from(entry.device.0));
    octal(bytes, 337, 8, u64::from(entry.device.1));
    if let Some(size) = entry.sparse {
        // Readers that do not know of holes make a file of this name, with the map in it, and spoil nothing.
        let base = entry.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        put(bytes, 0, 100, b"GNUSparseFile.0/");
        put(bytes, 16, 84, &base[..base.len().min(84)]);
        pax.insert(b"GNU.sparse.major".to_vec(), b"1".to_vec());
        pax.insert(b"GNU.sparse.minor".to_vec(), b"0".to_vec());
        pax.insert(b"GNU.sparse.name".to_vec(), entry.name.to_vec());
        pax.insert(b"GNU.sparse.realsize".to_vec(), size.to_string().into_bytes());
    } else if let Some((prefix, name)) = split(entry.name) {
        put(bytes, 0, 100, name);
        put(bytes, 345, 155, prefix);
    } else {
        put(bytes, 0, 100, &entry.name[..entry.name.len().min(100)]);
        pax.insert(b"path".to_vec(), entry.name.to_vec());
    }
    put(bytes, 157, 100, &entry.target[..entry.target.len().min(100)]);
    if entry.target.len() > 100 {
        pax.insert(b"linkpath".to_vec(), entry.target.to_vec());
    }
    // PAX records are UTF-8 unless they say otherwise.
    let said = |key: &[u8]| pax.get(key).is_some_and(|value| std::str::from_utf8(value).is_err());
    if said(b"path") || said(b"linkpath") || said(b"GNU.sparse.name") {
        pax.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
    }
    for (name, value) in entry.xattrs {
        pax.insert([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone());
    }
    header.set_entry_type(entry.kind);
    header.set_cksum();
    header
}

/// What the header says of a time; the exact one is added to `pax` where it says less.
fn seconds((seconds, nanos): (i64, u32), pax: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> u64 {
    let field = u64::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_LONG);
    if nanos != 0 || field.is_none() {
        // The nanoseconds count up from the second before; a decimal below zero counts down from the one after.
        let (sign, whole, nanos) = match seconds {
            0.. => ("", seconds.unsigned_abs(), nanos),
            _ if nanos == 0 => ("-", seconds.unsigned_abs(), 0),
            _ => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
        };
        let exact = format!("{sign}{whole}.{nanos:09}");
        let exact = exact.trim_end_matches('0').trim_end_matches('.');
        pax.insert(b"mtime".to_vec(), exact.as_bytes().to_vec());
    }
    field.unwrap_or_default()
}

/// Prefix and name, if the header's two fields hold them.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((&[], name));
    }
    // The slash of a directory belongs to its name.
    let at = (1..name.len().saturating_sub(1).min(156)).rev().find(|at| name[*at] == b'/')?;
    let (prefix, name) = (&name[..at], &name[at + 1..]);
    (name.len() <= 100).then_some((prefix, name))
}

/// `LENGTH key=value\n`, where the length counts itself.
pub(super) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn put(bytes: &mut [u8], at: usize, len: usize, value: &[u8]) {
    let len = len.min(value.len());
    bytes[at..at + len].copy_from_slice(&value[..len]);
}

pub(super) fn octal(bytes: &mut [u8], at: usize, len: usize, value: u64) {
    let digits = format!("{value:0width$o}\0", width = len - 1);
    put(bytes, at, len, digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_length() {
        assert_eq!(record(b"a", b"b"), b"6 a=b\n");
        for len in [1, 90, 91, 92, 93, 94, 95, 989, 990, 991, 992] {
            let text = record(b"k", &vec![b'v'; len]);
            let said =
                String::from_utf8(text.iter().copied().take_while(|byte| *byte != b' ').collect()).unwrap();
            assert_eq!(said, text.len().to_string(), "{len}");
        }
    }

    #[test]
    fn times_are_exact_in_decimal() {
        let said = |mtime| {
            let mut pax = BTreeMap::new();
            let field = seconds(mtime, &mut pax);
            (field, pax.remove(&b"mtime"[..]).map(|exact| String::from_utf8(exact).unwrap()))
        };
        assert_eq!(said((5, 0)), (5, None), "nothing but the header");
        assert_eq!(said((5, 20)), (5, Some("5.00000002".into())));
        assert_eq!(said((-1, 0)), (0, Some("-1".into())));
        assert_eq!(said((-10, 0)), (0, Some("-10".into())));
        assert_eq!(said((-1, 500_000_000)), (0, Some("-0.5".into())));
        assert_eq!(said((-2, 1)), (0, Some("-1.999999999".into())));
        assert_eq!(said((1 << 33, 0)), (0, Some("8589934592".into())));
    }

    #[test]
    fn a_long_name_is_split_where_two_fields_hold_it() {
        let name = |first: usize, second: usize| [vec![b'a'; first], vec![b'b'; second]].join(&b'/');
        assert_eq!(split(&[b'a'; 100]), Some((&[][..], &[b'a'; 100][..])));
        assert_eq!(split(&[b'a'; 101]), None);
        assert_eq!(split(&name(155, 100)), Some((&[b'a'; 155][..], &[b'b'; 100][..])));
        assert_eq!(split(&name(156, 100)), None);
        assert_eq!(split(&name(155, 101)), None);
        let dir = [name(20, 99), b"/".to_vec()].concat();
        assert_eq!(split(&dir), Some((&dir[..20], &dir[21..])));
        let dir = [vec![b'a'; 120], b"/".to_vec()].concat();
        assert_eq!(split(&dir), None, "the name must not be empty");
    }
}
