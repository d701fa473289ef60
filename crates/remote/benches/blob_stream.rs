//! What reading a blob costs beyond hashing it, without a network: 64 MiB in chunks as a connection brings them.
#![allow(clippy::unwrap_used, reason = "a bench that fails shall end")]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use futures::StreamExt;
use futures::stream;
use lazyblob_remote::digest::{self, Hasher};
use lazyblob_remote::provider::{BlobInfo, Origin, Provider};
use lazyblob_remote::transfer::{Blob, Retry, Settings};
use lazyblob_remote::verify::{Unverified, Verifier};
use lazyblob_remote::{Access, Descriptor, Error};
use oci_spec::image::{DigestAlgorithm, MediaType};

const SIZE: u32 = 64 << 20;
const CHUNKS: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];

fn main() {
    divan::main();
}

fn content() -> (Bytes, Descriptor) {
    let bytes = Bytes::from((0..SIZE).map(|at| at.to_le_bytes()[at as usize % 4]).collect::<Vec<_>>());
    let blob = Descriptor::new(MediaType::ImageLayer, u64::from(SIZE), digest::sha256(&bytes));
    (bytes, blob)
}

/// The floor under the others.
#[divan::bench(args = CHUNKS)]
fn hash(bencher: Bencher<'_, '_>, chunk: usize) {
    let (bytes, _) = content();
    bencher.counter(BytesCount::new(SIZE)).bench(|| {
        let mut hasher = Hasher::new(&DigestAlgorithm::Sha256).unwrap();
        bytes.chunks(chunk).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    });
}

#[divan::bench(args = CHUNKS)]
fn verify(bencher: Bencher<'_, '_>, chunk: usize) {
    let (bytes, blob) = content();
    bencher.counter(BytesCount::new(SIZE)).bench(|| {
        let mut verifier = Verifier::new(&blob).unwrap();
        bytes.chunks(chunk).for_each(|chunk| verifier.update(chunk).unwrap());
        verifier.finish()
    });
}

#[divan::bench(args = CHUNKS)]
fn read(bencher: Bencher<'_, '_>, chunk: usize) {
    read_from(bencher, chunk, None);
}

/// Every response ends with an error after 16 MiB.
#[divan::bench(args = CHUNKS)]
fn resume(bencher: Bencher<'_, '_>, chunk: usize) {
    read_from(bencher, chunk, Some(16 << 20));
}

fn read_from(bencher: Bencher<'_, '_>, chunk: usize, breaks_after: Option<usize>) {
    let (bytes, descriptor) = content();
    let source: Arc<dyn Provider> = Arc::new(Memory { bytes, chunk, breaks_after });
    let retry = Retry { first: Duration::ZERO, ..Retry::default() };
    let blob =
        Blob::new(descriptor, &[source], Settings { retry, ..Settings::default() }, Access::anonymous());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    bencher.counter(BytesCount::new(SIZE)).bench_local(|| {
        runtime.block_on(async {
            let mut stream = blob.read().await.unwrap();
            while let Some(chunk) = stream.next().await {
                divan::black_box(chunk.unwrap());
            }
        });
    });
}

#[derive(Debug)]
struct Memory {
    bytes: Bytes,
    chunk: usize,
    breaks_after: Option<usize>,
}

#[async_trait]
impl Provider for Memory {
    async fn open(&self, blob: &Descriptor, range: Range<u64>) -> Result<Unverified, Error> {
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = self.breaks_after.map_or(self.bytes.len(), |after| self.bytes.len().min(start + after));
        let broken = (end < self.bytes.len())
            .then(|| Err(Error::broken("read blob", blob.digest(), &"connection reset".into())));
        let (bytes, chunk) = (self.bytes.slice(start..end), self.chunk);
        let chunks = stream::iter((0..bytes.len()).step_by(chunk))
            .map(move |at| Ok(bytes.slice(at..bytes.len().min(at + chunk))));
        Ok(Unverified::new(range, chunks.chain(stream::iter(broken)).boxed()))
    }

    async fn info(&self, _: &Descriptor) -> Result<BlobInfo, Error> {
        Ok(BlobInfo { size: Some(u64::from(SIZE)) })
    }

    fn origin(&self) -> Origin {
        Origin { host: "memory".to_owned(), repository: "bench".to_owned() }
    }
}
