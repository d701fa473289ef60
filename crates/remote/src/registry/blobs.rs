//! Blobs: HEAD, and GET of the whole or of one range.

use std::ops::Range;

use futures::FutureExt;
use http::{Method, StatusCode, header};
use oci_spec::image::Descriptor;
use url::Url;

use super::Repository;
use super::exchange::{Call, body_stream};
use super::hops::authority;
use super::response::Answer;
use crate::error::{Error, Mismatch, Result, What};
use crate::hosts::Address;
use crate::provider::BlobInfo;
use crate::request::Kind;
use crate::verify::Unverified;

impl Repository {
    /// HEADs a blob at a mirror or the upstream. The size is what the host says, which some hosts get wrong; it is not
    /// proof.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the way.
    pub async fn head_blob(&self, blob: &Descriptor) -> Result<BlobInfo> {
        let what = self.about_blob("look up blob", blob);
        let ask = || Call::new(Kind::BlobHead, Method::HEAD, what.clone());
        let path = format!("blobs/{}", blob.digest());
        let read = |answer: Answer| {
            let what = what.clone();
            async move {
                if answer.status != StatusCode::OK {
                    return Err(answer.into_error(what).await);
                }
                let size = answer.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
                Ok(BlobInfo { size })
            }
            .boxed()
        };
        let (_, info) = self.first_of(self.near(false), &path, &what, ask, read).await?;
        Ok(info)
    }

    /// Whether the upstream itself has a blob, whatever its mirrors have. Some hosts say 403 of what they lack: whether
    /// it may be written there shows when it is.
    pub(super) async fn holds_blob(&self, blob: &Descriptor) -> Result<bool> {
        let what = self.about_blob("look up blob", blob);
        let url = self.url(&self.host.upstream, &format!("blobs/{}", blob.digest()), &what)?;
        let call = Call::new(Kind::BlobHead, Method::HEAD, what.clone());
        let answer = self.exchange(&self.host.upstream, url, call).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(false),
            _ => Err(answer.into_error(what).await),
        }
    }

    /// GETs `range` of a blob from a mirror or the upstream: one response. The range that comes back begins at zero
    /// where the host ignores ranges. One range in a request: hosts differ in what they do with several.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Integrity`] where the length announced cannot be the blob's; [`Error::Invalid`]
    /// for an answer that is not the range asked for.
    pub async fn get_blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        let what = self.about_blob("get blob", blob);
        let whole = range.start == 0 && range.end >= blob.size();
        let ask = || {
            let call = Call::new(Kind::BlobGet, Method::GET, what.clone());
            if whole {
                return call;
            }
            call.header(header::RANGE, &format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
        };
        let path = format!("blobs/{}", blob.digest());
        let facts = self.facts();
        let read = |answer: Answer| {
            let what = self.said_by(&what, &answer.url);
            let range = range.clone();
            async move { read_blob(blob, &range, &what, answer).await }.boxed()
        };
        let (base, body) = self.first_of(self.brings(blob), &path, &what, ask, read).await?;
        let mirror = (base != self.host.upstream.base).then_some(base.as_str());
        facts.set_served(blob.digest(), mirror);
        Ok(match mirror.and_then(|base| Url::parse(base).ok()) {
            Some(mirror) => body.by(authority(&mirror)),
            None => body,
        })
    }

    /// Who is asked for a blob, in order: those that brought something else in its place are not, and those that kept
    /// breaking off come last.
    pub(super) fn brings(&self, blob: &Descriptor) -> Vec<&Address> {
        let facts = self.facts();
        let mut from = self.near(false);
        from.retain(|address| !facts.distrusts(blob.digest(), &address.base));
        // The others stay in their order.
        from.sort_by_key(|address| facts.avoids(blob.digest(), &address.base));
        from
    }

    pub(super) fn about_blob(&self, operation: &'static str, blob: &Descriptor) -> What {
        What::new(operation, format_args!("{}@{}", self.name, blob.digest()))
    }
}

