//! The two encodings of `LIBARCHIVE.xattr.` records: percent signs in names, base 64 in values.

/// A name whose bytes may be written `%XX`.
pub(super) fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                rest = behind;
            }
        }
    }
    decoded
}

/// Base 64 with or without padding; nothing where a byte is none of its digits.
pub(super) fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let mut bytes = Vec::with_capacity(text.len());
    let (mut value, mut bits) = (0_u32, 0_u32);
    for byte in text.get(..end)? {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        value = (value << 6 | u32::from(digit)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(value >> bits & 0xff).ok()?);
        }
    }
    // A single digit behind the last group is a quarter of nothing.
    (bits < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_names_are_decoded() {
        assert_eq!(decoded(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decoded(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(decoded(b"AP8Q").unwrap(), [0, 0xff, 0x10]);
        assert_eq!(decoded(b"").unwrap(), b"");
        assert_eq!(decoded(b"a"), None);
        assert_eq!(decoded(b"a*b="), None);
        assert_eq!(percent_decoded(b"user.a%3Db%zz%"), b"user.a=b%zz%");
    }
}
