//! Characters as Go sees them in bytes that need not be UTF-8.

/// What stands for a byte that is no character.
const REPLACEMENT: u32 = 0xfffd;

/// The first character and how many bytes it has; nothing of nothing. A byte that begins none counts by itself.
pub(super) fn first(bytes: &[u8]) -> Option<(u32, usize)> {
    let byte = *bytes.first()?;
    if byte.is_ascii() {
        return Some((byte.into(), 1));
    }
    let found = (2..=4).find_map(|length| {
        let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
        Some((u32::from(text.chars().next()?), length))
    });
    Some(found.unwrap_or((REPLACEMENT, 1)))
}

/// All of them.
pub(super) fn all(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let (rune, length) = first(bytes)?;
        bytes = bytes.get(length..).unwrap_or_default();
        Some(rune)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_character_counts_by_the_byte() {
        let runes: Vec<_> = all(b"a\xc3\xa9\xff\xe2\x82\xf0\x9f\x98\x80").collect();
        assert_eq!(runes, [0x61, 0xe9, REPLACEMENT, REPLACEMENT, REPLACEMENT, 0x1f600]);
    }
}