async fn read_blob(blob: &Descriptor, asked: &Range<u64>, what: &What, answer: Answer) -> Result<Unverified> {
    let got = match answer.status {
        StatusCode::OK => 0..blob.size(),
        StatusCode::PARTIAL_CONTENT => content_range(&answer, blob, asked, what)?,
        // RFC 9110 §15.5.17: `bytes */TOTAL` says how long it really is.
        StatusCode::RANGE_NOT_SATISFIABLE if total(&answer).is_some_and(|total| total != blob.size()) => {
            let mismatch =
                Mismatch::Size { expected: blob.size(), actual: total(&answer).unwrap_or_default() };
            return Err(Error::Integrity { what: what.clone(), mismatch });
        }
        _ => return Err(answer.into_error(what.clone()).await),
    };
    expect_length(&answer, got.end - got.start, what)?;
    Ok(Unverified::new(got, body_stream(answer.body, what.clone())))
}

/// Size first: a body of another length is not read at all.
fn expect_length(answer: &Answer, expected: u64, what: &What) -> Result<()> {
    let announced = answer.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    match announced.filter(|announced| *announced != expected) {
        Some(actual) => {
            Err(Error::Integrity { what: what.clone(), mismatch: Mismatch::Size { expected, actual } })
        }
        None => Ok(()),
    }
}

/// The total of an unsatisfied range.
fn total(answer: &Answer) -> Option<u64> {
    answer.header(header::CONTENT_RANGE)?.strip_prefix("bytes */")?.parse().ok()
}

fn content_range(answer: &Answer, blob: &Descriptor, asked: &Range<u64>, what: &What) -> Result<Range<u64>> {
    let field = answer.header(header::CONTENT_RANGE).unwrap_or_default();
    let wrong = || {
        let last = asked.end.saturating_sub(1);
        let reason = format!("asked for bytes {}-{last}, got Content-Range `{field}`", asked.start);
        Error::invalid(what.operation, &what.object, reason)
    };
    let (got, total) = parse_content_range(field).ok_or_else(wrong)?;
    if let Some(actual) = total.filter(|total| *total != blob.size()) {
        let mismatch = Mismatch::Size { expected: blob.size(), actual };
        return Err(Error::Integrity { what: what.clone(), mismatch });
    }
    // A shorter range is allowed by RFC 9110; the reader asks again from where it ends.
    if got.start != asked.start || got.end > asked.end {
        return Err(wrong());
    }
    Ok(got)
}

/// RFC 9110 §14.4: `bytes FIRST-LAST/TOTAL`, where the total may be `*`. The range comes back with its end excluded.
fn parse_content_range(field: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = field.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    (first <= last).then_some((first..last.checked_add(1)?, total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rows 48b, 49a: a range is complete and in order; its total may be unknown.
    #[test]
    fn what_is_no_range_is_none() {
        for field in
            ["", "bytes", "bytes 0-1", "bytes 2-1/9", "bytes */9", "bytes 0-1/x", "items 0-1/9", "bytes 0-/9"]
        {
            assert_eq!(parse_content_range(field), None, "{field}");
        }
        assert_eq!(parse_content_range("bytes 0-18446744073709551615/*"), None);
        assert_eq!(parse_content_range("bytes 3-3/*"), Some((3..4, None)));
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(field in "[ -~]{0,40}|bytes [0-9]{0,22}-[0-9]{0,22}/[0-9*]{0,22}") {
            if let Some((range, _)) = parse_content_range(&field) {
                prop_assert!(range.start < range.end);
            }
        }

        #[test]
        fn what_is_written_is_read(first in 0..u64::MAX / 2, length in 1_u64..1 << 40, total in any::<u64>()) {
            let field = format!("bytes {first}-{}/{total}", first + length - 1);
            prop_assert_eq!(parse_content_range(&field), Some((first..first + length, Some(total))));
        }
    }
}
