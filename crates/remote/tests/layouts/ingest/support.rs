//! A source that breaks where it is told to and remembers what it was asked for.

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use lazyblob_remote::layout::{IngestSettings, Ingests, Received, blob_path};
use lazyblob_remote::progress::State;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::transfer::{Blob, Retry, Settings};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Access, Descriptor, Digest, Error, Progress, Provider, Result, What, digest, media};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::support::noise;

/// How one response ends; the numbers are bytes of the blob.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// The connection breaks before this byte.
    Breaks(u64),
    /// The caller withdraws before this byte.
    Cancelled(u64),
    /// The body ends before this byte, as if that were all.
    Ends(u64),
    /// Nothing comes any more from this byte on; [`Source::stalled`] tells.
    Stalls(u64),
    /// There is no response at all.
    Refused,
}

/// A source of one blob.
#[derive(Debug)]
pub(crate) struct Source {
    bytes: Bytes,
    chunk: usize,
    ignores_ranges: bool,
    endings: Mutex<VecDeque<Ending>>,
    asked: Mutex<Vec<Range<u64>>>,
    served: Arc<Mutex<u64>>,
    pub(crate) stalled: Arc<Notify>,
}

impl Source {
    /// Brings `bytes`; its responses end as told, those after them well.
    pub(crate) fn new(bytes: impl Into<Bytes>, endings: impl IntoIterator<Item = Ending>) -> Self {
        Self {
            bytes: bytes.into(),
            chunk: 10_000,
            ignores_ranges: false,
            endings: Mutex::new(endings.into_iter().collect()),
            asked: Mutex::default(),
            served: Arc::default(),
            stalled: Arc::default(),
        }
    }

    pub(crate) fn in_chunks_of(self, chunk: usize) -> Self {
        Self { chunk, ..self }
    }

    pub(crate) fn ignoring_ranges(self) -> Self {
        Self { ignores_ranges: true, ..self }
    }

    /// Where the requests so far began.
    pub(crate) fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().iter().map(|range| range.start).collect()
    }

    /// Bytes that were passed on so far.
    pub(crate) fn served(&self) -> u64 {
        *self.served.lock().unwrap()
    }
}

#[async_trait]
impl Provider for Source {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        self.asked.lock().unwrap().push(range.clone());
        let ending = self.endings.lock().unwrap().pop_front();
        let whole = self.bytes.len() as u64;
        let start = if self.ignores_ranges { 0 } else { range.start };
        let end = match ending {
            Some(Ending::Refused) => {
                return Err(Error::not_found("read blob", blob.digest(), "refused by the test"));
            }
            Some(Ending::Breaks(end) | Ending::Cancelled(end) | Ending::Ends(end) | Ending::Stalls(end)) => {
                end.min(whole)
            }
            None => whole,
        };
        let part =
            self.bytes.slice(usize::try_from(start).unwrap()..usize::try_from(end.max(start)).unwrap());
        let chunks: Vec<_> = part.chunks(self.chunk).map(Bytes::copy_from_slice).collect();
        let (served, stalled) = (Arc::clone(&self.served), Arc::clone(&self.stalled));
        let what = What::new("read blob", blob.digest());
        let bytes = futures::stream::iter(chunks).map(move |chunk| {
            *served.lock().unwrap() += chunk.len() as u64;
            Ok(chunk)
        });
        let tail = futures::stream::once(async move {
            match ending {
                Some(Ending::Breaks(_)) => {
                    Some(Err(Error::broken(what.operation, what.object, &"connection reset".into())))
                }
                Some(Ending::Cancelled(_)) => Some(Err(Error::Cancelled { what })),
                Some(Ending::Stalls(_)) => {
                    stalled.notify_one();
                    std::future::pending().await
                }
                _ => None,
            }
        });
        Ok(Unverified::new(start..whole, bytes.chain(tail.filter_map(std::future::ready)).boxed()))
    }

    async fn info(&self, _: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: None })
    }

    fn origin(&self) -> Origin {
        Origin { host: "memory".into(), repository: "source".into() }
    }
}

