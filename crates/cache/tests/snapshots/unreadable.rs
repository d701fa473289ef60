//! Files that their owner may not read, and attributes that a file system refuses: snapshots are read, and never changed.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use lazyblob_cache::layer::{Form, Options, apply, tar_of};
use lazyblob_cache::snapshot::{Keep, Places, Plain, SnapshotKey, Snapshotter};
use lazyblob_cache::testing::Tree;
use lazyblob_cache::testing::snapshotter::{Entry, commit, tree};
use lazyblob_cache::testing::tars::{Header, Tar};
use lazyblob_remote::testing::not_run;
use rustix::fs::{XattrFlags, llistxattr, lsetxattr};
use tokio_util::sync::CancellationToken;

use crate::{images, support};

const NOBODY: u32 = 65534;

/// Runs `test` in a directory of its own, without privileges: in a thread that has given them up.
fn as_nobody(what: &str, test: impl FnOnce(&Path) + Send) {
    let dir = tempfile::tempdir().unwrap();
    if !support::is_root() {
        not_run(what, "who has no privileges cannot give them up");
        return test(dir.path());
    }
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(NOBODY)).unwrap();
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).unwrap();
            test(dir.path());
        });
        run.join().unwrap();
    });
}

fn plain(dir: &Path) -> Plain {
    let places = Places::below(dir);
    places.create().unwrap();
    Plain::new(places)
}

/// Whoever changes a mode changes this, also if the mode is changed back.
fn changes(file: &Path) -> (i64, i64) {
    let found = fs::symlink_metadata(file).unwrap();
    (found.ctime(), found.ctime_nsec())
}

fn assembled(snapshots: &dyn Snapshotter, keys: &[SnapshotKey], to: PathBuf) -> PathBuf {
    fs::create_dir(&to).unwrap();
    snapshots.assemble(keys, &to, Keep::unprivileged(), &CancellationToken::new()).unwrap();
    to
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn content(path: &Path) -> String {
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::read_to_string(path).unwrap()
}

#[test]
fn what_its_owner_may_not_read_is_copied_and_not_touched() {
    as_nobody("files that nobody may read", |dir| {
        let snapshots = plain(&dir.join("root"));
        let layers = [
            Tar::new()
                .dir("d", 0o311)
                .entry(&Header::new(b'0', "d/shadow").mode(0), "secret")
                .entry(&Header::new(b'0', "d/open").mode(0o444), "x")
                .end(),
            // Copied up, and a directory that takes its looks from below.
            Tar::new().link("other", "d/shadow").file("d/new", "n").end(),
        ];
        let keys = images::unpack(&snapshots, &layers).unwrap();
        let stored: Vec<PathBuf> = keys.iter().map(|key| snapshots.directory(key).unwrap()).collect();
        let files = [stored[0].join("d/shadow"), stored[1].join("other"), stored[1].join("d")];
        let before = files.each_ref().map(|file| changes(file));
        let lower = assembled(&snapshots, &keys[..1], dir.join("lower"));
        let whole = assembled(&snapshots, &keys, dir.join("whole"));
        assert_eq!(files.each_ref().map(|file| changes(file)), before, "somebody else may be reading it");
        assert_eq!((mode(&lower.join("d")), mode(&lower.join("d/shadow"))), (0o311, 0));
        assert_eq!(mode(&lower.join("d/open")), 0o444);
        assert_eq!((mode(&whole.join("d")), mode(&whole.join("other"))), (0o311, 0));
        let inode = |path: PathBuf| fs::symlink_metadata(path).unwrap().ino();
        assert_eq!(inode(whole.join("other")), inode(whole.join("d/shadow")), "one file");
        assert_eq!(content(&whole.join("other")), "secret");
        // No note of ours gets out.
        for name in ["d", "other"] {
            let mut list = [0; 256];
            let length = llistxattr(whole.join(name), &mut list[..]).unwrap();
            assert!(!list[..length].starts_with(b"user."), "{name}");
        }
        let mut out = Vec::new();
        tar_of(&stored[0], Form::Plain, &mut out, &CancellationToken::new()).unwrap();
        let mut read = tar::Archive::new(&out[..]);
        let entries = read.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert!(entry.pax_extensions().unwrap().is_none_or(|records| {
                records.into_iter().all(|record| !record.unwrap().key().unwrap().contains("xattr"))
            }));
            (entry.path().unwrap().into_owned().into_os_string(), entry.header().mode().unwrap())
        });
        let entries: Vec<(OsString, u32)> = entries.collect();
        assert!(entries.contains(&("d/shadow".into(), 0)) && entries.contains(&("d/".into(), 0o311)));
    });
}

