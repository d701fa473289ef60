//! A blob to be read from one of several sources, resumed inside where a source breaks.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::StreamExt;
use oci_spec::image::Descriptor;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::pace::Paced;
use super::retry::Retry;
use super::settings::Settings;
use super::sources::{SourceId, Sources};
use crate::access::Access;
use crate::body::{self, ByteStream};
use crate::error::{Error, Result, What};
use crate::progress::{self, State};
use crate::provider::{Origin, Provider};
use crate::verify::Verified;

/// A source that brings fewer bytes than this between its failures is not getting anywhere.
const OF_USE: u64 = 64 * 1024;
/// So many bodies may break one after the other before the source is asked to bring the rest from elsewhere, if it can.
const BREAKS: u32 = 2;

/// One blob and where it may be had. Reading it costs nothing until the first byte is asked for. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Blob {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    descriptor: Descriptor,
    sources: Arc<Sources>,
    settings: Settings,
    access: Access,
    cancel: CancellationToken,
    lease: Option<Lease>,
    /// What is shown while bytes come.
    moving: State,
    trail: Mutex<Trail>,
    /// The last state told.
    told: Mutex<Option<State>>,
}

/// Where the bytes of one reading came from.
#[derive(Debug, Default)]
struct Trail {
    /// The source asked last.
    last: Option<(SourceId, String)>,
    /// Answers it took, and whether it began behind the beginning.
    answers: u32,
    resumed: bool,
}

impl Blob {
    /// A blob that the first of `sources` is asked for, the others if that one fails for good. It is read without a
    /// place in the queue and shown to nobody, only notes are passed on; [`super::Transfers`] has blobs that are.
    #[must_use]
    pub fn new(
        descriptor: Descriptor,
        sources: &[Arc<dyn Provider>],
        settings: Settings,
        access: Access,
    ) -> Self {
        let all = Arc::new(Sources::default());
        all.add(0, sources);
        let access = Access { progress: progress::notes_only(&access.progress), ..access };
        Self::of(descriptor, all, settings, access, CancellationToken::new(), None, State::Downloading)
    }

    pub(super) fn of(
        descriptor: Descriptor,
        sources: Arc<Sources>,
        settings: Settings,
        access: Access,
        cancel: CancellationToken,
        lease: Option<Lease>,
        moving: State,
    ) -> Self {
        let (trail, told) = Default::default();
        let inner = Inner { descriptor, sources, settings, access, cancel, lease, moving, trail, told };
        Self { inner: Arc::new(inner) }
    }

