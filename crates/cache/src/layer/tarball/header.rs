//! One block of header: fields, numbers, checksum (POSIX pax, "ustar Interchange Format"; GNU tar, "Basic Tar Format").

use super::BLOCK;

/// A header whose checksum is right.
pub(in crate::layer) struct Header<'a>(pub(in crate::layer) &'a [u8; BLOCK]);

/// Whether this may be the beginning of a tar: nothing, zeros or a header.
pub(in crate::layer) fn looks_like_tar(head: &[u8]) -> bool {
    match head.first_chunk::<BLOCK>() {
        Some(block) => is_zero(block) || Header::parse(block).is_some(),
        None => head.is_empty(),
    }
}

/// Whether the block is one of those that end a tar.
pub(in crate::layer) fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

impl<'a> Header<'a> {
    /// Checks the sum; old writers took bytes as signed ones.
    pub(in crate::layer) fn parse(block: &'a [u8; BLOCK]) -> Option<Self> {
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(i8::from_ne_bytes([byte]));
        }
        let header = Self(block);
        header.number(148, 8).filter(|sum| *sum == unsigned || *sum == signed).map(|_| header)
    }

    pub(in crate::layer) fn field(&self, at: usize, length: usize) -> &'a [u8] {
        self.0.get(at..at + length).unwrap_or_default()
    }

    /// A field up to its first NUL.
    pub(super) fn text(&self, at: usize, length: usize) -> &'a [u8] {
        self.field(at, length).split(|byte| *byte == 0).next().unwrap_or_default()
    }

    pub(in crate::layer) fn number(&self, at: usize, length: usize) -> Option<i64> {
        number(self.field(at, length))
    }

    pub(in crate::layer) fn kind(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    pub(super) fn is_ustar(&self) -> bool {
        self.field(257, 6) == b"ustar\0"
    }

    pub(in crate::layer) fn is_gnu(&self) -> bool {
        self.field(257, 8) == b"ustar  \0"
    }

    /// The name, with the prefix that ustar puts elsewhere.
    pub(in crate::layer) fn path(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        // star keeps two times where ustar has the end of the prefix.
        let length = if self.field(508, 4) == b"tar\0" { 131 } else { 155 };
        let prefix = if self.is_ustar() { self.text(345, length) } else { &[] };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }
}

/// An octal number with blanks or NULs around it, nothing for 0; or, with the top bit set, a binary one.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        return binary(*first, rest);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !is_blank(byte)) else { return Some(0) };
    let digits = field.get(start..)?.split(is_blank).next()?;
    let rest = field.get(start + digits.len()..)?;
    if !rest.iter().all(is_blank) {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Two's complement over the bits behind the first one.
fn binary(first: u8, rest: &[u8]) -> Option<i64> {
    let is_negative = first & 0x40 != 0;
    let top = if is_negative { first } else { first & 0x7f };
    let start = i128::from(i8::from_ne_bytes([top]));
    let value = rest
        .iter()
        .try_fold(start, |value, byte| value.checked_mul(256).map(|value| value + i128::from(*byte)))?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777"), Some(0o7777_7777));
        assert_eq!(number(b"64x4\0\0\0\0"), None);
        assert_eq!(number(b"64 4\0\0\0\0"), None);
        assert_eq!(number(b"-644\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(number(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some(i64::MAX));
        assert_eq!(number(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(number(&[]), None);
    }
}
