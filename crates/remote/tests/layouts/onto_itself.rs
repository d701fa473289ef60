//! Copies of an archive or a layout onto itself: nothing may be lost, however the path is spelled.

use std::path::Path;
use std::sync::Arc;

use lazyblob_remote::archive::{DockerArchive, DockerArchiveTarget, OciArchive, OciArchiveTarget};
use lazyblob_remote::copy::{Copy, Options, Report};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::transfer::Transfers;
use lazyblob_remote::{Access, Manifest, Result, Source, Target, media};
use serde_json::json;

use crate::support::{Memory, put, small_image, tag};

async fn copy(source: impl Source + 'static, target: impl Target + 'static, to: &str) -> Result<Report> {
    let names = vec![tag(to)];
    let (access, transfers) = (Access::anonymous(), Transfers::default());
    Copy::new(Arc::new(source), Name::Only, Arc::new(target), names, access, transfers).run().await
}

/// Reads every blob of the only image of `source`.
async fn read_all(source: &dyn Source) -> Manifest {
    let manifest = source.manifest(&Name::Only).await.unwrap();
    for blob in manifest.child_blobs() {
        crate::support::blob(source.blobs(), blob).read_whole(1 << 20).await.unwrap();
    }
    manifest
}

async fn write_oci(file: &Path) -> Manifest {
    let (mut memory, target) = (Memory::default(), OciArchiveTarget::create(file).await.unwrap());
    let image = small_image(&mut memory, 1);
    put(&memory, &image, &target, &tag("t")).await.unwrap();
    target.finish().await.unwrap();
    image
}

#[tokio::test]
async fn an_oci_archive_keeps_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let link = dir.path().join("link.tar");
    let image = write_oci(&file).await;
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [file.clone(), dir.path().join("./a.tar"), link] {
        for name in ["t", "u"] {
            let source = OciArchive::open(&path).await.unwrap();
            copy(source, OciArchiveTarget::create(&file).await.unwrap(), name).await.unwrap();
            let manifest = read_all(&OciArchive::open(&file).await.unwrap()).await;
            assert_eq!(manifest.digest(), image.digest(), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_docker_archive_keeps_its_layers() {
    let dir = tempfile::tempdir().unwrap();
    let (oci, file) = (dir.path().join("a.tar"), dir.path().join("d.tar"));
    write_oci(&oci).await;
    let source = OciArchive::open(&oci).await.unwrap();
    copy(source, DockerArchiveTarget::create(&file).await.unwrap(), "x:1").await.unwrap();
    let before = read_all(&DockerArchive::open(&file).await.unwrap()).await;
    let source = DockerArchive::open(&file).await.unwrap();
    copy(source, DockerArchiveTarget::create(&file).await.unwrap(), "x:2").await.unwrap();
    let after = read_all(&DockerArchive::open(&file).await.unwrap()).await;
    assert_eq!(before.digest(), after.digest());
}

#[tokio::test]
async fn a_layout_gets_another_name_and_no_other_blob() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, layout) = (Memory::default(), Layout::create_or_open(dir.path()).await.unwrap());
    let image = small_image(&mut memory, 1);
    put(&memory, &image, &layout, &tag("t")).await.unwrap();
    let report = copy(layout.clone(), layout.clone(), "u").await.unwrap();
    assert!(report.blobs.iter().all(|(_, action)| *action == lazyblob_remote::copy::Action::Present));
    assert_eq!(layout.roots().await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_oci_archive_keeps_its_referrers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.tar");
    let (mut memory, target) = (Memory::default(), OciArchiveTarget::create(&file).await.unwrap());
    let image = small_image(&mut memory, 1);
    put(&memory, &image, &target, &tag("t")).await.unwrap();
    let config = memory.add(media::OCI_EMPTY, "{}");
    let signature = crate::support::manifest(&json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "application/x.signature",
        "config": config, "layers": [config], "subject": image.descriptor(),
    }));
    put(&memory, &signature, &target, &Name::Digest(signature.digest().clone())).await.unwrap();
    target.finish().await.unwrap();

    let source = OciArchive::open(&file).await.unwrap();
    let target = OciArchiveTarget::create(&file).await.unwrap();
    let (access, transfers) = (Access::anonymous(), Transfers::default());
    let options = Options { referrers: true, ..Options::default() };
    let copy = Copy::new(Arc::new(source), tag("t"), Arc::new(target), vec![tag("u")], access, transfers);
    let report = copy.with_options(options).run().await.unwrap();

    assert_eq!(report.referrers, 1);
    let kept = OciArchive::open(&file).await.unwrap();
    let referrers = kept.referrers(image.digest()).await.unwrap();
    assert_eq!(
        referrers.iter().map(lazyblob_remote::Descriptor::digest).collect::<Vec<_>>(),
        [signature.digest()]
    );
}
