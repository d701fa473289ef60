//! A blob to be read from one of several sources.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::StreamExt;
use oci_spec::image::Descriptor;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::limits::Need;
use super::reading::Reading;
use super::retry::Retry;
use super::settings::Settings;
use super::sources::{SourceId, Sources};
use crate::access::Access;
use crate::body::{self, ByteStream};
use crate::error::{Error, Result, What};
use crate::progress::{self, State};
use crate::provider::Provider;
use crate::verify::Verified;

/// One blob and where it may be had. Reading it costs nothing until the first byte is asked for. Clones are of the same.
#[derive(Clone, Debug)]
pub struct Blob {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) descriptor: Descriptor,
    pub(super) sources: Arc<Sources>,
    pub(super) settings: Settings,
    pub(super) access: Access,
    cancel: CancellationToken,
    pub(super) part: Option<Part>,
    /// Ends the reading that is under way when another begins: it may still be in a connection's hands.
    reading: Mutex<CancellationToken>,
    trail: Mutex<Trail>,
    /// The last state told.
    told: Mutex<Option<State>>,
}

/// What a blob has that is a part of a transfer.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) lease: Lease,
    /// The host the bytes go to; nothing where they stay here.
    pub(super) to: Option<String>,
}

/// Where the bytes of one reading came from.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// The source asked last.
    pub(super) last: Option<(SourceId, String)>,
    /// Answers it took, and whether it began behind the beginning.
    pub(super) answers: u32,
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
        Self::of(descriptor, all, settings, access, CancellationToken::new(), None)
    }

    /// A blob that is read until `cancel` is signalled.
    pub(super) fn of(
        descriptor: Descriptor,
        sources: Arc<Sources>,
        settings: Settings,
        access: Access,
        cancel: CancellationToken,
        part: Option<Part>,
    ) -> Self {
        let (reading, trail, told) = Default::default();
        let inner = Inner { descriptor, sources, settings, access, cancel, part, reading, trail, told };
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
    pub(super) fn enter(&self, state: State) {
        let before = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner).replace(state);
        if before != Some(state) {
            self.inner.access.progress.start(&self.inner.descriptor, state);
        }
    }

    /// What is shown while bytes come.
    pub(super) fn moving(&self) -> State {
        moving(self.inner.part.as_ref().and_then(|part| part.to.as_deref()))
    }

    /// Waits for the seats that the blob takes, before anything is opened for it; what is read then finds them held.
    pub(crate) async fn take_seats(&self) {
        let Some(part) = &self.inner.part else { return };
        if let Some((_, source)) = self.inner.sources.current().filter(|(_, source)| !source.fetches()) {
            seated(self, part, source.host()).await;
        }
    }

    /// Waits for `wait` without seats, and for those it had again.
    pub(crate) async fn aside<T>(&self, wait: impl Future<Output = T>) -> T {
        match &self.inner.part {
            Some(part) => part.lease.aside(wait, || self.enter(State::Waiting)).await,
            None => wait.await,
        }
    }

    /// Waits for a step that can be dropped where it is.
    ///
    /// # Errors
    /// The step's, or [`Error::Cancelled`].
    pub(crate) async fn unless_cancelled<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        match unless(&self.inner.cancel, step).await {
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
        let Inner { settings, access, cancel, .. } = &*self.inner;
        let Some(wait) = settings.retry.due(access, failures, &error) else { return Err(error) };
        let counted = progress::count_down(wait, |seconds| self.enter(State::Retrying { seconds }));
        if unless(cancel, self.aside(counted)).await.is_none() {
            return Err(self.waited_in_vain(&error.to_string()));
        }
        self.enter(self.moving());
        Ok(())
    }

    /// The error of a wait after `said` that somebody ended.
    pub(super) fn waited_in_vain(&self, said: &str) -> Error {
        let object = format_args!("{} (after: {said})", self.inner.descriptor.digest());
        Error::Cancelled { what: What::new("wait before another try to read blob", object) }
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
    /// again, except where a source ignores ranges: then they come again and are dropped here. A blob is read once at a
    /// time: what is left of an earlier reading ends.
    ///
    /// # Errors
    /// The last source's error when no source is left; all sources are named in the trace.
    pub async fn read_from(&self, offset: u64) -> Result<ByteStream> {
        *self.trail() = Trail { resumed: offset > 0, ..Trail::default() };
        let current = self.inner.cancel.child_token();
        let before = {
            let mut reading = self.inner.reading.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *reading, current.clone())
        };
        before.cancel();
        let mut reading = Reading::new(self.clone(), offset, current);
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
            match Box::pin(self.collect()).await {
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

    pub(super) fn trail(&self) -> MutexGuard<'_, Trail> {
        self.inner.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for `step` unless `cancel` is signalled, which goes first: what is cancelled begins nothing any more.
pub(super) async fn unless<T>(cancel: &CancellationToken, step: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        value = step => Some(value),
    }
}

/// What is shown while bytes go to the host `to`; nothing where they stay here.
pub(super) fn moving(to: Option<&str>) -> State {
    if to.is_some() { State::Uploading } else { State::Downloading }
}

/// Waits for the seats that bytes from `from` take.
pub(super) async fn seated(blob: &Blob, part: &Part, from: Option<&str>) {
    let need = Need::blob(from, part.to.as_deref());
    part.lease.hold(&need, || blob.enter(State::Waiting)).await;
}
