//! OCI layouts in tar files.

use std::fs;
use std::path::Path;

use lazyblob_remote::archive::{OciArchive, OciArchiveTarget};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::{Descriptor, Error, Manifest, Mismatch, Provider, Source, Target, media};
use serde_json::json;

use crate::support::{self, Memory, by, copy, gzip, image, noise, put, small_image, tag};

async fn written(file: &Path) -> (Memory, Manifest) {
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let target = OciArchiveTarget::create(file).await.unwrap();
    put(&memory, &image, &target, &tag("1")).await.unwrap();
    target.finish().await.unwrap();
    (memory, image)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_was_written_is_read_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let (memory, image) = written(&file).await;
    let archive = OciArchive::open(&file).await.unwrap();
    for name in [tag("1"), by(image.digest()), Name::Only] {
        assert_eq!(archive.manifest(&name).await.unwrap().bytes(), image.bytes());
        assert_eq!(archive.resolve(&name).await.unwrap(), *image.digest());
    }
    assert!(archive.manifest(&tag("2")).await.unwrap_err().is_not_found());
    for blob in image.child_blobs() {
        let expected = support::read_range(&memory, blob, 0..blob.size()).await.unwrap();
        assert_eq!(support::read(archive.blobs(), blob).await.unwrap(), expected);
        let part = support::read_range(&archive, blob, 5..50).await.unwrap();
        assert_eq!(part, expected[5..50]);
        assert_eq!(archive.info(blob).await.unwrap().size, Some(blob.size()));
    }
    let absent = support::descriptor("x/y", b"absent");
    assert!(archive.open(&absent, 0..1).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn blobs_are_written_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let mut memory = Memory::default();
    let layers: Vec<_> = (1..20)
        .map(|seed| noise(seed * 30_011, seed as u64))
        .map(|bytes| (media::OCI_LAYER, bytes.clone(), bytes))
        .collect();
    let layers: Vec<_> =
        layers.iter().map(|(kind, bytes, plain)| (*kind, bytes.clone(), &plain[..])).collect();
    let image = image(&mut memory, &layers);
    let target = OciArchiveTarget::create(&file).await.unwrap();
    // Each blob by two at once.
    let puts = image.child_blobs().into_iter().flat_map(|blob| [blob, blob]).map(|blob| memory.blob(blob));
    let puts: Vec<_> = puts.collect();
    for done in futures::future::join_all(puts.iter().map(|blob| target.put_blob(blob, None))).await {
        done.unwrap();
    }
    target.put_manifest(&image, &tag("1")).await.unwrap();
    assert_eq!(target.resolve(&tag("1")).await.unwrap().as_ref(), Some(image.digest()));
    assert_eq!(target.resolve(&tag("2")).await.unwrap(), None);
    target.finish().await.unwrap();
    target.finish().await.unwrap();
    assert!(target.put_manifest(&image, &tag("3")).await.is_err(), "a finished archive takes no more");

    let archive = OciArchive::open(&file).await.unwrap();
    for blob in image.child_blobs() {
        support::read(archive.blobs(), blob).await.unwrap();
    }
    let size: u64 = image.child_blobs().iter().map(|blob| blob.size()).sum();
    let overhead = fs::metadata(&file).unwrap().len() - size;
    assert!(overhead < 40 * 1024, "no blob is in it twice, {overhead} bytes more than the blobs");
}

#[tokio::test]
async fn a_failed_blob_is_put_again_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let mut bad = memory.clone();
    let blob = &image.layers()[1];
    bad.corrupt(blob, noise(usize::try_from(blob.size()).unwrap(), 5));
    let target = OciArchiveTarget::create(&file).await.unwrap();
    let error = target.put_blob(&bad.blob(blob), None).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { mismatch: Mismatch::Digest { .. }, .. }), "{error}");
    assert!(!target.has_blob(blob).await.unwrap());
    assert!(target.finish().await.unwrap_err().to_string().contains("not complete"));
    assert_eq!(names(dir.path()).len(), 1, "only the partial file");

    put(&memory, &image, &target, &tag("1")).await.unwrap();
    target.finish().await.unwrap();
    let archive = OciArchive::open(&file).await.unwrap();
    support::read(archive.blobs(), blob).await.unwrap();
    assert_eq!(names(dir.path()), ["a.tar"]);
}

#[tokio::test]
async fn a_dropped_target_leaves_the_old_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let (memory, image) = written(&file).await;
    let before = fs::read(&file).unwrap();
    fs::write(dir.path().join(".a.tar.0123456789.partial"), "of a killed process").unwrap();
    let target = OciArchiveTarget::create(&file).await.unwrap();
    put(&memory, &image, &target, &tag("2")).await.unwrap();
    drop(target);
    assert_eq!(names(dir.path()), ["a.tar"]);
    assert!(fs::read(&file).unwrap() == before);

    // The same content makes the same file.
    written(&file).await;
    assert!(fs::read(&file).unwrap() == before);
}

