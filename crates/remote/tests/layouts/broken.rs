//! Layouts that are broken, or that try to lead elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::{Layout, blob_path};
use lazyblob_remote::{Error, Manifest, Mismatch, Provider, Source, Target};

use crate::support::{self, Memory, by, put, small_image, tag};

async fn layout(dir: &Path) -> (Manifest, Layout) {
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let layout = Layout::create_or_open(dir.join("layout")).await.unwrap();
    put(&memory, &image, &layout, &tag("1")).await.unwrap();
    (image, layout)
}

#[tokio::test]
async fn a_directory_without_a_valid_marker_is_no_layout() {
    let dir = tempfile::tempdir().unwrap();
    let (_, layout) = layout(dir.path()).await;
    let marker = layout.root().join("oci-layout");
    for (content, said) in [
        ("{}", "no imageLayoutVersion"),
        ("{", "broken"),
        ("[]", "no imageLayoutVersion"),
        (r#"{"imageLayoutVersion":"2.0.0"}"#, "2.0.0 is not supported"),
    ] {
        fs::write(&marker, content).unwrap();
        for opened in [Layout::open(layout.root()).await, Layout::create_or_open(layout.root()).await] {
            let error = opened.unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
    fs::remove_file(&marker).unwrap();
    for opened in [Layout::open(layout.root()).await, Layout::create_or_open(layout.root()).await] {
        assert!(opened.unwrap_err().to_string().contains("no file oci-layout"));
    }
    assert!(Layout::open(dir.path().join("missing")).await.unwrap_err().is_not_found());
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Layout::create_or_open(dir.path().join("file")).await.unwrap_err();
    assert!(error.to_string().contains("not a directory"), "{error}");
}

#[tokio::test]
async fn a_broken_index_is_reported_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (image, layout) = layout(dir.path()).await;
    let path = layout.root().join("index.json");
    for content in ["{", "[]", r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2,"manifests":{}}"#] {
        fs::write(&path, content).unwrap();
        let error = Source::manifest(&layout, &tag("1")).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(layout.put_manifest(&image, &tag("2")).await.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    let error = Source::manifest(&layout, &tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("it is missing"), "{error}");
}

/// Row 92b: a digest that would lead out of the directory is none.
#[tokio::test]
async fn an_entry_that_tries_to_climb_is_malformed() {
    let dir = tempfile::tempdir().unwrap();
    let (_, layout) = layout(dir.path()).await;
    let path = layout.root().join("index.json");
    let good = fs::read_to_string(&path).unwrap();
    let digest = good.split('"').find(|part| part.starts_with("sha256:")).unwrap().to_owned();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    for bad in ["sha256:../../../secret", "../..:abc", "sha256:ABCDEF", "secret", ""] {
        fs::write(&path, good.replace(&digest, bad)).unwrap();
        for name in [tag("1"), Name::Only] {
            let error = Source::manifest(&layout, &name).await.unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{bad}: {error:?}");
        }
    }
    // A digest of an algorithm nobody can check makes no path.
    assert!(blob_path(layout.root(), &"weird+alg:..".parse().unwrap_or("weird:x".parse().unwrap())).is_err());
}

/// Row 92b: nor does a link lead out of it.
#[tokio::test]
async fn links_and_special_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (image, layout) = layout(dir.path()).await;
    let blob = &image.layers()[0];
    let path = blob_path(layout.root(), blob.digest()).unwrap();
    let outside = dir.path().join("outside");
    fs::rename(&path, &outside).unwrap();
    symlink(&outside, &path).unwrap();
    let error = layout.open(blob, 0..blob.size()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { reason, .. } if reason.contains("out of the layout")),
        "{error:?}"
    );
    assert!(layout.has_blob(blob).await.is_err());

    // Within the layout a link does no harm.
    fs::rename(&outside, layout.root().join("moved")).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(layout.root().join("moved"), &path).unwrap();
    support::read(layout.blobs(), blob).await.unwrap();

    // A directory, a device.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = layout.open(blob, 0..blob.size()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason, .. } if reason.contains("regular")), "{error:?}");

    let index = layout.root().join("index.json");
    fs::rename(&index, dir.path().join("index.json")).unwrap();
    symlink(dir.path().join("index.json"), &index).unwrap();
    let error = Source::manifest(&layout, &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

/// Whether what `path` names in `error` was refused.
fn is_refused(error: &Error, path: &Path) -> bool {
    matches!(error, Error::Refused { .. }) && error.to_string().contains(&path.display().to_string())
}

/// A layout may come with a link in the place of its unfinished blobs. Nothing is removed or written behind it.
#[tokio::test]
async fn a_linked_directory_of_unfinished_blobs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (image, before) = layout(dir.path()).await;
    let (victim, link) = (dir.path().join("victim"), before.root().join(".ingest"));
    fs::remove_dir(&link).unwrap();
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("download.partial"), "mine").unwrap();
    let partial = victim.join(format!("sha256-{}", image.layers()[0].digest().digest()));
    fs::create_dir(&partial).unwrap();
    symlink(&victim, &link).unwrap();
    let error = Layout::create_or_open(before.root()).await.unwrap_err();
    assert!(is_refused(&error, &link), "{error:?}");

    // The link may come after the layout was opened, too.
    let blob = &image.layers()[0];
    fs::remove_file(blob_path(before.root(), blob.digest()).unwrap()).unwrap();
    let mut memory = Memory::default();
    let again = small_image(&mut memory, 1);
    let ingests = before.ingests();
    let refused = [
        put(&memory, &again, &before, &tag("2")).await.unwrap_err(),
        ingests.store(image.descriptor(), image.bytes().clone()).await.unwrap_err(),
        ingests.sweep().await.unwrap_err(),
        ingests.expire(std::time::Duration::ZERO).await.unwrap_err(),
        ingests.abort(blob.digest()).await.unwrap_err(),
        ingests.list().await.unwrap_err(),
    ];
    for (number, error) in refused.iter().enumerate() {
        assert!(is_refused(error, &link), "{number}: {error:?}");
    }
    let error = before.put_manifest(&image, &tag("2")).await.unwrap_err();
    assert!(error.to_string().contains(&link.display().to_string()), "{error}");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 2, "nothing came and nothing went");
    assert_eq!(fs::read_to_string(victim.join("download.partial")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&partial).unwrap().count(), 0);

    // Who passes a link himself has his reasons.
    let chosen = before.with_ingest_dir(&link);
    assert_eq!(chosen.ingests().list().await.unwrap(), []);
    chosen.put_manifest(&image, &tag("2")).await.unwrap();
}

