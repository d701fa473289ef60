//! What is removed is gone at once and deleted later.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use lazyblob_cache::root::{Dir, Pace, RootSettings};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::support::{Bench, names, settings};

fn tree(at: &Path, files: usize) {
    fs::create_dir_all(at.join("a/b")).unwrap();
    for file in 0..files {
        fs::write(at.join(format!("a/{file}")), [7; 5000]).unwrap();
    }
    symlink("/", at.join("a/b/link")).unwrap();
}

#[tokio::test]
async fn what_is_removed_is_gone_and_can_be_put_back() {
    let bench = Bench::new().await;
    let trash = bench.root.trash();
    let path = bench.root.snapshots().join("tree");
    assert!(trash.put(&path).unwrap().is_none(), "there is none");
    tree(&path, 2);
    let removed = trash.put(&path).unwrap().unwrap();
    assert!(!path.exists() && !trash.is_empty().unwrap());
    assert!(removed.restore().unwrap());
    assert!(path.join("a/1").exists() && trash.is_empty().unwrap());
    // Not over what has come into its place.
    let removed = trash.put(&path).unwrap().unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!removed.restore().unwrap());
    assert!(names(&path).is_empty());
    fs::remove_dir(&path).unwrap();
    // Nor where it is deleted.
    tree(&path, 2);
    let removed = trash.put(&path).unwrap().unwrap();
    trash.empty(None, &CancellationToken::new()).await.unwrap();
    assert!(!removed.restore().unwrap());
    assert!(!path.exists());
}

#[tokio::test]
async fn emptying_says_what_it_has_freed_and_follows_no_link() {
    let bench = Bench::new().await;
    let trash = bench.root.trash();
    let kept = bench.outside("kept");
    tree(&kept, 3);
    let path = bench.outside("tree");
    tree(&path, 10);
    symlink(&kept, path.join("elsewhere")).unwrap();
    symlink(kept.join("a/1"), path.join("file elsewhere")).unwrap();
    // What somebody else still has a name of frees nothing.
    let shared = bench.outside("shared");
    fs::write(&shared, vec![1; 1_000_000]).unwrap();
    fs::hard_link(&shared, path.join("shared")).unwrap();
    trash.put(&path).unwrap().unwrap();
    trash.put(&bench.outside("missing")).unwrap();
    let swept = trash.empty(None, &CancellationToken::new()).await.unwrap();
    assert_eq!((swept.entries, swept.kept), (10 + 1 + 3 + 3, 0), "{swept:?}");
    assert!((50_000..1_000_000).contains(&swept.bytes), "{}", swept.bytes);
    assert!(names(&bench.root.dir(Dir::Trash)).is_empty());
    assert_eq!(names(&kept.join("a")).len(), 4);
    assert!(shared.exists());
}

#[tokio::test]
async fn a_limit_ends_it_and_the_rest_is_found_again() {
    let bench = Bench::new().await;
    let trash = bench.root.trash();
    let path = bench.outside("tree");
    tree(&path, 50);
    trash.put(&path).unwrap().unwrap();
    let some = trash.empty(Some(20_000), &CancellationToken::new()).await.unwrap();
    assert!((20_000..60_000).contains(&some.bytes), "{some:?}");
    assert!(!trash.is_empty().unwrap());
    let rest = trash.empty(None, &CancellationToken::new()).await.unwrap();
    assert_eq!(some.entries + rest.entries, 50 + 4);
    assert!(trash.is_empty().unwrap());
}

