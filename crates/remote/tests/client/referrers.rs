//! Signatures and attestations go along: by the API, by the fallback tag, by cosign's tags.

use bytes::Bytes;
use lazyblob_remote::copy::{Action, Copy, Options, Report};
use lazyblob_remote::registry::fallback_tag;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Image, TestRegistry, Toxic};
use lazyblob_remote::{Access, Digest, Manifest, Registry, media};
use serde_json::{Value, json};

use crate::support::{Notes, answer, client, copy, layers, lines, name, pulling, tag, tagged};

async fn registry(host: &str, api: bool) -> TestRegistry {
    TestRegistry::builder().settings(|settings| settings.referrers = api).in_memory(host).await
}

/// An artifact that refers to `subject`; `nth` makes it differ from others.
fn referring(subject: &Manifest, nth: u8) -> Image {
    let fields = json!({
        "subject": subject.descriptor(),
        "artifactType": "application/x.signature",
        "annotations": {"nth": nth.to_string()},
    });
    Image::with(&[Bytes::from(vec![nth; 100])], "application/x.signature", &fields)
}

/// A fallback tag's index of such manifests.
fn list(manifests: &[&Manifest]) -> Manifest {
    let entries: Vec<Value> = manifests.iter().map(|manifest| json!(manifest.descriptor())).collect();
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    Manifest::parse(Bytes::from(index.to_string()), None, None, "the test").unwrap()
}

fn promotion(client: &Registry) -> Copy {
    let options = Options { referrers: true, ..Options::default() };
    let access = Access::anonymous();
    copy(client, ("from.test/a", "1"), ("to.test/b", "1"), &access).with_options(options)
}

async fn run(client: &Registry) -> Report {
    promotion(client).run().await.unwrap()
}

/// An image with two signatures, one of them signed in turn, and a tag of cosign's, at a registry that lists them by
/// its API or by fallback tags.
async fn seed_signed(from: &TestRegistry, api: bool) -> Image {
    let image = from.seed_image("a", "1", &layers(2)).await;
    let signatures = [referring(&image.manifest, 1), referring(&image.manifest, 2)];
    let of_signature = referring(&signatures[0].manifest, 3);
    for image in signatures.iter().chain([&of_signature]) {
        from.seed("a", image.manifest.digest().as_ref(), image).await;
    }
    if !api {
        let first = &signatures[0].manifest;
        let both = list(&[first, &signatures[1].manifest]);
        from.seed_manifest("a", &fallback_tag(image.manifest.digest()), &both).await;
        from.seed_manifest("a", &fallback_tag(first.digest()), &list(&[&of_signature.manifest])).await;
    }
    let tag = format!("sha256-{}.sig", image.manifest.digest().digest());
    from.seed_image("a", &tag, &layers(3)).await;
    image
}

async fn listed(registry: &TestRegistry, subject: &Digest) -> Vec<Digest> {
    let place = pulling(&client(registry.transport()), &format!("{}/b", registry.host()));
    place.referrers(subject).await.unwrap().iter().map(|entry| entry.digest().clone()).collect()
}

fn digests(images: &[&Image]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = images.iter().map(|image| image.manifest.digest().clone()).collect();
    digests.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    digests
}

fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    digests
}

#[tokio::test]
async fn pages_of_the_api_and_referrers_of_referrers() {
    let from =
        TestRegistry::builder().settings(|settings| settings.page = Some(2)).in_memory("from.test").await;
    let to = registry("to.test", true).await;
    let image = from.seed_image("a", "1", &layers(1)).await;
    let signatures: Vec<Image> = (0..5).map(|nth| referring(&image.manifest, nth)).collect();
    let of_signature = referring(&signatures[3].manifest, 9);
    for image in signatures.iter().chain([&of_signature]) {
        from.seed("a", image.manifest.digest().as_ref(), image).await;
    }
    let client = client(from.transport().with(&to));

    let report = run(&client).await;

    assert_eq!(report.referrers, 6);
    let expected = digests(&signatures.iter().collect::<Vec<_>>());
    assert_eq!(sorted(listed(&to, image.manifest.digest()).await), expected);
    assert_eq!(listed(&to, signatures[3].manifest.digest()).await, digests(&[&of_signature]));
    // Three pages for the image, one for each of six signatures.
    assert_eq!(from.requests(Kind::Referrers), 3 + 6);
    assert!(lines(&to, &fallback_tag(image.manifest.digest())).is_empty());
}

