//! Blobs: HEAD, and GET of the whole or of one range.

use std::ops::Range;

use futures::FutureExt;
use http::{Method, StatusCode, header};
use oci_spec::image::Descriptor;

use super::Repository;
use super::exchange::{Call, body_stream};
use super::response::Answer;
use crate::error::{Error, Mismatch, Result, What};
use crate::provider::BlobInfo;
use crate::request::Kind;
use crate::verify::Unverified;

impl Repository {
    /// HEADs a blob. The size is what the host says, which some hosts get wrong; it is not proof.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the way.
    pub async fn head_blob(&self, blob: &Descriptor) -> Result<BlobInfo> {
        let what = self.about_blob("look up blob", blob);
        let url = self.url(&self.host.upstream, &format!("blobs/{}", blob.digest()), &what)?;
        let call = Call::new(Kind::BlobHead, Method::HEAD, what.clone());
        let answer = self.exchange(&self.host.upstream, url, call).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.into_error(what).await);
        }
        let size = answer.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        Ok(BlobInfo { size })
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
        let (_, body) = self
            .first_of(&path, false, &what, ask, |answer| read_blob(blob, &range, &what, answer).boxed())
            .await?;
        Ok(body)
    }

    pub(super) fn about_blob(&self, operation: &'static str, blob: &Descriptor) -> What {
        What::new(operation, format_args!("{}@{}", self.name, blob.digest()))
    }
}

async fn read_blob(blob: &Descriptor, asked: &Range<u64>, what: &What, answer: Answer) -> Result<Unverified> {
    let got = match answer.status {
        StatusCode::OK => 0..blob.size(),
        StatusCode::PARTIAL_CONTENT => content_range(&answer, blob, asked, what)?,
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

/// RFC 9110 §14.4: `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
fn content_range(answer: &Answer, blob: &Descriptor, asked: &Range<u64>, what: &What) -> Result<Range<u64>> {
    let field = answer.header(header::CONTENT_RANGE).unwrap_or_default();
    let wrong = || {
        let reason =
            format!("asked for bytes {}-{}, got Content-Range `{field}`", asked.start, asked.end - 1);
        Error::invalid(what.operation, &what.object, reason)
    };
    let parse = || {
        let (range, total) = field.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = if total == "*" { blob.size() } else { total.parse().ok()? };
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total))
    };
    let (first, last, total) = parse().ok_or_else(wrong)?;
    if total != blob.size() {
        let mismatch = Mismatch::Size { expected: blob.size(), actual: total };
        return Err(Error::Integrity { what: what.clone(), mismatch });
    }
    // A shorter range is allowed by RFC 9110; the reader asks again from where it ends.
    if first != asked.start || last < first || last >= asked.end {
        return Err(wrong());
    }
    Ok(first..last + 1)
}
