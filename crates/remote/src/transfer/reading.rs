//! A read under way: resumed at the offset where a source breaks, gone on with at the next where it refuses.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::StreamExt;
use tokio_util::sync::CancellationToken;

use super::blob::{Blob, Part, seated, unless};
use super::pace::Paced;
use super::sources::SourceId;
use crate::body;
use crate::error::{Error, Result, What};
use crate::progress::State;
use crate::provider::Provider;

/// A source that brings fewer bytes than this between its failures is not getting anywhere.
const OF_USE: u64 = 1024 * 1024;
/// A part of a blob that is shorter than this, and that the host ends by itself, was not worth a request.
const WORTH: u64 = 64 * 1024;
/// So many bodies may break one after the other before the source is asked to bring the rest from elsewhere, if it can.
const BREAKS: u32 = 2;

/// A read under way.
pub(super) struct Reading {
    blob: Blob,
    cancel: CancellationToken,
    /// Bytes handed on so far.
    offset: u64,
    /// Failures since the source last showed that it is of use.
    failures: u32,
    /// Where that was.
    proven: u64,
    /// Bodies that broke at the host that brings them now, whatever came before.
    breaks: u32,
    /// The source asked last, and the host that stands in for it, in words.
    place: String,
    /// What the open body is to bring of the blob.
    promised: Range<u64>,
    /// The source asked last.
    source: Option<(SourceId, Arc<dyn Provider>)>,
    body: Option<Paced>,
}

impl Reading {
    /// Reads `blob` from `offset` on, until `cancel` is signalled. Nothing is asked for before the first bytes are.
    pub(super) fn new(blob: Blob, offset: u64, cancel: CancellationToken) -> Self {
        let (failures, breaks, place, source, body) = Default::default();
        let promised = 0..0;
        Self { blob, cancel, offset, failures, proven: offset, breaks, place, promised, source, body }
    }

