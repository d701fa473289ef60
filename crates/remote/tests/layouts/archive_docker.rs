//! What `docker save` writes and `docker load` reads.

use std::fs;
use std::path::Path;

use lazyblob_remote::archive::{DockerArchive, DockerArchiveTarget};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::{Error, Manifest, Mismatch, Provider, Source, Target, digest, media};
use serde_json::{Value, json};

use crate::support::{self, Memory, by, gzip, image, noise, put, small_image, tag, tar_with};

fn zstd(bytes: &[u8]) -> Vec<u8> {
    // A skippable frame, then two frames: what zstd:chunked and parallel compressors make.
    let half = bytes.len() / 2;
    let mut all = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    all.extend(zstd::encode_all(&bytes[..half], 3).unwrap());
    all.extend(zstd::encode_all(&bytes[half..], 3).unwrap());
    all
}

/// An image with a layer of each kind.
fn mixed_image(memory: &mut Memory) -> (Manifest, Vec<Vec<u8>>) {
    let plain: Vec<_> =
        (0..4).map(|n| tar_with(&format!("file{n}"), &noise(300_000 * n + 17, n as u64))).collect();
    let half = plain[1].len() / 2;
    let members = [gzip(&plain[1][..half]), gzip(&plain[1][half..])].concat();
    let image = image(
        memory,
        &[
            (media::OCI_LAYER, plain[0].clone(), &plain[0]),
            (media::OCI_LAYER_GZIP, members, &plain[1]),
            (media::OCI_LAYER_ZSTD, zstd(&plain[2]), &plain[2]),
            (media::DOCKER_LAYER_GZIP, gzip(&plain[3]), &plain[3]),
            // The same content as a blob of another form.
            (media::OCI_LAYER_GZIP, gzip(&plain[0]), &plain[0]),
        ],
    );
    (image, plain)
}

/// Names and contents of a tar file.
fn entries(file: &Path) -> Vec<(String, Vec<u8>)> {
    use std::io::Read as _;
    let mut archive = tar::Archive::new(fs::File::open(file).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    });
    entries.collect()
}

#[tokio::test]
async fn layers_of_every_form_become_plain_ones() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let mut memory = Memory::default();
    let (image, plain) = mixed_image(&mut memory);
    let target = DockerArchiveTarget::create(&file).await.unwrap();
    put(&memory, &image, &target, &tag("localhost:5000/app:1")).await.unwrap();
    target.put_manifest(&image, &tag("app")).await.unwrap();
    assert_eq!(target.resolve(&tag("app:latest")).await.unwrap().as_ref(), Some(image.digest()));
    assert!(!file.exists());
    target.finish().await.unwrap();

    let found = entries(&file);
    assert_eq!(found.len(), 4 + 1 + 1, "equal layers are in it once");
    for (entry, plain) in found.iter().zip(&plain) {
        assert_eq!(entry.0, format!("{}.tar", digest::sha256(plain).digest()));
        assert!(entry.1 == *plain);
    }
    let document: Value = serde_json::from_slice(&found[5].1).unwrap();
    assert_eq!(document[0]["RepoTags"], json!(["localhost:5000/app:1", "app:latest"]));
    assert_eq!(document[0]["Layers"].as_array().unwrap().len(), 5);

    let archive = DockerArchive::open(&file).await.unwrap();
    let read = archive.manifest(&tag("app")).await.unwrap();
    assert_eq!(read.config().unwrap().digest(), image.config().unwrap().digest());
    for (layer, plain) in read.layers().iter().zip(&plain) {
        assert_eq!(layer.media_type().as_ref(), media::OCI_LAYER);
        assert!(support::read(archive.blobs(), layer).await.unwrap() == *plain);
    }
    let again = DockerArchive::open(&file).await.unwrap();
    assert_eq!(again.manifest(&Name::Only).await.unwrap().bytes(), read.bytes(), "made the same each time");
    assert_eq!(again.resolve(&by(read.digest())).await.unwrap(), *read.digest());
    support::read(again.blobs(), &read.layers()[1]).await.unwrap();
    let error = archive.manifest(&tag("other:1")).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("app:latest"), "{error}");
}