/// Remembers the notes it gets.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Progress for Notes {
    fn start(&self, _: &Descriptor, _: State) {}
    fn advance(&self, _: &Descriptor, _: u64) {}
    fn finish(&self, _: &Descriptor, _: State) {}
    fn note(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// A blob, its bytes, and a place to put it.
pub(crate) struct Bench {
    pub(crate) temp: TempDir,
    pub(crate) ingests: Ingests,
    pub(crate) bytes: Vec<u8>,
    pub(crate) blob: Descriptor,
    pub(crate) notes: Arc<Notes>,
}

/// A save point with every write.
pub(crate) fn eager() -> IngestSettings {
    IngestSettings { save_bytes: 1, save_interval: Duration::ZERO, ..IngestSettings::default() }
}

impl Bench {
    pub(crate) fn new(size: usize) -> Self {
        Self::with(noise(size, 4711), IngestSettings::default())
    }

    pub(crate) fn with(bytes: Vec<u8>, settings: IngestSettings) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let ingests = Ingests::new(temp.path().join("layout"), temp.path().join("layout/.ingest"));
        let blob = Descriptor::new(media::OCI_LAYER.into(), bytes.len() as u64, digest::sha256(&bytes));
        Self { temp, ingests: ingests.with_settings(settings), bytes, blob, notes: Arc::default() }
    }

    /// The same blob under its digest of another algorithm.
    pub(crate) fn named_by(self, digest: Digest) -> Self {
        let blob = Descriptor::new(media::OCI_LAYER.into(), self.blob.size(), digest);
        Self { blob, ..self }
    }

    /// A source of the right bytes.
    pub(crate) fn source(&self, endings: impl IntoIterator<Item = Ending>) -> Arc<Source> {
        Arc::new(Source::new(self.bytes.clone(), endings))
    }

    /// Receives the blob; a source that breaks is not asked again.
    pub(crate) async fn receive(&self, source: &Arc<Source>) -> Result<Received> {
        self.ingests.receive(&self.read_by(source, 1)).await
    }

    pub(crate) fn read_by(&self, source: &Arc<Source>, tries: u32) -> Blob {
        let retry = Retry { tries, ..Retry::default() };
        let access = Access::anonymous().watched_by(Arc::clone(&self.notes) as Arc<dyn Progress>);
        let settings = Settings { retry, ..Settings::default() };
        Blob::new(self.blob.clone(), &[Arc::clone(source) as Arc<dyn Provider>], settings, access)
    }

    /// Leaves a partial of `length` bytes, saved as after a connection that broke there.
    pub(crate) async fn leave(&self, length: u64) {
        let error = self.receive(&self.source([Ending::Breaks(length)])).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(self.offset().await, Some(length));
    }

    /// How many bytes the next run can count on, as the list says.
    pub(crate) async fn offset(&self) -> Option<u64> {
        let list = self.ingests.list().await.unwrap();
        list.iter().find(|partial| partial.digest == *self.blob.digest()).map(|partial| partial.offset)
    }

    /// The directory of the partial, whether there is one or not.
    pub(crate) fn partial(&self) -> PathBuf {
        let digest = self.blob.digest();
        self.ingests.dir().join(format!("{}-{}", digest.algorithm(), digest.digest()))
    }

    pub(crate) fn place(&self) -> PathBuf {
        blob_path(&self.temp.path().join("layout"), self.blob.digest()).unwrap()
    }

    /// Exchanges fields of the state, with a checksum that is right again.
    pub(crate) fn edit_state(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.partial().join("state");
        let text = fs::read_to_string(&path).unwrap();
        let mut state: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        edit(&mut state);
        let document = format!("{state}\n");
        let sum = digest::sha256(document.as_bytes());
        fs::write(path, format!("{document}{sum}\n")).unwrap();
    }

    /// The blob is there byte for byte, and nothing else is.
    pub(crate) fn assert_stored(&self) {
        assert!(fs::read(self.place()).unwrap() == self.bytes, "other bytes than the blob's");
        self.assert_nothing_unfinished();
    }

    pub(crate) fn assert_nothing_unfinished(&self) {
        let left: Vec<_> = fs::read_dir(self.ingests.dir())
            .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    }
}
