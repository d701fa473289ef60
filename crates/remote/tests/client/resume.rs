//! A blob is read on inside where its source broke off, and only right bytes become visible.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::header::RANGE;
use http::{Request, Response};
use lazyblob_remote::body::Body;
use lazyblob_remote::endpoint::Target;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::registry::RepositoryProvider;
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::{Dropped, Service};
use lazyblob_remote::testing::{Effect, Expiry, MemoryTransport, TestRegistry, Toxic};
use lazyblob_remote::transfer::Blob;
use lazyblob_remote::{Access, Descriptor, Error, Mismatch, Provider};

use crate::support::{
    Notes, answer, blob, bytes, client, copy, lines, one_at_a_time, pulling, read, settings, tagged,
};

const SIZE: usize = 300_000;

async fn seeded(toxics: impl IntoIterator<Item = Toxic>) -> (TestRegistry, Descriptor) {
    let registry = TestRegistry::in_memory("from.test").await;
    let image = registry.seed_image("a", "1", &[bytes(SIZE)]).await;
    for toxic in toxics {
        registry.add(toxic.on(Kind::BlobGet));
    }
    let layer = image.layers().next().unwrap().clone();
    (registry, layer)
}

fn layer_of(registry: &TestRegistry, descriptor: &Descriptor) -> Blob {
    blob(&pulling(&client(registry.transport()), "from.test/a"), descriptor)
}

fn ranges(registry: &TestRegistry) -> Vec<Option<String>> {
    registry.log().into_iter().filter(|entry| entry.kind == Kind::BlobGet).map(|entry| entry.range).collect()
}

/// Rows 46, 64a, 88: every byte comes once, by ranges that have an end.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_goes_on_at_its_offset() {
    let (registry, layer) = seeded([
        Toxic::new(Effect::CutBody(100_000)).times(1),
        Toxic::new(Effect::CutBody(150_000)).after(1).times(1),
    ])
    .await;
    let client = client(registry.transport());
    let got = read(&blob(&pulling(&client, "from.test/a"), &layer)).await.unwrap();
    assert_eq!(got, bytes(SIZE));
    let last = SIZE - 1;
    let expected = [None, Some(format!("bytes=100000-{last}")), Some(format!("bytes=250000-{last}"))];
    assert_eq!(ranges(&registry), expected);
    assert_eq!(client.stats().bytes_down(), SIZE as u64);
}

/// Row 48a: what comes again is dropped, from one stream.
#[tokio::test(start_paused = true)]
async fn a_host_that_ignores_ranges_begins_again_and_no_byte_comes_twice() {
    let (registry, layer) =
        seeded([Toxic::new(Effect::CutBody(100_000)).times(1), Toxic::new(Effect::IgnoreRange)]).await;
    assert_eq!(read(&layer_of(&registry, &layer)).await.unwrap(), bytes(SIZE));
    assert_eq!(registry.requests(Kind::BlobGet), 2);
}

/// Rows 48b, 64a: another range than asked for is an error at once.
#[tokio::test(start_paused = true)]
async fn another_range_than_asked_for_is_not_taken() {
    let (registry, layer) =
        seeded([Toxic::new(Effect::CutBody(100_000)).times(1), Toxic::new(Effect::ShiftContentRange(1))])
            .await;
    let error = read(&layer_of(&registry, &layer)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("asked for bytes 100000-299999"), "{error}");
    assert_eq!(registry.requests(Kind::BlobGet), 2);
}