#[tokio::test]
async fn an_archive_becomes_a_layout_and_an_archive_again() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a.tar"), dir.path().join("b.tar"));
    let fixture = Layout::open(crate::buildkit::fixture()).await.unwrap();
    let target = OciArchiveTarget::create(&first).await.unwrap();
    for name in ["cache-max-true", "cache-max-false"] {
        copy(&fixture, &tag(name), &target, &tag(name)).await.unwrap();
    }
    target.finish().await.unwrap();
    let archive = OciArchive::open(&first).await.unwrap();
    let layout = Layout::create_or_open(dir.path().join("layout")).await.unwrap();
    let again = OciArchiveTarget::create(&second).await.unwrap();
    for name in ["cache-max-true", "cache-max-false"] {
        let root = copy(&archive, &tag(name), &layout, &tag(name)).await.unwrap();
        assert_eq!(root.bytes(), fixture.manifest(&tag(name)).await.unwrap().bytes());
        copy(&layout, &tag(name), &again, &tag(name)).await.unwrap();
    }
    again.finish().await.unwrap();
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap());
}

#[tokio::test]
async fn referrers_are_kept_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let empty = memory.add(media::OCI_EMPTY, "{}");
    let signature = support::manifest(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "x/signature",
        "config": empty, "layers": [empty], "subject": image.descriptor(),
    }));
    let target = OciArchiveTarget::create(&file).await.unwrap();
    put(&memory, &image, &target, &Name::Only).await.unwrap();
    put(&memory, &signature, &target, &by(signature.digest())).await.unwrap();
    target.finish().await.unwrap();
    let archive = OciArchive::open(&file).await.unwrap();
    let found = archive.referrers(image.digest()).await.unwrap();
    assert_eq!(found.iter().map(Descriptor::digest).collect::<Vec<_>>(), [signature.digest()]);
    assert_eq!(archive.resolve(&Name::Only).await.unwrap(), *image.digest());
}

#[tokio::test]
async fn a_truncated_archive_is_noticed_wherever_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let (_, image) = written(&file).await;
    let whole = fs::read(&file).unwrap();
    for length in [0, 100, 512, 700, 2000, 4000, 200_000, whole.len() - 1500, whole.len() - 1024] {
        fs::write(&file, &whole[..length]).unwrap();
        let Ok(archive) = OciArchive::open(&file).await else { continue };
        assert_eq!(length, whole.len() - 1024, "only the end marker may be missing");
        archive.manifest(&tag("1")).await.unwrap();
    }
    let mut damaged = whole.clone();
    let at = whole.windows(20).position(|window| window == &image.bytes()[..20]).unwrap();
    damaged[at + 30] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let error = OciArchive::open(&file).await.unwrap().manifest(&tag("1")).await.unwrap_err();
    assert!(matches!(error, Error::Integrity { .. } | Error::Invalid { .. }), "{error:?}");
}

/// A tar file of entries as given, names unchecked.
fn tar_of(entries: &[(&[u8], tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, kind, link, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(*kind);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        all.extend_from_slice(header.as_bytes());
        all.extend_from_slice(content);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all.resize(all.len() + 1024, 0);
    all
}

#[tokio::test]
async fn names_and_links_that_lead_elsewhere_are_refused() {
    use tar::EntryType::{Link, Regular, Symlink};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let marker: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
    let good: [(&[u8], _, _, _); 2] =
        [(b"./oci-layout", Regular, "", marker), (b"./index.json", Regular, "", index)];
    fs::write(&file, tar_of(&good)).unwrap();
    OciArchive::open(&file).await.unwrap();
    for bad in [
        (&b"../../etc/passwd"[..], Regular, "", &b"x"[..]),
        (b"blobs/../../x", Regular, "", b"x"),
        (b"/etc/passwd", Regular, "", b"x"),
        (b"blobs/sha256/a", Symlink, "/etc/passwd", b""),
        (b"blobs/sha256/a", Symlink, "../../../x", b""),
        (b"blobs/sha256/a", Symlink, "b", b""),
        (b"blobs/sha256/a", Link, "oci-layout", b""),
    ] {
        fs::write(&file, tar_of(&[good[0], good[1], bad])).unwrap();
        let error = OciArchive::open(&file).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{bad:?}: {error:?}");
    }
    let mut damaged = tar_of(&good);
    damaged[1024 + 3] ^= 1;
    for (content, said) in [
        (gzip(&tar_of(&good)), "compressed with gzip"),
        (b"not a tar file".repeat(100), "not a tar file"),
        (tar_of(&good[1..]), "no file oci-layout"),
        (tar_of(&good[..1]), "no file index.json"),
        (tar_of(&[(b"\xff", Regular, "", b"x")]), "not UTF-8"),
        (damaged, "damaged"),
    ] {
        fs::write(&file, content).unwrap();
        let error = OciArchive::open(&file).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(OciArchive::open(dir.path().join("missing")).await.unwrap_err().is_not_found());
    assert!(matches!(OciArchive::open(dir.path()).await, Err(Error::Invalid { .. })));
}
