//! Keys and links as bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lazyblob_solver::{KeyId, Link, ResultId, Selector};

/// A way, as it is found from its beginning.
pub(super) fn link(from: &KeyId, link: &Link, to: &KeyId) -> Vec<u8> {
    let mut row = way(from, link);
    row.extend(to.encode());
    row
}

/// What all ways from one key over one link begin with.
pub(super) fn way(from: &KeyId, link: &Link) -> Vec<u8> {
    let mut row = from.encode().to_vec();
    row.extend(of_link(link));
    row
}

/// A way, as it is found from its end.
pub(super) fn back(to: &KeyId, from: &KeyId, link: &Link) -> Vec<u8> {
    let mut row = to.encode().to_vec();
    row.extend(from.encode());
    row.extend(of_link(link));
    row
}

/// The selector goes with its length, so that no link is the beginning of another.
fn of_link(link: &Link) -> Vec<u8> {
    let selector = link.selector.as_ref().map_or(&[][..], |Selector(digest)| digest.as_ref().as_bytes());
    let mut row = link.op.encode().to_vec();
    row.extend(link.input.to_be_bytes());
    row.extend(u16::try_from(selector.len()).unwrap_or(u16::MAX).to_be_bytes());
    row.extend(selector);
    row
}

/// Where a way leads, and over which link, of a row of [`link`].
pub(super) fn read_link(row: &[u8]) -> Option<(Link, KeyId)> {
    let (link, to) = split_link(row.get(KeyId::ENCODED..)?)?;
    Some((link, KeyId::decode(to)?))
}

/// Where a way begins, and over which link, of a row of [`back`].
pub(super) fn read_back(row: &[u8]) -> Option<(KeyId, Link)> {
    let (from, rest) = row.get(KeyId::ENCODED..)?.split_at_checked(KeyId::ENCODED)?;
    let (link, nothing) = split_link(rest)?;
    nothing.is_empty().then_some((KeyId::decode(from)?, link))
}

fn split_link(row: &[u8]) -> Option<(Link, &[u8])> {
    let (op, rest) = row.split_at_checked(KeyId::ENCODED)?;
    let (input, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (selector, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let selector = match selector {
        [] => None,
        selector => Some(Selector(std::str::from_utf8(selector).ok()?.parse().ok()?)),
    };
    Some((Link { op: KeyId::decode(op)?, input: u32::from_be_bytes(*input), selector }, rest))
}

/// A result under a key.
pub(super) fn result(key: &KeyId, id: &ResultId) -> Vec<u8> {
    let mut row = key.encode().to_vec();
    row.extend(id.as_str().as_bytes());
    row
}

/// The result of a row of [`result`].
pub(super) fn read_result(row: &[u8]) -> Option<ResultId> {
    Some(ResultId::new(std::str::from_utf8(row.get(KeyId::ENCODED..)?).ok()?))
}

/// What the keys of a result begin with.
pub(super) fn of_result(id: &ResultId) -> Vec<u8> {
    let id = id.as_str().as_bytes();
    let mut row = u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    row.extend(id);
    row
}

/// A key of a result.
pub(super) fn key_of(id: &ResultId, key: &KeyId) -> Vec<u8> {
    let mut row = of_result(id);
    row.extend(key.encode());
    row
}

/// The result and the key of a row of [`key_of`].
pub(super) fn read_key_of(row: &[u8]) -> Option<(ResultId, KeyId)> {
    let (length, rest) = row.split_first_chunk()?;
    let (id, key) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((ResultId::new(std::str::from_utf8(id).ok()?), KeyId::decode(key)?))
}

/// A date: nanoseconds since 1970, for ever.
pub(super) fn date(at: SystemTime) -> [u8; 16] {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_be_bytes()
}

/// The date of such bytes.
pub(super) fn read_date(bytes: &[u8]) -> Option<SystemTime> {
    let nanos = u128::from_be_bytes(bytes.try_into().ok()?);
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(rest).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> KeyId {
        KeyId::from_bytes([seed; 32])
    }

    #[test]
    fn what_is_written_is_read() {
        let selector = Selector(format!("sha256:{}", "a".repeat(64)).parse().unwrap());
        let random = "random:0000000000000000000000000000000000000000000000000000000000000000";
        for from in [key(1), random.parse().unwrap()] {
            for selector in [None, Some(selector.clone())] {
                let over = Link { op: key(2), input: 7, selector };
                assert_eq!(read_link(&link(&from, &over, &key(3))), Some((over.clone(), key(3))));
                assert_eq!(read_back(&back(&key(3), &from, &over)), Some((from, over)));
            }
        }
        let id = ResultId::new("abc");
        assert_eq!(read_result(&result(&key(1), &id)), Some(id.clone()));
        assert_eq!(read_key_of(&key_of(&id, &key(1))), Some((id, key(1))));
        let now = SystemTime::now();
        assert_eq!(read_date(&date(now)), Some(now));
    }

    #[test]
    fn what_is_cut_short_is_not() {
        let over = Link { op: key(2), input: 7, selector: None };
        let rows = [link(&key(1), &over, &key(3)), back(&key(3), &key(1), &over)];
        for length in 0..rows[0].len() {
            assert_eq!(read_link(&rows[0][..length]), None, "{length}");
        }
        for length in 0..rows[1].len() {
            assert_eq!(read_back(&rows[1][..length]), None, "{length}");
        }
        assert_eq!(read_key_of(&[0, 9, 1]), None);
        assert_eq!(read_date(&[1, 2]), None);
    }
}