/// Row 48b: of a wrong range nothing is kept: what was there before is gone on with from where it ended.
#[tokio::test(start_paused = true)]
async fn a_wrong_range_does_not_extend_what_is_there() {
    let (registry, layer) = seeded([
        Toxic::new(Effect::CutBody(100_000)).times(1),
        Toxic::new(Effect::ShiftContentRange(1)).times(2),
    ])
    .await;
    let layout = tempfile::tempdir().unwrap();
    let layout = Layout::create_or_open(layout.path().join("layout")).await.unwrap();
    let error = layout.put_blob(&layer_of(&registry, &layer), None).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let kept = layout.ingests().list().await.unwrap();
    assert_eq!(kept.iter().map(|partial| partial.offset).collect::<Vec<_>>(), [100_000]);
    registry.reset();
    layout.put_blob(&layer_of(&registry, &layer), None).await.unwrap();
    assert_eq!(ranges(&registry), [Some(format!("bytes=100000-{}", SIZE - 1))]);
}

/// Row 49a: a host need not know how long the blob is of which it sends a part.
#[tokio::test(start_paused = true)]
async fn a_range_of_unknown_total_is_taken() {
    let last = SIZE - 1;
    let part =
        answer(206, &[("content-range", &format!("bytes 100000-{last}/*"))], bytes(SIZE).slice(100_000..));
    let (registry, layer) =
        seeded([Toxic::new(Effect::CutBody(100_000)).times(1), part.after(1).times(1)]).await;
    assert_eq!(read(&layer_of(&registry, &layer)).await.unwrap(), bytes(SIZE));
    assert_eq!(ranges(&registry), [None, Some(format!("bytes=100000-{last}"))]);

    // One that knows another length has another blob.
    let part = answer(
        206,
        &[("content-range", &format!("bytes 100000-{last}/{}", SIZE + 1))],
        bytes(SIZE - 100_000),
    );
    let (registry, layer) = seeded([Toxic::new(Effect::CutBody(100_000)).times(1), part.after(1)]).await;
    let error = read(&layer_of(&registry, &layer)).await.unwrap_err();
    let size = Mismatch::Size { expected: SIZE as u64, actual: SIZE as u64 + 1 };
    assert!(matches!(&error, Error::Integrity { mismatch, .. } if *mismatch == size), "{error}");
    assert_eq!(registry.requests(Kind::BlobGet), 2);
}

/// Row 50a: of pieces nobody knows which one is wrong: the whole is fetched once more, in one answer.
#[tokio::test(start_paused = true)]
async fn pieces_that_make_something_else_are_fetched_afresh() {
    let (registry, layer) = seeded([
        Toxic::new(Effect::CutBody(100_000)).times(1),
        Toxic::new(Effect::Corrupt(7)).after(1).times(1),
    ])
    .await;
    let got = layer_of(&registry, &layer).read_whole(1 << 20).await.unwrap();
    assert_eq!(got, bytes(SIZE));
    assert_eq!(ranges(&registry), [None, Some(format!("bytes=100000-{}", SIZE - 1)), None]);

    // And not a second time.
    let (registry, layer) =
        seeded([Toxic::new(Effect::CutBody(100_000)).times(1), Toxic::new(Effect::Corrupt(7)).after(1)])
            .await;
    let error = layer_of(&registry, &layer).read_whole(1 << 20).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
    assert_eq!(registry.requests(Kind::BlobGet), 3);
}

/// Row 50a: what came wrong in one answer is not asked for there again; the next source brings it from the beginning.
#[tokio::test(start_paused = true)]
async fn wrong_bytes_of_one_source_are_read_at_the_next() {
    let (first, layer) = seeded([Toxic::new(Effect::Corrupt(7))]).await;
    let second = TestRegistry::in_memory("second.test").await;
    second.seed_image("b", "1", &[bytes(SIZE)]).await;
    let client = client(first.transport().with(&second));
    let sources = ["from.test/a", "second.test/b"]
        .map(|place| -> Arc<dyn Provider> { Arc::new(RepositoryProvider::new(pulling(&client, place))) });
    let blob = Blob::new(layer, &sources, settings().transfers, Access::anonymous());
    assert_eq!(blob.read_whole(1 << 20).await.unwrap(), bytes(SIZE));
    assert_eq!((ranges(&first), ranges(&second)), (vec![None], vec![None]));
}

