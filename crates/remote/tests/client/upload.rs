//! Uploads: POST, one PATCH, PUT; and everything hosts do to them.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lazyblob_remote::endpoint::Target;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::registry::RegistryTarget;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, TestRegistry, Toxic};
use lazyblob_remote::transfer::Blob;
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Access, Descriptor, Error, Provider, Registry, Result, What};

use crate::support::{
    answer, bytes, chunking_client, client, copy, layers, lines, pulling, pushing, settings, tagged,
};

const HOST: &str = "to.test";

/// Bytes in memory, in pieces; `breaks_at` ends them with an error that is final.
#[derive(Debug)]
struct InMemory {
    bytes: Bytes,
    breaks_at: Option<usize>,
}

#[async_trait]
impl Provider for InMemory {
    async fn open(&self, _: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        let start = usize::try_from(range.start).unwrap();
        let end = self.breaks_at.unwrap_or(self.bytes.len());
        let pieces = self.bytes.slice(start..end);
        let mut items: Vec<Result<Bytes>> =
            pieces.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if self.breaks_at.is_some() {
            items.push(Err(Error::Refused { what: What::new("read", "the source"), reason: "gone".into() }));
        }
        Ok(Unverified::new(range, Box::pin(futures::stream::iter(items))))
    }

    async fn info(&self, _: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: None })
    }

    fn origin(&self) -> Origin {
        Origin { host: "memory".into(), repository: "x".into() }
    }
}

pub(crate) fn blob_of(content: &Bytes, breaks_at: Option<usize>) -> Blob {
    let kind = lazyblob_remote::media::OCI_LAYER.into();
    let digest = lazyblob_remote::digest::sha256(content);
    let descriptor = Descriptor::new(kind, content.len() as u64, digest);
    let source = InMemory { bytes: content.clone(), breaks_at };
    Blob::new(descriptor, &[Arc::new(source)], settings().transfers, Access::anonymous())
}

pub(crate) async fn put(client: &Registry, content: &Bytes) -> Result<()> {
    RegistryTarget::new(pushing(client, "to.test/b")).put_blob(&blob_of(content, None), None).await
}

pub(crate) async fn stored(registry: &TestRegistry, content: &Bytes) -> bool {
    let blob = blob_of(content, None);
    pulling(&client(registry.transport()), "to.test/b").head_blob(blob.descriptor()).await.is_ok()
}

pub(crate) fn methods(registry: &TestRegistry) -> Vec<String> {
    registry.log().into_iter().map(|entry| entry.method.to_string()).collect()
}

pub(crate) fn pieces(registry: &TestRegistry) -> Vec<Option<String>> {
    registry.log().into_iter().filter(|entry| entry.method == "PATCH").map(|entry| entry.range).collect()
}

#[tokio::test]
async fn post_one_patch_put() {
    for toxic in [None, Some(Effect::AbsoluteLocation), Some(Effect::ForeignLocation)] {
        let registry = TestRegistry::in_memory(HOST).await;
        if let Some(effect) = toxic {
            registry.add(Toxic::new(effect));
        }
        let content = bytes(1_000_000);
        put(&client(registry.transport()), &content).await.unwrap();
        assert_eq!(methods(&registry), ["POST", "PATCH", "PUT"]);
        assert_eq!(pieces(&registry), [None]);
        // The state in the Location is that of the last answer, so the newest was used each time.
        assert!(
            registry.lines()[1].contains("_state=0 ")
                && registry.lines()[2].contains("_state=1000000&digest=")
        );
        assert_eq!(registry.traffic().bytes_in(), 1_000_000);
        assert!(stored(&registry, &content).await);
    }
}

#[tokio::test]
async fn an_empty_blob_needs_no_patch() {
    let registry = TestRegistry::in_memory(HOST).await;
    put(&client(registry.transport()), &Bytes::new()).await.unwrap();
    assert_eq!(methods(&registry), ["POST", "PUT"]);
    assert!(stored(&registry, &Bytes::new()).await);
}

