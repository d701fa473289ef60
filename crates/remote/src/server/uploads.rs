//! Pushing blobs: monolithic, streamed, in chunks and by mount (distribution-spec "Pushing Blobs").

use std::pin::{Pin, pin};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{HeaderName, HeaderValue, LOCATION, RANGE};
use http::{Request, Response, StatusCode, Uri};
use oci_spec::image::Digest;
use tokio_util::sync::CancellationToken;

use super::backend::Ingest;
use super::blobs::{CONTENT_DIGEST, declared, text};
use super::problem::{Answer, Problem};
use super::range;
use super::registry::Registry;
use super::route::{self, parameter};
use super::session::Turn;
use super::sync::lock;
use crate::body::{self, Body, BoxError};
use crate::digest::Hasher;
use crate::reference::RepositoryName;

/// Bytes gathered before the backend gets them: fewer and larger writes.
const GATHER: usize = 512 * 1024;
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// The query parameter of a Location that says how many bytes had come when it was given out.
const STATE: &str = "_state";

impl Registry {
    pub(super) async fn open_upload(&self, repository: &RepositoryName, request: Request<Body>) -> Answer {
        let uri = request.uri().clone();
        if let Some(mounted) = self.mount(repository, &uri).await? {
            return Ok(mounted);
        }
        let digest = parameter(&uri, "digest").map(|digest| computable(&digest)).transpose()?;
        let mut ingest = self.backend.ingest().await?;
        if let Some(digest) = digest {
            self.take(ingest.as_mut(), request.into_body(), &CancellationToken::new()).await?;
            return self.commit(repository, ingest, &digest).await;
        }
        let id = self.sessions.open(repository.path(), ingest).await;
        let mut response = self.session_response(StatusCode::ACCEPTED, repository, &id, 0);
        if let Some(min) = self.settings.chunk_min {
            response.headers_mut().insert(CHUNK_MIN, HeaderValue::from(min));
        }
        Ok(response)
    }

    pub(super) async fn upload_status(&self, repository: &RepositoryName, id: &str) -> Answer {
        let position = self.sessions.position(repository.path(), id).await;
        let position = position.ok_or_else(|| Problem::upload_unknown(id))?;
        Ok(self.session_response(StatusCode::NO_CONTENT, repository, id, position))
    }

    pub(super) async fn append_upload(
        &self,
        repository: &RepositoryName,
        id: &str,
        request: Request<Body>,
    ) -> Answer {
        let turn = self.receive(repository, id, request).await?;
        Ok(self.session_response(StatusCode::ACCEPTED, repository, id, turn.position()))
    }

    /// Takes the body of a PATCH or PUT into the session, where it is its turn and in order.
    async fn receive(
        &self,
        repository: &RepositoryName,
        id: &str,
        request: Request<Body>,
    ) -> Result<Turn, Problem> {
        let turn = self.sessions.turn(repository.path(), id).await;
        let mut turn = turn.ok_or_else(|| Problem::upload_unknown(id))?;
        let before = turn.position();
        let chunk = self.in_order(repository, id, before, &request)?;
        let stop = turn.stop();
        let ingest = turn.ingest().ok_or_else(|| Problem::upload_unknown(id))?;
        self.take(ingest.as_mut(), request.into_body(), &stop).await?;
        if chunk.is_some_and(|length| length != turn.position() - before) {
            return Err(Problem::size_invalid("the chunk is not as long as its Content-Range says"));
        }
        Ok(turn)
    }

    pub(super) async fn finish_upload(
        &self,
        repository: &RepositoryName,
        id: &str,
        request: Request<Body>,
    ) -> Answer {
        let digest = parameter(request.uri(), "digest")
            .ok_or_else(|| Problem::digest_invalid("the digest parameter is missing"))?;
        let digest = computable(&digest)?;
        let turn = self.receive(repository, id, request).await?;
        let ingest = self.sessions.end(id, turn).ok_or_else(|| Problem::upload_unknown(id))?;
        self.commit(repository, ingest, &digest).await
    }

