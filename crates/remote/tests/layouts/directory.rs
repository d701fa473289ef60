//! Layout directories written and read again.

use std::fs;

use bytes::Bytes;
use futures::StreamExt as _;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::{Layout, REF_NAME, blob_path};
use lazyblob_remote::{Error, Mismatch, Provider, Source, Target, media};
use serde_json::{Value, json};

use crate::support::{self, Memory, by, put, small_image, tag};

fn index_of(layout: &Layout) -> Value {
    serde_json::from_slice(&fs::read(layout.root().join("index.json")).unwrap()).unwrap()
}

async fn written(dir: &std::path::Path) -> (Memory, lazyblob_remote::Manifest, Layout) {
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let layout = Layout::create_or_open(dir.join("layout")).await.unwrap();
    put(&memory, &image, &layout, &tag("1")).await.unwrap();
    layout.finish().await.unwrap();
    (memory, image, layout)
}

#[tokio::test]
async fn what_was_written_is_read_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, image, _) = written(dir.path()).await;
    let layout = Layout::open(dir.path().join("layout")).await.unwrap();
    for name in [tag("1"), by(image.digest()), Name::Only] {
        let read = Source::manifest(&layout, &name).await.unwrap();
        assert_eq!(read.bytes(), image.bytes());
        assert_eq!(Source::resolve(&layout, &name).await.unwrap(), *image.digest());
        assert_eq!(Target::resolve(&layout, &name).await.unwrap().as_ref(), Some(image.digest()));
    }
    for child in image.child_blobs() {
        let there = support::read(layout.blobs(), child).await.unwrap();
        assert_eq!(there, support::read(std::sync::Arc::new(memory.clone()), child).await.unwrap());
    }
    let error = Source::manifest(&layout, &tag("2")).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("its tags are 1"), "{error}");
    let mut left: Vec<_> =
        fs::read_dir(layout.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["blobs", "index.json", "oci-layout"], "no ingest directory stays");
}

#[tokio::test]
async fn ranges_bring_just_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, image, layout) = written(dir.path()).await;
    let layer = &image.layers()[1];
    let whole = support::read_range(&memory, layer, 0..layer.size()).await.unwrap();
    for range in [0..1, 5..600_001, layer.size() - 1..layer.size(), 7..u64::MAX, 3..3] {
        let part = support::read_range(&layout, layer, range.clone()).await.unwrap();
        let end = range.end.min(layer.size());
        assert_eq!(part, whole[usize::try_from(range.start).unwrap()..usize::try_from(end).unwrap()]);
    }
    // One chunk is bounded, whatever the blob's size.
    let mut stream = layout.open(layer, 0..layer.size()).await.unwrap().into_stream();
    assert_eq!(stream.next().await.unwrap().unwrap().len(), 512 * 1024);
}

#[tokio::test]
async fn a_tag_is_replaced_in_its_place_and_unknown_fields_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, first, layout) = written(dir.path()).await;
    let second = small_image(&mut memory, 9);
    let mut index = index_of(&layout);
    index["futureField"] = json!({"z": 1, "a": [null, 1.5]});
    let other =
        json!({"mediaType": "x/y", "digest": "blake9:abc", "size": 3, "annotations": {"k": "v"}, "q": 1});
    let entries = index["manifests"].as_array_mut().unwrap();
    let mut duplicate = entries[0].clone();
    duplicate["digest"] = json!(second.digest());
    entries.push(other.clone());
    entries.push(duplicate);
    fs::write(layout.root().join("index.json"), index.to_string()).unwrap();

    // Of two entries with the tag the first counts.
    assert_eq!(Source::resolve(&layout, &tag("1")).await.unwrap(), *first.digest());
    // The same again changes nothing.
    layout.put_manifest(&first, &tag("1")).await.unwrap();
    assert_eq!(index_of(&layout), index);

    put(&memory, &second, &layout, &tag("1")).await.unwrap();
    let after = index_of(&layout);
    assert_eq!(after["futureField"], index["futureField"]);
    let entries = after["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{after}");
    assert_eq!(entries[0]["digest"], json!(second.digest()));
    assert_eq!(entries[0]["annotations"], json!({ REF_NAME: "1" }));
    assert_eq!(entries[1], other);
    let keys: Vec<_> = after.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["schemaVersion", "mediaType", "manifests", "futureField"]);
}

#[tokio::test]
async fn writers_at_the_same_time_lose_no_tag() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = Memory::default();
    let images: Vec<_> = (0..8).map(|seed| small_image(&mut memory, 100 * seed)).collect();
    // Every writer opens the layout for itself, as a process does.
    let writers = images.iter().enumerate().map(|(number, image)| {
        let (memory, root) = (memory.clone(), dir.path().join("layout"));
        async move {
            let layout = Layout::create_or_open(root).await.unwrap();
            for round in 0..4 {
                put(&memory, image, &layout, &tag(&format!("{number}-{round}"))).await.unwrap();
            }
            layout.finish().await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    let layout = Layout::open(dir.path().join("layout")).await.unwrap();
    assert_eq!(layout.roots().await.unwrap().len(), 32);
    for (number, image) in images.iter().enumerate() {
        let found = Source::manifest(&layout, &tag(&format!("{number}-3"))).await.unwrap();
        assert_eq!(found.digest(), image.digest());
    }
    assert!(!layout.ingests().dir().exists());
}

#[tokio::test]
async fn nothing_is_visible_of_what_was_not_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, _, layout) = written(dir.path()).await;
    let blob = memory.add(media::OCI_LAYER, support::noise(5000, 77));
    let path = blob_path(layout.root(), blob.digest()).unwrap();
    let unfinished = || fs::read_dir(layout.ingests().dir()).unwrap().count();

    let mut dropped = support::begin(&layout, &blob).await;
    dropped.write(Bytes::from_static(b"some")).await.unwrap();
    assert_eq!(unfinished(), 1);
    drop(dropped);
    assert_eq!(unfinished(), 0, "nobody could go on with what was never saved");

    let mut long = support::begin(&layout, &blob).await;
    let error = long.write(vec![0; 5001].into()).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Size { .. }, .. }), "{error}");
    drop(long);
    assert_eq!(unfinished(), 0);

    memory.corrupt(&blob, vec![0; 5000]);
    let error = layout.put_blob(&memory.blob(&blob), None).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error}");
    assert!(!path.exists());
    assert!(!layout.has_blob(&blob).await.unwrap());
    layout.finish().await.unwrap();
    assert!(!layout.ingests().dir().exists());
}

