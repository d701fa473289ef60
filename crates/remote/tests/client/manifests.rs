//! Manifests: the bytes are the truth, and what is not a manifest is refused by name.

use bytes::Bytes;
use lazyblob_remote::copy::{Action, Options};
use lazyblob_remote::digest::sha256;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Effect, Image, TestRegistry, Toxic};
use lazyblob_remote::{Access, Error, Manifest, Mismatch, media};
use serde_json::{Value, json};

use crate::support::{
    answer, bytes, client, copy, entry, index_of, layers, lines, parsed, promote as run, pulling, pushing,
    tag, tagged,
};

const HOST: &str = "registry.test";

async fn get(registry: &TestRegistry, name: &Name) -> Result<Manifest, Error> {
    pulling(&client(registry.transport()), "registry.test/a").get_manifest(name).await
}

#[tokio::test]
async fn every_byte_survives() {
    let registry = TestRegistry::in_memory(HOST).await;
    let blob = registry.seed_blob("a", Bytes::from_static(b"{}")).await;
    let text = format!(
        "{{ \"schemaVersion\" : 2,\n\t\"mediaType\":\"{}\",  \"artifactType\":\"application/x.unknown+thing\",\
         \"x-unknown\":{{\"b\":1.50,\"a\":[ ]}},\
         \"config\":{{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"{d}\",\"size\":2,\"data\":\"e30=\"}},\
         \"layers\":[{{\"size\":2,\"digest\":\"{d}\",\"mediaType\":\"text/x-odd; v=1\",\"y\":null}}] }}\n\n",
        media::OCI_MANIFEST,
        d = blob.digest()
    );
    let manifest = Manifest::parse(Bytes::from(text.clone()), None, None, "test").unwrap();
    registry.seed_manifest("a", "1", &manifest).await;

    let report = run(&registry, Options::default()).await.unwrap();

    assert_eq!(report.root, sha256(text.as_bytes()));
    let client = client(registry.transport());
    let arrived = pulling(&client, "registry.test/b").get_manifest(&tag("1")).await.unwrap();
    assert_eq!(arrived.bytes(), text.as_bytes());
    assert_eq!(arrived.artifact_type(), Some("application/x.unknown+thing"));
    // Config and layer are one blob, which is mounted once and looked into never.
    assert_eq!((registry.requests(Kind::Mount), registry.requests(Kind::BlobGet)), (1, 0));
}

#[tokio::test]
async fn a_digest_that_is_not_named_is_computed() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &layers(1)).await;
    registry.add(Toxic::no_content_digest());
    assert_eq!(get(&registry, &tag("1")).await.unwrap().digest(), image.manifest.digest());
    let place = pulling(&client(registry.transport()), "registry.test/a");
    registry.reset();
    assert_eq!(place.head_manifest(&tag("1")).await.unwrap(), *image.manifest.digest());
    assert_eq!((registry.requests(Kind::ManifestHead), registry.requests(Kind::ManifestGet)), (1, 1));
    // One that was asked for by digest is known.
    registry.reset();
    let by_digest = Name::Digest(image.manifest.digest().clone());
    assert_eq!(place.head_manifest(&by_digest).await.unwrap(), *image.manifest.digest());
    assert_eq!(registry.counter().total(), 1);
}

#[tokio::test]
async fn where_there_is_no_head_a_get_does() {
    let registry = TestRegistry::in_memory(HOST).await;
    registry.seed_image("a", "1", &layers(1)).await;
    registry.add(Toxic::status(405).on(Kind::ManifestHead));
    run(&registry, Options::default()).await.unwrap();
    registry.reset();
    assert!(run(&registry, Options::default()).await.unwrap().unchanged);
    assert_eq!(registry.requests(Kind::ManifestPut), 0);
}

