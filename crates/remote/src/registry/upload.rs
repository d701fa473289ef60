//! Uploads: POST → one streaming PATCH → PUT; chunks where a host cannot take that. The newest Location always.

use bytes::Bytes;
use http::{Method, StatusCode, header};
use oci_spec::image::Descriptor;
use url::Url;

use super::Repository;
use super::exchange::{Call, Payload};
use super::hops::resolve;
use super::outgoing::watched;
use super::response::Answer;
use crate::body;
use crate::error::{Error, Result, What};
use crate::request::Kind;
use crate::transfer::Blob;
use crate::verify::Verified;

/// An upload session at the host.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Where the next request of this session goes.
    location: Url,
}

/// Why a step of an upload failed, and what may be done about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing: it was the source, which has had its own tries.
    Source(Error),
    /// Nothing: the step has had its own tries.
    Final(Error),
    /// The host could not take this request now. Its session is there as before.
    Again(Error),
    /// The session is of no use (any more). If the error passes by, a new one may do.
    Anew(Error),
    /// The host does not know the session (any more). A new one may do.
    Lost(Error),
    /// The connection broke while the whole blob went through it. What stands in front of some registries does that to
    /// long bodies instead of answering 413.
    CutOff(Error),
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Source(error)
            | Self::Final(error)
            | Self::Again(error)
            | Self::Anew(error)
            | Self::Lost(error)
            | Self::CutOff(error) => error,
        }
    }
}

/// How an attempt to send everything in one request ended.
#[derive(Debug)]
pub(super) enum Streamed {
    /// The host has everything; the session can be closed.
    All(Session),
    /// The host does not take this much in one request.
    TooMuch,
}

impl Repository {
    /// Opens a session.
    pub(super) async fn start_upload(&self, blob: &Descriptor) -> Result<Session> {
        let what = self.about_blob("start upload of", blob);
        let url = self.url(&self.host.upstream, "blobs/uploads/", &what)?;
        let call = Call::new(Kind::Upload, Method::POST, what.clone());
        let answer = self.exchange(&self.host.upstream, url, call).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(answer.into_error(what).await);
        }
        let location = location(&answer).ok_or_else(|| {
            Error::invalid(what.operation, &what.object, "the host names no Location to upload to")
        })?;
        self.facts().set_chunk_minimum(chunk_minimum(&answer));
        answer.discard().await;
        Ok(Session { location })
    }

    /// The session that a refused mount has opened.
    pub(super) fn resume_session(&self, blob: &Descriptor, location: &str) -> Result<Session> {
        let what = self.about_blob("start upload of", blob);
        let location =
            Url::parse(location).map_err(|error| Error::invalid(what.operation, &what.object, error))?;
        Ok(Session { location })
    }

    /// Sends the blob, from `offset` on, in one PATCH while the whole of it is read and verified. On success every byte
    /// was right.
    pub(super) async fn stream_upload(
        &self,
        blob: &Descriptor,
        session: &Session,
        source: Verified,
        offset: u64,
    ) -> Result<Streamed, Failure> {
        let what = self.about_blob("upload blob", blob);
        let size = blob.size();
        let (stream, ending) = watched(source, size, offset);
        let mut call = Call::new(Kind::Upload, Method::PATCH, what.clone())
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .payload(Payload::Stream(body::streaming(stream, Some(size.saturating_sub(offset)))));
        if offset > 0 {
            // A host that is elsewhere by now says 416 and keeps its bytes in order.
            call = call.header(header::CONTENT_RANGE, &format!("{offset}-{}", size.saturating_sub(1)));
        }
        let answer = self.exchange(&self.host.upstream, session.location.clone(), call).await;
        // A source that failed is the cause of whatever the connection says.
        if let Some(error) = ending.error() {
            return Err(Failure::Source(error));
        }
        let answer = answer.map_err(|error| match ending.begun() {
            true => Failure::CutOff(error),
            false => Failure::Anew(error),
        })?;
        match answer.status {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::RANGE_NOT_SATISFIABLE => {
                answer.discard().await;
                Ok(Streamed::TooMuch)
            }
            status if status.is_success() && !ending.complete() => {
                let cause = "the host answered before it had the whole blob".into();
                Err(Failure::Anew(Error::broken(what.operation, &what.object, &cause)))
            }
            status if status.is_success() => {
                let next = session.next(&answer);
                answer.discard().await;
                Ok(Streamed::All(next))
            }
            _ => Err(refusal(answer, what).await),
        }
    }

    /// Sends one chunk that begins at `offset` of the blob.
    pub(super) async fn send_chunk(
        &self,
        blob: &Descriptor,
        session: &Session,
        offset: u64,
        chunk: Bytes,
    ) -> Result<Answer> {
        let last = offset + chunk.len() as u64 - 1;
        let call = Call::new(Kind::Upload, Method::PATCH, self.about_blob("upload chunk of", blob))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_RANGE, &format!("{offset}-{last}"))
            .payload(Payload::Whole(chunk));
        self.exchange(&self.host.upstream, session.location.clone(), call).await
    }

    /// Asks how much of the session the host has: the offset of its last byte.
    pub(super) async fn upload_status(
        &self,
        blob: &Descriptor,
        session: &Session,
    ) -> Result<(Session, Option<u64>), Failure> {
        let what = self.about_blob("look up upload of", blob);
        let call = Call::new(Kind::Upload, Method::GET, what.clone());
        let answer = self.exchange(&self.host.upstream, session.location.clone(), call).await;
        let answer = answer.map_err(Failure::Anew)?;
        if !answer.status.is_success() {
            return Err(match refusal(answer, what).await {
                // A session that cannot even be looked at is in a bad way.
                Failure::Again(error) if !turned_away(&error) => Failure::Anew(error),
                failure => failure,
            });
        }
        let last = last_stored(&answer);
        let session = session.next(&answer);
        answer.discard().await;
        Ok((session, last))
    }

    /// Closes the session: from here on the blob is visible, and the host has verified its digest.
    pub(super) async fn finish_upload(&self, blob: &Descriptor, session: &Session) -> Result<(), Failure> {
        let what = self.about_blob("finish upload of", blob);
        let mut url = session.location.clone();
        // The query that came with the Location is kept as it is; hosts sign it.
        let query = match url.query().filter(|query| !query.is_empty()) {
            Some(query) => format!("{query}&digest={}", encoded(blob)),
            None => format!("digest={}", encoded(blob)),
        };
        url.set_query(Some(&query));
        let call = Call::new(Kind::Upload, Method::PUT, what.clone());
        let answer = self.exchange(&self.host.upstream, url, call).await.map_err(Failure::Again)?;
        if !answer.status.is_success() {
            return Err(refusal(answer, what).await);
        }
        answer.discard().await;
        Ok(())
    }

    /// Lets the host forget a session that nothing more goes into: one DELETE, whatever comes of it. Some registries
    /// demand a right for it that nobody has (distribution: `delete`); such a host is not asked again.
    pub(super) async fn cancel_upload(&self, blob: &Descriptor, session: &Session) {
        let facts = self.facts();
        if facts.keeps_sessions() {
            return;
        }
        let what = self.about_blob("cancel upload of", blob);
        let call = Call::new(Kind::Upload, Method::DELETE, what).courtesy();
        match self.exchange(&self.host.upstream, session.location.clone(), call).await {
            Ok(answer) => {
                let status = answer.status;
                if !status.is_success() {
                    tracing::debug!(blob = %blob.digest(), %status, "upload session left to time out");
                }
                if matches!(
                    status,
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED
                ) {
                    facts.set_keeps_sessions();
                }
                answer.discard().await;
            }
            Err(error) => {
                tracing::debug!(blob = %blob.digest(), %error, "upload session left to time out");
            }
        }
    }
}

