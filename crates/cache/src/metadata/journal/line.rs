//! One line of the journal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use lazyblob_remote::digest;

use crate::metadata::space::RECOVERABLE;

/// The version of the format.
const VERSION: u32 = 1;
/// So much of a SHA-256 is a checksum, in hexadecimal digits.
const CHECKSUM: usize = 16;
/// No line of ours is longer, in bytes: a key and a value at their limits, in base64.
pub(super) const LONGEST: usize = 128 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Header { generation: u64 },
    Put { key: Vec<u8>, value: Vec<u8> },
    Delete { key: Vec<u8> },
    Commit { generation: u64, count: u64 },
}

impl Line {
    /// The change of one entry.
    pub(super) fn change(key: &[u8], value: Option<&[u8]>) -> Self {
        let key = key.to_vec();
        match value {
            Some(value) => Self::Put { key, value: value.to_vec() },
            None => Self::Delete { key },
        }
    }

    /// Appends the line, its end included.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let body = match self {
            Self::Header { generation } => format!("J {VERSION} {generation}"),
            Self::Put { key, value } => format!("P {} {}", BASE64.encode(key), BASE64.encode(value)),
            Self::Delete { key } => format!("D {}", BASE64.encode(key)),
            Self::Commit { generation, count } => format!("C {generation} {count}"),
        };
        to.extend(checksum(body.as_bytes()).as_bytes());
        to.push(b' ');
        to.extend(body.as_bytes());
        to.push(b'\n');
    }

    /// Reads a line without its end; nothing where it is not as it was written.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let (sum, rest) = line.split_at_checked(CHECKSUM)?;
        let body = rest.strip_prefix(b" ")?;
        if checksum(body).as_bytes() != sum {
            return None;
        }
        let mut words = std::str::from_utf8(body).ok()?.split(' ');
        let kind = words.next()?;
        let mut next = || words.next();
        let line = match kind {
            "J" if next()?.parse() == Ok(VERSION) => Self::Header { generation: next()?.parse().ok()? },
            "P" => Self::Put { key: key(next()?)?, value: BASE64.decode(next()?).ok()? },
            "D" => Self::Delete { key: key(next()?)? },
            "C" => Self::Commit { generation: next()?.parse().ok()?, count: next()?.parse().ok()? },
            _ => return None,
        };
        words.next().is_none().then_some(line)
    }
}

/// Only entries of recoverable spaces come from a journal.
fn key(word: &str) -> Option<Vec<u8>> {
    BASE64.decode(word).ok().filter(|key| key.starts_with(&[RECOVERABLE, b'/']))
}

fn checksum(body: &[u8]) -> String {
    let mut sum = digest::sha256(body).digest().to_owned();
    sum.truncate(CHECKSUM);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_and_no_byte_of_them_may_differ() {
        for line in [
            Line::Header { generation: 7 },
            Line::change(b"r/a/k", Some(b"some \xff value\n")),
            Line::change(b"r/a/k", Some(b"")),
            Line::change(b"r/a/k", None),
            Line::Commit { generation: u64::MAX, count: 3 },
        ] {
            let mut bytes = Vec::new();
            line.write(&mut bytes);
            assert_eq!(bytes.pop(), Some(b'\n'));
            assert_eq!(Line::parse(&bytes), Some(line));
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert_eq!(Line::parse(&other), None, "byte {at} counts");
                assert_eq!(Line::parse(&bytes[..at]), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn what_is_not_recoverable_does_not_come_from_a_journal() {
        let mut bytes = Vec::new();
        Line::change(b"m/schema", Some(b"9")).write(&mut bytes);
        bytes.pop();
        assert_eq!(Line::parse(&bytes), None);
    }
}