#[tokio::test]
async fn a_layer_that_is_not_the_configs_is_an_integrity_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let mut memory = Memory::default();
    let layer = tar_with("file", b"this");
    let image = image(&mut memory, &[(media::OCI_LAYER_GZIP, gzip(&layer), b"that")]);
    let target = DockerArchiveTarget::create(&file).await.unwrap();
    let error = put(&memory, &image, &target, &tag("app:1")).await.unwrap_err();
    let Error::Integrity { mismatch: Mismatch::DiffId { expected, actual }, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*expected, digest::sha256(b"that").to_string());
    assert_eq!(*actual, digest::sha256(&layer).to_string());
    assert!(target.finish().await.is_err());
    drop(target);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_broken_layer_leaves_room_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let target = DockerArchiveTarget::create(&file).await.unwrap();

    let whole = gzip(&noise(900_000, 3));
    let cut = memory.add(media::OCI_LAYER_GZIP, whole[..whole.len() - 20].to_vec());
    let mut wrong = whole.clone();
    wrong[500_000] ^= 0xff;
    let wrong = memory.add(media::OCI_LAYER_GZIP, wrong);
    let compressed = zstd(&noise(900_000, 4));
    let short = memory.add(media::OCI_LAYER_ZSTD, compressed[..compressed.len() - 5].to_vec());
    for blob in [&cut, &wrong, &short] {
        let error = target.put_blob(&memory.blob(blob), None).await.unwrap_err();
        assert!(
            matches!(&error, Error::Invalid { reason, .. } if reason.contains("decompressed")),
            "{error:?}"
        );
        assert!(!target.has_blob(blob).await.unwrap());
    }
    let mut bad = memory.clone();
    bad.corrupt(&image.layers()[1], noise(usize::try_from(image.layers()[1].size()).unwrap(), 5));
    let error = target.put_blob(&bad.blob(&image.layers()[1]), None).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error:?}");

    put(&memory, &image, &target, &Name::Only).await.unwrap();
    target.finish().await.unwrap();
    assert_eq!(entries(&file).len(), 4);
    let archive = DockerArchive::open(&file).await.unwrap();
    let read = archive.manifest(&Name::Only).await.unwrap();
    for layer in read.layers() {
        support::read(archive.blobs(), layer).await.unwrap();
    }
}

#[tokio::test]
async fn layers_put_at_once_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let mut memory = Memory::default();
    let (image, plain) = mixed_image(&mut memory);
    let target = DockerArchiveTarget::create(&file).await.unwrap();
    let blobs: Vec<_> = image.child_blobs().into_iter().map(|blob| memory.blob(blob)).collect();
    for done in futures::future::join_all(blobs.iter().map(|blob| target.put_blob(blob, None))).await {
        done.unwrap();
    }
    target.put_manifest(&image, &Name::Only).await.unwrap();
    target.finish().await.unwrap();
    let archive = DockerArchive::open(&file).await.unwrap();
    let read = archive.manifest(&Name::Only).await.unwrap();
    for (layer, plain) in read.layers().iter().zip(&plain) {
        assert!(support::read(archive.blobs(), layer).await.unwrap() == *plain);
    }
}

