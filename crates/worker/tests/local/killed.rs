//! A process that dies while it reads a directory.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lazyblob_remote::testing::TestRegistry;
use rustix::process::{Signal, getpid, kill_process};

use crate::support::{Bench, HOST, Reads, Wanted, context, kinds, session, write};

/// What the other process is told: root, directory, kind of snapshots.
const TOLD: &str = "LAZYBLOB_TEST_KILLED";

async fn bench(root: &Path, wanted: Wanted) -> Bench {
    let registry = TestRegistry::builder().in_memory(HOST).await;
    Bench::at(root, Arc::new(registry), wanted).await
}

/// The other process, which is killed by itself in the middle.
#[tokio::test]
async fn other_process() {
    let Some(told) = std::env::var_os(TOLD) else { return };
    let told = told.into_string().unwrap();
    let [root, dir, kind] = told.split('\n').map(PathBuf::from).collect::<Vec<_>>().try_into().unwrap();
    let wanted = if kind == Path::new("Plain") { Wanted::Plain } else { Wanted::Overlay };
    let bench = bench(&root, wanted).await;
    let reads = Arc::new(Reads::default());
    reads.on_each(|path| {
        if path.ends_with("7") {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    let built = bench.build(context(), session(&dir, &reads)).await;
    panic!("{:?}", built.map(|tree| tree.id()));
}

#[tokio::test]
async fn what_a_killed_one_leaves_is_in_nobody_s_way() {
    for kind in kinds() {
        let (root, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for number in 0..10 {
            write(dir.path(), &number.to_string(), &number.to_string());
        }
        let told = format!("{}\n{}\n{kind:?}", root.path().display(), dir.path().display());
        let killed = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::other_process"])
            .env(TOLD, told)
            .output()
            .unwrap();
        assert_eq!(killed.status.signal(), Some(9), "{}", String::from_utf8_lossy(&killed.stdout));
        let bench = bench(root.path(), kind).await;
        let reads = Arc::new(Reads::default());
        let tree = bench.build(context(), session(dir.path(), &reads)).await.unwrap();
        assert_eq!(reads.take().len(), 10, "{kind:?}: nothing was made before");
        assert_eq!(bench.listing(&tree).await.len(), 10, "{kind:?}");
        drop(tree);
        bench.close().await;
    }
}