/// Row 51a: a body that does not say how long it is arrives, and is gone on with where it was cut.
#[tokio::test(start_paused = true)]
async fn a_body_without_a_length_arrives() {
    for cut in [None, Some(100_000)] {
        let (registry, layer) = seeded([Toxic::new(Effect::OmitHeader(http::header::CONTENT_LENGTH))]).await;
        if let Some(cut) = cut {
            registry.add(Toxic::new(Effect::CutBody(cut)).on(Kind::BlobGet).times(1));
        }
        assert_eq!(read(&layer_of(&registry, &layer)).await.unwrap(), bytes(SIZE));
        assert_eq!(registry.requests(Kind::BlobGet), 1 + u64::from(cut.is_some()));
    }
}

/// Row 51b: a length that cannot be the blob's is an error before a byte of it is read, and is not asked for again.
#[tokio::test(start_paused = true)]
async fn a_length_that_cannot_be_right_is_not_read() {
    let (registry, layer) = seeded([answer(200, &[("content-length", "7")], bytes(7))]).await;
    let client = client(registry.transport());
    let error = read(&blob(&pulling(&client, "from.test/a"), &layer)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("size is 7 bytes, expected {SIZE}")), "{error}");
    assert_eq!((registry.requests(Kind::BlobGet), client.stats().bytes_down()), (1, 0));
}

/// Row 64a: a range of a blob is asked for from its first to its last byte, and exactly that comes back.
#[tokio::test(start_paused = true)]
async fn a_range_has_an_end() {
    let (registry, layer) = seeded(None::<Toxic>).await;
    let client = client(registry.transport());
    let source = RepositoryProvider::new(pulling(&client, "from.test/a"));
    let part = source.open(&layer, 1000..5000).await.unwrap();
    assert_eq!(part.range(), 1000..5000);
    let part: Vec<Bytes> = part.into_stream().map(Result::unwrap).collect().await;
    assert_eq!(part.concat(), bytes(SIZE)[1000..5000]);
    assert_eq!(ranges(&registry), [Some("bytes=1000-4999".to_owned())]);
    assert_eq!(client.stats().bytes_down(), 4000);

    // More than was asked for is not taken, whatever the host calls it.
    registry.add(answer(206, &[("content-range", &format!("bytes 1000-5000/{SIZE}"))], bytes(4001)));
    assert!(matches!(source.open(&layer, 1000..5000).await, Err(Error::Invalid { .. })));
}

/// Row 65a: a reader that takes its time is not read ahead for: what it has not asked for stays at the host.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_one_piece() {
    let (registry, layer) =
        seeded([Toxic::new(Effect::Slow { piece: 10_000, pause: Duration::from_millis(1) })]).await;
    let client = client(registry.transport());
    let mut stream = blob(&pulling(&client, "from.test/a"), &layer).read().await.unwrap();
    let mut taken = 0;
    while let Some(chunk) = stream.next().await {
        taken += chunk.unwrap().len() as u64;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(client.stats().bytes_down() <= taken + 10_000, "{taken}");
    }
    assert_eq!((taken, registry.requests(Kind::BlobGet)), (SIZE as u64, 1));
}