#[tokio::test]
async fn the_fallback_tag_is_read_and_written() {
    let (from, to) = (registry("from.test", false).await, registry("to.test", false).await);
    let image = from.seed_image("a", "1", &layers(1)).await;
    let signatures: Vec<Image> = (0..3).map(|nth| referring(&image.manifest, nth)).collect();
    for image in &signatures {
        from.seed("a", image.manifest.digest().as_ref(), image).await;
    }
    let index = list(&signatures.iter().map(|image| &image.manifest).collect::<Vec<_>>());
    from.seed_manifest("a", &fallback_tag(image.manifest.digest()), &index).await;
    // The target knows one of its own, which stays.
    let own = referring(&image.manifest, 77);
    to.seed("b", own.manifest.digest().as_ref(), &own).await;
    to.seed_manifest("b", &fallback_tag(image.manifest.digest()), &list(&[&own.manifest])).await;
    let client = client(from.transport().with(&to));

    assert_eq!(run(&client).await.referrers, 3);

    let expected = digests(&[&own, &signatures[0], &signatures[1], &signatures[2]]);
    assert_eq!(sorted(listed(&to, image.manifest.digest()).await), expected);
    // That there is no API is asked once in a run.
    assert_eq!(from.requests(Kind::Referrers), 1);
    let place = pulling(&client, "to.test/b");
    let written = place.get_manifest(&tag(&fallback_tag(image.manifest.digest()))).await.unwrap();
    let entry = serde_json::from_slice::<Value>(written.bytes()).unwrap()["manifests"][1].clone();
    assert_eq!(entry["artifactType"], "application/x.signature");
    assert_eq!(entry["annotations"]["nth"], "0");
}

#[tokio::test]
async fn two_children_with_one_subject_are_both_noted() {
    let (from, to) = (registry("from.test", true).await, registry("to.test", false).await);
    let subject = Image::of(&layers(1));
    let parts: Vec<Image> = (0..6).map(|nth| referring(&subject.manifest, nth)).collect();
    from.seed("a", "subject", &subject).await;
    for part in &parts {
        from.seed("a", part.manifest.digest().as_ref(), part).await;
    }
    let manifests: Vec<&Manifest> = parts.iter().map(|part| &part.manifest).collect();
    from.seed_manifest("a", "1", &Image::index(&manifests, &["a", "b", "c", "d", "e", "f"])).await;
    to.add(Toxic::new(lazyblob_remote::testing::Effect::Delay(std::time::Duration::from_millis(1))));
    let client = client(from.transport().with(&to));
    let access = Access::anonymous();

    copy(&client, ("from.test/a", "1"), ("to.test/b", "1"), &access).run().await.unwrap();

    assert_eq!(listed(&to, subject.manifest.digest()).await.len(), 6);
}

#[tokio::test]
async fn a_fallback_index_in_a_circle_ends() {
    let (from, to) = (registry("from.test", false).await, registry("to.test", false).await);
    let image = from.seed_image("a", "1", &layers(1)).await;
    let signature = referring(&image.manifest, 1);
    from.seed("a", signature.manifest.digest().as_ref(), &signature).await;
    let both = list(&[&signature.manifest, &image.manifest, &signature.manifest]);
    for subject in [&image.manifest, &signature.manifest] {
        from.seed_manifest("a", &fallback_tag(subject.digest()), &both).await;
    }
    let client = client(from.transport().with(&to));
    assert_eq!(run(&client).await.referrers, 1);
    assert_eq!(listed(&to, image.manifest.digest()).await, digests(&[&signature]));
}

#[tokio::test]
async fn cosign_s_tags_go_along() {
    let (from, to) = (registry("from.test", true).await, registry("to.test", true).await);
    let image = from.seed_image("a", "1", &layers(1)).await;
    let base = format!("sha256-{}", image.manifest.digest().digest());
    from.seed_image("a", &format!("{base}.sig"), &layers(2)).await;
    from.seed_image("a", &format!("{base}.att"), &layers(3)).await;
    let client = client(from.transport().with(&to));
    assert_eq!(run(&client).await.referrers, 2);
    for (kind, there) in [("sig", true), ("att", true), ("sbom", false)] {
        assert_eq!(tagged(&to, "b", &format!("{base}.{kind}")).await.is_some(), there, "{kind}");
    }

    to.reset();
    assert!(run(&client).await.unchanged);
    assert_eq!(to.requests(Kind::ManifestPut), 0);
}

#[tokio::test]
async fn the_same_copy_again_brings_nothing() {
    for api in [true, false] {
        let (from, to) = (registry("from.test", api).await, registry("to.test", api).await);
        seed_signed(&from, api).await;
        let client = client(from.transport().with(&to));
        let first = run(&client).await;
        assert_eq!((first.referrers, first.unchanged), (4, false));

        from.reset();
        to.reset();
        let again = run(&client).await;

        assert_eq!((again.referrers, again.manifests, again.unchanged), (0, 0, true));
        assert!(again.blobs.is_empty());
        // The name, three listed referrers and a tag of cosign's.
        assert_eq!((to.requests(Kind::ManifestHead), to.counter().total()), (5, 5), "{:?}", to.lines());
        // The root and, without an API, the two lists that there are.
        assert_eq!(from.requests(Kind::ManifestGet), if api { 1 } else { 3 }, "{:?}", from.lines());
        assert_eq!(from.requests(Kind::Referrers), if api { 4 } else { 0 });
        assert_eq!(from.requests(Kind::BlobGet) + from.requests(Kind::BlobHead), 0);
    }
}

