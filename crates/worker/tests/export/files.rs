//! Files in directories and in tars.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use lazyblob_worker::export::{Part, export};
use lazyblob_worker::spec::OutputSpec;

use crate::support::{World, access, close, made, part, platform};

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn spec(text: &str, dest: &Path) -> OutputSpec {
    format!("{text},dest={}", dest.display()).parse().unwrap()
}

/// What a result does not have stays; what it has replaces what was there, links among it, which are not followed.
#[tokio::test]
async fn a_directory_keeps_what_the_result_does_not_have() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, _) = world.app(&worker).await;
    let dir = tempfile::tempdir().unwrap();
    let (dest, outside) = (dir.path().join("deep/out"), dir.path().join("outside"));
    fs::create_dir_all(dest.join("etc")).unwrap();
    fs::create_dir_all(dest.join("bin/run/in-the-way")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(dest.join("etc/own"), "own").unwrap();
    fs::write(outside.join("name"), "untouched").unwrap();
    symlink(outside.join("name"), dest.join("etc/name")).unwrap();
    fs::set_permissions(&dest, fs::Permissions::from_mode(0o711)).unwrap();
    let spec = spec("type=local", &dest);
    let exported = export(&worker, &spec, vec![part(&app, None)], None, &access()).await.unwrap();
    assert_eq!(exported.files.unwrap().entries, 5);
    assert_eq!((text(dest.join("etc/own")), text(dest.join("etc/name"))), ("own".into(), "middle".into()));
    assert_eq!(text(outside.join("name")), "untouched");
    assert_eq!(fs::metadata(dest.join("bin/run")).unwrap().len(), 100_000);
    assert_eq!(fs::metadata(dest.join("etc")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(&dest).unwrap().permissions().mode() & 0o7777, 0o711, "its own mode stays");
    let mut left: Vec<_> = fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["bin", "etc"], "nothing of the making is left");
    drop(app);
    close(worker).await;
}

/// Several platforms have directories of their own, unless it is said that they have not.
#[tokio::test]
async fn platforms_have_directories() {
    let world = World::new().await;
    let worker = world.worker().await;
    let one = made(&worker, None, "one", 5).await;
    let two = made(&worker, None, "two", 5).await;
    let parts = vec![part(&one, None), Part { platform: platform("linux/arm/v7"), ..part(&two, None) }];
    let dir = tempfile::tempdir().unwrap();
    let local = spec("type=local", dir.path());
    export(&worker, &local, parts.clone(), None, &access()).await.unwrap();
    assert_eq!(text(dir.path().join("linux_amd64/made")), "one");
    assert_eq!(text(dir.path().join("linux_arm_v7/made")), "two");
    let merged = spec("type=local,platform-split=false", &dir.path().join("merged"));
    export(&worker, &merged, parts.clone(), None, &access()).await.unwrap();
    assert_eq!(text(dir.path().join("merged/made")), "two");
    let file = dir.path().join("all.tar");
    export(&worker, &spec("type=tar", &file), parts, None, &access()).await.unwrap();
    assert_eq!(
        listed(&fs::read(&file).unwrap()),
        ["linux_amd64/", "linux_amd64/made", "linux_arm_v7/", "linux_arm_v7/made",]
    );
    drop((one, two));
    close(worker).await;
}

fn listed(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

/// A tar has the whole tree, no later times than it may, and the same bytes every time.
#[tokio::test]
async fn a_tar_is_the_same_every_time() {
    let world = World::new().await;
    let mut tars = Vec::new();
    for _ in 0..2 {
        let (worker, dir) = world.elsewhere().await;
        let (app, _) = world.app(&worker).await;
        let file = dir.path().join("out.tar");
        let spec = spec("type=tar,source-date-epoch=1000", &file);
        export(&worker, &spec, vec![part(&app, None)], None, &access()).await.unwrap();
        tars.push(fs::read(&file).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0, "nothing is left");
        drop(app);
        close(worker).await;
    }
    assert!(tars[0] == tars[1]);
    assert_eq!(listed(&tars[0]), ["bin/", "bin/run", "bin/sh", "etc/", "etc/name"]);
    let mut archive = tar::Archive::new(tars[0].as_slice());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 1000);
        if entry.path().unwrap() == Path::new("etc/name") {
            let mut said = String::new();
            entry.read_to_string(&mut said).unwrap();
            assert_eq!(said, "middle");
        }
    }
}

/// A tar that cannot be made leaves the file that was there.
#[tokio::test]
async fn a_failed_tar_leaves_the_old_one() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (app, _) = world.app(&worker).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.tar");
    fs::write(&file, "old").unwrap();
    world.registry.add(lazyblob_remote::testing::Toxic::status(404));
    let tried = export(&worker, &spec("type=tar", &file), vec![part(&app, None)], None, &access()).await;
    tried.unwrap_err();
    assert_eq!(text(&file), "old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let local = dir.path().join("files");
    export(&worker, &spec("type=local", &local), vec![part(&app, None)], None, &access()).await.unwrap_err();
    assert_eq!(fs::read_dir(&local).unwrap().count(), 0);
    drop(app);
    close(worker).await;
}
