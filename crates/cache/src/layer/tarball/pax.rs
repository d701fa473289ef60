//! Extended headers (POSIX pax, "pax Extended Header"): records `LENGTH KEY=VALUE\n`.

use std::collections::BTreeMap;

use rustix::fs::Timespec;

use super::Xattr;
use super::base64::{decoded, percent_decoded};
use super::sparse::SparseRecords;

/// What the names of a file's xattrs take at most, in bytes, each with the NUL behind it (Linux: XATTR_LIST_MAX).
const MOST_NAMES: usize = 64 << 10;

/// Values by name.
type Named = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the records of one entry say. Owners' names are not taken: an image's users are not this machine's. Global headers
/// are not taken either: nobody who unpacks images does, and all are to make the same tree.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timespec>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) sparse: SparseRecords,
}

impl Pax {
    /// Reads the records; the error says what is wrong with them.
    pub(super) fn parse(mut data: &[u8]) -> Result<Self, String> {
        let mut pax = Self::default();
        let (mut own, mut foreign) = (Named::new(), Named::new());
        // Some writers fill the last block with NULs and count those in.
        while !data.is_empty() && data.iter().any(|byte| *byte != 0) {
            let (key, value, rest) =
                record(data).ok_or("an extended header has a record of the wrong length")?;
            data = rest;
            pax.take(key, value, &mut own, &mut foreign)
                .ok_or_else(|| format!("the extended header's {} makes no sense", key.escape_ascii()))?;
        }
        foreign.append(&mut own);
        if foreign.keys().map(|name| name.len() + 1).sum::<usize>() > MOST_NAMES {
            return Err("the extended header names more xattrs than a file can have".to_owned());
        }
        pax.xattrs = foreign.into_iter().map(|(name, value)| Xattr { name, value }).collect();
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8], own: &mut Named, foreign: &mut Named) -> Option<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            own.insert(valid(name)?, value.to_vec());
            return Some(());
        }
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            foreign.insert(valid(&percent_decoded(name))?, decoded(value)?);
            return Some(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        // A record without value takes back what was said before.
        let is_empty = value.is_empty();
        match key {
            b"path" => self.path = valid(value).filter(|_| !is_empty),
            b"linkpath" => self.link = valid(value).filter(|_| !is_empty),
            b"size" => self.size = optional(value)?,
            b"uid" => self.uid = optional(value)?,
            b"gid" => self.gid = optional(value)?,
            b"mtime" => self.mtime = if is_empty { None } else { Some(time(value)?) },
            _ => return Some(()),
        }
        // A NUL in a name would cut it short for the kernel.
        (!matches!(key, b"path" | b"linkpath") || valid(value).is_some() || is_empty).then_some(())
    }
}

/// Key and value of the first record, and what is behind it.
pub(in crate::layer) fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().position(|byte| *byte == b' ')?;
    let length: usize = decimal(data.get(..blank)?)?;
    let (record, rest) = data.split_at_checked(length)?;
    let (newline, record) = record.get(blank + 1..)?.split_last()?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (*newline == b'\n').then_some((record.get(..equals)?, record.get(equals + 1..)?, rest))
}

fn valid(name: &[u8]) -> Option<Vec<u8>> {
    (!name.is_empty() && !name.contains(&0)).then(|| name.to_vec())
}

pub(super) fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let is_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_digits)?.parse().ok()
}

/// Nothing said, a number, or an error.
#[allow(clippy::option_option, reason = "an error, and nothing said")]
fn optional<T: std::str::FromStr>(value: &[u8]) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { decimal(value).map(Some) }
}

/// Seconds with a fraction of any length; a negative time counts back from the epoch, its fraction too.
pub(in crate::layer) fn time(value: &[u8]) -> Option<Timespec> {
    let (is_negative, value) = value.strip_prefix(b"-").map_or((false, value), |value| (true, value));
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds: i64 = decimal(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    let (tv_sec, tv_nsec) = match (is_negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => ((-seconds).checked_sub(1)?, 1_000_000_000 - nanoseconds),
    };
    Some(Timespec { tv_sec, tv_nsec })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tv_sec: i64, tv_nsec: i64) -> Option<Timespec> {
        Some(Timespec { tv_sec, tv_nsec })
    }

    #[test]
    fn times_have_nanoseconds_on_both_sides_of_the_epoch() {
        assert_eq!(time(b"1700000000.5"), at(1_700_000_000, 500_000_000));
        assert_eq!(time(b"1.0000000019"), at(1, 1));
        assert_eq!(time(b"-1.5"), at(-2, 500_000_000));
        assert_eq!(time(b"-3"), at(-3, 0));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn records_are_as_long_as_they_say() {
        let pax = Pax::parse(b"9 path=a\n30 SCHILY.xattr.user.x=1\n\n=\x00z\n").unwrap();
        assert_eq!(pax.path.unwrap(), b"a");
        assert_eq!(pax.xattrs[0].value, b"1\n\n=\x00z", "line ends and NULs are part of a value");
        for broken in [&b"9 path=ab\n"[..], b"99 path=a\n", b"x path=a\n", b"4 a\n", b"0 =\n", b"path=a\n"] {
            assert!(Pax::parse(broken).is_err(), "{}", broken.escape_ascii());
        }
        assert!(Pax::parse(b"11 path=a\0b\n").is_err(), "a NUL in a name");
        assert!(Pax::parse(b"9 size=x\n").is_err());
        assert!(Pax::parse(b"9 path=a\n8 path=\n").unwrap().path.is_none(), "an empty value takes back");
    }
}