#[tokio::test]
async fn schema_1_is_refused_by_name() {
    let registry = TestRegistry::in_memory(HOST).await;
    for (kind, body) in [
        (media::DOCKER_SCHEMA1_SIGNED, r#"{"schemaVersion":1,"name":"a","fsLayers":[]}"#),
        (media::DOCKER_SCHEMA1, r#"{"schemaVersion":1}"#),
        ("application/json", r#"{"schemaVersion":1,"fsLayers":[]}"#),
    ] {
        registry.behave();
        registry.reset();
        registry.add(answer(200, &[("content-type", kind)], body).on(Kind::ManifestGet));
        let error = run(&registry, Options::default()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("schema 1") && error.to_string().contains("registry.test/a:1"));
        assert_eq!(registry.counter().total(), 1);
    }
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let registry = TestRegistry::in_memory(HOST).await;
    let own = |kind: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[]}}"#);
    // What some would read as an image, and others as an index.
    let two = |one: &str, other: &str| {
        let child = format!(r#"{{"mediaType":"x","digest":"sha256:{}","size":1}}"#, "0".repeat(64));
        let field = |name: &str| match name {
            "config" => format!(r#""config":{child}"#),
            list => format!(r#""{list}":[{child}]"#),
        };
        format!("{{{},{}}}", field(one), field(other))
    };
    for (kind, body, said) in [
        (media::OCI_MANIFEST, own(media::OCI_INDEX), "delivered as"),
        (media::DOCKER_LIST, own(media::OCI_INDEX), "delivered as"),
        (media::OCI_MANIFEST, r#"{"schemaVersion":2}"#.to_owned(), "no config"),
        ("text/html", "<html>".to_owned(), "not a manifest"),
        ("application/json", "[]".to_owned(), "not a manifest"),
        ("application/json", "{}".to_owned(), "no mediaType"),
        (
            media::OCI_INDEX,
            r#"{"manifests":[{"mediaType":"x","digest":"sha256:ab","size":1}]}"#.to_owned(),
            "not a manifest",
        ),
        (media::OCI_INDEX, r#"{"manifests":[{"mediaType":"x","size":-1}]}"#.to_owned(), "not a manifest"),
        (media::OCI_INDEX, own("text/plain"), "delivered as"),
        (media::OCI_MANIFEST, two("manifests", "config"), "an index's `manifests`"),
        (media::OCI_INDEX, two("config", "manifests"), "a manifest's `config`"),
        (media::OCI_INDEX, two("layers", "manifests"), "a manifest's `config` or `layers`"),
        ("application/json", own("text/plain"), "text/plain is not a manifest"),
    ] {
        registry.behave();
        registry.reset();
        registry.add(answer(200, &[("content-type", kind)], body.clone()).on(Kind::ManifestGet));
        let error = get(&registry, &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{body}: {error}");
        assert!(error.to_string().contains(said), "{body}: {error}");
        assert_eq!(registry.counter().total(), 1);
    }
}

#[tokio::test]
async fn parameters_of_a_type_do_not_matter() {
    let registry = TestRegistry::in_memory(HOST).await;
    let kind = format!("{}; charset=utf-8", media::OCI_INDEX);
    registry.add(answer(200, &[("content-type", &kind)], r#"{"manifests":[]}"#).on(Kind::ManifestGet));
    assert!(get(&registry, &tag("1")).await.unwrap().is_index());
}

fn of_size(size: usize) -> Bytes {
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]"#, media::OCI_INDEX);
    Bytes::from(format!("{text}{}}}", " ".repeat(size - text.len() - 1)))
}

#[tokio::test]
async fn four_mebibytes_pass_and_eight_do_not() {
    const MIB: usize = 1 << 20;
    let registry = TestRegistry::in_memory(HOST).await;
    let length = (8 * MIB).to_string();
    for (size, length, taken) in [
        (4 * MIB, None, true),
        (8 * MIB - 1, None, true),
        (8 * MIB, Some(length.as_str()), false),
        (8 * MIB, None, false),
    ] {
        registry.behave();
        registry.reset();
        let mut headers = vec![("content-type", media::OCI_INDEX)];
        headers.extend(length.map(|length| ("content-length", length)));
        registry.add(answer(200, &headers, of_size(size)).on(Kind::ManifestGet));
        match get(&registry, &tag("1")).await {
            Ok(manifest) => assert!(taken && manifest.bytes().len() == size),
            Err(error) => assert!(!taken && matches!(error, Error::Refused { .. }), "{error}"),
        }
        assert_eq!(registry.counter().total(), 1);
    }
}

#[tokio::test]
async fn wrong_bytes_are_not_taken() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &layers(1)).await;
    let by_digest = Name::Digest(image.manifest.digest().clone());
    // Without the header the digest asked for decides.
    registry.add(Toxic::no_content_digest());
    registry.add(Toxic::new(Effect::Corrupt(40)));
    let error = get(&registry, &by_digest).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error}");
    // By tag, the header.
    registry.behave();
    registry.add(Toxic::new(Effect::Corrupt(40)));
    let error = get(&registry, &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error}");
}

#[tokio::test]
async fn a_host_that_names_another_digest_of_what_it_stored_is_an_error() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "1", &layers(1)).await;
    let place = pushing(&client(registry.transport()), "registry.test/a");
    let sha512 = {
        let mut hasher =
            lazyblob_remote::digest::Hasher::new(&oci_spec::image::DigestAlgorithm::Sha512).unwrap();
        hasher.update(image.manifest.bytes());
        hasher.finish()
    };
    let other = sha256(b"other").to_string();
    for (named, right) in [(sha512.as_str(), true), ("", true), ("odd", true), (other.as_str(), false)] {
        registry.behave();
        registry.add(answer(201, &[("docker-content-digest", named)], "").on(Kind::ManifestPut));
        let outcome = place.put_manifest(&image.manifest, &tag("2")).await;
        assert_eq!(outcome.is_ok(), right, "{named}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_child_of_another_size_is_not_taken() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "child", &layers(1)).await;
    let mut child = entry(&image.manifest, "linux/amd64");
    child["size"] = json!(image.manifest.bytes().len() + 1);
    registry.seed_manifest("a", "1", &index_of(&[child])).await;
    let error = run(&registry, Options::default()).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Size { .. }, .. }), "{error}");
    assert_eq!(tagged(&registry, "b", "1").await, None);
}

#[tokio::test]
async fn an_index_may_be_nested_but_not_absurdly() {
    for (depth, fits) in [(7, true), (12, false)] {
        let registry = TestRegistry::in_memory(HOST).await;
        let image = Image::of(&layers(1));
        registry.seed("a", "leaf", &image).await;
        let mut top = image.manifest;
        for level in 0..depth {
            top = index_of(&[entry(&top, "linux/amd64")]);
            registry.seed_manifest("a", &format!("level{level}"), &top).await;
        }
        registry.seed_manifest("a", "1", &top).await;
        let outcome = run(&registry, Options::default()).await;
        if fits {
            outcome.unwrap();
            continue;
        }
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, Error::Refused { .. }) && error.to_string().contains("nested deeper"),
            "{error}"
        );
        assert!(registry.requests(Kind::ManifestGet) <= 10);
        assert_eq!(registry.requests(Kind::ManifestPut) + registry.requests(Kind::Mount), 0);
    }
}