/// What a refusal says of its session. One that the host has forgotten is no missing image: a new one may do.
pub(super) async fn refusal(answer: Answer, what: What) -> Failure {
    let status = answer.status;
    let passes = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    match answer.into_error(what).await {
        Error::NotFound { what, reason } => {
            let reason = format!("the host does not know the upload session (any more): {reason}");
            Failure::Lost(Error::Unavailable { what, reason, retry_after: None, transient: true })
        }
        error if passes => Failure::Again(error),
        // A signed address of another host that is past its time, for one.
        error => Failure::Anew(error),
    }
}

/// Takes a step until the host takes it, too. It has the ladder of retries for itself: what came before it is not done
/// again because of it.
pub(super) async fn step<T, F>(blob: &Blob, mut verb: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut failures = 0;
    loop {
        let error = match verb().await {
            Err(Failure::Again(error)) => error,
            outcome => return outcome,
        };
        failures += 1;
        blob.back_off(failures, error).await.map_err(Failure::Final)?;
    }
}

/// Whether the host turned the request away without looking at it, so that nothing has changed at its side.
pub(super) fn turned_away(error: &Error) -> bool {
    matches!(error.root(), Error::RateLimited { .. })
}

impl Session {
    /// This session after an answer: at its new Location if there is one.
    pub(super) fn next(&self, answer: &Answer) -> Self {
        Self { location: location(answer).unwrap_or_else(|| self.location.clone()) }
    }
}

/// A chunk is held in memory while it is sent: a host that wants larger ones than this gets what it refuses.
const LARGEST_CHUNK: u64 = 64 * 1024 * 1024;

/// What an answer says the least size of a chunk is, in bytes, the last one apart (`OCI-Chunk-Min-Length`).
pub(super) fn chunk_minimum(answer: &Answer) -> u64 {
    let length = answer.header("oci-chunk-min-length").and_then(|length| length.parse::<u64>().ok());
    length.unwrap_or_default().min(LARGEST_CHUNK)
}

/// The Location of an answer, absolute; relative ones are relative to the address that answered.
pub(super) fn location(answer: &Answer) -> Option<Url> {
    let location = answer.header(header::LOCATION)?;
    resolve(&answer.url, location).filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// The offset of the last byte a host says it has: `Range: 0-LAST`, with or without a unit. Zero may mean one byte or
/// none: distribution says `0-0` of an empty session, too.
pub(super) fn last_stored(answer: &Answer) -> Option<u64> {
    let range = answer.header(header::RANGE)?;
    let (_, last) = range.trim_start_matches("bytes=").split_once('-')?;
    last.trim().parse::<u64>().ok().filter(|last| *last < u64::MAX)
}

fn encoded(blob: &Descriptor) -> String {
    url::form_urlencoded::byte_serialize(blob.digest().as_ref().as_bytes()).collect()
}