    pub(super) async fn cancel_upload(&self, repository: &RepositoryName, id: &str) -> Answer {
        let turn = self.sessions.turn(repository.path(), id).await;
        let turn = turn.ok_or_else(|| Problem::upload_unknown(id))?;
        if let Some(ingest) = self.sessions.end(id, turn) {
            ingest.discard().await;
        }
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// A mount that succeeds; whatever keeps it from that opens a session instead (distribution-spec "Mounting a blob
    /// from another repository").
    async fn mount(&self, repository: &RepositoryName, uri: &Uri) -> Result<Option<Response<Body>>, Problem> {
        let (Some(digest), Some(from)) = (parameter(uri, "mount"), parameter(uri, "from")) else {
            return Ok(None);
        };
        let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
        if self.backend.size(&digest).await?.is_none() {
            return Ok(None);
        }
        let mounted = lock(&self.catalogue).mount(&from, repository.path(), &digest);
        Ok(mounted.then(|| created(repository, &digest)))
    }

    /// Takes in a body; what came before a break stays. While one batch is stored the next one arrives.
    async fn take(
        &self,
        ingest: &mut dyn Ingest,
        body: Body,
        stop: &CancellationToken,
    ) -> Result<(), Problem> {
        let mut chunks = pin!(body::chunks(body));
        let mut batch = self.gather(chunks.as_mut(), stop).await;
        loop {
            if let Some(end) = batch.end {
                if !batch.pieces.is_empty() {
                    ingest.append(batch.pieces).await?;
                }
                return end.map_err(Problem::body_broke);
            }
            let (stored, next) =
                tokio::join!(ingest.append(batch.pieces), self.gather(chunks.as_mut(), stop));
            stored?;
            batch = next;
        }
    }

    async fn gather(
        &self,
        mut chunks: Pin<&mut impl Stream<Item = Result<Bytes, BoxError>>>,
        stop: &CancellationToken,
    ) -> Batch {
        let mut batch = Batch { pieces: Vec::new(), end: None };
        let mut size = 0;
        while size < GATHER && batch.end.is_none() {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = stop.cancelled() => Some(Err("a later request took over".into())),
            };
            match chunk {
                Some(Ok(chunk)) => {
                    self.traffic.received(chunk.len());
                    size += chunk.len();
                    batch.pieces.push(chunk);
                }
                Some(Err(error)) => batch.end = Some(Err(error)),
                None => batch.end = Some(Ok(())),
            }
        }
        batch
    }

    async fn commit(&self, repository: &RepositoryName, ingest: Box<dyn Ingest>, digest: &Digest) -> Answer {
        ingest.commit(digest).await?;
        lock(&self.catalogue).add_blob(repository.path(), digest);
        Ok(created(repository, digest))
    }

    /// Checks that a piece comes next: by its Content-Range, else by the Location it was sent to, which must be the
    /// newest. Returns the length the Content-Range promises.
    fn in_order(
        &self,
        repository: &RepositoryName,
        id: &str,
        position: u64,
        request: &Request<Body>,
    ) -> Result<Option<u64>, Problem> {
        let disorder = |reason: String| {
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", reason);
            problem
                .header(LOCATION, text(location(repository, id, position)))
                .header(RANGE, text(range::received(position)))
        };
        let chunk = range::chunk(request.headers())
            .map_err(|text| disorder(format!("`{text}` is not a Content-Range: write FIRST-LAST")))?;
        if let Some(chunk) = chunk {
            if chunk.start != position {
                return Err(disorder(format!("the chunk begins at {}, expected {position}", chunk.start)));
            }
            if declared(request).is_some_and(|length| length != chunk.end - chunk.start) {
                return Err(Problem::size_invalid("Content-Length and Content-Range contradict each other"));
            }
            return Ok(Some(chunk.end - chunk.start));
        }
        let stale = parameter(request.uri(), STATE).is_some_and(|state| state != position.to_string());
        if stale { Err(Problem::upload_unknown(id)) } else { Ok(None) }
    }

    fn session_response(
        &self,
        status: StatusCode,
        repository: &RepositoryName,
        id: &str,
        position: u64,
    ) -> Response<Body> {
        let mut response = Response::new(body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(LOCATION, text(location(repository, id, position)));
        headers.insert(RANGE, text(range::received(position)));
        headers.insert(UPLOAD_ID, text(id));
        response
    }

    /// Makes a blob present without a request.
    #[cfg(feature = "testing")]
    pub(crate) async fn store_blob(
        &self,
        repository: &str,
        blob: Bytes,
        digest: &Digest,
    ) -> Result<(), Problem> {
        let mut ingest = self.backend.ingest().await?;
        ingest.append(vec![blob]).await?;
        ingest.commit(digest).await?;
        lock(&self.catalogue).add_blob(repository, digest);
        Ok(())
    }
}

/// What of a body is stored in one step, and how the body ended if it has.
struct Batch {
    pieces: Vec<Bytes>,
    end: Option<Result<(), BoxError>>,
}

fn location(repository: &RepositoryName, id: &str, position: u64) -> String {
    format!("/v2/{}/blobs/uploads/{id}?{STATE}={position}", repository.path())
}

fn created(repository: &RepositoryName, digest: &Digest) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(LOCATION, text(format_args!("/v2/{}/blobs/{digest}", repository.path())));
    headers.insert(CONTENT_DIGEST, text(digest));
    response
}

/// A digest we can check.
fn computable(text: &str) -> Result<Digest, Problem> {
    let digest = route::digest(text)?;
    if Hasher::new(digest.algorithm()).is_none() {
        return Err(Problem::digest_invalid("digest algorithm is not supported").about(text));
    }
    Ok(digest)
}
