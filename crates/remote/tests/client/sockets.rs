//! The same over real connections, where bodies have lengths and connections end.

use bytes::Bytes;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Expiry, Image, TestRegistry, Toxic};
use lazyblob_remote::transport::HttpTransport;
use lazyblob_remote::{Access, Registry};

use crate::support::{bytes, chunking_client, copy, pulling, tag};

struct Scene {
    from: TestRegistry,
    to: TestRegistry,
    image: Image,
}

impl Scene {
    async fn new() -> Self {
        Self::of(&[bytes(1_500_000), Bytes::new(), bytes(70_000)]).await
    }

    async fn of(layers: &[Bytes]) -> Self {
        let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
        let image = from.seed_image("a", "1", layers).await;
        Self { from, to, image }
    }

    async fn run(&self) -> Registry {
        let client = chunking_client(HttpTransport::default(), 400_000);
        let (from, to) = (format!("{}/a", self.from.host()), format!("{}/b", self.to.host()));
        copy(&client, (&from, "1"), (&to, "1"), &Access::anonymous()).run().await.unwrap();
        let arrived = pulling(&client, &to).get_manifest(&tag("1")).await.unwrap();
        assert_eq!(arrived.bytes(), self.image.manifest.bytes());
        client
    }

    async fn close(self) {
        self.from.close().await;
        self.to.close().await;
    }
}

#[tokio::test]
async fn an_image_with_an_empty_layer_arrives() {
    let scene = Scene::new().await;
    scene.run().await;
    // Three blobs by POST, PATCH and PUT, the empty one without the PATCH and without being read.
    assert_eq!(scene.to.requests(Kind::Upload), 3 * 3 + 2, "{:?}", scene.to.lines());
    assert_eq!(scene.from.requests(Kind::BlobGet), 3);
    scene.close().await;
}

#[tokio::test]
async fn bodies_that_break_on_either_side_do_not_keep_it_from_arriving() {
    let scene = Scene::new().await;
    scene.from.add(Toxic::new(Effect::RedirectToStorage(Expiry::Never)).on(Kind::BlobGet));
    scene.from.add(Toxic::new(Effect::CutBody(600_000)).on(Kind::Redirect));
    scene.to.add(Toxic::new(Effect::ForeignLocation).on(Kind::Upload));
    scene.to.add(Toxic::new(Effect::CutRequest(300_000)).path("_state=0"));
    scene.run().await;
    let storage = scene.from.storage_host().to_owned();
    assert!(scene.from.log().iter().any(|entry| entry.host == storage && entry.range.is_some()));
    scene.close().await;
}

#[tokio::test]
async fn past_413_it_arrives_in_chunks() {
    let scene = Scene::new().await;
    scene.to.add(Toxic::chunk_cap(400_000));
    scene.run().await;
    assert!(scene.to.log().iter().any(|entry| entry.range.as_deref() == Some("1200000-1499999")));
    scene.close().await;
}

#[tokio::test]
async fn an_answer_before_the_body_was_taken_is_understood() {
    let scene = Scene::of(&[bytes(1_500_000)]).await;
    // A proxy that refuses by the declared length and reads nothing: the config's stream and the layer's.
    scene.to.add(Toxic::status(413).path("_state=0").times(2));
    scene.run().await;
    assert!(scene.to.requests(Kind::Upload) < 30, "{:?}", scene.to.lines());
    scene.close().await;
}

#[tokio::test]
async fn lost_answers_are_made_up_for() {
    let scene = Scene::new().await;
    scene.to.add(Toxic::new(Effect::DropAnswer).path("digest=").times(2));
    scene.to.add(Toxic::new(Effect::DropAnswer).on(Kind::ManifestPut).times(1));
    scene.from.add(Toxic::new(Effect::Drop).on(Kind::ManifestGet).times(1));
    scene.run().await;
    assert_eq!(scene.to.requests(Kind::ManifestPut), 2);
    scene.close().await;
}
