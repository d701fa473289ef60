//! Uploads in bounded chunks, for hosts that do not take a blob in one request.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::StatusCode;

use super::Repository;
use super::upload::{Failure, Session, last_stored, refusal, step, turned_away};
use crate::error::{Error, Result};
use crate::transfer::Blob;
use crate::verify::Verified;

/// No host refuses a chunk of this size for its size.
const SMALLEST: u64 = 64 * 1024;

/// A host that stores less than [`SMALLEST`] of what a chunk has, this often in a row, would take a blob byte by byte.
const MOST_CRUMBS: u32 = 16;

/// An upload under way, one chunk in memory at a time.
struct Chunked<'a> {
    repository: &'a Repository,
    blob: &'a Blob,
    session: Session,
    /// Bytes the host has, as far as it can be believed.
    offset: u64,
    /// What the host said last that it has; one that says the same again after more was stored is stuck there.
    said: Option<u64>,
    size: u64,
    failures: u32,
    /// Chunks in a row of which the host stored next to nothing.
    crumbs: u32,
    /// It answered 416 to the last chunk.
    out_of_range: bool,
}

impl Repository {
    /// Sends a blob in chunks of `size` bytes, smaller ones if the host says so. Says which size it took in the end.
    pub(super) async fn chunked_upload(
        &self,
        blob: &Blob,
        session: Session,
        mut source: Verified,
        size: u64,
    ) -> Result<(Session, u64), Failure> {
        let size = size.max(self.facts().chunk_minimum()).max(1);
        let mut upload = Chunked {
            repository: self,
            blob,
            session,
            offset: 0,
            said: None,
            size,
            failures: 0,
            crumbs: 0,
            out_of_range: false,
        };
        let mut ahead = Bytes::new();
        loop {
            let chunk = fill(&mut source, &mut ahead, upload.size).await.map_err(Failure::Source)?;
            if chunk.is_empty() {
                return Ok((upload.session, upload.size));
            }
            upload.send(chunk).await?;
        }
    }
}

impl Chunked<'_> {
    /// Sends `chunk`, whose first byte is at the current offset, until the host has all of it.
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let begin = self.offset;
        let end = begin + chunk.len() as u64;
        while self.offset < end {
            let skip = usize::try_from(self.offset - begin).unwrap_or(usize::MAX);
            let most = usize::try_from(self.size).unwrap_or(usize::MAX);
            let piece = chunk.slice(skip..).split_to((chunk.len() - skip).min(most));
            let sent = piece.len() as u64;
            let before = self.offset;
            if let Err(error) = self.send_piece(piece, sent).await {
                self.failures += 1;
                let same = turned_away(&error);
                self.blob.back_off(self.failures, error).await.map_err(|error| {
                    match error.is_transient() {
                        true => Failure::Final(error),
                        false => Failure::Anew(error),
                    }
                })?;
                if same {
                    continue;
                }
                self.resync(begin).await?;
                // A host that is where we are says 416 for another reason: some mean that the chunk is too large.
                if std::mem::take(&mut self.out_of_range) && self.offset == before {
                    self.size = (sent / 2).max(self.smallest());
                }
            }
            if self.offset < begin || self.offset > end {
                let cause = format!("the host has {} bytes, sent were {end}", self.offset);
                return Err(Failure::Anew(self.broken(cause)));
            }
        }
        Ok(())
    }

    async fn send_piece(&mut self, piece: Bytes, sent: u64) -> Result<()> {
        let descriptor = self.blob.descriptor();
        let answer = self.repository.send_chunk(descriptor, &self.session, self.offset, piece).await?;
        match answer.status {
            status if status.is_success() => {
                let expected = self.offset + sent;
                // Of a longer piece `0-0` tells nothing.
                let last = last_stored(&answer).filter(|last| *last > 0 || expected == 1);
                let said = last.map(|last| last + 1);
                // A host that repeats its last word (ECR does) is stuck; the digest at the end tells the truth.
                let stuck = said.is_some() && said == self.said;
                self.said = said;
                self.session = self.session.next(&answer);
                answer.discard().await;
                match said {
                    Some(said) if !stuck && said <= self.offset => {
                        let reason =
                            format!("the host has {said} bytes after a chunk, before it {}", self.offset);
                        return Err(self.broken(reason));
                    }
                    Some(said) if !stuck && said < expected => {
                        self.crumbs = if said - self.offset < SMALLEST { self.crumbs + 1 } else { 0 };
                        self.offset = said;
                    }
                    _ => {
                        self.crumbs = 0;
                        self.offset = expected;
                    }
                }
                self.failures = 0;
                if self.crumbs < MOST_CRUMBS {
                    return Ok(());
                }
                let what = self.repository.about_blob("upload chunk of", descriptor);
                let reason = format!(
                    "{MOST_CRUMBS} times in a row the host stored less than {SMALLEST} bytes of a chunk"
                );
                Err(Error::refused(what.operation, what.object, reason))
            }
            StatusCode::PAYLOAD_TOO_LARGE if sent > self.smallest() => {
                self.size = (sent / 2).max(self.smallest());
                answer.discard().await;
                Ok(())
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.out_of_range = true;
                answer.discard().await;
                Err(self.broken("the host does not take this range (416)".to_owned()))
            }
            _ => {
                let what = self.repository.about_blob("upload chunk of", descriptor);
                Err(refusal(answer, what).await.into_error())
            }
        }
    }

    /// The least that is tried: smaller chunks are refused for another reason than their size, or for being small.
    fn smallest(&self) -> u64 {
        SMALLEST.max(self.repository.facts().chunk_minimum())
    }

    /// Asks the host where it is. It cannot be before `begin`: those bytes are gone from memory.
    async fn resync(&mut self, begin: u64) -> Result<(), Failure> {
        let status = || self.repository.upload_status(self.blob.descriptor(), &self.session);
        let (session, last) = step(self.blob, status).await?;
        self.session = session;
        let stored = last.filter(|last| *last > 0 || begin > 0).map_or(0, |last| last + 1);
        if stored < begin {
            let cause = format!("the host has lost bytes: it has {stored} of {begin}");
            return Err(Failure::Anew(self.broken(cause)));
        }
        self.offset = stored;
        Ok(())
    }

    fn broken(&self, cause: String) -> Error {
        let what = self.repository.about_blob("upload chunk of", self.blob.descriptor());
        Error::broken(what.operation, what.object, &cause.into())
    }
}

/// The next `size` bytes of the source; fewer only at its end, which is reached only if every byte was right.
async fn fill(source: &mut Verified, ahead: &mut Bytes, size: u64) -> Result<Bytes> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut chunk = BytesMut::new();
    loop {
        let take = (size - chunk.len()).min(ahead.len());
        chunk.extend_from_slice(&ahead.split_to(take));
        if chunk.len() >= size {
            return Ok(chunk.freeze());
        }
        match source.next().await.transpose()? {
            Some(bytes) => *ahead = bytes,
            None => return Ok(chunk.freeze()),
        }
    }
}
