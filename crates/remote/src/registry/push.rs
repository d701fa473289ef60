//! A blob's way to its repository: open a session, send, close; each step tried again by itself.
//!
//! ```text
//!   POST ----> PATCH (everything) ----> PUT ----> there
//!    |  ^        |  ^    |    |          |  ^
//!    '--'        '--'    |    |          '--'      429, 5xx: the same step again, in the same session
//!    ^                   |    '-- 413, 416: chunks, in a session of their own
//!    '-------------------'     a connection that broke, a session that is gone: anew
//! ```

use bytes::Bytes;
use futures::StreamExt;

use super::Repository;
use super::upload::{Failure, Session, Streamed, step, turned_away};
use crate::body;
use crate::error::{Error, Result};
use crate::transfer::Blob;
use crate::verify::Verified;

/// After so many streams that were cut off, chunks are tried.
const STREAMS: u32 = 2;

/// A blob of so many bytes is kept while it is sent. The others have to be read again where sending has to begin again.
const KEPT: u64 = 128 * 1024;

/// A session that the host had trouble with so often, a rate limit apart, may be what the trouble is about.
const TROUBLES: u32 = 2;

/// One blob on its way.
pub(super) struct Push<'a> {
    repository: &'a Repository,
    blob: &'a Blob,
    /// The open session.
    session: Option<Session>,
    /// All bytes, of a small one.
    kept: Option<Bytes>,
    /// Something was sent into it twice, so that what it says of its content is not the blob's fault.
    resent: bool,
    /// Sessions that are of no use any more and that the host may still have.
    given_up: Vec<Session>,
    /// Streams that broke while the blob went through them.
    cut_off: u32,
}

impl<'a> Push<'a> {
    /// Brings `blob` to `repository`, in `session` if there is one already.
    pub(super) fn new(repository: &'a Repository, blob: &'a Blob, session: Option<Session>) -> Self {
        Self { repository, blob, session, kept: None, resent: false, given_up: Vec::new(), cut_off: 0 }
    }

    /// Brings it. Sessions that were given up on the way are closed at the end, where the host still answers: until
    /// then it has better things to do.
    pub(super) async fn run(mut self) -> Result<()> {
        let cancelled = self.blob.cancelled().clone();
        let outcome = cancelled.run_until_cancelled(self.attempts()).await;
        let outcome = outcome.unwrap_or_else(|| {
            let what = self.repository.about_blob("upload blob", self.blob.descriptor());
            Err(Failure::Final(Error::Cancelled { what }))
        });
        let answers = match &outcome {
            Ok(()) | Err(Failure::Source(_)) => true,
            Err(
                Failure::Final(error)
                | Failure::Again(error)
                | Failure::Anew(error)
                | Failure::Lost(error)
                | Failure::CutOff(error),
            ) => {
                // Whoever leaves does not wait for a courtesy, either.
                let silent = matches!(error.root(), Error::Unauthorized { .. } | Error::Cancelled { .. });
                !error.is_transient() && !silent
            }
        };
        if outcome.is_err() {
            self.give_up_session();
        }
        if answers {
            for session in &self.given_up {
                self.repository.cancel_upload(self.blob.descriptor(), session).await;
            }
        }
        outcome.map_err(Failure::into_error)
    }

    /// Attempts in one session each, until one gets through.
    async fn attempts(&mut self) -> Result<(), Failure> {
        let usual = self.repository.registry.0.settings.chunk;
        let mut failures = 0;
        loop {
            // Some registries keep only the last chunk, so that this is tried once in a while and its failure is not
            // the last word.
            let in_spite = self.cut_off >= STREAMS && self.blob.descriptor().size() > usual;
            let chunk = self.repository.facts().chunk().or(in_spite.then_some(usual));
            let error = match self.attempt(chunk).await {
                Ok(()) => return Ok(()),
                Err(failure @ (Failure::Source(_) | Failure::Final(_) | Failure::Again(_))) => {
                    return Err(failure);
                }
                Err(Failure::Lost(error)) => {
                    self.session = None;
                    error
                }
                Err(Failure::CutOff(error)) => {
                    self.cut_off += 1;
                    error
                }
                Err(Failure::Anew(Error::Rejected { what, reason, .. })) if in_spite => {
                    self.cut_off = 0;
                    Error::broken(what.operation, what.object, &format!("in chunks, too: {reason}").into())
                }
                Err(Failure::Anew(Error::Rejected { what, reason, .. })) if self.resent => {
                    let cause = format!("after something was sent twice: {reason}");
                    Error::broken(what.operation, what.object, &cause.into())
                }
                Err(Failure::Anew(error)) => error,
            };
            failures += 1;
            self.blob.back_off(failures, error).await.map_err(Failure::Final)?;
            self.give_up_session();
        }
    }

