//! Directories that change while they are read, and several who read one.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Bench, Reads, Wanted, context, kinds, session, write};

#[tokio::test]
async fn a_file_that_changes_once_is_read_once_more() {
    let bench = Bench::new(Wanted::Plain).await;
    let (dir, reads) = (tempfile::tempdir().unwrap(), Arc::new(Reads::default()));
    write(dir.path(), "a", "before");
    write(dir.path(), "b", "b");
    let times = AtomicUsize::new(0);
    reads.on_each(move |path| {
        if path.ends_with("a") && times.fetch_add(1, Ordering::SeqCst) == 0 {
            fs::write(path, "afterwards").unwrap();
        }
    });
    let tree = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
    assert_eq!(reads.take(), ["a", "a", "b"]);
    assert_eq!(bench.listing(&tree).await, ["a 644 \"afterwards\"", "b 644 \"b\""]);
    // What was read last is what is remembered.
    assert_eq!(bench.build(context(), session(dir.path(), &reads)).await.unwrap().id(), tree.id());
    assert_eq!(reads.take(), [""; 0]);
    drop(tree);
    bench.close().await;
}

#[tokio::test]
async fn a_file_that_never_rests_is_named() {
    let bench = Bench::new(Wanted::Plain).await;
    let (dir, reads) = (tempfile::tempdir().unwrap(), Arc::new(Reads::default()));
    write(dir.path(), "a", "before");
    let change: fn(&std::path::Path) = |path| {
        let mut text = fs::read_to_string(path).unwrap();
        text.push('x');
        fs::write(path, text).unwrap();
    };
    let remove: fn(&std::path::Path) = |path| {
        let other = path.with_extension("new");
        fs::write(&other, "x").unwrap();
        fs::rename(other, path).unwrap();
    };
    for (how, hook) in [("written to", change), ("replaced", remove)] {
        reads.on_each(hook);
        let built = bench.build(context(), session(dir.path(), &reads)).await;
        let said = built.map(|tree| tree.id()).unwrap_err();
        let file = dir.path().join("a").display().to_string();
        assert!(said.contains("changed while it was read") && said.contains(&file), "{how}: {said}");
        assert_eq!(reads.take().len(), 2, "{how}");
    }
    // Nothing is left of what could not be made.
    *reads.hook.lock().unwrap() = None;
    drop(bench.build(context(), session(dir.path(), &reads)).await.unwrap());
    bench.close().await;
}

#[tokio::test]
async fn two_at_once_do_not_disturb_each_other() {
    for kind in kinds() {
        let (bench, reads) = (Bench::new(kind).await, Arc::new(Reads::default()));
        let dir = tempfile::tempdir().unwrap();
        for number in 0..50 {
            write(dir.path(), &format!("d{}/{number}", number % 5), &number.to_string());
        }
        drop(bench.build(context(), session(dir.path(), &reads)).await.unwrap());
        for number in 0..25 {
            write(dir.path(), &format!("d{}/{number}", number % 5), "changed");
        }
        // Two vertices of one directory: the second has a key of its own.
        let mut unique = context();
        unique.unique = Some("another client".into());
        let (one, other) = tokio::join!(
            bench.build(context(), session(dir.path(), &reads)),
            bench.build(unique, session(dir.path(), &reads)),
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        let listed = bench.listing(&one).await;
        assert_eq!(listed.iter().filter(|line| line.ends_with("\"changed\"")).count(), 25, "{kind:?}");
        assert_eq!(bench.listing(&other).await, listed, "{kind:?}");
        reads.take();
        let last = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
        assert_eq!(reads.take(), [""; 0], "{kind:?}");
        assert_eq!(bench.listing(&last).await, listed, "{kind:?}");
        drop((one, other, last));
        bench.close().await;
    }
}
