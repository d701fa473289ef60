//! How redirects are followed.

use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::TestRegistry;

use crate::support::{answer, client, layers, pulling, pushing, tag};

#[tokio::test]
async fn a_303_is_followed_with_a_get_that_carries_nothing() {
    let registry = TestRegistry::in_memory("h.test").await;
    let image = registry.seed_image("a", "1", &layers(1)).await;
    let see = answer(303, &[("location", "/v2/a/manifests/1")], "").times(1);
    registry.add(see.on(Kind::ManifestPut));
    let client = client(registry.transport());
    let _ = pushing(&client, "h.test/a").put_manifest(&image.manifest, &tag("2")).await;
    let methods: Vec<_> = registry.log().iter().map(|entry| entry.method.to_string()).collect();
    assert_eq!(methods, ["PUT", "GET"]);

    registry.reset();
    registry.add(answer(303, &[("location", "/v2/a/manifests/1")], "").times(1).on(Kind::ManifestHead));
    pulling(&client, "h.test/a").head_manifest(&tag("2")).await.unwrap();
    let methods: Vec<_> = registry.log().iter().map(|entry| entry.method.to_string()).collect();
    assert_eq!(methods, ["HEAD", "HEAD"]);
}