#[tokio::test]
async fn what_is_no_image_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let target = DockerArchiveTarget::create(dir.path().join("a.tar")).await.unwrap();
    let fixture = Layout::open(crate::buildkit::fixture()).await.unwrap();
    let index = support::manifest(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [image.descriptor()],
    }));
    let empty = memory.add(media::OCI_EMPTY, "{}");
    let artifact = support::manifest(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "x/y", "config": empty, "layers": [empty],
    }));
    let cache = fixture.manifest(&tag("cache-min-true")).await.unwrap();
    let cache_index = fixture.manifest(&tag("cache-min-false")).await.unwrap();
    for (manifest, said) in
        [(&index, "--platform"), (&artifact, "images only"), (&cache, "cache"), (&cache_index, "cache")]
    {
        let error = target.put_manifest(manifest, &tag("app:1")).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains(said), "{error}");
        assert!(target.accepts(manifest).is_err());
    }
    let error = put(&memory, &image, &target, &by(image.digest())).await.unwrap_err();
    assert!(error.to_string().contains("--platform"), "{error}");
    let foreign = memory.add("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "x");
    let error = target.put_blob(&memory.blob(&foreign), None).await.unwrap_err();
    assert!(error.to_string().contains("distributed"), "{error}");
    for bad in [
        "App:1",
        "app:",
        "a b",
        "app@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    ] {
        assert!(matches!(target.put_manifest(&image, &tag(bad)).await, Err(Error::Invalid { .. })), "{bad}");
    }
    let fresh = DockerArchiveTarget::create(dir.path().join("b.tar")).await.unwrap();
    let error = fresh.put_manifest(&image, &tag("app:1")).await.unwrap_err();
    assert!(error.to_string().contains("was not put before"), "{error}");
    drop((target, fresh));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// An archive as docker wrote it for years: a directory per layer, equal layers as links.
fn old_form(plain: &[u8], packed: &[u8], config: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut file = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    file("aaa/layer.tar", plain);
    file("aaa/VERSION", b"1.0");
    file("bbb/layer.tar", packed);
    file("config.json", config.as_bytes());
    let document = json!([{
        "Config": "config.json", "RepoTags": ["app:1", "app:old"],
        "Layers": ["aaa/layer.tar", "bbb/layer.tar", "ccc/layer.tar"],
    }, {"Config": "config.json", "RepoTags": null, "Layers": ["aaa/layer.tar", "bbb/layer.tar", "ccc/layer.tar"]}]);
    file("manifest.json", document.to_string().as_bytes());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "ccc/layer.tar", "../aaa/layer.tar").unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn the_old_form_with_links_and_gzip_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let (one, two) = (tar_with("one", b"1"), tar_with("two", &noise(5000, 1)));
    let packed = gzip(&two);
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [
        digest::sha256(&one), digest::sha256(&two), digest::sha256(&one),
    ]}})
    .to_string();
    fs::write(&file, old_form(&one, &packed, &config)).unwrap();
    let archive = DockerArchive::open(&file).await.unwrap();
    assert_eq!(archive.tags(), ["app:1", "app:old"]);
    let image = archive.manifest(&tag("docker.io/library/app:1")).await.unwrap();
    let kinds: Vec<_> = image.layers().iter().map(|layer| layer.media_type().as_ref()).collect();
    assert_eq!(kinds, [media::OCI_LAYER, media::OCI_LAYER_GZIP, media::OCI_LAYER]);
    assert_eq!(*image.layers()[1].digest(), digest::sha256(&packed));
    assert!(support::read(archive.blobs(), &image.layers()[2]).await.unwrap() == one);
    assert!(support::read(archive.blobs(), image.config().unwrap()).await.unwrap() == config);
    assert!(matches!(archive.manifest(&Name::Only).await, Err(Error::Invalid { .. })));

    // A plain layer that is not what its config says is found out when it is read.
    let other = tar_with("one", b"2");
    fs::write(&file, old_form(&other, &packed, &config)).unwrap();
    let archive = DockerArchive::open(&file).await.unwrap();
    let image = archive.manifest(&tag("app:1")).await.unwrap();
    let error = support::read(archive.blobs(), &image.layers()[0]).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error:?}");
    assert!(archive.open(&support::descriptor("x/y", b"no"), 0..1).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn archives_that_contradict_themselves_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let layer = tar_with("one", b"1");
    let rootfs = |count: usize| {
        let ids = vec![digest::sha256(&layer).to_string(); count];
        json!({"rootfs": {"type": "layers", "diff_ids": ids}}).to_string()
    };
    for (config, said) in [
        (rootfs(2), "2 diffIDs for 3 layers"),
        ("{}".to_owned(), "not an image config"),
        ("{".to_owned(), "not an image config"),
    ] {
        fs::write(&file, old_form(&layer, &layer, &config)).unwrap();
        let error = DockerArchive::open(&file).await.unwrap().manifest(&tag("app:1")).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains(said), "{error}");
    }
    let good = old_form(&layer, &layer, &rootfs(3));
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(matches!(DockerArchive::open(&file).await, Err(Error::Invalid { .. })));
    let climbing = String::from_utf8_lossy(&good).replace("../aaa/layer.tar", "../../a/layertar");
    fs::write(&file, climbing.as_bytes()).unwrap();
    assert!(DockerArchive::open(&file).await.is_err());
    fs::write(&file, tar_with("oci-layout", b"{}")).unwrap();
    let error = DockerArchive::open(&file).await.unwrap_err();
    assert!(error.to_string().contains("no file manifest.json"), "{error}");
    fs::write(&file, tar_with("manifest.json", br#"[{"Config":"../../etc/passwd","Layers":[]}]"#)).unwrap();
    let error = DockerArchive::open(&file).await.unwrap().manifest(&Name::Only).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}
