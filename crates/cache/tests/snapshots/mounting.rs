//! Mounts outlive who made them, are known again, and go away with all that was theirs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lazyblob_cache::Error;
use lazyblob_cache::mount::{Mode, Mounter, Request, Stale, State, Trusts};
use lazyblob_cache::snapshot::{About, SnapshotKey, Snapshotter};
use lazyblob_cache::testing::snapshotter::{Entry, commit, tree};
use lazyblob_cache::testing::{Tree, adversarial};
use lazyblob_remote::testing::not_run;
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::images;
use crate::support;

/// A root with an image, and a place to mount it.
struct Root {
    snapshots: Arc<dyn Snapshotter>,
    mounter: Mounter,
    keys: Vec<SnapshotKey>,
    path: PathBuf,
}

impl Root {
    fn new(snapshots: Arc<dyn Snapshotter>, dir: &Path) -> Self {
        let layers = [
            vec![
                Entry::dir("", 0o711),
                Entry::dir("d", 0o750),
                Entry::file("d/one", "1"),
                Entry::file("f", "f"),
            ],
            vec![Entry::whiteout("d/one"), Entry::whiteout("d/none"), Entry::file("d/two", "2")],
        ];
        let keys = commit(snapshots.as_ref(), &layers).unwrap();
        let path = dir.join(snapshots.name());
        let mounter = Mounter::open(path.join("mounts"), path.join("trash"), Arc::clone(&snapshots)).unwrap();
        Self { snapshots, mounter, keys, path }
    }

    fn request<'a>(&'a self, dir: &'a Path, mode: Mode) -> Request<'a> {
        let (stack, trusts) = (self.keys.as_slice(), Trusts::default());
        Request { stack, upper: None, dir, mode, trusts, command: "mount an image", image: None }
    }

    fn mount(&self, name: &str, mode: Mode) -> PathBuf {
        let dir = self.path.join(name);
        self.mounter.mount(&self.request(&dir, mode), &CancellationToken::new()).unwrap();
        dir
    }

    fn states(&self) -> Vec<State> {
        self.mounter.list().unwrap().into_iter().map(|mounted| mounted.state).collect()
    }

    /// What a mount has in `mounts/` besides its record.
    fn own(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path.join("mounts")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // A test that failed leaves no mount behind.
        for mounted in self.mounter.list().unwrap_or_default() {
            drop(self.mounter.unmount(&mounted.record.dir, true));
        }
    }
}

/// Roots of every kind; none where nothing may be mounted.
fn roots(what: &str) -> (TempDir, Vec<Root>) {
    let dir = tempfile::tempdir().unwrap();
    if !support::is_root() {
        not_run(what, "mounting needs root");
        return (dir, Vec::new());
    }
    let all = support::all(what, dir.path());
    let roots = all.into_iter().map(|snapshots| Root::new(snapshots, dir.path())).collect();
    (dir, roots)
}

fn is_read_only(path: &Path) -> bool {
    match fs::write(path, "x") {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem, "{error}");
            true
        }
    }
}

