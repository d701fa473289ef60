//! Refs whose trees are mounted.

use std::fs;

use lazyblob_cache::mount::{Mode, Request, Trusts};
use lazyblob_cache::snapshot::SnapshotKey;
use lazyblob_cache::{Error, GetOptions};
use lazyblob_remote::Access;
use lazyblob_remote::testing::not_run;
use tokio_util::sync::CancellationToken;

use crate::support::{World, kinds, layers, text, tree};

/// A tree that somebody writes to is not made a snapshot: what is written later would change it.
#[tokio::test]
async fn what_is_mounted_is_not_finalized() {
    if !rustix::process::geteuid().is_root() {
        return not_run("finalizing what is mounted", "mounting needs root");
    }
    for wanted in kinds() {
        let world = World::of(Default::default(), &layers(), wanted).await;
        let manager = world.manager().await;
        let active = manager.new_mutable(None, &Access::anonymous(), GetOptions::default()).await.unwrap();
        let key = SnapshotKey::record(active.id().as_str()).unwrap();
        let committed = active.commit().await.unwrap();
        let upper = manager.snapshots().active(&key).unwrap().unwrap();
        let at = tempfile::tempdir().unwrap();
        let request = Request {
            stack: &[],
            upper: Some(&upper),
            dir: at.path(),
            mode: Mode::ReadWrite,
            trusts: Trusts::default(),
            command: "mount",
            image: None,
        };
        manager.mounter().mount(&request, &CancellationToken::new()).unwrap();
        let error = committed.finalize().await.unwrap_err();
        let is_made = manager.snapshots().active(&key).unwrap().is_none();
        fs::write(at.path().join("file"), "written").unwrap();
        manager.mounter().unmount(at.path(), false).unwrap();
        assert!(matches!(error.root(), Error::Locked { .. }), "{error}");
        assert!(!is_made, "it is as it was");
        committed.finalize().await.unwrap();
        let (dir, _) = tree(&committed);
        assert_eq!(text(dir.path().join("tree/file")), "written");
        drop(committed);
        manager.close().await.unwrap();
    }
}
