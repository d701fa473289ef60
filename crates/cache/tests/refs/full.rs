//! A disk that fills.

use std::process::Command;

use lazyblob_cache::Error;
use lazyblob_cache::prune::PruneOptions;
use lazyblob_cache::snapshot::Wanted;
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::Packed;
use lazyblob_remote::Access;
use lazyblob_remote::testing::{TestRegistry, not_run};
use tokio_util::sync::CancellationToken;

use crate::support::World;

/// A tmpfs of 24 MiB, for as long as it lives.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = rustix::process::geteuid().is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
                .arg(dir.path())
                .status()
                .is_ok_and(|ended| ended.success());
        if !mounted {
            not_run("a disk that fills", "it takes a tmpfs, which only root mounts");
        }
        mounted.then_some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|ended| ended.success()));
    }
}

/// Row 95: what does not fit says so, names the path, and leaves nothing in the way of who makes room.
#[tokio::test]
async fn a_full_disk_is_named_and_can_be_pruned() {
    let Some(disk) = Small::mount() else { return };
    let big = vec![7; 40 << 20];
    let tar = Tar::new().file("big", big).end();
    let world = World::of(TestRegistry::builder(), &[(tar, Packed::Zstd)], Wanted::Plain).await;
    let root = disk.0.path().join("root");
    let open =
        async || crate::support::manager(&root, &world.client, Wanted::Plain, Default::default()).await;
    let manager = open().await.unwrap();
    let pulled = world.pull(&manager).await;
    let top = pulled.image.top.as_ref().unwrap();
    let error = top.extract(&Access::anonymous()).await.unwrap_err();
    let Error::Io { path, source, .. } = error.root() else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull, "{error}");
    assert!(path.ends_with("big"), "{error}");
    drop(pulled);
    drop(manager.close().await);
    drop(manager);
    // The disk is as full as it gets.
    std::fs::write(disk.0.path().join("filler"), vec![1; 32 << 20]).unwrap_err();
    let manager = open().await.unwrap();
    manager.prune(&PruneOptions::default(), &CancellationToken::new()).await.unwrap();
    assert_eq!(manager.names().await.unwrap().len(), 1);
    manager.close().await.unwrap();
}