#[test]
fn what_its_owner_may_not_read_is_committed_too() {
    as_nobody("committing files that nobody may read", |dir| {
        let (snapshots, cancel) = (plain(&dir.join("root")), CancellationToken::new());
        let layer = Tar::new()
            .entry(&Header::new(b'0', "same").mode(0), "same")
            .entry(&Header::new(b'0', "changed").mode(0), "one")
            .entry(&Header::new(b'0', "opened").mode(0), "o")
            .end();
        let mut keys = images::unpack(&snapshots, &[layer]).unwrap();
        let id = SnapshotKey::record("work").unwrap();
        let active = snapshots.prepare(&id, &keys, &cancel).unwrap();
        let tree = active.directory();
        assert_eq!(mode(&tree.join("same")), 0, "it is a tree like any other");
        let set = |name: &str, mode: u32| {
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        set("changed", 0o600);
        fs::File::create(tree.join("changed")).unwrap().write_all(b"two").unwrap();
        set("changed", 0o003);
        set("opened", 0o640);
        snapshots.commit(&active, &id, &cancel).unwrap();
        keys.push(id);
        let whole = assembled(&snapshots, &keys, dir.join("whole"));
        let modes = ["same", "changed", "opened"].map(|name| mode(&whole.join(name)));
        assert_eq!(modes, [0, 0o003, 0o640]);
        assert_eq!(
            (content(&whole.join("same")), content(&whole.join("changed"))),
            ("same".into(), "two".into())
        );
    });
}

/// A file system that has no extended attributes, in `dir`, until it is dropped.
struct Ramfs(PathBuf);

impl Ramfs {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir(&dir).unwrap();
        rustix::mount::mount("ramfs", &dir, "ramfs", rustix::mount::MountFlags::empty(), None).unwrap();
        Self(dir)
    }
}

impl Drop for Ramfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// The same counts from snapshots and from layers, whoever asks.
#[test]
fn attributes_that_a_file_system_refuses_are_counted_as_when_applied() {
    if !support::is_root() {
        return not_run("a file system without attributes", "mounting needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let other = Ramfs::new(dir.path().join("other"));
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.user.a", b"1"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ])
        .file("f", "f")
        .end();
    let (cancel, keep) = (CancellationToken::new(), Keep::privileged());
    let target = |name: &str| {
        let target = other.0.join(name);
        fs::create_dir(&target).unwrap();
        target
    };
    let applied = apply(&tar[..], &target("applied"), &Options::privileged(Form::Tree), &cancel).unwrap();
    assert_eq!(applied.skipped.xattrs, 2);
    for snapshots in support::all("attributes in overlay snapshots", dir.path()) {
        let keys = images::unpack(snapshots.as_ref(), std::slice::from_ref(&tar)).unwrap();
        let done = snapshots.assemble(&keys, &target(snapshots.name()), keep, &cancel).unwrap();
        assert_eq!(done.skipped, applied.skipped, "{}", snapshots.name());
    }
}

#[test]
fn labels_of_this_machine_are_not_taken_along() {
    if !support::is_root() {
        return not_run("labels of this machine", "setting them needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    for snapshots in support::all("labels in overlay snapshots", dir.path()) {
        let keys = commit(snapshots.as_ref(), &[vec![Entry::file("f", "f")]]).unwrap();
        let file = snapshots.directory(&keys[0]).unwrap().join("f");
        let label = "system_u:object_r:container_file_t:s0";
        if lsetxattr(&file, "security.selinux", label.as_bytes(), XattrFlags::empty()).is_err() {
            return not_run("labels of this machine", "its labels cannot be set");
        }
        lsetxattr(&file, "trusted.image", b"i", XattrFlags::empty()).unwrap();
        let found = tree(snapshots.as_ref(), &keys).unwrap();
        let names: Vec<_> = found.get("f").unwrap().xattrs.keys().collect();
        assert_eq!(names, ["trusted.image"], "{}", snapshots.name());
    }
    // Nor are those of the machine that an image was made on.
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let tar = Tar::new().pax(&[("SCHILY.xattr.security.selinux", b"theirs")]).file("f", "f").end();
    apply(&tar[..], &target, &Options::privileged(Form::Tree), &CancellationToken::new()).unwrap();
    assert!(Tree::of(&target).unwrap().get("f").unwrap().xattrs.is_empty());
}
