//! What other programs say of what was made.

use std::path::Path;
use std::process::Command;

use lazyblob_remote::testing::installed;
use lazyblob_worker::export::export;
use serde_json::Value;

use crate::support::{World, access, close, made, part};

fn said(program: &str, args: &[&str], home: &Path) -> String {
    let run = Command::new(program).args(args).env("HOME", home).output().unwrap();
    assert!(run.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

/// skopeo reads all archives and finds what was put there.
#[tokio::test]
async fn skopeo_reads_archives() {
    if !installed("skopeo_reads_archives", &["skopeo"]) {
        return;
    }
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, base) = world.app(&worker).await;
    let over = made(&worker, Some(&app), "over", 5).await;
    let dir = tempfile::tempdir().unwrap();
    for kind in ["oci", "docker"] {
        let file = dir.path().join(kind);
        let spec = format!("type={kind},name=h.test/x:1,dest={}", file.display()).parse().unwrap();
        let exported = export(&worker, &spec, vec![part(&over, Some(&base))], None, &access()).await.unwrap();
        let tag = if kind == "oci" { "1" } else { "h.test/x:1" };
        let place = format!("{kind}-archive:{}:{tag}", file.display());
        let found: Value = serde_json::from_str(&said("skopeo", &["inspect", &place], dir.path())).unwrap();
        assert_eq!(found["Layers"].as_array().unwrap().len(), 4, "{found}");
        assert_eq!(found["Architecture"], "amd64");
        if kind == "oci" {
            assert_eq!(found["Digest"], exported.digest.unwrap().to_string());
        }
        // Every byte is looked at.
        let to = format!("dir:{}", dir.path().join(format!("{kind}.dir")).display());
        said("skopeo", &["--insecure-policy", "copy", &place, &to], dir.path());
    }
    drop((app, base, over));
    close(worker).await;
}

/// umoci unpacks a layout to the tree of the result.
#[tokio::test]
async fn umoci_unpacks_a_layout() {
    if !installed("umoci_unpacks_a_layout", &["umoci"]) {
        return;
    }
    let world = World::new().await;
    let worker = world.worker().await;
    let over = made(&worker, None, "over", 5).await;
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    let spec = format!("type=oci,tar=false,name=h.test/x:1,dest={}", layout.display()).parse().unwrap();
    export(&worker, &spec, vec![part(&over, None)], None, &access()).await.unwrap();
    let (image, bundle) = (format!("{}:1", layout.display()), dir.path().join("bundle"));
    let bundle = bundle.display().to_string();
    let rootless: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--rootless"] };
    said("umoci", &[&["unpack"], rootless, &["--image", &image, &bundle]].concat(), dir.path());
    assert_eq!(std::fs::read_to_string(format!("{bundle}/rootfs/made")).unwrap(), "over");
    drop(over);
    close(worker).await;
}
