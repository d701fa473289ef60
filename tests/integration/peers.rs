//! Images that skopeo and umoci make and we read, and the other way round.

use std::fs;
use std::path::Path;

use lazyblob::remote::testing::{Image, installed, not_run};
use serde_json::Value;

use crate::support::{Desk, DockerRegistry, Written, image, peer, skopeo};

/// A program that runs without anything else, from Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// Whether everything for a test of `what` with a real image is here.
fn ready(what: &str) -> bool {
    if !Path::new(BUSYBOX).exists() {
        not_run(what, "busybox-static is not installed");
        return false;
    }
    installed(what, &["docker-registry", "skopeo", "umoci"])
}

/// Makes an image of busybox with umoci in a layout and returns the manifest's digest.
async fn busybox(desk: &Desk, layout: &str) -> String {
    let at = desk.path(layout);
    let image = format!("--image {}:1", at.display());
    let config = desk.file("etc/motd", "made by umoci\n");
    peer(desk, "umoci", &format!("init --layout {}", at.display())).await;
    peer(desk, "umoci", &format!("new {image}")).await;
    peer(desk, "umoci", &format!("insert --rootless {image} {BUSYBOX} /bin/busybox")).await;
    peer(desk, "umoci", &format!("insert --rootless {image} {} /etc/motd", config.display())).await;
    peer(desk, "umoci", &format!("config {image} --config.entrypoint /bin/busybox")).await;
    let index: Value = serde_json::from_slice(&fs::read(at.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// The digest of a manifest as skopeo has it, whatever kind it is.
async fn digest_by_skopeo(desk: &Desk, location: &str) -> String {
    let raw = skopeo(desk, &format!("inspect --raw {location}")).await;
    lazyblob::remote::digest::sha256(raw.as_bytes()).to_string()
}

/// Unpacks with umoci and compares what is in it with what went in.
async fn unpacks(desk: &Desk, layout: &str, bundle: &str) {
    let (at, bundle) = (desk.path(layout), desk.path(bundle));
    peer(desk, "umoci", &format!("unpack --rootless --image {}:1 {}", at.display(), bundle.display())).await;
    assert!(fs::read(bundle.join("rootfs/bin/busybox")).unwrap() == fs::read(BUSYBOX).unwrap());
    assert_eq!(fs::read_to_string(bundle.join("rootfs/etc/motd")).unwrap(), "made by umoci\n");
}

#[tokio::test]
async fn what_skopeo_pushed_we_read_into_every_form() {
    if !ready("reading what skopeo pushed") {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let host = registry.host();
    let digest = busybox(&desk, "umoci").await;
    let (from, to) = (desk.at("oci", "umoci"), format!("docker://{host}/app:1"));
    skopeo(&desk, &format!("copy --dest-tls-verify=false {from}:1 {to}")).await;

    let oci = format!("{}:1", desk.at("oci", "ours"));
    let archive = format!("{}:1", desk.at("oci-archive", "ours.tar"));
    let docker = format!("{}:localhost/app:1", desk.at("docker-archive", "ours-docker.tar"));
    assert_eq!(desk.ok(&format!("copy {host}/app:1 {oci}")).await.digest(), digest);
    assert_eq!(desk.ok(&format!("copy {host}/app:1 {archive}")).await.digest(), digest);
    desk.ok(&format!("copy {host}/app:1 {docker}")).await;

    assert_eq!(digest_by_skopeo(&desk, &oci).await, digest);
    assert_eq!(digest_by_skopeo(&desk, &archive).await, digest);
    unpacks(&desk, "ours", "bundle").await;
    // A docker-archive has another manifest, but the layers' content is the same.
    skopeo(&desk, &format!("copy {docker} {}:1", desk.at("oci", "from-docker"))).await;
    unpacks(&desk, "from-docker", "bundle-from-docker").await;
    skopeo(&desk, &format!("copy {archive} {}:1", desk.at("oci", "from-archive"))).await;
    unpacks(&desk, "from-archive", "bundle-from-archive").await;
}

#[tokio::test]
async fn what_we_pushed_skopeo_pulls_and_umoci_unpacks() {
    if !ready("pulling what we pushed") {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let host = registry.host();
    let digest = busybox(&desk, "umoci").await;
    desk.ok(&format!("copy {}:1 {host}/app:1", desk.at("oci", "umoci"))).await;
    // Copied by mounts and retagged, it is still there as a whole.
    desk.ok(&format!("copy {host}/app:1 {host}/prod:candidate")).await;
    assert_eq!(desk.ok(&format!("retag {host}/prod:candidate :1")).await.digest(), digest);

    for (repository, layout) in [("app", "pulled"), ("prod", "promoted")] {
        let (from, to) = (format!("docker://{host}/{repository}:1"), desk.at("oci", layout));
        skopeo(&desk, &format!("copy --src-tls-verify=false {from} {to}:1")).await;
        assert_eq!(digest_by_skopeo(&desk, &format!("{to}:1")).await, digest);
        unpacks(&desk, layout, &format!("bundle-{layout}")).await;
    }
    let seen = skopeo(&desk, &format!("inspect --tls-verify=false docker://{host}/prod:1")).await;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["Digest"], digest);
    assert_eq!(seen["RepoTags"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn archives_that_skopeo_wrote_we_push() {
    if !ready("pushing skopeo's archives") {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let host = registry.host();
    let digest = busybox(&desk, "umoci").await;
    let umoci = format!("{}:1", desk.at("oci", "umoci"));
    let archive = format!("{}:1", desk.at("oci-archive", "theirs.tar"));
    let docker = format!("{}:localhost/app:1", desk.at("docker-archive", "theirs-docker.tar"));
    skopeo(&desk, &format!("copy {umoci} {archive}")).await;
    skopeo(&desk, &format!("copy {umoci} {docker}")).await;

    assert_eq!(desk.ok(&format!("copy {archive} {host}/oci:1")).await.digest(), digest);
    let pushed = desk.ok(&format!("copy {docker} {host}/docker:1")).await.digest();
    for (repository, digest) in [("oci", digest), ("docker", pushed)] {
        let (from, to) = (format!("docker://{host}/{repository}:1"), desk.at("oci", repository));
        let raw = skopeo(&desk, &format!("inspect --raw --tls-verify=false {from}")).await;
        assert_eq!(lazyblob::remote::digest::sha256(raw.as_bytes()).to_string(), digest);
        skopeo(&desk, &format!("copy --src-tls-verify=false {from} {to}:1")).await;
        unpacks(&desk, repository, &format!("bundle-{repository}")).await;
    }
}

#[tokio::test]
async fn an_index_passes_through_skopeo_and_back_as_a_whole() {
    if !installed("an index through skopeo", &["docker-registry", "skopeo"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let host = registry.host();
    let images = [image(2, "amd64"), image(2, "arm64")];
    let index = Image::index(&[&images[0].manifest, &images[1].manifest], &["amd64", "arm64"]);
    Written::at(&desk, "multi").unnamed(&images[0]).unnamed(&images[1]).name("1", &index);
    let digest = index.digest().to_string();

    desk.ok(&format!("copy {}:1 {host}/multi:1", desk.at("oci", "multi"))).await;
    let (from, to) = (format!("docker://{host}/multi:1"), format!("docker://{host}/theirs:1"));
    let plain = "--src-tls-verify=false --dest-tls-verify=false";
    skopeo(&desk, &format!("copy --all {plain} {from} {to}")).await;
    let ours = format!("{}:1", desk.at("oci", "ours"));
    assert_eq!(desk.ok(&format!("copy {host}/theirs:1 {ours}")).await.digest(), digest);
    let again = desk.at("oci", "again");
    skopeo(&desk, &format!("copy --all {ours} {again}:1")).await;
    assert_eq!(desk.ok(&format!("copy {again}:1 {host}/again:1")).await.digest(), digest);

    // One platform of it is that platform's image, to us as to skopeo.
    let picked = desk.ok(&format!("copy --platform linux/arm64 {host}/theirs:1 {host}/picked:1")).await;
    assert_eq!(picked.digest(), images[1].manifest.digest().to_string());
    let pulled = desk.at("oci", "pulled");
    skopeo(&desk, &format!("--override-arch arm64 copy --src-tls-verify=false {from} {pulled}:1")).await;
    assert_eq!(digest_by_skopeo(&desk, &format!("{pulled}:1")).await, picked.digest());
}