/// Row 44: a host that takes no more than a part in one request gets parts.
#[tokio::test]
async fn past_413_and_416_chunks_are_sent_and_remembered() {
    for status in [413, 416] {
        let registry = TestRegistry::in_memory(HOST).await;
        let cap = Effect::BodyCap { bytes: 400_000, status: http::StatusCode::from_u16(status).unwrap() };
        registry.add(Toxic::new(cap).on(Kind::Upload));
        let client = chunking_client(registry.transport(), 400_000);
        let content = bytes(1_000_000);
        put(&client, &content).await.unwrap();
        let expected =
            [None, Some("0-399999".into()), Some("400000-799999".into()), Some("800000-999999".into())];
        assert_eq!(pieces(&registry), expected);
        assert!(stored(&registry, &content).await);

        registry.reset();
        put(&client, &bytes(500_000)).await.unwrap();
        assert_eq!(pieces(&registry), [Some("0-399999".into()), Some("400000-499999".into())]);
    }
}

#[tokio::test]
async fn chunks_are_halved_until_they_pass() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::chunk_cap(150_000));
    let content = bytes(500_000);
    put(&chunking_client(registry.transport(), 400_000), &content).await.unwrap();
    assert!(stored(&registry, &content).await);
    let refused = lines(&registry, " 413");
    assert_eq!(refused.len(), 3, "{:?}", registry.lines());
    assert!(pieces(&registry).contains(&Some("0-99999".into())));
}

#[tokio::test(start_paused = true)]
async fn a_416_where_both_agree_means_too_large() {
    let registry = TestRegistry::in_memory(HOST).await;
    let cap = Effect::BodyCap { bytes: 150_000, status: http::StatusCode::RANGE_NOT_SATISFIABLE };
    registry.add(Toxic::new(cap).on(Kind::Upload));
    let content = bytes(500_000);
    put(&chunking_client(registry.transport(), 400_000), &content).await.unwrap();
    assert!(stored(&registry, &content).await);
    assert!(pieces(&registry).contains(&Some("0-99999".into())), "{:?}", registry.lines());
}

#[tokio::test]
async fn a_host_that_takes_no_chunk_at_all_ends_it() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::chunk_cap(10));
    let error = put(&client(registry.transport()), &bytes(500_000)).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { status: 413, .. }), "{error}");
    assert!(registry.requests(Kind::Upload) < 12, "{:?}", registry.lines());
}

/// Row 40b: a session that a mount opened is no worse than one of our own.
#[tokio::test]
async fn the_least_chunk_a_host_takes_is_heeded() {
    // Said when a session is opened, and said when a refused mount opens one.
    for by_mount in [false, true] {
        let registry = TestRegistry::builder()
            .settings(|settings| settings.chunk_min = Some(300_000))
            .in_memory(HOST)
            .await;
        registry.add(Toxic::chunk_cap(350_000));
        registry.add(Toxic::new(Effect::RefuseMount));
        let client = chunking_client(registry.transport(), 100_000);
        let (target, content) = (RegistryTarget::new(pushing(&client, "to.test/b")), bytes(1_000_000));
        let blob = blob_of(&content, None);
        let mut session = None;
        if by_mount {
            let from = Origin { host: HOST.into(), repository: "a".into() };
            let lazyblob_remote::endpoint::Mounted::No { session: opened } =
                target.mount(blob.descriptor(), &from).await.unwrap()
            else {
                panic!()
            };
            assert!(opened.is_some());
            session = opened;
        }
        target.put_blob(&blob, session).await.unwrap();
        assert_eq!(pieces(&registry)[1..3], [Some("0-299999".into()), Some("300000-599999".into())]);
    }
}

#[tokio::test]
async fn a_range_that_is_stuck_is_not_believed() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::chunk_cap(100_000));
    registry.add(Toxic::new(Effect::StuckRange));
    let content = bytes(500_000);
    put(&chunking_client(registry.transport(), 100_000), &content).await.unwrap();
    assert_eq!(pieces(&registry).len(), 1 + 5);
    assert!(stored(&registry, &content).await);
}