#[tokio::test]
async fn an_index_of_too_many_or_too_long_manifests_is_refused_before_they_are_read() {
    let child = |nth: usize, size: u64| json!({"mediaType": media::OCI_MANIFEST, "digest": sha256(&nth.to_le_bytes()), "size": size});
    for (count, size, said) in [
        (10_001, 500, "more than 10000 manifests"),
        (20, 7 << 20, "longer than"),
        (2, u64::MAX >> 1, "longer than"),
    ] {
        let registry = TestRegistry::in_memory(HOST).await;
        let entries: Vec<Value> = (0..count).map(|nth| child(nth, size)).collect();
        registry.seed_manifest("a", "1", &index_of(&entries)).await;
        let error = run(&registry, Options::default()).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains(said), "{error}");
        assert_eq!(registry.requests(Kind::ManifestGet), 1);
        assert_eq!(registry.requests(Kind::ManifestPut), 0);
    }
}

#[tokio::test]
async fn a_child_that_is_missing_leaves_the_target_as_it_was() {
    let registry = TestRegistry::in_memory(HOST).await;
    let (there, missing) = (registry.seed_image("a", "x", &layers(2)).await, Image::of(&layers(3)));
    let index = Image::index(&[&there.manifest, &missing.manifest], &["amd64", "arm64"]);
    registry.seed_manifest("a", "1", &index).await;
    let error = run(&registry, Options::default()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains(missing.manifest.digest().as_ref()), "{error}");
    assert_eq!(registry.requests(Kind::Mount) + registry.requests(Kind::ManifestPut), 0);
    assert_eq!(tagged(&registry, "b", "1").await, None);
}

