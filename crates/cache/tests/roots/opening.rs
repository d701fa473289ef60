//! What is a root, and what is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use lazyblob_cache::Error;
use lazyblob_cache::root::{Dir, Root};
use rustix::mount::{MountFlags, UnmountFlags};

use super::support::{Bench, blob, names, settings};

/// The reason of a refusal.
fn refused(error: &Error) -> &str {
    match error {
        Error::Refused { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn invalid(error: &Error) -> &str {
    match error {
        Error::Invalid { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn what_is_made_is_for_its_owner_alone_and_opens_again() {
    let bench = Bench::new().await;
    let root = bench.root.path();
    assert_eq!(mode(root), 0o700);
    for dir in Dir::ALL {
        assert_eq!(mode(&dir.of(root)), 0o700, "{dir:?}");
    }
    assert_eq!(fs::read_to_string(root.join("version")).unwrap(), "1\n");
    assert_eq!(names(root).len(), Dir::ALL.len() + 1, "{:?}", names(root));
    let again = bench.again().await;
    assert_eq!(again.path(), root);
    assert!(names(&bench.root.dir(Dir::Live)).is_empty(), "who pins nothing leaves no file");
}

#[tokio::test]
async fn the_store_is_a_layout_and_nothing_else() {
    let bench = Bench::new().await;
    let bytes = b"bytes".to_vec();
    bench.root.store().ingests().store(&blob(&bytes), bytes.into()).await.unwrap();
    assert_eq!(names(&bench.root.dir(Dir::Store)), ["blobs", "index.json", "oci-layout"]);
    assert!(names(&bench.root.dir(Dir::Ingest)).is_empty());
    assert_eq!(bench.root.store().ingests().dir(), bench.root.dir(Dir::Ingest));
}

/// An index that somebody removed is not made anew: with no names prune would take everything.
#[tokio::test]
async fn names_that_are_lost_are_not_taken_for_none() {
    let bench = Bench::new().await;
    let bytes = b"bytes".to_vec();
    bench.root.store().ingests().store(&blob(&bytes), bytes.into()).await.unwrap();
    let index = bench.root.dir(Dir::Store).join("index.json");
    fs::remove_file(&index).unwrap();
    let again = bench.again().await;
    assert!(!index.exists());
    let error = again.store().roots().await.unwrap_err();
    assert!(error.to_string().contains("it is missing"), "{error}");
}

#[tokio::test]
async fn twenty_who_open_a_new_root_at_once_all_have_it() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("new/root");
    let opened = futures::future::join_all((0..20).map(|_| Root::open(&path, settings()))).await;
    for root in opened {
        root.unwrap();
    }
    assert!(!names(&path).contains(&"version.new".to_owned()));
}

#[tokio::test]
async fn what_is_no_root_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Root::open(&path, settings()).await.unwrap_err();
        assert_eq!(invalid(&error), "it is not a directory");
    }
    let foreign = temp.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("mine"), "mine").unwrap();
    let error = Root::open(&foreign, settings()).await.unwrap_err();
    assert_eq!(invalid(&error), "it is not empty and not a root: it has no file version");
    assert_eq!(names(&foreign), ["mine"]);
    for garbage in ["", "one", "-1", "1 2", &"9".repeat(100)] {
        fs::write(foreign.join("version"), garbage).unwrap();
        let error = Root::open(&foreign, settings()).await.unwrap_err();
        assert_eq!(invalid(&error), "its file version does not have the version of a root", "{garbage:?}");
    }
    assert_eq!(names(&foreign), ["mine", "version"]);
}

/// What a killed process has begun is taken up.
#[tokio::test]
async fn a_root_that_was_begun_is_finished() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("version.new"), "").unwrap();
    let root = Root::open(temp.path(), settings()).await.unwrap();
    assert_eq!(fs::read_to_string(root.path().join("version")).unwrap(), "1\n");
    assert!(!root.path().join("version.new").exists());
    fs::remove_dir(root.dir(Dir::Trash)).unwrap();
    let again = Root::open(temp.path(), settings()).await.unwrap();
    assert!(again.dir(Dir::Trash).is_dir());
}

#[tokio::test]
async fn a_newer_root_is_refused_with_both_versions() {
    let bench = Bench::new().await;
    fs::write(bench.root.path().join("version"), "17\n").unwrap();
    let error = Root::open(bench.root.path(), settings()).await.unwrap_err();
    let reason = refused(&error);
    assert!(reason.contains("version 17") && reason.contains("up to 1"), "{reason}");
}

#[tokio::test]
async fn a_root_of_another_user_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    // Whoever runs this, one of the two is another's.
    let path = if is_root {
        std::os::unix::fs::chown(temp.path(), Some(65534), None).unwrap();
        temp.path().to_owned()
    } else {
        "/".into()
    };
    let error = Root::open(&path, settings()).await.unwrap_err();
    let owner = if is_root { "user 65534" } else { "user 0" };
    assert!(refused(&error).contains(owner), "{error}");
    assert!(!path.join("version").exists());
}

#[tokio::test]
async fn a_link_in_the_place_of_a_directory_is_refused() {
    let bench = Bench::new().await;
    let dir = bench.root.dir(Dir::Snapshots);
    fs::remove_dir(&dir).unwrap();
    symlink(bench.temp.path(), &dir).unwrap();
    let error = Root::open(bench.root.path(), settings()).await.unwrap_err();
    assert!(refused(&error).contains("snapshots is not a directory"), "{error}");
    // The root itself may be called by a link.
    fs::remove_file(&dir).unwrap();
    symlink(bench.root.path(), bench.outside("link")).unwrap();
    let root = Root::open(bench.outside("link"), settings()).await.unwrap();
    assert_eq!(root.path(), bench.root.path());
}

/// A file system of its own, in memory, that is gone with this. Nothing where that is not allowed.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn at(path: &std::path::Path) -> Option<Self> {
        let mounted =
            rustix::mount::mount("none", path, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>);
        match mounted {
            Ok(()) => Some(Self(path.to_owned())),
            Err(rustix::io::Errno::PERM) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// Where nothing may be mounted there is nothing to refuse: the same is shown by a directory that may not be written.
#[tokio::test]
async fn a_root_that_may_not_be_written_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("root");
    fs::create_dir(&path).unwrap();
    let mounted = Mounted::at(&path);
    drop(Root::open(&path, settings()).await.unwrap());
    if mounted.is_some() {
        rustix::mount::mount_remount(&path, MountFlags::RDONLY, "").unwrap();
    } else {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    }
    let error = Root::open(&path, settings()).await.unwrap_err();
    let reason = if mounted.is_some() { "Make it writable, or use a copy" } else { "may not be written" };
    assert!(refused(&error).contains(reason), "{error}");
    if mounted.is_none() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[tokio::test]
async fn a_root_on_several_file_systems_is_refused() {
    for (dir, counts) in [(Dir::Ingest, true), (Dir::Snapshots, true), (Dir::Meta, false)] {
        let bench = Bench::new().await;
        let Some(_mounted) = Mounted::at(&bench.root.dir(dir)) else { return };
        let opened = Root::open(bench.root.path(), settings()).await;
        assert_eq!(opened.is_err(), counts, "{dir:?}");
        if let Err(error) = opened {
            let reason = refused(&error);
            assert!(reason.contains(dir.name()) && reason.contains("another file system"), "{reason}");
        }
    }
}