#[test]
fn a_mount_shows_the_tree_and_goes_away_with_its_directory() {
    let (_dir, roots) = roots("mounting an image");
    for root in roots {
        let dir = root.mount("at", Mode::ReadOnly);
        let mut shown = Tree::of(&dir).unwrap();
        let expected = tree(root.snapshots.as_ref(), &root.keys).unwrap();
        assert_eq!(shown.names(), ["d", "d/two", "f"], "{}", root.snapshots.name());
        shown.assert_equals(&expected);
        assert!(is_read_only(&dir.join("f")) && is_read_only(&dir.join("new")));
        // Another one on the same root, as another process opens it.
        let again =
            Mounter::open(root.path.join("mounts"), root.path.join("trash"), Arc::clone(&root.snapshots))
                .unwrap();
        let listed = again.list().unwrap();
        assert_eq!((listed.len(), listed[0].state), (1, State::Live));
        let record = &listed[0].record;
        assert_eq!((record.dir.as_path(), record.pid), (dir.as_path(), std::process::id()));
        assert_eq!(record.command, "mount an image");
        assert_eq!(again.pinned().unwrap(), root.keys.iter().cloned().collect::<BTreeSet<_>>());
        assert_eq!(again.recover().unwrap(), 0, "what lives is nobody's to clean up");
        shown = Tree::of(&dir).unwrap();
        shown.assert_equals(&expected);
        again.unmount(&dir, false).unwrap();
        assert!(!dir.exists(), "it was made for the mount");
        assert!(root.states().is_empty() && root.own().is_empty());
        assert!(root.mounter.pinned().unwrap().is_empty());
        let error = root.mounter.unmount(&dir, false).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}

#[test]
fn a_directory_that_was_there_stays_and_takes_one_mount() {
    let (_dir, roots) = roots("mounting on a directory that is there");
    for root in roots {
        fs::create_dir(root.path.join("at")).unwrap();
        std::os::unix::fs::symlink("at", root.path.join("link")).unwrap();
        let dir = root.mount("link", Mode::ReadOnly);
        let again = root.mounter.mount(&root.request(&dir, Mode::ReadOnly), &CancellationToken::new());
        assert!(matches!(again, Err(Error::Locked { .. })), "{again:?}");
        assert_eq!(root.states(), [State::Live]);
        root.mounter.unmount(&dir, false).unwrap();
        assert!(root.path.join("at").is_dir());
        let file = root.snapshots.directory(&root.keys[0]).unwrap().join("f");
        let error = root.mounter.mount(&root.request(&file, Mode::ReadOnly), &CancellationToken::new());
        assert!(matches!(error, Err(Error::Invalid { .. })), "{error:?}");
        assert!(root.states().is_empty());
    }
}

#[test]
fn what_is_written_is_the_mounts_own() {
    let (_dir, roots) = roots("mounting to be written to");
    for root in roots {
        let (one, other) = (root.mount("one", Mode::ReadWrite), root.mount("other", Mode::ReadWrite));
        fs::write(one.join("f"), "changed").unwrap();
        fs::write(one.join("d/new"), "new").unwrap();
        fs::remove_file(one.join("d/two")).unwrap();
        assert_eq!(Tree::of(&one).unwrap().names(), ["d", "d/new", "f"]);
        assert_eq!(Tree::of(&one).unwrap().get("").unwrap().mode, 0o711, "the root looks like the image's");
        let expected = tree(root.snapshots.as_ref(), &root.keys).unwrap();
        Tree::of(&other).unwrap().assert_equals(&expected);
        root.mounter.unmount(&one, false).unwrap();
        root.mounter.unmount(&other, false).unwrap();
        assert!(root.own().is_empty());
        tree(root.snapshots.as_ref(), &root.keys).unwrap().assert_equals(&expected);
    }
}

#[test]
fn one_in_use_stays_unless_it_is_to_go_out_of_sight() {
    let (_dir, roots) = roots("unmounting what is in use");
    for root in roots {
        let dir = root.mount("at", Mode::ReadOnly);
        let open = fs::File::open(dir.join("f")).unwrap();
        let error = root.mounter.unmount(&dir, false).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
        assert_eq!(root.states(), [State::Live]);
        root.mounter.unmount(&dir, true).unwrap();
        assert!(!dir.exists() && root.states().is_empty());
        assert_eq!(io::read_to_string(open).unwrap(), "f");
    }
}

#[test]
fn a_mount_that_somebody_else_took_away_is_stale_until_it_is_unmounted() {
    let (_dir, roots) = roots("mounts that others unmount");
    for root in roots {
        let dir = root.mount("at", Mode::ReadWrite);
        fs::write(dir.join("new"), "precious").unwrap();
        unmount(&dir, UnmountFlags::empty()).unwrap();
        assert_eq!(root.states(), [State::Stale(Stale::Unmounted)]);
        assert!(root.mounter.pinned().unwrap().is_empty(), "it needs nothing any more");
        assert_eq!(root.mounter.recover().unwrap(), 0);
        assert_eq!(root.own().len(), 1, "what was written is still there");
        // After a reboot the table says the same, and the record that it was another boot.
        let record = fs::read_dir(root.path.join("mounts")).unwrap().map(|entry| entry.unwrap().path());
        let record = record.into_iter().find(|path| path.extension().is_some()).unwrap();
        let text = fs::read_to_string(&record).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        fs::write(&record, text.replace(boot.trim(), "another")).unwrap();
        assert_eq!(root.states(), [State::Stale(Stale::Rebooted)]);
        root.mounter.unmount(&dir, false).unwrap();
        assert!(root.states().is_empty() && root.own().is_empty() && !dir.exists());
    }
}

#[test]
fn a_mount_of_another_is_not_taken_for_ours() {
    let (_dir, roots) = roots("mounts over mounts");
    for root in roots {
        let dir = root.mount("at", Mode::ReadOnly);
        let over = root.path.join("over");
        fs::create_dir(&over).unwrap();
        rustix::mount::mount_bind(&over, &dir).unwrap();
        let error = root.mounter.unmount(&dir, false).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        unmount(&dir, UnmountFlags::empty()).unwrap();
        root.mounter.unmount(&dir, false).unwrap();
        // The other way round: ours is gone, and something else is there.
        let dir = root.mount("at", Mode::ReadOnly);
        unmount(&dir, UnmountFlags::empty()).unwrap();
        rustix::mount::mount_bind(&over, &dir).unwrap();
        assert_eq!(root.states(), [State::Stale(Stale::Unmounted)]);
        root.mounter.unmount(&dir, false).unwrap();
        assert!(root.states().is_empty());
        assert!(dir.exists(), "the mount of somebody else stays");
        unmount(&dir, UnmountFlags::empty()).unwrap();
    }
}

/// BuildKit row 34: a crash between the record and the mount, and one while a directory is taken away.
#[test]
fn what_makers_that_died_have_left_is_cleaned_up() {
    let (_dir, roots) = roots("cleaning up after a crash");
    for root in roots {
        let dir = root.mount("at", Mode::ReadOnly);
        let record = fs::read_dir(root.path.join("mounts")).unwrap().map(|entry| entry.unwrap().path());
        let record = record.into_iter().find(|path| path.extension().is_some()).unwrap();
        let text = fs::read_to_string(&record).unwrap().replace("\"is_made\":true", "\"is_made\":false");
        fs::write(&record, text).unwrap();
        assert_eq!(root.states(), [State::Live], "the mount was made: the maker died before it could say so");
        assert_eq!(root.mounter.recover().unwrap(), 0);
        unmount(&dir, UnmountFlags::empty()).unwrap();
        // Somebody is at it as long as the record is held.
        let held = fs::File::open(&record).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(root.states(), [State::Making]);
        assert_eq!(root.mounter.pinned().unwrap().len(), 2, "what it is about to show is pinned");
        assert!(matches!(root.mounter.unmount(&dir, false), Err(Error::Locked { .. })));
        drop(held);
        assert_eq!(root.states(), [State::Stale(Stale::NeverMade)]);
        fs::create_dir(root.path.join("mounts/0123")).unwrap();
        let [new, old] = [".4567.new", ".89ab.new"].map(|name| root.path.join("mounts").join(name));
        fs::write(&new, "").unwrap();
        fs::File::create(&old).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(root.mounter.recover().unwrap(), 3);
        assert!(new.exists() && !old.exists(), "somebody is writing the new one");
        assert!(root.states().is_empty() && root.own().is_empty() && !dir.exists());
    }
}

/// BuildKit row 33: several mounts of one mutable snapshot show what any of them writes; what is read-only is so without a
/// copy.
#[test]
fn mounts_of_an_active_snapshot_share_what_is_written() {
    let cancel = CancellationToken::new();
    let (_dir, roots) = roots("sharing a mutable snapshot");
    for root in roots {
        let id = SnapshotKey::record("work").unwrap();
        let active = root.snapshots.prepare(&id, &root.keys, &cancel).unwrap();
        let at = |name: &str, mode: Mode| {
            let dir = root.path.join(name);
            let request = Request { upper: Some(&active), ..root.request(&dir, mode) };
            root.mounter.mount(&request, &cancel).unwrap();
            dir
        };
        let (one, other) = (at("one", Mode::ReadWrite), at("other", Mode::ReadWrite));
        fs::write(one.join("d/new"), "new").unwrap();
        assert_eq!(fs::read_to_string(other.join("d/new")).unwrap(), "new");
        assert!(root.mounter.pinned().unwrap().contains(&id));
        // The first one goes, the other one stays whole.
        root.mounter.unmount(&one, false).unwrap();
        fs::remove_file(other.join("d/two")).unwrap();
        // Overlayfs moves no directory that is below too, so that a layer never refers to another.
        let moved = fs::rename(other.join("d"), other.join("e"));
        assert_eq!(moved.is_err(), root.snapshots.name() == "overlay", "{moved:?}");
        root.mounter.unmount(&other, false).unwrap();
        let seen = at("seen", Mode::ReadOnly);
        assert!(is_read_only(&seen.join("f")));
        let shown = Tree::of(&seen).unwrap();
        root.mounter.unmount(&seen, false).unwrap();
        root.snapshots.commit(&active, &id, &cancel).unwrap();
        let stack = [root.keys.clone(), vec![id]].concat();
        let committed = tree(root.snapshots.as_ref(), &stack).unwrap();
        committed.assert_equals(&shown);
    }
}

/// BuildKit rows 35, 37: a merge is a longer stack, mounted as it is; what it takes on disk is what its layers take, files
/// of several names counted once.
#[test]
fn merges_and_single_layers_and_nothing_are_mounted() {
    let (_dir, roots) = roots("mounting merges");
    for mut root in roots {
        let other = commit(
            root.snapshots.as_ref(),
            &[vec![
                Entry::dir("d", 0o701),
                Entry::file("d/x", "x"),
                Entry::link("d/y", "d/x"),
                Entry::whiteout("f"),
            ]],
        )
        .unwrap();
        let usage = root.snapshots.info(&other[0]).unwrap().unwrap().usage;
        for stack in
            [[root.keys.clone(), other.clone()].concat(), other.clone(), root.keys[1..].to_vec(), Vec::new()]
        {
            root.keys = stack;
            let dir = root.mount("at", Mode::ReadOnly);
            let shown = Tree::of(&dir).unwrap();
            let expected = tree(root.snapshots.as_ref(), &root.keys).unwrap();
            if !root.keys.is_empty() {
                shown.assert_equals(&expected);
            }
            assert_eq!(shown.names(), expected.names());
            root.mounter.unmount(&dir, false).unwrap();
        }
        assert_eq!(root.snapshots.info(&other[0]).unwrap().unwrap().usage, usage, "nothing is copied for it");
    }
}

#[test]
fn as_many_layers_as_the_kernel_takes_are_mounted_and_more_refused() {
    let (_dir, roots) = roots("mounting many layers");
    for mut root in roots.into_iter().filter(|root| root.snapshots.name() == "overlay") {
        let mut staged = Vec::new();
        for number in 0..499 {
            let layer = root.snapshots.stage(&SnapshotKey::record(&format!("l{number}")).unwrap()).unwrap();
            fs::write(layer.directory().join(format!("f{number}")), "").unwrap();
            staged.push(layer);
        }
        root.keys = Vec::new();
        for synced in root.snapshots.sync(staged).unwrap() {
            root.keys.push(root.snapshots.publish(synced, About::default()).unwrap().key);
        }
        let dir = root.mount("at", Mode::ReadOnly);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 499);
        root.mounter.unmount(&dir, false).unwrap();
        root.keys.push(root.keys[0].clone());
        let error =
            root.mounter.mount(&root.request(&dir, Mode::ReadOnly), &CancellationToken::new()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains("500 layers"), "{error}");
        assert!(!dir.exists() && root.states().is_empty());
    }
}