/// Directories that nobody may read or write, and deeper than paths can be.
#[tokio::test]
async fn what_layers_bring_is_deleted() {
    let bench = Bench::new().await;
    let trash = bench.root.trash();
    let path = bench.outside("tree");
    tree(&path, 4);
    for (dir, mode) in [("a/b", 0o000), ("a", 0o200), ("", 0o600)] {
        fs::set_permissions(path.join(dir), Permissions::from_mode(mode)).unwrap();
    }
    trash.put(&path).unwrap().unwrap();
    let deep = bench.outside("deep");
    fs::create_dir(&deep).unwrap();
    let mut dir = fs::File::open(&deep).unwrap();
    let name = "x".repeat(100);
    for _ in 0..200 {
        rustix::fs::mkdirat(&dir, &name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        dir = rustix::fs::openat(&dir, &name, flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    trash.put(&deep).unwrap().unwrap();
    let swept = trash.empty(None, &CancellationToken::new()).await.unwrap();
    assert_eq!((swept.entries, swept.kept), (4 + 4 + 201, 0), "{swept:?}");
    assert!(names(&bench.root.dir(Dir::Trash)).is_empty());
}

/// The clock is paused: what passes of it are the pauses.
#[tokio::test(start_paused = true)]
async fn a_sweep_takes_its_time_and_is_cancelled_between_entries() {
    let pace = Pace { step: 5, pause: Duration::from_secs(1) };
    let bench = Bench::with(RootSettings { trash: pace, ..settings() }).await;
    let trash = bench.root.trash();
    let path = bench.outside("tree");
    tree(&path, 46);
    trash.put(&path).unwrap().unwrap();
    let (began, token) = (Instant::now(), CancellationToken::new());
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        token.cancel();
    };
    let (swept, ()) = tokio::join!(trash.sweep(&token), cancel);
    let first = swept.unwrap();
    assert!((1..=15).contains(&first.entries), "{first:?}");
    assert_eq!(began.elapsed(), Duration::from_millis(2500));
    let second = trash.sweep(&CancellationToken::new()).await.unwrap();
    assert_eq!(first.entries + second.entries, 46 + 4);
    assert!(began.elapsed() >= Duration::from_millis(2500 + 7000), "{:?}", began.elapsed());
    assert!(trash.is_empty().unwrap());
    assert_eq!(trash.sweep(&token).await.unwrap().entries, 0);
}

#[tokio::test]
async fn several_may_sweep_at_once() {
    let bench = Bench::new().await;
    for nth in 0..10 {
        let path = bench.outside(&format!("tree {nth}"));
        tree(&path, 30);
        bench.root.trash().put(&path).unwrap().unwrap();
    }
    let token = CancellationToken::new();
    let sweeps = (0..6).map(async |nth| {
        let trash = bench.root.trash();
        if nth % 2 == 0 { trash.empty(None, &token).await } else { trash.sweep(&token).await }
    });
    let swept = futures::future::join_all(sweeps).await;
    let kept: u64 = swept.iter().map(|swept| swept.as_ref().unwrap().kept).sum();
    let entries: u64 = swept.iter().map(|swept| swept.as_ref().unwrap().entries).sum();
    assert_eq!((entries, kept), (10 * 34, 0), "each is deleted by one of them");
    assert!(bench.root.trash().is_empty().unwrap());
}

/// What the system does not let go of stays, is told, and keeps nothing else.
#[tokio::test]
async fn what_cannot_be_deleted_is_told() {
    let bench = Bench::new().await;
    let path = bench.outside("tree");
    tree(&path, 3);
    let file = path.join("a/1");
    let flags = |set| {
        let file = fs::File::open(&file).or_else(|_| {
            let trash = bench.root.dir(Dir::Trash);
            fs::File::open(trash.join(&names(&trash)[0]).join("a/1"))
        });
        let flags = if set { rustix::fs::IFlags::IMMUTABLE } else { rustix::fs::IFlags::empty() };
        rustix::fs::ioctl_setflags(file.unwrap(), flags)
    };
    // Where that is not allowed, nothing can be shown.
    if flags(true).is_err() {
        return;
    }
    bench.root.trash().put(&path).unwrap().unwrap();
    let token = CancellationToken::new();
    let swept = bench.root.trash().empty(None, &token).await.unwrap();
    assert_eq!((swept.entries, swept.kept, swept.left.len()), (4, 1, 1), "{swept:?}");
    assert!(swept.left[0].path.ends_with("a/1"), "{swept:?}");
    flags(false).unwrap();
    assert_eq!(bench.root.trash().empty(None, &token).await.unwrap().kept, 0);
    assert!(bench.root.trash().is_empty().unwrap());
}
