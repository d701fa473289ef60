//! Choosing platforms of an index, honestly: what is left out makes another digest.

use lazyblob_remote::copy::{Options, Platform};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Image, TestRegistry};
use serde_json::json;

use crate::support::{client, entry, index_of, layers, promote as run, pulling, tag};

const HOST: &str = "registry.test";

struct Many {
    registry: TestRegistry,
    amd: Image,
    attestation: Image,
    arm: Image,
}

async fn many() -> Many {
    let registry = TestRegistry::in_memory(HOST).await;
    let (amd, arm, attestation) = (Image::of(&layers(1)), Image::of(&layers(2)), Image::of(&layers(3)));
    for (name, image) in [("amd", &amd), ("arm", &arm), ("att", &attestation)] {
        registry.seed("a", name, image).await;
    }
    let mut attached = entry(&attestation.manifest, "unknown/unknown");
    attached["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": amd.manifest.digest(),
    });
    let other = registry.seed_image("a", "s390x", &layers(4)).await;
    let entries = [
        entry(&amd.manifest, "linux/amd64"),
        entry(&arm.manifest, "linux/arm64/v8"),
        attached,
        entry(&other.manifest, "linux/s390x"),
    ];
    registry.seed_manifest("a", "1", &index_of(&entries)).await;
    registry.reset();
    Many { registry, amd, attestation, arm }
}

fn platforms(texts: &[&str]) -> Options {
    let platforms: Vec<Platform> = texts.iter().map(|text| text.parse().unwrap()).collect();
    Options { platforms, ..Options::default() }
}

#[tokio::test]
async fn one_platform_is_its_own_manifest() {
    let many = many().await;
    let report = run(&many.registry, platforms(&["linux/arm64"])).await.unwrap();
    assert_eq!(report.root, *many.arm.manifest.digest());
    assert_eq!(many.registry.requests(Kind::ManifestGet), 2);
    assert_eq!(many.registry.requests(Kind::BlobGet), 0);
}

#[tokio::test]
async fn several_platforms_keep_their_attestations() {
    let many = many().await;
    let report = run(&many.registry, platforms(&["linux/amd64", "linux/aarch64"])).await.unwrap();
    let client = client(many.registry.transport());
    let index = pulling(&client, "registry.test/b").get_manifest(&tag("1")).await.unwrap();
    assert_eq!(index.digest(), &report.root);
    let kept: Vec<_> = index.entries().iter().map(|entry| entry.digest().clone()).collect();
    let expected = [&many.amd, &many.arm, &many.attestation].map(|image| image.manifest.digest().clone());
    assert_eq!(kept, expected);
    assert!(index.entries()[2].annotations().is_some());
}

#[tokio::test]
async fn a_platform_there_is_not_lists_those_there_are() {
    let many = many().await;
    let error = run(&many.registry, platforms(&["linux/amd64", "windows/amd64"])).await.unwrap_err();
    assert!(error.is_not_found());
    let text = error.to_string();
    assert!(
        text.contains("there is no windows/amd64; there are: linux/amd64, linux/arm64, linux/s390x"),
        "{text}"
    );
    assert!(!text.contains("unknown"));
    assert_eq!(many.registry.requests(Kind::ManifestPut) + many.registry.requests(Kind::Mount), 0);
}

#[tokio::test]
async fn of_an_image_the_config_says_what_it_is_for() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &layers(1)).await;
    let report = run(&registry, platforms(&["linux/amd64"])).await.unwrap();
    assert_eq!(report.root, *image.manifest.digest());
    let error = run(&registry, platforms(&["linux/arm64"])).await.unwrap_err().to_string();
    assert!(error.contains("the image is for linux/amd64, not for linux/arm64"), "{error}");
}
