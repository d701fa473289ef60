//! Rules for misbehaviour: which requests, how often, and what happens to them.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use crate::request::Kind;
use crate::server::sync::lock;

/// A rule. Without conditions it concerns every request, always.
#[derive(Clone, Debug)]
pub struct Toxic {
    kinds: Vec<Kind>,
    part: Option<String>,
    after: u32,
    times: Option<u32>,
    effect: Effect,
}

/// What happens to a request the rule concerns. Several rules may concern one request; they act in their order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// 429, with or without Retry-After and error document.
    TooManyRequests {
        /// When to come back.
        retry_after: Option<RetryAfter>,
        /// Whether the body says TOOMANYREQUESTS.
        document: bool,
    },
    /// A status instead of the answer.
    Status(StatusCode),
    /// An answer altogether made up.
    Answer {
        /// The status.
        status: StatusCode,
        /// All headers but the length.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The body.
        body: Bytes,
    },
    /// An error document of this status that repeats the request's `Authorization`, for Basic decoded, too.
    Echo(StatusCode),
    /// The connection ends before an answer; the registry does not see the request.
    Drop,
    /// The connection ends before the answer, but the registry has done what was asked.
    DropAnswer,
    /// No answer, ever.
    Hang,
    /// The answer begins after this time.
    Delay(Duration),
    /// The request's body breaks after so many bytes; the registry keeps those.
    CutRequest(u64),
    /// The request's body is read in pieces of so many bytes with a pause before each.
    SlowRequest {
        /// Bytes of a piece.
        piece: usize,
        /// The pause.
        pause: Duration,
    },
    /// A request with a longer body gets this status and none of it is kept.
    BodyCap {
        /// The longest body allowed, in bytes.
        bytes: u64,
        /// 413 in front of most registries, 416 at some.
        status: StatusCode,
    },
    /// A mount opens a session instead.
    RefuseMount,
    /// The `Range` header is not looked at.
    IgnoreRange,
    /// `Content-Range` of the answer is off by so many bytes.
    ShiftContentRange(u64),
    /// The answer's body breaks after so many bytes. In memory all of them arrive; on a socket the last may be lost.
    CutBody(u64),
    /// The byte at this offset of the answer's body is another.
    Corrupt(u64),
    /// The answer's body comes in pieces of so many bytes with a pause before each.
    Slow {
        /// Bytes of a piece.
        piece: usize,
        /// The pause.
        pause: Duration,
    },
    /// The answer lacks a header.
    OmitHeader(HeaderName),
    /// The answer has a header, whatever it had before.
    SetHeader(HeaderName, HeaderValue),
    /// `Range` in answers to PATCH stays at what it was after the first of the session, though all is stored.
    StuckRange,
    /// Upload addresses are absolute, on the registry's own host.
    AbsoluteLocation,
    /// Upload addresses are on another host that answers 400 where an `Authorization` header comes along.
    ForeignLocation,
    /// Blobs are at another host that answers 400 where an `Authorization` header comes along (307).
    RedirectToStorage(Expiry),
}

/// `Retry-After`, in both of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Seconds.
    Seconds(u64),
    /// A date, so many seconds from now.
    Date(u64),
}

/// When an address in the storage ends to be good; 403 follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// After so many requests.
    Requests(u64),
    /// As soon as so many bytes have been sent; what is being sent is sent to its end.
    Bytes(u64),
}

impl Toxic {
    /// A rule for every request.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self { kinds: Vec::new(), part: None, after: 0, times: None, effect }
    }

    /// 429 with `Retry-After` in seconds, if any.
    #[must_use]
    pub fn too_many_requests(retry_after: Option<u64>) -> Self {
        Self::new(Effect::TooManyRequests {
            retry_after: retry_after.map(RetryAfter::Seconds),
            document: true,
        })
    }

    /// A status instead of the answer.
    ///
    /// # Panics
    /// For a number that is no status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Effect::Status(StatusCode::from_u16(status).expect("a status")))
    }

    /// Answers lack `Docker-Content-Digest`.
    #[must_use]
    pub fn no_content_digest() -> Self {
        Self::new(Effect::OmitHeader(HeaderName::from_static("docker-content-digest")))
    }

    /// Bodies of PATCH past `bytes` get 413.
    #[must_use]
    pub fn chunk_cap(bytes: u64) -> Self {
        Self::new(Effect::BodyCap { bytes, status: StatusCode::PAYLOAD_TOO_LARGE }).on(Kind::Upload)
    }

    /// Only requests of this kind; said several times, of any of them.
    #[must_use]
    pub fn on(mut self, kind: Kind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Only requests whose path and query contain `part`.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.part = Some(part.into());
        self
    }

    /// Lets so many of them pass first.
    #[must_use]
    pub fn after(mut self, passed: u32) -> Self {
        self.after = passed;
        self
    }

    /// Concerns so many of them and no more.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn concerns(&self, kind: Kind, target: &str) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && self.part.as_deref().is_none_or(|part| target.contains(part))
    }
}

/// All rules of a registry, with how often each was asked.
#[derive(Debug, Default)]
pub(super) struct Toxics {
    rules: Mutex<Vec<(Toxic, u32)>>,
}

impl Toxics {
    pub(super) fn add(&self, toxic: Toxic) {
        lock(&self.rules).push((toxic, 0));
    }

    pub(super) fn clear(&self) {
        lock(&self.rules).clear();
    }

    /// What happens to this request.
    pub(super) fn effects(&self, kind: Kind, target: &str) -> Vec<Effect> {
        let mut rules = lock(&self.rules);
        let concerned = rules.iter_mut().filter(|(toxic, _)| toxic.concerns(kind, target));
        concerned
            .filter_map(|(toxic, seen)| {
                let nth = *seen;
                *seen += 1;
                let acts = nth >= toxic.after && toxic.times.is_none_or(|times| nth - toxic.after < times);
                acts.then(|| toxic.effect.clone())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_the_requests_they_concern() {
        let toxics = Toxics::default();
        toxics.add(
            Toxic::new(Effect::Drop).on(Kind::BlobGet).on(Kind::BlobHead).path("sha256:ab").after(1).times(2),
        );
        let acts = |kind, target| !toxics.effects(kind, target).is_empty();
        assert!(!acts(Kind::ManifestGet, "/v2/a/blobs/sha256:ab"));
        assert!(!acts(Kind::BlobGet, "/v2/a/blobs/sha256:cd"));
        let seen: Vec<_> = (0..4).map(|_| acts(Kind::BlobGet, "/v2/a/blobs/sha256:ab")).collect();
        assert_eq!(seen, [false, true, true, false]);
        toxics.clear();
        assert!(!acts(Kind::BlobGet, "/v2/a/blobs/sha256:ab"));
    }
}