/// Row 44: after a cut the host is asked for its offset, and the upload goes on there.
#[tokio::test(start_paused = true)]
async fn a_chunk_that_broke_goes_on_where_the_host_is() {
    for (effect, nth) in
        [(Effect::Drop, 1), (Effect::Drop, 2), (Effect::DropAnswer, 2), (Effect::CutRequest(30_000), 2)]
    {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.add(Toxic::chunk_cap(100_000));
        // POST, PATCH (413) and POST come before the chunks.
        registry.add(Toxic::new(effect.clone()).on(Kind::Upload).after(2 + nth).times(1));
        let content = bytes(500_000);
        put(&chunking_client(registry.transport(), 100_000), &content).await.unwrap();
        assert!(stored(&registry, &content).await, "{effect:?}");
        assert_eq!(methods(&registry).iter().filter(|method| *method == "GET").count(), 1, "{effect:?}");
        assert_eq!(lines(&registry, "POST").len(), 2, "{effect:?}: {:?}", registry.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_elsewhere_is_asked_where_it_is() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::chunk_cap(100_000));
    registry.add(Toxic::status(416).on(Kind::Upload).after(4).times(1));
    let content = bytes(300_000);
    put(&chunking_client(registry.transport(), 100_000), &content).await.unwrap();
    assert!(stored(&registry, &content).await);
    assert!(methods(&registry).contains(&"GET".to_owned()));
}

/// Row 45: an upload that does not get on ends.
#[tokio::test(start_paused = true)]
async fn a_host_that_goes_backwards_is_given_up() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::chunk_cap(100_000));
    for nth in 0..100 {
        let range = if nth % 2 == 0 { "0-5" } else { "0-3" };
        registry.add(answer(202, &[("range", range)], "").path("_state=0").after(1 + nth).times(1));
    }
    let error = put(&chunking_client(registry.transport(), 100_000), &bytes(300_000)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. } | Error::Rejected { .. }), "{error}");
    assert!(!stored(&registry, &bytes(300_000)).await);
    assert!(registry.requests(Kind::Upload) < 200);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_put_costs_one_head() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::new(Effect::DropAnswer).path("digest=").times(1));
    let content = bytes(100_000);
    put(&client(registry.transport()), &content).await.unwrap();
    assert_eq!(methods(&registry), ["POST", "PATCH", "PUT", "HEAD"]);
    assert_eq!(registry.traffic().bytes_in(), 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_did_not_arrive_is_sent_again() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::new(Effect::Drop).path("digest=").times(1));
    let content = bytes(100_000);
    put(&client(registry.transport()), &content).await.unwrap();
    assert_eq!(methods(&registry), ["POST", "PATCH", "PUT", "HEAD", "PUT"]);
}