/// Rows 48b, 64a: nor is a part taken that does not say which it is.
#[tokio::test(start_paused = true)]
async fn a_206_without_a_content_range_is_not_taken() {
    let (registry, layer) =
        seeded([Toxic::new(Effect::CutBody(100_000)).times(1), answer(206, &[], bytes(200_000)).after(1)])
            .await;
    let error = read(&layer_of(&registry, &layer)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert_eq!(registry.requests(Kind::BlobGet), 2);
}

#[tokio::test(start_paused = true)]
async fn an_address_in_the_storage_that_has_expired_is_asked_for_again() {
    let (registry, layer) = seeded([
        Toxic::new(Effect::RedirectToStorage(Expiry::Requests(0))).times(1),
        Toxic::new(Effect::RedirectToStorage(Expiry::Never)),
    ])
    .await;
    // The first rule wins while it acts; both redirect.
    assert_eq!(read(&layer_of(&registry, &layer)).await.unwrap(), bytes(SIZE));
    let log = registry.log();
    let at_storage = log.iter().filter(|entry| entry.host == "storage.from.test");
    assert!(at_storage.clone().all(|entry| !entry.authorized));
    assert_eq!(at_storage.clone().next().unwrap().status.unwrap(), 403);
    assert_eq!(registry.requests(Kind::BlobGet), 2, "{:?}", registry.lines());
}

/// Rows 50b, 51b: of wrong bytes nothing stays at the target.
#[tokio::test(start_paused = true)]
async fn wrong_bytes_leave_the_target_as_it_was() {
    for (toxic, said) in [
        (Toxic::new(Effect::Corrupt(123_456)), "digest"),
        (answer(200, &[], bytes(SIZE + 1)), "size"),
        (answer(200, &[], bytes(SIZE - 1)), "size"),
        (answer(200, &[], Bytes::new()), "size"),
    ] {
        let (from, layer) = seeded([toxic.clone().path(String::new())]).await;
        let to = TestRegistry::in_memory("to.test").await;
        let client = client(from.transport().with(&to));

        let job = copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
        let error = job.run().await.unwrap_err();

        assert!(matches!(error.root(), Error::Integrity { .. }), "{toxic:?}: {error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(to.requests(Kind::ManifestPut), 0);
        assert_eq!(tagged(&to, "b", "1").await, None);
        let there = pulling(&client, "to.test/b").head_blob(&layer).await;
        assert!(there.unwrap_err().is_not_found());
        assert!(
            to.lines()
                .iter()
                .all(|line| !line.starts_with("PUT ") || !line.contains(layer.digest().digest()))
        );
    }
}

/// Row 51b: the error has both sizes.
#[tokio::test(start_paused = true)]
async fn a_blob_that_is_shorter_than_its_descriptor_is_of_the_wrong_size() {
    // Without a length the end comes unannounced, and the rest is asked for.
    let registry = TestRegistry::in_memory("from.test").await;
    let image = registry.seed_image("a", "1", &[bytes(SIZE)]).await;
    let real = image.layers().next().unwrap();
    let longer = Descriptor::new(real.media_type().clone(), SIZE as u64 + 10, real.digest().clone());
    registry.add(Toxic::new(Effect::OmitHeader(http::header::CONTENT_LENGTH)).on(Kind::BlobGet));
    let error = read(&layer_of(&registry, &longer)).await.unwrap_err();
    let Error::Integrity { mismatch: Mismatch::Size { expected, actual }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((expected, actual), (SIZE as u64 + 10, SIZE as u64));
    assert!(registry.requests(Kind::BlobGet) <= 2);
}

/// Row 22: tries of the source do not multiply with those of the target.
#[tokio::test(start_paused = true)]
async fn a_source_that_stays_broken_is_given_up() {
    for toxic in [Toxic::status(503), Toxic::new(Effect::Drop), Toxic::new(Effect::CutBody(10))] {
        let (from, layer) = seeded(None::<Toxic>).await;
        from.add(toxic.clone().path(layer.digest().digest()));
        let to = TestRegistry::in_memory("to.test").await;
        let client = client(from.transport().with(&to));
        one_at_a_time(&client);
        let job = copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());

        let error = job.run().await.unwrap_err();

        assert!(matches!(error.root(), Error::Unavailable { .. }), "{toxic:?}: {error}");
        // One blob's six tries, and not six for each try of the upload.
        assert_eq!(lines(&from, layer.digest().digest()).len(), 6, "{toxic:?}");
        assert_eq!(to.requests(Kind::ManifestPut), 0);
    }
}

/// Row 22: a source that brings next to nothing each time is not asked for ever.
#[tokio::test(start_paused = true)]
async fn a_source_that_trickles_through_breaks_is_given_up() {
    let from = TestRegistry::in_memory("from.test").await;
    let image = from.seed_image("a", "1", &[bytes(4_000_000)]).await;
    from.add(Toxic::new(Effect::CutBody(70_000)));
    let error = read(&layer_of(&from, image.layers().next().unwrap())).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(from.requests(Kind::BlobGet), 6);
}

/// Rows 27b, 88: another source goes on at the same offset.
#[tokio::test(start_paused = true)]
async fn the_next_source_goes_on_where_the_first_one_was_lost() {
    let (first, layer) =
        seeded([Toxic::new(Effect::CutBody(100_000)).times(1), Toxic::status(404).after(1)]).await;
    let second = TestRegistry::in_memory("second.test").await;
    second.seed_image("b", "1", &[bytes(SIZE)]).await;
    let client = client(first.transport().with(&second));
    let sources: Vec<Arc<dyn Provider>> = vec![
        Arc::new(RepositoryProvider::new(pulling(&client, "from.test/a"))),
        Arc::new(RepositoryProvider::new(pulling(&client, "second.test/b"))),
    ];
    let blob = Blob::new(layer, &sources, settings().transfers, Access::anonymous());
    assert_eq!(read(&blob).await.unwrap(), bytes(SIZE));
    assert_eq!(ranges(&second), [Some(format!("bytes=100000-{}", SIZE - 1))]);
}

#[tokio::test]
async fn nothing_is_read_for_an_empty_blob() {
    let registry = TestRegistry::in_memory("from.test").await;
    let empty = registry.seed_blob("a", Bytes::new()).await;
    assert!(read(&layer_of(&registry, &empty)).await.unwrap().is_empty());
    let wrong = Descriptor::new(empty.media_type().clone(), 0_u64, lazyblob_remote::digest::sha256(b"x"));
    let error = read(&layer_of(&registry, &wrong)).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { .. }), "{error}");
    assert_eq!(registry.counter().total(), 0);
}