    /// What the blob must be.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.inner.descriptor
    }

    /// How often it is tried.
    #[must_use]
    pub fn retry(&self) -> &Retry {
        &self.inner.settings.retry
    }

    /// On whose behalf it is read, and who watches.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// Signalled when nobody wants it any more. The stream then ends with [`Error::Cancelled`]; whoever waits for
    /// something else meanwhile waits for this, too.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.inner.cancel
    }

    /// Says what happens to it, to all who watch; each state once.
    fn enter(&self, state: State) {
        let before = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner).replace(state);
        if before != Some(state) {
            self.inner.access.progress.start(&self.inner.descriptor, state);
        }
    }

    /// Waits for a step that can be dropped where it is.
    ///
    /// # Errors
    /// The step's, or [`Error::Cancelled`].
    pub(crate) async fn unless_cancelled<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        match self.inner.cancel.run_until_cancelled(step).await {
            Some(outcome) => outcome,
            None => Err(Error::Cancelled { what: What::new("bring blob", self.descriptor().digest()) }),
        }
    }

    /// Waits after the last of `failures` failures in a row, as long as the ladder or the host says, without a slot;
    /// or returns `error` where trying again is no use.
    ///
    /// # Errors
    /// `error`, or [`Error::Cancelled`] that says what was waited for.
    pub(crate) async fn back_off(&self, failures: u32, error: Error) -> Result<()> {
        let Inner { descriptor, settings, access, cancel, lease, moving, .. } = &*self.inner;
        let Some(wait) = settings.retry.wait_after(failures, &error) else { return Err(error) };
        access.progress.retry(&error, wait);
        tracing::debug!(%error, ?wait, failures, "retrying");
        let counted = progress::count_down(wait, |seconds| self.enter(State::Retrying { seconds }));
        let waited = async {
            match lease {
                Some(lease) => lease.aside(counted, || self.enter(State::Waiting)).await,
                None => counted.await,
            }
        };
        if cancel.run_until_cancelled(waited).await.is_none() {
            let object = format!("{} (after: {error})", descriptor.digest());
            return Err(Error::Cancelled { what: What::new("wait before another try to read blob", object) });
        }
        self.enter(*moving);
        Ok(())
    }

    /// Reads the whole blob from the beginning and verifies it. See [`Blob::read_from`].
    ///
    /// # Errors
    /// Those of [`Blob::read_from`]; the stream ends with [`Error::Integrity`] where the bytes are not the blob's.
    pub async fn read(&self) -> Result<Verified> {
        let bytes = self.read_from(0).await?;
        let source = self.trail().last.as_ref().map(|(_, place)| place.clone());
        Verified::new(&self.inner.descriptor, source.unwrap_or_else(|| self.inner.sources.to_string()), bytes)
    }

    /// Reads the blob from `offset` to its end; whoever takes the bytes verifies them together with those before.
    /// Returns once the first bytes are there, so that a caller opens nothing at a target before its source has
    /// answered. A connection that breaks is resumed at the offset reached; bytes already passed on are not asked for
    /// again, except where a source ignores ranges: then they come again and are dropped here.
    ///
    /// # Errors
    /// The last source's error when no source is left; all sources are named in the trace.
    pub async fn read_from(&self, offset: u64) -> Result<ByteStream> {
        *self.trail() = Trail { resumed: offset > 0, ..Trail::default() };
        let (failures, body) = Default::default();
        let mut reading = Reading {
            blob: self.clone(),
            offset,
            failures,
            proven: offset,
            promised: 0..0,
            source: None,
            body,
        };
        let first = reading.next().await?;
        let rest = futures::stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        });
        Ok(match first {
            Some(bytes) => body::once(bytes).chain(rest).boxed(),
            None => body::once(Bytes::new()),
        })
    }

    /// Reads the whole blob into memory; for configs and other small ones of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] for a larger blob, and those of [`Blob::read`].
    pub async fn read_whole(&self, limit: u64) -> Result<Bytes> {
        let size = self.inner.descriptor.size();
        if size > limit {
            let reason = format!("{size} bytes are past the limit of {limit}");
            return Err(Error::refused("read blob", self.inner.descriptor.digest(), reason));
        }
        loop {
            match self.collect().await {
                Err(error) if self.may_read_again(&error) => {}
                outcome => return outcome,
            }
        }
    }

    async fn collect(&self) -> Result<Bytes> {
        let mut stream = self.read().await?;
        let size = usize::try_from(self.inner.descriptor.size()).unwrap_or_default();
        let mut whole = bytes::BytesMut::with_capacity(size);
        while let Some(chunk) = stream.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }

    /// The same error; where the bytes were wrong, with the one who brought them.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match (error, &self.trail().last) {
            (Error::Integrity { mismatch, .. }, Some((_, place))) => {
                let object = format_args!("{} from {place}", self.inner.descriptor.digest());
                Error::Integrity { what: What::new("read blob", object), mismatch }
            }
            (error, _) => error,
        }
    }

    /// Whether reading once more may bring the blob after `error` has shown that what came was something else. What one
    /// source brought in one piece is its fault: it is asked no more. What was put together from pieces says nothing
    /// about any of them, so that it is read once more from the beginning.
    pub(crate) fn may_read_again(&self, error: &Error) -> bool {
        if !matches!(error.root(), Error::Integrity { .. }) {
            return false;
        }
        let Inner { descriptor, sources, access, .. } = &*self.inner;
        let (last, in_pieces) = {
            let mut trail = self.trail();
            (trail.last.take(), trail.resumed || trail.answers > 1)
        };
        let Some((source, _)) = last else { return false };
        let again = if in_pieces && sources.may_start_afresh() || sources.distrust(source, descriptor) {
            true
        } else {
            sources.refuse(source, error.duplicate());
            !sources.is_exhausted()
        };
        if again {
            access.progress.note(&format!("{error}; reading it once more"));
        }
        again
    }

    fn trail(&self) -> MutexGuard<'_, Trail> {
        self.inner.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read under way.