/// Row 45: a host that forgets every session is given up after as many as the ladder has rungs.
#[tokio::test(start_paused = true)]
async fn a_session_the_host_has_forgotten_begins_anew() {
    for method in ["_state=0", "digest="] {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.add(Toxic::status(404).path(method).times(1));
        put(&client(registry.transport()), &bytes(100_000)).await.unwrap();
        assert_eq!(lines(&registry, "POST").len(), 2);

        let registry = TestRegistry::in_memory(HOST).await;
        registry.add(Toxic::status(404).path(method));
        let error = put(&client(registry.transport()), &bytes(100_000)).await.unwrap_err();
        assert!(error.to_string().contains("does not know the upload session"), "{error}");
        assert_eq!(lines(&registry, "POST").len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_body_that_is_always_cut_off_goes_in_chunks() {
    let registry = TestRegistry::in_memory(HOST).await;
    // What stands in front of the registry resets instead of answering 413.
    registry.add(Toxic::new(Effect::CutRequest(200_000)).path("_state=0").times(2));
    let content = bytes(500_000);
    put(&chunking_client(registry.transport(), 200_000), &content).await.unwrap();
    assert_eq!(pieces(&registry)[..3], [None, None, Some("0-199999".into())]);
    assert!(stored(&registry, &content).await);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_busy_is_sent_no_chunks() {
    // Of a host in trouble the session is looked up, too, and given up if that fails.
    for (toxic, patches) in [(Toxic::status(503), 3), (Toxic::too_many_requests(None), 5)] {
        let registry = TestRegistry::in_memory(HOST).await;
        registry.add(toxic.path("_state=0").times(4));
        let content = bytes(500_000);
        put(&chunking_client(registry.transport(), 200_000), &content).await.unwrap();
        assert_eq!(pieces(&registry), vec![None; patches]);
        assert!(stored(&registry, &content).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_no_chunks_either_gets_a_stream_again() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.add(Toxic::new(Effect::CutRequest(200_000)).path("_state=0").times(2));
    registry.add(Toxic::status(400).path("_state=0").after(2).times(1));
    let content = bytes(500_000);
    put(&chunking_client(registry.transport(), 200_000), &content).await.unwrap();
    assert_eq!(pieces(&registry), [None, None, Some("0-199999".into()), None]);
    assert!(stored(&registry, &content).await);
}

#[tokio::test]
async fn a_source_that_fails_is_the_error_and_nothing_is_closed() {
    for chunk in [None, Some(60_000)] {
        let registry = TestRegistry::in_memory(HOST).await;
        let client = match chunk {
            Some(chunk) => {
                registry.add(Toxic::chunk_cap(chunk));
                let client = chunking_client(registry.transport(), chunk);
                put(&client, &bytes(100_000)).await.unwrap();
                registry.reset();
                client
            }
            None => client(registry.transport()),
        };
        let target = RegistryTarget::new(pushing(&client, "to.test/b"));
        let content = bytes(200_000);
        let error = target.put_blob(&blob_of(&content, Some(150_000)), None).await.unwrap_err();
        assert!(matches!(&error, Error::Refused { reason, .. } if reason == "gone"), "{error}");
        assert!(!methods(&registry).contains(&"PUT".to_owned()), "{:?}", registry.lines());
        assert_eq!(lines(&registry, "POST").len(), 1);
        assert!(!stored(&registry, &content).await);
    }
}

#[tokio::test]
async fn no_session_is_opened_before_the_source_has_answered() {
    let from = TestRegistry::in_memory("from.test").await;
    let image = from.seed_image("a", "1", &layers(1)).await;
    from.add(Toxic::status(404).on(Kind::BlobGet));
    let to = TestRegistry::in_memory(HOST).await;
    let client = client(from.transport().with(&to));
    let job = copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
    let error = job.run().await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("get blob from.test/a@sha256:"), "{error}");
    assert!(image.blobs.iter().any(|(blob, _)| error.to_string().contains(blob.digest().as_ref())));
    assert_eq!(to.requests(Kind::Upload) + to.requests(Kind::ManifestPut), 0);
}

/// Row 43: a manifest waits for all of its blobs.
#[tokio::test]
async fn no_manifest_is_put_where_a_blob_failed() {
    let from = TestRegistry::in_memory("from.test").await;
    from.seed_image("a", "1", &layers(4)).await;
    let to = TestRegistry::in_memory(HOST).await;
    to.add(Toxic::status(400).path("digest=").after(2));
    let client = client(from.transport().with(&to));
    let job = copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
    let error = job.run().await.unwrap_err();
    assert!(matches!(error.root(), Error::Rejected { status: 400, .. }), "{error}");
    assert_eq!(to.requests(Kind::ManifestPut), 0);
    assert_eq!(tagged(&to, "b", "1").await, None);
}

#[tokio::test]
async fn a_host_that_names_no_location_is_said_to() {
    let registry = TestRegistry::in_memory(HOST).await;
    for headers in [&[][..], &[("location", "ftp://x/y")][..]] {
        registry.behave();
        registry.add(answer(202, headers, "").on(Kind::Upload));
        let error = put(&client(registry.transport()), &bytes(10)).await.unwrap_err();
        assert!(error.to_string().contains("names no Location"), "{error}");
    }
    assert_eq!(registry.counter().total(), 2);
}

#[tokio::test]
async fn who_may_look_up_but_not_write_is_told_when_writing() {
    let from = TestRegistry::in_memory("from.test").await;
    from.seed_image("a", "1", &layers(1)).await;
    let to = TestRegistry::in_memory(HOST).await;
    // Some registries say 403 of what is not there.
    to.add(Toxic::status(403).on(Kind::ManifestHead).on(Kind::BlobHead));
    let client = client(from.transport().with(&to));
    let job = || copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
    job().run().await.unwrap();
    assert!(tagged(&to, "b", "1").await.is_some());

    to.add(Toxic::status(403).on(Kind::Upload));
    from.seed_image("a", "1", &layers(2)).await;
    let error = job().run().await.unwrap_err();
    assert!(matches!(error.root(), Error::Unauthorized { .. }), "{error}");
}