#[test]
fn odd_images_look_the_same_mounted_and_assembled() {
    let (_dir, roots) = roots("mounting odd images");
    let mut wrong = Vec::new();
    for mut root in roots {
        for (name, layers) in adversarial::images() {
            root.keys = images::unpack(root.snapshots.as_ref(), &layers).unwrap();
            let expected = tree(root.snapshots.as_ref(), &root.keys).unwrap();
            let dir = root.mount("at", Mode::ReadOnly);
            let different = Tree::of(&dir).unwrap().diff(&expected);
            root.mounter.unmount(&dir, false).unwrap();
            if !different.is_empty() {
                wrong.push(format!("{name}, {}:\n{}", root.snapshots.name(), different.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// In a thread that has given up what mounting needs; all other tests keep it.
#[test]
fn who_may_not_mount_is_told_what_to_do_and_leaves_nothing() {
    let (_dir, roots) = roots("mounting without privileges");
    for root in roots {
        let dir = root.path.join("at");
        let live = root.mount("live", Mode::ReadOnly);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut own = capabilities(None).unwrap();
                own.effective.remove(CapabilitySet::SYS_ADMIN);
                set_capabilities(None, own).unwrap();
                let request = root.request(&dir, Mode::ReadOnly);
                let error = root.mounter.mount(&request, &CancellationToken::new()).unwrap_err();
                assert!(matches!(error, Error::Refused { .. }), "{error}");
                assert!(error.to_string().contains("extract to a directory instead"), "{error}");
                let error = root.mounter.unmount(&live, false).unwrap_err();
                assert!(matches!(error, Error::Refused { .. }), "{error}");
            });
        });
        assert_eq!(root.states(), [State::Live], "the one that was there before");
        assert!(!dir.exists());
        assert_eq!(root.own().len(), 1);
    }
}

/// A commit takes the directory away from under a mount: nobody may have one, and nobody gets one meanwhile.
#[test]
fn an_active_snapshot_is_mounted_or_committed() {
    let cancel = CancellationToken::new();
    let (_dir, roots) = roots("committing what is mounted");
    for root in roots {
        let id = SnapshotKey::record("work").unwrap();
        let active = root.snapshots.prepare(&id, &root.keys, &cancel).unwrap();
        let dir = root.path.join("at");
        for mode in [Mode::ReadWrite, Mode::ReadOnly] {
            let request = Request { upper: Some(&active), ..root.request(&dir, mode) };
            let kept = root.mounter.keep_unmounted(&active).unwrap();
            let error = root.mounter.mount(&request, &cancel).unwrap_err();
            assert!(matches!(error, Error::Locked { .. }), "{error}");
            assert!(root.states().is_empty() && !dir.exists());
            drop(kept);
            root.mounter.mount(&request, &cancel).unwrap();
            let error = root.mounter.keep_unmounted(&active).unwrap_err();
            assert!(matches!(error, Error::Locked { .. }), "{error}");
            assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
            root.mounter.unmount(&dir, false).unwrap();
        }
        root.snapshots.commit(&active, &id, &cancel).unwrap();
        let request = Request { upper: Some(&active), ..root.request(&dir, Mode::ReadWrite) };
        let error = root.mounter.mount(&request, &cancel).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}

#[test]
fn of_many_who_mount_on_one_directory_one_does() {
    let (_dir, roots) = roots("mounting on one directory at once");
    for root in roots {
        for round in 0..4 {
            let dir = root.path.join(format!("at{round}"));
            let barrier = std::sync::Barrier::new(8);
            let mounted: Vec<_> = std::thread::scope(|scope| {
                let one = || {
                    barrier.wait();
                    root.mounter.mount(&root.request(&dir, Mode::ReadOnly), &CancellationToken::new())
                };
                let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(mounted.iter().filter(|mounted| mounted.is_ok()).count(), 1, "{mounted:?}");
            for error in mounted.into_iter().filter_map(Result::err) {
                assert!(matches!(error, Error::Locked { .. }), "{error}");
            }
            assert_eq!(root.states(), [State::Live]);
            root.mounter.unmount(&dir, false).unwrap();
            assert!(unmount(&dir, UnmountFlags::empty()).is_err(), "a second one is below it");
        }
    }
}

/// A mount that was made in a container: its namespace goes with the container, and nothing says so to anybody.
#[test]
fn a_mount_whose_namespace_is_gone_is_stale() {
    let what = "mount namespaces that are gone";
    let (_dir, roots) = roots(what);
    let sees_all = fs::read_link("/proc/self/ns/pid").unwrap() == Path::new("pid:[4026531836]");
    if !sees_all || !lazyblob_remote::testing::installed(what, &["unshare", "sleep"]) {
        return not_run(what, "only who sees all processes can tell");
    }
    for root in roots {
        let dir = root.mount("at", Mode::ReadWrite);
        let record = fs::read_dir(root.path.join("mounts")).unwrap().map(|entry| entry.unwrap().path());
        let record = record.into_iter().find(|path| path.extension().is_some()).unwrap();
        let own = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
        let text = fs::read_to_string(&record).unwrap();
        assert!(text.contains(&own));
        let mut container =
            std::process::Command::new("unshare").args(["-m", "sleep", "600"]).spawn().unwrap();
        let namespace = PathBuf::from(format!("/proc/{}/ns/mnt", container.id()));
        let started = std::time::Instant::now();
        let theirs = loop {
            let link = fs::read_link(&namespace).unwrap().display().to_string();
            let name = fs::read_to_string(format!("/proc/{}/comm", container.id())).unwrap();
            if link != own && name == "sleep\n" {
                break link;
            }
            assert!(started.elapsed().as_secs() < 60, "it has not begun");
            std::thread::yield_now();
        };
        fs::write(&record, text.replace(&own, &theirs)).unwrap();
        assert_eq!(root.states(), [State::Elsewhere], "somebody is in it");
        unmount(&dir, UnmountFlags::empty()).unwrap();
        assert_eq!(root.states(), [State::Elsewhere], "somebody is in it");
        let error = root.mounter.unmount(&dir, false).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(!root.mounter.pinned().unwrap().is_empty());
        container.kill().unwrap();
        container.wait().unwrap();
        assert_eq!(root.states(), [State::Stale(Stale::NamespaceGone)]);
        assert!(root.mounter.pinned().unwrap().is_empty(), "nothing is in the way of a prune");
        assert_eq!(root.mounter.recover().unwrap(), 0, "what was written to it is still somebody's");
        root.mounter.unmount(&dir, false).unwrap();
        assert!(root.states().is_empty() && root.own().is_empty());
        assert!(dir.exists(), "it has the name of a directory that was in the container");
        // The namespace is gone, and the mount has come to ours.
        fs::remove_dir(&dir).unwrap();
        let dir = root.mount("at", Mode::ReadOnly);
        let record = fs::read_dir(root.path.join("mounts")).unwrap().map(|entry| entry.unwrap().path());
        let record = record.into_iter().find(|path| path.extension().is_some()).unwrap();
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replace(&own, &theirs)).unwrap();
        assert_eq!(root.states(), [State::Elsewhere], "it is still shown");
        fs::write(&record, text).unwrap();
        root.mounter.unmount(&dir, false).unwrap();
    }
}
