//! A directory that was sent before.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use lazyblob_cache::contenthash::{Directory, Root, Table};
use lazyblob_cache::record::RecordType;
use lazyblob_remote::Access;
use lazyblob_solver::testing::digest;
use lazyblob_solver::{LoadCx, SlowDigest as _, VertexName};
use lazyblob_worker::WorkerRef;
use lazyblob_worker::keys::ContentSelector;
use lazyblob_worker::ops::ContentDigest;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, Reads, Wanted, context, definition, kinds, looking, session, write};

/// A directory of three files.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", "one");
    write(dir.path(), "d/b", "two");
    write(dir.path(), "d/c", "three");
    dir
}

/// The inode of a file of a tree as it is kept.
async fn inode(tree: &lazyblob_cache::ImmutableRef, path: &str) -> u64 {
    let key = tree.record().snapshot.clone().unwrap();
    let directory = tree.manager().snapshots().directory(&key).unwrap();
    fs::symlink_metadata(directory.join(path)).unwrap().ino()
}

#[tokio::test]
async fn nothing_is_read_again_that_is_as_it_was() {
    for kind in kinds() {
        let (bench, dir, reads) = (Bench::new(kind).await, directory(), Arc::new(Reads::default()));
        let build = || bench.build(context(), session(dir.path(), &reads));
        let first = build().await.unwrap();
        assert_eq!(first.record().record_type, RecordType::SourceLocal);
        assert_eq!(reads.take(), ["a", "b", "c"], "{kind:?}");
        let second = build().await.unwrap();
        assert_eq!(reads.take(), [""; 0], "{kind:?}");
        assert_eq!(second.id(), first.id(), "it is the same tree");

        // Another time alone, the content is the same.
        fs::File::options().append(true).open(dir.path().join("d/b")).unwrap();
        let file = fs::File::options().write(true).open(dir.path().join("d/b")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let third = build().await.unwrap();
        assert_eq!(reads.take(), ["b"], "{kind:?}");
        assert_ne!(third.id(), first.id());
        assert_eq!(inode(&third, "a").await, inode(&first, "a").await, "what is as it was is linked");
        assert_ne!(inode(&third, "d/b").await, inode(&first, "d/b").await);

        // What has gone is gone, what is new is there, and the trees of before are what they were.
        fs::remove_file(dir.path().join("a")).unwrap();
        write(dir.path(), "e", "four");
        let fourth = build().await.unwrap();
        assert_eq!(reads.take(), ["e"], "{kind:?}");
        let now = ["d/ 755", "d/b 644 \"two\"", "d/c 644 \"three\"", "e 644 \"four\""];
        assert_eq!(bench.listing(&fourth).await, now, "{kind:?}");
        let before = ["a 644 \"one\"", "d/ 755", "d/b 644 \"two\"", "d/c 644 \"three\""];
        assert_eq!(bench.listing(&first).await, before, "{kind:?}");
        drop((first, second, third, fourth));
        bench.close().await;
    }
}

#[tokio::test]
async fn another_process_reads_nothing_either() {
    for kind in kinds() {
        let (bench, dir, reads) = (Bench::new(kind).await, directory(), Arc::new(Reads::default()));
        drop(bench.build(context(), session(dir.path(), &reads)).await.unwrap());
        reads.take();
        let bench = bench.again(kind).await;
        write(dir.path(), "d/c", "other");
        let tree = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
        assert_eq!(reads.take(), ["c"], "{kind:?}");
        drop(tree);
        bench.close().await;
    }
}

#[tokio::test]
async fn what_is_sent_otherwise_is_another_directory() {
    let (bench, dir, reads) = (Bench::new(Wanted::Plain).await, directory(), Arc::new(Reads::default()));
    drop(bench.build(context(), session(dir.path(), &reads)).await.unwrap());
    reads.take();
    let mut less = context();
    less.exclude_patterns = vec!["d".into()];
    drop(bench.build(less, session(dir.path(), &reads)).await.unwrap());
    assert_eq!(reads.take(), ["a"], "what was made of all of it is not what is made of less");
    drop(bench.build(context(), session(dir.path(), &reads)).await.unwrap());
    assert_eq!(reads.take(), [""; 0], "and was not forgotten");
    bench.close().await;
}

#[tokio::test]
async fn a_tree_that_was_pruned_is_made_anew() {
    let (bench, dir, reads) = (Bench::new(Wanted::Plain).await, directory(), Arc::new(Reads::default()));
    let tree = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
    let key = tree.record().snapshot.clone().unwrap();
    reads.take();
    drop(tree);
    bench.worker.manager().snapshots().remove(&key).unwrap();
    let tree = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
    assert_eq!(reads.take(), ["a", "b", "c"]);
    assert_eq!(bench.listing(&tree).await.len(), 4);
    drop(tree);
    bench.close().await;
}

#[tokio::test]
async fn what_looks_at_the_same_content_is_cached() {
    for kind in kinds() {
        let (bench, dir, reads) = (Bench::new(kind).await, directory(), Arc::new(Reads::default()));
        let ran = Arc::new(AtomicUsize::new(0));
        let build = async |parts: &[ContentSelector]| {
            let (graph, edge) = looking(&bench, &definition(context()), parts, &ran);
            bench.solve(graph, &edge, session(dir.path(), &reads)).await.unwrap()
        };
        let parts = [ContentSelector::path("/d", false)];
        assert!(!build(&parts).await.cached);
        let file = fs::File::options().write(true).open(dir.path().join("d/b")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        write(dir.path(), "a", "not looked at");
        assert!(build(&parts).await.cached, "{kind:?}: other times, another file");
        write(dir.path(), "d/b", "TWO");
        assert!(!build(&parts).await.cached, "{kind:?}");
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        bench.close().await;
    }
}

#[tokio::test]
async fn what_was_told_is_what_is_found() {
    for kind in kinds() {
        let (bench, dir, reads) = (Bench::new(kind).await, directory(), Arc::new(Reads::default()));
        std::os::unix::fs::symlink("d/b", dir.path().join("l")).unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("h")).unwrap();
        let tree = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
        let view = tree.view(&Access::anonymous()).await.unwrap();
        let read = |root| {
            let mut source = Directory::local(view.path()).unwrap();
            let cancel = CancellationToken::new();
            Table::unread(root).checksum(&mut source, &[], &cancel).unwrap()
        };
        let local = read(Root::Local);
        assert_ne!(local, read(Root::Snapshot), "{kind:?}");
        let vertex = VertexName { digest: digest("x"), name: "x".into() };
        let told = ContentDigest::new(&bench.worker, &vertex, 0, &[ContentSelector::whole()]);
        let input = WorkerRef::new(tree.clone());
        assert_eq!(told.slow_digest(&LoadCx::detached(), &input).await.unwrap(), local, "{kind:?}");
        view.close().await.unwrap();
        drop(tree);
        bench.close().await;
    }
}