#[tokio::test]
async fn children_named_twice_are_read_and_put_once() {
    let registry = TestRegistry::in_memory(HOST).await;
    let image = registry.seed_image("a", "x", &layers(2)).await;
    let child = entry(&image.manifest, "linux/amd64");
    let inner = index_of(std::slice::from_ref(&child));
    registry.seed_manifest("a", "inner", &inner).await;
    let again = entry(&inner, "linux/arm64");
    registry.seed_manifest("a", "1", &index_of(&[child.clone(), again.clone(), child, again])).await;
    run(&registry, Options::default()).await.unwrap();
    assert_eq!(registry.requests(Kind::ManifestGet), 1 + 2);
    assert_eq!(registry.requests(Kind::ManifestPut), 2 + 1);
    assert_eq!(registry.requests(Kind::Mount), 3);
    let puts = lines(&registry, "PUT ");
    assert!(puts[2].contains("/v2/b/manifests/1 "), "the name comes last: {puts:?}");
}

#[tokio::test]
async fn foreign_layers_stay_where_they_are() {
    let registry = TestRegistry::in_memory(HOST).await;
    let config = registry.seed_blob("a", Bytes::from_static(b"{\"os\":\"windows\"}")).await;
    let foreign = json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": sha256(b"elsewhere"), "size": 9, "urls": ["https://elsewhere.test/layer"],
    });
    let manifest = parsed(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": media::OCI_CONFIG, "digest": config.digest(), "size": config.size()},
        "layers": [foreign],
    }));
    registry.seed_manifest("a", "1", &manifest).await;
    // The registry of the tests demands every child; one that does not is what such images live on.
    registry.add(answer(201, &[], "").on(Kind::ManifestPut));
    let report = run(&registry, Options::default()).await.unwrap();
    let actions: Vec<_> = report.blobs.iter().map(|(_, action)| *action).collect();
    assert_eq!(actions, [Action::Mount, Action::Foreign]);
    assert!(lines(&registry, sha256(b"elsewhere").digest()).is_empty());
}

#[tokio::test]
async fn an_artifact_with_an_empty_config_goes_to_another_registry() {
    let (from, to) = (TestRegistry::in_memory(HOST).await, TestRegistry::in_memory("to.test").await);
    let (config, layer) =
        (from.seed_blob("a", Bytes::from_static(b"{}")).await, from.seed_blob("a", bytes(1000)).await);
    let manifest = parsed(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "application/x.model",
        "config": {"mediaType": media::OCI_EMPTY, "digest": config.digest(), "size": 2, "data": "e30="},
        "layers": [{"mediaType": "application/x.weights", "digest": layer.digest(), "size": 1000}],
    }));
    from.seed_manifest("a", "1", &manifest).await;
    let client = client(from.transport().with(&to));
    let job = copy(&client, ("registry.test/a", "1"), ("to.test/b", "1"), &Access::anonymous());
    assert_eq!(job.run().await.unwrap().root, *manifest.digest());
    assert_eq!(tagged(&to, "b", "1").await, Some(manifest.digest().to_string()));
}