#[tokio::test]
async fn a_truncated_or_exchanged_blob_is_an_integrity_error() {
    let dir = tempfile::tempdir().unwrap();
    let (image, layout) = layout(dir.path()).await;
    let blob = &image.layers()[0];
    let path = blob_path(layout.root(), blob.digest()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = support::read(layout.blobs(), blob).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error:?}");
    fs::write(&path, &bytes[..100]).unwrap();
    let error = layout.open(blob, 0..10).await.unwrap_err();
    assert!(
        matches!(error, Error::Integrity { mismatch: Mismatch::Size { actual: 100, .. }, .. }),
        "{error:?}"
    );
    fs::remove_file(&path).unwrap();
    assert!(layout.open(blob, 0..10).await.unwrap_err().is_not_found());
    assert!(layout.info(blob).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_manifest_is_held_against_its_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (image, layout) = layout(dir.path()).await;
    let path = blob_path(layout.root(), image.digest()).unwrap();
    let mut bytes = image.bytes().to_vec();
    bytes.push(b'\n');
    fs::write(&path, &bytes).unwrap();
    let error = Source::manifest(&layout, &tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Size { .. }, .. }), "{error:?}");
    bytes.pop();
    *bytes.last_mut().unwrap() = b' ';
    fs::write(&path, &bytes).unwrap();
    for name in [tag("1"), by(image.digest()), Name::Only] {
        let error = Source::manifest(&layout, &name).await.unwrap_err();
        assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error:?}");
    }
    // A writer mends it.
    assert_eq!(Target::resolve(&layout, &tag("1")).await.unwrap(), None);
    layout.put_manifest(&image, &tag("1")).await.unwrap();
    Source::manifest(&layout, &tag("1")).await.unwrap();
    fs::remove_file(&path).unwrap();
    assert!(Source::manifest(&layout, &tag("1")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (image, layout) = layout(dir.path()).await;
    for bad in ["", "a b", "a\nb"] {
        assert!(matches!(layout.put_manifest(&image, &tag(bad)).await, Err(Error::Invalid { .. })));
    }
    let other = lazyblob_remote::digest::sha256(b"other");
    assert!(matches!(layout.put_manifest(&image, &by(&other)).await, Err(Error::Invalid { .. })));
}