    /// The next bytes, from whichever source has them.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let (blob, cancel) = (self.blob.clone(), self.cancel.clone());
            let Some(step) = unless(&cancel, self.step()).await else {
                return Err(Error::Cancelled { what: self.what() });
            };
            match step {
                Ok(Some(bytes)) => {
                    self.offset += bytes.len() as u64;
                    if self.offset - self.proven >= OF_USE {
                        (self.failures, self.proven) = (0, self.offset);
                    }
                    blob.inner.access.progress.advance(blob.descriptor(), self.offset);
                    return Ok(Some(bytes));
                }
                // A host may answer with less than was asked for (RFC 9110 §15.3.7): that is no failure.
                Ok(None) if self.kept_its_promise() => self.body = None,
                // An early end without an error: the body was cut where its length was not known.
                Ok(None) if self.offset < blob.descriptor().size() && self.offset > 0 => {
                    let cause = format!("ended after {} of {} bytes", self.offset, blob.descriptor().size());
                    let what = self.what();
                    self.go_on(Error::broken(what.operation, what.object, &cause.into())).await?;
                }
                Ok(None) => {
                    self.ended();
                    return Ok(None);
                }
                Err(error) => self.go_on(error).await?,
            }
        }
    }

    /// Whether the body brought a part of the blob that it had announced, and that was worth a request.
    fn kept_its_promise(&self) -> bool {
        let Range { start, end } = self.promised;
        self.offset == end && end < self.blob.descriptor().size() && end - start >= WORTH
    }

    async fn step(&mut self) -> Result<Option<Bytes>> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.open().await?;
                self.body.insert(body)
            }
        };
        body.next().await.transpose()
    }

    async fn open(&mut self) -> Result<Paced> {
        let inner = Arc::clone(&self.blob.inner);
        let size = inner.descriptor.size();
        let (id, source) =
            inner.sources.current().ok_or_else(|| inner.sources.exhausted(&inner.descriptor))?;
        if self.source.as_ref().is_some_and(|(before, _)| *before != id) {
            (self.failures, self.breaks) = (0, 0);
        }
        self.source = Some((id, Arc::clone(&source)));
        self.place = source.origin().to_string();
        // Nobody needs to be asked for nothing.
        if self.offset >= size {
            return Ok(Paced::new(body::once(Bytes::new()), inner.settings.pace, self.what()));
        }
        // A source that is here, or at a host, is read with the slots of both ends.
        if let Some(part) = &inner.part {
            match source.fetches() {
                true => part.lease.give_back(),
                false => seated(&self.blob, part, source.host()).await,
            }
        }
        self.begin();
        let opening = source.open(&inner.descriptor, self.offset..size);
        let opened = match &inner.part {
            Some(part) => part.lease.during(opening).await?,
            None => opening.await?,
        };
        if let Some(part) = inner.part.as_ref().filter(|_| source.fetches()) {
            seated(&self.blob, part, None).await;
        }
        if let Some(host) = opened.brought_by() {
            self.place = format!("{} at {host}", self.place);
        }
        {
            let mut trail = self.blob.trail();
            trail.answers += 1;
            trail.last = Some((id, self.place.clone()));
        }
        let start = opened.range().start;
        self.promised = self.offset.max(start)..opened.range().end.max(self.offset);
        if start > self.offset {
            let reason = format!("asked for bytes from {}, got them from {start}", self.offset);
            let what = self.what();
            return Err(Error::invalid(what.operation, what.object, reason));
        }
        let mut body = Paced::new(opened.into_stream(), inner.settings.pace, self.what());
        body.drop_first(self.offset - start);
        Ok(body)
    }

    /// Bytes are about to come, from here on.
    fn begin(&self) {
        self.blob.enter(self.blob.moving());
        self.blob.access().progress.advance(self.blob.descriptor(), self.offset);
    }

    /// [`Reading::recover`], unless the reading ends meanwhile.
    async fn go_on(&mut self, error: Error) -> Result<()> {
        let (cancel, said) = (self.cancel.clone(), error.to_string());
        let recovered = unless(&cancel, self.recover(error)).await;
        recovered.unwrap_or_else(|| Err(self.blob.waited_in_vain(&said)))
    }

    /// After a failure: the same source after a wait, else the next source at the same offset.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let broke = self.body.take().is_some();
        self.failures += 1;
        self.breaks += u32::from(broke);
        if matches!(error.root(), Error::Cancelled { .. }) {
            return Err(error);
        }
        let sources = &self.blob.inner.sources;
        if sources.is_exhausted() {
            return Err(error);
        }
        let said = error.to_string();
        if let Some((id, _)) = &self.source
            && broke
            && self.breaks >= BREAKS.min(self.blob.retry().tries)
            && sources.avoid(*id, self.blob.descriptor())
        {
            (self.failures, self.breaks) = (0, 0);
            self.blob.enter(State::Retrying { seconds: 0 });
            self.blob.access().progress.note(&format!("{said}; going on at the next host"));
            return Ok(());
        }
        let error = match self.blob.back_off(self.failures, error).await {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.root(), Error::Cancelled { .. }) => return Err(error),
            Err(error) => error,
        };
        let Some((id, _)) = &self.source else { return Err(error) };
        self.failures = 0;
        sources.refuse(*id, error);
        if sources.is_exhausted() {
            return Err(sources.exhausted(self.blob.descriptor()));
        }
        self.blob.enter(State::Retrying { seconds: 0 });
        self.blob.access().progress.note(&format!("{said}; going on with the next source"));
        Ok(())
    }

    /// All bytes have come. Where they stay here no seat is needed any more: making them durable takes none.
    fn ended(&mut self) {
        self.body = None;
        self.blob.enter(State::Verifying);
        if let Some(Part { lease, to: None }) = &self.blob.inner.part {
            lease.give_back();
        }
    }

    fn what(&self) -> What {
        What::new("read blob", format_args!("{} from {}", self.blob.descriptor().digest(), self.place))
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("offset", &self.offset).finish_non_exhaustive()
    }
}