#[tokio::test]
async fn what_a_killed_writer_of_an_earlier_version_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, _, layout) = written(dir.path()).await;
    let orphan = layout.ingests().dir().join("blob-0123456789.partial");
    fs::create_dir_all(layout.ingests().dir()).unwrap();
    fs::write(&orphan, "half").unwrap();
    let blob = support::descriptor(media::OCI_LAYER, b"new");
    let living = support::begin(&layout, &blob).await;
    Layout::create_or_open(layout.root()).await.unwrap();
    assert!(!orphan.exists());
    assert_eq!(fs::read_dir(layout.ingests().dir()).unwrap().count(), 1, "the living writer's files stay");
    drop((living, memory));
}

#[tokio::test]
async fn a_target_is_whole_only_with_all_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, image, layout) = written(dir.path()).await;
    let path = blob_path(layout.root(), image.layers()[0].digest()).unwrap();
    fs::write(&path, "truncated").unwrap();
    assert_eq!(Target::resolve(&layout, &tag("1")).await.unwrap(), None);
    assert_eq!(Source::resolve(&layout, &tag("1")).await.unwrap(), *image.digest(), "sparse is legal");
    put(&memory, &image, &layout, &tag("1")).await.unwrap();
    assert_eq!(Target::resolve(&layout, &tag("1")).await.unwrap().as_ref(), Some(image.digest()));
    assert_eq!(Target::resolve(&layout, &tag("other")).await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_created_before_something_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create_or_open(dir.path().join("new")).await.unwrap();
    assert_eq!(Target::resolve(&layout, &tag("1")).await.unwrap(), None);
    let blob = support::descriptor(media::OCI_LAYER, b"none");
    assert!(layout.put_blob(&Memory::default().blob(&blob), None).await.is_err());
    layout.finish().await.unwrap();
    assert!(!blob_path(layout.root(), blob.digest()).unwrap().exists());
}

#[tokio::test]
async fn images_without_a_tag_are_found_if_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create_or_open(dir.path()).await.unwrap();
    let mut memory = Memory::default();
    let (one, two) = (small_image(&mut memory, 1), small_image(&mut memory, 50));
    put(&memory, &one, &layout, &Name::Only).await.unwrap();
    put(&memory, &one, &layout, &Name::Only).await.unwrap();
    assert_eq!(layout.roots().await.unwrap().len(), 1);
    // A child of an index gets no entry.
    put(&memory, &two, &layout, &by(two.digest())).await.unwrap();
    assert_eq!(layout.roots().await.unwrap().len(), 1);
    assert_eq!(Source::resolve(&layout, &Name::Only).await.unwrap(), *one.digest());

    put(&memory, &two, &layout, &tag("two")).await.unwrap();
    let error = Source::manifest(&layout, &Name::Only).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }) && error.to_string().contains("two"), "{error}");
    assert_eq!(Target::resolve(&layout, &Name::Only).await.unwrap(), None);
    layout.untag("two").await.unwrap();
    assert_eq!(Source::resolve(&layout, &Name::Only).await.unwrap(), *one.digest());
}

#[tokio::test]
async fn referrers_are_found_by_subject_and_by_fallback_tag() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, image, layout) = written(dir.path()).await;
    let empty = memory.add(media::OCI_EMPTY, "{}");
    let artifact = |kind: &str| {
        support::manifest(&json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": kind,
            "config": empty, "layers": [empty], "subject": image.descriptor(), "annotations": {"by": "test"},
        }))
    };
    let (signature, attestation) = (artifact("x/signature"), artifact("x/attestation"));
    put(&memory, &signature, &layout, &by(signature.digest())).await.unwrap();
    put(&memory, &attestation, &layout, &by(attestation.digest())).await.unwrap();
    let found = layout.referrers(image.digest()).await.unwrap();
    let kinds: Vec<_> = found.iter().map(|one| one.artifact_type().as_ref().unwrap().to_string()).collect();
    assert_eq!(kinds, ["x/signature", "x/attestation"]);
    assert_eq!(found[0].annotations().as_ref().unwrap()["by"], "test");
    assert!(layout.referrers(signature.digest()).await.unwrap().is_empty());
    // They do not make the image ambiguous.
    assert_eq!(Source::resolve(&layout, &Name::Only).await.unwrap(), *image.digest());

    // A fallback tag names them as well; each is listed once.
    let list = support::manifest(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [signature.descriptor()],
    }));
    let fallback = image.digest().to_string().replace(':', "-");
    layout.put_manifest(&list, &tag(&fallback)).await.unwrap();
    assert_eq!(layout.referrers(image.digest()).await.unwrap().len(), 2);
    assert_eq!(Source::resolve(&layout, &Name::Only).await.unwrap(), *image.digest());
}
