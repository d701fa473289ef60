//! Ranges of blobs (RFC 9110 "Range Requests") and of uploads.

use std::ops::Range;

use http::HeaderMap;
use http::header::{CONTENT_RANGE, RANGE};

/// What a request wants of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, end exclusive.
    Part(Range<u64>),
    /// Bytes it does not have.
    Nothing,
}

/// Reads the `Range` header for a blob of `size` bytes. What we do not understand, several ranges included, is ignored
/// as the RFC allows.
pub(crate) fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else { return Wanted::Whole };
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|spec| spec.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let (first, last) = (number(first), number(last));
    match (first, last) {
        (Some(Some(first)), Some(Some(last))) if first > last => Wanted::Whole,
        (Some(Some(first)), Some(_)) if first >= size => Wanted::Nothing,
        (Some(Some(first)), Some(last)) => {
            Wanted::Part(first..last.map_or(size, |last| size.min(last.saturating_add(1))))
        }
        (Some(None), Some(Some(suffix))) if suffix == 0 || size == 0 => Wanted::Nothing,
        (Some(None), Some(Some(suffix))) => Wanted::Part(size.saturating_sub(suffix)..size),
        _ => Wanted::Whole,
    }
}

/// A number, the absence of one, or nothing for what is neither.
#[allow(clippy::option_option, reason = "no range, a range that cannot be met, and a range are three things")]
fn number(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "" => Some(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Some),
        _ => None,
    }
}

/// The `Content-Range` of a chunk: `first-last`, both inclusive and without a unit (distribution-spec "Pushing a blob
/// in chunks"); `bytes first-last/size` is understood too. An error names what was written.
pub(crate) fn chunk(headers: &HeaderMap) -> Result<Option<Range<u64>>, String> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let range = text.trim().strip_prefix("bytes ").unwrap_or(&text).split('/').next().unwrap_or_default();
    match range.split_once('-').map(|(first, last)| (number(first), number(last))) {
        Some((Some(Some(first)), Some(Some(last)))) if first <= last && last < u64::MAX => {
            Ok(Some(first..last + 1))
        }
        _ => Err(text),
    }
}

/// The `Range` header of an upload: `0-last`. Of an empty one it is `0-0` too, as in distribution.
pub(crate) fn received(position: u64) -> String {
    format!("0-{}", position.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        wanted(&headers, size)
    }

    #[test]
    fn single_ranges() {
        assert_eq!(of("bytes=0-3", 10), Wanted::Part(0..4));
        assert_eq!(of("bytes=4-", 10), Wanted::Part(4..10));
        assert_eq!(of("bytes=4-99", 10), Wanted::Part(4..10));
        assert_eq!(of("bytes=-3", 10), Wanted::Part(7..10));
        assert_eq!(of("bytes=-30", 10), Wanted::Part(0..10));
        assert_eq!(of("bytes=10-", 10), Wanted::Nothing);
        assert_eq!(of("bytes=-0", 10), Wanted::Nothing);
        assert_eq!(of("bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn what_is_not_understood_is_the_whole() {
        for range in
            ["bytes=0-1,3-4", "bytes=5-2", "pieces=0-1", "bytes=a-b", "bytes=", "bytes=-", "bytes=+1-2"]
        {
            assert_eq!(of(range, 10), Wanted::Whole, "{range}");
        }
    }

    #[test]
    fn chunks() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, text.parse().unwrap());
            chunk(&headers)
        };
        assert_eq!(of("0-9"), Ok(Some(0..10)));
        assert_eq!(of("bytes 5-9/10"), Ok(Some(5..10)));
        assert!(of("9-5").is_err());
        assert!(of("x").is_err());
        assert_eq!(chunk(&HeaderMap::new()), Ok(None));
    }
}