    /// One attempt: everything in one request, or in chunks of the size given.
    async fn attempt(&mut self, chunk: Option<u64>) -> Result<(), Failure> {
        // The source answers first: a session that nothing goes into is never opened.
        let mut source = self.read().await?;
        let nothing = self.blob.descriptor().size() == 0;
        if nothing {
            while let Some(chunk) = source.next().await {
                chunk.map_err(Failure::Source)?;
            }
        }
        let session = self.open().await?;
        match chunk {
            // No PATCH: there is nothing to send.
            _ if nothing => {}
            Some(chunk) => {
                self.session =
                    Some(self.repository.chunked_upload(self.blob, session, source, chunk).await?.0);
            }
            None => self.stream(source).await?,
        }
        self.finish().await
    }

    /// The blob from its beginning. The source of a small one is asked once, however often it has to be sent.
    async fn read(&mut self) -> Result<Verified, Failure> {
        let descriptor = self.blob.descriptor();
        if descriptor.size() > KEPT {
            return self.blob.read().await.map_err(Failure::Source);
        }
        let bytes = match &self.kept {
            Some(bytes) => bytes.clone(),
            None => self.blob.read_whole(KEPT).await.map_err(Failure::Source)?,
        };
        self.kept = Some(bytes.clone());
        Verified::new(descriptor, "memory", body::once(bytes)).map_err(Failure::Source)
    }

    /// The session, opened if there is none.
    async fn open(&mut self) -> Result<Session, Failure> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let start =
            || async { self.repository.start_upload(self.blob.descriptor()).await.map_err(Failure::Again) };
        let session = step(self.blob, start).await?;
        Ok(self.session.insert(session).clone())
    }

    /// Sends everything in one request, and goes on in the same session where the host could not take it now.
    async fn stream(&mut self, mut source: Verified) -> Result<(), Failure> {
        let descriptor = self.blob.descriptor();
        let (mut offset, mut failures, mut troubles) = (0, 0, 0);
        loop {
            let session = self.open().await?;
            let error = match self.repository.stream_upload(descriptor, &session, source, offset).await {
                Ok(Streamed::All(session)) => {
                    self.session = Some(session);
                    return Ok(());
                }
                // Perhaps we are not where it is.
                Ok(Streamed::TooMuch) if self.resent => {
                    let what = self.repository.about_blob("upload blob", descriptor);
                    let cause = "the host does not go on in this session".into();
                    return Err(Failure::Anew(Error::broken(what.operation, what.object, &cause)));
                }
                Ok(Streamed::TooMuch) => return self.stream_in_chunks().await,
                Err(Failure::Again(error)) => error,
                Err(failure) => return Err(failure),
            };
            failures += 1;
            let same = turned_away(&error);
            troubles += u32::from(!same);
            if troubles >= TROUBLES {
                return Err(Failure::Anew(error));
            }
            self.blob.back_off(failures, error).await.map_err(Failure::Final)?;
            self.resent = true;
            if !same {
                offset = self.position().await?;
            }
            if offset == descriptor.size() {
                return Ok(());
            }
            source = self.read().await?;
        }
    }

    /// How much of the blob the host has, by its own account.
    async fn position(&mut self) -> Result<u64, Failure> {
        let (descriptor, session) = (self.blob.descriptor(), self.open().await?);
        let status = || self.repository.upload_status(descriptor, &session);
        let (session, last) = step(self.blob, status).await?;
        self.session = Some(session);
        // `0-0` is said of nothing, too.
        let stored = last.filter(|last| *last > 0).map_or(0, |last| last + 1);
        if stored > descriptor.size() {
            let what = self.repository.about_blob("upload blob", descriptor);
            let cause = format!("the host has {stored} bytes of {}", descriptor.size()).into();
            return Err(Failure::Anew(Error::broken(what.operation, what.object, &cause)));
        }
        Ok(stored)
    }

    /// The host does not take this much at once: from the beginning, in a new session.
    async fn stream_in_chunks(&mut self) -> Result<(), Failure> {
        let source = self.read().await?;
        self.give_up_session();
        let session = self.open().await?;
        let chunk = self.repository.registry.0.settings.chunk;
        let (session, chunk) = self.repository.chunked_upload(self.blob, session, source, chunk).await?;
        self.session = Some(session);
        self.repository.facts().set_chunk(chunk);
        Ok(())
    }

    /// Closes the session.
    async fn finish(&mut self) -> Result<(), Failure> {
        let (descriptor, session) = (self.blob.descriptor(), self.open().await?);
        let finish = || async {
            let failure = match self.repository.finish_upload(descriptor, &session).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            // The answer may have been lost after the blob was stored.
            let unclear = match &failure {
                Failure::Again(error) | Failure::Anew(error) | Failure::Lost(error) => {
                    error.is_transient() && !turned_away(error)
                }
                Failure::Source(_) | Failure::Final(_) | Failure::CutOff(_) => false,
            };
            if unclear && matches!(self.repository.holds_blob(descriptor).await, Ok(true)) {
                return Ok(());
            }
            Err(failure)
        };
        step(self.blob, finish).await
    }

    fn give_up_session(&mut self) {
        self.given_up.extend(self.session.take());
        self.resent = false;
    }
}
