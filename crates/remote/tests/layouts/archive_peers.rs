//! What skopeo and umoci make of what we write, and we of what they write.

use std::fs;
use std::path::Path;
use std::process::Command;

use lazyblob_remote::archive::{DockerArchive, DockerArchiveTarget, OciArchive, OciArchiveTarget};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::testing::installed;
use lazyblob_remote::{Source, Target, digest, media};
use serde_json::Value;

use crate::support::{self, Memory, copy, gzip, image, put, small_image, tag, tar_with};

/// Runs a peer that must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Copies with skopeo; its work files stay below `dir`.
fn skopeo(dir: &Path, from: &str, to: &str) {
    let work = dir.join("tmp");
    fs::create_dir_all(&work).unwrap();
    run("skopeo", &["--tmpdir", work.to_str().unwrap(), "--insecure-policy", "copy", "--quiet", from, to]);
}

#[tokio::test]
async fn skopeo_reads_and_rewrites_all_three_forms() {
    if !installed("skopeo on our archives", &["skopeo"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |kind: &str, name: &str| format!("{kind}:{}", dir.path().join(name).display());
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let layout = Layout::create_or_open(dir.path().join("ours")).await.unwrap();
    put(&memory, &image, &layout, &tag("1")).await.unwrap();
    layout.finish().await.unwrap();
    let oci = OciArchiveTarget::create(dir.path().join("ours.tar")).await.unwrap();
    put(&memory, &image, &oci, &tag("1")).await.unwrap();
    oci.finish().await.unwrap();
    let docker = DockerArchiveTarget::create(dir.path().join("ours-docker.tar")).await.unwrap();
    put(&memory, &image, &docker, &tag("localhost/app:1")).await.unwrap();
    docker.finish().await.unwrap();

    let sources = [
        at("oci", "ours") + ":1",
        at("oci-archive", "ours.tar") + ":1",
        at("docker-archive", "ours-docker.tar") + ":localhost/app:1",
        at("docker-archive", "ours-docker.tar"),
    ];
    for (number, source) in sources.iter().enumerate() {
        let (layout, archive, saved) =
            (format!("layout{number}"), format!("oci{number}.tar"), format!("docker{number}.tar"));
        skopeo(dir.path(), source, &(at("oci", &layout) + ":theirs"));
        skopeo(dir.path(), source, &(at("oci-archive", &archive) + ":theirs"));
        skopeo(dir.path(), source, &(at("docker-archive", &saved) + ":localhost/app:theirs"));

        // The config names the layers' content, whatever their compression became.
        let layout = Layout::open(dir.path().join(layout)).await.unwrap();
        let archive = OciArchive::open(dir.path().join(archive)).await.unwrap();
        let saved = DockerArchive::open(dir.path().join(saved)).await.unwrap();
        let found: [(&dyn Source, Name); 3] =
            [(&layout, tag("theirs")), (&archive, Name::Only), (&saved, tag("localhost/app:theirs"))];
        for (source, name) in found {
            let read = source.manifest(&name).await.unwrap();
            let config = support::read(source.blobs(), read.config().unwrap()).await.unwrap();
            let config: Value = serde_json::from_slice(&config).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
            for blob in read.child_blobs() {
                support::read(source.blobs(), blob).await.unwrap();
            }
            // And once more through our docker-archive, which compares with the diffIDs.
            let again = DockerArchiveTarget::create(dir.path().join("again.tar")).await.unwrap();
            copy(source, &name, &again, &Name::Only).await.unwrap();
            again.finish().await.unwrap();
        }
    }
    // Byte for byte where nothing has to be compressed anew.
    let theirs = Layout::open(dir.path().join("layout0")).await.unwrap();
    assert_eq!(theirs.manifest(&tag("theirs")).await.unwrap().config().unwrap(), image.config().unwrap());
}

#[tokio::test]
async fn umoci_lists_and_unpacks_what_we_wrote() {
    if !installed("umoci on our layouts", &["umoci"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("layout");
    let mut memory = Memory::default();
    let layer = tar_with("hello", b"content");
    let ours = image(&mut memory, &[(media::OCI_LAYER_GZIP, gzip(&layer), &layer)]);
    let layout = Layout::create_or_open(&root).await.unwrap();
    for name in ["1", "latest"] {
        put(&memory, &ours, &layout, &tag(name)).await.unwrap();
    }
    layout.finish().await.unwrap();
    let at = root.display().to_string();
    let listed = run("umoci", &["ls", "--layout", &at]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["1", "latest"]);
    run("umoci", &["stat", "--image", &format!("{at}:1"), "--json"]);

    // It changes the layout in its way; we read the result, and our tag beside it stays.
    run("umoci", &["tag", "--image", &format!("{at}:1"), "theirs"]);
    run("umoci", &["config", "--image", &format!("{at}:theirs"), "--author", "somebody"]);
    let layout = Layout::open(&root).await.unwrap();
    let theirs = layout.manifest(&tag("theirs")).await.unwrap();
    assert_ne!(theirs.digest(), ours.digest());
    assert_eq!(layout.manifest(&tag("1")).await.unwrap().digest(), ours.digest());
    layout.put_manifest(&ours, &tag("theirs")).await.unwrap();
    assert_eq!(Source::resolve(&layout, &tag("theirs")).await.unwrap(), *ours.digest());

    // Ours in a tar file, extracted, is the same layout.
    let file = dir.path().join("a.tar");
    let target = OciArchiveTarget::create(&file).await.unwrap();
    copy(&layout, &tag("1"), &target, &tag("1")).await.unwrap();
    target.finish().await.unwrap();
    let extracted = dir.path().join("extracted");
    fs::create_dir(&extracted).unwrap();
    run("tar", &["-xf", file.to_str().unwrap(), "-C", extracted.to_str().unwrap()]);
    let listed = run("umoci", &["ls", "--layout", extracted.to_str().unwrap()]);
    assert_eq!(listed.trim(), "1");
    let layout = Layout::open(&extracted).await.unwrap();
    assert_eq!(digest::sha256(layout.manifest(&Name::Only).await.unwrap().bytes()), *ours.digest());
}