struct Reading {
    blob: Blob,
    /// Bytes handed on so far.
    offset: u64,
    /// Failures since the source last showed that it is of use.
    failures: u32,
    /// Where that was.
    proven: u64,
    /// What the open body is to bring of the blob.
    promised: Range<u64>,
    /// The source asked last.
    source: Option<(SourceId, Arc<dyn Provider>)>,
    body: Option<Paced>,
}

impl Reading {
    /// The next bytes, from whichever source has them.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let blob = self.blob.clone();
            let step = tokio::select! {
                biased;
                () = blob.cancelled().cancelled() => return Err(Error::Cancelled { what: self.what() }),
                step = self.step() => step,
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
                    self.recover(Error::broken(what.operation, what.object, &cause.into())).await?;
                }
                Ok(None) => {
                    self.ended();
                    return Ok(None);
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// Whether the body brought a part of the blob that it had announced, and that was worth a request.
    fn kept_its_promise(&self) -> bool {
        let Range { start, end } = self.promised;
        self.offset == end && end < self.blob.descriptor().size() && end - start >= OF_USE
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
            self.failures = 0;
        }
        self.source = Some((id, Arc::clone(&source)));
        // Nobody needs to be asked for nothing.
        if self.offset >= size {
            return Ok(Paced::new(body::once(Bytes::new()), inner.settings.pace, self.what()));
        }
        if let Some(lease) = &inner.lease {
            // A source at a host is read with the slots of both ends. One that is here is asked first: it may have to
            // fetch the blob itself, and a slot must not wait for that.
            match source.host() {
                Some(host) => lease.hold(Some(host), || self.blob.enter(State::Waiting)).await,
                None => lease.give_back(),
            }
        }
        self.begin();
        let opening = source.open(&inner.descriptor, self.offset..size);
        let opened = match &inner.lease {
            Some(lease) => lease.during(opening).await?,
            None => opening.await?,
        };
        {
            let mut trail = self.blob.trail();
            trail.answers += 1;
            trail.last = Some((id, place(&source.origin(), opened.brought_by())));
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
        if let (Some(lease), None) = (&inner.lease, source.host()) {
            let first = body.next().await.transpose()?;
            lease.hold(None, || ()).await;
            body.put_back(first);
        }
        Ok(body)
    }

    /// Bytes are about to come, from here on.
    fn begin(&self) {
        self.blob.enter(self.blob.inner.moving);
        self.blob.access().progress.advance(self.blob.descriptor(), self.offset);
    }

    /// After a failure: the same source after a wait, else the next source at the same offset.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let broke = self.body.take().is_some();
        self.failures += 1;
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
            && self.failures >= BREAKS.min(self.blob.retry().tries)
            && sources.avoid(*id, self.blob.descriptor())
        {
            self.failures = 0;
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
        self.blob.enter(State::Retrying { seconds: 0 });
        sources.refuse(*id, error);
        if sources.is_exhausted() {
            return Err(sources.exhausted(self.blob.descriptor()));
        }
        self.blob.access().progress.note(&format!("{said}; going on with the next source"));
        Ok(())
    }

    /// All bytes have come. Where they stay here no seat is needed any more: making them durable takes none.
    fn ended(&mut self) {
        self.body = None;
        self.blob.enter(State::Verifying);
        if self.blob.inner.moving == State::Downloading
            && let Some(lease) = &self.blob.inner.lease
        {
            lease.give_back();
        }
    }

    fn what(&self) -> What {
        let origin = self.source.as_ref().map(|(_, source)| source.origin().to_string()).unwrap_or_default();
        What::new("read blob", format_args!("{} from {origin}", self.blob.descriptor().digest()))
    }
}

/// A source, and the host that stood in for it.
fn place(origin: &Origin, brought_by: Option<&str>) -> String {
    match brought_by {
        Some(host) => format!("{origin} at {host}"),
        None => origin.to_string(),
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("offset", &self.offset).finish_non_exhaustive()
    }
}