/// Answers a ranged request with 100 000 bytes at the most.
#[derive(Debug)]
struct ShortRanges(TestRegistry);

#[async_trait]
impl Service for ShortRanges {
    async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, Dropped> {
        if let Some(range) = request.headers().get(RANGE).cloned() {
            let first: u64 = range.to_str().unwrap()[6..].split('-').next().unwrap().parse().unwrap();
            let short = format!("bytes={first}-{}", first + 99_999);
            request.headers_mut().insert(RANGE, short.parse().unwrap());
        }
        self.0.service().call(request).await
    }
}

/// Rows 64a, 88: a shorter range is no failure; the rest is asked for without a wait.
#[tokio::test(start_paused = true)]
async fn a_host_that_answers_with_less_than_asked_for_is_asked_for_the_rest_at_once() {
    let (registry, layer) = seeded([Toxic::new(Effect::CutBody(50_000)).times(1)]).await;
    let service = Arc::new(ShortRanges(registry));
    let shared: Arc<dyn Service> = Arc::<ShortRanges>::clone(&service);
    let client = client(MemoryTransport::new().host("from.test", shared));
    let notes = Arc::new(Notes::default());
    let access = Access::anonymous().watched_by(Arc::<Notes>::clone(&notes));
    let source = RepositoryProvider::new(pulling(&client, "from.test/a"));
    let blob = Blob::new(layer, &[Arc::new(source)], settings().transfers, access);
    assert_eq!(read(&blob).await.unwrap(), bytes(SIZE));
    // 50 000 bytes, and then three times as many as it gives.
    assert_eq!(service.0.requests(Kind::BlobGet), 1 + 3);
    assert_eq!(notes.waits.lock().unwrap().len(), 1);
}