#[tokio::test]
async fn what_one_referrer_lacks_is_brought_and_no_more() {
    let (from, to) = (registry("from.test", true).await, registry("to.test", true).await);
    let image = seed_signed(&from, true).await;
    let client = client(from.transport().with(&to));
    run(&client).await;
    let late = referring(&image.manifest, 50);
    from.seed("a", late.manifest.digest().as_ref(), &late).await;
    to.reset();

    let report = run(&client).await;

    assert_eq!((report.referrers, report.manifests, report.unchanged), (1, 1, false));
    assert_eq!(to.requests(Kind::ManifestPut), 1, "{:?}", to.lines());
    assert!(listed(&to, image.manifest.digest()).await.contains(late.manifest.digest()));
}

#[tokio::test]
async fn a_plan_says_what_referrers_would_come_along() {
    for api in [true, false] {
        let (from, to) = (registry("from.test", api).await, registry("to.test", api).await);
        let image = seed_signed(&from, api).await;
        let client = client(from.transport().with(&to));

        let plan = promotion(&client).plan().await.unwrap();

        for registry in [&from, &to] {
            let changes = |line: &&String| !line.starts_with("GET ") && !line.starts_with("HEAD ");
            assert_eq!(registry.lines().iter().find(changes), None);
            assert_eq!(registry.requests(Kind::BlobGet), 0);
        }
        assert_eq!((plan.referrers, plan.unchanged), (4, false));
        assert_eq!(plan.manifests.len(), 4 + 1);
        assert_eq!(plan.manifests.last().unwrap().digest(), image.manifest.digest());
        assert!(plan.blobs.iter().all(|(_, action)| *action == Action::Transfer));
        let report = run(&client).await;
        let (mut planned, mut done) = (plan.blobs.clone(), report.blobs.clone());
        for blobs in [&mut planned, &mut done] {
            blobs.sort_by(|a, b| a.0.digest().as_ref().cmp(b.0.digest().as_ref()));
        }
        // Each blob once, though all referrers share a config.
        assert_eq!(planned, done);
        assert_eq!(report.manifests, plan.manifests.len());

        let plan = promotion(&client).plan().await.unwrap();
        assert_eq!((plan.referrers, plan.unchanged, plan.bytes()), (0, true, 0));
        assert!(plan.manifests.is_empty() && plan.blobs.is_empty());
    }
}

#[tokio::test]
async fn within_one_repository_they_are_there_already() {
    let from = registry("from.test", true).await;
    let image = from.seed_image("a", "1", &layers(1)).await;
    let signature = referring(&image.manifest, 1);
    from.seed("a", signature.manifest.digest().as_ref(), &signature).await;
    let client = client(from.transport());
    let options = Options { referrers: true, ..Options::default() };
    let access = Access::anonymous();
    let job = copy(&client, ("from.test/a", "1"), ("from.test/a", "2"), &access).with_options(options);
    job.run().await.unwrap();
    assert_eq!(from.counter().total(), 3, "{:?}", from.lines());
}

#[tokio::test]
async fn a_tag_that_is_no_index_is_left_alone_and_said() {
    let to = registry("to.test", false).await;
    let image = Image::of(&layers(1));
    let signature = referring(&image.manifest, 1);
    to.seed("b", "x", &signature).await;
    let squatter = to.seed_image("b", &fallback_tag(image.manifest.digest()), &layers(2)).await;
    let notes = std::sync::Arc::new(Notes::default());
    let access = Access::anonymous().watched_by(std::sync::Arc::<Notes>::clone(&notes));
    let repository = name("to.test/b");
    let scopes = lazyblob_remote::Scopes::push(&repository);
    let place = client(to.transport()).repository(&repository, scopes, &access).unwrap();
    place.note_referrer(&signature.manifest).await.unwrap();
    assert!(notes.notes.lock().unwrap()[0].contains("is no index"), "{:?}", notes.notes);
    let left = tagged(&to, "b", &fallback_tag(image.manifest.digest())).await;
    assert_eq!(left, Some(squatter.manifest.digest().to_string()));
    assert_eq!(to.requests(Kind::ManifestPut), 0);
}

#[tokio::test]
async fn a_registry_that_answers_the_api_with_something_else_has_none() {
    for toxic in [Toxic::status(404), Toxic::status(400), Toxic::status(405), answer(200, &[], "<html>")] {
        let from = registry("from.test", true).await;
        let to = registry("to.test", true).await;
        let image = from.seed_image("a", "1", &layers(1)).await;
        let signature = referring(&image.manifest, 1);
        from.seed("a", signature.manifest.digest().as_ref(), &signature).await;
        from.seed_manifest("a", &fallback_tag(image.manifest.digest()), &list(&[&signature.manifest])).await;
        from.add(toxic.on(Kind::Referrers));
        assert_eq!(run(&client(from.transport().with(&to))).await.referrers, 1);
        assert_eq!(from.requests(Kind::Referrers), 1);
    }
}
